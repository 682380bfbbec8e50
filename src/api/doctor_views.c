/*
 * Heads fitted on the source from several depths and poolings vote on the target. Where a vote is
 * inverted there, it disagrees with the others, on pairs of equal length: length is common to all
 * and would hide it (method.md 7, 5.7b).
 */
#include <math.h>
#include <string.h>

#include "api/doctor_job.h"
#include "api/views.h"
#include "base/error.h"
#include "base/log.h"
#include "eval/agreement.h"
#include "eval/criticw1.h"
#include "eval/probe.h"
#include "eval/rows.h"
#include "eval/spectrum.h"

enum { MAX_VIEWS = 512, FOLDS = 3, ENOUGH_MATCHED = 50, LEAST_VOTES = 20 };

typedef struct view_row {
    di_view at;
    int main;              /* one of the six whose votes are compared */
    double accuracy, se;   /* of the source, cross-validated */
    double a_distance, w1; /* NAN without --layers */
    double agreement;      /* mean with the main views, itself aside */
    double lowest, lowest_se;
    double *m; /* (n_t) margins of the target; then what votes */
} view_row;

typedef struct views {
    view_row row[MAX_VIEWS];
    int n, model;    /* model: the view that the model reads */
    const char *use; /* target pairs whose votes count; NULL: all (length residuals) */
    int64_t n_votes;
    int suspect; /* of the main views; -1: none */
    int low[2];  /* the main views that agree least */
} views;

static void add_view(views *v, int64_t layer, di_pooling pooling, int main_view)
{
    for (int i = 0; i < v->n; i++)
        if (v->row[i].at.layer == layer && v->row[i].at.pooling == pooling) {
            v->row[i].main |= main_view;
            return;
        }
    v->row[v->n++] = (view_row){.at = {layer, pooling},
                                .main = main_view,
                                .a_distance = NAN,
                                .w1 = NAN,
                                .accuracy = NAN,
                                .agreement = NAN,
                                .lowest = NAN};
}

/* Last and mean of the last layer, three quarters and half of the depth; --layers: all of them. */
static void list_views(const di_doctor *r, views *v)
{
    int64_t last = r->s.layers;
    di_view vote[DI_MAIN_VIEWS];

    di_main_views(last, vote);
    for (int p = 0; p < 2; p++) {
        for (int k = 3 * p; k < 3 * p + 3; k++) add_view(v, vote[k].layer, vote[k].pooling, 1);
        for (int64_t l = 1; r->opt->layers && l <= last && v->n < MAX_VIEWS; l++)
            add_view(v, l, vote[3 * p].pooling, 0);
    }
    for (int i = 0; i < v->n; i++)
        if (v->row[i].at.layer == last && v->row[i].at.pooling == r->s.pooling) v->model = i;
}

/* Cross-validated margins of the source under a view's probe; w afterwards: fitted on all of it. */
static dial_status probe_view(di_doctor *r, const float *e_s, const int32_t *fold, double *m_s,
                              float *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = r->source.n;

    for (int32_t k = 0; k < FOLDS; k++) {
        DI_TRY(di_probe_fit_standardised(r->al, e_s, n, r->c, fold, k, w, err));
        for (int64_t i = 0; i < n; i++)
            if (fold[i] == k) di_margins(w, e_s + 2 * i * r->c, 1, r->c, &m_s[i]);
    }
    DI_TRY(di_probe_fit_standardised(r->al, e_s, n, r->c, NULL, 0, w, err));
done:
    return st;
}

static double accuracy_of(const double *m, int64_t n)
{
    double right = 0;

    for (int64_t i = 0; i < n; i++) right += m[i] > 0 ? 1 : m[i] < 0 ? 0 : 0.5;
    return right / (double)n;
}

