/*
 * From token rows to one row a text, and back. The mean is an f32 sum in the order of positions
 * and one division, the same bits as in src/ref/pool.c. Forward shares texts among the threads;
 * backward shares columns, because texts with a common prefix add to the same rows in their order.
 */
#define DI_SELF "cpu/pool.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"

#include <omp.h>
#include <string.h>

#ifdef DI_PASS

static void K(add_row)(float *y, const void *x, int bf16, int64_t cols)
{
    for (int64_t i = 0; i < cols; i += DI_VL)
        v_put(y, 0, i, cols - i, v_add(v_get(y, 0, i, cols - i), v_get(x, bf16, i, cols - i)));
}

static void K(divide_row)(float *y, float by, int64_t cols)
{
    for (int64_t i = 0; i < cols; i += DI_VL)
        v_put(y, 0, i, cols - i, v_div(v_get(y, 0, i, cols - i), v_set(by)));
}

/* y += x / by */
static void K(add_share)(float *y, const float *x, float by, int64_t cols)
{
    for (int64_t i = 0; i < cols; i += DI_VL) {
        vf share = v_div(v_get(x, 0, i, cols - i), v_set(by));

        v_put(y, 0, i, cols - i, v_add(v_get(y, 0, i, cols - i), share));
    }
}

static void K(put_row)(void *y, int bf16, const float *x, int64_t cols)
{
    for (int64_t i = 0; i < cols; i += DI_VL) v_put(y, bf16, i, cols - i, v_get(x, 0, i, cols - i));
}

#elif defined(DI_VECTOR)

static void *row_of(const di_mat *x, int64_t n)
{
    return (char *)x->data + (size_t)(n * x->stride) * di_act_bytes(x->dtype);
}

/*
 * e [C] = the rows of the path that ends in segment `leaf`, root first. Parents point upwards, so
 * the way down is found anew from the leaf for each segment: paths are a few segments long.
 */
static void add_path(const di_device *dev, const di_batch *b, int32_t leaf, const di_mat *x,
                     float *e)
{
    void (*add)(float *, const void *, int, int64_t) = DI_PICK(dev, add_row);
    int32_t above = -1;

    memset(e, 0, (size_t)x->cols * sizeof *e);
    while (above != leaf) {
        int32_t s = leaf;

        while (b->segment[s].parent != above) s = b->segment[s].parent;
        for (int64_t n = b->segment[s].row; n < b->segment[s].row + b->segment[s].n; n++)
            add(e, row_of(x, n), x->dtype == DI_BF16, x->cols);
        above = s;
    }
}

void di_cpu_pool_forward(di_device *dev, const di_batch *b, const di_mat *x, int mean, di_mat *e)
{
#pragma omp parallel for num_threads(di_threads_for(dev, mean ? x->rows * x->cols : 0))            \
    schedule(dynamic)
    for (int64_t t = 0; t < b->n_texts; t++) {
        float *row = (float *)e->data + t * e->stride;

        if (mean) {
            add_path(dev, b, b->leaf[t], x, row);
            DI_PICK(dev, divide_row)(row, (float)b->length[t], x->cols);
        } else {
            memset(row, 0, (size_t)x->cols * sizeof *row);
            DI_PICK(dev, add_row)(row, row_of(x, b->last_row[t]), x->dtype == DI_BF16, x->cols);
        }
    }
}

/* Columns [lo, hi) of dx. */
static void backward_columns(const di_device *dev, const di_batch *b, const di_mat *de, int mean,
                             const di_mat *dx, int64_t lo, int64_t hi)
{
    void (*add)(float *, const float *, float, int64_t) = DI_PICK(dev, add_share);
    const size_t each = di_act_bytes(dx->dtype), at = (size_t)lo * each;

    for (int64_t n = 0; n < dx->rows; n++)
        memset((char *)row_of(dx, n) + at, 0, (size_t)(hi - lo) * each);
    for (int64_t t = 0; t < b->n_texts; t++) {
        const float *d = (const float *)de->data + t * de->stride + lo;

        if (!mean) {
            DI_PICK(dev, put_row)
            ((char *)row_of(dx, b->last_row[t]) + at, dx->dtype == DI_BF16, d, hi - lo);
            continue;
        }
        for (int32_t s = b->leaf[t]; s >= 0; s = b->segment[s].parent)
            for (int64_t n = b->segment[s].row; n < b->segment[s].row + b->segment[s].n; n++)
                add((float *)dx->data + n * dx->stride + lo, d, (float)b->length[t], hi - lo);
    }
}

void di_cpu_pool_backward(di_device *dev, const di_batch *b, const di_mat *de, int mean, di_mat *dx)
{
#pragma omp parallel num_threads(di_threads_for(dev, dx->rows * dx->cols))
    {
        int64_t lo, hi;

        di_share(dx->cols, 16, omp_get_thread_num(), omp_get_num_threads(), &lo, &hi);
        backward_columns(dev, b, de, mean, dx, lo, hi);
    }
}

#endif
