/*
 * Two released models, where the cache folder holds them (interfaces.md 8): $DIAL_CACHE, else
 * $XDG_CACHE_HOME/dial, else ~/.cache/dial; below it models/NAME. Absent files are skipped.
 *
 * The hashes are those of whole tensors in f32 and in Hugging Face order, as the gguf package
 * dequantises them: they hold block types, row order and tensor names of real files in one line.
 */
#include "files.h"

#include <math.h>

#include "model/source.h"

/* Opens models/NAME of the cache folder, or skips the test. */
static di_source *open_cached(const char *name)
{
    const char *cache = getenv("DIAL_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char path[1024];
    dial_error err = {0};
    di_source *s = NULL;

    if (cache != NULL && *cache != '\0')
        snprintf(path, sizeof path, "%s/models/%s", cache, name);
    else if (xdg != NULL && *xdg != '\0')
        snprintf(path, sizeof path, "%s/dial/models/%s", xdg, name);
    else
        snprintf(path, sizeof path, "%s/.cache/dial/models/%s", home != NULL ? home : "", name);
    if (!di_exists(path)) {
        printf("skipped: %s is not there\n", path);
        skip();
    }
    assert_ok(di_source_open(di_alloc_default(), NULL, path, &s, &err), err);
    return s;
}

static void count_types(const di_source *s, int count[DI_DTYPE_COUNT + 1])
{
    memset(count, 0, (DI_DTYPE_COUNT + 1) * sizeof *count);
    for (size_t i = 0; i < di_source_count(s); i++) count[di_source_at(s, i).dtype]++;
}

static void expect_values(const di_source *s, const char *name, const char *sha256)
{
    dial_error err = {0};
    di_weight w;
    int found = 0;
    float *y;
    char hex[65];

    assert_ok(di_source_find(s, name, &w, &found, &err), err);
    assert_true(found);
    y = malloc((size_t)w.out * (size_t)w.in * sizeof *y);
    assert_non_null(y);
    for (int64_t r = 0; r < w.out; r++) {
        int64_t at = w.row_map != NULL ? w.row_map[r] : r;

        di_dequantize(w.dtype,
                      (const char *)w.data + (size_t)at * di_dtype_row_bytes(w.dtype, w.in),
                      y + r * w.in, w.in);
    }
    di_sha256(y, (size_t)w.out * (size_t)w.in * sizeof *y, hex);
    free(y);
    if (strcmp(hex, sha256) != 0) fail_msg("%s: values differ", name);
}

static void expect_ids(const di_source *s, const char *text, const int32_t *id, size_t n)
{
    di_token_list list = {.al = di_alloc_default()};
    di_tokenizer *t = NULL;
    dial_error err = {0};

    assert_ok(di_source_tokenizer(s, &t, &err), err);
    assert_int_equal(di_tokenizer_get_info(t)->vocab, di_source_config(s)->vocab);
    assert_ok(di_tokenizer_encode(t, text, strlen(text), &list, &err), err);
    assert_int_equal(list.n, n);
    assert_memory_equal(list.id, id, n * sizeof *id);
    di_token_list_deinit(&list);
    di_tokenizer_close(t);
}

static void smollm2(void **state)
{
    static const int32_t ids[] = {104, 256, 34, 32, 34,   36,    284, 216,
                                  35,  30,  33, 36, 1116, 11181, 39};
    di_source *s = open_cached("SmolLM2-135M-Instruct.Q4_1.gguf");
    const di_config *c = di_source_config(s);
    int count[DI_DTYPE_COUNT + 1];
    (void)state;
    count_types(s, count);
    assert_int_equal(di_source_count(s), 272);
    assert_true(count[DI_Q4_1] == 210 && count[DI_F32] == 61 && count[DI_Q8_0] == 1);
    assert_string_equal(c->arch, "llama");
    assert_true(c->width == 576 && c->mlp == 1536 && c->layers == 30 && c->vocab == 49152);
    assert_true(c->heads == 9 && c->kv_heads == 3 && c->head_dim == 64); /* no key_length */
    assert_true(c->context == 8192 && c->tied && c->norm_eps == 1e-5f && c->attn_scale == 0.125f);
    assert_true(!c->qkv_bias && !c->o_bias && !c->mlp_bias && c->bos == 1 && c->eos == 2);
    assert_true(c->freq[1] == (float)pow(1e5, -2.0 / 64) && c->window[0] == 0);
    expect_values(s, "model.layers.3.self_attn.q_proj.weight",
                  "104838da8b4afb8d4d2032db69cd49cd12b9558520cbca07b47095a03dec7691");
    expect_values(s, "model.layers.3.self_attn.k_proj.weight",
                  "64d260baa4d5478cd91053172dc60f6cb429f1860d6882920f4f8c18b846464a");
    expect_values(s, "model.layers.29.self_attn.v_proj.weight",
                  "ccd13910de7a7987521feaa22b57227cc1ff00a702bea83b345c238c5800fe27");
    expect_values(s, "model.norm.weight",
                  "3b87f8e27335e67fc08f159cabfd2d18f205d6c5b225a6f978153552bf01d559");
    expect_values(s, "model.embed_tokens.weight",
                  "3fd491c8066dd9dc1a2bf6796701526c82817d95c0ecabacdef3013c2b8bbbaa");
    expect_ids(s, "x  2024 and 3.14\n\n\n  7", ids, sizeof ids / sizeof *ids);
    di_source_forget_pages(s);
    di_source_close(s);
}

static void gemma3(void **state)
{
    static const int32_t ids[] = {9259, 1902};
    di_source *s = open_cached("gemma-3-270m.Q4_K_M.gguf");
    const di_config *c = di_source_config(s);
    int count[DI_DTYPE_COUNT + 1];
    (void)state;
    count_types(s, count);
    assert_int_equal(di_source_count(s), 236);
    assert_true(count[DI_F32] == 109 && count[DI_Q5_0] == 81 && count[DI_Q4_K] == 27 &&
                count[DI_Q8_0] == 10 && count[DI_Q6_K] == 9);
    assert_string_equal(c->arch, "gemma3");
    assert_true(c->width == 640 && c->mlp == 2048 && c->layers == 18 && c->vocab == 262144);
    assert_true(c->heads == 4 && c->kv_heads == 1 && c->head_dim == 256);
    assert_true(c->tied && c->qk_norm && c->post_norms && !c->norm_plus_one);
    assert_int_equal(c->exact_layers, 4);
    assert_true(c->act == DI_GELU_TANH && c->attn_scale == 0.0625f && c->embed_scale == sqrtf(640));
    for (int i = 0; i < 18; i++) { /* the pattern and the local base are defaults */
        assert_int_equal(c->window[i], i % 6 == 5 ? 0 : 512);
        assert_int_equal(c->rope_local[i], i % 6 != 5);
    }
    assert_true(c->freq[1] == (float)pow(1e6, -2.0 / 256));
    assert_true(c->freq_local[1] == (float)pow(1e4, -2.0 / 256));
    expect_values(s, "model.layers.3.self_attn.q_proj.weight",
                  "c50c26df07d277625a372458274b1d7983ee998c8493e0a337eb1e0744384623");
    expect_values(s, "model.layers.5.self_attn.v_proj.weight",
                  "3e8f2c0136195c3528e042e122a68cf79312b604d9e35a39b3d72bc1a5a6c5c7");
    expect_values(s, "model.layers.17.mlp.down_proj.weight",
                  "7567ae3bdd757fa36fec6852d21acee918328e7eaa154a9b325e96b3d224706a");
    expect_values(s, "model.layers.8.mlp.down_proj.weight",
                  "a5145676afb4b111fc35f9bc4bec0562de443e259d073f7617833c3ea71f8089");
    expect_values(s, "model.layers.5.post_feedforward_layernorm.weight",
                  "45427d941cf27576d699138aafee58d1c4e56429f849c76c913ace510a118f52");
    expect_ids(s, "Hello world", ids, 2);
    di_source_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm2),
        cmocka_unit_test(gemma3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
