/* dial_data, `pick`: which target pairs to have labelled (interfaces.md 1.13, method.md 9.2). */
#include "api/data_pick.h"

#include <stdio.h>
#include <string.h>

#include "api/picked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"

enum { MAX_MODELS = 16, SOURCE_ROWS = 2000 };

typedef struct picking {
    const dial_data_options *opt;
    const dial_env *env;
    const di_alloc *al;
    di_pick_pair *pair; /* [n] */
    int64_t *row;       /* [n] place of each pair in the file */
    int64_t n;
    di_row_counts counts;
    char format[12], schema[24];
    float *e; /* (2n, C) under the first model */
    int64_t c;
    double *m[MAX_MODELS];
    int models;
    int64_t *out; /* [opt->n] */
    int64_t taken;
} picking;

static void picking_deinit(picking *p)
{
    di_free(p->al, p->pair);
    di_free(p->al, p->row);
    di_free(p->al, p->e);
    di_free(p->al, p->out);
    for (int k = 0; k < MAX_MODELS; k++) di_free(p->al, p->m[k]);
}

/* ---- at random: the file alone ---- */

static dial_status read_pairs(picking *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows_options o;
    di_rows *rows = NULL;
    di_row x;
    di_buf pair, row;
    int got = 1;

    di_buf_init(&pair, p->al);
    di_buf_init(&row, p->al);
    DI_TRY(di_rows_options_from(&p->opt->common, &o, err));
    o.drop_labels = 1;
    DI_TRY(di_rows_open(p->al, p->opt->file, &o, p->env, &rows, err));
    for (;;) {
        di_pick_pair one;

        DI_TRY(di_rows_next(rows, &x, &got, NULL, err));
        if (!got) break;
        if (x.kind != DI_ROW_PAIR || x.identical) continue;
        one.prompt = di_fnv1a(x.text[0].prompt, x.text[0].prompt_size);
        for (int t = 0; t < 2; t++)
            one.text[t] = one.prompt * 31 + di_fnv1a(x.text[t].response, x.text[t].response_size);
        di_buf_append(&pair, &one, sizeof one);
        di_buf_append(&row, &x.index, sizeof x.index);
    }
    DI_TRY(di_buf_status(&pair, err));
    DI_TRY(di_buf_status(&row, err));
    p->n = (int64_t)(row.size / sizeof(int64_t));
    p->counts = *di_rows_counts(rows);
    p->counts.used = p->n;
    snprintf(p->format, sizeof p->format, "%s", di_rows_format(rows));
    snprintf(p->schema, sizeof p->schema, "%s", di_rows_schema(rows));
    p->pair = (di_pick_pair *)(void *)di_buf_take(&pair);
    p->row = (int64_t *)(void *)di_buf_take(&row);
    di_pick_forget_common_prompt(p->pair, p->n);
done:
    di_rows_close(rows);
    di_buf_deinit(&pair);
    di_buf_deinit(&row);
    return st;
}

static dial_status pick_random(picking *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rng rng = di_rng_make((uint64_t)p->opt->common.seed, DI_RNG_PICK, 0);
    int64_t *order = NULL;

    DI_TRY(read_pairs(p, err));
    order = di_new_array(p->al, (size_t)p->n, sizeof *order);
    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)p->n);
    for (int64_t i = 0; i < p->n; i++) order[i] = i;
    di_rng_shuffle(&rng, order, p->n);
    p->taken = di_pick_first(p->pair, order, p->n, p->opt->n, p->out);
done:
    di_free(p->al, order);
    return st;
}

/* ---- by disagreement: margins of several models ---- */

/* What the first model says of the target: names, places, embeddings. */
static dial_status keep_target(picking *p, di_session *s, const di_evidence *x, const float *e,
                               dial_error *err)
{
    dial_status st = DIAL_OK;

    p->n = x->n;
    p->c = s->params.width;
    p->counts = x->d->counts;
    snprintf(p->format, sizeof p->format, "%s", x->d->format);
    snprintf(p->schema, sizeof p->schema, "%s", x->d->schema);
    p->pair = di_new_array(p->al, (size_t)p->n, sizeof *p->pair);
    p->row = di_new_array(p->al, (size_t)p->n, sizeof *p->row);
    p->e = di_new_array(p->al, (size_t)(2 * p->n * p->c), sizeof *p->e);
    if (p->pair == NULL || p->row == NULL || p->e == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld pairs", (long long)p->n);
    di_picked_names(x, p->pair);
    for (int64_t i = 0; i < p->n; i++) p->row[i] = x->d->example[x->row[i]].row;
    memcpy(p->e, e, (size_t)(2 * p->n * p->c) * sizeof *e);
done:
    return st;
}

/* Embeddings (2n, C) of all pairs of a file; *e is the caller's to free. */
static dial_status embed_file(picking *p, di_session *s, const char *file, int target,
                              int64_t max_rows, di_evidence *x, float **e, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_evidence_load(s, &p->opt->common, file, target, max_rows,
                            (uint64_t)p->opt->common.seed, x, err));
    if (x->single_texts || x->several)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, file, "give rows of two texts",
                   "no row holds a pair of texts");
    *e = di_new_array(p->al, (size_t)(2 * x->n * s->params.width), sizeof **e);
    if (*e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld pairs", (long long)x->n);
    DI_TRY(di_evidence_embed(s, x, NULL, 0, target ? "target" : "source", *e, err));
done:
    return st;
}

