/*
 * The reference of a merged run, or of another checkpoint of a run: the texts behind that of the
 * (first) run, as the new model embeds them. They are read from that run's own files again; where
 * one of them is gone or has changed, there is no reference, and the log says why.
 */
#include "api/merge_reference.h"

#include <stdio.h>
#include <string.h>

#include "api/reference.h"
#include "api/trunk.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

enum { MAX_FILES = 64 };

typedef struct side {
    di_dataset *set[MAX_FILES];
    int n;
    di_sample sample;
} side;

typedef struct rereading {
    di_session *s; /* the first run's, with the merged model */
    const di_alloc *al;
    dial_train_options opt; /* of the first run */
    char *kept;
    di_reference was;
    side side[2];
} rereading;

static const char *text_of(const json_t *v, const char *key)
{
    const char *text = json_string_value(json_object_get(v, key));

    return text != NULL ? text : "";
}

/* A data file as the training read it. */
static dial_status load(rereading *r, const char *path, const char *sha256, int drop_labels,
                        side *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset_options o = {.drop_identical = 1};
    di_session *s = r->s;

    if (out->n == MAX_FILES) DI_FAIL(err, DIAL_ERR_USAGE, "over %d files", MAX_FILES);
    DI_TRY(di_rows_options_from(&r->opt.common, &o.rows, err));
    o.rows.drop_labels = drop_labels;
    DI_TRY(di_dataset_load(r->al, path, &o, &s->policy, s->tok, s->env, &out->set[out->n], err));
    out->n++;
    if (strcmp(out->set[out->n - 1]->sha256, sha256) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "restore the file", "hash mismatch");
    if (drop_labels)
        DI_TRY(di_dataset_group_singles(out->set[out->n - 1], (uint64_t)r->opt.common.seed, err));
done:
    return st;
}

/* The files that a side's rows are of. */
static dial_status load_side(rereading *r, int k, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *data = json_object_get(r->s->run, "data"), *f;
    const char *method = text_of(json_object_get(r->s->run, "method"), "name");
    int swapped = strcmp(method, "oracle-target") == 0, labels = k == 0 || *method == 'o';
    size_t i;

    if (k == 0 && r->was.rows == DI_REFERENCE_HELD_OUT_FILE) {
        DI_TRY(load(r, r->opt.heldout_source, r->was.sha256, 0, &r->side[k], err));
        goto done;
    }
    json_array_foreach (json_object_get(data, k == 0 && !swapped ? "source" : "target"), i, f)
        DI_TRY(load(r, text_of(f, "path"), text_of(f, "sha256"), !labels, &r->side[k], err));
done:
    return st;
}

/* The rows of the frozen model that the texts need, where the training has stored them. */
static dial_status look_up(rereading *r, int k, di_trunk_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int i = 0; i < r->side[k].n; i++) {
        const di_dataset *d = r->side[k].set[i];
        char *want = di_new_array(r->al, (size_t)d->n_seq, 1);

        if (want == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the reference");
        for (int64_t t = 0; t < d->n_seq; t++)
            for (int64_t j = 0; j < r->side[k].sample.n; j++)
                want[t] |= d->seq[t].hash == r->side[k].sample.hash[j];
        st = di_trunk_job_fill_texts(job, d, want, err);
        di_free(r->al, want);
        DI_TRY(st);
    }
done:
    return st;
}

