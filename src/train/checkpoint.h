/*
 * Checkpoints of a run: RUN/checkpoints/step-00000800/ with the adapter (PEFT form), critic,
 * optimizer and state.json. The folder is written under a temporary name, synced, and renamed
 * whole; RUN/latest.json is replaced after it. Killing the process at any instant leaves the
 * previous checkpoint loadable.
 */
#ifndef DI_TRAIN_CHECKPOINT_H
#define DI_TRAIN_CHECKPOINT_H

#include "dist/dist.h"
#include "train/trainer.h"

/* Writes the trainer's state at its step. extra: members added to state.json (borrowed). */
dial_status di_checkpoint_write(const di_alloc *al, const char *run, di_trainer *t,
                                const char *base_name, const json_t *extra, dial_error *err);

/* Step and folder of the latest checkpoint; *step -1 if the run has none. di_free *dir. */
dial_status di_checkpoint_latest(const di_alloc *al, const char *run, int64_t *step, char **dir,
                                 dial_error *err);

/*
 * Loads a folder into the trainer; *state (json_decref it) is the whole of state.json. On several
 * ranks rank 0 reads and the others receive.
 */
dial_status di_checkpoint_read(const di_alloc *al, const di_dist *dist, const char *dir,
                               di_trainer *t, json_t **state, dial_error *err);

/*
 * What the alignment of another run had learnt, into that of a new one: the critics' weights, and
 * the scale of the embeddings. *found 0, and nothing changed: the folder has none of this method
 * and shape. Moments, queues and bandwidths start anew. Rank 0 reads.
 */
dial_status di_checkpoint_read_alignment(const di_alloc *al, const di_dist *dist, const char *dir,
                                         di_alignment *a, int *found, dial_error *err);

/* RUN/checkpoints/step-%08d in a new string. */
char *di_checkpoint_dir(const di_alloc *al, const char *run, int64_t step);

/* Removes *.tmp-* left by a killed process in the run and its folders. */
dial_status di_checkpoint_clean(const di_alloc *al, const char *run, dial_error *err);

/* Deletes all checkpoints but the newest `keep` and that of step `chosen`; keep 0: none. */
dial_status di_checkpoint_prune(const di_alloc *al, const char *run, int64_t keep, int64_t chosen,
                                dial_error *err);

#endif
