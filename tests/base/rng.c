/* Known answers of Philox4x32-10 from the Random123 distribution, and the streams on top of it. */
#include "test.h"

#include "base/rng.h"

static void known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t out[4];

        di_philox(rows[i].key, rows[i].counter, out);
        assert_memory_equal(out, rows[i].out, sizeof out);
    }
}

static void a_saved_position_continues(void **state)
{
    di_rng a = di_rng_make(7, DI_RNG_GP_ALPHA, 3), b;
    (void)state;
    for (int i = 0; i < 5; i++) di_rng_u32(&a);
    b = a;
    for (int i = 0; i < 9; i++) assert_int_equal(di_rng_u32(&a), di_rng_u32(&b));
}

static void streams_differ(void **state)
{
    di_rng a = di_rng_make(7, DI_RNG_GP_ALPHA, 0), b = di_rng_make(7, DI_RNG_GP_PAIRING, 0);
    di_rng c = di_rng_make(8, DI_RNG_GP_ALPHA, 0), d = di_rng_make(7, DI_RNG_GP_ALPHA, 1);
    uint64_t x = di_rng_u64(&a);
    (void)state;
    assert_true(x != di_rng_u64(&b) && x != di_rng_u64(&c) && x != di_rng_u64(&d));
}

/* 10,000 draws: the mean of U(0,1) has sd 0.0029, that of N(0,1) 0.01; five sd are allowed. */
static void moments(void **state)
{
    di_rng r = di_rng_make(1, DI_RNG_HEAD_INIT, 0);
    double u = 0, n = 0, n2 = 0;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        double x;

        u += di_rng_uniform(&r);
        x = di_rng_normal(&r);
        n += x;
        n2 += x * x;
    }
    assert_true(u / 10000 > 0.4855 && u / 10000 < 0.5145);
    assert_true(n / 10000 > -0.05 && n / 10000 < 0.05);
    assert_true(n2 / 10000 > 0.93 && n2 / 10000 < 1.07);
}

static void shuffle_is_a_permutation(void **state)
{
    int64_t v[100];
    int seen[100] = {0}, moved = 0;
    di_rng r = di_rng_make(2, DI_RNG_SOURCE_ORDER, 0);
    (void)state;
    for (int i = 0; i < 100; i++) v[i] = i;
    di_rng_shuffle(&r, v, 100);
    for (int i = 0; i < 100; i++) {
        seen[v[i]]++;
        moved += v[i] != i;
    }
    for (int i = 0; i < 100; i++) assert_int_equal(seen[i], 1);
    assert_true(moved > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(a_saved_position_continues),
        cmocka_unit_test(streams_differ),
        cmocka_unit_test(moments),
        cmocka_unit_test(shuffle_is_a_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
