#include "api/card.h"
#include "api/train_job.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/file.h"
#include "report/markup.h"

static dial_status write_text(di_train_job *job, const char *name, const di_buf *b, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(job->al, job->opt->out, name);

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_buf_status(b, err));
    DI_TRY(di_write_file(job->al, path, b->data, b->size, err));
done:
    di_free(job->al, path);
    return st;
}

/* Tokenizer files: byte for byte from a Hugging Face folder, an equivalent one from a GGUF file. */
static dial_status write_tokenizer(di_train_job *job, char sha[65], dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "chat_template.jinja"};
    int hf = strcmp(di_source_kind(job->base.source), "hf") == 0;
    di_buf b;
    char *path = NULL, *text = NULL;
    size_t n;

    di_buf_init(&b, job->al);
    if (!hf) {
        DI_TRY(di_tokenizer_write_hf(job->base.tok, &b, err));
        di_sha256(b.data, b.size, sha);
        DI_TRY(write_text(job, files[0], &b, err));
    }
    for (size_t i = 0; hf && i < sizeof files / sizeof *files; i++) {
        path = di_path_join(job->al, di_source_path(job->base.source), files[i]);
        if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        if (di_exists(path)) {
            DI_TRY(di_read_file(job->al, path, &text, &n, err));
            b.size = 0;
            di_buf_append(&b, text, n);
            if (i == 0) di_sha256(text, n, sha);
            di_free(job->al, text);
            text = NULL;
            DI_TRY(write_text(job, files[i], &b, err));
        }
        di_free(job->al, path);
        path = NULL;
    }
done:
    di_buf_deinit(&b);
    di_free(job->al, path);
    di_free(job->al, text);
    return st;
}

static json_t *files_json(const di_file_set *f, int64_t heldout)
{
    json_t *list = json_array();
    int failed = 0;

    for (int i = 0; i < f->n; i++) {
        json_t *o = json_pack("{s:s, s:s, s:o}", "path", f->set[i]->path, "sha256",
                              f->set[i]->sha256, "rows", di_row_counts_to_json(&f->set[i]->counts));

        if (f->name[i] != NULL) di_json_put(o, "name", json_string(f->name[i]), &failed);
        if (heldout >= 0) di_json_put(o, "heldout", json_integer(heldout), &failed);
        di_json_add(list, o, &failed);
    }
    return di_json_whole(list, failed);
}

static json_t *lora_json(const di_lora_options *l)
{
    json_t *targets = json_array();
    int failed = 0;

    for (int i = 0; i < DI_LINEAR_COUNT; i++)
        if (l->targets >> i & 1) di_json_add(targets, json_string(di_linear_name[i]), &failed);
    targets = di_json_whole(targets, failed);
    return json_pack("{s:I, s:o, s:o, s:I, s:I, s:o}", "r", (json_int_t)l->r, "alpha",
                     json_real((double)l->alpha), "targets", targets, "first_layer",
                     (json_int_t)l->first_layer, "end_layer", (json_int_t)l->end_layer, "adaptor",
                     l->adaptor_r > 0 ? json_pack("{s:I, s:s}", "r", (json_int_t)l->adaptor_r,
                                                  "kind", l->adaptor_tanh ? "tanh" : "linear")
                                      : json_null());
}

static dial_status base_json(di_train_job *job, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_config *c = di_source_config(job->base.source);
    json_t *hashes = json_object();

    DI_TRY(di_source_hashes(job->base.source, hashes, err));
    *out = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "path", job->base.base_path, "kind",
                     di_source_kind(job->base.source), "arch", c->arch, "hidden_size",
                     (json_int_t)c->width, "num_layers", (json_int_t)c->layers, "sha256", hashes);
    hashes = NULL;
done:
    json_decref(hashes);
    return st;
}

/* What a method without a critic has none of. */
static void clear_critic(json_t *method, int *failed)
{
    static const char *const of_critic[] = {
        "critic",    "critic_widths", "critic_iters",      "critic_lr",
        "critic_wd", "critic_warmup", "critic_iters_early"};

    for (size_t i = 0; i < sizeof of_critic / sizeof *of_critic; i++)
        di_json_put(method, of_critic[i], json_null(), failed);
}

