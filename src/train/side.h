/* One domain's part of a step: picked examples, their texts in batch order, rows of E. */
#ifndef DI_TRAIN_SIDE_H
#define DI_TRAIN_SIDE_H

#include "dist/dist.h"
#include "train/settings.h"

/*
 * Batch order keeps the texts of an example together, so that they can share their prompt:
 * x0.0, x0.1, x1.0, ... Rows of E are [all texts 0; all texts 1; ...]: row[i] is where the
 * embedding of text i goes. On several ranks the examples of rank 0 come first, then those of rank
 * 1, ...: batch order is also the order in which the embeddings are gathered.
 *
 * Pairs are what has a difference: the two texts of an example; of one with more texts, twos drawn
 * anew in every pass (an odd one is in none), so that both domains' differences mean the same.
 * by_prompt: what is aligned are twos of any texts of the step that have one prompt, as the other
 * side's, which were grouped by prompt alone.
 */
typedef struct di_side {
    const di_dist *dist;
    const di_examples *examples;
    di_sampler order;
    int64_t cap, per;     /* examples of a step; most texts of an example */
    int64_t n, n_texts;   /* picked examples, their texts */
    int64_t *first;       /* [ranks + 1]: texts [first[r], first[r+1]) are those of rank r */
    int64_t tokens;       /* of the texts as if each ran alone */
    int64_t *picked;      /* [cap] */
    int64_t *tokens_of;   /* [cap] */
    int32_t *owner;       /* [cap]: the rank that computes the example */
    int64_t *scratch;     /* of di_dist_share */
    di_seq_view *text;    /* [cap per] */
    int32_t *group, *row; /* [cap per] */
    int32_t *row_of;      /* [cap, per] row of text t of example i; -1: it has no such text */
    int64_t n_pairs;
    int32_t *pair[2]; /* [cap per / 2] rows of the two texts of a pair */
    int by_prompt;
    int64_t n_drawn; /* of by_prompt; the pairs themselves where it is 0 */
    int32_t *drawn[2];
    struct di_prompted *prompted;   /* [cap per] scratch */
    float *margin, *weight, *score; /* [cap] */
    float *log_words;               /* [cap per] by row: ln(words of the response), at least 1 */
    const float *reweight;          /* [examples] factor of an example's weight; NULL: 1 */
} di_side;

/* The stream that orders the rows of each side, and its name in checkpoints. */
extern const di_purpose di_side_order[DI_SIDES];
extern const char *const di_side_name[DI_SIDES];

dial_status di_side_init(di_side *s, const di_alloc *al, const di_dist *dist,
                         const di_examples *examples, int64_t cap, uint64_t seed,
                         di_purpose purpose, dial_error *err);
void di_side_deinit(di_side *s, const di_alloc *al);

/* Picks the next cap examples of `order` (the side's own, or another over the same examples). */
void di_side_pick(di_side *s, di_sampler *order);

/* Row of text t of picked example i. */
static inline int32_t di_side_row(const di_side *s, int64_t i, int64_t t)
{
    return t < s->per ? s->row_of[i * s->per + t] : -1;
}

/* Tokens of the longest text among the examples; most texts of one of them, at least 2. */
int64_t di_examples_longest(const di_examples *x);
int64_t di_examples_most_texts(const di_examples *x);

#endif
