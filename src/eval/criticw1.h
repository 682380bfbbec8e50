/*
 * Wasserstein-1 distance by fresh critics, judged on rows that they were not fitted on (method.md
 * 5.10, 9). The training critic's own gap says how well that critic keeps up; this one says how far
 * apart the domains are.
 */
#ifndef DI_EVAL_CRITICW1_H
#define DI_EVAL_CRITICW1_H

#include "eval/domain.h"
#include "tensor/ops.h"

typedef enum di_w1_kind {
    DI_W1_PENALTY, /* one-sided gradient penalty; held-out gap / largest slope seen: an estimate */
    DI_W1_SPECTRAL /* weights kept at spectral norm <= 1; gap / 1.1290^2 / their product: a lower
                      bound in expectation, since 1.1290 bounds the slope of GELU */
} di_w1_kind;

typedef struct di_w1_options {
    di_w1_kind kind;
    int64_t block; /* rows of a unit: 2 for the texts of a pair, or a difference and its negation */
    int inits;     /* critics a fold */
    int64_t steps, batch; /* Adam steps; units a domain and step */
    uint64_t seed;
} di_w1_options;

di_w1_options di_w1_options_default(void); /* penalty, 2, 3, 200, 64, 0 */

/*
 * Mean over 2 folds x inits of the gap on the other half, divided by the critic's slope; in units
 * of the rows. x: normalise it first (di_coord_normalised). What the critic sees are the leading 64
 * principal components of both domains, scaled to unit variance a coordinate in the mean: a
 * projection cannot increase W1, so a lower bound stays one, and a critic of 64 inputs overfits
 * less.
 *
 * Rows that come with their negations (symmetric differences) have a trap: a straight line has gap
 * 0 on them, and a two-sided penalty is content with a line (method.md 8.1). Hence one-sided,
 * coordinates of unit variance, and hidden biases of size 1 at the start, so that GELU bends inside
 * the data.
 *
 *   fold_s, fold_t (units)  in: 0 or 1
 * ERR_USAGE: a fold without units of one domain. ERR_NUMERIC, ERR_NOMEM. Deterministic.
 */
dial_status di_critic_w1(di_device *dev, const di_two_sets *x, const int32_t *fold_s,
                         const int32_t *fold_t, const di_w1_options *opt, double *out,
                         dial_error *err);

/* The null: the same between two random halves of the source (method.md 5.10). */
dial_status di_critic_w1_null(di_device *dev, const float *s, int64_t n_s, int64_t c,
                              const di_w1_options *opt, double *out, dial_error *err);

#endif
