/* config.json: the fixture models, the spellings of two generations, and refusals by name. */
#include "files.h"

#include <math.h>

#include "base/json.h"
#include "model/config.h"

#define MODELS TEST_DIR "/fixtures/models/"

static dial_status parse(const char *json, di_config *c, dial_error *err)
{
    return di_config_from_json(json, strlen(json), "x/config.json", c, err);
}

static di_config fixture(const char *name)
{
    char path[400], *json = NULL;
    size_t n = 0;
    dial_error err = {0};
    di_config c;

    snprintf(path, sizeof path, MODELS "%s/config.json", name);
    assert_ok(di_read_file(di_alloc_default(), path, &json, &n, &err), err);
    assert_ok(di_config_from_json(json, n, path, &c, &err), err);
    di_free(di_alloc_default(), json);
    return c;
}

/* base^(-2i/D) in f64, rounded once. */
static float plain_freq(double base, int i, int d)
{
    return (float)pow(base, -2.0 * i / d);
}

static void fixture_models(void **state)
{
    static const struct {
        const char *name, *arch;
        int64_t width, mlp, layers, head_dim;
        float eps;
        di_act act;
        int tied, qkv_bias, o_bias, mlp_bias, qk_norm, post_norms, plus_one;
    } row[] = {
        {"llama", "llama", 32, 44, 3, 8, 1e-5f, DI_SILU, 1, 0, 0, 0, 0, 0, 0},
        {"llama_rope3", "llama", 28, 40, 2, 16, 1e-6f, DI_SILU, 0, 1, 1, 1, 0, 0, 0},
        {"mistral", "mistral", 24, 42, 2, 6, 1e-6f, DI_SILU, 0, 0, 0, 0, 0, 0, 0},
        {"qwen2", "qwen2", 32, 40, 3, 8, 1e-6f, DI_SILU, 0, 1, 0, 0, 0, 0, 0},
        {"qwen3", "qwen3", 24, 41, 2, 10, 1e-6f, DI_SILU, 1, 0, 0, 0, 1, 0, 0},
        {"gemma", "gemma", 24, 40, 2, 8, 1e-6f, DI_GELU_TANH, 1, 0, 0, 0, 0, 0, 1},
        {"gemma2", "gemma2", 24, 40, 4, 8, 1e-6f, DI_GELU_TANH, 1, 0, 0, 0, 0, 1, 1},
        {"gemma3_text", "gemma3", 24, 40, 6, 8, 1e-6f, DI_GELU_TANH, 1, 0, 0, 0, 1, 1, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        di_config c = fixture(row[i].name);

        assert_string_equal(c.arch, row[i].arch);
        assert_int_equal(c.vocab, 97);
        assert_int_equal(c.width, row[i].width);
        assert_int_equal(c.mlp, row[i].mlp);
        assert_int_equal(c.layers, row[i].layers);
        assert_int_equal(c.heads, 4);
        assert_int_equal(c.kv_heads, 2);
        assert_int_equal(c.head_dim, row[i].head_dim);
        assert_int_equal(c.context, 256);
        assert_true(c.norm_eps == row[i].eps);
        assert_int_equal(c.act, row[i].act);
        assert_int_equal(c.tied, row[i].tied);
        assert_int_equal(c.qkv_bias, row[i].qkv_bias);
        assert_int_equal(c.o_bias, row[i].o_bias);
        assert_int_equal(c.mlp_bias, row[i].mlp_bias);
        assert_int_equal(c.qk_norm, row[i].qk_norm);
        assert_int_equal(c.post_norms, row[i].post_norms);
        assert_int_equal(c.norm_plus_one, row[i].plus_one);
        assert_true(c.embed_scale == (row[i].plus_one ? sqrtf(24) : 1));
        assert_int_equal(c.bos, 1);
        assert_int_equal(c.eos, 2);
        assert_int_equal(c.pad, -1);
    }
}

static void windows_and_scales(void **state)
{
    di_config c = fixture("mistral");
    (void)state;
    assert_true(c.window[0] == 5 && c.window[1] == 5 && !c.rope_local[0]);
    assert_true(c.attn_scale == (float)(1 / sqrt(6)));
    c = fixture("qwen2");
    assert_true(c.window[0] == 0 && c.window[2] == 0);
    assert_true(c.freq[1] == plain_freq(1e6, 1, 8));
    c = fixture("gemma2");
    assert_true(c.window[0] == 5 && c.window[1] == 0 && c.window[2] == 5 && c.window[3] == 0);
    assert_true(c.attn_scale == (float)(1 / sqrt(13)) && c.attn_cap == 1.5f && c.logit_cap == 2);
    assert_true(!c.rope_local[0] && c.freq_local[1] == c.freq[1]);
    c = fixture("gemma3_text");
    for (int i = 0; i < 6; i++) {
        assert_int_equal(c.window[i], i == 5 ? 0 : 5);
        assert_int_equal(c.rope_local[i], i != 5);
    }
    assert_true(c.attn_scale == (float)(1 / sqrt(11)) && c.attn_cap == 0 && c.logit_cap == 0);
    for (int i = 0; i < 4; i++) {
        assert_true(c.freq[i] == (float)(pow(1e6, -2.0 * i / 8) / 8)); /* linear, factor 8 */
        assert_true(c.freq_local[i] == plain_freq(1e4, i, 8));
    }
}

/*
 * Llama 3 on a head of 16 at original length 64: wavelengths are 2 pi 10^(i/2), the borders 64 and
 * 16. Pairs 0 (6.3) stay, pairs 3 (198.7) and up are divided by 4, 1 (19.9) and 2 (62.8) are mixed.
 */
static void llama3_frequencies(void **state)
{
    const di_config c = fixture("llama_rope3");
    (void)state;
    for (int i = 0; i < 8; i++) {
        double f = pow(10, -i / 2.0), wave = 2 * acos(-1) / f, s = (64 / wave - 1) / 3;
        double want = wave < 16 ? f : wave > 64 ? f / 4 : (1 - s) * f / 4 + s * f;

        assert_true(fabs((double)c.freq[i] - want) <= 1e-7 * want);
    }
    assert_true(c.freq[0] == 1 && c.freq[1] < 0.316f && c.freq[1] > 0.080f);
}

#define SIZES                                                                                      \
    "\"vocab_size\":100,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":8,"      \
    "\"num_attention_heads\":4,\"rms_norm_eps\":1e-5"

/* What transformers 4 wrote, and keys that are absent or null. */
static void older_spellings(void **state)
{
    dial_error err = {0};
    di_config c;
    (void)state;
    assert_ok(parse("{\"model_type\":\"llama\"," SIZES ",\"rope_theta\":500000.0,\"rope_scaling\":"
                    "{\"type\":\"linear\",\"factor\":2.0},\"torch_dtype\":\"bfloat16\","
                    "\"num_key_value_heads\":null,\"eos_token_id\":[7,8],\"head_dim\":null}",
                    &c, &err),
              err);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.context, 2048);
    assert_int_equal(c.eos, 7);
    assert_int_equal(c.bos, -1);
    assert_int_equal(c.tied, 0);
    assert_true(c.freq[3] == (float)(pow(5e5, -6.0 / 16) / 2));
    assert_ok(parse("{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":null}", &c, &err),
              err);
    assert_int_equal(c.window[0], 0);
    assert_ok(parse("{\"model_type\":\"mistral\"," SIZES "}", &c, &err), err);
    assert_int_equal(c.window[0], 4096);
    assert_ok(parse("{\"model_type\":\"qwen2\"," SIZES ",\"use_sliding_window\":true,"
                    "\"sliding_window\":32,\"max_window_layers\":5}",
                    &c, &err),
              err);
    assert_true(c.window[4] == 0 && c.window[5] == 32 && c.window[7] == 32);
    assert_ok(parse("{\"model_type\":\"gemma\"," SIZES ",\"hidden_act\":\"gelu\",\"head_dim\":32,"
                    "\"hidden_activation\":null}",
                    &c, &err),
              err);
    assert_int_equal(c.act, DI_GELU_TANH);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(c.tied, 1);
    assert_ok(
        parse("{\"model_type\":\"gemma2\"," SIZES ",\"attn_logit_softcapping\":null}", &c, &err),
        err);
    assert_true(c.attn_cap == 0 && c.logit_cap == 30 && c.attn_scale == 0.0625f);
    assert_true(c.window[0] == 4096 && c.window[1] == 0 && c.head_dim == 256);
    assert_ok(parse("{\"model_type\":\"gemma2\"," SIZES ",\"sliding_window\":null}", &c, &err),
              err);
    assert_int_equal(c.window[0], 0);
}

