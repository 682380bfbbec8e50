/* The gated MLP's elementwise half. Shazeer 2020, GLU Variants Improve Transformer, eq. 6. */
#include "ref/ref.h"

#include <math.h>

/* Value of the activation, and its derivative into *slope. GELU: the tanh form of method.md 2.6. */
static double activate(di_act kind, double z, double *slope)
{
    if (kind == DI_SILU) {
        double s = 1 / (1 + exp(-z));

        *slope = s * (1 + z * (1 - s));
        return z * s;
    } else {
        const double k = 0.79788456080286535588; /* sqrt(2 / pi) */
        double t = tanh(k * (z + 0.044715 * z * z * z));
        double u1 = k * (1 + 3 * 0.044715 * z * z);

        *slope = (1 + t) / 2 + z * (1 - t * t) * u1 / 2;
        return z * (1 + t) / 2;
    }
}

void di_ref_glu_forward(di_device *dev, di_act kind, const di_mat *gu, di_mat *h)
{
    (void)dev;
    for (int64_t n = 0; n < h->rows; n++) {
        for (int64_t i = 0; i < h->cols; i++) {
            double slope;

            put(h, n, i, activate(kind, get(gu, n, i), &slope) * get(gu, n, h->cols + i));
        }
    }
}

/* Both inputs are read before either gradient is written: dgu may be gu. */
void di_ref_glu_backward(di_device *dev, di_act kind, const di_mat *gu, const di_mat *dh,
                         di_mat *dgu)
{
    (void)dev;
    for (int64_t n = 0; n < dh->rows; n++) {
        for (int64_t i = 0; i < dh->cols; i++) {
            double up = get(gu, n, dh->cols + i), d = get(dh, n, i), slope;
            double a = activate(kind, get(gu, n, i), &slope);

            put(dgu, n, i, d * up * slope);
            put(dgu, n, dh->cols + i, d * a);
        }
    }
}
