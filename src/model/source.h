/*
 * Where weights come from: a Hugging Face folder (safetensors, sharded too) or a GGUF file (split
 * too), memory-mapped. One interface for both, tensors under their Hugging Face names
 * ("model.layers.3.self_attn.q_proj.weight"), in Hugging Face row order.
 */
#ifndef DI_MODEL_SOURCE_H
#define DI_MODEL_SOURCE_H

#include "base/json.h"
#include "model/config.h"
#include "text/tokenizer.h"

typedef struct di_source di_source;

/*
 * path: folder, .gguf file or config.json alone (no weights: di_source_find finds nothing; for
 * `bench` and --dry-run). ERR_USAGE: missing; ERR_INPUT: not a model, corrupt, unsupported.
 */
dial_status di_source_open(const di_alloc *al, const dial_env *env, const char *path,
                           di_source **out, dial_error *err);
void di_source_close(di_source *s);

const di_config *di_source_config(const di_source *s);
const char *di_source_kind(const di_source *s);   /* "hf", "gguf", "config" */
const char *di_source_path(const di_source *s);

/* A weight by its HF name; out->out/in from its shape (1-D: out = 1). *found 0: no such tensor. */
dial_status di_source_find(const di_source *s, const char *name, di_weight *out, int *found,
                           dial_error *err);

/* Tensors as stored, for `info`. */
typedef struct di_source_tensor {
    const char *name;    /* as stored */
    di_dtype dtype;
    int64_t dim[4];      /* row-major, dim[n_dims-1] contiguous */
    int n_dims;
} di_source_tensor;
size_t di_source_count(const di_source *s);
di_source_tensor di_source_at(const di_source *s, size_t i);

/* The model's tokenizer: tokenizer.json of the folder, or the vocabulary of the GGUF file. */
dial_status di_source_tokenizer(const di_source *s, di_tokenizer **out, dial_error *err);

/* Tells the kernel that the pages of the file are not needed any more (after packing). */
void di_source_forget_pages(di_source *s);

/* Files with their SHA-256 (weights, config, tokenizer), appended to a JSON object by name. */
dial_status di_source_hashes(const di_source *s, json_t *out, dial_error *err);

#endif
