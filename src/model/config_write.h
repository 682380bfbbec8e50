/* A model's configuration as config.json of transformers. */
#ifndef DI_MODEL_CONFIG_WRITE_H
#define DI_MODEL_CONFIG_WRITE_H

#include "base/json.h"
#include "model/source.h"

/*
 * *out: config.json of the source's first `layers` blocks. That of a Hugging Face folder is the
 * model's own with num_hidden_layers and layer_types cut (of a model with images its text_config);
 * that of a GGUF file is made from its metadata, in the spellings of transformers 4 and 5.
 * *family: "Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2" or "Gemma3Text", the beginning
 * of its classes' names. json_decref *out. ERR_INPUT: what config.json has no key for.
 */
dial_status di_config_to_json(const di_alloc *al, const di_source *s, int64_t layers, json_t **out,
                              const char **family, dial_error *err);

#endif
