/*
 * The reference of a run in training (reference.h): which rows, and the scale of the reward on the
 * rows of the run before it.
 *
 * The source's rows are held out where there are enough of them. A reference of rows that the model
 * was trained on is no sample of what is to come: new texts like them look different (SmolLM2 on
 * 516 film reviews, an adaptor of rank 32: MMD p = .001 for every window of unseen reviews).
 */
#include "api/train_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/reference.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "dist/dist.h"
#include "model/head.h"

/* Texts of a side: of a stored trunk they cost nothing, else a forward pass each. */
enum { MOST = 1024, MOST_COMPUTED = 256 };

/* With fewer the rows trained on are the lesser evil: the accuracy of a probe on 64 rows has a
 * standard error of 0.06, and what the monitor calls a shift begins at 0.05 over one half. */
enum { LEAST_HELD_OUT = 64 };

/* ---- rows of a sample ---- */

/* Examples of some of the job's files, and these files. */
typedef struct choice {
    di_examples x;
    const di_file_set *files;
    di_reference_rows rows;
} choice;

static int64_t row_of(const choice *c, int64_t i)
{
    const di_dataset *d = c->x.set[c->x.ref[i].set];
    int k = 0;

    while (c->files->set[k] != d) k++;
    return di_rows_before(c->files->set, k) + di_example_at(&c->x, i)->row;
}

/* The job's held-out rows that are of these files. */
static dial_status held_out_of(const di_train_job *job, const di_file_set *f, di_examples *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_examples *held = &job->held;

    *out = (di_examples){.set = held->set};
    out->ref = di_new_array(job->al, (size_t)held->n, sizeof *out->ref);
    if (out->ref == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)held->n);
    for (int64_t i = 0; i < held->n; i++) /* an oracle holds rows of the target out as well */
        for (int k = 0; k < f->n; k++)
            if (held->set[held->ref[i].set] == f->set[k]) out->ref[out->n++] = held->ref[i];
done:
    return st;
}

/* What a side's sample is drawn from. */
static dial_status choose_rows(di_train_job *job, int side, choice *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    int swapped = job->mode == DI_MODE_ORACLE_TARGET; /* the target's rows are the labelled ones */
    int of_target = side == DI_TARGET || swapped, from_file = job->heldout_files.n > 0;
    const di_file_set *f = of_target ? &job->target_files : &job->source_files;
    choice c = {.files = side == DI_SOURCE && from_file ? &job->heldout_files : f};

    if (side == DI_SOURCE) {
        c.rows = from_file ? DI_REFERENCE_HELD_OUT_FILE : DI_REFERENCE_HELD_OUT;
        DI_TRY(held_out_of(job, c.files, &c.x, err));
    }
    if (side == DI_TARGET || c.x.n < LEAST_HELD_OUT) {
        di_examples_free(job->al, &c.x);
        c.files = f;
        c.rows = DI_REFERENCE_TRAINED;
        DI_TRY(di_job_rows_seen(job, f, side == DI_SOURCE ? &job->source : &job->target,
                                of_target ? o->limit_target : o->limit_source, &c.x, err));
    }
    *out = c;
    c.x.ref = NULL;
done:
    di_free(job->al, c.x.ref);
    return st;
}

/* Rows in an order drawn by the seed, until the sample is full. */
static dial_status draw(di_train_job *job, int side, const choice *c, di_sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rng r = di_rng_make(job->set.seed, DI_RNG_REFERENCE, (uint32_t)side);
    int stored = c->rows == DI_REFERENCE_TRAINED ? job->stored[side] : job->stored_held;
    int64_t *order = di_new_array(job->al, (size_t)c->x.n, sizeof *order);

    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)c->x.n);
    DI_TRY(di_sample_init(job->al, stored ? MOST : MOST_COMPUTED, s, err));
    for (int64_t i = 0; i < c->x.n; i++) order[i] = i;
    di_rng_shuffle(&r, order, c->x.n);
    for (int64_t i = 0; i < c->x.n && s->n < s->room; i++)
        di_sample_take(s, c->x.set[c->x.ref[order[i]].set], di_example_at(&c->x, order[i]),
                       row_of(c, order[i]));
done:
    di_free(job->al, order);
    return st;
}

