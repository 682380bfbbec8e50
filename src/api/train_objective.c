/*
 * What the labels of a run are (`--objective`), checked against its rows; and what a row's loss is
 * under it, for the choice among checkpoints.
 */
#include <math.h>

#include "api/train_job.h"
#include "base/error.h"
#include "base/log.h"
#include "eval/classes.h"
#include "model/head.h"

static const struct {
    const char *name;
    di_objective objective;
    di_row_kind kind;
    const char *rows;
} table[] = {
    {"pair", DI_OBJECTIVE_PAIR, DI_ROW_PAIR, "rows with chosen and rejected"},
    {"bce", DI_OBJECTIVE_BCE, DI_ROW_SCORED, "rows with a score of 0 or 1"},
    {"mse", DI_OBJECTIVE_MSE, DI_ROW_SCORED, "rows with a score"},
    {"ce", DI_OBJECTIVE_CE, DI_ROW_SCORED, "rows with a class 0, 1, 2, ... as their score"},
    {"mcq", DI_OBJECTIVE_MCQ, DI_ROW_MCQ, "rows with correct and wrong options"},
};
enum { OBJECTIVES = sizeof table / sizeof *table, MAX_CLASSES = 1024 };

_Static_assert((int)MAX_CLASSES >= (int)DI_ROW_TEXTS, "room for the rewards of a row");

const char *di_job_objective(const di_train_job *job)
{
    return table[job->set.loss.objective].name;
}

/* By the rows: scores that are all 0 or 1 are labels of two classes. */
static di_objective objective_of(const di_examples *x)
{
    if (di_example_at(x, 0)->kind == DI_ROW_MCQ) return DI_OBJECTIVE_MCQ;
    if (di_example_at(x, 0)->kind != DI_ROW_SCORED) return DI_OBJECTIVE_PAIR;
    for (int64_t i = 0; i < x->n; i++)
        if (di_example_at(x, i)->score != 0 && di_example_at(x, i)->score != 1)
            return DI_OBJECTIVE_MSE;
    return DI_OBJECTIVE_BCE;
}

static int is_label(const di_train_job *job, const di_example *x)
{
    const di_loss_options *o = &job->set.loss;
    double y = (double)x->score;

    if (x->kind != table[o->objective].kind) return 0;
    if (o->objective == DI_OBJECTIVE_BCE) return y == 0 || y == 1;
    if (o->objective == DI_OBJECTIVE_CE) return y >= 0 && y == floor(y) && y < (double)o->classes;
    return 1;
}

/* J: one more than the largest class of the rows, of which each has its row. */
static dial_status count_classes(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_examples *x = &job->source;
    char seen[MAX_CLASSES] = {0};
    double most = 1;

    job->set.loss.classes = 0;
    if (job->set.loss.objective != DI_OBJECTIVE_CE) return DIAL_OK;
    job->set.loss.classes = MAX_CLASSES;
    DI_TRY(di_job_check_labels(job, x, "source", err));
    for (int64_t i = 0; i < x->n; i++) {
        seen[(int64_t)di_example_at(x, i)->score] = 1;
        most = fmax(most, (double)di_example_at(x, i)->score);
    }
    job->set.loss.classes = 1 + (int64_t)most;
    for (int64_t j = 0; j < job->set.loss.classes; j++)
        if (!seen[j])
            DI_FAIL_AT(err, DIAL_ERR_INPUT, x->set[0]->path,
                       "number the classes from 0 without a gap, or use --objective mse",
                       "classes 0 to %lld, of which %lld has no row",
                       (long long)job->set.loss.classes - 1, (long long)j);
done:
    return st;
}

dial_status di_job_check_labels(const di_train_job *job, const di_examples *x, const char *side,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    di_objective o = job->set.loss.objective;

    for (int64_t i = 0; i < x->n; i++) {
        const di_example *e = di_example_at(x, i);

        if (is_label(job, e)) continue;
        DI_FAIL_AT(err, DIAL_ERR_INPUT,
                   DI_FMT("%s:%lld:1", x->set[x->ref[i].set]->path, (long long)e->line),
                   DI_FMT("give %s, or choose --objective by the rows", table[o].rows),
                   "missing_key: expected %s in the %s",
                   o == DI_OBJECTIVE_PAIR ? "a preference pair" : table[o].rows, side);
    }
done:
    return st;
}

