/* dial_doctor: is there a shift, does the ranking carry over, and what to do (interfaces.md 1.8).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/card.h"
#include "api/doctor_job.h"
#include "api/picked.h"
#include "base/error.h"
#include "base/log.h"
#include "eval/agreement.h"
#include "eval/rows.h"
#include "eval/select.h"
#include "eval/spectrum.h"
#include "eval/twoheads.h"
#include "train/objective.h"

enum { LAYER_ROWS = 400, BOOTSTRAP = 2000 };
enum { SOURCE, TARGET, LABELLED };

/* ---- other models on the same pairs ---- */

dial_status di_other_model_open(di_doctor *r, const char *path, di_other_model *out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_doctor_options *o = r->opt;
    di_session s = {0};
    const di_evidence *own[] = {&r->source, &r->target, &r->labelled};
    const char *file[] = {o->source, o->target, o->labelled}, *method;
    di_evidence side[3] = {{0}, {0}, {0}};
    double **m[] = {&out->m_s, &out->m_t, &out->m_l};
    float *e = NULL;
    int64_t most = 0;

    *out = (di_other_model){0};
    DI_TRY(di_session_open(&s, path, &o->common, DI_NEED_HEAD, NULL, NULL, r->s.env, err));
    s.trunk_cache = r->opt->trunk_cache;
    s.trunk_max = r->opt->trunk_cache_max;
    DI_TRY(di_session_ready(&s, err));
    for (int k = 0; k < 3; k++) most = own[k]->n > most ? own[k]->n : most;
    e = di_new_array(r->al, (size_t)(2 * most * s.params.width), sizeof *e);
    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", path);
    for (int k = 0; k < 3; k++) {
        int64_t rows = k == LABELLED ? 0 : own[k]->n; /* labelled pairs: all of them */

        if (own[k]->n == 0) continue;
        DI_TRY(
            di_evidence_load(&s, &o->common, file[k], k == TARGET, rows, r->seed, &side[k], err));
        if (side[k].n != own[k]->n)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "compare runs of one text policy",
                       "keeps %lld pairs where the first model keeps %lld", (long long)side[k].n,
                       (long long)own[k]->n);
        *m[k] = di_new_array(r->al, (size_t)own[k]->n, sizeof **m[k]);
        if (*m[k] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", path);
        DI_TRY(di_evidence_embed(&s, &side[k], NULL, 0, path, e, err));
        di_margins(di_head_at(&s.params, s.params.theta), e, own[k]->n, s.params.width, *m[k]);
        if (k == TARGET)
            DI_TRY(di_rank_me(r->al, e, 2 * own[k]->n, s.params.width, &out->effective_rank, err));
    }
    out->same_view = s.layers == r->s.layers && s.pooling == r->s.pooling;
    method = json_string_value(json_object_get(json_object_get(s.run, "method"), "name"));
    snprintf(out->method, sizeof out->method, "%s", method != NULL ? method : "");
done:
    for (int k = 0; k < 3; k++) di_evidence_deinit(&side[k]);
    di_free(r->al, e);
    if (s.al != NULL) {
        di_evidence_close_store(&s);
        di_session_close(&s);
    }
    return st;
}

void di_other_model_close(di_doctor *r, di_other_model *m)
{
    di_free(r->al, m->m_s);
    di_free(r->al, m->m_t);
    di_free(r->al, m->m_l);
}

static double credit(double margin)
{
    return margin > 0 ? 1 : margin < 0 ? 0 : 0.5;
}

static double accuracy_of(const double *m, int64_t n)
{
    double right = 0;

    for (int64_t i = 0; i < n; i++) right += credit(m[i]);
    return right / (double)n;
}

