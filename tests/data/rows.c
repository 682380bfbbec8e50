/* Containers: what is cut where, and what a bad file is answered with, place included. */
#include "data/read_rows.h"

#include <unistd.h>
#ifdef DIAL_ZLIB
#include <zlib.h>
#endif
#ifdef DIAL_ZSTD
#include <zstd.h>
#endif

#include "base/file.h"
#include "data/fail_alloc.h"

static const di_alloc *heap(void)
{
    return di_alloc_default();
}

static di_rows_options with_format(const char *format)
{
    di_rows_options opt = di_rows_options_default();

    opt.format = format;
    return opt;
}

/* --- formats ---------------------------------------------------------------------------------- */

static void json_lines(void **state)
{
    di_rows_options opt = di_rows_options_default();
    (void)state;
    check_rows("\xef\xbb\xbf{\"text\": \"a\"}\r\n\r\n  \n\t{\"text\": \"b\"}  \n{\"text\":\"c\"}",
               &opt, "single <.a>\nsingle <.b>\nsingle <.c>\n");
    check_rows("\n\n{\"text\": \"\\u00e9\\ud83d\\ude00\\n\"}\n", &opt,
               "single <.\xc3\xa9\xf0\x9f\x98\x80\n>\n");
}

static void json_array_elements(void **state)
{
    di_rows_options opt = di_rows_options_default();
    di_rows *rows = NULL;
    di_row row;
    int got;
    dial_error err = {0};
    static const char text[] = "\xef\xbb\xbf [\n  {\"text\": \"a]}\\\"\",\n   \"x\": [{}]} ,\n"
                               "{\"text\": \"b\"},{\"text\":\"c\"}\n]\n\n";
    (void)state;
    check_rows(text, &opt, "single <.a]}\">\nsingle <.b>\nsingle <.c>\n");
    check_rows("[]", &opt, "");
    assert_ok(di_rows_open_memory(heap(), "f", text, sizeof text - 1, &opt, NULL, &rows, &err),
              err);
    assert_string_equal(di_rows_format(rows), "json");
    assert_string_equal(di_rows_schema(rows), "");
    assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
    assert_true(row.line == 2 && row.column == 3 && row.index == 0);
    assert_string_equal(di_rows_schema(rows), "text");
    assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
    assert_true(row.line == 4 && row.column == 1);
    assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
    assert_true(row.line == 4 && row.column == 15 && row.index == 2 && got == 1);
    assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
    assert_int_equal(got, 0);
    assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
    assert_int_equal(got, 0);
    di_rows_close(rows);
}

static void csv_records(void **state)
{
    di_rows_options opt = di_rows_options_default(), tsv = with_format("tsv");
    (void)state;
    check_rows("prompt,response,score,id\r\n"
               "\"a, b\",\"two\nlines \"\"quoted\"\"\",0.5,7\r\n"
               "\r\n"
               ",a 5\" disc, -1e2 ,\n"
               "\"\",x,3,00123456789012345678901",
               &opt,
               "scored <a, b|two\nlines \"quoted\"> score=0.5 id=7\n"
               "scored <|a 5\" disc> score=-100\n"
               "scored <|x> score=3 id=00123456789012345678901\n");
    check_rows("text\tid\na, \"b\"\t1\n\"c\td\"\t2\n", &tsv,
               "single <.a, \"b\"> id=1\nsingle <.c\td> id=2\n");
    check_rows("text\n\n\"\n\"\n", &opt, "single <.\n>\n");
    check_rows("chosen,rejected,length_matched,margin\na,b,true,\nc,d,0,2\n", &opt,
               "pair <|a> <|b> matched=1\npair <|c> <|d> margin=2 matched=0\n");
    /* a list of messages as a cell; a text that only begins with a bracket stays a text */
    check_rows("prompt,chosen,rejected\n"
               "\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"Hi\"\"}]\",a,b\n"
               "[1] is a reference,a,b\n",
               &opt,
               "pair <Hi|a> <Hi|b> messages\npair <[1] is a reference|a> <[1] is a reference|b>\n");
}

