/*
 * A linear Bradley-Terry probe on frozen embeddings (method.md 4.1, form (c) of `base`):
 *
 *     w = argmin (1/n) sum_i softplus(-w . delta_i) + (ridge/2) |w|^2,   delta_i = e_i+ - e_i-
 *
 * The ridge is 0.01 times the mean of |delta|^2: the same strength whatever the scale of the
 * model's embeddings.
 */
#ifndef DI_EVAL_PROBE_H
#define DI_EVAL_PROBE_H

#include "base/alloc.h"

/* e [2n, C]: chosen and rejected of each pair in turn; w [C] out. n >= 1. Deterministic. */
dial_status di_probe_fit(const di_alloc *al, const float *e, int64_t n, int64_t width, float *w,
                         dial_error *err);

/*
 * On standardised coordinates (below) with a tenth of the ridge: a head that votes on which view of
 * the model to read (api/train_view.c). Fitted more closely to its own view, it errs in its own
 * way, and its agreement with other votes says more.
 */
dial_status di_probe_fit_voter(const di_alloc *al, const float *e, int64_t n, int64_t width,
                               float *w, dial_error *err);

/*
 * The same on coordinates divided by their standard deviation over the rows of e (at least 1e-2 of
 * its mean), for w that acts on e itself: where a few coordinates carry most of the norm, the ridge
 * would else leave the rest unused (method.md 5.7b, 8.4). fold (n), or NULL: pairs with
 * fold[i] == left_out are not fitted on (they still count in the standard deviation).
 */
dial_status di_probe_fit_standardised(const di_alloc *al, const float *e, int64_t n, int64_t width,
                                      const int32_t *fold, int32_t left_out, float *w,
                                      dial_error *err);

#endif
