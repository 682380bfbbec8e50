/*
 * The GGUF container. A cursor walks the header once; it keeps the first error and the byte where
 * it happened and answers zeros from then on, so a run of reads needs one check at its end. Counts
 * and lengths are compared with what is left of the file before anything is allocated for them.
 */
#include "model/gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
    T_U8,
    T_I8,
    T_U16,
    T_I16,
    T_U32,
    T_I32,
    T_F32,
    T_BOOL,
    T_STRING,
    T_ARRAY,
    T_U64,
    T_I64,
    T_F64,
    T_COUNT
};
enum { NAME_SIZE = 64 }; /* a tensor's name with its final 0 */

static const size_t type_size[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

typedef struct pair {
    di_str key;
    uint32_t type, item_type; /* item_type: of an array */
    size_t n;                 /* items of an array, else 1 */
    const unsigned char *value;
} pair;

typedef struct part {
    char *path;
    di_map map; /* data NULL: memory of the caller */
    const unsigned char *data;
    size_t size;
    pair *pair; /* sorted by key */
    size_t n_pairs;
    di_gguf_tensor *tensor;
    size_t n_tensors;
    char *names; /* [n_tensors][NAME_SIZE] */
} part;

struct di_gguf {
    const di_alloc *al;
    part *part;
    size_t n_parts;
    const di_gguf_tensor **at;    /* all tensors in file order */
    const di_gguf_tensor **named; /* the same, sorted by name */
    size_t n;
};

static const char damaged[] = "the file is damaged or incomplete: fetch or write it again";

/* ---- the cursor ---- */

typedef struct cursor {
    const unsigned char *data;
    size_t size, at;
    const char *path;
    dial_status st;
    dial_error *err;
} cursor;

/* Keeps the first failure. at: the byte it is about; hint NULL: the file is damaged. */
static void fail_at(cursor *c, size_t at, const char *hint, const char *fmt, ...) DIAL_PRINTF(4, 5);
static void fail_at(cursor *c, size_t at, const char *hint, const char *fmt, ...)
{
    char message[400];
    va_list ap;

    if (c->st != DIAL_OK) return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    c->st = DIAL_ERR_INPUT;
    di_error_set(c->err, c->st, __FILE__, __LINE__, DI_FMT("%s: byte %zu", c->path, at),
                 hint != NULL ? hint : damaged, "%s", message);
}

/* The next n bytes, or NULL if the file ends before them. */
static const unsigned char *take(cursor *c, uint64_t n, const char *what)
{
    const unsigned char *p = c->data + c->at;

    if (c->st == DIAL_OK && n > c->size - c->at)
        fail_at(c, c->at, NULL, "%s takes %" PRIu64 " bytes, but the file ends after %zu", what, n,
                c->size - c->at);
    if (c->st != DIAL_OK) return NULL;
    c->at += (size_t)n;
    return p;
}

static uint32_t take_u32(cursor *c, const char *what)
{
    const unsigned char *p = take(c, 4, what);
    uint32_t v = 0;

    if (p != NULL) memcpy(&v, p, 4);
    return v;
}

static uint64_t take_u64(cursor *c, const char *what)
{
    const unsigned char *p = take(c, 8, what);
    uint64_t v = 0;

    if (p != NULL) memcpy(&v, p, 8);
    return v;
}

static di_str take_string(cursor *c, const char *what)
{
    uint64_t n = take_u64(c, what);
    const unsigned char *p = take(c, n, what);

    return (di_str){(const char *)p, p != NULL ? (size_t)n : 0};
}

/* A count of things that take at least `each` bytes: 0 and a failure if the file cannot hold it. */
static size_t take_count(cursor *c, size_t each, const char *what)
{
    size_t at = c->at;
    uint64_t n = take_u64(c, what);

    if (c->st != DIAL_OK) return 0;
    if (n <= (c->size - c->at) / each) return (size_t)n;
    fail_at(c, at, NULL, "%s: %" PRIu64 " do not fit the %zu bytes that follow", what, n,
            c->size - c->at);
    return 0;
}

/* ---- metadata ---- */

static int by_key(const void *a, const void *b)
{
    const di_str *x = &((const pair *)a)->key, *y = &((const pair *)b)->key;
    size_t n = x->size < y->size ? x->size : y->size;
    int order = n > 0 ? memcmp(x->data, y->data, n) : 0;

    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

static void read_array(cursor *c, pair *p)
{
    size_t at = c->at, each;

    p->item_type = take_u32(c, "the type of an array");
    if (c->st != DIAL_OK) return;
    if (p->item_type >= T_COUNT || p->item_type == T_ARRAY) {
        fail_at(c, at, NULL, "expected array items of type 0 to 12 but 9, found %" PRIu32,
                p->item_type);
        return;
    }
    each = p->item_type == T_STRING ? 8 : type_size[p->item_type];
    assert(each > 0);
    p->n = take_count(c, each, "items of an array");
    p->value = c->data + c->at;
    if (p->item_type != T_STRING)
        take(c, (uint64_t)p->n * each, "an array"); /* bounded by take_count */
    else
        for (size_t i = 0; i < p->n && c->st == DIAL_OK; i++)
            take_string(c, "a string of an array");
}

static void read_pair(cursor *c, pair *p)
{
    size_t at;

    p->key = take_string(c, "a key of the metadata");
    at = c->at;
    p->type = take_u32(c, "the type of a value");
    p->n = 1;
    if (c->st == DIAL_OK && p->type >= T_COUNT)
        fail_at(c, at, NULL, "key '%.*s': expected a type of 0 to 12, found %" PRIu32,
                (int)(p->key.size < 100 ? p->key.size : 100), p->key.data, p->type);
    if (c->st != DIAL_OK) return;
    if (p->type == T_ARRAY) {
        read_array(c, p);
        return;
    }
    p->value = c->data + c->at;
    if (p->type == T_STRING)
        take_string(c, "a string");
    else
        take(c, type_size[p->type], "a value");
    if (c->st == DIAL_OK && p->type == T_BOOL && p->value[0] > 1)
        fail_at(c, c->at - 1, NULL, "expected a bool of 0 or 1, found %d", p->value[0]);
}

static void read_pairs(cursor *c, part *p)
{
    for (size_t i = 0; i < p->n_pairs && c->st == DIAL_OK; i++) read_pair(c, &p->pair[i]);
    if (c->st != DIAL_OK) return;
    if (p->n_pairs > 0) qsort(p->pair, p->n_pairs, sizeof *p->pair, by_key);
    for (size_t i = 1; i < p->n_pairs; i++)
        if (by_key(&p->pair[i - 1], &p->pair[i]) == 0)
            fail_at(c, (size_t)((const unsigned char *)p->pair[i].key.data - c->data), NULL,
                    "key '%.*s' is there twice",
                    (int)(p->pair[i].key.size < 100 ? p->pair[i].key.size : 100),
                    p->pair[i].key.data);
}

static const pair *find_pair(const part *p, const char *key)
{
    const pair wanted = {.key = {key, strlen(key)}};

    return p->n_pairs == 0 ? NULL : bsearch(&wanted, p->pair, p->n_pairs, sizeof wanted, by_key);
}

/* Item i of n values of a type at `value`, as an integer; 0: no integer, or above INT64_MAX. */
static int int_at(uint32_t type, const unsigned char *value, size_t i, int64_t *out)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } v = {0};

    if (type >= T_COUNT || type == T_F32 || type == T_F64 || type_size[type] == 0) return 0;
    memcpy(&v, value + i * type_size[type], type_size[type]);
    switch (type) {
    case T_U8:
    case T_BOOL: *out = v.u8; return 1;
    case T_I8: *out = v.i8; return 1;
    case T_U16: *out = v.u16; return 1;
    case T_I16: *out = v.i16; return 1;
    case T_U32: *out = v.u32; return 1;
    case T_I32: *out = v.i32; return 1;
    case T_I64: *out = v.i64; return 1;
    default:
        if (v.u64 > INT64_MAX) return 0;
        *out = (int64_t)v.u64;
        return 1;
    }
}

