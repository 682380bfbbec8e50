/*
 * Reward centring: the reward of a Bradley-Terry model is known up to a constant, and this holds
 * the constant at 0 (method.md 2.2, 8.7).
 *
 *     pair    c/P sum_p (r_p1 + r_p2)^2, over the P pairs of each domain    TRL, arXiv 2312.09244
 *     batch   c rbar^2, rbar the mean of all n rewards of both             arXiv 2505.07271
 *
 * Neither looks at which text is preferred, so target rows may take part.
 */
#ifndef DI_TRAIN_CENTRING_H
#define DI_TRAIN_CENTRING_H

#include "train/side.h"

/*
 * Weight c on the rows of n sides; r[k], dr[k] are those of side[k], dr += . Returns the loss. A
 * text without a partner counts in `batch` alone.
 */
double di_centring(di_center_form form, double c, const di_side *const *side, const float *const *r,
                   float *const *dr, int n);

#endif
