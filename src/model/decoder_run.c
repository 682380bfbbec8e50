/* A batch through the whole decoder: ids to embeddings, and gradients of embeddings to LoRA. */
#include "model/decoder_parts.h"

#include <math.h>

#include "base/error.h"

enum { SPARING_ROWS = 16 };

static const di_saved *saved_of(const di_workspace *w, int64_t l)
{
    return l < w->first ? &w->plain : &w->saved[l - w->first];
}

/* The first text whose path holds an id outside the vocabulary. */
static int64_t text_with_bad_id(const di_batch *b, int64_t vocab, int32_t *id)
{
    for (int64_t t = 0; t < b->n_texts; t++)
        for (int32_t s = b->leaf[t]; s >= 0; s = b->segment[s].parent)
            for (int32_t i = 0; i < b->segment[s].n; i++) {
                *id = b->id[b->segment[s].row + i];
                if (*id < 0 || *id >= vocab) return t;
            }
    return -1;
}

static dial_status check_batch(const di_decoder *d, const di_workspace *w, const di_batch *b,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t longest = 0, vocab = d->table.out, bad = 0;
    int32_t id = 0;

    for (int64_t t = 0; t < b->n_texts; t++)
        if (b->length[t] > longest) longest = b->length[t];
    if (b->n_rows > w->opt.max_rows || b->n_texts > w->opt.max_texts || longest > w->opt.max_length)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, NULL, "raise --batch-tokens or lower --max-length",
                   "a batch of %lld rows, %lld texts, longest %lld; the workspace holds %lld, "
                   "%lld, %lld",
                   (long long)b->n_rows, (long long)b->n_texts, (long long)longest,
                   (long long)w->opt.max_rows, (long long)w->opt.max_texts,
                   (long long)w->opt.max_length);
    for (int64_t n = 0; n < b->n_rows; n++) bad += b->id[n] < 0 || b->id[n] >= vocab;
    if (bad > 0) {
        int64_t t = text_with_bad_id(b, vocab, &id);

        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("text %lld", (long long)t),
                   "does the tokenizer belong to this model?",
                   "token id %d is outside the vocabulary of %lld", (int)id, (long long)vocab);
    }
done:
    return st;
}

/* Was the workspace planned for the LoRA that the decoder carries now? */
static int same_lora(const di_decoder *d, const di_workspace *w)
{
    const di_lora_options *a = &w->lora, *b;

    if (d->lora == NULL || d->lora->lora.r == 0) return 1;
    b = &d->lora->lora;
    return a->r == b->r && a->targets == b->targets && a->first_layer == b->first_layer &&
           a->end_layer == b->end_layer;
}

static di_norm_args final_norm(const di_decoder *d, const di_workspace *w, int64_t n)
{
    return (di_norm_args){.x = di_mat_of(w->x, DI_F32, n, d->cfg->width),
                          .keep = di_mat_of(w->last, d->dev->act, n, d->cfg->width),
                          .y = di_mat_of(w->hidden, DI_F32, n, d->cfg->width),
                          .w = d->final_norm,
                          .rstd = w->rstd,
                          .groups = 1,
                          .eps = d->cfg->norm_eps};
}

/*
 * In training, where memory is short, the pages of the file are given back every few rows: a row
 * brings its neighbours along (64 KB), and a batch soon holds the whole table.
 */
static void embed(const di_decoder *d, const di_batch *b, int sparing, const di_mat *x)
{
    int64_t step = sparing ? SPARING_ROWS : b->n_rows;

    for (int64_t n = 0; n < b->n_rows; n += step) {
        di_mat rows = di_mat_of((float *)x->data + n * x->stride, DI_F32,
                                b->n_rows - n < step ? b->n_rows - n : step, x->cols);

        d->dev->ops->embed(d->dev, &d->table, b->id + n, d->cfg->embed_scale, &rows);
        if (sparing) di_source_forget_pages(d->source);
    }
}

