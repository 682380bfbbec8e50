#include "model/config_write.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/config_parts.h"

static const struct {
    const char *arch, *type, *family;
} names[] = {
    {"llama", "llama", "Llama"},
    {"mistral", "mistral", "Mistral"},
    {"qwen2", "qwen2", "Qwen2"},
    {"qwen3", "qwen3", "Qwen3"},
    {"gemma", "gemma", "Gemma"},
    {"gemma2", "gemma2", "Gemma2"},
    {"gemma3", "gemma3_text", "Gemma3Text"},
};

static int windowed(const di_config *c, int64_t i)
{
    return c->window[i] > 0;
}

static int64_t any_window(const di_config *c)
{
    for (int64_t i = 0; i < c->layers; i++)
        if (windowed(c, i)) return c->window[i];
    return 0;
}

static json_t *layer_types(const di_config *c, int64_t layers, int *failed)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < layers; i++)
        di_json_add(list, json_string(windowed(c, i) ? "sliding_attention" : "full_attention"),
                    failed);
    return list;
}

static json_t *id_or_null(int32_t id)
{
    return id >= 0 ? json_integer(id) : json_null();
}

/*
 * GGUF carries Llama 3's scaling as a table of divisors, already computed. config.json wants its
 * settings: those of the published models are tried.
 */
static int llama3_of(const di_config *c, di_rope *out)
{
    static const double factors[] = {8, 32, 16, 4};
    float freq[sizeof c->freq / sizeof *c->freq];

    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        int64_t k = 0;
        di_rope r = {DI_ROPE_LLAMA3, c->rope.base, factors[i], 1, 4, 8192};

        di_rope_fill(&r, c->head_dim, NULL, freq);
        while (k < c->head_dim / 2 && fabsf(freq[k] - c->freq[k]) <= 1e-5f * freq[k]) k++;
        if (k < c->head_dim / 2) continue;
        *out = r;
        return 1;
    }
    return 0;
}

static json_t *rope_json(const di_rope *r, int with_base)
{
    json_t *o = json_pack("{s:s}", "rope_type",
                          r->kind == DI_ROPE_LINEAR   ? "linear"
                          : r->kind == DI_ROPE_LLAMA3 ? "llama3"
                                                      : "default");
    int failed = 0;

    if (with_base) di_json_put(o, "rope_theta", json_real(r->base), &failed);
    if (r->kind != DI_ROPE_DEFAULT) di_json_put(o, "factor", json_real(r->factor), &failed);
    if (r->kind == DI_ROPE_LLAMA3) {
        di_json_put(o, "low_freq_factor", json_real(r->low), &failed);
        di_json_put(o, "high_freq_factor", json_real(r->high), &failed);
        di_json_put(o, "original_max_position_embeddings", json_integer((json_int_t)r->original),
                    &failed);
    }
    return di_json_whole(o, failed);
}

/* Old keys and new ones: transformers 4 reads the former, 5 both. */
static dial_status put_rope(json_t *o, const di_config *c, const char *where, int *failed,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rope r = c->rope;
    const int gemma3 = strcmp(c->arch, "gemma3") == 0;

    if (r.kind == DI_ROPE_DIVIDED && (r.factor != 1 || !llama3_of(c, &r)))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "train on the model's Hugging Face folder instead",
                   "rope_freqs.weight holds divisors that config.json has no settings for");
    di_json_put(o, "rope_theta", json_real(r.base), failed);
    di_json_put(o, "rope_scaling", r.kind == DI_ROPE_DEFAULT ? json_null() : rope_json(&r, 0),
                failed);
    if (!gemma3) {
        di_json_put(o, "rope_parameters", rope_json(&r, 1), failed);
        goto done;
    }
    di_json_put(o, "rope_local_base_freq", json_real(c->rope_of_local.base), failed);
    di_json_put(o, "rope_parameters",
                json_pack("{s:o, s:o}", "full_attention", rope_json(&r, 1), "sliding_attention",
                          rope_json(&c->rope_of_local, 1)),
                failed);
done:
    return st;
}

