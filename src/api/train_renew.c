/*
 * What a run renews between its steps, by looking at its own rows: pseudo-labels on the target
 * (method.md 8.5) in rounds, importance weights of the source (8.12) in every pass. And what it
 * makes before the first step of the target's texts and of the frozen model: cross-prompt negatives
 * (8.6), the embeddings that anchors hold on to (8.8).
 */
#include <math.h>
#include <string.h>

#include "api/train_job.h"
#include "base/error.h"
#include "base/log.h"
#include "data/crossing.h"
#include "dist/dist.h"
#include "eval/agreement.h"
#include "eval/domain.h"
#include "eval/rows.h"
#include "eval/validators.h"
#include "train/pseudo.h"

/* ---- before the first step ---- */

dial_status di_job_cross_prompts(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    di_crossing_options c = {.keep_refusals = o->cross_prompt_refusals, .seed = job->set.seed};
    di_dataset_options d = {.drop_identical = 1};
    di_dataset **set = &job->crossed_files.set[0];
    double share;
    int64_t count, batch = job->opt->batch_target / job->set.parts;
    di_buf rows, tie;

    if (!(o->cross_prompt > 0)) return DIAL_OK;
    di_buf_init(&rows, job->al);
    di_buf_init(&tie, job->al);
    DI_TRY(di_rows_options_from(&o->common, &c.rows, err));
    c.rows.drop_labels = 1;
    DI_TRY(di_parse_share("cross-prompt-length", o->cross_prompt_length, &c.length, &count, err));
    for (int64_t i = 0; i < o->target.n; i++)
        DI_TRY(di_crossing_rows(job->al, o->target.item[i], &c, &rows, &tie, err));
    if (rows.size == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--cross-prompt",
                   "leave it out, or raise --cross-prompt-length",
                   "no target row has a partner of another prompt that is as long");
    d.rows = di_rows_options_default();
    DI_TRY(di_dataset_load_memory(job->al, "cross-prompt negatives", rows.data, rows.size, &d,
                                  &job->base.policy, job->base.tok, job->env, set, err));
    job->crossed_files.n = 1;
    for (int64_t i = 0; i < (*set)->n; i++) /* the label of a pair: 1, or 1/2 for a tie */
        (*set)->example[i].score = tie.data[(*set)->example[i].row] ? 0.5F : 1.0F;
    DI_TRY(di_examples_all(job->al, set, 1, &job->crossed, err));
    DI_TRY(di_parse_share("cross-prompt-share", o->cross_prompt_share, &share, &count, err));
    if (count < 0) count = (int64_t)floor(share * (double)batch);
    if (count < 1) count = 1;
    job->set.batch[DI_CROSSED] = count < job->crossed.n ? count : job->crossed.n;
    job->side[DI_CROSSED] = &job->crossed;
    di_log(job->env, DIAL_LOG_INFO, "%lld cross-prompt negatives", (long long)job->crossed.n);
done:
    di_buf_deinit(&rows);
    di_buf_deinit(&tie);
    return st;
}