static int float_at(uint32_t type, const unsigned char *value, size_t i, double *out)
{
    int64_t whole;
    float f;

    if (type == T_F32) {
        memcpy(&f, value + 4 * i, 4);
        *out = (double)f;
    } else if (type == T_F64) {
        memcpy(out, value + 8 * i, 8);
    } else {
        if (type == T_BOOL || !int_at(type, value, i, &whole)) return 0;
        *out = (double)whole;
    }
    return 1;
}

static di_str string_at(const unsigned char *value)
{
    uint64_t n;

    memcpy(&n, value, 8);
    return (di_str){(const char *)value + 8, (size_t)n};
}

/* ---- tensors ---- */

const char *di_gguf_type_name(uint32_t id, char buf[24])
{
    static const struct {
        uint32_t id;
        const char *name;
    } other[] = {
        {10, "Q2_K"},    {11, "Q3_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"},
        {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},
        {23, "IQ4_XS"},  {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},
        {28, "F64"},     {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},
    };
    di_dtype t = di_dtype_from_gguf(id);

    if (t != DI_DTYPE_COUNT) return di_dtype_name(t);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (other[i].id == id) return other[i].name;
    return di_format(buf, 24, "number %" PRIu32, id);
}

static void read_tensor_name(cursor *c, char name[NAME_SIZE])
{
    size_t at = c->at;
    di_str s = take_string(c, "the name of a tensor");

    if (c->st != DIAL_OK) return;
    if (s.size == 0 || s.size >= NAME_SIZE) {
        fail_at(c, at, NULL, "expected a tensor name of 1 to %d bytes, found %zu", NAME_SIZE - 1,
                s.size);
        return;
    }
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f) {
            fail_at(c, at + 8 + i, NULL, "a tensor name holds the control character %d", s.data[i]);
            return;
        }
    memcpy(name, s.data, s.size); /* zeroed memory: the 0 is there */
}

