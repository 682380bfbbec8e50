/*
 * Many texts through the language model: packed batches up to a token budget, results in order. The
 * one place where texts become the embeddings that heads, distances and files see: e' where the
 * decoder's trainable tensors hold an adaptor (model/adaptor.h).
 */
#ifndef DI_EVAL_TEXTS_H
#define DI_EVAL_TEXTS_H

#include "data/dataset.h"
#include "data/trunk.h"
#include "model/decoder.h"

typedef struct di_embedder di_embedder;

/*
 * A forward-only workspace for batches of batch_tokens rows (more for a single longer text), texts
 * of at most max_length tokens.
 */
dial_status di_embedder_new(di_device *dev, di_decoder *d, int64_t batch_tokens, int64_t max_length,
                            di_embedder **out, dial_error *err);
void di_embedder_free(di_embedder *m);
const di_device *di_embedder_device(const di_embedder *m);

/*
 * What di_embed_texts need not compute again, borrowed; NULL: nothing. A per_token trunk holds what
 * enters the decoder's lowest layer with LoRA, another one embeddings before the adaptor. Same
 * bits.
 */
dial_status di_embedder_set_trunk(di_embedder *m, const di_trunk *t, dial_error *err);

/*
 * e [n, C]: embeddings in the order of `text`. prompt (may be NULL) [n]: texts of equal prompt
 * number share their common prefix. what names the work in env->progress (NULL: not told). The
 * result of a text does not depend on the others, to the last bit.
 *
 * On several ranks all call it with the same texts; each computes a share, and all receive all.
 */
dial_status di_embed_texts(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                           int64_t n, const char *what, float *e, dial_error *err);

/*
 * Several depths and poolings from one pass: e [n_views, n, C], as they leave the model, without an
 * adaptor.
 */
dial_status di_embed_views(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                           int64_t n, const di_view *view, int n_views, const char *what, float *e,
                           dial_error *err);

/*
 * logp [n]: mean over the tokens from[i] .. text[i].n - 1 of a text of the log of their probability
 * after those before them (a first token has none and is left out). Of a decoder opened
 * with_logits, in one process. The result of a text does not depend on the others, to the last bit.
 * ERR_USAGE: a text without such a token; ERR_NUMERIC: a value that is not finite ("text 3").
 */
dial_status di_text_logp(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                         const int64_t *from, int64_t n, const char *what, double *logp,
                         dial_error *err);

/*
 * The frozen part of the model alone, for a trunk of this shape: put is called once a text, in any
 * order. INTERRUPTED when asked to stop.
 */
typedef dial_status (*di_put_rows)(void *ctx, const di_seq_view *text, const void *rows,
                                   dial_error *err);
dial_status di_trunk_texts(di_embedder *m, const di_trunk_shape *shape, const di_seq_view *text,
                           const uint64_t *prompt, int64_t n, di_put_rows put, void *ctx,
                           dial_error *err);

/*
 * Rewards [d->n_seq] of all distinct texts of a dataset; e (may be NULL) [d->n_seq, C] receives
 * their embeddings. *seconds, *tokens (may be NULL): time and tokens of the forward passes.
 */
dial_status di_score_dataset(di_embedder *m, const float *head, const di_dataset *d,
                             const char *what, float *reward, float *e, double *seconds,
                             int64_t *tokens, dial_error *err);

/* The same by a head of classes w [classes, C]: logit [d->n_seq, classes]. */
dial_status di_logits_dataset(di_embedder *m, const float *w, int64_t classes, const di_dataset *d,
                              const char *what, float *logit, double *seconds, int64_t *tokens,
                              dial_error *err);

#endif
