#include "model/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/*
 * Layout: u64 length n of the header, n bytes of JSON, the buffer. The header is believed only as
 * far as the file bears it out: every product is checked for overflow, and the tensors have to
 * tile the buffer without gap or overlap up to its last byte, so no byte of the file goes unread
 * and none is read twice.
 */
static const uint64_t max_header = 100u * 1000 * 1000;

/* Rank of the reference writer (its files begin with the highest) and bits of an element. */
static const struct {
    const char *name;
    unsigned bits;
} dtype_row[] = {
    {"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
    {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
    {"F32", 32}, {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
};

/* -1: a dtype this file does not know, whose size cannot be checked. */
static int dtype_rank(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof dtype_row / sizeof *dtype_row; i++)
        if (strcmp(dtype_row[i].name, name) == 0) return (int)i;
    return -1;
}

/* 0: not known. */
static unsigned dtype_bits(const char *name)
{
    int rank = dtype_rank(name);

    return rank < 0 ? 0 : dtype_row[rank].bits;
}

static di_dtype dtype_from(const char *name)
{
    if (strcmp(name, "F32") == 0) return DI_F32;
    if (strcmp(name, "F16") == 0) return DI_F16;
    if (strcmp(name, "BF16") == 0) return DI_BF16;
    if (strcmp(name, "I32") == 0) return DI_I32;
    return DI_DTYPE_COUNT;
}

static const char damaged[] = "the file is damaged or incomplete: fetch or write it again";

/* A JSON value as a size; 0 if it is no integer >= 0. */
static int as_size(const json_t *v, size_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) return 0;
    *out = (size_t)json_integer_value(v);
    return 1;
}

/* One entry of the header. data and bytes are set as if the buffer began at `buffer`. */
static dial_status read_entry(const json_t *v, const char *name, const char *where,
                              const unsigned char *buffer, size_t buffer_size, di_st_tensor *out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *shape = json_object_get(v, "shape");
    const json_t *offsets = json_object_get(v, "data_offsets");
    const char *place = DI_FMT("%s: tensor '%s'", where, name);
    size_t count = 1, begin = 0, end = 0, bits = 0;
    di_st_tensor t = {.name = name, .dtype_name = json_string_value(json_object_get(v, "dtype"))};

    if (!json_is_object(v) || t.dtype_name == NULL || !json_is_array(shape) ||
        !json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !as_size(json_array_get(offsets, 0), &begin) || !as_size(json_array_get(offsets, 1), &end))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, place, damaged,
                   "expected {\"dtype\": string, \"shape\": [int], \"data_offsets\": [int, int]}");
    if (json_array_size(shape) > sizeof t.dim / sizeof *t.dim)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, place, damaged, "expected at most 8 dimensions, found %zu",
                   json_array_size(shape));
    for (size_t i = 0; i < json_array_size(shape); i++) {
        size_t dim;

        if (!as_size(json_array_get(shape, i), &dim))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, place, damaged,
                       "expected a shape of integers >= 0; dimension %zu is none", i);
        if (!di_mul_size(count, dim, &count) || count > INT64_MAX)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, place, damaged,
                       "the product of the dimensions does not fit 63 bits");
        t.dim[t.n_dims++] = (int64_t)dim;
    }
    if (begin > end || end > buffer_size)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, place, damaged,
                   "expected offsets within the buffer of %zu bytes, found [%zu, %zu]", buffer_size,
                   begin, end);
    t.count = (int64_t)count;
    t.bytes = end - begin;
    t.data = buffer + begin;
    t.dtype = dtype_from(t.dtype_name);
    bits = dtype_bits(t.dtype_name);
    if (bits != 0 && (!di_mul_size(count, bits, &bits) || bits % 8 != 0 || bits / 8 != t.bytes))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, place, damaged,
                   "%zu elements of %s do not take the %zu bytes of its offsets", count,
                   t.dtype_name, t.bytes);
    *out = t;