/* *offset: relative to the data. The size is worked out here, the place is checked later. */
static void read_tensor(cursor *c, char name[NAME_SIZE], di_gguf_tensor *t, uint64_t *offset)
{
    size_t at, count = 1, bytes = 0;
    uint32_t n_dims;

    read_tensor_name(c, name);
    t->name = name;
    at = c->at;
    n_dims = take_u32(c, "the number of dimensions");
    if (c->st == DIAL_OK && n_dims > 4)
        fail_at(c, at, NULL, "tensor '%s': expected at most 4 dimensions, found %" PRIu32, name,
                n_dims);
    for (uint32_t i = 0; i < 4; i++) t->dim[i] = 1;
    for (uint32_t i = 0; c->st == DIAL_OK && i < n_dims; i++) {
        uint64_t dim = take_u64(c, "a dimension");

        if (c->st == DIAL_OK &&
            (dim > INT64_MAX || !di_mul_size(count, (size_t)dim, &count) || count > INT64_MAX))
            fail_at(c, c->at - 8, NULL,
                    "tensor '%s': dimension %" PRIu32 " of %" PRIu64 " makes a size beyond 63 bits",
                    name, i, dim);
        t->dim[i] = (int64_t)dim;
    }
    t->n_dims = (int)n_dims;
    t->type_id = take_u32(c, "the type of a tensor");
    t->dtype = di_dtype_from_gguf(t->type_id);
    *offset = take_u64(c, "the offset of a tensor");
    if (c->st != DIAL_OK || t->dtype == DI_DTYPE_COUNT) return; /* its size is not known */
    if (t->dim[0] % di_dtype_block(t->dtype) != 0)
        fail_at(c, at, NULL, "tensor '%s': rows of %" PRId64 " elements are no whole blocks of %s",
                name, t->dim[0], di_dtype_name(t->dtype));
    else if (!di_mul_size(count / (size_t)di_dtype_block(t->dtype), di_dtype_block_bytes(t->dtype),
                          &bytes))
        fail_at(c, at, NULL, "tensor '%s': its size is beyond 64 bits", name);
    t->bytes = bytes;
}

/* The data begins at the next multiple of the alignment after the header. */
static size_t data_start(cursor *c, const part *p)
{
    const pair *a = find_pair(p, "general.alignment");
    int64_t alignment = 32;
    size_t start = 0;

    if (a != NULL && (!int_at(a->type, a->value, 0, &alignment) || alignment < 1 ||
                      (alignment & (alignment - 1)) != 0))
        fail_at(c, (size_t)(a->value - c->data), NULL,
                "expected general.alignment to be a power of two");
    if (c->st == DIAL_OK && !di_add_size(c->at, (size_t)alignment - 1, &start))
        fail_at(c, c->at, NULL, "general.alignment %" PRId64 " is beyond the file", alignment);
    start &= ~((size_t)alignment - 1);
    if (c->st == DIAL_OK && start > c->size)
        fail_at(c, c->at, NULL, "the file ends before its tensor data, expected at byte %zu",
                start);
    return start;
}

