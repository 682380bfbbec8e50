/* Which checkpoint each rule takes, on losses whose answer is plain. */
#include "test.h"

#include <math.h>

#include "eval/select.h"
#include "train/objective.h"

/*
 * Four rows. Step 30 is best (mean 0.4). Step 20 differs by -+0.2, so its gap 0.05 has a standard
 * error of 0.099 and passes; step 10 is worse by 0.1 on every row: gap 0.1, no error, does not.
 */
static const int64_t steps[] = {40, 10, 20, 30};
static const double losses[] = {
    .60, .60, .60, .60, /* 40 */
    .50, .50, .50, .50, /* 10 */
    .65, .25, .65, .25, /* 20: gap +.25 -.15 +.25 -.15, mean 0.05 */
    .40, .40, .40, .40, /* 30 */
};

static int64_t pick(di_select_rule rule, di_candidate *seen)
{
    int64_t chosen = -1;

    assert_int_equal(di_select(steps, 4, losses, 4, rule, &chosen, seen, NULL), DIAL_OK);
    return steps[chosen];
}

static void rules(void **state)
{
    di_candidate seen[4];
    (void)state;
    assert_int_equal(pick(DI_SELECT_SOURCE, NULL), 30);
    assert_int_equal(pick(DI_SELECT_LAST, NULL), 40);
    assert_int_equal(pick(DI_SELECT_EARLIEST, seen), 20);
    assert_true(fabs(seen[2].gap - 0.05) < 1e-12);
    assert_true(fabs(seen[2].se - 0.2 * sqrt(4.0 / 3) / 2) < 1e-12);
    assert_true(seen[3].gap == 0 && seen[3].se == 0 && seen[3].within);
    assert_true(!seen[0].within && !seen[1].within && seen[2].within);
}

static void equal_losses_take_the_first(void **state)
{
    static const int64_t step[] = {9, 3, 6};
    static const double loss[] = {.5, .5, .5};
    int64_t chosen = -1;
    (void)state;
    for (int rule = DI_SELECT_EARLIEST; rule <= DI_SELECT_SOURCE; rule++) {
        assert_int_equal(di_select(step, 3, loss, 1, (di_select_rule)rule, &chosen, NULL, NULL),
                         DIAL_OK);
        assert_int_equal(chosen, 1);
    }
}

static void bad_input(void **state)
{
    static const int64_t step[] = {1, 2};
    static const double loss[] = {.5, NAN};
    int64_t chosen = 7;
    dial_error err = {0};
    (void)state;
    assert_int_equal(di_select(step, 2, loss, 1, DI_SELECT_EARLIEST, &chosen, NULL, &err),
                     DIAL_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "step 2"));
    assert_int_equal(di_select(step, 0, loss, 1, DI_SELECT_SOURCE, &chosen, NULL, NULL),
                     DIAL_ERR_USAGE);
    assert_int_equal(di_select(step, 2, loss, 0, DI_SELECT_SOURCE, &chosen, NULL, NULL),
                     DIAL_ERR_USAGE);
    assert_int_equal(chosen, 7);
}

/*
 * Four of forty pairs are lost, one is won and one is a tie now: 3.5/40. The standard error is that
 * of 40 differences; a fall that is surely there may still be below 0.02.
 */
static void a_fall(void **state)
{
    enum { N = 40, MANY = 4000 };
    double loss[MANY], baseline[MANY], mean = 3.5 / N, square = 0;
    di_source_fall f;
    (void)state;
    for (int i = 0; i < N; i++) {
        double d = i < 4 ? 1 : i == 4 ? -1 : i == 5 ? 0.5 : 0;

        loss[i] = d == 1 ? 3 : i == 5 ? di_softplus(0) : 0.6;
        baseline[i] = i == 4 ? 0.7 : 0.01; /* log 2 is 0.693 */
        square += (d - mean) * (d - mean);
    }
    f = di_select_fall(loss, baseline, N);
    assert_true(fabs(f.accuracy - (1 - 4.5 / N)) < 1e-12 &&
                fabs(f.baseline - (1 - 1. / N)) < 1e-12);
    assert_true(fabs(f.limit - 2 * sqrt(square / (N - 1) / N)) < 1e-12);
    assert_false(di_select_fell(&f)); /* 0.0875 of 0.127 */
    for (int i = 4; i < N; i++) loss[i] = baseline[i];
    loss[39] = 3;
    f = di_select_fall(loss, baseline, N); /* five lost, none won: 0.125 of 0.106 */
    assert_true(di_select_fell(&f));
    for (int i = 0; i < MANY; i++) {
        baseline[i] = 0.1;
        loss[i] =
            i < 60 ? 0.8 : 0.69; /* 0.015, 7.8 standard errors; the loss itself rises by 0.59 */
    }
    f = di_select_fall(loss, baseline, MANY);
    assert_true(f.limit == 0.02 && !di_select_fell(&f));
    for (int i = 0; i < 90; i++) loss[i] = 0.8;
    f = di_select_fall(loss, baseline, MANY);
    assert_true(di_select_fell(&f));
}

/*
 * Five candidates. 0 fails the source floor, 1 has lost its rank, 2 has the best risk and the worst
 * rest, 3 and 4 tie (2 + 2 + 1.5, 3 + 1 + 1.5): the smaller lambda decides.
 */
