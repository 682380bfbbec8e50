/* dial_train: model, data, trainer, loop, selection, evaluation, run folder. */
#include "api/train_job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "api/adapt.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "dist/dist.h"
#include "eval/probe.h"
#include "eval/rows.h"
#include "model/head.h"
#include "train/pass.h"

enum { HEAD_LR_PAIRS = 128 };

/* Flags that may differ between a run and its --resume. */
static int may_differ(const char *flag)
{
    static const char *const free_flags[] = {
        "steps",      "epochs",     "threads",     "device",          "keep",
        "eval",       "resume",     "overwrite",   "dry-run",         "log-every",
        "out",        "eval-every", "trunk-cache", "trunk-cache-max", "snapshot-embeddings",
        "tensorboard"};

    for (size_t i = 0; i < sizeof free_flags / sizeof *free_flags; i++)
        if (strcmp(flag, free_flags[i]) == 0) return 1;
    return 0;
}

/* A flag that the saved run's version did not have stood at what is its default now. */
static dial_status same_flags(const di_train_job *job, const json_t *saved, dial_error *err)
{
    dial_status st = DIAL_OK;
    dial_train_options plain;
    char *text = NULL;
    json_t *defaults = NULL, *value;
    const char *flag;

    dial_options_default(dial_train_table, &plain, sizeof plain);
    DI_TRY(dial_options_to_json(job->env, dial_train_table, &plain, &text, err));
    DI_TRY(di_json_parse(text, strlen(text), "flags", 1, &defaults, err));
    json_object_foreach (job->flags, flag, value) {
        const json_t *was = json_object_get(saved, flag);

        if (was == NULL) was = json_object_get(defaults, flag);
        if (may_differ(flag) || json_equal(value, was)) continue;
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", flag),
                   "give the flag as before, or start a new run with another --out",
                   "differs from the run that --resume continues");
    }
done:
    json_decref(defaults);
    di_free(job->al, text);
    return st;
}

/* All flags as JSON, with the plan that --resume has to keep. */
static dial_status flags_json(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL;

    DI_TRY(dial_options_to_json(job->env, dial_train_table, job->opt, &text, err));
    DI_TRY(di_json_parse(text, strlen(text), "flags", 1, &job->flags, err));
done:
    di_free(job->al, text);
    return st;
}

/* --out must not exist or be empty, or --resume, or --overwrite. */
static dial_status prepare_out(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *out = job->opt->out;
    char **names = NULL;
    size_t n = 0;

    if (job->opt->resume && job->opt->overwrite)
        DI_FAIL(err, DIAL_ERR_USAGE, "--resume and --overwrite exclude each other");
    if (di_exists(out)) {
        if (!di_is_dir(out))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, out, "choose another --out", "exists and is no folder");
        DI_TRY(di_list_dir(job->al, out, &names, &n, err));
    }
    if (n > 0 && !job->opt->resume && !job->opt->overwrite)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, out, "continue with --resume, or replace with --overwrite",
                   "the folder is not empty");
    if (n > 0 && job->opt->overwrite) DI_TRY(di_remove_tree(out, err));
    DI_TRY(di_make_dirs(out, err));
    DI_TRY(di_checkpoint_clean(job->al, out, err));
done:
    di_free_names(job->al, names, n);
    return st;
}

static dial_status new_model(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_decoder_options o = {.n_layers = job->base.layers,
                            .pooling = job->base.pooling,
                            .train = !job->set.head_only,
                            .with_logits = job->set.lm_weight > 0,
                            .first_trained = job->lora.first_layer};

    job->lora.classes = job->set.loss.classes;
    DI_TRY(
        di_params_init(&job->params, job->al, di_source_config(job->base.source), &job->lora, err));
    job->has_params = 1;
    di_job_start_params(job);
    DI_TRY(di_decoder_new(&job->base.dev, job->base.source, &o, &job->decoder, err));
    di_decoder_set_lora(job->decoder, &job->params);
done:
    return st;
}

/* --head-init probe: w by a ridge logistic fit on frozen source differences. */
dial_status di_job_probe_head(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = job->source.n, width = job->params.width;
    float *e = NULL;

    if ((job->start.is_run && !job->start.anew) || !is(job->opt->head_init, "probe"))
        return DIAL_OK;
    e = di_new_array(job->al, (size_t)(2 * n * width), sizeof *e);
    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the probe");
    DI_TRY(di_job_embed_pairs(job, &job->source, n, "head", e, err));
    DI_TRY(di_probe_fit(job->al, e, n, width, di_head_at(&job->params, job->params.theta), err));
done:
    di_free(job->al, e);
    return st;
}

