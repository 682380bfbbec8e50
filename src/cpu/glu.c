/*
 * Gated MLP. With s = sigmoid(x) or, for GELU's tanh form, s = sigmoid(2u) = (1 + tanh u)/2,
 *
 *     act(x) = x s       act'(x) = s + x s (1 - s) d      d = 1 (SiLU), 2 du/dx (GELU)
 *
 * so one exponential gives value and slope of both; (1 + tanh u)/2 by way of tanh would lose the
 * lower tail. A row's 2F inputs are read once and written once; dgu may be gu.
 */
#define DI_SELF "cpu/glu.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"

#include <omp.h>

#ifdef DI_PASS

/* *s as above, and *slope = s + x s (1 - s) d. */
DI_INLINE void K(gate)(int gelu, vf x, vf *s, vf *slope)
{
    vf d = v_set(1), z = x;

    if (gelu) { /* 2u = 2k (x + 0.044715 x^3), k = sqrt(2/pi) */
        vf t = v_mul(x, x);

        z = v_mul(x, v_fma(t, v_set(0.0713548162726f), v_set(1.59576912161f)));
        d = v_fma(t, v_set(0.214064448818f), v_set(1.59576912161f));
    }
    *s = v_sigmoid(z);
    *slope = v_fma(v_mul(v_mul(x, *s), v_sub(v_set(1), *s)), d, *s);
}

DI_INLINE void K(forward_rows)(int gelu, int bf16, const di_mat *gu, const di_mat *h, int64_t lo,
                               int64_t hi)
{
    int64_t f = h->cols, size = bf16 ? 2 : 4;

    for (int64_t n = lo; n < hi; n++) {
        const char *g = (const char *)gu->data + n * gu->stride * size, *u = g + f * size;
        char *y = (char *)h->data + n * h->stride * size;

        for (int64_t i = 0; i < f; i += DI_VL) {
            vf x = v_get(g, bf16, i, f - i), s, slope;

            K(gate)(gelu, x, &s, &slope);
            v_put(y, bf16, i, f - i, v_mul(v_mul(x, s), v_get(u, bf16, i, f - i)));
        }
    }
}

DI_INLINE void K(backward_rows)(int gelu, int bf16, const di_mat *gu, const di_mat *dh,
                                const di_mat *dgu, int64_t lo, int64_t hi)
{
    int64_t f = dh->cols, size = bf16 ? 2 : 4;

    for (int64_t n = lo; n < hi; n++) {
        const char *g = (const char *)gu->data + n * gu->stride * size, *u = g + f * size;
        const char *dy = (const char *)dh->data + n * dh->stride * size;
        char *dg = (char *)dgu->data + n * dgu->stride * size, *du = dg + f * size;

        for (int64_t i = 0; i < f; i += DI_VL) {
            vf x = v_get(g, bf16, i, f - i), up = v_get(u, bf16, i, f - i);
            vf d = v_get(dy, bf16, i, f - i), s, slope;

            K(gate)(gelu, x, &s, &slope);
            v_put(dg, bf16, i, f - i, v_mul(v_mul(d, up), slope));
            v_put(du, bf16, i, f - i, v_mul(d, v_mul(x, s)));
        }
    }
}

static void K(glu_forward)(di_act kind, const di_mat *gu, const di_mat *h, int64_t lo, int64_t hi)
{
    int bf16 = h->dtype == DI_BF16;

    if (kind == DI_SILU && bf16)
        K(forward_rows)(0, 1, gu, h, lo, hi);
    else if (kind == DI_SILU)
        K(forward_rows)(0, 0, gu, h, lo, hi);
    else if (bf16)
        K(forward_rows)(1, 1, gu, h, lo, hi);
    else
        K(forward_rows)(1, 0, gu, h, lo, hi);
}

static void K(glu_backward)(di_act kind, const di_mat *gu, const di_mat *dh, const di_mat *dgu,
                            int64_t lo, int64_t hi)
{
    int bf16 = dh->dtype == DI_BF16;

    if (kind == DI_SILU && bf16)
        K(backward_rows)(0, 1, gu, dh, dgu, lo, hi);
    else if (kind == DI_SILU)
        K(backward_rows)(0, 0, gu, dh, dgu, lo, hi);
    else if (bf16)
        K(backward_rows)(1, 1, gu, dh, dgu, lo, hi);
    else
        K(backward_rows)(1, 0, gu, dh, dgu, lo, hi);
}

#elif defined(DI_VECTOR)

void di_cpu_glu_forward(di_device *dev, di_act kind, const di_mat *gu, di_mat *h)
{
    void (*run)(di_act, const di_mat *, const di_mat *, int64_t, int64_t) =
        DI_PICK(dev, glu_forward);

#pragma omp parallel num_threads(di_threads_for(dev, 2 * h->rows * h->cols))
    {
        int64_t lo, hi;

        di_share(h->rows, 1, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        run(kind, gu, h, lo, hi);
    }
}

void di_cpu_glu_backward(di_device *dev, di_act kind, const di_mat *gu, const di_mat *dh,
                         di_mat *dgu)
{
    void (*run)(di_act, const di_mat *, const di_mat *, const di_mat *, int64_t, int64_t) =
        DI_PICK(dev, glu_backward);

#pragma omp parallel num_threads(di_threads_for(dev, 2 * dh->rows * dh->cols))
    {
        int64_t lo, hi;

        di_share(dh->rows, 1, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        run(kind, gu, dh, dgu, lo, hi);
    }
}

#endif
