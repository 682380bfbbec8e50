/*
 * The seam of several processes, run by mpirun at 1 to 4 ranks (tests/mpi/CMakeLists.txt). Inputs
 * are planted so that the result is known exactly and each rank, place and order shows in it.
 */
#include "test.h"

#include <string.h>

#include "base/error.h"
#include "dist/dist.h"

static const di_dist *d;

/* Rank r fills r + 1 rows (rank 1 none): all have all, in the order of ranks. */
static void gather_uneven_rows(void **state)
{
    int64_t first[9] = {0}, row[64][3];
    dial_error err;

    (void)state;
    memset(row, 0xff, sizeof row);
    for (int r = 0; r < d->size; r++) first[r + 1] = first[r] + (r == 1 ? 0 : r + 1);
    for (int64_t i = first[d->rank]; i < first[d->rank + 1]; i++)
        for (int k = 0; k < 3; k++) row[i][k] = 100 * i + k;
    assert_ok(di_dist_gather(d, row, sizeof row[0], first, &err), err);
    for (int64_t i = 0; i < first[d->size]; i++)
        for (int k = 0; k < 3; k++) assert_int_equal(row[i][k], 100 * i + k);
    assert_true(row[first[d->size]][0] == -1); /* nothing behind the last row is touched */
}

/*
 * f32 sums whose value depends on the order: 2^24 absorbs a 1 that comes after it but not two that
 * come before it together. The order of ranks is the only one that gives these bits.
 */
static float addend(int rank, int64_t i, int64_t n)
{
    static const float series[] = {1, 1, 0x1p24f, 1};

    return i % 3 == 0 ? series[rank % 4] : (float)(rank * n + i) * 0.1f;
}

static float sum_in_order(int64_t i, int64_t n)
{
    float sum = addend(0, i, n);

    for (int r = 1; r < d->size; r++) sum += addend(r, i, n);
    return sum;
}

/* More sums than can be under way at once, of sizes around the number of ranks, twice over. */
static void sums_in_the_order_of_ranks(void **state)
{
    enum { SUMS = 70, CAP = 5000 };
    static float x[SUMS][CAP];
    dial_error err;

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < SUMS; k++) {
            int64_t n = k < 8 ? k : k == 30 ? CAP - 1 : 11 * k;

            for (int64_t i = 0; i < CAP; i++) x[k][i] = i < n ? addend(d->rank, i, n) : -1;
            assert_ok(di_dist_reduce_begin(d, x[k], n, &err), err);
            assert_ok(di_dist_reduce_poll(d, &err), err);
        }
        assert_ok(di_dist_reduce_end(d, DIAL_OK, &err), err);
        for (int k = 0; k < SUMS; k++) {
            int64_t n = k < 8 ? k : k == 30 ? CAP - 1 : 11 * k;

            for (int64_t i = 0; i < n; i++) assert_true(x[k][i] == sum_in_order(i, n));
            assert_true(x[k][n] == -1);
        }
    }
}

static void broadcasts(void **state)
{
    dial_error err;
    uint64_t number = d->rank == 0 ? 77 : 0;
    char *text = d->rank == 0 ? di_strdup(di_alloc_default(), "what rank 0 read") : NULL,
         *none = NULL;

    (void)state;
    assert_ok(di_dist_broadcast(d, &number, sizeof number, &err), err);
    assert_true(number == 77);
    assert_ok(di_dist_broadcast_text(d, di_alloc_default(), &text, &err), err);
    assert_string_equal(text, "what rank 0 read");
    assert_ok(di_dist_broadcast_text(d, di_alloc_default(), &none, &err), err);
    assert_null(none);
    di_free(di_alloc_default(), text);
}

static void a_flag_of_one_is_a_flag_of_all(void **state)
{
    dial_error err;
    int none = 0, last = d->rank == d->size - 1;

    (void)state;
    assert_ok(di_dist_any(d, &none, &err), err);
    assert_int_equal(none, 0);
    assert_ok(di_dist_any(d, &last, &err), err);
    assert_int_equal(last, 1);
}

