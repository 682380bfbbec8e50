/* Products among the rows of a step. */
#include "ref/ref.h"

size_t di_ref_multiply_bytes(const di_device *dev, int64_t m, int64_t k)
{
    (void)dev;
    (void)m;
    (void)k;
    return 0;
}

void di_ref_multiply(di_device *dev, const di_mat *a, const di_mat *b, int turned, di_mat *y,
                     int add, void *work)
{
    (void)dev;
    (void)work;
    for (int64_t i = 0; i < y->rows; i++)
        for (int64_t j = 0; j < y->cols; j++) {
            double sum = add ? get(y, i, j) : 0;

            for (int64_t k = 0; k < a->cols; k++)
                sum += get(a, i, k) * (turned ? get(b, j, k) : get(b, k, j));
            put(y, i, j, sum);
        }
}