static void place_tensor(cursor *c, const part *p, di_gguf_tensor *t, uint64_t offset, size_t start,
                         size_t at)
{
    const pair *a = find_pair(p, "general.alignment");
    int64_t alignment = 32;

    if (a != NULL) int_at(a->type, a->value, 0, &alignment);
    if (offset % (uint64_t)alignment != 0)
        fail_at(c, at, NULL, "tensor '%s': offset %" PRIu64 " is no multiple of %" PRId64, t->name,
                offset, alignment);
    else if (offset > c->size - start || t->bytes > c->size - start - (size_t)offset)
        fail_at(c, at, NULL,
                "tensor '%s': %zu bytes at offset %" PRIu64
                " of the data end beyond the file of %zu bytes",
                t->name, t->bytes, offset, c->size);
    if (c->st == DIAL_OK) t->data = c->data + start + offset;
}

static void read_tensors(cursor *c, part *p)
{
    uint64_t offset;
    size_t start, first = c->at;

    for (size_t i = 0; i < p->n_tensors && c->st == DIAL_OK; i++)
        read_tensor(c, p->names + i * NAME_SIZE, &p->tensor[i], &offset);
    if (c->st != DIAL_OK || p->n_tensors == 0) return;
    start = data_start(c, p);
    if (c->st != DIAL_OK) return;
    c->at = first; /* once more, now that the start of the data is known */
    for (size_t i = 0; i < p->n_tensors && c->st == DIAL_OK; i++) {
        size_t at = c->at;

        read_tensor(c, p->names + i * NAME_SIZE, &p->tensor[i], &offset);
        place_tensor(c, p, &p->tensor[i], offset, start, at);
    }
}

/* ---- a part ---- */

static void read_start(cursor *c)
{
    const unsigned char *magic = take(c, 4, "the word GGUF");
    uint32_t version;

    if (magic != NULL && memcmp(magic, "GGUF", 4) != 0)
        fail_at(c, 0, "check that this is a GGUF file", "expected the word GGUF");
    version = take_u32(c, "the version");
    if (c->st == DIAL_OK && version != 0 && (version & 0xffff) == 0)
        fail_at(c, 4, "convert it on a little-endian machine", "the file is big-endian");
    if (c->st == DIAL_OK && version != 2 && version != 3)
        fail_at(c, 4, "convert the model again with a current converter",
                "expected version 2 or 3, found %" PRIu32, version);
}

