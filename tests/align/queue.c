/* The feature queue: what stays, in which order, and for how long. */
#include "rows.h"

#include "align/queue.h"

/* Step k brings n_s source rows and n_t target rows of one column: 100 k + index, negative for T.
 */
static void push(di_queue *q, int k, int64_t n_s, int64_t n_t)
{
    float x[32];

    for (int64_t i = 0; i < n_s + n_t; i++)
        x[i] = (float)(i < n_s ? 100 * k + i : -(100 * k + i - n_s));
    di_queue_push(q, &(di_align_rows){x, n_s, n_t, NULL});
}

static void expect(const di_queue *q, int side, int n, const float *want)
{
    assert_int_equal(q->n[side], n);
    assert_memory_equal(q->x[side], want, (size_t)n * sizeof *want);
}

static void keeps_the_newest(void **state)
{
    di_blocks mem = {.al = di_alloc_default()};
    di_queue q;
    di_reference ref;

    (void)state;
    di_queue_init(&q, &mem, 1, 4, 8, 6);
    assert_false(mem.failed);
    push(&q, 1, 3, 1);
    expect(&q, DI_SOURCE, 3, (float[]){100, 101, 102});
    push(&q, 2, 3, 1);
    expect(&q, DI_SOURCE, 6, (float[]){100, 101, 102, 200, 201, 202});
    push(&q, 3, 2, 1); /* of six past rows four stay */
    expect(&q, DI_SOURCE, 6, (float[]){102, 200, 201, 202, 300, 301});
    expect(&q, DI_TARGET, 3, (float[]){-100, -200, -300});
    ref = di_queue_reference(&q, &(di_align_rows){NULL, 2, 1, NULL});
    assert_int_equal(ref.own[DI_SOURCE], 4);
    assert_int_equal(ref.own[DI_TARGET], 2);
    di_blocks_free(&mem);
}

static void forgets_by_age(void **state)
{
    di_blocks mem = {.al = di_alloc_default()};
    di_queue q;

    (void)state;
    di_queue_init(&q, &mem, 1, 20, 2, 6);
    for (int k = 1; k <= 4; k++) push(&q, k, 1, 2);
    expect(&q, DI_SOURCE, 3, (float[]){200, 300, 400}); /* ages 2, 1, 0 */
    expect(&q, DI_TARGET, 6, (float[]){-200, -201, -300, -301, -400, -401});
    di_blocks_free(&mem);
}

/* Rows that had to go for want of room are not counted again when their step is too old. */
static void forgets_what_is_left(void **state)
{
    di_blocks mem = {.al = di_alloc_default()};
    di_queue q;

    (void)state;
    di_queue_init(&q, &mem, 1, 3, 2, 6);
    push(&q, 1, 3, 1);
    push(&q, 2, 2, 1);
    push(&q, 3, 1, 1);
    expect(&q, DI_SOURCE, 4, (float[]){102, 200, 201, 300});
    push(&q, 4, 1, 1);
    expect(&q, DI_SOURCE, 4, (float[]){200, 201, 300, 400});
    di_blocks_free(&mem);
}

/* Counts come back; a file that does not fit is refused. */
static void state_is_checked(void **state)
{
    di_blocks mem = {.al = di_alloc_default()};
    di_queue q, r;
    json_t *saved, *bad;
    dial_error err;

    (void)state;
    di_queue_init(&q, &mem, 1, 4, 2, 4);
    di_queue_init(&r, &mem, 1, 4, 2, 4);
    push(&q, 1, 2, 2);
    push(&q, 2, 2, 1);
    saved = di_queue_save(&q);
    memcpy(r.x[0], q.x[0], 8 * sizeof(float));
    memcpy(r.x[1], q.x[1], 8 * sizeof(float));
    assert_ok(di_queue_load(&r, saved, "state.json", &err), err);
    push(&q, 3, 1, 1);
    push(&r, 3, 1, 1);
    push(&q, 4, 1, 1);
    push(&r, 4, 1, 1);
    for (int k = 0; k < DI_SIDES; k++) {
        assert_int_equal(q.n[k], r.n[k]);
        assert_memory_equal(q.x[k], r.x[k], (size_t)q.n[k] * sizeof(float));
    }
    json_decref(saved);
    bad = json_pack("{s:[i, i, i], s:[i, i, i]}", "source", 1, 2, 3, "target", 9, -1, 0);
    assert_int_equal(di_queue_load(&r, bad, "state.json", &err), DIAL_ERR_INPUT);
    assert_string_equal(err.where, "state.json");
    json_decref(bad);
    bad = json_pack("{s:[i, i], s:[i, i]}", "source", 1, 2, "target", 1, 1);
    assert_int_equal(di_queue_load(&r, bad, "state.json", &err), DIAL_ERR_INPUT);
    json_decref(bad);
    di_blocks_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_newest),
        cmocka_unit_test(forgets_by_age),
        cmocka_unit_test(forgets_what_is_left),
        cmocka_unit_test(state_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
