/*
 * safetensors: reading with every check of interfaces.md 3.2, and writing. Used for base weights,
 * adapters, checkpoints, embeddings and test fixtures.
 */
#ifndef DI_MODEL_SAFETENSORS_H
#define DI_MODEL_SAFETENSORS_H

#include "base/file.h"
#include "base/json.h"
#include "tensor/dtype.h"

typedef struct di_st_tensor {
    const char *name;
    const char *dtype_name; /* as stored: "F32", "I64", ... */
    di_dtype dtype;         /* DI_DTYPE_COUNT: one that dial does not compute with */
    int64_t dim[8];
    int n_dims;
    int64_t count;    /* product of dim */
    const void *data; /* into the map; no alignment promised */
    size_t bytes;
} di_st_tensor;

typedef struct di_st {
    const di_alloc *al;
    di_map map;
    di_st_tensor *tensor; /* sorted by name */
    size_t n;
    json_t *metadata; /* str -> str, or NULL */
    json_t *header;
} di_st;

dial_status di_st_open(const di_alloc *al, const char *path, di_st *out, dial_error *err);
/* The same on memory that the caller keeps (fuzz target). */
dial_status di_st_parse(const di_alloc *al, const void *data, size_t n, const char *where,
                        di_st *out, dial_error *err);
void di_st_close(di_st *s);
const di_st_tensor *di_st_find(const di_st *s, const char *name); /* NULL: no such tensor */

/* Copies tensor `name`, which must be F32 (or F16/BF16, converted) with `count` elements. */
dial_status di_st_read_f32(const di_st *s, const char *where, const char *name, float *dst,
                           int64_t count, dial_error *err);

typedef struct di_st_entry {
    const char *name;
    const char *dtype_name; /* "F32", "I32", "I64", "U64" ... */
    int64_t dim[4];
    int n_dims;
    const void *data;
    size_t bytes;
} di_st_entry;

/*
 * Writes atomically (base/file.h), byte for byte what the reference writer writes for the same
 * tensors: wide elements first, then by name. metadata: object of strings, or NULL. ERR_USAGE if
 * dtype, shape and bytes of an entry contradict each other.
 */
dial_status di_st_write(const di_alloc *al, const char *path, const di_st_entry *entry, size_t n,
                        const json_t *metadata, dial_error *err);

/*
 * The same for tensors that are not in memory: fill writes e->bytes bytes of entry e to w, in the
 * order of the file. entry.data is not looked at.
 */
typedef dial_status (*di_st_fill)(void *ctx, const di_st_entry *e, di_writer *w, dial_error *err);
dial_status di_st_write_from(const di_alloc *al, const char *path, const di_st_entry *entry,
                             size_t n, const json_t *metadata, di_st_fill fill, void *ctx,
                             dial_error *err);

#endif
