/*
 * A data file in memory, tokenised: what training and evaluation walk over. Equal texts are
 * encoded and stored once (`text_of` indices), since a text often stands in several pairs. A
 * dataset is immutable after loading; any number of threads may read it.
 */
#ifndef DI_DATA_DATASET_H
#define DI_DATA_DATASET_H

#include "data/rows.h"

/* One text: ids of one token sequence, ready for the model. */
typedef struct di_seq {
    const int32_t *id;
    int64_t n;           /* >= 1 */
    int64_t response_at; /* place of the response's first token; n: all of it was cut */
    uint64_t hash; /* FNV-1a of prompt, a 0 byte, and response (and the turns of a dialogue): names
                      the text */
    uint64_t prompt_hash; /* of the prompt alone */
    int32_t chars, words; /* of the response; of all of it where there is no border */
    unsigned flags;       /* DI_PROMPT_TRUNCATED, DI_RESPONSE_TRUNCATED */
} di_seq;

typedef struct di_example {
    di_row_kind kind;
    int32_t n_correct;      /* candidates: the first so many are correct; else 0 */
    int32_t first, n_texts; /* texts: dataset->text_of[first .. first + n_texts) */
    float score, margin, weight;
    const char *id, *group; /* NULL where absent */
    int length_matched;     /* 1, 0, -1 */
    int picked;             /* chosen by `data pick --by disagreement` */
    int identical;          /* pair: equal bytes or equal ids; a tie, never trained on */
    int64_t row, line;      /* place in the file, for messages and --scores */
} di_example;

typedef struct di_dataset {
    const di_alloc *al;
    char *path;      /* as given; "stdin" for "-" */
    char sha256[65]; /* of the file as stored */
    char schema[24], format[12];
    di_example *example; /* in the order of the file */
    int64_t n;           /* = counts.used, less the pairs that single texts were grouped into */
    int32_t *text_of;    /* example texts -> index into seq */
    di_seq *seq;
    int64_t n_seq;
    di_row_counts counts;     /* complete: read = bad + overlong_dropped + used, and under
                                 drop_identical + identical + identical_after_truncation; all
                                 + unlabelled */
    int64_t dialogues, plain; /* used rows that are message lists; that are prompt and response (a
                                 rendered text is neither) */
    int32_t *ids;             /* all tokens, texts one after the other */
    char *strings;            /* ids and groups of the examples */
} di_dataset;

typedef struct di_dataset_options {
    di_rows_options rows;
    int drop_identical; /* training: identical pairs are dropped and counted */
} di_dataset_options;

/*
 * Reads, checks, encodes. prompt_truncated and response_truncated count the used rows with such a
 * text; the first 3 identical pairs are logged as warnings. ERR_INPUT if no row is usable, or if a
 * row is bad as opt->rows takes it (`template_failed`: the chat template does not take the
 * dialogue); ERR_USAGE if the file is missing. Free with di_dataset_free.
 */
dial_status di_dataset_load(const di_alloc *al, const char *path, const di_dataset_options *opt,
                            const di_text_policy *policy, const di_tokenizer *tok,
                            const dial_env *env, di_dataset **out, dial_error *err);
/* The same from n bytes in memory; name stands for the path. */
dial_status di_dataset_load_memory(const di_alloc *al, const char *name, const void *data, size_t n,
                                   const di_dataset_options *opt, const di_text_policy *policy,
                                   const di_tokenizer *tok, const dial_env *env, di_dataset **out,
                                   dial_error *err);
void di_dataset_free(di_dataset *d);

/*
 * grouping.c: of a file of single texts those of equal prompt become pairs, drawn by the seed, the
 * text of the smaller hash first; what is left over stays single. counts.grouped_pairs and
 * single_texts say how many. Texts without a prompt stay single; another file stays as it is. Call
 * it right after loading: examples move.
 */
dial_status di_dataset_group_singles(di_dataset *d, uint64_t seed, dial_error *err);

/* Code points of a valid UTF-8 text, and its words: runs of what is no white space. */
int64_t di_count_chars(const char *text, size_t n);
int64_t di_count_words(const char *text, size_t n);

#endif
