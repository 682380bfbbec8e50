/*
 * Sliced Wasserstein-2 distance, squared (Lee et al. 2019, arXiv 1903.04064), method.md 8.2. On a
 * line the optimal plan joins equal ranks. With P unit directions th_p, a and b the sorted
 * projections of a side, and the quantile grids i/n_s, j/n_t merged into pieces of mass u:
 *
 *     L = (1/P) sum_p sum_pieces u (a_i - b_j)^2
 *     the row that holds rank i:  += (2u/P)(a_i - b_j) th_p,     that of rank j:  minus it
 *
 * Directions are drawn afresh in every fit. Rows are multiplied by the gain (methods.h): L of rows
 * of norm 1 is C times smaller than the square distance of their means.
 */
#include "align/closed.h"

#include <string.h>

#include "base/error.h"
#include "base/rng.h"

typedef struct sliced {
    di_closed f;
    di_sliced_options opt;
    di_rng rng;
    float *th;                          /* [P, C] unit rows */
    float *y;                           /* [P, max_rows] projections */
    float *k;                           /* [max_rows, P] coefficients of th in the gradient */
    int32_t *order[DI_SIDES], *scratch; /* [max_rows] */
    void *work;
} sliced;

enum { NUMBERS = 4 }; /* of the stream, for a normal one */

/* Uniform on the sphere; every direction owns its part of the stream, so threads do not matter. */
static void draw(sliced *w)
{
    int64_t c = w->f.set.width;

#pragma omp parallel for num_threads(w->f.dev->threads) schedule(static)
    for (int64_t p = 0; p < w->opt.projections; p++) {
        di_rng r = w->rng;
        float *th = w->th + p * c;
        double square = 0;

        r.at += (uint64_t)(p * c * NUMBERS);
        for (int64_t j = 0; j < c; j++) {
            th[j] = (float)di_rng_normal(&r);
            square += (double)th[j] * (double)th[j];
        }
        for (int64_t j = 0; j < c; j++) th[j] = (float)((double)th[j] / sqrt(square));
    }
    w->rng.at += (uint64_t)(w->opt.projections * c * NUMBERS);
}

static void fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    (void)rows;
    draw((sliced *)a);
    di_closed_stats(stats);
}

/* idx [n] := the ranks' rows, key rising, equal keys by row (merge sort, bottom up). */
static void sort_rows(const float *key, int64_t n, int32_t *idx, int32_t *scratch)
{
    for (int64_t i = 0; i < n; i++) idx[i] = (int32_t)i;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * width) {
            int64_t mid = lo + width < n ? lo + width : n, hi = mid + width < n ? mid + width : n;
            int64_t i = lo, j = mid;

            for (int64_t at = lo; at < hi; at++)
                scratch[at] =
                    i < mid && (j >= hi || key[idx[i]] <= key[idx[j]]) ? idx[i++] : idx[j++];
        }
        memcpy(idx, scratch, (size_t)n * sizeof *idx);
    }
}

/*
 * One direction: pieces end where a grid has a point. In units of 1/(n_s n_t) the source's i-th
 * piece ends at (i + 1) n_t and the target's j-th at (j + 1) n_s, so the masses are whole numbers.
 */
static double line(sliced *w, int64_t p, int64_t n_s, int64_t n_t)
{
    const float *a = w->y + p * (n_s + n_t), *b = a + n_s;
    int64_t projections = w->opt.projections, at = 0;
    double gain = di_gain(&w->f), loss = 0;
    double unit = gain * gain / ((double)n_s * (double)n_t * (double)projections);

    sort_rows(a, n_s, w->order[DI_SOURCE], w->scratch);
    sort_rows(b, n_t, w->order[DI_TARGET], w->scratch);
    for (int64_t i = 0; i < n_s + n_t; i++) w->k[i * projections + p] = 0;
    for (int64_t i = 0, j = 0; i < n_s && j < n_t;) {
        int64_t end_s = (i + 1) * n_t, end_t = (j + 1) * n_s, end = end_s < end_t ? end_s : end_t;
        int64_t row_s = w->order[DI_SOURCE][i], row_t = w->order[DI_TARGET][j];
        double u = (double)(end - at) * unit, d = (double)a[row_s] - (double)b[row_t];

        loss += u * d * d;
        w->k[row_s * projections + p] += (float)(2 * u * d);
        w->k[(n_s + row_t) * projections + p] -= (float)(2 * u * d);
        at = end;
        i += end == end_s;
        j += end == end_t;
    }
    return loss;
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    sliced *w = (sliced *)a;
    int64_t c = w->f.set.width, n = rows->n_s + rows->n_t, projections = w->opt.projections;

    (void)dmargin;
    stats->w1 = NAN;
    stats->loss = 0;
    di_product(w->f.dev, w->th, projections, c, rows->x, n, 1, w->y, 0, w->work);
    for (int64_t p = 0; p < projections; p++) stats->loss += line(w, p, rows->n_s, rows->n_t);
    if (dx == NULL) return;
    for (int64_t i = 0; i < n * projections; i++) w->k[i] = (float)(lambda * (double)w->k[i]);
    di_product(w->f.dev, w->k, n, projections, w->th, c, 0, dx, 1, w->work);
}

/* The directions belong to a step; the stream's place is the state. */
static int tensors(di_align *a, di_align_tensor *out, int cap)
{
    (void)a;
    (void)out;
    (void)cap;
    return 0;
}

static json_t *save(const di_align *a)
{
    return json_pack("{s:I}", "directions", (json_int_t)((const sliced *)a)->rng.at);
}

static dial_status load(di_align *a, const json_t *state, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_int_t at;

    if (json_unpack((json_t *)(uintptr_t)state, "{s:I}", "directions", &at) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume from an earlier checkpoint",
                   "expected the counter of the directions");
    ((sliced *)a)->rng.at = (uint64_t)at;
done:
    return st;
}

static const di_align_method method = {.name = "swd",
                                       .fit = fit,
                                       .gradient = gradient,
                                       .tensors = tensors,
                                       .save = save,
                                       .load = load,
                                       .free = di_closed_free};

dial_status di_sliced_new(di_device *dev, const di_align_setup *setup, const di_sliced_options *opt,
                          di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    sliced *w = di_closed_new(dev, setup, sizeof *w, &method, 0);
    int64_t n = setup->max_rows, c = setup->width, p = opt->projections;
    di_blocks *mem;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    mem = &w->f.mem;
    w->opt = *opt;
    w->rng = di_rng_make(setup->seed, DI_RNG_DIRECTIONS, setup->stream);
    w->th = di_blocks_floats(mem, p * c);
    w->y = di_blocks_floats(mem, p * n);
    w->k = di_blocks_floats(mem, n * p);
    for (int k = 0; k < DI_SIDES; k++) w->order[k] = di_blocks_take(mem, n, sizeof(int32_t));
    w->scratch = di_blocks_take(mem, n, sizeof(int32_t));
    w->work = di_product_work(mem, dev, p > n ? p : n, c);
    if (mem->failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld projections of %lld rows", (long long)p,
                (long long)n);
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) di_closed_free(&w->f.base);
    return st;
}
