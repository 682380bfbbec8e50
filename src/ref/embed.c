/* Rows of the token table, whatever dtype the file stores. */
#include "ref/ref.h"

/*
 * The row is rounded to act before the scale and the product after it, as the bf16 module of
 * Hugging Face does (Gemma multiplies by a bf16 sqrt(C)); one rounding more than f32 needs.
 */
void di_ref_embed(di_device *dev, const di_weight *table, const int32_t *id, float scale, di_mat *x)
{
    for (int64_t n = 0; n < x->rows; n++) {
        int64_t r = table->row_map != NULL ? table->row_map[id[n]] : id[n];
        float *row = (float *)x->data + n * x->stride;

        di_dequantize(table->dtype,
                      (const char *)table->data +
                          (size_t)r * di_dtype_row_bytes(table->dtype, table->in),
                      row, table->in);
        for (int64_t i = 0; i < table->in; i++) {
            if (dev->act == DI_BF16) {
                float w = di_bf16_to_f32(di_f32_to_bf16(row[i]));

                row[i] = di_bf16_to_f32(di_f32_to_bf16(w * scale));
            } else {
                row[i] *= scale;
            }
        }
    }
}
