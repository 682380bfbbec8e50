/* A tokenizer as a GGUF vocabulary (interfaces.md 3.6 read backwards), and its padding. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "text/tokenizer_impl.h"

void di_vocab_store_deinit(di_vocab_store *s)
{
    if (s->al == NULL) return;
    di_free(s->al, s->tokens);
    di_free(s->al, s->merges);
    di_free(s->al, s->types);
    di_free(s->al, s->scores);
    di_free(s->al, s->text);
    *s = (di_vocab_store){0};
}

enum { FILLER = 24 }; /* "[PAD4294967295]" */

/* Bytes of "left right" for all merges, and of names for ids without a token. */
static size_t text_size(const di_tokenizer *t, size_t n)
{
    size_t bytes = n * FILLER;

    for (size_t i = 0; i <= t->bpe.merge_mask; i++)
        if (t->bpe.merge[i].left >= 0)
            bytes += di_tokenizer_token(t, t->bpe.merge[i].left).size + 1 +
                     di_tokenizer_token(t, t->bpe.merge[i].right).size;
    return bytes;
}

static char *fill_tokens(const di_tokenizer *t, size_t n, int spm, di_vocab_store *s, char *text)
{
    for (size_t i = 0; i < n; i++) {
        const di_str token = di_tokenizer_token(t, (int32_t)i);

        s->tokens[i] = token;
        s->types[i] = DI_TOKEN_NORMAL;
        if (token.size > 0) continue;
        s->tokens[i] = (di_str){text, (size_t)snprintf(text, FILLER, "[PAD%zu]", i)};
        s->types[i] = DI_TOKEN_UNUSED;
        text += FILLER;
    }
    for (int b = 0; spm && b < 256; b++)
        if (t->bpe.fallback_id[b] >= 0 && (size_t)t->bpe.fallback_id[b] < n)
            s->types[t->bpe.fallback_id[b]] = DI_TOKEN_BYTE;
    for (size_t i = 0; i < t->n_added; i++)
        if ((size_t)t->added[i].id < n)
            s->types[t->added[i].id] = t->added[i].special ? DI_TOKEN_CONTROL : DI_TOKEN_USER;
    if (t->bpe.unk >= 0 && (size_t)t->bpe.unk < n) s->types[t->bpe.unk] = DI_TOKEN_UNKNOWN;
    return text;
}

