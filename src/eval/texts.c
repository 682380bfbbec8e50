#include "eval/texts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "dist/dist.h"
#include "eval/classes.h"
#include "model/adaptor.h"
#include "model/head.h"
#include "model/next_token.h"

enum { MIN_SHARED = 8 }; /* a shorter common prefix is cheaper to compute twice than to split */

struct di_embedder {
    di_device *dev;
    di_decoder *decoder;
    di_workspace *work;
    di_batch batch;
    void *batch_memory;
    int64_t width, max_rows;
    float *e; /* [max_rows, C]: at most one text a row */
    di_adaptor adaptor;
    const di_trunk *trunk;
    void *rows, *of_text; /* of a trunk: [max_rows, row_bytes], of a batch and of one text */
};

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
    if (di_decoder_lora(d) != NULL && di_has_adaptor(di_decoder_lora(d)))
        DI_TRY(di_adaptor_init(&m->adaptor, dev, di_decoder_lora(d), rows, err));
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
    di_adaptor_deinit(&m->adaptor);
    di_free(m->dev->al, m->rows);
    di_free(m->dev->al, m->of_text);
    di_free(m->dev->al, m);
}

const di_device *di_embedder_device(const di_embedder *m)
{
    return m->dev;
}

/* Room for rows of a trunk. */
static dial_status reserve_rows(di_embedder *m, const di_trunk_shape *shape, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)m->max_rows * shape->row_bytes;

    if (!shape->per_token || m->rows != NULL) return DIAL_OK;
    m->rows = di_new(m->dev->al, n);
    m->of_text = di_new(m->dev->al, n);
    if (m->rows == NULL || m->of_text == NULL)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, NULL, "use a smaller --batch-tokens",
                   "no memory for %zu bytes of a trunk", 2 * n);
done:
    return st;
}

