/* Rotary positions: pairs (i, i + D/2) of every head turn by the angle of their row's position. */
#define DI_SELF "cpu/rope.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"

#include <omp.h>

#ifdef DI_PASS

static void K(rope)(const di_mat *x, const int32_t *position, const float *table, int64_t heads,
                    int64_t head_dim, int inverse, int64_t lo, int64_t hi)
{
    int bf16 = x->dtype == DI_BF16;
    int64_t half = head_dim / 2, size = bf16 ? 2 : 4;

    for (int64_t n = lo; n < hi; n++) {
        const float *c = table + position[n] * head_dim, *s = c + half;

        for (int64_t h = 0; h < heads; h++) {
            char *a = (char *)x->data + (n * x->stride + h * head_dim) * size;
            char *b = a + half * size;

            for (int64_t i = 0; i < half; i += DI_VL) {
                vf cv = v_get(c, 0, i, half - i), sv = v_get(s, 0, i, half - i);
                vf av = v_get(a, bf16, i, half - i), bv = v_get(b, bf16, i, half - i);

                if (inverse) sv = v_sub(v_zero(), sv);
                v_put(a, bf16, i, half - i, v_fnma(bv, sv, v_mul(av, cv)));
                v_put(b, bf16, i, half - i, v_fma(av, sv, v_mul(bv, cv)));
            }
        }
    }
}

#elif defined(DI_VECTOR)

void di_cpu_rope(di_device *dev, di_mat *x, const int32_t *position, const float *table,
                 int64_t heads, int64_t head_dim, int inverse)
{
    void (*run)(const di_mat *, const int32_t *, const float *, int64_t, int64_t, int, int64_t,
                int64_t) = DI_PICK(dev, rope);

#pragma omp parallel num_threads(di_threads_for(dev, x->rows *heads *head_dim))
    {
        int64_t lo, hi;

        di_share(x->rows, 1, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        run(x, position, table, heads, head_dim, inverse, lo, hi);
    }
}

#endif
