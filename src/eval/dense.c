#include "eval/dense.h"

#include <string.h>

/* Without fma, so that products are rounded in every set. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define EACH_SET __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EACH_SET
#endif

/* Lowered to whatever registers there are: one of 64 bytes, two of 32, four of 16. */
typedef double eight __attribute__((vector_size(64)));
typedef float eight_f32 __attribute__((vector_size(32)));

#define PRODUCT(x, y) ((x) * (y))
#define SQUARE(x, y) (((y) - (x)) * ((y) - (x)))

/* name(a, b, n) = sum of TERM(a_i, b_i), for vectors and for what is left of them alike. */
#define SUM(name, type, vector, TERM)                                                              \
    EACH_SET double name(const type *a, const double *b, int64_t n)                                \
    {                                                                                              \
        vector x[2];                                                                               \
        eight y[2], lanes[2] = {{0}, {0}};                                                         \
        double lane[16], sum = 0;                                                                  \
        int64_t i = 0;                                                                             \
                                                                                                   \
        for (; i + 16 <= n; i += 16) {                                                             \
            memcpy(x, a + i, sizeof x);                                                            \
            memcpy(y, b + i, sizeof y);                                                            \
            lanes[0] += TERM(__builtin_convertvector(x[0], eight), y[0]);                          \
            lanes[1] += TERM(__builtin_convertvector(x[1], eight), y[1]);                          \
        }                                                                                          \
        memcpy(lane, lanes, sizeof lane);                                                          \
        for (; i < n; i++) lane[i % 16] += TERM((double)a[i], b[i]);                               \
        for (int l = 0; l < 8; l++) sum += lane[l] + lane[l + 8];                                  \
        return sum;                                                                                \
    }

SUM(di_dot, double, eight, PRODUCT)
SUM(di_dot_f32, float, eight_f32, PRODUCT)
SUM(di_distance2, float, eight_f32, SQUARE)

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
