/*
 * The gradient of a step, added up over the ranks while the backward pass still runs. LoRA alone:
 * every rank has all embeddings of the step and computes the loss on all of them, so the head's
 * gradient is complete everywhere, as are an adaptor's and all of the critic.
 */
#ifndef DI_TRAIN_GRADSUM_H
#define DI_TRAIN_GRADSUM_H

#include "dist/dist.h"
#include "model/decoder.h"

typedef struct di_gradsum {
    const di_dist *dist;
    const di_params *params; /* borrowed */
    float *g;                /* borrowed; laid out like params->theta */
    int64_t end;             /* LoRA is [0, end) */
    int64_t begun;           /* sums of [begun, end) have begun */
    di_layer_hook hook;      /* for the last backward pass of a step */
    dial_status st;          /* of a sum that could not begin, told by di_gradsum_end */
    dial_error err;
} di_gradsum;

/* Must stay where it is while the hook is in use. */
void di_gradsum_init(di_gradsum *s, const di_dist *dist, const di_params *params, float *g);

/* What the hook has not begun, and the end of all: g is that of the whole step on every rank. */
dial_status di_gradsum_end(di_gradsum *s, dial_error *err);

#endif
