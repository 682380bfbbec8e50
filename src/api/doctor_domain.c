/* Numbers of one model on two domains: distances, features, rewards, and the bound of Theorem 1. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/doctor_job.h"
#include "base/error.h"
#include "eval/agreement.h"
#include "eval/criticw1.h"
#include "eval/mmd.h"
#include "eval/rows.h"
#include "eval/spectrum.h"
#include "eval/transport.h"
#include "model/head.h"
#include "train/objective.h"

/* Pairs a domain, for what is quadratic and worse in them; rows stand in random order. */
enum { MMD_PAIRS = 300, CRITIC_PAIRS = 1000, ASSIGNED_ROWS = 512, CORAL_PAIRS = 500 };
enum { PERMUTATIONS = 300, LEAST_PAIRS = 10, ECE_BINS = 15 };

static int64_t most(int64_t n, int64_t cap)
{
    return n < cap ? n : cap;
}

typedef struct level {
    di_domain_probe_result probe;
    di_mmd_result mmd;
    double w1, w1_null, mean_gap, coral;
} level;

/* Folds of the pairs of both sides: source first. */
static dial_status both_folds(di_doctor *r, int folds, int32_t *fold, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_folds(r->al, r->source.n, r->source.group, folds, r->seed, fold, err));
    DI_TRY(
        di_folds(r->al, r->target.n, r->target.group, folds, r->seed + 1, fold + r->source.n, err));
done:
    return st;
}

