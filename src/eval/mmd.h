/*
 * Two-sample test with the maximum mean discrepancy (Gretton et al. 2012), RBF kernels at five
 * widths (method.md 8.2):
 *
 *     k(a,b) = sum_q exp(-|a-b|^2 / b_q),   b_q = b0 {1/4, 1/2, 1, 2, 4},
 *     b0 = median of |a-b|^2 over distinct rows of both domains
 *     MMD^2 = mean_{i!=k} K(S_i,S_k) + mean_{j!=l} K(T_j,T_l) - 2 mean K(S_i,T_j)
 *
 * A unit is `block` consecutive rows (the two texts of a pair; a difference and its negation), and
 * K of two units is the mean of k over their rows. Units are what is permuted between the domains:
 * rows of one pair are not independent.
 */
#ifndef DI_EVAL_MMD_H
#define DI_EVAL_MMD_H

#include "eval/domain.h"

typedef struct di_mmd_result {
    double mmd2; /* unbiased: may be below 0 */
    double p;    /* (1 + #(permuted >= found)) / (1 + permutations) */
} di_mmd_result;

/*
 * x->n_s, x->n_t: rows, multiples of block. At least 2 units a domain (ERR_USAGE). Memory: 4 bytes
 * a pair of units and, for the median, a pair of rows. Random numbers are named by (seed,
 * permutation): same bits with any number of threads. ERR_NUMERIC: rows all equal or not finite.
 */
dial_status di_mmd_test(const di_alloc *al, const di_two_sets *x, int64_t block,
                        int64_t permutations, uint64_t seed, di_mmd_result *out, dial_error *err);

#endif
