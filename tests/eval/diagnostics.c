/*
 * The label-free diagnostics against numpy, scipy and scikit-learn in float64
 * (tests/fixtures/diagnostics/make_diagnostics.py). Rows are f32 in both, sums are f64 here, so
 * values agree to the rounding of what is kept as f32 in between: the standardised rows and the
 * components (relative 2^-24, in sums of up to 105 terms: below 1e-5), kernels (one rounding).
 */
#include "test.h"

#include <math.h>

#include "base/json.h"
#include "eval/agreement.h"
#include "eval/domain.h"
#include "eval/mmd.h"
#include "eval/rows.h"
#include "eval/spectrum.h"
#include "eval/transport.h"
#include "model/safetensors.h"

enum { N_S = 60, N_T = 45, C = 40, FOLDS = 5 };

typedef struct golden {
    float s[2 * N_S * C], t[2 * N_T * C];
    int32_t fold_s[N_S], fold_t[N_T];
    json_t *expected;
} golden;

static golden g;

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.12g, expected %.12g within %g", a, b, tolerance);
}

static double expected(const char *key, const char *inner)
{
    const json_t *v = json_object_get(g.expected, key);

    if (inner != NULL) v = json_object_get(v, inner);
    if (!json_is_number(v)) fail_msg("expected.json lacks %s", key);
    return json_number_value(v);
}

static double expected_at(const char *key, const char *inner, size_t i)
{
    return json_number_value(
        json_array_get(json_object_get(json_object_get(g.expected, key), inner), i));
}

static int load(void **state)
{
    static const char *const dir = TEST_DIR "/fixtures/diagnostics/";
    char path[512];
    di_st st;
    (void)state;
    snprintf(path, sizeof path, "%sexpected.json", dir);
    if (di_json_read(di_alloc_default(), path, &g.expected, NULL) != DIAL_OK) return -1;
    snprintf(path, sizeof path, "%srows.safetensors", dir);
    if (di_st_open(di_alloc_default(), path, &st, NULL) != DIAL_OK) return -1;
    if (di_st_read_f32(&st, path, "source", g.s, 2 * N_S * C, NULL) != DIAL_OK ||
        di_st_read_f32(&st, path, "target", g.t, 2 * N_T * C, NULL) != DIAL_OK)
        return -1;
    di_st_close(&st);
    for (int i = 0; i < N_S; i++) g.fold_s[i] = i * 7 % FOLDS;
    for (int j = 0; j < N_T; j++) g.fold_t[j] = j * 3 % FOLDS;
    return 0;
}

static int unload(void **state)
{
    (void)state;
    json_decref(g.expected);
    return 0;
}

static void domain_probe(void **state)
{
    static float xs[N_S * 2 * C], xt[N_T * 2 * C];
    double logit_s[N_S], logit_t[N_T], scale = 0;
    di_two_sets x = {xs, xt, N_S, N_T, 2 * C};
    di_domain_probe_result r;
    dial_error err = {0};
    (void)state;
    di_pair_features(g.s, N_S, C, xs);
    di_pair_features(g.t, N_T, C, xt);
    assert_ok(di_domain_probe(di_alloc_default(), &x, g.fold_s, g.fold_t, FOLDS, logit_s, logit_t,
                              &r, &err),
              err);
    for (size_t i = 0; i < N_S + N_T; i++)
        scale = fmax(scale, fabs(expected_at("probe", "logit", i)));
    for (size_t i = 0; i < N_S; i++)
        near(logit_s[i], expected_at("probe", "logit", i), 1e-4 * scale);
    for (size_t j = 0; j < N_T; j++)
        near(logit_t[j], expected_at("probe", "logit", N_S + j), 1e-4 * scale);
    near(r.accuracy, expected("probe", "accuracy"), 1e-12);
    near(r.a_distance, fmax(4 * r.accuracy - 2, 0), 1e-12);
    assert_true(r.ci.lo < r.accuracy && r.accuracy < r.ci.hi);
    assert_true(r.a_ci.lo <= r.a_distance && r.a_distance <= r.a_ci.hi && r.a_ci.hi <= 2);
}

/* The order of a pair's texts must not move anything that is read without labels. */
static void order_free(void **state)
{
    static float e[2 * N_T * C], x[N_T * 2 * C], y[N_T * 2 * C];
    (void)state;
    for (int i = 0; i < N_T; i++)
        for (int k = 0; k < 2; k++)
            memcpy(e + (2 * i + k) * C, g.t + (2 * i + 1 - k) * C, C * sizeof *e);
    di_pair_features(g.t, N_T, C, x);
    di_pair_features(e, N_T, C, y);
    assert_memory_equal(x, y, sizeof x);
}