/* Ranks are 0 .. n_merges-1 but for merges that were given twice. */
static dial_status fill_merges(const di_tokenizer *t, di_vocab_store *s, char *text, size_t *n,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    uint32_t most = 0;
    di_str *by_rank = NULL;

    for (size_t i = 0; i <= t->bpe.merge_mask; i++)
        if (t->bpe.merge[i].left >= 0 && t->bpe.merge[i].rank > most) most = t->bpe.merge[i].rank;
    by_rank = di_new_array(s->al, (size_t)most + 1, sizeof *by_rank);
    if (by_rank == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the merges");
    for (size_t i = 0; i <= t->bpe.merge_mask; i++) {
        const di_merge *m = &t->bpe.merge[i];
        di_str left, right;

        if (m->left < 0) continue;
        left = di_tokenizer_token(t, m->left);
        right = di_tokenizer_token(t, m->right);
        by_rank[m->rank] = (di_str){text, left.size + 1 + right.size};
        memcpy(text, left.data, left.size);
        text[left.size] = ' ';
        memcpy(text + left.size + 1, right.data, right.size);
        text += left.size + 1 + right.size;
    }
    for (uint32_t r = 0; r <= most; r++)
        if (by_rank[r].size > 0) s->merges[(*n)++] = by_rank[r];
done:
    di_free(s->al, by_rank);
    return st;
}

/*
 * The score of a token of a SentencePiece model: minus the best rank of the merges that make it,
 * which orders the pairs as the ranks do. What no merge makes is never the result of one.
 */
static void fill_scores(const di_tokenizer *t, size_t n, di_vocab_store *s)
{
    for (size_t i = 0; i < n; i++) s->scores[i] = s->types[i] == DI_TOKEN_NORMAL ? -1e9f : 0;
    for (size_t i = 0; i <= t->bpe.merge_mask; i++) {
        const di_merge *m = &t->bpe.merge[i];

        if (m->left >= 0 && (size_t)m->id < n && -(float)m->rank > s->scores[m->id])
            s->scores[m->id] = -(float)m->rank;
    }
}

/* Is it the plain form of a SentencePiece model: spaces become U+2581, and pieces are not cut? */
static int is_spm(const di_tokenizer *t, int *prefix)
{
    static const char space[] = "\xe2\x96\x81";
    int replaces = 0;

    *prefix = 0;
    for (size_t i = 0; i < t->norm.n; i++) {
        const di_norm_step *s = &t->norm.step[i];
        const int to_space = s->content != NULL && strcmp(s->content, space) == 0;

        if (s->kind == DI_NORM_PREPEND && to_space && i == 0)
            *prefix = 1;
        else if (s->kind == DI_NORM_REPLACE && to_space && s->regex == NULL && s->pattern_n == 1 &&
                 s->pattern[0] == ' ')
            replaces = 1;
        else
            return 0;
    }
    for (size_t i = 0; i < t->pre.n; i++) {
        const di_pre_step *s = &t->pre.step[i];

        if (s->kind == DI_PRE_METASPACE && !s->split && !replaces && t->pre.n == 1) {
            *prefix = s->scheme != DI_PREPEND_NEVER;
            replaces = 1;
        } else if (s->kind != DI_PRE_SPLIT || s->is_regex || s->text_n != 1 || s->text[0] != ' ') {
            return 0; /* a split at spaces finds none: they are replaced */
        }
    }
    return replaces && t->bpe.byte_fallback;
}

/* Is it what GGUF's name for the pattern stands for, with nothing beside it? */
static int is_named_bpe(const di_tokenizer *t)
{
    const int nfc = t->norm.n == 1 && t->norm.step[0].kind == DI_NORM_NFC;

    if (t->info.pre[0] == '\0' || t->pre.step[t->pre.n - 1].add_prefix) return 0;
    return strcmp(t->info.pre, "qwen2") == 0 ? nfc : t->norm.n == 0;
}

dial_status di_tokenizer_to_vocab(const di_tokenizer *t, const di_alloc *al, size_t n,
                                  di_vocab_store *store, di_vocab *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_vocab_store s = {.al = al};
    size_t n_merges = 0;
    int prefix = 0, spm = is_spm(t, &prefix);
    char *text;

    if (!spm && !is_named_bpe(t))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, "tokenizer.json", "export to hf or st instead",
                   "GGUF has no name for this normalizer and pre-tokenizer; it knows gpt-2, "
                   "smollm, qwen2, llama-bpe, default and SentencePiece");
    s.tokens = di_new_array(al, n, sizeof *s.tokens);
    s.types = di_new_array(al, n, sizeof *s.types);
    s.scores = spm ? di_new_array(al, n, sizeof *s.scores) : NULL;
    s.merges = spm ? NULL : di_new_array(al, t->bpe.n_merges + 1, sizeof *s.merges);
    s.text = di_new(al, text_size(t, n));
    if (s.tokens == NULL || s.types == NULL || s.text == NULL ||
        (spm ? s.scores == NULL : s.merges == NULL))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a vocabulary of %zu tokens", n);
    text = fill_tokens(t, n, spm, &s, s.text);
    if (spm)
        fill_scores(t, n, &s);
    else
        DI_TRY(fill_merges(t, &s, text, &n_merges, err));
    *out = (di_vocab){.where = "tokenizer.json",
                      .model = spm ? "llama" : "gpt2",
                      .pre = spm ? "default" : t->info.pre,
                      .tokens = s.tokens,
                      .types = s.types,
                      .scores = s.scores,
                      .n = n,
                      .merges = s.merges,
                      .n_merges = n_merges,
                      .bos = t->info.bos,
                      .eos = t->info.eos,
                      .unk = t->info.unk,
                      .pad = t->info.pad,
                      .add_bos = t->info.adds_bos,
                      .add_eos = t->info.adds_eos,
                      .add_space_prefix = spm ? prefix : -1};
    *store = s;
    s = (di_vocab_store){0};
done:
    di_vocab_store_deinit(&s);
    return st;
}

static int is_taken(int32_t id, const int32_t *taken, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (taken[i] == id) return 1;
    return id < 0;
}

/* Does the string hold the word (lower case), in any case? */
static int holds(di_str s, const char *word)
{
    const size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.size; i++) {
        size_t k = 0;

        while (k < n && (s.data[i + k] | 0x20) == word[k]) k++;
        if (k == n) return 1;
    }
    return 0;
}

int32_t di_tokenizer_padding(const di_tokenizer *t, const int32_t *taken, size_t n_taken)
{
    int32_t other = -1;

    if (!is_taken(t->info.pad, taken, n_taken)) return t->info.pad;
    if (!is_taken(t->info.unk, taken, n_taken)) return t->info.unk;
    for (size_t i = 0; i < t->n_added; i++) {
        const di_added *a = &t->added[i];

        if (is_taken(a->id, taken, n_taken) || (!a->special && !holds(a->content, "unused")))
            continue;
        if (holds(a->content, "unused") || holds(a->content, "reserved")) return a->id;
        if (other < 0) other = a->id;
    }
    return other;
}