done:
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const di_st_tensor *)a)->name, ((const di_st_tensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const di_st_tensor *x = a, *y = b;

    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The tensors tile [buffer, buffer + size). Leaves them sorted by place. */
static dial_status check_tiling(const di_st *s, const char *where, const unsigned char *file,
                                const unsigned char *buffer, size_t size, dial_error *err)
{
    dial_status st = DIAL_OK;
    const unsigned char *at = buffer;

    if (s->n > 0) qsort(s->tensor, s->n, sizeof *s->tensor, by_place);
    for (size_t i = 0; i < s->n; i++) {
        const di_st_tensor *t = &s->tensor[i];

        if (t->data != at)
            DI_FAIL_AT(err, DIAL_ERR_INPUT,
                       DI_FMT("%s: byte %td, tensor '%s'", where,
                              (const unsigned char *)t->data - file, t->name),
                       damaged, "expected the tensor at byte %td: %s", at - file,
                       (uintptr_t)t->data > (uintptr_t)at ? "a hole lies before it"
                                                          : "it overlaps another");
        at += t->bytes;
    }
    if (at != buffer + size)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: byte %td", where, at - file), damaged,
                   "the last tensor ends %td bytes before the end of the file", buffer + size - at);
done:
    return st;
}

static dial_status check_metadata(const json_t *v, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *key;
    json_t *value;

    if (!json_is_object(v))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: __metadata__", where), damaged,
                   "expected an object of strings");
    json_object_foreach ((json_t *)(uintptr_t)v, key, value)
        if (!json_is_string(value))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: __metadata__.%s", where, key), damaged,
                       "expected a string");
done:
    return st;
}

dial_status di_st_parse(const di_alloc *al, const void *data, size_t n, const char *where,
                        di_st *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const unsigned char *file = data;
    di_st s = {.al = al};
    uint64_t header = 0;
    const char *key;
    json_t *value;

    if (n < 8)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: byte 0", where), damaged,
                   "expected a safetensors file of at least 8 bytes, found %zu", n);
    memcpy(&header, file, 8);
    if (header > max_header || header > n - 8)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: byte 0", where), damaged,
                   "the header takes %" PRIu64 " bytes, expected at most %" PRIu64 "%s", header,
                   n - 8 < max_header ? (uint64_t)(n - 8) : max_header,
                   n - 8 < max_header ? ", the rest of the file" : "");
    if (header == 0 || file[8] != '{')
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: byte 8", where),
                   "check that this is a safetensors file", "expected a header that begins with {");
    DI_TRY(di_json_parse((const char *)file + 8, (size_t)header, where, 1, &s.header, err));
    s.metadata = json_object_get(s.header, "__metadata__");
    if (s.metadata != NULL) DI_TRY(check_metadata(s.metadata, where, err));
    s.tensor = di_new_array(al, json_object_size(s.header), sizeof *s.tensor);
    if (s.tensor == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the header of '%s'", where);
    json_object_foreach (s.header, key, value) {
        if (value == s.metadata) continue;
        DI_TRY(read_entry(value, key, where, file + 8 + header, n - 8 - (size_t)header,
                          &s.tensor[s.n], err));
        s.n++;
    }
    DI_TRY(check_tiling(&s, where, file, file + 8 + header, n - 8 - (size_t)header, err));
    if (s.n > 0) qsort(s.tensor, s.n, sizeof *s.tensor, by_name);
    *out = s;
    s = (di_st){.al = al};
done:
    di_st_close(&s);
    return st;
}

dial_status di_st_open(const di_alloc *al, const char *path, di_st *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_map map = {0};

    DI_TRY(di_map_file(path, &map, err));
    DI_TRY(di_st_parse(al, map.size > 0 ? (const void *)map.data : "", map.size, path, out, err));
    out->map = map;
    map = (di_map){0};
done:
    di_unmap(&map);
    return st;
}

void di_st_close(di_st *s)
{
    if (s == NULL) return;
    di_unmap(&s->map);
    if (s->al != NULL) di_free(s->al, s->tensor);
    json_decref(s->header); /* owns metadata and every name */
    *s = (di_st){0};
}

const di_st_tensor *di_st_find(const di_st *s, const char *name)
{
    const di_st_tensor key = {.name = name};

    return s->n == 0 ? NULL : bsearch(&key, s->tensor, s->n, sizeof key, by_name);
}

dial_status di_st_read_f32(const di_st *s, const char *where, const char *name, float *dst,
                           int64_t count, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_st_tensor *t = di_st_find(s, name);
    const char *place = DI_FMT("%s: tensor '%s'", where, name);

    if (t == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, place, "check that this is the right file",
                   "the file has no such tensor");
    if (t->dtype != DI_F32 && t->dtype != DI_F16 && t->dtype != DI_BF16)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, place, "store it as F32",
                   "expected F32, F16 or BF16, found %s", t->dtype_name);
    if (t->count != count)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, place, "check that file and model belong together",
                   "expected %" PRId64 " elements, found %" PRId64, count, t->count);
    di_dequantize(t->dtype, t->data, dst, count);
done:
    return st;
}

