#include "train/pass.h"

#include <string.h>

#include "base/error.h"
#include "model/adaptor.h"
#include "model/next_token.h"

struct di_pass {
    di_device *dev;
    di_decoder *decoder;
    di_train_settings set;
    int64_t width;
    di_workspace *work[DI_SIDES]; /* one a side if each fits one pass, else [0] for all parts */
    di_batch batch[DI_SIDES];
    void *batch_memory[DI_SIDES];
    int keep;     /* activations of the first forward serve the backward pass */
    float *texts; /* [most texts of a side, C] in batch order */
    int stored;   /* the trunk has the embedding of every text of the run: no pass is needed */
    void *rows;   /* [most rows of a pass, C] act, out of the trunk; NULL: none */
    di_adaptor adaptor[DI_SIDES];
    di_next_tokens next;  /* of the part that goes back; cap 0: no next-token loss */
    float *raw[DI_SIDES]; /* [texts of a step, C] before the adaptor; NULL: none */
};

/* Rows and texts of one forward pass; the longest text bounds both. */
static di_workspace_options workspace_of(const di_train_settings *set, int64_t longest,
                                         int64_t texts)
{
    return (di_workspace_options){.max_rows = texts * longest,
                                  .max_texts = texts,
                                  .max_length = longest,
                                  .train = !set->head_only,
                                  .grad_checkpoint = set->grad_checkpoint};
}

/* Are the embeddings of all texts of a side there to be looked up? */
static int is_stored(const di_train_settings *set, const di_examples *x)
{
    if (!set->head_only || set->trunk == NULL) return 0;
    for (int64_t i = 0; i < x->n; i++)
        for (int t = 0; t < di_example_at(x, i)->n_texts; t++) {
            const di_seq *s = di_example_seq(x, i, t);

            if (di_trunk_find(set->trunk, &(di_seq_view){s->id, s->n}) == NULL) return 0;
        }
    return 1;
}

static int64_t texts_of(const di_train_settings *set, int k, const di_examples *x)
{
    return set->batch[k] * di_examples_most_texts(x);
}

/* Of them, most of a rank. */
static int64_t share_of(const di_train_settings *set, int k, const di_examples *x)
{
    int64_t ranks = set->ranks > 1 ? set->ranks : 1;

    return di_examples_most_texts(x) * ((set->batch[k] + ranks - 1) / ranks);
}

/* The longest text and the most texts of a pass of each side (0: it takes no part), and whether
 * every side fits one pass. */
typedef struct shape {
    int keep;
    int64_t longest[DI_SIDES], pass_texts[DI_SIDES];
} shape;

static shape shape_of(const di_train_settings *set, const di_examples *const side[DI_SIDES])
{
    shape s = {.keep = 1};

    for (int k = 0; k < DI_SIDES; k++) {
        int64_t texts;

        if (set->batch[k] == 0) continue;
        texts = share_of(set, k, side[k]);
        s.longest[k] = di_examples_longest(side[k]);
        s.pass_texts[k] = texts < set->micro_texts ? texts : set->micro_texts;
        s.keep = s.keep && s.pass_texts[k] == texts;
    }
    for (int k = 1; !s.keep && k < DI_SIDES; k++) { /* one workspace serves the parts of all */
        if (s.longest[k] > s.longest[0]) s.longest[0] = s.longest[k];
        if (s.pass_texts[k] > s.pass_texts[0]) s.pass_texts[0] = s.pass_texts[k];
    }
    return s;
}

/*
 * What the workspaces of a step are made for: one for each side that fits a pass, else number 0
 * alone (max_rows 0: none). The one with most rows lends its scratch memory to the others: *lender
 * is its number.
 */
static void plan(const di_train_settings *set, const shape *s, di_workspace_options o[DI_SIDES],
                 int *lender)
{
    *lender = 0;
    memset(o, 0, DI_SIDES * sizeof *o);
    for (int k = 0; k < (s->keep ? DI_SIDES : 1); k++) {
        if (s->pass_texts[k] > 0) o[k] = workspace_of(set, s->longest[k], s->pass_texts[k]);
        if (o[k].max_rows > o[*lender].max_rows) *lender = k;
    }
    for (int k = 0; k < DI_SIDES; k++)
        if (o[k].max_length > o[*lender].max_length) o[*lender].max_length = o[k].max_length;
}

size_t di_pass_bytes(const di_decoder *decoder, const di_train_settings *set,
                     const di_examples *const side[DI_SIDES], const int64_t rows[DI_SIDES])
{
    shape s = shape_of(set, side);
    di_workspace_options o[DI_SIDES];
    int lender;
    size_t n = 0;

    plan(set, &s, o, &lender);
    for (int k = 0; k < DI_SIDES; k++) {
        int64_t most = rows == NULL ? 0 : rows[k];

        if (o[k].max_rows == 0) continue;
        for (int j = 0; !s.keep && rows != NULL && j < DI_SIDES; j++)
            if (rows[j] > most) most = rows[j];
        if (most > 0 && most < o[k].max_rows) o[k].max_rows = most;
        o[k].borrows = k != lender;
        n += di_workspace_bytes(decoder, &o[k]) + di_batch_bytes(o[k].max_rows, o[k].max_texts);
    }
    return n;
}

