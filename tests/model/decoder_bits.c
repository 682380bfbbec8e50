/*
 * interfaces.md 4.5, RT8: the embedding of a text is the same, bit for bit, alone, in any batch, at
 * any place in it, with its prefix shared or not, in a workspace of any size, planned for training
 * or not. Every backend, both dtypes, both poolings.
 */
#include "decoder_fixture.h"

#include "data/trunk.h"

/*
 * One group of texts that begin alike, per row: 1 token; a few; either side of 16, 32, 64, 128
 * (tiles of rows and blocks of keys); longer than a tile of any backend. Prefixes end inside a
 * block as well as on its border. A text may be a prefix of the next one.
 */
static const struct {
    int32_t shared, n, length[4];
} GROUPS[] = {
    {1, 2, {1, 2}},       {3, 3, {5, 4, 9}},       {16, 2, {17, 33}}, {0, 1, {1}},
    {31, 2, {32, 64}},    {64, 3, {65, 127, 129}}, {0, 1, {16}},      {40, 4, {63, 48, 41, 95}},
    {100, 2, {130, 128}}, {250, 2, {251, 300}},
};
enum { N_GROUPS = sizeof GROUPS / sizeof *GROUPS, MAX_TEXTS = 32, MAX_TOKENS = 2000 };

typedef struct corpus {
    int32_t ids[MAX_TOKENS], group[MAX_TEXTS];
    di_seq_view view[MAX_TEXTS];
    int64_t n, rows, longest;
} corpus;

/* Texts longer than `limit` are left out. */
static void make_corpus(corpus *c, int64_t vocab, int32_t limit)
{
    di_rng g = di_rng_make(3, DI_RNG_SELECT, 0);
    int64_t at = 0;

    *c = (corpus){0};
    for (int32_t i = 0; i < N_GROUPS; i++) {
        int64_t first = -1;

        for (int32_t k = 0; k < GROUPS[i].n; k++) {
            int32_t n = GROUPS[i].length[k];

            if (n > limit) continue;
            assert_true(at + n <= MAX_TOKENS && c->n < MAX_TEXTS);
            for (int32_t j = 0; j < n; j++)
                c->ids[at + j] = first >= 0 && j < GROUPS[i].shared
                                     ? c->ids[first + j]
                                     : (int32_t)di_rng_below(&g, (uint64_t)vocab);
            if (first < 0) first = at;
            c->group[c->n] = i;
            c->view[c->n++] = (di_seq_view){c->ids + at, n};
            at += n;
            if (n > c->longest) c->longest = n;
        }
    }
    c->rows = at;
}

/* Embeddings of texts [from, from + n) in one batch; room: rows, texts and length of the workspace.
 */
static void embed(model *m, const di_seq_view *view, const int32_t *group, int64_t n,
                  di_workspace_options room, float *e)
{
    dial_error err = {0};
    packed p = pack_texts(view, group, n);
    di_workspace *w;

    if (room.max_rows == 0) {
        room.max_rows = p.b.n_rows;
        room.max_texts = n;
        for (int64_t i = 0; i < n; i++)
            if (view[i].n > room.max_length) room.max_length = view[i].n;
    }
    assert_ok(di_workspace_new(m->decoder, &room, &w, &err), err);
    assert_ok(di_decoder_forward(m->decoder, w, &p.b, e, &err), err);
    di_workspace_free(w);
    free(p.memory);
}

static void same(const char *what, const char *how, const corpus *c, int64_t text, const float *a,
                 const float *b, int64_t width)
{
    if (memcmp(a, b, (size_t)width * sizeof *a) != 0)
        fail_msg("%s: text %d of %d tokens differs %s (relative %.1e)", what, (int)text,
                 (int)c->view[text].n, how, relative(a, b, width));
}

static void check_bits(model *m, const char *what, const corpus *c)
{
    int64_t width = di_decoder_config(m->decoder)->width, n = c->n;
    di_workspace_options exact = {0};
    di_workspace_options wide = {
        .max_rows = c->rows + 77, .max_texts = n + 3, .max_length = c->longest + 9};
    di_workspace_options train = {
        .max_rows = c->rows, .max_texts = n, .max_length = c->longest, .train = 1};
    size_t size = (size_t)(n * width) * sizeof(float);
    float *alone = malloc(size), *e = malloc(size);
    di_seq_view back[MAX_TEXTS];

    for (int64_t i = 0; i < n; i++) embed(m, &c->view[i], NULL, 1, exact, alone + i * width);
    embed(m, c->view, NULL, n, exact, e);
    for (int64_t i = 0; i < n; i++)
        same(what, "in a batch", c, i, e + i * width, alone + i * width, width);
    for (int64_t i = 0; i < n; i++) back[i] = c->view[n - 1 - i];
    embed(m, back, NULL, n, wide, e);
    for (int64_t i = 0; i < n; i++)
        same(what, "at another place", c, i, e + (n - 1 - i) * width, alone + i * width, width);
    embed(m, c->view, c->group, n, exact, e);
    for (int64_t i = 0; i < n; i++)
        same(what, "with a shared prefix", c, i, e + i * width, alone + i * width, width);
    for (int64_t i = 0; i < n; i += 5) {
        embed(m, &c->view[i], NULL, 1, wide, e);
        same(what, "alone in a larger workspace", c, i, e, alone + i * width, width);
    }
    if (m->params.n > 0) {
        embed(m, c->view, c->group, n, train, e);
        for (int64_t i = 0; i < n; i++)
            same(what, "in a training step", c, i, e + i * width, alone + i * width, width);
        train.grad_checkpoint = 1;
        embed(m, c->view, c->group, n, train, e);
        for (int64_t i = 0; i < n; i++)
            same(what, "with checkpointing", c, i, e + i * width, alone + i * width, width);
    }
    free(alone);
    free(e);
}

