/* Adam and AdamW: one pass over theta, g, m and v. The sum of squares for clipping. */
#define DI_SELF "cpu/adam.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"

#include <math.h>
#include <omp.h>

#ifdef DI_PASS

/*
 * Constants are formed in f64 and rounded once: step = lr / (1 - beta1^t) and root = 1 / sqrt(1 -
 * beta2^t). Decay is taken off together with the step: 1 - lr decay by itself, often within 1e-6
 * of 1, would keep one or two digits of it in f32.
 */
static void K(adam)(const di_adam_args *a, int64_t lo, int64_t hi)
{
    vf step = v_set((float)(a->lr / (1 - pow(a->beta1, (double)a->t))));
    vf root = v_set((float)(1 / sqrt(1 - pow(a->beta2, (double)a->t))));
    vf b1 = v_set((float)a->beta1), c1 = v_set((float)(1 - a->beta1)), eps = v_set((float)a->eps);
    vf b2 = v_set((float)a->beta2), c2 = v_set((float)(1 - a->beta2));
    vf decay = v_set((float)(a->coupled ? a->decay : a->lr * a->decay));

    for (int64_t i = lo; i < hi; i += DI_VL) {
        vf theta = v_get(a->theta, 0, i, hi - i), m = v_get(a->m, 0, i, hi - i);
        vf v = v_get(a->v, 0, i, hi - i), off;
        vf g = v_mul(v_get(a->g, 0, i, hi - i), v_set((float)a->grad_scale));

        if (a->coupled) g = v_fma(decay, theta, g);
        m = v_fma(b1, m, v_mul(c1, g));
        v = v_fma(b2, v, v_mul(v_mul(c2, g), g));
        off = v_div(v_mul(m, step), v_fma(v_sqrt(v), root, eps));
        if (!a->coupled) off = v_fma(decay, theta, off);
        v_put(a->m, 0, i, hi - i, m);
        v_put(a->v, 0, i, hi - i, v);
        v_put(a->theta, 0, i, hi - i, v_sub(theta, off));
    }
}

#if DI_PASS == 2
static double squares_avx2(const float *x, int64_t n)
{
    __m256d s[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                    _mm256_setzero_pd()};
    double lane[4], sum = 0;
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        DI_UNROLL
        for (int j = 0; j < 4; j++) {
            __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * j));

            s[j] = _mm256_fmadd_pd(v, v, s[j]);
        }
    }
    _mm256_storeu_pd(lane, _mm256_add_pd(_mm256_add_pd(s[0], s[1]), _mm256_add_pd(s[2], s[3])));
    for (int j = 0; j < 4; j++) sum += lane[j];
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}
#else
static double K(squares)(const float *x, int64_t n)
{
    __m512d s[4] = {_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd(),
                    _mm512_setzero_pd()};
    double lane[8], sum = 0;
    int64_t i = 0;

    for (; i + 32 <= n; i += 32) {
        DI_UNROLL
        for (int j = 0; j < 4; j++) {
            __m512d v = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 8 * j));

            s[j] = _mm512_fmadd_pd(v, v, s[j]);
        }
    }
    _mm512_storeu_pd(lane, _mm512_add_pd(_mm512_add_pd(s[0], s[1]), _mm512_add_pd(s[2], s[3])));
    for (int j = 0; j < 8; j++) sum += lane[j];
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}
#endif

#elif defined(DI_VECTOR)

void di_cpu_adam(di_device *dev, const di_adam_args *a)
{
    void (*run)(const di_adam_args *, int64_t, int64_t) = DI_PICK(dev, adam);

#pragma omp parallel num_threads(di_threads_for(dev, a->n))
    {
        int64_t lo, hi;

        di_share(a->n, 64, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        run(a, lo, hi);
    }
}

/* Stripes of fixed bounds, joined in order: the same bits for any number of threads. */
double di_cpu_sum_squares(di_device *dev, const float *x, int64_t n)
{
    double (*run)(const float *, int64_t) = DI_PICK(dev, squares);
    enum { STRIPES = 64 };
    double stripe[STRIPES], sum = 0;

#pragma omp parallel for num_threads(di_threads_for(dev, n)) schedule(static)
    for (int s = 0; s < STRIPES; s++) {
        int64_t lo, hi;

        di_share(n, 64, s, STRIPES, &lo, &hi);
        stripe[s] = run(x + lo, hi - lo);
    }
    for (int s = 0; s < STRIPES; s++) sum += stripe[s];
    return sum;
}

#endif
