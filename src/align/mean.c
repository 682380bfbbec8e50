/*
 * Distance of the means, in the three forms of method.md 8.2. With a = ||ms - mt||:
 *
 *     square   f(a) = a^2             ds_i = 2 (ms - mt)/n_s
 *     root     f(a) = a               ds_i = (ms - mt)/(n_s a)
 *     critic   f(a) = a + a^2/(4 l)   ds_i = (1 + a/(2 l)) (ms - mt)/(n_s a)
 *
 * and dt_j the same with -1/n_t. `critic` is what a linear critic with penalty weight l converges
 * to (method.md 2.10), without the noise of following it. With a queue ms and mt are its means.
 */
#include "align/closed.h"
#include "base/error.h"

typedef struct mean {
    di_closed f;
    di_mean_options opt;
    double *mu[DI_SIDES]; /* [C] */
} mean;

/* f(a), and f'(a)/a into *slope: the factor of ms - mt. 0 where means agree. */
static double value(const di_mean_options *opt, double a, double *slope)
{
    double l = opt->gp;

    if (opt->form == DI_MEAN_SQUARE) {
        *slope = 2;
        return a * a;
    }
    *slope = a > 0 ? 1 / a : 0;
    if (opt->form == DI_MEAN_ROOT) return a;
    *slope *= 1 + a / (2 * l);
    return a + a * a / (4 * l);
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    mean *m = (mean *)a;
    int64_t c = m->f.set.width;
    di_reference ref = di_queue_reference(&m->f.queue, rows);
    const double *mu[DI_SIDES] = {m->mu[DI_SOURCE], m->mu[DI_TARGET]};
    double slope;

    (void)dmargin;
    for (int k = 0; k < DI_SIDES; k++) di_row_mean(ref.x[k], ref.n[k], c, m->mu[k]);
    stats->loss = value(&m->opt, sqrt(di_means_apart(mu, c)), &slope);
    stats->w1 = NAN;
    if (dx != NULL) di_means_push(rows, mu, c, lambda * slope, dx);
}

static const di_align_method method = {.name = "mean",
                                       .fit = di_closed_fit,
                                       .gradient = gradient,
                                       .tensors = di_closed_tensors,
                                       .save = di_closed_save,
                                       .load = di_closed_load,
                                       .free = di_closed_free};

dial_status di_mean_new(di_device *dev, const di_align_setup *setup, const di_mean_options *opt,
                        di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    mean *m = di_closed_new(dev, setup, sizeof *m, &method, 1);

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    m->opt = *opt;
    for (int k = 0; k < DI_SIDES; k++) m->mu[k] = di_blocks_doubles(&m->f.mem, setup->width);
    if (m->f.mem.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare means");
    *out = &m->f.base;
    m = NULL;
done:
    if (m != NULL) di_closed_free(&m->f.base);
    return st;
}
