/*
 * The decoder against PyTorch: hidden rows, logits, embeddings, rewards, loss and the gradient of
 * every trainable tensor, for every architecture and backend (tests/fixtures/README.md). Then what
 * PyTorch cannot say: checkpointing, sharing and repetition change no bit, memory is as planned,
 * errors are clean.
 */
#include "decoder_fixture.h"

/*
 * |got - expected| / |expected|, norms over a tensor. The fixture holds f64 results; PyTorch's own
 * f32 run of the same model is within 3e-6 of them. 1e-5 leaves room for another order of sums.
 */
static const double LIMIT = 1e-5;

static const char *const NAMES[] = {"llama", "llama_rope3", "mistral", "qwen2",
                                    "qwen3", "gemma",       "gemma2",  "gemma3_text"};
enum { N_NAMES = sizeof NAMES / sizeof *NAMES };

static const int32_t PAIRS[] = {0, 0, 1, 1, 2, 2}; /* texts that may share a prefix */

typedef struct worst {
    double value;
    char what[160];
} worst;

/* Fails over the limit; keeps the largest distance for the printed line. */
static void check(worst *w, double limit, const char *what, const float *got, const float *want,
                  int64_t n)
{
    double d = relative(got, want, n);

    if (!(d <= limit)) fail_msg("%s: relative error %.2e, limit %.0e", what, d, limit);
    if (d >= w->value) {
        w->value = d;
        snprintf(w->what, sizeof w->what, "%s", what);
    }
}

/* Hidden rows in the order of the fixture: text by text. */
static float *gather_hidden(const di_workspace *w, const di_batch *b, const texts *t, int64_t width)
{
    float *out = malloc((size_t)(t->rows * width) * sizeof *out);
    int64_t at = 0;

    assert_non_null(out);
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t k = 0; k < t->view[i].n; k++)
            memcpy(out + width * at++, di_workspace_hidden(w) + width * row_of(b, i, k),
                   (size_t)width * sizeof *out);
    return out;
}

/* --- base model ------------------------------------------------------------------------------- */

static void check_base(const char *name, const char *backend, const di_st *st, int64_t layers,
                       const int32_t *group, worst *w)
{
    model m;
    dial_error err = {0};
    texts t = expected_texts(st);
    packed p = pack_texts(t.view, group, t.n);
    di_workspace *ws;
    int64_t width, vocab;
    float *e, *hidden, *logits;
    int32_t *row;

    open_model(&m, name, NULL, backend, "f32",
               (di_decoder_options){.n_layers = layers, .with_logits = layers == 0});
    width = di_decoder_config(m.decoder)->width;
    vocab = di_decoder_config(m.decoder)->vocab;
    ws = workspace_for(&m, &p.b, 0);
    e = malloc((size_t)(t.n * width) * sizeof *e);
    assert_ok(di_decoder_forward(m.decoder, ws, &p.b, e, &err), err);
    hidden = gather_hidden(ws, &p.b, &t, width);
    check(w, LIMIT, layers == 0 ? "base.hidden" : "base.hidden_layer1", hidden,
          expected(st, layers == 0 ? "base.hidden" : "base.hidden_layer1", t.rows * width),
          t.rows * width);
    if (layers == 0) {
        int64_t at = 0;

        row = malloc((size_t)t.rows * sizeof *row);
        logits = malloc((size_t)(t.rows * vocab) * sizeof *logits);
        for (int64_t i = 0; i < t.n; i++)
            for (int64_t k = 0; k < t.view[i].n; k++) row[at++] = (int32_t)row_of(&p.b, i, k);
        assert_ok(di_decoder_logits(m.decoder, ws, row, t.rows, logits, &err), err);
        check(w, LIMIT, "base.logits", logits, expected(st, "base.logits", t.rows * vocab),
              t.rows * vocab);
        free(row);
        free(logits);
    }
    free(e);
    free(hidden);
    free(t.view);
    free(p.memory);
    di_workspace_free(ws);
    close_model(&m);
}

