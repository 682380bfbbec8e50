/*
 * --base RUN and --resume-from RUN: a run that starts where another ended (interfaces.md 1.5). Its
 * step 0 is the other's selected adapter, head and critic; the optimizer is fresh. What a run fixes
 * (layer, pooling, text policy, the shape of its adapter) stays as it is: a flag that has its
 * default gives way to it, another value is refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/train_job.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "dist/dist.h"
#include "train/checkpoint.h"

/* ---- what the run fixes ---- */

static const dial_option *option_of(const char *name)
{
    const dial_option *row = dial_train_table;

    while (strcmp(row->name, name) != 0) row++;
    return row;
}

/* The run's value of a flag, where the flag has its default or says the same. */
static dial_status take_text(const char *flag, const char *asked, const char *own, const char **out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;

    if (!is(asked, own) && !is(asked, option_of(flag)->initial) && !is(asked, "auto"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", flag),
                   "leave the flag out, or start from the base model",
                   "the run to start from fixes it to %s, found %s", own, asked);
    *out = own;
done:
    return st;
}

/* --renew-view: what --layer and --pooling say; auto is settled by di_job_choose_view. */
static dial_status take_view(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;

    if (job->base.params.lora.r > 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--renew-view",
                   "leave it out, or train on the base model with --layer and --pooling",
                   "the LoRA of '%s' is trained for layer %lld", job->base.path,
                   (long long)job->base.layers);
    if (!is(o->layer, "auto"))
        DI_TRY(di_parse_layer(o->layer, di_source_config(job->base.source)->layers,
                              &job->base.layers, err));
    if (!is(o->pooling, "auto"))
        job->base.pooling = is(o->pooling, "mean") ? DI_POOL_MEAN : DI_POOL_LAST;
done:
    return st;
}

/* A depth as text: the same number in any form is fine. */
static dial_status take_layer(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *asked = job->opt->layer;
    int64_t layers = -1;

    if (!is(asked, "auto"))
        DI_TRY(di_parse_layer(asked, di_source_config(job->base.source)->layers, &layers, err));
    snprintf(job->start.layer, sizeof job->start.layer, "%lld", (long long)job->base.layers);
    DI_TRY(take_text("layer", layers == job->base.layers ? job->start.layer : asked,
                     job->start.layer, &job->own.layer, err));
done:
    return st;
}

static dial_status take_lora(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const di_lora_options *l = &job->base.params.lora;
    di_start *s = &job->start;
    size_t n = 0;

    if ((o->lora_r != l->r && o->lora_r != strtoll(option_of("lora-r")->initial, NULL, 10)) ||
        (l->r > 0 && o->lora_alpha != (double)l->alpha &&
         o->lora_alpha != strtod(option_of("lora-alpha")->initial, NULL)))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--lora-r, --lora-alpha",
                   "leave the flags out, or start from the base model",
                   "the run to start from fixes them to %lld and %g", (long long)l->r,
                   (double)l->alpha);
    job->own.lora_r = l->r;
    snprintf(s->adaptor, sizeof s->adaptor, "%lld%s", (long long)l->adaptor_r,
             l->adaptor_tanh ? ":tanh" : "");
    DI_TRY(take_text("adaptor", o->adaptor, s->adaptor, &job->own.adaptor, err));
    if (l->r == 0) goto done;
    job->own.lora_alpha = (double)l->alpha;
    for (int i = 0; i < DI_LINEAR_COUNT; i++)
        if (l->targets >> i & 1)
            n += (size_t)snprintf(s->lora_targets + n, sizeof s->lora_targets - n, "%s%s",
                                  n > 0 ? "," : "", di_linear_name[i]);
    DI_TRY(
        take_text("lora-targets", o->lora_targets, s->lora_targets, &job->own.lora_targets, err));
    if (l->first_layer == 0)
        snprintf(s->lora_layers, sizeof s->lora_layers, "all");
    else
        snprintf(s->lora_layers, sizeof s->lora_layers, "top:%lld",
                 (long long)(l->end_layer - l->first_layer));
    DI_TRY(take_text("lora-layers", o->lora_layers, s->lora_layers, &job->own.lora_layers, err));
done:
    return st;
}

static dial_status take_run(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *pooling = job->base.pooling == DI_POOL_MEAN ? "mean" : "last";
    const json_t *progress = json_object_get(job->base.run, "progress");

    if (job->base.merged)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, job->base.path, "start from the run that it was made of",
                   "an export has its adapter folded into the weights");
    job->own = *job->opt;
    job->start.is_run = 1;
    job->start.step = json_integer_value(json_object_get(progress, "selected_step"));
    job->start.view = (di_view){job->base.layers, job->base.pooling};
    if (job->opt->renew_view) {
        DI_TRY(take_view(job, err));
    } else {
        DI_TRY(take_layer(job, err));
        DI_TRY(take_text("pooling", job->opt->pooling, pooling, &job->own.pooling, err));
    }
    DI_TRY(take_lora(job, err));
    job->own.common.max_length = job->base.policy.max_length;
    job->opt = &job->own;
done:
    return st;
}

