/*
 * Gradual domains (method.md 8.9; Kumar et al. 2020, arXiv 2002.11361): the target's rows in the
 * order of their distance from the source, cut into bins of equal size that are opened from near to
 * far. A step draws from the open ones. What is open is a function of the step alone.
 */
#ifndef DI_TRAIN_CURRICULUM_H
#define DI_TRAIN_CURRICULUM_H

#include <stdint.h>

typedef struct di_curriculum {
    int64_t bins; /* K; 0: none, every row is open from the start */
    int labelled; /* the target has pseudo-labels: K + 1 parts, the first of them without labels */
} di_curriculum;

/*
 * Step (0-based) before which bin 0 .. K-1 is opened: ceil(bin steps/K), or with labels
 * ceil((bin + 1) steps/(K + 1)) for all but bin 0, which is open, unlabelled, from the start.
 */
int64_t di_curriculum_begin(const di_curriculum *c, int64_t bin, int64_t steps);

/* Bins open in that step: 1 .. K. */
int64_t di_curriculum_open(const di_curriculum *c, int64_t step, int64_t steps);

/* Rows of the first `open` of the bins of n rows. */
int64_t di_curriculum_rows(const di_curriculum *c, int64_t open, int64_t n);

#endif