/* A-distance and fresh-critic W1 on the embeddings of a view, for the table of --layers. */
static dial_status view_distance(di_doctor *r, view_row *v, const float *e_s, const float *e_t,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = r->source.n, n_t = r->target.n, c = r->c;
    float *x = di_new_array(r->al, (size_t)(2 * (n_s + n_t) * c), sizeof *x);
    int32_t *fold = di_new_array(r->al, (size_t)(n_s + n_t), sizeof *fold);
    di_two_sets raw = {e_s, e_t, 2 * n_s, 2 * n_t, c}, pairs = {x, NULL, n_s, n_t, 2 * c};
    di_two_sets rows = {x, NULL, 2 * n_s, 2 * n_t, c};
    di_w1_options o = di_w1_options_default();
    di_domain_probe_result p;

    if (x == NULL || fold == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a distance");
    pairs.t = rows.t = x + 2 * n_s * c;
    DI_TRY(di_folds(r->al, n_s, r->source.group, 2, r->seed, fold, err));
    DI_TRY(di_folds(r->al, n_t, r->target.group, 2, r->seed + 1, fold + n_s, err));
    di_pair_features(e_s, n_s, c, x);
    di_pair_features(e_t, n_t, c, x + 2 * n_s * c);
    DI_TRY(di_domain_probe(r->al, &pairs, fold, fold + n_s, 2, NULL, NULL, &p, err));
    DI_TRY(di_coord_normalised(r->al, &raw, 1, x, err));
    o.inits = 1;
    o.steps = 100;
    o.seed = r->seed;
    DI_TRY(di_critic_w1(&r->s.dev, &rows, fold, fold + n_s, &o, &v->w1, err));
    v->a_distance = p.a_distance;
done:
    di_free(r->al, x);
    di_free(r->al, fold);
    return st;
}

/* Keeps what the other parts read of the model's own view. */
static dial_status keep_model(di_doctor *r, const float *e_s, const float *e_t, const float *w,
                              const double *m_s, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n_s = (size_t)r->source.n, n_t = (size_t)r->target.n, c = (size_t)r->c;

    r->e_s = di_new_array(r->al, 2 * n_s * c, sizeof *r->e_s);
    r->e_t = di_new_array(r->al, 2 * n_t * c, sizeof *r->e_t);
    r->head = di_new_array(r->al, c, sizeof *r->head);
    r->m_s = di_new_array(r->al, n_s, sizeof *r->m_s);
    r->m_t = di_new_array(r->al, n_t, sizeof *r->m_t);
    if (!r->e_s || !r->e_t || !r->head || !r->m_s || !r->m_t)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the embeddings");
    memcpy(r->e_s, e_s, 2 * n_s * c * sizeof *e_s);
    memcpy(r->e_t, e_t, 2 * n_t * c * sizeof *e_t);
    memcpy(r->head, r->own_head ? di_head_at(&r->s.params, r->s.params.theta) : w, c * sizeof *w);
    DI_TRY(di_rank_me(r->al, r->e_t, 2 * r->target.n, r->c, &r->plain_rank, err));
    if (r->own_head) { /* through the model's adaptor, where it has one */
        DI_TRY(di_evidence_embed(&r->s, &r->source, NULL, 0, "source", r->e_s, err));
        DI_TRY(di_evidence_embed(&r->s, &r->target, NULL, 0, "target", r->e_t, err));
    }
    if (r->own_head)
        di_margins(r->head, r->e_s, r->source.n, r->c, r->m_s);
    else
        memcpy(r->m_s, m_s, n_s * sizeof *m_s);
    di_margins(r->head, r->e_t, r->target.n, r->c, r->m_t);
done:
    return st;
}

/* All views of both sides from one pass each, their probes and margins. */
static dial_status fit_views(di_doctor *r, views *v, double *margins, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = r->source.n, n_t = r->target.n, c = r->c;
    di_view *list = di_new_array(r->al, (size_t)v->n, sizeof *list);
    float *e = di_new_array(r->al, (size_t)(v->n * 2 * (n_s + n_t)), (size_t)c * sizeof *e);
    float *w = di_new_array(r->al, (size_t)c, sizeof *w), *t;
    double *m_s = di_new_array(r->al, (size_t)n_s, sizeof *m_s);
    int32_t *fold = di_new_array(r->al, (size_t)n_s, sizeof *fold);

    if (!list || !e || !w || !m_s || !fold)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, NULL, "lower --max-rows",
                   "no memory for the embeddings of %d views", v->n);
    t = e + v->n * 2 * n_s * c;
    for (int i = 0; i < v->n; i++) list[i] = v->row[i].at;
    DI_TRY(di_evidence_embed(&r->s, &r->source, list, v->n, "source", e, err));
    DI_TRY(di_evidence_embed(&r->s, &r->target, list, v->n, "target", t, err));
    DI_TRY(di_folds(r->al, n_s, r->source.group, FOLDS, r->seed, fold, err));
    for (int i = 0; i < v->n; i++) {
        const float *e_s = e + i * 2 * n_s * c, *e_t = t + i * 2 * n_t * c;

        if (di_stop_asked(r->s.env)) DI_FAIL(err, DIAL_INTERRUPTED, "stopped");
        DI_TRY(probe_view(r, e_s, fold, m_s, w, err));
        v->row[i].m = margins + i * n_t;
        di_margins(w, e_t, n_t, c, v->row[i].m);
        v->row[i].accuracy = accuracy_of(m_s, n_s);
        v->row[i].se = di_share_se(v->row[i].accuracy, n_s);
        if (r->opt->layers) DI_TRY(view_distance(r, &v->row[i], e_s, e_t, err));
        if (i != v->model) continue;
        DI_TRY(keep_model(r, e_s, e_t, w, m_s, err));
        memcpy(v->row[i].m, r->m_t, (size_t)n_t * sizeof *r->m_t); /* a run votes by its own head */
        if (r->own_head) v->row[i].accuracy = accuracy_of(r->m_s, n_s);
    }
done:
    di_free(r->al, list);
    di_free(r->al, e);
    di_free(r->al, w);
    di_free(r->al, m_s);
    di_free(r->al, fold);
    return st;
}

