/*
 * Next-token loss of a batch through the frozen output head, and its gradient with respect to the
 * rows after the final norm (method.md 4.1: src-sft, tgt-ntp; the loss alone: `eval --base-score`).
 *
 *     L = sum_k weight_k (-log p(id_k | row_k)),    dlogits = weight (softmax - onehot)
 *     dh_row += dlogits W_lm
 *
 * In chunks of rows, since a vocabulary has up to 262,144 entries. The head is frozen, so the
 * gradient ends in LoRA.
 */
#ifndef DI_MODEL_NEXT_TOKEN_H
#define DI_MODEL_NEXT_TOKEN_H

#include "model/decoder.h"

/* Predict id from the row before it. */
typedef struct di_next {
    int32_t row, id;
    float weight;
} di_next;

typedef struct di_next_tokens {
    di_next *item; /* [cap] */
    int64_t n, cap;
    double loss; /* += by each backward pass that has them */
} di_next_tokens;

/*
 * Adds the tokens of text t of a batch from position `from` on (at least 1: the first has nothing
 * before it), each of this weight. A shared row may predict several. Returns how many; -1: no room.
 */
int64_t di_next_add(di_next_tokens *x, const di_batch *b, const di_seq_view *text, int64_t t,
                    int64_t from, float weight);

/*
 * loss [x->n]: that of each item, from the rows of the last forward pass. An item has the same bits
 * whatever the others are. ERR_USAGE: the decoder was opened without its output head, or a row that
 * the pass did not have.
 */
dial_status di_next_losses(const di_decoder *d, di_workspace *w, const di_next_tokens *x,
                           double *loss, dial_error *err);

/*
 * For the backward passes of this workspace from here on, borrowed; NULL: none. The decoder was
 * opened with_logits and train.
 */
void di_workspace_set_next(di_workspace *w, di_next_tokens *next);

#endif
