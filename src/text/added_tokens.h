/*
 * Tokens that are found in the text as they stand, before the model sees it: markup such as
 * <|im_start|> and whatever was added to a vocabulary. Leftmost match, the longest of those that
 * start there. interfaces.md 3.3, `added_tokens`.
 */
#ifndef DI_TEXT_ADDED_TOKENS_H
#define DI_TEXT_ADDED_TOKENS_H

#include "text/tokenizer.h"
#include "text/piece.h"

typedef struct di_added {
    int32_t id;
    di_str content; /* lies in the lexicon */
    int single_word, lstrip, rstrip, normalized, special;
} di_added;

typedef struct di_trie_node {
    uint32_t child, sibling; /* 0: none */
    uint32_t added;          /* index of the token that ends here + 1; 0: none */
    unsigned char byte;
} di_trie_node;

/* A set of strings to look for; each stands for an index of a di_added array. */
typedef struct di_trie {
    const di_alloc *al;
    di_trie_node *node; /* [n]; node 0 is unused */
    size_t n, cap;
    uint32_t root[256];
    unsigned starts; /* how many bytes start a string */
    unsigned char only_start;
} di_trie;

void di_trie_init(di_trie *t, const di_alloc *al);
void di_trie_deinit(di_trie *t);

/* Adds a non-empty string. *old: the index it already stands for, -1: it is new. ERR_NOMEM. */
dial_status di_trie_put(di_trie *t, const char *s, size_t n, size_t index, int64_t *old,
                        dial_error *err);

/* Receives, in order, the stretches without a token and the tokens (end: in the input). */
typedef struct di_added_sink {
    dial_status (*text)(void *ctx, const di_piece *p, dial_error *err);
    dial_status (*token)(void *ctx, int32_t id, uint32_t end, dial_error *err);
    void *ctx;
} di_added_sink;

dial_status di_added_split(const di_trie *t, const di_added *added, const di_piece *p,
                           const di_added_sink *sink, dial_error *err);

#endif