static void differing_values_are_named(void **state)
{
    dial_error err;

    (void)state;
    assert_ok(di_dist_same(d, 5, "the rows", NULL, &err), err);
    if (d->size == 1) return;
    assert_int_equal(di_dist_same(d, d->rank == d->size - 1, "the rows", NULL, &err),
                     DIAL_ERR_USAGE);
    assert_non_null(strstr(err.message, "the rows"));
    assert_int_equal(err.where[5] - '0', d->size - 1); /* "rank N of ..." */
}

static dial_status fails(dial_error *err)
{
    return di_error_set(err, DIAL_ERR_NUMERIC, __FILE__, __LINE__, "here", "do that", "not finite");
}

/* The error of one is everybody's, and work goes on after it (a step that is skipped). */
static void an_error_of_one_is_told_to_all(void **state)
{
    dial_error err = {.status = DIAL_OK};
    int last = d->size - 1;

    (void)state;
    assert_int_equal(di_dist_agree(d, d->rank == last ? fails(&err) : DIAL_OK, &err),
                     DIAL_ERR_NUMERIC);
    assert_string_equal(err.message, "not finite");
    assert_string_equal(err.hint, "do that");
    if (d->size > 1) assert_non_null(strstr(err.where, "here, rank"));
    assert_ok(di_dist_agree(d, DIAL_OK, &err), err);
}

/* One leaves while the others are about to gather, to sum or to leave: nobody waits for ever. */
static void nobody_waits_for_one_who_left(void **state)
{
    dial_error err;
    float x[4] = {1, 2, 3, 4};
    int64_t row[8] = {0};

    (void)state;
    for (int kind = 0; kind < 2 && d->size > 1; kind++) {
        dial_status st = DIAL_OK;

        if (d->rank == d->size - 1)
            st = fails(&err);
        else if (kind == 0)
            st = di_dist_gather(d, row, sizeof *row, NULL, &err);
        st = di_dist_leave(d, st, &err);
        assert_int_equal(st, DIAL_ERR_NUMERIC);
        assert_string_equal(err.message, "not finite");
    }
    assert_ok(di_dist_leave(d, DIAL_OK, &err), err); /* the next job begins afresh */
    assert_ok(di_dist_reduce_begin(d, x, 4, &err), err);
    assert_ok(di_dist_reduce_end(d, DIAL_OK, &err), err);
    assert_true(x[3] == 4.0f * (float)d->size);
}

/* No rank has more things than its share, all are given away, and the heaviest rank is light. */
static void shares_are_even(void **state)
{
    enum { N = 9 };
    const int64_t weight[N] = {10, 200, 30, 40, 190, 60, 70, 80, 90};
    int64_t scratch[N + 2 * 8], count[8] = {0}, sum[8] = {0}, heaviest = 0, total = 0;
    int32_t owner[N];

    (void)state;
    di_dist_share(d, weight, N, owner, scratch);
    for (int i = 0; i < N; i++) {
        assert_true(owner[i] >= 0 && owner[i] < d->size);
        count[owner[i]]++;
        sum[owner[i]] += weight[i];
        total += weight[i];
    }
    for (int r = 0; r < d->size; r++) {
        assert_true(count[r] <= (N + d->size - 1) / d->size);
        if (sum[r] > heaviest) heaviest = sum[r];
    }
    /* at most 4/3 of the best (Graham 1969), which is at least the mean and the heaviest thing */
    assert_true(3 * d->size * heaviest <= 4 * (total > 200 * d->size ? total : 200 * d->size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_uneven_rows),
        cmocka_unit_test(sums_in_the_order_of_ranks),
        cmocka_unit_test(broadcasts),
        cmocka_unit_test(a_flag_of_one_is_a_flag_of_all),
        cmocka_unit_test(differing_values_are_named),
        cmocka_unit_test(an_error_of_one_is_told_to_all),
        cmocka_unit_test(nobody_waits_for_one_who_left),
        cmocka_unit_test(shares_are_even),
    };
    dial_ranks *ranks = NULL;
    dial_env env = {.allocator = NULL};
    dial_error err;
    int failed;

    if (dial_ranks_open(&env, &ranks, &err) != DIAL_OK) {
        print_error("%s: %s\n", err.message, err.hint);
        return 1;
    }
    env.ranks = ranks;
    d = di_dist_of(&env);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    dial_ranks_close(ranks, failed);
    return failed;
}
