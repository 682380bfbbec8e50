/*
 * A stored trunk: what the frozen part of the model makes of a text, computed once and looked up by
 * the text's ids. One row a text (embeddings, where nothing of the model is trained) or one a token
 * (what enters the lowest trained layer). A row depends on its text alone, bit for bit, so looking
 * it up changes no result.
 *
 * The table points into memory of its own and into files (data/trunk_file.h). Fill it first; after
 * that any number of threads may read.
 */
#ifndef DI_DATA_TRUNK_H
#define DI_DATA_TRUNK_H

#include "base/log.h"
#include "data/batch.h"

typedef struct di_trunk_shape {
    size_t row_bytes; /* of a row */
    int per_token;    /* 1: as many rows as tokens; 0: one */
} di_trunk_shape;

static inline int64_t di_trunk_rows_of(const di_trunk_shape *s, int64_t tokens)
{
    return s->per_token ? tokens : 1;
}

typedef struct di_trunk di_trunk;

dial_status di_trunk_new(const di_alloc *al, const dial_env *env, const di_trunk_shape *shape,
                         di_trunk **out, dial_error *err);
void di_trunk_free(di_trunk *t);
const di_trunk_shape *di_trunk_get_shape(const di_trunk *t);

/* Rows of a text, one after the other, valid as long as the trunk; NULL: not stored. */
const void *di_trunk_find(const di_trunk *t, const di_seq_view *text);

/* Copies the rows of n texts, rows[i] those of text i, into memory of the trunk's own. */
dial_status di_trunk_add(di_trunk *t, const di_seq_view *text, const void *const *rows, int64_t n,
                         dial_error *err);

/*
 * Adds the texts of a file, which stays mapped. A missing one adds nothing; one that is damaged or
 * made for another key adds what is sound in it, says so in the log and sets *damaged.
 */
dial_status di_trunk_load(di_trunk *t, const char *path, const char *key, int *damaged,
                          dial_error *err);

/*
 * rows [b->n_rows, row_bytes] of a batch of these texts from a per_token trunk; 0 (and rows
 * undefined) if a text is not stored.
 */
int di_trunk_gather(const di_trunk *t, const di_batch *b, const di_seq_view *text, void *rows);

/* The other way: out [b->length[text], row_bytes] of one text from the rows of a batch. */
void di_trunk_scatter(const di_batch *b, int64_t text, const void *rows, size_t row_bytes,
                      void *out);

#endif
