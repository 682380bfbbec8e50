#include "eval/transport.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/*
 * Adds rows one at a time; for each, the shortest path in reduced costs to a free column. Columns
 * 1..n, row_of[0] is the row being added, prices u (rows) and v (columns) keep reduced costs >= 0.
 */
static void assign(const double *cost, int64_t n, int64_t *row_of, int64_t *way, double *u,
                   double *v, double *least, char *used)
{
    for (int64_t i = 1; i <= n; i++) {
        int64_t column = 0;

        row_of[0] = i;
        for (int64_t j = 0; j <= n; j++) {
            least[j] = INFINITY;
            used[j] = 0;
        }
        do {
            int64_t row = row_of[column], next = 0;
            double delta = INFINITY;

            used[column] = 1;
            for (int64_t j = 1; j <= n; j++) {
                double reduced;

                if (used[j]) continue;
                reduced = cost[(row - 1) * n + j - 1] - u[row] - v[j];
                if (reduced < least[j]) {
                    least[j] = reduced;
                    way[j] = column;
                }
                if (least[j] < delta) {
                    delta = least[j];
                    next = j;
                }
            }
            for (int64_t j = 0; j <= n; j++) {
                if (used[j]) {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            column = next;
        } while (row_of[column] != 0);
        for (; column != 0; column = way[column]) row_of[column] = row_of[way[column]];
    }
}

dial_status di_w1_sample(const di_alloc *al, const di_two_sets *x, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = x->n_s < x->n_t ? x->n_s : x->n_t;
    size_t m = (size_t)n + 1;
    double *cost = NULL, *price = NULL, sum = 0;
    int64_t *place = NULL;
    char *used = NULL;

    if (n < 1) DI_FAIL(err, DIAL_ERR_USAGE, "a sample distance needs rows in both domains");
    cost = di_new_array(al, (size_t)(n * n), sizeof *cost);
    price = di_new_array(al, 3 * m, sizeof *price);
    place = di_new_array(al, 2 * m, sizeof *place);
    used = di_new_array(al, m, 1);
    if (!cost || !price || !place || !used)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an assignment of %lld rows", (long long)n);
    costs(x, n, cost);
    assign(cost, n, place, place + m, price, price + m, price + 2 * m, used);
    for (int64_t j = 1; j <= n; j++) sum += cost[(place[j] - 1) * n + j - 1];
    *out = sum / (double)n;
done:
    di_free(al, cost);
    di_free(al, price);
    di_free(al, place);
    di_free(al, used);
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
