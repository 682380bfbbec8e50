#include "train/pseudo.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "train/objective.h"

double di_pseudo_loss(double weight, const float *p, const di_side *side, const float *r, float *dr)
{
    double loss = 0, share;
    int64_t pairs = 0;

    for (int64_t i = 0; i < side->n; i++) pairs += di_side_row(side, i, 1) >= 0;
    share = weight / (double)(pairs > 0 ? pairs : 1);
    for (int64_t i = 0; i < side->n; i++) {
        int32_t a = di_side_row(side, i, 0), b = di_side_row(side, i, 1);
        double q = (double)p[side->picked[i]], m;

        if (b < 0 || q < 0) continue;
        m = (double)r[a] - (double)r[b];
        loss += share * (q * di_softplus(-m) + (1 - q) * di_softplus(m));
        dr[a] += (float)(share * (di_sigmoid(m) - q));
        dr[b] -= (float)(share * (di_sigmoid(m) - q));
    }
    return loss;
}

static double risk(const double *m, int64_t n, double log_tau)
{
    double sum = 0, inverse = exp(-log_tau);

    for (int64_t i = 0; i < n; i++) sum += di_softplus(-m[i] * inverse);
    return sum / (double)n;
}

double di_temperature(const double *m, int64_t n)
{
    double lo = -6, hi = 6, g = (sqrt(5) - 1) / 2; /* the risk is convex in 1/tau: one least */

    for (int i = 0; i < 60; i++) {
        double a = hi - g * (hi - lo), b = lo + g * (hi - lo);

        if (risk(m, n, a) <= risk(m, n, b))
            hi = b;
        else
            lo = a;
    }
    return exp((lo + hi) / 2);
}

typedef struct sure {
    double confidence;
    int64_t i;
} sure;

static int least_sure_first(const void *a, const void *b)
{
    const sure *x = a, *y = b;

    if (x->confidence != y->confidence) return x->confidence < y->confidence ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

/* 1: the longer text wins, -1: the shorter, 0: equal lengths. */
static int kind_of(float p, double log_length)
{
    if (log_length == 0) return 0;
    return ((double)p > 0.5) == (log_length > 0) ? 1 : -1;
}

static di_pseudo_counts count(const float *p, const double *log_length, int64_t n)
{
    di_pseudo_counts c = {0};

    for (int64_t i = 0; i < n; i++) {
        if (p[i] < 0) continue;
        c.accepted++;
        c.longer += kind_of(p[i], log_length[i]) > 0;
        c.shorter += kind_of(p[i], log_length[i]) < 0;
    }
    return c;
}

/* Drops the least sure pairs of the kind of which there are more than the share allows. */
static void hold_quota(double share, const double *log_length, int64_t n, float *p, sure *order)
{
    di_pseudo_counts c = count(p, log_length, n);
    double longer =
        fmin((double)c.longer, floor((double)c.shorter * share / fmax(1 - share, 1e-9)));
    double shorter =
        fmin((double)c.shorter, floor((double)c.longer * (1 - share) / fmax(share, 1e-9)));
    int64_t drop[2] = {c.longer - (int64_t)longer, c.shorter - (int64_t)shorter}, m = 0;

    for (int64_t i = 0; i < n; i++)
        if (p[i] >= 0) order[m++] = (sure){fabs((double)p[i] - 0.5), i};
    qsort(order, (size_t)m, sizeof *order, least_sure_first);
    for (int64_t k = 0; k < m; k++) {
        int64_t i = order[k].i;
        int kind = kind_of(p[i], log_length[i]);

        if (kind == 0 || drop[kind < 0]-- <= 0) continue;
        p[i] = -1;
    }
}

dial_status di_pseudo_label(const di_alloc *al, const di_pseudo_options *o, const double *m,
                            const double *teacher, const double *log_length, int64_t n, float *p,
                            di_pseudo_counts *counts, dial_error *err)
{
    dial_status st = DIAL_OK;
    sure *order = di_new_array(al, (size_t)n, sizeof *order);

    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for pseudo-labels");
    for (int64_t i = 0; i < n; i++) {
        double q = di_sigmoid(m[i] / o->tau);
        double t = teacher != NULL ? di_sigmoid(teacher[i] / o->teacher_tau) : q;

        p[i] = -1;
        if (fmax(q, 1 - q) < o->confidence || fmax(t, 1 - t) < o->confidence) continue;
        if ((q > 0.5) == (t > 0.5)) p[i] = (float)q;
    }
    if (o->longer_share >= 0) hold_quota(o->longer_share, log_length, n, p, order);
    for (int64_t i = 0; i < n && o->hard; i++)
        if (p[i] >= 0) p[i] = (double)p[i] > 0.5 ? 1 : 0;
    *counts = count(p, log_length, n);
done:
    di_free(al, order);
    return st;
}
