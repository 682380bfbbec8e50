#include "train/anchor.h"

#include <math.h>
#include <string.h>

static double dot(const float *a, const float *b, int64_t c)
{
    double sum = 0;

    for (int64_t k = 0; k < c; k++) sum += (double)a[k] * (double)b[k];
    return sum;
}

/* 1/|row|; 0 for a row of zeros. */
static void inverse_norms(const float *e, int64_t n, int64_t c, double *out)
{
    for (int64_t i = 0; i < n; i++) {
        double square = dot(e + i * c, e + i * c, c);

        out[i] = square > 0 ? 1 / sqrt(square) : 0;
    }
}

static double cosine(double weight, const float *e, const float *e0, int64_t n, int64_t c,
                     float *de, const double *inv, const double *inv0)
{
    double loss = 0, share = 2 * weight / (double)n;

    for (int64_t i = 0; i < n; i++) {
        const float *x = e + i * c, *y = e0 + i * c;
        double cos = dot(x, y, c) * inv[i] * inv0[i];

        loss += share * (1 - cos);
        for (int64_t k = 0; k < c; k++)
            de[i * c + k] -=
                (float)(share * inv[i] * ((double)y[k] * inv0[i] - cos * (double)x[k] * inv[i]));
    }
    return loss;
}

static double relational(double weight, const float *e, const float *e0, int64_t n, int64_t c,
                         float *de, const double *inv, const double *inv0, double *g)
{
    double loss = 0, share = weight / (double)(n * n);

    for (int64_t i = 0; i < n; i++) {
        const float *x = e + i * c;
        double along = 0;

        memset(g, 0, (size_t)c * sizeof *g); /* dEh of row i */
        for (int64_t j = 0; j < n; j++) {
            const float *y = e + j * c;
            double d =
                dot(x, y, c) * inv[i] * inv[j] - dot(e0 + i * c, e0 + j * c, c) * inv0[i] * inv0[j];

            loss += share * d * d;
            for (int64_t k = 0; k < c; k++) g[k] += 4 * share * d * (double)y[k] * inv[j];
        }
        for (int64_t k = 0; k < c; k++) along += g[k] * (double)x[k] * inv[i];
        for (int64_t k = 0; k < c; k++)
            de[i * c + k] += (float)((g[k] - along * (double)x[k] * inv[i]) * inv[i]);
    }
    return loss;
}

double di_anchor(di_anchor_kind kind, double weight, const float *e, const float *e0, int64_t n,
                 int64_t c, float *de, double *work)
{
    double *inv = work, *inv0 = work + n;

    inverse_norms(e, n, c, inv);
    inverse_norms(e0, n, c, inv0);
    return kind == DI_ANCHOR_COSINE ? cosine(weight, e, e0, n, c, de, inv, inv0)
                                    : relational(weight, e, e0, n, c, de, inv, inv0, work + 2 * n);
}
