/*
 * Central moment discrepancy (Zellinger et al. 2017, arXiv 1702.08811), method.md 8.2. Rows are
 * squashed by tanh into (-1, 1), a range of 2; with x their values, m the mean of a side's
 * reference and c_k the mean of (x - m)^k by coordinate, c_1 = 0:
 *
 *     L    = ||m_s - m_t||/2 + sum_{k=2..K} ||c_k(s) - c_k(t)||/2^k
 *     ds_i = (v_1/2 + sum_k (k/2^k) v_k .* ((x_i - m)^(k-1) - c_{k-1}(s)))/n_s .* (1 - x_i^2)
 *     v_k  = (c_k(s) - c_k(t))/||.||,  0 where they agree;     dt_j likewise with the sign turned
 *
 * Rows of norm 1 are first multiplied by the gain (methods.h), and L is divided by it: squashed as
 * they are they would keep to the middle of the range, where higher moments vanish beside the mean.
 * A queue holds squashed rows.
 */
#include "align/closed.h"

#include <string.h>

#include "base/error.h"

typedef struct cmd {
    di_closed f;
    di_cmd_options opt;
    float *x;                                         /* [max_rows, C] squashed */
    double *moment[DI_SIDES][DI_CMD_MAX_MOMENTS + 1]; /* [C]: [1] the mean, [k] c_k */
    double *v[DI_CMD_MAX_MOMENTS + 1];                /* [C] times k/2^k, 1/2 for the mean */
} cmd;

/* The step's rows, squashed. */
static di_align_rows squash(cmd *w, const di_align_rows *rows)
{
    int64_t n = (rows->n_s + rows->n_t) * w->f.set.width;
    double gain = di_gain(&w->f);

    for (int64_t i = 0; i < n; i++) w->x[i] = (float)tanh(gain * (double)rows->x[i]);
    return (di_align_rows){w->x, rows->n_s, rows->n_t, NULL};
}

static void fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    di_align_rows squashed = squash((cmd *)a, rows);

    di_closed_fit(a, &squashed, stats);
}

/* Mean and central moments of x [n, C]. */
static void moments(const cmd *w, const float *x, int64_t n, double *const *out)
{
    int64_t c = w->f.set.width;

    di_row_mean(x, n, c, out[1]);
    for (int k = 2; k <= w->opt.moments; k++) memset(out[k], 0, (size_t)c * sizeof(double));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            double d = (double)x[i * c + j] - out[1][j], power = d;

            for (int k = 2; k <= w->opt.moments; k++) out[k][j] += (power *= d) / (double)n;
        }
}

/* L, and v_k with its factor. */
static double compare(const cmd *w)
{
    double loss = 0;

    for (int k = 1; k <= w->opt.moments; k++) {
        double square = 0, norm;

        for (int64_t j = 0; j < w->f.set.width; j++) {
            double d = w->moment[DI_SOURCE][k][j] - w->moment[DI_TARGET][k][j];

            w->v[k][j] = d;
            square += d * d;
        }
        norm = sqrt(square);
        loss += ldexp(norm, -k);
        for (int64_t j = 0; j < w->f.set.width; j++)
            w->v[k][j] *= norm > 0 ? k * ldexp(1 / norm, -k) : 0;
    }
    return loss;
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    cmd *w = (cmd *)a;
    int64_t c = w->f.set.width;
    di_align_rows squashed = squash(w, rows);
    di_reference ref = di_queue_reference(&w->f.queue, &squashed);

    (void)dmargin;
    for (int side = 0; side < DI_SIDES; side++)
        moments(w, ref.x[side], ref.n[side], w->moment[side]);
    stats->w1 = NAN;
    stats->loss = compare(w) / di_gain(&w->f); /* and in dx the two factors cancel */
    for (int64_t i = 0; dx != NULL && i < rows->n_s + rows->n_t; i++) {
        int side = i < rows->n_s ? DI_SOURCE : DI_TARGET;
        double factor =
            side == DI_SOURCE ? lambda / (double)rows->n_s : -lambda / (double)rows->n_t;

        for (int64_t j = 0; j < c; j++) {
            double x = (double)w->x[i * c + j], d = x - w->moment[side][1][j], power = 1;
            double sum = w->v[1][j];

            for (int k = 2; k <= w->opt.moments; k++) {
                power *= d;
                sum += w->v[k][j] * (power - (k > 2 ? w->moment[side][k - 1][j] : 0));
            }
            dx[i * c + j] += (float)(factor * sum * (1 - x * x));
        }
    }
}

static const di_align_method method = {.name = "cmd",
                                       .fit = fit,
                                       .gradient = gradient,
                                       .tensors = di_closed_tensors,
                                       .save = di_closed_save,
                                       .load = di_closed_load,
                                       .free = di_closed_free};

dial_status di_cmd_new(di_device *dev, const di_align_setup *setup, const di_cmd_options *opt,
                       di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    cmd *w = di_closed_new(dev, setup, sizeof *w, &method, 1);
    int64_t c = setup->width;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    w->opt = *opt;
    w->x = di_blocks_floats(&w->f.mem, setup->max_rows * c);
    for (int k = 1; k <= opt->moments; k++) {
        w->v[k] = di_blocks_doubles(&w->f.mem, c);
        for (int side = 0; side < DI_SIDES; side++)
            w->moment[side][k] = di_blocks_doubles(&w->f.mem, c);
    }
    if (w->f.mem.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the moments");
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) di_closed_free(&w->f.base);
    return st;
}
