/* The fields of a result of kind `pairs` (interfaces.md 1.6). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/metrics_internal.h"
#include "train/objective.h"

enum { BINS = 15 };

typedef struct moments {
    double n, sum, squares;
} moments;

static void add(moments *m, double x)
{
    m->n++;
    m->sum += x;
    m->squares += x * x;
}

static double mean(const moments *m)
{
    return m->sum / m->n;
}

static double variance(const double *v, int64_t n, double centre)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += (v[i] - centre) * (v[i] - centre);
    return n > 1 ? sum / (double)(n - 1) : 0;
}

/* One column of the rows: what is computed once and read by several fields. */
typedef struct columns {
    double *margin, *chosen, *rejected, *chosen_len, *rejected_len, *matched, *scratch;
} columns;

static dial_status fill(const di_eval_set *s, columns *c, double **memory, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = s->d->n;
    double *m = di_new_array(s->al, (size_t)n, 7 * sizeof *m);

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)n);
    *memory = m;
    *c = (columns){m, m + n, m + 2 * n, m + 3 * n, m + 4 * n, m + 5 * n, m + 6 * n};
    for (int64_t i = 0; i < n; i++) {
        const di_example *e = &s->d->example[i];
        double wc = s->d->seq[di_row_text(s->d, i, 0)].words;
        double wr = s->d->seq[di_row_text(s->d, i, 1)].words;

        c->chosen[i] = di_row_reward(s->d, s->reward, i, 0);
        c->rejected[i] = di_row_reward(s->d, s->reward, i, 1);
        c->margin[i] = c->chosen[i] - c->rejected[i];
        c->chosen_len[i] = di_row_length(s, i, 0);
        c->rejected_len[i] = di_row_length(s, i, 1);
        c->matched[i] = e->length_matched >= 0 ? e->length_matched
                        : wc > 0 && wr > 0     ? fabs(log(wc / wr)) < 0.3
                                               : 0;
    }
done:
    return st;
}

/* sum over bins of share x |mean right - mean sigma(|m|)| */
static double calibration_error(const di_eval_set *s, const double *margin)
{
    double right[BINS] = {0}, sure[BINS] = {0}, sum = 0;

    for (int64_t i = 0; i < s->d->n; i++) {
        double p = 1 / (1 + exp(-fabs(margin[i])));
        int b = (int)((2 * p - 1) * BINS);

        if (b >= BINS) b = BINS - 1;
        right[b] += s->credit[i];
        sure[b] += p;
    }
    for (int b = 0; b < BINS; b++) sum += fabs(right[b] - sure[b]);
    return sum / (double)s->d->n;
}

static json_t *mean_std(const double *v, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += v[i];
    sum /= (double)n;
    return json_pack("{s:o,s:o}", "mean", di_json_stat(sum), "std",
                     di_json_stat(sqrt(variance(v, n, sum))));
}

static json_t *margin_json(const columns *c, int64_t n)
{
    json_t *o = mean_std(c->margin, n);
    int failed = 0;

    if (o == NULL) return NULL;
    memcpy(c->scratch, c->margin, (size_t)n * sizeof *c->scratch);
    di_put(o, "p05", di_json_stat(di_quantile(c->scratch, n, 0.05)), &failed);
    di_put(o, "p50", di_json_stat(di_quantile(c->scratch, n, 0.50)), &failed);
    di_put(o, "p95", di_json_stat(di_quantile(c->scratch, n, 0.95)), &failed);
    if (failed) json_decref(o);
    return failed ? NULL : o;
}

/* accuracy, ci95, ci95_cluster, clusters, correct, ties, accuracy_strict; and the bootstrap of the
 * accuracy on matched rows into *matched_ci. */
