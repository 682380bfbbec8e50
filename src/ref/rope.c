/* Rotary positions, half rotation as in Hugging Face's rotate_half. Su et al. 2021, eq. 34. */
#include "ref/ref.h"

void di_ref_rope(di_device *dev, di_mat *x, const int32_t *position, const float *table,
                 int64_t heads, int64_t head_dim, int inverse)
{
    int64_t half = head_dim / 2;

    (void)dev;
    for (int64_t n = 0; n < x->rows; n++) {
        const float *cos_n = table + position[n] * head_dim, *sin_n = cos_n + half;

        for (int64_t h = 0; h < heads; h++) {
            for (int64_t i = 0; i < half; i++) {
                int64_t lo = h * head_dim + i, hi = lo + half;
                double c = (double)cos_n[i], s = inverse ? -(double)sin_n[i] : (double)sin_n[i];
                double a = get(x, n, lo), b = get(x, n, hi);

                put(x, n, lo, a * c - b * s);
                put(x, n, hi, b * c + a * s);
            }
        }
    }
}
