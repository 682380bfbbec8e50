#include "train/length_guard.h"

#include <math.h>

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
