/*
 * How the decoder behaves around its results: what it asks of the backend, memory as planned and no
 * more, clean errors. Its results: decoder.c.
 */
#include "decoder_fixture.h"

/* --- what is asked of the backend ------------------------------------------------------------- */

static struct {
    di_backend table;
    const di_backend *real;
    int products; /* calls of linear_backward */
    float scale;  /* of the embeddings */
} spy;

static void spy_linear_backward(di_device *dev, const di_packed *w, const di_mat *dy, di_mat *dx,
                                int add)
{
    spy.products++;
    spy.real->linear_backward(dev, w, dy, dx, add);
}

static void spy_embed(di_device *dev, const di_weight *table, const int32_t *id, float scale,
                      di_mat *x)
{
    spy.scale = scale;
    spy.real->embed(dev, table, id, scale, x);
}

static void watch(model *m)
{
    spy.real = m->dev.ops;
    spy.table = *m->dev.ops;
    spy.table.linear_backward = spy_linear_backward;
    spy.table.embed = spy_embed;
    spy.products = 0;
    m->dev.ops = &spy.table;
}

/* Four products with frozen weights a layer; q, k, v of the lowest one take none. */
static void backward_stops_at_the_lowest_trained_layer(void **state)
{
    static const struct {
        const char *adapter;
        int products;
    } cases[] = {{MODELS "llama/adapter", 4 + 4 + 3}, {MODELS "llama/adapter_top", 4 + 3}};
    dial_error err = {0};
    di_st st;
    texts t;
    (void)state;

    assert_ok(di_st_open(di_alloc_default(), MODELS "llama/expected.safetensors", &st, &err), err);
    t = expected_texts(&st);
    for (int i = 0; i < 2; i++) {
        model m;
        result x;

        open_model(&m, MODELS "llama", cases[i].adapter, "ref", "f32", (di_decoder_options){0});
        watch(&m);
        x = run(&m, &t, NULL, 0);
        assert_int_equal(spy.products, cases[i].products);
        release(&x);
        close_model(&m);
    }
    free(t.view);
    di_st_close(&st);
}

/*
 * Gemma's sqrt(C) is that of f32 in every dtype, and the lowest blocks of Gemma 3 are f32: up to
 * there bf16 gives the bits of f32, with one block more it does not (docs/pitfalls.md).
 */
static void gemma_is_exact_at_the_bottom(void **state)
{
    static const char *const dtype[] = {"f32", "bf16"};
    static const int32_t ids[] = {5, 9};
    const di_seq_view view = {ids, 2};
    packed p = pack_texts(&view, NULL, 1);
    dial_error err = {0};
    (void)state;

    for (int layers = 4; layers <= 5; layers++) {
        float e[2][24];

        for (int i = 0; i < 2; i++) {
            model m;
            di_workspace *w;

            open_model(&m, MODELS "gemma3_text", NULL, "ref", dtype[i],
                       (di_decoder_options){.n_layers = layers});
            assert_int_equal(di_decoder_config(m.decoder)->exact_layers, 4);
            watch(&m);
            w = workspace_for(&m, &p.b, 0);
            assert_ok(di_decoder_forward(m.decoder, w, &p.b, e[i], &err), err);
            assert_true(spy.scale == 4.8989794856F); /* C = 24; bf16 has 4.90625 */
            di_workspace_free(w);
            close_model(&m);
        }
        assert_int_equal(memcmp(e[0], e[1], sizeof e[0]) == 0, layers == 4);
    }
    free(p.memory);
}

/* --- memory ----------------------------------------------------------------------------------- */

typedef struct attempt {
    di_source *source;
    const char *backend;
} attempt;

