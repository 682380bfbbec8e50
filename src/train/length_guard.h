/*
 * Length guard (method.md 8.8): on target pairs the margin must not follow the length. With margins
 * m and log-length differences l of the P pairs, neither of which a swap of the texts changes
 * together,
 *
 *     c = <m, l>/(|m| |l|)      L = max(0, c - c0)^2
 *     dm = 2 max(0, c - c0) (l/(|m| |l|) - c m/|m|^2)
 */
#ifndef DI_TRAIN_LENGTH_GUARD_H
#define DI_TRAIN_LENGTH_GUARD_H

#include "train/side.h"

/* r, dr: rows of the side; dr += weight * gradient. Returns weight * L; 0 where m or l is 0. */
double di_length_guard(double weight, double c0, const di_side *side, const float *r, float *dr);

#endif
