/*
 * What of a step is aligned. Between the trainer, which has embeddings, and the methods, which see
 * rows: the scale (align/scale.h), then
 *
 *     embedding  the rows are the scaled embeddings z
 *     delta      the rows are made of pair differences delta = z_1 - z_2 (method.md 8.1). Only
 * differences reach the preference loss, so an offset between the domains, which would fill a
 * critic on embeddings, cancels before the critic sees it
 *
 * What a row of delta is (di_delta_kind), with m = w.(e_1 - e_2) the margin of the pair:
 *
 *     sym       {delta, -delta}: with both orders present the label marginal is one half in either
 *               domain
 *     oriented  source: delta of chosen less rejected; target: tanh(m/2) delta, the mean of +-delta
 *               under p = sigma(m); the factor is a constant to the gradient
 *     reward    |m|, of one dimension and in units of the reward: its gradient goes to dr alone
 *
 * Beside delta a share of lambda may go to the single embeddings, by a second method of the same
 * kind. Swapping the two texts of a target pair changes nothing in either, nor of a source pair
 * unless the rows are oriented.
 */
#ifndef DI_ALIGN_ALIGNMENT_H
#define DI_ALIGN_ALIGNMENT_H

#include "align/align.h"
#include "align/scale.h"

typedef struct di_alignment di_alignment;

typedef enum di_delta_kind { DI_DELTA_SYM, DI_DELTA_ORIENTED, DI_DELTA_REWARD } di_delta_kind;

typedef struct di_alignment_options {
    int64_t width;    /* C */
    int64_t max_rows; /* largest n_s + n_t of a step */
    int on_delta;     /* 1: pair differences */
    di_delta_kind delta_kind;
    double share; /* of lambda, for single embeddings beside pair differences; 0: none */
    di_scale_kind scale;
} di_alignment_options;

/* One domain's texts in a step: rows of E. */
typedef struct di_align_side {
    int64_t rows;  /* texts */
    int64_t pairs; /* of texts of one prompt, for differences */
    const int32_t *first,
        *second; /* [pairs] their rows; oriented: of the source chosen, rejected */
} di_align_side;

/* A step as the trainer has it: source rows first. */
typedef struct di_align_step {
    const float *e; /* [n_s + n_t, C] */
    const float *r; /* [n_s + n_t] rewards w.e */
    di_align_side source, target;
} di_align_step;

/*
 * main aligns embeddings, or pair differences with on_delta (made for rows of width 1 if those are
 * rewards); beside (NULL unless share > 0) aligns the embeddings then. Both are taken over,
 * whatever the outcome.
 */
dial_status di_alignment_new(di_device *dev, const di_alignment_options *opt, di_align *main,
                             di_align *beside, di_alignment **out, dial_error *err);
void di_alignment_free(di_alignment *a);

/* Texts whose frozen embeddings di_alignment_fit_scale wants; 0: it needs none. */
int64_t di_alignment_scale_rows(const di_alignment *a);
/* Fixes the scale by e [n, C], embeddings of source texts by the frozen base. */
void di_alignment_fit_scale(di_alignment *a, const float *e, int64_t n);

/* Iterations of every fit from here on, of the methods that iterate. */
void di_alignment_set_iters(di_alignment *a, int iters);

/* The critics' iterations, embeddings constant. stats are those of main. */
void di_alignment_fit(di_alignment *a, const di_align_step *step, di_align_stats *stats);

/*
 * de [n_s + n_t, C] += lambda dL/de and dr [n_s + n_t] += lambda dL/dr; stats->loss is L without
 * lambda, the share included. de NULL: the values alone.
 */
void di_alignment_gradient(di_alignment *a, const di_align_step *step, double lambda, float *de,
                           float *dr, di_align_stats *stats);

/* Pairs that a step need not have seen: the two texts of a pair in turn, of the source's the chosen
 * one first. */
typedef struct di_align_pairs {
    const float *e_s, *e_t; /* [2 n_s, C], [2 n_t, C] */
    const float *r_s, *r_t; /* [2 n_s], [2 n_t] their rewards */
    int64_t n_s, n_t;       /* pairs, >= 1 each */
} di_align_pairs;

/*
 * The gap of main's critic as it is on such pairs, in the units of w1 (of which it is one on rows
 * of the step), and the standard deviation of the critic's values within the domains, pooled. Rows
 * are what a step would make of them; nothing is learnt from them and no scale moves. 0: main has
 * no critic, and nothing is written.
 */
int di_alignment_judge(di_alignment *a, const di_align_pairs *pairs, double *gap, double *sd);

/* State for checkpoints; tensors of `beside` are named critic_e.*, statistics have m = v = NULL. */
int di_alignment_tensors(di_alignment *a, di_align_tensor *out, int cap);
json_t *di_alignment_save(const di_alignment *a);
dial_status di_alignment_load(di_alignment *a, const json_t *state, const char *where,
                              dial_error *err);

#endif