dial_status di_embedder_set_trunk(di_embedder *m, const di_trunk *t, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (t != NULL) DI_TRY(reserve_rows(m, di_trunk_get_shape(t), err));
    m->trunk = t;
done:
    return st;
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

/* Views of texts in the order of computation, and their groups. */
static void order_texts(item *order, const di_seq_view *text, const uint64_t *prompt, int64_t n,
                        di_seq_view *view, int32_t *group)
{
    if (n > 0) qsort(order, (size_t)n, sizeof *order, by_prompt_and_length);
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

static void tell_progress(const di_embedder *m, const char *what, int64_t done, int64_t total,
                          int64_t tokens, double started)
{
    const dial_env *env = m->dev->env;
    double seconds = di_now() - started;

    if (env == NULL || env->progress == NULL || what == NULL) return;
    env->progress(env->ctx, &(dial_progress){.what = what,
                                             .done = done,
                                             .total = total,
                                             .loss = NAN,
                                             .accuracy = NAN,
                                             .w1 = NAN,
                                             .tokens_per_second = (double)tokens / seconds,
                                             .seconds_left =
                                                 seconds * (double)(total - done) / (double)done});
}

/* Texts to compute, and what to do with each packed batch of them. */
typedef struct work {
    const di_seq_view *text;
    const uint64_t *prompt; /* [of text]; NULL: nothing is shared */
    item *order;            /* [n] texts to compute */
    int64_t n;
    const char *what;
    /* view, order: of the batch's `count` texts */
    dial_status (*run)(di_embedder *m, void *ctx, const di_seq_view *view, const item *order,
                       int64_t count, dial_error *err);
    void *ctx;
    int stoppable;
} work;

static dial_status each_batch(di_embedder *m, const work *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = m->dev->al;
    di_seq_view *view = di_new_array(al, (size_t)w->n, sizeof *view);
    int32_t *group = di_new_array(al, (size_t)w->n, sizeof *group);
    double started = di_now();
    int64_t tokens = 0;

    if (view == NULL || group == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)w->n);
    order_texts(w->order, w->text, w->prompt, w->n, view, group);
    for (int64_t at = 0, count; at < w->n; at += count) {
        if (w->stoppable && di_stop_asked(m->dev->env))
            DI_FAIL(err, DIAL_INTERRUPTED, "stopped; nothing to save yet");
        count = fitting(m, view, at, w->n);
        if (di_batch_pack(&m->batch, view + at, group + at, count) < 0)
            DI_FAIL(err, DIAL_ERR_INPUT, "a text of %lld tokens is longer than was planned",
                    (long long)view[at].n);
        DI_TRY(w->run(m, w->ctx, view + at, w->order + at, count, err));
        for (int64_t i = 0; i < count; i++) tokens += view[at + i].n;
        tell_progress(m, w->what, at + count, w->n, tokens, started);
    }
done:
    di_free(al, view);
    di_free(al, group);
    return st;
}

static dial_status embed_batch(di_embedder *m, void *ctx, const di_seq_view *view,
                               const item *order, int64_t count, dial_error *err)
{
    dial_status st = DIAL_OK;
    float *e = ctx;
    size_t width = (size_t)m->width;

    if (m->trunk != NULL && di_trunk_get_shape(m->trunk)->per_token &&
        di_trunk_gather(m->trunk, &m->batch, view, m->rows))
        DI_TRY(di_decoder_forward_from(m->decoder, m->work, &m->batch, m->rows, m->e, err));
    else
        DI_TRY(di_decoder_forward(m->decoder, m->work, &m->batch, m->e, err));
    for (int64_t i = 0; i < count; i++)
        memcpy(e + (size_t)order[i].index * width, m->e + (size_t)i * width, width * sizeof *e);
done:
    return st;
}

/* Embeddings as they leave the model. */
static dial_status embed_plain(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                               int64_t n, const char *what, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t width = (size_t)m->width;
    int look = m->trunk != NULL && !di_trunk_get_shape(m->trunk)->per_token;
    work w = {.text = text, .prompt = prompt, .what = what, .run = embed_batch, .ctx = e};

    w.order = di_new_array(m->dev->al, (size_t)n, sizeof *w.order);
    if (w.order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const void *stored = look ? di_trunk_find(m->trunk, &text[i]) : NULL;

        if (stored != NULL)
            memcpy(e + (size_t)i * width, stored, width * sizeof *e);
        else
            w.order[w.n++] = (item){prompt != NULL ? prompt[i] : 0, text[i].n, i};
    }
    DI_TRY(each_batch(m, &w, err));
done:
    di_free(m->dev->al, w.order);
    return st;
}

/*
 * Where the shares of the ranks begin in the sorted texts: equal tokens each, and texts that share
 * a prompt stay together. first [size + 1].
 */
static void cut_shares(const di_dist *d, const di_seq_view *view, const int32_t *group, int64_t n,
                       int64_t *first)
{
    double total = 0, before = 0;
    int r = 1;

    for (int64_t i = 0; i < n; i++) total += (double)view[i].n;
    first[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int opens = i > 0 && group[i] != group[i - 1];

        for (; opens && r < d->size && before * d->size >= total * r; r++) first[r] = i;
        before += (double)view[i].n;
    }
    for (; r <= d->size; r++) first[r] = n;
}

/* Sorted texts and the shares of them; `mine` and `round` are filled by the functions below. */
typedef struct shares {
    const di_dist *dist;
    int64_t n;
    item *order;        /* [n] */
    di_seq_view *view;  /* [n] */
    int32_t *group;     /* [n] */
    uint64_t *prompt;   /* [n] */
    int64_t *first;     /* [size + 1] */
    int64_t *round;     /* [size + 1] */
    int64_t per;        /* most rows of a rank that travel at a time */
    float *mine, *rows; /* [share of this rank, C], [size * per, C] */
} shares;

static dial_status new_shares(di_embedder *m, shares *s, const di_seq_view *text,
                              const uint64_t *prompt, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = m->dev->al;
    const di_dist *d = s->dist;
    size_t n = (size_t)s->n, ranks = (size_t)d->size;
    int64_t most = 0;

    s->order = di_new_array(al, n, sizeof *s->order);
    s->view = di_new_array(al, n, sizeof *s->view);
    s->group = di_new_array(al, n, sizeof *s->group);
    s->prompt = di_new_array(al, n, sizeof *s->prompt);
    s->first = di_new_array(al, ranks + 1, sizeof *s->first);
    s->round = di_new_array(al, ranks + 1, sizeof *s->round);
    if (!s->order || !s->view || !s->group || !s->prompt || !s->first || !s->round)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu texts", n);
    for (int64_t i = 0; i < s->n; i++)
        s->order[i] = (item){prompt != NULL ? prompt[i] : 0, text[i].n, i};
    order_texts(s->order, text, prompt, s->n, s->view, s->group);
    for (int64_t i = 0; i < s->n; i++) s->prompt[i] = s->order[i].prompt;
    cut_shares(d, s->view, s->group, s->n, s->first);
    for (int r = 0; r < d->size; r++)
        if (s->first[r + 1] - s->first[r] > most) most = s->first[r + 1] - s->first[r];
    s->per = m->max_rows / d->size > 0 ? m->max_rows / d->size : 1;
    if (s->per > most) s->per = most;
    n = (size_t)(s->first[d->rank + 1] - s->first[d->rank]);
    s->mine = di_new_array(al, n * (size_t)m->width, sizeof *s->mine);
    s->rows = di_new_array(al, ranks * (size_t)(s->per * m->width), sizeof *s->rows);
    if (!s->mine || !s->rows) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to gather %zu texts", n);
done:
    return st;
}

static void free_shares(const di_alloc *al, shares *s)
{
    void *own[] = {s->order, s->view, s->group, s->prompt, s->first, s->round, s->mine, s->rows};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++) di_free(al, own[i]);
}

