/* The nearest known name: distances by hand. */
#include "test.h"

#include "cmd/cmd.h"

static void distances(void **state)
{
    static const struct {
        const char *a, *b;
        int d;
    } rows[] = {
        {"", "", 0},
        {"", "abc", 3},
        {"abc", "", 3},
        {"train", "train", 0},
        {"trian", "train", 1}, /* swapped neighbours are one slip */
        {"trin", "train", 1},
        {"traain", "train", 1},
        {"brain", "train", 1},
        {"kitten", "sitting", 3},
        {"lora_r", "lora-r", 0},
        {"ca", "abc", 3}, /* a letter is moved or edited, not both */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(cmd_distance(rows[i].a, rows[i].b), rows[i].d);
        assert_int_equal(cmd_distance(rows[i].b, rows[i].a), rows[i].d);
    }
}

static void long_names_are_cut(void **state)
{
    char a[300], b[300];

    (void)state;
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    a[299] = b[299] = '\0';
    assert_int_equal(cmd_distance(a, a), 0);
    assert_int_equal(cmd_distance(a, b), 40);
}

static void nearest(void **state)
{
    static const char *const names[] = {"train", "eval", "score", "info"};
    static const struct {
        const char *word, *name;
    } rows[] = {{"trian", "train"}, {"evaluate", "eval"}, {"scores", "score"},
                {"inof", "info"},   {"zzzzz", NULL},      {"x", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cmd_nearest best = {rows[i].word, NULL, 0};
        const char *found;

        for (size_t k = 0; k < 4; k++) cmd_nearest_offer(&best, names[k]);
        found = cmd_nearest_name(&best);
        if (rows[i].name == NULL)
            assert_null(found);
        else
            assert_string_equal(found, rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
