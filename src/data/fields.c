/* Single values of a record: under which name they stand, and what type is asked of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/schema.h"

const char *di_schema_column(const di_schema *s, const char *key)
{
    for (int i = 0; i < s->n_map; i++)
        if (strcmp(s->map[i].key, key) == 0) return s->map[i].column;
    return key;
}

json_t *di_schema_get(const di_schema *s, const char *key)
{
    return json_object_get(s->rs->object, di_schema_column(s, key));
}

static int is_csv(const di_schema *s)
{
    return s->rs->n_header > 0;
}

json_t *di_schema_get_optional(const di_schema *s, const char *key)
{
    json_t *v = di_schema_get(s, key);

    if (v == NULL || json_is_null(v)) return NULL;
    return is_csv(s) && json_is_string(v) && json_string_length(v) == 0 ? NULL : v;
}

static dial_status missing(const di_schema *s, const char *key, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_BAD(s->rs, MISSING_KEY, di_schema_column(s, key), "add it, or name it with --columns",
           "expected it as in the rows before");
done:
    return st;
}

dial_status di_schema_string(const di_schema *s, const char *key, const char **text, size_t *size,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = di_schema_get(s, key);

    if (v == NULL) {
        st = missing(s, key, err);
        goto done;
    }
    if (!json_is_string(v))
        DI_BAD(s->rs, WRONG_TYPE, di_schema_column(s, key), "write the text as a string",
               "expected a string, found %s", di_json_kind(v));
    *text = json_string_value(v);
    *size = json_string_length(v);
done:
    return st;
}

dial_status di_schema_check_text(const di_schema *s, const char *key, const di_text *t,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;

    if (t->response_size == 0 && t->prompt_size == 0)
        DI_BAD(s->rs, EMPTY_TEXT, di_schema_column(s, key), "remove the row",
               "expected a text, found an empty one and no prompt");
    if (t->response_size == 0)
        DI_BAD(s->rs, EMPTY_RESPONSE, di_schema_column(s, key), "remove the row",
               "expected a text, found an empty one");
done:
    return st;
}

/* A cell of CSV as a number: all of it, spaces around it aside. */
static int cell_number(const json_t *v, double *out)
{
    const char *text = json_string_value(v);
    char *end;

    *out = strtod(text, &end);
    if (end == text) return 0;
    while (*end == ' ' || *end == '\t') end++;
    return end == text + json_string_length(v);
}

dial_status di_schema_number(const di_schema *s, const char *key, di_reason not_finite, double *out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = di_schema_get(s, key);
    const char *column = di_schema_column(s, key);
    double x = 0;

    if (v == NULL) {
        st = missing(s, key, err);
        goto done;
    }
    if (json_is_number(v))
        x = json_number_value(v);
    else if (is_csv(s) && json_is_string(v)) {
        if (!cell_number(v, &x))
            DI_BAD(s->rs, WRONG_TYPE, column, "write a number such as 0.5",
                   "expected a number, found '%.40s'", json_string_value(v));
    } else
        DI_BAD(s->rs, WRONG_TYPE, column, "write a number without quotes",
               "expected a number, found %s", di_json_kind(v));
    if (!isfinite(x)) {
        st = di_records_fault(s->rs, err, __FILE__, __LINE__, not_finite, column, -1,
                              "give a finite number, or leave the row out",
                              "expected a finite number, found %g", x);
        goto done;
    }
    *out = x;
done:
    return st;
}

