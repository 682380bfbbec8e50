/*
 * The weights of a run as one plain model: base weights with the LoRA products added,
 *
 *     W' = W + s B A          (interfaces.md 4.1)
 *
 * of its first blocks alone where the run reads fewer than the base has. Under Hugging Face names
 * and in Hugging Face order; what exports are made of.
 */
#ifndef DI_MODEL_FOLD_H
#define DI_MODEL_FOLD_H

#include "model/lora.h"
#include "model/source.h"

/* A tensor of the folded model. */
typedef struct di_fold_tensor {
    char name[96]; /* "model.layers.3.self_attn.q_proj.weight" */
    int64_t rows, cols;
    int n_dims;    /* 1: a vector, rows is 1 */
    int64_t layer; /* -1: outside the blocks */
    int linear;    /* di_linear of a weight that LoRA may change; -1: none */
    int is_norm;
} di_fold_tensor;

typedef struct di_fold {
    const di_alloc *al;
    const di_source *source;
    const di_params *params; /* NULL: the base alone */
    int64_t layers;
    di_fold_tensor *tensor; /* embedding, blocks in order, final norm; no lm_head, no score */
    int n;
    double *sum; /* one row */
} di_fold;

/* source and params are borrowed. Free with di_fold_deinit (harmless on a zeroed one). */
dial_status di_fold_init(di_fold *f, const di_alloc *al, const di_source *source,
                         const di_params *params, int64_t layers, dial_error *err);
void di_fold_deinit(di_fold *f);

/*
 * dst [n, cols] = rows [first, first + n) of tensor t in f32: sums in f64, rounded once. Norms come
 * as stored: config.norm_plus_one says whether 1 has to be added. One thread at a time.
 */
dial_status di_fold_rows(di_fold *f, const di_fold_tensor *t, int64_t first, int64_t n, float *dst,
                         dial_error *err);

#endif
