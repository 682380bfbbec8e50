/* Rows of the token table. */
#define DI_SELF "cpu/embed.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"

#ifdef DI_PASS

static void K(scale_row)(float *x, int64_t cols, float scale)
{
    for (int64_t i = 0; i < cols; i += DI_VL)
        v_put(x, 0, i, cols - i, v_mul(v_get(x, 0, i, cols - i), v_set(scale)));
}

#elif defined(DI_VECTOR)

void di_cpu_embed(di_device *dev, const di_weight *table, const int32_t *id, float scale, di_mat *x)
{
    void (*scale_row)(float *, int64_t, float) = DI_PICK(dev, scale_row);
    size_t row_bytes = di_dtype_row_bytes(table->dtype, table->in);

#pragma omp parallel for num_threads(di_threads_for(dev, x->rows * table->in)) schedule(static)
    for (int64_t n = 0; n < x->rows; n++) {
        int64_t r = table->row_map != NULL ? table->row_map[id[n]] : id[n];
        float *row = (float *)x->data + n * x->stride;

        di_dequantize(table->dtype, (const char *)table->data + (size_t)r * row_bytes, row,
                      table->in);
        scale_row(row, table->in, scale);
    }
}

#endif
