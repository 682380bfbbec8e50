/* Methods, functions, filters and tests: those that templates of chat models use, by name. */
#include <string.h>

#include "text/jinja_value.h"
#include "text/unicode.h"

typedef di_jinja_node node;
typedef di_jinja_value value;

#define FAIL(e, n, ...) DI_JINJA_FAIL((e)->t, (n), __VA_ARGS__)

enum { MOST_ARGUMENTS = 4 };

/* For %.*s: the beginning of a name. */
static int some(di_str s)
{
    return s.size > 60 ? 60 : (int)s.size;
}

static value text_value(di_str s)
{
    return (value){.kind = DI_V_STRING, .text = s};
}

static value truth_value(int yes)
{
    return (value){.kind = DI_V_BOOL, .number = yes != 0};
}

/* The arguments of a call without keywords, between `least` and `most` of them. */
static dial_status arguments(di_jinja_eval *e, const node *n, int least, int most, value *out,
                             int *count, dial_error *err)
{
    dial_status st = DIAL_OK;

    *count = 0;
    for (const node *a = n->b; a != NULL; a = a->next) {
        if (a->kind == DI_J_KEYWORD || *count == most)
            FAIL(e, a, "an argument that is not understood here");
        DI_TRY(di_jinja_eval_node(e, a, &out[(*count)++], err));
    }
    if (*count < least) FAIL(e, n, "expected %d arguments, found %d", least, *count);
done:
    return st;
}

static dial_status need_text(di_jinja_eval *e, const node *n, value v, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (v.kind != DI_V_STRING) FAIL(e, n, "expected text, found %s", di_jinja_kind_of(v));
done:
    return st;
}

/* --- texts ------------------------------------------------------------------------------------ */

static int among(di_str set, const char *c, size_t size)
{
    return memmem(set.data, set.size, c, size) != NULL; /* UTF-8: found at starts alone */
}

/* strip(chars): the code points of `set` at the ends. */
static di_str strip_set(di_str s, di_str set, int ends)
{
    size_t begin = 0, end = s.size, at;

    while ((ends & DI_STRIP_LEFT) && begin < end &&
           among(set, s.data + begin, di_utf8_size(s.data[begin])))
        begin += di_utf8_size(s.data[begin]);
    while ((ends & DI_STRIP_RIGHT) && end > begin) {
        at = di_utf8_before(s.data, end);
        if (!among(set, s.data + at, end - at)) break;
        end = at;
    }
    return (di_str){s.data + begin, end - begin};
}

static dial_status strip(di_jinja_eval *e, const node *n, value a, int ends, value *out,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    value set[MOST_ARGUMENTS];
    int count;

    DI_TRY(arguments(e, n, 0, 1, set, &count, err));
    if (count > 0) DI_TRY(need_text(e, n, set[0], err));
    *out = text_value(count > 0 ? strip_set(a.text, set[0].text, ends) : di_strip(a.text, ends));
done:
    return st;
}

/* The part of *rest before the separator, or before white space (separator NULL); 0: no more. */
static int next_part(di_str *rest, const di_str *separator, int last, di_str *out)
{
    const char *hit = NULL;
    size_t n = 0, size = 0;

    if (separator == NULL) {
        *rest = di_strip(*rest, DI_STRIP_LEFT);
        if (rest->size == 0) return 0;
        while (!last && n < rest->size &&
               di_strip((di_str){rest->data + n, size = di_utf8_size(rest->data[n])}, DI_STRIP_BOTH)
                       .size > 0)
            n += size;
        if (last) n = di_strip(*rest, DI_STRIP_RIGHT).size;
        *out = (di_str){rest->data, n};
        *rest = (di_str){rest->data + n, rest->size - n};
        return 1;
    }
    if (rest->data == NULL) return 0;
    if (!last) hit = memmem(rest->data, rest->size, separator->data, separator->size);
    *out = (di_str){rest->data, hit != NULL ? (size_t)(hit - rest->data) : rest->size};
    n = out->size + separator->size;
    *rest = hit != NULL ? (di_str){rest->data + n, rest->size - n} : (di_str){NULL, 0};
    return 1;
}

