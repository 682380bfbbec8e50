/*
 * --curriculum gradual:K: which target rows are near the source. The order is fixed before the
 * first step, on the model as it starts, from texts alone.
 */
#include <stdlib.h>

#include "api/train_job.h"
#include "base/error.h"
#include "base/log.h"

enum { MAX_BINS = 64 };

dial_status di_plan_curriculum(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const char *text = o->curriculum;
    char *end = NULL;
    long long bins;

    if (is(text, "none")) return DIAL_OK;
    bins = strncmp(text, "gradual:", 8) == 0 ? strtoll(text + 8, &end, 10) : -1;
    if (bins < 2 || bins > MAX_BINS || *end != '\0')
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--curriculum", "write none or gradual:4",
                   "expected none or gradual:2 to gradual:%d, found '%s'", MAX_BINS, text);
    if (job->mode >= DI_MODE_ORACLE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--curriculum", "leave it out, or use another method",
                   "it orders unlabelled target rows, and method %s reads their labels", o->method);
    if (o->target.n == 0 || job->set.batch[DI_TARGET] == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--curriculum",
                   "add --target FILE with a method that aligns, or --pseudo-weight",
                   "it orders target rows, and no step of this run takes any");
    job->set.curriculum = (di_curriculum){.bins = bins, .labelled = job->set.pseudo_weight > 0};
    if (job->set.pseudo_weight > 0 && (!is(o->pseudo_labels, "hard") || !(o->weight_decay > 0)))
        di_log(job->env, DIAL_LOG_INFO,
               "gradual self-training is stated for hard labels and weight decay: "
               "--pseudo-labels hard --weight-decay 0.01");
done:
    return st;
}

typedef struct ranked {
    double distance;
    uint64_t hash;
    int64_t i;
} ranked;

static int nearest_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

/* Mean words of the texts of example i. */
static double length_of(const di_examples *x, int64_t i)
{
    double words = 0;
    int n = di_example_at(x, i)->n_texts;

    for (int t = 0; t < n; t++) words += (double)di_example_seq(x, i, t)->words / n;
    return words;
}

/* Same rows in the same order whatever their place in the file: equals go by the hash of a text. */
static dial_status sort_target(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_examples *t = &job->target;
    ranked *r = di_new_array(job->al, (size_t)t->n, sizeof *r);
    double *logit = di_new_array(job->al, (size_t)(job->source.n + t->n), sizeof *logit), apart;

    if (r == NULL || logit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a curriculum");
    if (is(job->opt->curriculum_by, "probe"))
        DI_TRY(di_job_domain_logits(job, "curriculum", logit, logit + job->source.n, &apart, err));
    for (int64_t i = 0; i < t->n; i++)
        r[i] = (ranked){is(job->opt->curriculum_by, "probe") ? logit[job->source.n + i]
                                                             : length_of(t, i),
                        di_example_seq(t, i, 0)->hash, i};
    qsort(r, (size_t)t->n, sizeof *r, nearest_first);
    for (int64_t i = 0; i < t->n; i++) job->near[i] = r[i].i;
done:
    di_free(job->al, r);
    di_free(job->al, logit);
    return st;
}

dial_status di_job_order_target(di_train_job *job, int known, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_curriculum *c = &job->set.curriculum;

    if (c->bins == 0) return DIAL_OK;
    if (job->target.n < c->bins || job->set.steps < c->bins + (c->labelled != 0))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--curriculum", "give fewer bins, or more --steps",
                   "%lld bins need as many target rows and %lld steps, found %lld and %lld",
                   (long long)c->bins, (long long)(c->bins + (c->labelled != 0)),
                   (long long)job->target.n, (long long)job->set.steps);
    job->near = di_new_array(job->al, (size_t)job->target.n, sizeof *job->near);
    if (job->near == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a curriculum");
    for (int64_t i = 0; i < job->target.n; i++) job->near[i] = i;
    if (!known) DI_TRY(sort_target(job, err));
    job->set.near = job->near;
done:
    return st;
}

json_t *di_job_curriculum_json(const di_train_job *job)
{
    const di_curriculum *c = &job->set.curriculum;
    json_t *rows, *steps;
    int failed = 0;

    if (c->bins == 0) return json_null();
    rows = json_array();
    steps = json_array();
    for (int64_t b = 0; b < c->bins; b++) {
        di_json_add(rows, json_integer(di_curriculum_rows(c, b + 1, job->target.n)), &failed);
        di_json_add(steps, json_integer(di_curriculum_begin(c, b, job->set.steps)), &failed);
    }
    return di_json_whole(json_pack("{s:s, s:I, s:s, s:o, s:o}", "kind", "gradual", "bins",
                                   (json_int_t)c->bins, "by", job->opt->curriculum_by, "rows", rows,
                                   "steps", steps),
                         failed);
}

dial_status di_job_tell_bins(di_train_job *job, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_curriculum *c = &job->set.curriculum;
    int64_t open, rows;

    if (c->bins == 0) return DIAL_OK;
    open = di_curriculum_open(c, step, job->set.steps);
    if (step > 0 && open == di_curriculum_open(c, step - 1, job->set.steps)) return DIAL_OK;
    rows = di_curriculum_rows(c, open, job->target.n);
    DI_TRY(di_journal_write(&job->journal,
                            json_pack("{s:s, s:I, s:I, s:I, s:I}", "event", "curriculum", "step",
                                      (json_int_t)step, "bins", (json_int_t)c->bins, "open",
                                      (json_int_t)open, "rows", (json_int_t)rows),
                            err));
done:
    return st;
}