/*
 * --head-lr auto: Adam moves each coordinate of w by the learning rate, and so the reward of e by
 * about that times the norm of e. Divided by the norm, one rate fits every base model and layer.
 */
static dial_status scale_head_lr(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = job->source.n < HEAD_LR_PAIRS ? job->source.n : HEAD_LR_PAIRS;
    int64_t width = job->params.width;
    double norm;
    float *e = NULL;

    if (!is(job->opt->head_lr, "auto") || job->set.steps == 0) return DIAL_OK;
    e = di_new_array(job->al, (size_t)(2 * n * width), sizeof *e);
    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scale of the head");
    DI_TRY(di_job_embed_pairs(job, &job->source, n, "head", e, err));
    norm = di_rms_norm(e, 2 * n, width);
    if (norm > 0) job->set.head_lr = job->opt->lr / norm;
done:
    di_free(job->al, e);
    return st;
}

static dial_status evaluate(void *ctx, int64_t step, dial_error *err)
{
    return di_job_evaluate(ctx, step, 0, NULL, err);
}

/* Before each step: the snapshot that is due, then what is renewed on the way. */
static dial_status before_step(void *ctx, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (step > 0) DI_TRY(di_job_snapshot(ctx, step, err)); /* begin took that of step 0 */
    DI_TRY(di_job_renew(ctx, step, err));
done:
    return st;
}

static json_t *start_event(const di_train_job *job)
{
    return json_pack("{s:s, s:s, s:O, s:s, s:s, s:i, s:i, s:I}", "event", "start", "dial_version",
                     DIAL_VERSION, "flags", job->flags, "device", job->base.dev.isa, "dtype",
                     job->base.dev.act == DI_BF16 ? "bf16" : "f32", "threads",
                     job->base.dev.threads, "ranks", job->set.ranks, "steps",
                     (json_int_t)job->set.steps);
}