/* The options of the method at hand that no other has. */
static void add_method_options(const dial_train_options *o, json_t *method, int *failed)
{
    static const struct {
        const char *method, *flag;
    } own[] = {
        {"mean", "mean-form"},          {"mean", "gp"},
        {"mmd", "mmd-kernel"},          {"mmd", "mmd-estimator"},
        {"mmd", "mmd-scales"},          {"coral", "coral-mean"},
        {"cmd", "cmd-moments"},         {"swd", "projections"},
        {"sinkhorn", "sinkhorn-eps"},   {"sinkhorn", "sinkhorn-iters"},
        {"sinkhorn", "sinkhorn-rho"},   {"deepjdot", "jdot-weights"},
        {"deepjdot", "jdot-plan"},      {"deepjdot", "sinkhorn-eps"},
        {"deepjdot", "sinkhorn-iters"}, {"dann", "domain-smoothing"},
        {"cdan", "domain-smoothing"},   {"contrastive", "contrast-temperature"},
    };

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        for (const dial_option *row = dial_train_table; row->name != NULL; row++) {
            const char *at = (const char *)o + row->offset;
            char key[64];

            if (strcmp(own[i].method, o->method) != 0 || strcmp(own[i].flag, row->name) != 0)
                continue;
            snprintf(key, sizeof key, "%s", row->name);
            for (char *c = key; *c != '\0'; c++) *c = *c == '-' ? '_' : *c;
            di_json_put(method, key,
                        row->type == DIAL_OPT_INT ? json_integer((json_int_t) * (const int64_t *)at)
                        : row->type == DIAL_OPT_REAL ? json_real(*(const double *)at)
                                                     : json_string(*(const char *const *)at),
                        failed);
        }
}

static json_t *method_json(const di_train_job *job)
{
    const dial_train_options *o = job->opt;
    int failed = 0;
    json_t *method = json_pack(
        "{s:s, s:s, s:f, s:s, s:s, s:s, s:s, s:I, s:f, s:f, s:I, s:f, s:s, s:s, s:f, "
        "s:s}",
        "name", o->method, "preset", o->preset, "lambda", o->lambda, "lambda_ramp", o->lambda_ramp,
        "update", o->update, "critic", o->critic, "critic_widths", o->critic_widths, "critic_iters",
        (json_int_t)o->critic_iters, "critic_lr", o->critic_lr, "critic_wd", o->critic_wd,
        "critic_warmup", (json_int_t)o->critic_warmup, "gp", o->gp, "gp_kind", o->gp_kind,
        "align_on", job->align_options.on_delta ? "delta" : "embedding", "align_share",
        job->align_options.share, "embed_norm", o->embed_norm);

    di_json_put(method, "queue", json_integer((json_int_t)o->queue), &failed);
    if (job->align_options.on_delta)
        di_json_put(method, "delta_kind", json_string(o->delta_kind), &failed);
    di_json_put(method, "align_start", json_integer((json_int_t)job->set.align_start), &failed);
    di_json_put(method, "objective", json_string(di_job_objective(job)), &failed);
    di_json_put(method, "center", json_real(job->set.center), &failed);
    di_json_put(method, "center_form", json_string(o->center_form), &failed);
    di_json_put(method, "center_rows", json_string(o->center_rows), &failed);
    di_json_put(method, "label_smoothing", json_real(o->label_smoothing), &failed);
    di_json_put(method, "margin", json_string(o->margin), &failed);
    if (job->set.curriculum.bins > 0)
        di_json_put(method, "curriculum", di_job_curriculum_json(job), &failed);
    di_json_put(method, "critic_iters_early", json_string(o->critic_iters_early), &failed);
    di_json_put(method, "gp_points", json_string(o->gp_points), &failed);
    if (job->kind != NULL && !job->kind->critic) clear_critic(method, &failed);
    if (job->kind != NULL && strcmp(o->method, "dial") != 0) {
        di_json_put(method, "gp", json_null(), &failed);
        di_json_put(method, "gp_kind", json_null(), &failed);
        di_json_put(method, "gp_points", json_null(), &failed);
    }
    add_method_options(o, method, &failed);
    return di_json_whole(method, failed);
}

static json_t *optim_json(const di_train_job *job)
{
    const dial_train_options *o = job->opt;

    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:s, s:I, s:I, s:I, s:I, s:b}", "lr", o->lr,
                     "head_lr", job->set.head_lr, "weight_decay", o->weight_decay, "clip", o->clip,
                     "sam", o->sam, "schedule", o->schedule, "warmup", (json_int_t)job->set.warmup,
                     "batch_source", (json_int_t)o->batch_source, "batch_target",
                     (json_int_t)o->batch_target, "micro_batch", (json_int_t)job->set.micro_texts,
                     "grad_checkpoint", job->set.grad_checkpoint);
}

