/*
 * What makes two domains one. An alignment method looks at rows of both domains, fits what it has
 * to fit (a critic) on them as constants, and adds the gradient of its distance to dx. Every method
 * is a table of this form in a file of its own, and knows nothing of where its rows come from:
 * align/alignment.h makes them out of a step's embeddings, or of their pair differences.
 */
#ifndef DI_ALIGN_ALIGN_H
#define DI_ALIGN_ALIGN_H

#include "base/json.h"
#include "tensor/ops.h"

typedef struct di_align di_align;

/*
 * What a method sees of a step: n_s source rows, then n_t target rows, each of C floats in host
 * memory. On symmetric pair differences (method.md 8.1) a side with M pairs has 2M rows,
 * [delta_0 .. delta_{M-1}; -delta_0 .. -delta_{M-1}], and every row its margin.
 */
typedef struct di_align_rows {
    const float *x;      /* [n_s + n_t, C] */
    int64_t n_s, n_t;    /* >= 1 each */
    const float *margin; /* [n_s + n_t] w.delta in units of the reward; source: chosen - rejected.
                            NULL where rows are embeddings */
} di_align_rows;

typedef struct di_align_stats {
    double loss;             /* what the encoder minimises, without lambda */
    double w1;               /* E_S d - E_T d; >= 0 for a fitted critic; NaN: no critic */
    double critic_loss;      /* of the last critic iteration, before its update */
    double gp;               /* gradient penalty of the last critic iteration, without its weight;
                                NaN: none */
    double critic_grad_norm; /* mean slope ||q|| of the critic at the penalty's points in the last
                                critic iteration, in the scale of its rows; NaN: no penalty */
} di_align_stats;

/* One tensor of a method's state, for checkpoints. */
typedef struct di_align_tensor {
    char name[64]; /* "critic.layers.0.weight" */
    float *theta, *m, *v;
    int64_t rows, cols; /* cols 0: a vector */
} di_align_tensor;

typedef struct di_align_method {
    const char *name;
    int pairs; /* 1: wants pair differences and their margins */
    /*
     * Fits on constant rows (critic iterations, what past rows leave behind); comes before
     * `gradient` in every step. Fills all of stats but loss and w1. NULL: nothing to fit.
     */
    void (*fit)(di_align *a, const di_align_rows *rows, di_align_stats *stats);
    /*
     * dx [n_s + n_t, C] += lambda * dL/dx, and dmargin [n_s + n_t] (NULL where rows->margin is)
     * += lambda * dL/dmargin; fills stats->loss and stats->w1. dx NULL: the values alone.
     */
    void (*gradient)(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats);
    /* Iterations of every fit from here on. NULL: its fits do not iterate. */
    void (*set_iters)(di_align *a, int iters);
    /*
     * out [n] = d(x) of rows x [n, C] by the critic as it is, n at most the rows of a step; nothing
     * is learnt. NULL: the method's distance is not that of a critic.
     */
    void (*judge)(di_align *a, const float *x, int64_t n, float *out);
    /* State: tensors, and counters as a JSON object. All three NULL: the method keeps no state. */
    int (*tensors)(di_align *a, di_align_tensor *out, int cap);
    json_t *(*save)(const di_align *a);
    dial_status (*load)(di_align *a, const json_t *state, const char *where, dial_error *err);
    void (*free)(di_align *a);
} di_align_method;

/* First member of every method's own struct. */
struct di_align {
    const di_align_method *method;
};

/* Where the penalty is taken: between the domains, at the source's rows, at the target's. */
enum { DI_GP_AT_INTERP = 1, DI_GP_AT_SOURCE = 2, DI_GP_AT_TARGET = 4, DI_GP_AT_ALL = 7 };

typedef struct di_wasserstein_options {
    int64_t width;    /* C */
    int64_t max_rows; /* largest n_s + n_t */
    int64_t hidden[DI_CRITIC_MAX_LAYERS - 1];
    int n_hidden;
    di_critic_act act;
    di_gp_kind gp_kind;
    unsigned points;  /* DI_GP_AT_... that carry the penalty; 0: all of them */
    double gp;        /* lambda_gp */
    int spectral;     /* 1: spectral norm in the place of the penalty (align/critic.h) */
    int iters;        /* critic iterations of a fit */
    double lr, decay; /* Adam with coupled decay */
    int gap_clamp;    /* the encoder minimises max(0, gap) */
    uint64_t seed;
    uint32_t stream; /* numbers the critics of a run: own weights, own draws */
} di_wasserstein_options;

/* Wasserstein critic with gradient penalty (arXiv 2501.00911; method.md 2.3 to 2.9). */
dial_status di_wasserstein_new(di_device *dev, const di_wasserstein_options *opt, di_align **out,
                               dial_error *err);

/*
 * Replaces the random draws of a fit: alpha [n_s + n_t] in [0, 1) and the row of the target that
 * each of its rows is paired with (perm [n_t]). For comparison with an implementation elsewhere.
 */
typedef void (*di_wasserstein_draw)(void *ctx, float *alpha, int64_t *perm, int64_t n2,
                                    int64_t n_t);
void di_wasserstein_set_draw(di_align *a, di_wasserstein_draw draw, void *ctx);

#endif
