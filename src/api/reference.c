/*
 * RUN/reference.safetensors: what the run makes of a sample of its training texts (interfaces.md
 * 4). `serve --monitor` compares live traffic with it, and `adapt --match-scale` holds the reward's
 * mean and scale on the same texts from run to run.
 *
 * A sample is a list of rows. A row brings its texts in an order that no label decides (the smaller
 * hash first), less those that an earlier row has brought: equal texts would count twice in every
 * distance between samples. So the list of rows says which texts they are, and the next run finds
 * them again.
 */
#include "api/train_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "dist/dist.h"
#include "model/head.h"
#include "model/safetensors.h"

/* Texts of a side: of a stored trunk they cost nothing, else a forward pass each. */
enum { MOST = 1024, MOST_COMPUTED = 256 };

typedef struct sample {
    di_seq_view *text; /* [room] */
    uint64_t *prompt, *hash;
    int64_t *row; /* of the side's files, one after the other */
    int64_t n, room;
    float *e; /* [n, C] */
} sample;

static void sample_deinit(const di_alloc *al, sample *s)
{
    di_free(al, s->text);
    di_free(al, s->prompt);
    di_free(al, s->hash);
    di_free(al, s->row);
    di_free(al, s->e);
}

static dial_status sample_init(const di_alloc *al, int64_t room, sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;

    s->room = room;
    s->text = di_new_array(al, (size_t)room, sizeof *s->text);
    s->prompt = di_new_array(al, (size_t)room, sizeof *s->prompt);
    s->hash = di_new_array(al, (size_t)room, sizeof *s->hash);
    s->row = di_new_array(al, (size_t)room, sizeof *s->row);
    if (s->text == NULL || s->prompt == NULL || s->hash == NULL || s->row == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sample of %lld texts", (long long)room);
done:
    return st;
}

static void take_text(sample *s, const di_seq *q, int64_t row)
{
    for (int64_t i = 0; i < s->n; i++)
        if (s->hash[i] == q->hash) return;
    if (s->n == s->room) return;
    s->text[s->n] = (di_seq_view){q->id, q->n};
    s->prompt[s->n] = q->prompt_hash;
    s->hash[s->n] = q->hash;
    s->row[s->n++] = row;
}

/* The texts of an example, smallest hash first. */
static void take_row(sample *s, const di_dataset *d, const di_example *x, int64_t row)
{
    uint64_t last = 0;

    for (int32_t k = 0; k < x->n_texts; k++) {
        const di_seq *next = NULL;

        for (int32_t t = 0; t < x->n_texts; t++) {
            const di_seq *q = &d->seq[d->text_of[x->first + t]];

            if ((k == 0 || q->hash > last) && (next == NULL || q->hash < next->hash)) next = q;
        }
        if (next == NULL) break; /* the rest are equal texts */
        last = next->hash;
        take_text(s, next, row);
    }
}

/* Rows of the side's files before the file d. */
static int64_t rows_before(const di_file_set *f, const di_dataset *d)
{
    int64_t n = 0;

    for (int i = 0; f->set[i] != d; i++) n += f->set[i]->counts.read;
    return n;
}

/* Rows of a side in an order drawn by the seed, until the sample is full. */
static dial_status draw(di_train_job *job, const di_file_set *f, const di_examples *drawn,
                        int64_t limit, di_rng r, sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_examples all = {.n = 0};
    int64_t *order = NULL;

    DI_TRY(di_job_rows_seen(job, f, drawn, limit, &all, err));
    order = di_new_array(job->al, (size_t)all.n, sizeof *order);
    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)all.n);
    for (int64_t i = 0; i < all.n; i++) order[i] = i;
    di_rng_shuffle(&r, order, all.n);
    for (int64_t i = 0; i < all.n && s->n < s->room; i++) {
        const di_dataset *d = all.set[all.ref[order[i]].set];
        const di_example *x = di_example_at(&all, order[i]);

        take_row(s, d, x, rows_before(f, d) + x->row);
    }
done:
    di_examples_free(job->al, &all);
    di_free(job->al, order);
    return st;
}

/* ---- carried along from the run that this one started from ---- */

