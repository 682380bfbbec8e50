#include "eval/affinity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/dense.h"

typedef struct near {
    double d2; /* squared distance, then p_j|i */
    int32_t j;
} near;

/* Squared distances of row i to all others: n - 1 of them. wide (c): scratch. */
static void distances(const float *x, int64_t n, int64_t c, int64_t i, double *wide, near *out)
{
    for (int64_t k = 0; k < c; k++) wide[k] = (double)x[i * c + k];
    for (int64_t j = 0; j < n; j++)
        if (j != i) *out++ = (near){di_distance2(x + j * c, wide, c), (int32_t)j};
}

static int nearer(const near *a, const near *b)
{
    return a->d2 != b->d2 ? a->d2 < b->d2 : a->j < b->j;
}

/* The k nearest to the front, in no order: quickselect. */
static void select_nearest(near *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;

    while (lo < hi) {
        near pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;

        while (i <= j) {
            while (nearer(&v[i], &pivot)) i++;
            while (nearer(&pivot, &v[j])) j--;
            if (i <= j) {
                near t = v[i];

                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (k - 1 <= j)
            hi = j;
        else if (k - 1 >= i)
            lo = i;
        else
            break;
    }
}

static int by_column(const void *a, const void *b)
{
    int32_t x = ((const near *)a)->j, y = ((const near *)b)->j;

    return x < y ? -1 : x > y;
}

/* p_j|i in the place of squared distances: entropy ln(perplexity) by bisection. */
static void conditional(near *v, int64_t n, double perplexity)
{
    double lo = 0, hi = INFINITY, beta = 1, target = log(perplexity), least = INFINITY, total = 0;

    for (int64_t j = 0; j < n; j++) {
        least = fmin(least, v[j].d2);
        total += v[j].d2;
    }
    total -= least * (double)n;
    if (total > 0) beta = (double)n / total; /* a scale to start from */
    for (int step = 0; step < 200; step++) {
        double sum = 0, weighted = 0, entropy;

        for (int64_t j = 0; j < n; j++) {
            double e = exp(-beta * (v[j].d2 - least));

            sum += e;
            weighted += e * (v[j].d2 - least);
        }
        entropy = log(sum) + beta * weighted / sum;
        if (fabs(entropy - target) < 1e-5 || !(total > 0)) break;
        if (entropy > target) {
            lo = beta;
            beta = isinf(hi) ? 2 * beta : (lo + hi) / 2;
        } else {
            hi = beta;
            beta = (lo + hi) / 2;
        }
    }
    total = 0;
    for (int64_t j = 0; j < n; j++) total += v[j].d2 = exp(-beta * (v[j].d2 - least));
    for (int64_t j = 0; j < n; j++) v[j].d2 /= total;
}

/* The k nearest of every row with their p_j|i, by column: nearest (n, k). */
static dial_status nearest_of(const di_alloc *al, const float *x, int64_t n, int64_t c, int64_t k,
                              double perplexity, near *nearest, dial_error *err)
{
    dial_status st = DIAL_OK;
    int failed = 0;

#pragma omp parallel reduction(|| : failed)
    {
        near *row = di_new_array(al, (size_t)n, sizeof *row);
        double *wide = di_new_array(al, (size_t)c, sizeof *wide);

        failed = row == NULL || wide == NULL;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++) {
            if (failed) continue;
            distances(x, n, c, i, wide, row);
            select_nearest(row, n - 1, k);
            qsort(row, (size_t)k, sizeof *row, by_column);
            conditional(row, k, perplexity);
            memcpy(nearest + i * k, row, (size_t)k * sizeof *row);
        }
        di_free(al, row);
        di_free(al, wide);
    }
    if (failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the affinities of %lld rows", (long long)n);
done:
    return st;
}

/*
 * Row i of the symmetric matrix: its own nearest (by column), and those who have it among theirs
 * (by column too). Writes where the row has room (to, p), or counts alone (NULL).
 */
static int64_t join(const near *own, int64_t k, const near *theirs, int64_t m, double scale,
                    int32_t *to, float *p)
{
    int64_t a = 0, b = 0, n = 0;

    for (; a < k || b < m; n++) {
        int32_t ja = a < k ? own[a].j : INT32_MAX, jb = b < m ? theirs[b].j : INT32_MAX;
        double sum = 0;

        if (ja <= jb) sum += own[a++].d2;
        if (jb <= ja) sum += theirs[b++].d2;
        if (to == NULL) continue;
        to[n] = ja < jb ? ja : jb;
        p[n] = (float)(sum * scale);
    }
    return n;
}

/* turned: by row j, the p_j|i of all i that have j among their nearest; at (n + 1): where. */
static void turn(const near *nearest, int64_t n, int64_t k, near *turned, int64_t *at)
{
    memset(at, 0, (size_t)(n + 1) * sizeof *at);
    for (int64_t i = 0; i < n * k; i++) at[nearest[i].j + 1]++;
    for (int64_t i = 0; i < n; i++) at[i + 1] += at[i];
    for (int64_t i = 0; i < n * k; i++) /* moves each start to its end, which is the next start */
        turned[at[nearest[i].j]++] = (near){nearest[i].d2, (int32_t)(i / k)};
    memmove(at + 1, at, (size_t)n * sizeof *at);
    at[0] = 0;
}

dial_status di_affinity_of(const di_alloc *al, const float *x, int64_t n, int64_t c,
                           double perplexity, di_affinity *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t k = (int64_t)ceil(3 * perplexity), cells;
    near *nearest = NULL, *turned = NULL;
    int64_t *at = di_new_array(al, (size_t)n + 1, sizeof *at);

    if (k > n - 1) k = n - 1;
    *out = (di_affinity){.n = n, .start = di_new_array(al, (size_t)n + 1, sizeof *out->start)};
    nearest = di_new_array(al, (size_t)n, (size_t)k * sizeof *nearest);
    turned = di_new_array(al, (size_t)n, (size_t)k * sizeof *turned);
    if (at == NULL || nearest == NULL || turned == NULL || out->start == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the affinities of %lld rows", (long long)n);
    DI_TRY(nearest_of(al, x, n, c, k, perplexity, nearest, err));
    turn(nearest, n, k, turned, at);
    for (int64_t i = 0; i < n; i++)
        out->start[i + 1] = out->start[i] + join(nearest + i * k, k, turned + at[i],
                                                 at[i + 1] - at[i], 0, NULL, NULL);
    cells = out->start[n];
    out->to = di_new_array(al, (size_t)cells, sizeof *out->to);
    out->p = di_new_array(al, (size_t)cells, sizeof *out->p);
    if (out->to == NULL || out->p == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld affinities", (long long)cells);
    for (int64_t i = 0; i < n; i++)
        join(nearest + i * k, k, turned + at[i], at[i + 1] - at[i], 0.5 / (double)n,
             out->to + out->start[i], out->p + out->start[i]);
done:
    di_free(al, nearest);
    di_free(al, turned);
    di_free(al, at);
    return st;
}

void di_affinity_free(const di_alloc *al, di_affinity *a)
{
    di_free(al, a->start);
    di_free(al, a->to);
    di_free(al, a->p);
    *a = (di_affinity){0};
}
