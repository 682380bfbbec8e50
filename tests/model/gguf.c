/*
 * GGUF: files of the reference writer, block types against its dequantiser, split files, the
 * defaults of absent keys, and damage of every kind.
 */
#include "files.h"

#include <math.h>

#include "model/gguf.h"
#include "model/safetensors.h"

#define GGUF TEST_DIR "/fixtures/gguf/"

/* ---- files built in memory ---- */

static void put(di_buf *b, const void *data, size_t n)
{
    di_buf_append(b, data, n);
}

static void put_u32(di_buf *b, uint32_t v)
{
    put(b, &v, 4);
}

static void put_u64(di_buf *b, uint64_t v)
{
    put(b, &v, 8);
}

static void put_string(di_buf *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}

static void put_start(di_buf *b, uint32_t version, uint64_t tensors, uint64_t pairs)
{
    di_buf_init(b, di_alloc_default());
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, pairs);
}

/* A u32 pair / a tensor of two dimensions. */
static void put_pair(di_buf *b, const char *key, uint32_t value)
{
    put_string(b, key);
    put_u32(b, 4);
    put_u32(b, value);
}

static void put_tensor(di_buf *b, const char *name, uint64_t in, uint64_t out, uint32_t type,
                       uint64_t offset)
{
    put_string(b, name);
    put_u32(b, 2);
    put_u64(b, in);
    put_u64(b, out);
    put_u32(b, type);
    put_u64(b, offset);
}

static void pad(di_buf *b, size_t multiple, size_t more)
{
    while (b->size % multiple != 0) put(b, "", 1);
    for (size_t i = 0; i < more; i++) put(b, "", 1);
}

static dial_status parse(const void *data, size_t n, dial_error *err)
{
    unsigned char *copy = copy_of(data, n);
    di_gguf *g = NULL;
    di_config c;
    dial_status st = di_gguf_parse(di_alloc_default(), copy, n, "x", &g, err);

    if (st == DIAL_OK) (void)di_gguf_config(g, &c, NULL);
    di_gguf_close(g);
    free(copy);
    return st;
}

static void expect(di_buf *b, const char *part)
{
    dial_error err = {0};

    assert_int_equal(b->failed, 0);
    assert_input_error(parse(b->data, b->size, &err), err, part);
    di_buf_deinit(b);
}

/* ---- reading ---- */

static void reads_the_reference(void **state)
{
    dial_error err = {0};
    di_gguf *g = NULL;
    const di_gguf_tensor *t;
    di_gguf_array a;
    di_str s;
    int64_t v = 7;
    double f = 7;
    size_t at = 0;
    (void)state;
    assert_ok(di_gguf_open(di_alloc_default(), GGUF "llama.gguf", &g, &err), err);
    assert_int_equal(di_gguf_parts(g), 1);
    assert_string_equal(di_gguf_part_path(g, 0), GGUF "llama.gguf");
    assert_int_equal(di_gguf_count(g), 29);
    assert_null(di_gguf_at(g, 29));
    t = di_gguf_find(g, "blk.2.ffn_down.weight");
    assert_non_null(t);
    assert_true(t->n_dims == 2 && t->dim[0] == 44 && t->dim[1] == 32 && t->dim[2] == 1);
    assert_true(t->dtype == DI_F32 && t->bytes == 4 * 32 * 44);
    assert_null(di_gguf_find(g, "blk.3.ffn_down.weight"));
    assert_true(di_gguf_string(g, "general.architecture", &s) && s.size == 5);
    assert_memory_equal(s.data, "llama", 5);
    assert_true(di_gguf_int(g, "llama.embedding_length", &v) && v == 32);
    assert_true(di_gguf_int(g, "tokenizer.ggml.add_bos_token", &v) && v == 0);
    assert_true(di_gguf_float(g, "llama.rope.freq_base", &f) && f == 10000);
    assert_true(di_gguf_float(g, "llama.embedding_length", &f) && f == 32);
    v = 7, f = 7;
    assert_false(di_gguf_int(g, "llama.rope.freq_base", &v)); /* a float */
    assert_false(di_gguf_int(g, "general.architecture", &v));
    assert_false(di_gguf_int(g, "absent", &v));
    assert_false(di_gguf_float(g, "tokenizer.ggml.tokens", &f));
    assert_false(di_gguf_string(g, "llama.embedding_length", &s));
    assert_true(v == 7 && f == 7);
    assert_true(di_gguf_array_of(g, "tokenizer.ggml.tokens", &a) && a.n == 97 && a.type == 8);
    for (int i = 0; i < 3; i++) s = di_gguf_next_string(&a, &at);
    assert_true(s.size == 4 && memcmp(s.data, "</s>", 4) == 0);
    assert_true(di_gguf_array_of(g, "tokenizer.ggml.token_type", &a) && a.n == 97);
    assert_true(di_gguf_item_int(&a, 1, &v) && v == DI_TOKEN_CONTROL);
    assert_false(di_gguf_item_int(&a, 97, &v));
    di_gguf_close(g);
    di_gguf_close(NULL);
}

