#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

enum { MAX_DEPTH = 64 };

static int too_deep(const json_t *v, int depth)
{
    const char *key;
    json_t *child;
    size_t i;

    if (depth > MAX_DEPTH) return 1;
    if (json_is_object(v)) {
        json_object_foreach ((json_t *)(uintptr_t)v, key, child)
            if (too_deep(child, depth + 1)) return 1;
    } else if (json_is_array(v)) {
        json_array_foreach (v, i, child)
            if (too_deep(child, depth + 1)) return 1;
    }
    return 0;
}

dial_status di_json_parse(const char *text, size_t n, const char *where, int64_t line, json_t **out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    json_error_t bad = {0}; /* jansson leaves its code byte alone on some failures */
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_t *v = json_loadb(text, n, flags, &bad);

    /* Integers beyond 64 bits, such as model_max_length 1e30 in tokenizer_config.json: as reals. */
    if (v == NULL && json_error_code(&bad) == json_error_numeric_overflow)
        v = json_loadb(text, n, flags | JSON_DECODE_INT_AS_REAL, &bad);
    if (v == NULL) {
        const char *reason = json_error_code(&bad) == json_error_duplicate_key  ? "duplicate_key"
                             : json_error_code(&bad) == json_error_invalid_utf8 ? "bad_utf8"
                                                                                : "json_syntax";
        if (json_error_code(&bad) == json_error_out_of_memory || bad.text[0] == 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to parse '%s'", where);
        DI_FAIL_AT(err, DIAL_ERR_INPUT,
                   DI_FMT("%s:%lld:%d", where, (long long)(line + bad.line - 1), bad.column),
                   "correct the JSON there", "%s: %s", reason, bad.text);
    }
    if (too_deep(v, 0))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s:%lld:1", where, (long long)line),
                   "flatten the value", "json_syntax: nested deeper than %d", MAX_DEPTH);
    *out = v;
    v = NULL;
done:
    json_decref(v);
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
