/*
 * What votes of several heads say about accuracy where there are no labels (method.md 7). A margin
 * m votes by its sign; the order of a pair's texts does not matter, since all votes flip with it.
 */
#ifndef DI_EVAL_AGREEMENT_H
#define DI_EVAL_AGREEMENT_H

#include "base/alloc.h"

/*
 * Share of rows with use[i] != 0 (NULL: all) on which a and b have the same sign; a margin of 0
 * counts 1/2. *n: how many rows. NAN for none.
 */
double di_sign_agreement(const double *a, const double *b, const char *use, int64_t n_rows,
                         int64_t *n);

/* Standard error of a share p of n rows taken as independent: sqrt(p (1-p)/n), at least 1/(2n). */
double di_share_se(double p, int64_t n);

/*
 * out = m - (<m,l>/<l,l>) l: what is left of margins m once the part that length explains is taken
 * away; no intercept, so that turning a pair round turns the residual round. l = ln(length ratio).
 */
void di_length_residual(const double *m, const double *l, int64_t n, double *out);

/*
 * Accuracy of view a from its agreements with b and c and theirs, errors independent:
 *     g_a^2 = (A_ab - 1/2)(A_ac - 1/2) / (2 (A_bc - 1/2)),  accuracy = 1/2 + |g_a|
 * up to one sign common to all views, which no unlabelled statistic fixes (arXiv 2002.11955).
 * NAN where the quotient is negative or not defined; at most 1.
 */
double di_triple_accuracy(double ab, double ac, double bc);

#endif
