/* Names of tensors in GGUF and in Hugging Face files, both ways (interfaces.md 3.4). */
#ifndef DI_MODEL_GGUF_NAMES_H
#define DI_MODEL_GGUF_NAMES_H

#include <stddef.h>

/*
 * "attn_q" -> "self_attn.q_proj": the stem between "blk.N." (in_layer) and ".weight"; NULL: none.
 * post_norms: the model has norms after attention and MLP too, which moves a name.
 */
const char *di_gguf_stem_in_hf(const char *stem, size_t n, int in_layer, int post_norms);

/* "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight"; 0: there is none. */
int di_gguf_name_of(const char *hf, int post_norms, char *buf, size_t n);

#endif
