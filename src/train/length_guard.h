/*
 * Length guards (method.md 8.8): what is learnt must not be "longer wins". Two kinds.
 *
 * corr, on target pairs: the margin must not follow the length. With margins m and log-length
 * differences l of the P pairs, which a swap of the texts changes together,
 *
 *     c = <m, l>/(|m| |l|)      L = max(0, c - c0)^2
 *     dm = 2 max(0, c - c0) (l/(|m| |l|) - c m/|m|^2)
 *
 * mmd, on labelled source rows: given the label the reward must not know the length (Wang et al.
 * 2025, arXiv 2501.09620, conditional form). Of the better rows, and again of the worse ones, those
 * longer than their median are compared with those shorter (rows at the median with neither) by the
 * unbiased RBF-MMD of their rewards, k of align/kernel.h with scales 1/4 to 4 of the median squared
 * distance of the rows compared, which is a constant:
 *
 *     L = sum over both of  mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean k(a_i,
 * b_j)
 *
 * It may fall below 0. A set with fewer than 2 rows on either side adds nothing.
 */
#ifndef DI_TRAIN_LENGTH_GUARD_H
#define DI_TRAIN_LENGTH_GUARD_H

#include "train/side.h"

/* r, dr: rows of the side; dr += weight * gradient. Returns weight * L; 0 where m or l is 0. */
double di_length_guard(double weight, double c0, const di_side *side, const float *r, float *dr);

/*
 * The same of the other kind; text 0 of each example is the better one. Scratch for n texts: row
 * [n], v [n + n (n - 1)/2].
 */
double di_length_guard_mmd(double weight, const di_side *side, const float *r, float *dr,
                           int32_t *row, float *v);

#endif
