/* The tokenizer of a GGUF file: its arrays decoded once into a di_vocab (interfaces.md 3.6). */
#include "model/gguf.h"

#include <string.h>

#include "base/error.h"

#define PRE "tokenizer.ggml."
enum { GGUF_STRING = 8 };

static const char convert[] = "convert the model again with a current converter";

static dial_status bad_key(const di_gguf *g, const char *key, const char *expected, dial_error *err)
{
    return di_error_set(err, DIAL_ERR_INPUT, __FILE__, __LINE__,
                        DI_FMT("%s: %s", di_gguf_part_path(g, 0), key), convert, "%s %s",
                        di_gguf_has(g, key) ? "expected" : "the key is missing, expected",
                        expected);
}

/* An array of strings; absent and not required: none. The items point into the file. */
static dial_status read_strings(const di_alloc *al, const di_gguf *g, const char *key, int required,
                                di_str **out, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_gguf_array a;
    size_t at = 0;

    if (!required && !di_gguf_has(g, key)) goto done;
    if (!di_gguf_array_of(g, key, &a) || a.type != GGUF_STRING)
        DI_TRY(bad_key(g, key, "an array of strings", err));
    *out = di_new_array(al, a.n, sizeof **out);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu strings of %s", a.n, key);
    *n = a.n;
    for (size_t i = 0; i < a.n; i++) (*out)[i] = di_gguf_next_string(&a, &at);
done:
    return st;
}

static dial_status read_types(const di_alloc *al, const di_gguf *g, size_t n, int32_t **out,
                              dial_error *err)
{
    static const char key[] = PRE "token_type";
    dial_status st = DIAL_OK;
    di_gguf_array a;

    if (!di_gguf_has(g, key)) goto done;
    if (!di_gguf_array_of(g, key, &a) || a.n != n)
        DI_TRY(bad_key(g, key, "an integer for each token", err));
    *out = di_new_array(al, n, sizeof **out);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu token types", n);
    for (size_t i = 0; i < n; i++) {
        int64_t v;

        if (!di_gguf_item_int(&a, i, &v) || v < 0 || v > DI_TOKEN_BYTE)
            DI_TRY(bad_key(g, key, "types of 0 to 6", err));
        (*out)[i] = v == 0 ? DI_TOKEN_NORMAL : (int32_t)v; /* 0: "undefined" in old files */
    }
done:
    return st;
}

static dial_status read_scores(const di_alloc *al, const di_gguf *g, size_t n, float **out,
                               dial_error *err)
{
    static const char key[] = PRE "scores";
    dial_status st = DIAL_OK;
    di_gguf_array a;

    if (!di_gguf_has(g, key)) goto done;
    if (!di_gguf_array_of(g, key, &a) || a.n != n)
        DI_TRY(bad_key(g, key, "a number for each token", err));
    *out = di_new_array(al, n, sizeof **out);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu token scores", n);
    for (size_t i = 0; i < n; i++) {
        double v;

        if (!di_gguf_item_float(&a, i, &v) || v != v)
            DI_TRY(bad_key(g, key, "a number for each token", err));
        (*out)[i] = (float)v;
    }
done:
    return st;
}

/* The id of a special token; absent or all ones: -1. The tokenizer compares it with its size. */
static dial_status read_id(const di_gguf *g, const char *key, int32_t *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t v = -1;

    if (di_gguf_has(g, key) && (!di_gguf_int(g, key, &v) || v > UINT32_MAX))
        DI_TRY(bad_key(g, key, "a token id", err));
    *out = v >= 0 && v <= INT32_MAX ? (int32_t)v : -1;
done:
    return st;
}

static int read_flag(const di_gguf *g, const char *key)
{
    int64_t v;

    return di_gguf_int(g, key, &v) ? v != 0 : -1;
}

/* A copy of a string with a final 0; absent: *out stays NULL. */
static dial_status read_name(const di_alloc *al, const di_gguf *g, const char *key, char **out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_str s;

    if (!di_gguf_has(g, key)) goto done;
    if (!di_gguf_string(g, key, &s)) DI_TRY(bad_key(g, key, "a string", err));
    *out = di_strndup(al, s.data, s.size);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %s", key);
done:
    return st;
}

dial_status di_gguf_tokenizer(const di_alloc *al, const di_gguf *g, di_tokenizer **out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    char *model = NULL, *pre = NULL;
    di_str *tokens = NULL, *merges = NULL;
    int32_t *types = NULL;
    float *scores = NULL;
    di_vocab v = {.where = di_gguf_part_path(g, 0)};

    DI_TRY(read_name(al, g, PRE "model", &model, err));
    if (model == NULL) DI_TRY(bad_key(g, PRE "model", "the kind of tokenizer", err));
    DI_TRY(read_name(al, g, PRE "pre", &pre, err));
    DI_TRY(read_strings(al, g, PRE "tokens", 1, &tokens, &v.n, err));
    DI_TRY(read_strings(al, g, PRE "merges", 0, &merges, &v.n_merges, err));
    DI_TRY(read_types(al, g, v.n, &types, err));
    DI_TRY(read_scores(al, g, v.n, &scores, err));
    DI_TRY(read_id(g, PRE "bos_token_id", &v.bos, err));
    DI_TRY(read_id(g, PRE "eos_token_id", &v.eos, err));
    DI_TRY(read_id(g, PRE "unknown_token_id", &v.unk, err));
    DI_TRY(read_id(g, PRE "padding_token_id", &v.pad, err));
    v.add_bos = read_flag(g, PRE "add_bos_token");
    v.add_eos = read_flag(g, PRE "add_eos_token");
    v.add_space_prefix = read_flag(g, PRE "add_space_prefix");
    v.model = model;
    v.pre = pre;
    v.tokens = tokens;
    v.merges = merges;
    v.types = types;
    v.scores = scores;
    DI_TRY(di_tokenizer_from_vocab(al, &v, out, err));
done:
    di_free(al, model);
    di_free(al, pre);
    di_free(al, tokens);
    di_free(al, merges);
    di_free(al, types);
    di_free(al, scores);
    return st;
}
