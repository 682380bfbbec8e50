/* Rows of the token table, whatever dtype the file stores. */
#include "ref/ref.h"

/*
 * Nothing is rounded to act here, although the bf16 module of Hugging Face does so twice and takes
 * a bf16 sqrt(C) for Gemma: the stream is f32, and Gemma 3 loses more by these than by all other
 * bf16 values of a block (docs/pitfalls.md).
 */
void di_ref_embed(di_device *dev, const di_weight *table, const int32_t *id, float scale, di_mat *x)
{
    (void)dev;
    for (int64_t n = 0; n < x->rows; n++) {
        int64_t r = table->row_map != NULL ? table->row_map[id[n]] : id[n];
        float *row = (float *)x->data + n * x->stride;

        di_dequantize(table->dtype,
                      (const char *)table->data +
                          (size_t)r * di_dtype_row_bytes(table->dtype, table->in),
                      row, table->in);
        for (int64_t i = 0; i < table->in; i++) row[i] *= scale;
    }
}
