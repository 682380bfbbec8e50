#include "eval/select.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

static const char *const names[] = {"earliest", "source", "last"};

const char *di_select_name(di_select_rule rule)
{
    return names[rule];
}

int di_select_parse(const char *name)
{
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

static double mean_loss(const double *loss, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += loss[i];
    return sum / (double)n;
}

static di_candidate compare(const double *loss, const double *best, int64_t n)
{
    di_candidate c = {.loss = mean_loss(loss, n)};
    double sum = 0;

    for (int64_t i = 0; i < n; i++) c.gap += (loss[i] - best[i]) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double e = loss[i] - best[i] - c.gap;

        sum += e * e;
    }
    c.se = n > 1 ? sqrt(sum / (double)(n - 1) / (double)n) : 0;
    c.within = c.gap <= c.se;
    return c;
}

dial_status di_select(const int64_t *step, int64_t n_checkpoints, const double *loss,
                      int64_t n_rows, di_select_rule rule, int64_t *chosen, di_candidate *seen,
                      dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t best = 0, first = -1;
    double least = INFINITY;

    if (n_checkpoints < 1 || (rule != DI_SELECT_LAST && n_rows < 1))
        DI_FAIL(err, DIAL_ERR_USAGE,
                "expected checkpoints and rows to choose by, found %lld and %lld",
                (long long)n_checkpoints, (long long)n_rows);
    if (rule == DI_SELECT_LAST) {
        for (int64_t c = 1; c < n_checkpoints; c++)
            if (step[c] > step[best]) best = c;
        *chosen = best;
        goto done;
    }
    for (int64_t c = 0; c < n_checkpoints; c++) {
        double m = mean_loss(loss + c * n_rows, n_rows);

        if (!isfinite(m))
            DI_FAIL(err, DIAL_ERR_NUMERIC, "the source loss at step %lld is not finite",
                    (long long)step[c]);
        if (m < least || (m == least && step[c] < step[best])) {
            least = m;
            best = c;
        }
    }
    for (int64_t c = 0; c < n_checkpoints; c++) {
        di_candidate k = compare(loss + c * n_rows, loss + best * n_rows, n_rows);

        if (seen != NULL) seen[c] = k;
        if (k.within && (first < 0 || step[c] < step[first])) first = c;
    }
    *chosen = rule == DI_SELECT_SOURCE ? best : first;
done:
    return st;
}
