#include "eval/agreement.h"

#include <math.h>

double di_sign_agreement(const double *a, const double *b, const char *use, int64_t n_rows,
                         int64_t *n)
{
    double same = 0;
    int64_t count = 0;

    for (int64_t i = 0; i < n_rows; i++) {
        if (use != NULL && !use[i]) continue;
        same += a[i] == 0 || b[i] == 0 ? 0.5 : (a[i] > 0) == (b[i] > 0);
        count++;
    }
    if (n != NULL) *n = count;
    return count > 0 ? same / (double)count : NAN;
}

double di_share_se(double p, int64_t n)
{
    return n > 0 ? fmax(sqrt(fmax(p * (1 - p), 0) / (double)n), 1 / (2 * (double)n)) : NAN;
}

void di_length_residual(const double *m, const double *l, int64_t n, double *out)
{
    double ml = 0, ll = 0;

    for (int64_t i = 0; i < n; i++) {
        ml += m[i] * l[i];
        ll += l[i] * l[i];
    }
    for (int64_t i = 0; i < n; i++) out[i] = m[i] - (ll > 0 ? ml / ll * l[i] : 0);
}

double di_triple_accuracy(double ab, double ac, double bc)
{
    double square = (ab - 0.5) * (ac - 0.5) / (2 * (bc - 0.5));

    return square >= 0 && isfinite(square) ? fmin(0.5 + sqrt(square), 1) : NAN;
}
