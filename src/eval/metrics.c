/* Entry points of metrics.h: checks, credits, and what all kinds of rows have in common. */
#include "eval/metrics.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "eval/metrics_internal.h"
#include "train/objective.h"

di_eval_options di_eval_options_default(void)
{
    return (di_eval_options){DI_LENGTH_CHARS, DI_CLUSTER_TEXT, 2000, 0, "topic"};
}

/* ---- JSON ---- */

json_t *di_interval_json(di_interval v)
{
    return json_pack("[o,o]", di_json_stat(v.lo), di_json_stat(v.hi));
}

json_t *di_stat_or_null(double value, int defined)
{
    return defined ? di_json_stat(value) : json_null();
}

void di_put(json_t *object, const char *key, json_t *value, int *failed)
{
    if (value == NULL || json_object_set_new(object, key, value) != 0) *failed = 1;
}

/* ---- lengths ---- */

double di_row_length(const di_eval_set *s, int64_t row, int32_t k)
{
    const di_seq *q = &s->d->seq[di_row_text(s->d, row, k)];

    switch (s->opt->length_unit) {
    case DI_LENGTH_WORDS: return q->words;
    case DI_LENGTH_TOKENS: return (double)q->n;
    case DI_LENGTH_CHARS: break;
    }
    return q->chars;
}

json_t *di_length_corr(const di_eval_set *s)
{
    const di_dataset *d = s->d;
    char *seen = di_new_array(s->al, (size_t)d->n_seq, 1);
    double *x = di_new_array(s->al, (size_t)d->n_seq, 2 * sizeof *x);
    double *y = x == NULL ? NULL : x + d->n_seq, r = 0;
    int64_t n = 0;
    int ok = -1;

    if (seen != NULL && x != NULL) {
        for (int64_t i = 0; i < d->n; i++) {
            for (int32_t k = 0; k < d->example[i].n_texts; k++) {
                if (seen[di_row_text(d, i, k)]) continue;
                seen[di_row_text(d, i, k)] = 1;
                x[n] = di_row_reward(d, s->reward, i, k);
                y[n++] = di_row_length(s, i, k);
            }
        }
        ok = di_spearman(s->al, x, y, n, &r);
    }
    di_free(s->al, seen);
    di_free(s->al, x);
    return ok < 0 ? NULL : di_stat_or_null(r, ok);
}

/* ---- rows ---- */

static dial_status check_rows(const di_dataset *d, const float *reward, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (d->n < 1) DI_FAIL(err, DIAL_ERR_USAGE, "'%s' has no row to evaluate", d->path);
    if (d->example[0].kind == DI_ROW_SINGLE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, d->path, "evaluate labelled rows; `dial score` takes these",
                   "rows of one text without a score have nothing to compare with");
    for (int64_t i = 0; i < d->n; i++) {
        for (int32_t k = 0; k < d->example[i].n_texts; k++) {
            float r = reward[di_row_text(d, i, k)];

            if (!isfinite(r))
                DI_FAIL_AT(err, DIAL_ERR_NUMERIC,
                           DI_FMT("%s:%lld", d->path, (long long)d->example[i].line),
                           "try --dtype f32; check the weights with `dial info --verify`",
                           "the reward of text %d of row %lld is not finite", (int)k,
                           (long long)d->example[i].row);
        }
    }
done:
    return st;
}

/* 1/k where text 0 is one of k at the top, else 0. A tie is equality of the f32 rewards. */
static double credit_of(const di_dataset *d, const float *reward, int64_t row, int *tie)
{
    float first = reward[di_row_text(d, row, 0)];
    int equal = 1;

    *tie = 0;
    for (int32_t k = 1; k < d->example[row].n_texts; k++) {
        float r = reward[di_row_text(d, row, k)];

        if (r > first) return 0;
        equal += r == first;
    }
    *tie = equal > 1;
    return 1.0 / equal;
}