/* Embeddings of the texts of a list, with the parameters that nothing has trained yet. */
static dial_status freeze_texts(di_train_job *job, const di_examples *x, const char *what,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t c = job->params.width, n = 0, most = 0;
    di_seq_view *text = NULL;
    uint64_t *prompt = NULL;
    const void **row = NULL;
    float *e = NULL;

    for (int64_t i = 0; i < x->n; i++) most += di_example_at(x, i)->n_texts;
    text = di_new_array(job->al, (size_t)most, sizeof *text);
    prompt = di_new_array(job->al, (size_t)most, sizeof *prompt);
    row = di_new_array(job->al, (size_t)most, sizeof *row);
    e = di_new_array(job->al, (size_t)(most * c), sizeof *e);
    if (text == NULL || prompt == NULL || row == NULL || e == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for anchors");
    for (int64_t i = 0; i < x->n; i++)
        for (int t = 0; t < di_example_at(x, i)->n_texts; t++) {
            const di_seq *s = di_example_seq(x, i, t);

            text[n] = (di_seq_view){s->id, s->n};
            if (di_trunk_find(job->frozen, &text[n]) != NULL) continue;
            row[n] = e + n * c;
            prompt[n++] = s->prompt_hash;
        }
    DI_TRY(di_embed_texts(job->embedder, text, prompt, n, what, e, err));
    DI_TRY(di_trunk_add(job->frozen, text, row, n, err));
done:
    di_free(job->al, text);
    di_free(job->al, prompt);
    di_free(job->al, row);
    di_free(job->al, e);
    return st;
}

dial_status di_job_freeze(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_trunk_shape shape = {.row_bytes = (size_t)job->params.width * sizeof(float)};

    if (!(job->set.anchor > 0)) return DIAL_OK;
    DI_TRY(di_trunk_new(job->al, job->env, &shape, &job->frozen, err));
    DI_TRY(freeze_texts(job, &job->source, "anchors of the source", err));
    if (job->set.batch[DI_TARGET] > 0)
        DI_TRY(freeze_texts(job, &job->target, "anchors of the target", err));
    job->set.frozen = job->frozen;
done:
    return st;
}

/* ---- pseudo-labels ---- */

/* Margins (n) of the examples' first two texts under the parameters theta. */
static dial_status margins_of(di_train_job *job, di_embedder *m, const float *head,
                              const di_examples *x, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t c = job->params.width;
    float *e = di_new_array(job->al, (size_t)(2 * x->n * c), sizeof *e);
    di_embedder *own = job->embedder;

    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for pseudo-labels");
    job->embedder = m;
    st = di_job_embed_pairs(job, x, x->n, "pseudo-labels", e, err);
    job->embedder = own;
    DI_TRY(st);
    di_margins(head, e, x->n, c, out);
done:
    di_free(job->al, e);
    return st;
}

/* Margins of x by the model as it is, or (with_teacher) by its running mean or another run. */
static dial_status margins_by(di_train_job *job, int with_teacher, const di_examples *x,
                              double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    float *own = job->params.theta;
    di_session *other = &job->teacher;

    if (with_teacher && other->al != NULL)
        return margins_of(job, other->embedder, di_head_at(&other->params, other->params.theta), x,
                          out, err);
    if (with_teacher) job->params.theta = di_trainer_teacher(job->trainer);
    st = margins_of(job, job->embedder, di_head_at(&job->params, job->params.theta), x, out, err);
    job->params.theta = own;
    return st;
}

/* Share of source pairs whose chosen text is the longer of two unequal ones. */
static double longer_share(const di_examples *x)
{
    double longer = 0, unequal = 0;

    for (int64_t i = 0; i < x->n; i++) {
        int32_t a = di_example_seq(x, i, 0)->words, b = di_example_seq(x, i, 1)->words;

        unequal += a != b;
        longer += a > b;
    }
    return unequal > 0 ? longer / unequal : -1;
}

/* The target's rows that are open in this step: near ones, or all. ref [target.n]. */
static di_examples open_target(const di_train_job *job, int64_t step, di_example_ref *ref)
{
    const di_curriculum *c = &job->set.curriculum;
    const di_examples *t = &job->target;
    int64_t n = t->n;

    if (c->bins > 0) n = di_curriculum_rows(c, di_curriculum_open(c, step, job->set.steps), n);
    for (int64_t i = 0; i < n; i++)
        ref[i] = t->ref[c->bins > 0 ? di_trainer_near(job->trainer)[i] : i];
    return (di_examples){t->set, ref, n};
}

/* Labels of those pairs of the target by the model as it is, into the trainer. */
static dial_status relabel_rows(di_train_job *job, int64_t step, const di_examples *t,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const di_examples *val = job->held.n > 0 ? &job->held : &job->source;
    int second = !is(o->pseudo_teacher, "none");
    di_pseudo_options opt = {.confidence = o->confidence,
                             .longer_share =
                                 o->pseudo_length_quota ? longer_share(&job->source) : -1,
                             .hard = is(o->pseudo_labels, "hard")};
    di_pseudo_counts counts;
    double agreement = NAN;
    double *m = di_new_array(job->al, (size_t)(3 * t->n + val->n), sizeof *m);
    double *teacher, *length, *own;
    int64_t all = job->target.n;
    float *p = di_new_array(job->al, (size_t)(t->n + all), sizeof *p), *of_row;

    if (m == NULL || p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for pseudo-labels");
    teacher = m + t->n;
    length = m + 2 * t->n;
    own = m + 3 * t->n;
    DI_TRY(margins_by(job, 0, val, own, err));
    opt.tau = di_temperature(own, val->n);
    if (second) DI_TRY(margins_by(job, 1, val, own, err));
    opt.teacher_tau = di_temperature(own, val->n);
    DI_TRY(margins_by(job, 0, t, m, err));
    if (second) DI_TRY(margins_by(job, 1, t, teacher, err));
    if (second) agreement = di_sign_agreement(m, teacher, NULL, t->n, NULL);
    for (int64_t i = 0; i < t->n; i++) {
        const di_seq *a = di_example_seq(t, i, 0);
        const di_seq *b = di_example_seq(t, i, di_example_at(t, i)->n_texts > 1);

        length[i] = log(fmax(a->words, 1)) - log(fmax(b->words, 1));
    }
    DI_TRY(
        di_pseudo_label(job->al, &opt, m, second ? teacher : NULL, length, t->n, p, &counts, err));
    of_row = p + t->n;
    for (int64_t i = 0; i < all; i++) of_row[i] = -1;
    for (int64_t i = 0; i < t->n; i++)
        of_row[job->set.curriculum.bins > 0 ? di_trainer_near(job->trainer)[i] : i] = p[i];
    di_trainer_relabel(job->trainer, of_row);
    DI_TRY(
        di_journal_write(&job->journal,
                         json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "event", "pseudo",
                                   "step", (json_int_t)step, "rows", (json_int_t)t->n, "accepted",
                                   (json_int_t)counts.accepted, "longer", (json_int_t)counts.longer,
                                   "shorter", (json_int_t)counts.shorter, "temperature",
                                   di_json_stat(opt.tau), "agreement", di_json_stat(agreement)),
                         err));
done:
    di_free(job->al, m);
    di_free(job->al, p);
    return st;
}

static dial_status relabel(di_train_job *job, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_example_ref *ref = di_new_array(job->al, (size_t)job->target.n, sizeof *ref);
    di_examples open;

    if (ref == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for pseudo-labels");
    open = open_target(job, step, ref);
    DI_TRY(relabel_rows(job, step, &open, err));
done:
    di_free(job->al, ref);
    return st;
}

/* Is a round over? After each of the first rounds of rounds + 1 equal parts of the run; of a
 * curriculum as many rounds as it has bins. */
static int ends_round(const di_train_job *job, int64_t step)
{
    int64_t bins = job->set.curriculum.bins;
    int64_t parts = (bins > 0 ? bins : job->opt->pseudo_rounds) + 1;

    for (int64_t k = 1; k < parts; k++)
        if (step == (k * job->set.steps + parts - 1) / parts) return 1;
    return 0;
}

/* ---- importance weights ---- */

dial_status di_job_domain_logits(di_train_job *job, const char *what, double *source,
                                 double *target, double *apart, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_examples *s = &job->source, *t = &job->target;
    int64_t c = job->params.width, n = s->n, k = t->n;
    float *e = di_new_array(job->al, (size_t)(2 * (n + k) * c), sizeof *e);
    float *x = di_new_array(job->al, (size_t)(2 * (n + k) * c), sizeof *x);
    double *logit = di_new_array(job->al, (size_t)(2 * (n + k)), sizeof *logit);
    int32_t *fold = di_new_array(job->al, (size_t)(3 * (n + k)), sizeof *fold);
    uint64_t *group = di_new_array(job->al, (size_t)(n + k), sizeof *group);
    di_two_sets sets = {x, NULL, n, k, 2 * c};
    di_domain_probe_result r;
    int single = 0;

    if (!e || !x || !logit || !fold || !group)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a probe of the domains");
    for (int64_t i = 0; i < n + k; i++) {
        const di_examples *side = i < n ? s : t;
        int64_t at = i < n ? i : i - n;

        group[i] = di_example_seq(side, at, 0)->prompt_hash;
        single = single || di_example_at(side, at)->n_texts < 2;
    }
    DI_TRY(di_job_embed_pairs(job, s, n, DI_FMT("%s: source", what), e, err));
    DI_TRY(di_job_embed_pairs(job, t, k, DI_FMT("%s: target", what), e + 2 * n * c, err));
    DI_TRY(di_folds(job->al, n, group, 2, job->set.seed, fold, err));
    DI_TRY(di_folds(job->al, k, group + n, 2, job->set.seed, fold + n, err));
    if (single) { /* a probe on texts: a pair has the mean of its two */
        int32_t *two = fold + n + k;

        for (int64_t i = 0; i < 2 * (n + k); i++) two[i] = fold[i / 2];
        sets = (di_two_sets){e, e + 2 * n * c, 2 * n, 2 * k, c};
        DI_TRY(di_domain_probe(job->al, &sets, two, two + 2 * n, 2, logit, logit + 2 * n, &r, err));
        for (int64_t i = 0; i < n + k; i++) logit[i] = (logit[2 * i] + logit[2 * i + 1]) / 2;
    } else {
        di_pair_features(e, n, c, x);
        di_pair_features(e + 2 * n * c, k, c, x + 2 * n * c);
        sets.t = x + 2 * n * c;
        DI_TRY(di_domain_probe(job->al, &sets, fold, fold + n, 2, logit, logit + n, &r, err));
    }
    memcpy(source, logit, (size_t)n * sizeof *logit);
    if (target != NULL) memcpy(target, logit + n, (size_t)k * sizeof *logit);
    *apart = r.a_distance;
done:
    di_free(job->al, e);
    di_free(job->al, x);
    di_free(job->al, logit);
    di_free(job->al, fold);
    di_free(job->al, group);
    return st;
}

/* u (n) of the source's rows: density ratio by a probe fitted on the other half of the rows. */
static dial_status weigh(di_train_job *job, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = job->source.n, k = job->target.n, count;
    double *logit = di_new_array(job->al, (size_t)(2 * n), sizeof *logit), *u;
    float *weight = di_new_array(job->al, (size_t)n, sizeof *weight);
    double kappa = job->opt->iw_kappa, share, mean = 0, ess = 0, least = fmax(30, (double)n / 20);
    double apart;

    if (!logit || !weight) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for importance weights");
    u = logit + n;
    DI_TRY(di_parse_share("iw-clip", job->opt->iw_clip, &share, &count, err));
    DI_TRY(di_job_domain_logits(job, "weights", logit, NULL, &apart, err));
    for (;; kappa /= 2) {
        double squares = 0;

        DI_TRY(di_importance_weights(job->al, logit, n, n, k, kappa, share, u, err));
        mean = 0;
        for (int64_t i = 0; i < n; i++) {
            mean += u[i] / (double)n;
            squares += u[i] * u[i];
        }
        ess = (double)n * mean * (double)n * mean / squares;
        if (ess >= least || kappa < 0.25) break;
    }
    if (ess < least) {
        di_job_warn(job, "no_overlap",
                    "the domains hardly overlap (effective sample size %.0f of %lld): source rows "
                    "weigh the same",
                    ess, (long long)n);
        for (int64_t i = 0; i < n; i++) u[i] = mean;
    }
    for (int64_t i = 0; i < n; i++) weight[i] = (float)(u[i] / mean);
    DI_TRY(di_trainer_reweight(job->trainer, weight, err));
    DI_TRY(di_journal_write(&job->journal,
                            json_pack("{s:s, s:I, s:o, s:o, s:o}", "event", "weights", "step",
                                      (json_int_t)step, "ess", di_json_stat(ess), "kappa",
                                      di_json_stat(kappa), "a_distance", di_json_stat(apart)),
                            err));
done:
    di_free(job->al, logit);
    di_free(job->al, weight);
    return st;
}

/* ---- before each step ---- */

dial_status di_job_renew(void *ctx, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_train_job *job = ctx;
    int64_t batch = job->set.batch[DI_SOURCE] * job->set.parts, n = job->source.n;

    /* the first step, and each that begins a new pass over the source */
    if (is(job->opt->method, "iw") && (step == 0 || step * batch / n != (step - 1) * batch / n))
        DI_TRY(weigh(job, step, err));
    DI_TRY(di_job_tell_bins(job, step, err));
    if (job->set.pseudo_weight > 0 && ends_round(job, step)) {
        DI_TRY(relabel(job, step, err));
        /* gradually, a model learns from the labels of the one before it, which it goes on from */
        if (is(job->opt->method, "ssrm") &&
            job->set.curriculum.bins == 0) { /* each round from the same initial adapter */
            di_job_start_params(job);
            DI_TRY(di_job_probe_head(job, err));
            di_trainer_restart(job->trainer);
        }
    }
done:
    return st;
}

dial_status di_job_open_teacher(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *name = job->opt->pseudo_teacher;
    int64_t pairs = 0;

    for (int64_t i = 0; i < job->target.n; i++)
        pairs += di_example_at(&job->target, i)->n_texts > 1;
    if (!(job->set.pseudo_weight > 0)) return DIAL_OK;
    if (pairs == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE,
                   is(job->opt->method, "ssrm") ? "--method ssrm" : "--pseudo-weight",
                   "give target rows of two texts, or leave it out",
                   "pseudo-labels need pairs in the target, found single texts only");
    if (is(name, "ema") || is(name, "none")) return DIAL_OK;
    DI_TRY(di_session_open(&job->teacher, name, &job->opt->common, DI_NEED_HEAD, NULL, NULL,
                           job->env, err));
    if (strcmp(job->teacher.base_path, job->base.base_path) != 0 ||
        job->teacher.layers != job->base.layers || job->teacher.pooling != job->base.pooling)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--pseudo-teacher",
                   "give a run of the same base model, layer and pooling",
                   "'%s' was trained on another", name);
    DI_TRY(di_session_ready(&job->teacher, err));
done:
    return st;
}
