/*
 * --layer auto and --pooling auto: which depth and pooling head and alignment read decides transfer
 * as much as any loss (method.md 5.7b), and a source validation set cannot tell: it prefers views
 * that fit the source best. Heads fitted on the source from several depths and poolings agree on
 * the target where they read what both domains share, and part where they read what one domain
 * alone has; so the view is taken whose head orders unlabelled target pairs most as the others do
 * (docs/method.md). No target label is read.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/train_job.h"
#include "api/views.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "dist/dist.h"
#include "eval/agreement.h"
#include "eval/probe.h"

enum { PAIRS = 256, MAX_VIEWS = DI_LATER_VIEWS / (1 + DI_MAIN_VIEWS) };

/* What the choice is made from. */
typedef struct choice {
    di_train_job *job;
    di_view view[MAX_VIEWS];
    int n, candidate[MAX_VIEWS], voter[MAX_VIEWS];
    di_seq_view *text; /* [2 (n_s + n_t)]: pairs of the source, then of the target */
    di_dataset **of;   /* beside text: its file, and which of its texts */
    int32_t *index;
    int64_t n_s, n_t;
    double agreement[MAX_VIEWS];
} choice;

static void add_view(choice *c, int64_t layer, di_pooling pooling, int candidate, int voter)
{
    for (int i = 0; i < c->n; i++)
        if (c->view[i].layer == layer && c->view[i].pooling == pooling) {
            c->candidate[i] |= candidate;
            c->voter[i] |= voter;
            return;
        }
    c->view[c->n] = (di_view){layer, pooling};
    c->candidate[c->n] = candidate;
    c->voter[c->n++] = voter;
}

/*
 * Candidates: every twelfth of the depth from the first third on, or the layer given, with the
 * pooling given or both. The votes: half, three quarters and all of the depth, last token and mean.
 */
static void list_views(choice *c)
{
    static const int voters[] = {6, 9, 12};
    const dial_train_options *o = c->job->opt;
    int64_t depth = di_source_config(c->job->base.source)->layers;
    int any_layer = is(o->layer, "auto"), any_pooling = is(o->pooling, "auto");

    for (int p = 0; p < 2; p++) {
        di_pooling pooling = p == 0 ? DI_POOL_LAST : DI_POOL_MEAN;
        int wanted = any_pooling || pooling == c->job->base.pooling;

        for (int k = 4; k <= 12; k++) {
            int64_t layer = any_layer ? (k * depth + 6) / 12 : c->job->base.layers;

            if (wanted) add_view(c, layer > 0 ? layer : 1, pooling, 1, 0);
        }
        for (size_t k = 0; k < sizeof voters / sizeof *voters; k++) {
            int64_t layer = (voters[k] * depth + 6) / 12;

            add_view(c, layer > 0 ? layer : 1, pooling, 0, 1);
        }
    }
}

/* out[n] too unless it stands there already, or is deeper than the run reads. */
static void add_later(const di_train_job *job, const di_view *v, di_view *out, int *n)
{
    for (int i = 0; i < *n; i++)
        if (out[i].layer == v->layer && out[i].pooling == v->pooling) return;
    if (v->layer <= job->base.layers) out[(*n)++] = *v;
}

int di_job_later_views(di_train_job *job, di_view out[DI_LATER_VIEWS])
{
    choice c = {.job = job};
    di_view vote[DI_MAIN_VIEWS];
    int n = 0;

    if (job->view != NULL || (!is(job->opt->layer, "auto") && !is(job->opt->pooling, "auto")))
        return 0;
    list_views(&c);
    for (int i = 0; i < c.n; i++) {
        add_later(job, &c.view[i], out, &n);
        if (!c.candidate[i]) continue;
        di_main_views(c.view[i].layer, vote);
        for (int k = 0; k < DI_MAIN_VIEWS; k++) add_later(job, &vote[k], out, &n);
    }
    return n;
}

/*
 * Texts of up to PAIRS pairs of a side; single texts of a target are drawn in twos. by_hash: whose
 * order says nothing (it is a seed's, or labels that must not count), the smaller hash first.
 */
