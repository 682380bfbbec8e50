/*
 * Rendering. Values are small and copied; strings, lists and mappings lie in a pool that is freed
 * at the end. Nothing is ever changed but the members of a namespace and the names of a scope.
 */
#include <stdio.h>
#include <string.h>

#include "text/jinja_impl.h"
#include "text/jinja_value.h"

typedef di_jinja_node node;
typedef di_jinja_value value;

enum { MOST_DEPTH = 500, MOST_STEPS = 1 << 24, ROOM = 64 << 20, ROOM_PER_BYTE = 64 };

#define FAIL(e, n, ...) DI_JINJA_FAIL((e)->t, (n), __VA_ARGS__)

/* --- names ------------------------------------------------------------------------------------ */

/* The value of a name in the innermost scope that has it. */
static value look_up(const di_jinja_eval *e, di_str name)
{
    for (const di_jinja_scope *s = e->scope; s != NULL; s = s->outer) {
        const value *v = di_jinja_member(&s->names, name);

        if (v != NULL) return *v;
    }
    return (value){.kind = DI_V_UNDEFINED};
}

static dial_status set_name(di_jinja_eval *e, const char *name, value v, dial_error *err)
{
    return di_jinja_put(e, &e->scope->names, (di_str){name, strlen(name)}, v, err);
}

/* --- operators -------------------------------------------------------------------------------- */

static dial_status need_int(di_jinja_eval *e, const node *n, value v, int64_t *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (v.kind != DI_V_INT && v.kind != DI_V_BOOL)
        FAIL(e, n, "expected an integer, found %s", di_jinja_kind_of(v));
    *out = v.number;
done:
    return st;
}

/* Floor division and the remainder of Python: the remainder has the divisor's sign. */
static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static dial_status arithmetic(di_jinja_eval *e, const node *n, value a, value b, value *out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t x = 0, y = 0, r = 0;
    int overflow = 0;

    DI_TRY(need_int(e, n, a, &x, err));
    DI_TRY(need_int(e, n, b, &y, err));
    if (di_str_is(n->text, "+"))
        overflow = __builtin_add_overflow(x, y, &r);
    else if (di_str_is(n->text, "-"))
        overflow = __builtin_sub_overflow(x, y, &r);
    else if (di_str_is(n->text, "*"))
        overflow = __builtin_mul_overflow(x, y, &r);
    else if (di_str_is(n->text, "/"))
        FAIL(e, n, "/ makes numbers with a point, which are not read; use //");
    else if (y == 0 || (x == INT64_MIN && y == -1))
        FAIL(e, n, "cannot divide %lld by %lld", (long long)x, (long long)y);
    else
        r = di_str_is(n->text, "//") ? floor_divide(x, y) : x - y * floor_divide(x, y);
    if (overflow) FAIL(e, n, "an integer does not fit into 64 bits");
    *out = (value){.kind = DI_V_INT, .number = r};
done:
    return st;
}

static dial_status binary(di_jinja_eval *e, const node *n, value a, value b, value *out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    int plus = di_str_is(n->text, "+");

    if (di_str_is(n->text, "~")) {
        DI_TRY(di_jinja_to_string(e, n, &a, err));
        DI_TRY(di_jinja_to_string(e, n, &b, err));
        plus = 1;
    }
    if (plus && a.kind == DI_V_STRING && b.kind == DI_V_STRING)
        return di_jinja_join(e, n, a.text, b.text, out, err);
    if (plus && a.kind == DI_V_LIST && b.kind == DI_V_LIST) {
        DI_TRY(di_jinja_list(e, n, a.n + b.n, out, err));
        if (a.n > 0) memcpy(out->item, a.item, a.n * sizeof *a.item);
        if (b.n > 0) memcpy(out->item + a.n, b.item, b.n * sizeof *b.item);
        goto done;
    }
    if (plus && (a.kind == DI_V_STRING || b.kind == DI_V_STRING || a.kind == DI_V_LIST))
        FAIL(e, n, "cannot add %s and %s", di_jinja_kind_of(a), di_jinja_kind_of(b));
    DI_TRY(arithmetic(e, n, a, b, out, err));
done:
    return st;
}

