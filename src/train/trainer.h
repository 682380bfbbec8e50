/*
 * One training step (method.md 2.5), and what it keeps between steps.
 *
 * A step picks examples of the source and of whatever other side takes part; each side is packed
 * without padding and goes through the language model once. The critic's iterations see the
 * embeddings of the whole step as constants; then all terms of the loss (train/step.h) send one
 * gradient dE back through each side. A side whose dE is zero (lambda 0) is left out of the
 * backward pass, so that lambda 0 gives the bits of `src-pref`.
 *
 * A side that does not fit one forward pass is split: all embeddings first, then each part again
 * with activations (gradient caching, arXiv 2101.06983). Equal to rounding, at one more forward.
 */
#ifndef DI_TRAIN_TRAINER_H
#define DI_TRAIN_TRAINER_H

#include "align/alignment.h"
#include "train/optimizer.h"
#include "train/step.h"

typedef struct di_trainer di_trainer;

/*
 * side[k] (read where settings->batch[k] > 0) stays with the caller, as do decoder and params;
 * params must be the decoder's LoRA. align: NULL unless the method aligns; borrowed.
 */
dial_status di_trainer_new(di_device *dev, di_decoder *decoder, di_params *params,
                           di_alignment *align, const di_train_settings *settings,
                           const di_examples *const side[DI_SIDES], di_trainer **out,
                           dial_error *err);
void di_trainer_free(di_trainer *t);

/* The critic-only steps before step 1, on batches of a stream of their own. Stops when asked. */
dial_status di_trainer_warm_critic(di_trainer *t, dial_error *err);

/* One step. ERR_NUMERIC after three steps in a row with a number that is not finite. */
dial_status di_trainer_step(di_trainer *t, di_step_report *report, dial_error *err);

int64_t di_trainer_steps_done(const di_trainer *t);

/* Passes over the source that have ended, or begin with the next step. */
int64_t di_trainer_pass(const di_trainer *t);

/* What may be renewed between steps: factors u [source examples] of the rows' weights;
 * pseudo-labels p [target examples] (train/pseudo.h; the settings have a pseudo_weight). Copied,
 * and kept in checkpoints. */
dial_status di_trainer_reweight(di_trainer *t, const float *u, dial_error *err);
void di_trainer_relabel(di_trainer *t, const float *p);

/* Of a curriculum: the target's examples from near to far, as the checkpoint that was restored has
 * them; NULL without one. */
const int64_t *di_trainer_near(const di_trainer *t);

/* The optimizer as it was before step 1, after the caller has set the parameters anew. */
void di_trainer_restart(di_trainer *t);

/* Running mean of the parameters, laid out like theta; NULL unless the settings want a teacher. */
float *di_trainer_teacher(di_trainer *t);

/* What a checkpoint holds beside the tensors, and the tensors' owners. */
json_t *di_trainer_state(const di_trainer *t);
dial_status di_trainer_restore(di_trainer *t, const json_t *state, const char *where,
                               dial_error *err);
di_params *di_trainer_params(di_trainer *t);
di_optimizer *di_trainer_optimizer(di_trainer *t);
di_alignment *di_trainer_alignment(di_trainer *t);

#endif