static dial_status draw_pairs(choice *c, const di_examples *x, int by_hash, int64_t *n,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = c->job->al;
    di_rng r = di_rng_make(0, DI_RNG_VIEW, 0);
    int64_t *order = di_new_array(al, (size_t)x->n, sizeof *order), at = 2 * (c->n_s + c->n_t);
    int half = 0; /* of a pair of single texts */

    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)x->n);
    for (int64_t i = 0; i < x->n; i++) order[i] = i;
    di_rng_shuffle(&r, order, x->n);
    for (int64_t i = 0; i < x->n && *n < PAIRS; i++) {
        int texts = di_example_at(x, order[i])->n_texts < 2 ? 1 : 2;

        int turn = by_hash && texts == 2 &&
                   di_example_seq(x, order[i], 0)->hash > di_example_seq(x, order[i], 1)->hash;

        if (texts == 2 && half) continue; /* the file is of single texts */
        for (int t = 0; t < texts; t++) {
            const di_seq *s = di_example_seq(x, order[i], turn ? 1 - t : t);

            c->text[at + half] = (di_seq_view){s->id, s->n};
            c->of[at + half] = x->set[x->ref[order[i]].set];
            c->index[at + half] = (int32_t)(s - c->of[at + half]->seq);
            half++;
        }
        if (half < 2) continue;
        half = 0;
        at += 2;
        ++*n;
    }
done:
    di_free(al, order);
    return st;
}

/*
 * e [c->n, n, C] of all views. Where the doctor will look at the result, what its heads read at
 * each depth that may be chosen comes from the same pass.
 */