/* -------------------------------------------------------------------------------------------------
 * Writing. Wide elements come first, then names in order, as the reference writer does: the same
 * tensors give the same bytes, and with the padded header every tensor is aligned to its element.
 */
static int by_rank(const void *a, const void *b)
{
    const di_st_entry *x = *(const di_st_entry *const *)a, *y = *(const di_st_entry *const *)b;
    int rx = dtype_rank(x->dtype_name), ry = dtype_rank(y->dtype_name);

    return rx != ry ? (rx > ry ? -1 : 1) : strcmp(x->name, y->name);
}

static json_t *entry_json(const di_st_entry *e, size_t begin)
{
    json_t *shape = json_array();

    for (int i = 0; i < e->n_dims; i++)
        if (json_array_append_new(shape, json_integer(e->dim[i])) != 0) goto fail;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", e->dtype_name, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + e->bytes));
fail:
    json_decref(shape);
    return NULL;
}

/* What a caller can get wrong; all of it would make a file that no reader accepts. */
static dial_status check_entry(const di_st_entry *e, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t bits = dtype_bits(e->dtype_name);

    if (bits == 0 || e->n_dims < 0 || e->n_dims > 4)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("%s: tensor '%s'", path, e->name), NULL,
                   "cannot write dtype '%s' with %d dimensions",
                   e->dtype_name != NULL ? e->dtype_name : "", e->n_dims);
    for (int i = 0; i < e->n_dims; i++)
        if (e->dim[i] < 0 || !di_mul_size(bits, (size_t)e->dim[i], &bits))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("%s: tensor '%s'", path, e->name), NULL,
                       "dimension %d is out of range", i);
    if (bits % 8 != 0 || bits / 8 != e->bytes || strcmp(e->name, "__metadata__") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("%s: tensor '%s'", path, e->name), NULL,
                   "shape and dtype take %zu bytes, %zu given", bits / 8, e->bytes);
done:
    return st;
}

/* The header with its length in front and spaces behind, so that the buffer starts at 8k bytes. */
static dial_status make_header(const di_st_entry *const *entry, size_t n, const json_t *metadata,
                               const char *path, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *header = json_object();
    uint64_t length = 0;
    size_t at = 0;

    di_buf_append(out, &length, 8);
    if (metadata != NULL && json_object_size(metadata) > 0) {
        DI_TRY(check_metadata(metadata, path, err));
        if (json_object_set_new(header, "__metadata__", json_deep_copy(metadata)) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the header of '%s'", path);
    }
    for (size_t i = 0; i < n; i++) {
        DI_TRY(check_entry(entry[i], path, err));
        if (json_object_get(header, entry[i]->name) != NULL)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("%s: tensor '%s'", path, entry[i]->name), NULL,
                       "the name is given twice");
        if (json_object_set_new(header, entry[i]->name, entry_json(entry[i], at)) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the header of '%s'", path);
        at += entry[i]->bytes;
    }
    DI_TRY(di_json_write(header, out, err));
    di_buf_append(out, "       ", (8 - out->size % 8) % 8);
    DI_TRY(di_buf_status(out, err));
    length = out->size - 8;
    memcpy(out->data, &length, 8);
done:
    json_decref(header);
    return st;
}

dial_status di_st_write_from(const di_alloc *al, const char *path, const di_st_entry *entry,
                             size_t n, const json_t *metadata, di_st_fill fill, void *ctx,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_st_entry **order = di_new_array(al, n, sizeof *order);
    di_writer w = {0};
    di_buf header;

    di_buf_init(&header, al);
    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to write '%s'", path);
    for (size_t i = 0; i < n; i++) order[i] = &entry[i];
    if (n > 0) qsort(order, n, sizeof *order, by_rank);
    DI_TRY(make_header(order, n, metadata, path, &header, err));
    DI_TRY(di_write_begin(al, path, &w, err));
    DI_TRY(di_write(&w, header.data, header.size, err));
    for (size_t i = 0; i < n; i++) DI_TRY(fill(ctx, order[i], &w, err));
    DI_TRY(di_write_commit(&w, err));
done:
    di_write_abort(&w);
    di_buf_deinit(&header);
    di_free(al, order);
    return st;
}

static dial_status from_memory(void *ctx, const di_st_entry *e, di_writer *w, dial_error *err)
{
    (void)ctx;
    return di_write(w, e->data, e->bytes, err);
}

dial_status di_st_write(const di_alloc *al, const char *path, const di_st_entry *entry, size_t n,
                        const json_t *metadata, dial_error *err)
{
    return di_st_write_from(al, path, entry, n, metadata, from_memory, NULL, err);
}