static int has_dtype(const char *backend, const char *dtype)
{
    dial_error err = {0};
    di_device dev;

    if (di_device_open(di_alloc_default(), NULL, backend, dtype, threads_of(backend), &dev, &err) !=
        DIAL_OK) {
        print_message("%s: %s is not supported here (%s), skipped\n", backend, dtype, err.message);
        return 0;
    }
    di_device_close(&dev);
    return 1;
}

static const char *const DTYPES[] = {"f32", "bf16"};

static void fixtures_score_alone_as_in_a_batch(void **state)
{
    /* adapter_top: layers without LoRA below layers with it; gemma: windows, caps, both RoPE bases
     */
    static const char *const cases[][2] = {{"llama", "adapter_top"},
                                           {"llama_rope3", "adapter"},
                                           {"qwen3", "adapter"},
                                           {"gemma2", "adapter"},
                                           {"gemma3_text", "adapter"}};
    (void)state;

    for (int k = 0; k < N_BACKENDS; k++)
        for (int t = 0; t < 2; t++) {
            if (!has_dtype(BACKENDS[k], DTYPES[t])) continue;
            for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                for (int mean = 0; mean < 2; mean++) {
                    char path[512], adapter[600], what[200];
                    corpus c;
                    model m;

                    snprintf(path, sizeof path, "%s%s", MODELS, cases[i][0]);
                    snprintf(adapter, sizeof adapter, "%s/%s", path, cases[i][1]);
                    snprintf(what, sizeof what, "%s %s %s %s", cases[i][0], BACKENDS[k], DTYPES[t],
                             mean ? "mean" : "last");
                    /* ref takes its time: the long texts are left to the fast backends */
                    make_corpus(&c, 97, k == 0 ? 66 : 300);
                    open_model(&m, path, adapter, BACKENDS[k], DTYPES[t],
                               (di_decoder_options){.pooling = mean ? DI_POOL_MEAN : DI_POOL_LAST});
                    check_bits(&m, what, &c);
                    close_model(&m);
                }
        }
}

/* Widths of several tiles, no multiples of each other; weights from the seed. */
static const char WIDER[] =
    "{\"model_type\":\"llama\",\"vocab_size\":500,\"hidden_size\":320,\"intermediate_size\":712,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":6,\"num_key_value_heads\":2,\"head_dim\":64,"
    "\"rms_norm_eps\":1e-5,\"max_position_embeddings\":512,\"tie_word_embeddings\":true}";

static void a_wider_model_scores_alone_as_in_a_batch(void **state)
{
    char dir[256], path[300];
    (void)state;

    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/config.json", dir);
    write_file(path, WIDER, strlen(WIDER));
    for (int t = 0; t < 2; t++) {
        for (int mean = 0; mean < 2; mean++) {
            corpus c;
            model m;

            if (!has_dtype("cpu", DTYPES[t])) continue;
            make_corpus(&c, 500, 300);
            open_model(&m, path, NULL, "cpu", DTYPES[t],
                       (di_decoder_options){.pooling = mean ? DI_POOL_MEAN : DI_POOL_LAST,
                                            .random_seed = 5});
            check_bits(&m, t == 0 ? "wider f32" : "wider bf16", &c);
            close_model(&m);
        }
    }
    remove_temp_dir(dir);
}

/* A config.json alone: the seed makes the weights. */
static void random_weights_come_from_the_seed(void **state)
{
    char dir[256], path[300];
    corpus c;
    float e[3][320];
    (void)state;

    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/config.json", dir);
    write_file(path, WIDER, strlen(WIDER));
    make_corpus(&c, 500, 20);
    for (int i = 0; i < 3; i++) {
        model m;

        open_model(&m, path, NULL, "ref", "f32",
                   (di_decoder_options){.random_seed = i < 2 ? 5 : 6});
        embed(&m, &c.view[4], NULL, 1, (di_workspace_options){0}, e[i]);
        close_model(&m);
    }
    assert_memory_equal(e[0], e[1], sizeof e[0]);
    assert_true(cosine(e[0], e[2], 320) < 0.5); /* unrelated directions: N(0, 1/320) */
    remove_temp_dir(dir);
}