static dial_status embed_all(choice *c, di_embedder *embedder, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_train_job *job = c->job;
    const di_alloc *al = job->al;
    int64_t n = 2 * (c->n_s + c->n_t), count;
    di_view more[DI_MAIN_VIEWS * MAX_VIEWS];
    int32_t *text = di_new_array(al, (size_t)n, sizeof *text);
    int64_t *place = di_new_array(al, (size_t)n, sizeof *place);
    char *done_with = di_new_array(al, (size_t)n, 1);
    di_views_job j = {.s = &job->base,
                      .embedder = embedder,
                      .cache = job->opt->trunk_cache,
                      .max = job->opt->trunk_cache_max,
                      .view = c->view,
                      .n_views = c->n,
                      .more = more,
                      .what = "layers"};

    if (text == NULL || place == NULL || done_with == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    for (int i = 0; job->judged && i < c->n; i++) {
        if (!c->candidate[i]) continue;
        di_main_views(c->view[i].layer, more + j.n_more);
        j.n_more += DI_MAIN_VIEWS;
    }
    for (int64_t first = 0; first < n; first++) { /* file by file */
        if (done_with[first]) continue;
        count = 0;
        for (int64_t i = first; i < n; i++) {
            if (c->of[i] != c->of[first]) continue;
            text[count] = c->index[i];
            place[count++] = i;
            done_with[i] = 1;
        }
        DI_TRY(di_views_embed(&j, c->of[first], text, place, count, n, e, err));
    }
done:
    di_free(al, text);
    di_free(al, place);
    di_free(al, done_with);
    return st;
}

/* Every view's head, fitted on the source, orders the target: how often as the votes do. */
static dial_status count_votes(choice *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_train_job *job = c->job;
    const di_alloc *al = job->al;
    int64_t width = di_source_config(job->base.source)->width, n = 2 * (c->n_s + c->n_t);
    di_decoder_options o = {.n_layers = di_source_config(job->base.source)->layers,
                            .pooling = DI_POOL_LAST};
    di_decoder *decoder = NULL;
    di_embedder *embedder = NULL;
    float *e = di_new_array(al, (size_t)(c->n * n), (size_t)width * sizeof *e);
    float *w = di_new_array(al, (size_t)width, sizeof *w);
    double *m = di_new_array(al, (size_t)(c->n * c->n_t), sizeof *m);

    if (e == NULL || w == NULL || m == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the embeddings of %d views", c->n);
    DI_TRY(di_decoder_new(&job->base.dev, job->base.source, &o, &decoder, err));
    DI_TRY(di_embedder_new(&job->base.dev, decoder, di_job_eval_rows(job),
                           job->base.policy.max_length, &embedder, err));
    DI_TRY(embed_all(c, embedder, e, err));
    for (int i = 0; i < c->n; i++) {
        const float *e_s = e + i * n * width;

        DI_TRY(di_probe_fit_voter(al, e_s, c->n_s, width, w, err));
        di_margins(w, e_s + 2 * c->n_s * width, c->n_t, width, m + i * c->n_t);
    }
    for (int i = 0; i < c->n; i++) {
        double sum = 0;
        int others = 0;

        for (int j = 0; j < c->n; j++) {
            if (j == i || !c->voter[j]) continue;
            sum += di_sign_agreement(m + i * c->n_t, m + j * c->n_t, NULL, c->n_t, NULL);
            others++;
        }
        c->agreement[i] = others > 0 ? sum / others : NAN;
    }
done:
    di_embedder_free(embedder);
    di_decoder_free(decoder);
    di_free(al, e);
    di_free(al, w);
    di_free(al, m);
    return st;
}

static const char *pooling_name(di_pooling p)
{
    return p == DI_POOL_MEAN ? "mean" : "last";
}

/* {"pairs", "candidates": [{"layer", "pooling", "agreement"}]}, best first. */
static json_t *to_json(const choice *c)
{
    json_t *list = json_array();
    int failed = list == NULL, done[MAX_VIEWS] = {0};

    for (int k = 0; k < c->n; k++) {
        int at = -1;

        for (int i = 0; i < c->n; i++)
            if (c->candidate[i] && !done[i] && (at < 0 || c->agreement[i] > c->agreement[at]))
                at = i;
        if (at < 0) break;
        done[at] = 1;
        di_json_add(list,
                    json_pack("{s:I, s:s, s:o}", "layer", (json_int_t)c->view[at].layer, "pooling",
                              pooling_name(c->view[at].pooling), "agreement",
                              di_json_stat(c->agreement[at])),
                    &failed);
    }
    if (failed) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:I, s:o}", "pairs", (json_int_t)c->n_t, "candidates", list);
}

/* Names all that the choice depends on: NULL without a cache folder. */
static dial_status cache_path(const choice *c, char **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_session *s = &c->job->base;
    char *dir = NULL, key[65], name[80];
    json_t *about = NULL;
    di_buf text;

    *out = NULL;
    di_buf_init(&text, s->al);
    if (di_dist_of(s->env)->size > 1) goto done; /* whether a file is there differs by machine */
    DI_TRY(di_trunk_cache_dir(s->al, c->job->opt->trunk_cache, &dir, err));
    if (dir == NULL) goto done;
    DI_TRY(di_trunk_about(s, &about, err));
    DI_TRY(di_json_write(about, &text, err));
    for (int i = 0; i < c->n; i++)
        di_buf_printf(&text, " %lld %d %d %d", (long long)c->view[i].layer, (int)c->view[i].pooling,
                      c->candidate[i], c->voter[i]);
    for (int64_t i = 0; i < 2 * (c->n_s + c->n_t); i++) {
        di_buf_append(&text, &c->text[i].n, sizeof c->text[i].n);
        di_buf_append(&text, c->text[i].id, (size_t)c->text[i].n * sizeof *c->text[i].id);
    }
    DI_TRY(di_buf_status(&text, err));
    di_sha256(text.data, text.size, key);
    snprintf(name, sizeof name, "%s.view", key);
    *out = di_path_join(s->al, dir, name);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_make_dirs(dir, err));
done:
    json_decref(about);
    di_buf_deinit(&text);
    di_free(s->al, dir);
    return st;
}

static dial_status keep(const di_alloc *al, const char *path, const json_t *table, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_writer w = {0};
    di_buf text;

    di_buf_init(&text, al);
    DI_TRY(di_json_write(table, &text, err));
    DI_TRY(di_buf_status(&text, err));
    DI_TRY(di_write_begin(al, path, &w, err));
    DI_TRY(di_write(&w, text.data, text.size, err));
    DI_TRY(di_write_commit(&w, err));
done:
    di_write_abort(&w);
    di_buf_deinit(&text);
    return st;
}

