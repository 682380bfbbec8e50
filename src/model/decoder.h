/*
 * The decoder: frozen base weights packed for a device, LoRA beside them, forward to pooled
 * embeddings and backward to LoRA gradients. Layers are explicit: forward and backward call the
 * operations of tensor/ops.h in order (docs/math.md). No padding, no autograd tape; all memory of a
 * step comes from one planned workspace.
 *
 *   ids --embed--> x --[ norm, qkv (+LoRA), q/k norm, RoPE, attention, o (+LoRA), (post norm), +
 *                        norm, gate/up (+LoRA), GLU, down (+LoRA), (post norm), + ] x n_layers
 *       --final norm--> h --pool--> e [B, C] --(w . e)--> reward
 */
#ifndef DI_MODEL_DECODER_H
#define DI_MODEL_DECODER_H

#include "base/arena.h"
#include "model/lora.h"
#include "model/source.h"

typedef struct di_decoder di_decoder;

typedef enum di_pooling { DI_POOL_LAST, DI_POOL_MEAN } di_pooling;

typedef struct di_decoder_options {
    int64_t n_layers; /* the first N blocks, then the final norm; 0: all */
    di_pooling pooling;
    int train;             /* pack for the backward pass too (layers at or above first_trained) */
    int64_t first_trained; /* lowest layer that carries LoRA; backward stops there */
    int with_logits;       /* keep the output head for di_decoder_logits */
    int int8; /* the blocks' products in 8 bits (tensor/ops.h), but for blocks that want f32 and the
                 output head; not with train (ERR_USAGE): there is no backward product */
    uint64_t random_seed; /* source without weights (config.json alone): random ones from this */
} di_decoder_options;

/*
 * Packs the weights. dev and source must outlive the decoder: token embeddings are read from the
 * mapped file row by row (source is not const because its pages are given back after packing).
 */
dial_status di_decoder_new(di_device *dev, di_source *source, const di_decoder_options *opt,
                           di_decoder **out, dial_error *err);
void di_decoder_free(di_decoder *d);
const di_config *di_decoder_config(const di_decoder *d);
int64_t di_decoder_layers(const di_decoder *d);      /* blocks in use */
size_t di_decoder_weight_bytes(const di_decoder *d); /* on the device; the embedding table is not */

/*
 * LoRA in use, borrowed; its values are read at each call, so an optimizer may change them in
 * between. NULL: none. Set it before a workspace is planned: the workspace keeps room for its rank,
 * targets and layers, and refuses another shape (ERR_USAGE), but accepts none.
 */
void di_decoder_set_lora(di_decoder *d, const di_params *p);
const di_params *di_decoder_lora(const di_decoder *d);

/* A workspace for batches of at most these sizes; keeps what backward needs. */
typedef struct di_workspace di_workspace;
typedef struct di_workspace_options {
    int64_t max_rows, max_texts, max_length; /* token rows, texts, tokens of the longest text */
    int train;                               /* 0: forward only */
    int grad_checkpoint; /* 1: keep layer inputs alone, compute each layer again in backward; the
                            same bits for about a third more time */
    /*
     * borrows != 0: the scratch memory of `lender` serves both: a workspace of the same decoder
     * with room for as much (rows, length, train), freed after this one. What one keeps for its
     * backward pass the other leaves alone; di_workspace_hidden is that of the last forward of
     * either. di_workspace_bytes does not read lender.
     */
    int borrows;
    const di_workspace *lender;
} di_workspace_options;

/* Exact bytes that di_workspace_new will take from the device (for --dry-run). */
size_t di_workspace_bytes(const di_decoder *d, const di_workspace_options *opt);
dial_status di_workspace_new(const di_decoder *d, const di_workspace_options *opt,
                             di_workspace **out, dial_error *err);
void di_workspace_free(di_workspace *w);

/*
 * e [B, C] f32, contiguous, host memory. Allocates nothing. Row b depends on text b alone, bit for
 * bit: not on the batch, the place in it, or a prefix shared with others.
 * ERR_INPUT: an id outside the vocabulary; ERR_NUMERIC: a non-finite embedding (where: "text 3",
 * counted from 0; e is undefined then); ERR_USAGE: a batch that the workspace has no room for.
 */
dial_status di_decoder_forward(di_decoder *d, di_workspace *w, const di_batch *b, float *e,
                               dial_error *err);

/* Told of each layer from the top down, when a backward pass has added all of its gradient. */
typedef struct di_layer_hook {
    void (*done)(void *ctx, int64_t layer);
    void *ctx;
} di_layer_hook;

/* For the backward passes from here on, borrowed; NULL: none. */
void di_decoder_on_layer(di_decoder *d, const di_layer_hook *hook);

/* An embedding of another depth or pooling: the first `layer` blocks, then the final norm. */
typedef struct di_view {
    int64_t layer; /* 1 .. di_decoder_layers */
    di_pooling pooling;
} di_view;

/*
 * The same pass, kept at several depths: e [n_views, B, C]. A view of layer di_decoder_layers and
 * the decoder's pooling has the bits of di_decoder_forward. Needs a workspace without `train`
 * (ERR_USAGE: it does not plan for norms in between).
 */
dial_status di_decoder_forward_views(di_decoder *d, di_workspace *w, const di_batch *b,
                                     const di_view *view, int n_views, float *e, dial_error *err);

/*
 * The forward pass in two halves, for trunks that are computed once (data/trunk.h). The trunk ends
 * where the lowest layer with LoRA begins (0: at the token embeddings, and all layers are top).
 * What passes from one half to the other is rounded to the act dtype, in di_decoder_forward too, so
 * that both ways give the same bits. rows [N, C] act, host memory, contiguous.
 */
int64_t di_decoder_entry(const di_decoder *d);
dial_status di_decoder_trunk(di_decoder *d, di_workspace *w, const di_batch *b, void *rows,
                             dial_error *err);
dial_status di_decoder_forward_from(di_decoder *d, di_workspace *w, const di_batch *b,
                                    const void *rows, float *e, dial_error *err);

/*
 * After the forward of the same batch, any number of times: grad (laid out like params->theta) +=
 * dL/dLoRA for de [B, C] = dL/de. The head's gradient is the caller's. Nothing below the lowest
 * layer with LoRA is computed. A text whose de is zero adds exact zeros. Allocates nothing.
 */
dial_status di_decoder_backward(di_decoder *d, di_workspace *w, const di_batch *b, const float *de,
                                float *grad, dial_error *err);

/*
 * h [N, C] f32: the rows after the final norm of the last forward (tests), until a backward pass.
 * Of a decoder that pools means or has its output head: one that reads last tokens alone does not
 * compute the other rows of its last block.
 */
const float *di_workspace_hidden(const di_workspace *w);

/* logits [n, V] f32 of rows row[0..n) of the last forward: output head and its soft cap. */
dial_status di_decoder_logits(di_decoder *d, di_workspace *w, const int32_t *row, int64_t n,
                              float *logits, dial_error *err);

#endif
