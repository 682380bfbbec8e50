/* Wasserstein-1 distances of two samples without a critic (method.md 5.10). */
#ifndef DI_EVAL_TRANSPORT_H
#define DI_EVAL_TRANSPORT_H

#include "eval/domain.h"

/*
 * Exact W1 of two samples of n = min(n_s, n_t) rows each (the first ones): the cheapest assignment
 * under the Euclidean distance, / n (align/transport.h).
 * Strongly biased upward in many dimensions: two samples of one law are far apart. Read it beside
 * the same number for two halves of the source. ERR_USAGE: n < 1. ERR_NOMEM.
 */
dial_status di_w1_sample(const di_alloc *al, const di_two_sets *x, double *out, dial_error *err);

/* Exact W1 of two samples on a line, any sizes >= 1: the area between the two distribution
 * functions. ERR_NOMEM. */
dial_status di_w1_line(const di_alloc *al, const double *a, int64_t n_a, const double *b,
                       int64_t n_b, double *out, dial_error *err);

#endif
