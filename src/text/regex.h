/*
 * Regular expressions of a tokenizer.json that have no scanner of their own (scan.h). They are
 * written for Oniguruma; what means the same to PCRE2 is passed on, what can be said in other
 * words is translated (\s, \w, character properties with the code points that PCRE2 does not know
 * yet), and the rest is refused by name.
 */
#ifndef DI_TEXT_REGEX_H
#define DI_TEXT_REGEX_H

#include "base/alloc.h"

typedef struct di_regex di_regex;

/*
 * pattern[n] is 0. The result is immutable, so threads may share it. `where` is the JSON
 * path for errors. ERR_INPUT, ERR_NOMEM.
 */
dial_status di_regex_compile(const di_alloc *al, const char *pattern, size_t n, const char *where,
                             di_regex **out, dial_error *err);
void di_regex_free(di_regex *re);

/* Working memory of a search; one thread at a time. Zero-initialise with al set. */
typedef struct di_regex_work {
    const di_alloc *al;
    void *general, *match, *context, *stack;
} di_regex_work;

void di_regex_work_deinit(di_regex_work *w);

/*
 * First match at or after `from` in s[0..n), which is valid UTF-8: *found, *begin, *end. A match
 * has at least one byte. ERR_INPUT if the pattern needs more steps than a search may take.
 */
dial_status di_regex_find(const di_regex *re, di_regex_work *w, const char *s, size_t n,
                          size_t from, int *found, size_t *begin, size_t *end, dial_error *err);

#endif
