#include "align/kernel.h"

#include <math.h>

double di_rbf(const double *scale, int n, double b0, double d2, double *slope)
{
    double k = 0, e = 1, last = 0;

    *slope = 0;
    for (int q = 0; q < n; q++) {
        double b = scale[q] * (b0 > 0 ? b0 : 1);

        e = last == 2 * b ? e * e : exp(-d2 / b);
        last = b;
        k += e;
        *slope += 2 / b * e;
    }
    return k;
}

/* The k-th smallest of v [n] comes to its place, none larger before it (Hoare's selection). */
static float nth(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;

    while (lo < hi) {
        float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;

        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i <= j) {
                float t = v[i];

                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            break;
    }
    return v[k];
}

double di_median(float *v, int64_t n)
{
    double upper = (double)nth(v, n, n / 2);

    return n % 2 != 0 ? upper : ((double)nth(v, n, n / 2 - 1) + upper) / 2;
}