/* Of lengths and order: rows of other texts would be taken for embeddings of these. */
static uint64_t fingerprint(const shares *s)
{
    uint64_t h = (uint64_t)s->n;

    for (int64_t i = 0; i < s->n; i++)
        h = (h ^ (uint64_t)s->view[i].n ^ (s->prompt[i] << 16)) * 0x100000001b3u;
    return h;
}

/*
 * All embeddings into e. They lie there in the order of the input, but travel in the order of
 * computation: in rounds of a buffer, so that memory does not grow with the texts.
 */
static dial_status gather_shares(di_embedder *m, shares *s, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dist *d = s->dist;
    size_t width = (size_t)m->width, row = width * sizeof *e;
    int more = s->n > 0;

    for (int64_t begin = 0; more; begin += s->per) {
        int64_t own;

        more = 0;
        for (int r = 0; r < d->size; r++) {
            int64_t left = s->first[r + 1] - s->first[r] - begin;

            s->round[r + 1] = s->round[r] + (left < 0 ? 0 : left < s->per ? left : s->per);
            more = more || left > s->per;
        }
        own = s->round[d->rank + 1] - s->round[d->rank];
        if (own > 0)
            memcpy(s->rows + (size_t)s->round[d->rank] * width, s->mine + (size_t)begin * width,
                   (size_t)own * row);
        DI_TRY(di_dist_gather(d, s->rows, row, s->round, err));
        for (int r = 0; r < d->size; r++)
            for (int64_t i = s->round[r]; i < s->round[r + 1]; i++) {
                int64_t k = s->first[r] + begin + i - s->round[r];

                memcpy(e + (size_t)s->order[k].index * width, s->rows + (size_t)i * width, row);
            }
    }
done:
    return st;
}

/* embed_plain by several ranks: a share each, then all of them to all. */
static dial_status embed_shared(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                                int64_t n, const char *what, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    shares s = {.dist = di_dist_of(m->dev->env), .n = n};

    st = new_shares(m, &s, text, prompt, err);
    DI_TRY(di_dist_agree(s.dist, st, err));
    assert(s.mine != NULL && s.view != NULL); /* else this rank had not agreed */
    DI_TRY(di_dist_same(s.dist, fingerprint(&s),
                        DI_FMT("the texts (%s)", what != NULL ? what : "score"),
                        "give every machine the same files", err));
    st = embed_plain(m, s.view + s.first[s.dist->rank],
                     prompt != NULL ? s.prompt + s.first[s.dist->rank] : NULL,
                     s.first[s.dist->rank + 1] - s.first[s.dist->rank], what, s.mine, err);
    DI_TRY(di_dist_agree(s.dist, st, err));
    DI_TRY(gather_shares(m, &s, e, err));
done:
    free_shares(m->dev->al, &s);
    return st;
}

dial_status di_embed_texts(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                           int64_t n, const char *what, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_dist_of(m->dev->env)->size > 1 ? embed_shared(m, text, prompt, n, what, e, err)
                                             : embed_plain(m, text, prompt, n, what, e, err));
    for (int64_t at = 0, some; m->adaptor.params != NULL && at < n; at += some) {
        float *e_at = e + at * m->width;

        some = n - at < m->max_rows ? n - at : m->max_rows;
        memcpy(m->e, e_at, (size_t)(some * m->width) * sizeof *e);
        di_adaptor_forward(&m->adaptor, m->e, some, e_at);
    }