/* split() at runs of white space, split(separator), split(separator, most). */
static dial_status split(di_jinja_eval *e, const node *n, value a, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value arg[MOST_ARGUMENTS] = {{.kind = DI_V_NONE}};
    const di_str *separator = NULL;
    di_str rest, one;
    int64_t most = -1;
    size_t k = 0;
    int count;

    DI_TRY(arguments(e, n, 0, 2, arg, &count, err));
    if (count > 0 && arg[0].kind != DI_V_NONE) {
        DI_TRY(need_text(e, n, arg[0], err));
        if (arg[0].text.size == 0) FAIL(e, n, "an empty separator");
        separator = &arg[0].text;
    }
    if (count > 1 && arg[1].kind != DI_V_INT) FAIL(e, n, "expected an integer");
    if (count > 1) most = arg[1].number;
    for (int fill = 0; fill < 2; fill++) { /* counted first */
        if (fill) DI_TRY(di_jinja_list(e, n, k, out, err));
        rest = a.text;
        for (k = 0; next_part(&rest, separator, most >= 0 && (int64_t)k == most, &one); k++)
            if (fill) out->item[k] = text_value(one);
    }
done:
    return st;
}

static dial_status replace(di_jinja_eval *e, const node *n, value a, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value arg[MOST_ARGUMENTS] = {{.kind = DI_V_NONE}};
    di_str rest = a.text;
    const char *hit;
    int count;
    di_buf b;

    di_buf_init(&b, e->t->al);
    DI_TRY(arguments(e, n, 2, 2, arg, &count, err));
    DI_TRY(need_text(e, n, arg[0], err));
    DI_TRY(need_text(e, n, arg[1], err));
    if (arg[0].text.size == 0) FAIL(e, n, "an empty text to replace");
    while ((hit = memmem(rest.data, rest.size, arg[0].text.data, arg[0].text.size)) != NULL) {
        di_buf_append(&b, rest.data, (size_t)(hit - rest.data));
        di_buf_append(&b, arg[1].text.data, arg[1].text.size);
        rest.size -= (size_t)(hit - rest.data) + arg[0].text.size;
        rest.data = hit + arg[0].text.size;
        if (b.size > e->pool.limit) FAIL(e, n, "the text grows past %zu bytes", e->pool.limit);
    }
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_jinja_join(e, n, (di_str){b.data, b.size}, rest, out, err));
done:
    di_buf_deinit(&b);
    return st;
}

static dial_status affix(di_jinja_eval *e, const node *n, value a, int end, value *out,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    value arg[MOST_ARGUMENTS] = {{.kind = DI_V_NONE}};
    int count;
    size_t k;

    DI_TRY(arguments(e, n, 1, 1, arg, &count, err));
    DI_TRY(need_text(e, n, arg[0], err));
    k = arg[0].text.size;
    *out =
        truth_value(k == 0 || (k <= a.text.size && memcmp(a.text.data + (end ? a.text.size - k : 0),
                                                          arg[0].text.data, k) == 0));
done:
    return st;
}

/* ASCII alone, where all of Unicode's rules for case agree. */
static dial_status change_case(di_jinja_eval *e, const node *n, value a, int upper, value *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    char *s;

    DI_TRY(di_jinja_join(e, n, a.text, (di_str){"", 0}, out, err));
    s = (char *)(uintptr_t)out->text.data;
    for (size_t i = 0; i < out->text.size; i++) {
        if ((unsigned char)s[i] >= 0x80) FAIL(e, n, "upper and lower case of ASCII text alone");
        if (upper ? s[i] >= 'a' && s[i] <= 'z' : s[i] >= 'A' && s[i] <= 'Z')
            s[i] = (char)(s[i] ^ 0x20);
    }
done:
    return st;
}

/* --- methods and functions ----------------------------------------------------------------------
 */

static dial_status method_of_text(di_jinja_eval *e, const node *n, value a, value *out,
                                  dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_str name = n->a->text;
    value none[1];
    int count;

    if (di_str_is(name, "strip")) return strip(e, n, a, DI_STRIP_BOTH, out, err);
    if (di_str_is(name, "lstrip")) return strip(e, n, a, DI_STRIP_LEFT, out, err);
    if (di_str_is(name, "rstrip")) return strip(e, n, a, DI_STRIP_RIGHT, out, err);
    if (di_str_is(name, "split")) return split(e, n, a, out, err);
    if (di_str_is(name, "replace")) return replace(e, n, a, out, err);
    if (di_str_is(name, "startswith")) return affix(e, n, a, 0, out, err);
    if (di_str_is(name, "endswith")) return affix(e, n, a, 1, out, err);
    if (di_str_is(name, "upper") || di_str_is(name, "lower")) {
        DI_TRY(arguments(e, n, 0, 0, none, &count, err));
        return change_case(e, n, a, di_str_is(name, "upper"), out, err);
    }
    FAIL(e, n->a, "texts have no method '%.*s' here", some(name), name.data);
done:
    return st;
}

