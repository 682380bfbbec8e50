/*
 * Maximum mean discrepancy, squared (method.md 8.2), through its witness: with k the kernel and
 * r the reference rows of a side (the step's own, or the queue's; align/queue.h),
 *
 *     wit(x) = mean_i k(x, r_s,i) - mean_j k(x, r_t,j)          the row itself left out (unbiased)
 *     L      = mean_i wit(s_i) - mean_j wit(t_j)
 *     ds_i   = (2/n_s) grad wit(s_i)         dt_j = -(2/n_t) grad wit(t_j)
 *
 * Each pair of rows stands in L twice, hence the 2. Without a queue this is the estimator of
 * method.md to the letter; the unbiased one may fall below 0.
 *
 *     rbf     k(a, b) = sum_q exp(-||a - b||^2/b_q),  b_q = b0 x scale_q
 *             b0: median squared distance of the step's rows, both domains pooled; EMA 0.99
 *     linear  k(a, b) = a.b: by means alone
 *
 * Distances are taken after the pooled mean of the step is taken off, from inner products in f32:
 * an offset that all rows share, large in language models, would otherwise cost their digits.
 */
#include "align/closed.h"
#include "base/error.h"

typedef struct mmd {
    di_closed f;
    di_mmd_options opt;
    float bandwidth; /* b0; 0: nothing seen yet */
    double *mu;      /* [C] pooled mean of the step */
    float *x;        /* [max_rows, C] the step's rows, centred */
    float *r;        /* [room, C] reference rows of one side, centred */
    float *g;        /* [max_rows, most] inner products, then weights */
    double *xx, *rr; /* [max_rows], [most] squared norms */
    double *mean[DI_SIDES];
    void *work;
} mmd;

/* The step's rows about their pooled mean. */
static void centre(mmd *w, const di_align_rows *rows)
{
    int64_t n = rows->n_s + rows->n_t, c = w->f.set.width;

    di_row_mean(rows->x, n, c, w->mu);
    di_row_centre(rows->x, n, c, w->mu, w->x);
    di_row_squares(w->x, n, c, w->xx);
}

/* Median over pairs i < j of the step's rows. */
static double median_distance(mmd *w, const di_align_rows *rows)
{
    int64_t n = rows->n_s + rows->n_t, c = w->f.set.width, at = 0;

    if (n < 2) return 0;
    centre(w, rows);
    di_product(w->f.dev, w->x, n, c, w->x, n, 1, w->g, 0, w->work);
    for (int64_t i = 0; i < n; i++) /* what is read stands behind what is written */
        for (int64_t j = i + 1; j < n; j++)
            w->g[at++] = (float)di_row_distance(w->xx[i], w->xx[j], w->g[i * n + j]);
    return di_median(w->g, at);
}

static void fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    mmd *w = (mmd *)a;
    float median = w->opt.linear ? 0 : (float)median_distance(w, rows);

    if (median > 0)
        w->bandwidth = w->bandwidth > 0 ? 0.99f * w->bandwidth + 0.01f * median : median;
    di_closed_fit(a, rows, stats);
}

/*
 * Rows [first, first + n) of the step against the reference rows of side k: returns `factor` times
 * the sum of kernels, and adds the gradient of twice that. own >= 0: reference row own + i is row i
 * itself, which is left out unless the estimate is biased.
 */
static double block(mmd *w, const di_reference *ref, int k, int64_t first, int64_t n, int64_t own,
                    double factor, double lambda, float *dx)
{
    int64_t c = w->f.set.width, m = ref->n[k];
    const di_mmd_options *o = &w->opt;
    const float *x = w->x + first * c;
    double value = 0;

    di_row_centre(ref->x[k], m, c, w->mu, w->r);
    di_row_squares(w->r, m, c, w->rr);
    di_product(w->f.dev, x, n, c, w->r, m, 1, w->g, 0, w->work);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            float *g = w->g + i * m + j;
            int skipped = own >= 0 && j == own + i && !w->opt.biased;
            double d2 = di_row_distance(w->xx[first + i], w->rr[j], *g), slope = 0;

            if (!skipped)
                value += factor * di_rbf(o->scale, o->n_scales, (double)w->bandwidth, d2, &slope);
            *g = (float)(2 * factor * lambda * slope);
        }
    if (dx != NULL) di_row_pull(w->f.dev, w->g, x, n, w->r, m, c, dx + first * c, w->work);
    return value;
}

