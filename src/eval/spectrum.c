#include "eval/spectrum.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/dense.h"
#include "eval/tridiagonal.h"

/* A Householder vector for each row from the last; d: diagonal, e[1..]: what stands beside it. */
static void tridiagonalise(double *a, int64_t n, double *d, double *e)
{
    for (int64_t i = n - 1; i > 0; i--) {
        double *v = a + i * n, scale = 0, h = 0, f, g, k = 0;

        for (int64_t j = 0; j < i; j++) scale += fabs(v[j]);
        e[i] = v[i - 1];
        d[i] = a[i * n + i];
        if (i == 1 || scale == 0) continue;
        for (int64_t j = 0; j < i; j++) v[j] /= scale;
        h = di_dot(v, v, i);
        f = v[i - 1];
        g = f > 0 ? -sqrt(h) : sqrt(h);
        e[i] = scale * g;
        h -= f * g;
        v[i - 1] = f - g;
        /* p = A v / h, then A -= v q^T + q v^T with q = p - (v.p / 2h) v; p stands in e[0..i) */
#pragma omp parallel for schedule(static) if (i > 1024)
        for (int64_t r = 0; r < i; r++) e[r] = di_dot(a + r * n, v, i) / h;
        k = di_dot(v, e, i) / (2 * h);
        for (int64_t r = 0; r < i; r++) e[r] -= k * v[r];
#pragma omp parallel for schedule(static) if (i > 1024)
        for (int64_t r = 0; r < i; r++) di_take_two(a + r * n, v[r], e, e[r], v, i);
    }
    d[0] = a[0];
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int di_symmetric_eigenvalues(double *a, int64_t n, double *d, double *e)
{
    tridiagonalise(a, n, d, e);
    for (int64_t i = 1; i < n; i++) e[i - 1] = e[i];
    if (di_tridiagonal_eigen(d, e, n, NULL) != 0) return -1;
    qsort(d, (size_t)n, sizeof *d, ascending);
    return 0;
}

/* X X^T or X^T X, whichever is smaller: m = min(n, c). wide (n, c): scratch where n <= c. */
static void gram(const float *x, int64_t n, int64_t c, int64_t m, double *g, double *wide)
{
    memset(g, 0, (size_t)(m * m) * sizeof *g);
    for (int64_t i = 0; n <= c && i < n * c; i++) wide[i] = (double)x[i];
#pragma omp parallel for schedule(dynamic, 8)
    for (int64_t a = 0; a < m; a++) {
        for (int64_t b = 0; n <= c && b <= a; b++)
            g[a * m + b] = di_dot_f32(x + b * c, wide + a * c, c);
        for (int64_t i = 0; n > c && i < n; i++)
            di_add_scaled_f32(g + a * m, (double)x[i * c + a], x + i * c, a + 1);
    }
    for (int64_t a = 0; a < m; a++)
        for (int64_t b = 0; b < a; b++) g[b * m + a] = g[a * m + b];
}

dial_status di_rank_me(const di_alloc *al, const float *x, int64_t n, int64_t c, double *out,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t m = n < c ? n : c, wide = n <= c ? n * c : 0;
    double *g = di_new_array(al, (size_t)(m * m + wide + 2 * m), sizeof *g), *d, sum = 0;
    double entropy = 0;

    if (g == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the effective rank");
    d = g + m * m;
    for (int64_t i = 0; i < n * c; i++)
        if (!isfinite(x[i]))
            DI_FAIL(err, DIAL_ERR_NUMERIC, "row %lld holds a value that is not finite",
                    (long long)(i / c));
    gram(x, n, c, m, g, d + 2 * m);
    if (di_symmetric_eigenvalues(g, m, d, d + m) != 0)
        DI_FAIL(err, DIAL_ERR_NUMERIC, "the singular values of %lld rows did not converge",
                (long long)n);
    for (int64_t k = 0; k < m; k++) sum += d[k] = sqrt(fmax(d[k], 0));
    for (int64_t k = 0; k < m; k++) {
        double p = (sum > 0 ? d[k] / sum : 0) + 1e-7;

        entropy -= p * log(p);
    }
    *out = exp(entropy);
done:
    di_free(al, g);
    return st;
}

dial_status di_neighbourhood_density(const di_alloc *al, const float *x, int64_t n, int64_t c,
                                     double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    double *unit = di_new_array(al, (size_t)(n * c + n), sizeof *unit), *entropy = NULL;
    const double temperature = 0.05;

    if (unit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the neighbourhood density");
    entropy = unit + n * c;
    for (int64_t i = 0; i < n; i++) {
        double norm = 0;

        for (int64_t j = 0; j < c; j++) norm += (double)x[i * c + j] * (double)x[i * c + j];
        for (int64_t j = 0; j < c; j++)
            unit[i * c + j] = norm > 0 ? (double)x[i * c + j] / sqrt(norm) : 0;
    }
    /* with z = cos/T - 1/T <= 0 no exponential overflows: H = log sum e^z - sum z e^z / sum e^z */
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, weighted = 0;

        for (int64_t j = 0; j < n; j++) {
            double z, w;

            if (j == i) continue;
            z = (di_dot(unit + i * c, unit + j * c, c) - 1) / temperature;
            w = exp(z);
            sum += w;
            weighted += z * w;
        }
        entropy[i] = log(sum) - weighted / sum;
    }
    *out = 0;
    for (int64_t i = 0; i < n; i++) *out += entropy[i] / (double)n;
done:
    di_free(al, unit);
    return st;
}
