/*
 * From the threads that answer requests to the store of live traffic, without making anybody wait:
 * a queue of limited size and one thread that writes. A row that finds no room is counted and gone.
 * A store that cannot be written costs rows, a message at the first failure and one when it works
 * again; it is tried anew with each batch.
 */
#ifndef DI_SERVE_RECORDER_H
#define DI_SERVE_RECORDER_H

#include "serve/metrics.h"
#include "serve/notes.h"
#include "serve/traffic.h"

typedef struct di_recorder di_recorder;

typedef struct di_recorder_options {
    const char *path; /* borrowed */
    int64_t keep;     /* rows of the store */
    size_t room;      /* bytes of rows that may wait */
    di_metrics *metrics;
    di_notes *notes;
} di_recorder_options;

/* ERR_USAGE: a build without SQLite. A store that cannot be opened is no error: see above. */
dial_status di_recorder_new(const di_alloc *al, const di_recorder_options *opt, di_recorder **out,
                            dial_error *err);

/* Writes what waits, then ends. */
void di_recorder_free(di_recorder *r);

/* Takes a copy of the row, or counts it as dropped. Any thread; never waits for the disk. */
void di_recorder_offer(di_recorder *r, const di_traffic_row *row);

#endif
