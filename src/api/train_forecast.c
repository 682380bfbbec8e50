/*
 * --dry-run: what a run will take. The model is packed and the data read by then, so the memory of
 * the process is known; the rest is counted from the plan. If it fits, a few real steps are taken:
 * they show the time of a step on this machine and what else becomes resident.
 */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "api/train_job.h"
#include "base/clock.h"
#include "base/error.h"
#include "train/forecast.h"
#include "train/pass.h"

/* Steps whose rows are looked at; of more, the most rows change little. */
enum { LOOK_STEPS = 2000, MEASURED_STEPS = 3 };

/* As fast as larger ones, and small beside the activations that stay where they are. */
enum { EVAL_ROWS = 2048 };

int64_t di_job_eval_rows(const di_train_job *job)
{
    int64_t n = job->opt->common.batch_tokens;

    return n < EVAL_ROWS ? n : EVAL_ROWS;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Memory of the process now. */
static int64_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long long pages = 0;

    if (f != NULL && fscanf(f, "%*d %lld", &pages) != 1) pages = 0;
    if (f != NULL) fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static int64_t pass_bytes(di_train_job *job, const int64_t *rows)
{
    return (int64_t)di_pass_bytes(job->decoder, &job->set, job->side, rows);
}

/* What evaluations between the steps touch: their largest batch. */
static int64_t eval_bytes(const di_train_job *job)
{
    const di_file_set *list[] = {&job->source_files, &job->target_files, &job->heldout_files,
                                 &job->eval_files};
    int64_t tokens = 0, width = di_source_config(job->base.source)->width, rows;
    di_workspace_options o;

    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        for (int i = 0; i < list[k]->n; i++)
            for (int64_t s = 0; s < list[k]->set[i]->n_seq; s++)
                tokens += list[k]->set[i]->seq[s].n;
    rows = least(tokens, di_job_eval_rows(job));
    o = (di_workspace_options){
        .max_rows = rows, .max_texts = rows, .max_length = job->base.policy.max_length};
    return (int64_t)di_workspace_bytes(job->decoder, &o) + rows * width * (int64_t)sizeof(float);
}

/* Gradient and moments, and what sharpness-aware steps keep. */
static int64_t optimizer_bytes(const di_train_job *job)
{
    return (job->set.sam > 0 ? 5 : 3) * job->params.size * (int64_t)sizeof(float);
}

int di_plan_fits(di_train_job *job)
{
    return optimizer_bytes(job) + pass_bytes(job, NULL) + eval_bytes(job) <= di_memory_available();
}

typedef struct forecast {
    int64_t activations, total; /* bytes */
    double seconds;             /* of a step */
    const char *basis;
} forecast;

/* Two products of the same size a weight (forward, input gradient), at 100 GFLOP/s a thread. */
static double modelled_seconds(const di_train_job *job)
{
    const di_config *c = di_source_config(job->base.source);
    int64_t hd = c->heads * c->head_dim, kd = c->kv_heads * c->head_dim;
    double block = (double)(c->width * (2 * hd + 2 * kd + 3 * c->mlp));

    return 4.0 * block * (double)job->base.layers * di_forecast_tokens(&job->set, job->side) /
           (1e11 * job->base.dev.threads);
}

/* The first step touches memory and is not counted for time. */
static dial_status take_steps(di_train_job *job, forecast *f, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_step_report r;
    double seconds = 0, tokens = 0;
    int64_t steps = least(job->set.steps, MEASURED_STEPS);

    for (int64_t i = 0; i < steps; i++) {
        double started = di_now();

        DI_TRY(di_trainer_step(job->trainer, &r, err));
        if (i == 0 && steps > 1) continue;
        seconds += di_now() - started;
        tokens += (double)r.tokens;
    }
    f->seconds = seconds / tokens * di_forecast_tokens(&job->set, job->side);
    f->basis = "measured";
done:
    return st;
}

static dial_status make_forecast(di_train_job *job, forecast *f, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t most[DI_SIDES], seen[DI_SIDES], steps = job->set.steps;

    f->basis = "model";
    f->seconds = modelled_seconds(job);
    DI_TRY(di_forecast_rows(job->al, &job->set, job->side, least(steps, LOOK_STEPS), most, err));
    f->activations = pass_bytes(job, most);
    if (job->trainer == NULL) {
        f->total = resident() + optimizer_bytes(job) + f->activations + eval_bytes(job);
        goto done;
    }
    DI_TRY(take_steps(job, f, err));
    DI_TRY(
        di_forecast_rows(job->al, &job->set, job->side, least(steps, MEASURED_STEPS), seen, err));
    f->total = resident() + f->activations - pass_bytes(job, seen) + eval_bytes(job);
done:
    return st;
}

dial_status di_plan_document(di_train_job *job, int fits, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_config *c = di_source_config(job->base.source);
    int64_t hd = c->heads * c->head_dim, kd = c->kv_heads * c->head_dim;
    int64_t block = c->width * (2 * hd + 2 * kd + 3 * c->mlp);
    int64_t weights = (int64_t)di_decoder_weight_bytes(job->decoder);
    int64_t trainable = job->params.size * 4, optimizer = optimizer_bytes(job);
    int64_t available = di_memory_available() + resident();
    forecast f = {0};
    json_t *advice = json_array();
    double again; /* what the plan stored need not be computed again */
    int failed = 0;

    DI_TRY(make_forecast(job, &f, err));
    again = job->trunk.dir != NULL ? 0 : job->trunk_seconds;
    if (!fits)
        di_json_add(advice,
                    json_string("lower --max-length, --batch-source and "
                                "--batch-target, or use --lora-layers top:8"),
                    &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the plan");
    *out = json_pack(
        "{s:s, s:{s:I, s:I}, s:{s:I, s:I}, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:{s:o, "
        "s:o, s:o, s:s}, s:I, s:b, s:b, s:O}",
        "schema", "dial.plan/1", "params", "total",
        (json_int_t)(block * job->base.layers + c->vocab * c->width + job->params.size),
        "trainable", (json_int_t)job->params.size, "rows", "source", (json_int_t)job->source.n,
        "target", (json_int_t)job->target.n, "steps", (json_int_t)job->set.steps, "memory",
        "weights", (json_int_t)weights, "trainable", (json_int_t)trainable, "optimizer",
        (json_int_t)optimizer, "activations", (json_int_t)f.activations, "workspace",
        (json_int_t)(f.total - weights - trainable - optimizer - f.activations), "total",
        (json_int_t)f.total, "available", (json_int_t)available, "time", "seconds_per_step",
        di_json_stat(f.seconds), "trunk_seconds", di_json_stat(job->trunk_seconds), "total_seconds",
        di_json_stat(again + f.seconds * (double)job->set.steps), "basis", f.basis, "micro_batch",
        (json_int_t)job->set.micro_texts, "grad_checkpoint", job->set.grad_checkpoint, "fits", fits,
        "advice", advice);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the plan");
    if (job->set.curriculum.bins > 0)
        di_json_put(*out, "curriculum", di_job_curriculum_json(job), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the plan");
done:
    json_decref(advice);
    return st;
}
