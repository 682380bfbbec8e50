/*
 * The decoder against PyTorch: hidden rows, logits, embeddings, rewards, loss and the gradient of
 * every trainable tensor, for every architecture and backend (tests/fixtures/README.md). With it:
 * prefix sharing and checkpointing, LoRA on single layers, differences, bf16.
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
               (di_decoder_options){.n_layers = layers,
                                    .pooling = layers == 0 ? DI_POOL_LAST : DI_POOL_MEAN,
                                    .with_logits = layers == 0});
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

static void check_result(const model *m, const di_st *st, const result *x, int mean, worst *w)
{
    const char *tail = mean ? "_mean" : "";
    char name[200];
    const float *r;

    if (mean) /* else the last block has the ends of the texts alone */
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

            if (di_device_open(di_alloc_default(), NULL, BACKENDS[k], "bf16",
                               threads_of(BACKENDS[k]), &dev, &err) != DIAL_OK) {
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_equals_pytorch),
        cmocka_unit_test(adapter_equals_pytorch),
        cmocka_unit_test(one_pair_trains_as_among_all),
        cmocka_unit_test(gradient_equals_difference),
        cmocka_unit_test(bf16_keeps_directions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
