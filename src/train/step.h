/*
 * What one step has in hand: the picked rows of every side, their embeddings and rewards, and the
 * gradients with respect to both. Every term of the loss reads e and r and adds to de and dr; what
 * is in dr goes on to de and to the head at the end (r = w . e).
 */
#ifndef DI_TRAIN_STEP_H
#define DI_TRAIN_STEP_H

#include "train/side.h"

typedef struct di_step {
    di_side side[DI_SIDES];
    int present[DI_SIDES];       /* a side that takes part in steps */
    int64_t first[DI_SIDES + 1]; /* rows [first[k], first[k+1]) are those of side k */
    int64_t width;               /* C */
    float *e, *de;               /* [rows, C] */
    float *r, *dr;               /* [rows]; all zero where there are logits */
    int64_t classes;             /* CE: J */
    float *z, *dz;               /* [rows, J] logits; NULL unless CE */
} di_step;

/* What becomes of it in the journal: STEP KEYS of interfaces.md 1.5; NaN where there is no such
 * number. */
typedef struct di_step_report {
    int64_t step, tokens, ties;
    double epoch, loss, loss_source, loss_align, loss_aux, accuracy, margin;
    double reward_chosen_mean, reward_rejected_mean, reward_min, reward_max;
    double reward_source_mean, reward_source_std, reward_target_mean, reward_target_std;
    double grad_norm, lr, lambda, embed_norm_source, embed_norm_target;
    double critic_loss, w1, critic_grad_norm, gp;
    int skipped; /* a number was not finite: nothing was updated */
} di_step_report;

/* All NaN. */
di_step_report di_step_report_empty(void);

/* Rewards and norms of the step. Chosen and rejected: right and wrong texts, where rows have both.
 */
void di_step_describe(const di_step *s, di_step_report *out);

/*
 * The loss of side k's own labels (train/objective.h), dr "=" for its rows. Under MCQ and PAIR text
 * 0 of an example is the right one; under BCE, MSE and CE its score is its label. CE reads z and
 * writes dz instead.
 */
di_loss_result di_step_loss(const di_step *s, int k, const di_loss_options *o);

#endif
