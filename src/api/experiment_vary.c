/* "vary" of an experiment: one grid over files, the values standing for {NAME} in their paths. */
#include <stdio.h>
#include <string.h>

#include "api/experiment_parts.h"
#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"

enum { MAX_NAMES = 8, MAX_POINTS = 20000 };

int di_axis_text(const json_t *v, char *out, size_t size)
{
    if (json_is_real(v)) return snprintf(out, size, "%.15g", json_real_value(v)) < (int)size;
    return di_value_text(v, out, size);
}

/* The first {NAME} of a path: where it begins, and what is between the braces; NULL: none. */
static const char *next_name(const char *path, char name[64])
{
    const char *open = strchr(path, '{'), *close = open != NULL ? strchr(open, '}') : NULL;

    if (close == NULL || close - open > 63) return NULL;
    snprintf(name, 64, "%.*s", (int)(close - open - 1), open + 1);
    return open;
}

dial_status di_vary_path(const di_alloc *al, const char *path, const json_t *point, char **out,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *at = path, *open;
    char name[64], text[256];
    di_buf b;

    di_buf_init(&b, al);
    while ((open = next_name(at, name)) != NULL) {
        const json_t *v = json_object_get(point, name);

        if (v == NULL)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, path,
                       DI_FMT("write \"vary\": {\"%s\": [...]}, or rename the file", name),
                       "\"vary\" has no '%s'", name);
        if (!di_axis_text(v, text, sizeof text))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("vary.%s", name), "write shorter values",
                       "a value is too long for a path");
        di_buf_append(&b, at, (size_t)(open - at));
        di_buf_printf(&b, "%s", text);
        at = open + strlen(name) + 2;
    }
    di_buf_printf(&b, "%s", at);
    DI_TRY(di_buf_status(&b, err));
    *out = di_buf_take(&b);
done:
    di_buf_deinit(&b);
    return st;
}

/* Does a path of `files` hold {name}? */
static int is_used(const json_t *v, const char *name)
{
    const char *key, *at;
    char found[64];
    json_t *one;
    size_t i;
    int used = 0;

    json_array_foreach (v, i, one) used |= is_used(one, name);
    json_object_foreach ((json_t *)(uintptr_t)v, key, one) used |= is_used(one, name);
    for (at = json_string_value(v); at != NULL && (at = next_name(at, found)) != NULL; at++)
        used |= strcmp(found, name) == 0;
    return used;
}

static dial_status check_values(const di_experiment *x, const char *name, const json_t *values,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    char text[256];
    json_t *v;
    size_t i;

    if (!json_is_array(values) || json_array_size(values) == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("vary.%s", name), "write [0, 0.5, 1]",
                   "expected a list of values");
    if (di_train_flag(name) != NULL || strcmp(name, "mix") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("vary.%s", name),
                   "choose another name; values of a flag stand in \"grid\"",
                   "this is a flag of dial train");
    if (!is_used(json_object_get(x->file, "files"), name))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("vary.%s", name),
                   DI_FMT("write {%s} into a path of \"files\", or leave the key out", name),
                   "no path uses it");
    json_array_foreach (values, i, v)
        if (!di_axis_text(v, text, sizeof text) || strchr(text, '/') != NULL || text[0] == '\0')
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("vary.%s", name),
                       "write strings without a slash, or numbers",
                       "value number %d cannot be part of a file's name", (int)i + 1);
done:
    return st;
}

/* The paths of one side at a point, as one text. */
static dial_status side_at(const di_experiment *x, const char *side, const json_t *point, di_buf *b,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = json_object_get(json_object_get(x->file, "files"), side);
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    char *path = NULL;

    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);

        if (text == NULL) continue;
        di_free(x->al, path);
        path = NULL;
        DI_TRY(di_vary_path(x->al, text, point, &path, err));
        di_buf_printf(b, "%s\n", path);
    }
    DI_TRY(di_buf_status(b, err));
done:
    di_free(x->al, path);
    return st;
}

/* Are source and target the same files there? Then there is nothing to adapt to. */
static dial_status is_idle(const di_experiment *x, const json_t *point, int *idle, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf source, target;

    di_buf_init(&source, x->al);
    di_buf_init(&target, x->al);
    DI_TRY(side_at(x, "source", point, &source, err));
    DI_TRY(side_at(x, "target", point, &target, err));
    *idle = source.size == target.size && source.size > 0 &&
            memcmp(source.data, target.data, source.size) == 0;
done:
    di_buf_deinit(&source);
    di_buf_deinit(&target);
    return st;
}

/* Combination number i, the last name fastest. NULL: no memory. */
static json_t *point_at(const json_t *vary, int64_t i)
{
    json_t *point = json_object(), *values;
    const char *name;
    int64_t rest = 1;
    int failed = 0;

    json_object_foreach ((json_t *)(uintptr_t)vary, name, values)
        rest *= (int64_t)json_array_size(values);
    json_object_foreach ((json_t *)(uintptr_t)vary, name, values) {
        int64_t n = (int64_t)json_array_size(values);

        rest /= n;
        di_json_put(point, name, json_incref(json_array_get(values, (size_t)(i / rest % n))),
                    &failed);
    }
    return di_json_whole(point, failed);
}

dial_status di_vary_points(const di_experiment *x, int64_t random, uint64_t seed, json_t **points,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *vary = json_object_get(x->file, "vary"), *list = json_array(), *point = NULL, *values;
    di_rng r = di_rng_make(seed, DI_RNG_VARY, 0);
    int64_t n = 1, *order = NULL;
    const char *name;
    int failed = 0;

    if (vary != NULL && (!json_is_object(vary) || json_object_size(vary) > MAX_NAMES))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "vary", "write {\"rho\": [0, 0.5, 1]}",
                   "expected an object of at most %d lists", MAX_NAMES);
    json_object_foreach (vary, name, values) {
        DI_TRY(check_values(x, name, values, err));
        n *= (int64_t)json_array_size(values);
        if (n > MAX_POINTS)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "vary", "give fewer values",
                       "more than %d combinations", MAX_POINTS);
    }
    order = di_new_array(x->al, (size_t)n, sizeof *order);
    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the grid");
    for (int64_t i = 0; i < n; i++) order[i] = i;
    if (random > 0) di_rng_shuffle(&r, order, n); /* of all, so that more draws begin with these */
    for (int64_t i = 0; i < n; i++) {
        int idle = 0;

        if (vary != NULL && random > 0 && (int64_t)json_array_size(list) == random) break;
        json_decref(point);
        point = point_at(vary, order[i]);
        if (point == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the grid");
        if (vary != NULL) DI_TRY(is_idle(x, point, &idle, err));
        if (!idle) di_json_add(list, json_incref(point), &failed);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the grid");
    if (json_array_size(list) == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "vary", "let source and target differ",
                   "source and target are the same files in every combination");
    *points = json_incref(list);
done:
    di_free(x->al, order);
    json_decref(point);
    json_decref(list);
    return st;
}
