#include "train/length_guard.h"

#include <math.h>

#include "align/kernel.h"

double di_length_guard(double weight, double c0, const di_side *side, const float *r, float *dr)
{
    double mm = 0, ll = 0, ml = 0, norm, over;

    for (int64_t p = 0; p < side->n_pairs; p++) {
        int32_t i = side->pair[0][p], j = side->pair[1][p];
        double m = (double)r[i] - (double)r[j];
        double l = (double)side->log_words[i] - (double)side->log_words[j];

        mm += m * m;
        ll += l * l;
        ml += m * l;
    }
    norm = sqrt(mm) * sqrt(ll);
    over = norm > 0 ? ml / norm - c0 : 0;
    if (over <= 0) return 0;
    for (int64_t p = 0; p < side->n_pairs; p++) {
        int32_t i = side->pair[0][p], j = side->pair[1][p];
        double m = (double)r[i] - (double)r[j];
        double l = (double)side->log_words[i] - (double)side->log_words[j];
        float dm = (float)(weight * 2 * over * (l / norm - ml / norm * m / mm));

        dr[i] += dm;
        dr[j] -= dm;
    }
    return weight * over * over;
}

/* The better texts of the side (worse 0), or all others: their rows. Returns how many. */
static int64_t rows_of(const di_side *side, int worse, int32_t *row)
{
    int64_t n = 0;

    for (int64_t i = 0; i < side->n; i++)
        for (int64_t t = worse; t < (worse ? side->per : 1); t++)
            if (di_side_row(side, i, t) >= 0) row[n++] = di_side_row(side, i, t);
    return n;
}

/*
 * The longer ones come to the front of row [n], the shorter ones behind them, those at the median
 * go. v: [n] scratch.
 */
static void split(const float *log_words, int32_t *row, int64_t n, float *v, int64_t count[2])
{
    double middle;
    int64_t at = 0;

    for (int64_t i = 0; i < n; i++) v[i] = log_words[row[i]];
    middle = n > 0 ? di_median(v, n) : 0;
    for (int side = 0; side < 2; side++) {
        int64_t first = at;

        for (int64_t i = first; i < n; i++) {
            double l = (double)log_words[row[i]];
            int32_t held = row[i];

            if (side == 0 ? l <= middle : l >= middle) continue;
            row[i] = row[at];
            row[at++] = held;
        }
        count[side] = at - first;
    }
}

/* Squared distance of two rewards. */
static double apart(const float *r, const int32_t *row, int64_t i, int64_t j)
{
    double d = (double)r[row[i]] - (double)r[row[j]];

    return d * d;
}

/* weight * MMD^2 of the first count[0] rows and the count[1] behind them; dr += . */
static double compare(double weight, const int32_t *row, const int64_t count[2], const float *r,
                      float *dr, float *v)
{
    static const double scale[] = {4, 2, 1, 0.5, 0.25};
    int64_t n = count[0] + count[1], pairs = 0;
    double loss = 0, b0, slope;

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) v[pairs++] = (float)apart(r, row, i, j);
    b0 = di_median(v, pairs);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) { /* a pair stands in each mean twice */
            int64_t a = count[i >= count[0]], b = count[j >= count[0]];
            int same = (i < count[0]) == (j < count[0]);
            double share = weight * 2 / ((double)a * (double)(same ? a - 1 : -b));
            double k = di_rbf(scale, sizeof scale / sizeof *scale, b0, apart(r, row, i, j), &slope);
            double d = -share * slope * ((double)r[row[i]] - (double)r[row[j]]);

            loss += share * k;
            dr[row[i]] += (float)d;
            dr[row[j]] -= (float)d;
        }
    return loss;
}

double di_length_guard_mmd(double weight, const di_side *side, const float *r, float *dr,
                           int32_t *row, float *v)
{
    double loss = 0;

    for (int worse = 0; worse < 2; worse++) {
        int64_t count[2];

        split(side->log_words, row, rows_of(side, worse, row), v, count);
        if (count[0] >= 2 && count[1] >= 2) loss += compare(weight, row, count, r, dr, v);
    }
    return loss;
}
