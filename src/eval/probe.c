#include "eval/probe.h"

#include <math.h>

#include "base/error.h"
#include "eval/dense.h"
#include "eval/logistic.h"
#include "eval/rows.h"

static const double ridge_share = 0.01, voter_share = 0.001;

/* w on differences of e divided by scale (NULL: 1), over the pairs that are kept. */
static dial_status fit(const di_alloc *al, const float *e, int64_t n, int64_t c, double share,
                       const double *scale, const int32_t *fold, int32_t left_out, float *w,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    double *x = di_new_array(al, ((size_t)n + 1) * (size_t)c, sizeof *x), *v = NULL, ridge;
    int64_t kept = 0;

    if (x == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a probe on %lld pairs", (long long)n);
    v = x + n * c;
    for (int64_t i = 0; i < n; i++) {
        const float *a = e + 2 * i * c, *b = a + c;

        if (fold != NULL && fold[i] == left_out) continue;
        for (int64_t j = 0; j < c; j++)
            x[kept * c + j] = ((double)a[j] - (double)b[j]) / (scale != NULL ? scale[j] : 1);
        kept++;
    }
    if (kept == 0) DI_FAIL(err, DIAL_ERR_USAGE, "a probe needs at least one pair, found none");
    ridge = share * di_dot(x, x, kept * c) / (double)kept;
    if (!(ridge > 0)) ridge = 1; /* all differences are zero: w = 0 */
    DI_TRY(di_logistic_fit(al, x, kept, c, ridge, 0, v, err));
    for (int64_t j = 0; j < c; j++) w[j] = (float)(v[j] / (scale != NULL ? scale[j] : 1));
done:
    di_free(al, x);
    return st;
}

dial_status di_probe_fit(const di_alloc *al, const float *e, int64_t n, int64_t width, float *w,
                         dial_error *err)
{
    return fit(al, e, n, width, ridge_share, NULL, NULL, 0, w, err);
}

static dial_status fit_standardised(const di_alloc *al, const float *e, int64_t n, int64_t c,
                                    double share, const int32_t *fold, int32_t left_out, float *w,
                                    dial_error *err)
{
    dial_status st = DIAL_OK;
    double *mean = di_new_array(al, 2 * (size_t)c, sizeof *mean);

    if (mean == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a probe");
    di_row_moments(e, 2 * n, c, mean, mean + c);
    DI_TRY(fit(al, e, n, c, share, mean + c, fold, left_out, w, err));
done:
    di_free(al, mean);
    return st;
}

dial_status di_probe_fit_standardised(const di_alloc *al, const float *e, int64_t n, int64_t width,
                                      const int32_t *fold, int32_t left_out, float *w,
                                      dial_error *err)
{
    return fit_standardised(al, e, n, width, ridge_share, fold, left_out, w, err);
}

dial_status di_probe_fit_voter(const di_alloc *al, const float *e, int64_t n, int64_t width,
                               float *w, dial_error *err)
{
    return fit_standardised(al, e, n, width, voter_share, NULL, 0, w, err);
}
