/*
 * metrics.jsonl of a run: one JSON object a line, appended as the run goes on. On resume lines
 * after the checkpoint's step, those that end a run, and a line that a kill cut short, are removed
 * first.
 */
#ifndef DI_TRAIN_JOURNAL_H
#define DI_TRAIN_JOURNAL_H

#include <stdio.h>

#include "train/events.h"

typedef struct di_journal {
    const di_alloc *al;
    FILE *f;
    char *path;
    di_buf line;
    di_events events; /* the same scalars for TensorBoard; not open: none */
} di_journal;

/* keep_step < 0: a new file. Else: keeps lines whose step is at most keep_step. */
dial_status di_journal_open(di_journal *j, const di_alloc *al, const char *path, int64_t keep_step,
                            dial_error *err);
/* Both of a journal that is not open (ranks other than 0 keep none): nothing happens. */
/* Appends and takes over the reference to value. */
dial_status di_journal_write(di_journal *j, json_t *value, dial_error *err);
/* What was written is on the disk afterwards. */
dial_status di_journal_sync(di_journal *j, dial_error *err);
void di_journal_close(di_journal *j);

/* Calls visit for every line of the file until it returns 0; a cut last line is left out. */
dial_status di_journal_read(const di_alloc *al, const char *path,
                            int (*visit)(void *ctx, const json_t *line), void *ctx,
                            dial_error *err);

#endif
