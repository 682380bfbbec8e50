/*
 * A folded model (fold.h) as a GGUF file in the conventions of llama.cpp: names, the order of q and
 * k, Gemma's norms as 1 + w (interfaces.md 3.4 read backwards).
 */
#ifndef DI_MODEL_GGUF_MODEL_H
#define DI_MODEL_GGUF_MODEL_H

#include "model/fold.h"
#include "model/gguf_write.h"

/*
 * Writes path: metadata of the model beside the pairs that `o` holds already, then the weights;
 * matrices in dtype (F32, F16, BF16 or Q8_0; a matrix whose rows are no whole blocks in F16),
 * vectors in F32. head (may be NULL) [C]: two rows (head, 0) of cls.output, which qwen3 has a place
 * for. The vocabulary is copied from a GGUF base, else taken from tok; add_bos and add_eos are what
 * a server of the file shall put around a text. o can be released afterwards.
 *
 * ERR_USAGE: a model whose attention scale no key of the format tells; ERR_INPUT (a tokenizer that
 * it has no name for), ERR_NOMEM, ERR_IO.
 */
typedef struct di_gguf_model {
    di_fold *fold;
    di_dtype dtype;
    const float *head;
    const di_tokenizer *tok;
    int add_bos, add_eos;
} di_gguf_model;
dial_status di_gguf_model_write(const di_gguf_model *m, const char *path, di_gguf_out *o,
                                dial_error *err);

/* What the format calls the architecture: Mistral is llama. */
const char *di_gguf_arch(const di_config *c);

#endif
