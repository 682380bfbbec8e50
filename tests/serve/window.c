/* Which texts of the traffic are rows of a window: prompts once, texts once, and what there is. */
#include "test.h"

#include "serve/window.h"

enum { SIZE = DI_WINDOW_LEAST + 6, WIDTH = 2 };

static di_window w;

static void put(uint64_t prompt, uint64_t text)
{
    float e[WIDTH] = {(float)prompt, (float)text};

    di_window_put(&w, prompt, text, e);
}

static int fresh(void **state)
{
    dial_error err;

    (void)state;
    assert_ok(di_window_init(di_alloc_default(), SIZE, WIDTH, &w, &err), err);
    return 0;
}

static int done(void **state)
{
    (void)state;
    di_window_deinit(di_alloc_default(), &w);
    return 0;
}

static void a_prompt_once(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3 * (SIZE - 1); i++) put(100 + i / 3, 10000 + i);
    assert_int_equal(w.n, SIZE - 1);
    assert_false(di_window_is_full(&w));
    put(100, 5); /* the first prompt again */
    assert_false(di_window_is_full(&w));
    put(1, 6);
    assert_true(di_window_is_full(&w));
    for (int64_t i = 0; i + 1 < SIZE; i++) assert_true(w.e[i * WIDTH] == (float)(100 + i));
}

static void latest_rows_stay(void **state)
{
    float *e = di_new_array(di_alloc_default(), SIZE * WIDTH, sizeof *e), *before = e;

    (void)state;
    assert_non_null(e);
    for (uint64_t i = 0; i < SIZE + 10; i++) put(100 + i, 100 + i); /* texts without a prompt */
    assert_int_equal(di_window_take(&w, &e), SIZE);
    assert_ptr_equal(w.e, before);
    for (int64_t i = 0; i < SIZE; i++)
        assert_true(e[i * WIDTH] == (float)(100 + i + (i < 10 ? SIZE : 0)));
    assert_true(w.n == 0 && w.seen == 0 && !di_window_is_full(&w));
    put(100, 100);
    assert_int_equal(w.n, 1);
    di_free(di_alloc_default(), e);
}

/* One prompt for all: texts are rows, until a second prompt comes. */
static void one_prompt(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < SIZE - 1; i++) put(7, 100 + i);
    put(7, 100);
    assert_int_equal(w.n, SIZE - 1);
    put(8, 1);
    put(8, 2);
    put(7, 999);
    assert_int_equal(w.n, 2);
    for (uint64_t i = 0; i < SIZE - 2; i++) put(100 + i, 100 + i);
    assert_true(di_window_is_full(&w));
}

/* A full window of one prompt is not undone by a second one. */
static void full_of_one_prompt(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < SIZE; i++) put(7, 100 + i);
    assert_true(di_window_is_full(&w));
    put(8, 1);
    assert_true(di_window_is_full(&w) && w.n == SIZE);
    for (int64_t i = 0; i < SIZE; i++) assert_true(w.e[i * WIDTH] == 7);
}

/* Sixty prompts that come again and again: texts are rows in the end. */
static void few_prompts(void **state)
{
    uint64_t i = 0;

    (void)state;
    for (; i < 8 * SIZE; i++) put(i % 60, 1000 + i);
    assert_int_equal(w.n, 0);
    for (; i < 9 * SIZE - 1; i++) put(i % 60, 1000 + i);
    assert_false(di_window_is_full(&w));
    put(0, 1);
    assert_true(di_window_is_full(&w));
}

/* 65 prompts of which no window of 70 can be made: after a while they are enough. */
static void enough_prompts(void **state)
{
    uint64_t i = 0;

    (void)state;
    for (; i < 8 * SIZE - 1; i++) put(i % 65, 1000 + i);
    assert_false(di_window_is_full(&w));
    put(0, 1);
    assert_true(di_window_is_full(&w) && w.n == 65);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_prompt_once, fresh, done),
        cmocka_unit_test_setup_teardown(latest_rows_stay, fresh, done),
        cmocka_unit_test_setup_teardown(one_prompt, fresh, done),
        cmocka_unit_test_setup_teardown(full_of_one_prompt, fresh, done),
        cmocka_unit_test_setup_teardown(few_prompts, fresh, done),
        cmocka_unit_test_setup_teardown(enough_prompts, fresh, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