/* Matched pairs vote; fewer than 50: all pairs, by what length leaves of their margins. */
static void prepare_votes(const di_doctor *r, views *v)
{
    if (r->target.n_matched >= ENOUGH_MATCHED) {
        v->use = r->target.matched;
        v->n_votes = r->target.n_matched;
        return;
    }
    v->n_votes = r->target.n;
    for (int i = 0; i < v->n; i++)
        di_length_residual(v->row[i].m, r->target.log_length, r->target.n, v->row[i].m);
}

static double between(const di_doctor *r, const views *v, int a, int b)
{
    return di_sign_agreement(v->row[a].m, v->row[b].m, v->use, r->target.n, NULL);
}

static void compare_votes(const di_doctor *r, views *v)
{
    double least = INFINITY;

    for (int i = 0; i < v->n; i++) {
        double sum = 0, low = INFINITY;
        int others = 0;

        for (int j = 0; j < v->n; j++) {
            double a;

            if (j == i || !v->row[j].main) continue;
            a = between(r, v, i, j);
            sum += a;
            others++;
            low = fmin(low, a);
            if (v->row[i].main && a < least) {
                least = a;
                v->low[0] = i;
                v->low[1] = j;
            }
        }
        if (others == 0) continue;
        v->row[i].agreement = sum / others;
        v->row[i].lowest = low;
        v->row[i].lowest_se = di_share_se(low, v->n_votes);
    }
}

static const char *view_name(const view_row *v, char text[32])
{
    snprintf(text, 32, "layer %lld %s", (long long)v->at.layer,
             v->at.pooling == DI_POOL_MEAN ? "mean" : "last");
    return text;
}

/* The lowest pair of main views, and the one of the two that agrees less with the rest. */
static void find_inverted(di_doctor *r, views *v)
{
    const view_row *a = &v->row[v->low[0]], *b = &v->row[v->low[1]];
    double low = between(r, v, v->low[0], v->low[1]), se = di_share_se(low, v->n_votes);
    char first[32], second[32], suspect[32];

    v->suspect = -1;
    if (r->target.single_texts || v->n_votes < LEAST_VOTES || !isfinite(low)) return;
    v->suspect = low + se < 0.5 ? (a->agreement <= b->agreement ? v->low[0] : v->low[1]) : -1;
    di_finding_set(r->finding, DI_INVERTED_HEAD, low + se,
                   "%s and %s order %.2f (+- %.2f) of %lld %s target pairs alike%s%s",
                   view_name(a, first), view_name(b, second), low, se, (long long)v->n_votes,
                   v->use != NULL ? "length-matched" : "length-corrected",
                   v->suspect >= 0 ? "; the suspect is " : "",
                   v->suspect >= 0 ? view_name(&v->row[v->suspect], suspect) : "");
    r->seen.suspect_is_model = v->suspect == v->model;
    r->seen.views_agree = v->use != NULL; /* what length leaves of a margin clears no one */
    for (int j = 0; j < v->n; j++) {
        double with;

        if (!v->row[j].main || j == v->model || j == v->suspect) continue;
        with = between(r, v, v->model, j);
        if (!(with > 0.5 + di_share_se(with, v->n_votes))) r->seen.views_agree = 0;
    }
}

