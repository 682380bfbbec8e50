/*
 * The pre-tokenizer patterns of interfaces.md 3.3 as scanners: the same matches as the regular
 * expression, found without one.
 */
#ifndef DI_TEXT_SCAN_H
#define DI_TEXT_SCAN_H

#include <stddef.h>

typedef enum di_scan {
    DI_SCAN_NONE, /* no scanner: a regular expression or a string */
    DI_SCAN_GPT2,
    DI_SCAN_QWEN2,
    DI_SCAN_LLAMA3,
    DI_SCAN_NUMBER,  /* \p{N} */
    DI_SCAN_NUMBERS, /* \p{N}+ */
    DI_SCAN_THREE,   /* [0-9][0-9][0-9] */
    DI_SCAN_PUNCT,   /* [\p{P}\$\+<=>\^~\|]+ */
    DI_SCAN_NUMERIC, /* one character that Rust calls numeric (Digits) */
    DI_SCAN_COUNT
} di_scan;

/* The regular expression that a scanner stands for; NULL for NONE and NUMERIC. */
const char *di_scan_pattern(di_scan k);

/* The scanner of a regular expression, compared as a string; NONE: there is none. */
di_scan di_scan_of(const char *pattern, size_t n);

/*
 * First match at or after `from` in s[0..n), valid UTF-8: returns 1 and sets *begin, *end.
 * GPT2, QWEN2 and LLAMA3 match everywhere.
 */
int di_scan_find(di_scan k, const char *s, size_t n, size_t from, size_t *begin, size_t *end);

#endif
