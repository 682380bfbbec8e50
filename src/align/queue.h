/*
 * The feature queue (method.md 8.3; Wang et al. 2020, Cross-Batch Memory): rows of past steps stand
 * beside those of the present one, so that means, covariances and kernel means of a small batch
 * have the noise of a large one. Past rows are constants; gradients go to the present rows alone.
 *
 * Rows of a domain are oldest first, and the last ones are the present step's. At most `keep` past
 * rows stay, none older than `age` steps: what was computed by another encoder misleads.
 */
#ifndef DI_ALIGN_QUEUE_H
#define DI_ALIGN_QUEUE_H

#include "align/align.h"
#include "align/blocks.h"

enum { DI_SOURCE, DI_TARGET, DI_SIDES };

/* Rows that estimates are made from; row `own + i` of a side is row i of the step. */
typedef struct di_reference {
    const float *x[DI_SIDES]; /* [n, C] */
    int64_t n[DI_SIDES], own[DI_SIDES];
} di_reference;

typedef struct di_queue {
    int64_t width, keep, age, room; /* room: rows that a side can hold; 0: there is no queue */
    float *x[DI_SIDES];             /* [room, C] */
    int64_t n[DI_SIDES];
    int64_t *step[DI_SIDES]; /* [age + 1] rows of each step still held; [0]: the present one */
} di_queue;

/* max_rows: largest n_s + n_t of a step. keep 0: no queue, nothing is taken. */
void di_queue_init(di_queue *q, di_blocks *mem, int64_t width, int64_t keep, int64_t age,
                   int64_t max_rows);

/* A new step: what is too old or too much goes, the rows come in. Nothing without a queue. */
void di_queue_push(di_queue *q, const di_align_rows *rows);

/* The queue, whose last push was of this step; without one the step itself. */
di_reference di_queue_reference(const di_queue *q, const di_align_rows *rows);

/* State: queue.source and queue.target, and the counts as JSON. */
int di_queue_tensors(di_queue *q, di_align_tensor *out, int cap);
json_t *di_queue_save(const di_queue *q);
dial_status di_queue_load(di_queue *q, const json_t *state, const char *where, dial_error *err);

#endif