/* Opens journal and loop: fresh, or from the latest checkpoint. */
static dial_status begin(di_train_job *job, const char *checkpoint, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(job->al, job->opt->out, "metrics.jsonl");

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    job->loop =
        (di_loop){.al = job->al,
                  .env = job->env,
                  .trainer = job->trainer,
                  .journal = &job->journal,
                  .run = job->opt->out,
                  .base_name = job->base.base_path,
                  .flags = job->flags,
                  .steps = job->set.steps,
                  .save_every = job->save_every,
                  .first_pass = job->first_pass,
                  .eval_every = job->opt->eval_every,
                  .early_stop = job->opt->early_stop,
                  .critic_lr = job->kind != NULL && job->kind->critic ? job->opt->critic_lr : NAN,
                  .renew = before_step,
                  .validate = di_job_validate,
                  .choose = di_job_choose,
                  .evaluate = evaluate,
                  .ctx = job,
                  .history = json_array()};
    if (job->loop.history == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the history");
    if (checkpoint != NULL) DI_TRY(di_loop_resume(&job->loop, checkpoint, err));
    if (di_dist_of(job->env)->rank == 0)
        DI_TRY(di_journal_open(&job->journal, job->al, path, checkpoint != NULL ? step : -1, err));
    if (di_dist_of(job->env)->rank == 0 && job->opt->tensorboard)
        DI_TRY(di_events_open(&job->journal.events, job->al, job->opt->out,
                              checkpoint != NULL ? step : -1, err));
    if (checkpoint != NULL) {
        di_log(job->env, DIAL_LOG_INFO, "continuing from step %lld", (long long)step);
        goto done;
    }
    DI_TRY(di_journal_write(&job->journal, start_event(job), err));
    DI_TRY(di_job_probe_head(job, err));
    DI_TRY(di_job_fit_scale(job, err));
    DI_TRY(di_job_start_critic(job, err));
    DI_TRY(di_job_snapshot(job, 0, err));
    DI_TRY(di_trainer_warm_critic(job->trainer, err));
done:
    di_free(job->al, path);
    return st;
}

/* Means of the step lines of the last tenth of the run, read back from the journal. */
typedef struct tail {
    int64_t from, n;
    json_t *sum;
    int failed;
} tail;

static int add_to_tail(void *ctx, const json_t *line)
{
    tail *t = ctx;
    const char *event = json_string_value(json_object_get(line, "event")), *key;
    json_t *v;

    if (event == NULL || strcmp(event, "step") != 0 ||
        json_integer_value(json_object_get(line, "step")) <= t->from)
        return 1;
    t->n++;
    json_object_foreach ((json_t *)(uintptr_t)line, key, v) {
        if (!json_is_number(v) || strcmp(key, "step") == 0) continue;
        di_json_put(
            t->sum, key,
            json_real(json_number_value(v) + json_number_value(json_object_get(t->sum, key))),
            &t->failed);
    }
    return 1;
}

static dial_status tail_of(di_train_job *job, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t steps = di_trainer_steps_done(job->trainer);
    tail t = {.from = steps - (steps + 9) / 10, .sum = json_object()};
    const char *key;
    json_t *v;
    void *next;

    DI_TRY(di_journal_read(job->al, job->journal.path, add_to_tail, &t, err));
    json_object_foreach_safe(t.sum, next, key, v)
        di_json_put(t.sum, key, di_json_stat(json_number_value(v) / (double)t.n), &t.failed);
    if (t.failed || t.sum == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the last steps");
    *out = json_incref(t.sum);
done:
    json_decref(t.sum);
    return st;
}

/* The chosen checkpoint's adapter and head into params. */
static dial_status take_choice(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dist *d = di_dist_of(job->env);
    char *dir = NULL;

    job->selected_step = 0;
    if (json_array_size(job->loop.history) == 0) return DIAL_OK;
    DI_TRY(di_job_choose(job, job->loop.history, &job->selected_step, err));
    if (job->take >= 0)
        job->selected_step = job->take;
    else if (job->fell_back)
        di_log(job->env, DIAL_LOG_WARN,
               "no checkpoint passes every gate of --select %s: the rule `earliest` decides",
               di_job_selected_by(job));
    dir = di_checkpoint_dir(job->al, job->opt->out, job->selected_step);
    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (d->rank == 0) st = di_adapter_load(job->al, dir, &job->params, err);
    DI_TRY(di_dist_agree(d, st, err));
    DI_TRY(di_dist_broadcast(d, job->params.theta,
                             (size_t)job->params.size * sizeof *job->params.theta, err));
done:
    di_free(job->al, dir);
    return st;
}

/* Counts of all files of a side together; null for none. */
static json_t *counts_of(const di_file_set *f)
{
    di_row_counts sum = {.read = 0};

    for (int i = 0; i < f->n; i++) di_row_counts_add(&sum, &f->set[i]->counts);
    return f->n > 0 ? di_row_counts_to_json(&sum) : json_null();
}

static dial_status finish(di_train_job *job, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *evals = NULL, *selftest = NULL, *stats = NULL, *mean = NULL, *doc = NULL, *end = NULL;
    struct rusage use;
    int64_t steps = di_trainer_steps_done(job->trainer);

    DI_TRY(di_job_snapshot(job, steps, err)); /* of the last step, where an epoch ends with it */
    DI_TRY(take_choice(job, err));
    DI_TRY(di_job_write_reference(job, err)); /* before what reads the matched reward */
    DI_TRY(di_job_evaluate(job, job->selected_step, 1, &evals, err));
    DI_TRY(di_job_write_maps(job, job->selected_step, err));
    DI_TRY(di_job_reward_stats(job, &stats, err));
    DI_TRY(di_job_selftest(job, &selftest, err));
    if (di_dist_of(job->env)->rank > 0) goto done; /* the rest is files */
    DI_TRY(tail_of(job, &mean, err));
    getrusage(RUSAGE_SELF, &use);
    doc = json_pack(
        "{s:s, s:s, s:s, s:I, s:o, s:s, s:I, s:s, s:o, s:I, s:o, s:I, s:n, s:O, s:O, s:{s:o, s:o}, "
        "s:O}",
        "schema", "dial.train/1", "out", job->opt->out, "method", job->opt->method, "steps",
        (json_int_t)steps, "epochs",
        di_json_stat(json_number_value(json_object_get(mean, "epoch"))), "stopped",
        job->loop.stopped, "selected_step", (json_int_t)job->selected_step, "selected_by",
        di_job_selected_by(job), "seconds", di_json_stat(job->loop.seconds), "tokens",
        (json_int_t)job->loop.tokens, "tokens_per_second",
        di_json_stat((double)job->loop.tokens / job->loop.seconds), "peak_memory_bytes",
        (json_int_t)use.ru_maxrss * 1024, "peak_device_bytes", "train", mean, "eval", evals, "rows",
        "source", counts_of(&job->source_files), "target", counts_of(&job->target_files),
        "warnings", job->warnings);
    if (doc != NULL && job->match.applied)
        di_json_put(doc, "match",
                    json_pack("{s:f, s:f}", "shift", job->match.shift, "scale", job->match.scale),
                    &job->warnings_failed);
    if (doc != NULL && job->labelled.n > 0)
        di_json_put(json_object_get(doc, "rows"), "target_labelled",
                    counts_of(&job->labelled_files), &job->warnings_failed);
    if (doc == NULL || job->warnings_failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    end = json_pack("{s:s}", "event", "end");
    end = di_json_whole(end, json_object_update(end, doc) != 0);
    if (end == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    DI_TRY(di_journal_write(&job->journal, end, err));
    DI_TRY(di_journal_sync(&job->journal, err));
    if (job->selected_step > 0)
        DI_TRY(
            di_checkpoint_prune(job->al, job->opt->out, job->opt->keep, job->selected_step, err));
    DI_TRY(di_run_write(job, evals, selftest, stats, 1, err));
    *out = json_incref(doc);
done:
    json_decref(evals);
    json_decref(selftest);
    json_decref(stats);
    json_decref(mean);
    json_decref(doc);
    return st;
}

/* --overfit: every training row must have been learnt. */
static dial_status check_overfit(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    double *loss = di_new_array(job->al, (size_t)job->source.n, sizeof *loss), accuracy = 0;

    if (loss == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the check");
    DI_TRY(di_job_losses(job, &job->source, "overfit check", loss, &accuracy, err));
    if (accuracy < 1 - 1e-9)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, "--overfit", "give more --steps or a larger --lr",
                   "%.1f of %lld training rows are not ordered as labelled",
                   (1 - accuracy) * (double)job->source.n, (long long)job->source.n);
done:
    di_free(job->al, loss);
    return st;
}

static void job_close(di_train_job *job)
{
    di_journal_close(&job->journal);
    json_decref(job->loop.history);
    di_trainer_free(job->trainer);
    di_alignment_free(job->align);
    di_embedder_free(job->embedder);
    di_trunk_job_close(&job->trunk);
    di_trunk_free(job->frozen);
    di_free(job->al, job->near);
    if (job->teacher.al != NULL) di_session_close(&job->teacher);
    di_decoder_free(job->decoder);
    if (job->has_params) di_params_deinit(&job->params);
    di_job_free_data(job);
    di_session_close(&job->base);
    json_decref(job->flags);
    json_decref(job->view);
    json_decref(job->warnings);
}

static dial_status required(const dial_train_options *o, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *missing = o->base == NULL && o->resume_from == NULL             ? "base"
                          : o->source.n == 0 && !is(o->method, "oracle-target") ? "source"
                          : o->out == NULL                                      ? "out"
                                                                                : NULL;
    int two_sided = di_align_find(o->method) != NULL || is(o->method, "oracle") ||
                    is(o->method, "oracle-target") || is(o->method, "ssrm") ||
                    is(o->method, "iw") || is(o->method, "tgt-ntp");

    if (missing != NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", missing), "see dial train --help",
                   "the flag is required");
    if (o->base != NULL && o->resume_from != NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--base, --resume-from", "give one of them",
                   "both say where the training starts");
    if (is(o->common.weights, "int8"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--weights",
                   "train with --weights auto; score, eval and serve take int8",
                   "expected auto, found int8: a product in 8 bits has no gradient");
    if (two_sided && o->target.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--target", "add --target FILE, or --method src-pref",
                   "method %s needs rows of the target domain", o->method);
done:
    return st;
}

/*
 * Where --resume continues, NULL for a new run, and state.json there. Rank 0 looks and tells the
 * others, which need not see the run's folder.
 */
static dial_status find_checkpoint(di_train_job *job, char **checkpoint, int64_t *step,
                                   json_t **resumed, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dist *d = di_dist_of(job->env);
    char *path = NULL, *text = NULL;
    size_t n;

    if (!job->opt->resume) return DIAL_OK;
    if (d->rank == 0) st = di_checkpoint_latest(job->al, job->opt->out, step, checkpoint, err);
    if (st == DIAL_OK && *checkpoint != NULL) {
        path = di_path_join(job->al, *checkpoint, "state.json");
        st = path != NULL ? di_read_file(job->al, path, &text, &n, err) : DIAL_ERR_NOMEM;
    }
    DI_TRY(di_dist_agree(d, st, err));
    DI_TRY(di_dist_broadcast(d, step, sizeof *step, err));
    DI_TRY(di_dist_broadcast_text(d, job->al, checkpoint, err));
    DI_TRY(di_dist_broadcast_text(d, job->al, &text, err));
    if (text == NULL) goto done;
    DI_TRY(di_json_parse(text, strlen(text), *checkpoint, 1, resumed, err));
    DI_TRY(same_flags(job, json_object_get(*resumed, "flags"), err));
done:
    di_free(job->al, path);
    di_free(job->al, text);
    return st;
}

/* All ranks have read the same rows: each computes a part of every step of them. */
static dial_status same_rows(const di_train_job *job, dial_error *err)
{
    const di_file_set *list[] = {&job->source_files, &job->target_files, &job->heldout_files,
                                 &job->eval_files, &job->labelled_files};
    uint64_t h = (uint64_t)job->source.n;

    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        for (int i = 0; i < list[k]->n; i++)
            for (int64_t t = 0; t < list[k]->set[i]->n_seq; t++)
                h = (h ^ list[k]->set[i]->seq[t].hash) * 0x100000001b3u;
    return di_dist_same(di_dist_of(job->env), h, "the rows of --source, --target or --eval",
                        "give every machine the same files, or a folder that all of them see", err);
}

/* Everything up to the first step. *checkpoint: where --resume continues, or NULL. */
static dial_status prepare(di_train_job *job, char **checkpoint, int64_t *step, json_t **resumed,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const di_dist *d = di_dist_of(job->env);

    DI_TRY(required(o, err));
    DI_TRY(di_job_open_base(job, err));
    o = job->opt;
    DI_TRY(di_plan_settings(job, err));
    DI_TRY(di_job_find_sources(job, err));
    DI_TRY(flags_json(job, err));
    if (!o->dry_run && d->rank == 0) st = prepare_out(job, err);
    DI_TRY(di_dist_agree(d, st, err));
    DI_TRY(find_checkpoint(job, checkpoint, step, resumed, err));
    DI_TRY(di_job_load_data(job, err));
    DI_TRY(di_job_check_sources(job, err));
    DI_TRY(same_rows(job, err));
    DI_TRY(di_job_choose_view(job, *resumed, err));
    di_job_settle_start(job);
    if (job->mode == DI_MODE_ORACLE_TARGET && o->source.n > 0)
        di_log(job->env, DIAL_LOG_INFO, "method oracle-target reads no source rows");
    if (d->size > o->batch_source)
        di_log(job->env, DIAL_LOG_WARN,
               "%d ranks for %lld source rows a step: some have nothing to do; raise "
               "--batch-source and --batch-target",
               d->size, (long long)o->batch_source);
    DI_TRY(new_model(job, err));
    DI_TRY(di_plan_steps(job, json_object_get(*resumed, "flags"), err));
    if (json_object_set_new(job->flags, "plan",
                            json_pack("{s:I, s:b}", "micro_batch", (json_int_t)job->set.micro_texts,
                                      "grad_checkpoint", job->set.grad_checkpoint)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the plan");
    if (job->view != NULL &&
        json_object_set(json_object_get(job->flags, "plan"), "view", job->view) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the plan");
    if (job->set.steps < *step)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--steps", "give more steps",
                   "the run to resume is at step %lld already", (long long)*step);
done:
    return st;
}

/* resumed: a checkpoint holds what is looked at but once. */
static dial_status new_trainer(di_train_job *job, int resumed, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_embedder_new(&job->base.dev, job->decoder, di_job_eval_rows(job),
                           job->base.policy.max_length, &job->embedder, err));
    DI_TRY(di_job_fill_trunk(job, err));
    DI_TRY(scale_head_lr(job, err));
    DI_TRY(di_job_new_alignment(job, err));
    DI_TRY(di_job_freeze(job, err));
    DI_TRY(di_job_settle_parallel(job, err));
    DI_TRY(di_job_open_teacher(job, err));
    DI_TRY(di_job_order_target(job, resumed || job->opt->dry_run, err));
    DI_TRY(di_trainer_new(&job->base.dev, job->decoder, &job->params, job->align, &job->set,
                          job->side, &job->trainer, err));
done:
    return st;
}

/* The document, from rank 0; takes over the reference (NULL elsewhere, or as it is there). */
static dial_status hand_out(const di_train_job *job, json_t *doc, char **json, dial_error *err)
{
    if (di_dist_of(job->env)->rank == 0) return di_document(job->al, doc, json, err);
    json_decref(doc);
    return DIAL_OK;
}

/* take: di_train_job. */
static dial_status run(const dial_train_options *options, int judged, int64_t take,
                       const dial_env *env, char **json, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_train_job job = {
        .opt = options, .env = env, .al = di_env_alloc(env), .judged = judged, .take = take};
    json_t *doc = NULL, *resumed = NULL;
    char *checkpoint = NULL;
    int64_t step = -1;
    int fits = 1, over;

    job.warnings = json_array();
    DI_TRY(prepare(&job, &checkpoint, &step, &resumed, err));
    if (options->dry_run) {
        over = !di_plan_fits(&job);
        DI_TRY(di_dist_any(di_dist_of(env), &over, err));
        fits = !over;
        if (fits && job.set.steps > 0) DI_TRY(new_trainer(&job, 0, err));
        DI_TRY(di_plan_document(&job, fits, &doc, err));
        DI_TRY(hand_out(&job, doc, json, err));
        if (!fits) DI_FAIL(err, DIAL_ERR_CHECK, "the run does not fit the memory that is free");
        goto done;
    }
    DI_TRY(new_trainer(&job, checkpoint != NULL, err));
    di_show_tokens(&job.base, job.source.set[0], options->common.show_tokens);
    DI_TRY(begin(&job, checkpoint, step, err));
    DI_TRY(di_loop_run(&job.loop, err));
    DI_TRY(finish(&job, &doc, err));
    DI_TRY(hand_out(&job, doc, json, err));
    if (options->overfit > 0) DI_TRY(check_overfit(&job, err));
done:
    st = di_dist_leave(di_dist_of(env), st, err);
    json_decref(resumed);
    di_free(job.al, checkpoint);
    job_close(&job);
    return st;
}

dial_status dial_train(const dial_train_options *options, const dial_env *env, char **json,
                       dial_error *err)
{
    return run(options, 0, -1, env, json, err);
}

dial_status di_train_judged(const dial_train_options *options, int64_t step, const dial_env *env,
                            char **json, dial_error *err)
{
    return run(options, 1, step, env, json, err);
}

dial_status di_train_check(const dial_train_options *options, const dial_env *env, dial_error *err)
{
    dial_status st = DIAL_OK;
    dial_train_options shape_alone = *options;
    di_train_job job = {.opt = &shape_alone, .env = env, .al = di_env_alloc(env)};

    shape_alone.dry_run = 1;
    DI_TRY(required(&shape_alone, err));
    DI_TRY(di_job_open_base(&job, err));
    DI_TRY(di_plan_settings(&job, err));
done:
    job_close(&job);
    return st;
}

dial_status di_train_fill_trunk(const dial_train_options *options, const dial_env *env,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    di_train_job job = {.opt = options, .env = env, .al = di_env_alloc(env)};
    const di_file_set *files[] = {&job.source_files, &job.target_files, &job.heldout_files,
                                  &job.eval_files};

    job.warnings = json_array();
    DI_TRY(di_job_open_base(&job, err));
    DI_TRY(di_plan_settings(&job, err));
    DI_TRY(di_job_load_data(&job, err));
    DI_TRY(di_job_choose_view(&job, NULL, err));
    DI_TRY(new_model(&job, err));
    job.set.steps = 1; /* how many is not known yet; that there are some is enough */
    if (!di_job_stores_trunk(&job)) goto done;
    DI_TRY(di_embedder_new(&job.base.dev, job.decoder, options->common.batch_tokens,
                           job.base.policy.max_length, &job.embedder, err));
    DI_TRY(di_trunk_job_open(&job.trunk, &job.base, job.embedder, job.decoder, options->trunk_cache,
                             options->trunk_cache_max, err));
    if (job.trunk.dir == NULL) goto done; /* nothing is kept */
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        DI_TRY(di_job_fill_files(&job, files[k], NULL, 0, err));
done:
    job_close(&job);
    return st;
}