dial_status di_eval_credits(const di_dataset *d, const float *reward, double *credit,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    int tie;

    DI_TRY(check_rows(d, reward, err));
    for (int64_t i = 0; i < d->n; i++) credit[i] = credit_of(d, reward, i, &tie);
done:
    return st;
}

dial_status di_eval_accuracy(const di_dataset *d, const float *reward, double *accuracy,
                             int64_t *ties, dial_error *err)
{
    dial_status st = DIAL_OK;
    double sum = 0;
    int64_t n_ties = 0;

    DI_TRY(check_rows(d, reward, err));
    for (int64_t i = 0; i < d->n; i++) {
        int tie;

        sum += credit_of(d, reward, i, &tie);
        n_ties += tie;
    }
    *accuracy = sum / (double)d->n;
    if (ties != NULL) *ties = n_ties;
done:
    return st;
}

dial_status di_eval_losses(const di_dataset *d, const float *reward, double *loss, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(check_rows(d, reward, err));
    if (d->example[0].kind != DI_ROW_PAIR)
        DI_FAIL(err, DIAL_ERR_USAGE, "'%s': the Bradley-Terry loss needs pairs", d->path);
    for (int64_t i = 0; i < d->n; i++)
        loss[i] = di_softplus(di_row_reward(d, reward, i, 1) - di_row_reward(d, reward, i, 0));
done:
    return st;
}

/* Units of the rows. mcq rows have more than two texts, so texts are no units there: rows are,
 * or prompts where that was asked for. */
static dial_status make_units(const di_alloc *al, const di_dataset *d, di_cluster cluster,
                              di_units *u, dial_error *err)
{
    dial_status st = DIAL_OK;
    uint64_t *hash = di_new_array(al, (size_t)d->n, 2 * sizeof *hash);

    if (hash == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)d->n);
    if (cluster == DI_CLUSTER_TEXT && d->example[0].kind != DI_ROW_PAIR) cluster = DI_CLUSTER_NONE;
    for (int64_t i = 0; i < d->n; i++) {
        const di_seq *a = &d->seq[di_row_text(d, i, 0)];

        hash[2 * i] = cluster == DI_CLUSTER_PROMPT ? a->prompt_hash : a->hash;
        if (d->example[i].n_texts > 1) hash[2 * i + 1] = d->seq[di_row_text(d, i, 1)].hash;
    }
    DI_TRY(di_units_init(u, al, d->n, hash, cluster, err));
done:
    di_free(al, hash);
    return st;
}

