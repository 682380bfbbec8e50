/* What training reads (lists of examples, one for each side of a step) and how it is set up. */
#ifndef DI_TRAIN_SETTINGS_H
#define DI_TRAIN_SETTINGS_H

#include "data/dataset.h"
#include "data/trunk.h"
#include "model/decoder.h"
#include "train/anchor.h"
#include "train/curriculum.h"
#include "train/objective.h"
#include "train/sampler.h"
#include "train/schedule.h"

/* The sides of a step. */
enum {
    DI_SOURCE,   /* labelled rows */
    DI_TARGET,   /* rows of the other domain; labels in them are read by the oracle alone */
    DI_LABELLED, /* a few labelled target pairs */
    DI_CROSSED,  /* target responses against responses to other prompts */
    DI_PARALLEL, /* rows that source and target have in common (train/parallel.h) */
    DI_SIDES
};

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

typedef enum di_center_form { DI_CENTER_PAIR, DI_CENTER_BATCH } di_center_form;

/* Length guards (train/length_guard.h). */
typedef enum di_guard_kind { DI_GUARD_CORR, DI_GUARD_MMD } di_guard_kind;

/* The loss of a side's labels. */
typedef struct di_loss_options {
    di_objective objective;
    double smoothing;
    int use_margin;
    double score_mean, score_sd; /* MSE */
    int64_t classes;             /* CE: J; else 0 */
} di_loss_options;

typedef struct di_train_settings {
    int64_t steps;
    int64_t batch[DI_SIDES]; /* examples of one part of a step; 0: the side takes no part */
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
    int64_t align_start; /* steps with lambda 0 before the ramp begins */
    int64_t ramp_over;
    double lr, head_lr, weight_decay, clip;
    double sam; /* rho of sharpness-aware steps on the source loss; 0: none. One process, and no
                   next-token loss, whose gradient every backward pass adds */
    di_schedule schedule;
    int64_t warmup; /* steps of learning-rate warm-up */
    di_loss_options loss;
    int target_labels;      /* the target's pairs are trained on like those of the source */
    double labelled_weight; /* of the loss of the labelled target pairs */
    double crossed_weight;  /* of cross-prompt negatives */
    double consistency;     /* of parallel rows */
    double pseudo_weight;   /* of pseudo-labels on target pairs; 0: none */
    di_curriculum curriculum;
    const int64_t *near; /* of it (borrowed): [target examples] from near to far */
    int teacher;         /* 1: a running mean of the weights is kept beside them */
    double lm_weight;    /* of the next-token loss; 0: none */
    int lm_side;         /* DI_SOURCE: responses of the first texts; DI_TARGET: all tokens of all */
    double anchor;       /* weight of the distance to the frozen base's embeddings; 0: none */
    di_anchor_kind anchor_kind;
    const di_trunk *frozen;    /* these embeddings (borrowed) */
    double guard, guard_least; /* weight of the length guard, correlation that it lets pass */
    di_guard_kind guard_kind;
    double head_norm_max; /* norm of the head's rows after a step at most; 0: no limit */
    double center;
    di_center_form center_form;
    int center_both;       /* 1: the target's rewards too */
    int match_prompts;     /* the source's differences are of any two texts of one prompt, as the
                              target's grouped single texts are (method.md 8.1) */
    int64_t critic_warmup; /* critic-only steps before step 1 */
    int critic_iters, early_iters; /* critic updates of a step, and of the first early_steps */
    int64_t early_steps;           /* 0: all steps have what the critic was made with */
    uint64_t seed;
} di_train_settings;

#endif