/* The same step twice, the second time in another workspace: the same gradient. */
static void gradients_repeat(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++)
        for (int t = 0; t < 2; t++) {
            corpus c;
            model m;
            packed p;
            float *grad[2], *e;
            dial_error err = {0};

            if (!has_dtype(BACKENDS[k], DTYPES[t])) continue;
            make_corpus(&c, 97, 66);
            open_model(&m, MODELS "qwen3", MODELS "qwen3/adapter", BACKENDS[k], DTYPES[t],
                       (di_decoder_options){0});
            p = pack_texts(c.view, c.group, c.n);
            e = malloc((size_t)(c.n * m.params.width) * sizeof *e);
            for (int i = 0; i < 2; i++) {
                di_workspace *w = workspace_for(&m, &p.b, i);

                grad[i] = calloc((size_t)m.params.size, sizeof *grad[i]);
                assert_ok(di_decoder_forward(m.decoder, w, &p.b, e, &err), err);
                assert_ok(di_decoder_backward(m.decoder, w, &p.b, e, grad[i], &err), err);
                di_workspace_free(w);
            }
            assert_memory_equal(grad[0], grad[1], (size_t)m.params.size * sizeof *grad[0]);
            free(grad[0]);
            free(grad[1]);
            free(e);
            free(p.memory);
            close_model(&m);
        }
}

/*
 * The trunk of each text alone, looked up for a batch that shares prefixes: embeddings and LoRA
 * gradients of the training step have the bits of the whole way.
 */
static void check_trunk(model *m, const char *what, const corpus *c)
{
    int64_t width = di_decoder_config(m->decoder)->width, n = c->n;
    di_trunk_shape shape = {(size_t)width * di_act_bytes(m->dev.act), 1};
    di_workspace_options o = {.max_rows = c->rows, .max_texts = n, .max_length = c->longest};
    size_t size = (size_t)(n * width) * sizeof(float);
    float *e[2] = {malloc(size), malloc(size)}, *grad[2];
    void *rows = malloc((size_t)c->rows * shape.row_bytes);
    dial_error err = {0};
    di_workspace *forward, *train;
    di_trunk *t;
    packed p;

    assert_true(di_decoder_entry(m->decoder) > 0);
    assert_ok(di_trunk_new(di_alloc_default(), NULL, &shape, &t, &err), err);
    assert_ok(di_workspace_new(m->decoder, &o, &forward, &err), err);
    o.train = 1;
    assert_ok(di_workspace_new(m->decoder, &o, &train, &err), err);
    for (int64_t i = 0; i < n; i++) {
        p = pack_texts(&c->view[i], NULL, 1);
        assert_ok(di_decoder_trunk(m->decoder, forward, &p.b, rows, &err), err);
        assert_ok(di_trunk_add(t, &c->view[i], (const void *[]){rows}, 1, &err), err);
        free(p.memory);
    }
    p = pack_texts(c->view, c->group, n);
    assert_true(p.b.n_rows < c->rows);
    assert_int_equal(di_trunk_gather(t, &p.b, c->view, rows), 1);
    for (int k = 0; k < 2; k++) {
        grad[k] = calloc((size_t)m->params.size, sizeof **grad);
        assert_ok(k == 0 ? di_decoder_forward(m->decoder, train, &p.b, e[k], &err)
                         : di_decoder_forward_from(m->decoder, train, &p.b, rows, e[k], &err),
                  err);
        assert_ok(di_decoder_backward(m->decoder, train, &p.b, e[0], grad[k], &err), err);
    }
    assert_same_bits(what, e[1], e[0], n * width);
    assert_same_bits(what, grad[1], grad[0], m->params.size);
    assert_true(grad[0][0] != 0);
    assert_ok(di_decoder_forward_from(m->decoder, forward, &p.b, rows, e[1], &err), err);
    assert_same_bits(what, e[1], e[0], n * width);
    for (int k = 0; k < 2; k++) free(e[k]), free(grad[k]);
    free(rows);
    free(p.memory);
    di_workspace_free(train);
    di_workspace_free(forward);
    di_trunk_free(t);
}

static void a_stored_trunk_changes_no_bit(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS * 2; k++) {
        model m;
        corpus c;
        char what[64];

        make_corpus(&c, 97, k < 2 ? 66 : 300);
        snprintf(what, sizeof what, "trunk, %s %s", BACKENDS[k / 2], DTYPES[k % 2]);
        open_model(&m, MODELS "llama", MODELS "llama/adapter_top", BACKENDS[k / 2], DTYPES[k % 2],
                   (di_decoder_options){.pooling = DI_POOL_LAST});
        check_trunk(&m, what, &c);
        close_model(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures_score_alone_as_in_a_batch),
        cmocka_unit_test(a_wider_model_scores_alone_as_in_a_batch),
        cmocka_unit_test(random_weights_come_from_the_seed),
        cmocka_unit_test(gradients_repeat),
        cmocka_unit_test(a_stored_trunk_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