/* The workspace takes this batch; what the last one left in it is void. */
static dial_status begin(const di_decoder *d, di_workspace *w, const di_batch *b, dial_error *err)
{
    dial_status st = DIAL_OK;

    w->n_rows = 0;
    w->has_saved = 0;
    if (w->decoder != d || !same_lora(d, w))
        DI_FAIL(err, DIAL_ERR_USAGE, "the workspace was planned for another decoder or LoRA shape");
    DI_TRY(check_batch(d, w, b, err));
done:
    return st;
}

/* The residual stream, and room for it in the act dtype that no block holds on to. */
static void stream(const di_decoder *d, const di_workspace *w, int64_t n, di_mat *x, di_mat *r)
{
    *x = di_mat_of(w->x, DI_F32, n, d->cfg->width);
    *r = di_mat_of(w->normed, d->dev->act, n, d->cfg->width);
}

/* ends: the last of all blocks ends with the rows of the texts' ends. */
static void run_blocks(const di_decoder *d, di_workspace *w, const di_batch *b, int64_t from,
                       int64_t to, int ends)
{
    di_mat x = di_mat_of(w->x, DI_F32, b->n_rows, d->cfg->width);

    for (int64_t l = from; l < to; l++) {
        const di_saved *s = saved_of(w, l);
        di_mat start = di_mat_of(s->start, DI_F32, b->n_rows, d->cfg->width);

        if (s->start != NULL) d->dev->ops->copy(d->dev, &x, &start, 0);
        di_layer_forward(d, w, b, l, s, ends && l == d->opt.n_layers - 1, 0);
    }
}

/* Token embeddings and the blocks below the lowest that is trained. */
static void run_trunk(const di_decoder *d, di_workspace *w, const di_batch *b)
{
    di_mat x = di_mat_of(w->x, DI_F32, b->n_rows, d->cfg->width);

    embed(d, b, w->opt.train, &x);
    run_blocks(d, w, b, 0, di_decoder_entry(d), 0);
}

/* Embeddings, one a text, from w->e to host memory, checked. */
static dial_status take_embeddings(const di_decoder *d, const di_workspace *w, const di_batch *b,
                                   float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_backend *ops = d->dev->ops;
    int64_t width = d->cfg->width;

    ops->download(d->dev, e, w->e, (size_t)(b->n_texts * width) * sizeof *e);
    for (int64_t i = 0; i < b->n_texts * width; i++)
        if (!isfinite(e[i]))
            DI_FAIL_AT(err, DIAL_ERR_NUMERIC, DI_FMT("text %lld", (long long)(i / width)),
                       "check the adapter and the base weights; with bf16 try --dtype f32",
                       "the embedding is not finite (value %lld of %lld)", (long long)(i % width),
                       (long long)width);
done:
    return st;
}

/* Final norm and pooling of the rows in w->x, into w->e. */
static void pool_rows(const di_decoder *d, di_workspace *w, const di_batch *b, di_pooling pooling)
{
    di_mat pooled = di_mat_of(w->e, DI_F32, b->n_texts, d->cfg->width);
    di_norm_args fin = final_norm(d, w, b->n_rows);

    d->dev->ops->norm_forward(d->dev, &fin);
    d->dev->ops->pool_forward(d->dev, b, &fin.y, pooling == DI_POOL_MEAN, &pooled);
}

/* The same where w->x holds the rows of the ends alone. */
static void norm_ends(const di_decoder *d, di_workspace *w, const di_batch *b)
{
    di_norm_args fin = final_norm(d, w, b->n_texts);

    fin.y.data = w->e;
    d->dev->ops->norm_forward(d->dev, &fin);
}

/* The other blocks and everything behind them. */
static dial_status run_top(di_decoder *d, di_workspace *w, const di_batch *b, float *e,
                           dial_error *err)
{
    dial_status st = DIAL_OK;

    run_blocks(d, w, b, di_decoder_entry(d), d->opt.n_layers, d->ends);
    if (d->ends)
        norm_ends(d, w, b);
    else
        pool_rows(d, w, b, d->opt.pooling);
    DI_TRY(take_embeddings(d, w, b, e, err));
    w->n_rows = b->n_rows;
    w->has_saved = w->opt.train;
done:
    return st;
}

int64_t di_decoder_entry(const di_decoder *d)
{
    if (d->lora == NULL || d->lora->lora.r == 0 || d->lora->lora.first_layer >= d->opt.n_layers)
        return 0;
    return d->lora->lora.first_layer;
}