/* What reads a reward, which a head of classes does not have. */
static dial_status check_rewards(const di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const struct {
        const char *flag;
        int given;
    } wants[] = {{is(o->method, "ssrm") ? "method" : "pseudo-weight", job->set.pseudo_weight > 0},
                 {"cross-prompt", o->cross_prompt > 0},
                 {"consistency", o->consistency > 0},
                 {"length-guard", o->length_guard > 0},
                 {"target-labelled", o->target_labelled != NULL},
                 {"match-scale", o->match_scale},
                 {o->resume_from != NULL ? "resume-from" : "base", job->start.is_run}};

    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++)
        if (wants[i].given)
            DI_FAIL_AT(
                err, DIAL_ERR_USAGE, DI_FMT("--%s", wants[i].flag),
                i == 6 ? "start from a base model" : "leave it out, or use another objective",
                "it is about rewards, and --objective ce has a logit for each class instead");
    if (!is(o->adaptor, "0"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--adaptor", "use --lora-r above 0, or the head alone",
                   "an adaptor folds into a head of one row, and --objective ce has one a class");
    if (job->named >= 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--select", "use --select earliest, source or last",
                   "a set of classes is for reporting under --objective ce");
done:
    return st;
}

/* Flags that mean nothing under this objective. */
static dial_status check_flags(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    di_objective objective = job->set.loss.objective;
    const char *name = table[objective].name;
    int points = objective == DI_OBJECTIVE_BCE || objective == DI_OBJECTIVE_MSE ||
                 objective == DI_OBJECTIVE_CE;

    if (objective == DI_OBJECTIVE_PAIR) goto done;
    if (objective == DI_OBJECTIVE_CE) DI_TRY(check_rewards(job, err));
    if (is(o->head_init, "probe"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--head-init", "leave it out",
                   "the probe is fitted on preference pairs, and the objective is %s", name);
    if (job->align_options.on_delta && job->align_options.delta_kind == DI_DELTA_ORIENTED)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--delta-kind", "use sym or reward",
                   "chosen and rejected turn the rows of the source, and the objective is %s",
                   name);
    if (job->kind != NULL && job->kind->pairs)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--method", "use another method",
                   "method %s needs preference pairs, and the objective is %s", o->method, name);
    if (points && job->set.lm_weight > 0 && job->set.lm_side == DI_SOURCE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, is(o->method, "src-sft") ? "--method" : "--lm-on",
                   "use method tgt-ntp, or --lm-on target",
                   "no response of the source is the chosen one under the objective %s", name);
    if (points && o->length_guard > 0 && job->set.guard_kind == DI_GUARD_MMD)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--length-guard-kind", "use corr, or leave it out",
                   "no text of the source is the better one under the objective %s", name);
    if (points && o->label_smoothing > 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--label-smoothing", "leave it out",
                   "it is about preferences, and the objective is %s", name);
    if (objective == DI_OBJECTIVE_MSE && o->overfit > 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--overfit", "leave it out",
                   "no answer is right or wrong under the objective mse");
    if (points && job->set.center > 0) {
        di_log(job->env, DIAL_LOG_INFO, "no centring: under %s the zero of a reward has a meaning",
               name);
        job->set.center = 0;
    }
    if (job->rule == DI_SELECT_COMBINED || job->rule == DI_SELECT_IWV ||
        job->rule == DI_SELECT_DEV) {
        if (o->select != NULL)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--select", "use --select earliest, source or last",
                       "%s weighs preference pairs, and the objective is %s", o->select, name);
        job->rule = DI_SELECT_EARLIEST;
    }
done:
    return st;
}

