/*
 * Two heads that fit the source equally well and disagree on the target as much as they can: does
 * the source decide the target in these features? (method.md 8.13; DivDis, arXiv 2202.03418, made
 * order-free.)
 */
#ifndef DI_EVAL_TWOHEADS_H
#define DI_EVAL_TWOHEADS_H

#include "base/alloc.h"

typedef struct di_two_heads {
    double source_loss;      /* held out, mean of the two heads */
    double single_loss;      /* held out, of one head trained without disagreement */
    double single_se;        /* of single_loss */
    double agreement_source; /* sign agreement on held-out source pairs */
    double agreement_target;
    double weight; /* of the disagreement, 1 halved until the source fit is equal; 0: no
                      weight above 1/64 keeps it, and the heads are one */
} di_two_heads;

/*
 *   e_s (2 n_s, c), e_t (2 n_t, c)  rows of pairs in turn; source chosen first
 *   fold (n_s)                      0 or 1: fitted on 0, held out 1
 *
 * Loss: L(w1) + L(w2) + weight I, L the ridge Bradley-Terry loss of probe.h on coordinates
 * standardised by the source, I = ((1+c) log(1+c) + (1-c) log(1-c))/2 with
 * c = mean_j tanh(m_1j/2) tanh(m_2j/2) over the target pairs, |c| <= 0.999. Full-batch Adam from
 * the single head, pushed apart by a little noise. Equal fit: held-out loss of the two <=
 * single_loss + 1 SE. ERR_USAGE: an empty half. ERR_NOMEM. Deterministic.
 */
dial_status di_two_heads_fit(const di_alloc *al, const float *e_s, int64_t n_s, const float *e_t,
                             int64_t n_t, int64_t c, const int32_t *fold, uint64_t seed,
                             di_two_heads *out, dial_error *err);

#endif
