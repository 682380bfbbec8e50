#include "model/next_token.h"

#include <string.h>

#include "base/error.h"
#include "model/decoder_parts.h"

/* Row of the token at position `at` of a text, whose last segment is `leaf`. */
static int32_t row_at(const di_batch *b, int32_t leaf, int64_t at)
{
    while (b->segment[leaf].start > at) leaf = b->segment[leaf].parent;
    return (int32_t)(b->segment[leaf].row + at - b->segment[leaf].start);
}

int64_t di_next_add(di_next_tokens *x, const di_batch *b, const di_seq_view *text, int64_t t,
                    int64_t from, float weight)
{
    int64_t first = from > 1 ? from : 1, count = text->n > first ? text->n - first : 0;

    if (x->n + count > x->cap) return -1;
    for (int64_t at = first; at < text->n; at++)
        x->item[x->n++] = (di_next){row_at(b, b->leaf[t], at - 1), text->id[at], weight};
    return count;
}

void di_workspace_set_next(di_workspace *w, di_next_tokens *next)
{
    w->next = next;
}

/* Rows of h that items [at, at + n) look at, as the head's input. */
static void gather(di_workspace *w, const di_next *item, int64_t n, di_mat *x)
{
    const di_backend *ops = w->dev->ops;

    for (int64_t i = 0; i < n; i++) {
        di_mat from = di_mat_of(w->hidden + item[i].row * x->cols, DI_F32, 1, x->cols), to = *x;

        to.data = (char *)x->data + (size_t)(i * x->cols) * di_act_bytes(x->dtype);
        to.rows = 1;
        ops->copy(w->dev, &from, &to, 0);
    }
}

/* n items, at most logit_rows: their losses in w->logit_loss, the gradient in w->logits. */
static void lose(const di_decoder *d, di_workspace *w, const di_next *item, int64_t n)
{
    const di_backend *ops = d->dev->ops;
    di_mat x = di_mat_of(w->logit_x, d->dev->act, n, d->cfg->width);
    di_mat y = di_mat_of(w->logits, DI_F32, n, d->cfg->vocab);

    gather(w, item, n, &x);
    ops->linear_forward(d->dev, d->head, &x, &y, 0);
    for (int64_t i = 0; i < n; i++) {
        w->logit_id[i] = item[i].id;
        w->logit_weight[i] = item[i].weight;
    }
    ops->next_token(d->dev, &y, w->logit_id, w->logit_weight, d->cfg->logit_cap, w->logit_loss);
}

dial_status di_next_losses(const di_decoder *d, di_workspace *w, const di_next_tokens *x,
                           double *loss, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (d->head == NULL)
        DI_FAIL(err, DIAL_ERR_USAGE, "the decoder was opened without its output head");
    for (int64_t i = 0; i < x->n; i++)
        if (x->item[i].row < 0 || x->item[i].row >= w->n_rows)
            DI_FAIL(err, DIAL_ERR_USAGE, "row %d: the last forward pass had %lld rows",
                    (int)x->item[i].row, (long long)w->n_rows);
    for (int64_t at = 0; at < x->n; at += w->logit_rows) {
        int64_t n = x->n - at < w->logit_rows ? x->n - at : w->logit_rows;

        lose(d, w, x->item + at, n);
        memcpy(loss + at, w->logit_loss, (size_t)n * sizeof *loss);
    }
done:
    return st;
}

void di_next_backward(const di_decoder *d, di_workspace *w, float *dh)
{
    const di_backend *ops = d->dev->ops;
    di_next_tokens *t = w->next;
    int64_t width = d->cfg->width, vocab = d->cfg->vocab;

    for (int64_t at = 0; at < t->n; at += w->logit_rows) {
        int64_t n = t->n - at < w->logit_rows ? t->n - at : w->logit_rows;
        di_mat y = di_mat_of(w->logits, DI_F32, n, vocab), dy = y;
        di_mat dx = di_mat_of(w->logit_dx, DI_F32, n, width);

        lose(d, w, t->item + at, n);
        for (int64_t i = 0; i < n; i++) t->loss += w->logit_loss[i];
        if (d->dev->act != DI_F32) {
            dy = di_mat_of(w->logit_dy, d->dev->act, n, vocab);
            ops->copy(d->dev, &y, &dy, 0);
        }
        ops->linear_backward(d->dev, d->head, &dy, &dx, 0);
        for (int64_t i = 0; i < n; i++) {
            di_mat row = di_mat_of(dh + t->item[at + i].row * width, DI_F32, 1, width);
            di_mat one = di_mat_of(w->logit_dx + i * width, DI_F32, 1, width);

            ops->copy(d->dev, &one, &row, 1);
        }
    }
}
