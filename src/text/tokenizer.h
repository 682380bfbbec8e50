/*
 * Tokenizers of real models: byte-level BPE (GPT-2, SmolLM2, Llama 3, Qwen) and SentencePiece
 * BPE with byte fallback (Gemma, Llama 2, Mistral). Two ways in: a Hugging Face folder with
 * tokenizer.json, or a vocabulary as GGUF metadata carries it. Same ids as the `tokenizers`
 * library; what cannot be reproduced exactly is refused by name (interfaces.md 3.3, 3.6).
 *
 * A tokenizer is immutable after loading; any number of threads may share it, each with a
 * di_token_list of its own.
 */
#ifndef DI_TEXT_TOKENIZER_H
#define DI_TEXT_TOKENIZER_H

#include "base/buf.h"

typedef struct di_tokenizer di_tokenizer;

/* GGUF token types. */
enum {
    DI_TOKEN_NORMAL = 1,
    DI_TOKEN_UNKNOWN = 2,
    DI_TOKEN_CONTROL = 3,
    DI_TOKEN_USER = 4,
    DI_TOKEN_UNUSED = 5,
    DI_TOKEN_BYTE = 6
};

typedef struct di_str {
    const char *data; /* not 0-terminated */
    size_t size;
} di_str;

/* A vocabulary as in GGUF metadata. Arrays are borrowed during the call alone. */
typedef struct di_vocab {
    const char *where;    /* name of the file, for errors */
    const char *model;    /* "gpt2" (BPE) or "llama" (SPM) */
    const char *pre;      /* pre-tokenizer name; BPE only; NULL: missing */
    const di_str *tokens; /* [n] */
    const int32_t *types; /* [n]; NULL: all normal */
    const float *scores;  /* [n]; SPM only */
    size_t n;
    const di_str *merges; /* [n_merges], "a b"; BPE only */
    size_t n_merges;
    int32_t bos, eos, unk, pad;             /* -1: none */
    int add_bos, add_eos, add_space_prefix; /* -1: key absent, default of interfaces.md 3.6 */
} di_vocab;

/* What a tokenizer is, for `info` and for the text policy. */
typedef struct di_tokenizer_info {
    const char *model; /* "bpe" or "spm" (a tokenizer.json with byte_fallback counts as spm) */
    const char *pre;   /* name of the pattern: "smollm", "gpt-2", "qwen2", "llama-bpe", "" ... */
    int64_t vocab;     /* ids are 0 .. vocab-1 */
    int32_t bos, eos, pad, unk; /* -1: none */
    int adds_bos, adds_eos;     /* what the tokenizer itself says (post-processor, add_bos_token) */
} di_tokenizer_info;

/* dir holds tokenizer.json and, if present, tokenizer_config.json, special_tokens_map.json. */
dial_status di_tokenizer_open_hf(const di_alloc *al, const char *dir, di_tokenizer **out,
                                 dial_error *err);

/* tokenizer.json alone, from memory; `where` names it in errors. Also the fuzz target. */
dial_status di_tokenizer_parse_hf(const di_alloc *al, const char *json, size_t n, const char *where,
                                  di_tokenizer **out, dial_error *err);

dial_status di_tokenizer_from_vocab(const di_alloc *al, const di_vocab *v, di_tokenizer **out,
                                    dial_error *err);
void di_tokenizer_close(di_tokenizer *t);

const di_tokenizer_info *di_tokenizer_get_info(const di_tokenizer *t);

/* The token's string as stored in the vocabulary; valid while the tokenizer lives. */
di_str di_tokenizer_token(const di_tokenizer *t, int32_t id);

/*
 * Result of encoding, reused from call to call so that a warm call allocates nothing.
 * end[i] is the byte offset in the input just past the bytes that token i stands for (never
 * decreasing; byte-fallback tokens of one code point share its end, so a token belongs to the
 * response if end[i] > border). Zero-initialise with al set; free with di_token_list_deinit.
 */
typedef struct di_token_list {
    const di_alloc *al;
    int32_t *id;
    uint32_t *end;
    size_t n, cap;
    void *scratch; /* the tokenizer's own working memory */
} di_token_list;

void di_token_list_deinit(di_token_list *list);

/*
 * Encodes text[0..n), appending nothing of its own: no BOS, no EOS. Strings of special tokens
 * inside the text are recognised. list is overwritten. ERR_INPUT "bad_utf8" with the byte offset
 * if the text is no valid UTF-8 (n < 4 GiB).
 */
dial_status di_tokenizer_encode(const di_tokenizer *t, const char *text, size_t n,
                                di_token_list *list, dial_error *err);

/* tokenizer.json of an equivalent HF tokenizer (for the run folder of a GGUF base), appended. */
dial_status di_tokenizer_write_hf(const di_tokenizer *t, di_buf *out, dial_error *err);

/*
 * The first n ids as GGUF metadata carries them; ids without a token become unused fillers
 * (readers want one for each row of the embedding table). The arrays belong to *store and to the
 * tokenizer. ERR_INPUT: a tokenizer that GGUF has no name for.
 */
typedef struct di_vocab_store {
    const di_alloc *al;
    di_str *tokens, *merges;
    int32_t *types;
    float *scores;
    char *text; /* of merges and fillers */
} di_vocab_store;
dial_status di_tokenizer_to_vocab(const di_tokenizer *t, const di_alloc *al, size_t n,
                                  di_vocab_store *store, di_vocab *out, dial_error *err);
void di_vocab_store_deinit(di_vocab_store *s);

/*
 * An id that can stand for padding in programs that pad: the tokenizer's own if it is none of
 * `taken`, else unk, else a special token whose name says that it is unused or reserved, else any
 * other special token; -1: there is none.
 */
int32_t di_tokenizer_padding(const di_tokenizer *t, const int32_t *taken, size_t n_taken);

#endif
