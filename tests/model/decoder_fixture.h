/*
 * For tests of the decoder: a model opened on a backend, texts packed with or without shared
 * prefixes, the Bradley-Terry loss on top, and distances between tensors.
 */
#ifndef DIAL_TEST_DECODER_FIXTURE_H
#define DIAL_TEST_DECODER_FIXTURE_H

#include <math.h>

#include "files.h"

#include "model/decoder.h"
#include "model/device.h"
#include "model/safetensors.h"

#define MODELS TEST_DIR "/fixtures/models/"

static const char *const BACKENDS[] = {"ref", "cpu"};
enum { N_BACKENDS = 2 };

/* ref: its loops are too short here to be worth waking a thread for. */
static inline int threads_of(const char *backend)
{
    return strcmp(backend, "ref") == 0 ? 1 : 2;
}

/* --- texts ------------------------------------------------------------------------------------ */

typedef struct texts {
    int64_t n, rows; /* texts; tokens in all */
    di_seq_view *view;
    int64_t longest;
} texts;

/* Views into ids by offsets [n + 1]. */
static inline texts texts_of(const int32_t *ids, const int32_t *offsets, int64_t n)
{
    texts t = {.n = n, .rows = offsets[n]};

    t.view = calloc((size_t)n, sizeof *t.view);
    assert_non_null(t.view);
    for (int64_t i = 0; i < n; i++) {
        t.view[i] = (di_seq_view){ids + offsets[i], offsets[i + 1] - offsets[i]};
        if (t.view[i].n > t.longest) t.longest = t.view[i].n;
    }
    return t;
}

/* A batch in memory of its own; free(memory). group NULL: nothing is shared. */
typedef struct packed {
    di_batch b;
    void *memory;
} packed;

static inline packed pack_texts(const di_seq_view *view, const int32_t *group, int64_t n)
{
    packed p;
    int64_t rows = 0;

    for (int64_t i = 0; i < n; i++) rows += view[i].n;
    p.memory = malloc(di_batch_bytes(rows, n));
    assert_non_null(p.memory);
    di_batch_init(&p.b, p.memory, rows, n);
    assert_true(di_batch_pack(&p.b, view, group, n) > 0);
    return p;
}

/* Row of the batch that holds token `at` of text t. */
static inline int64_t row_of(const di_batch *b, int64_t t, int64_t at)
{
    for (int32_t s = b->leaf[t]; s >= 0; s = b->segment[s].parent)
        if (at >= b->segment[s].start) return b->segment[s].row + at - b->segment[s].start;
    fail_msg("text %lld has no token %lld", (long long)t, (long long)at);
    return -1;
}

/* --- a model on a backend --------------------------------------------------------------------- */

typedef struct model {
    di_device dev;
    di_source *source;
    di_decoder *decoder;
    di_params params; /* all zero without an adapter */
} model;

static inline void open_device(const char *backend, const char *dtype, di_device *dev)
{
    dial_error err = {0};

    assert_ok(
        di_device_open(di_alloc_default(), NULL, backend, dtype, threads_of(backend), dev, &err),
        err);
}

/* adapter NULL: the base model. opt->train and first_trained follow from the adapter. */
static inline void open_model(model *m, const char *path, const char *adapter, const char *backend,
                              const char *dtype, di_decoder_options opt)
{
    dial_error err = {0};
    const di_alloc *al = di_alloc_default();

    *m = (model){0};
    open_device(backend, dtype, &m->dev);
    assert_ok(di_source_open(al, NULL, path, &m->source, &err), err);
    if (adapter != NULL) {
        const di_config *c = di_source_config(m->source);
        di_lora_options lora;

        assert_ok(di_adapter_read_config(al, adapter, c, &lora, &err), err);
        assert_ok(di_params_init(&m->params, al, c, &lora, &err), err);
        assert_ok(di_adapter_load(al, adapter, &m->params, &err), err);
        opt.train = 1;
        opt.first_trained = lora.first_layer;
    }
    assert_ok(di_decoder_new(&m->dev, m->source, &opt, &m->decoder, &err), err);
    if (adapter != NULL) di_decoder_set_lora(m->decoder, &m->params);
}

static inline void close_model(model *m)
{
    di_decoder_free(m->decoder);
    di_params_deinit(&m->params);
    di_source_close(m->source);
    di_device_close(&m->dev);
}

