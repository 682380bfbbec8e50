/*
 * Optimal transport between n source points and m target points of equal masses 1/n and 1/m:
 *
 *     exact       min <P, c>                                              P 1 = 1/n, P^T 1 = 1/m
 *     entropic    + eps KL(P | 1/(n m))                                    Cuturi 2013
 *     unbalanced  and the marginals held by rho KL instead of exactly      Chizat et al. 2018
 *
 * Costs are [n, m], rows contiguous.
 */
#ifndef DI_ALIGN_TRANSPORT_H
#define DI_ALIGN_TRANSPORT_H

#include <stdint.h>

typedef struct di_entropic {
    double eps;     /* > 0 */
    double rho;     /* INFINITY: balanced */
    double tol;     /* ends when the marginals' total error is below */
    int iterations; /* at most */
    int threads;
} di_entropic;

/*
 * Potentials f [n] and g [m], in the log domain (method.md 8.2, 8.9); with d = rho/(rho + eps):
 *
 *     f_i = -d eps LSE_j(log(1/m) + (g_j - c_ij)/eps),  g_j likewise;   P_ij = exp((f_i + g_j -
 * c_ij)/eps)/(n m)
 *
 * turned: c^T [m, n], for sums along columns. Returns the dual value, which is OT at convergence.
 * f and g start from 0 and are overwritten; scratch [n].
 */
double di_transport_entropic(const di_entropic *o, const double *c, const double *turned, int64_t n,
                             int64_t m, double *f, double *g, double *scratch);

/* The same between a set and itself, c symmetric [n, n], where f = g; scratch [n]. */
double di_transport_self(const di_entropic *o, const double *c, int64_t n, double *f,
                         double *scratch);

/* P [n, m] of these potentials; plan may be c, or NULL. Returns the sum of P, 1 if balanced. */
double di_transport_plan(const di_entropic *o, const double *c, int64_t n, int64_t m,
                         const double *f, const double *g, double *plan);

static inline int64_t di_transport_exact_words(int64_t n, int64_t m)
{
    return n * m + 6 * (n + m);
}

/*
 * P [n, m] of least <P, c>, by shortest augmenting paths with potentials. work: at least
 * di_transport_exact_words(n, m) of 8 bytes. Equal costs are decided by the least index.
 */
void di_transport_exact(const double *c, int64_t n, int64_t m, double *plan, void *work);

#endif