static dial_status forward_once(void *arg, dial_error *err)
{
    const attempt *a = arg;
    static const int32_t ids[] = {5, 9, 7, 5, 9, 8};
    const di_seq_view view[] = {{ids, 3}, {ids + 3, 3}};
    packed p = pack_texts(view, (const int32_t[]){0, 0}, 2);
    di_lora_options lora = {.r = 3, .alpha = 3, .targets = 127, .first_layer = 1, .end_layer = 3};
    di_decoder_options opt = {.train = 1, .first_trained = 1, .with_logits = 1};
    di_workspace_options room = {.max_rows = 6, .max_texts = 2, .max_length = 3, .train = 1};
    di_device dev = {0};
    di_params params = {.al = &heap_alloc};
    di_decoder *d = NULL;
    di_workspace *w = NULL;
    float e[2 * 32], de[2 * 32] = {1}, *grad = NULL;
    int opened = 0;
    dial_status st;

    if ((st = di_device_open(&heap_alloc, NULL, a->backend, "f32", threads_of(a->backend), &dev,
                             err)) != DIAL_OK)
        goto done;
    opened = 1;
    if ((st = di_params_init(&params, &heap_alloc, di_source_config(a->source), &lora, err)) !=
        DIAL_OK)
        goto done;
    di_params_randomize(&params, 1);
    grad = calloc((size_t)params.size, sizeof *grad);
    if ((st = di_decoder_new(&dev, a->source, &opt, &d, err)) != DIAL_OK) goto done;
    di_decoder_set_lora(d, &params);
    if ((st = di_workspace_new(d, &room, &w, err)) != DIAL_OK) goto done;
    if ((st = di_decoder_forward(d, w, &p.b, e, err)) != DIAL_OK) goto done;
    st = di_decoder_backward(d, w, &p.b, de, grad, err);
done:
    free(grad);
    free(p.memory);
    di_workspace_free(w);
    di_decoder_free(d);
    di_params_deinit(&params);
    if (opened) di_device_close(&dev);
    return st;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) {
        attempt a = {.backend = BACKENDS[k]};
        dial_error err = {0};

        assert_ok(di_source_open(di_alloc_default(), NULL, MODELS "llama", &a.source, &err), err);
        print_message("%s: %ld allocations failed in turn\n", BACKENDS[k],
                      fail_each_allocation(forward_once, &a));
        di_source_close(a.source);
    }
}

/* Counts what buffer_new hands out, and refuses once `closed`. */
static struct {
    size_t bytes;
    int closed, refused;
} gate;

static void *gated_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)old_size;
    if (new_size == 0) {
        free(p);
        return NULL;
    }
    if (gate.closed) {
        gate.refused++;
        return NULL;
    }
    if (new_size > gate.bytes) gate.bytes = new_size;
    return realloc(p, new_size);
}

static const dial_allocator gated = {gated_resize, NULL};

/* After the first step the heap is shut, and steps go on; the plan says what the device gives. */
static void warm_steps_allocate_nothing(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) {
        model m;
        dial_error err = {0};
        di_st st;
        texts t;
        packed p, q;
        di_workspace *w = NULL;
        di_workspace_options room = {.train = 1};
        float *e, *grad;

        open_model(&m, MODELS "gemma3_text", MODELS "gemma3_text/adapter", BACKENDS[k], "f32",
                   (di_decoder_options){0});
        assert_ok(
            di_st_open(di_alloc_default(), MODELS "gemma3_text/expected.safetensors", &st, &err),
            err);
        t = expected_texts(&st);
        p = pack_texts(t.view, NULL, t.n);
        q = pack_texts(t.view, PAIRS, t.n); /* another shape: fewer rows */
        room.max_rows = p.b.n_rows;
        room.max_texts = t.n;
        room.max_length = t.longest;
        e = malloc((size_t)(t.n * m.params.width) * sizeof *e);
        grad = calloc((size_t)m.params.size, sizeof *grad);
        m.dev.al = &gated;
        gate.bytes = 0;
        assert_ok(di_workspace_new(m.decoder, &room, &w, &err), err);
        assert_int_equal(gate.bytes, di_workspace_bytes(m.decoder, &room) + 128); /* base/alloc.c */
        assert_ok(di_decoder_forward(m.decoder, w, &p.b, e, &err), err);
        assert_ok(di_decoder_backward(m.decoder, w, &p.b, e, grad, &err), err);
        gate.closed = 1;
        for (int i = 0; i < 3; i++) {
            const di_batch *b = i == 1 ? &q.b : &p.b;

            assert_ok(di_decoder_forward(m.decoder, w, b, e, &err), err);
            assert_ok(di_decoder_backward(m.decoder, w, b, e, grad, &err), err);
        }
        assert_int_equal(gate.refused, 0);
        gate.closed = 0;
        di_workspace_free(w);
        m.dev.al = di_alloc_default();
        free(e);
        free(grad);
        free(t.view);
        free(p.memory);
        free(q.memory);
        di_st_close(&st);
        close_model(&m);
    }
}

