/* Frozen weights for tests: the stored form of a matrix whose values every dtype holds exactly. */
#ifndef DIAL_TEST_WEIGHT_H
#define DIAL_TEST_WEIGHT_H

#include "op.h"

/* Multiples of 1/32 below 4 in magnitude: exact in bf16 and in Q8_0 with the scale 1/32. */
static inline void fill_grid(di_mat *w, di_rng *r)
{
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t j = 0; j < w->cols; j++)
            set_el(w, i, j, ((double)di_rng_below(r, 255) - 127) / 32);
}

/* Rows of w (f32) in dtype t: F32, BF16 or Q8_0 (cols a multiple of 32). Free with di_free. */
static inline void *store_weight(const di_mat *w, di_dtype t)
{
    size_t row_bytes = di_dtype_row_bytes(t, w->cols);
    unsigned char *data = di_zalloc(di_alloc_default(), (size_t)w->rows * row_bytes + 1);

    for (int64_t i = 0; i < w->rows; i++) {
        unsigned char *row = data + (size_t)i * row_bytes;

        for (int64_t j = 0; j < w->cols; j++) {
            float f = (float)el(w, i, j);
            uint16_t narrow = di_f32_to_bf16(f), scale = (15 - 5) << 10; /* f16 1/32 */

            if (t == DI_F32) memcpy(row + 4 * j, &f, 4);
            if (t == DI_BF16) memcpy(row + 2 * j, &narrow, 2);
            if (t != DI_Q8_0) continue;
            memcpy(row + 34 * (j / 32), &scale, 2);
            row[34 * (j / 32) + 2 + j % 32] = (unsigned char)(signed char)lrint((double)f * 32);
        }
    }
    return data;
}

/* row_map: stored row (7 r + 3) mod n is row r; n is no multiple of 7. */
static inline int32_t mapped_row(int64_t r, int64_t n)
{
    return (int32_t)((7 * r + 3) % n);
}

#endif
