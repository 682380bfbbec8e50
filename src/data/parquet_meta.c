/* The footer: the tree of columns, and where each of them is in each row group. */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "data/parquet_impl.h"

enum { REQUIRED, OPTIONAL, REPEATED };
enum { MOST_FIELDS = 4096, UTF8 = 0, LIST = 3, DECIMAL = 5, LOGICAL_LIST = 3, LOGICAL_DECIMAL = 5 };

/* A SchemaElement. */
typedef struct element {
    di_str name;
    int type, repetition, children, converted, logical; /* -1: absent */
} element;

typedef struct footer {
    di_pq_meta *m;
    const char *file;
    element *element;
    size_t n_elements, at; /* at: next one of the walk */
    size_t leaf_cap;
    uint64_t size; /* bytes of the file before the footer */
} footer;

static dial_status damaged(const footer *f, const char *what, dial_error *err)
{
    return di_error_set(err, DIAL_ERR_INPUT, __FILE__, __LINE__, f->file, "fetch the file again",
                        "Parquet: damaged footer (%s)", what);
}

/* --- schema ----------------------------------------------------------------------------------- */

/* LogicalType is a union: the number of its one member. */
static int read_logical(di_bytes *b)
{
    int id = 0, type = 0, which = -1;

    while (di_thrift_field(b, &id, &type)) {
        which = id;
        di_thrift_skip(b, type);
    }
    return which;
}

static element read_element(di_bytes *b)
{
    element e = {.type = -1, .repetition = -1, .converted = -1, .logical = -1};
    int id = 0, type = 0;

    while (di_thrift_field(b, &id, &type)) {
        if (id == 1 && type == 5)
            e.type = (int)di_zigzag(b);
        else if (id == 3 && type == 5)
            e.repetition = (int)di_zigzag(b);
        else if (id == 4 && type == 8)
            e.name = di_thrift_string(b);
        else if (id == 5 && type == 5)
            e.children = (int)di_zigzag(b);
        else if (id == 6 && type == 5)
            e.converted = (int)di_zigzag(b);
        else if (id == 10 && type == 12)
            e.logical = read_logical(b);
        else
            di_thrift_skip(b, type);
    }
    return e;
}

static dial_status read_schema(footer *f, di_bytes *b, dial_error *err)
{
    dial_status st = DIAL_OK;
    int type = 0;
    size_t n = di_thrift_list(b, &type);

    if (f->element != NULL || type != 12) DI_TRY(damaged(f, "schema", err));
    if (n > MOST_FIELDS)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, f->file, DI_PQ_HINT,
                   "Parquet: expected at most %d columns, found %zu", MOST_FIELDS, n);
    f->element = di_new_array(f->m->al, n + 1, sizeof *f->element);
    if (f->element == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a schema");
    f->n_elements = n;
    for (size_t i = 0; i < n; i++) f->element[i] = read_element(b);
    for (size_t i = 0; i < n; i++)
        if (di_utf8_check(f->element[i].name.data, f->element[i].name.size) <
            f->element[i].name.size)
            DI_TRY(damaged(f, "name of a column", err));
    if (b->bad) DI_TRY(damaged(f, "schema", err));
done:
    return st;
}

static const element *next_element(footer *f)
{
    return f->at < f->n_elements ? &f->element[f->at++] : NULL;
}

/* Why values of this type are not read; NULL: they are. */
static const char *why_not(const element *e)
{
    if (e->converted == DECIMAL || e->logical == LOGICAL_DECIMAL) return "decimal numbers";
    if (e->type == DI_PQ_INT96) return "values of type INT96";
    if (e->type > DI_PQ_BYTES) return "values of type FIXED_LEN_BYTE_ARRAY";
    return NULL;
}

static char *copy(const di_pq_meta *m, di_str s)
{
    return di_strndup(m->al, s.data != NULL ? s.data : "", s.size);
}

static dial_status add_leaf(footer *f, const element *e, int def, int rep, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pq_leaf *l = &f->m->leaf[f->m->n_leaves];

    if (e->type < 0) DI_TRY(damaged(f, "a column without a type", err));
    *l = (di_pq_leaf){.type = e->type, .max_def = def, .max_rep = rep, .refused = why_not(e)};
    l->name = copy(f->m, e->name);
    if (l->name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a schema");
    f->m->n_leaves++; /* room for as many as there are elements */
done:
    return st;
}

/* Counts the leaves below an element that is not read, so that the others keep their place. */
static dial_status pass_over(footer *f, const element *e, int depth, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (depth > 32) DI_TRY(damaged(f, "columns nest too deep", err));
    if (e->children <= 0) return add_leaf(f, e, 0, 0, err);
    for (int i = 0; i < e->children; i++) {
        const element *child = next_element(f);

        if (child == NULL) return damaged(f, "schema ends early", err);
        DI_TRY(pass_over(f, child, depth + 1, err));
    }
done:
    return st;
}

/* The fields of a struct, each a value. */
static dial_status members(footer *f, di_pq_field *field, const element *e, int def, int rep,
                           dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int i = 0; i < e->children; i++) {
        const element *child = next_element(f);

        if (child == NULL) return damaged(f, "schema ends early", err);
        if (child->children > 0 || child->repetition == REPEATED) {
            field->refused = "columns nested deeper than lists of structs";
            DI_TRY(pass_over(f, child, 0, err));
        } else {
            DI_TRY(add_leaf(f, child, def + (child->repetition == OPTIONAL), rep, err));
        }
    }
done:
    return st;
}