static inline di_workspace *workspace_for(const model *m, const di_batch *b, int checkpoint)
{
    dial_error err = {0};
    di_workspace *w = NULL;
    di_workspace_options opt = {.max_rows = b->n_rows,
                                .max_texts = b->n_texts,
                                .train = m->params.n > 0,
                                .grad_checkpoint = checkpoint};

    for (int64_t i = 0; i < b->n_texts; i++)
        if (b->length[i] > opt.max_length) opt.max_length = b->length[i];
    assert_ok(di_workspace_new(m->decoder, &opt, &w, &err), err);
    return w;
}

/* --- the loss --------------------------------------------------------------------------------- */

/*
 * Pairs (0,1), (2,3), ...: loss = mean softplus(-(r_chosen - r_rejected)), r = w . e, in f64. de
 * (may be NULL) and dw += its gradients.
 */
static inline double pair_loss(const float *e, const float *w, int64_t n, int64_t width, float *r,
                               float *de, float *dw)
{
    double loss = 0, pairs = (double)(n / 2);

    for (int64_t i = 0; i + 1 < n; i += 2) {
        double reward[2] = {0, 0}, margin, slope;

        for (int64_t k = 0; k < 2; k++)
            for (int64_t j = 0; j < width; j++)
                reward[k] += (double)w[j] * (double)e[(i + k) * width + j];
        margin = reward[0] - reward[1];
        loss += log1p(exp(-margin)) / pairs;
        slope = -1 / (1 + exp(margin)) / pairs;
        for (int64_t k = 0; k < 2; k++) {
            double dr = k == 0 ? slope : -slope;

            if (r != NULL) r[i + k] = (float)reward[k];
            for (int64_t j = 0; de != NULL && j < width; j++) {
                de[(i + k) * width + j] = (float)(dr * (double)w[j]);
                dw[j] += (float)(dr * (double)e[(i + k) * width + j]);
            }
        }
    }
    return loss;
}

/* --- distances -------------------------------------------------------------------------------- */

/* |a - b| / |b|, norms over all elements. */
static inline double relative(const float *a, const float *b, int64_t n)
{
    double diff = 0, norm = 0;

    for (int64_t i = 0; i < n; i++) {
        diff += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return norm > 0 ? sqrt(diff / norm) : diff > 0 ? INFINITY : 0;
}

static inline double cosine(const float *a, const float *b, int64_t n)
{
    double ab = 0, aa = 0, bb = 0;

    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

/* The values of a fixture's tensor (F32), checked for their count. */
static inline const float *expected(const di_st *s, const char *name, int64_t count)
{
    const di_st_tensor *t = di_st_find(s, name);

    if (t == NULL) fail_msg("the fixture has no tensor '%s'", name);
    assert_int_equal(t->dtype, DI_F32);
    assert_int_equal(t->count, count);
    return t->data;
}

static inline texts expected_texts(const di_st *s)
{
    const di_st_tensor *ids = di_st_find(s, "ids"), *offsets = di_st_find(s, "offsets");

    assert_non_null(ids);
    assert_non_null(offsets);
    assert_string_equal(ids->dtype_name, "I32");
    assert_string_equal(offsets->dtype_name, "I32");
    return texts_of(ids->data, offsets->data, offsets->count - 1);
}

static inline void assert_same_bits(const char *what, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            fail_msg("%s: element %lld is %.9g and %.9g", what, (long long)i, (double)a[i],
                     (double)b[i]);
}

/* --- one step --------------------------------------------------------------------------------- */

/* Texts of tests/fixtures/models that may share a prefix. */
static const int32_t PAIRS[] = {0, 0, 1, 1, 2, 2};

/* Hidden rows in the order of the fixture: text by text. */
static inline float *gather_hidden(const di_workspace *w, const di_batch *b, const texts *t,
                                   int64_t width)
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

/* One forward and backward of the pair loss. */
typedef struct result {
    int64_t n, width, rows;
    float *e, *r, *grad, *hidden;
    float loss;
} result;

static inline result run(const model *m, const texts *t, const int32_t *group, int checkpoint)
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

static inline void release(result *x)
{
    free(x->e);
    free(x->r);
    free(x->grad);
    free(x->hidden);
}

#endif
