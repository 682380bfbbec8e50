/* Hyper-parameters of a model from GGUF metadata: keys and defaults of interfaces.md 3.4. */
#include "model/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/config_parts.h"

/* What the architecture settles by itself; window and bases are for absent keys. */
typedef struct arch {
    const char *name;
    int64_t window, pattern; /* window 0: none unless the key is there */
    double local_base;       /* 0: windowed layers rotate like all others */
    float attn_cap, logit_cap;
    int gemma, qkv_bias, qk_norm, post_norms;
    int64_t exact;      /* lowest blocks that bf16 is too coarse for */
    int64_t big_layers; /* layers of the 27B model, which has an attention scale of its own */
} arch;

/* clang-format off */
static const arch archs[] = {
    /* name     window pattern local_base  caps     gemma bias qk post exact big */
    {"llama",        0,      0,         0,  0,  0,     0,   0,  0,   0,     0,  0},
    {"qwen2",        0,      0,         0,  0,  0,     0,   1,  0,   0,     0,  0},
    {"qwen3",        0,      0,         0,  0,  0,     0,   0,  1,   0,     0,  0},
    {"gemma",        0,      0,         0,  0,  0,     1,   0,  0,   0,     0,  0},
    {"gemma2",    4096,      2,         0, 50, 30,     1,   0,  0,   1,     0, 46},
    {"gemma3",       0,      6,     10000,  0,  0,     1,   0,  1,   1,     4, 62},
};
/* clang-format on */

typedef struct reader {
    const di_gguf *g;
    const char *arch, *path;
    dial_status st; /* the first failure; later reads do nothing */
    dial_error *err;
} reader;

static const char convert[] = "convert the model again with a current converter";

/* Builds "ARCH.key". */
#define KEY(r, key) DI_FMT("%s.%s", (r)->arch, (key))

static void fail_key(reader *r, const char *key, const char *expected)
{
    if (r->st != DIAL_OK) return;
    r->st = DIAL_ERR_INPUT;
    di_error_set(
        r->err, r->st, __FILE__, __LINE__, DI_FMT("%s: %s", r->path, KEY(r, key)), convert, "%s %s",
        di_gguf_has(r->g, KEY(r, key)) ? "expected" : "the key is missing, expected", expected);
}

/* A number, or an array of equal numbers (one per layer). otherwise < 0: the key is required. */
static int64_t get_int(reader *r, const char *key, int64_t otherwise)
{
    const char *full = KEY(r, key);
    di_gguf_array a;
    int64_t v = otherwise, next;

    if (r->st != DIAL_OK) return 0;
    if (!di_gguf_has(r->g, full)) {
        if (otherwise < 0) fail_key(r, key, "an integer");
        return otherwise;
    }
    if (di_gguf_array_of(r->g, full, &a)) {
        if (!di_gguf_item_int(&a, 0, &v)) fail_key(r, key, "an integer for each layer");
        for (size_t i = 1; r->st == DIAL_OK && i < a.n; i++)
            if (!di_gguf_item_int(&a, i, &next) || next != v)
                fail_key(r, key,
                         "the same integer for all layers; layers that differ are not supported");
    } else if (!di_gguf_int(r->g, full, &v)) {
        fail_key(r, key, "an integer");
    }
    if (r->st == DIAL_OK && v < 0) fail_key(r, key, "an integer of at least 0");
    return v;
}

/* otherwise NaN: the key is required. */
static double get_float(reader *r, const char *key, double otherwise)
{
    const char *full = KEY(r, key);
    double v = otherwise;

    if (r->st != DIAL_OK) return 0;
    if (!di_gguf_has(r->g, full)) {
        if (isnan(otherwise)) fail_key(r, key, "a number");
        return otherwise;
    }
    if (!di_gguf_float(r->g, full, &v) || !isfinite(v)) fail_key(r, key, "a finite number");
    return v;
}

static int32_t token_id(const di_gguf *g, const char *key)
{
    int64_t v;

    return di_gguf_int(g, key, &v) && v >= 0 && v <= INT32_MAX ? (int32_t)v : -1;
}