/*
 * Checkpointing keeps one layer's activations for all; layers below the lowest trained keep none;
 * where last tokens are read, the last block keeps their rows alone behind its attention.
 */
static void the_plan_follows_the_options(void **state)
{
    model all, top, ends;
    di_workspace_options room = {.max_rows = 1024, .max_texts = 8, .max_length = 500, .train = 1};
    size_t full, checkpointed, few, forward, layer, spared;
    (void)state;

    open_model(&all, MODELS "llama", MODELS "llama/adapter", "ref", "f32",
               (di_decoder_options){.pooling = DI_POOL_MEAN});
    open_model(&top, MODELS "llama", MODELS "llama/adapter_top", "ref", "f32",
               (di_decoder_options){.pooling = DI_POOL_MEAN});
    open_model(&ends, MODELS "llama", MODELS "llama/adapter", "ref", "f32",
               (di_decoder_options){.pooling = DI_POOL_LAST});
    full = di_workspace_bytes(all.decoder, &room);
    /* per row: mid, its rstd, gate|up, u of o, gate, up, down, the final norm's x; a row a text */
    spared = (1024 - 8) * 4 * (32 + 1 + 88 + 4 * 4 + 32) - 8 * 4 * 32;
    assert_in_range(full - di_workspace_bytes(ends.decoder, &room), spared - 10 * 128,
                    spared + 10 * 128);
    few = di_workspace_bytes(top.decoder, &room);
    room.grad_checkpoint = 1;
    checkpointed = di_workspace_bytes(all.decoder, &room);
    room.train = 0;
    forward = di_workspace_bytes(all.decoder, &room);
    /* per row and layer: x, mid, two rstd, q|k|v, o, lse, gate|up, seven u */
    assert_in_range(full - few, 1024 * 4 * (32 + 32 + 2 + 64 + 32 + 4 + 88), SIZE_MAX);
    /*
     * checkpointing: the same of two layers less, but the start of all three more; the address
     * sanitizer adds less than 128 bytes a buffer
     */
    layer = 1024 * 4 * (32 + 32 + 2 + 64 + 32 + 4 + 88 + 7 * 4);
    assert_in_range(full - checkpointed, 2 * layer - 3 * 1024 * 4 * 32,
                    2 * (layer + 15 * 128) - 3 * 1024 * 4 * 32);
    assert_in_range(forward, 0, checkpointed);
    assert_in_range(di_decoder_weight_bytes(top.decoder), 1, di_decoder_weight_bytes(all.decoder));
    close_model(&all);
    close_model(&top);
    close_model(&ends);
}

static void second_is_smaller(const model *m, di_workspace_options room)
{
    size_t own = di_workspace_bytes(m->decoder, &room);

    room.borrows = 1;
    assert_true(di_workspace_bytes(m->decoder, &room) < own);
}

/* Two batches whose activations live at once, one scratch memory or two: the same bits. */
static void borrowed_scratch_changes_no_bit(void **state)
{
    static const int32_t ids[] = {5, 9, 7, 5, 9, 8, 11, 3, 4, 6};
    const di_seq_view left[] = {{ids, 3}, {ids + 3, 4}}, right[] = {{ids + 2, 6}};
    packed p[2] = {pack_texts(left, (const int32_t[]){0, 0}, 2), pack_texts(right, NULL, 1)};
    static const char *const dtypes[] = {"f32", "bf16"};
    (void)state;

    for (int i = 0; i < 4; i++) {
        di_workspace_options room = {
            .max_rows = 7, .max_texts = 2, .max_length = 6, .train = 1, .grad_checkpoint = i / 2};
        float e[2][2 * 32], de[64], *grad[2];
        dial_error err = {0};
        model m;

        open_model(&m, MODELS "llama", MODELS "llama/adapter", "cpu", dtypes[i % 2],
                   (di_decoder_options){0});
        for (int k = 0; k < 64; k++) de[k] = (float)(k % 7 - 3);
        for (int borrowed = 0; borrowed < 2; borrowed++) {
            di_workspace_options second = room;
            di_workspace *w[2];

            second.borrows = borrowed;
            assert_ok(di_workspace_new(m.decoder, &room, &w[0], &err), err);
            second.lender = w[0];
            assert_ok(di_workspace_new(m.decoder, &second, &w[1], &err), err);
            grad[borrowed] = calloc((size_t)m.params.size, sizeof(float));
            for (int k = 0; k < 2; k++)
                assert_ok(di_decoder_forward(m.decoder, w[k], &p[k].b, e[k], &err), err);
            for (int k = 0; k < 2; k++)
                assert_ok(di_decoder_backward(m.decoder, w[k], &p[k].b, de, grad[borrowed], &err),
                          err);
            if (borrowed) {
                second.max_rows = room.max_rows + 1; /* more than the lender has */
                di_workspace_free(w[1]);
                assert_int_equal(di_workspace_new(m.decoder, &second, &w[1], &err), DIAL_ERR_USAGE);
                w[1] = NULL;
            }
            di_workspace_free(w[1]);
            di_workspace_free(w[0]);
        }
        assert_same_bits("borrowed scratch", grad[1], grad[0], m.params.size);
        second_is_smaller(&m, room);
        free(grad[0]);
        free(grad[1]);
        close_model(&m);
    }
    free(p[0].memory);
    free(p[1].memory);
}