/* Accuracy on the target if errors were independent: the median over pairs of other main views. */
static double triple_estimate(const di_doctor *r, const views *v)
{
    double value[DI_MAIN_VIEWS * DI_MAIN_VIEWS];
    int n = 0;

    for (int i = 0; i < v->n; i++)
        for (int j = 0; j < i; j++) {
            double x;

            if (!v->row[i].main || !v->row[j].main || i == v->model || j == v->model) continue;
            x = di_triple_accuracy(between(r, v, v->model, i), between(r, v, v->model, j),
                                   between(r, v, i, j));
            if (isfinite(x) && n < DI_MAIN_VIEWS * DI_MAIN_VIEWS) value[n++] = x;
        }
    return n > 0 ? di_middle(value, n) : NAN;
}

/*
 * The view whose head orders the target most as the main views do (`train --layer auto` goes by the
 * same rule), among those that are no suspects.
 */
static int recommend(const views *v)
{
    int chosen = -1;

    for (int i = 0; i < v->n; i++) {
        const view_row *a = &v->row[i];

        if (i == v->suspect || a->lowest + a->lowest_se < 0.5) continue;
        if (chosen < 0 || a->agreement > v->row[chosen].agreement) chosen = i;
    }
    return chosen;
}

static void report(di_doctor *r, const views *v)
{
    json_t *layers = json_array();
    int chosen = r->opt->layers ? recommend(v) : -1;

    for (int i = 0; i < v->n; i++) {
        const view_row *x = &v->row[i];

        di_json_add(
            layers,
            json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:o}", "layer", (json_int_t)x->at.layer,
                      "pooling", x->at.pooling == DI_POOL_MEAN ? "mean" : "last", "source_accuracy",
                      di_json_stat(x->accuracy), "a_distance", di_json_stat(x->a_distance), "w1",
                      di_json_stat(x->w1), "target_agreement", di_json_stat(x->agreement),
                      "target_agreement_min", di_json_stat(x->lowest)),
            &r->failed);
    }
    di_json_put(r->doc, r->opt->layers ? "layers" : "views", layers, &r->failed);
    if (!r->opt->layers) di_json_put(r->doc, "layers", json_null(), &r->failed);
    di_json_put(r->doc, "votes",
                json_pack("{s:I, s:s, s:o}", "n", (json_int_t)v->n_votes, "pairs",
                          v->use != NULL ? "length_matched" : "length_residual",
                          "accuracy_if_independent", di_json_stat(triple_estimate(r, v))),
                &r->failed);
    di_json_put(r->doc, "recommended",
                chosen < 0 ? json_null()
                           : json_pack("{s:I, s:s}", "layer", (json_int_t)v->row[chosen].at.layer,
                                       "pooling",
                                       v->row[chosen].at.pooling == DI_POOL_MEAN ? "mean" : "last"),
                &r->failed);
}

dial_status di_doctor_views(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    views *v = di_zalloc(r->al, sizeof *v);
    double *margins = NULL;

    if (v == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the views");
    v->suspect = -1;
    list_views(r, v);
    margins = di_new_array(r->al, (size_t)(v->n * r->target.n), sizeof *margins);
    if (margins == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the views");
    DI_TRY(fit_views(r, v, margins, err));
    prepare_votes(r, v);
    compare_votes(r, v);
    find_inverted(r, v);
    report(r, v);
done:
    di_free(r->al, margins);
    di_free(r->al, v);
    return st;
}
