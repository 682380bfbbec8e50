/* safetensors: files of the reference writer, what must be refused, and what dial writes. */
#include "files.h"

#include "model/safetensors.h"

#define MODELS TEST_DIR "/fixtures/models/"

/* A file from the text of its header and so many buffer bytes 0, 1, 2, ... */
static void build(di_buf *b, const char *header, size_t buffer)
{
    uint64_t n = strlen(header);

    di_buf_init(b, di_alloc_default());
    di_buf_append(b, &n, 8);
    di_buf_append(b, header, n);
    for (size_t i = 0; i < buffer; i++) di_buf_append(b, &(unsigned char){(unsigned char)i}, 1);
    assert_int_equal(b->failed, 0);
}

static dial_status parse(const void *data, size_t n, dial_error *err)
{
    unsigned char *copy = copy_of(data, n);
    di_st s = {0};
    dial_status st = di_st_parse(di_alloc_default(), copy, n, "x", &s, err);

    di_st_close(&s);
    free(copy);
    return st;
}

static void reads_the_reference(void **state)
{
    dial_error err = {0};
    di_st s = {0};
    const di_st_tensor *t;
    float norm[32] = {0}, sum = 0;
    (void)state;
    assert_ok(di_st_open(di_alloc_default(), MODELS "llama/model.safetensors", &s, &err), err);
    assert_int_equal(s.n, 29); /* 3 layers of 9, embedding, norm; the head is tied */
    for (size_t i = 1; i < s.n; i++)
        assert_true(strcmp(s.tensor[i - 1].name, s.tensor[i].name) < 0);
    t = di_st_find(&s, "model.layers.2.mlp.down_proj.weight");
    assert_non_null(t);
    assert_string_equal(t->dtype_name, "F32");
    assert_int_equal(t->dtype, DI_F32);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dim[0], 32);
    assert_int_equal(t->dim[1], 44);
    assert_int_equal(t->bytes, 4 * 32 * 44);
    assert_null(di_st_find(&s, "model.layers.3.mlp.down_proj.weight"));
    assert_string_equal(json_string_value(json_object_get(s.metadata, "format")), "pt");
    assert_ok(di_st_read_f32(&s, "llama", "model.norm.weight", norm, 32, &err), err);
    for (int i = 0; i < 32; i++) sum += norm[i];
    assert_true(sum > 24 && sum < 40); /* 32 draws around 1 with sd 0.2 */
    assert_input_error(di_st_read_f32(&s, "llama", "model.norm.weight", norm, 31, &err), err, "32");
    assert_input_error(di_st_read_f32(&s, "llama", "model.norm", norm, 32, &err), err,
                       "'model.norm'");
    di_st_close(&s);
    di_st_close(&s); /* harmless */
}

static void converts_and_refuses_dtypes(void **state)
{
    static const char header[] =
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
        "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[4,12]},"
        "\"new\":{\"dtype\":\"F77\",\"shape\":[3],\"data_offsets\":[12,15]},"
        "\"none\":{\"dtype\":\"BF16\",\"shape\":[0,7],\"data_offsets\":[15,15]}}  ";
    dial_error err = {0};
    di_st s = {0};
    di_buf b;
    float y[2];
    (void)state;
    build(&b, header, 15);
    memcpy(b.data + b.size - 15, "\x00\x3c\x00\xc0", 4);
    assert_ok(di_st_parse(di_alloc_default(), b.data, b.size, "x", &s, &err), err);
    assert_null(s.metadata);
    assert_ok(di_st_read_f32(&s, "x", "h", y, 2, &err), err);
    assert_true(y[0] == 1 && y[1] == -2);
    assert_int_equal(di_st_find(&s, "none")->count, 0);
    assert_int_equal(di_st_find(&s, "new")->dtype, DI_DTYPE_COUNT);
    assert_int_equal(di_st_find(&s, "new")->bytes, 3);
    assert_input_error(di_st_read_f32(&s, "x", "i", y, 1, &err), err, "I64");
    assert_input_error(di_st_read_f32(&s, "x", "new", y, 3, &err), err, "F77");
    di_st_close(&s);
    di_buf_deinit(&b);
}

