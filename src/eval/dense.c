#include "eval/dense.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define EACH_SET                                                                                   \
    __attribute__((target_clones("avx512f", "avx2", "default"))) /* no fma: products are rounded   \
                                                                  */
#else
#define EACH_SET
#endif

/* Lowered to whatever registers there are: one of 64 bytes, two of 32, four of 16. */
typedef double eight __attribute__((vector_size(64)));
typedef float eight_f32 __attribute__((vector_size(32)));

static double total(const double lane[16])
{
    double sum = 0;

    for (int l = 0; l < 8; l++) sum += lane[l] + lane[l + 8];
    return sum;
}

EACH_SET double di_dot(const double *a, const double *b, int64_t n)
{
    eight x[2], y[2], sum[2] = {{0}, {0}};
    double lane[16];
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        memcpy(x, a + i, sizeof x);
        memcpy(y, b + i, sizeof y);
        sum[0] += x[0] * y[0];
        sum[1] += x[1] * y[1];
    }
    memcpy(lane, sum, sizeof lane);
    for (; i < n; i++) lane[i % 16] += a[i] * b[i];
    return total(lane);
}

EACH_SET double di_dot_f32(const float *a, const double *b, int64_t n)
{
    eight y[2], sum[2] = {{0}, {0}};
    eight_f32 x[2];
    double lane[16];
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        memcpy(x, a + i, sizeof x);
        memcpy(y, b + i, sizeof y);
        sum[0] += __builtin_convertvector(x[0], eight) * y[0];
        sum[1] += __builtin_convertvector(x[1], eight) * y[1];
    }
    memcpy(lane, sum, sizeof lane);
    for (; i < n; i++) lane[i % 16] += (double)a[i] * b[i];
    return total(lane);
}

EACH_SET double di_distance2(const float *a, const double *b, int64_t n)
{
    eight y[2], sum[2] = {{0}, {0}};
    eight_f32 x[2];
    double lane[16];
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        memcpy(x, a + i, sizeof x);
        memcpy(y, b + i, sizeof y);
        y[0] -= __builtin_convertvector(x[0], eight);
        y[1] -= __builtin_convertvector(x[1], eight);
        sum[0] += y[0] * y[0];
        sum[1] += y[1] * y[1];
    }
    memcpy(lane, sum, sizeof lane);
    for (; i < n; i++) lane[i % 16] += (b[i] - (double)a[i]) * (b[i] - (double)a[i]);
    return total(lane);
}

EACH_SET void di_add_scaled(double *y, double k, const double *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += k * x[i];
}

EACH_SET void di_add_scaled_f32(double *y, double k, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += k * (double)x[i];
}

EACH_SET void di_take_two(double *y, double a, const double *p, double b, const double *q,
                          int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] -= a * p[i] + b * q[i];
}
