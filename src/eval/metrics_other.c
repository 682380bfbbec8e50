/* The fields of results of kinds `scored` and `mcq` (interfaces.md 1.6). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/metrics_internal.h"

/* ---- scored ---- */

/* x: rewards, y: scores, len: lengths, sorted by prompt where `start` says so. */
typedef struct scored {
    double *x, *y, *len;
    int64_t n;
    int64_t *start; /* (n_prompts + 1): first row of each prompt */
    int64_t n_prompts;
} scored;

typedef struct keyed {
    uint64_t prompt;
    int64_t row;
} keyed;

static int by_prompt(const void *a, const void *b)
{
    const keyed *x = a, *y = b;

    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static dial_status gather(const di_eval_set *s, scored *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = s->d->n;
    keyed *k = di_new_array(s->al, (size_t)n, sizeof *k);

    t->n = n;
    t->x = di_new_array(s->al, (size_t)n, 3 * sizeof *t->x);
    t->start = di_new_array(s->al, (size_t)n + 1, sizeof *t->start);
    if (k == NULL || t->x == NULL || t->start == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)n);
    t->y = t->x + n;
    t->len = t->x + 2 * n;
    for (int64_t i = 0; i < n; i++)
        k[i] = (keyed){s->d->seq[di_row_text(s->d, i, 0)].prompt_hash, i};
    qsort(k, (size_t)n, sizeof *k, by_prompt);
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || k[i].prompt != k[i - 1].prompt) t->start[t->n_prompts++] = i;
        t->x[i] = di_row_reward(s->d, s->reward, k[i].row, 0);
        t->y[i] = (double)s->d->example[k[i].row].score;
        t->len[i] = di_row_length(s, k[i].row, 0);
    }
    t->start[t->n_prompts] = n;
done:
    di_free(s->al, k);
    return st;
}

static int correlate(const di_alloc *al, di_corr kind, const double *x, const double *y, int64_t n,
                     double *r)
{
    switch (kind) {
    case DI_CORR_SPEARMAN: return di_spearman(al, x, y, n, r);
    case DI_CORR_KENDALL: return di_kendall(al, x, y, n, r);
    case DI_CORR_PEARSON: break;
    }
    return di_pearson(x, y, n, r);
}

/* {"pooled", "ci95", "within_prompt", "prompts"}; prompts counts those with at least 3 rows and a
 * defined correlation: the ones in the mean. */
static json_t *correlation_json(const di_eval_set *s, const scored *t, di_corr kind)
{
    double pooled = 0, within = 0, r;
    int64_t prompts = 0;
    di_interval ci = {0};
    int ok = correlate(s->al, kind, t->x, t->y, t->n, &pooled), has_ci;

    if (ok < 0) return NULL;
    for (int64_t p = 0; p < t->n_prompts; p++) {
        int64_t first = t->start[p], n = t->start[p + 1] - first;
        int defined = n < 3 ? 0 : correlate(s->al, kind, t->x + first, t->y + first, n, &r);

        if (defined < 0) return NULL;
        if (!defined) continue;
        within += r;
        prompts++;
    }
    has_ci = ok && di_fisher(pooled, t->n, kind, &ci);
    return json_pack("{s:o,s:o,s:o,s:I}", "pooled", di_stat_or_null(pooled, ok), "ci95",
                     has_ci ? di_interval_json(ci) : json_null(), "within_prompt",
                     di_stat_or_null(within / (double)prompts, prompts > 0), "prompts",
                     (json_int_t)prompts);
}

static json_t *spearman_json(const di_eval_set *s, const double *x, const double *y, int64_t n)
{
    double r = 0;
    int ok = di_spearman(s->al, x, y, n, &r);

    return ok < 0 ? NULL : di_stat_or_null(r, ok);
}

dial_status di_scored_fields(const di_eval_set *s, json_t *o, dial_error *err)
{
    static const char *const units[] = {"chars", "words", "tokens"};
    dial_status st = DIAL_OK;
    scored t = {0};
    int failed = 0;

    DI_TRY(gather(s, &t, err));
    di_put(o, "pearson", correlation_json(s, &t, DI_CORR_PEARSON), &failed);
    di_put(o, "spearman", correlation_json(s, &t, DI_CORR_SPEARMAN), &failed);
    di_put(o, "kendall", correlation_json(s, &t, DI_CORR_KENDALL), &failed);
    di_put(o, "length",
           json_pack("{s:s,s:o,s:o}", "unit", units[s->opt->length_unit], "reward_corr",
                     spearman_json(s, t.x, t.len, t.n), "score_corr",
                     spearman_json(s, t.y, t.len, t.n)),
           &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    di_free(s->al, t.x);
    di_free(s->al, t.start);
    return st;
}

/* ---- mcq ---- */

/* Wrong options above the right one, and half of those equal to it. */
static double rank_of_right(const di_eval_set *s, int64_t row)
{
    double right = di_row_reward(s->d, s->reward, row, 0), rank = 0;

    for (int32_t k = 1; k < s->d->example[row].n_texts; k++) {
        double wrong = di_row_reward(s->d, s->reward, row, k);

        rank += wrong > right ? 1 : wrong == right ? 0.5 : 0;
    }
    return rank;
}

/* Credit of the rule "take the longest": 1/k where the right option is one of k longest. */
static double longest_right(const di_eval_set *s, int64_t row)
{
    double right = di_row_length(s, row, 0);
    int equal = 1;

    for (int32_t k = 1; k < s->d->example[row].n_texts; k++) {
        double wrong = di_row_length(s, row, k);

        if (wrong > right) return 0;
        equal += wrong == right;
    }
    return 1.0 / equal;
}

dial_status di_mcq_fields(const di_eval_set *s, json_t *o, dial_error *err)
{
    static const char *const units[] = {"chars", "words", "tokens"};
    dial_status st = DIAL_OK;
    double n = (double)s->d->n, correct = 0, chance = 0, rank = 0, mrr = 0, longest = 0;
    int32_t options = s->d->example[0].n_texts;
    int64_t ties = 0;
    int failed = 0;

    for (int64_t i = 0; i < s->d->n; i++) {
        int32_t k = s->d->example[i].n_texts;
        double r = rank_of_right(s, i);

        correct += s->credit[i];
        ties += s->credit[i] > 0 && s->credit[i] < 1;
        chance += 1.0 / k;
        rank += r;
        mrr += 1 / (1 + r);
        longest += longest_right(s, i);
        if (k != options) options = -1;
    }
    di_put(o, "accuracy", di_json_stat(correct / n), &failed);
    di_put(o, "ci95", di_interval_json(di_wilson(correct, n, DI_Z95)), &failed);
    di_put(o, "correct", di_json_stat(correct), &failed);
    di_put(o, "ties", json_integer(ties), &failed);
    di_put(o, "chance", di_json_stat(chance / n), &failed);
    di_put(o, "mean_rank", di_json_stat(rank / n), &failed);
    di_put(o, "mrr", di_json_stat(mrr / n), &failed);
    di_put(o, "options", options < 0 ? json_null() : json_integer(options), &failed);
    di_put(o, "length",
           json_pack("{s:s,s:o}", "unit", units[s->opt->length_unit], "baseline_longer",
                     di_json_stat(longest / n)),
           &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    return st;
}
