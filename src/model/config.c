/*
 * config.json of the seven supported families, in the spellings of transformers 4 and 5
 * (interfaces.md 3.1). A family is a row of numbers: what its keys default to and which parts its
 * graph has. What a row cannot express is refused by the name of the key.
 */
#include "model/config.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "model/config_parts.h"

typedef struct family {
    const char *type, *arch;    /* model_type and what we call it */
    int64_t kv_heads, head_dim; /* for an absent key; 0: heads, width/heads */
    int64_t context, window;
    double rope_base;
    double scalar; /* query_pre_attn_scalar; 0: the head size */
    double attn_cap, logit_cap;
    int gemma;                    /* gelu, scaled embeddings, 1 + w norms, tied head */
    int qkv_bias, attention_bias; /* always biases on q, k, v / the key attention_bias counts */
    int qk_norm, post_norms;
    int exact;       /* lowest blocks that bf16 is too coarse for */
    int64_t size[5]; /* V, C, F, L, H for an absent key; 0: it has to be there */
} family;

/* clang-format off */
static const family families[] = {
    /*                         K    D context window base scalar caps gemma b ab qk post exact size */
    {"llama",       "llama",   0,   0,   2048,    0, 1e4,   0,  0,  0, 0,   0, 1, 0, 0, 0, {0}},
    {"mistral",     "mistral", 0,   0, 131072, 4096, 1e4,   0,  0,  0, 0,   0, 0, 0, 0, 0, {0}},
    {"qwen2",       "qwen2",   0,   0,  32768, 4096, 1e4,   0,  0,  0, 0,   1, 0, 0, 0, 0, {0}},
    {"qwen3",       "qwen3",   0, 128,  32768, 4096, 1e4,   0,  0,  0, 0,   0, 1, 1, 0, 0, {0}},
    {"gemma",       "gemma",   0, 256,   8192,    0, 1e4,   0,  0,  0, 1,   0, 1, 0, 0, 0, {0}},
    {"gemma2",      "gemma2",  0, 256,   8192, 4096, 1e4, 256, 50, 30, 1,   0, 1, 0, 1, 0, {0}},
    /* the text part of the larger Gemma 3 files names only what differs from these */
    {"gemma3_text", "gemma3",  4, 256, 131072, 4096, 1e6, 256,  0,  0, 1,   0, 1, 1, 1, 4,
     {262208, 2304, 9216, 26, 8}},
};
/* clang-format on */

typedef struct reader {
    const json_t *obj;
    const char *where, *part; /* part: "" or "text_config." */
    dial_status st;           /* the first failure; later reads do nothing */
    dial_error *err;
} reader;

static void fail_key(reader *r, const char *key, const char *hint, const char *fmt, ...)
    DIAL_PRINTF(4, 5);
static void fail_key(reader *r, const char *key, const char *hint, const char *fmt, ...)
{
    char message[300];
    va_list ap;

    if (r->st != DIAL_OK) return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    r->st = di_error_set(r->err, DIAL_ERR_INPUT, __FILE__, __LINE__,
                         DI_FMT("%s: %s%s", r->where, r->part, key), hint, "%s", message);
}

static const char family_hint[] =
    "use a model of one of the families llama, mistral, qwen2, qwen3, "
    "gemma, gemma2 or gemma3 as its authors published it";
static const char check_hint[] = "check config.json against the model's page";

/* A key that is absent or null counts as not given. */
static const json_t *get(const reader *r, const char *key)
{
    const json_t *v = json_object_get(r->obj, key);

    return json_is_null(v) ? NULL : v;
}

static int64_t get_int(reader *r, const char *key, int64_t otherwise)
{
    const json_t *v = get(r, key);

    if (v == NULL) return otherwise;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        fail_key(r, key, check_hint, "expected an integer of at least 0, found %s",
                 json_is_integer(v) ? "a negative one" : di_json_kind(v));
    return json_integer_value(v);
}

/* otherwise 0: the key is required. */
static int64_t get_size(reader *r, const char *key, int64_t otherwise)
{
    if (otherwise == 0 && get(r, key) == NULL) fail_key(r, key, check_hint, "the key is missing");
    return get_int(r, key, otherwise);
}

static double get_number(reader *r, const char *key, double otherwise)
{
    const json_t *v = get(r, key);

    if (v == NULL) return otherwise;
    if (!json_is_number(v))
        fail_key(r, key, check_hint, "expected a number, found %s", di_json_kind(v));
    return json_number_value(v);
}