/* mapping.get(key) and mapping.get(key, otherwise) */
static dial_status get(di_jinja_eval *e, const node *n, value a, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value arg[MOST_ARGUMENTS] = {{.kind = DI_V_NONE}};
    const value *v;
    int count;

    DI_TRY(arguments(e, n, 1, 2, arg, &count, err));
    DI_TRY(need_text(e, n, arg[0], err));
    v = di_jinja_member(a.map, arg[0].text);
    *out = v != NULL ? *v : count > 1 ? arg[1] : (value){.kind = DI_V_NONE};
done:
    return st;
}

/* namespace(name=value, ...) */
static dial_status name_space(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value v;

    DI_TRY(di_jinja_map(e, n, out, err));
    out->kind = DI_V_NAMESPACE;
    for (const node *a = n->b; a != NULL; a = a->next) {
        if (a->kind != DI_J_KEYWORD) FAIL(e, a, "expected name=value");
        DI_TRY(di_jinja_eval_node(e, a->a, &v, err));
        DI_TRY(di_jinja_put(e, out->map, a->text, v, err));
    }
done:
    return st;
}

dial_status di_jinja_call(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const node *f = n->a;
    value a, arg[MOST_ARGUMENTS];
    int count;

    if (f->kind == DI_J_ATTRIBUTE) {
        DI_TRY(di_jinja_eval_node(e, f->a, &a, err));
        if (a.kind == DI_V_STRING) return method_of_text(e, n, a, out, err);
        if (a.kind == DI_V_MAP && di_str_is(f->text, "get")) return get(e, n, a, out, err);
        FAIL(e, f, "%s has no method '%.*s' here", di_jinja_kind_of(a), some(f->text),
             f->text.data);
    }
    if (f->kind == DI_J_NAME && di_str_is(f->text, "namespace")) return name_space(e, n, out, err);
    if (f->kind == DI_J_NAME && di_str_is(f->text, "raise_exception")) {
        DI_TRY(arguments(e, n, 1, 1, arg, &count, err));
        DI_TRY(di_jinja_to_string(e, n, &arg[0], err));
        FAIL(e, n, "the template refuses the dialogue: %.*s",
             arg[0].text.size > 160 ? 160 : (int)arg[0].text.size, arg[0].text.data);
    }
    FAIL(e, f, "there is no function '%.*s' here", some(f->text),
         f->text.data != NULL ? f->text.data : "");
done:
    return st;
}

/* --- filters ---------------------------------------------------------------------------------- */

static dial_status length(di_jinja_eval *e, const node *n, value a, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t count = (int64_t)a.n;

    if (a.kind == DI_V_STRING)
        for (size_t i = 0; i < a.text.size; i++)
            count += ((unsigned char)a.text.data[i] & 0xc0) != 0x80;
    else if (a.kind == DI_V_MAP)
        count = (int64_t)a.map->n;
    else if (a.kind != DI_V_LIST && a.kind != DI_V_UNDEFINED)
        FAIL(e, n, "%s has no length", di_jinja_kind_of(a));
    *out = (value){.kind = DI_V_INT, .number = count};
done:
    return st;
}

/* selectattr(name), selectattr(name, "equalto", v), selectattr(name, "defined"); rejectattr. */
static dial_status select_by(di_jinja_eval *e, const node *n, value a, int wanted, value *out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    value arg[MOST_ARGUMENTS] = {{.kind = DI_V_NONE}}, v;
    int count, yes;
    size_t k = 0;

    DI_TRY(arguments(e, n, 1, 3, arg, &count, err));
    if (a.kind != DI_V_LIST) FAIL(e, n, "expected a list, found %s", di_jinja_kind_of(a));
    DI_TRY(need_text(e, n, arg[0], err));
    if (count > 1) DI_TRY(need_text(e, n, arg[1], err));
    DI_TRY(di_jinja_list(e, n, a.n, out, err));
    for (size_t i = 0; i < a.n; i++) {
        DI_TRY(di_jinja_attribute(e, n, a.item[i], arg[0].text, &v, err));
        if (count == 1)
            yes = di_jinja_truth(v);
        else if (count == 3 && (di_str_is(arg[1].text, "equalto") || di_str_is(arg[1].text, "eq") ||
                                di_str_is(arg[1].text, "==")))
            yes = di_jinja_equal(v, arg[2]);
        else if (count == 2 && di_str_is(arg[1].text, "defined"))
            yes = v.kind != DI_V_UNDEFINED;
        else if (count == 2 && di_str_is(arg[1].text, "undefined"))
            yes = v.kind == DI_V_UNDEFINED;
        else
            FAIL(e, n, "no such test here: '%.*s'", some(arg[1].text), arg[1].text.data);
        if (yes == wanted) out->item[k++] = a.item[i];
    }
    out->n = k;
done:
    return st;
}

