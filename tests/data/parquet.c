/* Parquet files of pyarrow (tests/fixtures/make_parquet.py) against their rows as JSON Lines. */
#include <dirent.h>

#include "test.h"

#include "base/file.h"
#include "data/parquet.h"
#include "data/rows.h"
#include "data/unpack.h"

#define FIXTURES TEST_DIR "/fixtures/parquet/"

static int all(void *ctx, const char *column)
{
    (void)ctx;
    (void)column;
    return 1;
}

static int only(void *ctx, const char *column)
{
    return strcmp(ctx, column) == 0;
}

/* The shape of a value with numbers as text, so that 3.0 and 3 differ but f32 and f64 need not. */
static void same_value(const char *file, long row, const json_t *a, const json_t *b)
{
    if (json_is_real(a) && json_is_real(b)) {
        if (json_real_value(a) != json_real_value(b))
            fail_msg("%s, row %ld: %.17g, expected %.17g", file, row, json_real_value(a),
                     json_real_value(b));
        return;
    }
    if (!json_equal(a, b)) {
        char *x = json_dumps(a, JSON_ENCODE_ANY), *y = json_dumps(b, JSON_ENCODE_ANY);

        fail_msg("%s, row %ld:\n%s\nexpected\n%s", file, row, x, y);
    }
}

static void compare(const char *file, const char *rows)
{
    di_map map = {0};
    di_parquet *p = NULL;
    dial_error err = {0};
    char *text = NULL, *line, *rest;
    const char *not_finite, *bad_text;
    size_t n;
    long row = 0;
    char path[512];

    snprintf(path, sizeof path, FIXTURES "%s", file);
    assert_ok(di_map_file(path, &map, &err), err);
    snprintf(path, sizeof path, FIXTURES "%s", rows);
    assert_ok(di_read_file(di_alloc_default(), path, &text, &n, &err), err);
    assert_ok(di_parquet_open(di_alloc_default(), file, map.data, map.size, all, NULL, &p, &err),
              err);
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        json_t *want = json_loads(line, 0, NULL), *found = NULL, *v;
        const char *key;

        assert_non_null(want);
        assert_true(di_parquet_next(p));
        assert_ok(di_parquet_row(p, &found, &not_finite, &bad_text, &err), err);
        if (not_finite != NULL || bad_text != NULL)
            fail_msg("%s, row %ld: '%s' is no number or text", file, row,
                     bad_text != NULL ? bad_text : not_finite);
        json_object_foreach (want, key, v) {
            const json_t *x = json_object_get(found, key);

            if (x == NULL) fail_msg("%s, row %ld: no '%s'", file, row, key);
            same_value(file, row, x, v);
        }
        assert_int_equal(json_object_size(found), json_object_size(want));
        json_decref(want);
        json_decref(found);
        row++;
    }
    assert_int_equal(row, 90);
    assert_false(di_parquet_next(p));
    di_parquet_close(p);
    di_free(di_alloc_default(), text);
    di_unmap(&map);
}

/* Which codec a fixture needs, by its name; -1: none. */
static int codec_of(const char *file)
{
    return strstr(file, "plain") != NULL             ? -1
           : strstr(file, "zstd") != NULL            ? (int)DI_CODEC_ZSTD
           : strcmp(file, "flat_delta.parquet") == 0 ? (int)DI_CODEC_GZIP
                                                     : (int)DI_CODEC_SNAPPY;
}

static void equal_to_pyarrow(void **state)
{
    char **names = NULL;
    size_t n = 0;
    int read = 0, left_out = 0;
    dial_error err = {0};
    (void)state;

    assert_ok(di_list_dir(di_alloc_default(), FIXTURES, &names, &n, &err), err);
    for (size_t i = 0; i < n; i++) {
        int flat = strncmp(names[i], "flat_", 5) == 0,
            nested = strncmp(names[i], "nested_", 7) == 0;

        if (!flat && !nested) continue;
        if (codec_of(names[i]) >= 0 && !di_codec_built((di_codec)codec_of(names[i]))) {
            print_message("left out: %s, its codec is not in this build\n", names[i]);
            left_out++;
            continue;
        }
        compare(names[i], flat ? "flat.jsonl" : "nested.jsonl");
        read++;
    }
    assert_int_equal(read + left_out, 11);
    di_free_names(di_alloc_default(), names, n);
}

