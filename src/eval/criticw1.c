#include "eval/criticw1.h"

#include <math.h>
#include <string.h>

#include "align/align.h"
#include "base/error.h"
#include "base/rng.h"
#include "eval/pca.h"
#include "eval/rows.h"

enum { COMPONENTS = 64, HIDDEN = 64, MAX_TENSORS = 8, POWER_STEPS = 200 };
static const double gelu_slope = 1.1290; /* max of GELU' (method.md 2.6) */

di_w1_options di_w1_options_default(void)
{
    return (di_w1_options){
        .kind = DI_W1_PENALTY, .block = 2, .inits = 3, .steps = 200, .batch = 64};
}

typedef struct work {
    di_device *dev;
    const di_w1_options *opt;
    const float *y;                /* (rows, k) coordinates, source first */
    int64_t k, n_s, n;             /* units: source, all */
    const int32_t *fold;           /* (n) */
    int64_t *train[2], n_train[2]; /* units to fit on, by domain */
    float *e, *de;                 /* rows of a batch, or of the held-out units */
    int64_t max_rows;
    double *power; /* vectors of the power iteration: HIDDEN + COMPONENTS */
} work;

/* Largest singular value of w (rows, cols); v (cols) is kept between calls and sharpens. */
static double spectral_norm(const float *w, int64_t rows, int64_t cols, double *u, double *v,
                            int steps)
{
    double norm = 0;

    for (int s = 0; s < steps; s++) {
        double uu = 0, vv = 0;

        for (int64_t i = 0; i < rows; i++) {
            u[i] = 0;
            for (int64_t j = 0; j < cols; j++) u[i] += (double)w[i * cols + j] * v[j];
            uu += u[i] * u[i];
        }
        for (int64_t j = 0; j < cols; j++) v[j] = 0;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                v[j] += (double)w[i * cols + j] * u[i] / sqrt(fmax(uu, 1e-300));
        for (int64_t j = 0; j < cols; j++) vv += v[j] * v[j];
        norm = sqrt(vv);
        for (int64_t j = 0; j < cols; j++) v[j] /= fmax(norm, 1e-300);
    }
    return norm;
}

/* Product of the layers' spectral norms; project: first scales each down to norm 1. */
static double slope_bound(work *w, di_align *a, int project, int steps)
{
    di_align_tensor t[MAX_TENSORS];
    int n = a->method->tensors(a, t, MAX_TENSORS), layer = 0;
    double product = 1;

    for (int i = 0; i < n; i++) {
        double norm, *v;

        if (t[i].cols == 0) continue;
        v = w->power + HIDDEN + layer++ * (COMPONENTS + HIDDEN);
        norm = spectral_norm(t[i].theta, t[i].rows, t[i].cols, w->power, v, steps);
        if (project && norm > 1) {
            for (int64_t j = 0; j < t[i].rows * t[i].cols; j++)
                t[i].theta[j] = (float)((double)t[i].theta[j] / norm);
            norm = 1;
        }
        product *= norm;
    }
    return product;
}

/*
 * Hidden biases of size 1: GELU bends inside the data from the first step on. Under a spectral norm
 * they start around sqrt 2, where GELU is steepest: at 0 two layers have slope 1/4, and a bounded
 * critic takes thousands of steps to leave that (measured: a quarter of the distance after 800).
 */
static void spread_biases(di_align *a, di_w1_kind kind, uint64_t seed)
{
    double centre = kind == DI_W1_SPECTRAL ? sqrt(2) : 0, sd = kind == DI_W1_SPECTRAL ? 0.5 : 1;
    di_align_tensor t[MAX_TENSORS];
    int n = a->method->tensors(a, t, MAX_TENSORS);
    di_rng r = di_rng_make(seed, DI_RNG_SELECT, 1);

    for (int i = 0; i + 1 < n; i++)
        if (t[i].cols == 0)
            for (int64_t j = 0; j < t[i].rows; j++)
                t[i].theta[j] = (float)(centre + sd * di_rng_normal(&r));
}

/* Rows of `count` units into w->e from row `at` on. */
static int64_t gather(work *w, const int64_t *unit, int64_t count, int64_t at)
{
    int64_t size = w->opt->block * w->k;

    for (int64_t i = 0; i < count; i++)
        memcpy(w->e + at * w->k + i * size, w->y + unit[i] * size, (size_t)size * sizeof *w->e);
    return count * w->opt->block;
}

