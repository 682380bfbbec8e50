/*
 * The losses on rewards (method.md 2.2, 4.2). Every one is a mean over its examples, weighted by
 * u_i (NULL: 1) and divided by their sum; dr is written, "=", for the rows of its examples.
 */
#ifndef DI_TRAIN_OBJECTIVE_H
#define DI_TRAIN_OBJECTIVE_H

#include <stdint.h>

typedef enum di_objective {
    DI_OBJECTIVE_PAIR, /* Bradley-Terry on chosen and rejected */
    DI_OBJECTIVE_BCE,  /* a score of 0 or 1 */
    DI_OBJECTIVE_MSE,  /* a real score */
    DI_OBJECTIVE_CE,   /* a class 0 .. J-1; the head has a row for each */
    DI_OBJECTIVE_MCQ   /* one right option against each wrong one */
} di_objective;

typedef struct di_loss_result {
    double loss;
    double
        accuracy;  /* share of right examples, ties in part; NaN: the loss has no right or wrong */
    double margin; /* mean difference of right and wrong; NaN: no such thing */
    int64_t ties;
} di_loss_result;

/*
 *     m_i = r_i+ - r_i- - margin_i
 *     L   = sum_i u_i [(1-s) softplus(-m_i) + s softplus(m_i)] / sum_i u_i
 *
 * Bradley-Terry with smoothing s: s 1/2 says that neither is preferred.
 */
typedef struct di_bt_args {
    const float *r;      /* [2M] chosen 0..M-1, rejected M..2M-1 */
    const float *margin; /* [M]; NULL: 0 */
    const float *weight; /* [M] >= 0, sum > 0 */
    int64_t m;           /* M >= 1 */
    double smoothing;
    float *dr; /* [2M]; NULL: not wanted */
} di_bt_args;

di_loss_result di_bt_loss(const di_bt_args *a);

/*
 *     BCE, y in {0, 1}:   L = sum_i u_i (softplus(r_i) - y_i r_i) / sum u
 *     MSE:                L = sum_i u_i (r_i - (y_i - mean) / sd)^2 / sum u
 *
 * accuracy (BCE alone): r > 0 where y is 1, r < 0 where it is 0.
 */
typedef struct di_point_args {
    const float *r, *y;  /* [n] */
    const float *weight; /* [n] */
    int64_t n;           /* >= 1 */
    double mean, sd;     /* MSE: of the scores; sd > 0 */
    float *dr;           /* [n]; NULL: not wanted */
} di_point_args;

di_loss_result di_bce_loss(const di_point_args *a);
di_loss_result di_mse_loss(const di_point_args *a);

/*
 *     L = sum_i u_i (log sum_j exp z_ij - z_i,y) / sum u,     dz_i = u_i (softmax z_i - onehot y)
 *
 * J classes with a logit each. accuracy: the label's logit on top, 1/k of a k-way tie there.
 */
typedef struct di_ce_args {
    const float *z;      /* [n, J] */
    const float *y;      /* [n] 0 .. J-1 */
    const float *weight; /* [n] */
    int64_t n, classes;  /* n >= 1; J >= 2 */
    float *dz;           /* [n, J]; NULL: not wanted */
} di_ce_args;

di_loss_result di_ce_loss(const di_ce_args *a);

/*
 *     L = sum_b u_b (1/n_b) sum_k [(1-s) softplus(-(r_b0 - r_bk)) + s softplus(r_b0 - r_bk)] / sum
 * u
 *
 * The paper's pairwise form of multiple choice: option 0 is right, options 1..n_b are wrong.
 * accuracy: the right option on top, 1/k of a k-way tie there.
 */
typedef struct di_mcq_args {
    const float *r;
    const int32_t *row_of; /* [B, per] row of option k of question b in r and dr; -1: none */
    int64_t n, per;        /* B >= 1 questions; per >= 2 */
    const float *weight;   /* [B] */
    double smoothing;
    float *dr; /* NULL: not wanted */
} di_mcq_args;

di_loss_result di_mcq_loss(const di_mcq_args *a);

/* softplus(z) = log(1 + exp(z)) and sigma(z), without overflow. */
double di_softplus(double z);
double di_sigmoid(double z);

/* sum u; weight NULL: n. */
double di_weight_sum(const float *weight, int64_t n);

#endif
