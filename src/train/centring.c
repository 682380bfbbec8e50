#include "train/centring.h"

static double of_pairs(double c, const di_side *const *side, const float *const *r,
                       float *const *dr, int n)
{
    double loss = 0;

    for (int k = 0; k < n; k++) {
        double share = c / (double)side[k]->n_pairs;

        for (int64_t p = 0; p < side[k]->n_pairs; p++) {
            int32_t i = side[k]->pair[0][p], j = side[k]->pair[1][p];
            double sum = (double)r[k][i] + (double)r[k][j];

            loss += share * sum * sum;
            dr[k][i] += (float)(2 * share * sum);
            dr[k][j] += (float)(2 * share * sum);
        }
    }
    return loss;
}

static double of_batch(double c, const di_side *const *side, const float *const *r,
                       float *const *dr, int n)
{
    double mean = 0, rows = 0;

    for (int k = 0; k < n; k++) {
        rows += (double)side[k]->n_texts;
        for (int64_t i = 0; i < side[k]->n_texts; i++) mean += (double)r[k][i];
    }
    mean /= rows;
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < side[k]->n_texts; i++) dr[k][i] += (float)(2 * c * mean / rows);
    return c * mean * mean;
}

double di_centring(di_center_form form, double c, const di_side *const *side, const float *const *r,
                   float *const *dr, int n)
{
    return form == DI_CENTER_PAIR ? of_pairs(c, side, r, dr, n) : of_batch(c, side, r, dr, n);
}