static void skip_and_limit(void **state)
{
    di_rows_options opt = di_rows_options_default();
    (void)state;
    opt.skip = 1;
    opt.limit = 2;
    check_rows("{broken\n{\"text\":\"a\"}\n{\"text\":\"b\"}\n{broken\n", &opt,
               "single <.a>\nsingle <.b>\n");
    opt.limit = 0;
    check_rows("{broken\n{broken\n", &opt, "");
}

/* --- errors ----------------------------------------------------------------------------------- */

typedef struct bad_case {
    const char *text, *where, *message;
} bad_case;

static void bad_rows(void **state)
{
    static const bad_case rows[] = {
        {"{\"text\": \"a\"}\n {\"text\": tru}", "f:2:11",
         "json_syntax: expected a value, found 'tru'"},
        {"{\"text\": \"a\"", "f:1:12", "json_syntax: "},
        {"{\"text\": \"a\"} x", "f:1:15", "json_syntax: expected the end, found 'x'"},
        {"{\"text\": \"a\"}\n [1]", "f:2:2", "not_object: expected an object, found a list"},
        {"{\"text\": \"a\"}\n\"b\"", "f:2:1", "not_object: expected an object, found a string"},
        {"{\"text\": \"a\"}\nnull", "f:2:1", "not_object: expected an object, found null"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "f:1:15", "duplicate_key: expected every key once"},
        {"{\"text\": \"a\", \"x\": {\"y\": 1, \"y\": 2}}", "f:1:15", "duplicate_key: "},
        {"{\"text\": \"a\xff\"}", "f:1:12", "bad_utf8: expected UTF-8, found the byte 0xff"},
        {"{\"text\": \"\xc3\xa9\xe2\x82\"}", "f:1:13",
         "bad_utf8: expected UTF-8, found the byte 0xe2"},
        {"{\"text\": \"\xc0\x80\"}", "f:1:11", "bad_utf8: "},
        {"{\"text\": \"\xed\xa0\x80\"}", "f:1:11", "bad_utf8: "},
        {"{\"text\": \"\xf4\x90\x80\x80\"}", "f:1:11", "bad_utf8: "},
        {"{\"text\": \"a\\ud83d b\"}", "f:1:12",
         "unpaired_surrogate: expected both halves of a "
         "surrogate pair, found \\ud83d alone"},
        {"{\"text\": \"a\\\\\\ude00 b\"}", "f:1:14", "unpaired_surrogate: "},
        {"{\"text\": \"a\", \"x\": [\"\\ud83d\\ud83d\"]}", "f:1:22", "unpaired_surrogate: "},
        {"{\"prompt\": \"p\", \"response\": \"r\", \"score\": NaN}", "f:1:43",
         "score_not_finite: expected a finite number, found NaN (key \"score\")"},
        {"{\"prompt\": \"p\", \"response\": \"r\", \"score\": -Infinity}", "f:1:43",
         "score_not_finite: "},
        {"{\"prompt\": \"p\", \"response\": \"r\", \"score\": 1e999}", "f:1:43",
         "score_not_finite: expected a finite number, found 1e999 (key \"score\")"},
        {"{\"text\": \"t\", \"label\": NaN}", "f:1:24", "score_not_finite: "},
        {"{\"chosen\": \"a\", \"rejected\": \"b\", \"margin\": Infinity}", "f:1:44",
         "margin_not_finite: expected a finite number, found Infinity (key \"margin\")"},
        {"{\"text\": \"a\", \"x\": NaN}", "f:1:20",
         "json_syntax: expected a number that JSON can hold, found NaN"},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_error(rows[i].text, strlen(rows[i].text), &opt, DIAL_ERR_INPUT, rows[i].where,
                    rows[i].message);
}

static void bad_arrays(void **state)
{
    static const bad_case rows[] = {
        {"[{\"text\": \"a\"},\n  {\"text\": 1}]", "f:2:3", "wrong_type: expected a string"},
        {"[{\"text\": \"a\"},\n  3]", "f:2:3", "not_object: expected an object, found a number"},
        {"[{\"text\": \"a\"},\n  {\"text\": nul}]", "f:2:3",
         "json_syntax: expected a value, found 'nul'"},
        {"[{\"text\": \"a\"}\n  {\"text\": \"b\"}]", "f:2:3", "json_syntax: expected ',' or ']'"},
        {"[{\"text\": \"a\"},\n]", "f:2:1", "json_syntax: expected an element, found ']'"},
        {"[{\"text\": \"a\"}\n", "f:2:1", "json_syntax: the file ends before the array is closed"},
        {"[{\"text\": \"a\"},\n {\"text\": ", "f:2:2", "json_syntax: the file ends inside"},
        {"[{\"text\": \"a\"}]\n x", "f:2:2", "json_syntax: expected the end of the file"},
        {"[{\"text\": \"a\n\"}]", "f:1:2", "json_syntax: a string of this element"},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_error(rows[i].text, strlen(rows[i].text), &opt, DIAL_ERR_INPUT, rows[i].where,
                    rows[i].message);
}

static void bad_csv(void **state)
{
    static const bad_case rows[] = {
        {"text,id\na,1\n\nb\n", "f:4",
         "csv_field_count: expected 2 fields as in the header row, found 1"},
        {"text,id\n\"a\nb\",1\nb,2,3\n", "f:4", "csv_field_count: expected 2 fields"},
        {"text,id\n\"a\" b,1\n", "f:2",
         "csv_field_count: field 1 goes on behind its closing quote"},
        {"text,id\na,\"1\n", "f:2", "csv_field_count: the quote opened in field 2"},
        {"text,text\na,1\n", "f:1:field 1",
         "duplicate_key: expected every column once; columns 1 and 2"},
        {"prompt,response,score\np,r,good\n", "f:2:field 3",
         "wrong_type: expected a number, found 'good' (key \"score\")"},
        {"prompt,response,score\np,r,nan\n", "f:2:field 3", "score_not_finite: "},
        {"prompt,response,score\np,,1\n", "f:2:field 2", "empty_response: "},
        {"prompt,response,score\np,r,\n", "f:2:field 3", "wrong_type: "},
        {"id,text\n1,a\n2,\"\xe2\x28\"\n", "f:3:field 2",
         "bad_utf8: expected UTF-8, found the byte 0xe2 at byte 1 of the field"},
        {"hello world\nfoo\n", "f:2",
         "unknown_schema: expected the keys of a row that is read, "
         "found the keys hello world"},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_error(rows[i].text, strlen(rows[i].text), &opt, DIAL_ERR_INPUT, rows[i].where,
                    rows[i].message);
}

static void nesting(void **state)
{
    di_rows_options opt = di_rows_options_default();
    char text[400], end[200];
    (void)state;
    for (int depth = 63; depth <= 64; depth++) { /* besides the row's own level */
        memset(end, ']', (size_t)depth);
        end[depth] = '\0';
        snprintf(text, sizeof text, "{\"text\": \"a\", \"x\": %.*s%s}", depth,
                 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", end);
        if (depth == 63)
            check_rows(text, &opt, "single <.a>\n");
        else
            check_error(text, strlen(text), &opt, DIAL_ERR_INPUT, "f:1:83",
                        "json_syntax: nested deeper than 64 levels");
    }
}

/* 64 MiB is the limit; under skip a longer line is passed over and counted. */
static void long_rows(void **state)
{
    di_rows_options opt = di_rows_options_default();
    size_t n = (size_t)(64 << 20) + 100;
    char *text = malloc(n + 100);
    di_row_counts counts;
    dial_error err = {0};
    di_buf out;
    (void)state;
    assert_non_null(text);
    memset(text, 'a', n);
    memcpy(text, "{\"text\": \"", 10);
    strcpy(text + n, "\"}\n{\"text\": \"b\"}\n");
    check_error(text, strlen(text), &opt, DIAL_ERR_INPUT, "f:1:1",
                "json_syntax: expected a row of at most 64 MiB");
    opt.on_error_skip = 1;
    opt.max_bad_count = 1;
    di_buf_init(&out, heap());
    assert_ok(read_all(heap(), "f", text, strlen(text), &opt, NULL, &out, &counts, &err), err);
    assert_string_equal(out.data, "single <.b>\n");
    assert_true(counts.read == 2 && counts.bad == 1);
    di_buf_deinit(&out);
    free(text);
}

static void refused_files(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        dial_status status;
        const char *message;
    } files[] = {
        {"", 0, DIAL_ERR_INPUT, "expected one JSON object a line, found an empty file"},
        {" \r\n\n", 4, DIAL_ERR_INPUT, "expected one JSON object a line, found an empty file"},
        {"PAR1....", 8, DIAL_ERR_INPUT, "Parquet: expected PAR1 at the end of the file"},
        {"\xff\xfe{\0", 4, DIAL_ERR_INPUT,
         "expected JSON Lines, a JSON array, CSV or TSV, found UTF-16 text"},
        {"\x80\x04\x95", 3, DIAL_ERR_USAGE,
         "expected JSON Lines, a JSON array, CSV or TSV, found a Python pickle"},
    };
    di_rows_options opt = di_rows_options_default();
    di_rows *rows = NULL;
    dial_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        check_error(files[i].text, files[i].n, &opt, files[i].status, "f", files[i].message);
    opt.format = "xml";
    check_error("{}", 2, &opt, DIAL_ERR_USAGE, "--format",
                "expected auto, jsonl, json, csv or tsv");
    opt.format = "json";
    check_error("{}", 2, &opt, DIAL_ERR_INPUT, "f:1:1", "json_syntax: expected '['");
    opt.format = NULL;
    assert_int_equal(di_rows_open(heap(), "/nowhere/x.jsonl", &opt, NULL, &rows, &err),
                     DIAL_ERR_USAGE);
    assert_string_equal(err.where, "/nowhere/x.jsonl");
    assert_int_equal(di_rows_open(heap(), "/tmp", &opt, NULL, &rows, &err), DIAL_ERR_USAGE);
    assert_null(rows);
}

/* A name in .jsonl that begins with anything else is broken JSON Lines, not CSV. */
static void names_decide_the_rest(void **state)
{
    static const struct {
        const char *name, *format;
    } files[] = {{"a.jsonl", "jsonl"},     {"a.json", "jsonl"}, {"a.jsonl.gz", "jsonl"},
                 {"a.jsonl.zst", "jsonl"}, {"a.tsv", "tsv"},    {"a.csv", "csv"},
                 {"jsonl", "csv"}};
    di_rows_options opt = di_rows_options_default();
    dial_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        di_rows *rows = NULL;

        assert_ok(di_rows_open_memory(heap(), files[i].name, "text\nb", 6, &opt, NULL, &rows, &err),
                  err);
        assert_string_equal(di_rows_format(rows), files[i].format);
        di_rows_close(rows);
    }
}

/* A long path loses its beginning; the place in the file stays readable. */
static void long_names(void **state)
{
    di_rows_options opt = di_rows_options_default();
    char name[600];
    dial_error err = {0};
    di_buf out;
    (void)state;
    memset(name, 'd', sizeof name);
    strcpy(name + sizeof name - 8, "f.jsonl");
    di_buf_init(&out, heap());
    assert_int_equal(read_all(heap(), name, "{x", 2, &opt, NULL, &out, NULL, &err), DIAL_ERR_INPUT);
    assert_true(strncmp(err.where, "...d", 4) == 0);
    assert_string_equal(err.where + strlen(err.where) - 11, "f.jsonl:1:2");
    di_buf_deinit(&out);
}

/* --- bad rows that are left out --------------------------------------------------------------- */

static const char two_bad_of_five[] = "{\"text\": \"a\"}\n{\"text\": 1}\n{\"text\": \"b\"}\n"
                                      "{\"text\": \n{\"text\": \"c\"}\n";

static void count_log(void *ctx, dial_log_level level, const char *message)
{
    di_buf *log = ctx;

    assert_int_equal(level, DIAL_LOG_WARN);
    di_buf_printf(log, "%s\n", message);
}

static void bad_rows_are_counted(void **state)
{
    di_rows_options opt = di_rows_options_default();
    di_row_counts counts;
    di_buf out, log;
    dial_env env = {.log = count_log, .ctx = &log};
    dial_error err = {0};
    json_t *v;
    (void)state;
    di_buf_init(&out, heap());
    di_buf_init(&log, heap());
    opt.on_error_skip = 1;
    opt.max_bad_share = 0.4;
    assert_ok(read_all(heap(), "f", two_bad_of_five, strlen(two_bad_of_five), &opt, &env, &out,
                       &counts, &err),
              err);
    assert_string_equal(out.data, "single <.a>\nsingle <.b>\nsingle <.c>\n");
    assert_string_equal(log.data,
                        "f:2:10: wrong_type: expected a string, found a number (key \"text\")\n"
                        "f:4:8: json_syntax: expected a value, found the end\n");
    assert_true(counts.read == 5 && counts.bad == 2 && counts.n_bad_by == 2);
    assert_string_equal(counts.bad_by[1].name, "json_syntax");
    assert_int_equal(counts.bad_by[1].n, 1);
    v = di_row_counts_to_json(&counts);
    out.size = 0;
    assert_ok(di_json_write(v, &out, &err), err);
    assert_string_equal(
        out.data, "{\"read\":5,\"bad\":2,\"bad_by\":{\"wrong_type\":1,\"json_syntax\":1},"
                  "\"identical\":0,\"identical_after_truncation\":0,\"overlong_dropped\":0,"
                  "\"prompt_truncated\":0,\"response_truncated\":0,\"ignored\":{},\"used\":0}");
    json_decref(v);
    di_buf_deinit(&out);
    di_buf_deinit(&log);
}

static void too_many_bad_rows(void **state)
{
    di_rows_options opt = di_rows_options_default();
    (void)state;
    opt.on_error_skip = 1;
    opt.max_bad_share = 0.39;
    check_error(two_bad_of_five, strlen(two_bad_of_five), &opt, DIAL_ERR_INPUT, "f",
                "expected at most 39 % bad rows, found 2 of 5, most of them wrong_type");
    opt.max_bad_count = 1;
    check_error(two_bad_of_five, strlen(two_bad_of_five), &opt, DIAL_ERR_INPUT, "f",
                "expected at most 1 bad rows, found 2 in the first 4; the last one: json_syntax");
}

/* Line k of a scores file answers row k: bad rows can be handed out in their place. */
static void bad_rows_handed_out(void **state)
{
    di_rows_options opt = di_rows_options_default();
    di_rows *rows = NULL;
    di_row row;
    dial_error err = {0}, bad = {0};
    int got;
    (void)state;
    opt.on_error_skip = 1;
    opt.max_bad_count = 2;
    assert_ok(di_rows_open_memory(heap(), "f", two_bad_of_five, strlen(two_bad_of_five), &opt, NULL,
                                  &rows, &err),
              err);
    for (int i = 0; i < 5; i++) {
        assert_ok(di_rows_next(rows, &row, &got, &bad, &err), err);
        assert_int_equal(got, i % 2 == 0 ? 1 : 2);
        assert_true(row.index == i && row.line == i + 1);
        if (got == 2) assert_true(bad.status == DIAL_ERR_INPUT && bad.where[0] == 'f');
    }
    assert_ok(di_rows_next(rows, &row, &got, &bad, &err), err);
    assert_int_equal(got, 0);
    di_rows_close(rows);
}

static void a_caller_may_refuse(void **state)
{
    di_rows_options opt = di_rows_options_default();
    dial_error err = {0}, why;
    di_row row;
    int got;
    (void)state;
    for (int skip = 0; skip < 2; skip++) {
        di_rows *rows = NULL;

        opt.on_error_skip = skip;
        opt.max_bad_count = 1;
        assert_ok(
            di_rows_open_memory(heap(), "f", " {\"text\": \"a\"}", 14, &opt, NULL, &rows, &err),
            err);
        assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
        why = (dial_error){.status = DIAL_ERR_INPUT, .message = "too_long: found 9 tokens"};
        assert_int_equal(di_rows_refuse(rows, &why, &err), skip ? DIAL_OK : DIAL_ERR_INPUT);
        assert_string_equal(why.where, "f:1:2");
        if (!skip) {
            assert_string_equal(err.message, "too_long: found 9 tokens");
            assert_string_equal(err.where, "f:1:2");
        } else {
            assert_int_equal(di_rows_counts(rows)->bad, 1);
        }
        /* what is no reason of a row is not the row's fault */
        why = (dial_error){.status = DIAL_ERR_NOMEM, .message = "no memory"};
        assert_int_equal(di_rows_refuse(rows, &why, &err), DIAL_ERR_NOMEM);
        di_rows_close(rows);
    }
}

/* --- files ------------------------------------------------------------------------------------ */

static void write_temp(char name[32], const void *data, size_t n)
{
    int fd;

    strcpy(name, "/tmp/dial_rows_XXXXXX");
    fd = mkstemp(name);
    assert_true(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    close(fd);
}

/* Rows longer than a block of the window, and a hash of the stored bytes though reading stopped. */
static void files_and_hashes(void **state)
{
    di_rows_options opt = di_rows_options_default();
    size_t long_row = 300000, n;
    char *text = malloc(4 * long_row), name[32], hex[65], expected[65];
    di_rows *rows = NULL;
    di_row row;
    dial_error err = {0};
    int got;
    (void)state;
    assert_non_null(text);
    n = 0;
    for (int i = 0; i < 3; i++) {
        n += (size_t)sprintf(text + n, "{\"text\": \"");
        memset(text + n, 'a' + i, long_row);
        n += long_row;
        n += (size_t)sprintf(text + n, "\"}\n");
    }
    write_temp(name, text, n);
    opt.limit = 2;
    assert_ok(di_rows_open(heap(), name, &opt, NULL, &rows, &err), err);
    for (int i = 0; i < 2; i++) {
        assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
        assert_true(got == 1 && row.text[0].response_size == long_row);
        assert_int_equal(row.text[0].response[long_row - 1], 'a' + i);
        assert_int_equal(row.line, i + 1);
    }
    assert_ok(di_rows_sha256(rows, hex, &err), err);
    assert_ok(di_sha256_file(name, expected, &err), err);
    assert_string_equal(hex, expected);
    assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
    assert_int_equal(got, 0);
    di_rows_close(rows);
    unlink(name);
    free(text);
}

/* The same rows through stdin. */
static void standard_input(void **state)
{
    di_rows_options opt = di_rows_options_default();
    int saved = dup(STDIN_FILENO);
    di_rows *rows = NULL;
    di_row row;
    dial_error err = {0};
    char name[32];
    int got;
    (void)state;
    write_temp(name, "{\"text\": 1}\n", 12);
    assert_non_null(freopen(name, "r", stdin));
    assert_ok(di_rows_open(heap(), "-", &opt, NULL, &rows, &err), err);
    assert_int_equal(di_rows_next(rows, &row, &got, NULL, &err), DIAL_ERR_INPUT);
    assert_string_equal(err.where, "stdin:1:10");
    di_rows_close(rows);
    assert_true(dup2(saved, STDIN_FILENO) == STDIN_FILENO);
    close(saved);
    unlink(name);
}

#ifdef DIAL_ZLIB
static size_t gzip(const char *text, char *out, size_t cap)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)strlen(text);
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

static void gzip_files(void **state)
{
    di_rows_options opt = di_rows_options_default();
    char packed[600];
    size_t first = gzip("{\"text\": \"a\"}\n{\"text\"", packed, 300), n;
    di_buf out;
    dial_error err = {0};
    (void)state;
    n = first + gzip(": \"b\"}\n", packed + first, 300); /* a second member, inside a row */
    di_buf_init(&out, heap());
    assert_ok(read_all(heap(), "f", packed, n, &opt, NULL, &out, NULL, &err), err);
    assert_string_equal(out.data, "single <.a>\nsingle <.b>\n");
    memset(packed + n, 0, 10); /* padding behind the last member */
    out.size = 0;
    assert_ok(read_all(heap(), "f", packed, n + 10, &opt, NULL, &out, NULL, &err), err);
    assert_string_equal(out.data, "single <.a>\nsingle <.b>\n");
    di_buf_deinit(&out);
    check_error(packed, first - 4, &opt, DIAL_ERR_INPUT, "f", "gzip: the file ends inside");
    packed[first - 6] ^= 1; /* its checksum */
    check_error(packed, n, &opt, DIAL_ERR_INPUT, "f", "gzip: damaged data (incorrect data check)");
}
#else
static void gzip_files(void **state)
{
    di_rows_options opt = di_rows_options_default();
    (void)state;
    check_error("\x1f\x8b\x08", 3, &opt, DIAL_ERR_INPUT, "f",
                "expected plain text, found gzip; this build has no zlib (DIAL_ZLIB)");
}
#endif

#ifdef DIAL_ZSTD
/* Two frames, the second inside a row; cut; damaged; and a name in .zst. */
static void zstd_files(void **state)
{
    static const char *const half[] = {"{\"text\": \"a\"}\n{\"text\"", ": \"b\"}\n"};
    di_rows_options opt = di_rows_options_default();
    char packed[400];
    size_t n = 0, first = 0;
    di_buf out;
    dial_error err = {0};
    (void)state;

    for (int i = 0; i < 2; i++) {
        size_t k = ZSTD_compress(packed + n, sizeof packed - n, half[i], strlen(half[i]), 3);

        assert_false(ZSTD_isError(k));
        n += k;
        if (i == 0) first = n;
    }
    di_buf_init(&out, heap());
    assert_ok(read_all(heap(), "f", packed, n, &opt, NULL, &out, NULL, &err), err);
    assert_string_equal(out.data, "single <.a>\nsingle <.b>\n");
    di_buf_deinit(&out);
    check_error(packed, first - 4, &opt, DIAL_ERR_INPUT, "f", "zstd: the file ends inside");
    packed[first] ^= 1; /* the second frame's magic number */
    check_error(packed, n, &opt, DIAL_ERR_INPUT, "f", "zstd: damaged data (Unknown frame");
}
#else
static void zstd_files(void **state)
{
    di_rows_options opt = di_rows_options_default();
    (void)state;
    check_error("\x28\xb5\x2f\xfd", 4, &opt, DIAL_ERR_INPUT, "f",
                "expected plain text, found zstd; this build has no libzstd (DIAL_ZSTD)");
}
#endif

/* --- memory ----------------------------------------------------------------------------------- */

/* Each request fails once: a clean ERR_NOMEM, and every block is given back. */
static void allocations_fail(void **state)
{
    static const char jsonl[] = "{\"instruction\": \"a\", \"input\": \"b\", \"chosen\": \"c\", "
                                "\"rejected\": \"d\", \"id\": 7}\n";
    static const char chat[] =
        "[{\"chosen\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
        "\"content\": \"b\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"c\"}]}]";
    static const char csv_text[] = "text,label,id\na,1,2\n";
    const char *files[4] = {jsonl, chat, csv_text, NULL};
    size_t size[4] = {sizeof jsonl - 1, sizeof chat - 1, sizeof csv_text - 1, 0};
    di_rows_options opt = di_rows_options_default();
    int n_files = 3;
#ifdef DIAL_ZLIB
    char packed[300];
    size[n_files] = gzip(jsonl, packed, sizeof packed);
    files[n_files++] = packed;
#endif
    (void)state;
    opt.columns = "id=id";
    for (int f = 0; f < n_files; f++) {
        dial_status st = DIAL_ERR_NOMEM;

        for (long n = 0; st != DIAL_OK; n++) {
            fail_alloc fail = {n, 0};
            di_alloc al = {fail_resize, &fail};
            dial_error err = {0};
            di_buf out;

            assert_true(n < 200);
            di_buf_init(&out, heap());
            opt.columns = f == 1 ? NULL : "id=id";
            st = read_all(&al, "f", files[f], size[f], &opt, NULL, &out, NULL, &err);
            if (st != DIAL_OK) assert_int_equal(st, DIAL_ERR_NOMEM);
            if (st != DIAL_OK) assert_true(err.message[0] != '\0');
            assert_int_equal(fail.out, 0);
            di_buf_deinit(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(json_array_elements),
        cmocka_unit_test(csv_records),
        cmocka_unit_test(skip_and_limit),
        cmocka_unit_test(bad_rows),
        cmocka_unit_test(bad_arrays),
        cmocka_unit_test(bad_csv),
        cmocka_unit_test(nesting),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(refused_files),
        cmocka_unit_test(names_decide_the_rest),
        cmocka_unit_test(long_names),
        cmocka_unit_test(bad_rows_are_counted),
        cmocka_unit_test(too_many_bad_rows),
        cmocka_unit_test(bad_rows_handed_out),
        cmocka_unit_test(a_caller_may_refuse),
        cmocka_unit_test(files_and_hashes),
        cmocka_unit_test(standard_input),
        cmocka_unit_test(gzip_files),
        cmocka_unit_test(zstd_files),
        cmocka_unit_test(allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
