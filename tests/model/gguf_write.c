/*
 * Written as GGUF and read back, every family is the model that it was: configuration, every
 * tensor with the adapter in it, vocabulary and ids. Bytes of quantised blocks and of halves.
 */
#include "files.h"

#include <math.h>

#include "base/error.h"

#include "model/fold.h"
#include "model/gguf_model.h"
#include "tensor/dtype.h"
#include "text/tokenizer.h"

#define MODELS TEST_DIR "/fixtures/models/"
#define TOKENIZERS TEST_DIR "/fixtures/tokenizers/"

static const char *const families[] = {"llama", "llama_rope3", "mistral", "qwen2",
                                       "qwen3", "gemma",       "gemma2",  "gemma3_text"};
enum { N_FAMILIES = sizeof families / sizeof *families };

typedef struct model {
    di_source *source;
    di_params params;
    di_fold fold;
} model;

static void open_model(model *m, const char *path, const char *adapter, int64_t cut)
{
    dial_error err = {0};
    di_lora_options lora = {0};

    *m = (model){0};
    assert_ok(di_source_open(di_alloc_default(), NULL, path, &m->source, &err), err);
    if (adapter != NULL) {
        const di_config *c = di_source_config(m->source);

        assert_ok(di_adapter_read_config(di_alloc_default(), adapter, c, &lora, &err), err);
        assert_ok(di_params_init(&m->params, di_alloc_default(), c, &lora, &err), err);
        assert_ok(di_adapter_load(di_alloc_default(), adapter, &m->params, &err), err);
    }
    assert_ok(di_fold_init(&m->fold, di_alloc_default(), m->source, adapter ? &m->params : NULL,
                           di_source_config(m->source)->layers - cut, &err),
              err);
}

static void close_model(model *m)
{
    di_fold_deinit(&m->fold);
    if (m->params.al != NULL) di_params_deinit(&m->params);
    di_source_close(m->source);
}

static di_tokenizer *open_tokenizer(const char *name)
{
    di_tokenizer *t = NULL;
    dial_error err = {0};

    assert_ok(di_tokenizer_open_hf(di_alloc_default(), DI_FMT("%s%s", TOKENIZERS, name), &t, &err),
              err);
    return t;
}

static void write_model(model *m, const char *path, di_dtype dtype)
{
    di_tokenizer *tok = open_tokenizer("gpt2"); /* of more ids than rows: it is cut */
    di_gguf_model g = {.fold = &m->fold, .dtype = dtype, .tok = tok, .add_bos = 1};
    di_gguf_out o;
    dial_error err = {0};

    di_gguf_out_init(&o, di_alloc_default());
    assert_ok(di_gguf_model_write(&g, path, &o, &err), err);
    di_gguf_out_deinit(&o);
    di_tokenizer_close(tok);
}

static float *rows_of(model *m, const di_fold_tensor *t)
{
    float *x = calloc((size_t)(t->rows * t->cols), sizeof *x);
    dial_error err = {0};

    assert_non_null(x);
    assert_ok(di_fold_rows(&m->fold, t, 0, t->rows, x, &err), err);
    return x;
}

static void assert_same_config(const di_config *a, const di_config *b, int64_t layers)
{
    assert_int_equal(b->layers, layers);
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->mlp, b->mlp);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->context, b->context);
    assert_int_equal(a->act, b->act);
    assert_int_equal(a->qkv_bias, b->qkv_bias);
    assert_int_equal(a->qk_norm, b->qk_norm);
    assert_int_equal(a->post_norms, b->post_norms);
    assert_true(a->norm_eps == b->norm_eps && a->embed_scale == b->embed_scale);
    assert_true(a->attn_cap == b->attn_cap && a->logit_cap == b->logit_cap);
    assert_true(fabsf(a->attn_scale - b->attn_scale) <= 1e-6f * a->attn_scale);
    for (int64_t i = 0; i < layers; i++) {
        assert_int_equal(a->window[i], b->window[i]);
        if (a->window[i] > 0 && strcmp(a->arch, "gemma3") == 0)
            assert_int_equal(a->rope_local[i], b->rope_local[i]);
    }
    /* a quotient is written and divided by again: two roundings */
    for (int64_t i = 0; i < a->head_dim / 2; i++) {
        assert_true(fabsf(a->freq[i] - b->freq[i]) <= 0x1p-22f * a->freq[i]);
        assert_true(fabsf(a->freq_local[i] - b->freq_local[i]) <= 0x1p-22f * a->freq_local[i]);
    }
}

