#include "eval/tridiagonal.h"

#include <math.h>
#include <string.h>

/* Rows i and i + 1 of vec turned by the angle of cosine c and sine s. */
static void turn(double *vec, int64_t n, int64_t i, double c, double s)
{
    double *x = vec + i * n, *y = x + n;

#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        double a = x[j], b = y[j];

        x[j] = c * a - s * b;
        y[j] = s * a + c * b;
    }
}

/* Where the block that begins at l ends: the first coupling that is nothing beside its diagonal. */
static int64_t block_end(const double *d, const double *e, int64_t l, int64_t n)
{
    int64_t m = l;

    while (m < n - 1 && fabs(e[m]) > 1e-16 * (fabs(d[m]) + fabs(d[m + 1]))) m++;
    return m;
}

/* One QL sweep over the block l .. m with Wilkinson's shift. */
static void sweep(double *d, double *e, int64_t n, int64_t l, int64_t m, double *vec)
{
    double g = (d[l + 1] - d[l]) / (2 * e[l]), r = hypot(g, 1), s = 1, c = 1, p = 0;

    g = d[m] - d[l] + e[l] / (g + (g >= 0 ? r : -r));
    for (int64_t i = m - 1; i >= l; i--) {
        double f = s * e[i], b = c * e[i];

        e[i + 1] = r = hypot(f, g);
        if (r == 0) { /* the matrix falls apart here */
            d[i + 1] -= p;
            e[m] = 0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        if (vec != NULL) turn(vec, n, i, c, s);
    }
    d[l] -= p;
    e[l] = g;
    e[m] = 0;
}

int di_tridiagonal_eigen(double *d, double *e, int64_t n, double *vec)
{
    enum { MOST_SWEEPS = 50 };

    if (n < 1) return 0;
    e[n - 1] = 0;
    if (vec != NULL) {
        memset(vec, 0, (size_t)(n * n) * sizeof *vec);
        for (int64_t i = 0; i < n; i++) vec[i * n + i] = 1;
    }
    for (int64_t l = 0; l < n; l++)
        for (int k = 0;; k++) {
            int64_t m = block_end(d, e, l, n);

            if (m == l) break;
            if (k == MOST_SWEEPS) return -1;
            sweep(d, e, n, l, m, vec);
        }
    return 0;
}