static void gemma3_forms(void **state)
{
    dial_error err = {0};
    di_config c;
    (void)state;
    assert_ok(parse("{\"model_type\":\"gemma3_text\"," SIZES ",\"sliding_window\":16,"
                    "\"sliding_window_pattern\":4,\"rope_theta\":1000000,\"rope_local_base_freq\":"
                    "20000.0,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8.0}}",
                    &c, &err),
              err);
    for (int i = 0; i < 8; i++) assert_int_equal(c.window[i], i % 4 == 3 ? 0 : 16);
    assert_true(c.freq[1] == (float)(pow(1e6, -2.0 / 256) / 8));
    assert_true(c.freq_local[1] == plain_freq(2e4, 1, 256));
    /* a model with images: the text part, sparse, with the ids beside it */
    assert_ok(
        parse("{\"model_type\":\"gemma3\",\"eos_token_id\":[1,106],\"text_config\":{"
              "\"model_type\":\"gemma3_text\",\"hidden_size\":2560,\"intermediate_size\":10240,"
              "\"num_hidden_layers\":34,\"sliding_window\":1024,\"rope_scaling\":{\"factor\":8.0,"
              "\"rope_type\":\"linear\"}},\"vision_config\":{}}",
              &c, &err),
        err);
    assert_true(c.vocab == 262208 && c.width == 2560 && c.heads == 8 && c.kv_heads == 4);
    assert_true(c.context == 131072 && c.eos == 1 && c.window[0] == 1024 && c.window[5] == 0);
    assert_true(c.freq_local[1] == plain_freq(1e4, 1, 256));
}