done:
    return st;
}

typedef struct view_put {
    const di_view *view;
    int n_views;
    int64_t n;
    float *pooled, *e; /* of a batch, of all texts */
} view_put;

static dial_status view_batch(di_embedder *m, void *ctx, const di_seq_view *view, const item *order,
                              int64_t count, dial_error *err)
{
    dial_status st = DIAL_OK;
    const view_put *p = ctx;

    (void)view;
    DI_TRY(di_decoder_forward_views(m->decoder, m->work, &m->batch, p->view, p->n_views, p->pooled,
                                    err));
    for (int v = 0; v < p->n_views; v++)
        for (int64_t i = 0; i < count; i++)
            memcpy(p->e + (v * p->n + order[i].index) * m->width,
                   p->pooled + (v * count + i) * m->width, (size_t)m->width * sizeof *p->e);
done:
    return st;
}

dial_status di_embed_views(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                           int64_t n, const di_view *view, int n_views, const char *what, float *e,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = m->dev->al;
    int64_t most = m->max_rows < n ? m->max_rows : n; /* a text has at least one token */
    view_put p = {view, n_views, n, NULL, e};
    work w = {.text = text,
              .prompt = prompt,
              .n = n,
              .what = what,
              .run = view_batch,
              .ctx = &p,
              .stoppable = 1};

    p.pooled = di_new_array(al, (size_t)(n_views * most * m->width), sizeof *p.pooled);
    w.order = di_new_array(al, (size_t)n, sizeof *w.order);
    if (p.pooled == NULL || w.order == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    for (int64_t i = 0; i < n; i++)
        w.order[i] = (item){prompt != NULL ? prompt[i] : 0, text[i].n, i};
    DI_TRY(each_batch(m, &w, err));
done:
    di_free(al, p.pooled);
    di_free(al, w.order);
    return st;
}

typedef struct logp_put {
    const int64_t *from; /* [of all texts] */
    di_next_tokens next;
    double *loss; /* [next.cap] */
    double *logp; /* [of all texts] */
} logp_put;

static dial_status logp_batch(di_embedder *m, void *ctx, const di_seq_view *view, const item *order,
                              int64_t count, dial_error *err)
{
    dial_status st = DIAL_OK;
    logp_put *p = ctx;
    int64_t at = 0;

    DI_TRY(di_decoder_forward(m->decoder, m->work, &m->batch, m->e, err));
    p->next.n = 0;
    for (int64_t i = 0; i < count; i++)
        di_next_add(&p->next, &m->batch, &view[i], i, p->from[order[i].index], 1);
    DI_TRY(di_next_losses(m->decoder, m->work, &p->next, p->loss, err));
    for (int64_t i = 0; i < count; i++) {
        int64_t text = order[i].index, from = p->from[text] > 1 ? p->from[text] : 1;
        double sum = 0;

        for (int64_t k = from; k < view[i].n; k++) sum -= p->loss[at++];
        p->logp[text] = sum / (double)(view[i].n - from);
        if (!isfinite(p->logp[text]))
            DI_FAIL_AT(err, DIAL_ERR_NUMERIC, DI_FMT("text %lld", (long long)text),
                       "check the adapter and the base weights; with bf16 try --dtype f32",
                       "the probability of the text is not finite");
    }
done:
    return st;
}

dial_status di_text_logp(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                         const int64_t *from, int64_t n, const char *what, double *logp,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = m->dev->al;
    logp_put p = {.from = from, .next.cap = m->max_rows, .logp = logp};
    work w = {.text = text,
              .prompt = prompt,
              .n = n,
              .what = what,
              .run = logp_batch,
              .ctx = &p,
              .stoppable = 1};

    for (int64_t i = 0; i < n; i++)
        if (text[i].n <= from[i] || text[i].n < 2)
            DI_FAIL(err, DIAL_ERR_USAGE, "text %lld: no token to predict", (long long)i);
    p.next.item = di_new_array(al, (size_t)p.next.cap, sizeof *p.next.item);
    p.loss = di_new_array(al, (size_t)p.next.cap, sizeof *p.loss);
    w.order = di_new_array(al, (size_t)n, sizeof *w.order);
    if (p.next.item == NULL || p.loss == NULL || w.order == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    for (int64_t i = 0; i < n; i++)
        w.order[i] = (item){prompt != NULL ? prompt[i] : 0, text[i].n, i};
    DI_TRY(each_batch(m, &w, err));
done:
    di_free(al, p.next.item);
    di_free(al, p.loss);
    di_free(al, w.order);
    return st;
}

typedef struct trunk_put {
    const di_trunk_shape *shape;
    di_put_rows put;
    void *ctx;
} trunk_put;

static dial_status trunk_batch(di_embedder *m, void *ctx, const di_seq_view *view,
                               const item *order, int64_t count, dial_error *err)
{
    dial_status st = DIAL_OK;
    const trunk_put *p = ctx;

    (void)order;
    if (p->shape->per_token)
        DI_TRY(di_decoder_trunk(m->decoder, m->work, &m->batch, m->rows, err));
    else
        DI_TRY(di_decoder_forward(m->decoder, m->work, &m->batch, m->e, err));
    for (int64_t i = 0; i < count; i++) {
        if (p->shape->per_token)
            di_trunk_scatter(&m->batch, i, m->rows, p->shape->row_bytes, m->of_text);
        DI_TRY(
            p->put(p->ctx, &view[i], p->shape->per_token ? m->of_text : m->e + i * m->width, err));
    }
done:
    return st;
}

/* Embeddings by several ranks: a share each, and all of them to every rank. */
static dial_status trunk_shared(di_embedder *m, const di_seq_view *text, const uint64_t *prompt,
                                int64_t n, di_put_rows put, void *ctx, dial_error *err)
{
    dial_status st = DIAL_OK;
    float *e = di_new_array(m->dev->al, (size_t)n, (size_t)m->width * sizeof *e);

    st = e != NULL ? DIAL_OK
                   : di_error_set(err, DIAL_ERR_NOMEM, __FILE__, __LINE__, NULL, NULL,
                                  "no memory for the embeddings of %lld texts", (long long)n);
    DI_TRY(di_dist_agree(di_dist_of(m->dev->env), st, err));
    DI_TRY(embed_shared(m, text, prompt, n, "trunk", e, err));
    for (int64_t i = 0; i < n; i++) DI_TRY(put(ctx, &text[i], e + i * m->width, err));
done:
    di_free(m->dev->al, e);
    return st;
}

dial_status di_trunk_texts(di_embedder *m, const di_trunk_shape *shape, const di_seq_view *text,
                           const uint64_t *prompt, int64_t n, di_put_rows put, void *ctx,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    trunk_put p = {shape, put, ctx};
    work w = {.text = text,
              .prompt = prompt,
              .n = n,
              .what = "trunk",
              .run = trunk_batch,
              .ctx = &p,
              .stoppable = 1};

    if (!shape->per_token && di_dist_of(m->dev->env)->size > 1)
        return trunk_shared(m, text, prompt, n, put, ctx, err);
    w.order = di_new_array(m->dev->al, (size_t)n, sizeof *w.order);
    if (w.order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    DI_TRY(reserve_rows(m, shape, err));
    for (int64_t i = 0; i < n; i++)
        w.order[i] = (item){prompt != NULL ? prompt[i] : 0, text[i].n, i};
    DI_TRY(each_batch(m, &w, err));
done:
    di_free(m->dev->al, w.order);
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
    double started = di_now();
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
    if (seconds != NULL) *seconds = di_now() - started;
    if (tokens != NULL) *tokens = count;
done:
    di_free(al, text);
    di_free(al, prompt);
    di_free(al, own);
    return st;
}

dial_status di_logits_dataset(di_embedder *m, const float *w, int64_t classes, const di_dataset *d,
                              const char *what, float *logit, double *seconds, int64_t *tokens,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = m->dev->al;
    float *e = di_new_array(al, (size_t)(d->n_seq * m->width), sizeof *e);
    float *unused = di_new_array(al, (size_t)d->n_seq, sizeof *unused);

    if (e == NULL || unused == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the embeddings of %lld texts",
                (long long)d->n_seq);
    DI_TRY(di_score_dataset(m, w, d, what, unused, e, seconds, tokens, err));
    di_class_logits(w, classes, e, d->n_seq, m->width, logit);
done:
    di_free(al, e);
    di_free(al, unused);
    return st;
}
