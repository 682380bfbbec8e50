#include "eval/twoheads.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "eval/agreement.h"
#include "eval/dense.h"
#include "eval/logistic.h"
#include "eval/rows.h"
#include "train/objective.h"

enum { STEPS = 300, HALVINGS = 6 };
static const double ridge_share = 1e-3, rate = 0.05, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
static const double clamp = 0.999;

typedef struct heads {
    int64_t c, n_fit, n_held, n_t;
    double *fit, *held, *target; /* differences in standardised coordinates */
    double ridge;
    double *single;    /* (c) */
    double *w;         /* (2, c) */
    double *g, *m, *v; /* (2, c) */
    double *vote;      /* (2, n_t) tanh(m/2) */
    double *margin;    /* (2, max(n_held, n_t)) */
} heads;

/* dI/dc of the votes. */
static double pull(const heads *h)
{
    double c = di_dot(h->vote, h->vote + h->n_t, h->n_t) / (double)h->n_t;

    return atanh(fmin(fmax(c, -clamp), clamp));
}

static void gradient(heads *h, double weight)
{
    for (int k = 0; k < 2; k++) {
        const double *w = h->w + k * h->c;
        double *g = h->g + k * h->c;

        for (int64_t j = 0; j < h->c; j++) g[j] = h->ridge * w[j];
        for (int64_t i = 0; i < h->n_fit; i++) {
            const double *x = h->fit + i * h->c;

            di_add_scaled(g, -di_sigmoid(-di_dot(w, x, h->c)) / (double)h->n_fit, x, h->c);
        }
        for (int64_t j = 0; j < h->n_t; j++)
            h->vote[k * h->n_t + j] = tanh(di_dot(w, h->target + j * h->c, h->c) / 2);
    }
    for (int k = 0; k < 2; k++) { /* dm_kj = atanh(c) t_lj (1 - t_kj^2) / (2 n), l the other head */
        double slope = weight * pull(h) / (2 * (double)h->n_t);

        for (int64_t j = 0; j < h->n_t; j++) {
            double own = h->vote[k * h->n_t + j], other = h->vote[(1 - k) * h->n_t + j];

            di_add_scaled(h->g + k * h->c, slope * other * (1 - own * own), h->target + j * h->c,
                          h->c);
        }
    }
}

static void descend(heads *h, double weight, uint64_t seed)
{
    di_rng r = di_rng_make(seed, DI_RNG_SELECT, 4);
    size_t bytes = 2 * (size_t)h->c * sizeof(double);
    double size = sqrt(di_dot(h->single, h->single, h->c) / (double)h->c);

    for (int64_t j = 0; j < 2 * h->c; j++)
        h->w[j] = h->single[j % h->c] + 0.1 * size * di_rng_normal(&r);
    memset(h->m, 0, bytes);
    memset(h->v, 0, bytes);
    for (int t = 1; t <= STEPS; t++) {
        gradient(h, weight);
        for (int64_t j = 0; j < 2 * h->c; j++) {
            h->m[j] = beta1 * h->m[j] + (1 - beta1) * h->g[j];
            h->v[j] = beta2 * h->v[j] + (1 - beta2) * h->g[j] * h->g[j];
            h->w[j] -= rate * size * (h->m[j] / (1 - pow(beta1, t))) /
                       (sqrt(h->v[j] / (1 - pow(beta2, t))) + eps);
        }
    }
}

/* Mean held-out loss of a head; *se may be NULL. */
static double held_loss(const heads *h, const double *w, double *se)
{
    double sum = 0, squares = 0, n = (double)h->n_held;

    for (int64_t i = 0; i < h->n_held; i++) {
        double l = di_softplus(-di_dot(w, h->held + i * h->c, h->c));

        sum += l;
        squares += l * l;
    }
    if (se != NULL) *se = n > 1 ? sqrt(fmax(squares / n - sum / n * sum / n, 0) / (n - 1)) : 0;
    return sum / n;
}

