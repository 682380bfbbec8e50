/* Adam and AdamW (method.md 2.12), and the sum that gradient clipping needs. */
#include "ref/ref.h"

#include <math.h>

/* The step uses m and v as they are stored, so that what a checkpoint holds decides what follows.
 */
void di_ref_adam(di_device *dev, const di_adam_args *a)
{
    double fix1 = 1 - pow(a->beta1, (double)a->t), fix2 = 1 - pow(a->beta2, (double)a->t);

    (void)dev;
    for (int64_t i = 0; i < a->n; i++) {
        double g = (double)a->g[i] * a->grad_scale, theta = (double)a->theta[i];

        if (a->coupled)
            g += a->decay * theta;
        else
            theta *= 1 - a->lr * a->decay;
        a->m[i] = (float)(a->beta1 * (double)a->m[i] + (1 - a->beta1) * g);
        a->v[i] = (float)(a->beta2 * (double)a->v[i] + (1 - a->beta2) * g * g);
        theta -= a->lr * ((double)a->m[i] / fix1) / (sqrt((double)a->v[i] / fix2) + a->eps);
        a->theta[i] = (float)theta;
    }
}

double di_ref_sum_squares(di_device *dev, const float *x, int64_t n)
{
    double sum = 0;

    (void)dev;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}
