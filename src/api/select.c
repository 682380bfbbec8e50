/* dial_select: every checkpoint of every run looked at without target labels (interfaces.md 1.10).
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/adapt.h"
#include "api/evidence.h"
#include "api/select_apply.h"
#include "base/error.h"
#include "base/file.h"
#include "eval/agreement.h"
#include "eval/select.h"

enum { W1_INITS = 1, W1_STEPS = 100, LEAST_ROWS = 2 };

typedef struct candidate {
    char *dir;  /* the run */
    char *path; /* the checkpoint */
    char method[32];
    int run;            /* number of the run */
    di_view view;       /* that it reads */
    double *loss, *m_t; /* (n_s), (n_t): source losses, target margins */
    double oracle;      /* accuracy on --oracle; NAN */
    json_t *labelled;
} candidate;

typedef struct selection {
    const dial_select_options *opt;
    const dial_env *env;
    const di_alloc *al;
    candidate *c;
    di_ranked *ranked; /* beside c */
    int64_t n, n_s, n_t;
    int runs;
    int against;    /* the first run stands with its own choice alone, and gates compare with it */
    int compare_w1; /* all candidates are of one method */
    int64_t chosen;
} selection;

static void selection_deinit(selection *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        di_free(s->al, s->c[i].dir);
        di_free(s->al, s->c[i].path);
        di_free(s->al, s->c[i].loss);
        di_free(s->al, s->c[i].m_t);
        json_decref(s->c[i].labelled);
    }
    di_free(s->al, s->c);
    di_free(s->al, s->ranked);
}

