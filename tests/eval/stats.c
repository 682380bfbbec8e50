/* Intervals, tests, units, bootstrap and correlations against values known from elsewhere. */
#include "test.h"

#include <math.h>
#include <omp.h>

#include "base/rng.h"
#include "eval/dense.h"
#include "eval/stats.h"
#include "eval/validators.h"

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.9g, expected %.9g within %g", a, b, tolerance);
}

/* The first row is the check of method.md 10.1; the others were computed with 50 digits. */
static void wilson(void **state)
{
    di_interval v = di_wilson(703, 1000, DI_Z95);
    (void)state;
    near(v.lo, 0.67395, 5e-6);
    near(v.hi, 0.73050, 5e-6);
    v = di_wilson(0, 10, DI_Z95); /* upper end z^2/(n + z^2) */
    near(v.lo, 0, 0);
    near(v.hi, 0.277532799862889, 1e-12);
    v = di_wilson(10, 10, DI_Z95);
    near(v.lo, 1 - 0.277532799862889, 1e-12);
    near(v.hi, 1, 1e-15);
    v = di_wilson(0, 0, DI_Z95);
    near(v.lo, 0, 0);
    near(v.hi, 1, 0);
}

/*
 * Source rewards 1, 3 (mean 2), target -3, -1, 1, -5 (mean -2); squares about their own means
 * 2 + 20 over 6 rows: drift 4 / sqrt(22 / 6). Means of opposite sign and unequal sets, so that
 * neither a sum nor equal weights give the same.
 */
static void reward_drift(void **state)
{
    static const float head[2] = {2, -1}, s[4] = {1, 1, 2, 1}, t[8] = {-1, 1, 0, 1, 1, 1, -2, 1},
                       flat[4] = {1, 0, 1, 0};
    (void)state;
    near(di_reward_drift(head, &(di_two_sets){s, t, 2, 4, 2}), 4 / sqrt(22.0 / 6), 1e-12);
    near(di_reward_drift(head, &(di_two_sets){t, s, 4, 2, 2}), 4 / sqrt(22.0 / 6), 1e-12);
    assert_true(isnan(di_reward_drift(head, &(di_two_sets){flat, flat, 2, 2, 2})));
}

/* SE 0.032 on 1611 rows at 0.734 (method.md 5.2) is worth 191 independent rows. */
static void effective_size(void **state)
{
    di_interval wide, naive = di_wilson(0.734 * 1611, 1611, DI_Z95);
    (void)state;
    near(di_effective_n(0.734, 0.032, 1611), 190.67, 0.01);
    near(di_effective_n(0.5, 0.0001, 100), 100, 0);
    near(di_effective_n(1, 0, 100), 100, 0);
    wide = di_wilson_clustered(0.734, 0.032, 1611);
    assert_true(wide.lo < naive.lo && wide.hi > naive.hi);
}

