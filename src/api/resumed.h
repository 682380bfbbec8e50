/*
 * A file of JSON lines that was cut: by a kill, a full disk, or a person. Line k answers row k, so
 * the whole lines say how many rows are done. The last of them is computed once more and must come
 * out as it stands there: other data, another model or other flags would show.
 */
#ifndef DI_API_RESUMED_H
#define DI_API_RESUMED_H

#include "base/file.h"

typedef struct di_resumed {
    const di_alloc *al;
    int64_t rows; /* done, the one to be repeated left out */
    size_t keep;  /* bytes of their lines */
    char *last;   /* the line to come out again, with its newline; NULL: no whole line */
    size_t last_size;
} di_resumed;

/* A missing file is one without lines. ERR_INPUT: its lines are not those of rows 0, 1, 2 ... */
dial_status di_resumed_open(const di_alloc *al, const char *path, di_resumed *out, dial_error *err);
void di_resumed_deinit(di_resumed *r);

/* Are the n bytes that come next the line that was there? ERR_USAGE if not. */
dial_status di_resumed_check(const di_resumed *r, const char *path, const char *lines, size_t n,
                             dial_error *err);

#endif
