/* Cross-entropy of next tokens over the vocabulary (method.md 4.1, NTP). */
#include "ref/ref.h"

#include <math.h>

/* The soft cap of gemma2: s = cap tanh(x/cap), and its slope. */
static double capped(double x, double cap, double *slope)
{
    double t;

    *slope = 1;
    if (cap <= 0) return x;
    t = tanh(x / cap);
    *slope = 1 - t * t;
    return cap * t;
}

void di_ref_next_token(di_device *dev, di_mat *x, const int32_t *id, const float *weight, float cap,
                       double *loss)
{
    (void)dev;
    for (int64_t n = 0; n < x->rows; n++) {
        double most = -INFINITY, sum = 0, slope, lse, u = (double)weight[n];

        for (int64_t v = 0; v < x->cols; v++)
            most = fmax(most, capped(get(x, n, v), (double)cap, &slope));
        for (int64_t v = 0; v < x->cols; v++)
            sum += exp(capped(get(x, n, v), (double)cap, &slope) - most);
        lse = most + log(sum);
        loss[n] = u * (lse - capped(get(x, n, id[n]), (double)cap, &slope));
        for (int64_t v = 0; v < x->cols; v++) {
            double s = capped(get(x, n, v), (double)cap, &slope);

            put(x, n, v, u * (exp(s - lse) - (v == id[n])) * slope);
        }
    }
}
