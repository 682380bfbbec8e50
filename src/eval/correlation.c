/* Correlations of stats.h: ranks, Pearson, Spearman, Kendall, and their intervals. */
#include "eval/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"

int di_pearson(const double *x, const double *y, int64_t n, double *out)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;

    if (n < 2) return 0;
    for (int64_t i = 0; i < n; i++) {
        mx += x[i];
        my += y[i];
    }
    mx /= (double)n;
    my /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    /* the mean of equal values may differ from them by rounding: compare with their size */
    if (xx <= 1e-24 * (double)n * mx * mx || yy <= 1e-24 * (double)n * my * my) return 0;
    *out = fmax(-1, fmin(1, xy / sqrt(xx * yy)));
    return 1;
}

typedef struct place {
    double x, y;
    int64_t at;
} place;

static int by_x_then_y(const void *a, const void *b)
{
    const place *p = a, *q = b;

    if (p->x != q->x) return p->x < q->x ? -1 : 1;
    if (p->y != q->y) return p->y < q->y ? -1 : 1;
    return p->at < q->at ? -1 : p->at > q->at;
}

dial_status di_average_ranks(const di_alloc *al, const double *x, int64_t n, double *rank,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    place *p = di_new_array(al, (size_t)n, sizeof *p);

    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to rank %lld values", (long long)n);
    for (int64_t i = 0; i < n; i++) p[i] = (place){x[i], 0, i};
    if (n > 0) qsort(p, (size_t)n, sizeof *p, by_x_then_y);
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && p[j].x == p[i].x; j++) continue;
        for (int64_t k = i; k < j; k++) rank[p[k].at] = (double)(i + 1 + j) / 2;
    }
done:
    di_free(al, p);
    return st;
}

int di_spearman(const di_alloc *al, const double *x, const double *y, int64_t n, double *out)
{
    double *r = di_new_array(al, (size_t)n, 2 * sizeof *r);
    int ok = -1;

    if (r != NULL && di_average_ranks(al, x, n, r, NULL) == DIAL_OK &&
        di_average_ranks(al, y, n, r + n, NULL) == DIAL_OK)
        ok = di_pearson(r, r + n, n, out);
    di_free(al, r);
    return ok;
}

static int64_t pairs_of(int64_t n)
{
    return n * (n - 1) / 2;
}

/* Merge sort of y (n), ascending; returns the number of inversions. tmp (n). */
static int64_t sort_inversions(double *y, double *tmp, int64_t n)
{
    int64_t half = n / 2, swaps, i = 0, j = half, k = 0;

    if (n < 2) return 0;
    swaps = sort_inversions(y, tmp, half) + sort_inversions(y + half, tmp, n - half);
    while (i < half || j < n) {
        if (j == n || (i < half && y[i] <= y[j])) {
            tmp[k++] = y[i++];
        } else {
            swaps += half - i;
            tmp[k++] = y[j++];
        }
    }
    for (k = 0; k < n; k++) y[k] = tmp[k];
    return swaps;
}

/*
 * tau-b = (conc - disc) / sqrt((n0 - ties_x)(n0 - ties_y)), n0 = n(n-1)/2. With the rows sorted by
 * (x, y) the discordant pairs are the inversions of y, so
 * conc - disc = n0 - ties_x - ties_y + ties_both - 2 inversions.
 */
int di_kendall(const di_alloc *al, const double *x, const double *y, int64_t n, double *out)
{
    place *p = di_new_array(al, (size_t)n, sizeof *p);
    double *v = di_new_array(al, (size_t)n, 2 * sizeof *v);
    int64_t ties_x = 0, ties_y = 0, both = 0, inversions, n0 = pairs_of(n);
    int ok = -1;

    if (p == NULL || v == NULL) goto done;
    for (int64_t i = 0; i < n; i++) p[i] = (place){x[i], y[i], i};
    if (n > 0) qsort(p, (size_t)n, sizeof *p, by_x_then_y);
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && p[j].x == p[i].x; j++) continue;
        ties_x += pairs_of(j - i);
    }
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && p[j].x == p[i].x && p[j].y == p[i].y; j++) continue;
        both += pairs_of(j - i);
    }
    for (int64_t i = 0; i < n; i++) v[i] = p[i].y;
    inversions = sort_inversions(v, v + n, n);
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && v[j] == v[i]; j++) continue;
        ties_y += pairs_of(j - i);
    }
    ok = n0 - ties_x > 0 && n0 - ties_y > 0;
    if (ok)
        *out = (double)(n0 - ties_x - ties_y + both - 2 * inversions) /
               sqrt((double)(n0 - ties_x) * (double)(n0 - ties_y));
done:
    di_free(al, p);
    di_free(al, v);
    return ok;
}

int di_fisher(double r, int64_t n, di_corr kind, di_interval *out)
{
    static const double factor[] = {1, 1.06, 0.437};
    double free_rows = (double)(n - (kind == DI_CORR_KENDALL ? 4 : 3));
    double half;

    if (free_rows <= 0 || !(fabs(r) < 1)) return 0;
    half = DI_Z95 * sqrt(factor[kind] / free_rows);
    *out = (di_interval){tanh(atanh(r) - half), tanh(atanh(r) + half)};
    return 1;
}