/* What is not read says which column and what of it; a column that nobody wants does not matter. */
static void refused(void **state)
{
    json_t *list = NULL, *v;
    const char *name;
    dial_error err = {0};
    (void)state;

    assert_ok(di_json_read(di_alloc_default(), FIXTURES "refused.json", &list, &err), err);
    assert_int_equal(json_object_size(list), 6);
    json_object_foreach (list, name, v) {
        const char *column = json_string_value(json_array_get(v, 0));
        const char *what = json_string_value(json_array_get(v, 1)), *x, *y;
        di_map map = {0};
        di_parquet *p = NULL;
        json_t *row = NULL;
        dial_status st;
        char path[512], where[128];

        snprintf(path, sizeof path, FIXTURES "refused_%s.parquet", name);
        assert_ok(di_map_file(path, &map, &err), err);
        err = (dial_error){0};
        st = di_parquet_open(di_alloc_default(), "f", map.data, map.size, all, NULL, &p, &err);
        if (st == DIAL_OK) assert_true(di_parquet_next(p));
        if (st == DIAL_OK) st = di_parquet_row(p, &row, &x, &y, &err);
        snprintf(where, sizeof where, "f: column '%s'", column);
        if (st != DIAL_ERR_INPUT || strcmp(err.where, where) != 0 ||
            strstr(err.message, what) == NULL)
            fail_msg("%s: (%s) %s", name, err.where, err.message);
        di_parquet_close(p);
        di_unmap(&map);
    }
    json_decref(list);
}

static void damaged(void **state)
{
    static const char *const cut[] = {"PAR1", "PAR1PAR1PAR1", "PAR1\0\0\0\0PAR1",
                                      "PAR1\xff\xff\xff\xffPAR1"};
    dial_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        di_parquet *p = NULL;

        assert_int_equal(
            di_parquet_open(di_alloc_default(), "f", cut[i], i > 0 ? 12 : 4, all, NULL, &p, &err),
            DIAL_ERR_INPUT);
        assert_memory_equal(err.message, "Parquet: ", 9);
    }
}

/* Through the rows: schema by the columns, odd columns not looked at, hash of the file. */
static void as_rows(void **state)
{
    di_rows_options opt = di_rows_options_default();
    di_rows *rows = NULL;
    di_row row;
    dial_error err = {0};
    char hex[65], file_hex[65];
    int got = 0;
    (void)state;

    if (!di_codec_built(DI_CODEC_SNAPPY)) skip();
    opt.skip = 1;
    assert_ok(di_rows_open(di_alloc_default(), FIXTURES "chat.parquet", &opt, NULL, &rows, &err),
              err);
    assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
    assert_int_equal(got, 1);
    assert_string_equal(di_rows_schema(rows), "pair-chat");
    assert_string_equal(di_rows_format(rows), "parquet");
    assert_int_equal(row.line, 2);
    assert_memory_equal(row.text[0].response, "good 1", 6);
    assert_memory_equal(row.text[1].response, "bad 1", 5);
    assert_string_equal(row.text[0].turn[0].role, "user");
    assert_ok(di_rows_sha256(rows, hex, &err), err);
    assert_ok(di_sha256_file(FIXTURES "chat.parquet", file_hex, &err), err);
    assert_string_equal(hex, file_hex);
    di_rows_close(rows);
}

static void a_column_alone(void **state)
{
    di_map map = {0};
    di_parquet *p = NULL;
    json_t *row = NULL;
    const char *x, *y;
    dial_error err = {0};
    (void)state;

    assert_ok(di_map_file(FIXTURES "nested_plain.parquet", &map, &err), err);
    assert_ok(di_parquet_open(di_alloc_default(), "f", map.data, map.size, only, "last", &p, &err),
              err);
    assert_true(di_parquet_next(p));
    assert_ok(di_parquet_row(p, &row, &x, &y, &err), err);
    assert_int_equal(json_object_size(row), 1);
    json_decref(row);
    di_parquet_close(p);
    p = NULL;
    assert_int_equal(
        di_parquet_open(di_alloc_default(), "f", map.data, map.size, only, "nothing", &p, &err),
        DIAL_ERR_INPUT);
    assert_non_null(strstr(err.message, "expected a column such as prompt or chosen, found 5"));
    di_unmap(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_pyarrow), cmocka_unit_test(refused),
        cmocka_unit_test(damaged),          cmocka_unit_test(as_rows),
        cmocka_unit_test(a_column_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
