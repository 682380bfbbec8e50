/*
 * Byte-pair encoding of one piece: from the symbols of its characters (or bytes), repeatedly join
 * the adjacent pair of the lowest rank, the leftmost among equals, until no pair has a rank.
 * Same result as huggingface/tokenizers `BPE` without dropout.
 */
#ifndef DI_TEXT_BPE_H
#define DI_TEXT_BPE_H

#include "text/lexicon.h"
#include "text/piece.h"

/* A slot of the table of merges, open addressing. */
typedef struct di_merge {
    int32_t left, right; /* left -1: free */
    uint32_t rank;
    int32_t id; /* what the two become */
} di_merge;

typedef struct di_bpe {
    const di_alloc *al;
    di_lexicon lex;
    di_merge *merge;
    size_t merge_mask, n_merges;
    int byte_fallback, fuse_unk, ignore_merges;
    int raw_bytes;            /* pieces are bytes, each spelt by one letter in the vocabulary */
    int32_t unk;              /* -1: what the vocabulary lacks is dropped */
    int32_t byte_id[256];     /* raw_bytes: the id of a byte's letter; -1: none */
    int32_t fallback_id[256]; /* "<0x00>" ... */
    int32_t ascii_id[128];
    uint8_t cut_before_space[256]; /* see bpe.c, cuts */
    int cuts;
    uint64_t key; /* hash of all that decides the ids: names the entries of a cache */
} di_bpe;

void di_bpe_deinit(di_bpe *b);

/* Room for n merges. ERR_NOMEM. */
dial_status di_bpe_reserve(di_bpe *b, size_t n, dial_error *err);

/* (left, right) -> id at a rank; a pair given twice keeps the later rank, as the library does. */
void di_bpe_put(di_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t id);

/* Joins the strings of two tokens and puts the merge: 0 if no token has the joint string. */
int di_bpe_put_joint(di_bpe *b, int32_t left, int32_t right, uint32_t rank, di_rewriter *joint);

/* Fills the derived tables once lexicon, merges and flags are set. */
void di_bpe_finish(di_bpe *b);

struct di_cached;

/* Working memory; one thread at a time. Zero-initialise with al set. */
typedef struct di_bpe_work {
    const di_alloc *al;
    int32_t *id;     /* [cap] symbols of a piece */
    uint32_t *cover; /* [cap] bytes of the piece that each stands for */
    uint32_t *prev, *next;
    uint64_t *heap; /* [2 cap] */
    size_t cap;
    di_rewriter letters; /* a piece spelt in the letters of its bytes */
    struct di_cached *cache;
    uint64_t cache_key; /* of the tokenizer whose words are in it */
} di_bpe_work;

void di_bpe_work_deinit(di_bpe_work *w);

/* Appends the ids of a piece to the list, with the place in the input where each ends. ERR_NOMEM */
dial_status di_bpe_encode(const di_bpe *b, di_bpe_work *w, const di_piece *p, di_token_list *list,
                          dial_error *err);

/* Appends one id. An end before that of the id before it is raised to it. ERR_NOMEM. */
dial_status di_token_list_add(di_token_list *list, int32_t id, uint32_t end, dial_error *err);

#endif