static dial_status find_arch(const di_gguf *g, const arch **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_str name = {NULL, 0};

    if (!di_gguf_string(g, "general.architecture", &name))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: general.architecture", di_gguf_part_path(g, 0)),
                   convert, "expected the name of an architecture");
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (strlen(archs[i].name) == name.size &&
            memcmp(archs[i].name, name.data, name.size) == 0) {
            *out = &archs[i];
            goto done;
        }
    DI_FAIL_AT(
        err, DIAL_ERR_INPUT, DI_FMT("%s: general.architecture", di_gguf_part_path(g, 0)),
        "use a model of one of these families",
        "architecture '%.*s' is not supported; expected llama, qwen2, qwen3, gemma, gemma2 or "
        "gemma3",
        (int)(name.size < 60 ? name.size : 60), name.data);
done:
    return st;
}

static void read_sizes(reader *r, di_config *c)
{
    const di_gguf_tensor *embed = di_gguf_find(r->g, "token_embd.weight");

    c->layers = get_int(r, "block_count", -1);
    c->context = get_int(r, "context_length", -1);
    c->width = get_int(r, "embedding_length", -1);
    c->mlp = get_int(r, "feed_forward_length", -1);
    c->heads = get_int(r, "attention.head_count", -1);
    c->kv_heads = get_int(r, "attention.head_count_kv", c->heads);
    c->norm_eps = (float)get_float(r, "attention.layer_norm_rms_epsilon", NAN);
    if (r->st != DIAL_OK) return;
    if (c->heads == 0) {
        fail_key(r, "attention.head_count", "at least 1");
        return;
    }
    c->head_dim = get_int(r, "attention.key_length", c->width / c->heads);
    if (get_int(r, "attention.value_length", c->head_dim) != c->head_dim)
        fail_key(r, "attention.value_length", "the value of key_length; others are not supported");
    if (get_int(r, "rope.dimension_count", c->head_dim) != c->head_dim)
        fail_key(r, "rope.dimension_count",
                 "the value of key_length; partial RoPE is not supported");
    if (r->st != DIAL_OK) return;
    if (embed == NULL || embed->n_dims != 2) {
        r->st = DIAL_ERR_INPUT;
        di_error_set(r->err, r->st, __FILE__, __LINE__,
                     DI_FMT("%s: tensor 'token_embd.weight'", r->path), convert,
                     "expected an embedding table of two dimensions, found %s",
                     embed == NULL ? "none" : "another shape");
        return;
    }
    c->vocab = embed->dim[1];
}

static void read_rope(reader *r, const arch *a, di_config *c)
{
    const di_gguf_tensor *divisor = di_gguf_find(r->g, "rope_freqs.weight");
    di_rope rope = {.base = get_float(r, "rope.freq_base", 10000), .factor = 1};
    di_rope local = {.factor = 1};
    di_str kind = {"none", 4};

    if (r->st != DIAL_OK) return;
    if (di_gguf_has(r->g, KEY(r, "rope.scaling.type")) &&
        !di_gguf_string(r->g, KEY(r, "rope.scaling.type"), &kind))
        fail_key(r, "rope.scaling.type", "a string");
    if (kind.size == 6 && memcmp(kind.data, "linear", 6) == 0) {
        rope.kind = DI_ROPE_LINEAR;
        rope.factor = get_float(r, "rope.scaling.factor", NAN);
    } else if (kind.size != 4 || memcmp(kind.data, "none", 4) != 0) {
        fail_key(r, "rope.scaling.type", "none or linear; other scalings are not supported");
    }
    if (divisor != NULL &&
        (divisor->dtype != DI_F32 || divisor->n_dims != 1 || divisor->dim[0] != c->head_dim / 2))
        fail_key(r, "rope.dimension_count", "rope_freqs.weight to hold half as many F32 values");
    local.base = get_float(r, "rope.freq_base_swa", a->local_base > 0 ? a->local_base : rope.base);
    if (r->st != DIAL_OK || c->head_dim < 2 ||
        (size_t)c->head_dim / 2 > sizeof c->freq / sizeof *c->freq)
        return; /* di_config_check reports the head size */
    di_rope_fill(&rope, c->head_dim, divisor != NULL ? divisor->data : NULL, c->freq);
    if (divisor != NULL) rope.kind = DI_ROPE_DIVIDED;
    c->rope = rope;
    c->rope_of_local = rope;
    if (a->local_base > 0 || local.base != rope.base) {
        di_rope_fill(&local, c->head_dim, NULL, c->freq_local); /* no scaling in windowed layers */
        c->rope_of_local = local;
    } else {
        memcpy(c->freq_local, c->freq, sizeof c->freq);
    }
}

