/* A growing byte buffer, always followed by a 0 byte, for text and for file content. */
#ifndef DI_BASE_BUF_H
#define DI_BASE_BUF_H

#include "base/alloc.h"

typedef struct di_buf {
    const di_alloc *al;
    char *data; /* NULL until the first append */
    size_t size, cap;
    int failed; /* an append ran out of memory; later appends do nothing */
} di_buf;

void di_buf_init(di_buf *b, const di_alloc *al);
void di_buf_deinit(di_buf *b);
void di_buf_append(di_buf *b, const void *data, size_t n);
void di_buf_printf(di_buf *b, const char *fmt, ...) DIAL_PRINTF(2, 3);

/* ERR_NOMEM if any append failed: ask once, at the end. */
dial_status di_buf_status(const di_buf *b, dial_error *err);

/* Hands the content over (free with di_free); b is empty afterwards. NULL if an append failed. */
char *di_buf_take(di_buf *b);

#endif