static void refusals(void **state)
{
    static const struct {
        const char *json, *part;
    } row[] = {
        {"", "json_syntax"},
        {"[]", "JSON object"},
        {"{}", "model_type"},
        {"{\"model_type\":7}", "model_type"},
        {"{\"model_type\":\"bert\"}", "'bert'"},
        {"{\"model_type\":\"mixtral\",\"num_local_experts\":8}", "num_local_experts"},
        {"{\"model_type\":\"llama\"," SIZES ",\"quantization_config\":{}}", "quantization_config"},
        {"{\"model_type\":\"llama\"," SIZES ",\"auto_map\":{}}", "auto_map"},
        {"{\"model_type\":\"gemma3_text\",\"use_bidirectional_attention\":true}", "bidirectional"},
        {"{\"model_type\":\"llama\",\"vocab_size\":5}", "hidden_size"},
        {"{\"model_type\":\"llama\",\"vocab_size\":-5}", "vocab_size"},
        {"{\"model_type\":\"llama\",\"vocab_size\":2.5}", "vocab_size"},
        {"{\"model_type\":\"llama\"," SIZES ",\"hidden_act\":\"gelu\"}", "'gelu'"},
        {"{\"model_type\":\"llama\"," SIZES ",\"hidden_act\":1}", "hidden_act"},
        {"{\"model_type\":\"gemma\"," SIZES ",\"hidden_act\":\"silu\"}", "'silu'"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_scaling\":{\"type\":\"yarn\"}}", "'yarn'"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_parameters\":{\"rope_type\":\"dynamic\"}}",
         "'dynamic'"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_scaling\":{\"type\":\"longrope\"}}",
         "'longrope'"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_scaling\":{\"type\":\"linear\"}}", "factor"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2}}",
         "low_freq_factor"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_scaling\":[]}", "rope_parameters"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_theta\":0}", "rope_theta"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_theta\":\"1e4\"}", "rope_theta"},
        {"{\"model_type\":\"llama\"," SIZES ",\"head_dim\":15}", "even head size"},
        {"{\"model_type\":\"llama\"," SIZES ",\"head_dim\":0}", "head size"},
        {"{\"model_type\":\"llama\"," SIZES ",\"head_dim\":1024}", "head size"},
        {"{\"model_type\":\"llama\"," SIZES ",\"num_key_value_heads\":3}", "multiple of key/value"},
        {"{\"model_type\":\"llama\"," SIZES ",\"num_key_value_heads\":0}", "key/value heads"},
        {"{\"model_type\":\"llama\"," SIZES ",\"tie_word_embeddings\":\"yes\"}",
         "tie_word_embeddings"},
        {"{\"model_type\":\"llama\"," SIZES ",\"eos_token_id\":\"</s>\"}", "eos_token_id"},
        {"{\"model_type\":\"llama\"," SIZES ",\"partial_rotary_factor\":0.5}", "partial_rotary"},
        {"{\"model_type\":\"llama\"," SIZES ",\"layer_types\":[\"full_attention\"]}",
         "layer_types"},
        {"{\"model_type\":\"gemma2\"," SIZES ",\"layer_types\":[1,2,3,4,5,6,7,8]}", "layer 0"},
        {"{\"model_type\":\"gemma2\"," SIZES ",\"query_pre_attn_scalar\":0}", "attention scale"},
        {"{\"model_type\":\"gemma2\"," SIZES ",\"query_pre_attn_scalar\":-4}", "attention scale"},
        {"{\"model_type\":\"gemma3_text\"," SIZES ",\"sliding_window\":null}", "sliding_window"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        dial_error err = {0};
        di_config c;

        assert_input_error(parse(row[i].json, &c, &err), err, row[i].part);
    }
}

