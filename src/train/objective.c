#include "train/objective.h"

#include <math.h>
#include <stddef.h>

double di_softplus(double z)
{
    return (z > 0 ? z : 0) + log1p(exp(-fabs(z)));
}

double di_sigmoid(double z)
{
    return z >= 0 ? 1 / (1 + exp(-z)) : exp(z) / (1 + exp(z));
}

di_bt_result di_bt_loss(const di_bt_args *a)
{
    di_bt_result out = {0};
    double total = 0, s = a->smoothing;

    for (int64_t i = 0; i < a->m; i++) total += a->weight != NULL ? (double)a->weight[i] : 1;
    for (int64_t i = 0; i < a->m; i++) {
        double chosen = (double)a->r[i], rejected = (double)a->r[a->m + i];
        double u = (a->weight != NULL ? (double)a->weight[i] : 1) / total;
        double m = chosen - rejected - (a->margin != NULL ? (double)a->margin[i] : 0);
        double sum = chosen + rejected, mean = 1 / (double)a->m;

        out.loss += u * ((1 - s) * di_softplus(-m) + s * di_softplus(m));
        out.aux += a->center * mean * sum * sum;
        out.accuracy += chosen > rejected ? mean : chosen == rejected ? mean / 2 : 0;
        out.margin += mean * (chosen - rejected);
        out.ties += chosen == rejected;
        if (a->dr != NULL) {
            double dm = u * (di_sigmoid(m) - (1 - s)), dsum = 2 * a->center * mean * sum;

            a->dr[i] = (float)(dm + dsum);
            a->dr[a->m + i] = (float)(-dm + dsum);
        }
    }
    return out;
}