/* -1, 0, 1; integers with integers, strings with strings (by code points, which is by bytes). */
static dial_status order(di_jinja_eval *e, const node *n, value a, value b, int *out,
                         dial_error *err)
{
    dial_status st = DIAL_OK;

    if (a.kind == DI_V_STRING && b.kind == DI_V_STRING) {
        size_t least = a.text.size < b.text.size ? a.text.size : b.text.size;
        int c = least > 0 ? memcmp(a.text.data, b.text.data, least) : 0;

        *out = c != 0 ? c : (a.text.size > b.text.size) - (a.text.size < b.text.size);
        goto done;
    }
    if ((a.kind != DI_V_INT && a.kind != DI_V_BOOL) || (b.kind != DI_V_INT && b.kind != DI_V_BOOL))
        FAIL(e, n, "cannot order %s and %s", di_jinja_kind_of(a), di_jinja_kind_of(b));
    *out = (a.number > b.number) - (a.number < b.number);
done:
    return st;
}

static dial_status contains(di_jinja_eval *e, const node *n, value a, value in, int *out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;

    *out = 0;
    if (in.kind == DI_V_STRING) {
        if (a.kind != DI_V_STRING) FAIL(e, n, "cannot look for %s in text", di_jinja_kind_of(a));
        *out = a.text.size == 0 ||
               memmem(in.text.data, in.text.size, a.text.data, a.text.size) != NULL;
    } else if (in.kind == DI_V_LIST) {
        for (size_t i = 0; i < in.n && !*out; i++) *out = di_jinja_equal(a, in.item[i]);
    } else if (in.kind == DI_V_MAP && a.kind == DI_V_STRING) {
        *out = di_jinja_member(in.map, a.text) != NULL;
    } else {
        FAIL(e, n, "cannot look for %s in %s", di_jinja_kind_of(a), di_jinja_kind_of(in));
    }
done:
    return st;
}

static dial_status compare(di_jinja_eval *e, const node *n, value a, value b, int *out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    int c = 0, first = (unsigned char)n->text.data[0];

    if (di_str_is(n->text, "==") || first == '!') {
        *out = di_jinja_equal(a, b) == (first == '=');
    } else if (first == 'i' || first == 'n') {
        DI_TRY(contains(e, n, a, b, out, err));
        *out = *out == (first == 'i');
    } else {
        DI_TRY(order(e, n, a, b, &c, err));
        *out = first == '<' ? c < 0 : c > 0;
        if (n->text.size == 2) *out |= c == 0;
    }
done:
    return st;
}

/* --- expressions ------------------------------------------------------------------------------ */

static dial_status items(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t count = 0, i = 0;

    for (const node *x = n->a; x != NULL; x = x->next) count++;
    DI_TRY(di_jinja_list(e, n, count, out, err));
    for (const node *x = n->a; x != NULL; x = x->next)
        DI_TRY(di_jinja_eval_node(e, x, &out->item[i++], err));
done:
    return st;
}

static dial_status mapping(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value key, v;

    DI_TRY(di_jinja_map(e, n, out, err));
    for (const node *x = n->a; x != NULL; x = x->next->next) {
        DI_TRY(di_jinja_eval_node(e, x, &key, err));
        DI_TRY(di_jinja_eval_node(e, x->next, &v, err));
        if (key.kind != DI_V_STRING)
            FAIL(e, x, "expected a string as a key, found %s", di_jinja_kind_of(key));
        DI_TRY(di_jinja_put(e, out->map, key.text, v, err));
    }
done:
    return st;
}

