/*
 * Which target pairs to have labelled (method.md 9.2): the most informative ones, for training, or
 * a random sample, for a certificate. No text and no prompt twice in either.
 */
#ifndef DI_EVAL_PICK_H
#define DI_EVAL_PICK_H

#include "base/alloc.h"

/* A pair as its texts are named; prompt 0: none, or the same one everywhere. */
typedef struct di_pick_pair {
    uint64_t text[2], prompt;
} di_pick_pair;

/* Prompt names that all pairs share say nothing: sets them to 0. */
void di_pick_forget_common_prompt(di_pick_pair *pair, int64_t n);

/*
 * Takes pairs in the order given (order [n]) until k are taken. out [k]; returns how many.
 */
int64_t di_pick_first(const di_pick_pair *pair, const int64_t *order, int64_t n, int64_t k,
                      int64_t *out);

typedef struct di_pick_input {
    const di_pick_pair *pair; /* [n] */
    const float *e;           /* (2n, C): the two texts of a pair in turn */
    int64_t n, c;
    const double *const *m; /* [models] margins (n) of each; sets of margins differ in scale */
    int models;             /* >= 2 */
} di_pick_input;

/*
 *     D_j  = share of model pairs k < l with sign m_kj != sign m_lj;  equal: smaller
 *            mean_k |m_kj| / sd(m_k) first
 *     pool = the 4K pairs of largest D;  first the top one, then K - 1 times
 *            argmax_j min over the chosen i of min(|delta_j - delta_i|, |delta_j + delta_i|)
 *
 * Where the pool runs out of pairs that share nothing with those chosen, it grows by the next
 * ones. out [k]; *taken: how many (fewer only where the file has no more). ERR_NOMEM.
 */
dial_status di_pick_disagreement(const di_alloc *al, const di_pick_input *in, int64_t k,
                                 int64_t *out, int64_t *taken, dial_error *err);

/*
 * Margins (n_t) of two heads, each fitted on one half of the source pairs e_s (2 n_s, C): the
 * second opinion where there is one model alone. group (n_s): pairs kept in one half.
 */
dial_status di_half_margins(const di_alloc *al, const float *e_s, int64_t n_s,
                            const uint64_t *group, const float *e_t, int64_t n_t, int64_t c,
                            uint64_t seed, double *const m[2], dial_error *err);

#endif