static dial_status read_part(const di_alloc *al, part *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    cursor c = {.data = p->data, .size = p->size, .path = p->path, .err = err};
    size_t n_tensors;

    read_start(&c);
    n_tensors = take_count(&c, 8 + 4 + 4 + 8, "tensors");
    p->n_pairs = take_count(&c, 8 + 4 + 1, "pairs of metadata");
    DI_TRY(c.st);
    p->pair = di_new_array(al, p->n_pairs, sizeof *p->pair);
    p->tensor = di_new_array(al, n_tensors, sizeof *p->tensor);
    p->names = di_new_array(al, n_tensors, NAME_SIZE);
    if (p->pair == NULL || p->tensor == NULL || p->names == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the header of '%s'", p->path);
    read_pairs(&c, p);
    p->n_tensors = n_tensors;
    if (c.st == DIAL_OK) read_tensors(&c, p);
    st = c.st;
done:
    return st;
}

static void free_part(const di_alloc *al, part *p)
{
    di_unmap(&p->map);
    di_free(al, p->path);
    di_free(al, p->pair);
    di_free(al, p->tensor);
    di_free(al, p->names);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const di_gguf_tensor *const *)a)->name,
                  (*(const di_gguf_tensor *const *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const di_gguf_tensor *x = *(const di_gguf_tensor *const *)a;
    const di_gguf_tensor *y = *(const di_gguf_tensor *const *)b;

    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Lists of all tensors; no two may share a name or a byte. */
static dial_status join_parts(di_gguf *g, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = 0;

    for (size_t i = 0; i < g->n_parts; i++) n += g->part[i].n_tensors;
    g->at = di_new_array(g->al, n, sizeof *g->at);
    g->named = di_new_array(g->al, n, sizeof *g->named);
    if (g->at == NULL || g->named == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the tensors of '%s'", g->part[0].path);
    for (size_t i = 0; i < g->n_parts; i++)
        for (size_t k = 0; k < g->part[i].n_tensors; k++) g->at[g->n++] = &g->part[i].tensor[k];
    if (n == 0) goto done;
    memcpy(g->named, g->at, n * sizeof *g->at);
    qsort(g->named, n, sizeof *g->named, by_place);
    for (size_t i = 1; i < n; i++)
        if ((uintptr_t)g->named[i]->data - (uintptr_t)g->named[i - 1]->data <
            g->named[i - 1]->bytes)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, g->part[0].path, damaged,
                       "tensors '%s' and '%s' overlap", g->named[i - 1]->name, g->named[i]->name);
    qsort(g->named, n, sizeof *g->named, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(g->named[i - 1]->name, g->named[i]->name) == 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, g->part[0].path, damaged, "tensor '%s' is there twice",
                       g->named[i]->name);
done:
    return st;
}

/* ---- opening ---- */

static di_gguf *new_gguf(const di_alloc *al, size_t n_parts)
{
    di_gguf *g = di_zalloc(al, sizeof *g);

    if (g == NULL) return NULL;
    g->al = al;
    g->part = di_new_array(al, n_parts, sizeof *g->part);
    if (g->part == NULL) {
        di_free(al, g);
        return NULL;
    }
    return g;
}

dial_status di_gguf_parse(const di_alloc *al, const void *data, size_t n, const char *where,
                          di_gguf **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_gguf *g = new_gguf(al, 1);

    if (g == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", where);
    g->n_parts = 1;
    g->part[0] = (part){.path = di_strdup(al, where), .data = data, .size = n};
    if (g->part[0].path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", where);
    DI_TRY(read_part(al, &g->part[0], err));
    DI_TRY(join_parts(g, err));
    *out = g;
    g = NULL;
done:
    di_gguf_close(g);
    return st;
}

/* Maps and reads the next part. */
static dial_status add_part(di_gguf *g, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    part *p = &g->part[g->n_parts];

    p->path = di_strdup(g->al, path);
    if (p->path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", path);
    g->n_parts++;
    DI_TRY(di_map_file(path, &p->map, err));
    p->data = p->map.data != NULL ? p->map.data : (const unsigned char *)"";
    p->size = p->map.size;
    DI_TRY(read_part(g->al, p, err));
done:
    return st;
}

static int64_t part_int(const part *p, const char *key, int64_t otherwise)
{
    const pair *v = find_pair(p, key);
    int64_t x;

    return v != NULL && int_at(v->type, v->value, 0, &x) ? x : otherwise;
}

/* Length of path without "-00001-of-0000N.gguf"; 0: the name has another form. */
static size_t stem_of(const char *path, int64_t count)
{
    const char *tail = DI_FMT("-of-%05" PRId64 ".gguf", count);
    size_t n = strlen(path), n_tail = strlen(tail);

    if (n <= n_tail + 6 || strcmp(path + n - n_tail, tail) != 0) return 0;
    n -= n_tail + 6;
    return path[n] == '-' && strspn(path + n + 1, "0123456789") == 5 ? n : 0;
}

/* Opens all parts of the split file that path belongs to. */
static dial_status open_split(const di_alloc *al, const char *path, int64_t count, di_gguf **out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t stem = stem_of(path, count), n = stem + 32;
    di_gguf *g = NULL;
    char *name = NULL;

    if (stem == 0 || count > 99999)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "give the parts their names back",
                   "expected a name that ends in -00001-of-%05" PRId64
                   ".gguf, since the file says that it is split",
                   count);
    g = new_gguf(al, (size_t)count);
    name = di_new(al, n);
    if (g == NULL || name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", path);
    for (int64_t i = 0; i < count; i++) {
        snprintf(name, n, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf", (int)stem, path, i + 1,
                 count);
        DI_TRY(add_part(g, name, err));
        if (part_int(&g->part[i], "split.no", -1) != i ||
            part_int(&g->part[i], "split.count", -1) != count)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, name, "fetch the parts again",
                       "expected split.no %" PRId64 " and split.count %" PRId64, i, count);
    }
    DI_TRY(join_parts(g, err));
    if (part_int(&g->part[0], "split.tensors.count", (int64_t)g->n) != (int64_t)g->n)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "fetch the parts again",
                   "expected %" PRId64 " tensors in all parts, found %zu",
                   part_int(&g->part[0], "split.tensors.count", 0), g->n);
    *out = g;
    g = NULL;
done:
    di_free(al, name);
    di_gguf_close(g);
    return st;
}

dial_status di_gguf_open(const di_alloc *al, const char *path, di_gguf **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_gguf *g = new_gguf(al, 1);
    int64_t count;

    if (g == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", path);
    DI_TRY(add_part(g, path, err));
    count = part_int(&g->part[0], "split.count", 1);
    if (count > 1) {
        DI_TRY(open_split(al, path, count, out, err));
        goto done;
    }
    DI_TRY(join_parts(g, err));
    *out = g;
    g = NULL;
done:
    di_gguf_close(g);
    return st;
}

void di_gguf_close(di_gguf *g)
{
    if (g == NULL) return;
    for (size_t i = 0; i < g->n_parts; i++) free_part(g->al, &g->part[i]);
    di_free(g->al, g->part);
    di_free(g->al, g->at);
    di_free(g->al, g->named);
    di_free(g->al, g);
}

/* ---- looking things up ---- */

size_t di_gguf_parts(const di_gguf *g)
{
    return g->n_parts;
}

const char *di_gguf_part_path(const di_gguf *g, size_t i)
{
    return g->part[i].path;
}

di_map di_gguf_part_map(const di_gguf *g, size_t i)
{
    return (di_map){g->part[i].data, g->part[i].size};
}

size_t di_gguf_count(const di_gguf *g)
{
    return g->n;
}

const di_gguf_tensor *di_gguf_at(const di_gguf *g, size_t i)
{
    return i < g->n ? g->at[i] : NULL;
}

const di_gguf_tensor *di_gguf_find(const di_gguf *g, const char *name)
{
    const di_gguf_tensor wanted = {.name = name}, *key = &wanted;
    const di_gguf_tensor *const *hit =
        g->n == 0 ? NULL : bsearch(&key, g->named, g->n, sizeof key, by_name);

    return hit != NULL ? *hit : NULL;
}

size_t di_gguf_pairs(const di_gguf *g)
{
    return g->part[0].n_pairs;
}

di_str di_gguf_pair(const di_gguf *g, size_t i, di_str *key)
{
    const pair *p = &g->part[0].pair[i];
    const uint32_t type = p->type == T_ARRAY ? p->item_type : p->type;
    const char *begin = p->key.data - 8;
    size_t size = 0;

    for (size_t k = 0; type == T_STRING && k < p->n; k++)
        size += 8 + string_at(p->value + size).size;
    if (type != T_STRING) size = p->n * type_size[type];
    *key = p->key;
    return (di_str){begin, (size_t)((const char *)p->value - begin) + size};
}

int di_gguf_has(const di_gguf *g, const char *key)
{
    return find_pair(&g->part[0], key) != NULL;
}

int di_gguf_int(const di_gguf *g, const char *key, int64_t *out)
{
    const pair *p = find_pair(&g->part[0], key);

    return p != NULL && int_at(p->type, p->value, 0, out);
}

int di_gguf_float(const di_gguf *g, const char *key, double *out)
{
    const pair *p = find_pair(&g->part[0], key);

    return p != NULL && float_at(p->type, p->value, 0, out);
}

int di_gguf_string(const di_gguf *g, const char *key, di_str *out)
{
    const pair *p = find_pair(&g->part[0], key);

    if (p == NULL || p->type != T_STRING) return 0;
    *out = string_at(p->value);
    return 1;
}

int di_gguf_array_of(const di_gguf *g, const char *key, di_gguf_array *out)
{
    const pair *p = find_pair(&g->part[0], key);

    if (p == NULL || p->type != T_ARRAY) return 0;
    *out = (di_gguf_array){p->item_type, p->n, p->value};
    return 1;
}

int di_gguf_item_int(const di_gguf_array *a, size_t i, int64_t *out)
{
    return i < a->n && int_at(a->type, a->data, i, out);
}

int di_gguf_item_float(const di_gguf_array *a, size_t i, double *out)
{
    return i < a->n && float_at(a->type, a->data, i, out);
}

di_str di_gguf_next_string(const di_gguf_array *a, size_t *at)
{
    di_str s = string_at(a->data + *at);

    *at += 8 + s.size;
    return s;
}