static dial_status set_init(di_eval_set *s, const di_alloc *al, const di_dataset *d,
                            const float *reward, const di_eval_options *opt, dial_error *err)
{
    dial_status st = DIAL_OK;

    *s = (di_eval_set){.al = al, .d = d, .reward = reward, .opt = opt};
    DI_TRY(check_rows(d, reward, err));
    DI_TRY(make_units(al, d, opt->cluster, &s->units, err));
    if (d->example[0].kind != DI_ROW_SCORED) {
        s->credit = di_new_array(al, (size_t)d->n, sizeof *s->credit);
        if (s->credit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to evaluate '%s'", d->path);
        DI_TRY(di_eval_credits(d, reward, s->credit, err));
    }
done:
    return st;
}

static void set_deinit(di_eval_set *s)
{
    di_units_deinit(&s->units);
    di_free(s->al, s->credit);
}

void di_put_speed(const di_dataset *d, double seconds, int64_t tokens, json_t *o, int *failed)
{
    int64_t total = 0, texts = 0, most = 0;

    for (int64_t i = 0; i < d->n; i++) {
        for (int32_t k = 0; k < d->example[i].n_texts; k++, texts++) {
            int64_t n = d->seq[di_row_text(d, i, k)].n;

            total += n;
            most = n > most ? n : most;
        }
    }
    di_put(o, "tokens",
           json_pack("{s:I,s:o,s:I}", "total", (json_int_t)total, "mean",
                     di_json_stat((double)total / (double)texts), "max", (json_int_t)most),
           failed);
    di_put(o, "seconds", di_json_stat(fmax(seconds, 0)), failed);
    di_put(o, "tokens_per_second",
           di_stat_or_null((double)(tokens < 0 ? total : tokens) / seconds, seconds > 0), failed);
}

dial_status di_eval_result(const di_alloc *al, const di_dataset *d, const char *name,
                           const float *reward, const di_eval_options *opt, double seconds,
                           int64_t tokens, json_t **out, dial_error *err)
{
    static const char *const kinds[] = {"pairs", "scored", "single", "mcq", "candidates"};
    dial_status st = DIAL_OK;
    di_eval_set s = {0};
    json_t *o = NULL;
    int failed = 0;

    DI_TRY(set_init(&s, al, d, reward, opt, err));
    o = json_pack("{s:s,s:s,s:s,s:s,s:I,s:o}", "name", name, "file", d->path, "sha256", d->sha256,
                  "kind", kinds[d->example[0].kind], "n", (json_int_t)d->n, "rows",
                  di_row_counts_to_json(&d->counts));
    if (o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result of '%s'", name);
    switch (d->example[0].kind) {
    case DI_ROW_PAIR:
        DI_TRY(di_pairs_fields(&s, o, err));
        if (strcmp(d->schema, "rb1") == 0) DI_TRY(di_rewardbench_fields(&s, o, err));
        break;
    case DI_ROW_SCORED: DI_TRY(di_scored_fields(&s, o, err)); break;
    case DI_ROW_MCQ: DI_TRY(di_mcq_fields(&s, o, err)); break;
    case DI_ROW_CANDIDATES: DI_TRY(di_candidates_fields(&s, o, err)); break;
    case DI_ROW_SINGLE: break; /* refused by check_rows */
    }
    di_put_speed(d, seconds, tokens, o, &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result of '%s'", name);
    *out = o;
    o = NULL;
done:
    json_decref(o);
    set_deinit(&s);
    return st;
}

dial_status di_eval_compare(const di_alloc *al, const di_dataset *d, const float *reward,
                            const char *model_b, const float *reward_b, const di_eval_options *opt,
                            json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_bootstrap_options boot = {opt->draws, opt->seed};
    di_eval_set s = {0};
    di_difference diff;
    double *other = NULL;
    json_t *o = NULL;

    DI_TRY(set_init(&s, al, d, reward, opt, err));
    if (s.credit == NULL) {
        *out = json_null();
        goto done;
    }
    other = di_new_array(al, (size_t)d->n, sizeof *other);
    if (other == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare with '%s'", model_b);
    DI_TRY(di_eval_credits(d, reward_b, other, err));
    DI_TRY(di_paired_difference(&s.units, s.credit, other, &boot, &diff, err));
    o = json_pack("{s:s,s:o,s:o,s:o,s:o,s:{s:I,s:I}}", "model", model_b, "accuracy",
                  di_json_stat(diff.baseline), "delta", di_json_stat(diff.delta), "ci95",
                  s.units.n_units > 1 ? di_interval_json(diff.ci) : json_null(), "p_mcnemar",
                  di_json_stat(diff.p_mcnemar), "flips", "better", (json_int_t)diff.better, "worse",
                  (json_int_t)diff.worse);
    if (o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare with '%s'", model_b);
    *out = o;
done:
    di_free(al, other);
    set_deinit(&s);
    return st;
}

json_t *di_eval_macro(const json_t *results)
{
    size_t i, n = 0;
    double sum = 0;
    json_t *one;

    json_array_foreach (results, i, one) {
        const json_t *a = json_object_get(one, "accuracy");

        if (!json_is_number(a)) continue;
        sum += json_number_value(a);
        n++;
    }
    return json_pack("{s:I,s:o}", "n_sets", (json_int_t)n, "accuracy",
                     di_stat_or_null(sum / (double)n, n > 0));
}
