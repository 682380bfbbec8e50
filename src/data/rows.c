#include "data/rows.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/schema.h"

static const char SKIP_HINT[] = "correct the row, or leave bad rows out with --on-error skip";

enum { SHOWN = 3 }; /* bad rows of one reason that are logged */

_Static_assert((int)DI_BAD_TEMPLATE_FAILED == (int)DI_MAX_REASONS, "a counter for each reason");

struct di_rows {
    const di_alloc *al;
    const dial_env *env;
    di_rows_options opt; /* format and columns: valid while opening alone */
    di_input *in;
    di_records rs;
    di_schema schema;
    di_row_counts counts;
    int64_t to_skip;
    int closed; /* di_rows_sha256 has read the rest of the file */
};

di_rows_options di_rows_options_default(void)
{
    return (di_rows_options){
        .format = "auto", .limit = -1, .max_bad_share = 0.01, .max_bad_count = -1};
}

static dial_status attach(di_rows *r, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(
        di_records_open(&r->rs, r->al, r->in, r->opt.format != NULL ? r->opt.format : "auto", err));
    DI_TRY(di_schema_init(&r->schema, r->al, &r->rs, r->opt.columns, r->opt.group_by,
                          r->opt.drop_labels, r->opt.seed, err));
    r->schema.in_order = r->opt.in_order;
done:
    return st;
}

/* data NULL: opens the path `name`. */
static dial_status open_rows(const di_alloc *al, const char *name, const void *data, size_t n,
                             const di_rows_options *opt, const dial_env *env, di_rows **out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows *r = di_zalloc(al, sizeof *r);

    if (r == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read '%s'", name);
    r->al = al;
    r->env = env;
    r->opt = *opt;
    r->to_skip = opt->skip;
    if (data != NULL)
        DI_TRY(di_input_open_memory(al, name, data, n, &r->in, err));
    else
        DI_TRY(di_input_open(al, name, &r->in, err));
    DI_TRY(attach(r, err));
    r->opt.format = r->opt.columns = NULL;
    *out = r;
    r = NULL;
done:
    di_rows_close(r);
    return st;
}

dial_status di_rows_open(const di_alloc *al, const char *path, const di_rows_options *opt,
                         const dial_env *env, di_rows **out, dial_error *err)
{
    return open_rows(al, path, NULL, 0, opt, env, out, err);
}

dial_status di_rows_open_memory(const di_alloc *al, const char *name, const void *data, size_t n,
                                const di_rows_options *opt, const dial_env *env, di_rows **out,
                                dial_error *err)
{
    return open_rows(al, name, data != NULL ? data : "", n, opt, env, out, err);
}

void di_rows_close(di_rows *r)
{
    if (r == NULL) return;
    di_schema_deinit(&r->schema);
    di_records_close(&r->rs);
    di_input_close(r->in);
    di_free(r->al, r);
}

/* Adds to the counter of a name in a list that has room for all names there are. */
static int64_t add_count(di_named_count *list, int *n, int max, const char *name, int64_t more)
{
    int i = 0;

    while (i < *n && strcmp(list[i].name, name) != 0) i++;
    if (i == max) return 0;
    if (i == *n) list[(*n)++] = (di_named_count){.n = 0};
    snprintf(list[i].name, sizeof list->name, "%s", name);
    return list[i].n += more;
}

static int64_t count(di_named_count *list, int *n, int max, const char *name)
{
    return add_count(list, n, max, name, 1);
}

void di_row_counts_add(di_row_counts *sum, const di_row_counts *one)
{
    sum->read += one->read;
    sum->bad += one->bad;
    sum->identical += one->identical;
    sum->identical_after_truncation += one->identical_after_truncation;
    sum->overlong_dropped += one->overlong_dropped;
    sum->prompt_truncated += one->prompt_truncated;
    sum->response_truncated += one->response_truncated;
    sum->used += one->used;
    sum->unlabelled += one->unlabelled;
    sum->grouped_pairs += one->grouped_pairs;
    sum->single_texts += one->single_texts;
    for (int i = 0; i < one->n_bad_by; i++)
        add_count(sum->bad_by, &sum->n_bad_by, DI_MAX_REASONS, one->bad_by[i].name,
                  one->bad_by[i].n);
    for (int i = 0; i < one->n_ignored; i++)
        add_count(sum->ignored, &sum->n_ignored, DI_MAX_IGNORED, one->ignored[i].name,
                  one->ignored[i].n);
}

/* One more bad row, which *why describes: an error under stop, a count and a warning under skip. */
static dial_status bad_row(di_rows *r, const char *reason, const dial_error *why, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_row_counts *c = &r->counts;
    int64_t seen;

    if (!r->opt.on_error_skip) {
        if (err != NULL) *err = *why;
        if (err != NULL && err->hint[0] == '\0')
            snprintf(err->hint, sizeof err->hint, "%s", SKIP_HINT);
        return DIAL_ERR_INPUT;
    }
    c->bad++;
    seen = count(c->bad_by, &c->n_bad_by, DI_MAX_REASONS, reason);
    if (seen <= SHOWN) di_log(r->env, DIAL_LOG_WARN, "%s: %s", why->where, why->message);
    if (r->opt.max_bad_count >= 0 && c->bad > r->opt.max_bad_count)
        DI_FAIL_AT(
            err, DIAL_ERR_INPUT, di_input_name(r->in), "correct the file, or raise --max-bad",
            "expected at most %lld bad rows, found %lld in the first %lld; the last one: %s",
            (long long)r->opt.max_bad_count, (long long)c->bad, (long long)c->read, why->message);
done:
    return st;
}

/* At the end of the file: was it too much? */
static dial_status judge(di_rows *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_row_counts *c = &r->counts;

    if (r->opt.max_bad_count < 0 && (double)c->bad > r->opt.max_bad_share * (double)c->read)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, di_input_name(r->in),
                   "correct the file, or raise --max-bad",
                   "expected at most %g %% bad rows, found %lld of %lld, most of them %s",
                   100 * r->opt.max_bad_share, (long long)c->bad, (long long)c->read,
                   c->n_bad_by > 0 ? c->bad_by[0].name : "");
done:
    return st;
}