static void combined(void **state)
{
    static const struct {
        double dev, agreement, w1, rank, lambda;
        int within;
    } rows[] = {{.1, .9, .1, 50, 0, 0},
                {.1, .9, .1, 20, 0, 1},
                {.3, .6, .9, 50, 0, 1},
                {.4, .8, .3, 50, 1, 1},
                {.5, .9, .3, 50, .1, 1}};
    di_ranked c[5];
    int64_t chosen = -1;
    (void)state;
    for (int i = 0; i < 5; i++)
        c[i] = (di_ranked){.v = {.source_loss = 1 - .1 * i,
                                 .dev = rows[i].dev,
                                 .seed_agreement = rows[i].agreement,
                                 .w1 = rows[i].w1,
                                 .effective_rank = rows[i].rank,
                                 .margin_ratio = 1},
                           .step = 10 * i,
                           .lambda = rows[i].lambda,
                           .reference_rank = 50,
                           .within_floor = rows[i].within};
    di_select_combined(c, 5, &chosen); /* sums: 1+3+3, 2+2+1.5, 3+1+1.5 */
    assert_int_equal(chosen, 4);
    assert_string_equal(c[0].gate, "source_floor");
    assert_string_equal(c[1].gate, "feature_collapse");
    assert_true(c[2].gate == NULL && c[2].rank_risk == 1 && c[2].rank_w1 == 3);
    assert_true(c[3].rank_w1 == 1.5 && c[4].rank_w1 == 1.5 && c[4].rank_agreement == 1);
    /* without DEV the source loss ranks: 4 is best there too, then 3 */
    c[3].v.dev = NAN;
    di_select_combined(c, 5, &chosen);
    assert_int_equal(chosen, 4);
    assert_true(c[4].rank_risk == 1 && c[2].rank_risk == 3);
    c[4].v.margin_ratio = 0.2;
    c[3].v.reward_drift = 1.5;
    c[2].v.source_loss = NAN;
    di_select_combined(c, 5, &chosen);
    assert_int_equal(chosen, -1);
    assert_string_equal(c[4].gate, "reward_scale_collapse");
    assert_string_equal(c[3].gate, "reward_drift");
    assert_string_equal(c[2].gate, "not_finite");
    di_select_by(c, 5, DI_SELECT_AGREEMENT, &chosen);
    assert_int_equal(chosen, 0); /* .9 thrice: the smallest step */
    di_select_by(c, 5, DI_SELECT_IWV, &chosen);
    assert_int_equal(chosen, 0);
    for (int i = 0; i < 5; i++) c[i].v.iwv = i == 2 ? .2 : NAN;
    di_select_by(c, 5, DI_SELECT_IWV, &chosen);
    assert_int_equal(chosen, 2);
}

/*
 * Six candidates whose accuracies fall as the source loss falls: the loss (less is better) orders
 * them the wrong way round, -1; the agreement does so rightly, 1; iwv is there for two, dev for
 * three in the order 2 1 3 of 1 2 3 (rho = 1 - 6 (1 + 1) / (3 8) = 1/2); the rank is one for all.
 */
static void who_is_right(void **state)
{
    static const double accuracy[] = {.6, .65, .7, .75, .8, .85};
    static const struct {
        const char *name;
        double rho;
        int64_t n;
    } expected[] = {{"source", -1, 6}, {"agreement", 1, 6}, {"iwv", NAN, 2},
                    {"dev", .5, 3},    {"rankme", NAN, 6},  {"confidence", NAN, 0}};
    di_ranked c[6];
    const char *name;
    size_t seen = 0;
    (void)state;
    for (int i = 0; i < 6; i++)
        c[i].v = (di_validators){.source_loss = .5 + .01 * i,
                                 .seed_agreement = .5 + .05 * i,
                                 .iwv = i < 2 ? (double)i : (double)NAN,
                                 .dev = i > 2 ? NAN : (const double[]){.2, .3, .1}[i],
                                 .effective_rank = 30,
                                 .confidence = NAN};
    for (int k = 0; (name = di_select_criterion(k)) != NULL; k++)
        for (size_t e = 0; e < sizeof expected / sizeof *expected; e++) {
            double rho;
            int64_t n;

            if (strcmp(name, expected[e].name) != 0) continue;
            assert_int_equal(
                di_select_spearman(di_alloc_default(), c, 6, accuracy, k, &rho, &n, NULL), DIAL_OK);
            assert_int_equal(n, expected[e].n);
            assert_true(isnan(expected[e].rho) ? isnan(rho) : fabs(rho - expected[e].rho) < 1e-12);
            seen++;
        }
    assert_int_equal(seen, sizeof expected / sizeof *expected);
    assert_int_equal(di_select_parse("confidence"), -1); /* it is shown and never chooses */
}

static void names(void **state)
{
    (void)state;
    for (int rule = DI_SELECT_EARLIEST; rule < DI_SELECT_NAMED; rule++)
        assert_int_equal(di_select_parse(di_select_name((di_select_rule)rule)), rule);
    assert_int_equal(di_select_parse("best"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),     cmocka_unit_test(equal_losses_take_the_first),
        cmocka_unit_test(bad_input), cmocka_unit_test(a_fall),
        cmocka_unit_test(combined),  cmocka_unit_test(who_is_right),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
