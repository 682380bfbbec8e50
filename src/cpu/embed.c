/*
 * Rows of the token table. In bf16 a row is rounded before the scale and after the product, as in
 * src/ref/embed.c.
 */
#define DI_SELF "cpu/embed.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"

#ifdef DI_PASS

DI_INLINE vf K(rounded)(vf x)
{
    uint16_t t[DI_VL];

    v_store_bf16(t, x);
    return v_load_bf16(t);
}

static void K(finish_row)(float *x, int64_t cols, float scale, int bf16)
{
    for (int64_t i = 0; i < cols; i += DI_VL) {
        vf v = v_get(x, 0, i, cols - i);

        if (bf16) v = K(rounded)(v);
        v = v_mul(v, v_set(scale));
        if (bf16) v = K(rounded)(v);
        v_put(x, 0, i, cols - i, v);
    }
}

#elif defined(DI_VECTOR)

void di_cpu_embed(di_device *dev, const di_weight *table, const int32_t *id, float scale, di_mat *x)
{
    void (*finish)(float *, int64_t, float, int) = DI_PICK(dev, finish_row);
    size_t row_bytes = di_dtype_row_bytes(table->dtype, table->in);

#pragma omp parallel for num_threads(di_threads_for(dev, x->rows * table->in)) schedule(static)
    for (int64_t n = 0; n < x->rows; n++) {
        int64_t r = table->row_map != NULL ? table->row_map[id[n]] : id[n];
        float *row = (float *)x->data + n * x->stride;

        di_dequantize(table->dtype, (const char *)table->data + (size_t)r * row_bytes, row,
                      table->in);
        finish(row, table->in, scale, dev->act == DI_BF16);
    }
}

#endif
