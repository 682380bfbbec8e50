#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

dial_status di_json_parse(const char *text, size_t n, const char *where, int64_t line, json_t **out,
                          dial_error *err)
{
    static const char *const reason[] = {[DI_JSON_SYNTAX] = "json_syntax",
                                         [DI_JSON_DUPLICATE_KEY] = "duplicate_key",
                                         [DI_JSON_BAD_UTF8] = "bad_utf8",
                                         [DI_JSON_NUMBER_RANGE] = "json_syntax",
                                         [DI_JSON_TOO_DEEP] = "json_syntax"};
    dial_status st = DIAL_OK;
    di_json_fault bad;
    json_t *v = di_json_load(text, n, 0, &bad);

    if (v == NULL && bad.kind == DI_JSON_NOMEM)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to parse '%s'", where);
    if (v == NULL)
        DI_FAIL_AT(
            err, DIAL_ERR_INPUT,
            DI_FMT("%s:%lld:%lld", where, (long long)(line + bad.line - 1), (long long)bad.column),
            bad.kind == DI_JSON_TOO_DEEP ? "flatten the value" : "correct the JSON there", "%s: %s",
            reason[bad.kind], bad.message);
    *out = v;
done:
    return st;
}

dial_status di_json_read(const di_alloc *al, const char *path, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL;
    size_t n = 0;

    DI_TRY(di_read_file(al, path, &text, &n, err));
    DI_TRY(di_json_parse(text, n, path, 1, out, err));
done:
    di_free(al, text);
    return st;
}

static int append(const char *data, size_t n, void *buf)
{
    di_buf_append(buf, data, n);
    return 0;
}

dial_status di_json_write(const json_t *value, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (json_dump_callback(value, append, out,
                           JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to write JSON");
    DI_TRY(di_buf_status(out, err));
done:
    return st;
}

void di_json_put(json_t *object, const char *key, json_t *value, int *failed)
{
    if (json_object_set_new(object, key, value) != 0) *failed = 1;
}

void di_json_add(json_t *array, json_t *value, int *failed)
{
    if (json_array_append_new(array, value) != 0) *failed = 1;
}

json_t *di_json_whole(json_t *value, int failed)
{
    if (!failed) return value;
    json_decref(value);
    return NULL;
}

const char *di_json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}

static json_t *rounded(double x, int digits)
{
    char text[40];

    if (!isfinite(x)) return json_null();
    snprintf(text, sizeof text, "%.*g", digits, x);
    return json_real(strtod(text, NULL));
}

json_t *di_json_stat(double x)
{
    return rounded(x, 6);
}

json_t *di_json_f32(float x)
{
    return rounded((double)x, 9);
}