/* How it is used, and what it cannot say. */
static void card_use(const di_train_job *job, di_buf *b)
{
    const char *cut = job->base.layers < di_source_config(job->base.source)->layers
                          ? " cut to its first blocks (`layer` in dial.json)"
                          : "";

    if (job->set.loss.classes > 0) {
        di_buf_printf(
            b,
            "\n## Use\n\n    dial eval --model %s --data FILE\n\nThe folder is also a PEFT "
            "adapter (SEQ_CLS, %lld labels) of the base model%s.\n\n## Limits\n\nIt tells "
            "classes apart and has no reward: `dial eval`, `embed` and `info` read it, "
            "nothing else does.\n",
            job->opt->out, (long long)job->set.loss.classes, cut);
        return;
    }
    di_buf_printf(b,
                  "\n## Use\n\n    dial score --model %s --prompt 'P' --response 'R'\n\nThe folder "
                  "is also a PEFT adapter (SEQ_CLS, one label) of the base model%s%s.\n\n## "
                  "Limits\n\nRewards compare responses to one prompt; their zero means nothing. "
                  "A full flip of the preference between the "
                  "domains cannot be seen without target labels.\n",
                  job->opt->out, cut,
                  job->lora.adaptor_tanh ? ", but for its tanh adaptor: dial alone scores it" : "");
}

