/*
 * The comparison of traffic and training without a server: which mix a window is compared with,
 * what is a shift, how looks are put together, and what a reference must be.
 */
#include "test.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "model/device.h"
#include "model/safetensors.h"
#include "serve/shift.h"

enum { C = 8, ROWS = 100, N = 64 };

static char folder[64];
static di_device dev;

/* ---- the looks together ---- */

static di_shift_look looked(double p, double a_low)
{
    return (di_shift_look){.n = 256, .mmd_p = p, .a_distance = a_low + 0.2, .a_ci = {a_low, 2}};
}

static void three_looks_are_an_alarm(void **state)
{
    di_shift_look far = looked(0.001, 1), weak = looked(0.001, 0.2), near = looked(0.3, 0);
    di_shift_state s = {0};

    (void)state;
    assert_int_equal(di_shift_judge(&s, &far), DI_SHIFT_SAME);
    assert_int_equal(di_shift_judge(&s, &far), DI_SHIFT_SAME);
    assert_int_equal(di_shift_judge(&s, &far), DI_SHIFT_BEGINS);
    assert_int_equal(di_shift_judge(&s, &far), DI_SHIFT_SAME); /* once an episode */
    assert_int_equal(di_shift_judge(&s, &near), DI_SHIFT_SAME);
    assert_int_equal(di_shift_judge(&s, &weak), DI_SHIFT_SAME); /* 0.2 is alike */
    assert_true(s.alarm);
    assert_int_equal(di_shift_judge(&s, &far), DI_SHIFT_SAME); /* not in turn: counted anew */
    assert_int_equal(di_shift_judge(&s, &near), DI_SHIFT_SAME);
    assert_int_equal(di_shift_judge(&s, &near), DI_SHIFT_SAME);
    assert_int_equal(di_shift_judge(&s, &near), DI_SHIFT_ENDS);
    assert_true(!s.alarm && s.evidence == 0 && s.looks == 10);
    for (int k = 0; k < 1000; k++) { /* nor do rare exceptions add up */
        assert_int_equal(di_shift_judge(&s, k % 4 == 0 ? &far : &weak), DI_SHIFT_SAME);
    }
}

/*
 * Nothing has shifted: p is uniform on 1/1000 .. 1, and every difference is taken for one that
 * matters, the worst case. The mean time to a false alarm is at least 10,000 looks (shift.h); the
 * mean of 64 such times, about exponential, is above 10,000 (1 - 3/8) in all but 1 of 1,000 draws.
 */
static void false_alarms_are_rare(void **state)
{
    enum { RUNS = 64 };
    di_rng r = di_rng_make(7, DI_RNG_BOOTSTRAP, 0);
    double sum = 0;

    (void)state;
    for (int k = 0; k < RUNS; k++) {
        di_shift_state s = {0};
        di_shift_turn turn = DI_SHIFT_SAME;

        while (turn != DI_SHIFT_BEGINS) {
            di_shift_look l = looked((double)(1 + di_rng_below(&r, 1000)) / 1000, 1);

            turn = di_shift_judge(&s, &l);
        }
        sum += (double)s.looks / RUNS;
    }
    printf("mean time to a false alarm: %.0f looks\n", sum);
    assert_true(sum > 10000 * (1 - 3.0 / 8));
}

/* ---- a look ---- */

/* Normal rows; of a domain, or (share) of both; far: somewhere else. */
static void make_rows(di_rng *r, double share, double far, int64_t n, float *e)
{
    for (int64_t i = 0; i < n; i++) {
        int target = (double)(i * 37 % n) >= share * (double)n;

        for (int j = 0; j < C; j++)
            e[i * C + j] =
                (float)(di_rng_normal(r) + (j == 0 ? 4 * target : 0) + (j == 1 ? far : 0));
    }
}