/* --- order of calls, bad input ---------------------------------------------------------------- */

static void backward_repeats_and_accumulates(void **state)
{
    model m;
    dial_error err = {0};
    static const int32_t ids[] = {5, 9, 7, 5, 9, 8, 11};
    const di_seq_view view[] = {{ids, 3}, {ids + 3, 4}};
    packed p = pack_texts(view, (const int32_t[]){0, 0}, 2);
    di_workspace *w;
    float e[64], de[64] = {0}, *a, *b;
    (void)state;

    open_model(&m, MODELS "llama", MODELS "llama/adapter", "cpu", "f32", (di_decoder_options){0});
    w = workspace_for(&m, &p.b, 0);
    a = calloc((size_t)m.params.size, sizeof *a);
    b = calloc((size_t)m.params.size, sizeof *b);
    assert_int_equal(di_decoder_backward(m.decoder, w, &p.b, de, a, &err), DIAL_ERR_USAGE);
    assert_ok(di_decoder_forward(m.decoder, w, &p.b, e, &err), err);
    assert_ok(di_decoder_backward(m.decoder, w, &p.b, de, a, &err), err);
    for (int64_t i = 0; i < m.params.size; i++) assert_true(a[i] == 0); /* de 0: exact zeros */
    de[3] = 1;
    de[40] = -2;
    assert_ok(di_decoder_backward(m.decoder, w, &p.b, de, a, &err), err);
    assert_ok(di_decoder_backward(m.decoder, w, &p.b, de, b, &err), err);
    assert_same_bits("second backward", b, a, m.params.size);
    assert_ok(di_decoder_backward(m.decoder, w, &p.b, de, b, &err), err);
    for (int64_t i = 0; i < m.params.size; i++) a[i] *= 2;
    assert_same_bits("accumulated", b, a, m.params.size);
    free(a);
    free(b);
    free(p.memory);
    di_workspace_free(w);
    close_model(&m);
}

