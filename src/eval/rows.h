/*
 * Small steps that the label-free diagnostics share. Rows are host memory, [n, C] f32, row-major;
 * the two texts of pair i stand in rows 2i and 2i + 1.
 */
#ifndef DI_EVAL_ROWS_H
#define DI_EVAL_ROWS_H

#include "base/alloc.h"

/*
 * mean (c) and sd (c) over n >= 1 rows, sd with n. sd is at least 1e-2 of its mean over the
 * coordinates (1 where all are 0), so that dividing by it never blows a dead coordinate up
 * (method.md 8.4).
 */
void di_row_moments(const float *x, int64_t n, int64_t c, double *mean, double *sd);

/* d (n, c): row 2i minus row 2i + 1 of e (2n, c). */
void di_pair_difference(const float *e, int64_t n, int64_t c, float *d);

/* x (2n, c): rows d_i and -d_i in turn, the symmetric law of method.md 8.1. */
void di_symmetric_rows(const float *e, int64_t n, int64_t c, float *x);

/* x (n, 2c): [ (e1 + e2)/2 ; |e1 - e2| ], the same for both orders of a pair (method.md 9). */
void di_pair_features(const float *e, int64_t n, int64_t c, float *x);

/* Root of the mean squared norm of n rows; 0 for none. */
double di_rms_norm(const float *x, int64_t n, int64_t c);

/*
 * Folds for cross-validation, drawn by the seed: rows of equal group share a fold. Where fewer than
 * 2 folds' worth of groups exist (one prompt for all rows) each row is its own group.
 * fold (n): 0 .. folds-1. group may be NULL. ERR_NOMEM.
 */
dial_status di_folds(const di_alloc *al, int64_t n, const uint64_t *group, int folds, uint64_t seed,
                     int32_t *fold, dial_error *err);

#endif
