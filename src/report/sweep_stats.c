/* The store of a sweep -> its document: means over seeds, paired differences, gap closure. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "eval/stats.h"
#include "report/collect.h"
#include "report/sweep.h"

/* Harm and divergence as method.md 10.2 and 5.7 count them. */
static const double harm = 0.005, lost_source = 0.05;

/* One run on one set. */
typedef struct column {
    int64_t group, seed;
    double *credit; /* (rows of its sheet); NULL: no rows, `mean` is all there is */
    double mean;    /* accuracy, or Spearman within prompts */
    int sheet;
    int place;           /* among the columns of the bootstrap; -1: none */
    const json_t *facts; /* of the run */
} column;

/* The rows that some of the runs were evaluated on: with "vary" a set is one file at each point. */
typedef struct sheet {
    int64_t n, n_units;
    uint64_t *text; /* (n, 3); NULL: unknown */
} sheet;

typedef struct stats {
    const di_alloc *al;
    const json_t *plan, *groups;
    di_store *store;
    json_t *facts; /* list: of each run of the plan, null where it is not done */
    int64_t draws;
    uint64_t seed;
    /* one set at a time */
    const char *set;
    int ranks; /* its results are rank correlations, not accuracies */
    column *col;
    int n_cols;
    sheet *sheet;
    int n_sheets;
    int64_t n;    /* rows of all sheets */
    double *draw; /* (draws, columns with rows): weighted means; NULL: no rows */
    int width;
    double *seed_weight; /* (draws, n_seeds) */
    int64_t *seeds;      /* (n_seeds) distinct */
    int32_t *at;         /* (groups, n_seeds): column + 1 of a group and seed, 0: none */
    int64_t n_seeds;
    double *scratch; /* (draws) */
} stats;

static void put_real(json_t *o, const char *key, double x, int *failed)
{
    di_json_put(o, key, isfinite(x) ? di_json_stat(x) : json_null(), failed);
}

static json_t *interval(di_interval v)
{
    return json_pack("[o,o]", di_json_stat(v.lo), di_json_stat(v.hi));
}

/* The run of a group with seed number i; NULL: none. */
static const column *find_column(const stats *s, int64_t group, int64_t i)
{
    int32_t k = s->at[group * s->n_seeds + i];

    return k > 0 ? &s->col[k - 1] : NULL;
}

/* ---- groups that belong together ---- */

static const char *label_of(const stats *s, int64_t g)
{
    return di_text_at(json_array_get(s->groups, (size_t)g), "label");
}

static const char *method_of(const stats *s, int64_t g)
{
    return di_text_at(json_array_get(s->groups, (size_t)g), "method");
}

int di_sweep_same_point(const json_t *a, const json_t *b)
{
    const char *axis;
    json_t *v;

    json_object_foreach ((json_t *)(uintptr_t)a, axis, v) {
        json_t *w = json_object_get(b, axis);

        if (w != NULL && !json_equal(v, w)) return 0;
    }
    return 1;
}

static const json_t *axes_of(const stats *s, int64_t g)
{
    return di_at(json_array_get(s->groups, (size_t)g), "axes");
}

/* The first group of that method at the point of g; -1: none. */
static int64_t counterpart(const stats *s, int64_t g, const char *method)
{
    for (int64_t k = 0; k < (int64_t)json_array_size(s->groups); k++)
        if (strcmp(method_of(s, k), method) == 0 &&
            di_sweep_same_point(axes_of(s, g), axes_of(s, k)))
            return k;
    return -1;
}

static int64_t baseline_of(const stats *s, int64_t g)
{
    int64_t b = counterpart(s, g, "src-pref");

    return b == g ? -1 : b;
}

static int64_t oracle_of(const stats *s, int64_t g)
{
    int64_t o = counterpart(s, g, "oracle");

    return o >= 0 ? o : counterpart(s, g, "oracle-target");
}

/* ---- columns ---- */

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void list_seeds(stats *s)
{
    int64_t n = 0;

    for (int k = 0; k < s->n_cols; k++) s->seeds[k] = s->col[k].seed;
    qsort(s->seeds, (size_t)s->n_cols, sizeof *s->seeds, by_number);
    for (int k = 0; k < s->n_cols; k++)
        if (n == 0 || s->seeds[n - 1] != s->seeds[k]) s->seeds[n++] = s->seeds[k];
    s->n_seeds = n;
}

