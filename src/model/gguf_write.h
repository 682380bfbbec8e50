/*
 * Writing a GGUF file (version 3, alignment 32): pairs of metadata first, then the table of
 * tensors, then their data, which may come from anywhere and need not be in memory at once.
 *
 *     di_gguf_out_init -> di_gguf_put_* -> di_gguf_put_tensor ... -> di_gguf_write -> deinit
 *
 * A put that runs out of memory is remembered; di_gguf_write reports it.
 */
#ifndef DI_MODEL_GGUF_WRITE_H
#define DI_MODEL_GGUF_WRITE_H

#include "base/file.h"
#include "model/config.h"
#include "text/tokenizer.h"

typedef struct di_gguf_out {
    di_buf pairs, tensors; /* as they will stand in the file */
    uint64_t n_pairs, n_tensors;
    uint64_t size; /* of the data so far, padding included */
} di_gguf_out;

void di_gguf_out_init(di_gguf_out *o, const di_alloc *al);
void di_gguf_out_deinit(di_gguf_out *o);

/* A key must not be put twice. */
void di_gguf_put_u32(di_gguf_out *o, const char *key, uint32_t v);
void di_gguf_put_f32(di_gguf_out *o, const char *key, float v);
void di_gguf_put_bool(di_gguf_out *o, const char *key, int v);
void di_gguf_put_string(di_gguf_out *o, const char *key, const char *s, size_t n);
void di_gguf_put_strings(di_gguf_out *o, const char *key, const di_str *s, size_t n);
void di_gguf_put_i32s(di_gguf_out *o, const char *key, const int32_t *v, size_t n);
void di_gguf_put_f32s(di_gguf_out *o, const char *key, const float *v, size_t n);
void di_gguf_put_bools(di_gguf_out *o, const char *key, const uint8_t *v, size_t n);
/* A pair as di_gguf_pair gives it. */
void di_gguf_put_pair(di_gguf_out *o, di_str pair);

/* The keys of interfaces.md 3.4 for the first `layers` blocks, and of a vocabulary (3.6). */
void di_gguf_put_config(di_gguf_out *o, const di_config *c, const char *arch, int64_t layers);
void di_gguf_put_vocab(di_gguf_out *o, const di_vocab *v);

/* dim[0] is the contiguous one; n_dims 1 or 2. Rows are whole blocks of the type. */
void di_gguf_put_tensor(di_gguf_out *o, const char *name, di_dtype t, const int64_t *dim,
                        int n_dims);

/*
 * Writes atomically. fill is called for tensor 0, 1, ... and writes its bytes to w. ERR_NOMEM,
 * ERR_IO, or what fill returns.
 */
typedef dial_status (*di_gguf_fill)(void *ctx, size_t tensor, di_writer *w, dial_error *err);
dial_status di_gguf_write(const di_alloc *al, const char *path, di_gguf_out *o, di_gguf_fill fill,
                          void *ctx, dial_error *err);

#endif