static int get_bool(reader *r, const char *key, int otherwise)
{
    const json_t *v = get(r, key);

    if (v == NULL) return otherwise;
    if (!json_is_boolean(v))
        fail_key(r, key, check_hint, "expected true or false, found %s", di_json_kind(v));
    return json_is_true(v);
}

static const char *get_string(reader *r, const char *key, const char *otherwise)
{
    const json_t *v = get(r, key);

    if (v == NULL) return otherwise;
    if (!json_is_string(v))
        fail_key(r, key, check_hint, "expected a string, found %s", di_json_kind(v));
    return json_is_string(v) ? json_string_value(v) : "";
}

/* An id, or the first of a list of ids; -1: not given. */
static int32_t get_id(reader *r, const json_t *outer, const char *key)
{
    const json_t *v = get(r, key);

    if (v == NULL) v = json_object_get(outer, key); /* beside text_config */
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (v == NULL || json_is_null(v)) return -1;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX) {
        fail_key(r, key, check_hint, "expected a token id, found %s",
                 json_is_integer(v) ? "a number that is none" : di_json_kind(v));
        return -1;
    }
    return (int32_t)json_integer_value(v);
}

/* ---- what is refused ---- */

static void refuse(reader *r, const json_t *obj)
{
    static const struct {
        const char *key, *why, *hint;
    } row[] = {
        {"quantization_config", "weights quantised inside a Hugging Face folder are not read",
         "use the unquantised model, or a GGUF file"},
        {"num_local_experts", "mixtures of experts are not supported", family_hint},
        {"num_experts", "mixtures of experts are not supported", family_hint},
        {"n_routed_experts", "mixtures of experts are not supported", family_hint},
        {"auto_map", "models that bring their own code are not supported", family_hint},
    };

    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const json_t *v = json_object_get(obj, row[i].key);

        if (v != NULL && !json_is_null(v) && !(json_is_integer(v) && json_integer_value(v) == 0))
            fail_key(r, row[i].key, row[i].hint, "%s", row[i].why);
    }
    if (json_is_true(json_object_get(obj, "use_bidirectional_attention")))
        fail_key(r, "use_bidirectional_attention", family_hint,
                 "attention to later tokens is not supported");
    if (json_is_real(json_object_get(obj, "partial_rotary_factor")) &&
        json_real_value(json_object_get(obj, "partial_rotary_factor")) != 1)
        fail_key(r, "partial_rotary_factor", family_hint, "partial RoPE is not supported");
}

static const family *find_family(reader *r, const json_t *top)
{
    const char *type = get_string(r, "model_type", NULL);
    const json_t *text = json_object_get(top, "text_config");

    if (r->st != DIAL_OK) return NULL;
    if (type == NULL) {
        fail_key(r, "model_type", check_hint, "the key is missing");
        return NULL;
    }
    if (strcmp(type, "gemma3") == 0 && json_is_object(text)) {
        r->obj = text;
        r->part = "text_config.";
        type = get_string(r, "model_type", "gemma3_text");
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].type, type) == 0) return &families[i];
    fail_key(r, "model_type", family_hint, "model type '%.60s' is not supported", type);
    return NULL;
}

/* ---- the parts ---- */

static void read_sizes(reader *r, const family *f, di_config *c)
{
    c->vocab = get_size(r, "vocab_size", f->size[0]);
    c->width = get_size(r, "hidden_size", f->size[1]);
    c->mlp = get_size(r, "intermediate_size", f->size[2]);
    c->layers = get_size(r, "num_hidden_layers", f->size[3]);
    c->heads = get_size(r, "num_attention_heads", f->size[4]);
    c->kv_heads = get_int(r, "num_key_value_heads", f->kv_heads > 0 ? f->kv_heads : c->heads);
    c->context = get_int(r, "max_position_embeddings", f->context);
    c->norm_eps = (float)get_number(r, "rms_norm_eps", 1e-6);
    if (r->st == DIAL_OK && c->heads == 0)
        fail_key(r, "num_attention_heads", check_hint, "expected at least 1");
    if (r->st != DIAL_OK || c->heads == 0) return;
    c->head_dim = get_int(r, "head_dim", f->head_dim > 0 ? f->head_dim : c->width / c->heads);
    if (r->st == DIAL_OK && c->layers > DI_MAX_LAYERS)
        fail_key(r, "num_hidden_layers", family_hint, "expected at most %d, found %" PRId64,
                 DI_MAX_LAYERS, c->layers);
}

