/* Who is near whom among rows, as t-SNE sees it (van der Maaten and Hinton 2008). */
#ifndef DI_EVAL_AFFINITY_H
#define DI_EVAL_AFFINITY_H

#include "base/alloc.h"

/* A sparse symmetric matrix (n, n): row i has p[start[i] .. start[i + 1]) in columns `to`. */
typedef struct di_affinity {
    int64_t n;
    int64_t *start; /* (n + 1) */
    int32_t *to;    /* ascending in each row */
    float *p;
} di_affinity;

/*
 * p_ij = (p_j|i + p_i|j) / 2n: symmetric, sum 1, zero diagonal. p_j|i is a Gaussian kernel of the
 * rows x (n, c) over the min(n - 1, 3 perplexity) nearest of row i, whose width gives them that
 * perplexity (bisection on the entropy, to 1e-5); 0 for others. Of rows equally far the one that
 * stands first is nearer. Exact neighbours, time O(n^2 c). n > perplexity. ERR_NOMEM.
 */
dial_status di_affinity_of(const di_alloc *al, const float *x, int64_t n, int64_t c,
                           double perplexity, di_affinity *out, dial_error *err);
void di_affinity_free(const di_alloc *al, di_affinity *a);

#endif
