/*
 * RMSNorm. A row lies in the first-level cache between the two passes over it; four partial sums
 * hide the latency of an addition, and are joined in a fixed order.
 */
#define DI_SELF "cpu/norm.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"

#include <math.h>
#include <omp.h>

#ifdef DI_PASS

/* sum of x .* y .* w (w NULL: 1) over d elements */
DI_INLINE float K(dot)(const void *x, int x_bf16, const void *y, int y_bf16, const float *w,
                       int64_t d)
{
    vf s[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0;

    for (; i + 4 * DI_VL <= d; i += 4 * DI_VL) {
        DI_UNROLL
        for (int j = 0; j < 4; j++) {
            vf a = v_get(x, x_bf16, i + j * DI_VL, DI_VL), b = a;

            if (y != x) b = v_get(y, y_bf16, i + j * DI_VL, DI_VL);
            if (w != NULL) b = v_mul(b, v_load(w + i + j * DI_VL));
            s[j] = v_fma(a, b, s[j]);
        }
    }
    for (; i < d; i += DI_VL) {
        vf a = v_get(x, x_bf16, i, d - i), b = v_get(y, y_bf16, i, d - i);

        if (w != NULL) b = v_mul(b, v_get(w, 0, i, d - i));
        s[0] = v_fma(a, b, s[0]);
    }
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

DI_INLINE void K(forward_group)(const di_norm_args *a, int x_bf16, int y_bf16, const void *x,
                                void *y, float *rstd, void *keep, int64_t d)
{
    float r = 1 / sqrtf(K(dot)(x, x_bf16, x, x_bf16, NULL, d) / (float)d + a->eps);
    vf scale = v_set(r);

    if (rstd != NULL) *rstd = r;
    for (int64_t i = 0; i < d; i += DI_VL) {
        vf in = v_get(x, x_bf16, i, d - i), v = v_mul(v_mul(in, scale), v_get(a->w, 0, i, d - i));

        if (keep != NULL) v_put(keep, a->keep.dtype == DI_BF16, i, d - i, in);
        if (a->add) v = v_add(v_get(y, y_bf16, i, d - i), v);
        v_put(y, y_bf16, i, d - i, v);
    }
}

static void K(norm_forward)(const di_norm_args *a, int64_t lo, int64_t hi)
{
    int x_bf16 = a->x.dtype == DI_BF16, y_bf16 = a->y.dtype == DI_BF16;
    int64_t d = a->x.cols / a->groups, xs = x_bf16 ? 2 : 4, ys = y_bf16 ? 2 : 4;

    for (int64_t n = lo; n < hi; n++) {
        for (int64_t g = 0; g < a->groups; g++) {
            const char *x = (const char *)a->x.data + (n * a->x.stride + g * d) * xs;
            char *y = (char *)a->y.data + (n * a->y.stride + g * d) * ys;
            float *rstd = a->rstd != NULL ? a->rstd + n * a->groups + g : NULL;
            char *keep = NULL;

            if (a->keep.data != NULL)
                keep = (char *)a->keep.data +
                       (size_t)(n * a->keep.stride + g * d) * di_act_bytes(a->keep.dtype);

            if (!x_bf16 && y_bf16)
                K(forward_group)(a, 0, 1, x, y, rstd, keep, d);
            else
                K(forward_group)(a, x_bf16, y_bf16, x, y, rstd, keep, d);
        }
    }
}

/* dx = rstd (gy - xh mean(gy .* xh)), xh = x rstd, gy = w .* dy */
static void K(norm_backward)(const di_norm_args *a, int64_t lo, int64_t hi)
{
    int x_bf16 = a->x.dtype == DI_BF16, dy_bf16 = a->dy.dtype == DI_BF16;
    int dx_bf16 = a->dx.dtype == DI_BF16;
    int64_t d = a->x.cols / a->groups;

    for (int64_t at = lo * a->groups; at < hi * a->groups; at++) {
        int64_t n = at / a->groups, g = at % a->groups;
        const char *x = (const char *)a->x.data + (n * a->x.stride + g * d) * (x_bf16 ? 2 : 4);
        const char *dy = (const char *)a->dy.data + (n * a->dy.stride + g * d) * (dy_bf16 ? 2 : 4);
        char *dx = (char *)a->dx.data + (n * a->dx.stride + g * d) * (dx_bf16 ? 2 : 4);
        float rstd = a->rstd[at], sum = K(dot)(x, x_bf16, dy, dy_bf16, a->w, d);
        vf scale = v_set(rstd), mean = v_set(sum * rstd * rstd / (float)d);

        for (int64_t i = 0; i < d; i += DI_VL) {
            vf gy = v_mul(v_get(a->w, 0, i, d - i), v_get(dy, dy_bf16, i, d - i));
            vf v = v_mul(scale, v_fnma(v_get(x, x_bf16, i, d - i), mean, gy));

            if (a->add) v = v_add(v_get(dx, dx_bf16, i, d - i), v);
            v_put(dx, dx_bf16, i, d - i, v);
        }
    }
}

#elif defined(DI_VECTOR)

void di_cpu_norm_forward(di_device *dev, const di_norm_args *a)
{
    void (*run)(const di_norm_args *, int64_t, int64_t) = DI_PICK(dev, norm_forward);

#pragma omp parallel num_threads(di_threads_for(dev, a->x.rows * a->x.cols))
    {
        int64_t lo, hi;

        di_share(a->x.rows, 1, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        run(a, lo, hi);
    }
}

void di_cpu_norm_backward(di_device *dev, const di_norm_args *a)
{
    void (*run)(const di_norm_args *, int64_t, int64_t) = DI_PICK(dev, norm_backward);

#pragma omp parallel num_threads(di_threads_for(dev, a->x.rows * a->x.cols))
    {
        int64_t lo, hi;

        di_share(a->x.rows, 1, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        run(a, lo, hi);
    }
}

#endif