static dial_status accuracy_fields(const di_eval_set *s, const columns *c, json_t *o,
                                   di_interval *matched_ci, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_bootstrap_options boot = {s->opt->draws, s->opt->seed};
    const double *column[3] = {s->credit, c->scratch, c->matched};
    int64_t n = s->d->n, ties = 0, wins = 0;
    int failed = 0, several = s->units.n_units > 1;
    double correct = 0;
    double *draw = di_new_array(s->al, (size_t)boot.draws, 4 * sizeof *draw);
    double *one = draw == NULL ? NULL : draw + 3 * boot.draws;
    di_interval ci;

    if (draw == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld draws", (long long)boot.draws);
    for (int64_t i = 0; i < n; i++) {
        correct += s->credit[i];
        ties += c->chosen[i] == c->rejected[i];
        wins += c->chosen[i] > c->rejected[i];
        c->scratch[i] = c->matched[i] * s->credit[i];
    }
    DI_TRY(di_bootstrap(&s->units, column, 3, &boot, draw, err));
    for (int64_t b = 0; b < boot.draws; b++) one[b] = draw[3 * b + 1] / draw[3 * b + 2];
    *matched_ci = di_percentile95(one, boot.draws, NULL);
    for (int64_t b = 0; b < boot.draws; b++) one[b] = draw[3 * b];
    ci = di_percentile95(one, boot.draws, NULL);
    di_put(o, "accuracy", di_json_stat(correct / (double)n), &failed);
    di_put(o, "ci95", di_interval_json(di_wilson(correct, (double)n, DI_Z95)), &failed);
    di_put(o, "ci95_cluster", several ? di_interval_json(ci) : json_null(), &failed);
    di_put(o, "clusters", json_integer(s->units.n_units), &failed);
    di_put(o, "correct", di_json_stat(correct), &failed);
    di_put(o, "ties", json_integer(ties), &failed);
    di_put(o, "accuracy_strict", di_json_stat((double)wins / (double)n), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    di_free(s->al, draw);
    return st;
}

static double longer_wins(const columns *c, int64_t i)
{
    return c->chosen_len[i] > c->rejected_len[i]   ? 1
           : c->chosen_len[i] < c->rejected_len[i] ? 0
                                                   : 0.5;
}

static const char *matched_rule(const di_dataset *d)
{
    int64_t said = 0;

    for (int64_t i = 0; i < d->n; i++) said += d->example[i].length_matched >= 0;
    return said == d->n ? "length_matched"
           : said > 0   ? "length_matched, else |ln(words ratio)|<0.3"
                        : "|ln(words ratio)|<0.3";
}

static json_t *length_json(const di_eval_set *s, const columns *c, di_interval matched_ci)
{
    static const char *const units[] = {"chars", "words", "tokens"};
    moments all = {0}, longer = {0}, shorter = {0}, matched = {0}, matched_base = {0};
    int some;

    for (int64_t i = 0; i < s->d->n; i++) {
        double base = longer_wins(c, i);

        add(&all, base);
        if (base > 0.5) add(&longer, s->credit[i]);
        if (base < 0.5) add(&shorter, s->credit[i]);
        if (c->matched[i] > 0) {
            add(&matched, s->credit[i]);
            add(&matched_base, base);
        }
    }
    some = matched.n > 0;
    return json_pack(
        "{s:s,s:o,s:o,s:o,s:{s:s,s:I,s:o,s:o,s:o,s:o}}", "unit", units[s->opt->length_unit],
        "baseline_longer", di_json_stat(mean(&all)), "balanced_accuracy",
        di_stat_or_null((mean(&longer) + mean(&shorter)) / 2, longer.n > 0 && shorter.n > 0),
        "reward_corr", di_length_corr(s), "matched", "rule", matched_rule(s->d), "n",
        (json_int_t)matched.n, "accuracy", di_stat_or_null(mean(&matched), some), "ci95",
        some ? di_interval_json(di_wilson(matched.sum, matched.n, DI_Z95)) : json_null(),
        "ci95_cluster", some && s->units.n_units > 1 ? di_interval_json(matched_ci) : json_null(),
        "baseline_longer", di_stat_or_null(mean(&matched_base), some));
}

typedef struct grouped {
    const char *name;
    double credit;
    int64_t row;
} grouped;

static int by_name(const void *a, const void *b)
{
    const grouped *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : x->row < y->row ? -1 : x->row > y->row;
}

/* Groups in order of their names; rows without one are left out. */
static json_t *groups_json(const di_eval_set *s)
{
    grouped *g = di_new_array(s->al, (size_t)s->d->n, sizeof *g);
    json_t *list = json_array();
    int64_t n = 0;
    int failed = g == NULL || list == NULL;

    for (int64_t i = 0; !failed && i < s->d->n; i++)
        if (s->d->example[i].group != NULL)
            g[n++] = (grouped){s->d->example[i].group, s->credit[i], i};
    if (n > 0) qsort(g, (size_t)n, sizeof *g, by_name);
    for (int64_t i = 0, j; !failed && i < n; i = j) {
        moments m = {0};

        for (j = i; j < n && strcmp(g[j].name, g[i].name) == 0; j++) add(&m, g[j].credit);
        failed |=
            json_array_append_new(
                list, json_pack("{s:s,s:s,s:I,s:o,s:o}", "key", s->opt->group_key, "value",
                                g[i].name, "n", (json_int_t)m.n, "accuracy", di_json_stat(mean(&m)),
                                "ci95", di_interval_json(di_wilson(m.sum, m.n, DI_Z95)))) != 0;
    }
    di_free(s->al, g);
    if (failed) json_decref(list);
    return failed ? NULL : list;
}

dial_status di_pairs_fields(const di_eval_set *s, json_t *o, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = s->d->n;
    double *memory = NULL, loss = 0, brier = 0;
    di_interval matched_ci = {0};
    columns c = {0};
    int failed = 0;

    DI_TRY(fill(s, &c, &memory, err));
    DI_TRY(accuracy_fields(s, &c, o, &matched_ci, err));
    for (int64_t i = 0; i < n; i++) {
        double wrong = 1 / (1 + exp(c.margin[i])); /* 1 - sigma(m) */

        loss += di_softplus(-c.margin[i]);
        brier += wrong * wrong;
    }
    di_put(o, "loss", di_json_stat(loss / (double)n), &failed);
    di_put(o, "margin", margin_json(&c, n), &failed);
    di_put(o, "calibration",
           json_pack("{s:o,s:o,s:i}", "brier", di_json_stat(brier / (double)n), "ece",
                     di_json_stat(calibration_error(s, c.margin)), "bins", BINS),
           &failed);
    di_put(o, "reward",
           json_pack("{s:o,s:o}", "chosen", mean_std(c.chosen, n), "rejected",
                     mean_std(c.rejected, n)),
           &failed);
    di_put(o, "length", length_json(s, &c, matched_ci), &failed);
    di_put(o, "groups", groups_json(s), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    di_free(s->al, memory);
    return st;
}