static void base_equals_pytorch(void **state)
{
    (void)state;
    for (int i = 0; i < N_NAMES; i++) {
        for (int k = 0; k < N_BACKENDS; k++) {
            char path[512], file[600];
            dial_error err = {0};
            di_st st;
            worst w = {0};

            snprintf(path, sizeof path, "%s%s", MODELS, NAMES[i]);
            snprintf(file, sizeof file, "%s/expected.safetensors", path);
            assert_ok(di_st_open(di_alloc_default(), file, &st, &err), err);
            check_base(path, BACKENDS[k], &st, 0, NULL, &w);
            check_base(path, BACKENDS[k], &st, 0, PAIRS, &w);
            check_base(path, BACKENDS[k], &st, 1, NULL, &w);
            print_message("%-12s %s base: worst %.1e (%s)\n", NAMES[i], BACKENDS[k], w.value,
                          w.what);
            di_st_close(&st);
        }
    }
}

/* --- adapters --------------------------------------------------------------------------------- */

/* One forward and backward of the pair loss. */
typedef struct result {
    int64_t n, width, rows;
    float *e, *r, *grad, *hidden;
    float loss;
} result;

static result run(const model *m, const texts *t, const int32_t *group, int checkpoint)
{
    dial_error err = {0};
    packed p = pack_texts(t->view, group, t->n);
    di_workspace *ws = workspace_for(m, &p.b, checkpoint);
    int64_t width = m->params.width;
    result x = {.n = t->n, .width = width, .rows = t->rows};
    float *de = calloc((size_t)(t->n * width), sizeof *de);

    x.e = calloc((size_t)(t->n * width), sizeof *x.e);
    x.r = calloc((size_t)t->n, sizeof *x.r);
    x.grad = calloc((size_t)m->params.size, sizeof *x.grad);
    assert_ok(di_decoder_forward(m->decoder, ws, &p.b, x.e, &err), err);
    x.hidden = gather_hidden(ws, &p.b, t, width);
    x.loss = (float)pair_loss(x.e, m->params.theta + m->params.head_at, t->n, width, x.r, de,
                              x.grad + m->params.head_at);
    assert_ok(di_decoder_backward(m->decoder, ws, &p.b, de, x.grad, &err), err);
    free(de);
    free(p.memory);
    di_workspace_free(ws);
    return x;
}

static void release(result *x)
{
    free(x->e);
    free(x->r);
    free(x->grad);
    free(x->hidden);
}

static void check_result(const model *m, const di_st *st, const result *x, int mean, worst *w)
{
    const char *tail = mean ? "_mean" : "";
    char name[200];
    const float *r;

    check(w, LIMIT, "hidden", x->hidden, expected(st, "hidden", x->rows * x->width),
          x->rows * x->width);
    check(w, LIMIT, mean ? "mean_embeddings" : "embeddings", x->e,
          expected(st, mean ? "mean_embeddings" : "embeddings", x->n * x->width), x->n * x->width);
    snprintf(name, sizeof name, "loss%s", tail);
    check(w, LIMIT, name, &x->loss, expected(st, name, 1), 1);
    snprintf(name, sizeof name, "rewards%s", tail);
    r = expected(st, name, x->n);
    for (int64_t i = 0; i < x->n; i++) /* sums that cancel: absolute, as the fixture advises */
        if (!(fabsf(x->r[i] - r[i]) <= 1e-5F))
            fail_msg("%s[%d]: %.9g, expected %.9g", name, (int)i, (double)x->r[i], (double)r[i]);
    for (int i = 0; i < m->params.n; i++) {
        const di_param *p = &m->params.param[i];

        snprintf(name, sizeof name, "grad%s.%s", tail, p->name);
        check(w, LIMIT, name, x->grad + p->at, expected(st, name, p->rows * p->cols),
              p->rows * p->cols);
    }
}