static dial_status source_degradation(di_doctor *r, const di_other_model *b, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = r->source.n;
    double *own = di_new_array(r->al, 2 * (size_t)n, sizeof *own), *other = own + n;
    di_candidate loss;
    di_source_fall f;

    if (own == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the losses of the source");
    for (int64_t i = 0; i < n; i++) {
        own[i] = di_softplus(-r->m_s[i]);
        other[i] = di_softplus(-b->m_s[i]);
    }
    loss = di_select_compare(own, other, n);
    f = di_select_fall(own, other, n);
    di_finding_set(r->finding, DI_SOURCE_DEGRADATION, (f.baseline - f.accuracy) / f.limit,
                   "source accuracy %.3f, the baseline's %.3f (a fall of %.3f warns); source loss "
                   "%+.3f +- %.3f",
                   f.accuracy, f.baseline, f.limit, loss.gap, loss.se);
done:
    di_free(r->al, own);
    return st;
}

/* Labelled target pairs, drawn at random, by both models: the paired interval of the gain. */
static dial_status gain(di_doctor *r, const di_other_model *b, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_evidence *x = &r->labelled;
    const di_bootstrap_options opt = {.draws = BOOTSTRAP, .seed = r->seed};
    uint64_t *hash = di_new_array(r->al, (size_t)(2 * x->n), sizeof *hash);
    double *own = di_new_array(r->al, (size_t)(2 * x->n), sizeof *own), *other;
    di_units units = {.al = NULL};
    di_difference d;

    if (hash == NULL || own == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a comparison");
    if (x->n == 0) goto done;
    other = own + x->n;
    for (int64_t i = 0; i < 2 * x->n; i++) hash[i] = x->d->seq[x->text[i]].hash;
    for (int64_t i = 0; i < x->n; i++) {
        own[i] = credit(r->m_l[i]);
        other[i] = credit(b->m_l[i]);
    }
    DI_TRY(di_units_init(&units, r->al, x->n, hash, DI_CLUSTER_TEXT, err));
    DI_TRY(di_paired_difference(&units, own, other, &opt, &d, err));
    if (units.n_units > 1 && !x->picked)
        di_finding_set(r->finding, DI_NO_GAIN, d.ci.lo,
                       "on %lld labelled target pairs accuracy %.3f, the baseline's %.3f: a "
                       "difference of %+.3f [%+.3f, %+.3f]",
                       (long long)x->n, d.model, d.baseline, d.delta, d.ci.lo, d.ci.hi);
done:
    di_units_deinit(&units);
    di_free(r->al, hash);
    di_free(r->al, own);
    return st;
}

static dial_status against_baseline(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_other_model b = {0};
    double agree, rank;

    if (r->opt->baseline == NULL) goto done;
    DI_TRY(di_other_model_open(r, r->opt->baseline, &b, err));
    agree = di_sign_agreement(r->m_t, b.m_t, NULL, r->target.n, NULL);
    DI_TRY(di_rank_me(r->al, r->e_t, 2 * r->target.n, r->c, &rank, err));
    DI_TRY(source_degradation(r, &b, err));
    if (b.same_view)
        di_finding_set(r->finding, DI_FEATURE_COLLAPSE, rank / b.effective_rank,
                       "effective rank %.1f on the target, the baseline's %.1f", rank,
                       b.effective_rank);
    else
        di_finding_set(r->finding, DI_FEATURE_COLLAPSE, rank / r->plain_rank,
                       "effective rank %.1f on the target, %.1f before the adaptor (the baseline "
                       "reads another layer or pooling)",
                       rank, r->plain_rank);
    di_finding_set(r->finding, DI_SHORTCUT_OR_FLIP, agree,
                   "the baseline orders %.2f of the target pairs alike", agree);
    r->seen.only_disagrees = 1;
    DI_TRY(gain(r, &b, err));
    di_json_put(r->doc, "baseline",
                json_pack("{s:s, s:s, s:o, s:o, s:o}", "model", r->opt->baseline, "method",
                          b.method, "source_accuracy",
                          di_json_stat(accuracy_of(b.m_s, r->source.n)), "target_agreement",
                          di_json_stat(agree), "effective_rank", di_json_stat(b.effective_rank)),
                &r->failed);
done:
    di_other_model_close(r, &b);
    return st;
}

/* Mean sign agreement over all pairs of this model and --runs, on the target. */
static dial_status seeds(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = r->opt->runs.n;
    di_other_model *m = di_new_array(r->al, (size_t)n + 1, sizeof *m);
    double sum = 0;
    int64_t pairs = 0;

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the runs");
    if (n == 0) goto done;
    for (int64_t i = 0; i < n; i++)
        DI_TRY(di_other_model_open(r, r->opt->runs.item[i], &m[i], err));
    for (int64_t i = -1; i < n; i++)
        for (int64_t j = i + 1; j < n; j++, pairs++)
            sum += di_sign_agreement(i < 0 ? r->m_t : m[i].m_t, m[j].m_t, NULL, r->target.n, NULL);
    di_json_put(r->doc, "seed_agreement", di_json_stat(sum / (double)pairs), &r->failed);
    di_finding_set(r->finding, DI_SEED_VARIANCE, 1 - sum / (double)pairs,
                   "%lld models order %.2f of the target pairs alike", (long long)n + 1,
                   sum / (double)pairs);
done:
    for (int64_t i = 0; m != NULL && i < n; i++) di_other_model_close(r, &m[i]);
    di_free(r->al, m);
    return st;
}

/* ---- what else is looked at ---- */

static dial_status two_heads(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int32_t *fold = NULL;
    di_two_heads h;

    if (!r->opt->two_heads) goto done;
    fold = di_new_array(r->al, (size_t)r->source.n, sizeof *fold);
    if (fold == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for two heads");
    DI_TRY(di_folds(r->al, r->source.n, r->source.group, 2, r->seed, fold, err));
    DI_TRY(di_two_heads_fit(r->al, r->e_s, r->source.n, r->e_t, r->target.n, r->c, fold, r->seed,
                            &h, err));
    di_json_put(r->doc, "two_heads",
                json_pack("{s:o, s:o, s:o, s:{s:o, s:o}}", "source_loss",
                          di_json_stat(h.source_loss), "single_loss", di_json_stat(h.single_loss),
                          "weight", di_json_stat(h.weight), "agreement", "source",
                          di_json_stat(h.agreement_source), "target",
                          di_json_stat(h.agreement_target)),
                &r->failed);
    if (!(h.agreement_target < di_signature_threshold(DI_SHORTCUT_OR_FLIP)) &&
        r->finding[DI_SHORTCUT_OR_FLIP].level == DI_LEVEL_WARN)
        goto done; /* the baseline's disagreement stays on record */
    r->seen.only_disagrees = 0;
    di_finding_set(
        r->finding, DI_SHORTCUT_OR_FLIP, h.agreement_target,
        "two heads of equal source fit order %.2f of the target pairs alike, and %.2f of "
        "the held-out source pairs",
        h.agreement_target, h.agreement_source);
done:
    di_free(r->al, fold);
    return st;
}

/* Few labelled target pairs: what no unlabelled statistic can know (method.md 9.2). */
static dial_status labelled(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_evidence *x = &r->labelled;
    float *e = NULL;
    const char *result;
    json_t *v;

    if (r->opt->labelled == NULL) goto done;
    DI_TRY(di_evidence_load(&r->s, &r->opt->common, r->opt->labelled, 0, 0, r->seed, x, err));
    e = di_new_array(r->al, (size_t)(2 * x->n * r->c), sizeof *e);
    r->m_l = di_new_array(r->al, (size_t)x->n, sizeof *r->m_l);
    if (e == NULL || r->m_l == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for labelled pairs");
    DI_TRY(di_evidence_embed(&r->s, x, NULL, 0, "labelled", e, err));
    di_margins(r->head, e, x->n, r->c, r->m_l);
    v = di_labelled_json(r->m_l, x->n, 1, r->opt->min_accuracy, !x->picked);
    result = json_string_value(json_object_get(json_object_get(v, "certificate"), "result"));
    r->seen.certificate = result == NULL                        ? DI_NO_CERTIFICATE
                          : strcmp(result, "not_inverted") == 0 ? DI_NOT_INVERTED
                          : strcmp(result, "inverted") == 0     ? DI_INVERTED
                                                                : DI_UNDECIDED;
    di_json_put(r->doc, "labelled", v, &r->failed);
done:
    di_free(r->al, e);
    return st;
}

/* --suggest: the target pairs on which this model and others (or two halves of it) differ. */
static dial_status suggest(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = r->target.n, k = r->opt->suggest, taken = 0, runs = r->opt->runs.n;
    int64_t *row = di_new_array(r->al, (size_t)k + 1, sizeof *row);
    di_pick_pair *pair = di_new_array(r->al, (size_t)n, sizeof *pair);
    double *half = di_new_array(r->al, 2 * (size_t)n, sizeof *half);
    di_other_model *other = di_new_array(r->al, (size_t)runs + 1, sizeof *other);
    const double **m = di_new_array(r->al, (size_t)runs + 3, sizeof *m);
    int models = 0;

    if (row == NULL || pair == NULL || half == NULL || other == NULL || m == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for suggestions");
    if (k == 0) goto done;
    m[models++] = r->m_t;
    for (int64_t i = 0; i < runs; i++) {
        DI_TRY(di_other_model_open(r, r->opt->runs.item[i], &other[i], err));
        m[models++] = other[i].m_t;
    }
    if (runs == 0) {
        DI_TRY(di_half_margins(r->al, r->e_s, r->source.n, r->source.group, r->e_t, n, r->c,
                               r->seed, (double *[]){half, half + n}, err));
        m[models++] = half;
        m[models++] = half + n;
    }
    di_picked_names(&r->target, pair);
    DI_TRY(di_pick_disagreement(r->al, &(di_pick_input){pair, r->e_t, n, r->c, m, models}, k, row,
                                &taken, err));
    for (int64_t i = 0; i < taken; i++) row[i] = r->target.d->example[r->target.row[row[i]]].row;
    DI_TRY(di_picked_write(r->al, &r->opt->common, r->opt->target, row, taken, "disagreement",
                           r->opt->out, err));
    di_json_put(r->doc, "suggested",
                json_pack("{s:I, s:s}", "rows", (json_int_t)taken, "path", r->opt->out),
                &r->failed);
done:
    for (int64_t i = 0; other != NULL && i < runs; i++) di_other_model_close(r, &other[i]);
    di_free(r->al, row);
    di_free(r->al, pair);
    di_free(r->al, half);
    di_free(r->al, other);
    di_free(r->al, m);
    return st;
}

/* ---- the whole ---- */

static dial_status open_all(di_doctor *r, const dial_env *env, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_doctor_options *o = r->opt;
    int64_t rows = o->max_rows;
    char *card = NULL;

    if (o->model == NULL || o->source == NULL || o->target == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE,
                   o->model == NULL    ? "--model"
                   : o->source == NULL ? "--source"
                                       : "--target",
                   "see dial doctor --help", "the flag is required");
    if (rows < 2 || o->folds < 2 || o->folds > 100)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, rows < 2 ? "--max-rows" : "--folds", "give a larger number",
                   "expected at least 2, and at most 100 folds");
    if (o->suggest < 0 || (o->suggest > 0) != (o->out != NULL))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--suggest", "write: --suggest 30 --out FILE",
                   "a number of pairs above 0 and a file go together");
    if (o->layers && rows > LAYER_ROWS) rows = LAYER_ROWS;
    if (o->card) DI_TRY(di_card_read(r->al, o->model, &card, err)); /* before the work */
    DI_TRY(di_session_open(&r->s, o->model, &o->common, DI_NEED_MODEL, NULL, NULL, env, err));
    r->s.trunk_cache = o->trunk_cache;
    r->s.trunk_max = o->trunk_cache_max;
    DI_TRY(di_session_ready(&r->s, err));
    r->own_head = r->s.has_params;
    r->c = di_source_config(r->s.source)->width;
    DI_TRY(di_evidence_load(&r->s, &o->common, o->source, 0, rows, r->seed, &r->source, err));
    DI_TRY(di_evidence_load(&r->s, &o->common, o->target, 1, rows, r->seed, &r->target, err));
    if (o->suggest > 0 && (r->target.single_texts || r->target.several))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--suggest", "give target rows of two texts",
                   "there are no pairs to label");
    r->doc = json_pack("{s:s, s:s, s:{s:I, s:I}, s:n, s:n, s:n, s:n, s:n}", "schema",
                       "dial.doctor/1", "model", o->model, "n", "source", (json_int_t)r->source.n,
                       "target", (json_int_t)r->target.n, "seed_agreement", "two_heads", "labelled",
                       "baseline", "suggested");
    if (r->doc == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    di_free(r->al, card);
    return st;
}

static const char *conclude(di_doctor *r)
{
    char reason[512], summary[1200];
    const char *verdict = di_verdict(r->finding, &r->seen, reason, sizeof reason);
    int passes = strcmp(verdict, "safe") == 0 || strcmp(verdict, "no_shift") == 0;

    snprintf(summary, sizeof summary, "%s: %s.%s%s", verdict, reason,
             passes && r->seen.certificate != DI_NOT_INVERTED
                 ? " No statistic without labels can exclude that the whole ranking is turned "
                   "round; 20 to 50 random labelled target pairs can (--labelled)."
                 : "",
             passes || r->seen.certificate == DI_NOT_INVERTED
                 ? ""
                 : " Label 20 to 50 target pairs drawn at random and pass them as --labelled.");
    di_json_put(r->doc, "verdict", json_string(verdict), &r->failed);
    di_json_put(r->doc, "summary", json_string(summary), &r->failed);
    di_json_put(r->doc, "findings", di_findings_to_json(r->finding), &r->failed);
    return verdict;
}

static void doctor_close(di_doctor *r)
{
    di_evidence_deinit(&r->source);
    di_evidence_deinit(&r->target);
    di_evidence_deinit(&r->labelled);
    di_free(r->al, r->e_s);
    di_free(r->al, r->e_t);
    di_free(r->al, r->head);
    di_free(r->al, r->m_s);
    di_free(r->al, r->m_t);
    di_free(r->al, r->m_l);
    if (r->s.al != NULL) {
        di_evidence_close_store(&r->s);
        di_session_close(&r->s);
    }
    json_decref(r->doc);
}

dial_status dial_doctor(const dial_doctor_options *o, const dial_env *env, char **json,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    di_doctor r = {.opt = o, .al = di_env_alloc(env), .seed = (uint64_t)o->common.seed};
    const char *verdict;

    r.seen.a_distance_hi = r.seen.mmd_p = NAN;
    di_findings_init(r.finding);
    DI_TRY(open_all(&r, env, err));
    DI_TRY(di_doctor_text(&r, err));
    DI_TRY(di_doctor_views(&r, err));
    DI_TRY(di_doctor_prompts(&r, err));
    DI_TRY(di_doctor_domain(&r, err));
    DI_TRY(labelled(&r, err)); /* before the models that are compared on these pairs */
    DI_TRY(against_baseline(&r, err));
    DI_TRY(seeds(&r, err));
    DI_TRY(two_heads(&r, err));
    DI_TRY(suggest(&r, err));
    DI_TRY(di_doctor_journal(&r, err));
    verdict = conclude(&r);
    if (r.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    if (o->card) DI_TRY(di_card_renew_doctor(r.al, o->model, r.doc, err));
    DI_TRY(di_document(r.al, json_incref(r.doc), json, err));
    if (o->check && strcmp(verdict, "safe") != 0 && strcmp(verdict, "no_shift") != 0)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, "--check", NULL, "the verdict is %s", verdict);
done:
    doctor_close(&r);
    return st;
}
