#include "eval/mmd.h"

#include <math.h>
#include <string.h>

#include "align/closed.h"
#include "base/error.h"
#include "base/rng.h"

static const double scales[] = {0.25, 0.5, 1, 2, 4};
enum { N_SCALES = sizeof scales / sizeof *scales };

typedef struct work {
    const di_two_sets *x;
    int64_t rows, units, block;
    float *distance; /* (rows, rows) squared */
    float *half;     /* the distances of i < j, reordered by the median */
    float *k;        /* (units, units), diagonal 0 */
    double *row_sum; /* (units) of k */
    double *null;    /* (permutations) */
    int64_t *order;  /* (threads apart: permutations, units) */
} work;

static const float *row_of(const work *w, int64_t i)
{
    return i < w->x->n_s ? w->x->s + i * w->x->c : w->x->t + (i - w->x->n_s) * w->x->c;
}

static void distances(work *w)
{
#pragma omp parallel for schedule(dynamic, 8)
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t j = 0; j <= i; j++) {
            const float *a = row_of(w, i), *b = row_of(w, j);
            float sum = 0;

#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < w->x->c; k++) sum += (a[k] - b[k]) * (a[k] - b[k]);
            w->distance[i * w->rows + j] = w->distance[j * w->rows + i] = sum;
        }
}

/* Median of the distances between distinct rows. */
static double median_distance(work *w)
{
    int64_t n = 0;

    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t j = 0; j < i; j++) w->half[n++] = w->distance[i * w->rows + j];
    return di_median(w->half, n);
}

static void unit_kernel(work *w, double b0)
{
    double share = 1 / (double)(w->block * w->block);

#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t i = 0; i < w->units; i++)
        for (int64_t j = 0; j < i; j++) {
            double sum = 0;

            for (int64_t a = 0; a < w->block; a++)
                for (int64_t b = 0; b < w->block; b++)
                    for (int q = 0; q < N_SCALES; q++)
                        sum += exp(
                            -(double)w->distance[(i * w->block + a) * w->rows + j * w->block + b] /
                            (b0 * scales[q]));
            w->k[i * w->units + j] = w->k[j * w->units + i] = (float)(sum * share);
        }
    for (int64_t i = 0; i < w->units; i++) {
        w->k[i * w->units + i] = 0;
        w->row_sum[i] = 0;
        for (int64_t j = 0; j < w->units; j++) w->row_sum[i] += (double)w->k[i * w->units + j];
    }
}

/* MMD^2 where the first n_s units of `order` are the source. */
static double statistic(const work *w, const int64_t *order, int64_t n_s)
{
    double ss = 0, st = 0, total = 0, ns = (double)n_s, nt = (double)(w->units - n_s);

    for (int64_t i = 0; i < w->units; i++) total += w->row_sum[i];
    for (int64_t i = 0; i < n_s; i++) {
        const float *k = w->k + order[i] * w->units;
        double inside = 0;

        for (int64_t j = 0; j < n_s; j++) inside += (double)k[order[j]];
        ss += inside;
        st += w->row_sum[order[i]] - inside;
    }
    return ss / (ns * (ns - 1)) + (total - ss - 2 * st) / (nt * (nt - 1)) - 2 * st / (ns * nt);
}

static dial_status init(work *w, const di_alloc *al, int64_t permutations, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t rows = (size_t)w->rows, units = (size_t)w->units;

    w->distance = di_new_array(al, rows * rows, sizeof *w->distance);
    w->half = di_new_array(al, rows * rows / 2, sizeof *w->half);
    w->k = di_new_array(al, units * units, sizeof *w->k);
    w->row_sum = di_new_array(al, units, sizeof *w->row_sum);
    w->null = di_new_array(al, (size_t)permutations, sizeof *w->null);
    w->order = di_new_array(al, ((size_t)permutations + 1) * units, sizeof *w->order);
    if (!w->distance || !w->half || !w->k || !w->row_sum || !w->null || !w->order)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the kernel of %lld rows", (long long)w->rows);
done:
    return st;
}

dial_status di_mmd_test(const di_alloc *al, const di_two_sets *x, int64_t block,
                        int64_t permutations, uint64_t seed, di_mmd_result *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    work w = {.x = x, .rows = x->n_s + x->n_t, .block = block};
    int64_t n_s = x->n_s / block, above = 0;
    double b0, found;

    w.units = w.rows / block;
    if (n_s < 2 || w.units - n_s < 2)
        DI_FAIL(err, DIAL_ERR_USAGE,
                "a two-sample test needs 2 units a domain, found %lld and %lld", (long long)n_s,
                (long long)(w.units - n_s));
    DI_TRY(init(&w, al, permutations, err));
    distances(&w);
    b0 = median_distance(&w);
    if (!(b0 > 0) || !isfinite(b0))
        DI_FAIL(err, DIAL_ERR_NUMERIC, "the median distance between rows is %g", b0);
    unit_kernel(&w, b0);
    for (int64_t i = 0; i < w.units; i++) w.order[i] = i;
    found = statistic(&w, w.order, n_s);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < permutations; k++) {
        int64_t *order = w.order + (k + 1) * w.units;
        di_rng r = di_rng_make(seed, DI_RNG_SELECT, (uint32_t)(1000 + k));

        for (int64_t i = 0; i < w.units; i++) order[i] = i;
        di_rng_shuffle(&r, order, w.units);
        w.null[k] = statistic(&w, order, n_s);
    }
    for (int64_t k = 0; k < permutations; k++) above += w.null[k] >= found;
    *out = (di_mmd_result){found, (double)(1 + above) / (double)(1 + permutations)};
done:
    di_free(al, w.distance);
    di_free(al, w.half);
    di_free(al, w.k);
    di_free(al, w.row_sum);
    di_free(al, w.null);
    di_free(al, w.order);
    return st;
}