static void every_family_comes_back(void **state)
{
    char dir[256], path[300], adapter[400];
    (void)state;

    make_temp_dir(dir);
    for (int f = 0; f < N_FAMILIES; f++)
        for (int64_t cut = 0; cut < 2; cut++) {
            model a, b;

            snprintf(adapter, sizeof adapter, "%s%s/adapter", MODELS, families[f]);
            snprintf(path, sizeof path, "%s/%s.gguf", dir, families[f]);
            open_model(&a, DI_FMT("%s%s", MODELS, families[f]), adapter, cut);
            /* no key of GGUF holds Gemma's scalar: the fixtures' 11 has to be the head size */
            ((di_config *)(uintptr_t)di_source_config(a.source))->attn_scale =
                (float)(1 / sqrt((double)di_source_config(a.source)->head_dim));
            write_model(&a, path, DI_F32);
            open_model(&b, path, NULL, 0);
            assert_same_config(di_source_config(a.source), di_source_config(b.source),
                               a.fold.layers);
            assert_int_equal(a.fold.n, b.fold.n);
            for (int i = 0; i < a.fold.n; i++) {
                const di_fold_tensor *t = &a.fold.tensor[i];
                const int plus = t->is_norm && di_source_config(a.source)->norm_plus_one;
                float *x = rows_of(&a, t), *y = rows_of(&b, &b.fold.tensor[i]);

                assert_string_equal(t->name, b.fold.tensor[i].name);
                for (int64_t k = 0; plus && k < t->rows * t->cols; k++) x[k] += 1;
                assert_memory_equal(x, y, (size_t)(t->rows * t->cols) * sizeof *x);
                free(x);
                free(y);
            }
            close_model(&a);
            close_model(&b);
        }
    remove_temp_dir(dir);
}

/* The adapter is in what was written: without it the same comparison fails. */
static void the_adapter_counts(void **state)
{
    model with, without;
    int differ = 0;
    (void)state;

    open_model(&with, MODELS "llama", MODELS "llama/adapter", 0);
    open_model(&without, MODELS "llama", NULL, 0);

    for (int i = 0; i < with.fold.n; i++) {
        const di_fold_tensor *t = &with.fold.tensor[i];
        float *x = rows_of(&with, t), *y = rows_of(&without, t);

        differ += memcmp(x, y, (size_t)(t->rows * t->cols) * sizeof *x) != 0;
        free(x);
        free(y);
    }
    assert_int_equal(differ, (with.params.n - 1) / 2); /* a pair a matrix; the last is the head */
    close_model(&with);
    close_model(&without);
}

static void an_odd_attention_scale_is_refused(void **state)
{
    model m;
    di_gguf_model g = {.fold = &m.fold, .dtype = DI_F32};
    di_gguf_out o;
    dial_error err = {0};
    (void)state;

    open_model(&m, MODELS "gemma2", NULL, 0);
    di_gguf_out_init(&o, di_alloc_default());
    assert_int_equal(di_gguf_model_write(&g, "/nonexistent/x.gguf", &o, &err), DIAL_ERR_USAGE);
    assert_non_null(strstr(err.message, "attention scale"));
    di_gguf_out_deinit(&o);
    close_model(&m);
}

/* --- vocabularies ----------------------------------------------------------------------------- */

static void assert_same_ids(const di_tokenizer *a, const di_tokenizer *b, const char *name)
{
    di_token_list x = {.al = di_alloc_default()}, y = {.al = di_alloc_default()};
    dial_error err = {0};
    char *strings = NULL;
    size_t n = 0, at = 4, count = 0;

    assert_ok(di_read_file(di_alloc_default(), TOKENIZERS "strings.bin", &strings, &n, &err), err);
    while (at < n) {
        uint32_t size;

        memcpy(&size, strings + at, 4);
        at += 4;
        assert_ok(di_tokenizer_encode(a, strings + at, size, &x, &err), err);
        assert_ok(di_tokenizer_encode(b, strings + at, size, &y, &err), err);
        if (x.n != y.n || (x.n > 0 && memcmp(x.id, y.id, x.n * sizeof *x.id) != 0))
            fail_msg("%s: other ids for '%.*s'", name, (int)size, strings + at);
        at += size;
        count++;
    }
    assert_true(count > 100);
    di_token_list_deinit(&x);
    di_token_list_deinit(&y);
    di_free(di_alloc_default(), strings);
}

