/*
 * The JSON reader: values, places of faults, memory that runs out, and the same answers as
 * jansson's reader on every short string of the characters that JSON is made of.
 */
#include "base/json.h"

#include <locale.h>
#include <math.h>
#include <unistd.h>

#include "test.h"

#define LOCALES TEST_DIR "/fixtures/locale"

static const size_t READ_ALL = SIZE_MAX;

static json_t *load(const char *text, size_t n, di_json_fault *bad)
{
    char *exact; /* of its own size, so that a sanitizer sees a read behind it */
    json_t *v;

    if (n == READ_ALL) n = strlen(text);
    exact = malloc(n > 0 ? n : 1);
    assert_non_null(exact);
    memcpy(exact, text, n);
    v = di_json_load(exact, n, 0, bad);
    free(exact);
    return v;
}

static void values(void **state)
{
    static const struct {
        const char *text, *written;
    } rows[] = {
        {" {\"a\" : [1, -0, 2.5e1, true, false, null], \"b\":{}}\r\n\t",
         "{\"a\":[1,0,25.0,true,false,null],\"b\":{}}"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
        {"\"\\u00e9\\u20ac\\ud83d\\ude00\\u0041\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x41\""},
        {"\"a\\u0000b\"", "\"a\\u0000b\""},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "9.22337204e18"},
        {"[1000000000000000019884624838656, 3]", "[1e30,3]"},
        {"{\"z\":1,\"a\":{\"z\":2}}", "{\"z\":1,\"a\":{\"z\":2}}"},
        {"1e-999", "0.0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        di_json_fault bad = {0};
        json_t *v = load(rows[i].text, READ_ALL, &bad);
        dial_error err = {0};
        di_buf out;

        if (v == NULL) fail_msg("%s: %s", rows[i].text, bad.message);
        di_buf_init(&out, di_alloc_default());
        assert_ok(di_json_write(v, &out, &err), err);
        assert_string_equal(out.data, rows[i].written);
        di_buf_deinit(&out);
        json_decref(v);
    }
}

static void whole_numbers_may_be_real(void **state)
{
    di_json_fault bad;
    json_t *v = di_json_load("[3,3.0]", 7, DI_JSON_INTEGERS_AS_REALS, &bad);

    (void)state;
    assert_non_null(v);
    assert_true(json_equal(json_array_get(v, 0), json_array_get(v, 1)));
    json_decref(v);
}

/*
 * A decimal comma, as a host program in German would have set it. A fresh machine has no such
 * locale, so this one is made from tests/fixtures/locale; localedef comes with glibc. What it says
 * of the categories that the source leaves out is no matter, and neither is its exit code.
 */
static void any_locale(void **state)
{
    char folder[] = "/tmp/dial-locale-XXXXXX", command[512];
    struct lconv *now;
    const char *set;
    di_json_fault bad;
    dial_error err;
    di_buf out;
    json_t *v;
    int made;

    (void)state;
    if (system("command -v localedef >/dev/null") != 0) {
        print_message("skipped: no localedef (no glibc?)\n");
        skip();
    }
    assert_non_null(mkdtemp(folder));
    snprintf(
        command, sizeof command,
        "localedef -c -f %s/ascii -i %s/comma %s/comma >%s/said 2>&1; test -s %s/comma/LC_NUMERIC",
        LOCALES, LOCALES, folder, folder, folder);
    made = system(command) == 0;
    setenv("LOCPATH", folder, 1);
    set = setlocale(LC_NUMERIC, "comma");
    now = localeconv();
    assert_true(made && set != NULL && strcmp(now->decimal_point, ",") == 0);
    v = load("1.5", READ_ALL, &bad);
    di_buf_init(&out, di_alloc_default());
    if (v != NULL) assert_ok(di_json_write(v, &out, &err), err);
    setlocale(LC_NUMERIC, "C");
    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    assert_non_null(v);
    assert_true(json_real_value(v) == 1.5);
    assert_int_equal(out.size, 3);
    assert_memory_equal(out.data, "1.5", 3);
    di_buf_deinit(&out);
    json_decref(v);
}

static void faults(void **state)
{
    static const struct {
        const char *text;
        size_t n; /* READ_ALL: to the 0 */
        di_json_kind_of_fault kind;
        int line, column;
        const char *message;
    } rows[] = {
        {"", READ_ALL, DI_JSON_SYNTAX, 1, 1, "expected a value, found an empty text"},
        {" \n ", READ_ALL, DI_JSON_SYNTAX, 2, 2, "expected a value, found the end"},
        {"{\"a\":\n tru}", READ_ALL, DI_JSON_SYNTAX, 2, 2, "expected a value, found 'tru'"},
        {"[NaN]", READ_ALL, DI_JSON_SYNTAX, 1, 2, "expected a value, found 'NaN'"},
        {"[1 2]", READ_ALL, DI_JSON_SYNTAX, 1, 4, "expected ',' or ']', found '2'"},
        {"{\"a\":1 \"b\":2}", READ_ALL, DI_JSON_SYNTAX, 1, 8, "expected ',' or '}', found '\"'"},
        {"{\"a\":1,}", READ_ALL, DI_JSON_SYNTAX, 1, 8,
         "expected a key in double quotes, found '}'"},
        {"{a:1}", READ_ALL, DI_JSON_SYNTAX, 1, 2, "expected a key in double quotes, found 'a'"},
        {"{\"a\" 1}", READ_ALL, DI_JSON_SYNTAX, 1, 6, "expected ':' behind a key, found '1'"},
        {"[1,]", READ_ALL, DI_JSON_SYNTAX, 1, 4, "expected a value, found ']'"},
        {"[", READ_ALL, DI_JSON_SYNTAX, 1, 2, "expected a value, found the end"},
        {"[1", READ_ALL, DI_JSON_SYNTAX, 1, 3, "expected ',' or ']', found the end"},
        {"1 x", READ_ALL, DI_JSON_SYNTAX, 1, 3, "expected the end, found 'x'"},
        {"1\0", 2, DI_JSON_SYNTAX, 1, 2, "expected the end, found the byte 0x00"},
        {"[\xc3\xa9]", READ_ALL, DI_JSON_SYNTAX, 1, 2, "expected a value, found '\xc3\xa9'"},
        {"01", READ_ALL, DI_JSON_SYNTAX, 1, 1, "expected a value, found '01'"},
        {"-", READ_ALL, DI_JSON_SYNTAX, 1, 1, "expected a value, found '-'"},
        {"1.", READ_ALL, DI_JSON_SYNTAX, 1, 1, "expected a value, found '1.'"},
        {"1e+", READ_ALL, DI_JSON_SYNTAX, 1, 1, "expected a value, found '1e+'"},
        {"1e999", READ_ALL, DI_JSON_NUMBER_RANGE, 1, 1,
         "expected a number below 1.8e308, found 1e999"},
        {"\"abc", READ_ALL, DI_JSON_SYNTAX, 1, 5,
         "the text ends inside the string that opened at byte 0"},
        {"\"abc\\", READ_ALL, DI_JSON_SYNTAX, 1, 5, "expected an escape such as"},
        {"\"a\\x\"", READ_ALL, DI_JSON_SYNTAX, 1, 3, "expected an escape such as"},
        {"\"\\u12g4\"", READ_ALL, DI_JSON_SYNTAX, 1, 2, "expected an escape such as"},
        {"\"\\ud83d!\"", READ_ALL, DI_JSON_SYNTAX, 1, 2,
         "expected both halves of a surrogate pair, found \\ud83d alone"},
        {"\"\\udE00\"", READ_ALL, DI_JSON_SYNTAX, 1, 2,
         "expected both halves of a surrogate pair, found \\udE00 alone"},
        {"\"a\nb\"", READ_ALL, DI_JSON_SYNTAX, 1, 3,
         "expected \\n in a string, found the byte 0x0a itself"},
        {"{\"a\\u0000\":1}", READ_ALL, DI_JSON_SYNTAX, 1, 2, "expected a key without \\u0000"},
        {"{\"a\":{\"b\":1,\n\"b\":2}}", READ_ALL, DI_JSON_DUPLICATE_KEY, 2, 1,
         "expected every key once, found 'b' again"},
        {"{\"b\":1,\"\\u0062\":2}", READ_ALL, DI_JSON_DUPLICATE_KEY, 1, 8,
         "expected every key once, found 'b' again"},
        {"\"\xc3\xa9\xff\"", READ_ALL, DI_JSON_BAD_UTF8, 1, 4,
         "expected UTF-8, found the byte 0xff"},
        {"\"\xed\xa0\x80\"", READ_ALL, DI_JSON_BAD_UTF8, 1, 2,
         "expected UTF-8, found the byte 0xed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        di_json_fault bad = {0};

        if (load(rows[i].text, rows[i].n, &bad) != NULL) fail_msg("%s is read", rows[i].text);
        if (bad.kind != rows[i].kind || bad.line != rows[i].line || bad.column != rows[i].column ||
            strncmp(bad.message, rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("%s: kind %d at %lld:%lld, %s", rows[i].text, (int)bad.kind,
                     (long long)bad.line, (long long)bad.column, bad.message);
    }
}

static void depth(void **state)
{
    char text[2 * DI_JSON_MAX_DEPTH + 2];
    (void)state;
    for (size_t n = DI_JSON_MAX_DEPTH; n <= DI_JSON_MAX_DEPTH + 1; n++) {
        di_json_fault bad = {0};
        json_t *v;

        memset(text, '[', n);
        memset(text + n, ']', n);
        v = load(text, 2 * n, &bad);
        assert_int_equal(v != NULL, n == DI_JSON_MAX_DEPTH);
        if (v == NULL) assert_int_equal(bad.kind, DI_JSON_TOO_DEEP);
        if (v == NULL) assert_int_equal(bad.at, DI_JSON_MAX_DEPTH);
        json_decref(v);
    }
}

/* --- the same answers as jansson -------------------------------------------------------------- */

static void agree(const char *text, size_t n)
{
    di_json_fault bad = {0};
    json_error_t theirs;
    json_t *a = load(text, n, &bad);
    json_t *b =
        json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &theirs);

    if ((a == NULL) != (b == NULL) || (a != NULL && !json_equal(a, b)))
        fail_msg("%.*s: %s here, %s with jansson", (int)n, text, a != NULL ? "read" : bad.message,
                 b != NULL ? "read" : theirs.text);
    json_decref(a);
    json_decref(b);
}

/* All strings of up to 5 pieces: every way to break off, to double and to swap. 14^5 = 537,824. */
static void as_jansson(void **state)
{
    static const char *const pieces[] = {"{",  "}",  "[",     "]", ",",       ":",    "\"k\"",
                                         "\"", "\\", "u00e9", "1", "-0.5e+2", "true", " "};
    enum { KINDS = sizeof pieces / sizeof *pieces, LONGEST = 5 };
    char text[LONGEST * 8];
    long tried = 0;
    (void)state;
    for (int length = 1; length <= LONGEST; length++) {
        long all = 1;

        for (int i = 0; i < length; i++) all *= KINDS;
        for (long code = 0; code < all; code++, tried++) {
            size_t n = 0;
            long rest = code;

            for (int i = 0; i < length; i++, rest /= KINDS) {
                const char *piece = pieces[rest % KINDS];

                memcpy(text + n, piece, strlen(piece));
                n += strlen(piece);
            }
            agree(text, n);
        }
    }
    print_message("%ld texts\n", tried);
}

/* --- memory that runs out --------------------------------------------------------------------- */

static struct {
    long calls, fail_at, live;
    int once;
} heap;

static void *take(size_t n)
{
    heap.calls++;
    if (heap.once ? heap.calls == heap.fail_at : heap.calls >= heap.fail_at) return NULL;
    heap.live++;
    return malloc(n);
}

static void give(void *p)
{
    heap.live -= p != NULL;
    free(p);
}

/* Strings, numbers and words of all lengths around 16, 32, ... 1024, where buffers grow: jansson's
 * reader fails an assertion or writes behind its buffer on every one of them. */
static void each_allocation_fails(void **state)
{
    static const char *const around[] = {"\"%s\"", "{\"%s\":1}", "[1%s]", "[\"\\n%s\"]",
                                         "{\"k\":[{}, \"%s\"]}"};
    long tried = 0;
    (void)state;
    json_object_seed(1);
    json_set_alloc_funcs(take, give);
    for (size_t f = 0; f < sizeof around / sizeof *around; f++)
        for (size_t size = 8; size <= 1024; size *= 2)
            for (size_t n = size - 2; n <= size + 1; n++) {
                char digits[1100], text[1200];

                memset(digits, '7', n);
                digits[n] = '\0';
                if (f == 2 && n > 300) continue; /* beyond a double */
                snprintf(text, sizeof text, around[f], digits);
                for (int once = 0; once <= 1; once++) {
                    json_t *v = NULL;

                    for (long at = 1; v == NULL; at++, tried++) {
                        di_json_fault bad = {0};

                        heap.calls = 0;
                        heap.fail_at = at;
                        heap.once = once;
                        v = load(text, READ_ALL, &bad);
                        if (v == NULL) assert_int_equal(bad.kind, DI_JSON_NOMEM);
                        if (v != NULL) assert_true(heap.calls < heap.fail_at);
                        json_decref(v);
                        assert_int_equal(heap.live, 0);
                    }
                }
            }
    json_set_alloc_funcs(malloc, free);
    print_message("%ld allocations failed\n", tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(whole_numbers_may_be_real),
        cmocka_unit_test(any_locale),
        cmocka_unit_test(faults),
        cmocka_unit_test(depth),
        cmocka_unit_test(as_jansson),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
