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
    double gain;              /* coral, cmd and swd are defined on coordinates of size 1: what they
                                 multiply rows by, sqrt(C) for rows of norm 1 (scale.h); 0: 1 */
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

enum { DI_CMD_MAX_MOMENTS = 10 };

typedef struct di_cmd_options {
    int moments; /* highest order, 1 .. DI_CMD_MAX_MOMENTS */
} di_cmd_options;

/* Central moments by coordinate (Zellinger et al. 2017, arXiv 1702.08811). */
dial_status di_cmd_new(di_device *dev, const di_align_setup *setup, const di_cmd_options *opt,
                       di_align **out, dial_error *err);

typedef struct di_sliced_options {
    int64_t projections;
} di_sliced_options;

/* Sliced Wasserstein-2 distance, squared (Lee et al. 2019, arXiv 1903.04064). */
dial_status di_sliced_new(di_device *dev, const di_align_setup *setup, const di_sliced_options *opt,
                          di_align **out, dial_error *err);

typedef struct di_sinkhorn_options {
    double eps; /* of the mean cost between the sides */
    double rho; /* likewise; INFINITY: balanced */
    double tol; /* total error of the marginals at which iterations end */
    int iterations;
} di_sinkhorn_options;

/* Debiased Sinkhorn divergence (Feydy et al. 2019, arXiv 1810.08278); unbalanced: 2103.03606. */
dial_status di_sinkhorn_new(di_device *dev, const di_align_setup *setup,
                            const di_sinkhorn_options *opt, di_align **out, dial_error *err);

typedef struct di_deepjdot_options {
    double feature; /* a, in units of 1/mean ||delta_i - delta_j||^2 */
    double label;   /* b */
    int exact;      /* 1: the plan of least cost; 0: entropic, by the next */
    di_sinkhorn_options plan;
} di_deepjdot_options;

/* Transport with labels between pair differences (Damodaran et al. 2018, arXiv 1803.10081). */
dial_status di_deepjdot_new(di_device *dev, const di_align_setup *setup,
                            const di_deepjdot_options *opt, di_align **out, dial_error *err);

typedef struct di_contrastive_options {
    double temperature;
} di_contrastive_options;

/* InfoNCE between pair differences (method.md 8.2; van den Oord et al. 2018, arXiv 1807.03748). */
dial_status di_contrastive_new(di_device *dev, const di_align_setup *setup,
                               const di_contrastive_options *opt, di_align **out, dial_error *err);

typedef struct di_dann_options {
    int64_t hidden[DI_CRITIC_MAX_LAYERS - 1];
    int n_hidden;
    di_critic_act act;
    int iters;        /* classifier steps of a fit */
    double lr, decay; /* Adam with coupled decay */
    double kappa;     /* of the reversal */
    double smoothing; /* of the domain labels (Zhang et al. 2023, arXiv 2302.00194) */
    int oriented;     /* 1: cdan, on pair differences turned by the predicted preference */
} di_dann_options;

/* Domain-adversarial training (arXiv 1505.07818), and its conditional form (1705.10667). */
dial_status di_dann_new(di_device *dev, const di_align_setup *setup, const di_dann_options *opt,
                        di_align **out, dial_error *err);

/* Every method's options, so that one caller can make any of them. */
typedef struct di_align_options {
    di_align_setup setup;
    di_wasserstein_options wasserstein; /* width, max_rows, seed and stream: those of setup */
    di_dann_options dann;               /* `oriented` by the name */
    di_mean_options mean;
    di_mmd_options mmd;
    di_coral_options coral;
    di_cmd_options cmd;
    di_sliced_options sliced;
    di_sinkhorn_options sinkhorn;
    di_deepjdot_options deepjdot;
    di_contrastive_options contrastive;
} di_align_options;

/* A name of `--method`, and what it stands for. */
typedef struct di_align_kind {
    const char *name;
    int pairs;  /* needs pair differences and their margins */
    int critic; /* trains a network against the encoder: warm-up, iterations, learning rate */
    int queue;  /* reads past rows */
    dial_status (*make)(di_device *dev, const di_align_options *opt, di_align **out,
                        dial_error *err);
} di_align_kind;

/* NULL: no method of alignment has this name. */
const di_align_kind *di_align_find(const char *name);

#endif