static void assert_same_bits(const char *what, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            fail_msg("%s: element %lld is %.9g and %.9g", what, (long long)i, (double)a[i],
                     (double)b[i]);
}

static void check_adapter(const char *name, const char *adapter, const char *file,
                          const char *backend)
{
    char path[512], folder[600], values[600];
    dial_error err = {0};
    di_st st;
    texts t;
    worst w = {0}, shared = {0};

    snprintf(path, sizeof path, "%s%s", MODELS, name);
    snprintf(folder, sizeof folder, "%s/%s", path, adapter);
    snprintf(values, sizeof values, "%s/%s", path, file);
    assert_ok(di_st_open(di_alloc_default(), values, &st, &err), err);
    t = expected_texts(&st);
    for (int mean = 0; mean < 2; mean++) {
        model m;
        result alone, tree, again;

        open_model(&m, path, folder, backend, "f32",
                   (di_decoder_options){.pooling = mean ? DI_POOL_MEAN : DI_POOL_LAST});
        alone = run(&m, &t, NULL, 0);
        check_result(&m, &st, &alone, mean, &w);
        tree = run(&m, &t, PAIRS, 0);
        assert_same_bits("embeddings, prefixes shared", tree.e, alone.e, t.n * alone.width);
        check_result(&m, &st, &tree, mean, &w);
        check(&shared, LIMIT, "gradients, prefixes shared", tree.grad, alone.grad, m.params.size);
        again = run(&m, &t, PAIRS, 1);
        assert_same_bits("gradients, checkpointed", again.grad, tree.grad, m.params.size);
        release(&alone);
        release(&tree);
        release(&again);
        close_model(&m);
    }
    print_message("%-12s %s %s: worst %.1e (%s); shared against separate %.1e\n", name, backend,
                  adapter, w.value, w.what, shared.value);
    free(t.view);
    di_st_close(&st);
}

static void adapter_equals_pytorch(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) {
        for (int i = 0; i < N_NAMES; i++)
            check_adapter(NAMES[i], "adapter", "expected.safetensors", BACKENDS[k]);
        check_adapter("llama", "adapter_top", "expected_top.safetensors", BACKENDS[k]);
    }
}

/* --- where backward may stop ------------------------------------------------------------------ */

/* p = the values of `from` for the pairs and the head that p has. */
static void copy_values(di_params *p, const di_params *from)
{
    for (int i = 0; i < p->n; i++) {
        const di_param *t = &p->param[i];
        const float *v = t->layer < 0
                             ? from->theta + from->head_at
                             : di_param_at(from, from->theta, t->layer, t->linear, t->is_b);

        memcpy(p->theta + t->at, v, (size_t)(t->rows * t->cols) * sizeof *v);
    }
}

/*
 * LoRA on one linear of one layer equals LoRA everywhere with B = 0 elsewhere: what backward leaves
 * out below the lowest trained linear, and what it passes on through layers without LoRA, shows as
 * a difference. Zero terms change no value, but a backend may group its sums by what there is.
 */
