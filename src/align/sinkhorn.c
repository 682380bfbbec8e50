/*
 * Sinkhorn divergence (Feydy et al. 2019), method.md 8.2 and 8.9: entropic transport with its bias
 * taken off, so that equal sets give 0. Costs c_ij = ||x_i - y_j||^2/2:
 *
 *     S    = OT(s, t) - OT(s, s)/2 - OT(t, t)/2
 *     ds_i = sum_j P_ij (s_i - t_j) - sum_k Pss_ik (s_i - s_k)          dt_j likewise
 *
 * The gradient is that of converged potentials (envelope theorem). eps and, unbalanced, rho are
 * shares of the mean cost between the sides, fixed by each fit. Unbalanced, rows of one side far
 * from all of the other lose mass instead of being dragged there; the divergence's term in the
 * difference of total masses is 0, as both are 1.
 */
#include "align/closed.h"
#include "align/transport.h"
#include "base/error.h"

typedef struct sinkhorn {
    di_closed f;
    di_sinkhorn_options opt;
    di_entropic how;
    double *mu;              /* [C] pooled mean */
    float *x;                /* [max_rows, C] about it */
    double *xx;              /* [max_rows] squares */
    float *g;                /* [most] inner products, then weights; most = (max_rows)^2 */
    double *c, *turned;      /* [most] costs */
    double *u, *v, *scratch; /* [max_rows] potentials */
    void *work;
} sinkhorn;

static void centre(sinkhorn *w, const di_align_rows *rows)
{
    int64_t n = rows->n_s + rows->n_t, c = w->f.set.width;

    di_row_mean(rows->x, n, c, w->mu);
    di_row_centre(rows->x, n, c, w->mu, w->x);
    di_row_squares(w->x, n, c, w->xx);
}

/* c [n, m] between rows of the step from `a` and from `b` on, and its transpose; their mean. */
static double costs(sinkhorn *w, int64_t a, int64_t n, int64_t b, int64_t m)
{
    int64_t c = w->f.set.width;
    double sum = 0;

    di_product(w->f.dev, w->x + a * c, n, c, w->x + b * c, m, 1, w->g, 0, w->work);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double d2 = di_row_distance(w->xx[a + i], w->xx[b + j], w->g[i * m + j]);

            w->c[i * m + j] = w->turned[j * n + i] = d2 / 2;
            sum += d2 / 2;
        }
    return sum / ((double)n * (double)m);
}

static void fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    sinkhorn *w = (sinkhorn *)a;
    double mean;

    centre(w, rows);
    mean = costs(w, 0, rows->n_s, rows->n_s, rows->n_t);
    w->how.eps = w->opt.eps * (mean > 0 ? mean : 1);
    w->how.rho = w->opt.rho * (mean > 0 ? mean : 1);
    di_closed_stats(stats);
}

/* dx of the n rows from `a` on += scale sum_j P_ij (x_i - x_{b+j}). */
static void send(sinkhorn *w, const double *plan, int64_t a, int64_t n, int64_t b, int64_t m,
                 double scale, float *dx)
{
    int64_t c = w->f.set.width;

    for (int64_t k = 0; k < n * m; k++) w->g[k] = (float)(-scale * plan[k]);
    di_row_pull(w->f.dev, w->g, w->x + a * c, n, w->x + b * c, m, c, dx + a * c, w->work);
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    sinkhorn *w = (sinkhorn *)a;
    int64_t n = rows->n_s, m = rows->n_t;

    (void)dmargin;
    stats->w1 = NAN;
    centre(w, rows);
    costs(w, 0, n, n, m);
    stats->loss = di_transport_entropic(&w->how, w->c, w->turned, n, m, w->u, w->v, w->scratch);
    if (dx != NULL) {
        di_transport_plan(&w->how, w->c, n, m, w->u, w->v, w->c);
        di_transport_plan(&w->how, w->turned, m, n, w->v, w->u, w->turned);
        send(w, w->c, 0, n, n, m, lambda, dx);
        send(w, w->turned, n, m, 0, n, lambda, dx);
    }
    for (int k = 0; k < DI_SIDES; k++) {
        int64_t first = di_side_first(rows, k), own = di_side_rows(rows, k);

        costs(w, first, own, first, own);
        stats->loss -= di_transport_self(&w->how, w->c, own, w->u, w->scratch) / 2;
        if (dx == NULL) continue;
        di_transport_plan(&w->how, w->c, own, own, w->u, w->u, w->c);
        send(w, w->c, first, own, first, own, -lambda, dx);
    }
}

static const di_align_method method = {
    .name = "sinkhorn", .fit = fit, .gradient = gradient, .free = di_closed_free};

dial_status di_sinkhorn_new(di_device *dev, const di_align_setup *setup,
                            const di_sinkhorn_options *opt, di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    sinkhorn *w = di_closed_new(dev, setup, sizeof *w, &method, 0);
    int64_t n = setup->max_rows, c = setup->width;
    di_blocks *mem;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    mem = &w->f.mem;
    w->opt = *opt;
    w->how = (di_entropic){.eps = 1,
                           .rho = INFINITY,
                           .tol = opt->tol,
                           .iterations = opt->iterations,
                           .threads = dev->threads};
    w->mu = di_blocks_doubles(mem, c);
    w->x = di_blocks_floats(mem, n * c);
    w->xx = di_blocks_doubles(mem, n);
    w->g = di_blocks_floats(mem, n * n);
    w->c = di_blocks_doubles(mem, n * n);
    w->turned = di_blocks_doubles(mem, n * n);
    w->u = di_blocks_doubles(mem, n);
    w->v = di_blocks_doubles(mem, n);
    w->scratch = di_blocks_doubles(mem, n);
    w->work = di_product_work(mem, dev, n, c);
    if (mem->failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a plan of %lld rows", (long long)n);
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) di_closed_free(&w->f.base);
    return st;
}