static dial_status ask_model(picking *p, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session s = {0};
    di_evidence x = {0};
    float *e = NULL;

    DI_TRY(di_session_open(&s, path, &p->opt->common, DI_NEED_HEAD, NULL, NULL, p->env, err));
    DI_TRY(di_session_ready(&s, err));
    DI_TRY(embed_file(p, &s, p->opt->file, 1, 0, &x, &e, err));
    if (p->models == 0) DI_TRY(keep_target(p, &s, &x, e, err));
    if (x.n != p->n)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "give runs of one text policy",
                   "keeps %lld pairs where the first model keeps %lld", (long long)x.n,
                   (long long)p->n);
    p->m[p->models] = di_new_array(p->al, (size_t)p->n, sizeof(double));
    if (p->m[p->models] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for margins");
    di_margins(di_head_at(&s.params, s.params.theta), e, p->n, s.params.width, p->m[p->models]);
    p->models++;
done:
    di_evidence_deinit(&x);
    di_free(p->al, e);
    if (s.al != NULL) di_session_close(&s);
    return st;
}

/* The labelled file that a run was trained on first. */
static const char *source_of(const di_session *s)
{
    const json_t *data = json_object_get(s->run, "data");
    const json_t *list = json_object_get(data, "source");

    if (json_array_size(list) == 0) list = json_object_get(data, "target"); /* oracle-target */
    return json_string_value(json_object_get(json_array_get(list, 0), "path"));
}

/* One run alone: two heads refitted on halves of its source stand for other models. */
static dial_status ask_halves(picking *p, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session s = {0};
    di_evidence x = {0};
    float *e = NULL;
    const char *file;

    DI_TRY(di_session_open(&s, path, &p->opt->common, DI_NEED_HEAD, NULL, NULL, p->env, err));
    DI_TRY(di_session_ready(&s, err));
    file = source_of(&s);
    if (file == NULL || !di_exists(file))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "give two runs: --model RUN,RUN",
                   "its source file '%s' is not there to refit heads on",
                   file != NULL ? file : "(none)");
    DI_TRY(embed_file(p, &s, file, 0, SOURCE_ROWS, &x, &e, err));
    for (int k = 0; k < 2; k++) {
        p->m[p->models + k] = di_new_array(p->al, (size_t)p->n, sizeof(double));
        if (p->m[p->models + k] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for margins");
    }
    DI_TRY(di_half_margins(p->al, e, x.n, x.group, p->e, p->n, p->c, (uint64_t)p->opt->common.seed,
                           &p->m[p->models], err));
    p->models += 2;
done:
    di_evidence_deinit(&x);
    di_free(p->al, e);
    if (s.al != NULL) di_session_close(&s);
    return st;
}

static dial_status pick_disagreement(picking *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_list *list = &p->opt->model;

    if (list->n == 0 || list->n > MAX_MODELS - 2)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--model", "give --model RUN[,RUN], or --by random",
                   "expected 1 to %d runs that may disagree, found %lld", MAX_MODELS - 2,
                   (long long)list->n);
    for (int64_t k = 0; k < list->n; k++) DI_TRY(ask_model(p, list->item[k], err));
    if (list->n == 1) DI_TRY(ask_halves(p, list->item[0], err));
    DI_TRY(di_pick_disagreement(p->al,
                                &(di_pick_input){.pair = p->pair,
                                                 .e = p->e,
                                                 .n = p->n,
                                                 .c = p->c,
                                                 .m = (const double *const *)p->m,
                                                 .models = p->models},
                                p->opt->n, p->out, &p->taken, err));
done:
    return st;
}

dial_status di_data_pick(const dial_data_options *o, const dial_env *env, char **json,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    picking p = {.opt = o, .env = env, .al = di_env_alloc(env)};
    int random = strcmp(o->by, "random") == 0;
    json_t *doc;

    if (o->n < 1 || o->out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->n < 1 ? "--n" : "--out",
                   "write: dial data pick FILE --n 30 --by random --out FILE",
                   "the flag is required");
    p.out = di_new_array(p.al, (size_t)o->n, sizeof *p.out);
    if (p.out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)o->n);
    DI_TRY(random ? pick_random(&p, err) : pick_disagreement(&p, err));
    if (p.taken == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, o->file, "give rows of two texts that differ",
                   "no row holds a pair of texts");
    if (p.taken < o->n)
        di_log(env, DIAL_LOG_WARN, "%s: %lld rows of %lld: the others repeat a text or a prompt",
               o->file, (long long)p.taken, (long long)o->n);
    for (int64_t i = 0; i < p.taken; i++) p.out[i] = p.row[p.out[i]];
    DI_TRY(di_picked_write(p.al, &o->common, o->file, p.out, p.taken, o->by, o->out, err));
    doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:[{s:s, s:I}]}", "schema", "dial.data/1",
                    "op", o->op, "file", o->file, "format", p.format, "row_schema", p.schema,
                    "rows", di_row_counts_to_json(&p.counts), "by", o->by, "out", "path", o->out,
                    "rows", (json_int_t)p.taken);
    DI_TRY(di_document(p.al, doc, json, err));
done:
    picking_deinit(&p);
    return st;
}
