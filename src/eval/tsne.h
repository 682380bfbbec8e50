/*
 * t-SNE (van der Maaten and Hinton 2008) in two dimensions, with the settings of method.md 5.8;
 * affinities between nearest neighbours, repulsion by a quadtree (van der Maaten 2014). A picture
 * is no evidence: print the numbers of mapstats.h beside it.
 */
#ifndef DI_EVAL_TSNE_H
#define DI_EVAL_TSNE_H

#include "eval/affinity.h"
#include "eval/quadtree.h"

typedef struct di_tsne_options {
    int64_t components;   /* PCA first, to at most this many; 50 */
    double perplexity;    /* 30; fewer than 91 rows: (n - 1)/3, so that 3 perplexities fit */
    int64_t iterations;   /* 1000 */
    double exaggeration;  /* 12: factor of p during ... */
    int64_t early;        /* ... the first 250 iterations, momentum 0.5; then 1 and 0.8 */
    double learning_rate; /* 0: max(n / 48, 50) */
    double theta;         /* 0.5: cells of the quadtree are one place beyond side / theta */
} di_tsne_options;

di_tsne_options di_tsne_options_default(void);

/*
 *   x     (n, c)  in, finite
 *   y     (n, 2)  out
 *   kl    out, or NULL: the divergence sum p ln(p/q) that was reached
 *
 * Start: the first two principal components, divided by the standard deviation of the first, times
 * 1e-4. No random number is drawn: same input, same bits, with any number of threads. Steps are
 * gradient descent with momentum and the sign-based gains of the original implementation (0.2 up,
 * times 0.8 down, at least 0.01).
 * Time O(n^2 components + iterations n log n). ERR_USAGE: n < 5.
 */
dial_status di_tsne(const di_alloc *al, const float *x, int64_t n, int64_t c,
                    const di_tsne_options *opt, float *y, double *kl, dial_error *err);

/*
 * grad (n, 2) = 4 sum_j (a p_ij - q_ij) (1 + |y_i - y_j|^2)^-1 (y_i - y_j), a = exaggeration.
 * yx, yy: coordinates (n). work (3 n) floats. Returns Z = sum_ij (1 + |y_i - y_j|^2)^-1, i != j.
 * Exact for theta 0. Source: method.md 5.8.
 */
double di_tsne_gradient(const di_affinity *p, di_quadtree *tree, const float *yx, const float *yy,
                        float exaggeration, float theta, float *work, float *grad_x, float *grad_y);

#endif