/*
 * A list: group > repeated group > item (three levels), or group > repeated item (two, of old
 * writers). The repeated group is an item itself if it has several children.
 */
static dial_status list(footer *f, di_pq_field *field, dial_error *err)
{
    dial_status st = DIAL_OK;
    const element *middle = next_element(f), *item = middle;
    int def = field->def_here + 1;

    if (middle == NULL) return damaged(f, "schema ends early", err);
    field->def_item = field->def_part = def;
    if (middle->repetition != REPEATED) {
        field->refused = "a list of an unknown form";
        DI_TRY(pass_over(f, middle, 0, err));
        goto done;
    }
    if (middle->children == 1) {
        item = next_element(f);
        if (item == NULL) return damaged(f, "schema ends early", err);
        def += item->repetition == OPTIONAL;
        field->def_part = def;
        if (item->repetition == REPEATED) field->refused = "lists of lists";
    }
    if (item->children <= 0) {
        field->shape = DI_PQ_LIST;
        DI_TRY(add_leaf(f, item, def, 1, err));
        goto done;
    }
    field->shape = DI_PQ_STRUCT_LIST;
    DI_TRY(members(f, field, item, def, 1, err));
    if (item->converted == LIST || item->logical == LOGICAL_LIST) field->refused = "lists of lists";
done:
    return st;
}

static dial_status add_field(footer *f, const element *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pq_meta *m = f->m;
    di_pq_field *field = &m->field[m->n_fields++];

    *field = (di_pq_field){.first = m->n_leaves, .def_here = e->repetition == OPTIONAL};
    field->name = copy(m, e->name);
    if (field->name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a schema");
    if (e->repetition == REPEATED) {
        field->refused = "a repeated column that is no list";
        DI_TRY(pass_over(f, e, 0, err));
    } else if (e->children <= 0) {
        DI_TRY(add_leaf(f, e, field->def_here, 0, err));
    } else if (e->children == 1 && (e->converted == LIST || e->logical == LOGICAL_LIST)) {
        DI_TRY(list(f, field, err));
    } else {
        field->shape = DI_PQ_STRUCT;
        DI_TRY(members(f, field, e, field->def_here, 0, err));
    }
    field->n = m->n_leaves - field->first;
    for (size_t i = 0; i < field->n && field->refused == NULL; i++)
        field->refused = m->leaf[field->first + i].refused;
done:
    return st;
}

static dial_status build_fields(footer *f, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pq_meta *m = f->m;
    const element *root = next_element(f);

    if (root == NULL) return damaged(f, "no schema", err);
    m->field = di_new_array(m->al, f->n_elements, sizeof *m->field);
    m->leaf = di_new_array(m->al, f->n_elements, sizeof *m->leaf);
    if (m->field == NULL || m->leaf == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a schema");
    for (int i = 0; i < root->children; i++) {
        const element *e = next_element(f);

        if (e == NULL) return damaged(f, "schema ends early", err);
        DI_TRY(add_field(f, e, err));
    }
done:
    return st;
}

/* --- row groups ------------------------------------------------------------------------------- */

static void read_chunk_meta(di_bytes *b, di_pq_chunk *c)
{
    int id = 0, type = 0;
    int64_t dictionary = -1, data = -1;

    while (di_thrift_field(b, &id, &type)) {
        if (id == 4 && type == 5)
            c->codec = (int)di_zigzag(b);
        else if (id == 5 && type == 6)
            c->values = di_zigzag(b);
        else if (id == 7 && type == 6)
            c->size = di_zigzag(b);
        else if (id == 9 && type == 6)
            data = di_zigzag(b);
        else if (id == 11 && type == 6)
            dictionary = di_zigzag(b);
        else
            di_thrift_skip(b, type);
    }
    /* some writers set a dictionary's place to 0 where there is none */
    c->at = dictionary > 0 && dictionary < data ? dictionary : data;
}

static dial_status read_chunk(footer *f, di_bytes *b, di_pq_chunk *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    int id = 0, type = 0, found = 0;

    while (di_thrift_field(b, &id, &type)) {
        if (id == 1)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, f->file, DI_PQ_HINT,
                       "Parquet: columns in other files are not read");
        if (id == 8 || id == 9)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, f->file, "decrypt it first",
                       "Parquet: encrypted columns are not read");
        if (id == 3 && type == 12) {
            read_chunk_meta(b, c);
            found = 1;
        } else {
            di_thrift_skip(b, type);
        }
    }
    if (b->bad || !found || c->at < 4 || c->size < 0 || c->values < 0 ||
        (uint64_t)c->at > f->size || (uint64_t)c->size > f->size - (uint64_t)c->at)
        DI_TRY(damaged(f, "place of a column", err));
done:
    return st;
}

