/*
 * What stands beside the loss of the source's labels: the other labelled sides, pseudo-labels,
 * parallel rows, centring, anchors, the length guard. Each is a file of its own; here are their
 * weights and rows.
 */
#ifndef DI_TRAIN_AUXILIARY_H
#define DI_TRAIN_AUXILIARY_H

#include "train/step.h"

typedef struct di_auxiliary {
    const di_alloc *al;
    const di_train_settings *set; /* borrowed */
    float *e0;                    /* [rows, C] of the frozen base; NULL: no anchor */
    double *work;                 /* of the anchor */
    int32_t *guard_row;           /* of the length guard's kind mmd; NULL: the other, or none */
    float *guard_v;
    float *crossed; /* [n] 1: beats the foreign text, 1/2: two foreign ones tie */
    float *pseudo;  /* [n] of the target: P(first text better), below 0: no label; NULL: none */
    int64_t n_pseudo;
} di_auxiliary;

/* For steps of at most `rows` embeddings of source and target. Free with di_auxiliary_deinit. */
dial_status di_auxiliary_init(di_auxiliary *a, const di_alloc *al, const di_train_settings *set,
                              const di_step *s, int64_t rows, dial_error *err);
void di_auxiliary_deinit(di_auxiliary *a);

/* dr and de of the step += ; returns the sum of the weighted losses. */
double di_auxiliary_loss(const di_auxiliary *a, di_step *s);

#endif