static dial_status embed(di_train_job *job, di_sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (s->e != NULL) goto done;
    s->e = di_new_array(job->al, (size_t)(s->n * job->params.width), sizeof *s->e);
    if (s->e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the reference");
    DI_TRY(di_embed_texts(job->embedder, s->text, s->prompt, s->n, "reference", s->e, err));
done:
    return st;
}

/* ---- carried along from the run that this one started from ---- */

typedef struct carried {
    di_sample sample; /* its source texts again; n 0: they are not all at hand */
    di_reference_rows rows;
    double mean, sd; /* of its reward, as it was served, on these texts */
} carried;

static void mean_and_sd(const double *r, int64_t n, double *mean, double *sd)
{
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < n; i++) sum += r[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (r[i] - *mean) * (r[i] - *mean);
    *sd = sqrt(squares / (double)n);
}

/* Moments of scale w.e + shift over e [n, C]. */
static dial_status moments(const di_alloc *al, const float *w, const float *e, int64_t n,
                           int64_t width, double scale, double shift, double *mean, double *sd,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    double *r = di_new_array(al, (size_t)n, sizeof *r);

    if (r == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rewards");
    for (int64_t i = 0; i < n; i++)
        r[i] = scale * (double)di_reward(w, e + i * width, width) + shift;
    mean_and_sd(r, n, mean, sd);
done:
    di_free(al, r);
    return st;
}

/* The texts of that run's reference; sample.n 0: they are not all among what was read. */
static dial_status read_carried(di_train_job *job, carried *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_session *b = &job->base;
    const di_file_set *f = &job->source_files;
    char *path = di_path_join(job->al, b->path, "reference.safetensors");
    di_reference was = {.n = {0}};
    int same = 1;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!job->opt->match_scale && !di_exists(path)) goto done;
    DI_TRY(di_reference_read(job->al, b->path, b->params.width, &was, err));
    out->rows = was.rows;
    if (was.rows == DI_REFERENCE_HELD_OUT_FILE) {
        f = &job->heldout_files;
        same = f->n == 1 && is(f->set[0]->sha256, was.sha256);
    }
    DI_TRY(di_sample_init(job->al, was.n[0], &out->sample, err));
    same = same && di_sample_take_rows(&out->sample, f->set, f->n, was.row[0], was.n[0]);
    if (!same && job->opt->match_scale)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--match-scale",
                   "read the source as that run did (--limit, --skip-rows, --heldout-source), or "
                   "leave out the flag",
                   "the reference texts of '%s' are not all among the rows read", b->path);
    if (!same) out->sample.n = 0;
    DI_TRY(moments(job->al, di_head_at(&b->params, b->params.theta), was.e[0], was.n[0],
                   b->params.width, b->applied ? b->scale : 1, b->applied ? b->shift : 0,
                   &out->mean, &out->sd, err));
done:
    di_reference_free(job->al, &was);
    di_free(job->al, path);
    return st;
}

/* Are those texts what this run would draw from: held out here as well, or the best there is? */
static int stays_fit(const carried *c, const choice *own)
{
    if (c->sample.n == 0 || c->rows != own->rows) return 0;
    for (int64_t i = 0, k; c->rows == DI_REFERENCE_HELD_OUT && i < c->sample.n; i++) {
        for (k = 0; k < own->x.n && row_of(own, k) != c->sample.row[i];) k++;
        if (k == own->x.n) return 0;
    }
    return 1;
}

/* As dial.json keeps it, so that the reward has the same bits here and where it is read again. */
static double as_stored(double x)
{
    char text[40];

    snprintf(text, sizeof text, "%.9g", x);
    return strtod(text, NULL);
}

/* method.md 8.10: r' = a r + b with the mean and standard deviation that the reward had. */
static dial_status match(di_train_job *job, carried *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    double mean, sd;

    DI_TRY(embed(job, &c->sample, err));
    DI_TRY(moments(job->al, di_head_at(&job->params, job->params.theta), c->sample.e, c->sample.n,
                   job->params.width, 1, 0, &mean, &sd, err));
    if (!(sd > 0) || !(c->sd > 0) || !isfinite(c->sd / sd))
        DI_FAIL_AT(err, DIAL_ERR_NUMERIC, "--match-scale", "leave out the flag",
                   "the reward's standard deviation on the reference texts is %g and was %g", sd,
                   c->sd);
    job->match = (di_match){1, as_stored(c->mean - c->sd / sd * mean), as_stored(c->sd / sd)};
done:
    return st;
}

dial_status di_job_write_reference(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_file_set *held = &job->heldout_files;
    di_sample side[2] = {{.n = 0}, {.n = 0}}, unused;
    choice c[2] = {{.rows = DI_REFERENCE_TRAINED}, {.rows = DI_REFERENCE_TRAINED}};
    carried was = {.rows = DI_REFERENCE_TRAINED};

    if (job->start.same_source) DI_TRY(read_carried(job, &was, err));
    if (job->opt->match_scale) DI_TRY(match(job, &was, err));
    for (int k = 0; k < 1 + job->has_target; k++) {
        DI_TRY(choose_rows(job, k, &c[k], err));
        if (k == DI_SOURCE && stays_fit(&was, &c[k])) {
            unused = side[k];
            side[k] = was.sample;
            was.sample = unused;
        } else {
            DI_TRY(draw(job, k, &c[k], &side[k], err));
        }
        DI_TRY(embed(job, &side[k], err));
    }
    if (c[DI_SOURCE].rows == DI_REFERENCE_TRAINED)
        di_log(job->env, DIAL_LOG_INFO,
               "the reference holds source rows that were trained on: under %d are held out "
               "(--heldout-source), and new texts like them may look a little shifted",
               LEAST_HELD_OUT);
    if (di_dist_of(job->env)->rank > 0) goto done;
    DI_TRY(di_reference_write(job->al, job->opt->out, side, job->params.width, job->selected_step,
                              c[DI_SOURCE].rows, held->n > 0 ? held->set[0]->sha256 : NULL, err));
done:
    for (int k = 0; k < 2; k++) {
        di_sample_deinit(job->al, &side[k]);
        di_examples_free(job->al, &c[k].x);
    }
    di_sample_deinit(job->al, &was.sample);
    return st;
}
