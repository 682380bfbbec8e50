/* dial_export: a run in the formats of other projects, and proof that it scores as before. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/export_job.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/npy.h"
#include "model/adaptor.h"

static int is(const di_export_job *job, const char *to)
{
    return strcmp(job->opt->to, to) == 0;
}

static int is_empty_dir(const di_alloc *al, const char *path)
{
    char **names = NULL;
    size_t n = 1;

    if (!di_is_dir(path) || di_list_dir(al, path, &names, &n, NULL) != DIAL_OK) return 0;
    di_free_names(al, names, n);
    return n == 0;
}

static dial_status check_flags(const di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_export_options *o = job->opt;
    static const char *const required[] = {"--model", "--to", "--out"};
    const char *given[] = {o->model, o->to, o->out};

    for (int i = 0; i < 3; i++)
        if (given[i] == NULL || given[i][0] == '\0')
            DI_FAIL_AT(err, DIAL_ERR_USAGE, required[i], "see dial export --help",
                       "the flag is required");
    if (job->dtype == DI_Q8_0 && !is(job, "gguf"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--dtype q8_0", "use bf16, or --to gguf",
                   "blocks of 8 bits are a type of GGUF files alone");
    if (is(job, "peft") && job->dtype != DI_F32)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--dtype", "leave the flag out",
                   "an adapter is small and always written in f32");
    if (o->base_name != NULL && !is(job, "peft"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--base-name", "leave the flag out",
                   "only an adapter names its base model");
    if (di_exists(o->out) && !o->overwrite && !is_empty_dir(job->al, o->out))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->out, "choose another name, or insist with --overwrite",
                   "the output is there already");
done:
    return st;
}

/* --overwrite must not take away what is exported, or what that stands on. */
static dial_status check_place(const di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *const needed[] = {job->run.path, job->run.base_path};
    char out[PATH_MAX], other[PATH_MAX];

    if (realpath(job->opt->out, out) == NULL) goto done;
    for (int i = 0; i < 2; i++) {
        const size_t n = strlen(out);

        if (realpath(needed[i], other) != NULL && strncmp(other, out, n) == 0 &&
            (other[n] == '\0' || other[n] == '/'))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, job->opt->out, "choose another name",
                       "the output would replace '%s', which is exported", needed[i]);
    }
done:
    return st;
}

/* What the format cannot say of this run. */
static dial_status check_run(const di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_session *s = &job->run;

    if (s->pooling == DI_POOL_MEAN && (is(job, "hf") || is(job, "peft")))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--to %s", job->opt->to), "use --to st",
                   "the run pools by the mean over tokens, and the classes of transformers for "
                   "sequence classification read the last one");
    if (is(job, "peft") && s->merged)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--to peft", "export the run itself",
                   "in '%s' the adapter is already part of the weights", s->path);
done:
    return st;
}

/* The head on e with everything that can go into it, and the shift that cannot. */
static dial_status make_head(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_session *s = &job->run;

    job->head = di_new_array(job->al, (size_t)s->params.width, sizeof *job->head);
    if (job->head == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the head");
    DI_TRY(di_adaptor_fold(&s->params, job->head, err));
    job->scale = s->applied ? s->scale : 1;
    job->shift = s->applied ? s->shift : 0;
    for (int64_t i = 0; i < s->params.width; i++)
        job->head[i] = (float)((double)job->head[i] * job->scale);
done:
    return st;
}

static dial_status write_format(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (is(job, "head"))
        DI_TRY(di_npy_write(job->al, job->tmp, job->head, 1, job->run.params.width, err));
    else if (is(job, "gguf"))
        DI_TRY(di_export_gguf(job, err));
    else if (is(job, "peft"))
        DI_TRY(di_export_peft(job, err));
    else
        DI_TRY(di_export_hf(job, err));
done:
    return st;
}

static json_t *document(const di_export_job *job, json_t *verify)
{
    const dial_export_options *o = job->opt;
    int failed = 0;
    json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:O, s:I}", "schema", "dial.export/1", "to",
                            o->to, "out", o->out, "dtype", o->weights, "files", job->files,
                            "layers", (json_int_t)job->run.layers);

    if (is(job, "hf") || is(job, "st")) {
        di_json_put(doc, "pad_token_id", job->pad >= 0 ? json_integer(job->pad) : json_null(),
                    &failed);
        di_json_put(doc, "pad_changed", json_boolean(job->pad_changed), &failed);
    }
    if (job->shift != 0 && !is(job, "st"))
        di_json_put(doc, "shift_dropped", di_json_stat(job->shift), &failed);
    if (job->window_ignored > 0)
        di_json_put(doc, "window_ignored", json_integer((json_int_t)job->window_ignored), &failed);
    di_json_put(doc, "verify", verify != NULL ? json_incref(verify) : json_null(), &failed);
    return di_json_whole(doc, failed);
}