/* Every type that is read, bit for bit what the gguf package makes of the same random blocks. */
static void quantised_types(void **state)
{
    dial_error err = {0};
    di_gguf *g = NULL;
    di_st want = {0};
    char type[24];
    (void)state;
    assert_ok(di_gguf_open(di_alloc_default(), GGUF "quants.gguf", &g, &err), err);
    assert_ok(di_st_open(di_alloc_default(), GGUF "quants.safetensors", &want, &err), err);
    assert_int_equal(want.n, 10);
    for (size_t i = 0; i < want.n; i++) {
        const di_st_tensor *w = &want.tensor[i];
        const di_gguf_tensor *t = di_gguf_find(g, w->name);
        float y[3 * 512];

        assert_non_null(t);
        assert_string_equal(di_dtype_name(t->dtype), w->name);
        assert_true(t->dim[0] == w->dim[1] && t->dim[1] == w->dim[0]);
        assert_int_equal(t->bytes, 3 * di_dtype_row_bytes(t->dtype, t->dim[0]));
        assert_true(w->count <= 3 * 512);
        di_dequantize(t->dtype, t->data, y, w->count);
        if (memcmp(y, w->data, w->bytes) != 0) fail_msg("%s: values differ", w->name);
    }
    assert_int_equal(di_gguf_find(g, "NVFP4_is_not_read")->dtype, DI_DTYPE_COUNT);
    assert_int_equal(di_gguf_find(g, "NVFP4_is_not_read")->bytes, 0);
    assert_string_equal(di_gguf_type_name(12, type), "Q4_K");
    assert_string_equal(di_gguf_type_name(10, type), "Q2_K");
    assert_string_equal(di_gguf_type_name(999, type), "number 999");
    di_st_close(&want);
    di_gguf_close(g);
}

static void config_of_llama(void **state)
{
    dial_error err = {0};
    di_gguf *g = NULL;
    di_config c;
    (void)state;
    assert_ok(di_gguf_open(di_alloc_default(), GGUF "llama.gguf", &g, &err), err);
    assert_ok(di_gguf_config(g, &c, &err), err);
    assert_string_equal(c.arch, "llama");
    assert_true(c.vocab == 97 && c.width == 32 && c.mlp == 44 && c.layers == 3 && c.context == 256);
    assert_true(c.heads == 4 && c.kv_heads == 2 && c.head_dim == 8 && c.norm_eps == 1e-5f);
    assert_true(c.tied && !c.qkv_bias && !c.o_bias && !c.mlp_bias && c.act == DI_SILU);
    assert_true(c.bos == 1 && c.eos == 2 && c.pad == -1 && c.window[0] == 0);
    di_gguf_close(g);
    assert_ok(di_gguf_open(di_alloc_default(), GGUF "rope3.gguf", &g, &err), err);
    assert_ok(di_gguf_config(g, &c, &err), err);
    assert_true(!c.tied && c.qkv_bias && c.o_bias && c.mlp_bias);
    assert_true(fabs((double)c.freq[7] - pow(10, -3.5) / 4) < 1e-9); /* rope_freqs divides */
    di_gguf_close(g);
}

