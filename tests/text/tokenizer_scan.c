/* The hand-written scanners against the regular expressions that they stand for, and by example. */
#include "tokenizer_fixtures.h"

#include "text/regex.h"
#include "text/scan.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scanners_are_their_patterns),
        cmocka_unit_test(examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