static void one_pair_trains_as_among_all(void **state)
{
    static const char *const names[] = {"llama", "gemma2"}; /* without and with post norms */
    (void)state;

    for (int k = 0; k < N_BACKENDS; k++)
        for (int i = 0; i < 2; i++)
            for (int l = 0; l < DI_LINEAR_COUNT; l++) {
                char path[512], folder[600], file[600];
                dial_error err = {0};
                di_st st;
                texts t;
                model all, one;
                result a, b;
                di_lora_options o;

                snprintf(path, sizeof path, "%s%s", MODELS, names[i]);
                snprintf(folder, sizeof folder, "%s/adapter", path);
                snprintf(file, sizeof file, "%s/expected.safetensors", path);
                assert_ok(di_st_open(di_alloc_default(), file, &st, &err), err);
                t = expected_texts(&st);
                open_model(&all, path, folder, BACKENDS[k], "f32", (di_decoder_options){0});
                for (int j = 0; j < all.params.n; j++) {
                    const di_param *x = &all.params.param[j];

                    if (x->is_b && !(x->layer == 1 && x->linear == (di_linear)l))
                        memset(all.params.theta + x->at, 0,
                               (size_t)(x->rows * x->cols) * sizeof(float));
                }
                a = run(&all, &t, PAIRS, 0);
                open_model(&one, path, NULL, BACKENDS[k], "f32",
                           (di_decoder_options){.train = 1, .first_trained = 1});
                o = all.params.lora;
                o.targets = 1U << l;
                o.first_layer = 1;
                o.end_layer = 2;
                assert_ok(di_params_init(&one.params, di_alloc_default(),
                                         di_decoder_config(one.decoder), &o, &err),
                          err);
                copy_values(&one.params, &all.params);
                di_decoder_set_lora(one.decoder, &one.params);
                for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
                    worst w = {0};

                    b = run(&one, &t, PAIRS, checkpoint);
                    check(&w, 1e-6, "embeddings", b.e, a.e, t.n * a.width);
                    for (int is_b = 0; is_b < 2; is_b++)
                        check(&w, 1e-6, di_linear_name[l],
                              di_param_at(&one.params, b.grad, 1, (di_linear)l, is_b),
                              di_param_at(&all.params, a.grad, 1, (di_linear)l, is_b),
                              one.params.param[is_b].rows * one.params.param[is_b].cols);
                    release(&b);
                }
                release(&a);
                free(t.view);
                di_st_close(&st);
                close_model(&one);
                close_model(&all);
            }
}

/* --- gradients by differences ----------------------------------------------------------------- */

/* L = sum of de . e over all texts, for theta + h u. */
static double linear_loss(model *m, di_workspace *ws, const di_batch *b, const float *theta,
                          const float *u, double h, const float *de)
{
    dial_error err = {0};
    int64_t n = b->n_texts * m->params.width;
    float *e = malloc((size_t)n * sizeof *e);
    double sum = 0;

    for (int64_t i = 0; i < m->params.head_at; i++)
        m->params.theta[i] = (float)((double)theta[i] + h * (double)u[i]);
    assert_ok(di_decoder_forward(m->decoder, ws, b, e, &err), err);
    for (int64_t i = 0; i < n; i++) sum += (double)de[i] * (double)e[i];
    free(e);
    return sum;
}

/*
 * Along a random unit direction u: D(h) = (L(theta + h u) - L(theta - h u)) / 2h against <g, u>.
 * D errs by T h^2 + ... (truncation) and by noise / h. D(h) - D(h/2) = 3/4 T h^2 up to noise, so
 * 4/3 of it bounds the first. Noise: each L carries the rounding of e, within 3e-6 of its norm
 * (the fixtures), two of them differ by up to twice that: 3e-6 |de| |e| / h.
 */
