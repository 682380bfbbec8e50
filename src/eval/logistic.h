/*
 * Ridge logistic regression by Newton steps whose linear systems are solved by conjugate gradients,
 * so that no matrix is formed. What the Bradley-Terry probe (probe.h) and the domain probe
 * (domain.h) have in common.
 */
#ifndef DI_EVAL_LOGISTIC_H
#define DI_EVAL_LOGISTIC_H

#include "base/alloc.h"

/*
 *     w = argmin (1/n) sum_i softplus(-w . x_i) + (ridge/2) sum_{j < c - free} w_j^2
 *
 *   x     (n, c)  in, finite: rows times their label +-1, an intercept as a last column +-1
 *   ridge > 0     in
 *   free  0 or 1  in: 1 leaves the last column (the intercept) without ridge
 *   w     (c)     out
 *
 * Deterministic: sums run in the order of the rows. ERR_NOMEM.
 */
dial_status di_logistic_fit(const di_alloc *al, const double *x, int64_t n, int64_t c, double ridge,
                            int free, double *w, dial_error *err);

#endif
