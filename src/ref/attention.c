/*
 * Attention over a segment forest. Vaswani et al. 2017, eq. 1; grouped heads, sliding window and
 * soft cap as Gemma 2 combines them.
 *
 * A row sees a list of rows: position p of its text -> row of the batch. The list is built once a
 * segment by walking up to the root, and its prefix of length q + 1 is what position q sees. All
 * loops run over positions of the text, never over segments: hence sharing changes no bit.
 */
#include "ref/ref.h"

#include <math.h>

/* Work: the list of rows, one row's scores and score gradients, gradients of all keys and values.
 */
typedef struct scratch {
    double *p, *ds;  /* [max_length] */
    double *dk, *dv; /* [max_rows, K*D]; backward alone */
    int32_t *row;    /* [max_length] */
} scratch;

size_t di_ref_attention_bytes(const di_device *dev, const di_attention_args *a, int64_t max_rows,
                              int64_t max_length, int backward)
{
    int64_t kd = a->kv_heads * a->head_dim;

    (void)dev;
    return (size_t)(2 * max_length + (backward ? 2 * max_rows * kd : 0)) * sizeof(double) +
           (size_t)max_length * sizeof(int32_t);
}

/* Positions of the longest text, from the segments themselves. */
static int64_t longest(const di_batch *b)
{
    int64_t n = 0;

    for (int64_t s = 0; s < b->n_segments; s++)
        if (b->segment[s].start + b->segment[s].n > n) n = b->segment[s].start + b->segment[s].n;
    return n;
}

static scratch carve(const di_attention_args *a, int backward)
{
    int64_t kd = a->kv_heads * a->head_dim, length = longest(a->batch), rows = a->batch->n_rows;
    scratch s = {.p = a->work};

    s.ds = s.p + length;
    s.dk = s.ds + length;
    s.dv = s.dk + (backward ? rows * kd : 0);
    s.row = (int32_t *)(s.dv + (backward ? rows * kd : 0));
    for (int64_t i = 0; backward && i < rows * kd; i++) s.dk[i] = s.dv[i] = 0;
    return s;
}

/* row[p] = the batch row of position p, for all positions up to the end of the segment. */
static void list_rows(const di_batch *b, int64_t segment, int32_t *row)
{
    for (int64_t s = segment; s >= 0; s = b->segment[s].parent)
        for (int32_t i = 0; i < b->segment[s].n; i++)
            row[b->segment[s].start + i] = b->segment[s].row + i;
}

/* The first position that position q sees. */
static int64_t first_key(const di_attention_args *a, int64_t q)
{
    return a->window > 0 && q - a->window + 1 > 0 ? q - a->window + 1 : 0;
}

/* The score of query row n and key row m in head h, after scale and cap. */
static double score(const di_attention_args *a, int64_t n, int64_t m, int64_t h)
{
    int64_t d = a->head_dim, kv = h / (a->heads / a->kv_heads);
    double sum = 0;

    for (int64_t i = 0; i < d; i++) sum += get(&a->q, n, h * d + i) * get(&a->k, m, kv * d + i);
    sum *= (double)a->scale;
    return a->cap > 0 ? (double)a->cap * tanh(sum / (double)a->cap) : sum;
}

static void forward_row(const di_attention_args *a, const scratch *s, int64_t n, int64_t pos,
                        int64_t h)
{
    int64_t d = a->head_dim, kv = h / (a->heads / a->kv_heads), first = first_key(a, pos);
    double max = -HUGE_VAL, sum = 0;

    for (int64_t k = first; k <= pos; k++) {
        s->p[k] = score(a, n, s->row[k], h);
        if (s->p[k] > max) max = s->p[k];
    }
    for (int64_t k = first; k <= pos; k++) sum += s->p[k] = exp(s->p[k] - max);
    for (int64_t i = 0; i < d; i++) {
        double o = 0;

        for (int64_t k = first; k <= pos; k++) o += s->p[k] * get(&a->v, s->row[k], kv * d + i);
        put(&a->o, n, h * d + i, o / sum);
    }
    if (a->lse != NULL) a->lse[n * a->heads + h] = (float)(max + log(sum));
}

void di_ref_attention_forward(di_device *dev, const di_attention_args *a)
{
    const di_batch *b = a->batch;
    scratch s = carve(a, 0);

    (void)dev;
    for (int64_t g = 0; g < b->n_segments; g++) {
        list_rows(b, g, s.row);
        for (int64_t i = 0; i < b->segment[g].n; i++)
            for (int64_t h = 0; h < a->heads; h++)
                forward_row(a, &s, b->segment[g].row + i, b->segment[g].start + i, h);
    }
}

/*
 * p_k = exp(s_k - lse),  dp_k = do . v_k,  ds_k = p_k (dp_k - sum_j p_j dp_j); through the cap
 * ds_k *= 1 - (s_k / cap)^2. Then dq += scale ds_k k_k, dk_k += scale ds_k q, dv_k += p_k do.
 * sum_j p_j dp_j equals do . o; it is taken over the keys, so the rounding of a stored o stays out.
 */
static void backward_row(const di_attention_args *a, const scratch *s, int64_t n, int64_t pos,
                         int64_t h)
{
    int64_t d = a->head_dim, kv = h / (a->heads / a->kv_heads), first = first_key(a, pos);
    int64_t kd = a->kv_heads * d;
    double delta = 0;

    for (int64_t k = first; k <= pos; k++) {
        double dp = 0;

        s->p[k] = exp(score(a, n, s->row[k], h) - (double)a->lse[n * a->heads + h]);
        for (int64_t i = 0; i < d; i++)
            dp += get(&a->d_o, n, h * d + i) * get(&a->v, s->row[k], kv * d + i);
        s->ds[k] = dp;
        delta += s->p[k] * dp;
    }
    for (int64_t k = first; k <= pos; k++) {
        s->ds[k] = s->p[k] * (s->ds[k] - delta) * (double)a->scale;
        if (a->cap > 0) {
            double t = score(a, n, s->row[k], h) / (double)a->cap;

            s->ds[k] *= 1 - t * t;
        }
    }
    for (int64_t i = 0; i < d; i++) {
        double dq = 0, q = get(&a->q, n, h * d + i), d_o = get(&a->d_o, n, h * d + i);

        for (int64_t k = first; k <= pos; k++) {
            int64_t at = s->row[k] * kd + kv * d + i;

            dq += s->ds[k] * get(&a->k, s->row[k], kv * d + i);
            s->dk[at] += s->ds[k] * q;
            s->dv[at] += s->p[k] * d_o;
        }
        put(&a->dq, n, h * d + i, dq);
    }
}

/* Rows below a shared prefix add to its keys and values in the order of segments, rows and heads.
 */
void di_ref_attention_backward(di_device *dev, const di_attention_args *a)
{
    const di_batch *b = a->batch;
    int64_t kd = a->kv_heads * a->head_dim;
    scratch s = carve(a, 1);

    (void)dev;
    for (int64_t g = 0; g < b->n_segments; g++) {
        list_rows(b, g, s.row);
        for (int64_t i = 0; i < b->segment[g].n; i++)
            for (int64_t h = 0; h < a->heads; h++)
                backward_row(a, &s, b->segment[g].row + i, b->segment[g].start + i, h);
    }
    for (int64_t n = 0; n < b->n_rows; n++) {
        for (int64_t i = 0; i < kd; i++) {
            put(&a->dk, n, i, s.dk[n * kd + i]);
            put(&a->dv, n, i, s.dv[n * kd + i]);
        }
    }
}
