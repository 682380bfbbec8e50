/*
 * The `sets` part of the document: results of each evaluation set, and the models compared on the
 * same rows with the same bootstrap weights.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/stats.h"
#include "report/analyse.h"

/* ---- rows of several models, side by side ---- */

enum { MODEL, BASELINE, ORACLE, SIDES };

typedef struct side_by_side {
    const di_alloc *al;
    di_scores s[SIDES];
    int n_sides;
    double *credit[SIDES]; /* (n) */
    int64_t n;             /* rows that all sides have */
    int64_t most;          /* rows of the largest side */
    di_units units;
    int has_units;
} side_by_side;

static void sides_deinit(side_by_side *x)
{
    for (int k = 0; k < SIDES; k++) {
        di_free(x->al, x->s[k].row);
        di_free(x->al, x->credit[k]);
    }
    if (x->has_units) di_units_deinit(&x->units);
}

static int by_place(const void *a, const void *b)
{
    const di_score_row *x = a, *y = b;

    return x->i < y->i ? -1 : x->i > y->i;
}

static double credit_of(const di_score_row *r)
{
    return r->chosen > r->rejected ? 1 : r->chosen < r->rejected ? 0 : 0.5;
}

/* Loads the scores of runs and keeps the rows that all of them have: equal place, equal texts. */
static dial_status align_rows(side_by_side *x, const di_run *const *run, const char *set,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t at[SIDES] = {0};
    uint64_t *hash = NULL;
    const int n_sides = x->n_sides;
    int named = 1;

    for (int k = 0; k < n_sides; k++) {
        DI_TRY(di_run_scores(run[k], set, &x->s[k], err));
        if (x->s[k].n == 0) goto done; /* no per-row scores: n stays 0 */
        qsort(x->s[k].row, (size_t)x->s[k].n, sizeof *x->s[k].row, by_place);
        if (x->s[k].n > x->most) x->most = x->s[k].n;
    }
    for (int k = 0; k < n_sides; k++) {
        x->credit[k] = di_new_array(x->al, (size_t)x->s[0].n, sizeof **x->credit);
        if (x->credit[k] == NULL)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores of '%s'", set);
    }
    hash = di_new_array(x->al, (size_t)x->s[0].n, 2 * sizeof *hash);
    if (hash == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores of '%s'", set);
    for (; at[0] < x->s[0].n; at[0]++) {
        const di_score_row *first = &x->s[0].row[at[0]];
        int all = 1;

        for (int k = 1; k < n_sides; k++) {
            const di_scores *s = &x->s[k];

            while (at[k] < s->n && s->row[at[k]].i < first->i) at[k]++;
            all &= at[k] < s->n && s->row[at[k]].i == first->i &&
                   memcmp(s->row[at[k]].text, first->text, sizeof first->text) == 0;
        }
        if (!all) continue;
        for (int k = 0; k < n_sides; k++) x->credit[k][x->n] = credit_of(&x->s[k].row[at[k]]);
        memcpy(hash + 2 * x->n, first->text, sizeof first->text);
        named &= first->text[0] != 0 && first->text[1] != 0;
        x->n++;
    }
    DI_TRY(di_units_init(&x->units, x->al, x->n, hash, named ? DI_CLUSTER_TEXT : DI_CLUSTER_NONE,
                         err));
    x->has_units = 1;
done:
    di_free(x->al, hash);
    return st;
}

/* ---- one comparison ---- */

static json_t *interval(di_interval v)
{
    return json_pack("[o,o]", di_json_stat(v.lo), di_json_stat(v.hi));
}

static json_t *null_or(double x)
{
    return isfinite(x) ? di_json_stat(x) : json_null();
}

static dial_status paired_json(di_report_work *w, const di_run *r, const di_run *base,
                               const char *set, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_run *const pair[] = {r, base};
    const di_bootstrap_options boot = {w->opt->draws, w->opt->seed};
    const json_t *a = json_object_get(r->final, set), *b = json_object_get(base->final, set);
    double balanced = di_num(a, "length.balanced_accuracy") - di_num(b, "length.balanced_accuracy");
    side_by_side x = {.al = w->al, .n_sides = 2};
    di_difference d;

    DI_TRY(align_rows(&x, pair, set, err));
    if (x.n < 2) {
        *out = json_pack("{s:s,s:s,s:n,s:o,s:n,s:n,s:n,s:n,s:n,s:n,s:o}", "model", r->label,
                         "baseline", base->label, "n", "delta",
                         null_or(di_num(a, "accuracy") - di_num(b, "accuracy")), "ci95", "se",
                         "clusters", "better", "worse", "p_mcnemar", "balanced_delta",
                         null_or(balanced));
        di_note(w,
                "%s, %s against %s: no per-row scores of both on the same rows, so the difference "
                "has no interval.",
                set, r->label, base->label);
    } else {
        DI_TRY(di_paired_difference(&x.units, x.credit[0], x.credit[1], &boot, &d, err));
        if (x.n < x.most)
            di_note(w, "%s, %s against %s: compared on the %lld rows that both scored, of %lld.",
                    set, r->label, base->label, (long long)x.n, (long long)x.most);
        *out = json_pack("{s:s,s:s,s:I,s:o,s:o,s:o,s:I,s:I,s:I,s:o,s:o}", "model", r->label,
                         "baseline", base->label, "n", (json_int_t)x.n, "delta",
                         di_json_stat(d.delta), "ci95", interval(d.ci), "se", di_json_stat(d.se),
                         "clusters", (json_int_t)x.units.n_units, "better", (json_int_t)d.better,
                         "worse", (json_int_t)d.worse, "p_mcnemar", di_json_stat(d.p_mcnemar),
                         "balanced_delta", null_or(balanced));
    }
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
done:
    sides_deinit(&x);
    return st;
}

static dial_status closure_json(di_report_work *w, const di_run *r, const di_run *base,
                                const di_run *oracle, const char *set, json_t **out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_run *const three[] = {r, base, oracle};
    const di_bootstrap_options boot = {w->opt->draws, w->opt->seed};
    side_by_side x = {.al = w->al, .n_sides = 3};
    di_gap_closure g;

    *out = NULL;
    DI_TRY(align_rows(&x, three, set, err));
    if (x.n < 2) goto done;
    DI_TRY(di_gap_closed(&x.units, x.credit[MODEL], x.credit[BASELINE], x.credit[ORACLE], &boot, &g,
                         err));
    *out = json_pack("{s:s,s:s,s:o,s:o,s:b,s:o,s:o}", "model", r->label, "oracle", oracle->label,
                     "gap", di_json_stat(g.gap), "gap_se", di_json_stat(g.gap_se), "usable",
                     g.usable, "value", g.usable ? di_json_stat(g.value) : json_null(), "ci95",
                     g.usable ? interval(g.ci) : json_null());
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
done:
    sides_deinit(&x);
    return st;
}

/* ---- one set ---- */

static json_t *result_json(const di_run *r, const json_t *result)
{
    static const char *const drop[] = {"name", "file", "sha256", "groups"};
    json_t *o = json_copy((json_t *)(uintptr_t)result);
    json_t *step = di_at(r->end, "selected_step");

    if (step == NULL) step = di_at(r->dial, "progress.selected_step");
    for (size_t k = 0; o != NULL && k < sizeof drop / sizeof *drop; k++)
        json_object_del(o, drop[k]);
    if (o == NULL || json_object_set_new(o, "model", json_string(r->label)) != 0 ||
        json_object_set_new(o, "role", json_string(r->role)) != 0 ||
        json_object_set_new(o, "selected_step", step ? json_incref(step) : json_null()) != 0 ||
        json_object_set_new(o, "final", json_boolean(r->end != NULL)) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* Mean and sd over the seeds of each method that has several. */
static json_t *seeds_json(const di_report_work *w, const char *set)
{
    json_t *list = json_array();
    int failed = 0;

    for (int64_t i = 0; i < w->n_runs; i++) {
        double n = 0, sum = 0, squares = 0, mean;
        int first = 1;

        for (int64_t j = 0; j < i; j++) first &= strcmp(w->run[j].method, w->run[i].method) != 0;
        for (int64_t j = i; first && j < w->n_runs; j++) {
            double a = di_num(json_object_get(w->run[j].final, set), "accuracy");

            if (strcmp(w->run[j].method, w->run[i].method) != 0 || !isfinite(a)) continue;
            n++;
            sum += a;
            squares += a * a;
        }
        if (n < 2) continue;
        mean = sum / n;
        di_json_add(list,
                    json_pack("{s:s,s:I,s:o,s:o}", "method", w->run[i].method, "n", (json_int_t)n,
                              "mean", di_json_stat(mean), "std",
                              di_json_stat(sqrt(fmax(0, (squares - n * mean * mean) / (n - 1))))),
                    &failed);
    }
    return di_json_whole(list, failed);
}

/* Evaluations during training, of models that have at least two. The one at the end of a run that
 * chose an earlier step is of that step's weights and stands there. */
static json_t *along_json(const di_report_work *w, const char *set)
{
    json_t *list = json_array();
    int failed = 0;

    for (int64_t i = 0; i < w->n_runs; i++) {
        json_t *steps = json_array(), *value = json_array(), *lo = json_array(), *hi = json_array(),
               *e;
        size_t k;

        json_array_foreach (w->run[i].evals, k, e) {
            const json_t *result = di_at(e, "result"), *ci = di_at(result, "ci95_cluster");
            const char *name = di_text_at(e, "name");

            if (name == NULL || strcmp(name, set) != 0 || !isfinite(di_num(result, "accuracy")) ||
                !isfinite(di_num(e, "step")) || json_is_true(di_at(e, "final")))
                continue;
            di_json_add(steps, di_json_stat(di_num(e, "step")), &failed);
            di_json_add(value, di_json_stat(di_num(result, "accuracy")), &failed);
            for (size_t end = 0; end < 2; end++)
                di_json_add(end == 0 ? lo : hi,
                            json_incref(json_is_array(ci) ? json_array_get(ci, end)
                                                          : di_at(result, "accuracy")),
                            &failed);
        }
        e = json_pack("{s:s,s:o,s:o,s:o,s:o}", "model", w->run[i].label, "step", steps, "accuracy",
                      value, "lo", lo, "hi", hi);
        if (e == NULL || json_array_size(di_at(e, "step")) >= 2)
            di_json_add(list, e, &failed);
        else
            json_decref(e);
    }
    return di_json_whole(list, failed);
}

static dial_status comparisons(di_report_work *w, const char *set, json_t *paired, json_t *closures,
                               dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int64_t i = 0; i < w->n_runs; i++) {
        const di_run *r = &w->run[i];
        const di_run *base = di_counterpart(w, r, "baseline"),
                     *oracle = di_counterpart(w, r, "oracle");
        json_t *o = NULL;

        if (base == NULL || base == r || strcmp(r->role, "baseline") == 0) continue;
        if (!isfinite(di_num(json_object_get(r->final, set), "accuracy")) ||
            !isfinite(di_num(json_object_get(base->final, set), "accuracy")))
            continue;
        DI_TRY(paired_json(w, r, base, set, &o, err));
        di_json_add(paired, o, &w->failed);
        if (oracle == NULL || strcmp(r->role, "adapted") != 0) continue;
        DI_TRY(closure_json(w, r, base, oracle, set, &o, err));
        if (o != NULL) di_json_add(closures, o, &w->failed);
    }
done:
    return st;
}

static dial_status set_json(di_report_work *w, const char *set, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *results = json_array(), *paired = json_array(), *closures = json_array();
    const json_t *any = NULL;

    for (int64_t i = 0; i < w->n_runs; i++) {
        const json_t *result = json_object_get(w->run[i].final, set);

        if (!json_is_object(result)) continue;
        if (any == NULL) any = result;
        if (json_array_append_new(results, result_json(&w->run[i], result)) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
        if (di_text_at(result, "sha256") != NULL && di_text_at(any, "sha256") != NULL &&
            strcmp(di_text_at(result, "sha256"), di_text_at(any, "sha256")) != 0)
            di_note(w,
                    "%s: %s was evaluated on another file than the first model, so the two are "
                    "not to be compared.",
                    set, w->run[i].label);
    }
    DI_TRY(comparisons(w, set, paired, closures, err));
    *out = json_pack("{s:s,s:s?,s:o,s:o,s:O,s:O,s:O,s:o,s:o}", "name", set, "kind",
                     di_text_at(any, "kind"), "n", null_or(di_num(any, "n")), "baseline_longer",
                     null_or(di_num(any, "length.baseline_longer")), "results", results, "paired",
                     paired, "gap_closure", closures, "seeds", seeds_json(w, set), "along",
                     along_json(w, set));
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
done:
    json_decref(results);
    json_decref(paired);
    json_decref(closures);
    return st;
}

dial_status di_sets_json(di_report_work *w, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *list = json_array(), *seen = json_object(), *o = NULL, *value;
    const char *name;

    for (int64_t i = 0; i < w->n_runs; i++) {
        json_object_foreach (w->run[i].final, name, value) {
            if (json_object_get(seen, name) != NULL) continue;
            di_json_put(seen, name, json_true(), &w->failed);
            DI_TRY(set_json(w, name, &o, err));
            di_json_add(list, o, &w->failed);
        }
    }
    *out = list;
    list = NULL;
done:
    json_decref(seen);
    json_decref(list);
    return st;
}