/* Columns that change the text in other programs but not here. */
static void count_ignored(di_rows *r)
{
    static const char *const columns[] = {"tools", "chat_template_kwargs", "system"};
    di_row_counts *c = &r->counts;

    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        if (strcmp(columns[i], "system") == 0 && strcmp(di_rows_schema(r), "pair") != 0 &&
            strcmp(di_rows_schema(r), "pair-sharegpt") != 0)
            continue;
        if (di_schema_get_optional(&r->schema, columns[i]) == NULL) continue;
        if (count(c->ignored, &c->n_ignored, DI_MAX_IGNORED, columns[i]) == 1)
            di_log(r->env, DIAL_LOG_WARN,
                   "columns_ignored: %s:%lld: the key \"%s\" is not used; other programs put it "
                   "into the text",
                   di_input_name(r->in), (long long)r->rs.line, columns[i]);
    }
}

static void place(const di_rows *r, di_row *row)
{
    row->index = r->counts.read - 1;
    row->line = r->rs.line;
    row->column = r->rs.column;
}

dial_status di_rows_next(di_rows *r, di_row *row, int *got, dial_error *bad, dial_error *err)
{
    dial_status st = DIAL_OK;
    dial_error why;
    int have = 0;

    *got = 0;
    for (;;) {
        if (r->closed || (r->opt.limit >= 0 && r->counts.read >= r->opt.limit)) break;
        why = (dial_error){0};
        st = di_records_cut(&r->rs, &have, &why);
        if (st == DIAL_OK && !have) break;
        if (r->to_skip > 0 && (st == DIAL_OK || r->rs.fault != DI_ROW_FINE)) {
            r->to_skip--;
            continue;
        }
        if (st == DIAL_OK || r->rs.fault != DI_ROW_FINE) r->counts.read++;
        if (st == DIAL_OK) st = di_records_parse(&r->rs, &why);
        if (st == DIAL_OK) st = di_schema_read(&r->schema, row, &why);
        if (st != DIAL_OK && r->rs.fault == DI_ROW_FINE) {
            if (err != NULL) *err = why;
            goto done;
        }
        if (st == DIAL_OK) count_ignored(r);
        if (st != DIAL_OK) DI_TRY(bad_row(r, di_reason_name(r->rs.fault), &why, err));
        if (r->rs.fault != DI_ROW_FINE && bad == NULL) continue;
        place(r, row);
        *got = r->rs.fault == DI_ROW_FINE ? 1 : 2;
        if (*got == 2) *bad = why;
        goto done;
    }
    DI_TRY(judge(r, err));
done:
    return st;
}

