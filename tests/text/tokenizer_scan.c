/* The hand-written scanners against the regular expressions that they stand for, and by example. */
#include "tokenizer_fixtures.h"

#include "text/regex.h"
#include "text/scan.h"
#include "text/unicode.h"

static size_t compare(di_scan k, const di_regex *re, di_regex_work *work, const char *s, size_t n)
{
    dial_error err = {0};
    size_t from = 0, begin = 0, end = 0, re_begin = 0, re_end = 0;

    for (;;) {
        int found = 0;

        assert_ok(di_regex_find(re, work, s, n, from, &found, &re_begin, &re_end, &err), err);
        if (di_scan_find(k, s, n, from, &begin, &end) != found) break;
        if (!found) return 0;
        if (begin != re_begin || end != re_end) break;
        from = end;
    }
    print_message("%s: %zu..%zu, expected %zu..%zu in '%.*s'\n", di_scan_pattern(k), begin, end,
                  re_begin, re_end, n < 100 ? (int)n : 100, s);
    return 1;
}

static void scanners_are_their_patterns(void **state)
{
    fixture_strings s = fixture_strings_open();
    char text[32];
    (void)state;

    for (int k = DI_SCAN_NONE + 1; k < DI_SCAN_COUNT; k++) {
        const char *pattern = di_scan_pattern((di_scan)k);
        di_regex_work work = {.al = di_alloc_default()};
        di_regex *re = NULL;
        dial_error err = {0};
        size_t bad = 0;

        if (pattern == NULL) continue;
        assert_int_equal(di_scan_of(pattern, strlen(pattern)), k);
        assert_ok(di_regex_compile(di_alloc_default(), pattern, strlen(pattern), "", &re, &err),
                  err);
        for (size_t i = 0; i < s.n && bad < 5; i++)
            bad += compare((di_scan)k, re, &work, s.row[i].data, s.row[i].size);
        for (uint32_t c = 0; c < 0x110000 && bad < 5; c++)
            if (c < 0xd800 || c > 0xdfff)
                bad += compare((di_scan)k, re, &work, text, fixture_sweep_row(c, 1, text));
        assert_int_equal(bad, 0);
        di_regex_work_deinit(&work);
        di_regex_free(re);
    }
    fixture_strings_close(&s);
}

/* clang-format off */
static const struct {
    di_scan scan;
    const char *text, *pieces; /* the pieces with a bar between them */
} rows[] = {
    {DI_SCAN_GPT2, "I'll say  it's 42!", "I|'ll| say| | it|'s| 42|!"},
    {DI_SCAN_GPT2, "I'LL", "I|'|LL"},
    {DI_SCAN_GPT2, "a \n b  ", "a| \n| b|  "},
    {DI_SCAN_GPT2, "x'rest 'd", "x|'re|st| '|d"},
    {DI_SCAN_QWEN2, "I'LL say  123\r\n\r\n  x", "I|'LL| say| | |1|2|3|\r\n\r\n| | x"},
    {DI_SCAN_QWEN2, "it'\xc5\xbfx", "it|'\xc5\xbf|x"}, /* the long s is an s */
    {DI_SCAN_QWEN2, "(a) --\n\nb\t\tc", "(a|)| --\n\n|b|\t|\tc"},
    {DI_SCAN_QWEN2, "a \n \n  b", "a| \n \n| | b"},
    {DI_SCAN_LLAMA3, "12345 67", "123|45| |67"},
    {DI_SCAN_LLAMA3, "\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4", "\xd9\xa1\xd9\xa2\xd9\xa3|\xd9\xa4"},
};
/* clang-format on */

static void examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *s = rows[i].text;
        const size_t n = strlen(s);
        char got[200];
        size_t at = 0, begin, end = 0;

        while (di_scan_find(rows[i].scan, s, n, end, &begin, &end))
            at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s", at > 0 ? "|" : "",
                                   (int)(end - begin), s + begin);
        assert_string_equal(got, rows[i].pieces);
    }
}

/*
 * Which code points Oniguruma (as in tokenizers 0.23.3) puts into a class: how many, and the fold
 * of their numbers in order. Found by asking the library for each one.
 */
/* clang-format off */
static const struct {
    const char *pattern;
    size_t n;
    uint32_t fold;
} classes[] = {
    {"\\p{L}", 141028, 0x0a763bdd},
    {"\\p{Lu}", 1858, 0x5948ecf1},
    {"\\p{Ll}", 2258, 0x634b7d6f},
    {"\\p{Lt}", 31, 0xc5e941c1},
    {"\\p{Lm}", 404, 0x94c59162},
    {"\\p{Lo}", 136477, 0x3638ba28},
    {"\\p{M}", 2501, 0xd011fdbc},
    {"\\p{N}", 1911, 0xdeaa5d2f},
    {"\\d", 760, 0x5f3fa49c},
    {"\\p{P}", 855, 0x11109f0e},
    {"\\p{S}", 8514, 0x15b94195},
    {"\\p{Z}", 19, 0x144104e7},
    {"\\s", 25, 0x31ea71f4},
    {"\\w", 144671, 0x928c10e5},
    {"\\p{Han}", 99030, 0x94101030},
};
/* clang-format on */

static void classes_are_those_of_the_library(void **state)
{
    int32_t *in = malloc(0x110000 * sizeof *in);
    di_regex_work work = {.al = di_alloc_default()};
    dial_error err = {0};
    (void)state;

    assert_non_null(in);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        di_regex *re = NULL;
        size_t n = 0;

        assert_ok(di_regex_compile(di_alloc_default(), classes[i].pattern,
                                   strlen(classes[i].pattern), "", &re, &err),
                  err);
        for (uint32_t c = 0; c < 0x110000; c++) {
            char text[4];
            size_t begin, end;
            int found = 0;

            if (c >= 0xd800 && c <= 0xdfff) continue;
            assert_ok(
                di_regex_find(re, &work, text, di_utf8_put(c, text), 0, &found, &begin, &end, &err),
                err);
            if (found) in[n++] = (int32_t)c;
        }
        if (n != classes[i].n || fixture_fold(in, n) != classes[i].fold)
            fail_msg("%s holds %zu code points, expected %zu", classes[i].pattern, n, classes[i].n);
        di_regex_free(re);
    }
    di_regex_work_deinit(&work);
    free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scanners_are_their_patterns),
        cmocka_unit_test(examples),
        cmocka_unit_test(classes_are_those_of_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
