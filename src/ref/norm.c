/* RMSNorm. Zhang and Sennrich 2019, Root Mean Square Layer Normalization, eq. 4. */
#include "ref/ref.h"

#include <math.h>

void di_ref_norm_forward(di_device *dev, const di_norm_args *a)
{
    int64_t d = a->x.cols / a->groups;

    (void)dev;
    for (int64_t n = 0; n < a->x.rows; n++) {
        for (int64_t g = 0; g < a->groups; g++) {
            double sum = 0, rstd;

            for (int64_t i = 0; i < d; i++)
                sum += get(&a->x, n, g * d + i) * get(&a->x, n, g * d + i);
            rstd = 1 / sqrt(sum / (double)d + (double)a->eps);
            if (a->rstd != NULL) a->rstd[n * a->groups + g] = (float)rstd;
            for (int64_t i = 0; i < d; i++) {
                double x = get(&a->x, n, g * d + i), y = x * rstd * (double)a->w[i];

                if (a->keep.data != NULL) put(&a->keep, n, g * d + i, x);
                if (a->add) y += get(&a->y, n, g * d + i);
                put(&a->y, n, g * d + i, y);
            }
        }
    }
}

/* With xh = x * rstd and gy = w .* dy:  dx = rstd * (gy - xh * mean(gy .* xh)). w is frozen. */
void di_ref_norm_backward(di_device *dev, const di_norm_args *a)
{
    int64_t d = a->x.cols / a->groups;

    (void)dev;
    for (int64_t n = 0; n < a->x.rows; n++) {
        for (int64_t g = 0; g < a->groups; g++) {
            double rstd = (double)a->rstd[n * a->groups + g], sum = 0;

            for (int64_t i = 0; i < d; i++)
                sum +=
                    (double)a->w[i] * get(&a->dy, n, g * d + i) * get(&a->x, n, g * d + i) * rstd;
            for (int64_t i = 0; i < d; i++) {
                double gy = (double)a->w[i] * get(&a->dy, n, g * d + i);
                double dx = rstd * (gy - get(&a->x, n, g * d + i) * rstd * sum / (double)d);

                if (a->add) dx += get(&a->dx, n, g * d + i);
                put(&a->dx, n, g * d + i, dx);
            }
        }
    }
}
