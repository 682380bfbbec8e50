/* Copies, conversions and sums of matrices. */
#include "ref/ref.h"

void di_ref_copy(di_device *dev, const di_mat *x, di_mat *y, int add)
{
    (void)dev;
    for (int64_t n = 0; n < x->rows; n++)
        for (int64_t i = 0; i < x->cols; i++)
            put(y, n, i, add ? get(y, n, i) + get(x, n, i) : get(x, n, i));
}
