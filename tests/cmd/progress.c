/* The progress line, letter by letter. */
#include "test.h"

#include <math.h>

#include "cmd/cmd.h"

static void lines(void **state)
{
    static const struct {
        dial_progress p;
        const char *text;
    } rows[] = {
        /* the line of the interface */
        {{"train", 120, 800, 0.612, 0.68, 0.041, 12300, 201},
         "step 120/800 15%  loss 0.612  acc 0.68  w1 0.041  12.3k tok/s  eta 03:21"},
        {{"eval es", 7, 30, -1, -1, NAN, 999, 0}, "eval es 7/30 23%  999 tok/s  eta 00:00"},
        {{"score", 7, -1, NAN, NAN, NAN, NAN, NAN}, "score 7"},
        {{"train", 8, 8, 0, 1, -0.5, 2.5e6, 3600},
         "step 8/8 100%  loss 0.000  acc 1.00  w1 -0.500  2.5M tok/s  eta 1:00:00"},
        {{"train", 1, 3, 0.1, -1, NAN, 0, 1e300}, "step 1/3 33%  loss 0.100  eta 27777:46:40"},
        {{NULL, 0, 0, -1, -1, NAN, -1, -1}, " 0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];

        cmd_progress_text(&rows[i].p, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

static void a_long_name_is_cut(void **state)
{
    char what[400], text[64];
    dial_progress p = {what, 1, 2, 0.5, 0.5, 0.5, 1, 1};

    (void)state;
    memset(what, 'x', sizeof what - 1);
    what[sizeof what - 1] = '\0';
    cmd_progress_text(&p, text, sizeof text);
    assert_int_equal(strlen(text), sizeof text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(a_long_name_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
