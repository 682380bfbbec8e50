/*
 * Bodies of HTTP requests, through every dialect: the first line is the path, the rest the body.
 * Whatever it is, the answer is JSON; an accepted request has a result for each of its texts.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "serve/models.h"
#include "serve/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WIDTH = 3, VOCAB = 320, MAX_LENGTH = 24, MAX_INPUTS = 16 };

static di_tokenizer *tokenizer;

static dial_status open_run(void *ctx, const char *path, const di_served *beside, di_served *out,
                            dial_error *err)
{
    (void)ctx;
    (void)path;
    (void)beside;
    out->tok = tokenizer;
    out->policy = (di_text_policy){.template_name = "raw", .max_length = MAX_LENGTH};
    out->width = WIDTH;
    out->vocab = VOCAB;
    return di_text_policy_resolve(&out->policy, tokenizer, err);
}

static dial_status check_run(void *ctx, di_served *m, dial_error *err)
{
    (void)ctx;
    (void)m;
    (void)err;
    return DIAL_OK;
}

static void close_run(void *ctx, di_served *m)
{
    (void)ctx;
    (void)m;
}

/* The run that all requests are for; made at the first input, kept until the process ends. */
static di_models *models(void)
{
    static const di_opener opener = {open_run, check_run, close_run, NULL};
    static const char *const path[] = {"run"};
    static di_models *m;
    dial_error err;

    if (m != NULL) return m;
    if (di_tokenizer_open_hf(di_alloc_default(), TEST_DIR "/fixtures/toy", &tokenizer, &err) !=
            DIAL_OK ||
        di_models_new(di_alloc_default(), NULL, &opener, path, 1, NULL, 0, &m, &err) != DIAL_OK)
        abort();
    return m;
}

/* As the scheduler would: a result for every text, each of which has tokens of the vocabulary. */
static void compute(di_call *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        const di_seq_view *v = &c->side[0].view[i];

        if (v->n < 1 || v->n > MAX_LENGTH) abort();
        for (int64_t k = 0; k < v->n; k++)
            if (v->id[k] < 0 || v->id[k] >= VOCAB) abort();
        if (c->boundary[i] < 0 || c->boundary[i] > v->n) abort();
        c->side[0].reward[i] = (float)(v->id[0] - 7 * v->n);
        for (int64_t k = 0; c->side[0].e != NULL && k < WIDTH; k++)
            c->side[0].e[i * WIDTH + k] = (float)(k - i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const di_serve_settings set = {.max_inputs = MAX_INPUTS, .batch_tokens = 64};
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    const di_route *r;
    char path[64];
    di_answer a;
    di_buf out;
    di_call c;
    json_t *v;

    if (end == NULL || (size_t)(end - data) >= sizeof path) return 0;
    memcpy(path, data, (size_t)(end - data));
    path[end - data] = '\0';
    r = di_route_find(path);
    if (r == NULL || r->parse == NULL) return 0;
    di_buf_init(&out, di_alloc_default());
    di_call_init(&c, di_alloc_default(), &set, models());
    a = di_route_parse(r, &c, (const char *)end + 1, size - (size_t)(end - data) - 1);
    if (a == DI_ANSWER_OK) a = di_call_prepare(&c);
    if (a == DI_ANSWER_OK) {
        if (c.n > MAX_INPUTS) abort();
        compute(&c);
        a = di_call_finish(&c);
    }
    if (a == DI_ANSWER_OK)
        c.write(&c, &out);
    else
        di_fault_write(&c.fault, a, c.tei, &out);
    v = json_loadb(out.data, out.size, 0, NULL);
    if (v == NULL || (a != DI_ANSWER_OK && di_answer_status(a, c.tei) < 400)) abort();
    json_decref(v);
    di_call_deinit(&c);
    di_buf_deinit(&out);
    return 0;
}