/* From the temporary name to its own; what was there goes first. */
static dial_status put_in_place(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (di_exists(job->opt->out)) DI_TRY(di_remove_tree(job->opt->out, err));
    DI_TRY(di_rename(job->tmp, job->opt->out, err));
done:
    return st;
}

static dial_status open_job(di_export_job *job, const dial_env *env, dial_error *err)
{
    static const struct {
        const char *name;
        di_dtype type;
    } types[] = {{"f32", DI_F32}, {"f16", DI_F16}, {"bf16", DI_BF16}, {"q8_0", DI_Q8_0}};
    dial_status st = DIAL_OK;
    const dial_export_options *o = job->opt;
    dial_eval_options defaults;

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, o->weights) == 0) job->dtype = types[i].type;
    DI_TRY(check_flags(job, err));
    dial_options_default(dial_eval_table, &defaults, sizeof defaults);
    job->common = defaults.common;
    job->common.device = o->common.device;
    job->common.dtype = "f32";
    job->common.threads = o->common.threads;
    job->common.batch_tokens = o->common.batch_tokens;
    job->common.allow_hash_mismatch = o->common.allow_hash_mismatch;
    job->files = json_array();
    job->tmp = di_new(job->al, strlen(o->out) + 32);
    if (job->files == NULL || job->tmp == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to export");
    snprintf(job->tmp, strlen(o->out) + 32, "%s.tmp-%ld", o->out, (long)getpid());
    DI_TRY(di_session_open(&job->run, o->model, &job->common, DI_NEED_HEAD, NULL, NULL, env, err));
    DI_TRY(check_place(job, err));
    DI_TRY(check_run(job, err));
    DI_TRY(make_head(job, err));
    DI_TRY(
        di_fold_init(&job->fold, job->al, job->run.source, &job->run.params, job->run.layers, err));
done:
    return st;
}

dial_status dial_export(const dial_export_options *o, const dial_env *env, char **json,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    di_export_job job = {.opt = o, .al = di_env_alloc(env), .pad = -1};
    di_export_scores scores = {0};
    json_t *verify = NULL;
    int ok = 1;

    DI_TRY(open_job(&job, env, err));
    DI_TRY(di_session_ready(&job.run, err));
    DI_TRY(di_export_selftest(&job, err));
    if (o->verify) DI_TRY(di_export_scores_of(&job, &scores, err));
    di_session_rest(&job.run);
    DI_TRY(write_format(&job, err));
    if (json_array_size(job.files) == 0) DI_TRY(di_export_list(&job, NULL, err));
    if (o->verify) DI_TRY(di_export_compare(&job, &scores, &verify, &ok, err));
    if (ok) DI_TRY(put_in_place(&job, err));
    DI_TRY(di_document(job.al, document(&job, verify), json, err));
    if (!ok)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, o->out,
                   job.dtype == DI_F32 ? "report this with the document printed"
                                       : "use --dtype f32, or accept it with --no-verify",
                   "the exported model does not score as the run does; it was not kept");
done:
    if (job.tmp != NULL) di_remove_tree(job.tmp, NULL);
    di_export_scores_deinit(&scores);
    di_fold_deinit(&job.fold);
    if (job.run.al != NULL) di_session_close(&job.run);
    json_decref(verify);
    json_decref(job.files);
    json_decref(job.selftest);
    di_free(job.al, job.head);
    di_free(job.al, job.tmp);
    return st;
}
