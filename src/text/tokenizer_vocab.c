/* A tokenizer from the vocabulary of a GGUF file. interfaces.md 3.6. */
#include <string.h>

#include "base/error.h"
#include "text/spm.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

enum { MOST_TOKENS = 1 << 24 };

static int is_added(int32_t type)
{
    return type == DI_TOKEN_UNKNOWN || type == DI_TOKEN_CONTROL || type == DI_TOKEN_USER;
}

static dial_status read_tokens(di_tokenizer *t, const di_vocab *v, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t bytes = 0, n_added = 0;

    if (v->n == 0 || v->n > MOST_TOKENS)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "convert the model again",
                   "tokenizer.ggml.tokens has %zu tokens; expected 1 to %d", v->n, MOST_TOKENS);
    for (size_t i = 0; i < v->n; i++) {
        if (di_utf8_check(v->tokens[i].data, v->tokens[i].size) < v->tokens[i].size)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "convert the model again",
                       "bad_utf8: token %zu is no valid UTF-8", i);
        bytes += v->tokens[i].size;
        n_added += v->types != NULL && is_added(v->types[i]);
    }
    DI_TRY(di_lexicon_init(&t->bpe.lex, t->al, v->n, bytes, err));
    t->added = di_new_array(t->al, n_added, sizeof *t->added);
    if (t->added == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu tokens", n_added);
    for (size_t i = 0; i < v->n; i++) {
        const int32_t old =
            di_lexicon_put(&t->bpe.lex, (int32_t)i, v->tokens[i].data, v->tokens[i].size, 1);

        if (old >= 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "convert the model again",
                       "tokens %d and %zu are the same string '%.*s'", (int)old, i,
                       (int)v->tokens[i].size, v->tokens[i].data);
        if (v->types != NULL && is_added(v->types[i]))
            t->added[t->n_added++] = (di_added){.id = (int32_t)i,
                                                .content = t->bpe.lex.token[i],
                                                .special = v->types[i] != DI_TOKEN_USER};
    }
done:
    return st;
}

static dial_status special_id(const di_vocab *v, const char *key, int32_t id, int32_t *out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;

    if (id < -1 || (id >= 0 && (size_t)id >= v->n))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "convert the model again",
                   "tokenizer.ggml.%s is %d; the vocabulary has %zu tokens", key, (int)id, v->n);
    *out = id;
done:
    return st;
}

static dial_status read_special(di_tokenizer *t, const di_vocab *v, int bos_default,
                                dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(special_id(v, "bos_token_id", v->bos, &t->info.bos, err));
    DI_TRY(special_id(v, "eos_token_id", v->eos, &t->info.eos, err));
    DI_TRY(special_id(v, "unknown_token_id", v->unk, &t->info.unk, err));
    DI_TRY(special_id(v, "padding_token_id", v->pad, &t->info.pad, err));
    t->info.adds_bos = t->info.bos >= 0 && (v->add_bos < 0 ? bos_default : v->add_bos);
    t->info.adds_eos = t->info.eos >= 0 && v->add_eos > 0;
done:
    return st;
}

/* --- BPE -------------------------------------------------------------------------------------- */

static dial_status read_merge(di_tokenizer *t, const di_vocab *v, size_t i, di_rewriter *joint,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_str m = v->merges[i];
    const char *space = m.size > 1 ? memchr(m.data + 1, ' ', m.size - 1) : NULL;
    int32_t left, right;

    if (space == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "convert the model again",
                   "tokenizer.ggml.merges[%zu] is '%.*s'; expected two tokens and a space", i,
                   (int)m.size, m.data);
    left = di_lexicon_find(&t->bpe.lex, m.data, (size_t)(space - m.data));
    right = di_lexicon_find(&t->bpe.lex, space + 1, (size_t)(m.data + m.size - space - 1));
    if (left < 0 || right < 0 || !di_bpe_put_joint(&t->bpe, left, right, (uint32_t)i, joint)) {
        if (joint->failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for merges");
        DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "convert the model again",
                   "tokenizer.ggml.merges[%zu] '%.*s': %s is no token", i, (int)m.size, m.data,
                   left < 0    ? "its left part"
                   : right < 0 ? "its right part"
                               : "the joint string");
    }
done:
    return st;
}

static void add_byte_level(di_tokenizer *t, int use_regex)
{
    di_pre_step *step = di_tokenizer_add_pre(t, DI_PRE_BYTELEVEL);

    step->use_regex = use_regex;
}

