/*
 * GGUF (versions 2 and 3): metadata and tensors of a file, or of all parts of a split one.
 *
 * Files are mapped, not read: strings, arrays and tensor data are borrowed from the map and valid
 * until di_gguf_close. An open file is immutable; any number of threads may share it.
 */
#ifndef DI_MODEL_GGUF_H
#define DI_MODEL_GGUF_H

#include "base/file.h"
#include "model/config.h"
#include "text/tokenizer.h"

typedef struct di_gguf di_gguf;

typedef struct di_gguf_tensor {
    const char *name;
    di_dtype dtype; /* DI_DTYPE_COUNT: a type that dial does not read */
    uint32_t type_id;
    int64_t dim[4]; /* as stored: dim[0] contiguous; 1 beyond n_dims */
    int n_dims;
    const void *data;
    size_t bytes; /* 0 where dtype is DI_DTYPE_COUNT */
} di_gguf_tensor;

/*
 * path may be any part of a split file; the others are opened with it. ERR_USAGE: a file is
 * missing; ERR_INPUT: damaged, with the byte where it shows; ERR_NOMEM.
 */
dial_status di_gguf_open(const di_alloc *al, const char *path, di_gguf **out, dial_error *err);
/* One part in memory that the caller keeps (fuzz target). */
dial_status di_gguf_parse(const di_alloc *al, const void *data, size_t n, const char *where,
                          di_gguf **out, dial_error *err);
void di_gguf_close(di_gguf *g);

/* The files that were mapped, in order; path is what was opened, for errors. */
size_t di_gguf_parts(const di_gguf *g);
const char *di_gguf_part_path(const di_gguf *g, size_t part);
di_map di_gguf_part_map(const di_gguf *g, size_t part);

/* Tensors of all parts in file order / by name (NULL: none). */
size_t di_gguf_count(const di_gguf *g);
const di_gguf_tensor *di_gguf_at(const di_gguf *g, size_t i);
const di_gguf_tensor *di_gguf_find(const di_gguf *g, const char *name);

/* What a type id is called, also for types that dial does not read ("type 99" for others). */
const char *di_gguf_type_name(uint32_t id, char buf[24]);

/*
 * Metadata; 1 if the key is there and fits the type, else 0 and *out is untouched. Integers may
 * be of any width as long as the value fits; a bool is 0 or 1; a float may be stored as integer.
 */
int di_gguf_has(const di_gguf *g, const char *key);
int di_gguf_int(const di_gguf *g, const char *key, int64_t *out);
int di_gguf_float(const di_gguf *g, const char *key, double *out);
int di_gguf_string(const di_gguf *g, const char *key, di_str *out);

/* Arrays of metadata, item by item. Strings are walked in order with a position from 0. */
typedef struct di_gguf_array {
    uint32_t type; /* of the items: 0..12, never 9 */
    size_t n;
    const unsigned char *data; /* unaligned */
} di_gguf_array;
int di_gguf_array_of(const di_gguf *g, const char *key, di_gguf_array *out);
int di_gguf_item_int(const di_gguf_array *a, size_t i, int64_t *out);
int di_gguf_item_float(const di_gguf_array *a, size_t i, double *out);
di_str di_gguf_next_string(const di_gguf_array *a, size_t *at); /* type 8 only */

/* Pairs of the first part as they stand in the file (key, type, value), in the order of keys. */
size_t di_gguf_pairs(const di_gguf *g);
di_str di_gguf_pair(const di_gguf *g, size_t i, di_str *key);

/* Hyper-parameters by interfaces.md 3.4. ERR_INPUT names the key that is missing or odd. */
dial_status di_gguf_config(const di_gguf *g, di_config *out, dial_error *err);

/* The vocabulary, decoded once and handed to di_tokenizer_from_vocab (3.6). */
dial_status di_gguf_tokenizer(const di_alloc *al, const di_gguf *g, di_tokenizer **out,
                              dial_error *err);

#endif
