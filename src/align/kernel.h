/* The kernel of the maximum mean discrepancy, and the median that its bandwidths are counted in. */
#ifndef DI_ALIGN_KERNEL_H
#define DI_ALIGN_KERNEL_H

#include <stdint.h>

/*
 * k = sum_q exp(-d2/b_q), and *slope = sum_q (2/b_q) exp(-d2/b_q), for a squared distance d2 and
 * b_q = b0 x scale_q; b0 0 (no two rows differ): 1. Scales [n] are sorted, largest first: where one
 * is half of the last, its exponential is the last one's square.
 */
double di_rbf(const double *scale, int n, double b0, double d2, double *slope);

/* Median of v [n >= 1], which is put in another order; of an even number the middle two's mean. */
double di_median(float *v, int64_t n);

#endif
