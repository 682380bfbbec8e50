/*
 * Contrast between pair differences (method.md 8.2). a_i: unit source differences, chosen less
 * rejected; z_j: unit target differences; o_j = tanh(m_j/2), the vote on pair j, held constant, has
 * a side s_j = sign o_j and a weight u_j = |o_j|. With c_ij = s_j a_i.z_j/tau:
 *
 *     P_i = log sum_j u_j exp(c_ij)         N_i = log sum_j u_j exp(-c_ij)
 *     L   = mean_i softplus(N_i - P_i)
 *     dc_ij = -(h_i/M)(u_j exp(c_ij - P_i) + u_j exp(-c_ij - N_i)),     h_i = sigma(N_i - P_i)
 *     da_i = sum_j dc_ij s_j z_j/tau       dz_j = sum_i dc_ij s_j a_i/tau
 *     ddelta = (da - a (a.da))/||delta||
 *
 * The only negatives are exact opposites, so none is false beside a wrong s_j. No vote, no loss.
 * Rows carry each difference and its negation; the first half of a side is used.
 */
#include "align/closed.h"
#include "base/error.h"

typedef struct contrastive {
    di_closed f;
    di_contrastive_options opt;
    float *x, *dx; /* [max_rows/2, C] unit rows, source first; their gradients */
    double *norm;  /* [max_rows/2] */
    double *o;     /* [max_rows/2] votes */
    float *g;      /* [n, m] inner products, then dc s/tau */
    float *turned; /* [m, n] the same */
    void *work;
} contrastive;

/* The first halves as unit rows; a difference of 0 stays 0. */
static void unit_rows(contrastive *w, const di_align_rows *rows)
{
    int64_t n = rows->n_s / 2, m = rows->n_t / 2, c = w->f.set.width;

    for (int64_t i = 0; i < n + m; i++) {
        const float *x = rows->x + (i < n ? i : rows->n_s + i - n) * c;
        double norm = sqrt(di_row_dot(x, x, c));

        w->norm[i] = norm;
        for (int64_t j = 0; j < c; j++)
            w->x[i * c + j] = norm > 0 ? (float)((double)x[j] / norm) : 0;
    }
}

/* log sum_j u_j exp(sign c_ij) of a row. */
static double log_sum(const float *c, const double *o, int64_t m, double scale, double sign)
{
    double top = -INFINITY, sum = 0;

    for (int64_t j = 0; j < m; j++)
        top = fmax(top, sign * scale * copysign(1, o[j]) * (double)c[j]);
    for (int64_t j = 0; j < m; j++)
        sum += fabs(o[j]) * exp(sign * scale * copysign(1, o[j]) * (double)c[j] - top);
    return top + log(sum);
}

/* Loss of row i; its inner products become dL/d(a_i.z_j). */
static double row_loss(const contrastive *w, float *g, int64_t n, int64_t m)
{
    double scale = 1 / w->opt.temperature;
    double p = log_sum(g, w->o, m, scale, 1), q = log_sum(g, w->o, m, scale, -1), x = q - p;
    double h = x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));

    for (int64_t j = 0; j < m; j++) {
        double s = copysign(1, w->o[j]), u = fabs(w->o[j]), c = scale * s * (double)g[j];

        g[j] = (float)(-h / (double)n * u * (exp(c - p) + exp(-c - q)) * s * scale);
    }
    return (fmax(x, 0) + log1p(exp(-fabs(x)))) / (double)n;
}

/* Through the norm: ddelta = (da - a (a.da))/||delta||, for row i of both halves. */
static void through_norm(const contrastive *w, int64_t i, double lambda, float *dx)
{
    int64_t c = w->f.set.width;
    const float *a = w->x + i * c, *da = w->dx + i * c;
    double along = di_row_dot(a, da, c);

    for (int64_t j = 0; j < c && w->norm[i] > 0; j++)
        dx[j] += (float)(lambda * ((double)da[j] - (double)a[j] * along) / w->norm[i]);
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    contrastive *w = (contrastive *)a;
    int64_t n = rows->n_s / 2, m = rows->n_t / 2, c = w->f.set.width;
    double votes = 0;

    (void)dmargin; /* votes are constants */
    stats->w1 = NAN;
    stats->loss = 0;
    for (int64_t j = 0; j < m; j++) {
        w->o[j] = tanh((double)rows->margin[rows->n_s + j] / 2);
        votes += fabs(w->o[j]);
    }
    if (votes < 1e-6) return;
    unit_rows(w, rows);
    di_product(w->f.dev, w->x, n, c, w->x + n * c, m, 1, w->g, 0, w->work);
    for (int64_t i = 0; i < n; i++) stats->loss += row_loss(w, w->g + i * m, n, m);
    if (dx == NULL) return;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) w->turned[j * n + i] = w->g[i * m + j];
    di_product(w->f.dev, w->g, n, m, w->x + n * c, c, 0, w->dx, 0, w->work);
    di_product(w->f.dev, w->turned, m, n, w->x, c, 0, w->dx + n * c, 0, w->work);
    for (int64_t i = 0; i < n + m; i++)
        through_norm(w, i, lambda, dx + (i < n ? i : rows->n_s + i - n) * c);
}

static const di_align_method method = {
    .name = "contrastive", .pairs = 1, .gradient = gradient, .free = di_closed_free};

dial_status di_contrastive_new(di_device *dev, const di_align_setup *setup,
                               const di_contrastive_options *opt, di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    contrastive *w = di_closed_new(dev, setup, sizeof *w, &method, 0);
    int64_t n = setup->max_rows / 2 + 1, c = setup->width;
    di_blocks *mem;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    mem = &w->f.mem;
    w->opt = *opt;
    w->x = di_blocks_floats(mem, n * c);
    w->dx = di_blocks_floats(mem, n * c);
    w->norm = di_blocks_doubles(mem, n);
    w->o = di_blocks_doubles(mem, n);
    w->g = di_blocks_floats(mem, n * n / 4 + 1);
    w->turned = di_blocks_floats(mem, n * n / 4 + 1);
    w->work = di_product_work(mem, dev, n, c);
    if (mem->failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to contrast %lld differences", (long long)n);
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) di_closed_free(&w->f.base);
    return st;
}
