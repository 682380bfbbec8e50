/*
 * One training step (method.md 2.5), and what it keeps between steps.
 *
 * A step picks M source pairs and, for `dial` and `oracle`, M target examples; each side is packed
 * without padding and goes through the language model once. The critic's iterations see the
 * embeddings of the whole step as constants; then the preference loss and the distance send one
 * gradient dE back through each side. A side whose dE is zero (lambda 0) is left out of the
 * backward pass, so that lambda 0 gives the bits of `src-pref`.
 *
 * A side that does not fit one forward pass is split: all embeddings first, then each part again
 * with activations (gradient caching, arXiv 2101.06983). Equal to rounding, at one more forward.
 */
#ifndef DI_TRAIN_TRAINER_H
#define DI_TRAIN_TRAINER_H

#include "align/alignment.h"
#include "data/dataset.h"
#include "data/trunk.h"
#include "model/decoder.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/sampler.h"
#include "train/schedule.h"

typedef enum di_method {
    DI_METHOD_BASE,
    DI_METHOD_SRC_PREF,
    DI_METHOD_DIAL, /* any method of alignment */
    DI_METHOD_ORACLE
} di_method;

/* A list of examples out of one or more files. */
typedef struct di_example_ref {
    int32_t set, example;
} di_example_ref;

typedef struct di_examples {
    di_dataset *const *set; /* borrowed */
    di_example_ref *ref;    /* [n] */
    int64_t n;
} di_examples;

static inline const di_example *di_example_at(const di_examples *x, int64_t i)
{
    return &x->set[x->ref[i].set]->example[x->ref[i].example];
}

/* Text t (0 or 1) of example i. */
static inline const di_seq *di_example_seq(const di_examples *x, int64_t i, int t)
{
    const di_dataset *d = x->set[x->ref[i].set];

    return &d->seq[d->text_of[di_example_at(x, i)->first + t]];
}

typedef struct di_train_settings {
    di_method method;
    int64_t steps;
    int64_t batch_source, batch_target; /* examples of one part of a step */
    int parts;           /* parts whose gradients are summed before the optimizer's step: 1, but 2
                            under the preset `code` */
    int alternate;       /* alignment and source loss in turn instead of on the sum */
    int64_t micro_texts; /* most texts of one forward pass; even */
    int ranks;           /* processes that share a step's examples; 0: one */
    int grad_checkpoint;
    int head_only;         /* no LoRA is trained: forward passes alone */
    const di_trunk *trunk; /* what is computed already (borrowed): embeddings if head_only, else
                              rows that enter the lowest trained layer; NULL: nothing */
    double lambda;
    di_ramp ramp;
    int64_t ramp_over;
    double lr, head_lr, weight_decay, clip;
    di_schedule schedule;
    int64_t warmup; /* steps of learning-rate warm-up */
    double smoothing, center;
    int use_margin;
    int64_t critic_warmup; /* critic-only steps before step 1 */
    uint64_t seed;
} di_train_settings;

/* STEP KEYS of interfaces.md 1.5; NaN where a method has no such number. */
typedef struct di_step_report {
    int64_t step, tokens, ties;
    double epoch, loss, loss_source, loss_align, loss_aux, accuracy, margin;
    double reward_chosen_mean, reward_rejected_mean, reward_min, reward_max;
    double reward_source_mean, reward_source_std, reward_target_mean, reward_target_std;
    double grad_norm, lr, lambda, embed_norm_source, embed_norm_target;
    double critic_loss, w1, critic_grad_norm, gp;
    int skipped; /* a number was not finite: nothing was updated */
} di_step_report;

typedef struct di_trainer di_trainer;

/*
 * source and target (NULL for src-pref) stay with the caller, as do decoder and params; params
 * must be the decoder's LoRA. align: NULL unless the method aligns; borrowed.
 */
dial_status di_trainer_new(di_device *dev, di_decoder *decoder, di_params *params,
                           di_alignment *align, const di_train_settings *settings,
                           const di_examples *source, const di_examples *target, di_trainer **out,
                           dial_error *err);
void di_trainer_free(di_trainer *t);

/* The critic-only steps before step 1, on batches of a stream of their own. Stops when asked. */
dial_status di_trainer_warm_critic(di_trainer *t, dial_error *err);

/* One step. ERR_NUMERIC after three steps in a row with a number that is not finite. */
dial_status di_trainer_step(di_trainer *t, di_step_report *report, dial_error *err);

int64_t di_trainer_steps_done(const di_trainer *t);

/* What a checkpoint holds beside the tensors, and the tensors' owners. */
json_t *di_trainer_state(const di_trainer *t);
dial_status di_trainer_restore(di_trainer *t, const json_t *state, const char *where,
                               dial_error *err);
di_params *di_trainer_params(di_trainer *t);
di_optimizer *di_trainer_optimizer(di_trainer *t);
di_alignment *di_trainer_alignment(di_trainer *t);

#endif
