/* Before anything is packed: all that the decoder will ask for is there, in shape and readable. */
#include "model/source_parts.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

typedef struct checker {
    di_source *s;
    dial_status st; /* the first failure; later questions do nothing */
    dial_error *err;
} checker;

static const char complete[] = "check that the file is complete and that config and weights belong "
                               "together";

/* The tensor as messages name it: in HF's name, and in the file's where that is another. */
static const char *place_of(const di_source *s, const di_source_entry *e, char buf[320])
{
    if (strcmp(e->name, e->stored) == 0)
        return di_format(buf, 320, "%s: tensor '%s'", s->path, e->name);
    return di_format(buf, 320, "%s: tensor '%s' ('%s')", s->path, e->stored, e->name);
}

/* out [, in]: in 0 asks for one dimension of `out` elements. */
static void check(checker *k, di_source_entry *e, int64_t out, int64_t in)
{
    char place[320], wanted[64], found[64], type[24];
    di_source *s = k->s;

    if (in > 0)
        snprintf(wanted, sizeof wanted, "[%" PRId64 ", %" PRId64 "]", out, in);
    else
        snprintf(wanted, sizeof wanted, "[%" PRId64 "]", out);
    if (e->n_dims == 2)
        snprintf(found, sizeof found, "[%" PRId64 ", %" PRId64 "]", e->w.out, e->w.in);
    else if (e->n_dims == 1)
        snprintf(found, sizeof found, "[%" PRId64 "]", e->w.in);
    else
        snprintf(found, sizeof found, "%d dimensions", e->n_dims);
    if (strcmp(wanted, found) != 0)
        k->st = di_error_set(k->err, DIAL_ERR_INPUT, __FILE__, __LINE__, place_of(s, e, place),
                             complete, "expected shape %s, found %s", wanted, found);
    else if (e->w.dtype == DI_DTYPE_COUNT)
        k->st =
            di_error_set(k->err, DIAL_ERR_INPUT, __FILE__, __LINE__, place_of(s, e, place),
                         s->gguf != NULL ? "quantise the model to Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, "
                                           "Q4_K, Q5_K or Q6_K, or keep F16, BF16 or F32"
                                         : "store it as F32, F16 or BF16",
                         "its type %s is not read", di_source_type_name(e, type));
    e->used = 1;
}

static void need(checker *k, const char *name, int64_t out, int64_t in)
{
    di_source_entry *e;

    if (k->st != DIAL_OK) return;
    e = di_source_entry_of(k->s, name);
    if (e != NULL)
        check(k, e, out, in);
    else
        k->st = di_error_set(k->err, DIAL_ERR_INPUT, __FILE__, __LINE__, k->s->path, complete,
                             "tensor '%s' is missing", name);
}

static void need_linear(checker *k, int64_t layer, const char *which, int64_t out, int64_t in,
                        int bias)
{
    need(k, DI_FMT("model.layers.%" PRId64 ".%s.weight", layer, which), out, in);
    if (bias) need(k, DI_FMT("model.layers.%" PRId64 ".%s.bias", layer, which), out, 0);
}

static void need_layer(checker *k, int64_t i)
{
    const di_config *c = &k->s->config;
    const int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;

    need(k, DI_FMT("model.layers.%" PRId64 ".input_layernorm.weight", i), c->width, 0);
    need(k, DI_FMT("model.layers.%" PRId64 ".post_attention_layernorm.weight", i), c->width, 0);
    if (c->post_norms) {
        need(k, DI_FMT("model.layers.%" PRId64 ".pre_feedforward_layernorm.weight", i), c->width,
             0);
        need(k, DI_FMT("model.layers.%" PRId64 ".post_feedforward_layernorm.weight", i), c->width,
             0);
    }
    if (c->qk_norm) {
        need(k, DI_FMT("model.layers.%" PRId64 ".self_attn.q_norm.weight", i), c->head_dim, 0);
        need(k, DI_FMT("model.layers.%" PRId64 ".self_attn.k_norm.weight", i), c->head_dim, 0);
    }
    need_linear(k, i, "self_attn.q_proj", q, c->width, c->qkv_bias);
    need_linear(k, i, "self_attn.k_proj", kv, c->width, c->qkv_bias);
    need_linear(k, i, "self_attn.v_proj", kv, c->width, c->qkv_bias);
    need_linear(k, i, "self_attn.o_proj", c->width, q, c->o_bias);
    need_linear(k, i, "mlp.gate_proj", c->mlp, c->width, c->mlp_bias);
    need_linear(k, i, "mlp.up_proj", c->mlp, c->width, c->mlp_bias);
    need_linear(k, i, "mlp.down_proj", c->width, c->mlp, c->mlp_bias);
}

/* Unused tensors: the number, and the first names in one line. */
static void log_unused(const di_source *s)
{
    char names[200] = "";
    size_t n = 0, at = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (s->entry[i].used) continue;
        if (n++ < 3 && at < sizeof names - 1) {
            di_format(names + at, sizeof names - at, "%s%s", at > 0 ? ", " : "",
                      s->entry[i].stored);
            at = strlen(names);
        }
    }
    if (n > 0)
        di_log(s->env, DIAL_LOG_INFO, "%s: %zu tensors are not used: %s%s", s->path, n, names,
               n > 3 ? ", ..." : "");
    if (s->n_image > 0)
        di_log(s->env, DIAL_LOG_INFO, "%s: %zu tensors of the image part are skipped", s->path,
               s->n_image);
}

dial_status di_source_check(di_source *s, dial_error *err)
{
    static const char *const heads[] = {"score.weight", "score.bias", "v_head.summary.weight",
                                        "v_head.summary.bias"};
    const di_config *c = &s->config;
    checker k = {.s = s, .err = err};
    di_source_entry *e;

    need(&k, "model.embed_tokens.weight", c->vocab, c->width);
    need(&k, "model.norm.weight", c->width, 0);
    for (int64_t i = 0; i < c->layers; i++) need_layer(&k, i);
    e = di_source_entry_of(s, "lm_head.weight"); /* reward models have none, and need none */
    if (k.st == DIAL_OK && e != NULL) check(&k, e, c->vocab, c->width);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        e = di_source_entry_of(s, heads[i]); /* shapes are the business of who loads the head */
        if (e != NULL) e->used = 1;
    }
    if (k.st == DIAL_OK) log_unused(s);
    return k.st;
}
