/*
 * The inner loops of the statistics: products and sums of rows in f64. They are compiled for
 * several instruction sets and the loader takes the best (gcc and glibc on x86-64; elsewhere one
 * plain form), but every form adds in the same order and rounds each product, so the bits are the
 * same on all machines and the instruction set is a matter of time alone.
 */
#ifndef DI_EVAL_DENSE_H
#define DI_EVAL_DENSE_H

#include <stdint.h>

/* sum_i a_i b_i, in 16 partial sums that are added at the end. */
double di_dot(const double *a, const double *b, int64_t n);
double di_dot_f32(const float *a, const double *b, int64_t n);

/* sum_i (a_i - b_i)^2, in the same 16 */
double di_distance2(const float *a, const double *b, int64_t n);

/* y_i += k x_i */
void di_add_scaled(double *y, double k, const double *x, int64_t n);
void di_add_scaled_f32(double *y, double k, const float *x, int64_t n);

/* y_i -= a p_i + b q_i: a row of a symmetric rank-two update */
void di_take_two(double *y, double a, const double *p, double b, const double *q, int64_t n);

#endif