static void nearest_mix(void **state)
{
    static const double share[] = {1, 0, 0.5, 0.8};
    static float e[N * C];
    float head[C] = {0, 1};
    di_rng r = di_rng_make(1, DI_RNG_BOOTSTRAP, 1);
    di_shift_reference ref = {di_alloc_default(), NULL, ROWS, ROWS, C};
    int64_t least = 2 * ROWS;

    (void)state;
    ref.e = di_new_array(ref.al, (size_t)(2 * ROWS * C), sizeof *ref.e);
    assert_non_null(ref.e);
    make_rows(&r, 0.5, 0, 2 * ROWS, ref.e);
    make_rows(&r, 1, 0, ROWS, ref.e);
    make_rows(&r, 0, 0, ROWS, ref.e + ROWS * C);
    for (size_t k = 0; k < sizeof share / sizeof *share; k++)
        for (int far = 0; far < 2; far++) {
            di_shift_look l;
            dial_error err;

            make_rows(&r, share[k], far * 2, N, e);
            assert_ok(di_shift_compare(&dev, &ref, e, N, head, k + 1, &l, &err), err);
            if (l.n_ref < least) least = l.n_ref;
            /* The means are 4 apart, that of the window is known to 1/8: shares to 1/32 */
            assert_true(fabs(l.share - share[k]) < 4.0 / 32);
            assert_true(l.n == N && l.n_ref >= ROWS);
            /* Two sd apart in one coordinate: a straight cut is right for 84 % of rows, and the
             * distance is 4 * 0.84 - 2 = 1.36; the mean reward differs by 2, its pooled sd is 1. */
            if (far) {
                assert_true(l.mmd_p <= 0.002 && l.a_ci.lo > 0.6 && l.a_distance < 1.8);
                assert_true(fabs(l.reward_drift - 2) < 0.6 && l.w1 > 0.1);
            } else {
                assert_true(l.mmd_p > 0.002 && l.a_ci.lo <= 0.2);
                assert_true(l.reward_drift < 0.6 && l.w1 < 0.1);
            }
        }
    assert_true(least < ROWS + 5); /* of one domain alone there are no more */
    di_shift_reference_close(&ref);
}

/* ---- the reference ---- */

static float row[2 * ROWS * C];
static int64_t number[2 * ROWS];

static void write_reference(int64_t source, int64_t target, int64_t width, int numbers)
{
    char path[96];
    di_st_entry entry[4];
    dial_error err;
    size_t n = 0;

    snprintf(path, sizeof path, "%s/reference.safetensors", folder);
    entry[n++] = (di_st_entry){"source", "F32", {source, width},
                               2,        row,   (size_t)(source * width) * sizeof *row};
    if (numbers)
        entry[n++] = (di_st_entry){
            "source_row", "I64", {source}, 1, number, (size_t)source * sizeof *number};
    if (target > 0) {
        entry[n++] = (di_st_entry){"target", "F32", {target, width},
                                   2,        row,   (size_t)(target * width) * sizeof *row};
        entry[n++] = (di_st_entry){
            "target_row", "I64", {target}, 1, number, (size_t)target * sizeof *number};
    }
    assert_ok(di_st_write(di_alloc_default(), path, entry, n, NULL, &err), err);
}

static void references(void **state)
{
    di_shift_reference r = {0};
    dial_error err;

    (void)state;
    for (int i = 0; i < 2 * ROWS; i++) { /* two texts a row, but for the first */
        number[i] = (i + 1) / 2;
        row[i * C] = (float)i;
    }
    assert_int_equal(di_shift_reference_open(di_alloc_default(), folder, C, &r, &err),
                     DIAL_ERR_USAGE);
    write_reference(2 * ROWS, 65, C, 1);
    assert_ok(di_shift_reference_open(di_alloc_default(), folder, C, &r, &err), err);
    assert_int_equal(r.n_s, ROWS + 1); /* 0, 1 2, 3 4, ..., 199 */
    assert_int_equal(r.n_t, 33);
    for (int64_t i = 1; i < r.n_s; i++) assert_true(r.e[i * C] == (float)(2 * i - 1));
    assert_true(r.e[r.n_s * C] == 0 && r.e[(r.n_s + 1) * C] == 1);
    di_shift_reference_close(&r);

    write_reference(2 * ROWS, 0, C, 1);
    assert_ok(di_shift_reference_open(di_alloc_default(), folder, C, &r, &err), err);
    assert_int_equal(r.n_t, 0);
    di_shift_reference_close(&r);
    assert_int_equal(di_shift_reference_open(di_alloc_default(), folder, C + 1, &r, &err),
                     DIAL_ERR_INPUT);
    assert_non_null(strstr(err.message, "columns"));
    write_reference(2 * ROWS, 60, C, 1);
    assert_int_equal(di_shift_reference_open(di_alloc_default(), folder, C, &r, &err),
                     DIAL_ERR_INPUT);
    assert_non_null(strstr(err.message, "32 rows of the target"));
    write_reference(2 * ROWS, 0, C, 0);
    assert_int_equal(di_shift_reference_open(di_alloc_default(), folder, C, &r, &err),
                     DIAL_ERR_INPUT);
    assert_non_null(strstr(err.message, "source_row"));
}

static int set_up(void **state)
{
    dial_error err;

    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dial-shift-%d", (int)getpid());
    assert_ok(di_device_open(di_alloc_default(), NULL, "auto", "f32", 1, &dev, &err), err);
    return mkdir(folder, 0777);
}

static int tear_down(void **state)
{
    char path[96];

    (void)state;
    snprintf(path, sizeof path, "%s/reference.safetensors", folder);
    unlink(path);
    di_device_close(&dev);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_looks_are_an_alarm),
        cmocka_unit_test(false_alarms_are_rare),
        cmocka_unit_test(nearest_mix),
        cmocka_unit_test(references),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