dial_status di_job_open_base(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const char *from = o->resume_from != NULL ? o->resume_from : o->base;
    char *file = di_path_join(job->al, from, "dial.json");
    dial_common_options common = o->common;

    if (file == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(file)) {
        if (o->resume_from != NULL)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, from, "name a folder that dial train --out has written",
                       "expected a finished run: there is no dial.json in it");
        DI_TRY(di_session_open(
            &job->base, from, &o->common, o->dry_run ? DI_NEED_SHAPE : DI_NEED_MODEL,
            is(o->layer, "auto") ? "last" : o->layer, o->pooling, job->env, err));
        if (job->base.tok == NULL)
            DI_TRY(di_source_tokenizer(job->base.source, &job->base.tok, err));
        goto done;
    }
    if (o->common.max_length == strtoll(option_of("max-length")->initial, NULL, 10))
        common.max_length = 0; /* that of the run */
    DI_TRY(di_session_open(&job->base, from, &common, DI_NEED_HEAD, NULL, NULL, job->env, err));
    DI_TRY(take_run(job, err));
done:
    di_free(job->al, file);
    return st;
}

/* ---- the run's source files ---- */

static const json_t *sources_of(const di_train_job *job)
{
    return json_object_get(json_object_get(job->base.run, "data"), "source");
}

static const char *text_at(const json_t *list, int64_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(list, (size_t)i), key));
}

dial_status di_job_find_sources(const di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_list *list = &job->opt->source;

    for (int64_t i = 0; job->opt->resume_from != NULL && i < list->n; i++) {
        const char *was = text_at(sources_of(job), i, "path");

        if (was == NULL || !is(was, list->item[i]) || di_exists(was)) continue;
        DI_FAIL_AT(err, DIAL_ERR_USAGE, was,
                   "put it back, start dial in the folder where the run was started, or say with "
                   "--source where it is now",
                   "the source file that '%s' was trained on is not there", job->base.path);
    }
done:
    return st;
}

/* --match-scale: is there a reward whose scale can be kept? */
static dial_status check_match(const di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = NULL;

    if (!job->opt->match_scale) goto done;
    if (!job->start.is_run)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--match-scale", "add --resume-from RUN, or leave it out",
                   "there is no run whose reward's scale could be kept");
    if (job->set.loss.objective == DI_OBJECTIVE_MSE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--match-scale", "leave out the flag",
                   "the reward of --objective mse is in the unit of the scores already");
    if (!job->start.same_source)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--match-scale",
                   "give the source files of that run, or leave out the flag",
                   "the reference texts of '%s' are rows of its own source files", job->base.path);
    path = di_path_join(job->al, job->base.path, "reference.safetensors");
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, job->base.path, "leave out --match-scale",
                   "the run has no reference.safetensors: its reward's scale is not on record");
done:
    di_free(job->al, path);
    return st;
}

dial_status di_job_check_sources(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *list = sources_of(job);
    const di_file_set *f = &job->source_files;

    job->start.same_source = job->start.is_run && f->n > 0 && (size_t)f->n == json_array_size(list);
    for (int i = 0; i < f->n; i++) {
        const char *path = text_at(list, i, "path"), *sha = text_at(list, i, "sha256");
        int same = sha != NULL && is(sha, f->set[i]->sha256);

        job->start.same_source &= same;
        if (same || job->opt->resume_from == NULL || path == NULL || !is(path, f->set[i]->path))
            continue;
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path,
                   "restore the file, or train on it as it is now with --base RUN --source FILE",
                   "hash mismatch: it is not the source file that '%s' was trained on",
                   job->base.path);
    }
    DI_TRY(check_match(job, err));
done:
    return st;
}

/* ---- step 0 ---- */

void di_job_settle_start(di_train_job *job)
{
    const di_view *was = &job->start.view;

    job->start.anew =
        job->start.is_run && (was->layer != job->base.layers || was->pooling != job->base.pooling);
    if (job->start.anew)
        di_log(job->env, DIAL_LOG_INFO,
               "'%s' reads layer %lld, pooling %s: adaptor, head and critic start anew",
               job->base.path, (long long)was->layer,
               was->pooling == DI_POOL_MEAN ? "mean" : "last");
}

void di_job_start_params(di_train_job *job)
{
    if (job->start.is_run && !job->start.anew)
        memcpy(job->params.theta, job->base.params.theta,
               (size_t)job->params.size * sizeof *job->params.theta);
    else
        di_params_randomize(&job->params, job->set.seed);
}

dial_status di_job_start_critic(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *dir = NULL;
    int found = 0;

    if (!job->start.is_run || job->start.anew || job->align == NULL) goto done;
    dir = di_checkpoint_dir(job->al, job->base.path, job->start.step);
    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(
        di_checkpoint_read_alignment(job->al, di_dist_of(job->env), dir, job->align, &found, err));
    if (!found)
        di_log(job->env, DIAL_LOG_INFO,
               "the alignment starts anew: '%s' has none of this method and shape", dir);
done:
    di_free(job->al, dir);
    return st;
}

json_t *di_job_start_json(const di_train_job *job)
{
    if (!job->start.is_run) return json_null();
    return json_pack("{s:s, s:I, s:o*}", "run", job->base.path, "step", (json_int_t)job->start.step,
                     "anew", job->start.anew ? json_true() : NULL);
}
