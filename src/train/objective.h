/*
 * The preference loss (method.md 2.2). For M labelled pairs with rewards r = [chosen; rejected]:
 *
 *     m_i = r_i+ - r_i- - margin_i
 *     L   = sum_i u_i [(1-s) softplus(-m_i) + s softplus(m_i)] / sum_i u_i
 *           + c mean_i (r_i+ + r_i-)^2                    Bradley-Terry, smoothing s, centring c
 */
#ifndef DI_TRAIN_OBJECTIVE_H
#define DI_TRAIN_OBJECTIVE_H

#include <stdint.h>

typedef struct di_bt_args {
    const float *r;      /* [2M] chosen 0..M-1, rejected M..2M-1 */
    const float *margin; /* [M]; NULL: 0 */
    const float *weight; /* [M] >= 0, sum > 0; NULL: 1 */
    int64_t m;           /* M >= 1 */
    double smoothing, center;
    float *dr; /* [2M] out, "="; NULL: not wanted */
} di_bt_args;

typedef struct di_bt_result {
    double loss;     /* with smoothing, without centring */
    double aux;      /* centring */
    double accuracy; /* share of r+ > r-, ties count 1/2 */
    double margin;   /* mean r+ - r- */
    int64_t ties;
} di_bt_result;

di_bt_result di_bt_loss(const di_bt_args *a);

/* softplus(z) = log(1 + exp(z)) and sigma(z), without overflow. */
double di_softplus(double z);
double di_sigmoid(double z);

#endif
