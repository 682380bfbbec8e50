/*
 * The access log: one JSON object a line for each answered request, in a file. Texts stand in it
 * only if asked for.
 */
#ifndef DI_SERVE_ACCESS_LOG_H
#define DI_SERVE_ACCESS_LOG_H

#include "serve/call.h"

typedef struct di_access_log di_access_log;

typedef struct di_access {
    const char *remote, *method, *path;
    int status;
    size_t bytes_in, bytes_out;
    double seconds;
    const di_call *call; /* NULL: no inputs */
} di_access;

/* path NULL: nothing is logged. ERR_IO: the file cannot be opened. */
dial_status di_access_log_new(const di_alloc *al, const char *path, int with_texts,
                              di_access_log **out, dial_error *err);
void di_access_log_free(di_access_log *l);

/* Any thread. */
void di_access_log_write(di_access_log *l, const di_access *a);

/* After the file was moved away: begins a new one of the old name. */
void di_access_log_reopen(di_access_log *l);

#endif
