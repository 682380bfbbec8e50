/*
 * The constructors of the alignment methods, and the names by which runs call them. What a method
 * computes stands at the head of its file; equations: docs/math.md, method.md 2.11, 8.1
 * to 8.3, 8.9.
 *
 * Every constructor takes all memory that its method will ever use. Losses and their gradients are
 * functions of the rows and of what the last `fit` left (a bandwidth, directions, a plan, the
 * queue), so that `gradient` gives the same answer however often it is asked.
 */
#ifndef DI_ALIGN_METHODS_H
#define DI_ALIGN_METHODS_H

#include "align/align.h"

/* What every constructor needs to know. */
typedef struct di_align_setup {
    int64_t width;            /* C */
    int64_t max_rows;         /* largest n_s + n_t of a step */
    int64_t queue, queue_age; /* past rows a domain for mean, mmd, coral, cmd, and their greatest
                                 age in steps (align/queue.h); queue 0: none */
    uint64_t seed;
    uint32_t stream; /* numbers the methods of a run: own weights, own draws */
} di_align_setup;

/* f(a), a = ||ms - mt||: a^2, a, or a + a^2/(4 l), where a linear critic ends (method.md 2.10). */
typedef enum di_mean_form { DI_MEAN_SQUARE, DI_MEAN_ROOT, DI_MEAN_CRITIC } di_mean_form;

typedef struct di_mean_options {
    di_mean_form form;
    double gp; /* l of the form `critic`, > 0 */
} di_mean_options;

/* Distance of the means. Blind to all else; 0 on symmetric pair differences. */
dial_status di_mean_new(di_device *dev, const di_align_setup *setup, const di_mean_options *opt,
                        di_align **out, dial_error *err);

enum { DI_MMD_MAX_SCALES = 8 };

typedef struct di_mmd_options {
    int linear; /* 1: k(a, b) = a.b; 0: sum over scales of exp(-||a - b||^2 / (scale b0)) */
    int biased; /* 1: pairs of a row with itself count */
    double scale[DI_MMD_MAX_SCALES];
    int n_scales;
} di_mmd_options;

/* Maximum mean discrepancy, squared (Long et al. 2015, arXiv 1502.02791). */
dial_status di_mmd_new(di_device *dev, const di_align_setup *setup, const di_mmd_options *opt,
                       di_align **out, dial_error *err);

typedef struct di_coral_options {
    double mean; /* weight of ||ms - mt||^2, which covariances ignore */
} di_coral_options;

/* Distance of the covariances (Sun and Saenko 2016, arXiv 1607.01719). */
dial_status di_coral_new(di_device *dev, const di_align_setup *setup, const di_coral_options *opt,
                         di_align **out, dial_error *err);

#endif
