/* Shape of a cloud of embeddings: effective rank, and how sharply rows cluster. */
#ifndef DI_EVAL_SPECTRUM_H
#define DI_EVAL_SPECTRUM_H

#include "base/alloc.h"

/*
 * Eigenvalues of the symmetric a (n, n), ascending, in d (n); a is destroyed. Householder reduction
 * to tridiagonal form, then implicit QL (Bowdler et al. 1968). 0, or -1 where QL needs over 50
 * sweeps (not seen for finite input). e (n): scratch.
 */
int di_symmetric_eigenvalues(double *a, int64_t n, double *d, double *e);

/*
 * RankMe (arXiv 2210.02885): exp(-sum_k p_k log p_k), p_k = sv_k / sum sv + 1e-7, over the min(n,
 * c) singular values of the rows x (n, c), not centred. ERR_NUMERIC: not finite. ERR_NOMEM.
 */
dial_status di_rank_me(const di_alloc *al, const float *x, int64_t n, int64_t c, double *out,
                       dial_error *err);

/*
 * Soft neighbourhood density (arXiv 2108.10860): mean over rows of the entropy of
 * softmax_j(cos(x_i, x_j)/0.05), j != i. Rows of zero norm have cosine 0 with all. n >= 2.
 */
dial_status di_neighbourhood_density(const di_alloc *al, const float *x, int64_t n, int64_t c,
                                     double *out, dial_error *err);

#endif