/* A string, or a number as the file writes it; *out stays NULL where the key is absent. */
static dial_status name_of(di_schema *s, const char *key, di_buf *memory, const char **out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = di_schema_get_optional(s, key);
    const di_span *span = di_records_find(s->rs, di_schema_column(s, key));

    if (v == NULL) goto done;
    if (json_is_string(v)) {
        *out = json_string_value(v);
        goto done;
    }
    if (!json_is_number(v))
        DI_BAD(s->rs, WRONG_TYPE, di_schema_column(s, key), "write a string or a number",
               "expected a string or a number, found %s", di_json_kind(v));
    memory->size = 0;
    if (json_is_integer(v)) /* of a column of integers */
        di_buf_printf(memory, "%lld", (long long)json_integer_value(v));
    else if (span != NULL)
        di_buf_append(memory, di_records_text(s->rs, span), span->value_n);
    else /* the key is written with escapes */
        di_buf_printf(memory, "%.17g", json_number_value(v));
    DI_TRY(di_buf_status(memory, err));
    *out = memory->data;
done:
    return st;
}

/* The value at a column of the record, or at KEY.KEY... inside its objects; NULL: there is none. */
static const json_t *value_at(const di_schema *s, const char *path)
{
    const json_t *v = json_object_get(s->rs->object, path);
    const char *dot;

    for (const json_t *in = s->rs->object; v == NULL && in != NULL; path = dot + 1) {
        dot = strchr(path, '.');
        if (dot == NULL) return json_object_get(in, path);
        in = json_object_getn(in, path, (size_t)(dot - path));
    }
    return v;
}

/* The group that was asked for: a string, a number as the file writes it, true or false. */
static dial_status group_of(di_schema *s, const char **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = value_at(s, s->group_by);
    const di_span *span = di_records_find(s->rs, s->group_by);

    if (v == NULL || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0))
        goto done;
    if (json_is_object(v) || json_is_array(v))
        DI_BAD(s->rs, WRONG_TYPE, s->group_by, "group by a single value, or by KEY.KEY inside it",
               "expected a string, a number or a boolean, found %s", di_json_kind(v));
    s->group.size = 0;
    if (json_is_string(v))
        di_buf_append(&s->group, json_string_value(v), json_string_length(v));
    else if (json_is_boolean(v))
        di_buf_printf(&s->group, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_integer(v))
        di_buf_printf(&s->group, "%lld", (long long)json_integer_value(v));
    else if (span != NULL)
        di_buf_append(&s->group, di_records_text(s->rs, span), span->value_n);
    else
        di_buf_printf(&s->group, "%.9g", json_real_value(v));
    DI_TRY(di_buf_status(&s->group, err));
    *out = s->group.data;
done:
    return st;
}

static dial_status boolean(di_schema *s, const char *key, int *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const yes[] = {"true", "True", "TRUE", "1"};
    static const char *const no[] = {"false", "False", "FALSE", "0"};
    const json_t *v = di_schema_get_optional(s, key);

    if (v == NULL) goto done;
    if (json_is_boolean(v)) {
        *out = json_is_true(v);
        goto done;
    }
    for (size_t i = 0; i < 4 && is_csv(s) && json_is_string(v); i++) {
        if (strcmp(json_string_value(v), yes[i]) == 0) *out = 1;
        if (strcmp(json_string_value(v), no[i]) == 0) *out = 0;
    }
    if (*out < 0)
        DI_BAD(s->rs, WRONG_TYPE, di_schema_column(s, key), "write true or false without quotes",
               "expected a boolean, found %s", di_json_kind(v));
done:
    return st;
}

dial_status di_schema_extras(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(name_of(s, "id", &s->id, &row->id, err));
    if (s->group_by != NULL) {
        DI_TRY(group_of(s, &row->group, err));
    } else {
        DI_TRY(name_of(s, "topic", &s->group, &row->group, err));
        if (row->group == NULL) DI_TRY(name_of(s, "subset", &s->group, &row->group, err));
    }
    DI_TRY(boolean(s, "length_matched", &row->length_matched, err));
    if (di_schema_get_optional(s, "weight") != NULL) {
        DI_TRY(di_schema_number(s, "weight", DI_BAD_WRONG_TYPE, &row->weight, err));
        if (row->weight < 0)
            DI_BAD(s->rs, WRONG_TYPE, di_schema_column(s, "weight"), "0 leaves the row out",
                   "expected a weight of at least 0, found %g", row->weight);
    }
done:
    return st;
}