static void gradient_equals_difference(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) {
        model m;
        dial_error err = {0};
        di_st st;
        texts t;
        packed p;
        di_workspace *ws;
        di_rng g = di_rng_make(7, DI_RNG_SELECT, 0);
        int64_t size, n;
        float *theta, *u, *de, *grad, *e;
        double norm = 0, inner = 0, d[2], limit, h = 1.0 / 64, de_norm = 0, e_norm = 0;

        open_model(&m, MODELS "gemma2", MODELS "gemma2/adapter", BACKENDS[k], "f32",
                   (di_decoder_options){0});
        assert_ok(di_st_open(di_alloc_default(), MODELS "gemma2/expected.safetensors", &st, &err),
                  err);
        t = expected_texts(&st);
        p = pack_texts(t.view, PAIRS, t.n);
        ws = workspace_for(&m, &p.b, 0);
        size = m.params.head_at;
        n = t.n * m.params.width;
        theta = malloc((size_t)size * sizeof *theta);
        u = malloc((size_t)size * sizeof *u);
        de = malloc((size_t)n * sizeof *de);
        e = malloc((size_t)n * sizeof *e);
        grad = calloc((size_t)m.params.size, sizeof *grad);
        memcpy(theta, m.params.theta, (size_t)size * sizeof *theta);
        for (int64_t i = 0; i < n; i++) de[i] = (float)di_rng_normal(&g);
        assert_ok(di_decoder_forward(m.decoder, ws, &p.b, e, &err), err);
        assert_ok(di_decoder_backward(m.decoder, ws, &p.b, de, grad, &err), err);
        /* half of the direction is the gradient's own: a wrong one then shows in <g, u> */
        for (int64_t i = 0; i < size; i++) norm += (double)grad[i] * (double)grad[i];
        for (int64_t i = 0; i < size; i++)
            u[i] = (float)((double)grad[i] / sqrt(norm) + di_rng_normal(&g) / sqrt((double)size));
        norm = 0;
        for (int64_t i = 0; i < size; i++) norm += (double)u[i] * (double)u[i];
        for (int64_t i = 0; i < size; i++) u[i] = (float)((double)u[i] / sqrt(norm));
        for (int64_t i = 0; i < size; i++) inner += (double)grad[i] * (double)u[i];
        for (int i = 0; i < 2; i++)
            d[i] = (linear_loss(&m, ws, &p.b, theta, u, h / (1 + i), de) -
                    linear_loss(&m, ws, &p.b, theta, u, -h / (1 + i), de)) /
                   (2 * h / (1 + i));
        for (int64_t i = 0; i < n; i++) {
            de_norm += (double)de[i] * (double)de[i];
            e_norm += (double)e[i] * (double)e[i];
        }
        limit = 4.0 / 3 * fabs(d[0] - d[1]) + 3e-6 * sqrt(de_norm * e_norm) / (h / 2);
        print_message("gemma2 %s: <g, u> %.6f, difference %.6f, limit %.1e\n", BACKENDS[k], inner,
                      d[1], limit);
        assert_true(limit < 0.005 * fabs(inner)); /* the check sees an error of half a percent */
        assert_true(fabs(d[1] - inner) <= limit);
        free(theta);
        free(u);
        free(de);
        free(e);
        free(grad);
        free(t.view);
        free(p.memory);
        di_workspace_free(ws);
        di_st_close(&st);
        close_model(&m);
    }
}

/* --- bf16 ------------------------------------------------------------------------------------- */

/* 8 bits of mantissa through a few blocks of width 24 to 32: the direction of e must survive. */
static void bf16_keeps_directions(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) {
        for (int i = 0; i < N_NAMES; i++) {
            char path[512], folder[600], file[600];
            dial_error err = {0};
            di_device dev;
            di_st st;
            texts t;
            model m;
            result x;
            double least = 1, grads;
            const float *e;

            if (di_device_open(di_alloc_default(), NULL, BACKENDS[k], "bf16", THREADS, &dev,
                               &err) != DIAL_OK) {
                print_message("%s: no bf16 here (%s), skipped\n", BACKENDS[k], err.message);
                break;
            }
            di_device_close(&dev);
            snprintf(path, sizeof path, "%s%s", MODELS, NAMES[i]);
            snprintf(folder, sizeof folder, "%s/adapter", path);
            snprintf(file, sizeof file, "%s/expected.safetensors", path);
            assert_ok(di_st_open(di_alloc_default(), file, &st, &err), err);
            t = expected_texts(&st);
            open_model(&m, path, folder, BACKENDS[k], "bf16", (di_decoder_options){0});
            x = run(&m, &t, PAIRS, 1);
            e = expected(&st, "embeddings", t.n * x.width);
            for (int64_t j = 0; j < t.n; j++) {
                double c = cosine(x.e + j * x.width, e + j * x.width, x.width);
                if (c < least) least = c;
            }
            {
                model exact;
                result y;

                open_model(&exact, path, folder, BACKENDS[k], "f32", (di_decoder_options){0});
                y = run(&exact, &t, PAIRS, 0);
                grads = cosine(x.grad, y.grad, m.params.head_at);
                release(&y);
                close_model(&exact);
            }
            print_message("%-12s %s bf16: least cosine %.5f, of the gradient %.5f\n", NAMES[i],
                          BACKENDS[k], least, grads);
            assert_true(least >= 0.999);
            assert_true(grads >= 0.99);
            release(&x);
            free(t.view);
            di_st_close(&st);
            close_model(&m);
        }
    }
}

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

