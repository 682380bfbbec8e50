/*
 * DeepJDOT on pair differences (Damodaran et al. 2018), method.md 8.2. Source rows have the label
 * l_i, +1 for chosen - rejected and -1 for the negated half; target rows have the margin m_j that
 * the model gives them:
 *
 *     c_ij     = a ||delta_i - delta_j||^2 + b softplus(-l_i m_j)
 *     L        = <P, c>,  P a plan of least cost, exact or entropic, held fixed
 *     ddelta_i = 2a sum_j P_ij (delta_i - delta_j)                 ddelta_j likewise
 *     dm_j     = -b sum_i P_ij l_i sigma(-l_i m_j)
 *
 * P and a, a share of 1/mean ||delta_i - delta_j||^2, are those of the last fit.
 */
#include "align/closed.h"
#include "align/transport.h"
#include "base/error.h"

typedef struct deepjdot {
    di_closed f;
    di_deepjdot_options opt;
    double a;
    double *mu;         /* [C] pooled mean */
    float *x;           /* [max_rows, C] about it */
    double *xx;         /* [max_rows] squares */
    float *g;           /* [most] inner products, then weights; most = largest n_s n_t */
    double *c, *turned; /* [most] costs */
    double *plan;       /* [n_s, n_t] of the last fit */
    double *u, *v, *scratch;
    void *exact, *work;
} deepjdot;

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static double label(const di_align_rows *rows, int64_t i)
{
    return 2 * i < rows->n_s ? 1 : -1;
}

/* c := ||delta_i - delta_j||^2; returns their mean. */
static double distances(deepjdot *w, const di_align_rows *rows)
{
    int64_t n = rows->n_s, m = rows->n_t, c = w->f.set.width;
    double sum = 0;

    di_row_mean(rows->x, n + m, c, w->mu);
    di_row_centre(rows->x, n + m, c, w->mu, w->x);
    di_row_squares(w->x, n + m, c, w->xx);
    di_product(w->f.dev, w->x, n, c, w->x + n * c, m, 1, w->g, 0, w->work);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            sum += w->c[i * m + j] = di_row_distance(w->xx[i], w->xx[n + j], w->g[i * m + j]);
    return sum / ((double)n * (double)m);
}

/* c from distances to costs; returns their mean. */
static double costs(deepjdot *w, const di_align_rows *rows)
{
    int64_t n = rows->n_s, m = rows->n_t;
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double l = w->opt.label * softplus(-label(rows, i) * (double)rows->margin[n + j]);

            w->c[i * m + j] = w->turned[j * n + i] = w->a * w->c[i * m + j] + l;
            sum += w->c[i * m + j];
        }
    return sum / ((double)n * (double)m);
}

static void fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    deepjdot *w = (deepjdot *)a;
    int64_t n = rows->n_s, m = rows->n_t;
    double mean = distances(w, rows);
    di_entropic how = {.rho = INFINITY,
                       .tol = w->opt.plan.tol,
                       .iterations = w->opt.plan.iterations,
                       .threads = w->f.dev->threads};

    w->a = mean > 0 ? w->opt.feature / mean : 0;
    mean = costs(w, rows);
    how.eps = w->opt.plan.eps * (mean > 0 ? mean : 1);
    if (w->opt.exact) {
        di_transport_exact(w->c, n, m, w->plan, w->exact);
    } else {
        di_transport_entropic(&how, w->c, w->turned, n, m, w->u, w->v, w->scratch);
        di_transport_plan(&how, w->c, n, m, w->u, w->v, w->plan);
    }
    di_closed_stats(stats);
}

/* Gradients of the rows: source rows by P, target rows by its transpose. */
static void send(deepjdot *w, const di_align_rows *rows, double lambda, float *dx)
{
    int64_t n = rows->n_s, m = rows->n_t, c = w->f.set.width;
    float *t = w->x + n * c;
    double scale = -2 * w->a * lambda;

    for (int64_t k = 0; k < n * m; k++) w->g[k] = (float)(scale * w->plan[k]);
    di_row_pull(w->f.dev, w->g, w->x, n, t, m, c, dx, w->work);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) w->g[j * n + i] = (float)(scale * w->plan[i * m + j]);
    di_row_pull(w->f.dev, w->g, t, m, w->x, n, c, dx + n * c, w->work);
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    deepjdot *w = (deepjdot *)a;
    int64_t n = rows->n_s, m = rows->n_t;

    stats->w1 = NAN;
    stats->loss = 0;
    distances(w, rows);
    costs(w, rows);
    for (int64_t k = 0; k < n * m; k++) stats->loss += w->plan[k] * w->c[k];
    if (dx == NULL) return;
    send(w, rows, lambda, dx);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double l = label(rows, i), p = lambda * w->opt.label * w->plan[i * m + j];

            dmargin[n + j] -= (float)(p * l * sigmoid(-l * (double)rows->margin[n + j]));
        }
}

static const di_align_method method = {
    .name = "deepjdot", .pairs = 1, .fit = fit, .gradient = gradient, .free = di_closed_free};

dial_status di_deepjdot_new(di_device *dev, const di_align_setup *setup,
                            const di_deepjdot_options *opt, di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    deepjdot *w = di_closed_new(dev, setup, sizeof *w, &method, 0);
    int64_t n = setup->max_rows, c = setup->width, most = n * n / 4 + 1;
    di_blocks *mem;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    mem = &w->f.mem;
    w->opt = *opt;
    w->mu = di_blocks_doubles(mem, c);
    w->x = di_blocks_floats(mem, n * c);
    w->xx = di_blocks_doubles(mem, n);
    w->g = di_blocks_floats(mem, most);
    w->c = di_blocks_doubles(mem, most);
    w->turned = di_blocks_doubles(mem, most);
    w->plan = di_blocks_doubles(mem, most);
    w->u = di_blocks_doubles(mem, n);
    w->v = di_blocks_doubles(mem, n);
    w->scratch = di_blocks_doubles(mem, n);
    w->exact = di_blocks_take(mem, di_transport_exact_words(n / 2 + 1, n / 2 + 1), sizeof(double));
    w->work = di_product_work(mem, dev, n, c);
    if (mem->failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a plan of %lld rows", (long long)n);
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) di_closed_free(&w->f.base);
    return st;
}
