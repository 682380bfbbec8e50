/*
 * AdamW over the trainable tensors in two groups, LoRA and head, with one global gradient norm
 * (method.md 2.12). State is f32 and laid out like params->theta.
 */
#ifndef DI_TRAIN_OPTIMIZER_H
#define DI_TRAIN_OPTIMIZER_H

#include "model/lora.h"

enum { DI_GROUP_LORA = 1, DI_GROUP_HEAD = 2 };

typedef struct di_optimizer {
    di_device *dev;
    di_params *params;
    float *g, *m, *v;       /* [params->size]; g: accumulate gradients here */
    int64_t t_lora, t_head; /* steps taken by each group */
    double decay, clip;     /* clip 0: off */
    double head_norm_max;   /* 0: no limit */
} di_optimizer;

dial_status di_optimizer_init(di_optimizer *o, di_device *dev, di_params *params, double decay,
                              double clip, dial_error *err);
void di_optimizer_deinit(di_optimizer *o);

/*
 * Norm of g over the groups, clipping by min(1, clip/(norm + 1e-6)), one AdamW step on them, g
 * zeroed everywhere. A row of the head that is then longer than head_norm_max is scaled to that
 * norm: the projection onto the ball, which bounds how fast a reward changes with an embedding
 * (method.md 5.10). Returns the norm before clipping; if it is not finite nothing is updated.
 */
double di_optimizer_step(di_optimizer *o, unsigned groups, double lr, double head_lr);

#endif