static void fit(work *w, di_align *a, uint64_t seed)
{
    di_rng r = di_rng_make(seed, DI_RNG_SELECT, 2);
    di_align_stats stats;
    int64_t rows[2];

    for (int64_t step = 0; step < w->opt->steps; step++) {
        for (int d = 0; d < 2; d++) { /* the first units of a fresh shuffle */
            int64_t n = w->n_train[d] < w->opt->batch ? w->n_train[d] : w->opt->batch;

            for (int64_t i = 0; i < n; i++) {
                int64_t j = i + (int64_t)di_rng_below(&r, (uint64_t)(w->n_train[d] - i));
                int64_t unit = w->train[d][i];

                w->train[d][i] = w->train[d][j];
                w->train[d][j] = unit;
            }
            rows[d] = gather(w, w->train[d], n, d == 0 ? 0 : rows[0]);
        }
        a->method->fit(a, &(di_align_rows){w->e, rows[0], rows[1], NULL}, &stats);
        if (w->opt->kind == DI_W1_SPECTRAL) slope_bound(w, a, 1, 1);
    }
}

/* Largest slope at the rows of w->e: the gradient of the gap holds +-q_i / n. */
static double largest_slope(work *w, di_align *a, const int64_t rows[2])
{
    di_align_stats stats;
    double slope = 0;

    memset(w->de, 0, (size_t)((rows[0] + rows[1]) * w->k) * sizeof *w->de);
    a->method->gradient(a, &(di_align_rows){w->e, rows[0], rows[1], NULL}, 1, w->de, NULL, &stats);
    for (int64_t i = 0; i < rows[0] + rows[1]; i++) {
        double q = 0, n = (double)rows[i >= rows[0]];

        for (int64_t j = 0; j < w->k; j++)
            q += (double)w->de[i * w->k + j] * (double)w->de[i * w->k + j];
        slope = fmax(slope, sqrt(q) * n);
    }
    return slope;
}

/* Moves each row part of the way to a row of the other domain. */
static void interpolate(work *w, const int64_t rows[2], uint64_t seed)
{
    di_rng r = di_rng_make(seed, DI_RNG_SELECT, 5);

    for (int64_t i = 0; i < rows[0] + rows[1]; i++) {
        int64_t to = i < rows[0] ? rows[0] + (int64_t)di_rng_below(&r, (uint64_t)rows[1])
                                 : (int64_t)di_rng_below(&r, (uint64_t)rows[0]);
        float alpha = (float)di_rng_uniform(&r);

        for (int64_t j = 0; j < w->k; j++)
            w->e[i * w->k + j] += alpha * (w->e[to * w->k + j] - w->e[i * w->k + j]);
    }
}

/* Held-out gap over the slope: the largest seen at held-out rows and between them, or the bound. */
static double judge(work *w, di_align *a, int32_t held, uint64_t seed)
{
    int64_t rows[2] = {0, 0};
    di_align_stats stats;
    double slope;

    for (int64_t i = 0; i < w->n; i++)
        if (w->fold[i] == held) {
            int d = i >= w->n_s;

            rows[d] += gather(w, &i, 1, rows[0] + (d ? rows[1] : 0));
        }
    a->method->gradient(a, &(di_align_rows){w->e, rows[0], rows[1], NULL}, 1, NULL, NULL, &stats);
    if (w->opt->kind == DI_W1_SPECTRAL)
        return stats.w1 / (gelu_slope * gelu_slope * slope_bound(w, a, 0, POWER_STEPS));
    slope = largest_slope(w, a, rows);
    interpolate(w, rows, seed);
    slope = fmax(slope, largest_slope(w, a, rows));
    return slope > 0 ? stats.w1 / slope : 0;
}

static dial_status one_critic(work *w, int32_t held, int init, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int penalty = w->opt->kind == DI_W1_PENALTY;
    uint64_t seed = w->opt->seed * 64 + (uint64_t)(8 * held + init);
    di_wasserstein_options o = {.width = w->k,
                                .max_rows = w->max_rows,
                                .hidden = {HIDDEN, HIDDEN},
                                .n_hidden = 2,
                                .act = DI_CRITIC_GELU,
                                .gp_kind = DI_GP_ONE_SIDED,
                                .gp = penalty ? 10 : 0,
                                .iters = 1,
                                .lr = 3e-3,
                                .seed = seed};
    di_align *a = NULL;

    DI_TRY(di_wasserstein_new(w->dev, &o, &a, err));
    spread_biases(a, w->opt->kind, seed);
    for (int i = 0; i < HIDDEN + 3 * (COMPONENTS + HIDDEN); i++)
        w->power[i] = 1 + 0.1 * (i % 7); /* meets every direction that matters */
    fit(w, a, seed);
    *out = judge(w, a, held, seed);
    if (!isfinite(*out)) DI_FAIL(err, DIAL_ERR_NUMERIC, "a fresh critic's gap is not finite");
done:
    if (a != NULL) a->method->free(a);
    return st;
}

