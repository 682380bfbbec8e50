/*
 * Deep CORAL (Sun and Saenko 2016): distance of the covariances, in the Gram form of method.md 8.2,
 * where no C x C matrix appears. With Xs, Xt the step's rows and Rs, Rt the reference rows (the
 * same, or the queue's; align/queue.h), each less the mean of its side's reference,
 *
 *     L  = tr((cov_s - cov_t)^2)/(4 C^2) + weight ||ms - mt||^2
 *     <cov of X, cov of R> = ||X R^T||_F^2 / ((n_x - 1)(n_r - 1))
 *     dXs = (Xs Rs^T Rs/(m_s - 1) - Xs Rt^T Rt/(m_t - 1))/(C^2 (n_s - 1)),     Xt: signs turned
 *
 * Covariances alone do not see the means, hence the second term. The first is taken of gain times
 * the rows (methods.h): on rows of norm 1 it would be 1/C^2 of the second and say nothing.
 */
#include "align/closed.h"
#include "base/error.h"

typedef struct coral {
    di_closed f;
    di_coral_options opt;
    double *mu[DI_SIDES]; /* [C] */
    float *x, *r;         /* [max_rows, C], [most, C] centred */
    float *g;             /* [max_rows, most] */
    void *work;
} coral;

/* 1/(n - 1); a single row varies by nothing. */
static double per_freedom(int64_t n)
{
    return n > 1 ? 1 / (double)(n - 1) : 0;
}

/*
 * Rows of side k against the reference of side l: its term of L, and its gradient. The terms of the
 * step's rows against themselves hold each row twice, hence the 2 (1/2 + 1/2 of the mixed ones).
 */
static double block(coral *w, const di_align_rows *rows, const di_reference *ref, int k, int l,
                    double lambda, float *dx)
{
    int64_t c = w->f.set.width, n = di_side_rows(rows, k), m = ref->n[l];
    int64_t at = di_side_first(rows, k) * c;
    double gain = di_gain(&w->f), unit = gain * gain / (double)c;
    double factor = (k == l ? 1 : -1) * per_freedom(n) * per_freedom(m) * unit * unit / 4;
    double square = 0;

    di_row_centre(rows->x + at, n, c, w->mu[k], w->x);
    di_row_centre(ref->x[l], m, c, w->mu[l], w->r);
    di_product(w->f.dev, w->x, n, c, w->r, m, 1, w->g, 0, w->work);
    for (int64_t i = 0; i < n * m; i++) {
        square += (double)w->g[i] * (double)w->g[i];
        w->g[i] *= (float)(4 * lambda * factor);
    }
    if (dx != NULL) di_product(w->f.dev, w->g, n, m, w->r, c, 0, dx + at, 1, w->work);
    return factor * square;
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    coral *w = (coral *)a;
    int64_t c = w->f.set.width;
    di_reference ref = di_queue_reference(&w->f.queue, rows);
    const double *mu[DI_SIDES] = {w->mu[DI_SOURCE], w->mu[DI_TARGET]};

    (void)dmargin;
    stats->w1 = NAN;
    stats->loss = 0;
    for (int k = 0; k < DI_SIDES; k++) di_row_mean(ref.x[k], ref.n[k], c, w->mu[k]);
    for (int k = 0; k < DI_SIDES; k++)
        for (int l = 0; l < DI_SIDES; l++) stats->loss += block(w, rows, &ref, k, l, lambda, dx);
    stats->loss += w->opt.mean * di_means_apart(mu, c);
    if (dx != NULL) di_means_push(rows, mu, c, 2 * lambda * w->opt.mean, dx);
}

static const di_align_method method = {.name = "coral",
                                       .fit = di_closed_fit,
                                       .gradient = gradient,
                                       .tensors = di_closed_tensors,
                                       .save = di_closed_save,
                                       .load = di_closed_load,
                                       .free = di_closed_free};

dial_status di_coral_new(di_device *dev, const di_align_setup *setup, const di_coral_options *opt,
                         di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    coral *w = di_closed_new(dev, setup, sizeof *w, &method, 1);
    int64_t n = setup->max_rows, c = setup->width, most = setup->queue + n;
    di_blocks *mem;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    mem = &w->f.mem;
    w->opt = *opt;
    for (int k = 0; k < DI_SIDES; k++) w->mu[k] = di_blocks_doubles(mem, c);
    w->x = di_blocks_floats(mem, n * c);
    w->r = di_blocks_floats(mem, most * c);
    w->g = di_blocks_floats(mem, n * most);
    w->work = di_product_work(mem, dev, most, c);
    if (mem->failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the inner products of %lld rows",
                (long long)most);
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) di_closed_free(&w->f.base);
    return st;
}
