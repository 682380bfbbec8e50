#include "eval/domain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/dense.h"
#include "eval/logistic.h"
#include "eval/pca.h"
#include "eval/rows.h"

enum { FEW_ROWS = 2000, COMPONENTS = 64 };
static const double ridge = 1e-2;

/* Standardised rows of both sets, or their principal components: *out (n, *width). */
static dial_status features(const di_alloc *al, const di_two_sets *x, float **out, int64_t *width,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = x->n_s + x->n_t, c = x->c, k = COMPONENTS < c ? COMPONENTS : c;
    float *z = di_new_array(al, (size_t)(n * c), sizeof *z), *y = NULL;
    double *mean = di_new_array(al, 2 * (size_t)c, sizeof *mean);

    if (z == NULL || mean == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a domain probe");
    memcpy(z, x->s, (size_t)(x->n_s * c) * sizeof *z);
    memcpy(z + x->n_s * c, x->t, (size_t)(x->n_t * c) * sizeof *z);
    di_row_moments(z, n, c, mean, mean + c);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            z[i * c + j] = (float)(((double)z[i * c + j] - mean[j]) / mean[c + j]);
    *width = c;
    if (n < FEW_ROWS && k < c) {
        y = di_new_array(al, (size_t)(n * k), sizeof *y);
        if (y == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a domain probe");
        DI_TRY(di_pca(al, z, n, c, k, y, NULL, NULL, err));
        *width = k;
        di_free(al, z);
        z = y;
        y = NULL;
    }
    for (int64_t i = 0; i < n * *width; i++)
        if (!isfinite(z[i]))
            DI_FAIL(err, DIAL_ERR_NUMERIC, "row %lld holds a value that is not finite",
                    (long long)(i / *width));
    *out = z;
    z = NULL;
done:
    di_free(al, z);
    di_free(al, y);
    di_free(al, mean);
    return st;
}

/* Fits on all rows but those of one fold; fills the logits of that fold. */
static dial_status judge_fold(const di_alloc *al, const di_two_sets *x, const float *z, int64_t f,
                              const int32_t *fold, int32_t left_out, double *logit, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = x->n_s + x->n_t, kept = 0, side[2] = {0, 0};
    double *rows = di_new_array(al, (size_t)((n + 1) * (f + 1)), sizeof *rows), *w = NULL;

    if (rows == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a domain probe");
    w = rows + n * (f + 1);
    for (int64_t i = 0; i < n; i++) {
        double y = i < x->n_s ? -1 : 1, *r = rows + kept * (f + 1);

        if (fold[i] == left_out) continue;
        for (int64_t j = 0; j < f; j++) r[j] = y * (double)z[i * f + j];
        r[f] = y;
        side[i >= x->n_s]++;
        kept++;
    }
    if (side[0] == 0 || side[1] == 0)
        DI_FAIL(err, DIAL_ERR_USAGE, "fold %d leaves %lld source and %lld target rows to fit on",
                (int)left_out, (long long)side[0], (long long)side[1]);
    DI_TRY(di_logistic_fit(al, rows, kept, f + 1, ridge, 1, w, err));
    for (int64_t i = 0; i < n; i++) {
        if (fold[i] != left_out) continue;
        logit[i] = w[f];
        for (int64_t j = 0; j < f; j++) logit[i] += w[j] * (double)z[i * f + j];
    }
done:
    di_free(al, rows);
    return st;
}

static double a_distance(double accuracy)
{
    return fmax(4 * accuracy - 2, 0);
}

static di_domain_probe_result result_of(const di_two_sets *x, const double *logit)
{
    di_domain_probe_result r;
    double cut = log((double)x->n_t / (double)x->n_s), right[2] = {0, 0}, p[2], se;

    for (int64_t i = 0; i < x->n_s + x->n_t; i++)
        right[i >= x->n_s] += i < x->n_s ? logit[i] <= cut : logit[i] > cut;
    p[0] = right[0] / (double)x->n_s;
    p[1] = right[1] / (double)x->n_t;
    se = sqrt(p[0] * (1 - p[0]) / (double)x->n_s + p[1] * (1 - p[1]) / (double)x->n_t) / 2;
    r.accuracy = (p[0] + p[1]) / 2;
    r.ci = di_wilson_clustered(r.accuracy, se, (double)(x->n_s + x->n_t));
    r.a_distance = a_distance(r.accuracy);
    r.a_ci = (di_interval){a_distance(r.ci.lo), a_distance(r.ci.hi)};
    return r;
}

dial_status di_domain_probe(const di_alloc *al, const di_two_sets *x, const int32_t *fold_s,
                            const int32_t *fold_t, int folds, double *logit_s, double *logit_t,
                            di_domain_probe_result *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = x->n_s + x->n_t, f = 0;
    double *logit = di_new_array(al, (size_t)n, sizeof *logit);
    int32_t *fold = di_new_array(al, (size_t)n, sizeof *fold);
    float *z = NULL;

    if (logit == NULL || fold == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a domain probe");
    if (x->n_s < 2 || x->n_t < 2)
        DI_FAIL(err, DIAL_ERR_USAGE, "a domain probe needs 2 rows a domain, found %lld and %lld",
                (long long)x->n_s, (long long)x->n_t);
    memcpy(fold, fold_s, (size_t)x->n_s * sizeof *fold);
    memcpy(fold + x->n_s, fold_t, (size_t)x->n_t * sizeof *fold);
    DI_TRY(features(al, x, &z, &f, err));
    for (int32_t k = 0; k < folds; k++) DI_TRY(judge_fold(al, x, z, f, fold, k, logit, err));
    if (logit_s != NULL) memcpy(logit_s, logit, (size_t)x->n_s * sizeof *logit);
    if (logit_t != NULL) memcpy(logit_t, logit + x->n_s, (size_t)x->n_t * sizeof *logit);
    *out = result_of(x, logit);
done:
    di_free(al, logit);
    di_free(al, fold);
    di_free(al, z);
    return st;
}

dial_status di_coord_normalised(const di_alloc *al, const di_two_sets *x, int center, float *out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t c = x->c;
    double *mean = di_new_array(al, 2 * (size_t)c, sizeof *mean), root = sqrt((double)c);

    if (mean == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to normalise rows");
    di_row_moments(x->s, x->n_s, c, mean, mean + c);
    for (int64_t i = 0; i < x->n_s + x->n_t; i++) {
        const float *row = i < x->n_s ? x->s + i * c : x->t + (i - x->n_s) * c;

        for (int64_t j = 0; j < c; j++)
            out[i * c + j] =
                (float)(((double)row[j] - (center ? mean[j] : 0)) / mean[c + j] / root);
    }
done:
    di_free(al, mean);
    return st;
}

static void mean_of(const float *x, int64_t n, int64_t c, double *mean)
{
    memset(mean, 0, (size_t)c * sizeof *mean);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) mean[j] += (double)x[i * c + j] / (double)n;
}

dial_status di_mean_gap(const di_alloc *al, const di_two_sets *x, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    double *mean = di_new_array(al, 2 * (size_t)x->c, sizeof *mean), sum = 0;

    if (mean == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the mean gap");
    mean_of(x->s, x->n_s, x->c, mean);
    mean_of(x->t, x->n_t, x->c, mean + x->c);
    for (int64_t j = 0; j < x->c; j++) {
        double d = mean[j] - mean[x->c + j];

        sum += d * d;
    }
    *out = sqrt(sum);
done:
    di_free(al, mean);
    return st;
}

/* |A B^T|_F^2 of two sets of centred rows. */
static double gram_square(const double *a, int64_t n_a, const double *b, int64_t n_b, int64_t c)
{
    double sum = 0;

    for (int64_t i = 0; i < n_a; i++)
        for (int64_t j = 0; j < n_b; j++) {
            double d = di_dot(a + i * c, b + j * c, c);

            sum += d * d;
        }
    return sum;
}

dial_status di_coral(const di_alloc *al, const di_two_sets *x, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t c = x->c, n_s = x->n_s, n_t = x->n_t;
    double *rows = di_new_array(al, (size_t)((n_s + n_t + 1) * c), sizeof *rows), *mean = NULL;
    double s, t, ks = (double)(n_s - 1), kt = (double)(n_t - 1);

    if (rows == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for covariances");
    mean = rows + (n_s + n_t) * c;
    for (int side = 0; side < 2; side++) {
        const float *from = side == 0 ? x->s : x->t;
        double *to = side == 0 ? rows : rows + n_s * c;
        int64_t n = side == 0 ? n_s : n_t;

        mean_of(from, n, c, mean);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < c; j++) to[i * c + j] = (double)from[i * c + j] - mean[j];
    }
    s = gram_square(rows, n_s, rows, n_s, c) / (ks * ks);
    t = gram_square(rows + n_s * c, n_t, rows + n_s * c, n_t, c) / (kt * kt);
    *out = (s + t - 2 * gram_square(rows, n_s, rows + n_s * c, n_t, c) / (ks * kt)) /
           (4 * (double)c * (double)c);
done:
    di_free(al, rows);
    return st;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

dial_status di_importance_weights(const di_alloc *al, const double *logit, int64_t n, int64_t n_s,
                                  int64_t n_t, double kappa, double clip, double *u,
                                  dial_error *err)
{
    dial_status st = DIAL_OK;
    double *sorted = di_new_array(al, (size_t)n, sizeof *sorted), place, cap;
    int64_t at;

    if (sorted == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for importance weights");
    for (int64_t i = 0; i < n; i++) /* e^700: end of f64 */
        u[i] = exp(kappa * (log((double)n_s / (double)n_t) + fmin(logit[i], 600)));
    memcpy(sorted, u, (size_t)n * sizeof *u);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    place = clip * (double)(n - 1);
    at = (int64_t)place;
    cap = sorted[at];
    if (at + 1 < n) cap += (place - (double)at) * (sorted[at + 1] - sorted[at]);
    for (int64_t i = 0; i < n; i++) u[i] = fmin(u[i], cap);
done:
    di_free(al, sorted);
    return st;
}

di_importance di_importance_risk(const double *u, const double *loss, int64_t n)
{
    di_importance r = {0};
    double su = 0, suu = 0, sul = 0, cov = 0, var = 0, k = (double)n, eta = 0;

    for (int64_t i = 0; i < n; i++) {
        su += u[i];
        suu += u[i] * u[i];
        sul += u[i] * loss[i];
    }
    for (int64_t i = 0; i < n; i++) {
        cov += (u[i] * loss[i] - sul / k) * (u[i] - su / k);
        var += (u[i] - su / k) * (u[i] - su / k);
    }
    if (var > 1e-20 * suu) eta = -cov / var; /* equal weights need no control variate */
    r.iwv = sul / su;
    r.dev = sul / k + eta * su / k - eta;
    r.ess = su * su / suu;
    r.usable = r.ess >= fmax(30, k / 20);
    return r;
}