static void read_graph(reader *r, const family *f, di_config *c)
{
    int bias = f->attention_bias && get_bool(r, "attention_bias", 0);
    double scalar = get_number(r, "query_pre_attn_scalar", f->scalar);
    const char *act = get_string(r, f->gemma ? "hidden_activation" : "hidden_act", NULL);

    if (act == NULL) act = get_string(r, "hidden_act", f->gemma ? "gelu_pytorch_tanh" : "silu");
    if (!f->gemma && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        fail_key(r, "hidden_act", family_hint, "expected silu, found '%.60s'", act);
    /* the first Gemma files say "gelu", and their authors meant the approximation by tanh */
    if (f->gemma && strcmp(act, "gelu_pytorch_tanh") != 0 && strcmp(act, "gelu") != 0)
        fail_key(r, "hidden_activation", family_hint, "expected gelu_pytorch_tanh, found '%.60s'",
                 act);
    c->act = f->gemma ? DI_GELU_TANH : DI_SILU;
    c->tied = get_bool(r, "tie_word_embeddings", f->gemma);
    c->qkv_bias = f->qkv_bias || bias;
    c->o_bias = bias;
    c->mlp_bias = strcmp(f->type, "llama") == 0 && get_bool(r, "mlp_bias", 0);
    c->qk_norm = f->qk_norm;
    c->post_norms = f->post_norms;
    c->exact_layers = f->exact;
    c->norm_plus_one = f->gemma;
    c->embed_scale = f->gemma ? (float)sqrt((double)c->width) : 1;
    c->attn_scale = (float)(1 / sqrt(f->scalar > 0 ? scalar : (double)c->head_dim));
    if (f->post_norms) {
        c->attn_cap = (float)get_number(r, "attn_logit_softcapping", f->attn_cap);
        c->logit_cap = (float)get_number(r, "final_logit_softcapping", f->logit_cap);
    }
    /* gemma2: the keys are there, and null means off */
    if (json_is_null(json_object_get(r->obj, "attn_logit_softcapping"))) c->attn_cap = 0;
    if (json_is_null(json_object_get(r->obj, "final_logit_softcapping"))) c->logit_cap = 0;
}

/* 1: sliding, 0: full, -1: neither. */
static int layer_kind(const json_t *v)
{
    const char *s = json_string_value(v);

    if (s == NULL) return -1;
    return strcmp(s, "sliding_attention") == 0 ? 1 : strcmp(s, "full_attention") == 0 ? 0 : -1;
}

/* Which layers see a window where the file does not list them. */
static int windowed(const family *f, int64_t i, int64_t pattern, int64_t first)
{
    if (strcmp(f->type, "mistral") == 0) return 1;
    if (strcmp(f->type, "gemma2") == 0) return i % 2 == 0;
    if (strcmp(f->type, "gemma3_text") == 0) return pattern > 0 && (i + 1) % pattern != 0;
    return i >= first; /* qwen */
}

static void read_windows(reader *r, const family *f, di_config *c)
{
    const json_t *types = get(r, "layer_types");
    int qwen = strncmp(f->type, "qwen", 4) == 0, gemma3 = strcmp(f->arch, "gemma3") == 0;
    /* null is "no window", which is not the same as an absent key */
    int none = json_is_null(json_object_get(r->obj, "sliding_window"));
    int64_t window = none ? 0 : get_int(r, "sliding_window", f->window);
    int64_t first = qwen ? get_int(r, "max_window_layers", 28) : 0;
    int64_t pattern =
        gemma3 ? get_int(r, "sliding_window_pattern", get_int(r, "_sliding_window_pattern", 6)) : 0;

    if (f->window == 0) window = 0; /* llama, gemma: the graph has none */
    if (qwen && !get_bool(r, "use_sliding_window", 0)) window = 0;
    if (types != NULL && json_array_size(types) != (size_t)c->layers)
        fail_key(r, "layer_types", check_hint, "expected a list of %" PRId64 " layers", c->layers);
    for (int64_t i = 0; r->st == DIAL_OK && i < c->layers; i++) {
        int sliding = types != NULL ? layer_kind(json_array_get(types, (size_t)i))
                                    : windowed(f, i, pattern, first) && (window > 0 || gemma3);

        if (sliding < 0 || (sliding && f->window == 0))
            fail_key(r, "layer_types", family_hint,
                     "layer %" PRId64 " has a kind of attention that "
                     "this family does not know",
                     i);
        if (sliding && window == 0)
            fail_key(r, "sliding_window", check_hint,
                     "layer %" PRId64 " is windowed, but no window is given", i);
        c->window[i] = sliding == 1 ? window : 0;
        c->rope_local[i] = gemma3 && sliding == 1;
    }
}

/* One set of RoPE parameters: obj holds type and scaling, base is what applies without rope_theta.
 */
static void read_rope(reader *r, const json_t *obj, double base, di_rope *out)
{
    reader sub = {.obj = obj, .where = r->where, .part = "rope_parameters.", .err = r->err};
    di_rope rope = {.kind = DI_ROPE_DEFAULT, .base = base, .factor = 1};
    const char *type = "default";

    if (r->st != DIAL_OK) return;
    if (obj != NULL) {
        type = get_string(&sub, "rope_type", get_string(&sub, "type", "default"));
        rope.base = get_number(&sub, "rope_theta", base);
    }
    if (strcmp(type, "linear") == 0)
        rope.kind = DI_ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        rope.kind = DI_ROPE_LLAMA3;
    else if (strcmp(type, "default") != 0)
        fail_key(&sub, "rope_type", family_hint,
                 "expected default, linear or llama3, found '%.60s', which is not supported", type);
    if (rope.kind != DI_ROPE_DEFAULT) rope.factor = get_number(&sub, "factor", 0);
    if (rope.kind == DI_ROPE_LLAMA3) {
        rope.low = get_number(&sub, "low_freq_factor", 0);
        rope.high = get_number(&sub, "high_freq_factor", 0);
        rope.original = get_number(&sub, "original_max_position_embeddings", 0);
        if (!(rope.low > 0) || !(rope.high > rope.low) || !(rope.original > 0))
            fail_key(&sub, "low_freq_factor", check_hint,
                     "llama3 needs low_freq_factor > 0, high_freq_factor above it and "
                     "original_max_position_embeddings > 0");
    }
    if (!(rope.factor > 0)) fail_key(&sub, "factor", check_hint, "expected a factor above 0");
    if (!(rope.base > 0)) fail_key(&sub, "rope_theta", check_hint, "expected a base above 0");
    r->st = sub.st;
    *out = rope;
}

static void read_ropes(reader *r, const family *f, di_config *c)
{
    const json_t *given = get(r, "rope_parameters");
    const json_t *full, *local = NULL;
    int gemma3 = strcmp(f->arch, "gemma3") == 0;
    di_rope rope = {0}, rope_local = {0};

    if (given == NULL) given = get(r, "rope_scaling");
    if (given != NULL && !json_is_object(given))
        fail_key(r, "rope_parameters", check_hint, "expected an object");
    full = json_object_get(given, "full_attention");
    if (full != NULL && !gemma3)
        fail_key(r, "rope_parameters", family_hint, "RoPE by kind of layer is not supported here");
    local = json_object_get(given, "sliding_attention");
    if (full == NULL && local == NULL) full = given;
    read_rope(r, full, get_number(r, "rope_theta", f->rope_base), &rope);
    if (r->st == DIAL_OK && gemma3)
        read_rope(r, local, get_number(r, "rope_local_base_freq", 1e4), &rope_local);
    else
        rope_local = rope;
    if (r->st != DIAL_OK || (size_t)c->head_dim / 2 > sizeof c->freq / sizeof *c->freq) return;
    di_rope_fill(&rope, c->head_dim, NULL, c->freq);
    di_rope_fill(&rope_local, c->head_dim, NULL, c->freq_local);
    c->rope = rope;
    c->rope_of_local = rope_local;
}

dial_status di_config_from_json(const char *json, size_t n, const char *where, di_config *out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    reader r = {.where = where, .part = "", .err = err};
    const family *f = NULL;
    json_t *top = NULL;
    di_config c = {0};

    DI_TRY(di_json_parse(json, n, where, 1, &top, err));
    if (!json_is_object(top))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, check_hint, "expected a JSON object");
    r.obj = top;
    refuse(&r, top);
    f = find_family(&r, top);
    if (r.st == DIAL_OK && r.obj != top) refuse(&r, r.obj);
    DI_TRY(r.st);
    strcpy(c.arch, f->arch);
    read_sizes(&r, f, &c);
    if (r.st == DIAL_OK) read_graph(&r, f, &c);
    if (r.st == DIAL_OK) read_windows(&r, f, &c);
    if (r.st == DIAL_OK) read_ropes(&r, f, &c);
    c.bos = get_id(&r, top, "bos_token_id");
    c.eos = get_id(&r, top, "eos_token_id");
    c.pad = get_id(&r, top, "pad_token_id");
    DI_TRY(r.st);
    DI_TRY(di_config_check(&c, where, err));
    *out = c;
done:
    json_decref(top);
    return st;
}