typedef struct carried {
    int64_t *row; /* [n] source_row of that run; NULL: it has none that fits */
    int64_t n;
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

static dial_status read_carried(di_train_job *job, carried *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_session *b = &job->base;
    int64_t width = job->params.width;
    char *path = di_path_join(job->al, b->path, "reference.safetensors");
    const di_st_tensor *e, *row;
    di_st s = {0};
    float *old = NULL;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!job->opt->match_scale && !di_exists(path)) goto done;
    DI_TRY(di_st_open(job->al, path, &s, err));
    e = di_st_find(&s, "source");
    row = di_st_find(&s, "source_row");
    if (e == NULL || row == NULL || e->n_dims != 2 || e->dim[1] != width ||
        strcmp(row->dtype_name, "I64") != 0 || row->count != e->dim[0] || row->count == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "train the run again",
                   "expected source [n, %lld] and source_row [n]", (long long)width);
    out->n = row->count;
    out->row = di_new_array(job->al, (size_t)out->n, sizeof *out->row);
    old = di_new_array(job->al, (size_t)(out->n * width), sizeof *old);
    if (out->row == NULL || old == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", path);
    memcpy(out->row, row->data, (size_t)out->n * sizeof *out->row);
    DI_TRY(di_st_read_f32(&s, path, "source", old, out->n * width, err));
    DI_TRY(moments(job->al, di_head_at(&b->params, b->params.theta), old, out->n, width,
                   b->applied ? b->scale : 1, b->applied ? b->shift : 0, &out->mean, &out->sd,
                   err));
done:
    di_st_close(&s);
    di_free(job->al, path);
    di_free(job->al, old);
    return st;
}

/* The example of a row of the side's files; NULL: it is not used. */
static const di_example *find_row(const di_file_set *f, int64_t row, const di_dataset **d)
{
    int64_t lo = 0, hi;
    int k = 0;

    while (k < f->n && row >= f->set[k]->counts.read) row -= f->set[k++]->counts.read;
    if (k == f->n) return NULL;
    *d = f->set[k];
    for (hi = (*d)->n; lo < hi;) { /* rows ascend */
        int64_t mid = (lo + hi) / 2;

        if ((*d)->example[mid].row < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < (*d)->n && (*d)->example[lo].row == row ? &(*d)->example[lo] : NULL;
}

/* The same texts again, in the same order. */
static dial_status take_carried(di_train_job *job, const carried *c, sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_file_set *f = &job->source_files;
    int same;

    for (int64_t i = 0; i < c->n; i++) {
        const di_dataset *d = NULL;
        const di_example *x =
            i > 0 && c->row[i] == c->row[i - 1] ? NULL : find_row(f, c->row[i], &d);

        if (x != NULL) take_row(s, d, x, c->row[i]);
    }
    same = s->n == c->n && memcmp(s->row, c->row, (size_t)c->n * sizeof *c->row) == 0;
    if (!same && !job->opt->match_scale) s->n = 0; /* a sample of its own */
    if (!same && job->opt->match_scale)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--match-scale",
                   "read the source as that run did (--limit, --skip-rows), or leave out the flag",
                   "the reference texts of '%s' are not all among the rows read", job->base.path);
done:
    return st;
}

/* As dial.json keeps it, so that the reward has the same bits here and where it is read again. */
static double as_stored(double x)
{
    char text[40];

    snprintf(text, sizeof text, "%.9g", x);
    return strtod(text, NULL);
}

/* method.md 8.10: r' = a r + b with the mean and standard deviation that the reward had. */
static dial_status match(di_train_job *job, const carried *c, const sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    double mean, sd;

    DI_TRY(moments(job->al, di_head_at(&job->params, job->params.theta), s->e, s->n,
                   job->params.width, 1, 0, &mean, &sd, err));
    if (!(sd > 0) || !(c->sd > 0) || !isfinite(c->sd / sd))
        DI_FAIL_AT(err, DIAL_ERR_NUMERIC, "--match-scale", "leave out the flag",
                   "the reward's standard deviation on the reference texts is %g and was %g", sd,
                   c->sd);
    job->match = (di_match){1, as_stored(c->mean - c->sd / sd * mean), as_stored(c->sd / sd)};
done:
    return st;
}

/* ---- the file ---- */

/* The tensors NAME and NAME_row. */
static void add_entries(di_st_entry *entry, size_t *n, const char *const name[2], const sample *s,
                        int64_t width)
{
    if (s->n == 0) return;
    entry[(*n)++] = (di_st_entry){name[0], "F32", {s->n, width},
                                  2,       s->e,  (size_t)(s->n * width) * sizeof *s->e};
    entry[(*n)++] = (di_st_entry){name[1], "I64", {s->n}, 1, s->row, (size_t)s->n * sizeof *s->row};
}

dial_status di_job_write_reference(di_train_job *job, dial_error *err)
{
    static const char *const name[2][2] = {{"source", "source_row"}, {"target", "target_row"}};
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    int swapped = job->mode == DI_MODE_ORACLE_TARGET; /* the target's rows are the labelled ones */
    int64_t width = job->params.width;
    sample s[2] = {{.n = 0}, {.n = 0}};
    di_st_entry entry[4];
    char *path = di_path_join(job->al, o->out, "reference.safetensors"), number[24];
    json_t *meta = NULL;
    carried c = {.row = NULL};
    size_t n = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (job->start.same_source) DI_TRY(read_carried(job, &c, err));
    for (int k = 0; k < 1 + job->has_target; k++) {
        const di_file_set *f = k == 1 || swapped ? &job->target_files : &job->source_files;
        const di_examples *x = k == 0 ? &job->source : &job->target;
        int64_t limit = k == 1 || swapped ? o->limit_target : o->limit_source;

        DI_TRY(sample_init(job->al,
                           k == 0 && c.row != NULL ? c.n
                           : job->stored[k]        ? MOST
                                                   : MOST_COMPUTED,
                           &s[k], err));
        if (k == 0 && c.row != NULL) DI_TRY(take_carried(job, &c, &s[k], err));
        if (s[k].n == 0)
            DI_TRY(draw(job, f, x, limit, di_rng_make(job->set.seed, DI_RNG_REFERENCE, (uint32_t)k),
                        &s[k], err));
        s[k].e = di_new_array(job->al, (size_t)(s[k].n * width), sizeof *s[k].e);
        if (s[k].e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the reference");
        DI_TRY(di_embed_texts(job->embedder, s[k].text, s[k].prompt, s[k].n, "reference", s[k].e,
                              err));
        add_entries(entry, &n, name[k], &s[k], width);
    }
    if (o->match_scale) DI_TRY(match(job, &c, &s[0], err));
    if (di_dist_of(job->env)->rank > 0) goto done;
    snprintf(number, sizeof number, "%lld", (long long)job->selected_step);
    meta = json_pack("{s:s}", "step", number);
    if (meta == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the reference");
    DI_TRY(di_st_write(job->al, path, entry, n, meta, err));
done:
    for (int k = 0; k < 2; k++) sample_deinit(job->al, &s[k]);
    json_decref(meta);
    di_free(job->al, c.row);
    di_free(job->al, path);
    return st;
}
