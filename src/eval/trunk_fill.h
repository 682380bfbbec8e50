/* Fills a trunk (data/trunk.h): from a file of an earlier run, and by the model for the rest. */
#ifndef DI_EVAL_TRUNK_FILL_H
#define DI_EVAL_TRUNK_FILL_H

#include "eval/texts.h"

typedef struct di_trunk_store {
    const char *path; /* file of these texts; NULL: nothing is read or kept */
    const char *key;  /* 64 hex digits: all that decides the rows */
    size_t max;       /* bytes that the folder of path may hold */
} di_trunk_store;

/*
 * Afterwards t holds all n texts, if they are embeddings or s->path is NULL (then they are in
 * memory). Rows of tokens are held by the file alone: where it cannot be kept (too large, disk
 * full) the log says so and t holds what it held. prompt as in di_embed_texts. INTERRUPTED when
 * asked to stop.
 */
dial_status di_trunk_fill(di_embedder *m, di_trunk *t, const di_trunk_store *s,
                          const di_seq_view *text, const uint64_t *prompt, int64_t n,
                          dial_error *err);

/*
 * For embeddings that somebody else computed and added to t: the file of s->path holds these n
 * texts (none of which it held) beside what it held. Where it cannot be written the log says so.
 */
dial_status di_trunk_keep(const di_alloc *al, const dial_env *env, di_trunk *t,
                          const di_trunk_store *s, const di_seq_view *text, int64_t n,
                          dial_error *err);

#endif
