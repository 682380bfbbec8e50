/*
 * Conversion between f32 and bf16, with addition. The one kernel serves `copy` and the last step
 * of every product (gemm.c), where its source lies in the cache.
 */
#define DI_SELF "cpu/copy.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"
#include "cpu/store.h"

#include <omp.h>
#include <string.h>

#ifdef DI_PASS

DI_INLINE void K(store_row)(const void *x, int x_bf16, const float *bias, void *y, int y_bf16,
                            int add, int64_t cols)
{
    for (int64_t i = 0; i < cols; i += DI_VL) {
        vf v = v_get(x, x_bf16, i, cols - i);

        if (bias != NULL) v = v_add(v, v_get(bias, 0, i, cols - i));
        if (add) v = v_add(v_get(y, y_bf16, i, cols - i), v);
        v_put(y, y_bf16, i, cols - i, v);
    }
}

static void K(store)(const di_mat *x, const float *bias, const di_mat *y, int add)
{
    int x_bf16 = x->dtype == DI_BF16, y_bf16 = y->dtype == DI_BF16;

    for (int64_t n = 0; n < x->rows; n++) {
        const char *from = (const char *)x->data + n * x->stride * (x_bf16 ? 2 : 4);
        char *to = (char *)y->data + n * y->stride * (y_bf16 ? 2 : 4);

        if (x_bf16 == y_bf16 && bias == NULL && !add)
            memcpy(to, from, (size_t)x->cols * (x_bf16 ? 2 : 4));
        else if (x_bf16)
            K(store_row)(from, 1, bias, to, y_bf16, add, x->cols);
        else
            K(store_row)(from, 0, bias, to, y_bf16, add, x->cols);
    }
}

#else

static float get(const di_mat *m, int64_t i, int64_t j)
{
    int64_t at = i * m->stride + j;

    return m->dtype == DI_BF16 ? di_bf16_to_f32(((const uint16_t *)m->data)[at])
                               : ((const float *)m->data)[at];
}

/* Where no vector set runs. */
static void store_plain(const di_mat *x, const float *bias, const di_mat *y, int add)
{
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t j = 0; j < x->cols; j++) {
            float v = get(x, i, j);

            if (bias != NULL) v += bias[j];
            if (add) v = get(y, i, j) + v;
            if (y->dtype == DI_BF16)
                ((uint16_t *)y->data)[i * y->stride + j] = di_f32_to_bf16(v);
            else
                ((float *)y->data)[i * y->stride + j] = v;
        }
    }
}

void di_store(di_isa isa, const di_mat *x, const float *bias, const di_mat *y, int add)
{
#ifdef DI_VECTOR
    if (isa >= DI_ISA_BF16)
        store_bf16(x, bias, y, add);
    else if (isa >= DI_ISA_AVX512)
        store_avx512(x, bias, y, add);
    else if (isa >= DI_ISA_AVX2)
        store_avx2(x, bias, y, add);
    else
        store_plain(x, bias, y, add);
#else
    (void)isa;
    store_plain(x, bias, y, add);
#endif
}

/* Rows [lo, hi) of m. */
static di_mat rows_of(const di_mat *m, int64_t lo, int64_t hi)
{
    di_mat part = *m;

    part.data = (char *)m->data + (size_t)(lo * m->stride) * di_act_bytes(m->dtype);
    part.rows = hi - lo;
    return part;
}

void di_cpu_copy(di_device *dev, const di_mat *x, di_mat *y, int add)
{
#pragma omp parallel num_threads(di_threads_for(dev, x->rows * x->cols))
    {
        int64_t lo, hi;
        di_mat from, to;

        di_share(x->rows, 1, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        from = rows_of(x, lo, hi);
        to = rows_of(y, lo, hi);
        di_store(di_cpu_isa(dev), &from, NULL, &to, add);
    }
}

#endif
