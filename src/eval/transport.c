#include "eval/transport.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "align/transport.h"
#include "base/error.h"

static void costs(const di_two_sets *x, int64_t n, double *cost)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const float *a = x->s + i * x->c, *b = x->t + j * x->c;
            double sum = 0;

#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < x->c; k++) {
                double d = (double)a[k] - (double)b[k];

                sum += d * d;
            }
            cost[i * n + j] = sqrt(sum);
        }
}

dial_status di_w1_sample(const di_alloc *al, const di_two_sets *x, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = x->n_s < x->n_t ? x->n_s : x->n_t;
    double *cost = NULL, *plan = NULL, *work = NULL, sum = 0;

    if (n < 1) DI_FAIL(err, DIAL_ERR_USAGE, "a sample distance needs rows in both domains");
    cost = di_new_array(al, (size_t)(n * n), sizeof *cost);
    plan = di_new_array(al, (size_t)(n * n), sizeof *plan);
    work = di_new_array(al, (size_t)di_transport_exact_words(n, n), sizeof *work);
    if (!cost || !plan || !work)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an assignment of %lld rows", (long long)n);
    costs(x, n, cost);
    di_transport_exact(cost, n, n, plan, work);
    for (int64_t k = 0; k < n * n; k++) sum += plan[k] * cost[k];
    *out = sum;
done:
    di_free(al, cost);
    di_free(al, plan);
    di_free(al, work);
    return st;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

dial_status di_w1_line(const di_alloc *al, const double *a, int64_t n_a, const double *b,
                       int64_t n_b, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    double *x = di_new_array(al, (size_t)(n_a + n_b), sizeof *x), *y = NULL, last = 0, area = 0;
    int64_t i = 0, j = 0;

    if (x == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a distance on a line");
    y = x + n_a;
    memcpy(x, a, (size_t)n_a * sizeof *x);
    memcpy(y, b, (size_t)n_b * sizeof *y);
    qsort(x, (size_t)n_a, sizeof *x, ascending);
    qsort(y, (size_t)n_b, sizeof *y, ascending);
    while (i < n_a || j < n_b) { /* between two points the distribution functions are constant */
        double at = j == n_b || (i < n_a && x[i] <= y[j]) ? x[i] : y[j];

        if (i + j > 0)
            area += (at - last) * fabs((double)i / (double)n_a - (double)j / (double)n_b);
        if (j == n_b || (i < n_a && x[i] <= y[j]))
            i++;
        else
            j++;
        last = at;
    }
    *out = area;
done:
    di_free(al, x);
    return st;
}