static dial_status read_group(footer *f, di_bytes *b, size_t g, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pq_meta *m = f->m;
    int id = 0, type = 0, inner = 0;
    size_t n = 0;

    while (di_thrift_field(b, &id, &type)) {
        if (id == 1 && type == 9) {
            n = di_thrift_list(b, &inner);
            if (n != m->n_leaves || inner != 12) DI_TRY(damaged(f, "columns of a row group", err));
            for (size_t i = 0; i < n; i++)
                DI_TRY(read_chunk(f, b, &m->chunk[g * m->n_leaves + i], err));
        } else if (id == 3 && type == 6) {
            m->rows[g] = di_zigzag(b);
        } else {
            di_thrift_skip(b, type);
        }
    }
    if (b->bad || n != m->n_leaves || m->rows[g] < 0) DI_TRY(damaged(f, "row group", err));
done:
    return st;
}

static dial_status read_groups(footer *f, di_bytes *b, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pq_meta *m = f->m;
    int type = 0;
    size_t n = di_thrift_list(b, &type), cells = 0;

    if (b->bad || m->chunk != NULL || m->field == NULL || type != 12)
        DI_TRY(damaged(f, "row groups", err));
    /* a chunk takes bytes of the footer, so that these are no more than its size allows */
    if (!di_mul_size(n, m->n_leaves, &cells) || cells > (size_t)(b->end - b->at))
        DI_TRY(damaged(f, "row groups", err));
    m->chunk = di_new_array(m->al, cells + 1, sizeof *m->chunk);
    m->rows = di_new_array(m->al, n + 1, sizeof *m->rows);
    if (m->chunk == NULL || m->rows == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu row groups", n);
    for (size_t g = 0; g < n; g++) DI_TRY(read_group(f, b, g, err));
    m->n_groups = n;
done:
    return st;
}

/* --- the whole -------------------------------------------------------------------------------- */

dial_status di_pq_meta_read(di_pq_meta *m, const di_alloc *al, const char *name,
                            const unsigned char *data, size_t size, dial_error *err)
{
    dial_status st = DIAL_OK;
    footer f = {.m = m, .file = name};
    di_bytes b;
    size_t n;
    int id = 0, type = 0;

    *m = (di_pq_meta){.al = al};
    if (size < 12 || memcmp(data + size - 4, "PAR1", 4) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, name, "fetch the file again",
                   "Parquet: expected PAR1 at the end of the file: it was cut, or its footer is "
                   "encrypted");
    n = (size_t)data[size - 8] | (size_t)data[size - 7] << 8 | (size_t)data[size - 6] << 16 |
        (size_t)data[size - 5] << 24;
    if (n > size - 12) DI_TRY(damaged(&f, "its length", err));
    f.size = size - 8 - n;
    b = (di_bytes){data + f.size, data + size - 8, 0};
    while (di_thrift_field(&b, &id, &type)) {
        if (id == 2 && type == 9) {
            DI_TRY(read_schema(&f, &b, err));
            DI_TRY(build_fields(&f, err));
        } else if (id == 4 && type == 9) {
            DI_TRY(read_groups(&f, &b, err));
        } else {
            di_thrift_skip(&b, type);
        }
    }
    if (b.bad || m->chunk == NULL) DI_TRY(damaged(&f, "its fields", err));
done:
    di_free(al, f.element);
    if (st != DIAL_OK) di_pq_meta_deinit(m);
    return st;
}

void di_pq_meta_deinit(di_pq_meta *m)
{
    for (size_t i = 0; m->field != NULL && i < m->n_fields; i++) di_free(m->al, m->field[i].name);
    for (size_t i = 0; m->leaf != NULL && i < m->n_leaves; i++) di_free(m->al, m->leaf[i].name);
    if (m->al != NULL) {
        di_free(m->al, m->field);
        di_free(m->al, m->leaf);
        di_free(m->al, m->chunk);
        di_free(m->al, m->rows);
    }
    *m = (di_pq_meta){0};
}
