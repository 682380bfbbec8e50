/*
 * The texts of a side through the language model, forward and backward: what a step asks of the
 * decoder. A side that fits one pass keeps its activations for the backward pass; one that does not
 * goes through in parts, and each part again with activations when its gradient is known (gradient
 * caching, arXiv 2101.06983). Equal to rounding, at one more forward.
 *
 * What the settings' trunk holds is not computed again: embeddings of a head-only run are looked
 * up, else the pass starts from the rows that enter the lowest trained layer. Same bits.
 */
#ifndef DI_TRAIN_PASS_H
#define DI_TRAIN_PASS_H

#include "train/side.h"

typedef struct di_pass di_pass;

/* decoder is borrowed. side[k] is read where the settings have a batch of it. */
dial_status di_pass_new(di_device *dev, di_decoder *decoder, const di_train_settings *set,
                        const di_examples *const side[DI_SIDES], di_pass **out, dial_error *err);
void di_pass_free(di_pass *p);

/*
 * Bytes of activations and workspace that di_pass_new takes from the device; rows != NULL: of
 * these, what passes of at most rows[k] token rows of side k ever touch.
 */
size_t di_pass_bytes(const di_decoder *decoder, const di_train_settings *set,
                     const di_examples *const side[DI_SIDES], const int64_t rows[DI_SIDES]);

/*
 * lm_weight times the mean next-token loss of the side that has one (settings.lm_side), of its last
 * backward pass, which added the gradient.
 */
double di_pass_next_loss(const di_pass *p);

/*
 * Embeddings of what side k picked into its rows e [n_texts, C], "=": e'
 * where the run has an adaptor. On several ranks each computes its share and receives the others';
 * an error of one is returned by all.
 */
dial_status di_pass_forward(di_pass *p, int k, const di_side *s, float *e, dial_error *err);

/*
 * grad (laid out like the decoder's LoRA) += gradient of the loss with dL/de = de [n_texts, C], for
 * what the last di_pass_forward of side k saw. On several ranks LoRA's is that of the texts of this
 * one, the adaptor's that of all. Without LoRA and adaptor nothing happens. next: with the gradient
 * of the side's next-token loss. last (NULL: none) is told of each layer that no text will add to
 * any more.
 */
dial_status di_pass_backward(di_pass *p, int k, const di_side *s, const float *de, int next,
                             float *grad, const di_layer_hook *last, dial_error *err);

#endif
