/* GGUF (versions 2 and 3): metadata and tensors of a file, or of all parts of a split one. */
#ifndef DI_MODEL_GGUF_H
#define DI_MODEL_GGUF_H

#include "model/config.h"
#include "text/tokenizer.h"

typedef struct di_gguf di_gguf;

typedef struct di_gguf_tensor {
    const char *name;
    di_dtype dtype;      /* DI_DTYPE_COUNT: a type that dial does not read */
    uint32_t type_id;
    int64_t dim[4];      /* as stored: dim[0] contiguous */
    int n_dims;
    const void *data;
} di_gguf_tensor;

dial_status di_gguf_open(const di_alloc *al, const char *path, di_gguf **out, dial_error *err);
/* One part in memory that the caller keeps (fuzz target). */
dial_status di_gguf_parse(const di_alloc *al, const void *data, size_t n, const char *where,
                          di_gguf **out, dial_error *err);
void di_gguf_close(di_gguf *g);

size_t di_gguf_count(const di_gguf *g);
const di_gguf_tensor *di_gguf_at(const di_gguf *g, size_t i);
const di_gguf_tensor *di_gguf_find(const di_gguf *g, const char *name);

/* Metadata; 1 if the key is there and fits the type. Strings are borrowed. */
int di_gguf_int(const di_gguf *g, const char *key, int64_t *out);
int di_gguf_float(const di_gguf *g, const char *key, double *out);
int di_gguf_string(const di_gguf *g, const char *key, di_str *out);

dial_status di_gguf_config(const di_gguf *g, di_config *out, dial_error *err);
dial_status di_gguf_tokenizer(const di_alloc *al, const di_gguf *g, di_tokenizer **out,
                              dial_error *err);

#endif
