/* One domain's part of a step: picked examples, their texts in batch order, rows of E. */
#ifndef DI_TRAIN_SIDE_H
#define DI_TRAIN_SIDE_H

#include "dist/dist.h"
#include "train/trainer.h"

enum { DI_SOURCE, DI_TARGET, DI_SIDES };

/*
 * Batch order keeps the texts of an example together, so that they can share their prompt:
 * x0.first, x0.second, x1.first, ... Rows of E are [firsts; seconds]: row[i] is where the embedding
 * of text i goes. On several ranks the examples of rank 0 come first, then those of rank 1, ...:
 * batch order is also the order in which the embeddings are gathered.
 */
typedef struct di_side {
    const di_dist *dist;
    const di_examples *examples;
    di_sampler order;
    int64_t cap;            /* examples of a step */
    int64_t n, n_texts;     /* picked examples, their texts */
    int64_t *first;         /* [ranks + 1]: texts [first[r], first[r+1]) are those of rank r */
    int64_t tokens;         /* of the texts as if each ran alone */
    int64_t *picked;        /* [cap] */
    int64_t *tokens_of;     /* [cap] */
    int32_t *owner;         /* [cap]: the rank that computes the example */
    int64_t *scratch;       /* of di_dist_share */
    di_seq_view *text;      /* [2 cap] */
    int32_t *group, *row;   /* [2 cap] */
    int32_t *second;        /* [cap] row of the second text of an example; -1: a single text */
    float *margin, *weight; /* [cap] */
} di_side;

dial_status di_side_init(di_side *s, const di_alloc *al, const di_dist *dist,
                         const di_examples *examples, int64_t cap, uint64_t seed,
                         di_purpose purpose, dial_error *err);
void di_side_deinit(di_side *s, const di_alloc *al);

/* Picks the next cap examples of `order` (the side's own, or another over the same examples). */
void di_side_pick(di_side *s, di_sampler *order);

/* Tokens of the longest text among the examples. */
int64_t di_examples_longest(const di_examples *x);

#endif