/* Window of each layer: by a pattern p (layer i iff i % p < p - 1; p 0: all), or a bool each. */
static void read_windows(reader *r, const arch *a, di_config *c)
{
    static const char key[] = "attention.sliding_window_pattern";
    int64_t window = get_int(r, "attention.sliding_window", a->window), pattern = 0, on = 0;
    int differs = 0; /* the windowed layers turn at rates of their own */
    di_gguf_array each = {0};

    for (size_t i = 0; i < sizeof c->freq / sizeof *c->freq; i++)
        differs |= c->freq[i] != c->freq_local[i];
    if (r->st != DIAL_OK || window == 0 || c->layers > DI_MAX_LAYERS) return;
    if (!di_gguf_array_of(r->g, KEY(r, key), &each))
        pattern = get_int(r, key, a->pattern);
    else if (each.n < (size_t)c->layers)
        fail_key(r, key, "a bool for each layer");
    for (int64_t i = 0; r->st == DIAL_OK && i < c->layers; i++) {
        if (each.data == NULL)
            on = pattern == 0 || i % pattern < pattern - 1;
        else if (!di_gguf_item_int(&each, (size_t)i, &on))
            fail_key(r, key, "a bool for each layer");
        c->window[i] = on ? window : 0;
        c->rope_local[i] = on && differs;
    }
}

static void read_rest(reader *r, const arch *a, di_config *c)
{
    const di_gguf *g = r->g;
    double per_head =
        c->layers == a->big_layers ? (double)c->width / (double)c->heads : (double)c->head_dim;

    c->attn_scale = (float)(1 / sqrt(per_head));
    c->embed_scale = a->gemma ? (float)sqrt((double)c->width) : 1;
    c->act = a->gemma ? DI_GELU_TANH : DI_SILU;
    c->attn_cap = (float)get_float(r, "attn_logit_softcapping", (double)a->attn_cap);
    c->logit_cap = (float)get_float(r, "final_logit_softcapping", (double)a->logit_cap);
    c->tied = di_gguf_find(g, "output.weight") == NULL;
    /* Of the other families some models have biases and some have not: the file tells. */
    c->qkv_bias = a->qkv_bias || di_gguf_find(g, "blk.0.attn_q.bias") != NULL ||
                  di_gguf_find(g, "blk.0.attn_qkv.bias") != NULL;
    c->o_bias = di_gguf_find(g, "blk.0.attn_output.bias") != NULL;
    c->mlp_bias = di_gguf_find(g, "blk.0.ffn_down.bias") != NULL;
    c->qk_norm = a->qk_norm;
    c->post_norms = a->post_norms;
    c->exact_layers = a->exact;
    c->norm_plus_one = 0; /* converters store 1 + w */
    c->bos = token_id(g, "tokenizer.ggml.bos_token_id");
    c->eos = token_id(g, "tokenizer.ggml.eos_token_id");
    c->pad = token_id(g, "tokenizer.ggml.padding_token_id");
}

dial_status di_gguf_config(const di_gguf *g, di_config *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const arch *a = NULL;
    di_config c = {0};
    reader r = {.g = g, .path = di_gguf_part_path(g, 0), .err = err};

    DI_TRY(find_arch(g, &a, err));
    r.arch = a->name;
    strcpy(c.arch, a->name);
    read_sizes(&r, &c);
    read_rope(&r, a, &c);
    read_windows(&r, a, &c);
    if (r.st == DIAL_OK) read_rest(&r, a, &c);
    DI_TRY(r.st);
    DI_TRY(di_config_check(&c, r.path, err));
    *out = c;
done:
    return st;
}