static void vocabularies_give_the_same_ids(void **state)
{
    static const char *const names[] = {"gpt2",    "smollm", "qwen2", "llama3",
                                        "default", "gemma",  "llama2"};
    (void)state;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        di_tokenizer *t = open_tokenizer(names[i]), *back = NULL;
        di_vocab_store store;
        di_vocab v;
        dial_error err = {0};
        const size_t n = (size_t)di_tokenizer_get_info(t)->vocab;

        assert_ok(di_tokenizer_to_vocab(t, di_alloc_default(), n + 3, &store, &v, &err), err);
        assert_int_equal(v.n, n + 3);
        assert_int_equal(v.types[n + 2], DI_TOKEN_UNUSED);
        assert_ok(di_tokenizer_from_vocab(di_alloc_default(), &v, &back, &err), err);
        assert_same_ids(t, back, names[i]);
        di_vocab_store_deinit(&store);
        di_tokenizer_close(t);
        di_tokenizer_close(back);
    }
}

/* --- element types ---------------------------------------------------------------------------- */

static void halves_round_to_nearest_even(void **state)
{
    static const struct {
        float x;
        uint16_t half;
    } rows[] = {
        {0, 0},
        {-0.0f, 0x8000},
        {1, 0x3c00},
        {65504, 0x7bff},
        {65519.996f, 0x7bff},
        {65520, 0x7c00},
        {-1e9f, 0xfc00},
        {1 + 0x1p-11f, 0x3c00}, /* a tie: the even one */
        {1 + 3 * 0x1p-11f, 0x3c02},
        {0x1p-14f, 0x0400},
        {0x1p-24f, 0x0001},
        {0x1p-25f, 0x0000}, /* a tie with nothing */
        {3 * 0x1p-25f, 0x0002},
        {1023 * 0x1p-24f, 0x03ff},
    };
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(di_f32_to_f16(rows[i].x), rows[i].half);
    for (uint32_t h = 0; h < 0x10000; h++) { /* what is a half stays one */
        const float x = di_f16_to_f32((uint16_t)h);

        if (x == x) assert_int_equal(di_f32_to_f16(x), h);
    }
    assert_int_equal(di_f32_to_f16(NAN) & 0x7e00, 0x7e00);
}

/* |x - d q| <= d / 2 (rounding of q) + 127 d 2^-11 (d as a half): under 0.57 d. */
static void blocks_of_8_bits_are_near(void **state)
{
    float x[64], y[64];
    unsigned char packed[68];
    (void)state;

    for (int i = 0; i < 64; i++) x[i] = (float)sin(0.7 * i) * (i < 32 ? 3 : 0.01f);
    di_quantize(DI_Q8_0, x, packed, 64);
    di_dequantize(DI_Q8_0, packed, y, 64);
    for (int i = 0; i < 64; i++)
        assert_true(fabsf(x[i] - y[i]) <= 0.57f * (i < 32 ? 3 : 0.01f) / 127);
    memset(x, 0, sizeof x);
    di_quantize(DI_Q8_0, x, packed, 64);
    di_dequantize(DI_Q8_0, packed, y, 64);
    for (int i = 0; i < 64; i++) assert_true(y[i] == 0);
}

/* A file that lacks memory somewhere is not written, and nothing leaks. */
static dial_status write_once(void *arg, dial_error *err)
{
    model *m = arg;
    dial_status st = DIAL_OK;
    di_fold fold = {0};
    di_gguf_out o;
    const di_tokenizer *tok = NULL;
    di_gguf_model g = {.fold = &fold, .dtype = DI_F32, .tok = tok};

    di_gguf_out_init(&o, &heap_alloc);
    st = di_fold_init(&fold, &heap_alloc, m->source, NULL, 1, err);
    if (st == DIAL_OK) st = di_gguf_model_write(&g, "/dev/null/x", &o, err);
    di_gguf_out_deinit(&o);
    di_fold_deinit(&fold);
    return st == DIAL_ERR_IO ? DIAL_OK : st; /* every allocation was made */
}

static void no_memory_is_an_error(void **state)
{
    model m;
    (void)state;

    open_model(&m, TEST_DIR "/fixtures/gguf/llama.gguf", NULL, 0);
    assert_true(fail_each_allocation(write_once, &m) > 5);
    close_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_comes_back),
        cmocka_unit_test(the_adapter_counts),
        cmocka_unit_test(an_odd_attention_scale_is_refused),
        cmocka_unit_test(vocabularies_give_the_same_ids),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(blocks_of_8_bits_are_near),
        cmocka_unit_test(no_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
