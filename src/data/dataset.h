/*
 * A data file in memory, tokenised: what training and evaluation walk over. Equal texts are
 * encoded and stored once (`text` indices), since a text often stands in several pairs.
 */
#ifndef DI_DATA_DATASET_H
#define DI_DATA_DATASET_H

#include "data/rows.h"

/* One text: ids of one token sequence, ready for the model. */
typedef struct di_seq {
    const int32_t *id;
    int64_t n;
    uint64_t hash;           /* FNV-1a of prompt, a 0 byte, and response: names the text */
    uint64_t prompt_hash;    /* of the prompt alone */
    int32_t chars, words;    /* of the response: code points, runs of non-space */
} di_seq;

typedef struct di_example {
    di_row_kind kind;
    int32_t first, n_texts;  /* texts: dataset->text_of[first .. first + n_texts) */
    float score, margin, weight;
    const char *id, *group;  /* NULL where absent */
    int length_matched;      /* 1, 0, -1 */
    int identical;           /* equal bytes or equal ids */
    int64_t row, line;       /* place in the file, for messages and --scores */
} di_example;

typedef struct di_dataset {
    const di_alloc *al;
    char *path;
    char sha256[65];
    char schema[24], format[8];
    di_example *example;
    int64_t n;
    int32_t *text_of;        /* example texts -> index into seq */
    di_seq *seq;
    int64_t n_seq;
    di_row_counts counts;
    void *memory;            /* ids and strings */
} di_dataset;

typedef struct di_dataset_options {
    di_rows_options rows;
    int drop_identical;      /* training: identical pairs are dropped and counted */
} di_dataset_options;

/* Reads, checks, encodes. ERR_INPUT if no row is usable. Free with di_dataset_free. */
dial_status di_dataset_load(const di_alloc *al, const char *path, const di_dataset_options *opt,
                            const di_text_policy *policy, const di_tokenizer *tok,
                            const dial_env *env, di_dataset **out, dial_error *err);
void di_dataset_free(di_dataset *d);

#endif