static dial_status chain(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value left, right;
    int yes = 1;

    DI_TRY(di_jinja_eval_node(e, n->a, &left, err));
    for (const node *x = n->b; x != NULL && yes; x = x->next) {
        DI_TRY(di_jinja_eval_node(e, x->a, &right, err));
        DI_TRY(compare(e, x, left, right, &yes, err));
        left = right;
    }
    *out = (value){.kind = DI_V_BOOL, .number = yes};
done:
    return st;
}

static dial_status compute(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value a = {.kind = DI_V_UNDEFINED}, b = a;
    int64_t x = 0;
    int yes;

    switch (n->kind) {
    case DI_J_STRING: *out = (value){.kind = DI_V_STRING, .text = n->text}; goto done;
    case DI_J_INT: *out = (value){.kind = DI_V_INT, .number = n->number}; goto done;
    case DI_J_BOOL: *out = (value){.kind = DI_V_BOOL, .number = n->number}; goto done;
    case DI_J_NONE: *out = (value){.kind = DI_V_NONE}; goto done;
    case DI_J_NAME: *out = look_up(e, n->text); goto done;
    case DI_J_LIST: return items(e, n, out, err);
    case DI_J_MAP: return mapping(e, n, out, err);
    case DI_J_COMPARE: return chain(e, n, out, err);
    case DI_J_CALL: return di_jinja_call(e, n, out, err);
    case DI_J_FILTER: return di_jinja_filter(e, n, out, err);
    case DI_J_TEST: return di_jinja_test(e, n, out, err);
    case DI_J_CHOOSE:
        DI_TRY(di_jinja_eval_node(e, n->a, &a, err));
        *out = (value){.kind = DI_V_UNDEFINED};
        if (di_jinja_truth(a))
            DI_TRY(di_jinja_eval_node(e, n->b, out, err));
        else if (n->c != NULL)
            DI_TRY(di_jinja_eval_node(e, n->c, out, err));
        goto done;
    default: break;
    }
    DI_TRY(di_jinja_eval_node(e, n->a, &a, err));
    switch (n->kind) {
    case DI_J_ATTRIBUTE: return di_jinja_attribute(e, n, a, n->text, out, err);
    case DI_J_INDEX:
        DI_TRY(di_jinja_eval_node(e, n->b, &b, err));
        return di_jinja_index(e, n, a, b, out, err);
    case DI_J_SLICE: return di_jinja_slice(e, n, a, out, err);
    case DI_J_NOT: *out = (value){.kind = DI_V_BOOL, .number = !di_jinja_truth(a)}; goto done;
    case DI_J_NEGATE:
        DI_TRY(need_int(e, n, a, &x, err));
        *out = (value){.kind = DI_V_INT, .number = x == INT64_MIN ? x : -x};
        goto done;
    case DI_J_AND:
    case DI_J_OR:
        yes = di_jinja_truth(a);
        *out = a; /* as in Python: the operand that settles it */
        if (yes == (n->kind == DI_J_AND)) DI_TRY(di_jinja_eval_node(e, n->b, out, err));
        goto done;
    default: break; /* DI_J_BINARY */
    }
    DI_TRY(di_jinja_eval_node(e, n->b, &b, err));
    DI_TRY(binary(e, n, a, b, out, err));
done:
    return st;
}

static dial_status count_step(di_jinja_eval *e, const node *n, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (e->depth > MOST_DEPTH) FAIL(e, n, "nested deeper than %d", MOST_DEPTH);
    if (++e->steps > MOST_STEPS) FAIL(e, n, "over %d steps", MOST_STEPS);
done:
    return st;
}

dial_status di_jinja_eval_node(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value v = {.kind = DI_V_UNDEFINED};

    e->depth++;
    DI_TRY(count_step(e, n, err));
    DI_TRY(compute(e, n, &v, err));
    *out = v;
    e->depth--;
done:
    return st;
}

/* --- statements ------------------------------------------------------------------------------- */

static dial_status body(di_jinja_eval *e, const node *n, di_buf *out, dial_error *err);