/* Workspaces and batches of a step, and room for what comes out of them. */
static dial_status new_works(di_pass *p, const shape *s, const di_examples *const side[DI_SIDES],
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_device *dev = p->dev;
    const di_trunk *trunk = p->set.trunk;
    di_workspace_options o[DI_SIDES];
    int lender;
    int64_t texts = 0;

    plan(&p->set, s, o, &lender);
    DI_TRY(di_workspace_new(p->decoder, &o[lender], &p->work[lender], err));
    for (int k = 0; k < DI_SIDES; k++) {
        if (o[k].max_rows == 0) continue;
        if (k != lender) {
            o[k].borrows = 1;
            o[k].lender = p->work[lender];
            DI_TRY(di_workspace_new(p->decoder, &o[k], &p->work[k], err));
        }
        p->batch_memory[k] = di_new(dev->al, di_batch_bytes(o[k].max_rows, o[k].max_texts));
        if (p->batch_memory[k] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a batch");
        di_batch_init(&p->batch[k], p->batch_memory[k], o[k].max_rows, o[k].max_texts);
    }
    for (int k = 0; k < DI_SIDES; k++)
        if (p->set.batch[k] > 0 && texts_of(&p->set, k, side[k]) > texts)
            texts = texts_of(&p->set, k, side[k]);
    p->texts = dev->ops->buffer_new(dev, (size_t)(texts * p->width) * sizeof *p->texts);
    if (p->texts == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld embeddings", (long long)texts);
    if (trunk == NULL || !di_trunk_get_shape(trunk)->per_token) goto done;
    p->rows = di_new(dev->al, (size_t)o[lender].max_rows * di_trunk_get_shape(trunk)->row_bytes);
    if (p->rows == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows of a trunk",
                (long long)o[lender].max_rows);
done:
    return st;
}

static dial_status new_adaptors(di_pass *p, const di_examples *const side[DI_SIDES],
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_params *params = di_decoder_lora(p->decoder);

    if (params == NULL || !di_has_adaptor(params)) return DIAL_OK;
    for (int k = 0; k < DI_SIDES; k++) {
        int64_t n = p->set.batch[k] > 0 ? texts_of(&p->set, k, side[k]) : 0;

        if (n == 0) continue;
        DI_TRY(di_adaptor_init(&p->adaptor[k], p->dev, params, n, err));
        p->raw[k] = p->dev->ops->buffer_new(p->dev, (size_t)(n * p->width) * sizeof *p->raw[k]);
        if (p->raw[k] == NULL)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld embeddings", (long long)n);
    }
done:
    return st;
}

/* Room for the tokens of a part of the side with a next-token loss. */
static dial_status new_next(di_pass *p, const shape *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    int k = s->keep ? p->set.lm_side : 0;

    p->next.cap = s->pass_texts[k] * s->longest[k];
    p->next.item = di_new_array(p->dev->al, (size_t)p->next.cap, sizeof *p->next.item);
    if (p->next.item == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld next tokens", (long long)p->next.cap);
done:
    return st;
}

dial_status di_pass_new(di_device *dev, di_decoder *decoder, const di_train_settings *set,
                        const di_examples *const side[DI_SIDES], di_pass **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pass *p = di_zalloc(dev->al, sizeof *p);
    shape s = shape_of(set, side);

    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the passes of a step");
    p->dev = dev;
    p->decoder = decoder;
    p->set = *set;
    p->width = di_decoder_config(decoder)->width;
    p->keep = s.keep;
    p->stored = 1;
    for (int k = 0; k < DI_SIDES; k++)
        p->stored = p->stored && (set->batch[k] == 0 || is_stored(set, side[k]));
    if (!p->stored) DI_TRY(new_works(p, &s, side, err));
    DI_TRY(new_adaptors(p, side, err));
    if (set->lm_weight > 0 && !p->stored) DI_TRY(new_next(p, &s, err));
    *out = p;
    p = NULL;
done:
    di_pass_free(p);
    return st;
}

void di_pass_free(di_pass *p)
{
    if (p == NULL) return;
    for (int k = 0; k < DI_SIDES; k++) {
        di_workspace_free(p->work[k]);
        di_free(p->dev->al, p->batch_memory[k]);
        di_adaptor_deinit(&p->adaptor[k]);
        p->dev->ops->buffer_free(p->dev, p->raw[k]);
    }
    di_free(p->dev->al, p->rows);
    di_free(p->dev->al, p->next.item);
    p->dev->ops->buffer_free(p->dev, p->texts);
    di_free(p->dev->al, p);
}

/* Texts [at, at + n) of side k through the language model, embeddings into e [n, C]. */
static dial_status forward_part(di_pass *p, int k, const di_side *s, int64_t at, int64_t n,
                                float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    int w = p->keep ? k : 0;

    if (di_batch_pack(&p->batch[w], s->text + at, s->group + at, n) < 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "a batch of %lld texts exceeds the planned workspace",
                (long long)n);
    if (p->rows != NULL && di_trunk_gather(p->set.trunk, &p->batch[w], s->text + at, p->rows))
        DI_TRY(di_decoder_forward_from(p->decoder, p->work[w], &p->batch[w], p->rows, e, err));
    else
        DI_TRY(di_decoder_forward(p->decoder, p->work[w], &p->batch[w], e, err));
done:
    return st;
}

/* Texts of the next part of this rank's share from `at` on; 0 at its end. */
static int64_t part_size(const di_pass *p, const di_side *s, int64_t at)
{
    int64_t left = s->first[s->dist->rank + 1] - at;

    return left < p->set.micro_texts ? left : p->set.micro_texts;
}

/* Embeddings before the adaptor. */
static dial_status embed(di_pass *p, int k, const di_side *s, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t c = (size_t)p->width, row = c * sizeof *e;

    for (int64_t i = 0; p->stored && i < s->n_texts; i++)
        memcpy(e + (size_t)s->row[i] * c, di_trunk_find(p->set.trunk, &s->text[i]), row);
    if (p->stored) return DIAL_OK;
    for (int64_t at = s->first[s->dist->rank], n; (n = part_size(p, s, at)) > 0; at += n)
        if ((st = forward_part(p, k, s, at, n, p->texts + (size_t)at * c, err)) != DIAL_OK) break;
    DI_TRY(di_dist_agree(s->dist, st, err));
    DI_TRY(di_dist_gather(s->dist, p->texts, row, s->first, err));
    for (int64_t i = 0; i < s->n_texts; i++)
        memcpy(e + (size_t)s->row[i] * c, p->texts + (size_t)i * c, row);
done:
    return st;
}

dial_status di_pass_forward(di_pass *p, int k, const di_side *s, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(embed(p, k, s, p->raw[k] != NULL ? p->raw[k] : e, err));
    if (p->raw[k] != NULL) di_adaptor_forward(&p->adaptor[k], p->raw[k], s->n_texts, e);
done:
    return st;
}

/* Where the tokens of text i of the side that count begin; its length: none does. */
static int64_t counts_from(const di_pass *p, const di_side *s, int64_t i)
{
    int first = s->row[i] < s->n; /* texts 0 have the first rows: chosen, where rows are labelled */

    if (p->set.lm_side == DI_TARGET) return 1;
    return first ? di_example_seq(s->examples, s->picked[s->group[i]], 0)->response_at
                 : s->text[i].n;
}

/* Every token of the side that counts. */
static int64_t tokens_that_count(const di_pass *p, const di_side *s)
{
    int64_t n = 0;

    for (int64_t i = 0; i < s->n_texts; i++) {
        int64_t from = counts_from(p, s, i);

        if (from < 1) from = 1;
        n += s->text[i].n > from ? s->text[i].n - from : 0;
    }
    return n;
}

/* The tokens of texts [at, at + n), each weighted so that the whole side has lm_weight. */
static void set_next(di_pass *p, int w, const di_side *s, int64_t at, int64_t n, int64_t count)
{
    float weight = (float)(p->set.lm_weight / (double)(count > 0 ? count : 1));

    p->next.n = 0;
    for (int64_t i = 0; i < n; i++)
        di_next_add(&p->next, &p->batch[w], &s->text[at + i], i, counts_from(p, s, at + i), weight);
    di_workspace_set_next(p->work[w], &p->next);
}

double di_pass_next_loss(const di_pass *p)
{
    return p->next.loss;
}

dial_status di_pass_backward(di_pass *p, int k, const di_side *s, const float *de, int next,
                             float *grad, const di_layer_hook *last, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t c = (size_t)p->width;
    int w = p->keep ? k : 0;
    int64_t count = next ? tokens_that_count(p, s) : 0;

    if (next) p->next.loss = 0;
    if (p->raw[k] != NULL) di_adaptor_backward(&p->adaptor[k], p->raw[k], de, s->n_texts, grad);
    if (p->set.head_only) return DIAL_OK;
    for (int64_t at = s->first[s->dist->rank], n; (n = part_size(p, s, at)) > 0; at += n) {
        if (!p->keep) DI_TRY(forward_part(p, k, s, at, n, p->texts, err));
        for (int64_t i = 0; i < n; i++)
            memcpy(p->texts + (size_t)i * c, de + (size_t)s->row[at + i] * c, c * sizeof *de);
        if (next) set_next(p, w, s, at, n, count);
        di_decoder_on_layer(p->decoder, part_size(p, s, at + n) == 0 ? last : NULL);
        DI_TRY(di_decoder_backward(p->decoder, p->work[w], &p->batch[w], p->texts, grad, err));
    }
done:
    if (next) di_workspace_set_next(p->work[w], NULL);
    di_decoder_on_layer(p->decoder, NULL);
    return st;
}