static void sizes_beyond_bounds(void **state)
{
    static const char *const key[] = {"vocab_size", "hidden_size", "intermediate_size",
                                      "num_hidden_layers", "num_attention_heads"};
    static const char *const value[] = {"0", "9223372036854775807"};
    (void)state;
    for (size_t i = 0; i < sizeof key / sizeof *key; i++)
        for (size_t k = 0; k < 2; k++) {
            char json[300] = "{\"model_type\":\"llama\"";
            dial_error err = {0};
            di_config c;

            for (size_t j = 0; j < sizeof key / sizeof *key; j++)
                snprintf(json + strlen(json), sizeof json - strlen(json), ",\"%s\":%s", key[j],
                         j == i ? value[k] : "8");
            strcat(json, "}");
            assert_int_equal(parse(json, &c, &err), DIAL_ERR_INPUT);
            assert_true(err.hint[0] != '\0' && err.message[0] != '\0');
        }
}

/* Every prefix of a file is refused, and no flipped bit does harm. */
static void damaged_files(void **state)
{
    char *json = NULL;
    size_t n = 0;
    dial_error err = {0};
    di_config c;
    (void)state;
    assert_ok(di_read_file(di_alloc_default(), MODELS "gemma3_text/config.json", &json, &n, &err),
              err);
    while (n > 0 && json[n - 1] != '}') n--;
    for (size_t i = 0; i < n; i++) {
        dial_status st;
        char *copy = (char *)copy_of(json, n);

        assert_int_equal(di_config_from_json(copy, i, "x", &c, &err), DIAL_ERR_INPUT);
        copy[i] ^= (char)(1 << i % 8);
        st = di_config_from_json(copy, n, "x", &c, &err);
        assert_true(st == DIAL_OK || st == DIAL_ERR_INPUT);
        free(copy);
    }
    di_free(di_alloc_default(), json);
}

static dial_status parse_once(void *arg, dial_error *err)
{
    di_config c;

    return parse(arg, &c, err);
}

static void memory_runs_out(void **state)
{
    static char json[] = "{\"model_type\":\"llama\"," SIZES "}";
    (void)state;
    fail_each_allocation(parse_once, json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixture_models),      cmocka_unit_test(windows_and_scales),
        cmocka_unit_test(llama3_frequencies),  cmocka_unit_test(older_spellings),
        cmocka_unit_test(gemma3_forms),        cmocka_unit_test(refusals),
        cmocka_unit_test(sizes_beyond_bounds), cmocka_unit_test(damaged_files),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