static void refuses_what_does_not_fit(void **state)
{
    model m;
    dial_error err = {0};
    int32_t ids[] = {5, 9, 7, 5, 96, 8};
    const di_seq_view view[] = {{ids, 3}, {ids + 3, 3}};
    packed p = pack_texts(view, NULL, 2);
    di_workspace_options room = {.max_rows = 6, .max_texts = 2, .max_length = 3};
    di_lora_options lora = {.r = 2, .alpha = 2, .targets = 1, .first_layer = 0, .end_layer = 1};
    di_params other;
    di_workspace *w = NULL;
    di_decoder *d = NULL;
    float e[64], logits[97];
    (void)state;

    open_model(&m, MODELS "llama", NULL, "ref", "f32", (di_decoder_options){0});
    w = workspace_for(&m, &p.b, 0);
    assert_ok(di_decoder_forward(m.decoder, w, &p.b, e, &err), err);
    assert_int_equal(di_decoder_logits(m.decoder, w, &(int32_t){0}, 1, logits, &err),
                     DIAL_ERR_USAGE);
    p.b.id[4] = 97; /* V */
    assert_input_error(di_decoder_forward(m.decoder, w, &p.b, e, &err), err, "id 97");
    assert_string_equal(err.where, "text 1");
    p.b.id[4] = -1;
    assert_input_error(di_decoder_forward(m.decoder, w, &p.b, e, &err), err, "id -1");
    p.b.id[4] = 96;
    di_workspace_free(w);
    for (int i = 0; i < 3; i++) { /* one too few of each */
        di_workspace_options less = {
            .max_rows = 6 - (i == 0), .max_texts = 2 - (i == 1), .max_length = 3 - (i == 2)};
        assert_ok(di_workspace_new(m.decoder, &less, &w, &err), err);
        assert_int_equal(di_decoder_forward(m.decoder, w, &p.b, e, &err), DIAL_ERR_USAGE);
        di_workspace_free(w);
    }
    room.max_texts = 0;
    assert_int_equal(di_workspace_new(m.decoder, &room, &w, &err), DIAL_ERR_USAGE);
    room.max_texts = 2;
    assert_ok(di_params_init(&other, di_alloc_default(), di_decoder_config(m.decoder), &lora, &err),
              err);
    assert_ok(di_workspace_new(m.decoder, &room, &w, &err), err);
    di_decoder_set_lora(m.decoder, &other); /* after the plan */
    assert_int_equal(di_decoder_forward(m.decoder, w, &p.b, e, &err), DIAL_ERR_USAGE);
    di_workspace_free(w);
    room.train = 1; /* the decoder was packed for forward alone */
    assert_int_equal(di_workspace_new(m.decoder, &room, &w, &err), DIAL_ERR_USAGE);
    assert_int_equal(
        di_decoder_new(&m.dev, m.source, &(di_decoder_options){.n_layers = 4}, &d, &err),
        DIAL_ERR_USAGE);
    di_params_deinit(&other);
    free(p.memory);
    close_model(&m);
}

/* models/llama in folder `dir`, with NaN in the embedding of one token. */
static void write_poisoned(const char *dir, int64_t token)
{
    const di_alloc *al = di_alloc_default();
    dial_error err = {0};
    di_st st;
    di_st_entry *entry;
    float *table = NULL;
    char path[400], *text;
    size_t size;

    assert_ok(di_st_open(al, MODELS "llama/model.safetensors", &st, &err), err);
    entry = calloc(st.n, sizeof *entry);
    for (size_t i = 0; i < st.n; i++) {
        const di_st_tensor *t = &st.tensor[i];

        entry[i] =
            (di_st_entry){t->name, "F32", {t->dim[0], t->dim[1]}, t->n_dims, t->data, t->bytes};
        if (strcmp(t->name, "model.embed_tokens.weight") != 0) continue;
        table = malloc(t->bytes);
        memcpy(table, t->data, t->bytes);
        table[token * t->dim[1]] = NAN;
        entry[i].data = table;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_ok(di_st_write(al, path, entry, st.n, NULL, &err), err);
    assert_ok(di_read_file(al, MODELS "llama/config.json", &text, &size, &err), err);
    snprintf(path, sizeof path, "%s/config.json", dir);
    write_file(path, text, size);
    di_free(al, text);
    free(table);
    free(entry);
    di_st_close(&st);
}

static void names_the_text_that_is_not_finite(void **state)
{
    char dir[256];
    dial_error err = {0};
    model m;
    static const int32_t ids[] = {5, 9, 7, 5, 13, 8};
    const di_seq_view view[] = {{ids, 3}, {ids + 3, 3}};
    packed p = pack_texts(view, NULL, 2);
    di_workspace *w;
    float e[64];
    (void)state;

    make_temp_dir(dir);
    write_poisoned(dir, 13);
    for (int k = 0; k < N_BACKENDS; k++) {
        open_model(&m, dir, NULL, BACKENDS[k], "f32", (di_decoder_options){0});
        w = workspace_for(&m, &p.b, 0);
        assert_int_equal(di_decoder_forward(m.decoder, w, &p.b, e, &err), DIAL_ERR_NUMERIC);
        assert_string_equal(err.where, "text 1"); /* the one with token 13 */
        di_workspace_free(w);
        close_model(&m);
    }
    free(p.memory);
    remove_temp_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backward_stops_at_the_lowest_trained_layer),
        cmocka_unit_test(gemma_is_exact_at_the_bottom),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(warm_steps_allocate_nothing),
        cmocka_unit_test(the_plan_follows_the_options),
        cmocka_unit_test(borrowed_scratch_changes_no_bit),
        cmocka_unit_test(backward_repeats_and_accumulates),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(names_the_text_that_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