/* The items that a loop goes over: those of a sequence for which the condition holds. */
static dial_status chosen(di_jinja_eval *e, const node *n, value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value all, yes, kept;
    size_t k = 0;

    DI_TRY(di_jinja_eval_node(e, n->a, &all, err));
    if (all.kind == DI_V_UNDEFINED) { /* Jinja goes over it as over nothing */
        DI_TRY(di_jinja_list(e, n, 0, out, err));
        goto done;
    }
    if (all.kind != DI_V_LIST || n->number != 0)
        FAIL(e, n, "expected a list to go over, found %s",
             n->number != 0 ? "pairs" : di_jinja_kind_of(all));
    if (n->d == NULL) {
        *out = all;
        goto done;
    }
    DI_TRY(di_jinja_list(e, n, all.n, &kept, err));
    for (size_t i = 0; i < all.n; i++) {
        DI_TRY(di_jinja_put(e, &e->scope->names, n->text, all.item[i], err));
        DI_TRY(di_jinja_eval_node(e, n->d, &yes, err));
        if (di_jinja_truth(yes)) kept.item[k++] = all.item[i];
    }
    kept.n = k;
    *out = kept;
done:
    return st;
}

/* `loop`: what a template may ask about the place in a loop. */
static dial_status loop_value(di_jinja_eval *e, const node *n, const value *list, size_t i,
                              value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const struct {
        const char *name;
        value v;
    } members[] = {
        {"index0", {.kind = DI_V_INT, .number = (int64_t)i}},
        {"index", {.kind = DI_V_INT, .number = (int64_t)i + 1}},
        {"revindex0", {.kind = DI_V_INT, .number = (int64_t)(list->n - 1 - i)}},
        {"revindex", {.kind = DI_V_INT, .number = (int64_t)(list->n - i)}},
        {"first", {.kind = DI_V_BOOL, .number = i == 0}},
        {"last", {.kind = DI_V_BOOL, .number = i + 1 == list->n}},
        {"length", {.kind = DI_V_INT, .number = (int64_t)list->n}},
        {"previtem", i > 0 ? list->item[i - 1] : (value){.kind = DI_V_UNDEFINED}},
        {"nextitem", i + 1 < list->n ? list->item[i + 1] : (value){.kind = DI_V_UNDEFINED}},
    };

    DI_TRY(di_jinja_map(e, n, out, err));
    for (size_t k = 0; k < sizeof members / sizeof *members; k++)
        DI_TRY(di_jinja_put(e, out->map, (di_str){members[k].name, strlen(members[k].name)},
                            members[k].v, err));
done:
    return st;
}

static dial_status loop(di_jinja_eval *e, const node *n, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_jinja_scope scope = {.outer = e->scope};
    value list = {.kind = DI_V_NONE}, place;

    e->scope = &scope; /* the condition sees the loop's own name */
    DI_TRY(chosen(e, n, &list, err));
    for (size_t i = 0; i < list.n; i++) {
        scope.names = (di_jinja_names){0}; /* a name set in one round is gone in the next */
        DI_TRY(loop_value(e, n, &list, i, &place, err));
        DI_TRY(set_name(e, "loop", place, err));
        DI_TRY(di_jinja_put(e, &scope.names, n->text, list.item[i], err));
        DI_TRY(body(e, n->b, out, err));
    }
    scope.names = (di_jinja_names){0};
    if (list.n == 0) DI_TRY(body(e, n->c, out, err));
done:
    e->scope = scope.outer;
    return st;
}

static dial_status assign(di_jinja_eval *e, const node *n, value v, dial_error *err)
{
    dial_status st = DIAL_OK;
    const node *target = n->a;
    value space;

    if (target->kind == DI_J_NAME) return di_jinja_put(e, &e->scope->names, target->text, v, err);
    DI_TRY(di_jinja_eval_node(e, target->a, &space, err));
    if (space.kind != DI_V_NAMESPACE)
        FAIL(e, target, "expected a namespace, found %s", di_jinja_kind_of(space));
    DI_TRY(di_jinja_put(e, space.map, target->text, v, err));
done:
    return st;
}

