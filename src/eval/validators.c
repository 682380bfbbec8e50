#include "eval/validators.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/agreement.h"
#include "eval/criticw1.h"
#include "eval/probe.h"
#include "eval/rows.h"
#include "eval/spectrum.h"
#include "model/head.h"
#include "train/objective.h"
#include "train/pseudo.h"

enum { FOLDS = 5, LEAST_PAIRS = 10 };

void di_margins(const float *head, const float *e, int64_t n, int64_t c, double *m)
{
    for (int64_t i = 0; i < n; i++)
        m[i] = (double)di_reward(head, e + 2 * i * c, c) -
               (double)di_reward(head, e + (2 * i + 1) * c, c);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double di_middle(double *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Source loss and accuracy of the held-out rows under the model's own head. */
static void held_out(const di_validator_input *in, double *loss, double *margin, di_validators *out)
{
    double right = 0, sum = 0;

    di_margins(in->head, in->source.e, in->n_held, in->c, margin);
    for (int64_t i = 0; i < in->n_held; i++) {
        sum += loss[i] = di_softplus(-margin[i]);
        right += margin[i] > 0 ? 1 : margin[i] < 0 ? 0 : 0.5;
    }
    out->source_loss = sum / (double)in->n_held;
    out->source_accuracy = right / (double)in->n_held;
}

/*
 * Too few source rows to hold any out: each pair is judged by a head refitted on the embeddings
 * without it and without the pairs of its prompt. The embeddings have seen it, so the numbers are
 * good for comparing checkpoints alone.
 */
static dial_status leave_one_out(const di_alloc *al, const di_validator_input *in, double *loss,
                                 di_validators *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = in->source.n;
    int32_t *fold = di_new_array(al, (size_t)n, sizeof *fold);
    float *w = di_new_array(al, (size_t)in->c, sizeof *w);
    double right = 0, sum = 0, m;
    int one_prompt = 1;

    if (fold == NULL || w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for leave-one-out");
    for (int64_t i = 1; i < n && in->source.group != NULL; i++)
        if (in->source.group[i] != in->source.group[0]) one_prompt = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++)
            fold[j] = j == i || (!one_prompt && in->source.group[j] == in->source.group[i]);
        if (n > 1) DI_TRY(di_probe_fit_standardised(al, in->source.e, n, in->c, fold, 1, w, err));
        di_margins(n > 1 ? w : in->head, in->source.e + 2 * i * in->c, 1, in->c, &m);
        sum += loss[i] = di_softplus(-m);
        right += m > 0 ? 1 : m < 0 ? 0 : 0.5;
    }
    out->source_loss = sum / (double)n;
    out->source_accuracy = right / (double)n;
    out->leave_one_out = 1;
done:
    di_free(al, fold);
    di_free(al, w);
    return st;
}

/* Proxy A-distance and, for held-out rows, importance-weighted risks. */
static dial_status domain_numbers(const di_alloc *al, const di_validator_input *in,
                                  const int32_t *fold_s, const int32_t *fold_t, const double *loss,
                                  di_validators *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = in->source.n, n_t = in->target.n, rows = n_s > n_t ? n_s : n_t;
    float *x = di_new_array(al, (size_t)(2 * (n_s + n_t) * in->c), sizeof *x);
    double *logit = di_new_array(al, (size_t)n_s, 2 * sizeof *logit);
    int32_t *fold = di_new_array(al, (size_t)(4 * rows), sizeof *fold);
    di_two_sets sets = {x, NULL, n_s, n_t, 2 * in->c};
    di_domain_probe_result r;
    di_importance risk;

    if (x == NULL || logit == NULL || fold == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a domain probe");
    sets.t = x + n_s * 2 * in->c;
    if (in->single_texts) { /* one text is a row; the weight of a pair is that of its first text */
        for (int64_t i = 0; i < 2 * n_s; i++) fold[i] = fold_s[i / 2];
        for (int64_t j = 0; j < 2 * n_t; j++) fold[2 * rows + j] = fold_t[j / 2];
        sets = (di_two_sets){in->source.e, in->target.e, 2 * n_s, 2 * n_t, in->c};
        di_free(al, logit);
        logit = di_new_array(al, (size_t)(3 * n_s), sizeof *logit);
        if (logit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a domain probe");
        DI_TRY(di_domain_probe(al, &sets, fold, fold + 2 * rows, FOLDS, logit, NULL, &r, err));
        for (int64_t i = 0; i < n_s; i++) logit[i] = (logit[2 * i] + logit[2 * i + 1]) / 2;
    } else {
        di_pair_features(in->source.e, n_s, in->c, x);
        di_pair_features(in->target.e, n_t, in->c, x + n_s * 2 * in->c);
        DI_TRY(di_domain_probe(al, &sets, fold_s, fold_t, FOLDS, logit, NULL, &r, err));
    }
    out->a_distance = r.a_distance;
    out->a_lo = r.a_ci.lo;
    out->a_hi = r.a_ci.hi;
    if (in->n_held < 2) goto done;
    DI_TRY(di_importance_weights(al, logit, in->n_held, n_s, n_t, 1, 0.99, logit + n_s, err));
    risk = di_importance_risk(logit + n_s, loss, in->n_held);
    out->iwv_ess = risk.ess;
    out->iwv = risk.usable ? risk.iwv : NAN;
    out->dev = risk.usable ? risk.dev : NAN;
done:
    di_free(al, x);
    di_free(al, logit);
    di_free(al, fold);
    return st;
}

/* W1 by fresh critics on symmetric differences (on e where pairs mean nothing). */
static dial_status distance(di_device *dev, const di_validator_input *in, const int32_t *fold_s,
                            const int32_t *fold_t, di_validators *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = dev->al;
    int64_t n_s = 2 * in->source.n, n_t = 2 * in->target.n, c = in->c;
    float *x = di_new_array(al, (size_t)((n_s + n_t) * c), 2 * sizeof *x), *y = NULL;
    di_w1_options o = di_w1_options_default();
    di_two_sets sets = {in->source.e, in->target.e, n_s, n_t, c};
    int32_t *fold = di_new_array(al, (size_t)(in->source.n + in->target.n), sizeof *fold);
    double null = 0;

    if (x == NULL || fold == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a fresh critic");
    y = x + (n_s + n_t) * c;
    if (!in->single_texts) {
        di_symmetric_rows(in->source.e, in->source.n, c, x);
        di_symmetric_rows(in->target.e, in->target.n, c, x + n_s * c);
        sets.s = x;
        sets.t = x + n_s * c;
    }
    DI_TRY(di_coord_normalised(al, &sets, in->single_texts, y, err));
    sets.s = y;
    sets.t = y + n_s * c;
    for (int64_t i = 0; i < in->source.n; i++) fold[i] = fold_s[i] % 2;
    for (int64_t j = 0; j < in->target.n; j++) fold[in->source.n + j] = fold_t[j] % 2;
    o.inits = in->w1_inits;
    o.steps = in->w1_steps;
    o.seed = in->seed;
    DI_TRY(di_critic_w1(dev, &sets, fold, fold + in->source.n, &o, &out->w1, err));
    if (in->w1_null) DI_TRY(di_critic_w1_null(dev, sets.s, n_s, c, &o, &null, err));
    out->w1 -= null;
done:
    di_free(al, x);
    di_free(al, fold);
    return st;
}

/* Heads refitted on halves of the source: do they order the target alike? */
static dial_status halves(const di_alloc *al, const di_validator_input *in, double *m,
                          di_validators *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_t = in->target.n;
    int32_t *fold = di_new_array(al, (size_t)in->source.n, sizeof *fold);
    float *w = di_new_array(al, (size_t)in->c, sizeof *w);

    if (fold == NULL || w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for two heads");
    DI_TRY(di_folds(al, in->source.n, in->source.group, 2, in->seed, fold, err));
    for (int32_t k = 0; k < 2; k++) {
        DI_TRY(di_probe_fit_standardised(al, in->source.e, in->source.n, in->c, fold, k, w, err));
        di_margins(w, in->target.e, n_t, in->c, m + k * n_t);
    }
    out->seed_agreement = di_sign_agreement(m, m + n_t, NULL, n_t, NULL);
done:
    di_free(al, fold);
    di_free(al, w);
    return st;
}

static void mean_and_square(const float *head, const float *e, int64_t n, int64_t c, double *mean,
                            double *square)
{
    *mean = *square = 0;
    for (int64_t i = 0; i < n; i++) *mean += (double)di_reward(head, e + i * c, c) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)di_reward(head, e + i * c, c) - *mean;

        *square += d * d;
    }
}

double di_reward_drift(const float *head, const di_two_sets *x)
{
    double mean[2], square[2], sd;

    mean_and_square(head, x->s, x->n_s, x->c, &mean[0], &square[0]);
    mean_and_square(head, x->t, x->n_t, x->c, &mean[1], &square[1]);
    sd = sqrt((square[0] + square[1]) / (double)(x->n_s + x->n_t));
    return sd > 0 ? fabs(mean[1] - mean[0]) / sd : NAN;
}

/* Mean entropy of a coin of probability sigma(m): ln(1 + e^-|m|) + |m| / (1 + e^|m|), nats. */
static double mean_entropy(const double *m, int64_t n, double tau)
{
    double sum = 0;

    for (int64_t j = 0; j < n; j++) {
        double z = fabs(m[j]) / tau;

        sum += di_softplus(-z) + z / (1 + exp(z));
    }
    return sum / (double)n;
}

/* Confidence, margin ratio, drift of the reward, and the density of oriented target differences. */
static dial_status reward_numbers(const di_alloc *al, const di_validator_input *in, double *m,
                                  di_validators *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = in->source.n, n_t = in->target.n, c = in->c;
    float *delta = di_new_array(al, (size_t)(n_t * c), sizeof *delta);
    double median_s, tau, *m_s = NULL;

    if (delta == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for target differences");
    m_s = m + n_t;
    di_margins(in->head, in->target.e, n_t, c, m);
    di_pair_difference(in->target.e, n_t, c, delta);
    for (int64_t j = 0; j < n_t; j++)
        for (int64_t k = 0; k < c && m[j] < 0; k++) delta[j * c + k] = -delta[j * c + k];
    DI_TRY(di_neighbourhood_density(al, delta, n_t, c, &out->snd, err));
    di_margins(in->head, in->source.e, n_s, c, m_s);
    if (in->n_held > 0) {
        tau = di_temperature(m_s, in->n_held);
        out->confidence = mean_entropy(m, n_t, tau);
    }
    for (int64_t j = 0; j < n_t; j++) m[j] = fabs(m[j]);
    out->margin_ratio = di_middle(m, n_t);
    m = m_s;
    for (int64_t i = 0; i < n_s; i++) m[i] = fabs(m[i]);
    median_s = di_middle(m, n_s);
    out->margin_ratio = median_s > 0 ? out->margin_ratio / median_s : NAN;
    out->reward_drift =
        di_reward_drift(in->head, &(di_two_sets){in->source.e, in->target.e, 2 * n_s, 2 * n_t, c});
done:
    di_free(al, delta);
    return st;
}

dial_status di_validate(di_device *dev, const di_validator_input *in, double *loss,
                        di_validators *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = dev->al;
    int64_t n_s = in->source.n, n_t = in->target.n, most = n_s > n_t ? n_s : n_t;
    int32_t *fold = di_new_array(al, (size_t)(n_s + n_t), sizeof *fold);
    double *m = di_new_array(al, 2 * (size_t)most, sizeof *m);

    *out = (di_validators){.source_loss = NAN,
                           .source_accuracy = NAN,
                           .iwv = NAN,
                           .iwv_ess = NAN,
                           .dev = NAN,
                           .a_distance = NAN,
                           .a_lo = NAN,
                           .a_hi = NAN,
                           .w1 = NAN,
                           .effective_rank = NAN,
                           .snd = NAN,
                           .seed_agreement = NAN,
                           .margin_ratio = NAN,
                           .reward_drift = NAN,
                           .confidence = NAN};
    if (fold == NULL || m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    if (in->n_held > 0)
        held_out(in, loss, m, out);
    else
        DI_TRY(leave_one_out(al, in, loss, out, err));
    DI_TRY(di_rank_me(al, n_t > 0 ? in->target.e : in->source.e, 2 * (n_t > 0 ? n_t : n_s), in->c,
                      &out->effective_rank, err));
    if (n_s < LEAST_PAIRS || n_t < LEAST_PAIRS) goto done;
    DI_TRY(di_folds(al, n_s, in->source.group, FOLDS, in->seed, fold, err));
    DI_TRY(di_folds(al, n_t, in->target.group, FOLDS, in->seed + 1, fold + n_s, err));
    DI_TRY(domain_numbers(al, in, fold, fold + n_s, loss, out, err));
    DI_TRY(distance(dev, in, fold, fold + n_s, out, err));
    DI_TRY(halves(al, in, m, out, err));
    DI_TRY(reward_numbers(al, in, m, out, err));
done:
    di_free(al, fold);
    di_free(al, m);
    return st;
}

static const struct {
    const char *key;
    size_t at;
} numbers[] = {
    {"source_accuracy", offsetof(di_validators, source_accuracy)},
    {"source_loss", offsetof(di_validators, source_loss)},
    {"iwv", offsetof(di_validators, iwv)},
    {"iwv_ess", offsetof(di_validators, iwv_ess)},
    {"dev", offsetof(di_validators, dev)},
    {"w1", offsetof(di_validators, w1)},
    {"a_distance", offsetof(di_validators, a_distance)},
    {"a_distance_lo", offsetof(di_validators, a_lo)},
    {"a_distance_hi", offsetof(di_validators, a_hi)},
    {"effective_rank", offsetof(di_validators, effective_rank)},
    {"snd", offsetof(di_validators, snd)},
    {"seed_agreement", offsetof(di_validators, seed_agreement)},
    {"margin_ratio", offsetof(di_validators, margin_ratio)},
    {"reward_drift", offsetof(di_validators, reward_drift)},
    {"confidence", offsetof(di_validators, confidence)},
};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

json_t *di_validators_to_json(const di_validators *v)
{
    json_t *o = json_object();
    int failed = 0;

    for (int i = 0; i < N_NUMBERS; i++)
        di_json_put(o, numbers[i].key,
                    di_json_stat(*(const double *)((const char *)v + numbers[i].at)), &failed);
    di_json_put(o, "source_split", json_string(v->leave_one_out ? "leave_one_out" : "heldout"),
                &failed);
    return di_json_whole(o, failed);
}

di_validators di_validators_from_json(const json_t *o)
{
    di_validators v = {0};
    const char *split = json_string_value(json_object_get(o, "source_split"));

    for (int i = 0; i < N_NUMBERS; i++) {
        const json_t *x = json_object_get(o, numbers[i].key);

        *(double *)((char *)&v + numbers[i].at) = json_is_number(x) ? json_number_value(x) : NAN;
    }
    v.leave_one_out = split != NULL && strcmp(split, "leave_one_out") == 0;
    return v;
}
