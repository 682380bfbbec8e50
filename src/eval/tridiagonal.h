/* Eigenpairs of a symmetric tridiagonal matrix: the last step of PCA and of every spectrum. */
#ifndef DI_EVAL_TRIDIAGONAL_H
#define DI_EVAL_TRIDIAGONAL_H

#include <stdint.h>

/*
 * Diagonal d (n) and couplings e (n; e[i] of i with i + 1, the last is scratch) -> eigenvalues in
 * d, in no order, e destroyed. vec (n, n), NULL for values alone: row i becomes the unit
 * eigenvector of d[i]. Implicit QL (Bowdler et al. 1968); 0, or -1 where it needs over 50 sweeps
 * for one value (not seen for finite input).
 */
int di_tridiagonal_eigen(double *d, double *e, int64_t n, double *vec);

#endif