static dial_status choose_pattern(di_tokenizer *t, const di_vocab *v, int *bos_default,
                                  dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *pre = v->pre != NULL ? v->pre : "";

    if (strcmp(pre, "gpt-2") == 0) {
        add_byte_level(t, 1);
    } else if (strcmp(pre, "smollm") == 0) {
        di_tokenizer_add_pre(t, DI_PRE_DIGITS)->scan = DI_SCAN_NUMERIC;
        add_byte_level(t, 1);
    } else if (strcmp(pre, "qwen2") == 0) {
        di_tokenizer_add_norm(t, DI_NORM_NFC); /* as the model's own tokenizer does */
        DI_TRY(di_tokenizer_add_scan(t, DI_SCAN_QWEN2, err));
        add_byte_level(t, 0);
    } else if (strcmp(pre, "llama-bpe") == 0 || strcmp(pre, "llama3") == 0 ||
               strcmp(pre, "llama-v3") == 0) {
        DI_TRY(di_tokenizer_add_scan(t, DI_SCAN_LLAMA3, err));
        add_byte_level(t, 0);
        t->bpe.ignore_merges = 1;
        *bos_default = 1;
    } else if (strcmp(pre, "default") == 0) {
        DI_TRY(di_tokenizer_add_scan(t, DI_SCAN_PUNCT, err));
        DI_TRY(di_tokenizer_add_scan(t, DI_SCAN_GPT2, err));
        DI_TRY(di_tokenizer_add_scan(t, DI_SCAN_NUMBERS, err));
        DI_TRY(di_tokenizer_add_scan(t, DI_SCAN_THREE, err));
        add_byte_level(t, 0);
    } else {
        DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where,
                   "name one of gpt-2 smollm qwen2 llama-bpe default with --pre",
                   "tokenizer.ggml.pre is %s%s; expected one of gpt-2 smollm qwen2 llama-bpe "
                   "llama3 llama-v3 default",
                   v->pre == NULL ? "missing" : "unknown: ", pre);
    }
done:
    return st;
}

static dial_status read_bpe(di_tokenizer *t, const di_vocab *v, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rewriter joint = {.al = t->al};
    int bos_default = 0;

    DI_TRY(choose_pattern(t, v, &bos_default, err));
    DI_TRY(di_bpe_reserve(&t->bpe, v->n_merges, err));
    for (size_t i = 0; i < v->n_merges; i++) DI_TRY(read_merge(t, v, i, &joint, err));
    DI_TRY(read_special(t, v, bos_default, err));
done:
    di_rewriter_deinit(&joint);
    return st;
}

/* --- SPM -------------------------------------------------------------------------------------- */

static dial_status read_spm(di_tokenizer *t, const di_vocab *v, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (v->scores == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "convert the model again",
                   "tokenizer.ggml.scores is missing");
    t->info.model = "spm";
    t->bpe.byte_fallback = 1;
    t->bpe.fuse_unk = 1;
    if (v->add_space_prefix != 0)
        DI_TRY(di_tokenizer_add_text(t, DI_NORM_PREPEND, NULL, "\xe2\x96\x81", err));
    DI_TRY(di_tokenizer_add_text(t, DI_NORM_REPLACE, " ", "\xe2\x96\x81", err));
    DI_TRY(di_spm_merges(&t->bpe, v->scores, v->types, v->where, err));
    DI_TRY(read_special(t, v, 1, err));
    t->bpe.unk = t->info.unk;
done:
    return st;
}

dial_status di_tokenizer_from_vocab(const di_alloc *al, const di_vocab *v, di_tokenizer **out,
                                    dial_error *err)
{
    dial_status st = DIAL_OK;
    di_tokenizer *t = di_tokenizer_new(al);

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a tokenizer");
    DI_TRY(read_tokens(t, v, err));
    if (v->model != NULL && strcmp(v->model, "gpt2") == 0)
        DI_TRY(read_bpe(t, v, err));
    else if (v->model != NULL && strcmp(v->model, "llama") == 0)
        DI_TRY(read_spm(t, v, err));
    else
        DI_FAIL_AT(err, DIAL_ERR_INPUT, v->where, "use a model with a BPE or SPM vocabulary",
                   "tokenizer.ggml.model is '%s'; expected 'gpt2' or 'llama'",
                   v->model != NULL ? v->model : "missing");
    DI_TRY(di_tokenizer_finish(t, v->where, err));
    *out = t;
    t = NULL;
done:
    di_tokenizer_close(t);
    return st;
}
