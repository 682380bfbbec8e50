#include "report/claims.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "eval/stats.h"
#include "report/collect.h"
#include "report/markup.h"

enum { MAX_SETTINGS = 64 };

/* One experiment on its target set, as far as the claims read it. */
typedef struct setting {
    const char *name, *family;
    int control;
    double gap, gap_se; /* oracle - source-only */
    double delta, lo, hi, se;
    double closed, closed_se;        /* of the recipe; NAN: no gap that counts */
    double paper, paper_se;          /* the same of the paper's settings */
    const json_t *recipe;            /* its group */
    const json_t *verdicts, *deltas; /* by seed */
} setting;

typedef struct summary {
    const json_t *claims;
    setting s[MAX_SETTINGS];
    int n;
    json_t *out;
    int failed;
} summary;

static const json_t *named(const json_t *list, const char *key, const char *name)
{
    const json_t *x;
    size_t i;

    json_array_foreach (list, i, x)
        if (name != NULL && di_text_at(x, key) != NULL && strcmp(di_text_at(x, key), name) == 0)
            return x;
    return NULL;
}

static double end_of(const json_t *ci, size_t i)
{
    const json_t *v = json_array_get(ci, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void read_setting(summary *m, const json_t *doc)
{
    const char *target = di_text_at(doc, "target_set");
    const json_t *set = named(di_at(doc, "sets"), "name", target != NULL ? target : "target");
    const json_t *recipe = named(di_at(set, "groups"), "label", di_text_at(m->claims, "recipe"));
    const json_t *paper = named(di_at(set, "groups"), "label", di_text_at(m->claims, "paper"));
    const char *name = di_text_at(doc, "name"), *family = di_text_at(doc, "family");

    if (recipe == NULL || m->n == MAX_SETTINGS) return;
    m->s[m->n++] = (setting){.name = name != NULL ? name : di_text_at(doc, "out"),
                             .family = family,
                             .control = json_is_true(di_at(doc, "control")),
                             .gap = di_num(recipe, "gap.size"),
                             .gap_se = di_num(recipe, "gap.se"),
                             .delta = di_num(recipe, "delta"),
                             .lo = end_of(di_at(recipe, "delta_ci95"), 0),
                             .hi = end_of(di_at(recipe, "delta_ci95"), 1),
                             .se = di_num(recipe, "delta_se"),
                             .closed = di_num(recipe, "gap.closed"),
                             .closed_se = di_num(recipe, "gap.closed_se"),
                             .paper = di_num(paper, "gap.closed"),
                             .paper_se = di_num(paper, "gap.closed_se"),
                             .recipe = recipe,
                             .verdicts = di_at(recipe, "verdicts"),
                             .deltas = di_at(recipe, "delta_by_seed")};
}

/* ---- one claim ---- */

static json_t *detail_list(summary *m)
{
    json_t *list = json_array();

    if (list == NULL) m->failed = 1;
    return list;
}

static void add_detail(summary *m, json_t *list, const char *fmt, ...) DIAL_PRINTF(3, 4);
static void add_detail(summary *m, json_t *list, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    di_json_add(list, json_string(text), &m->failed);
}

/* holds: 1, 0; -1: not measured. lo NAN: no interval. Takes over the details. */
static void add_claim(summary *m, const char *claim, double value, double lo, double hi,
                      double needed, int64_t n, int holds, json_t *detail)
{
    json_t *o = json_pack("{s:s,s:o,s:o,s:o,s:I,s:o,s:o}", "claim", claim, "value",
                          isfinite(value) ? di_json_stat(value) : json_null(), "ci95",
                          isfinite(lo) ? json_pack("[o,o]", di_json_stat(lo), di_json_stat(hi))
                                       : json_null(),
                          "needed", di_json_stat(needed), "n", (json_int_t)n, "holds",
                          holds < 0 ? json_null() : json_boolean(holds), "detail", detail);

    di_json_add(m->out, o, &m->failed);
}

static int counts_as_gap(const summary *m, const setting *s)
{
    return !s->control && s->gap >= di_num(m->claims, "least_gap");
}

/* Mean of one number over families of settings, and its standard error; returns how many. */
static int64_t family_mean(const summary *m, const int *take, const double *value, const double *se,
                           double *mean, double *mean_se)
{
    int64_t families = 0;
    int seen[MAX_SETTINGS] = {0};

    *mean = 0;
    *mean_se = 0;
    for (int i = 0; i < m->n; i++) {
        double v = 0, e = 0, n = 0;

        if (!take[i] || seen[i]) continue;
        for (int k = i; k < m->n; k++) {
            int same = k == i || (m->s[i].family != NULL && m->s[k].family != NULL &&
                                  strcmp(m->s[i].family, m->s[k].family) == 0);

            if (!take[k] || !same) continue;
            seen[k] = 1;
            v += value[k];
            e += se[k];
            n++;
        }
        *mean += v / n;
        *mean_se += (e / n) * (e / n);
        families++;
    }
    *mean /= (double)families;
    *mean_se = sqrt(*mean_se) / (double)families;
    return families;
}

/* On every setting with a gap the recipe gains; on enough of them beyond chance. */
static void claim_gains(summary *m)
{
    double needed = di_num(m->claims, "settings_above_zero");
    json_t *detail = detail_list(m);
    int above[MAX_SETTINGS] = {0}, n = 0, positive = 0;
    int64_t families;
    double zero[MAX_SETTINGS] = {0}, x, y;

    if (!isfinite(needed)) {
        json_decref(detail);
        return;
    }
    for (int i = 0; i < m->n; i++) {
        const setting *s = &m->s[i];

        if (!counts_as_gap(m, s)) continue;
        n++;
        positive += s->delta > 0;
        above[i] = s->lo > 0;
        add_detail(m, detail, "%s: %+.1f points (%+.1f to %+.1f) of a gap of %.1f", s->name,
                   100 * s->delta, 100 * s->lo, 100 * s->hi, 100 * s->gap);
    }
    families = family_mean(m, above, zero, zero, &x, &y);
    add_claim(m, "share of the settings with a gap on which the recipe gains",
              n > 0 ? (double)positive / n : NAN, NAN, NAN, 1, n, n > 0 ? positive == n : -1,
              json_incref(detail));
    add_claim(m, "settings on which the gain's interval lies above zero (dependent ones are one)",
              (double)families, NAN, NAN, needed, n, n > 0 ? (double)families >= needed : -1,
              detail);
}

static void claim_closure(summary *m)
{
    double needed = di_num(m->claims, "closure"), times = di_num(m->claims, "times_paper");
    double value[MAX_SETTINGS], se[MAX_SETTINGS], mean, mean_se;
    int take[MAX_SETTINGS];
    json_t *detail = detail_list(m);
    int64_t n;

    for (int i = 0; i < m->n; i++) {
        take[i] = counts_as_gap(m, &m->s[i]) && isfinite(m->s[i].closed);
        value[i] = m->s[i].closed;
        se[i] = m->s[i].closed_se;
        if (!take[i]) continue;
        if (isfinite(m->s[i].paper))
            add_detail(m, detail, "%s: %.2f (paper's settings %.2f)", m->s[i].name, m->s[i].closed,
                       m->s[i].paper);
        else
            add_detail(m, detail, "%s: %.2f (paper's settings not run)", m->s[i].name,
                       m->s[i].closed);
    }
    n = family_mean(m, take, value, se, &mean, &mean_se);
    if (isfinite(needed))
        add_claim(m, "mean share of the gap closed", n > 0 ? mean : NAN, mean - DI_Z95 * mean_se,
                  mean + DI_Z95 * mean_se, needed, n, n > 0 ? mean >= needed : -1,
                  json_incref(detail));
    for (int i = 0; i < m->n; i++) { /* se as if independent: wider than the truth */
        take[i] = take[i] && isfinite(m->s[i].paper);
        value[i] = m->s[i].closed - times * m->s[i].paper;
        se[i] = hypot(m->s[i].closed_se, times * m->s[i].paper_se);
    }
    n = family_mean(m, take, value, se, &mean, &mean_se);
    if (isfinite(times))
        add_claim(
            m, DI_FMT("share of the gap closed, less %g times that of the paper's settings", times),
            n > 0 ? mean : NAN, mean - DI_Z95 * mean_se, mean + DI_Z95 * mean_se, 0, n,
            n > 0 ? mean >= 0 : -1, json_incref(detail));
    json_decref(detail);
}

static void claim_controls(summary *m)
{
    double needed = di_num(m->claims, "control"), mean, mean_se;
    double value[MAX_SETTINGS], se[MAX_SETTINGS];
    int take[MAX_SETTINGS];
    json_t *detail = detail_list(m);
    int64_t n;

    for (int i = 0; i < m->n; i++) {
        const setting *s = &m->s[i];

        take[i] = (s->control || s->gap < di_num(m->claims, "least_gap")) && isfinite(s->delta) &&
                  isfinite(s->se);
        value[i] = s->delta;
        se[i] = s->se;
        if (take[i])
            add_detail(m, detail, "%s: %+.1f points (%+.1f to %+.1f)", s->name, 100 * s->delta,
                       100 * s->lo, 100 * s->hi);
    }
    n = family_mean(m, take, value, se, &mean, &mean_se);
    if (isfinite(needed))
        add_claim(m, "mean difference on the settings without a gap", n > 0 ? mean : NAN,
                  mean - DI_Z95 * mean_se, mean + DI_Z95 * mean_se, needed, n,
                  n > 0 ? mean > needed : -1, detail);
    else
        json_decref(detail);
}

/* Runs that the doctor passes, and how many of them lose against source-only all the same. */
static void claim_harm(summary *m)
{
    double harm = di_num(m->claims, "harm"), share = di_num(m->claims, "harmed_share");
    json_t *detail = detail_list(m), *v;
    int64_t passed = 0, harmed = 0;
    di_interval ci;
    size_t k;

    for (int i = 0; i < m->n; i++)
        json_array_foreach (m->s[i].verdicts, k, v) {
            const char *verdict = di_text_at(v, "verdict");
            double d = NAN;
            size_t j;
            const json_t *by;

            json_array_foreach (m->s[i].deltas, j, by)
                if (di_num(by, "seed") == di_num(v, "seed")) d = di_num(by, "value");
            if (!isfinite(d) || verdict == NULL ||
                (strcmp(verdict, "safe") != 0 && strcmp(verdict, "no_shift") != 0))
                continue;
            passed++;
            harmed += d < -harm;
            if (d < -harm)
                add_detail(m, detail, "%s seed %.0f: %s, %+.1f points", m->s[i].name,
                           di_num(v, "seed"), verdict, 100 * d);
        }
    ci = di_wilson((double)harmed, (double)passed, DI_Z95);
    if (isfinite(harm) && isfinite(share))
        add_claim(m, "share of the runs that the doctor passes and that lose against source-only",
                  passed > 0 ? (double)harmed / (double)passed : NAN, passed > 0 ? ci.lo : NAN,
                  ci.hi, share, passed, passed > 0 ? (double)harmed <= share * (double)passed : -1,
                  detail);
    else
        json_decref(detail);
}

static void claim_regret(summary *m)
{
    double needed = di_num(m->claims, "regret"), sum = 0, var = 0, mean;
    json_t *detail = detail_list(m);
    int64_t n = 0;

    for (int i = 0; i < m->n; i++) {
        double r = di_num(m->s[i].recipe, "regret.mean");

        if (!isfinite(r)) continue;
        n++;
        sum += r;
        add_detail(m, detail, "%s: %+.1f points (%.0f seeds, checkpoint by the labels of %s)",
                   m->s[i].name, 100 * r, di_num(m->s[i].recipe, "regret.seeds"),
                   di_text_at(m->s[i].recipe, "regret.by"));
    }
    mean = sum / (double)n;
    for (int i = 0; i < m->n; i++) {
        double r = di_num(m->s[i].recipe, "regret.mean");

        if (isfinite(r)) var += (r - mean) * (r - mean) / (double)(n > 1 ? n - 1 : 1);
    }
    if (isfinite(needed))
        add_claim(m, "what choosing the checkpoint without labels costs, mean over settings",
                  n > 0 ? mean : NAN, n > 1 ? mean - DI_Z95 * sqrt(var / (double)n) : NAN,
                  mean + DI_Z95 * sqrt(var / (double)n), needed, n, n > 0 ? mean <= needed : -1,
                  detail);
    else
        json_decref(detail);
}

dial_status di_claims(const json_t *claims, const json_t *docs, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    summary m = {.claims = claims, .out = json_array()};
    const json_t *doc;
    size_t i;

    if (di_text_at(claims, "recipe") == NULL || !isfinite(di_num(claims, "least_gap")))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "claims", "see experiments/claims.json",
                   "expected `recipe`, the label of a group, and the number `least_gap`");
    json_array_foreach (docs, i, doc) read_setting(&m, doc);
    claim_gains(&m);
    claim_closure(&m);
    claim_controls(&m);
    claim_harm(&m);
    claim_regret(&m);
    *out =
        di_json_whole(json_pack("{s:s,s:O}", "schema", "dial.claims/1", "claims", m.out), m.failed);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the claims");
done:
    json_decref(m.out);
    return st;
}

dial_status di_claims_text(const json_t *result, di_buf *out, dial_error *err)
{
    const json_t *c, *d;
    size_t i, k;

    json_array_foreach (di_at(result, "claims"), i, c) {
        const json_t *holds = di_at(c, "holds"), *ci = di_at(c, "ci95");

        di_buf_printf(out, "%-12s  %s: ",
                      json_is_true(holds)    ? "holds"
                      : json_is_false(holds) ? "falls short"
                                             : "not measured",
                      di_text_at(c, "claim"));
        if (isfinite(di_num(c, "value"))) di_buf_printf(out, "%.3g", di_num(c, "value"));
        if (json_is_array(ci))
            di_buf_printf(out, " (95%%: %.3g to %.3g)", end_of(ci, 0), end_of(ci, 1));
        di_buf_printf(out, "%sneeded %.3g, n %.0f\n", isfinite(di_num(c, "value")) ? "; " : "",
                      di_num(c, "needed"), di_num(c, "n"));
        json_array_foreach (di_at(c, "detail"), k, d) {
            di_puts(out, "                ");
            di_put_plain(out, json_string_value(d));
            di_puts(out, "\n");
        }
    }
    return di_buf_status(out, err);
}