/* The reason that an error's message begins with; NULL: none. */
static const char *reason_of(const dial_error *why)
{
    for (int i = DI_ROW_FINE + 1; why->status == DIAL_ERR_INPUT && i <= DI_MAX_REASONS; i++) {
        const char *reason = di_reason_name((di_reason)i);
        size_t n = strlen(reason);

        if (strncmp(why->message, reason, n) == 0 && strncmp(why->message + n, ": ", 2) == 0)
            return reason;
    }
    return NULL;
}

dial_status di_rows_refuse(di_rows *r, dial_error *why, dial_error *err)
{
    const char *reason = reason_of(why);

    if (reason == NULL) {
        if (err != NULL) *err = *why;
        return why->status;
    }
    di_place(why->where, sizeof why->where, di_input_name(r->in), r->rs.line,
             r->rs.n_header > 0 ? 0 : r->rs.column);
    return bad_row(r, reason, why, err);
}

const di_row_counts *di_rows_counts(const di_rows *r)
{
    return &r->counts;
}

const char *di_rows_format(const di_rows *r)
{
    return di_container_name(r->rs.format);
}

const char *di_rows_schema(const di_rows *r)
{
    return di_schema_name(&r->schema);
}

dial_status di_rows_sha256(di_rows *r, char hex[65], dial_error *err)
{
    r->closed = 1;
    return di_input_sha256(r->in, hex, err);
}

/* --- counts ----------------------------------------------------------------------------------- */

static int set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

json_t *di_row_counts_to_json(const di_row_counts *c)
{
    json_t *v = json_object(), *bad_by = json_object(), *ignored = json_object();
    int ok = v != NULL && bad_by != NULL && ignored != NULL;

    for (int i = 0; ok && i < c->n_bad_by; i++)
        ok = set(bad_by, c->bad_by[i].name, json_integer(c->bad_by[i].n));
    for (int i = 0; ok && i < c->n_ignored; i++)
        ok = set(ignored, c->ignored[i].name, json_integer(c->ignored[i].n));
    ok = ok && set(v, "read", json_integer(c->read)) && set(v, "bad", json_integer(c->bad)) &&
         set(v, "bad_by", json_incref(bad_by)) && set(v, "identical", json_integer(c->identical)) &&
         set(v, "identical_after_truncation", json_integer(c->identical_after_truncation)) &&
         set(v, "overlong_dropped", json_integer(c->overlong_dropped)) &&
         set(v, "prompt_truncated", json_integer(c->prompt_truncated)) &&
         set(v, "response_truncated", json_integer(c->response_truncated)) &&
         set(v, "ignored", json_incref(ignored)) && set(v, "used", json_integer(c->used)) &&
         (c->unlabelled == 0 || set(v, "unlabelled", json_integer(c->unlabelled)));
    if (c->grouped_pairs + c->single_texts > 0)
        ok = ok && set(v, "grouped_pairs", json_integer(c->grouped_pairs)) &&
             set(v, "single_texts", json_integer(c->single_texts));
    json_decref(bad_by);
    json_decref(ignored);
    if (!ok) {
        json_decref(v);
        v = NULL;
    }
    return v;
}