static dial_status add_candidate(selection *s, const char *dir, const char *path, int64_t step,
                                 const json_t *run, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *method = json_object_get(run, "method");
    const char *name = json_string_value(json_object_get(method, "name"));
    candidate *c = di_resize(s->al, s->c, (size_t)(s->n + 1) * sizeof *c);
    di_ranked *r;

    if (c == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the candidates");
    s->c = c;
    r = di_resize(s->al, s->ranked, (size_t)(s->n + 1) * sizeof *r);
    if (r == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the candidates");
    s->ranked = r;
    c[s->n] = (candidate){.dir = di_strdup(s->al, dir),
                          .path = di_strdup(s->al, path),
                          .run = s->runs,
                          .oracle = NAN};
    snprintf(c[s->n].method, sizeof c->method, "%s", name != NULL ? name : "");
    r[s->n] = (di_ranked){.step = step,
                          .lambda = strcmp(c[s->n].method, "src-pref") == 0
                                        ? 0
                                        : json_number_value(json_object_get(method, "lambda"))};
    s->n++;
    if (c[s->n - 1].dir == NULL || c[s->n - 1].path == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the candidates");
done:
    return st;
}

/* The checkpoints of a run; one without any is itself the candidate. */
static dial_status list_checkpoints(selection *s, const char *dir, const json_t *run,
                                    dial_error *err)
{
    dial_status st = DIAL_OK;
    char *folder = di_path_join(s->al, dir, "checkpoints"), *path = NULL, **names = NULL;
    const json_t *progress = json_object_get(run, "progress");
    int64_t before = s->n;
    size_t n = 0;
    long long step;

    if (folder == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_is_dir(folder) && !(s->against && s->runs == 0))
        DI_TRY(di_list_dir(s->al, folder, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (sscanf(names[i], "step-%lld", &step) != 1) continue;
        path = di_path_join(s->al, folder, names[i]);
        if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        DI_TRY(add_candidate(s, dir, path, step, run, err));
        di_free(s->al, path);
        path = NULL;
    }
    if (s->n == before)
        DI_TRY(add_candidate(
            s, dir, dir, json_integer_value(json_object_get(progress, "selected_step")), run, err));
done:
    di_free(s->al, path);
    di_free(s->al, folder);
    di_free_names(s->al, names, n);
    return st;
}

/* Accuracy of the model as it is on a labelled file; *margins (n, free it) where asked for. */
static dial_status judge_labelled(di_session *m, const selection *s, const char *file,
                                  double **margins, int64_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_evidence x = {0};
    float *e = NULL;
    double *v = NULL;

    DI_TRY(di_evidence_load(m, &s->opt->common, file, 0, 0, 0, &x, err));
    e = di_new_array(s->al, (size_t)(2 * x.n * m->params.width), sizeof *e);
    v = di_new_array(s->al, (size_t)x.n, sizeof *v);
    if (e == NULL || v == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", file);
    DI_TRY(di_evidence_embed(m, &x, NULL, 0, file, e, err));
    di_margins(di_head_at(&m->params, m->params.theta), e, x.n, m->params.width, v);
    *n = x.n;
    *margins = v;
    v = NULL;
done:
    di_evidence_deinit(&x);
    di_free(s->al, e);
    di_free(s->al, v);
    return st;
}

static double accuracy_of(const double *m, int64_t n)
{
    double right = 0;

    for (int64_t i = 0; i < n; i++) right += m[i] > 0 ? 1 : m[i] < 0 ? 0 : 0.5;
    return right / (double)n;
}

/* Everything about one checkpoint, whose adapter the session holds. */
static dial_status look_at(selection *s, di_session *m, const di_evidence *src,
                           const di_evidence *tgt, int trained_on, int64_t at, dial_error *err)
{
    dial_status st = DIAL_OK;
    candidate *c = &s->c[at];
    int64_t width = m->params.width, n;
    float *e = di_new_array(s->al, (size_t)(2 * (src->n + tgt->n) * width), sizeof *e), *t;
    di_validator_input in = {.c = width,
                             .w1_inits = W1_INITS,
                             .w1_steps = W1_STEPS,
                             .w1_null = 1,
                             .head = di_head_at(&m->params, m->params.theta),
                             .n_held = trained_on && src->n < 100 ? 0 : src->n,
                             .single_texts = tgt->single_texts,
                             .seed = (uint64_t)s->opt->common.seed};
    double *labelled = NULL;

    c->loss = di_new_array(s->al, (size_t)src->n, sizeof *c->loss);
    c->m_t = di_new_array(s->al, (size_t)tgt->n, sizeof *c->m_t);
    if (e == NULL || c->loss == NULL || c->m_t == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the embeddings");
    t = e + 2 * src->n * width;
    DI_TRY(di_evidence_embed(m, src, NULL, 0, "source", e, err));
    DI_TRY(di_evidence_embed(m, tgt, NULL, 0, "target", t, err));
    in.source = (di_pair_rows){e, src->n, src->group};
    in.target = (di_pair_rows){t, tgt->n, tgt->group};
    DI_TRY(di_validate(&m->dev, &in, c->loss, &s->ranked[at].v, err));
    di_margins(in.head, t, tgt->n, width, c->m_t);
    if (s->opt->labelled != NULL) {
        DI_TRY(judge_labelled(m, s, s->opt->labelled, &labelled, &n, err));
        c->labelled = di_labelled_json(labelled, n, s->n, -1, 1);
        di_free(s->al, labelled);
        labelled = NULL;
    }
    if (s->opt->oracle != NULL) {
        DI_TRY(judge_labelled(m, s, s->opt->oracle, &labelled, &n, err));
        c->oracle = accuracy_of(labelled, n);
    }
done:
    di_free(s->al, e);
    di_free(s->al, labelled);
    return st;
}

/* Was the source file trained on? Then fewer than 100 rows are judged by leave-one-out. */
static int was_trained_on(const json_t *run, const char *sha256)
{
    const json_t *files = json_object_get(json_object_get(run, "data"), "source"), *f;
    size_t i;

    json_array_foreach (files, i, f) {
        const char *h = json_string_value(json_object_get(f, "sha256"));

        if (h != NULL && strcmp(h, sha256) == 0) return 1;
    }
    return 0;
}

static dial_status look_at_run(selection *s, const char *dir, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_select_options *o = s->opt;
    uint64_t seed = (uint64_t)o->common.seed;
    di_session m = {0};
    di_evidence src = {0}, tgt = {0};
    int64_t first = s->n;

    DI_TRY(di_session_open(&m, dir, &o->common, DI_NEED_HEAD, NULL, NULL, s->env, err));
    m.trunk_cache = o->trunk_cache;
    m.trunk_max = o->trunk_cache_max;
    if (m.run == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, dir, "name folders that `dial train --out` has written",
                   "expected a run, or a folder of runs");
    DI_TRY(di_session_ready(&m, err));
    DI_TRY(di_evidence_load(&m, &o->common, o->source, 0, o->max_rows, seed, &src, err));
    DI_TRY(di_evidence_load(&m, &o->common, o->target, 1, o->max_rows, seed, &tgt, err));
    if (s->runs > 0 && (src.n != s->n_s || tgt.n != s->n_t))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, dir, "compare runs of one text policy",
                   "keeps %lld and %lld pairs where the runs before it keep %lld and %lld",
                   (long long)src.n, (long long)tgt.n, (long long)s->n_s, (long long)s->n_t);
    s->n_s = src.n;
    s->n_t = tgt.n;
    DI_TRY(list_checkpoints(s, dir, m.run, err));
    for (int64_t i = first; i < s->n; i++) {
        if (di_stop_asked(s->env)) DI_FAIL(err, DIAL_INTERRUPTED, "stopped");
        s->c[i].view = (di_view){m.layers, m.pooling};
        DI_TRY(di_adapter_load(s->al, s->c[i].path, &m.params, err));
        DI_TRY(look_at(s, &m, &src, &tgt, was_trained_on(m.run, src.d->sha256), i, err));
    }
    s->runs++;
done:
    di_evidence_deinit(&src);
    di_evidence_deinit(&tgt);
    if (m.al != NULL) {
        di_evidence_close_store(&m);
        di_session_close(&m);
    }
    return st;
}

/* A run, or every run in a folder. */
static dial_status look_at_path(selection *s, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *file = di_path_join(s->al, path, "dial.json"), *inside = NULL, **names = NULL;
    size_t n = 0;
    int before = s->runs;

    if (file == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_exists(file) || !di_is_dir(path)) {
        DI_TRY(look_at_run(s, path, err));
        goto done;
    }
    DI_TRY(di_list_dir(s->al, path, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        inside = di_path_join(s->al, path, names[i]);
        di_free(s->al, file);
        file = inside != NULL ? di_path_join(s->al, inside, "dial.json") : NULL;
        if (file == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        if (di_exists(file)) DI_TRY(look_at_run(s, inside, err));
        di_free(s->al, inside);
        inside = NULL;
    }
    if (s->runs == before)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "name folders that `dial train --out` has written",
                   "expected a run, or a folder of runs; found neither");
done:
    di_free(s->al, file);
    di_free(s->al, inside);
    di_free_names(s->al, names, n);
    return st;
}

/* Two candidates that differ in their seed alone: other runs, same method, lambda and step. */
static int siblings(const selection *s, int64_t i, int64_t j)
{
    return s->c[i].run != s->c[j].run && strcmp(s->c[i].method, s->c[j].method) == 0 &&
           s->ranked[i].lambda == s->ranked[j].lambda && s->ranked[i].step == s->ranked[j].step;
}

/* Where all candidates have siblings, agreement is theirs; else that of two refitted heads stays:
 * the two kinds of numbers do not rank together. */
static dial_status agree_across_seeds(selection *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    double *mean = di_new_array(s->al, (size_t)s->n, sizeof *mean);
    int all = 1;

    if (mean == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for agreements");
    for (int64_t i = 0; i < s->n; i++) {
        int64_t count = 0;

        for (int64_t j = 0; j < s->n; j++) {
            if (!siblings(s, i, j)) continue;
            mean[i] += di_sign_agreement(s->c[i].m_t, s->c[j].m_t, NULL, s->n_t, NULL);
            count++;
        }
        all &= count > 0;
        if (count > 0) mean[i] /= (double)count;
    }
    for (int64_t i = 0; all && i < s->n; i++) s->ranked[i].v.seed_agreement = mean[i];
done:
    di_free(s->al, mean);
    return st;
}

/* Least mean source loss among the candidates of one run (-1: of all). */
static int64_t least_loss(const selection *s, int run)
{
    int64_t best = -1;

    for (int64_t i = 0; i < s->n; i++)
        if ((run < 0 || s->c[i].run == run) &&
            (best < 0 || s->ranked[i].v.source_loss < s->ranked[best].v.source_loss))
            best = i;
    return best;
}

/* The incumbent, or the src-pref candidate that gates compare with; -1: none, and each run is its
 * own measure. */
static int64_t baseline_of(const selection *s)
{
    int64_t best = -1;

    if (s->against) return 0;
    for (int64_t i = 0; i < s->n; i++)
        if (strcmp(s->c[i].method, "src-pref") == 0 &&
            (best < 0 || s->ranked[i].v.source_loss < s->ranked[best].v.source_loss))
            best = i;
    return best;
}

/* First checkpoint of a run. */
static int64_t first_of(const selection *s, int run)
{
    for (int64_t i = 0; i < s->n; i++)
        if (s->c[i].run == run) return i;
    return 0;
}

static int same_view(const candidate *a, const candidate *b)
{
    return a->view.layer == b->view.layer && a->view.pooling == b->view.pooling;
}

/* Against a baseline by what is ordered rightly, inside a run by the loss (eval/select.h). */
static int within_floor(const candidate *c, const candidate *best, int is_baseline, int64_t n)
{
    di_source_fall fall;

    if (!is_baseline) return di_select_compare(c->loss, best->loss, n).within;
    fall = di_select_fall(c->loss, best->loss, n);
    return !di_select_fell(&fall);
}

/* References of the gates, and what W1 may be compared between. The rank of another depth or
 * pooling says nothing: then a run's own first checkpoint is the measure. */
static void prepare_ranks(selection *s)
{
    int64_t baseline = baseline_of(s);
    int one_method = 1;

    for (int64_t i = 0; i < s->n; i++) {
        int64_t best = baseline >= 0 ? baseline : least_loss(s, s->c[i].run);
        int64_t rank = baseline >= 0 && same_view(&s->c[i], &s->c[baseline])
                           ? baseline
                           : first_of(s, s->c[i].run);

        s->ranked[i].within_floor = within_floor(&s->c[i], &s->c[best], baseline >= 0, s->n_s);
        s->ranked[i].reference_rank = s->ranked[rank].v.effective_rank;
        one_method &= strcmp(s->c[i].method, s->c[0].method) == 0;
    }
    s->compare_w1 = one_method;
}

/* Earliest candidate within 1 SE of the least loss: by step, then by run. */
static int64_t earliest(const selection *s)
{
    int64_t best = least_loss(s, -1), first = best;

    for (int64_t i = 0; i < s->n; i++)
        if (di_select_compare(s->c[i].loss, s->c[best].loss, s->n_s).within &&
            s->ranked[i].step < s->ranked[first].step)
            first = i;
    return first;
}

/* The combined rule; W1 flatters the method that minimises it, so it ranks within one alone. */
static int64_t combined(selection *s, dial_error *err, dial_status *out)
{
    dial_status st = DIAL_OK;
    double *w1 = di_new_array(s->al, (size_t)s->n, sizeof *w1);
    int64_t chosen = -1, baseline = baseline_of(s);

    if (w1 == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for ranks");
    for (int64_t i = 0; i < s->n; i++) {
        w1[i] = s->ranked[i].v.w1;
        if (!s->compare_w1) s->ranked[i].v.w1 = NAN;
    }
    di_select_combined(s->ranked, s->n, &chosen);
    for (int64_t i = 0; i < s->n; i++) s->ranked[i].v.w1 = w1[i];
    if (chosen < 0) chosen = baseline >= 0 ? baseline : earliest(s);
done:
    di_free(s->al, w1);
    *out = st;
    return chosen;
}

static json_t *place(const selection *s, int64_t i)
{
    if (i < 0) return json_null();
    return json_pack("{s:s, s:I}", "dir", s->c[i].dir, "step", (json_int_t)s->ranked[i].step);
}

static json_t *rank_json(double rank)
{
    return rank > 0 ? di_json_stat(rank) : json_null();
}

static json_t *candidates_json(const selection *s)
{
    json_t *list = json_array();
    int failed = 0;

    for (int64_t i = 0; i < s->n; i++) {
        const di_ranked *r = &s->ranked[i];
        json_t *v = di_validators_to_json(&r->v);

        di_json_put(v, "labelled",
                    s->c[i].labelled != NULL ? json_incref(s->c[i].labelled) : json_null(),
                    &failed);
        di_json_add(list,
                    json_pack("{s:s, s:I, s:s, s:b, s:s?, s:o, s:{s:o, s:o, s:o}, s:o}", "dir",
                              s->c[i].dir, "step", (json_int_t)r->step, "method", s->c[i].method,
                              "eligible", r->gate == NULL, "gate", r->gate, "validators", v, "rank",
                              "risk", rank_json(r->rank_risk), "agreement",
                              rank_json(r->rank_agreement), "w1", rank_json(r->rank_w1),
                              "oracle_accuracy", di_json_stat(s->c[i].oracle)),
                    &failed);
    }
    return di_json_whole(list, failed);
}

/* {VALIDATOR: {"rho", "n"}}: does its order of the candidates follow that of their accuracies? */
static dial_status correlations(const selection *s, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *all = json_object();
    double *accuracy = di_new_array(s->al, (size_t)s->n, sizeof *accuracy), rho;
    const char *name;
    int failed = 0;
    int64_t n;

    if (accuracy == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for correlations");
    for (int64_t i = 0; i < s->n; i++) accuracy[i] = s->c[i].oracle;
    for (int k = 0; (name = di_select_criterion(k)) != NULL; k++) {
        DI_TRY(di_select_spearman(s->al, s->ranked, s->n, accuracy, k, &rho, &n, err));
        di_json_put(all, name,
                    json_pack("{s:o, s:I}", "rho", di_json_stat(rho), "n", (json_int_t)n), &failed);
    }
    *out = di_json_whole(json_incref(all), failed);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for correlations");
done:
    json_decref(all);
    di_free(s->al, accuracy);
    return st;
}

static dial_status document(selection *s, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *choices = json_object(), *regrets = json_object(), *oracle = json_null();
    json_t *spearman = NULL;
    int64_t chosen = -1, best = 0;
    int failed = 0;

    assert(s->c != NULL); /* a run without checkpoints is a candidate itself */
    prepare_ranks(s);
    for (int64_t i = 1; i < s->n; i++)
        if (s->c[i].oracle > s->c[best].oracle) best = i;
    for (int rule = 0; rule < DI_SELECT_NAMED; rule++) {
        const char *name = di_select_name((di_select_rule)rule);
        int64_t i = -1;

        if (rule == DI_SELECT_LAST) continue;
        if (rule == DI_SELECT_COMBINED)
            i = combined(s, err, &st);
        else if (rule == DI_SELECT_EARLIEST)
            i = earliest(s);
        else if (rule == DI_SELECT_SOURCE)
            i = least_loss(s, -1);
        else
            di_select_by(s->ranked, s->n, (di_select_rule)rule, &i);
        if (st != DIAL_OK) goto done;
        di_json_put(choices, name, place(s, i), &failed);
        di_json_put(regrets, name, di_json_stat(i < 0 ? NAN : s->c[best].oracle - s->c[i].oracle),
                    &failed);
        if (strcmp(name, s->opt->by) == 0) chosen = i;
    }
    if (chosen < 0)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, "--by", "take --by combined or earliest",
                   "no candidate has a value of %s on these rows", s->opt->by);
    s->chosen = chosen;
    if (s->opt->oracle != NULL) {
        DI_TRY(correlations(s, &spearman, err));
        oracle =
            json_pack("{s:s, s:I, s:o, s:o, s:O, s:O}", "dir", s->c[best].dir, "step",
                      (json_int_t)s->ranked[best].step, "accuracy", di_json_stat(s->c[best].oracle),
                      "regret", di_json_stat(s->c[best].oracle - s->c[chosen].oracle), "regrets",
                      regrets, "spearman", spearman);
    }
    *out = json_pack("{s:s, s:s, s:o, s:O, s:o, s:o}", "schema", "dial.select/1", "by", s->opt->by,
                     "chosen", place(s, chosen), "choices", choices, "candidates",
                     candidates_json(s), "oracle", oracle);
    *out = di_json_whole(*out, failed);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    json_decref(choices);
    json_decref(regrets);
    json_decref(spearman);
    return st;
}

/* --apply: nothing to do where a run without checkpoints is its own candidate. */
static dial_status apply(const selection *s, json_t *doc, dial_error *err)
{
    dial_status st = DIAL_OK;
    const candidate *c = &s->c[s->chosen];
    json_t *applied = NULL;

    if (!s->opt->apply) return DIAL_OK;
    DI_TRY(di_select_apply(&s->opt->common, c->dir, c->path, s->ranked[s->chosen].step, s->opt->by,
                           s->env, &applied, err));
    if (json_object_set(doc, "applied", applied) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    json_decref(applied);
    return st;
}

static dial_status run(const dial_select_options *o, int against, const dial_env *env, char **json,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    selection s = {.opt = o, .env = env, .al = di_env_alloc(env), .against = against};
    json_t *doc = NULL;

    if (o->runs.n == 0 || o->source == NULL || o->target == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE,
                   o->runs.n == 0      ? "--runs"
                   : o->source == NULL ? "--source"
                                       : "--target",
                   "see dial select --help", "the flag is required");
    if (o->max_rows < LEAST_ROWS)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--max-rows", "give a number such as 256",
                   "expected at least %d, found %lld", LEAST_ROWS, (long long)o->max_rows);
    for (int64_t i = 0; i < o->runs.n; i++) DI_TRY(look_at_path(&s, o->runs.item[i], err));
    DI_TRY(agree_across_seeds(&s, err));
    DI_TRY(document(&s, &doc, err));
    DI_TRY(apply(&s, doc, err));
    st = di_document(s.al, doc, json, err);
    doc = NULL;
done:
    json_decref(doc);
    selection_deinit(&s);
    return st;
}

dial_status dial_select(const dial_select_options *options, const dial_env *env, char **json,
                        dial_error *err)
{
    return run(options, 0, env, json, err);
}

dial_status di_select_against(const dial_select_options *options, const dial_env *env, char **json,
                              dial_error *err)
{
    return run(options, 1, env, json, err);
}