static dial_status capture(di_jinja_eval *e, const node *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    value v = {.kind = DI_V_STRING};
    di_buf b;

    di_buf_init(&b, e->t->al);
    DI_TRY(body(e, n->b, &b, err));
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_jinja_join(e, n, (di_str){b.data, b.size}, (di_str){"", 0}, &v, err));
    DI_TRY(assign(e, n, v, err));
done:
    di_buf_deinit(&b);
    return st;
}

static dial_status body(di_jinja_eval *e, const node *n, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    value v = {.kind = DI_V_UNDEFINED};

    e->depth++;
    for (; n != NULL; n = n->next) {
        DI_TRY(count_step(e, n, err));
        if (n->kind == DI_J_TEXT) {
            di_buf_append(out, n->text.data, n->text.size);
        } else if (n->kind == DI_J_FOR) {
            DI_TRY(loop(e, n, out, err));
        } else if (n->kind == DI_J_CAPTURE) {
            DI_TRY(capture(e, n, err));
        } else if (n->kind == DI_J_SET) {
            DI_TRY(di_jinja_eval_node(e, n->b, &v, err));
            DI_TRY(assign(e, n, v, err));
        } else {
            DI_TRY(di_jinja_eval_node(e, n->a, &v, err));
            if (n->kind == DI_J_IF) {
                DI_TRY(body(e, di_jinja_truth(v) ? n->b : n->c, out, err));
                continue;
            }
            DI_TRY(di_jinja_to_string(e, n->a, &v, err));
            di_buf_append(out, v.text.data, v.text.size);
        }
        if (out->size > e->pool.limit) FAIL(e, n, "the text grows past %zu bytes", e->pool.limit);
    }
    e->depth--;
done:
    return st;
}

static dial_status messages(di_jinja_eval *e, const di_turn *turn, size_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    value list, m;

    DI_TRY(di_jinja_list(e, NULL, n, &list, err));
    for (size_t i = 0; i < n; i++) {
        value role = {.kind = DI_V_STRING, .text = {turn[i].role, strlen(turn[i].role)}};
        value content = {.kind = DI_V_STRING, .text = turn[i].content};

        DI_TRY(di_jinja_map(e, NULL, &m, err));
        DI_TRY(di_jinja_put(e, m.map, (di_str){"role", 4}, role, err));
        DI_TRY(di_jinja_put(e, m.map, (di_str){"content", 7}, content, err));
        list.item[i] = m;
    }
    DI_TRY(set_name(e, "messages", list, err));
done:
    return st;
}

dial_status di_jinja_render(const di_jinja *t, const di_turn *turn, size_t n,
                            const di_jinja_tokens *tokens, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_jinja_scope scope = {.outer = NULL};
    di_jinja_eval e = {.t = t, .pool = {.al = t->al, .limit = ROOM}, .scope = &scope};
    value none = {.kind = DI_V_NONE};

    for (size_t i = 0; i < n; i++)
        if (turn[i].content.size < SIZE_MAX / ROOM_PER_BYTE / 2 - e.pool.limit)
            e.pool.limit += ROOM_PER_BYTE * turn[i].content.size;
    DI_TRY(messages(&e, turn, n, err));
    if (tokens->bos.data != NULL)
        DI_TRY(set_name(&e, "bos_token", (value){.kind = DI_V_STRING, .text = tokens->bos}, err));
    if (tokens->eos.data != NULL)
        DI_TRY(set_name(&e, "eos_token", (value){.kind = DI_V_STRING, .text = tokens->eos}, err));
    DI_TRY(set_name(&e, "add_generation_prompt", (value){.kind = DI_V_BOOL}, err));
    DI_TRY(set_name(&e, "tools", none, err));
    DI_TRY(set_name(&e, "documents", none, err));
    DI_TRY(body(&e, t->root, out, err));
    DI_TRY(di_buf_status(out, err));
done:
    di_pool_free(&e.pool);
    return st;
}
