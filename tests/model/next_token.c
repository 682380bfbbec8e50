/*
 * Next-token losses through the output head against PyTorch (tests/fixtures/make_next_token.py):
 * value, and gradient of every LoRA tensor, for a tied head, a head of its own and capped logits;
 * with prompts shared or not, layers kept or recomputed, and a gradient of the embeddings beside.
 * Limit 2e-5 of the norm of a tensor: PyTorch's own f32 run is within 3e-6.
 */
#include "decoder_fixture.h"

#include "model/next_token.h"

static const double LIMIT = 2e-5;
static const int64_t ALL[6] = {1, 1, 1, 1, 1, 1}, CHOSEN[6] = {9, 99, 4, 99, 1, 99};

/* The loss of the last forward pass, summed over its items. */
static double losses(const model *m, di_workspace *w, const di_next_tokens *next)
{
    double *loss = calloc((size_t)next->n, sizeof *loss), sum = 0;
    dial_error err = {0};

    assert_ok(di_next_losses(m->decoder, w, next, loss, &err), err);
    for (int64_t i = 0; i < next->n; i++) sum += loss[i];
    free(loss);
    return sum;
}

/* Gradient of the loss (laid out like params), from the positions on; de: of the embeddings. */
static float *gradient(const model *m, const texts *t, const int32_t *group, int checkpoint,
                       const int64_t *from, float de_value, double *loss)
{
    packed p = pack_texts(t->view, group, t->n);
    di_workspace *w = workspace_for(m, &p.b, checkpoint);
    di_next_tokens next = {.cap = t->rows};
    int64_t width = di_decoder_config(m->decoder)->width, count = 0;
    double each = 0;
    float *e = calloc((size_t)(t->n * width), sizeof *e);
    float *grad = calloc((size_t)m->params.size, sizeof *grad);
    dial_error err = {0};

    next.item = calloc((size_t)next.cap, sizeof *next.item);
    for (int64_t i = 0; i < t->n; i++)
        if (t->view[i].n > from[i]) count += t->view[i].n - (from[i] > 1 ? from[i] : 1);
    for (int64_t i = 0; i < t->n; i++)
        assert_true(di_next_add(&next, &p.b, &t->view[i], i, from[i], 1 / (float)count) >= 0);
    assert_int_equal(next.n, count);
    assert_ok(di_decoder_forward(m->decoder, w, &p.b, e, &err), err);
    if (from[0] > 0) each = losses(m, w, &next);
    for (int64_t i = 0; i < t->n * width; i++) e[i] = de_value * (float)(i % 7);
    if (from[0] > 0) di_workspace_set_next(w, &next);
    assert_ok(di_decoder_backward(m->decoder, w, &p.b, e, grad, &err), err);
    *loss = next.loss;
    assert_true(fabs(each - next.loss) <=
                1e-6 * fabs(next.loss)); /* the same, without a gradient */
    free(next.item);
    free(e);
    free(p.memory);
    di_workspace_free(w);
    return grad;
}

static void check(const model *m, const di_st *f, const char *kind, double loss, const float *grad)
{
    char name[200];
    float got = (float)loss;

    assert_true(relative(&got, expected(f, kind, 1), 1) <= LIMIT);
    for (int i = 0; i < m->params.n; i++) {
        const di_param *p = &m->params.param[i];

        if (p->layer == DI_HEAD) continue;
        snprintf(name, sizeof name, "%s.grad.%s", kind, p->name);
        if (!(relative(grad + p->at, expected(f, name, p->rows * p->cols), p->rows * p->cols) <=
              LIMIT))
            fail_msg(
                "%s: relative error %.2e", name,
                relative(grad + p->at, expected(f, name, p->rows * p->cols), p->rows * p->cols));
    }
}

static void check_model(const char *name, const char *backend)
{
    char path[512], adapter[600], file[700];
    dial_error err = {0};
    model m;
    di_st given, want;
    texts t;

    snprintf(path, sizeof path, "%s%s", MODELS, name);
    snprintf(adapter, sizeof adapter, "%s/adapter", path);
    snprintf(file, sizeof file, "%s/expected.safetensors", path);
    assert_ok(di_st_open(di_alloc_default(), file, &given, &err), err);
    snprintf(file, sizeof file, TEST_DIR "/fixtures/next_token/%s.safetensors", name);
    assert_ok(di_st_open(di_alloc_default(), file, &want, &err), err);
    open_model(&m, path, adapter, backend, "f32", (di_decoder_options){.with_logits = 1});
    t = expected_texts(&given);
    for (int k = 0; k < 4; k++) {
        const int32_t *group = k & 1 ? PAIRS : NULL;
        int checkpoint = k >> 1;
        double loss, unused;
        float *ntp = gradient(&m, &t, group, checkpoint, ALL, 0, &loss), *both, *plain, *sft;
        static const int64_t none[6] = {0};

        check(&m, &want, "ntp", loss, ntp);
        sft = gradient(&m, &t, group, checkpoint, CHOSEN, 0, &loss);
        check(&m, &want, "sft", loss, sft);
        /* beside a gradient of the embeddings: the sum of the two */
        both = gradient(&m, &t, group, checkpoint, ALL, 0.01F, &unused);
        plain = gradient(&m, &t, group, checkpoint, none, 0.01F, &unused);
        for (int64_t i = 0; i < m.params.size; i++) plain[i] += ntp[i];
        assert_true(relative(both, plain, m.params.size) <= 1e-5);
        free(ntp);
        free(sft);
        free(both);
        free(plain);
    }
    free(t.view);
    close_model(&m);
    di_st_close(&given);
    di_st_close(&want);
}

static void llama(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) check_model("llama", BACKENDS[k]);
}
static void mistral(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) check_model("mistral", BACKENDS[k]);
}
static void gemma2(void **state)
{
    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) check_model("gemma2", BACKENDS[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),
        cmocka_unit_test(mistral),
        cmocka_unit_test(gemma2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
