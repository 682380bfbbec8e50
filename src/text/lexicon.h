/* The strings of a vocabulary by id, and ids by string. */
#ifndef DI_TEXT_LEXICON_H
#define DI_TEXT_LEXICON_H

#include "text/tokenizer.h"

typedef struct di_lexicon_slot {
    uint32_t hash;
    int32_t id; /* -1: free */
} di_lexicon_slot;

/*
 * token[id] is empty where a vocabulary skips an id. Only what di_lexicon_find shall answer is
 * indexed: a token that was added to a model has a string but is not part of the model.
 */
typedef struct di_lexicon {
    const di_alloc *al;
    di_str *token; /* [n]; the strings lie in pool */
    size_t n;
    char *pool;
    size_t pool_n, pool_cap;
    di_lexicon_slot *slot;
    size_t mask; /* slots - 1, a power of two less one */
} di_lexicon;

/* n ids, strings of `bytes` bytes in all, up to n of them indexed. ERR_NOMEM. */
dial_status di_lexicon_init(di_lexicon *x, const di_alloc *al, size_t n, size_t bytes,
                            dial_error *err);
void di_lexicon_deinit(di_lexicon *x);

/*
 * Sets the string of an id that has none; id < n, and the sum of sizes stays within `bytes`.
 * Returns -1, or the id that has this string already if it is to be indexed; then nothing is set.
 */
int32_t di_lexicon_put(di_lexicon *x, int32_t id, const char *s, size_t size, int indexed);

/* Id of an indexed string; -1: none. */
int32_t di_lexicon_find(const di_lexicon *x, const char *s, size_t size);

/* A 64-bit hash of bytes, fast on short strings. */
uint64_t di_hash(const char *s, size_t n);

#endif