/* Below trained blocks the token rows are rounded to the act dtype, as a stored trunk has them. */
static void round_entry(const di_decoder *d, const di_workspace *w, const di_batch *b)
{
    di_mat x, r;

    if (di_decoder_entry(d) == 0 || d->dev->act == DI_F32) return;
    stream(d, w, b->n_rows, &x, &r);
    d->dev->ops->copy(d->dev, &x, &r, 0);
    d->dev->ops->copy(d->dev, &r, &x, 0);
}

dial_status di_decoder_forward(di_decoder *d, di_workspace *w, const di_batch *b, float *e,
                               dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(begin(d, w, b, err));
    run_trunk(d, w, b);
    round_entry(d, w, b);
    DI_TRY(run_top(d, w, b, e, err));
done:
    return st;
}

dial_status di_decoder_forward_views(di_decoder *d, di_workspace *w, const di_batch *b,
                                     const di_view *view, int n_views, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_mat x = di_mat_of(w->x, DI_F32, b->n_rows, d->cfg->width);
    int64_t deepest = 0;

    if (w->opt.train)
        DI_FAIL(err, DIAL_ERR_USAGE, "views need a workspace that was planned without training");
    for (int v = 0; v < n_views; v++)
        if (view[v].layer < 1 || view[v].layer > d->opt.n_layers)
            DI_FAIL(err, DIAL_ERR_USAGE, "view of layer %lld: the decoder has 1 to %lld",
                    (long long)view[v].layer, (long long)d->opt.n_layers);
    for (int v = 0; v < n_views; v++)
        if (view[v].layer > deepest) deepest = view[v].layer;
    DI_TRY(begin(d, w, b, err));
    embed(d, b, 0, &x);
    for (int64_t l = 0; l < deepest; l++) {
        if (l == di_decoder_entry(d)) round_entry(d, w, b);
        run_blocks(d, w, b, l, l + 1, 0);
        for (int v = 0; v < n_views; v++)
            if (view[v].layer == l + 1) {
                pool_rows(d, w, b, view[v].pooling);
                DI_TRY(take_embeddings(d, w, b, e + v * b->n_texts * d->cfg->width, err));
            }
    }
    w->n_rows = b->n_rows;
done:
    return st;
}

dial_status di_decoder_trunk(di_decoder *d, di_workspace *w, const di_batch *b, void *rows,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_mat x, r;

    DI_TRY(begin(d, w, b, err));
    run_trunk(d, w, b);
    stream(d, w, b->n_rows, &x, &r);
    d->dev->ops->copy(d->dev, &x, &r, 0);
    d->dev->ops->download(d->dev, rows, r.data, (size_t)(r.rows * r.cols) * di_act_bytes(r.dtype));
done:
    return st;
}

dial_status di_decoder_forward_from(di_decoder *d, di_workspace *w, const di_batch *b,
                                    const void *rows, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_mat x, r;

    DI_TRY(begin(d, w, b, err));
    stream(d, w, b->n_rows, &x, &r);
    d->dev->ops->upload(d->dev, r.data, rows, (size_t)(r.rows * r.cols) * di_act_bytes(r.dtype));
    d->dev->ops->copy(d->dev, &r, &x, 0);
    DI_TRY(run_top(d, w, b, e, err));
done:
    return st;
}

/*
 * The gradient of the next-token loss in dhidden, added to what is there. w->dx lends its memory:
 * it is written only after. The rows are made again from what the final norm kept, since the
 * workspace that lends its scratch may have seen another batch since.
 */
static void add_next_tokens(const di_decoder *d, di_workspace *w, const di_batch *b,
                            const di_mat *given, di_mat *dhidden)
{
    const di_backend *ops = d->dev->ops;
    di_norm_args fin = final_norm(d, w, b->n_rows);
    di_mat dx = di_mat_of(w->dx, DI_F32, b->n_rows, d->cfg->width);

    ops->copy(d->dev, &fin.keep, &fin.x, 0);
    ops->norm_forward(d->dev, &fin);
    ops->pool_backward(d->dev, b, given, d->opt.pooling == DI_POOL_MEAN, &dx);
    di_next_backward(d, w, w->dx);
    ops->copy(d->dev, &dx, dhidden, 0);
}