/* What a key may be absent from, and what then holds. */
static void defaults(void **state)
{
    static const struct {
        const char *arch;
        uint32_t layers;
        int64_t window0, window1, window5;
        int local0;
        float scale, attn_cap; /* of heads of 8 in a width of 64 with 4 heads */
    } row[] = {
        {"llama", 6, 0, 0, 0, 0, 8, 0},      {"qwen3", 6, 0, 0, 0, 0, 8, 0},
        {"gemma2", 6, 4096, 0, 0, 0, 8, 50}, {"gemma2", 46, 4096, 0, 0, 0, 16, 50},
        {"gemma3", 6, 0, 0, 0, 0, 8, 0},     {"gemma3", 62, 0, 0, 0, 0, 16, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int with = 0; with < 2; with++) { /* with sliding_window, and types of odd width */
            dial_error err = {0};
            di_gguf *g = NULL;
            di_config c;
            di_buf b;
            const float eps = 1e-6f;
            char key[80];
#define K(name) (snprintf(key, sizeof key, "%s." name, row[i].arch), key)

            put_start(&b, 2 + (uint32_t)with, 1, 9 + (uint64_t)with);
            put_string(&b, "general.architecture"), put_u32(&b, 8), put_string(&b, row[i].arch);
            put_pair(&b, K("block_count"), row[i].layers);
            put_pair(&b, K("context_length"), 128);
            put_pair(&b, K("embedding_length"), 64);
            put_pair(&b, K("attention.key_length"), 8);
            put_string(&b, K("feed_forward_length")), put_u32(&b, 9), put_u32(&b, 5);
            put_u64(&b, 2), put_u32(&b, 96), put_u32(&b, 96);
            put_string(&b, K("attention.head_count")), put_u32(&b, 2), put(&b, "\4", 2);
            put_string(&b, K("attention.layer_norm_rms_epsilon")), put_u32(&b, 6), put(&b, &eps, 4);
            put_string(&b, "tokenizer.ggml.eos_token_id"), put_u32(&b, 10), put_u64(&b, 9);
            if (with) put_pair(&b, K("attention.sliding_window"), 16);
            put_tensor(&b, "token_embd.weight", 64, 10, 0, 0);
            pad(&b, 32, 4 * 640);
            assert_ok(di_gguf_parse(di_alloc_default(), b.data, b.size, "x", &g, &err), err);
            assert_ok(di_gguf_config(g, &c, &err), err);
            assert_true(c.vocab == 10 && c.mlp == 96 && c.heads == 4 && c.kv_heads == 4);
            assert_true(c.head_dim == 8 && c.eos == 9 && c.bos == -1);
            assert_true(c.attn_scale == (float)(1 / sqrt((double)row[i].scale)));
            assert_true(c.attn_cap == row[i].attn_cap);
            if (!with) {
                assert_true(c.window[0] == row[i].window0 && c.window[1] == row[i].window1 &&
                            c.window[5] == row[i].window5 && c.rope_local[0] == row[i].local0);
            } else if (strcmp(row[i].arch, "gemma3") == 0) {
                assert_true(c.window[0] == 16 && c.window[4] == 16 && c.window[5] == 0);
                assert_int_equal(c.rope_local[5], 0);
            } else { /* gemma2: every second layer; others: all */
                assert_true(c.window[0] == 16);
                assert_int_equal(c.window[1], strcmp(row[i].arch, "gemma2") == 0 ? 0 : 16);
            }
            assert_true(c.embed_scale == (row[i].arch[0] == 'g' ? 8 : 1));
            di_gguf_close(g);
            di_buf_deinit(&b);
        }
}

/* Files with a width for each layer are read only if all widths are the same. */
static void layers_that_differ(void **state)
{
    const uint32_t widths[] = {96, 95};
    dial_error err = {0};
    di_gguf *g = NULL;
    di_config c;
    di_buf b;
    (void)state;
    put_start(&b, 3, 0, 5);
    put_string(&b, "general.architecture"), put_u32(&b, 8), put_string(&b, "llama");
    put_pair(&b, "llama.block_count", 2);
    put_pair(&b, "llama.context_length", 8);
    put_pair(&b, "llama.embedding_length", 8);
    put_string(&b, "llama.feed_forward_length"), put_u32(&b, 9), put_u32(&b, 4);
    put_u64(&b, 2), put(&b, widths, sizeof widths);
    assert_ok(di_gguf_parse(di_alloc_default(), b.data, b.size, "x", &g, &err), err);
    assert_input_error(di_gguf_config(g, &c, &err), err, "same integer for all layers");
    assert_non_null(strstr(err.where, "llama.feed_forward_length"));
    di_gguf_close(g);
    di_buf_deinit(&b);
}

static void split_files(void **state)
{
    static const char *const name[] = {"gemma3-00001-of-00002.gguf", "gemma3-00002-of-00002.gguf"};
    dial_error err = {0};
    di_gguf *g = NULL;
    di_config c;
    char dir[256], path[400], *part[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    (void)state;
    for (int i = 0; i < 2; i++) { /* either part opens both */
        snprintf(path, sizeof path, GGUF "%s", name[i]);
        assert_ok(di_gguf_open(di_alloc_default(), path, &g, &err), err);
        assert_int_equal(di_gguf_parts(g), 2);
        assert_int_equal(di_gguf_count(g), 80); /* 6 layers of 13, embedding, norm */
        assert_string_equal(di_gguf_part_path(g, 1), GGUF "gemma3-00002-of-00002.gguf");
        assert_non_null(di_gguf_find(g, "output_norm.weight"));
        assert_non_null(di_gguf_find(g, "blk.5.post_ffw_norm.weight"));
        assert_ok(di_gguf_config(g, &c, &err), err);
        assert_true(c.window[0] == 5 && c.window[5] == 0 && c.rope_local[0] && !c.rope_local[5]);
        assert_true(c.freq[1] == (float)(pow(1e6, -0.25) / 8) && c.freq_local[1] == 0.1f);
        di_gguf_close(g);
        assert_ok(di_read_file(di_alloc_default(), path, &part[i], &n[i], &err), err);
    }
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/%s", dir, name[0]);
    write_file(path, part[0], n[0]);
    assert_int_equal(di_gguf_open(di_alloc_default(), path, &g, &err), DIAL_ERR_USAGE);
    assert_non_null(strstr(err.where, name[1])); /* the missing part is named */
    snprintf(path, sizeof path, "%s/%s", dir, name[1]);
    write_file(path, part[0], n[0]); /* the first part twice */
    assert_input_error(di_gguf_open(di_alloc_default(), path, &g, &err), err, "split.no 1");
    snprintf(path, sizeof path, "%s/alone.gguf", dir);
    write_file(path, part[0], n[0]);
    assert_input_error(di_gguf_open(di_alloc_default(), path, &g, &err), err, "-of-00002.gguf");
    di_free(di_alloc_default(), part[0]);
    di_free(di_alloc_default(), part[1]);
    remove_temp_dir(dir);
}

/* ---- damage ---- */

static void starts(void **state)
{
    di_buf b;
    (void)state;
    put_start(&b, 3, 0, 0);
    b.data[0] = 'g';
    expect(&b, "byte 0");
    put_start(&b, 1, 0, 0);
    expect(&b, "found 1");
    put_start(&b, 4, 0, 0);
    expect(&b, "found 4");
    put_start(&b, 0x03000000, 0, 0);
    expect(&b, "big-endian");
    put_start(&b, 3, UINT64_MAX, 0);
    expect(&b, "byte 8");
    put_start(&b, 3, 0, (uint64_t)1 << 40);
    expect(&b, "byte 16");
    put_start(&b, 3, 0, 0);
    assert_int_equal(parse(b.data, b.size, NULL),
                     DIAL_OK); /* nothing inside: a file all the same */
    di_buf_deinit(&b);
}

static void metadata(void **state)
{
    di_buf b;
    (void)state;
    put_start(&b, 3, 0, 1), put_u64(&b, UINT64_MAX), put(&b, "key", 4), put_u64(&b, 0);
    expect(&b, "byte 32");
    put_start(&b, 3, 0, 1), put_string(&b, "a.key"), put_u32(&b, 13), put_u64(&b, 0);
    expect(&b, "key 'a.key'");
    put_start(&b, 3, 0, 1), put_string(&b, "key"), put_u32(&b, 7), put(&b, "\2", 1);
    expect(&b, "bool");
    put_start(&b, 3, 0, 1), put_string(&b, "key"), put_u32(&b, 9), put_u32(&b, 9), put_u64(&b, 0);
    expect(&b, "array items");
    put_start(&b, 3, 0, 1), put_string(&b, "key"), put_u32(&b, 9), put_u32(&b, 10), put_u64(&b, 2);
    put_u64(&b, 0);
    expect(&b, "items of an array: 2");
    put_start(&b, 3, 0, 1), put_string(&b, "key"), put_u32(&b, 9), put_u32(&b, 12);
    put_u64(&b, (uint64_t)1 << 61);
    expect(&b, "items of an array");
    put_start(&b, 3, 0, 1), put_string(&b, "key"), put_u32(&b, 9), put_u32(&b, 8), put_u64(&b, 2);
    put_string(&b, "abcdefgh"), put_u64(&b, 9);
    expect(&b, "string of an array");
    put_start(&b, 3, 0, 2), put_pair(&b, "key", 1), put_pair(&b, "key", 2);
    expect(&b, "twice");
    put_start(&b, 3, 0, 1), put_string(&b, "key"), put_u32(&b, 12), put_u32(&b, 0);
    expect(&b, "byte 39"); /* 4 of 8 bytes */
}

static void tensors(void **state)
{
    static const char long_name[] =
        "0123456789012345678901234567890123456789012345678901234567890123";
    di_buf b;
    (void)state;
    put_start(&b, 3, 1, 0), put_tensor(&b, long_name, 32, 1, 0, 0), pad(&b, 32, 128);
    expect(&b, "1 to 63 bytes");
    put_start(&b, 3, 1, 0), put_tensor(&b, "", 32, 1, 0, 0), pad(&b, 32, 128);
    expect(&b, "1 to 63 bytes");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a\033[1m", 32, 1, 0, 0), pad(&b, 32, 128);
    expect(&b, "control character");
    put_start(&b, 3, 1, 0), put_string(&b, "a"), put_u32(&b, 5), pad(&b, 32, 128);
    expect(&b, "tensor 'a': expected at most 4 dimensions");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", (uint64_t)1 << 63, 1, 0, 0), pad(&b, 32, 128);
    expect(&b, "63 bits");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", 2, (uint64_t)1 << 62, 0, 0), pad(&b, 32, 128);
    expect(&b, "63 bits");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", (uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0);
    pad(&b, 32, 128);
    expect(&b, "63 bits");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", (uint64_t)1 << 62, 1, 0, 0), pad(&b, 32, 128);
    expect(&b, "64 bits");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", 33, 1, 2, 0), pad(&b, 32, 128);
    expect(&b, "no whole blocks of Q4_0");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", 32, 1, 0, 16), pad(&b, 32, 256);
    expect(&b, "offset 16");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", 33, 1, 0, 0), pad(&b, 32, 128);
    expect(&b, "132 bytes at offset 0");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", 32, 1, 0, UINT64_MAX - 31), pad(&b, 32, 128);
    expect(&b, "end beyond the file");
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", 32, 1, 99, 256), pad(&b, 32, 128);
    expect(&b, "end beyond the file"); /* even of a type whose size is not known */
    put_start(&b, 3, 1, 0), put_tensor(&b, "a", 32, 1, 0, 0);
    expect(&b, "before its tensor data");
    put_start(&b, 3, 2, 0), put_tensor(&b, "a", 32, 1, 0, 0), put_tensor(&b, "a", 32, 1, 0, 128);
    pad(&b, 32, 256);
    expect(&b, "'a' is there twice");
    put_start(&b, 3, 2, 0), put_tensor(&b, "a", 32, 2, 0, 0), put_tensor(&b, "b", 32, 1, 0, 128);
    pad(&b, 32, 256);
    expect(&b, "'a' and 'b' overlap");
    put_start(&b, 3, 1, 1), put_pair(&b, "general.alignment", 48);
    put_tensor(&b, "a", 32, 1, 0, 0), pad(&b, 32, 256);
    expect(&b, "power of two");
    put_start(&b, 3, 1, 1), put_pair(&b, "general.alignment", 0);
    put_tensor(&b, "a", 32, 1, 0, 0), pad(&b, 32, 256);
    expect(&b, "power of two");
    put_start(&b, 3, 1, 1), put_pair(&b, "general.alignment", (uint32_t)1 << 31);
    put_tensor(&b, "a", 32, 1, 0, 0), pad(&b, 32, 256);
    expect(&b, "before its tensor data");
    put_start(&b, 3, 2, 1), put_pair(&b, "general.alignment", 64);
    put_tensor(&b, "a", 1, 1, 0, 0), put_tensor(&b, "b", 1, 1, 0, 64), pad(&b, 64, 68);
    assert_int_equal(parse(b.data, b.size, NULL), DIAL_OK);
    di_buf_deinit(&b);
}

/* A whole small file with one thing changed: by config, what the sentence speaks of. */
static void odd_keys(void **state)
{
    static const struct {
        const char *find, *put, *part; /* bytes of the file are replaced; equal lengths */
    } row[] = {
        {"llama.block_count", "llama.block_Count", "llama.block_count"},
        {"llama.attention.layer_norm_rms_epsilon", "llama.attention.layer_norm_rms_epsiloN",
         "epsilon"},
        {"\5\0\0\0\0\0\0\0llama", "\5\0\0\0\0\0\0\0bloom", "'bloom'"},
        {"general.architecture", "General.architecture", "general.architecture"},
        {"token_embd.weight", "token_embD.weight", "token_embd.weight"},
        {"llama.attention.value_length\4\0\0\0\x08", "llama.attention.value_length\4\0\0\0\x09",
         "value_length"},
        {"llama.rope.dimension_count\4\0\0\0\x08", "llama.rope.dimension_count\4\0\0\0\x04",
         "partial RoPE"},
        {"llama.block_count\4\0\0\0\3", "llama.block_count\6\0\0\0\3", "block_count"},
        {"llama.block_count\4\0\0\0\3\0", "llama.block_count\4\0\0\0\0\2", "layers"},
        {"llama.attention.head_count_kv\4\0\0\0\2", "llama.attention.head_count_kv\4\0\0\0\3",
         "multiple of key/value"},
        {"llama.attention.head_count\4\0\0\0\4", "llama.attention.head_count\4\0\0\0\0",
         "head_count"},
        {"llama.rope.freq_base\6\0\0\0\0\x40\x1c\x46", "llama.rope.freq_base\6\0\0\0\0\0\xc0\x7f",
         "finite"},
        {"llama.rope.freq_base\6\0\0\0\0\x40\x1c\x46", "llama.rope.freq_base\6\0\0\0\0\0\x80\xbf",
         "frequency"},
    };
    /* lengths of rows with zeros inside */
    static const size_t size[] = {17, 38, 13, 20, 17, 33, 31, 22, 23, 34, 31, 28, 28};
    char *file = NULL;
    size_t n = 0;
    dial_error err = {0};
    (void)state;
    assert_ok(di_read_file(di_alloc_default(), GGUF "llama.gguf", &file, &n, &err), err);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *copy = (char *)copy_of(file, n), *hit = memmem(copy, n, row[i].find, size[i]);
        di_gguf *g = NULL;
        di_config c;

        if (hit == NULL) fail_msg("row %zu: the fixture lacks these bytes", i);
        memcpy(hit, row[i].put, size[i]);
        assert_ok(di_gguf_parse(di_alloc_default(), copy, n, "x", &g, &err), err);
        assert_input_error(di_gguf_config(g, &c, &err), err, row[i].part);
        di_gguf_close(g);
        free(copy);
    }
    di_free(di_alloc_default(), file);
}

/* Cut after each 64th and before each byte of the header; a bit flipped in every header byte. */
static void damaged_files(void **state)
{
    char *file = NULL;
    size_t n = 0, header;
    dial_error err = {0};
    (void)state;
    assert_ok(di_read_file(di_alloc_default(), GGUF "llama.gguf", &file, &n, &err), err);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(parse(file, n * i / 64, &err), DIAL_ERR_INPUT);
        assert_true(strstr(err.where, "byte") != NULL && err.hint[0] != '\0');
    }
    assert_int_equal(parse(file, n - 1, &err), DIAL_ERR_INPUT);
    header = n - 103424 + 2048; /* the tensors are the last 103 kB */
    for (size_t i = 0; i < header; i++) {
        dial_status st;

        if (i % 7 == 0) assert_int_equal(parse(file, i, &err), DIAL_ERR_INPUT);
        file[i] ^= (char)(1 << i % 8);
        st = parse(file, n, &err);
        assert_true(st == DIAL_OK || st == DIAL_ERR_INPUT); /* OK: a letter of a token */
        file[i] ^= (char)(1 << i % 8);
    }
    di_free(di_alloc_default(), file);
}

/* ---- the tokenizer ---- */

static void tokenizers(void **state)
{
    dial_error err = {0};
    di_gguf *g = NULL;
    di_tokenizer *t = NULL;
    di_token_list list = {.al = di_alloc_default()};
    (void)state;
    assert_ok(di_gguf_open(di_alloc_default(), GGUF "llama.gguf", &g, &err), err);
    assert_ok(di_gguf_tokenizer(di_alloc_default(), g, &t, &err), err);
    assert_int_equal(di_tokenizer_get_info(t)->vocab, 97);
    assert_int_equal(di_tokenizer_get_info(t)->bos, 1);
    assert_int_equal(di_tokenizer_get_info(t)->adds_bos, 0);
    di_gguf_close(g); /* nothing of the file is needed any more */
    assert_ok(di_tokenizer_encode(t, "and the</s>", 11, &list, &err), err);
    assert_int_equal(list.n, 3);
    assert_true(list.id[0] == 93 && list.id[1] == 91 && list.id[2] == 2);
    di_tokenizer_close(t);
    assert_ok(di_gguf_open(di_alloc_default(), GGUF "gemma3-00001-of-00002.gguf", &g, &err), err);
    assert_ok(di_gguf_tokenizer(di_alloc_default(), g, &t, &err), err);
    assert_int_equal(di_tokenizer_get_info(t)->bos, 2);
    assert_int_equal(di_tokenizer_get_info(t)->adds_bos, 1);
    di_gguf_close(g);
    assert_ok(di_tokenizer_encode(t, "the and\n\n", 9, &list, &err), err);
    assert_int_equal(list.n, 3);
    assert_int_equal(list.id[2], 4);
    di_tokenizer_close(t);
    di_token_list_deinit(&list);
}

static void odd_vocabularies(void **state)
{
    static const struct {
        const char *find, *put, *part;
        size_t size;
    } row[] = {
        {"tokenizer.ggml.model", "tokenizer.ggml.Model", "tokenizer.ggml.model", 20},
        {"tokenizer.ggml.tokens", "tokenizer.ggml.Tokens", "tokenizer.ggml.tokens", 21},
        {"tokenizer.ggml.pre", "tokenizer.ggml.prE", "pre", 18},
        {"\4\0\0\0\0\0\0\0gpt2", "\4\0\0\0\0\0\0\0bert", "bert", 12},
        {"tokenizer.ggml.eos_token_id\4\0\0\0\2\0", "tokenizer.ggml.eos_token_id\4\0\0\0\2\1",
         "eos_token_id", 33},
        {"tokenizer.ggml.eos_token_id\4\0\0\0\2\0", "tokenizer.ggml.eos_token_id\6\0\0\0\2\0",
         "eos_token_id", 33},
        {"tokenizer.ggml.token_type\x09\0\0\0\5\0\0\0\x61\0\0\0\0\0\0\0\2",
         "tokenizer.ggml.token_type\x09\0\0\0\5\0\0\0\x61\0\0\0\0\0\0\0\7", "token_type", 42},
    };
    char *file = NULL;
    size_t n = 0;
    dial_error err = {0};
    (void)state;
    assert_ok(di_read_file(di_alloc_default(), GGUF "llama.gguf", &file, &n, &err), err);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *copy = (char *)copy_of(file, n), *hit = memmem(copy, n, row[i].find, row[i].size);
        di_gguf *g = NULL;
        di_tokenizer *t = NULL;

        if (hit == NULL) fail_msg("row %zu: the fixture lacks these bytes", i);
        memcpy(hit, row[i].put, row[i].size);
        assert_ok(di_gguf_parse(di_alloc_default(), copy, n, "x", &g, &err), err);
        assert_input_error(di_gguf_tokenizer(di_alloc_default(), g, &t, &err), err, row[i].part);
        di_gguf_close(g);
        free(copy);
    }
    di_free(di_alloc_default(), file);
}

static dial_status open_once(void *arg, dial_error *err)
{
    di_gguf *g = NULL;
    di_tokenizer *t = NULL;
    di_config c;
    dial_status st = di_gguf_open(&heap_alloc, arg, &g, err);

    if (st == DIAL_OK) st = di_gguf_config(g, &c, err);
    if (st == DIAL_OK) st = di_gguf_tokenizer(&heap_alloc, g, &t, err);
    di_tokenizer_close(t);
    di_gguf_close(g);
    return st;
}

static void memory_runs_out(void **state)
{
    (void)state;
    fail_each_allocation(open_once, (void *)(uintptr_t)(GGUF "llama.gguf"));
    fail_each_allocation(open_once, (void *)(uintptr_t)(GGUF "gemma3-00002-of-00002.gguf"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_reference),
        cmocka_unit_test(quantised_types),
        cmocka_unit_test(config_of_llama),
        cmocka_unit_test(defaults),
        cmocka_unit_test(layers_that_differ),
        cmocka_unit_test(split_files),
        cmocka_unit_test(starts),
        cmocka_unit_test(metadata),
        cmocka_unit_test(tensors),
        cmocka_unit_test(odd_keys),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(tokenizers),
        cmocka_unit_test(odd_vocabularies),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
