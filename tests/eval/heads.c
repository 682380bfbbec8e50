/* What is fitted afresh for a diagnosis: critics with a known distance, and heads that may part. */
#include "test.h"

#include <math.h>

#include "base/rng.h"
#include "eval/criticw1.h"
#include "eval/probe.h"
#include "eval/rows.h"
#include "eval/twoheads.h"
#include "eval/validators.h"
#include "model/device.h"

enum { N = 100, C = 16 };

static di_device dev;

static int open_device(void **state)
{
    (void)state;
    return di_device_open(di_alloc_default(), NULL, "auto", "f32", 1, &dev, NULL) != DIAL_OK;
}

static int close_device(void **state)
{
    (void)state;
    di_device_close(&dev);
    return 0;
}

/* Normal rows of standard deviation sd; the first coordinate moved by shift. */
static void cloud(float *x, int64_t n, double sd, double shift, uint32_t sub)
{
    di_rng r = di_rng_make(5, DI_RNG_SELECT, sub);

    for (int64_t i = 0; i < n * C; i++)
        x[i] = (float)(sd * di_rng_normal(&r) + (i % C == 0 ? shift : 0));
}

static double w1(const float *s, const float *t, di_w1_kind kind)
{
    static int32_t fold[N];
    di_two_sets x = {s, t, 2 * N, 2 * N, C};
    di_w1_options o = di_w1_options_default();
    double v = NAN;
    dial_error err = {0};

    for (int i = 0; i < N; i++) fold[i] = i % 2;
    o.inits = 1;
    o.kind = kind;
    assert_ok(di_critic_w1(&dev, &x, fold, fold, &o, &v, &err), err);
    return v;
}

/* Two equal clouds, moved by 2 along one axis, are 2 apart: the best critic is a line. */
static void shifted_clouds(void **state)
{
    static float s[2 * N * C], t[2 * N * C];
    di_w1_options o = di_w1_options_default();
    double v;
    dial_error err = {0};
    (void)state;
    cloud(s, 2 * N, 0.1, 0, 1);
    cloud(t, 2 * N, 0.1, 2, 2);
    v = w1(s, t, DI_W1_PENALTY);
    if (!(v > 1.5 && v < 2.05)) fail_msg("penalty: %g", v);
    v = w1(s, t, DI_W1_SPECTRAL); /* a lower bound, and a loose one */
    if (!(v > 0.3 && v < 2)) fail_msg("spectral: %g", v);
    o.inits = 1;
    assert_ok(di_critic_w1_null(&dev, s, 2 * N, C, &o, &v, &err), err);
    if (!(fabs(v) < 0.1)) fail_msg("null: %g", v); /* rows have norm 0.4 */
}

/*
 * The trap of method.md 8.1: differences +-3u in one domain, +-1u in the other. The symmetric laws
 * are 2 apart, and a critic that is a line would see 0.
 */
static void symmetric_rows_are_seen(void **state)
{
    static float s[2 * N * C], t[2 * N * C], ss[2 * N * C], st[2 * N * C];
    double v;
    (void)state;
    cloud(s, 2 * N, 0.05, 0, 3);
    cloud(t, 2 * N, 0.05, 0, 4);
    for (int i = 0; i < N; i++) {
        s[2 * i * C] += i % 2 ? 3 : -3;
        t[2 * i * C] += i % 2 ? 1 : -1;
    }
    di_symmetric_rows(s, N, C, ss);
    di_symmetric_rows(t, N, C, st);
    v = w1(ss, st, DI_W1_PENALTY);
    if (!(v > 1.2 && v < 2.1)) fail_msg("symmetric: %g", v);
}

/*
 * Pairs whose label stands in coordinate 0. shortcut: coordinate 1 says the same in the source and
 * is a coin in the target, so the source does not decide between the two.
 */
static void pairs(float *e, int64_t n, int shortcut, int target, uint32_t sub)
{
    di_rng r = di_rng_make(6, DI_RNG_SELECT, sub);

    for (int64_t i = 0; i < n; i++) {
        for (int j = 0; j < 2 * C; j++) e[2 * i * C + j] = (float)(0.05 * di_rng_normal(&r));
        e[2 * i * C] += 1;
        if (shortcut) e[2 * i * C + 1] += target && di_rng_below(&r, 2) ? -1 : 1;
    }
}