dial_status di_decoder_backward(di_decoder *d, di_workspace *w, const di_batch *b, const float *de,
                                float *grad, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_backend *ops = d->dev->ops;
    int64_t width = d->cfg->width, n = d->ends ? b->n_texts : b->n_rows;
    di_mat given = di_mat_of(w->e, DI_F32, b->n_texts, width);
    di_mat dhidden = di_mat_of(w->dnormed, DI_F32, n, width);
    di_mat x = di_mat_of(w->x, DI_F32, b->n_rows, width);
    di_norm_args fin = final_norm(d, w, n);

    if (!w->has_saved || w->n_rows != b->n_rows || w->decoder != d || !same_lora(d, w))
        DI_FAIL(err, DIAL_ERR_USAGE, "backward without a forward pass of the same batch before it");
    if (d->lora == NULL || d->lora->lora.r == 0 || w->first >= d->opt.n_layers)
        goto done; /* nothing here is trained */
    ops->upload(d->dev, w->e, de, (size_t)(b->n_texts * width) * sizeof *de);
    if (d->ends)
        dhidden = given;
    else if (w->next != NULL && w->next->n > 0)
        add_next_tokens(d, w, b, &given, &dhidden);
    else
        ops->pool_backward(d->dev, b, &given, d->opt.pooling == DI_POOL_MEAN, &dhidden);
    fin.x = fin.keep;
    fin.dy = dhidden;
    fin.dx = di_mat_of(w->dx, DI_F32, n, width);
    ops->norm_backward(d->dev, &fin);
    for (int64_t l = d->opt.n_layers - 1; l >= w->first; l--) {
        const di_saved *s = saved_of(w, l);
        int ends = d->ends && l == d->opt.n_layers - 1;

        if (s->start != NULL) {
            di_mat start = di_mat_of(s->start, DI_F32, b->n_rows, width);

            ops->copy(d->dev, &start, &x, 0);
            di_layer_forward(d, w, b, l, s, ends, 1);
        }
        di_layer_backward(d, w, b, l, s, grad, ends, l == w->first);
        if (d->on_layer != NULL) d->on_layer->done(d->on_layer->ctx, l);
    }
done:
    return st;
}

dial_status di_decoder_logits(di_decoder *d, di_workspace *w, const int32_t *row, int64_t n,
                              float *logits, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_backend *ops = d->dev->ops;
    int64_t width = d->cfg->width, vocab = d->cfg->vocab;
    float cap = d->cfg->logit_cap;

    if (d->head == NULL)
        DI_FAIL(err, DIAL_ERR_USAGE, "the decoder was opened without its output head");
    for (int64_t i = 0; i < n; i++)
        if (row[i] < 0 || row[i] >= w->n_rows)
            DI_FAIL(err, DIAL_ERR_USAGE, "row %d: the last forward pass had %lld rows", (int)row[i],
                    (long long)w->n_rows);
    for (int64_t at = 0; at < n; at += w->logit_rows) {
        int64_t some = n - at < w->logit_rows ? n - at : w->logit_rows;
        di_mat x = di_mat_of(w->logit_x, d->dev->act, some, width);
        di_mat y = di_mat_of(w->logits, DI_F32, some, vocab);

        for (int64_t i = 0; i < some; i++) {
            di_mat from = di_mat_of(w->hidden + row[at + i] * width, DI_F32, 1, width);
            di_mat to = x;

            to.data = (char *)x.data + (size_t)(i * width) * di_act_bytes(x.dtype);
            to.rows = 1;
            ops->copy(d->dev, &from, &to, 0);
        }
        ops->linear_forward(d->dev, d->head, &x, &y, 0);
        ops->download(d->dev, logits + at * vocab, w->logits,
                      (size_t)(some * vocab) * sizeof *logits);
    }
    for (int64_t i = 0; cap > 0 && i < n * vocab; i++) logits[i] = cap * tanhf(logits[i] / cap);
done:
    return st;
}