/* 1 over the pairs that count between n rows and m references of the same side. */
static double share(const mmd *w, int64_t n, int64_t m)
{
    int64_t others = w->opt.biased ? m : m - 1;

    return others > 0 ? 1 / ((double)n * (double)others) : 0;
}

static double rbf(mmd *w, const di_align_rows *rows, const di_reference *ref, double lambda,
                  float *dx)
{
    double loss = 0;

    centre(w, rows);
    for (int k = 0; k < DI_SIDES; k++) {
        int64_t first = di_side_first(rows, k), n = di_side_rows(rows, k);

        loss += block(w, ref, k, first, n, ref->own[k], share(w, n, ref->n[k]), lambda, dx);
        loss += block(w, ref, !k, first, n, -1, -1 / ((double)n * (double)ref->n[!k]), lambda, dx);
    }
    return loss;
}

/* wit(x) = x.g, g = mean of the others of its own side less the mean of the other side. */
static double linear(mmd *w, const di_align_rows *rows, const di_reference *ref, double lambda,
                     float *dx)
{
    int64_t c = w->f.set.width;
    double loss = 0;

    for (int k = 0; k < DI_SIDES; k++) di_row_mean(ref->x[k], ref->n[k], c, w->mean[k]);
    for (int k = 0; k < DI_SIDES; k++) {
        int64_t n = di_side_rows(rows, k), m = ref->n[k], at = di_side_first(rows, k) * c;
        double own_share = share(w, n, m), other_share = 1 / (double)n;

        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < c; j++) {
                double x = (double)rows->x[at + i * c + j];
                double own = (double)ref->x[k][(ref->own[k] + i) * c + j];
                double others = (double)m * w->mean[k][j] - (w->opt.biased ? 0 : own);
                double g = own_share * others - other_share * w->mean[!k][j];

                loss += x * g;
                if (dx != NULL) dx[at + i * c + j] += (float)(2 * lambda * g);
            }
    }
    return loss;
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    mmd *w = (mmd *)a;
    di_reference ref = di_queue_reference(&w->f.queue, rows);

    (void)dmargin;
    stats->w1 = NAN;
    stats->loss =
        w->opt.linear ? linear(w, rows, &ref, lambda, dx) : rbf(w, rows, &ref, lambda, dx);
}

static int tensors(di_align *a, di_align_tensor *out, int cap)
{
    mmd *w = (mmd *)a;
    int n = 0;

    if (cap > 0) out[n++] = (di_align_tensor){"mmd.bandwidth", &w->bandwidth, NULL, NULL, 1, 0};
    return n + di_queue_tensors(&w->f.queue, out + n, cap - n);
}

static const di_align_method method = {.name = "mmd",
                                       .fit = fit,
                                       .gradient = gradient,
                                       .tensors = tensors,
                                       .save = di_closed_save,
                                       .load = di_closed_load,
                                       .free = di_closed_free};

static void sort_down(double *v, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && v[j] > v[j - 1]; j--) {
            double t = v[j];

            v[j] = v[j - 1];
            v[j - 1] = t;
        }
}

dial_status di_mmd_new(di_device *dev, const di_align_setup *setup, const di_mmd_options *opt,
                       di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    mmd *w = di_closed_new(dev, setup, sizeof *w, &method, 1);
    int64_t n = setup->max_rows, c = setup->width, most = setup->queue + n;
    di_blocks *mem;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    mem = &w->f.mem;
    w->opt = *opt;
    sort_down(w->opt.scale, opt->n_scales);
    for (int k = 0; k < DI_SIDES; k++) w->mean[k] = di_blocks_doubles(mem, c);
    w->mu = di_blocks_doubles(mem, c);
    w->x = di_blocks_floats(mem, n * c);
    w->r = di_blocks_floats(mem, most * c);
    w->g = di_blocks_floats(mem, n * most);
    w->xx = di_blocks_doubles(mem, n);
    w->rr = di_blocks_doubles(mem, most);
    w->work = di_product_work(mem, dev, most, c);
    if (mem->failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare %lld rows with %lld", (long long)n,
                (long long)most);
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) di_closed_free(&w->f.base);
    return st;
}
