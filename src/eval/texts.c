#include "eval/texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "model/head.h"

enum { MIN_SHARED = 8 }; /* a shorter common prefix is cheaper to compute twice than to split */

struct di_embedder {
    di_device *dev;
    di_decoder *decoder;
    di_workspace *work;
    di_batch batch;
    void *batch_memory;
    int64_t width, max_rows;
    float *e; /* [max_rows, C]: at most one text a row */
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

dial_status di_embedder_new(di_device *dev, di_decoder *d, int64_t batch_tokens, int64_t max_length,
                            di_embedder **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_embedder *m = di_zalloc(dev->al, sizeof *m);
    int64_t rows = batch_tokens > max_length ? batch_tokens : max_length;
    di_workspace_options o = {.max_rows = rows, .max_texts = rows, .max_length = max_length};

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a forward pass");
    m->dev = dev;
    m->decoder = d;
    m->width = di_decoder_config(d)->width;
    m->max_rows = rows;
    DI_TRY(di_workspace_new(d, &o, &m->work, err));
    m->batch_memory = di_new(dev->al, di_batch_bytes(rows, rows));
    m->e = dev->ops->buffer_new(dev, (size_t)(rows * m->width) * sizeof *m->e);
    if (m->batch_memory == NULL || m->e == NULL)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, NULL, "use a smaller --batch-tokens",
                   "no memory for batches of %lld tokens", (long long)rows);
    di_batch_init(&m->batch, m->batch_memory, rows, rows);
    *out = m;
    m = NULL;
done:
    di_embedder_free(m);
    return st;
}

void di_embedder_free(di_embedder *m)
{
    if (m == NULL) return;
    di_workspace_free(m->work);
    di_free(m->dev->al, m->batch_memory);
    m->dev->ops->buffer_free(m->dev, m->e);
    di_free(m->dev->al, m);
}

/* A text in the order of computation: equal prompts together, long texts first among them. */
typedef struct item {
    uint64_t prompt;
    int64_t n, index;
} item;

static int by_prompt_and_length(const void *a, const void *b)
{
    const item *x = a, *y = b;

    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    if (x->n != y->n) return x->n > y->n ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static int64_t common_prefix(const di_seq_view *a, const di_seq_view *b)
{
    int64_t n = a->n < b->n ? a->n : b->n, i = 0;

    while (i < n && a->id[i] == b->id[i]) i++;
    return i;
}

/* Sorted views and their groups. */
static void order_texts(const di_seq_view *text, const uint64_t *prompt, int64_t n, item *order,
                        di_seq_view *view, int32_t *group)
{
    for (int64_t i = 0; i < n; i++) order[i] = (item){prompt != NULL ? prompt[i] : 0, text[i].n, i};
    qsort(order, (size_t)n, sizeof *order, by_prompt_and_length);
    for (int64_t i = 0; i < n; i++) {
        int together;

        view[i] = text[order[i].index];
        together = i > 0 && prompt != NULL && order[i].prompt == order[i - 1].prompt &&
                   common_prefix(&view[i - 1], &view[i]) >= MIN_SHARED;
        group[i] = i == 0 ? 0 : group[i - 1] + !together;
    }
}

/* Largest count of texts from `at` on that fits the workspace; at least one. */
static int64_t fitting(const di_embedder *m, const di_seq_view *view, int64_t at, int64_t n)
{
    int64_t count = 1, rows = view[at].n;

    while (at + count < n) {
        int64_t more = view[at + count].n; /* an upper bound: sharing only lowers it */

        if (rows + more > m->max_rows) break;
        rows += more;
        count++;
    }
    return count;
}

dial_status di_embed_texts(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                           int64_t n, const char *what, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = m->dev->al;
    const dial_env *env = m->dev->env;
    item *order = di_new_array(al, (size_t)n, sizeof *order);
    di_seq_view *view = di_new_array(al, (size_t)n, sizeof *view);
    int32_t *group = di_new_array(al, (size_t)n, sizeof *group);
    size_t row = (size_t)m->width * sizeof *e;
    double started = now();
    int64_t tokens = 0;

    if (order == NULL || view == NULL || group == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    order_texts(text, prompt, n, order, view, group);
    for (int64_t at = 0, count; at < n; at += count) {
        count = fitting(m, view, at, n);
        if (di_batch_pack(&m->batch, view + at, group + at, count) < 0)
            DI_FAIL(err, DIAL_ERR_INPUT, "a text of %lld tokens is longer than was planned",
                    (long long)view[at].n);
        DI_TRY(di_decoder_forward(m->decoder, m->work, &m->batch, m->e, err));
        for (int64_t i = 0; i < count; i++) {
            memcpy((char *)e + (size_t)order[at + i].index * row, (char *)m->e + (size_t)i * row,
                   row);
            tokens += view[at + i].n;
        }
        if (env != NULL && env->progress != NULL) {
            double seconds = now() - started;

            env->progress(env->ctx,
                          &(dial_progress){.what = what,
                                           .done = at + count,
                                           .total = n,
                                           .loss = NAN,
                                           .accuracy = NAN,
                                           .w1 = NAN,
                                           .tokens_per_second = (double)tokens / seconds,
                                           .seconds_left = seconds * (double)(n - at - count) /
                                                           (double)(at + count)});
        }
    }
done:
    di_free(al, order);
    di_free(al, view);
    di_free(al, group);
    return st;
}

dial_status di_score_dataset(di_embedder *m, const float *head, const di_dataset *d,
                             const char *what, float *reward, float *e, double *seconds,
                             int64_t *tokens, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = m->dev->al;
    size_t n = (size_t)d->n_seq;
    di_seq_view *text = di_new_array(al, n, sizeof *text);
    uint64_t *prompt = di_new_array(al, n, sizeof *prompt);
    float *own = NULL, *out = e;
    double started = now();
    int64_t count = 0;

    if (out == NULL) out = own = di_new_array(al, n * (size_t)m->width, sizeof *own);
    if (text == NULL || prompt == NULL || out == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the embeddings of %zu texts", n);
    for (size_t i = 0; i < n; i++) {
        text[i] = (di_seq_view){d->seq[i].id, d->seq[i].n};
        prompt[i] = d->seq[i].prompt_hash;
        count += d->seq[i].n;
    }
    DI_TRY(di_embed_texts(m, text, prompt, d->n_seq, what, out, err));
    for (size_t i = 0; i < n; i++)
        reward[i] = di_reward(head, out + i * (size_t)m->width, m->width);
    if (seconds != NULL) *seconds = now() - started;
    if (tokens != NULL) *tokens = count;
done:
    di_free(al, text);
    di_free(al, prompt);
    di_free(al, own);
    return st;
}
