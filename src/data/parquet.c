/* Rows put together from columns: each column gives the values of the row in hand. */
#include "data/parquet.h"

#include <math.h>
#include <string.h>

#include "data/parquet_impl.h"

struct di_parquet {
    const di_alloc *al;
    char *name;
    di_pq_meta meta;
    di_pq_column *column;  /* [n_leaves]; file NULL: of a field that is not wanted */
    unsigned char *wanted; /* [n_fields] */
    size_t group;          /* the next one */
    int64_t left;          /* rows of this one */
    const char *not_finite, *bad_text;
};

static dial_status choose(di_parquet *p, const unsigned char *data, size_t size,
                          di_parquet_wants wants, void *ctx, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_pq_meta *m = &p->meta;
    size_t n = 0;

    p->column = di_new_array(p->al, m->n_leaves + 1, sizeof *p->column);
    p->wanted = di_new_array(p->al, m->n_fields + 1, 1);
    if (p->column == NULL || p->wanted == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu columns", m->n_leaves);
    for (size_t i = 0; i < m->n_fields; i++) {
        const di_pq_field *f = &m->field[i];

        if (!wants(ctx, f->name)) continue;
        if (f->refused != NULL)
            DI_PQ_FAIL(p->name, f->name, "Parquet: %s are not read", f->refused);
        p->wanted[i] = 1;
        n += f->n;
        for (size_t k = f->first; k < f->first + f->n; k++)
            p->column[k] = (di_pq_column){.al = p->al,
                                          .file = p->name,
                                          .leaf = &m->leaf[k],
                                          .data = data,
                                          .size = size,
                                          .values = {.al = p->al}};
    }
    if (n == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, p->name, "name the columns with --columns",
                   "Parquet: expected a column such as prompt or chosen, found %zu others, the "
                   "first '%s'",
                   m->n_fields, m->n_fields > 0 ? m->field[0].name : "");
done:
    return st;
}

dial_status di_parquet_open(const di_alloc *al, const char *name, const void *data, size_t size,
                            di_parquet_wants wants, void *ctx, di_parquet **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_parquet *p = di_zalloc(al, sizeof *p);

    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read '%s'", name);
    p->al = al;
    p->name = di_strdup(al, name);
    if (p->name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read '%s'", name);
    DI_TRY(di_pq_meta_read(&p->meta, al, name, data, size, err));
    DI_TRY(choose(p, data, size, wants, ctx, err));
    *out = p;
    p = NULL;
done:
    di_parquet_close(p);
    return st;
}

void di_parquet_close(di_parquet *p)
{
    if (p == NULL) return;
    for (size_t k = 0; p->column != NULL && k < p->meta.n_leaves; k++)
        di_pq_column_deinit(&p->column[k]);
    di_free(p->al, p->column);
    di_free(p->al, p->wanted);
    di_pq_meta_deinit(&p->meta);
    di_free(p->al, p->name);
    di_free(p->al, p);
}

int di_parquet_next(di_parquet *p)
{
    const di_pq_meta *m = &p->meta;

    while (p->left == 0 && p->group < m->n_groups) {
        for (size_t k = 0; k < m->n_leaves; k++)
            if (p->column[k].file != NULL)
                di_pq_column_start(&p->column[k], &m->chunk[p->group * m->n_leaves + k]);
        p->left = m->rows[p->group++];
    }
    if (p->left == 0) return 0;
    p->left--;
    return 1;
}

/* --- values to JSON ----------------------------------------------------------------------------
 */

static json_t *scalar(di_parquet *p, const di_pq_column *c, const char *key)
{
    const di_pq_value *v = &c->value;
    json_t *out;

    switch (c->leaf->type) {
    case DI_PQ_BOOLEAN: return json_boolean(v->number);
    case DI_PQ_INT32:
    case DI_PQ_INT64: return json_integer(v->number);
    case DI_PQ_FLOAT:
    case DI_PQ_DOUBLE:
        if (isfinite(v->real)) return json_real(v->real);
        if (p->not_finite == NULL) p->not_finite = key;
        return json_null();
    default: break;
    }
    out = json_stringn(v->text.data, v->text.size);
    if (out != NULL) return out;
    /* jansson takes UTF-8 alone; memory that is out looks the same and is found by the next call */
    p->bad_text = key;
    return json_null();
}

static dial_status ends_early(const di_parquet *p, const di_pq_column *c, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: column '%s'", p->name, c->leaf->name),
               "fetch the file again", "Parquet: damaged data (the column ends before its rows)");
done:
    return st;
}

/* The value in hand of a column, for a row that has to have one. */
static dial_status need(const di_parquet *p, di_pq_column *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    int got = 0;

    DI_TRY(di_pq_column_peek(c, &got, err));
    if (!got) DI_TRY(ends_early(p, c, err));
done:
    return st;
}

/* The value in hand into JSON, and on to the next one. */
static dial_status take(di_parquet *p, di_pq_column *c, const char *key, json_t **out,
                        dial_error *err)
{
    dial_status st = DIAL_OK;

    *out = c->def_level == c->leaf->max_def ? scalar(p, c, key) : json_null();
    c->have = 0;
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
done:
    return st;
}

/* The members of a struct, of which every column has a value in hand; *out null if it is null. */
static dial_status members(di_parquet *p, const di_pq_field *f, int def, json_t **out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *o = p->column[f->first].def_level < def ? json_null() : json_object(), *v = NULL;

    if (o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    for (size_t k = f->first; k < f->first + f->n; k++) {
        DI_TRY(take(p, &p->column[k], f->name, &v, err));
        if (!json_is_object(o))
            json_decref(v);
        else if (json_object_set_new(o, p->meta.leaf[k].name, v) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    }
    *out = o;
    o = NULL;
done:
    json_decref(o);
    return st;
}

/* All columns of a field have a value in hand of the same nesting. */
static dial_status need_all(di_parquet *p, const di_pq_field *f, int *rep, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (size_t k = f->first; k < f->first + f->n; k++) {
        DI_TRY(need(p, &p->column[k], err));
        if (p->column[k].rep_level != p->column[f->first].rep_level)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: column '%s'", p->name, f->name),
                       "fetch the file again", "Parquet: damaged data (lists of unequal length)");
    }
    *rep = p->column[f->first].rep_level;
done:
    return st;
}

/* Where the next value of the first column goes on with the row's list. */
static dial_status goes_on(di_parquet *p, const di_pq_field *f, int *yes, dial_error *err)
{
    dial_status st = DIAL_OK;
    int got = 0;

    DI_TRY(di_pq_column_peek(&p->column[f->first], &got, err));
    *yes = got && p->column[f->first].rep_level > 0;
done:
    return st;
}

static dial_status read_list(di_parquet *p, const di_pq_field *f, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_pq_column *first = &p->column[f->first];
    json_t *list = NULL, *v = NULL;
    int rep = 0, more = 1;

    DI_TRY(need_all(p, f, &rep, err));
    if (rep != 0) DI_TRY(ends_early(p, first, err));
    list = first->def_level < f->def_here ? json_null() : json_array();
    if (list == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    if (first->def_level < f->def_item) { /* null or empty: one level without an item */
        for (size_t k = f->first; k < f->first + f->n; k++) p->column[k].have = 0;
        more = 0;
    }
    while (more) {
        if (f->shape == DI_PQ_STRUCT_LIST)
            DI_TRY(members(p, f, f->def_part, &v, err));
        else
            DI_TRY(take(p, &p->column[f->first], f->name, &v, err));
        if (json_array_append_new(list, v) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
        DI_TRY(goes_on(p, f, &more, err));
        if (more) DI_TRY(need_all(p, f, &rep, err));
    }
    *out = list;
    list = NULL;
done:
    json_decref(list);
    return st;
}

static dial_status read_field(di_parquet *p, const di_pq_field *f, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int rep = 0;

    if (f->shape == DI_PQ_LIST || f->shape == DI_PQ_STRUCT_LIST) return read_list(p, f, out, err);
    DI_TRY(need_all(p, f, &rep, err));
    if (f->shape == DI_PQ_STRUCT)
        DI_TRY(members(p, f, f->def_here, out, err));
    else
        DI_TRY(take(p, &p->column[f->first], f->name, out, err));
done:
    return st;
}

dial_status di_parquet_row(di_parquet *p, json_t **out, const char **not_finite,
                           const char **bad_text, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *row = json_object(), *v = NULL;

    p->not_finite = p->bad_text = NULL;
    if (row == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    for (size_t i = 0; i < p->meta.n_fields; i++) {
        if (!p->wanted[i] || p->meta.field[i].n == 0) continue;
        DI_TRY(read_field(p, &p->meta.field[i], &v, err));
        if (json_object_set_new(row, p->meta.field[i].name, v) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    }
    *not_finite = p->not_finite;
    *bad_text = p->bad_text;
    *out = row;
    row = NULL;
done:
    json_decref(row);
    return st;
}
