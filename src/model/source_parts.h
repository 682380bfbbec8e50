/* The inside of a source, shared by the files that fill it (hf, gguf), check it and serve it. */
#ifndef DI_MODEL_SOURCE_PARTS_H
#define DI_MODEL_SOURCE_PARTS_H

#include "model/gguf.h"
#include "model/safetensors.h"
#include "model/source.h"

/* A tensor under its HF name. */
typedef struct di_source_entry {
    char *name;         /* owned */
    const char *stored; /* name in the file */
    const char *type;   /* hf: what the file calls its type */
    uint32_t type_id;   /* gguf: the same */
    di_weight w;        /* dtype DI_DTYPE_COUNT: a type that is not read */
    int n_dims;         /* of the file; w has a shape if it is 1 or 2 */
    float *own;         /* memory behind w.data where the file's order had to be undone */
    int used;           /* the decoder or the head asks for it */
} di_source_entry;

/* A file of an HF folder. */
typedef struct di_source_file {
    char *name; /* within the folder; owned */
    di_st st;
} di_source_file;

struct di_source {
    const di_alloc *al;
    const dial_env *env;
    char *path; /* as given */
    char *dir;  /* folder of config.json and tokenizer.json; NULL for GGUF */
    const char *kind;
    di_config config;

    di_source_entry *entry; /* sorted by name once open */
    size_t n, cap;
    size_t n_image; /* tensors of an image tower, left out */

    di_source_file *file; /* hf: weight files */
    size_t n_files;
    int sharded; /* hf: there is an index */
    di_gguf *gguf;
    int32_t *row_map; /* gguf, llama: [H*D], HF row -> stored row; k uses its beginning */
};

/* Adds an entry; name is copied. NULL: no memory. The result is valid until the next call. */
di_source_entry *di_source_add(di_source *s, const char *name);

/* Fill a new source (path, al, env, kind are set): config, files and entries. */
dial_status di_source_open_hf(di_source *s, dial_error *err);
dial_status di_source_open_gguf(di_source *s, dial_error *err);

/*
 * Every tensor that the decoder needs exists with the shape of the configuration and a type that
 * is read. Marks what is used and logs the rest. Entries are sorted.
 */
dial_status di_source_check(di_source *s, dial_error *err);

/* What the file calls the entry's type, for messages. */
const char *di_source_type_name(const di_source_entry *e, char buf[24]);

/* By HF name; NULL: none. */
di_source_entry *di_source_entry_of(const di_source *s, const char *name);

#endif
