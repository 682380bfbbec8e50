/* Lists, mappings and strings of a template. Strings count in code points, as Python's do. */
#include "text/jinja_value.h"

#include <stdio.h>
#include <string.h>

#include "text/unicode.h"

typedef di_jinja_node node;
typedef di_jinja_value value;

#define FAIL(e, n, ...) DI_JINJA_FAIL((e)->t, (n), __VA_ARGS__)

/* Memory of the rendering; over the limit it is the template's fault. */
static dial_status take(di_jinja_eval *e, const node *n, size_t bytes, void **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const node start = {.line = 1, .column = 1};

    *out = bytes <= e->pool.limit - e->pool.total ? di_pool_take(&e->pool, bytes) : NULL;
    if (*out == NULL && bytes + e->pool.total + 64 < e->pool.limit)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to render a chat template");
    if (*out == NULL)
        FAIL(e, n != NULL ? n : &start, "rendering takes more than %zu bytes", e->pool.limit);
done:
    return st;
}

dial_status di_jinja_list(di_jinja_eval *e, const node *n, size_t count, value *out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t bytes = 0;
    void *item = NULL;

    if (!di_mul_size(count, sizeof *out->item, &bytes)) bytes = SIZE_MAX;
    DI_TRY(take(e, n, bytes, &item, err));
    *out = (value){.kind = DI_V_LIST, .item = item, .n = count};
done:
    return st;
}

dial_status di_jinja_map(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    void *map = NULL;

    DI_TRY(take(e, n, sizeof *out->map, &map, err));
    *out = (value){.kind = DI_V_MAP, .map = map};
done:
    return st;
}

const value *di_jinja_member(const di_jinja_names *names, di_str name)
{
    for (size_t i = 0; i < names->n; i++)
        if (names->row[i].name.size == name.size &&
            (name.size == 0 || memcmp(names->row[i].name.data, name.data, name.size) == 0))
            return &names->row[i].v;
    return NULL;
}

dial_status di_jinja_put(di_jinja_eval *e, di_jinja_names *names, di_str name, value v,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    value *old = (value *)(uintptr_t)di_jinja_member(names, name);
    void *more = NULL;

    if (old != NULL) {
        *old = v;
        goto done;
    }
    if (names->n == names->cap) {
        size_t cap = names->cap > 0 ? 2 * names->cap : 4;

        DI_TRY(take(e, NULL, cap * sizeof *names->row, &more, err));
        if (names->n > 0) memcpy(more, names->row, names->n * sizeof *names->row);
        names->row = more;
        names->cap = cap;
    }
    names->row[names->n].name = name;
    names->row[names->n++].v = v;
done:
    return st;
}

dial_status di_jinja_join(di_jinja_eval *e, const node *n, di_str a, di_str b, value *out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    void *text = NULL;

    DI_TRY(take(e, n, a.size + b.size, &text, err));
    if (a.size > 0) memcpy(text, a.data, a.size);
    if (b.size > 0) memcpy((char *)text + a.size, b.data, b.size);
    *out = (value){.kind = DI_V_STRING, .text = {text, a.size + b.size}};
done:
    return st;
}

const char *di_jinja_kind_of(value v)
{
    static const char *const names[] = {"something undefined", "none",       "a boolean",
                                        "an integer",          "text",       "a list",
                                        "a mapping",           "a namespace"};

    return names[v.kind];
}

int di_jinja_truth(value v)
{
    switch (v.kind) {
    case DI_V_UNDEFINED:
    case DI_V_NONE: return 0;
    case DI_V_BOOL:
    case DI_V_INT: return v.number != 0;
    case DI_V_STRING: return v.text.size > 0;
    case DI_V_LIST: return v.n > 0;
    case DI_V_MAP: return v.map->n > 0;
    case DI_V_NAMESPACE: break;
    }
    return 1;
}

static int is_number(value v)
{
    return v.kind == DI_V_BOOL || v.kind == DI_V_INT;
}

int di_jinja_equal(value a, value b)
{
    if (is_number(a) && is_number(b)) return a.number == b.number;
    if (a.kind != b.kind) return 0;
    switch (a.kind) {
    case DI_V_STRING:
        return a.text.size == b.text.size &&
               (a.text.size == 0 || memcmp(a.text.data, b.text.data, a.text.size) == 0);
    case DI_V_LIST:
        if (a.n != b.n) return 0;
        for (size_t i = 0; i < a.n; i++)
            if (!di_jinja_equal(a.item[i], b.item[i])) return 0;
        return 1;
    case DI_V_MAP:
        if (a.map == b.map) return 1;
        if (a.map->n != b.map->n) return 0;
        for (size_t i = 0; i < a.map->n; i++) {
            const value *v = di_jinja_member(b.map, a.map->row[i].name);

            if (v == NULL || !di_jinja_equal(a.map->row[i].v, *v)) return 0;
        }
        return 1;
    case DI_V_NAMESPACE: return a.map == b.map;
    default: return 1; /* undefined and none have one value each */
    }
}