static void importance(void **state)
{
    double logit[N_S], loss[N_S], u[N_S], one[N_S], mean = 0;
    di_importance r;
    dial_error err = {0};
    (void)state;
    for (size_t i = 0; i < N_S; i++) {
        logit[i] = expected_at("probe", "logit", i);
        loss[i] = expected_at("risk", "loss", i);
        one[i] = 1;
        mean += loss[i] / N_S;
    }
    assert_ok(di_importance_weights(di_alloc_default(), logit, N_S, N_S, N_T, 1, 0.99, u, &err),
              err);
    for (size_t i = 0; i < N_S; i++) near(u[i], expected_at("risk", "u", i), 1e-12 * (1 + u[i]));
    r = di_importance_risk(u, loss, N_S);
    near(r.iwv, expected("risk", "iwv"), 1e-12);
    near(r.dev, expected("risk", "dev"), 1e-12);
    near(r.ess, expected("risk", "ess"), 1e-10);
    assert_int_equal(r.usable, r.ess >= 30);
    r = di_importance_risk(one, loss, N_S);
    near(r.iwv, mean, 1e-14);
    near(r.dev, mean, 1e-14);
    near(r.ess, N_S, 1e-12);
    assert_true(r.usable);
}

static void mmd(void **state)
{
    static float ss[2 * N_S * C], st[2 * N_T * C];
    di_two_sets rows = {g.s, g.t, 2 * N_S, 2 * N_T, C}, sym = {ss, st, 2 * N_S, 2 * N_T, C};
    di_two_sets halves = {g.s, g.s + N_S * C, N_S, N_S, C};
    di_mmd_result r;
    dial_error err = {0};
    (void)state;
    di_symmetric_rows(g.s, N_S, C, ss);
    di_symmetric_rows(g.t, N_T, C, st);
    assert_ok(di_mmd_test(di_alloc_default(), &rows, 2, 199, 1, &r, &err), err);
    near(r.mmd2, expected("mmd", "rows"), 1e-5);
    near(r.p, 1.0 / 200, 0); /* a shift that no permutation reaches */
    assert_ok(di_mmd_test(di_alloc_default(), &sym, 2, 199, 1, &r, &err), err);
    near(r.mmd2, expected("mmd", "symmetric"), 1e-5);
    assert_true(r.p <= 0.05); /* differences 1.4 times as long */
    assert_ok(di_mmd_test(di_alloc_default(), &halves, 2, 199, 1, &r, &err), err);
    assert_true(r.p > 0.05); /* one law */
    assert_int_equal(
        di_mmd_test(di_alloc_default(), &(di_two_sets){g.s, g.t, 2, 2, C}, 2, 9, 1, &r, &err),
        DIAL_ERR_USAGE);
}

static void moments_and_transport(void **state)
{
    di_two_sets x = {g.s, g.t, 2 * N_S, 2 * N_T, C}, same = {g.s, g.s, 2 * N_S, 2 * N_S, C};
    double a[2 * N_S], b[2 * N_T], v;
    dial_error err = {0};
    (void)state;
    assert_ok(di_mean_gap(di_alloc_default(), &x, &v, &err), err);
    near(v, expected("mean_gap", NULL), 1e-12);
    assert_ok(di_coral(di_alloc_default(), &x, &v, &err), err);
    near(v, expected("coral", NULL), 1e-12);
    assert_ok(di_coral(di_alloc_default(), &same, &v, &err), err);
    near(v, 0, 1e-15);
    assert_ok(di_w1_sample(di_alloc_default(), &x, &v, &err), err);
    near(v, expected("w1_sample", NULL), 1e-12);
    assert_ok(di_w1_sample(di_alloc_default(), &same, &v, &err), err);
    near(v, 0, 0);
    for (int i = 0; i < 2 * N_S; i++) a[i] = (double)g.s[i * C];
    for (int j = 0; j < 2 * N_T; j++) b[j] = (double)g.t[j * C];
    assert_ok(di_w1_line(di_alloc_default(), a, 2 * N_S, b, 2 * N_T, &v, &err), err);
    near(v, expected("w1_line", NULL), 1e-12);
}

