/*
 * A call without a model behind it: the toy tokenizer, and rewards and embeddings set by the test.
 * What a parser and a writer do can then be compared with exact JSON.
 */
#ifndef DIAL_TEST_SERVE_FAKE_H
#define DIAL_TEST_SERVE_FAKE_H

#include <string.h>

#include "serve/models.h"
#include "serve/routes.h"

#define TOY TEST_DIR "/fixtures/toy"

enum { FAKE_WIDTH = 2, FAKE_VOCAB = 300, FAKE_LENGTH = 16 };

static di_tokenizer *fake_tokenizer;
static int fake_open_runs;

static dial_status fake_open(void *ctx, const char *path, const di_served *beside, di_served *out,
                             dial_error *err)
{
    (void)ctx;
    (void)path;
    (void)beside;
    out->tok = fake_tokenizer;
    out->policy = (di_text_policy){.template_name = "raw", .max_length = FAKE_LENGTH};
    out->width = FAKE_WIDTH;
    out->vocab = FAKE_VOCAB;
    out->shift = 10;
    out->scale = 2;
    out->mean = fake_open_runs;    /* 0, 1, 2 ... */
    out->sd = 1 << fake_open_runs; /* 1, 2, 4 ... */
    fake_open_runs++;
    return di_text_policy_resolve(&out->policy, fake_tokenizer, err);
}

static dial_status fake_check(void *ctx, di_served *m, dial_error *err)
{
    (void)ctx;
    (void)m;
    (void)err;
    return DIAL_OK;
}

static void fake_close(void *ctx, di_served *m)
{
    (void)ctx;
    (void)m;
    fake_open_runs--;
}

static const di_opener fake_opener = {fake_open, fake_check, fake_close, NULL};

static inline di_models *fake_models(int n)
{
    static const char *const path[] = {"runs/one", "runs/two/", "three"};
    di_models *m = NULL;
    dial_error err;

    if (fake_tokenizer == NULL)
        assert_ok(di_tokenizer_open_hf(di_alloc_default(), TOY, &fake_tokenizer, &err), err);
    assert_ok(di_models_new(di_alloc_default(), NULL, &fake_opener, path, n, NULL, 1, &m, &err),
              err);
    return m;
}

/* Rewards 1.5, -0.25, 1.5, 3 and embeddings (3, 4), (0, 0), (1, 0), (0, -2), in turn. */
static inline void fake_results(di_call *c)
{
    static const float reward[4] = {1.5F, -0.25F, 1.5F, 3};
    static const float e[4][FAKE_WIDTH] = {{3, 4}, {0, 0}, {1, 0}, {0, -2}};

    for (int k = 0; k < c->n_sides; k++)
        for (int64_t i = 0; i < c->n; i++) {
            c->side[k].reward[i] = reward[(i + k) % 4];
            if (c->side[k].e != NULL) memcpy(c->side[k].e + i * FAKE_WIDTH, e[i % 4], sizeof *e);
        }
    memcpy(c->id, "0123456789abcdef0123456789abcdef", sizeof c->id);
    c->created = 1700000000;
    c->seconds = 0.25;
}

/* From body to answer; *status as HTTP has it. The answer is out's content. */
static inline void fake_request(di_models *m, const di_serve_settings *set, const char *path,
                                const char *body, size_t n, di_buf *out, int *status)
{
    const di_route *r = di_route_find(path);
    di_answer a;
    di_call c;

    assert_non_null(r);
    assert_non_null(r->parse);
    di_call_init(&c, di_alloc_default(), set, m);
    a = di_route_parse(r, &c, body, n);
    if (a == DI_ANSWER_OK) a = di_call_prepare(&c);
    if (a == DI_ANSWER_OK) {
        fake_results(&c);
        a = di_call_finish(&c);
    }
    *status = di_answer_status(a, c.tei);
    if (a == DI_ANSWER_OK)
        c.write(&c, out);
    else
        di_fault_write(&c.fault, a, c.tei, out);
    di_call_deinit(&c);
}

#endif