static dial_status take(di_train_job *job, const json_t *table, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *list = json_object_get(table, "candidates"), *first = json_array_get(list, 0);
    const json_t *next = json_array_get(list, 1);
    int64_t layer = json_integer_value(json_object_get(first, "layer"));
    const char *pooling = json_string_value(json_object_get(first, "pooling"));

    if (layer < 1 || layer > di_source_config(job->base.source)->layers || pooling == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, "--layer auto", "give --layer and --pooling",
                   "the stored choice of a layer is damaged");
    job->base.layers = layer;
    job->base.pooling = is(pooling, "mean") ? DI_POOL_MEAN : DI_POOL_LAST;
    di_log(job->env, DIAL_LOG_INFO,
           "layer %lld, pooling %s: its head orders %.2f of %lld target pairs as the others do "
           "(next: layer %lld, %s, %.2f)",
           (long long)layer, pooling, json_number_value(json_object_get(first, "agreement")),
           (long long)json_integer_value(json_object_get(table, "pairs")),
           (long long)json_integer_value(json_object_get(next, "layer")),
           next != NULL ? json_string_value(json_object_get(next, "pooling")) : "none",
           json_number_value(json_object_get(next, "agreement")));
done:
    return st;
}

/* The layer and pooling that a run to be resumed has. */
static dial_status take_resumed(di_train_job *job, const json_t *plan, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *table = json_object_get(plan, "view");

    if (table == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, "--resume", "start a new run with another --out",
                   "the run's checkpoint does not say which layer it reads");
    DI_TRY(take(job, table, err));
    job->view = json_incref((json_t *)(uintptr_t)table);
done:
    return st;
}

static dial_status choose(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = job->al;
    const dial_train_options *o = job->opt;
    choice c = {.job = job};
    di_examples source = {.n = 0}, target = {.n = 0};
    char *path = NULL, *text = NULL;
    size_t size, room = 4 * (size_t)PAIRS;

    list_views(&c);
    c.text = di_new_array(al, room, sizeof *c.text);
    c.of = di_new_array(al, room, sizeof *c.of);
    c.index = di_new_array(al, room, sizeof *c.index);
    if (c.text == NULL || c.of == NULL || c.index == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for texts");
    DI_TRY(di_job_rows_seen(job, &job->source_files, &job->source, o->limit_source, &source, err));
    DI_TRY(di_job_rows_seen(job, &job->target_files, &job->target, o->limit_target, &target, err));
    DI_TRY(draw_pairs(&c, &source, 0, &c.n_s, err));
    DI_TRY(draw_pairs(&c, &target, 1, &c.n_t, err));
    if (c.n_s < 1 || c.n_t < 1)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--layer auto", "give --layer and --pooling",
                   "expected pairs of texts in both domains");
    DI_TRY(cache_path(&c, &path, err));
    if (path != NULL && di_exists(path)) {
        DI_TRY(di_read_file(al, path, &text, &size, err));
        DI_TRY(di_json_parse(text, size, path, 1, &job->view, err));
    } else {
        DI_TRY(count_votes(&c, err));
        job->view = to_json(&c);
        if (job->view == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the views");
        if (path != NULL) DI_TRY(keep(al, path, job->view, err));
    }
    DI_TRY(take(job, job->view, err));
done:
    di_examples_free(al, &source);
    di_examples_free(al, &target);
    di_free(al, path);
    di_free(al, text);
    di_free(al, c.text);
    di_free(al, (void *)c.of);
    di_free(al, c.index);
    return st;
}

dial_status di_job_choose_view(di_train_job *job, const json_t *resumed, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *plan = json_object_get(json_object_get(resumed, "flags"), "plan");

    if (!is(job->opt->layer, "auto") && !is(job->opt->pooling, "auto")) return DIAL_OK;
    if (resumed != NULL) {
        DI_TRY(take_resumed(job, plan, err));
    } else if (job->target.n == 0 || job->source.n == 0 ||
               job->set.loss.objective == DI_OBJECTIVE_BCE ||
               job->set.loss.objective == DI_OBJECTIVE_MSE) {
        di_log(job->env, DIAL_LOG_WARN,
               "--layer auto and --pooling auto need a --target to choose by, and preferences in "
               "the source: %s",
               job->start.is_run ? "what the run reads stays"
                                 : "the last token of the last layer is read");
    } else {
        DI_TRY(choose(job, err));
    }
    DI_TRY(di_plan_lora(job, err)); /* its layers end where the head reads */
done:
    return st;
}