/* probe: (n, width) features of pairs, source first; rows: (2n, C), embeddings or +-differences. */
static dial_status measure(di_doctor *r, const float *probe, int64_t width, const float *rows,
                           int center, level *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = r->source.n, n_t = r->target.n, c = r->c;
    int32_t *fold = di_new_array(r->al, (size_t)(n_s + n_t), 2 * sizeof *fold), *half;
    float *y = di_new_array(r->al, (size_t)(2 * (n_s + n_t) * c), sizeof *y);
    di_two_sets pairs = {probe, probe + n_s * width, n_s, n_t, width};
    di_two_sets x = {rows, rows + 2 * n_s * c, 2 * n_s, 2 * n_t, c};
    di_w1_options o = di_w1_options_default();

    if (fold == NULL || y == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for distances");
    half = fold + n_s + n_t;
    o.seed = r->seed;
    DI_TRY(both_folds(r, (int)r->opt->folds, fold, err));
    DI_TRY(both_folds(r, 2, half, err));
    DI_TRY(di_domain_probe(r->al, &pairs, fold, fold + n_s, (int)r->opt->folds, NULL, NULL,
                           &out->probe, err));
    DI_TRY(di_coord_normalised(r->al, &x, center, y, err));
    x.s = y;
    x.t = y + 2 * n_s * c;
    x.n_s = 2 * most(n_s, CRITIC_PAIRS);
    x.n_t = 2 * most(n_t, CRITIC_PAIRS);
    DI_TRY(di_critic_w1(&r->s.dev, &x, half, half + n_s, &o, &out->w1, err));
    o.inits = 1; /* near 0 whatever the start */
    DI_TRY(di_critic_w1_null(&r->s.dev, x.s, x.n_s, c, &o, &out->w1_null, err));
    x.n_s = 2 * most(n_s, CORAL_PAIRS);
    x.n_t = 2 * most(n_t, CORAL_PAIRS);
    DI_TRY(di_mean_gap(r->al, &x, &out->mean_gap, err));
    DI_TRY(di_coral(r->al, &x, &out->coral, err));
    x.n_s = 2 * most(n_s, MMD_PAIRS);
    x.n_t = 2 * most(n_t, MMD_PAIRS);
    DI_TRY(di_mmd_test(r->al, &x, 2, PERMUTATIONS, r->seed, &out->mmd, err));
done:
    di_free(r->al, fold);
    di_free(r->al, y);
    return st;
}

static json_t *level_json(const level *v)
{
    return json_pack(
        "{s:o, s:[o, o], s:o, s:[o, o], s:o, s:o, s:o, s:o, s:o, s:o}", "probe_accuracy",
        di_json_stat(v->probe.accuracy), "probe_ci95", di_json_stat(v->probe.ci.lo),
        di_json_stat(v->probe.ci.hi), "a_distance", di_json_stat(v->probe.a_distance),
        "a_distance_ci95", di_json_stat(v->probe.a_ci.lo), di_json_stat(v->probe.a_ci.hi),
        "w1_fresh_critic", di_json_stat(v->w1 - v->w1_null), "w1_null", di_json_stat(v->w1_null),
        "mmd2", di_json_stat(v->mmd.mmd2), "mmd_p", di_json_stat(v->mmd.p), "mean_gap",
        di_json_stat(v->mean_gap), "coral", di_json_stat(v->coral));
}

/* On embeddings, and on symmetric differences, where offsets common to a pair cancel. */
static dial_status distances(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = r->source.n, n_t = r->target.n, n = n_s + n_t, c = r->c;
    float *probe = di_new_array(r->al, (size_t)(2 * n * c), sizeof *probe);
    float *rows = di_new_array(r->al, (size_t)(2 * n * c), sizeof *rows);
    level e, d;
    json_t *domain;

    if (probe == NULL || rows == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for distances");
    di_pair_features(r->e_s, n_s, c, probe);
    di_pair_features(r->e_t, n_t, c, probe + 2 * n_s * c);
    memcpy(rows, r->e_s, (size_t)(2 * n_s * c) * sizeof *rows);
    memcpy(rows + 2 * n_s * c, r->e_t, (size_t)(2 * n_t * c) * sizeof *rows);
    DI_TRY(measure(r, probe, 2 * c, rows, 1, &e, err));
    di_symmetric_rows(r->e_s, n_s, c, rows);
    di_symmetric_rows(r->e_t, n_t, c, rows + 2 * n_s * c);
    for (int64_t i = 0; i < n; i++) /* |delta|: the same for both orders */
        for (int64_t j = 0; j < c; j++) probe[i * c + j] = fabsf(rows[2 * i * c + j]);
    DI_TRY(measure(r, probe, c, rows, 0, &d, err));
    domain = level_json(&e);
    di_json_put(domain, "delta", level_json(&d), &r->failed);
    di_json_put(r->doc, "domain", domain, &r->failed);
    r->seen.a_distance_hi = fmax(e.probe.a_ci.hi, d.probe.a_ci.hi);
    r->seen.mmd_p = fmin(e.mmd.p, d.mmd.p);
    di_finding_set(r->finding, DI_ALREADY_ALIGNED, fmax(e.probe.a_distance, d.probe.a_distance),
                   "A-distance %.2f on embeddings, %.2f on differences (0: alike, 2: apart)",
                   e.probe.a_distance, d.probe.a_distance);
done:
    di_free(r->al, probe);
    di_free(r->al, rows);
    return st;
}

static dial_status features(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    double rank_s, rank_t;

    DI_TRY(di_rank_me(r->al, r->e_s, 2 * r->source.n, r->c, &rank_s, err));
    DI_TRY(di_rank_me(r->al, r->e_t, 2 * r->target.n, r->c, &rank_t, err));
    di_json_put(r->doc, "features",
                json_pack("{s:{s:o, s:o}, s:{s:o, s:o}, s:n}", "effective_rank", "source",
                          di_json_stat(rank_s), "target", di_json_stat(rank_t), "norm", "source",
                          di_json_stat(di_rms_norm(r->e_s, 2 * r->source.n, r->c)), "target",
                          di_json_stat(di_rms_norm(r->e_t, 2 * r->target.n, r->c)),
                          "cosine_to_base"),
                &r->failed);
done:
    return st;
}

/* ---- rewards ---- */

typedef struct rewards {
    double *r; /* (2n), sorted after reward_json */
    int64_t n;
    double mean, sd;
} rewards;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static dial_status rewards_of(di_doctor *r, const float *e, int64_t pairs, rewards *out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;

    out->n = 2 * pairs;
    out->mean = out->sd = 0;
    out->r = di_new_array(r->al, (size_t)out->n, sizeof *out->r);
    if (out->r == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rewards");
    for (int64_t i = 0; i < out->n; i++)
        out->mean += (out->r[i] = (double)di_reward(r->head, e + i * r->c, r->c)) / (double)out->n;
    for (int64_t i = 0; i < out->n; i++)
        out->sd += (out->r[i] - out->mean) * (out->r[i] - out->mean) / (double)out->n;
    out->sd = sqrt(out->sd);
    qsort(out->r, (size_t)out->n, sizeof *out->r, ascending);
done:
    return st;
}

static json_t *reward_json(const rewards *x)
{
    json_t *q = json_array();
    int failed = 0;

    for (int k = 0; k <= 4; k++) di_json_add(q, di_json_stat(x->r[(x->n - 1) * k / 4]), &failed);
    return json_pack("{s:o, s:o, s:o}", "mean", di_json_stat(x->mean), "std", di_json_stat(x->sd),
                     "q", di_json_whole(q, failed));
}

static double median_size(const double *m, int64_t n, double *work)
{
    for (int64_t i = 0; i < n; i++) work[i] = fabs(m[i]);
    return di_middle(work, n);
}

static double tie_rate(const double *m, int64_t n)
{
    int64_t ties = 0;

    for (int64_t i = 0; i < n; i++) ties += m[i] == 0;
    return (double)ties / (double)n;
}

/* Spearman of margin and log-length difference; NAN where a side is constant. */
static double length_corr(di_doctor *r, const double *m, const di_evidence *x)
{
    double rho;

    return di_spearman(r->al, m, x->log_length, x->n, &rho) == 1 ? rho : NAN;
}

static dial_status reward_part(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = r->source.n, n_t = r->target.n;
    rewards s = {0}, t = {0};
    double *work = di_new_array(r->al, (size_t)(n_s > n_t ? n_s : n_t), sizeof *work);
    double size_s, size_t_, pooled, corr = length_corr(r, r->m_t, &r->target);

    if (work == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rewards");
    DI_TRY(rewards_of(r, r->e_s, n_s, &s, err));
    DI_TRY(rewards_of(r, r->e_t, n_t, &t, err));
    di_json_put(r->doc, "reward",
                json_pack("{s:o, s:o, s:{s:o, s:o}, s:o}", "source", reward_json(&s), "target",
                          reward_json(&t), "length_corr", "source",
                          di_json_stat(length_corr(r, r->m_s, &r->source)), "target",
                          di_json_stat(corr), "target_tie_rate",
                          di_json_stat(tie_rate(r->m_t, n_t))),
                &r->failed);
    size_s = median_size(r->m_s, n_s, work);
    size_t_ = median_size(r->m_t, n_t, work);
    pooled = sqrt(((double)s.n * s.sd * s.sd + (double)t.n * t.sd * t.sd) / (double)(s.n + t.n));
    di_finding_set(r->finding, DI_REWARD_SCALE_COLLAPSE, size_s > 0 ? size_t_ / size_s : NAN,
                   "median margin %.3g on the target, %.3g on the source", size_t_, size_s);
    di_finding_set(r->finding, DI_REWARD_DRIFT, pooled > 0 ? fabs(t.mean - s.mean) / pooled : NAN,
                   "mean reward %.3g on the target, %.3g on the source", t.mean, s.mean);
    di_finding_set(r->finding, DI_LENGTH_SHORTCUT, fabs(corr),
                   "rank correlation of margin and length on the target %.2f", corr);
    di_finding_set(r->finding, DI_PRECISION, tie_rate(r->m_t, n_t), "share of ties on the target");
done:
    di_free(r->al, s.r);
    di_free(r->al, t.r);
    di_free(r->al, work);
    return st;
}

/* ---- the source, and what its labels say ---- */

/*
 * The part of the ECE (15 bins of sigma(|m|), as metrics.h has it) of the bins that are surer than
 * right. An aligned head often is right more often than it is sure of: a calibration error too,
 * but not this one.
 */
static double over_confidence(const double *m, int64_t n)
{
    double right[ECE_BINS] = {0}, sure[ECE_BINS] = {0}, over = 0;

    for (int64_t i = 0; i < n; i++) {
        double p = di_sigmoid(fabs(m[i]));
        int bin = (int)((p - 0.5) * 2 * ECE_BINS);

        if (bin >= ECE_BINS) bin = ECE_BINS - 1;
        right[bin] += m[i] > 0 ? 1 : m[i] < 0 ? 0 : 0.5;
        sure[bin] += p;
    }
    for (int b = 0; b < ECE_BINS; b++) over += fmax(sure[b] - right[b], 0) / (double)n;
    return over;
}

static double sure_share(const double *m, int64_t n)
{
    int64_t sure = 0;

    for (int64_t i = 0; i < n; i++) sure += di_sigmoid(fabs(m[i])) > 0.99;
    return (double)sure / (double)n;
}

/* Source accuracy against the rule "the longer wins", and balanced by length. */
static void source_part(di_doctor *r)
{
    int64_t n = r->source.n, count[2] = {0, 0};
    double right = 0, longer = 0, by_length[2] = {0, 0}, accuracy, se, gap = 0;
    di_interval ci;

    for (int64_t i = 0; i < n; i++) {
        double hit = r->m_s[i] > 0 ? 1 : r->m_s[i] < 0 ? 0 : 0.5, l = r->source.log_length[i];

        right += hit;
        longer += l > 0 ? 1 : l < 0 ? 0 : 0.5;
        if (l == 0) continue;
        count[l > 0]++;
        by_length[l > 0] += hit;
    }
    accuracy = right / (double)n;
    ci = di_wilson(right, (double)n, DI_Z95);
    se = di_share_se(accuracy, n);
    di_json_put(r->doc, "source",
                json_pack("{s:o, s:[o, o], s:s}", "accuracy", di_json_stat(accuracy), "ci95",
                          di_json_stat(ci.lo), di_json_stat(ci.hi), "head",
                          r->own_head ? "own" : "probe, cross-validated"),
                &r->failed);
    longer /= (double)n;
    di_finding_set(r->finding, DI_SOURCE_WEAK, accuracy - 2 * se - fmax(longer, 0.5),
                   "source accuracy %.3f (+- %.3f); the longer response wins %.3f", accuracy, se,
                   longer);
    if (count[0] > 0 && count[1] > 0)
        gap = accuracy - (by_length[0] / (double)count[0] + by_length[1] / (double)count[1]) / 2;
    if (gap > 0.15) { /* the second detector of the row */
        double rho = r->finding[DI_LENGTH_SHORTCUT].value;

        r->finding[DI_LENGTH_SHORTCUT].level = DI_LEVEL_WARN;
        r->finding[DI_LENGTH_SHORTCUT].value = isfinite(rho) ? rho : gap;
        snprintf(r->finding[DI_LENGTH_SHORTCUT].detail, sizeof r->finding[0].detail,
                 "source accuracy falls by %.2f where the lengths are balanced", gap);
    }
    if (!r->own_head || n < LEAST_PAIRS) return;
    di_finding_set(r->finding, DI_OVER_CONFIDENT, over_confidence(r->m_s, n),
                   "surer than right on the source, by so much on average; surer than 0.99: "
                   "%.2f of the target, %.2f of the source",
                   sure_share(r->m_t, r->target.n), sure_share(r->m_s, n));
    if (sure_share(r->m_t, r->target.n) > fmax(3 * sure_share(r->m_s, n), 0.01))
        r->finding[DI_OVER_CONFIDENT].level = DI_LEVEL_WARN;
}

/* ---- Theorem 1 (method.md 5.10): eps_T <= eps_S + (K/2) W1 ---- */

static double source_error(const di_doctor *r)
{
    double sum = 0;

    for (int64_t i = 0; i < r->source.n; i++) sum += 1 - di_sigmoid(r->m_s[i]);
    return sum / (double)r->source.n;
}

static dial_status reward_distance(di_doctor *r, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    rewards s = {0}, t = {0};

    DI_TRY(rewards_of(r, r->e_s, r->source.n, &s, err));
    DI_TRY(rewards_of(r, r->e_t, r->target.n, &t, err));
    for (int64_t i = 0; i < s.n; i++) s.r[i] -= s.mean;
    for (int64_t i = 0; i < t.n; i++) t.r[i] -= t.mean;
    DI_TRY(di_w1_line(r->al, s.r, s.n, t.r, t.n, out, err));
done:
    di_free(r->al, s.r);
    di_free(r->al, t.r);
    return st;
}

static dial_status bound(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = r->source.n, n_t = r->target.n, c = r->c, half = most(n_s, ASSIGNED_ROWS);
    int32_t *fold = di_new_array(r->al, (size_t)(n_s + n_t), sizeof *fold);
    di_two_sets x = {r->e_s, r->e_t, 2 * most(n_s, CRITIC_PAIRS), 2 * most(n_t, CRITIC_PAIRS), c};
    di_two_sets few = {r->e_s, r->e_t, most(2 * n_s, ASSIGNED_ROWS), most(2 * n_t, ASSIGNED_ROWS),
                       c};
    di_two_sets halves = {r->e_s, r->e_s + half * c, half, half, c};
    di_w1_options o = di_w1_options_default();
    double k = 0, lower, critic, sample, null, reward;

    if (fold == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the bound");
    for (int64_t j = 0; j < c; j++) k += (double)r->head[j] * (double)r->head[j];
    k = sqrt(k);
    o.seed = r->seed;
    DI_TRY(both_folds(r, 2, fold, err));
    DI_TRY(di_critic_w1(&r->s.dev, &x, fold, fold + n_s, &o, &critic, err));
    o.kind = DI_W1_SPECTRAL;
    o.inits = 1;
    DI_TRY(di_critic_w1(&r->s.dev, &x, fold, fold + n_s, &o, &lower, err));
    DI_TRY(di_w1_sample(r->al, &few, &sample, err));
    DI_TRY(di_w1_sample(r->al, &halves, &null, err));
    DI_TRY(reward_distance(r, &reward, err));
    di_json_put(r->doc, "bound",
                json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "head_norm",
                          di_json_stat(k), "eps_source", di_json_stat(source_error(r)), "w1_lower",
                          di_json_stat(lower), "w1_critic", di_json_stat(critic), "w1_sample",
                          di_json_stat(sample), "w1_null", di_json_stat(null), "w1_reward",
                          di_json_stat(reward), "k_w1", di_json_stat(k * critic), "informative",
                          k * critic / 2 < 1),
                &r->failed);
done:
    di_free(r->al, fold);
    return st;
}

dial_status di_doctor_domain(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(features(r, err));
    DI_TRY(reward_part(r, err));
    source_part(r);
    di_json_put(r->doc, "domain", json_null(), &r->failed);
    di_json_put(r->doc, "bound", json_null(), &r->failed);
    if (r->source.n < LEAST_PAIRS || r->target.n < LEAST_PAIRS) goto done;
    DI_TRY(distances(r, err));
    DI_TRY(bound(r, err));
done:
    return st;
}
