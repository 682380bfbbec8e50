/* What a save of `dial train` remembers, and which checkpoint becomes the run's (method.md 9.1). */
#include <math.h>
#include <string.h>

#include "api/train_job.h"
#include "base/error.h"
#include "base/log.h"
#include "model/head.h"

enum { W1_INITS = 1, W1_STEPS = 60 }; /* critics in a save: a second rather than ten */

/* Rules that read more of a checkpoint than its source losses. */
static int reads_target(const di_train_job *job)
{
    return job->has_target && (job->rule == DI_SELECT_COMBINED || job->rule == DI_SELECT_IWV ||
                               job->rule == DI_SELECT_DEV);
}

/* Held-out rows first, then a draw of training rows up to --select-rows: what domain numbers and
 * refitted heads read. Few source rows: all of them, judged by leave-one-out. */
static dial_status draw(const di_alloc *al, const di_examples *from, int64_t n, uint64_t seed,
                        di_examples *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    *out = (di_examples){.set = from->set, .n = from->n};
    out->ref = di_new_array(al, (size_t)from->n, sizeof *out->ref);
    if (out->ref == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    memcpy(out->ref, from->ref, (size_t)from->n * sizeof *out->ref);
    DI_TRY(di_examples_draw(al, out, n, seed, err));
done:
    return st;
}

static void prompts_of(const di_examples *x, int64_t n, uint64_t *group)
{
    for (int64_t i = 0; i < n; i++) group[i] = di_example_seq(x, i, 0)->prompt_hash;
}

/* Target rows in pairs: a single text stands with the next row's, as two drawn at random. */
static dial_status embed_target(di_train_job *job, const di_examples *x, int *single, float *e,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t width = job->params.width;
    size_t row = (size_t)width * sizeof *e;

    DI_TRY(di_job_embed_pairs(job, x, x->n, "target", e, err));
    *single = 0;
    for (int64_t i = 0; i < x->n; i++) {
        if (di_example_at(x, i)->n_texts > 1) continue;
        memcpy(e + (2 * i + 1) * width, e + 2 * ((i + 1) % x->n) * width, row);
        *single = 1;
    }
done:
    return st;
}

typedef struct sample {
    di_examples more, target; /* training rows beside the held-out ones; target rows */
    int64_t n_s, n_t;
    float *e;        /* (2 (n_s + n_t), C) */
    uint64_t *group; /* (n_s + n_t) */
    double *loss;    /* (n_s) */
} sample;

static void sample_deinit(const di_alloc *al, sample *s)
{
    di_examples_free(al, &s->more);
    di_examples_free(al, &s->target);
    di_free(al, s->e);
    di_free(al, s->group);
    di_free(al, s->loss);
}

static dial_status sample_init(di_train_job *job, sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t rows = job->opt->select_rows, held = job->held.n, more = 0;
    uint64_t seed = job->set.seed + DI_RNG_SELECT;

    if (held == 0)
        more = job->source.n; /* leave-one-out reads all */
    else if (reads_target(job))
        more = rows > held ? rows - held : 0;
    if (more > 0) DI_TRY(draw(job->al, &job->source, more, seed, &s->more, err));
    if (reads_target(job)) DI_TRY(draw(job->al, &job->target, rows, seed + 1, &s->target, err));
    s->n_s = held + s->more.n;
    s->n_t = s->target.n;
    s->e = di_new_array(job->al, (size_t)(2 * (s->n_s + s->n_t) * job->params.width), sizeof *s->e);
    s->group = di_new_array(job->al, (size_t)(s->n_s + s->n_t), sizeof *s->group);
    s->loss = di_new_array(job->al, (size_t)s->n_s, sizeof *s->loss);
    if (s->e == NULL || s->group == NULL || s->loss == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    prompts_of(&job->held, held, s->group);
    prompts_of(&s->more, s->more.n, s->group + held);
    prompts_of(&s->target, s->n_t, s->group + s->n_s);
done:
    return st;
}

/* Accuracy on the labelled set that --select names. */
static dial_status named_accuracy(di_train_job *job, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dataset *d = job->eval_files.set[job->named];
    float *reward = di_new_array(job->al, (size_t)d->n_seq, sizeof *reward);
    int64_t ties;

    if (reward == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rewards");
    DI_TRY(di_score_dataset(job->embedder, di_head_at(&job->params, job->params.theta), d,
                            job->eval_files.name[job->named], reward, NULL, NULL, NULL, err));
    DI_TRY(di_eval_accuracy(d, reward, out, &ties, err));
done:
    di_free(job->al, reward);
    return st;
}

/* Held-out rows that are no pairs: their loss and accuracy alone. */
static dial_status judge_rows(di_train_job *job, json_t *losses, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = job->held.n;
    double *loss = di_new_array(job->al, (size_t)n, sizeof *loss), accuracy, mean = 0;
    int failed = 0;

    if (loss == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    DI_TRY(di_job_losses(job, &job->held, "held-out source", loss, &accuracy, err));
    for (int64_t i = 0; i < n; i++) {
        mean += loss[i] / (double)n;
        di_json_add(losses, di_json_f32((float)loss[i]), &failed);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    *out = json_pack("{s:o, s:o}", "source_loss", di_json_stat(mean), "source_accuracy",
                     di_json_stat(accuracy));
done:
    di_free(job->al, loss);
    return st;
}

/*
 * {"gap", "sd", "source", "target"}: what the run's critic makes of source pairs that it never saw
 * and of target pairs of the validators (docs/math.md), with their numbers. Null where there is no
 * such critic or no such rows, or where the pairs are not those that the critic learns on: texts
 * of one prompt drawn in twos.
 */
static dial_status judge_critic(const di_train_job *job, const di_validator_input *in, json_t **out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n_s = in->n_held, n_t = in->target.n, c = in->c;
    int drawn = job->align_options.on_delta && (in->single_texts || job->set.match_prompts);
    float *r = di_new_array(job->al, (size_t)(2 * (n_s + n_t)), sizeof *r);
    di_align_pairs pairs = {in->source.e, in->target.e, r, r + 2 * n_s, n_s, n_t};
    double gap, sd;

    if (r == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    if (job->align == NULL || n_s == 0 || n_t == 0 || drawn) goto done;
    for (int64_t i = 0; i < 2 * n_s; i++) r[i] = di_reward(in->head, in->source.e + i * c, c);
    for (int64_t i = 0; i < 2 * n_t; i++)
        r[2 * n_s + i] = di_reward(in->head, in->target.e + i * c, c);
    if (!di_alignment_judge(job->align, &pairs, &gap, &sd)) goto done;
    *out = json_pack("{s:o, s:o, s:I, s:I}", "gap", di_json_stat(gap), "sd", di_json_stat(sd),
                     "source", (json_int_t)n_s, "target", (json_int_t)n_t);
done:
    di_free(job->al, r);
    return st;
}

dial_status di_job_validate(void *ctx, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_train_job *job = ctx;
    int64_t width = job->params.width, held = job->held.n;
    sample s = {.n_s = 0};
    di_validator_input in = {.c = width,
                             .n_held = held,
                             .w1_inits = W1_INITS,
                             .w1_steps = W1_STEPS,
                             .seed = job->set.seed,
                             .head = di_head_at(&job->params, job->params.theta)};
    di_validators v;
    json_t *losses = json_array(), *critic = json_null(), *all = NULL;
    double accuracy;
    int failed = 0;

    if (losses == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    if (job->set.loss.objective != DI_OBJECTIVE_PAIR && held > 0) {
        DI_TRY(judge_rows(job, losses, &all, err));
        goto judged;
    }
    if (held == 0 && (job->source.n >= DI_FEW_SOURCE_ROWS || /* nothing was held out on purpose */
                      job->set.loss.objective != DI_OBJECTIVE_PAIR)) {
        all = json_pack("{s:n, s:n}", "source_loss", "source_accuracy");
        goto judged;
    }
    DI_TRY(sample_init(job, &s, err));
    if (held > 0) DI_TRY(di_job_embed_pairs(job, &job->held, held, "held-out source", s.e, err));
    if (s.more.n > 0)
        DI_TRY(di_job_embed_pairs(job, &s.more, s.more.n, "source", s.e + 2 * held * width, err));
    if (s.n_t > 0)
        DI_TRY(embed_target(job, &s.target, &in.single_texts, s.e + 2 * s.n_s * width, err));
    in.source = (di_pair_rows){s.e, s.n_s, s.group};
    in.target = (di_pair_rows){s.e + 2 * s.n_s * width, s.n_t, s.group + s.n_s};
    DI_TRY(judge_critic(job, &in, &critic, err));
    DI_TRY(di_validate(&job->base.dev, &in, s.loss, &v, err));
    all = di_validators_to_json(&v);
    for (int64_t i = 0; i < (held > 0 ? held : s.n_s); i++)
        di_json_add(losses, di_json_f32((float)s.loss[i]), &failed);
judged:
    di_json_put(all, "losses", json_incref(losses), &failed);
    if (job->kind != NULL && job->kind->critic)
        di_json_put(all, "critic", json_incref(critic), &failed);
    if (job->rule == DI_SELECT_NAMED) {
        DI_TRY(named_accuracy(job, &accuracy, err));
        di_json_put(all, "accuracy", di_json_stat(accuracy), &failed);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validation");
    *out = json_incref(all);
done:
    json_decref(all);
    json_decref(losses);
    json_decref(critic);
    sample_deinit(job->al, &s);
    return st;
}

/* Best labelled accuracy, the first of equals. */
static int64_t choose_named(const json_t *history, int64_t n)
{
    int64_t best = 0;

    for (int64_t c = 1; c < n; c++)
        if (json_number_value(json_object_get(json_array_get(history, c), "accuracy")) >
            json_number_value(json_object_get(json_array_get(history, best), "accuracy")))
            best = c;
    return best;
}

/* Rules that read validators; -1: none of the checkpoints has what the rule needs. */
static void choose_by_validators(di_train_job *job, const json_t *history, int64_t from,
                                 const int64_t *step, const di_candidate *seen, di_ranked *c,
                                 int64_t n, int64_t *chosen)
{
    for (int64_t i = 0; i < n; i++) {
        c[i] = (di_ranked){.v = di_validators_from_json(json_array_get(history, from + i)),
                           .step = step[i],
                           .lambda = job->set.lambda,
                           .within_floor = seen[i].within};
        c[i].reference_rank = c[0].v.effective_rank;
    }
    if (job->rule == DI_SELECT_COMBINED)
        di_select_combined(c, n, chosen);
    else
        di_select_by(c, n, job->rule, chosen);
}

/*
 * The first save that is a candidate. While lambda still rises, alignment has not acted: such a
 * checkpoint is a source-only one, and where the source is learnt in a few steps its loss would
 * shut out all that come after. Once one save lies beyond the ramp, those before it do not count.
 */
static int64_t first_candidate(const di_train_job *job, const int64_t *step, int64_t n)
{
    int64_t i = 0;

    if (job->kind == NULL || job->set.ramp != DI_RAMP_LINEAR) return 0;
    while (i < n && step[i] < job->set.ramp_over) i++;
    return i < n ? i : 0;
}

dial_status di_job_choose(void *ctx, const json_t *history, int64_t *step, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_train_job *job = ctx;
    size_t n = json_array_size(history);
    size_t rows = json_array_size(json_object_get(json_array_get(history, 0), "losses"));
    di_select_rule rule = job->rule;
    int64_t *steps = di_new_array(job->al, n, sizeof *steps), chosen = 0, first = -1, from, m;
    double *loss = di_new_array(job->al, n * rows, sizeof *loss);
    di_candidate *seen = di_new_array(job->al, n, sizeof *seen);
    di_ranked *ranked = di_new_array(job->al, n, sizeof *ranked);

    if (steps == NULL || loss == NULL || seen == NULL || ranked == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for selection");
    for (size_t c = 0; c < n; c++) {
        const json_t *save = json_array_get(history, c), *losses = json_object_get(save, "losses");

        steps[c] = json_integer_value(json_object_get(save, "step"));
        for (size_t i = 0; i < rows; i++)
            loss[c * rows + i] = json_number_value(json_array_get(losses, i));
    }
    if (rule > DI_SELECT_LAST) rule = DI_SELECT_EARLIEST; /* what the others fall back on */
    from = first_candidate(job, steps, (int64_t)n);
    m = (int64_t)n - from;
    DI_TRY(di_select(steps + from, m, loss + (size_t)from * rows, (int64_t)rows, rule, &chosen,
                     seen, err));
    if (reads_target(job))
        choose_by_validators(job, history, from, steps + from, seen, ranked, m, &first);
    *step = steps[from + (first >= 0 ? first : chosen)];
    job->fell_back = reads_target(job) && first < 0;
    if (job->rule == DI_SELECT_NAMED) *step = steps[choose_named(history, (int64_t)n)];
done:
    di_free(job->al, steps);
    di_free(job->al, loss);
    di_free(job->al, seen);
    di_free(job->al, ranked);
    return st;
}

/* --select, before the data is read: a rule, or the name of an --eval set. */
dial_status di_plan_select(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const char *text = o->select != NULL ? o->select : o->target.n > 0 ? "combined" : "source";
    int rule = di_select_parse(text);

    if (o->select_rows < 2)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--select-rows", "give a number such as 256",
                   "expected at least 2, found %lld", (long long)o->select_rows);
    job->rule = (di_select_rule)rule;
    job->named = -1;
    for (int64_t i = 0; rule < 0 && i < o->eval.n; i++) {
        const char *file;
        char *name = NULL;

        DI_TRY(di_parse_named_file(job->al, o->eval.item[i], &name, &file, err));
        if (strcmp(name, text) == 0) job->named = (int)i;
        di_free(job->al, name);
    }
    if (job->named >= 0)
        job->rule = DI_SELECT_NAMED;
    else if (rule < 0 || (rule >= DI_SELECT_W1 && rule <= DI_SELECT_AGREEMENT))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--select", "choose one of them",
                   "expected combined, earliest, source, last, iwv, dev or the name of an --eval "
                   "set, found '%s'",
                   text);
    if ((rule == DI_SELECT_IWV || rule == DI_SELECT_DEV) && o->target.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--select", "add --target FILE, or take earliest",
                   "%s weighs source rows by the target domain", text);
done:
    return st;
}

const char *di_job_selected_by(const di_train_job *job)
{
    if (job->rule == DI_SELECT_NAMED) return job->eval_files.name[job->named];
    return di_select_name(job->rule);
}