static double agreement(heads *h, const double *x, int64_t n)
{
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < n; i++)
            h->margin[k * n + i] = di_dot(h->w + k * h->c, x + i * h->c, h->c);
    return di_sign_agreement(h->margin, h->margin + n, NULL, n, NULL);
}

/* Differences in coordinates divided by scale: fitted on, held out, target. */
static void lay_out(heads *h, const float *e_s, int64_t n_s, const float *e_t, const int32_t *fold,
                    const double *scale)
{
    int64_t at[2] = {0, 0};

    for (int64_t i = 0; i < n_s + h->n_t; i++) {
        const float *a = i < n_s ? e_s + 2 * i * h->c : e_t + 2 * (i - n_s) * h->c;
        double *to;

        if (i < n_s)
            to = (fold[i] == 0 ? h->fit : h->held) + at[fold[i] != 0]++ * h->c;
        else
            to = h->target + (i - n_s) * h->c;
        for (int64_t j = 0; j < h->c; j++) to[j] = ((double)a[j] - (double)a[h->c + j]) / scale[j];
    }
    h->ridge = ridge_share * di_dot(h->fit, h->fit, h->n_fit * h->c) / (double)h->n_fit;
    if (!(h->ridge > 0)) h->ridge = 1;
}

static void search(heads *h, uint64_t seed, di_two_heads *out)
{
    double weight = 1;

    out->single_loss = held_loss(h, h->single, &out->single_se);
    for (int k = 0; k <= HALVINGS; k++, weight /= 2) {
        descend(h, weight, seed);
        out->weight = weight;
        out->source_loss = (held_loss(h, h->w, NULL) + held_loss(h, h->w + h->c, NULL)) / 2;
        if (out->source_loss <= out->single_loss + out->single_se) break;
        out->weight = 0;
    }
    if (out->weight == 0) {
        for (int64_t j = 0; j < 2 * h->c; j++) h->w[j] = h->single[j % h->c];
        out->source_loss = out->single_loss;
    }
    out->agreement_source = agreement(h, h->held, h->n_held);
    out->agreement_target = agreement(h, h->target, h->n_t);
}

dial_status di_two_heads_fit(const di_alloc *al, const float *e_s, int64_t n_s, const float *e_t,
                             int64_t n_t, int64_t c, const int32_t *fold, uint64_t seed,
                             di_two_heads *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    heads h = {.c = c, .n_t = n_t};
    int64_t most;
    double *block = NULL, *scale;

    for (int64_t i = 0; i < n_s; i++) h.n_fit += fold[i] == 0;
    h.n_held = n_s - h.n_fit;
    if (h.n_fit < 1 || h.n_held < 1 || n_t < 1)
        DI_FAIL(err, DIAL_ERR_USAGE,
                "two heads need source pairs in both halves and target pairs; "
                "found %lld, %lld and %lld",
                (long long)h.n_fit, (long long)h.n_held, (long long)n_t);
    most = h.n_held > n_t ? h.n_held : n_t;
    block = di_new_array(al, (size_t)((n_s + n_t + 11) * c + 2 * n_t + 2 * most), sizeof *block);
    if (block == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for two heads");
    h.fit = block;
    h.held = h.fit + h.n_fit * c;
    h.target = h.held + h.n_held * c;
    h.single = h.target + n_t * c;
    h.w = h.single + c;
    h.g = h.w + 2 * c;
    h.m = h.g + 2 * c;
    h.v = h.m + 2 * c;
    scale = h.v + 2 * c; /* mean, then standard deviation */
    h.vote = scale + 2 * c;
    h.margin = h.vote + 2 * n_t;
    di_row_moments(e_s, 2 * n_s, c, scale, scale + c);
    lay_out(&h, e_s, n_s, e_t, fold, scale + c);
    DI_TRY(di_logistic_fit(al, h.fit, h.n_fit, c, h.ridge, 0, h.single, err));
    search(&h, seed, out);
done:
    di_free(al, block);
    return st;
}