dial_status di_jinja_to_string(di_jinja_eval *e, const node *n, value *v, dial_error *err)
{
    dial_status st = DIAL_OK;
    char digits[24];
    const char *word = digits;

    switch (v->kind) {
    case DI_V_STRING: goto done;
    case DI_V_UNDEFINED: word = ""; break;
    case DI_V_NONE: word = "None"; break;
    case DI_V_BOOL: word = v->number != 0 ? "True" : "False"; break;
    case DI_V_INT: snprintf(digits, sizeof digits, "%lld", (long long)v->number); break;
    default: FAIL(e, n, "expected text to print, found %s", di_jinja_kind_of(*v));
    }
    DI_TRY(di_jinja_join(e, n, (di_str){word, strlen(word)}, (di_str){"", 0}, v, err));
done:
    return st;
}

/* --- parts of values -------------------------------------------------------------------------- */

dial_status di_jinja_attribute(di_jinja_eval *e, const node *n, value a, di_str name, value *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const value *v;

    if (a.kind == DI_V_UNDEFINED)
        FAIL(e, n, "cannot take '%.*s' of something undefined",
             name.size > 40 ? 40 : (int)name.size, name.data);
    *out = (value){.kind = DI_V_UNDEFINED};
    if (a.kind != DI_V_MAP && a.kind != DI_V_NAMESPACE) goto done;
    v = di_jinja_member(a.map, name);
    if (v != NULL) *out = *v;
done:
    return st;
}

/* Code points of a text. */
static int64_t length_of(value v)
{
    int64_t n = 0;

    if (v.kind == DI_V_LIST) return (int64_t)v.n;
    for (size_t i = 0; i < v.text.size; i++) n += ((unsigned char)v.text.data[i] & 0xc0) != 0x80;
    return n;
}

/* Byte offset of code point i, from offset `at` of code point `from` on; i >= from. */
static size_t byte_of(di_str s, int64_t i, size_t at, int64_t from)
{
    for (; from < i && at < s.size; from++) at += di_utf8_size(s.data[at]);
    return at;
}

dial_status di_jinja_index(di_jinja_eval *e, const node *n, value a, value at, value *out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t i = at.number, count;

    if (at.kind == DI_V_STRING) return di_jinja_attribute(e, n, a, at.text, out, err);
    if (a.kind == DI_V_UNDEFINED) FAIL(e, n, "cannot index something undefined");
    *out = (value){.kind = DI_V_UNDEFINED};
    if ((a.kind != DI_V_LIST && a.kind != DI_V_STRING) || !is_number(at)) goto done;
    count = length_of(a);
    if (i < 0) i += count;
    if (i < 0 || i >= count) goto done;
    if (a.kind == DI_V_LIST) {
        *out = a.item[i];
    } else {
        size_t from = byte_of(a.text, i, 0, 0);

        *out = (value){.kind = DI_V_STRING,
                       .text = {a.text.data + from, di_utf8_size(a.text.data[from])}};
    }
done:
    return st;
}

/* A bound of a slice; none and absent leave *out. */
static dial_status bound(di_jinja_eval *e, const node *n, int64_t *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value v;

    if (n == NULL) goto done;
    DI_TRY(di_jinja_eval_node(e, n, &v, err));
    if (v.kind == DI_V_NONE) goto done;
    if (!is_number(v)) FAIL(e, n, "expected an integer, found %s", di_jinja_kind_of(v));
    *out = v.number;
done:
    return st;
}

/* A bound given as in Python, into [low, high]. */
static int64_t clamp(int64_t i, int64_t count, int64_t low, int64_t high)
{
    if (i < 0) i += count;
    return i < low ? low : i > high ? high : i;
}

dial_status di_jinja_slice(di_jinja_eval *e, const node *n, value a, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t count, start, stop, step = 1, k = 0;

    if (a.kind != DI_V_LIST && a.kind != DI_V_STRING)
        FAIL(e, n, "expected a list or text to slice, found %s", di_jinja_kind_of(a));
    count = length_of(a);
    DI_TRY(bound(e, n->d, &step, err));
    if (step == 0 || (a.kind == DI_V_STRING && step != 1))
        FAIL(e, n, step == 0 ? "a slice has step 0" : "texts are sliced in steps of 1 alone");
    start = step > 0 ? 0 : count; /* what clamp makes of an absent bound */
    stop = step > 0 ? count : -count - 1;
    DI_TRY(bound(e, n->b, &start, err));
    DI_TRY(bound(e, n->c, &stop, err));
    start = clamp(start, count, step > 0 ? 0 : -1, step > 0 ? count : count - 1);
    stop = clamp(stop, count, step > 0 ? 0 : -1, step > 0 ? count : count - 1);
    if (a.kind == DI_V_STRING) {
        size_t from = byte_of(a.text, start, 0, 0);
        size_t to = stop > start ? byte_of(a.text, stop, from, start) : from;

        *out = (value){.kind = DI_V_STRING, .text = {a.text.data + from, to - from}};
        goto done;
    }
    DI_TRY(di_jinja_list(e, n, (size_t)count, out, err));
    /* within a list's bounds step cannot overflow: |step| >= count ends the loop after one round */
    if (step > count) step = count + 1;
    if (step < -count) step = -count - 1;
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) out->item[k++] = a.item[i];
    out->n = (size_t)k;
done:
    return st;
}
