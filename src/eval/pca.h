/*
 * Principal components of rows, by Lanczos iteration with full reorthogonalisation on the
 * covariance (which is never formed). For maps (method.md 5.8) and diagnostics.
 */
#ifndef DI_EVAL_PCA_H
#define DI_EVAL_PCA_H

#include "base/alloc.h"

/*
 *   x         (n, c)  in, finite
 *   k         components wanted, 1 <= k
 *   y         (n, k)  out: coordinates of the centred rows, components by decreasing variance
 *   variance  (k)     out, or NULL: sum of squares of each column of y / (n - 1)
 *   axis      (k, c)  out, or NULL: unit vectors; each is turned so that its largest entry by size
 *                     is positive (the first of equals), which fixes the signs
 *
 * Components beyond the rank of x are 0, with variance 0 and a zero axis. Exact (to rounding) for
 * min(n, c) <= 4k + 60; beyond, the trailing components are accurate to the gap of the spectrum,
 * the leading ones exact. Same input, same bits, with any number of threads.
 * ERR_USAGE: n < 2. ERR_NUMERIC: a value that is not finite. ERR_NOMEM.
 */
dial_status di_pca(const di_alloc *al, const float *x, int64_t n, int64_t c, int64_t k, float *y,
                   double *variance, float *axis, dial_error *err);

#endif
