/*
 * The normalizer of a tokenizer.json: steps that rewrite the text between two added tokens before
 * anything is split. interfaces.md 3.3.
 */
#ifndef DI_TEXT_NORMALIZE_H
#define DI_TEXT_NORMALIZE_H

#include "text/piece.h"
#include "text/regex.h"

typedef enum di_norm_kind {
    DI_NORM_NFC,
    DI_NORM_NFD,
    DI_NORM_NFKC,
    DI_NORM_NFKD,
    DI_NORM_LOWERCASE,
    DI_NORM_STRIP,   /* left, right */
    DI_NORM_PREPEND, /* content, unless the text is empty */
    DI_NORM_REPLACE  /* pattern, a string or a regular expression, by content */
} di_norm_kind;

typedef struct di_norm_step {
    di_norm_kind kind;
    int left, right;
    char *pattern, *content; /* owned; NULL where the kind has none */
    size_t pattern_n, content_n;
    di_regex *regex; /* owned; NULL: pattern is a string */
} di_norm_step;

enum { DI_NORM_STEPS = 16 };

typedef struct di_normalizer {
    di_norm_step step[DI_NORM_STEPS];
    size_t n;
} di_normalizer;

void di_normalizer_deinit(di_normalizer *nm, const di_alloc *al);

/* Working memory; one thread at a time. Zero-initialise with di_norm_work_init. */
typedef struct di_norm_work {
    di_rewriter text[2];
    int32_t *code;  /* one cluster: code points */
    uint8_t *class; /* and their combining classes */
    size_t cap;
    di_regex_work *regex;
} di_norm_work;

void di_norm_work_init(di_norm_work *w, const di_alloc *al, di_regex_work *regex);
void di_norm_work_deinit(di_norm_work *w);

/*
 * Runs all steps on *p and puts a view of the result into *p: of the input where nothing changed,
 * else of w, valid until the next call. A character that is rewritten stands, with all its bytes,
 * for the input up to the end of what it replaced. ERR_NOMEM, ERR_INPUT (a pattern gave up).
 */
dial_status di_normalize(const di_normalizer *nm, di_norm_work *w, di_piece *p, dial_error *err);

#endif