static dial_status embed(rereading *r, di_trunk_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session *s = r->s;
    int64_t width = s->params.width;

    if (s->params.lora.r == 0) {
        DI_TRY(di_trunk_job_open(job, s, s->embedder, s->decoder, r->opt.trunk_cache,
                                 r->opt.trunk_cache_max, err));
        DI_TRY(di_embedder_set_trunk(s->embedder, job->trunk, err));
    }
    for (int k = 0; k < 2; k++) {
        di_sample *x = &r->side[k].sample;

        if (x->n == 0) continue;
        if (job->trunk != NULL) DI_TRY(look_up(r, k, job, err));
        x->e = di_new_array(r->al, (size_t)(x->n * width), sizeof *x->e);
        if (x->e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the reference");
        DI_TRY(di_embed_texts(s->embedder, x->text, x->prompt, x->n, "reference", x->e, err));
    }
done:
    return st;
}

static dial_status write(rereading *r, di_reference_rows rows, int64_t step, const char *out,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *format =
        json_string_value(json_object_get(json_object_get(r->s->run, "flags"), "format"));
    di_trunk_job job = {.s = NULL};
    di_sample both[2];

    if (format != NULL) r->opt.common.format = format;
    for (int k = 0; k < 2; k++) {
        side *x = &r->side[k];

        if (r->was.n[k] == 0) continue;
        DI_TRY(load_side(r, k, err));
        DI_TRY(di_sample_init(r->al, r->was.n[k], &x->sample, err));
        if (!di_sample_take_rows(&x->sample, x->set, x->n, r->was.row[k], r->was.n[k]))
            DI_FAIL(err, DIAL_ERR_INPUT, "the files of '%s' do not hold its rows", r->s->path);
    }
    DI_TRY(embed(r, &job, err));
    for (int k = 0; k < 2; k++) both[k] = r->side[k].sample;
    DI_TRY(
        di_reference_write(r->al, out, both, r->s->params.width, step, rows, r->was.sha256, err));
done:
    if (r->s->embedder != NULL) di_embedder_set_trunk(r->s->embedder, NULL, NULL);
    di_trunk_job_close(&job);
    return st;
}

/* Held out of all runs: they were trained on the same rows, and held out the same. */
static dial_status rows_of_all(rereading *r, const di_session *run, int n, di_reference_rows *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;

    *out = r->was.rows;
    for (int k = 1; k < n; k++) {
        di_reference other = {.n = {0}};
        int same;

        DI_TRY(di_reference_read(r->al, run[k].path, run[k].params.width, &other, err));
        same = other.rows == r->was.rows && strcmp(other.sha256, r->was.sha256) == 0;
        if (r->was.rows == DI_REFERENCE_HELD_OUT)
            same =
                same && other.n[0] == r->was.n[0] &&
                memcmp(other.row[0], r->was.row[0], (size_t)other.n[0] * sizeof *other.row[0]) == 0;
        di_reference_free(r->al, &other);
        if (!same) *out = DI_REFERENCE_TRAINED;
    }
done:
    return st;
}

dial_status di_merge_reference(di_session *run, int n, int64_t step, const char *out,
                               dial_error *err)
{
    dial_status st;
    rereading r = {.s = &run[0], .al = run[0].al};
    di_reference_rows rows = DI_REFERENCE_TRAINED;
    dial_error why;

    dial_options_default(dial_train_table, &r.opt, sizeof r.opt);
    st = dial_run_options_apply(r.s->path, &r.opt, r.s->env, &r.kept, &why);
    if (st == DIAL_OK) st = di_reference_read(r.al, r.s->path, r.s->params.width, &r.was, &why);
    if (st == DIAL_OK) st = rows_of_all(&r, run, n, &rows, &why);
    if (st == DIAL_OK) st = write(&r, rows, step, out, &why);
    if (st == DIAL_ERR_USAGE || st == DIAL_ERR_INPUT) {
        di_log(r.s->env, DIAL_LOG_WARN,
               "the run has no reference.safetensors, so `serve --monitor` has nothing to "
               "compare its traffic with: %s (%s)",
               why.message, why.where);
        st = DIAL_OK;
    }
    if (st != DIAL_OK && err != NULL) *err = why;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < r.side[k].n; i++) di_dataset_free(r.side[k].set[i]);
        di_sample_deinit(r.al, &r.side[k].sample);
    }
    di_reference_free(r.al, &r.was);
    dial_free(r.s->env, r.kept);
    return st;
}