static di_two_heads heads_of(int shortcut)
{
    static float s[2 * N * C], t[2 * N * C];
    static int32_t fold[N];
    di_two_heads h;
    dial_error err = {0};

    pairs(s, N, shortcut, 0, 7);
    pairs(t, N, shortcut, 1, 8);
    for (int i = 0; i < N; i++) fold[i] = i % 2;
    assert_ok(di_two_heads_fit(di_alloc_default(), s, N, t, N, C, fold, 1, &h, &err), err);
    return h;
}

static void two_heads(void **state)
{
    di_two_heads one = heads_of(0), two = heads_of(1);
    (void)state;
    assert_true(one.source_loss <= one.single_loss + one.single_se);
    assert_true(two.source_loss <= two.single_loss + two.single_se);
    assert_true(one.agreement_source > 0.95 && two.agreement_source > 0.95);
    assert_true(one.agreement_target > 0.9);
    if (!(two.agreement_target < 0.6)) fail_msg("agreement %g", two.agreement_target);
    assert_true(two.weight > 0);
}

/* A coordinate a hundred times as long and pure noise must not hide the one that decides. */
static void standardised_probe(void **state)
{
    static float e[2 * N * C];
    static int32_t fold[N];
    float w[C];
    int right = 0;
    dial_error err = {0};
    di_rng r = di_rng_make(7, DI_RNG_SELECT, 1);
    (void)state;
    for (int i = 0; i < 2 * N; i++) {
        for (int j = 0; j < C; j++) e[i * C + j] = (float)(0.3 * di_rng_normal(&r));
        e[i * C + 3] = (float)(100 * di_rng_normal(&r));
        if (i % 2 == 0) e[i * C] += 1;
        fold[i / 2] = i / 2 % 2;
    }
    assert_ok(di_probe_fit_standardised(di_alloc_default(), e, N, C, fold, 1, w, &err), err);
    for (int i = 1; i < N; i += 2) {
        double m = 0;

        for (int j = 0; j < C; j++)
            m += (double)w[j] * ((double)e[2 * i * C + j] - (double)e[(2 * i + 1) * C + j]);
        right += m > 0;
    }
    if (right < 45) fail_msg("%d of %d held-out pairs", right, N / 2);
}

/* Pairs whose reward, the first coordinate, differs by +-size: 4 of 5 the right way round. */
static void sure_pairs(float *x, double size, uint32_t sub)
{
    cloud(x, 2 * N, 1, 0, sub);
    for (int i = 0; i < 2 * N; i++)
        x[i * C] = (float)((i % 2 == 0) == (i / 2 % 5 != 0) ? size / 2 : -size / 2);
}

/*
 * Confidence: of held-out margins +-1, 80 % right, the temperature is 1/ln 4, at which sigma(1/tau)
 * is 0.8. Target margins of size 1 have then the entropy of 0.8, those of size 2 that of
 * sigma(2 ln 4) = 16/17. The golden section has tau to 1e-6 or so, and the entropy moves by
 * less than 0.3 of a relative change of tau.
 */
static void confidence(void **state)
{
    static float s[2 * N * C], t[2 * N * C];
    static const float head[C] = {1};
    static const double sure[] = {0.8, 16.0 / 17};
    double loss[N];
    dial_error err = {0};
    (void)state;
    sure_pairs(s, 1, 20);
    for (int k = 0; k < 2; k++) {
        di_validator_input in = {.c = C,
                                 .head = head,
                                 .source = {s, N, NULL},
                                 .n_held = N,
                                 .w1_inits = 1,
                                 .w1_steps = 1};
        di_validators v;
        double p = sure[k];

        sure_pairs(t, k + 1, 21);
        in.target = (di_pair_rows){t, N, NULL};
        assert_ok(di_validate(&dev, &in, loss, &v, &err), err);
        assert_true(fabs(v.confidence + p * log(p) + (1 - p) * log(1 - p)) < 1e-6);
        in.n_held = 0; /* nothing to fit a temperature on */
        assert_ok(di_validate(&dev, &in, loss, &v, &err), err);
        assert_true(isnan(v.confidence));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shifted_clouds), cmocka_unit_test(symmetric_rows_are_seen),
        cmocka_unit_test(two_heads),      cmocka_unit_test(standardised_probe),
        cmocka_unit_test(confidence),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
