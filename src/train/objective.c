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

double di_weight_sum(const float *weight, int64_t n)
{
    double total = 0;

    for (int64_t i = 0; i < n; i++) total += weight != NULL ? (double)weight[i] : 1;
    return total;
}

static double weight_at(const float *weight, int64_t i)
{
    return weight != NULL ? (double)weight[i] : 1;
}

/* One comparison of difference m: its loss, and the derivative in m. */
static double compare(double m, double s, double *dm)
{
    *dm = di_sigmoid(m) - (1 - s);
    return (1 - s) * di_softplus(-m) + s * di_softplus(m);
}

di_loss_result di_bt_loss(const di_bt_args *a)
{
    di_loss_result out = {0};
    double total = di_weight_sum(a->weight, a->m), mean = 1 / (double)a->m, dm;

    for (int64_t i = 0; i < a->m; i++) {
        double chosen = (double)a->r[i], rejected = (double)a->r[a->m + i];
        double u = weight_at(a->weight, i) / total;
        double m = chosen - rejected - (a->margin != NULL ? (double)a->margin[i] : 0);

        out.loss += u * compare(m, a->smoothing, &dm);
        out.accuracy += chosen > rejected ? mean : chosen == rejected ? mean / 2 : 0;
        out.margin += mean * (chosen - rejected);
        out.ties += chosen == rejected;
        if (a->dr == NULL) continue;
        a->dr[i] = (float)(u * dm);
        a->dr[a->m + i] = (float)(-u * dm);
    }
    return out;
}

di_loss_result di_bce_loss(const di_point_args *a)
{
    di_loss_result out = {.margin = NAN};
    double total = di_weight_sum(a->weight, a->n), mean = 1 / (double)a->n;

    for (int64_t i = 0; i < a->n; i++) {
        double r = (double)a->r[i], y = (double)a->y[i], u = weight_at(a->weight, i) / total;

        out.loss += u * (di_softplus(r) - y * r);
        out.accuracy += r == 0 ? mean / 2 : (r > 0) == (y > 0.5) ? mean : 0;
        out.ties += r == 0;
        if (a->dr != NULL) a->dr[i] = (float)(u * (di_sigmoid(r) - y));
    }
    return out;
}

di_loss_result di_mse_loss(const di_point_args *a)
{
    di_loss_result out = {.accuracy = NAN, .margin = NAN};
    double total = di_weight_sum(a->weight, a->n);

    for (int64_t i = 0; i < a->n; i++) {
        double off = (double)a->r[i] - ((double)a->y[i] - a->mean) / a->sd;
        double u = weight_at(a->weight, i) / total;

        out.loss += u * off * off;
        if (a->dr != NULL) a->dr[i] = (float)(2 * u * off);
    }
    return out;
}

di_loss_result di_ce_loss(const di_ce_args *a)
{
    di_loss_result out = {.margin = NAN};
    double total = di_weight_sum(a->weight, a->n), mean = 1 / (double)a->n;

    for (int64_t i = 0; i < a->n; i++) {
        const float *z = a->z + i * a->classes;
        int64_t y = (int64_t)a->y[i], above = 0, equal = 0;
        double u = weight_at(a->weight, i) / total, most = (double)z[0], sum = 0;

        for (int64_t j = 1; j < a->classes; j++) most = fmax(most, (double)z[j]);
        for (int64_t j = 0; j < a->classes; j++) {
            sum += exp((double)z[j] - most);
            above += z[j] > z[y];
            equal += z[j] == z[y];
        }
        out.loss += u * (most + log(sum) - (double)z[y]);
        out.accuracy += above > 0 ? 0 : mean / (double)equal;
        out.ties += above == 0 && equal > 1;
        for (int64_t j = 0; a->dz != NULL && j < a->classes; j++)
            a->dz[i * a->classes + j] = (float)(u * (exp((double)z[j] - most) / sum - (j == y)));
    }
    return out;
}

di_loss_result di_mcq_loss(const di_mcq_args *a)
{
    di_loss_result out = {0};
    double total = di_weight_sum(a->weight, a->n), mean = 1 / (double)a->n, dm;

    for (int64_t b = 0; b < a->n; b++) {
        const int32_t *row = a->row_of + b * a->per;
        int64_t wrong = 0, above = 0, equal = 0;
        double right = (double)a->r[row[0]], d_right = 0, sum = 0, share;

        while (wrong + 1 < a->per && row[wrong + 1] >= 0) wrong++;
        share = weight_at(a->weight, b) / total / (double)wrong;
        for (int64_t k = 1; k <= wrong; k++) {
            double m = right - (double)a->r[row[k]];

            out.loss += share * compare(m, a->smoothing, &dm);
            d_right += share * dm;
            sum += m;
            above += m < 0;
            equal += m == 0;
            if (a->dr != NULL) a->dr[row[k]] = (float)(-share * dm);
        }
        if (a->dr != NULL) a->dr[row[0]] = (float)d_right;
        out.accuracy += above > 0 ? 0 : mean / (double)(1 + equal);
        out.margin += mean * sum / (double)wrong;
        out.ties += above == 0 && equal > 0;
    }
    return out;
}