/* The model card: what the run is, what it was measured to be, how to use it, its limits. */
static dial_status write_card(di_train_job *job, const json_t *evals, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    int reads = job->mode >= DI_MODE_ORACLE || job->rule == DI_SELECT_NAMED;
    json_t *list = NULL, *r;
    const char *name;
    int failed = 0;
    di_buf b;

    di_buf_init(&b, job->al);
    list = json_array();
    json_object_foreach ((json_t *)(uintptr_t)evals, name, r)
        di_json_add(list, json_incref(r), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the model card");
    di_buf_printf(&b,
                  "---\nlibrary_name: peft\ntags: [reward-model, dial]\n---\n\n# Reward model: "
                  "%s on %s\n\nTrained by dial %s: method `%s`, seed %lld, %lld steps; the "
                  "checkpoint of step %lld was chosen by `%s`, which reads %s.\n\n",
                  o->method, job->base.base_path, DIAL_VERSION, o->method,
                  (long long)o->common.seed, (long long)job->set.steps,
                  (long long)job->selected_step, di_job_selected_by(job),
                  reads ? "labels" : "no target label");
    di_buf_printf(&b,
                  "## Data\n\n| side | file | rows used | SHA-256 |\n| --- | --- | --- | --- |\n");
    for (int side = 0; side < 2; side++) {
        const di_file_set *f = side == 0 ? &job->source_files : &job->target_files;

        for (int i = 0; i < f->n; i++)
            di_buf_printf(&b, "| %s | %s | %lld | %.16s... |\n", side == 0 ? "source" : "target",
                          f->set[i]->path, (long long)f->set[i]->counts.used, f->set[i]->sha256);
    }
    di_buf_printf(&b, "\nTarget labels: %s.\n\n",
                  job->mode >= DI_MODE_ORACLE ? "read (oracle)" : "dropped while reading");
    if (job->labelled.n > 0)
        di_buf_printf(&b, "Labelled target rows trained on: %lld, of %s.\n\n",
                      (long long)job->labelled.n, job->labelled_files.set[0]->path);
    di_puts(&b, DI_CARD_RESULTS "\n\n");
    di_card_results(list, NULL, &b);
    di_puts(&b, "\n" DI_CARD_DOCTOR "\n\n");
    di_card_doctor(NULL, &b);
    card_use(job, &b);
    DI_TRY(write_text(job, "README.md", &b, err));
done:
    json_decref(list);
    di_buf_deinit(&b);
    return st;
}

/* --target-labelled; null without. */
static json_t *labelled_json(const di_train_job *job)
{
    json_t *list, *one;
    int failed = 0;

    if (job->labelled_files.n == 0) return json_null();
    list = files_json(&job->labelled_files, -1);
    one = json_incref(json_array_get(list, 0));
    json_decref(list);
    di_json_put(one, "weight", json_real(job->set.labelled_weight), &failed);
    return di_json_whole(one, failed);
}

/* base: handed over. */
static json_t *run_json(di_train_job *job, const char *sha, const json_t *selftest,
                        const json_t *reward_stats, int finished, json_t *base)
{
    char created[32];
    time_t t = time(NULL);
    struct tm utc;
    int failed = 0;
    int scores = job->set.loss.objective == DI_OBJECTIVE_MSE; /* --normalize: in their unit */
    json_t *run = json_object(), *data;

    gmtime_r(&t, &utc);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc);
    di_json_put(run, "schema", json_string("dial.run/1"), &failed);
    di_json_put(run, "dial_version", json_string(DIAL_VERSION), &failed);
    di_json_put(run, "created", json_string(created), &failed);
    di_json_put(run, "base", base, &failed);
    di_json_put(run, "start", di_job_start_json(job), &failed);
    di_json_put(run, "text", di_text_policy_to_json(&job->base.policy, sha), &failed);
    di_json_put(run, "layer", json_integer(job->base.layers), &failed);
    di_json_put(run, "pooling", json_string(job->base.pooling == DI_POOL_MEAN ? "mean" : "last"),
                &failed);
    di_json_put(run, "head",
                json_pack("{s:s, s:b, s:f, s:f, s:b}", "name", "score", "bias", 0, "shift",
                          job->match.applied ? job->match.shift
                          : scores           ? job->set.loss.score_mean
                                             : 0.0,
                          "scale",
                          job->match.applied ? job->match.scale
                          : scores           ? job->set.loss.score_sd
                                             : 1.0,
                          "applied", job->match.applied),
                &failed);
    if (job->set.loss.classes > 0)
        di_json_put(json_object_get(run, "head"), "classes", json_integer(job->set.loss.classes),
                    &failed);
    di_json_put(run, "lora", lora_json(&job->lora), &failed);
    di_json_put(run, "method", method_json(job), &failed);
    di_json_put(run, "optim", optim_json(job), &failed);
    di_json_put(run, "seed", json_integer(job->opt->common.seed), &failed);
    data = json_pack("{s:o, s:o, s:s, s:o, s:o}", "source",
                     files_json(&job->source_files, job->held_rows), "target",
                     files_json(&job->target_files, -1), "target_labels",
                     job->mode >= DI_MODE_ORACLE ? "read" : "dropped", "target_labelled",
                     labelled_json(job), "eval", files_json(&job->eval_files, -1));
    if (job->parallel.rows.n > 0)
        di_json_put(data, "parallel",
                    json_pack("{s:I, s:f}", "rows", (json_int_t)job->parallel.rows.n, "weight",
                              job->set.consistency),
                    &failed);
    di_json_put(run, "data", data, &failed);
    di_json_put(run, "progress",
                json_pack("{s:I, s:b, s:I, s:s}", "step",
                          (json_int_t)di_trainer_steps_done(job->trainer), "finished", finished,
                          "selected_step", (json_int_t)job->selected_step, "selected_by",
                          di_job_selected_by(job)),
                &failed);
    if (selftest != NULL)
        di_json_put(run, "selftest", json_incref((json_t *)(uintptr_t)selftest), &failed);
    if (reward_stats != NULL)
        di_json_put(run, "reward_stats", json_incref((json_t *)(uintptr_t)reward_stats), &failed);
    di_json_put(run, "flags", json_incref(job->flags), &failed);
    return di_json_whole(run, failed);
}

dial_status di_run_write(di_train_job *job, const json_t *evals, const json_t *selftest,
                         const json_t *reward_stats, int finished, dial_error *err)
{
    dial_status st = DIAL_OK;
    char sha[65] = "";
    json_t *run = NULL, *base = NULL;
    di_buf b;

    di_buf_init(&b, job->al);
    DI_TRY(di_adapter_save(&job->params, job->opt->out, job->base.base_path, err));
    DI_TRY(write_tokenizer(job, sha, err));
    DI_TRY(write_card(job, evals, err));
    DI_TRY(base_json(job, &base, err));
    run = run_json(job, sha, selftest, reward_stats, finished, base);
    if (run == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to describe the run '%s'", job->opt->out);
    DI_TRY(di_json_write(run, &b, err));
    di_buf_append(&b, "\n", 1);
    DI_TRY(write_text(job, "dial.json", &b, err)); /* last: its presence says that all is there */
done:
    json_decref(run);
    di_buf_deinit(&b);
    return st;
}