#define E(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void refusals(void **state)
{
    static const struct {
        const char *header;
        size_t buffer;
        const char *part; /* of message or place */
    } row[] = {
        {"", 0, "begins with {"},
        {" {}", 0, "begins with {"},
        {"[]", 0, "begins with {"},
        {"{", 0, "json_syntax"},
        {"{} x", 0, "json_syntax"},
        {"{\"a\":1}", 0, "tensor 'a'"},
        {"{\"__metadata__\":1}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__.k"},
        {"{" E("a", "F32", "[1]", "[0,4]") "," E("a", "F32", "[1]", "[4,8]") "}", 8,
         "duplicate_key"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor 'a'"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor 'a'"},
        {"{" E("a", "F32", "1", "[0,4]") "}", 4, "tensor 'a'"},
        {"{" E("a", "F32", "[-1]", "[0,4]") "}", 4, "dimension 0"},
        {"{" E("a", "F32", "[1.0]", "[0,4]") "}", 4, "dimension 0"},
        {"{" E("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "8 dimensions"},
        {"{" E("a", "F32", "[1]", "[0,4,8]") "}", 4, "tensor 'a'"},
        {"{" E("a", "F32", "[1]", "[-4,0]") "}", 4, "tensor 'a'"},
        {"{" E("a", "F32", "[2]", "[8,0]") "}", 8, "[8, 0]"},
        {"{" E("a", "F32", "[2]", "[0,8]") "}", 7, "buffer of 7 bytes"},
        {"{" E("a", "F32", "[2]", "[0,8]") "}", 9, "1 bytes before the end"},
        {"{" E("a", "F32", "[2]", "[0,4]") "}", 4, "2 elements of F32"},
        {"{" E("a", "F4", "[3]", "[0,1]") "}", 1, "3 elements of F4"},
        {"{" E("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "63 bits"},
        {"{" E("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, "elements of F32"},
        {"{" E("a", "F32", "[99999999999999999999]", "[0,0]") "}", 0, ""}, /* no integer of C */
        {"{" E("a", "F32", "[1]", "[0,4]") "," E("b", "F32", "[1]", "[8,12]") "}", 12, "hole"},
        {"{" E("a", "F32", "[1]", "[4,8]") "}", 8, "hole"},
        {"{" E("a", "F32", "[2]", "[0,8]") "," E("b", "F32", "[1]", "[4,8]") "}", 8, "overlaps"},
        {"{" E("a", "F32", "[1]", "[0,4]") "," E("b", "F32", "[1]", "[0,4]") "}", 4, "overlaps"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        dial_error err = {0};
        di_buf b;

        build(&b, row[i].header, row[i].buffer);
        assert_input_error(parse(b.data, b.size, &err), err, row[i].part);
        di_buf_deinit(&b);
    }
}

static void header_length(void **state)
{
    static const uint64_t row[] = {3, 1u << 20, 100000001, (uint64_t)1 << 40, UINT64_MAX};
    unsigned char file[10] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    dial_error err = {0};
    (void)state;
    assert_ok(parse(file, sizeof file, &err), err);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        memcpy(file, &row[i], 8);
        assert_input_error(parse(file, sizeof file, &err), err, "expected at most 2, the rest");
    }
    for (size_t n = 0; n < 8; n++)
        assert_input_error(parse(file, n, &err), err, "at least 8 bytes");
}

/* No prefix of a file is a file, and no flipped bit of the header does harm. */
static void damaged_files(void **state)
{
    char *file = NULL;
    size_t n = 0;
    uint64_t header;
    dial_error err = {0};
    (void)state;
    assert_ok(di_read_file(di_alloc_default(), MODELS "llama/adapter/adapter_model.safetensors",
                           &file, &n, &err),
              err);
    for (size_t i = 0; i < 64; i++) assert_int_equal(parse(file, n * i / 64, &err), DIAL_ERR_INPUT);
    assert_int_equal(parse(file, n - 1, &err), DIAL_ERR_INPUT);
    memcpy(&header, file, 8);
    for (size_t i = 0; i < 8 + header; i++) {
        dial_status st;

        file[i] ^= (char)(1 << i % 8);
        st = parse(file, n, &err);
        assert_true(st == DIAL_OK || st == DIAL_ERR_INPUT); /* OK: a letter of a name */
        file[i] ^= (char)(1 << i % 8);
    }
    di_free(di_alloc_default(), file);
}

/* What the reference wrote, read and written again: the same bytes. */
static void writes_as_the_reference(void **state)
{
    static const char *const path[] = {MODELS "llama/adapter/adapter_model.safetensors",
                                       MODELS "llama/expected.safetensors",
                                       MODELS "gemma3_text/model.safetensors"};
    const di_alloc *al = di_alloc_default();
    char dir[256], copy[300];
    (void)state;
    make_temp_dir(dir);
    snprintf(copy, sizeof copy, "%s/copy.safetensors", dir);
    for (size_t f = 0; f < sizeof path / sizeof *path; f++) {
        dial_error err = {0};
        di_st s = {0};
        di_st_entry *entry;
        char *a = NULL, *b = NULL, **names = NULL;
        size_t na = 0, nb = 0, n_names = 0;

        assert_ok(di_st_open(al, path[f], &s, &err), err);
        entry = calloc(s.n, sizeof *entry);
        assert_non_null(entry);
        for (size_t i = 0; i < s.n; i++) { /* back to front: the writer sorts */
            const di_st_tensor *t = &s.tensor[s.n - 1 - i];

            entry[i] = (di_st_entry){t->name, t->dtype_name, {0}, t->n_dims, t->data, t->bytes};
            memcpy(entry[i].dim, t->dim, sizeof entry[i].dim);
        }
        assert_ok(di_st_write(al, copy, entry, s.n, s.metadata, &err), err);
        assert_ok(di_read_file(al, path[f], &a, &na, &err), err);
        assert_ok(di_read_file(al, copy, &b, &nb, &err), err);
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na);
        assert_ok(di_list_dir(al, dir, &names, &n_names, &err), err);
        assert_int_equal(n_names, 1); /* no temporary file stays */
        di_free_names(al, names, n_names);
        di_free(al, a);
        di_free(al, b);
        free(entry);
        di_st_close(&s);
    }
    remove_temp_dir(dir);
}

static void mixed_dtypes_stay_aligned(void **state)
{
    static const unsigned char bytes[3] = {1, 2, 3};
    static const int64_t whole[2] = {-5, INT64_MAX};
    static const float real[3] = {1, -0.0f, 3};
    const di_st_entry entry[] = {
        {"a.bytes", "U8", {3}, 1, bytes, sizeof bytes},
        {"b.real", "F32", {1, 3}, 2, real, sizeof real},
        {"c.empty", "F32", {0, 3}, 2, NULL, 0},
        {"d \"\xc3\xa9\" /", "I64", {2}, 1, whole, sizeof whole},
        {"e.scalar", "F32", {0}, 0, real, 4},
    };
    const di_alloc *al = di_alloc_default();
    json_t *meta = json_pack("{s:s, s:s}", "kind", "test", "other", "\xe2\x82\xac");
    char dir[256], path[300];
    dial_error err = {0};
    di_st s = {0};
    (void)state;
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/mixed.safetensors", dir);
    assert_ok(di_st_write(al, path, entry, 5, meta, &err), err);
    assert_ok(di_st_open(al, path, &s, &err), err);
    assert_true(json_equal(meta, s.metadata));
    assert_int_equal(s.n, 5);
    for (size_t i = 0; i < 5; i++) {
        const di_st_tensor *t = di_st_find(&s, entry[i].name);

        assert_non_null(t);
        assert_int_equal(t->bytes, entry[i].bytes);
        assert_int_equal(t->n_dims, entry[i].n_dims);
        if (t->bytes > 0) assert_memory_equal(t->data, entry[i].data, t->bytes);
    }
    assert_int_equal((uintptr_t)di_st_find(&s, "b.real")->data % 4, 0);
    assert_int_equal((uintptr_t)di_st_find(&s, entry[3].name)->data % 8, 0);
    di_st_close(&s);
    assert_ok(di_st_write(al, path, NULL, 0, NULL, &err), err); /* no tensors: still a file */
    assert_ok(di_st_open(al, path, &s, &err), err);
    assert_int_equal(s.n, 0);
    assert_null(di_st_find(&s, "a"));
    di_st_close(&s);
    json_decref(meta);
    remove_temp_dir(dir);
}

static void writer_refusals(void **state)
{
    static const float x[2] = {1, 2};
    const di_st_entry row[][2] = {
        {{"a", "F32", {2}, 1, x, 8}, {"a", "F32", {2}, 1, x, 8}},
        {{"a", "F32", {2}, 1, x, 8}, {"b", "F32", {2}, 1, x, 4}},
        {{"a", "F32", {2}, 1, x, 8}, {"b", "float", {2}, 1, x, 8}},
        {{"a", "F32", {2}, 1, x, 8}, {"b", "F32", {-2}, 1, x, 8}},
        {{"a", "F32", {2}, 1, x, 8}, {"b", "F32", {INT64_MAX, 4}, 2, x, 8}},
        {{"a", "F32", {2}, 1, x, 8}, {"__metadata__", "F32", {2}, 1, x, 8}},
    };
    char dir[256], path[300];
    dial_error err = {0};
    (void)state;
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_int_equal(di_st_write(di_alloc_default(), path, row[i], 2, NULL, &err),
                         DIAL_ERR_USAGE);
        assert_false(di_exists(path));
    }
    assert_int_equal(di_st_open(di_alloc_default(), path, &(di_st){0}, &err), DIAL_ERR_USAGE);
    write_file(path, "", 0);
    assert_input_error(di_st_open(di_alloc_default(), path, &(di_st){0}, &err), err, "found 0");
    snprintf(path, sizeof path, "%s/no/x.safetensors", dir);
    assert_int_equal(di_st_write(di_alloc_default(), path, row[0], 1, NULL, &err), DIAL_ERR_IO);
    remove_temp_dir(dir);
}

static dial_status open_once(void *arg, dial_error *err)
{
    di_st s = {0};
    dial_status st = di_st_open(&heap_alloc, arg, &s, err);

    di_st_close(&s);
    return st;
}

static dial_status write_once(void *arg, dial_error *err)
{
    static const float x[2] = {1, 2};
    const di_st_entry entry[] = {{"b", "F32", {2}, 1, x, 8}, {"a", "F32", {1, 2}, 2, x, 8}};
    json_t *meta = json_pack("{s:s}", "format", "pt");
    dial_status st;

    if (meta == NULL) return DIAL_ERR_NOMEM;
    st = di_st_write(&heap_alloc, arg, entry, 2, meta, err);
    json_decref(meta);
    return st;
}

static void memory_runs_out(void **state)
{
    char dir[256], path[300];
    (void)state;
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    fail_each_allocation(open_once, (void *)(uintptr_t)(MODELS "llama/model.safetensors"));
    fail_each_allocation(write_once, path);
    assert_true(di_exists(path));
    remove_temp_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_reference),
        cmocka_unit_test(converts_and_refuses_dtypes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(header_length),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(writes_as_the_reference),
        cmocka_unit_test(mixed_dtypes_stay_aligned),
        cmocka_unit_test(writer_refusals),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
