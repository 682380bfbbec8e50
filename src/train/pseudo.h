/*
 * Pseudo-labels on target pairs (method.md 8.5; SSRM, arXiv 2409.06903): a model labels the pairs
 * it is sure of, and the next one is trained on them too.
 *
 *     p = sigma(m/tau)        tau: temperature fitted on held-out source margins
 *     L = (u/n) sum [p softplus(-m) + (1-p) softplus(m)],   dm = u (sigma(m) - p)/n,   p constant
 *
 * n counts the pairs of the step, accepted or not: few accepted pairs weigh little. Either order of
 * a pair's texts is as good as the other, so the labels' marginal is 1/2 by construction; what is
 * held to a quota is length, or the next model would learn "longer wins" from its own labels.
 */
#ifndef DI_TRAIN_PSEUDO_H
#define DI_TRAIN_PSEUDO_H

#include "train/side.h"

/*
 * The loss above for the pairs of a side: p [side->n] by picked example, the probability that its
 * first text is the better one, below 0: not accepted. dr += . Returns the loss.
 */
double di_pseudo_loss(double weight, const float *p, const di_side *side, const float *r,
                      float *dr);

/* argmin over tau of mean softplus(-m_i/tau), by golden section on log tau in [-6, 6]; n >= 1. */
double di_temperature(const double *m, int64_t n);

typedef struct di_pseudo_options {
    double confidence; /* least max(p, 1-p); of the teacher's p too */
    double tau;        /* of the model's margins; the teacher is judged by its sign and its own */
    double teacher_tau;
    double longer_share; /* of source pairs whose chosen text is longer; < 0: no quota */
    int hard;            /* 1: labels 0 and 1 in the place of p */
} di_pseudo_options;

typedef struct di_pseudo_counts {
    int64_t accepted, longer, shorter; /* of the accepted: the longer, the shorter text wins */
} di_pseudo_counts;

/*
 * p [n] out, below 0 where a pair is not accepted: sure enough, the teacher's sign the same, and
 * within the quota, which drops the least sure pairs of whichever kind (longer wins, shorter wins)
 * there are too many of. m, teacher (NULL: none), log_length [n]: margin and log-length of the
 * first text against the second. ERR_NOMEM.
 */
dial_status di_pseudo_label(const di_alloc *al, const di_pseudo_options *o, const double *m,
                            const double *teacher, const double *log_length, int64_t n, float *p,
                            di_pseudo_counts *counts, dial_error *err);

#endif