static void spectrum(void **state)
{
    double a[30 * 30] = {0}, d[30], e[30], v;
    dial_error err = {0};
    (void)state;
    for (int i = 0; i < 30; i++)
        for (int j = 0; j < 30; j++)
            for (int k = 0; k < C; k++)
                a[i * 30 + j] += (double)g.s[i * C + k] * (double)g.s[j * C + k];
    assert_int_equal(di_symmetric_eigenvalues(a, 30, d, e), 0);
    for (size_t i = 0; i < 30; i++)
        near(d[i], json_number_value(json_array_get(json_object_get(g.expected, "eigenvalues"), i)),
             1e-11);
    assert_ok(di_rank_me(di_alloc_default(), g.t, 2 * N_T, C, &v, &err), err);
    near(v, expected("rank_me", "tall"), 1e-6);
    assert_ok(di_rank_me(di_alloc_default(), g.t, 17, C, &v, &err), err);
    near(v, expected("rank_me", "wide"), 1e-6);
}

static void density(void **state)
{
    static float d[N_T * C];
    double v;
    dial_error err = {0};
    (void)state;
    di_pair_difference(g.t, N_T, C, d);
    assert_ok(di_neighbourhood_density(di_alloc_default(), d, N_T, C, &v, &err), err);
    near(v, expected("snd", NULL), 1e-6);
}

static void agreement(void **state)
{
    static const double a[] = {1, -1, 2, 0, -3, 1}, b[] = {2, 1, 1, 5, -1, -1};
    static const char use[] = {1, 1, 0, 1, 1, 1};
    double m[] = {1, 2, -4}, l[] = {1, 1, -1}, r[3], turned[3];
    int64_t n;
    (void)state;
    near(di_sign_agreement(a, b, NULL, 6, &n), 3.5 / 6, 1e-15);
    assert_int_equal(n, 6);
    near(di_sign_agreement(a, b, use, 6, &n), 2.5 / 5, 1e-15);
    assert_int_equal(n, 5);
    assert_true(isnan(di_sign_agreement(a, b, use, 0, &n)));
    near(di_share_se(0.5, 100), 0.05, 1e-15);
    near(di_share_se(1, 100), 0.005, 1e-15);
    /* slope (1 + 2 + 4)/3; turning pair 2 round turns its residual round and no other */
    di_length_residual(m, l, 3, r);
    near(r[0], 1 - 7.0 / 3, 1e-15);
    near(r[2], -4 + 7.0 / 3, 1e-15);
    m[2] = -m[2];
    l[2] = -l[2];
    di_length_residual(m, l, 3, turned);
    near(turned[0], r[0], 1e-15);
    near(turned[2], -r[2], 1e-15);
    /* gains .2 .3 .1: agreements 1/2 + 2 g_a g_b give the first one's accuracy back */
    near(di_triple_accuracy(0.5 + 2 * .2 * .3, 0.5 + 2 * .2 * .1, 0.5 + 2 * .3 * .1), 0.7, 1e-12);
    assert_true(isnan(di_triple_accuracy(0.6, 0.4, 0.6)));
}

static void folds(void **state)
{
    enum { N = 200 };
    uint64_t group[N];
    int32_t fold[N];
    int count[5] = {0};
    dial_error err = {0};
    (void)state;
    for (int i = 0; i < N; i++) group[i] = (uint64_t)(i / 4) * 977;
    assert_ok(di_folds(di_alloc_default(), N, group, 5, 3, fold, &err), err);
    for (int i = 0; i < N; i++) {
        assert_int_equal(fold[i], fold[i - i % 4]); /* a prompt is never split */
        count[fold[i]]++;
    }
    for (int k = 0; k < 5; k++) assert_int_equal(count[k], N / 5);
    memset(count, 0, sizeof count);
    for (int i = 0; i < N; i++) group[i] = 7; /* one prompt: rows stand for themselves */
    assert_ok(di_folds(di_alloc_default(), N, group, 5, 3, fold, &err), err);
    for (int i = 0; i < N; i++) count[fold[i]]++;
    for (int k = 0; k < 5; k++) assert_int_equal(count[k], N / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domain_probe),
        cmocka_unit_test(order_free),
        cmocka_unit_test(importance),
        cmocka_unit_test(mmd),
        cmocka_unit_test(moments_and_transport),
        cmocka_unit_test(spectrum),
        cmocka_unit_test(density),
        cmocka_unit_test(agreement),
        cmocka_unit_test(folds),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