/* Leading components of both domains, scaled to unit variance in the mean; *scale undoes that. */
static dial_status coordinates(const di_alloc *al, const di_two_sets *x, int64_t k, float *y,
                               double *scale, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = x->n_s + x->n_t, c = x->c;
    float *both = di_new_array(al, (size_t)(n * c), sizeof *both);

    if (both == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a fresh critic");
    memcpy(both, x->s, (size_t)(x->n_s * c) * sizeof *both);
    memcpy(both + x->n_s * c, x->t, (size_t)(x->n_t * c) * sizeof *both);
    DI_TRY(di_pca(al, both, n, c, k, y, NULL, NULL, err));
    *scale = di_rms_norm(y, n, k) / sqrt((double)k);
    if (!(*scale > 0)) *scale = 1; /* all rows are equal: the gap is 0 */
    for (int64_t i = 0; i < n * k; i++) y[i] = (float)((double)y[i] / *scale);
done:
    di_free(al, both);
    return st;
}

static dial_status split(work *w, int32_t held, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t held_out[2] = {0, 0};

    w->n_train[0] = w->n_train[1] = 0;
    for (int64_t i = 0; i < w->n; i++) {
        int d = i >= w->n_s;

        if (w->fold[i] == held)
            held_out[d]++;
        else
            w->train[d][w->n_train[d]++] = i;
    }
    if (w->n_train[0] < 1 || w->n_train[1] < 1 || held_out[0] < 1 || held_out[1] < 1)
        DI_FAIL(err, DIAL_ERR_USAGE, "a fresh critic needs 2 units a domain, found %lld and %lld",
                (long long)w->n_s, (long long)(w->n - w->n_s));
done:
    return st;
}

dial_status di_critic_w1(di_device *dev, const di_two_sets *x, const int32_t *fold_s,
                         const int32_t *fold_t, const di_w1_options *opt, double *out,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = dev->al;
    di_device alone = *dev; /* products this small are over before a second thread wakes up */
    int64_t n_s = x->n_s / opt->block, n = (x->n_s + x->n_t) / opt->block;
    work w = {.dev = &alone,
              .opt = opt,
              .n_s = n_s,
              .n = n,
              .max_rows = n * opt->block,
              .k = x->c < COMPONENTS ? x->c : COMPONENTS};
    float *y = di_new_array(al, (size_t)(w.max_rows * w.k), 3 * sizeof *y);
    int64_t *unit = di_new_array(al, (size_t)n, 2 * sizeof *unit);
    int32_t *fold = di_new_array(al, (size_t)n, sizeof *fold);
    double sum = 0, one, scale = 1;

    alone.threads = 1;
    w.power = di_new_array(al, HIDDEN + 3 * (COMPONENTS + HIDDEN), sizeof *w.power);
    if (y == NULL || unit == NULL || fold == NULL || w.power == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a fresh critic");
    w.y = y;
    w.e = y + w.max_rows * w.k;
    w.de = w.e + w.max_rows * w.k;
    w.train[0] = unit;
    w.train[1] = unit + n;
    w.fold = fold;
    memcpy(fold, fold_s, (size_t)n_s * sizeof *fold);
    memcpy(fold + n_s, fold_t, (size_t)(n - n_s) * sizeof *fold);
    DI_TRY(coordinates(al, x, w.k, y, &scale, err));
    for (int32_t held = 0; held < 2; held++) {
        DI_TRY(split(&w, held, err));
        for (int init = 0; init < opt->inits; init++) {
            DI_TRY(one_critic(&w, held, init, &one, err));
            sum += one;
        }
    }
    *out = scale * sum / (2 * opt->inits);
done:
    di_free(al, y);
    di_free(al, unit);
    di_free(al, fold);
    di_free(al, w.power);
    return st;
}

dial_status di_critic_w1_null(di_device *dev, const float *s, int64_t n_s, int64_t c,
                              const di_w1_options *opt, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = dev->al;
    int64_t units = n_s / opt->block, half = units / 2, size = opt->block * c;
    int32_t *fold = di_new_array(al, (size_t)units, sizeof *fold);
    int64_t *order = di_new_array(al, (size_t)units, sizeof *order);
    float *rows = di_new_array(al, (size_t)(n_s * c), sizeof *rows);
    di_rng r = di_rng_make(opt->seed, DI_RNG_SELECT, 3);
    di_two_sets x = {rows, NULL, half * opt->block, (units - half) * opt->block, c};

    if (fold == NULL || order == NULL || rows == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a fresh critic");
    for (int64_t i = 0; i < units; i++) order[i] = i;
    di_rng_shuffle(&r, order, units);
    for (int64_t i = 0; i < units; i++) {
        memcpy(rows + i * size, s + order[i] * size, (size_t)size * sizeof *rows);
        fold[i] = (int32_t)((i < half ? i : i - half) % 2);
    }
    x.t = rows + half * size;
    DI_TRY(di_critic_w1(dev, &x, fold, fold + half, opt, out, err));
done:
    di_free(al, fold);
    di_free(al, order);
    di_free(al, rows);
    return st;
}