dial_status di_job_resolve_objective(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = job->opt->objective;
    di_objective found = objective_of(&job->source);

    job->set.loss.objective = found;
    for (int i = 0; i < OBJECTIVES; i++)
        if (is(text, table[i].name)) job->set.loss.objective = table[i].objective;
    if (table[job->set.loss.objective].kind != di_example_at(&job->source, 0)->kind &&
        !is(text, "auto"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--objective",
                   DI_FMT("use --objective %s", table[found].name),
                   "%s needs %s, which '%s' does not have", text,
                   table[job->set.loss.objective].rows, job->source.set[0]->path);
    DI_TRY(count_classes(job, err));
    DI_TRY(di_job_check_labels(job, &job->source, "source", err));
    DI_TRY(check_flags(job, err));
done:
    return st;
}

dial_status di_job_standardise(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_examples *x = &job->source;
    double mean = 0, squares = 0, n = (double)x->n;

    if (job->set.loss.objective != DI_OBJECTIVE_MSE) return DIAL_OK;
    for (int64_t i = 0; i < x->n; i++) mean += (double)di_example_at(x, i)->score / n;
    for (int64_t i = 0; i < x->n; i++)
        squares += pow((double)di_example_at(x, i)->score - mean, 2) / n;
    if (!(squares > 0))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, x->set[0]->path, "give rows whose scores differ",
                   "all scores of the source are %g", mean);
    job->set.loss.score_mean = mean;
    job->set.loss.score_sd = sqrt(squares);
done:
    return st;
}

/* Loss and accuracy of one example by its rewards in the order of its texts, or by its logits. */
static di_loss_result loss_of(const di_train_job *job, const di_example *x, const float *r)
{
    int32_t row[DI_ROW_TEXTS];
    const di_loss_options *o = &job->set.loss;
    di_point_args point = {
        .r = r, .y = &x->score, .n = 1, .mean = o->score_mean, .sd = o->score_sd};

    switch (o->objective) {
    case DI_OBJECTIVE_BCE: return di_bce_loss(&point);
    case DI_OBJECTIVE_MSE: return di_mse_loss(&point);
    case DI_OBJECTIVE_CE:
        return di_ce_loss(&(di_ce_args){.z = r, .y = &x->score, .n = 1, .classes = o->classes});
    case DI_OBJECTIVE_MCQ:
        for (int32_t t = 0; t < x->n_texts; t++) row[t] = t;
        return di_mcq_loss(&(di_mcq_args){.r = r, .row_of = row, .n = 1, .per = x->n_texts});
    case DI_OBJECTIVE_PAIR: break;
    }
    return di_bt_loss(&(di_bt_args){.r = r, .m = 1});
}

dial_status di_job_losses(di_train_job *job, const di_examples *x, const char *what, double *loss,
                          double *accuracy, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t c = job->params.width, n = 0, at = 0;
    const float *w = di_head_at(&job->params, job->params.theta);
    di_seq_view *text = NULL;
    uint64_t *prompt = NULL;
    int64_t classes = job->set.loss.classes;
    float *e = NULL, r[MAX_CLASSES];

    for (int64_t i = 0; i < x->n; i++) n += di_example_at(x, i)->n_texts;
    text = di_new_array(job->al, (size_t)n, sizeof *text);
    prompt = di_new_array(job->al, (size_t)n, sizeof *prompt);
    e = di_new_array(job->al, (size_t)(n * c), sizeof *e);
    if (text == NULL || prompt == NULL || e == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %s", what);
    for (int64_t i = 0; i < x->n; i++)
        for (int t = 0; t < di_example_at(x, i)->n_texts; t++, at++) {
            const di_seq *s = di_example_seq(x, i, t);

            text[at] = (di_seq_view){s->id, s->n};
            prompt[at] = s->prompt_hash;
        }
    DI_TRY(di_embed_texts(job->embedder, text, prompt, n, what, e, err));
    *accuracy = 0;
    at = 0;
    for (int64_t i = 0; i < x->n; i++) {
        const di_example *row = di_example_at(x, i);
        di_loss_result one;

        if (classes > 0) di_class_logits(w, classes, e + at * c, 1, c, r);
        for (int t = 0; t < row->n_texts; t++, at++)
            if (classes == 0) r[t] = di_reward(w, e + at * c, c);
        one = loss_of(job, row, r);
        loss[i] = one.loss;
        *accuracy += one.accuracy / (double)x->n;
    }
done:
    di_free(job->al, text);
    di_free(job->al, prompt);
    di_free(job->al, e);
    return st;
}