/* method.md 9.2: three checks, and the bounds of its table. */
static void clopper_pearson(void **state)
{
    static const struct {
        int64_t k, n;
        double bound, tolerance;
    } rows[] = {{16, 20, 0.5990, 5e-5}, {35, 50, 0.5763, 5e-5}, {40, 50, 0.6844, 5e-5},
                {15, 20, 0.544, 5e-4},  {20, 30, 0.501, 5e-4},  {26, 40, 0.508, 5e-4},
                {32, 50, 0.514, 5e-4},  {0, 20, 0, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        near(di_clopper_pearson(rows[i].k, rows[i].n, 0.05), rows[i].bound, rows[i].tolerance);
    near(di_clopper_pearson(20, 20, 0.05), pow(0.05, 1.0 / 20), 1e-12);
}

static void mcnemar(void **state)
{
    (void)state;
    near(di_mcnemar(10, 2), 2 * (66 + 12 + 1) / 4096.0, 1e-12);
    near(di_mcnemar(2, 10), di_mcnemar(10, 2), 0);
    near(di_mcnemar(0, 0), 1, 0);
    near(di_mcnemar(5, 5), 1, 0);
    near(di_mcnemar(6, 0), 2.0 / 64, 1e-14);
}

static void units_of_texts(void **state)
{
    /* texts 7 and 9 stand in two rows each; row 2 holds one text twice */
    static const uint64_t hash[] = {7, 9, 9, 5, 4, 4, 7, 3};
    static const int32_t expected[] = {0, 1, 1, 2, 3, -1, 0, 4};
    static const uint64_t apart[] = {1, 2, 3, 4, 5, 5};
    di_units u;
    (void)state;
    assert_int_equal(di_units_init(&u, di_alloc_default(), 4, hash, DI_CLUSTER_TEXT, NULL),
                     DIAL_OK);
    assert_int_equal(u.n_units, 5);
    assert_memory_equal(u.unit, expected, sizeof expected);
    di_units_deinit(&u);
    /* no text in two rows: one weight a row, or the product would be too wide */
    assert_int_equal(di_units_init(&u, di_alloc_default(), 3, apart, DI_CLUSTER_TEXT, NULL),
                     DIAL_OK);
    assert_int_equal(u.n_units, 3);
    for (int i = 0; i < 3; i++) assert_true(u.unit[2 * i] == i && u.unit[2 * i + 1] == -1);
    di_units_deinit(&u);
    /* prompts: column 0 names them */
    assert_int_equal(di_units_init(&u, di_alloc_default(), 4, hash, DI_CLUSTER_PROMPT, NULL),
                     DIAL_OK);
    assert_int_equal(u.n_units, 3);
    assert_true(u.unit[0] == 0 && u.unit[2] == 1 && u.unit[4] == 2 && u.unit[6] == 0);
    di_units_deinit(&u);
}

/* Independent rows: the bootstrap has the binomial error. 2000 draws give it to 1.6 % (one sd of
 * an sd); five of these are allowed. */
static void bootstrap_of_rows(void **state)
{
    static double right[1000], none[1000];
    const di_bootstrap_options opt = {2000, 3};
    double se = sqrt(0.703 * 0.297 / 1000);
    di_difference d;
    di_units u;
    (void)state;
    for (int i = 0; i < 703; i++) right[i] = 1;
    assert_int_equal(di_units_init(&u, di_alloc_default(), 1000, NULL, DI_CLUSTER_NONE, NULL),
                     DIAL_OK);
    assert_int_equal(di_paired_difference(&u, right, none, &opt, &d, NULL), DIAL_OK);
    near(d.delta, 0.703, 1e-12);
    near(d.se, se, 0.08 * se);
    near(d.ci.lo, 0.703 - 1.96 * se, 0.3 * se);
    near(d.ci.hi, 0.703 + 1.96 * se, 0.3 * se);
    near(di_dyadic_se(&u, right), se, 1e-9);
    assert_true(d.better == 703 && d.worse == 0);
    di_units_deinit(&u);
}

enum { TEXTS = 60, CROSSED = TEXTS * (TEXTS - 1) / 2 };

/* All pairs of 60 texts; z depends on the texts, so rows are far from independent. */
static void crossed_design(di_units *u, double *z)
{
    static uint64_t hash[2 * CROSSED];
    double strength[TEXTS];
    di_rng r = di_rng_make(5, DI_RNG_WEIGHTS, 0);
    int64_t n = 0;

    for (int i = 0; i < TEXTS; i++) strength[i] = di_rng_normal(&r);
    for (int i = 0; i < TEXTS; i++)
        for (int j = 0; j < i; j++, n++) {
            hash[2 * n] = (uint64_t)i + 1;
            hash[2 * n + 1] = (uint64_t)j + 1;
            z[n] = strength[i] + strength[j] + 0.5 * di_rng_normal(&r) > 0.3;
        }
    assert_int_equal(di_units_init(u, di_alloc_default(), n, hash, DI_CLUSTER_TEXT, NULL), DIAL_OK);
    assert_int_equal(u->n_units, TEXTS);
}

/*
 * The weights of a pair have variance 3 and covariance 1 with those that share one text, so to
 * first order V_bootstrap = V_dyadic + 2/n^2 sum (z - zbar)^2. Second order terms are of relative
 * size 1/sqrt(60): 12 % of the standard error are allowed. The row-wise error is 5 times smaller.
 */
static void bootstrap_of_texts(void **state)
{
    static double z[CROSSED], none[CROSSED];
    const di_bootstrap_options opt = {2000, 1};
    double closed, expected, p = 0, v, naive;
    di_difference d;
    di_units u;
    (void)state;
    crossed_design(&u, z);
    for (int i = 0; i < CROSSED; i++) p += z[i] / CROSSED;
    v = p * (1 - p) / CROSSED;
    naive = sqrt(v);
    closed = di_dyadic_se(&u, z);
    assert_true(closed > 4 * naive);
    expected = sqrt(closed * closed + 2 * v);
    assert_int_equal(di_paired_difference(&u, z, none, &opt, &d, NULL), DIAL_OK);
    near(d.se, expected, 0.12 * expected);
    di_units_deinit(&u);
}

/* The same draws with one thread and with three, and the same weights for every column. */
static void bootstrap_repeats(void **state)
{
    static double z[CROSSED], one[CROSSED], mean_1[400 * 2], mean_3[400 * 2], w[CROSSED];
    const double *columns[] = {z, one};
    const di_bootstrap_options opt = {400, 9};
    double sum = 0, total = 0;
    int threads = omp_get_max_threads();
    di_units u;
    (void)state;
    crossed_design(&u, z);
    for (int i = 0; i < CROSSED; i++) one[i] = 1;
    omp_set_num_threads(1);
    assert_int_equal(di_bootstrap(&u, columns, 2, &opt, mean_1, NULL), DIAL_OK);
    omp_set_num_threads(3);
    assert_int_equal(di_bootstrap(&u, columns, 2, &opt, mean_3, NULL), DIAL_OK);
    omp_set_num_threads(threads);
    assert_memory_equal(mean_1, mean_3, sizeof mean_1);
    for (int b = 0; b < 400; b++) near(mean_1[2 * b + 1], 1, 1e-12);
    assert_int_equal(di_bootstrap_weights(&u, 9, 17, w, NULL), DIAL_OK);
    for (int i = 0; i < CROSSED; i++) {
        sum += w[i] * z[i];
        total += w[i];
    }
    near(mean_1[2 * 17], sum / total, 1e-12);
    di_units_deinit(&u);
}

/* A model equal to the baseline differs by exactly nothing, however wide each interval is. */
static void equal_models(void **state)
{
    static double z[CROSSED];
    const di_bootstrap_options opt = {200, 1};
    di_difference d;
    di_units u;
    (void)state;
    crossed_design(&u, z);
    assert_int_equal(di_paired_difference(&u, z, z, &opt, &d, NULL), DIAL_OK);
    assert_true(d.delta == 0 && d.ci.lo == 0 && d.ci.hi == 0 && d.p_mcnemar == 1);
    di_units_deinit(&u);
}

/* Baseline 0.5, oracle 0.9, model half way; without a gap there is nothing to close. */
static void gap_closure(void **state)
{
    static double base[1000], model[1000], oracle[1000];
    const di_bootstrap_options opt = {2000, 2};
    di_gap_closure g;
    di_units u;
    (void)state;
    for (int i = 0; i < 1000; i++) {
        base[i] = i % 10 < 5;
        model[i] = i % 10 < 7;
        oracle[i] = i % 10 < 9;
    }
    assert_int_equal(di_units_init(&u, di_alloc_default(), 1000, NULL, DI_CLUSTER_NONE, NULL),
                     DIAL_OK);
    assert_int_equal(di_gap_closed(&u, model, base, oracle, &opt, &g, NULL), DIAL_OK);
    assert_int_equal(g.usable, 1);
    near(g.value, 0.5, 1e-12);
    near(g.gap, 0.4, 1e-12);
    /* a ratio X/(X+Y) of two shares 0.2 of 1000 rows: sd sqrt(0.25/400) = 0.025 */
    near(g.ci.hi - g.ci.lo, 2 * 1.96 * 0.025, 0.012);
    assert_true(g.ci.lo < 0.5 && g.ci.hi > 0.5);
    /* better on 10 rows, worse on 8: a gap of 0.002 with a standard error of 0.0042 is none */
    for (int i = 0; i < 1000; i++) oracle[i] = i < 20 ? 1 - base[i] : base[i];
    oracle[0] = oracle[1] = 1;
    assert_int_equal(di_gap_closed(&u, model, base, oracle, &opt, &g, NULL), DIAL_OK);
    assert_true(g.gap > 0 && g.gap < 2 * g.gap_se);
    assert_int_equal(g.usable, 0);
    for (int i = 0; i < 1000; i++) oracle[i] = i % 10 < 9;
    assert_int_equal(di_gap_closed(&u, model, base, base, &opt, &g, NULL), DIAL_OK);
    assert_int_equal(g.usable, 0);
    assert_int_equal(di_gap_closed(&u, model, oracle, base, &opt, &g, NULL), DIAL_OK);
    assert_int_equal(g.usable, 0);
    di_units_deinit(&u);
}

/*
 * Rows (1,2) (1,3) (4,5) with z 1 1 0: deviations 1/3 1/3 -2/3, sums by text 2/3 1/3 1/3 -2/3 -2/3,
 * so V = (14/9 - 6/9)/9. In a chain (1,2) (2,3) with z 1 0 the two rows cancel: V = 0.
 */
static void dyadic_by_hand(void **state)
{
    static const uint64_t star[] = {1, 2, 1, 3, 4, 5}, chain[] = {1, 2, 2, 3};
    static const double z[] = {1, 1, 0};
    di_units u;
    (void)state;
    assert_int_equal(di_units_init(&u, di_alloc_default(), 3, star, DI_CLUSTER_TEXT, NULL),
                     DIAL_OK);
    near(di_dyadic_se(&u, z), sqrt(8.0 / 81), 1e-12);
    di_units_deinit(&u);
    assert_int_equal(di_units_init(&u, di_alloc_default(), 2, chain, DI_CLUSTER_TEXT, NULL),
                     DIAL_OK);
    near(di_dyadic_se(&u, z + 1), 0, 1e-12);
    di_units_deinit(&u);
}

static void no_rows(void **state)
{
    const di_bootstrap_options opt = {10, 1};
    double mean[10];
    di_units u;
    (void)state;
    assert_int_equal(di_units_init(&u, di_alloc_default(), 0, NULL, DI_CLUSTER_NONE, NULL),
                     DIAL_OK);
    assert_int_equal(di_bootstrap(&u, NULL, 0, &opt, mean, NULL), DIAL_ERR_USAGE);
    di_units_deinit(&u);
}

static void quantiles(void **state)
{
    double v[] = {4, 1, 3, 2};
    (void)state;
    near(di_quantile(v, 4, 0.5), 2.5, 0);
    near(di_quantile(v, 4, 0), 1, 0);
    near(di_quantile(v, 4, 1), 4, 0);
    near(di_quantile(v, 1, 0.3), 1, 0);
}

static void ranks(void **state)
{
    static const double x[] = {3, 1, 3, 2, 3}, expected[] = {4, 1, 4, 2, 4};
    double r[5];
    (void)state;
    assert_int_equal(di_average_ranks(di_alloc_default(), x, 5, r, NULL), DIAL_OK);
    assert_memory_equal(r, expected, sizeof r);
}

/* tau-b counted pair by pair, on values with many ties in both, and in both at once. */
static void kendall(void **state)
{
    enum { N = 200 };
    double x[N], y[N], tau, conc = 0, free_x = 0, free_y = 0;
    di_rng r = di_rng_make(4, DI_RNG_WEIGHTS, 1);
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = (double)di_rng_below(&r, 9);
        y[i] = (double)di_rng_below(&r, 5) + x[i] / 4;
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < i; j++) {
            double sx = (x[i] > x[j]) - (x[i] < x[j]), sy = (y[i] > y[j]) - (y[i] < y[j]);

            conc += sx * sy;
            free_x += sx != 0;
            free_y += sy != 0;
        }
    assert_int_equal(di_kendall(di_alloc_default(), x, y, N, &tau), 1);
    near(tau, conc / sqrt(free_x * free_y), 1e-12);
}

static void correlations(void **state)
{
    static const double x[] = {1, 2, 3, 4, 5}, y[] = {1, 4, 9, 16, 25},
                        flat[] = {.1, .1, .1, .1, .1};
    const di_alloc *al = di_alloc_default();
    double r;
    di_interval ci;
    (void)state;
    assert_int_equal(di_pearson(x, y, 5, &r), 1);
    near(r, 0.981104910251593, 1e-12);
    assert_int_equal(di_spearman(al, x, y, 5, &r), 1);
    near(r, 1, 1e-15);
    assert_int_equal(di_kendall(al, x, y, 5, &r), 1);
    near(r, 1, 1e-15);
    assert_int_equal(di_pearson(x, flat, 5, &r), 0);
    assert_int_equal(di_spearman(al, flat, x, 5, &r), 0);
    assert_int_equal(di_kendall(al, flat, x, 5, &r), 0);
    assert_int_equal(di_pearson(x, y, 1, &r), 0);
    assert_int_equal(di_fisher(0.5, 28, DI_CORR_PEARSON, &ci), 1); /* atanh 0.5 -+ 1.96/5 */
    near(ci.lo, 0.156028, 1e-6);
    near(ci.hi, 0.735818, 1e-6);
    assert_int_equal(di_fisher(0.5, 3, DI_CORR_PEARSON, &ci), 0);
    assert_int_equal(di_fisher(1, 30, DI_CORR_PEARSON, &ci), 0);
}

/* The order of the sum is part of the contract: whatever the instruction set, the same bits. */
static void dot_in_sixteen_lanes(void **state)
{
    enum { N = 91 };
    double a[N], b[N], c[N], lane[16] = {0}, sum = 0;
    float x[N];
    di_rng r = di_rng_make(7, DI_RNG_WEIGHTS, 0);
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = (float)di_rng_normal(&r);
        a[i] = (double)x[i];
        b[i] = di_rng_normal(&r);
        lane[i % 16] += a[i] * b[i];
    }
    for (int l = 0; l < 8; l++) sum += lane[l] + lane[l + 8];
    assert_true(di_dot(a, b, N) == sum);
    assert_true(di_dot_f32(x, b, N) == sum);
    memset(lane, 0, sizeof lane);
    for (int i = 0; i < N; i++) lane[i % 16] += (b[i] - a[i]) * (b[i] - a[i]);
    sum = 0;
    for (int l = 0; l < 8; l++) sum += lane[l] + lane[l + 8];
    assert_true(di_distance2(x, b, N) == sum);
    di_add_scaled_f32(b, 0.1, x, N);
    for (int i = 0; i < N; i++) lane[i % 16] = b[i];
    for (int i = 0; i < N; i++) c[i] = di_rng_normal(&r);
    di_take_two(b, 0.1, a, -0.7, c, N);
    for (int i = N - 16; i < N; i++) near(b[i], lane[i % 16] - (0.1 * a[i] + -0.7 * c[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wilson),
        cmocka_unit_test(effective_size),
        cmocka_unit_test(reward_drift),
        cmocka_unit_test(clopper_pearson),
        cmocka_unit_test(mcnemar),
        cmocka_unit_test(units_of_texts),
        cmocka_unit_test(bootstrap_of_rows),
        cmocka_unit_test(bootstrap_of_texts),
        cmocka_unit_test(bootstrap_repeats),
        cmocka_unit_test(equal_models),
        cmocka_unit_test(gap_closure),
        cmocka_unit_test(dyadic_by_hand),
        cmocka_unit_test(no_rows),
        cmocka_unit_test(quantiles),
        cmocka_unit_test(ranks),
        cmocka_unit_test(kendall),
        cmocka_unit_test(correlations),
        cmocka_unit_test(dot_in_sixteen_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
