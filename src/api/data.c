/*
 * dial_data: `data check`, what a data file holds and whether every row of it is usable; `data
 * collect`, live traffic as a target file.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/collect.h"
#include "api/data_pick.h"
#include "api/session.h"
#include "base/error.h"
#include "base/file.h"

enum { COLUMNS = 3 }; /* prompt, chosen (or the single response), rejected */

typedef struct survey {
    const di_alloc *al;
    di_buf length[COLUMNS]; /* int64 lengths in code points */
    di_buf pair_hash;       /* uint64, for duplicates */
    json_t *groups;
    double longer; /* pairs whose chosen is longer, equal = 1/2 */
    int64_t pairs;
    int failed; /* memory ran out for a count of groups */
} survey;

static int64_t code_points(const char *s, size_t n)
{
    int64_t count = 0;

    for (size_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

static void add(di_buf *b, int64_t x)
{
    di_buf_append(b, &x, sizeof x);
}

static void look_at(survey *s, const di_row *row)
{
    uint64_t hash = 0;
    int64_t n[2] = {0, 0};

    add(&s->length[0], code_points(row->text[0].prompt, row->text[0].prompt_size));
    for (int k = 0; k < row->n_texts; k++) {
        const di_text *t = &row->text[k];

        hash = hash * 31 + di_fnv1a(t->prompt, t->prompt_size) * 7 +
               di_fnv1a(t->response, t->response_size);
        if (k < 2) add(&s->length[1 + k], n[k] = code_points(t->response, t->response_size));
    }
    di_buf_append(&s->pair_hash, &hash, sizeof hash);
    if (row->kind == DI_ROW_PAIR) {
        s->pairs++;
        s->longer += n[0] > n[1] ? 1 : n[0] == n[1] ? 0.5 : 0;
    }
    if (row->group != NULL)
        di_json_put(s->groups, row->group,
                    json_integer(1 + json_integer_value(json_object_get(s->groups, row->group))),
                    &s->failed);
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* {"mean","p50","p95","max"} of lengths; null for none. */
static json_t *quantiles(di_buf *b)
{
    int64_t *v = (int64_t *)(void *)b->data, n = (int64_t)(b->size / sizeof *v);
    double sum = 0;

    if (n == 0) return json_null();
    qsort(v, (size_t)n, sizeof *v, by_number);
    for (int64_t i = 0; i < n; i++) sum += (double)v[i];
    return json_pack("{s:o, s:I, s:I, s:I}", "mean", di_json_stat(sum / (double)n), "p50",
                     (json_int_t)v[n / 2], "p95", (json_int_t)v[(n - 1) * 95 / 100], "max",
                     (json_int_t)v[n - 1]);
}

static int64_t count_duplicates(di_buf *b)
{
    int64_t *v = (int64_t *)(void *)b->data, n = (int64_t)(b->size / sizeof *v), twice = 0;

    if (n > 0) qsort(v, (size_t)n, sizeof *v, by_number);
    for (int64_t i = 1; i < n; i++) twice += v[i] == v[i - 1];
    return twice;
}

static dial_status collect(const dial_data_options *o, const dial_env *env, char **json,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    di_row_counts counts = {0};
    di_collected c;
    json_t *doc;

    if (o->store == NULL || o->out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->store == NULL ? "--store" : "--out",
                   "write: dial data collect --store dial.sqlite --out FILE",
                   "the flag is required");
    DI_TRY(di_collect(al, o->store, &(di_traffic_of){.run = o->run}, o->out, &c, err));
    counts.read = c.read;
    counts.used = c.texts;
    if (c.left_out > 0)
        di_log(env, DIAL_LOG_WARN,
               "%s: %lld of %lld texts do not fit the schema %s of the others and are left out",
               o->out, (long long)c.left_out, (long long)(c.texts + c.left_out), c.schema);
    doc =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:[{s:s, s:I}]}", "schema",
                  "dial.data/1", "op", o->op, "file", o->store, "format", "sqlite", "row_schema",
                  c.schema, "rows", di_row_counts_to_json(&counts), "duplicates",
                  (json_int_t)c.duplicates, "without_text", (json_int_t)c.without_text, "left_out",
                  (json_int_t)c.left_out, "out", "path", o->out, "rows", (json_int_t)c.rows);
    DI_TRY(di_document(al, doc, json, err));
done:
    return st;
}

static dial_status check(const dial_data_options *o, const dial_env *env, char **json,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    survey s = {.al = al, .groups = json_object()};
    di_rows_options opt;
    di_rows *rows = NULL;
    di_row_counts counts;
    di_row row;
    int64_t identical = 0;
    int got = 1;
    json_t *doc;

    for (int k = 0; k < COLUMNS; k++) di_buf_init(&s.length[k], al);
    di_buf_init(&s.pair_hash, al);
    DI_TRY(di_rows_options_from(&o->common, &opt, err));
    DI_TRY(di_rows_open(al, o->file, &opt, env, &rows, err));
    for (;;) {
        DI_TRY(di_rows_next(rows, &row, &got, NULL, err));
        if (!got) break;
        identical += row.identical;
        look_at(&s, &row);
    }
    DI_TRY(di_buf_status(&s.pair_hash, err));
    for (int k = 0; k < COLUMNS; k++) DI_TRY(di_buf_status(&s.length[k], err));
    if (s.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to count the groups");
    counts = *di_rows_counts(rows);
    counts.identical = identical;
    counts.used = counts.read - counts.bad;
    doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:{s:s, s:o, s:o, s:o}, s:o, s:I, s:O, s:[]}",
                    "schema", "dial.data/1", "op", o->op, "file", o->file, "format",
                    di_rows_format(rows), "row_schema", di_rows_schema(rows), "rows",
                    di_row_counts_to_json(&counts), "length", "unit", "chars", "prompt",
                    quantiles(&s.length[0]), "chosen", quantiles(&s.length[1]), "rejected",
                    quantiles(&s.length[2]), "baseline_longer",
                    di_json_stat(s.pairs > 0 ? s.longer / (double)s.pairs : NAN), "duplicates",
                    (json_int_t)count_duplicates(&s.pair_hash), "groups", s.groups, "out");
    DI_TRY(di_document(al, doc, json, err));
done:
    di_rows_close(rows);
    for (int k = 0; k < COLUMNS; k++) di_buf_deinit(&s.length[k]);
    di_buf_deinit(&s.pair_hash);
    json_decref(s.groups);
    return st;
}

dial_status dial_data(const dial_data_options *o, const dial_env *env, char **json, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *op = o->op != NULL ? o->op : "";

    if (strcmp(op, "collect") == 0) return collect(o, env, json, err);
    if (o->file != NULL && strcmp(op, "check") == 0) return check(o, env, json, err);
    if (o->file != NULL && strcmp(op, "pick") == 0) return di_data_pick(o, env, json, err);
    DI_FAIL_AT(err, DIAL_ERR_USAGE, o->op, "write: dial data check FILE",
               "this version has `data check`, `data pick` and `data collect`");
done:
    return st;
}