/* Gemma's sqrt(C), C = 24: 4.898979 in f32; bf16 has 4.875 and 4.90625 around it (interfaces 3.1).
 */
static void embeddings_are_scaled_as_the_dtype_rounds(void **state)
{
    static const struct {
        const char *dtype;
        float scale;
    } cases[] = {{"f32", 4.8989794856F}, {"bf16", 4.90625F}};
    static const int32_t ids[] = {5, 9};
    const di_seq_view view = {ids, 2};
    packed p = pack_texts(&view, NULL, 1);
    dial_error err = {0};
    (void)state;

    for (int i = 0; i < 2; i++) {
        model m;
        di_workspace *w;
        float e[24];

        open_model(&m, MODELS "gemma", NULL, "ref", cases[i].dtype, (di_decoder_options){0});
        watch(&m);
        w = workspace_for(&m, &p.b, 0);
        assert_ok(di_decoder_forward(m.decoder, w, &p.b, e, &err), err);
        assert_true(spy.scale == cases[i].scale);
        di_workspace_free(w);
        close_model(&m);
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

    if ((st = di_device_open(&heap_alloc, NULL, a->backend, "f32", THREADS, &dev, err)) != DIAL_OK)
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

/* Checkpointing keeps one layer's activations for all; layers below the lowest trained keep none.
 */
static void the_plan_follows_the_options(void **state)
{
    model all, top;
    di_workspace_options room = {.max_rows = 1024, .max_texts = 8, .max_length = 500, .train = 1};
    size_t full, checkpointed, few, forward;
    (void)state;

    open_model(&all, MODELS "llama", MODELS "llama/adapter", "ref", "f32", (di_decoder_options){0});
    open_model(&top, MODELS "llama", MODELS "llama/adapter_top", "ref", "f32",
               (di_decoder_options){0});
    full = di_workspace_bytes(all.decoder, &room);
    few = di_workspace_bytes(top.decoder, &room);
    room.grad_checkpoint = 1;
    checkpointed = di_workspace_bytes(all.decoder, &room);
    room.train = 0;
    forward = di_workspace_bytes(all.decoder, &room);
    /* per row and layer: x, mid, two rstd, q|k|v, o, lse, gate|up, seven u */
    assert_in_range(full - few, 1024 * 4 * (32 + 32 + 2 + 64 + 32 + 4 + 88), SIZE_MAX);
    assert_int_equal(full - checkpointed, 2 * 1024 * 4 * (32 + 2 + 64 + 32 + 4 + 88 + 7 * 4));
    assert_in_range(forward, 0, checkpointed);
    assert_in_range(di_decoder_weight_bytes(top.decoder), 1, di_decoder_weight_bytes(all.decoder));
    close_model(&all);
    close_model(&top);
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
        cmocka_unit_test(base_equals_pytorch),
        cmocka_unit_test(adapter_equals_pytorch),
        cmocka_unit_test(one_pair_trains_as_among_all),
        cmocka_unit_test(gradient_equals_difference),
        cmocka_unit_test(bf16_keeps_directions),
        cmocka_unit_test(backward_stops_at_the_lowest_trained_layer),
        cmocka_unit_test(embeddings_are_scaled_as_the_dtype_rounds),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(warm_steps_allocate_nothing),
        cmocka_unit_test(the_plan_follows_the_options),
        cmocka_unit_test(backward_repeats_and_accumulates),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(names_the_text_that_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
