/*
 * Products among the rows of a step, on mm.h: b is laid out in panels, then threads take rows of y.
 * The layout is one pass over b, little beside the product from a dozen rows of y on.
 */
#include "cpu/cpu.h"

#include <omp.h>

#include "cpu/mm.h"

#ifdef DI_VECTOR

size_t di_cpu_multiply_bytes(const di_device *dev, int64_t m, int64_t k)
{
    (void)dev;
    return (size_t)(di_round_up(m, DI_PANEL) * k) * sizeof(float);
}

/* Panels of 32 columns of b, K deep. */
static void lay_out(di_isa isa, const di_mat *b, int turned, float *panels)
{
    di_pack p = {.x = b->data,
                 .dtype = DI_F32,
                 .stride = b->stride,
                 .rows = b->rows,
                 .cols = b->cols,
                 .scale = 1,
                 .to = panels};

    if (turned)
        di_pack_across(isa, 0, &p);
    else
        di_pack_down(isa, 0, &p, 0, b->rows, b->rows);
}

void di_cpu_multiply(di_device *dev, const di_mat *a, const di_mat *b, int turned, di_mat *y,
                     int add, void *work)
{
    di_isa isa = di_cpu_isa(dev);
    int T = di_threads_for(dev, y->rows * y->cols * a->cols / 16);

    lay_out(isa, b, turned, work);
#pragma omp parallel num_threads(T)
    {
        int64_t lo, hi;

        di_share(y->rows, 4, omp_get_thread_num(), T, &lo, &hi);
        if (lo < hi)
            di_mm_run(isa, 0,
                      &(di_mm){.m = hi - lo,
                               .n = y->cols,
                               .k = a->cols,
                               .a = (const float *)a->data + lo * a->stride,
                               .a_row = a->stride,
                               .a_k = 1,
                               .b = work,
                               .b_panel = DI_PANEL * a->cols,
                               .b_k = DI_PANEL,
                               .c = (float *)y->data + lo * y->stride,
                               .c_row = y->stride,
                               .add = add});
    }
}

#endif
