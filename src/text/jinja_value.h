/* Values of a template that is being rendered, and what they can do (jinja_value.c). */
#ifndef DI_TEXT_JINJA_VALUE_H
#define DI_TEXT_JINJA_VALUE_H

#include "text/jinja_impl.h"

typedef enum di_jinja_value_kind {
    DI_V_UNDEFINED,
    DI_V_NONE,
    DI_V_BOOL,
    DI_V_INT,
    DI_V_STRING,
    DI_V_LIST,
    DI_V_MAP,
    DI_V_NAMESPACE /* a mapping whose members may be set */
} di_jinja_value_kind;

struct di_jinja_names;

typedef struct di_jinja_value {
    di_jinja_value_kind kind;
    int64_t number;              /* BOOL, INT */
    di_str text;                 /* STRING */
    struct di_jinja_value *item; /* LIST: [n] */
    size_t n;
    struct di_jinja_names *map; /* MAP, NAMESPACE */
} di_jinja_value;

/* Names with values, in the order of their first setting. */
typedef struct di_jinja_names {
    struct di_jinja_name {
        di_str name;
        di_jinja_value v;
    } * row;
    size_t n, cap;
} di_jinja_names;

typedef struct di_jinja_scope {
    di_jinja_names names;
    struct di_jinja_scope *outer;
} di_jinja_scope;

typedef struct di_jinja_eval {
    const di_jinja *t;
    di_pool pool;
    di_jinja_scope *scope;
    int depth, steps;
} di_jinja_eval;

dial_status di_jinja_eval_node(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value *out,
                               dial_error *err);

/* n, where given, is the node that messages name. */
dial_status di_jinja_list(di_jinja_eval *e, const di_jinja_node *n, size_t count,
                          di_jinja_value *out, dial_error *err);
dial_status di_jinja_map(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value *out,
                         dial_error *err);
dial_status di_jinja_put(di_jinja_eval *e, di_jinja_names *names, di_str name, di_jinja_value v,
                         dial_error *err);
const di_jinja_value *di_jinja_member(const di_jinja_names *names, di_str name);
dial_status di_jinja_join(di_jinja_eval *e, const di_jinja_node *n, di_str a, di_str b,
                          di_jinja_value *out, dial_error *err);

const char *di_jinja_kind_of(di_jinja_value v); /* "a string", ... */
int di_jinja_truth(di_jinja_value v);
int di_jinja_equal(di_jinja_value a, di_jinja_value b);

/* In place: what printing the value gives. Lists and mappings are not printed. */
dial_status di_jinja_to_string(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value *v,
                               dial_error *err);

/* a.name: of a mapping its member, undefined where it has none. */
dial_status di_jinja_attribute(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value a,
                               di_str name, di_jinja_value *out, dial_error *err);
dial_status di_jinja_index(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value a,
                           di_jinja_value at, di_jinja_value *out, dial_error *err);
dial_status di_jinja_slice(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value a,
                           di_jinja_value *out, dial_error *err);

/* jinja_calls.c: methods and functions, filters, tests. */
dial_status di_jinja_call(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value *out,
                          dial_error *err);
dial_status di_jinja_filter(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value *out,
                            dial_error *err);
dial_status di_jinja_test(di_jinja_eval *e, const di_jinja_node *n, di_jinja_value *out,
                          dial_error *err);

#endif
