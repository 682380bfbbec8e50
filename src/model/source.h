/*
 * Where weights come from: a Hugging Face folder (safetensors, sharded too) or a GGUF file (split
 * too), memory-mapped. One interface for both, tensors under their Hugging Face names
 * ("model.layers.3.self_attn.q_proj.weight"), in Hugging Face row order.
 *
 * What opens is complete: every tensor that the decoder needs is there, has the shape that the
 * configuration asks for, and a type that di_dequantize reads. Pickle files are never opened.
 * An open source is immutable; any number of threads may share it.
 */
#ifndef DI_MODEL_SOURCE_H
#define DI_MODEL_SOURCE_H

#include "base/json.h"
#include "model/config.h"
#include "text/tokenizer.h"

typedef struct di_source di_source;

/*
 * path: folder, .gguf file or config.json (no weights: di_source_find finds nothing; for `bench`
 * and
 * --dry-run). ERR_USAGE: missing; ERR_INPUT: not a model, corrupt, unsupported.
 * env (may be NULL, else outlives the source) hears of unused tensors.
 */
dial_status di_source_open(const di_alloc *al, const dial_env *env, const char *path,
                           di_source **out, dial_error *err);
void di_source_close(di_source *s);

const di_config *di_source_config(const di_source *s);
const char *di_source_kind(const di_source *s); /* "hf", "gguf", "config" */
const char *di_source_path(const di_source *s);

/*
 * A weight by its HF name; out->out/in from its shape (1-D: out = 1). *found 0: no such tensor,
 * *out is untouched. Norms come as stored: config.norm_plus_one says whether 1 has to be added.
 * Biases are in HF order already and have no row_map. data is borrowed until di_source_close and
 * need not be aligned. ERR_INPUT: a tensor of more than two dimensions or of a type that is not
 * read (the decoder's own tensors have been checked at opening).
 */
dial_status di_source_find(const di_source *s, const char *name, di_weight *out, int *found,
                           dial_error *err);

/* A string that a GGUF file carries beside the model ("dial.text"); 0: there is none. */
int di_source_note(const di_source *s, const char *key, di_str *out);

/*
 * The GGUF file behind a source, for who copies its metadata (model/gguf.h); NULL: it is none.
 */
const struct di_gguf *di_source_gguf(const di_source *s);

/* Tensors as stored, for `info`. */
typedef struct di_source_tensor {
    const char *name; /* as stored */
    di_dtype dtype;   /* DI_DTYPE_COUNT: not read */
    int64_t dim[4];   /* row-major, dim[n_dims-1] contiguous; a fifth and more are folded in */
    int n_dims;
} di_source_tensor;
size_t di_source_count(const di_source *s);
di_source_tensor di_source_at(const di_source *s, size_t i);

/*
 * The model's tokenizer: tokenizer.json of the folder, or the vocabulary of the GGUF file. It has
 * no id without a row in the embedding table (ERR_INPUT), except Gemma 3's image token, which no
 * text produces. ERR_USAGE: there is none, which happens to a config.json alone.
 */
int di_source_has_tokenizer(const di_source *s);
dial_status di_source_tokenizer(const di_source *s, di_tokenizer **out, dial_error *err);

/*
 * The model's chat template, in Jinja, appended to nothing: di_free *text. chat_template.jinja or
 * chat_template of tokenizer_config.json (of several the one named "default"), or GGUF's
 * tokenizer.chat_template. *text NULL: it has none.
 */
dial_status di_source_chat_template(const di_source *s, char **text, size_t *n, dial_error *err);

/* Tells the kernel that the pages of the file are not needed any more (after packing). */
void di_source_forget_pages(di_source *s);

/* Files with their SHA-256 (weights, config, tokenizer), appended to a JSON object by name. */
dial_status di_source_hashes(const di_source *s, json_t *out, dial_error *err);

#endif
