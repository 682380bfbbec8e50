/*
 * What the files tokenizer*.c share: the parts of a tokenizer and how a loader puts them together.
 *
 *   text -> added tokens (raw) -> normalizer -> added tokens (normalised) -> pre-tokenizer -> BPE
 *
 * A loader fills bpe.lex, merges and flags, norm, pre and added, and calls di_tokenizer_finish.
 */
#ifndef DI_TEXT_TOKENIZER_IMPL_H
#define DI_TEXT_TOKENIZER_IMPL_H

#include <jansson.h>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

struct di_tokenizer {
    const di_alloc *al;
    di_tokenizer_info info;
    di_normalizer norm;
    di_pretokenizer pre;
    di_bpe bpe;
    di_added *added; /* [n_added], in the order of ids */
    size_t n_added;
    di_trie raw, normalised; /* which strings of `added` to look for, before and after norm */
};

/* An empty tokenizer, to be filled. NULL: no memory. */
di_tokenizer *di_tokenizer_new(const di_alloc *al);

/*
 * Derived tables, tries, info.vocab and info.pre. `where` names the file in errors. ERR_INPUT if
 * two added tokens look the same once normalised.
 */
dial_status di_tokenizer_finish(di_tokenizer *t, const char *where, dial_error *err);

/* Appends a step; NULL when there are DI_NORM_STEPS (DI_PRE_STEPS) already. */
di_norm_step *di_tokenizer_add_norm(di_tokenizer *t, di_norm_kind kind);
di_pre_step *di_tokenizer_add_pre(di_tokenizer *t, di_pre_kind kind);

/* A Split by a known pattern: isolated matches. ERR_NOMEM. */
dial_status di_tokenizer_add_scan(di_tokenizer *t, di_scan k, dial_error *err);

/* A string step: Prepend (pattern NULL) or Replace of a string. ERR_NOMEM. */
dial_status di_tokenizer_add_text(di_tokenizer *t, di_norm_kind kind, const char *pattern,
                                  const char *content, dial_error *err);

/*
 * `normalizer`, `pre_tokenizer` and `post_processor` of a tokenizer.json (null allowed). What is
 * not in interfaces.md 3.3 is ERR_INPUT with its path behind `where`. *adds_bos and *adds_eos are
 * left alone if no template says anything.
 */
dial_status di_tokenizer_read_normalizer(di_tokenizer *t, const json_t *v, const char *where,
                                         dial_error *err);
dial_status di_tokenizer_read_pre(di_tokenizer *t, const json_t *v, const char *where,
                                  dial_error *err);
dial_status di_tokenizer_read_post(di_tokenizer *t, const json_t *v, const char *where,
                                   int *has_template, dial_error *err);

#endif