static void put_graph(json_t *o, const di_config *c, int64_t layers, int *failed)
{
    const int gemma = c->act == DI_GELU_TANH, qwen = strncmp(c->arch, "qwen", 4) == 0;
    const int64_t window = any_window(c);

    di_json_put(o, gemma ? "hidden_activation" : "hidden_act",
                json_string(gemma ? "gelu_pytorch_tanh" : "silu"), failed);
    if (gemma) di_json_put(o, "hidden_act", json_string("gelu_pytorch_tanh"), failed);
    if (strcmp(c->arch, "qwen2") != 0)
        di_json_put(o, "attention_bias", json_boolean(c->qkv_bias), failed);
    if (strcmp(c->arch, "llama") == 0)
        di_json_put(o, "mlp_bias", json_boolean(c->mlp_bias), failed);
    if (qwen) di_json_put(o, "use_sliding_window", json_boolean(window > 0), failed);
    if (window > 0) di_json_put(o, "sliding_window", json_integer(window), failed);
    if (c->post_norms || (qwen && window > 0))
        di_json_put(o, "layer_types", layer_types(c, layers, failed), failed);
    if (!c->post_norms) return;
    /* a whole number in every published model, and transformers takes no other */
    di_json_put(o, "query_pre_attn_scalar",
                json_integer(llround(1 / ((double)c->attn_scale * (double)c->attn_scale))), failed);
    di_json_put(o, "attn_logit_softcapping",
                c->attn_cap > 0 ? json_real((double)c->attn_cap) : json_null(), failed);
    di_json_put(o, "final_logit_softcapping",
                c->logit_cap > 0 ? json_real((double)c->logit_cap) : json_null(), failed);
}

/* Of a GGUF file. */
static dial_status from_config(const di_source *s, const char *type, int64_t layers, json_t **out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_config *c = di_source_config(s);
    const char *where = di_source_path(s);
    int failed = 0;
    json_t *o = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b, s:o, s:o, s:o}", "model_type",
        type, "vocab_size", (json_int_t)c->vocab, "hidden_size", (json_int_t)c->width,
        "intermediate_size", (json_int_t)c->mlp, "num_hidden_layers", (json_int_t)layers,
        "num_attention_heads", (json_int_t)c->heads, "num_key_value_heads", (json_int_t)c->kv_heads,
        "head_dim", (json_int_t)c->head_dim, "max_position_embeddings", (json_int_t)c->context,
        "rms_norm_eps", (double)c->norm_eps, "tie_word_embeddings", c->tied, "bos_token_id",
        id_or_null(c->bos), "eos_token_id", id_or_null(c->eos), "pad_token_id", id_or_null(c->pad));

    if (strcmp(c->arch, "qwen2") != 0 && c->qkv_bias != c->o_bias)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "train on the model's Hugging Face folder instead",
                   "q, k and v have biases and o has none, which config.json cannot say");
    put_graph(o, c, layers, &failed);
    DI_TRY(put_rope(o, c, where, &failed, err));
    o = di_json_whole(o, failed);
    if (o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for config.json");
    *out = o;
    o = NULL;
done:
    json_decref(o);
    return st;
}

/* Of a Hugging Face folder: what its authors wrote, cut. */
static dial_status from_folder(const di_alloc *al, const di_source *s, const char *type,
                               int64_t layers, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, di_source_path(s), "config.json");
    json_t *top = NULL, *o, *types;
    static const char *const outer[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    int failed = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_json_read(al, path, &top, err));
    o = top;
    if (strcmp(type, "gemma3_text") == 0 && json_is_object(json_object_get(top, "text_config"))) {
        o = json_object_get(top, "text_config");
        for (size_t i = 0; i < sizeof outer / sizeof *outer; i++)
            if (json_object_get(o, outer[i]) == NULL && json_object_get(top, outer[i]) != NULL)
                di_json_put(o, outer[i], json_incref(json_object_get(top, outer[i])), &failed);
    }
    di_json_put(o, "model_type", json_string(type), &failed);
    di_json_put(o, "num_hidden_layers", json_integer(layers), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for config.json");
    types = json_object_get(o, "layer_types");
    while (json_array_size(types) > (size_t)layers)
        json_array_remove(types, json_array_size(types) - 1);
    *out = json_incref(o);
done:
    json_decref(top);
    di_free(al, path);
    return st;
}

dial_status di_config_to_json(const di_alloc *al, const di_source *s, int64_t layers, json_t **out,
                              const char **family, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_config *c = di_source_config(s);
    const int from_gguf = strcmp(di_source_kind(s), "gguf") == 0;
    /* GGUF calls Mistral llama; its windows tell */
    const char *arch =
        from_gguf && strcmp(c->arch, "llama") == 0 && any_window(c) > 0 ? "mistral" : c->arch;
    size_t i = 0;

    while (strcmp(names[i].arch, arch) != 0) i++;
    DI_TRY(from_gguf ? from_config(s, names[i].type, layers, out, err)
                     : from_folder(al, s, names[i].type, layers, out, err));
    *family = names[i].family;
done:
    return st;
}