dial_status di_jinja_filter(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_str name = n->text;
    value a, arg[MOST_ARGUMENTS];
    int count;

    DI_TRY(di_jinja_eval_node(e, n->a, &a, err));
    if (di_str_is(name, "selectattr")) return select_by(e, n, a, 1, out, err);
    if (di_str_is(name, "rejectattr")) return select_by(e, n, a, 0, out, err);
    if (di_str_is(name, "default") || di_str_is(name, "d")) {
        DI_TRY(arguments(e, n, 0, 2, arg, &count, err));
        *out = a;
        if (a.kind == DI_V_UNDEFINED || (count > 1 && di_jinja_truth(arg[1]) && !di_jinja_truth(a)))
            *out = count > 0 ? arg[0] : text_value((di_str){"", 0});
        goto done;
    }
    if (di_str_is(name, "trim")) {
        DI_TRY(di_jinja_to_string(e, n, &a, err));
        return strip(e, n, a, DI_STRIP_BOTH, out, err);
    }
    if (di_str_is(name, "upper") || di_str_is(name, "lower")) {
        DI_TRY(arguments(e, n, 0, 0, arg, &count, err));
        DI_TRY(di_jinja_to_string(e, n, &a, err));
        return change_case(e, n, a, di_str_is(name, "upper"), out, err);
    }
    if (di_str_is(name, "string")) {
        DI_TRY(arguments(e, n, 0, 0, arg, &count, err));
        DI_TRY(di_jinja_to_string(e, n, &a, err));
        *out = a;
        goto done;
    }
    if (di_str_is(name, "length") || di_str_is(name, "count") || di_str_is(name, "list")) {
        DI_TRY(arguments(e, n, 0, 0, arg, &count, err));
        if (!di_str_is(name, "list")) return length(e, n, a, out, err);
        if (a.kind != DI_V_LIST) FAIL(e, n, "expected a list, found %s", di_jinja_kind_of(a));
        *out = a;
        goto done;
    }
    FAIL(e, n, "there is no filter '%.*s' here", some(name), name.data);
done:
    return st;
}

/* --- tests ------------------------------------------------------------------------------------ */

dial_status di_jinja_test(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_str name = n->text;
    value a, arg[MOST_ARGUMENTS];
    int yes = 0, count;

    DI_TRY(di_jinja_eval_node(e, n->a, &a, err));
    DI_TRY(arguments(e, n, 0, 1, arg, &count, err));
    if (count == 1) {
        if (!di_str_is(name, "equalto") && !di_str_is(name, "eq"))
            FAIL(e, n, "there is no test '%.*s' here", some(name), name.data);
        yes = di_jinja_equal(a, arg[0]);
    } else if (di_str_is(name, "defined"))
        yes = a.kind != DI_V_UNDEFINED;
    else if (di_str_is(name, "undefined"))
        yes = a.kind == DI_V_UNDEFINED;
    else if (di_str_is(name, "none"))
        yes = a.kind == DI_V_NONE;
    else if (di_str_is(name, "string"))
        yes = a.kind == DI_V_STRING;
    else if (di_str_is(name, "iterable") || di_str_is(name, "sequence"))
        yes = a.kind == DI_V_STRING || a.kind == DI_V_LIST || a.kind == DI_V_MAP ||
              a.kind == DI_V_UNDEFINED;
    else if (di_str_is(name, "mapping"))
        yes = a.kind == DI_V_MAP;
    else if (di_str_is(name, "boolean"))
        yes = a.kind == DI_V_BOOL;
    else if (di_str_is(name, "true"))
        yes = a.kind == DI_V_BOOL && a.number != 0;
    else if (di_str_is(name, "false"))
        yes = a.kind == DI_V_BOOL && a.number == 0;
    else
        FAIL(e, n, "there is no test '%.*s' here", some(name), name.data);
    *out = truth_value(yes != (n->number != 0));
done:
    return st;
}