static dial_status index_columns(stats *s, dial_error *err)
{
    dial_status st = DIAL_OK;

    list_seeds(s);
    s->at = di_new_array(s->al, json_array_size(s->groups) * (size_t)s->n_seeds + 1, sizeof *s->at);
    if (s->at == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the runs of a sweep");
    for (int k = 0; k < s->n_cols; k++)
        for (int64_t i = 0; i < s->n_seeds; i++)
            if (s->seeds[i] == s->col[k].seed) s->at[s->col[k].group * s->n_seeds + i] = k + 1;
done:
    return st;
}

/* The sheet of a run with n rows, a new one where no run before had the same. */
static dial_status find_sheet(stats *s, const char *key, int64_t n, int *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    uint64_t *text = NULL;
    int64_t rows = 0;

    DI_TRY(di_store_texts(s->store, key, s->set, &text, &rows, err));
    if (rows != n) {
        di_free(s->al, text);
        text = NULL;
    }
    for (*out = 0; *out < s->n_sheets; ++*out) {
        const sheet *h = &s->sheet[*out];

        if (h->n == n && (h->text != NULL) == (text != NULL) &&
            (text == NULL || memcmp(h->text, text, (size_t)n * 3 * sizeof *text) == 0))
            goto done;
    }
    s->sheet[s->n_sheets++] = (sheet){.n = n, .text = text};
    s->n += n;
    text = NULL;
done:
    di_free(s->al, text);
    return st;
}

/* Results of the set of all runs that are done. */
static dial_status load_columns(stats *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *runs = di_at(s->plan, "runs"), *run;
    uint8_t *credit = NULL;
    json_t *result = NULL;
    int64_t unpaired = 0; /* rows of an evaluation without pairs */
    size_t i;

    s->n_cols = 0;
    s->n = 0;
    s->width = 0;
    s->ranks = 0;
    json_array_foreach (runs, i, run) {
        column *c = &s->col[s->n_cols];
        int64_t n;

        di_free(s->al, credit);
        json_decref(result);
        credit = NULL;
        result = NULL;
        if (json_is_null(json_array_get(s->facts, i))) continue;
        DI_TRY(
            di_store_credit(s->store, di_text_at(run, "key"), s->set, &credit, &n, &result, err));
        if (result == NULL) continue;
        *c = (column){.group = (int64_t)di_num(run, "group"),
                      .seed = (int64_t)di_num(run, "seed"),
                      .mean = di_num(result, "accuracy"),
                      .place = -1,
                      .facts = json_array_get(s->facts, i)};
        if (!isfinite(c->mean)) {
            c->mean = di_num(result, "spearman.within_prompt");
            s->ranks |= isfinite(c->mean);
        }
        s->n_cols++;
        if (s->n == 0 && n == 0) unpaired = (int64_t)di_num(result, "n");
        if (n == 0) continue;
        DI_TRY(find_sheet(s, di_text_at(run, "key"), n, &c->sheet, err));
        c->credit = di_new_array(s->al, (size_t)n, sizeof *c->credit);
        if (c->credit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the rows of a sweep");
        for (int64_t r = 0; r < n; r++) c->credit[r] = credit[r] / 2.0;
        c->place = s->width++;
    }
    if (s->n == 0) s->n = unpaired;
    DI_TRY(index_columns(s, err));
done:
    di_free(s->al, credit);
    json_decref(result);
    return st;
}

/* What is resampled: two texts of a row, its prompt, or the row. */
static dial_status open_units(stats *s, const sheet *h, di_units *u, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *by = di_text_at(s->plan, "cluster");
    uint64_t *hash = di_new_array(s->al, (size_t)h->n, 2 * sizeof *hash);
    di_cluster cluster = DI_CLUSTER_TEXT;

    if (by != NULL && strcmp(by, "prompt") == 0) cluster = DI_CLUSTER_PROMPT;
    if (h->text == NULL || (by != NULL && strcmp(by, "none") == 0)) cluster = DI_CLUSTER_NONE;
    if (hash == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the rows of a sweep");
    for (int64_t i = 0; cluster != DI_CLUSTER_NONE && i < h->n; i++) {
        hash[2 * i] = h->text[3 * i + (cluster == DI_CLUSTER_PROMPT ? 2 : 0)];
        hash[2 * i + 1] = h->text[3 * i + 1];
    }
    DI_TRY(di_units_init(u, s->al, h->n, hash, cluster, err));
done:
    di_free(s->al, hash);
    return st;
}

/* All columns of a sheet under the same row weights. */
static dial_status resample_sheet(stats *s, int k, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_units rows = {0};
    const di_bootstrap_options o = {s->draws, s->seed};
    const double **list = di_new_array(s->al, (size_t)s->width + 1, sizeof *list);
    int *place = di_new_array(s->al, (size_t)s->width + 1, sizeof *place), width = 0;
    double *mean = NULL;

    if (list == NULL || place == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the bootstrap");
    for (int c = 0; c < s->n_cols; c++) {
        if (s->col[c].place < 0 || s->col[c].sheet != k) continue;
        list[width] = s->col[c].credit;
        place[width++] = s->col[c].place;
    }
    DI_TRY(open_units(s, &s->sheet[k], &rows, err));
    s->sheet[k].n_units = rows.n_units;
    mean = di_new_array(s->al, (size_t)(s->draws * width), sizeof *mean);
    if (mean == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the bootstrap");
    DI_TRY(di_bootstrap(&rows, list, width, &o, mean, err));
    for (int64_t b = 0; b < s->draws; b++)
        for (int c = 0; c < width; c++) s->draw[b * s->width + place[c]] = mean[b * width + c];
done:
    di_units_deinit(&rows);
    di_free(s->al, (void *)list);
    di_free(s->al, place);
    di_free(s->al, mean);
    return st;
}

/* All columns, and the weights of the seeds, draw by draw. */
static dial_status resample(stats *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_units seeds = {0};

    s->draw = di_new_array(s->al, (size_t)(s->draws * s->width), sizeof *s->draw);
    s->seed_weight = di_new_array(s->al, (size_t)(s->draws * s->n_seeds), sizeof *s->seed_weight);
    if (s->draw == NULL || s->seed_weight == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the bootstrap");
    for (int k = 0; k < s->n_sheets; k++) DI_TRY(resample_sheet(s, k, err));
    DI_TRY(di_units_init(&seeds, s->al, s->n_seeds, NULL, DI_CLUSTER_NONE, err));
    for (int64_t b = 0; b < s->draws; b++) /* ~seed: another stream than that of the rows */
        DI_TRY(di_bootstrap_weights(&seeds, ~s->seed, b, s->seed_weight + b * s->n_seeds, err));
done:
    di_units_deinit(&seeds);
    return st;
}

static void close_set(stats *s)
{
    for (int k = 0; k < s->n_cols; k++) di_free(s->al, s->col[k].credit);
    di_free(s->al, s->draw);
    di_free(s->al, s->seed_weight);
    di_free(s->al, s->at);
    s->draw = s->seed_weight = NULL;
    s->at = NULL;
    for (int k = 0; k < s->n_sheets; k++) di_free(s->al, s->sheet[k].text);
    s->n_sheets = 0;
    s->n_cols = 0;
}

/* ---- statistics over seeds and rows ---- */

/*
 * The mean over seeds of sum_k sign_k x group_k, over the seeds that all groups have. draw NULL: of
 * the rows as they are; else of one draw. NAN: no such seed, or rows are missing.
 */
static double contrast(const stats *s, const int64_t *group, const double *sign, int n,
                       int64_t draw)
{
    double sum = 0, total = 0;

    for (int64_t i = 0; i < s->n_seeds; i++) {
        double w = draw >= 0 ? s->seed_weight[draw * s->n_seeds + i] : 1, x = 0;
        int all = 1;

        for (int k = 0; k < n && all; k++) {
            const column *c = find_column(s, group[k], i);

            all = c != NULL && (draw < 0 || c->place >= 0);
            if (all) x += sign[k] * (draw >= 0 ? s->draw[draw * s->width + c->place] : c->mean);
        }
        if (!all) continue;
        sum += w * x;
        total += w;
    }
    return total > 0 ? sum / total : NAN;
}

/* What is resampled for a group's rows: how many units. */
static int64_t units_of(const stats *s, int64_t group)
{
    for (int k = 0; k < s->n_cols; k++)
        if (s->col[k].group == group && s->col[k].place >= 0)
            return s->sheet[s->col[k].sheet].n_units;
    return 0;
}

/* Percentile interval of a contrast; 0: there is none. */
static int spread(const stats *s, const int64_t *group, const double *sign, int n, di_interval *ci,
                  double *se)
{
    if (s->draw == NULL || units_of(s, group[0]) < 2) return 0;
    for (int64_t b = 0; b < s->draws; b++) {
        s->scratch[b] = contrast(s, group, sign, n, b);
        if (!isfinite(s->scratch[b])) return 0;
    }
    *ci = di_percentile95(s->scratch, s->draws, se);
    return 1;
}

static double sd_of(const double *v, int64_t n)
{
    double mean = 0, sum = 0;

    for (int64_t i = 0; i < n; i++) mean += v[i] / (double)n;
    for (int64_t i = 0; i < n; i++) sum += (v[i] - mean) * (v[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : NAN;
}

/* mean, sd, interval, and each seed's value. */
static void put_level(const stats *s, int64_t g, json_t *o, int *failed)
{
    const double one = 1;
    json_t *list = json_array();
    double v[64];
    int64_t n = 0;
    di_interval ci;

    for (int64_t i = 0; i < s->n_seeds; i++) {
        const column *c = find_column(s, g, i);

        if (c == NULL || !isfinite(c->mean)) continue;
        if (n < 64) v[n++] = c->mean;
        di_json_add(
            list,
            json_pack("{s:I,s:o}", "seed", (json_int_t)c->seed, "value", di_json_stat(c->mean)),
            failed);
    }
    di_json_put(o, "seeds", json_integer(n), failed);
    put_real(o, "mean", contrast(s, &g, &one, 1, -1), failed);
    put_real(o, "sd", sd_of(v, n), failed);
    di_json_put(o, "ci95", spread(s, &g, &one, 1, &ci, NULL) ? interval(ci) : json_null(), failed);
    di_json_put(o, "by_seed", list, failed);
}

/* Against the baseline, seed by seed. */
static void put_delta(const stats *s, int64_t g, int64_t base, json_t *o, int *failed)
{
    const int64_t pair[2] = {g, base};
    const double sign[2] = {1, -1};
    json_t *list = json_array();
    int64_t n = 0, better = 0, unharmed = 0;
    double worst = INFINITY, se = NAN;
    di_interval ci;
    int has;

    for (int64_t i = 0; i < s->n_seeds; i++) {
        const column *a = find_column(s, g, i), *b = find_column(s, base, i);
        double d;

        if (a == NULL || b == NULL) continue;
        d = a->mean - b->mean;
        n++;
        better += d > 0;
        unharmed += d >= -harm;
        worst = fmin(worst, d);
        di_json_add(list,
                    json_pack("{s:I,s:o}", "seed", (json_int_t)a->seed, "value", di_json_stat(d)),
                    failed);
    }
    di_json_put(o, "against", n > 0 ? json_string(label_of(s, base)) : json_null(), failed);
    if (n == 0) {
        json_decref(list);
        return;
    }
    has = spread(s, pair, sign, 2, &ci, &se);
    put_real(o, "delta", contrast(s, pair, sign, 2, -1), failed);
    di_json_put(o, "delta_ci95", has ? interval(ci) : json_null(), failed);
    put_real(o, "delta_se", has ? se : NAN, failed);
    di_json_put(o, "delta_by_seed", list, failed);
    di_json_put(o, "seeds_better", json_integer(better), failed);
    put_real(o, "no_harm", (double)unharmed / (double)n, failed);
    put_real(o, "worst", worst, failed);
}

/* (g - base) / (oracle - base), where the gap is at least two standard errors (method.md 10.2). */
static json_t *gap_json(const stats *s, int64_t g, int64_t base, int64_t oracle, int *failed)
{
    const int64_t top[2] = {g, base}, bottom[2] = {oracle, base};
    const int64_t all[3] = {g, base, oracle};
    const double sign[2] = {1, -1}, by_g[3] = {1, -1, 0}, by_oracle[3] = {0, -1, 1};
    double size = contrast(s, bottom, sign, 2, -1), se = NAN;
    json_t *o = json_pack("{s:s}", "oracle", label_of(s, oracle));
    di_interval ci;
    int has = spread(s, bottom, sign, 2, &ci, &se), usable = has && size > 0 && size >= 2 * se;

    put_real(o, "size", size, failed);
    put_real(o, "se", has ? se : NAN, failed);
    if (usable)
        for (int64_t b = 0; b < s->draws; b++)
            s->scratch[b] = contrast(s, all, by_g, 3, b) / contrast(s, all, by_oracle, 3, b);
    if (usable) ci = di_percentile95(s->scratch, s->draws, &se);
    if (usable && (!isfinite(ci.lo) || !isfinite(ci.hi))) usable = 0; /* a draw without a gap */
    di_json_put(o, "usable", json_boolean(usable), failed);
    put_real(o, "closed", usable ? contrast(s, top, sign, 2, -1) / size : NAN, failed);
    put_real(o, "closed_se", usable ? se : NAN, failed);
    di_json_put(o, "ci95", usable ? interval(ci) : json_null(), failed);
    return o;
}

/* The best checkpoint of a run by the labels of `by`, and its accuracy on the set; NAN: unknown. */
static double best_along(const stats *s, const column *c, const char *by)
{
    const json_t *mine = json_object_get(di_at(c->facts, "along"), s->set);
    const json_t *other = json_object_get(di_at(c->facts, "along"), by), *point, *match;
    double best = -1, value = NAN;
    size_t i, k;

    json_array_foreach (other, i, point) {
        double step = json_number_value(json_array_get(point, 0));
        double a = json_number_value(json_array_get(point, 1));

        if (a <= best) continue;
        best = a;
        json_array_foreach (mine, k, match)
            if (json_number_value(json_array_get(match, 0)) == step)
                value = json_number_value(json_array_get(match, 1));
    }
    return value;
}

/*
 * What choosing the checkpoint without labels cost: the checkpoint that labels of the target would
 * have chosen (those of its validation set NAME_val where there is one, else those of the set
 * itself), less the one that was.
 */
static json_t *regret_json(const stats *s, int64_t g, int *failed)
{
    json_t *o = NULL;
    char by[128];
    double sum = 0, worst = 0, v[64];
    int64_t n = 0;
    const json_t *any = NULL;

    snprintf(by, sizeof by, "%s_val", s->set);
    for (int k = 0; k < s->n_cols; k++)
        if (s->col[k].group == g) any = json_object_get(di_at(s->col[k].facts, "along"), by);
    if (json_array_size(any) == 0) snprintf(by, sizeof by, "%s", s->set);
    for (int k = 0; k < s->n_cols; k++) {
        double best, d;

        if (s->col[k].group != g) continue;
        best = best_along(s, &s->col[k], by);
        if (!isfinite(best) || n == 64) continue;
        d = best - s->col[k].mean;
        v[n++] = d;
        sum += d;
        worst = fmax(worst, d);
    }
    if (n == 0) return json_null();
    o = json_pack("{s:I,s:s}", "seeds", (json_int_t)n, "by", by);
    put_real(o, "mean", sum / (double)n, failed);
    put_real(o, "sd", sd_of(v, n), failed);
    put_real(o, "worst", worst, failed);
    return o;
}

static json_t *verdicts_json(const stats *s, int64_t g, int *failed)
{
    json_t *list = json_array();
    const json_t *run;
    size_t i;

    json_array_foreach (di_at(s->plan, "runs"), i, run)
        if ((int64_t)di_num(run, "group") == g && di_text_at(run, "verdict") != NULL)
            di_json_add(list,
                        json_pack("{s:O,s:O}", "seed", di_at(run, "seed"), "verdict",
                                  di_at(run, "verdict")),
                        failed);
    return list;
}

static json_t *group_json(const stats *s, int64_t g, int *failed)
{
    const json_t *group = json_array_get(s->groups, (size_t)g);
    json_t *o = json_pack("{s:s,s:s,s:s,s:O}", "label", di_text_at(group, "label"), "entry",
                          di_text_at(group, "entry"), "method", di_text_at(group, "method"), "axes",
                          di_at(group, "axes"));
    int64_t base = baseline_of(s, g), oracle = oracle_of(s, g);

    put_level(s, g, o, failed);
    if (base >= 0) put_delta(s, g, base, o, failed);
    if (base >= 0 && oracle >= 0 && oracle != g)
        di_json_put(o, "gap", gap_json(s, g, base, oracle, failed), failed);
    di_json_put(o, "regret", regret_json(s, g, failed), failed);
    di_json_put(o, "verdicts", verdicts_json(s, g, failed), failed);
    return o;
}

static dial_status set_json(stats *s, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *groups = json_array(), *o = NULL;
    int64_t units = 0;
    int failed = 0;

    DI_TRY(load_columns(s, err));
    if (s->width > 0 && s->n_seeds > 0) DI_TRY(resample(s, err));
    for (int64_t g = 0; g < (int64_t)json_array_size(s->groups); g++) {
        int any = 0;

        for (int k = 0; k < s->n_cols; k++) any |= s->col[k].group == g;
        if (any) di_json_add(groups, group_json(s, g, &failed), &failed);
    }
    for (int k = 0; k < s->n_sheets; k++) units += s->sheet[k].n_units;
    o = json_pack("{s:s,s:I,s:I,s:s,s:O}", "name", s->set, "n", (json_int_t)s->n, "clusters",
                  (json_int_t)units, "measure", s->ranks ? "other" : "accuracy", "groups", groups);
    if (s->n_sheets > 1) di_json_put(o, "files", json_integer(s->n_sheets), &failed);
    o = di_json_whole(o, failed);
    if (o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the document of a sweep");
    *out = o;
done:
    close_set(s);
    json_decref(groups);
    return st;
}

/* ---- the document ---- */

/* facts of every run of the plan, in its order. */
static dial_status load_facts(stats *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *run;
    json_t *facts;
    size_t i;
    int failed = 0;

    json_array_foreach (di_at(s->plan, "runs"), i, run) {
        DI_TRY(di_store_done(s->store, di_text_at(run, "key"), &facts, err));
        di_json_add(s->facts, facts != NULL ? facts : json_null(), &failed);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the facts of a sweep");
done:
    return st;
}

static dial_status runs_json(stats *s, const json_t *sets, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *list = json_array(), *run, *o, *result, *name;
    size_t i, k;
    int failed = 0;

    json_array_foreach (di_at(s->plan, "runs"), i, run) {
        const json_t *facts = json_array_get(s->facts, i);
        const char *status = di_text_at(run, "status");
        json_t *eval = json_object();

        json_array_foreach (sets, k, name) {
            uint8_t *credit = NULL;
            int64_t n;

            DI_TRY(di_store_credit(s->store, di_text_at(run, "key"), json_string_value(name),
                                   &credit, &n, &result, err));
            di_free(s->al, credit);
            if (result != NULL && isfinite(di_num(result, "accuracy")))
                put_real(eval, json_string_value(name), di_num(result, "accuracy"), &failed);
            json_decref(result);
        }
        o = json_pack("{s:s,s:s?,s:s,s:O?,s:s?,s:o}", "dir", di_text_at(run, "dir"), "label",
                      label_of(s, (int64_t)di_num(run, "group")), "status",
                      status != NULL ? status : "open", "flags", di_at(run, "flags"), "error",
                      di_text_at(run, "error"), "eval", eval);
        di_json_put(o, "validators",
                    json_is_object(di_at(facts, "validators"))
                        ? json_incref(di_at(facts, "validators"))
                        : json_null(),
                    &failed);
        put_real(o, "seconds", di_num(facts, "seconds"), &failed);
        put_real(o, "selected_step", di_num(facts, "selected_step"), &failed);
        di_json_add(list, o, &failed);
    }
    *out = di_json_whole(list, failed);
    list = NULL;
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the document of a sweep");
done:
    json_decref(list);
    return st;
}

static const json_t *group_in(const json_t *set, const char *label)
{
    const json_t *g;
    size_t i;

    json_array_foreach (di_at(set, "groups"), i, g)
        if (strcmp(di_text_at(g, "label"), label) == 0) return g;
    return NULL;
}

/* Runs that failed on a number, or whose source accuracy fell below the baseline's by a lot. */
static int64_t diverged(const stats *s, int64_t g)
{
    const json_t *runs = di_at(s->plan, "runs"), *run, *other;
    int64_t base = baseline_of(s, g), n = 0;
    size_t i, k;

    json_array_foreach (runs, i, run) {
        double mine = di_num(json_array_get(s->facts, i), "validators.source_accuracy");
        const char *error = di_text_at(run, "error");

        if ((int64_t)di_num(run, "group") != g) continue;
        if (error != NULL && strncmp(error, "numeric", 7) == 0) n++;
        json_array_foreach (runs, k, other)
            if (base >= 0 && (int64_t)di_num(other, "group") == base &&
                di_num(other, "seed") == di_num(run, "seed") &&
                mine <
                    di_num(json_array_get(s->facts, k), "validators.source_accuracy") - lost_source)
                n++;
    }
    return n;
}

static json_t *by_json(const stats *s, const json_t *sets, int *failed)
{
    json_t *list = json_array(), *set, *o, *mean, *std;
    const json_t *run;
    size_t i;

    for (int64_t g = 0; g < (int64_t)json_array_size(s->groups); g++) {
        const json_t *group = json_array_get(s->groups, (size_t)g);
        int64_t done = 0, failures = 0;
        double seconds = 0;

        mean = json_object();
        std = json_object();
        json_array_foreach (sets, i, set) {
            const json_t *r = group_in(set, label_of(s, g));

            if (r == NULL) continue;
            put_real(mean, di_text_at(set, "name"), di_num(r, "mean"), failed);
            put_real(std, di_text_at(set, "name"), di_num(r, "sd"), failed);
        }
        json_array_foreach (di_at(s->plan, "runs"), i, run) {
            const char *status = di_text_at(run, "status");
            double took = di_num(json_array_get(s->facts, i), "seconds");

            if ((int64_t)di_num(run, "group") != g || status == NULL) continue;
            done += strcmp(status, "done") == 0;
            failures += strcmp(status, "failed") == 0;
            if (isfinite(took)) seconds += took;
        }
        o = json_deep_copy(di_at(group, "axes"));
        di_json_put(o, "label", json_string(label_of(s, g)), failed);
        di_json_put(o, "method", json_string(method_of(s, g)), failed);
        di_json_put(o, "n", json_integer(done), failed);
        di_json_put(o, "failed", json_integer(failures), failed);
        di_json_put(o, "diverged", json_integer(diverged(s, g)), failed);
        put_real(o, "seconds", done > 0 ? seconds / (double)done : NAN, failed);
        di_json_put(o, "mean", mean, failed);
        di_json_put(o, "std", std, failed);
        di_json_add(list, o, failed);
    }
    return list;
}

dial_status di_sweep_document(const di_alloc *al, const json_t *plan, di_store *store,
                              const char *out, int64_t draws, uint64_t seed, json_t **doc,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n_runs = json_array_size(di_at(plan, "runs")), i;
    stats s = {.al = al,
               .plan = plan,
               .groups = di_at(plan, "groups"),
               .store = store,
               .facts = json_array(),
               .draws = draws,
               .seed = seed};
    json_t *names = NULL, *sets = json_array(), *runs = NULL, *o = NULL, *name, *one = NULL;
    json_t *validators = NULL;
    static const char *const kept[] = {"name", "setting", "family", "control", "target_set"};
    int failed = 0;

    s.col = di_new_array(al, n_runs + 1, sizeof *s.col);
    s.sheet = di_new_array(al, n_runs + 1, sizeof *s.sheet);
    s.seeds = di_new_array(al, n_runs + 1, sizeof *s.seeds);
    s.scratch = di_new_array(al, (size_t)draws, sizeof *s.scratch);
    if (s.col == NULL || s.sheet == NULL || s.seeds == NULL || s.scratch == NULL || sets == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the document of a sweep");
    DI_TRY(load_facts(&s, err));
    DI_TRY(di_store_sets(store, &names, err));
    json_array_foreach (names, i, name) {
        s.set = json_string_value(name);
        DI_TRY(set_json(&s, &one, err));
        if (json_array_size(di_at(one, "groups")) > 0)
            di_json_add(sets, one, &failed);
        else
            json_decref(one); /* of runs that the plan no longer has */
    }
    DI_TRY(runs_json(&s, names, &runs, err));
    DI_TRY(di_sweep_validators(al, plan, runs, &validators, err));
    o = json_pack("{s:s,s:s,s:O,s:O,s:o,s:O,s:o}", "schema", "dial.sweep/1", "out", out, "runs",
                  runs, "validators", validators, "by", by_json(&s, sets, &failed), "sets", sets,
                  "curves", di_sweep_curves(plan, sets));
    for (i = 0; i < sizeof kept / sizeof *kept; i++)
        if (di_at(plan, kept[i]) != NULL)
            di_json_put(o, kept[i], json_incref(di_at(plan, kept[i])), &failed);
    *doc = di_json_whole(o, failed);
    o = NULL;
    if (*doc == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the document of a sweep");
done:
    di_free(al, s.col);
    di_free(al, s.sheet);
    di_free(al, s.seeds);
    di_free(al, s.scratch);
    json_decref(s.facts);
    json_decref(names);
    json_decref(sets);
    json_decref(runs);
    json_decref(validators);
    json_decref(o);
    return st;
}
