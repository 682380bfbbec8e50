/* The domain classifier and its conditional form, contrast of pair differences, spectral norm. */
#include "rows.h"

#include "align/critic.h"

/* Losses near log 2, gradients below 1; the contrast's inner products are divided by 0.1. */
static const double logit_size = 8, contrast_size = 64;

static di_align *new_dann(di_device *dev, const rows *r, int oriented, double smoothing, int iters)
{
    di_align_setup s = {.width = r->c, .max_rows = r->n_s + r->n_t, .seed = 5};
    di_dann_options o = {.hidden = {32, 16},
                         .n_hidden = 2,
                         .act = DI_CRITIC_GELU,
                         .iters = iters,
                         .lr = 1e-3,
                         .decay = 1e-3,
                         .kappa = 1.5,
                         .smoothing = smoothing,
                         .oriented = oriented};
    di_align *a;
    dial_error err;

    assert_ok(di_dann_new(dev, &s, &o, &a, &err), err);
    return a;
}

/* dx is the slope of -kappa L_dom; L_dom is log 2 before any training, and falls. */
static void classifier(const char *backend)
{
    di_device dev;

    open_backend(backend, &dev);
    for (int oriented = 0; oriented < 2; oriented++)
        for (int smooth = 0; smooth < 2; smooth++) {
            rows r = oriented ? random_pairs(4, 3, 7, 1) : random_rows(8, 6, 7, 1);
            di_align *a = new_dann(&dev, &r, oriented, 0.1 * smooth, 20);
            di_align *p = new_dann(&dev, &r, oriented, 0.1 * smooth, 3);
            di_align *q = new_dann(&dev, &r, oriented, 0.1 * smooth, 3);
            double before = loss_of(a, &r);

            r.held = 1;
            assert_true(fabs(before + 1.5 * log(2)) < 0.3);
            check_gradient("dann", a, &r, logit_size, 1);
            assert_true(loss_of(a, &r) > before);
            if (!oriented) check_state(p, q, &r);
            a->method->free(a);
            p->method->free(p);
            q->method->free(q);
        }
    di_device_close(&dev);
}

/*
 * Labels s and 1 - s add (s/2)(E_T c - E_S c) to L_dom: nothing where the sides are equal, and
 * with the sides exchanged as much with the other sign.
 */
static void smoothing(const char *backend)
{
    rows same = random_rows(5, 5, 7, 3), r = random_rows(5, 5, 7, 4), turned = exchanged(&r);
    double shift[2];
    di_device dev;
    di_align *sharp, *smooth;

    open_backend(backend, &dev);
    memcpy(same.x + 5 * 7, same.x, 5 * 7 * sizeof(float));
    sharp = new_dann(&dev, &r, 0, 0, 1);
    smooth = new_dann(&dev, &r, 0, 0.2, 1);
    assert_true(fabs(loss_of(sharp, &same) - loss_of(smooth, &same)) <= 32 * E * logit_size);
    shift[0] = loss_of(smooth, &r) - loss_of(sharp, &r);
    shift[1] = loss_of(smooth, &turned) - loss_of(sharp, &turned);
    assert_true(fabs(shift[0]) > 1e-3);
    assert_true(fabs(shift[0] + shift[1]) <= 32 * E * logit_size);
    sharp->method->free(sharp);
    smooth->method->free(smooth);
    di_device_close(&dev);
}

/* cdan: exchanging the texts of a target pair changes nothing; a pair without a vote gets none. */
static void conditional(const char *backend)
{
    rows r = random_pairs(3, 2, 5, 2), turned = r;
    di_device dev;
    di_align *a;

    open_backend(backend, &dev);
    a = new_dann(&dev, &r, 1, 0, 5);
    assert_true(a->method->pairs);
    for (int j = 0; j < 5; j++) { /* target pair 0: rows 6 and 8 */
        turned.x[6 * 5 + j] = r.x[8 * 5 + j];
        turned.x[8 * 5 + j] = r.x[6 * 5 + j];
    }
    turned.margin[6] = r.margin[8], turned.margin[8] = r.margin[6];
    r.margin[7] = turned.margin[7] = 0;
    fit(a, &r);
    assert_true(run(a, &r, 1) == run(a, &turned, 1));
    for (int j = 0; j < 5; j++) {
        assert_true(r.dx[6 * 5 + j] == -turned.dx[6 * 5 + j]);
        assert_true(r.dx[7 * 5 + j] == 0);
        assert_true(r.dx[0 * 5 + j] != 0 && r.dx[3 * 5 + j] == 0);
    }
    a->method->free(a);
    di_device_close(&dev);
}

/*
 * Test 8 of method.md 2.13, the classifier's half: four source rows at 0, four target rows at
 * theta u. After 600 Adam steps at 1e-3 it separates them (L_dom < 1e-3) and so moves the encoder
 * hardly at all: n ||dt|| < 0.05, falling with theta, where a critic's stays about 1.
 */
static void disjoint_supports(void **state)
{
    static const double distance[] = {0.1, 1, 10};
    double last = INFINITY;

    (void)state;
    for (int k = 0; k < 3; k++) {
        rows r = {.c = 8, .n_s = 4, .n_t = 4};
        di_align_setup s = {.width = 8, .max_rows = 8, .seed = 3};
        di_dann_options o = {.hidden = {256, 128},
                             .n_hidden = 2,
                             .act = DI_CRITIC_GELU,
                             .iters = 600,
                             .lr = 1e-3,
                             .kappa = 1};
        double norm = 0, loss;
        di_device dev;
        di_align *a;
        dial_error err;

        open_backend("cpu", &dev);
        assert_ok(di_dann_new(&dev, &s, &o, &a, &err), err);
        for (int i = 0; i < 4; i++) r.x[(4 + i) * 8 + 2] = (float)distance[k];
        fit(a, &r);
        loss = -run(a, &r, 1);
        for (int j = 0; j < 8; j++) norm += (double)r.dx[4 * 8 + j] * (double)r.dx[4 * 8 + j];
        norm = 4 * sqrt(norm);
        if (!(loss < 1e-3 && norm < 0.05 && norm < last))
            fail_msg("theta %g: L_dom %.3g, n ||dt|| %.3g after %.3g", distance[k], loss, norm,
                     last);
        last = norm;
        a->method->free(a);
        di_device_close(&dev);
    }
}

static di_align *new_contrastive(di_device *dev, const rows *r)
{
    di_align_setup s = {.width = r->c, .max_rows = r->n_s + r->n_t};
    di_align *a;
    dial_error err;

    assert_ok(di_contrastive_new(dev, &s, &(di_contrastive_options){.temperature = 0.1}, &a, &err),
              err);
    return a;
}

static void contrastive(const char *backend)
{
    golden g = open_golden();
    rows r = golden_pairs(&g), d = random_pairs(4, 5, 13, 3), votes;
    di_device dev;
    di_align *a, *b;

    open_backend(backend, &dev);
    a = new_contrastive(&dev, &r);
    b = new_contrastive(&dev, &d);
    d.held = 1;
    check_golden(&g, "contrastive", a, &r, contrast_size);
    check_gradient("contrastive", b, &d, contrast_size, 1);
    votes = d;
    memset(votes.margin, 0, sizeof votes.margin);
    assert_true(run(b, &votes, 1) == 0);
    for (int i = 0; i < 18 * 13; i++) assert_true(votes.dx[i] == 0);
    memset(d.x, 0, 13 * sizeof(float)); /* a pair of equal texts has no direction */
    run(b, &d, 1);
    for (int j = 0; j < 13; j++) assert_true(d.dx[j] == 0);
    for (int i = 0; i < 18 * 13; i++) assert_true(isfinite(d.dx[i]));
    a->method->free(a);
    b->method->free(b);
    di_st_close(&g.f);
    di_device_close(&dev);
}

enum { SC = 6, SROWS = 4 };

static di_align *new_spectral(di_device *dev, int iters, double lr)
{
    di_wasserstein_options o = {.width = SC,
                                .max_rows = 2 * SROWS,
                                .hidden = {16, 8},
                                .n_hidden = 2,
                                .act = DI_CRITIC_GELU,
                                .spectral = 1,
                                .iters = iters,
                                .lr = lr,
                                .seed = 3};
    di_align *a;
    dial_error err;

    assert_ok(di_wasserstein_new(dev, &o, &a, &err), err);
    return a;
}

/*
 * Method.md 2.13, 7: power iteration converged, the slope never exceeds 1.1290^2, here divided out.
 * The gap is then a lower bound of W1, 3 in this problem, and training raises it.
 */
static void spectral_slope(const char *backend)
{
    rows r = {.c = SC, .n_s = SROWS, .n_t = SROWS};
    di_rng g = di_rng_make(9, DI_RNG_TEXT_ORDER, 0);
    di_device dev;
    di_align *a;
    double before, after;

    open_backend(backend, &dev);
    a = new_spectral(&dev, 400, 3e-3);
    for (int i = 0; i < SROWS; i++) r.x[i * SC + 1] = 3;
    before = loss_of(a, &r);
    fit(a, &r);
    after = loss_of(a, &r);
    if (!(after > before + 0.5 && after <= 3 * (1 + 1e-4)))
        fail_msg("gap %.6g, then %.6g", before, after);
    for (int k = 0; k < 200; k++) { /* n_s dx_s is the input gradient */
        rows at = {.c = SC, .n_s = 1, .n_t = 1};
        double norm = 0;

        for (int j = 0; j < SC; j++) at.x[j] = (float)(4 * di_rng_normal(&g));
        run(a, &at, 1);
        for (int j = 0; j < SC; j++) norm += (double)at.dx[j] * (double)at.dx[j];
        assert_true(sqrt(norm) <= 1 + 1e-4);
    }
    a->method->free(a);
    di_device_close(&dev);
}

/*
 * dW through the norm: with the power vectors settled, sg is the largest singular value, so the
 * gap's slope along a random direction of a weight is that of its definition. At lr 0 the weights
 * rest and Adam's first moment settles at dW.
 */
static void spectral_gradient(const char *backend)
{
    const double h = 0x1p-8;
    rows r = random_rows(SROWS, SROWS, SC, 6);
    di_align_tensor t[16];
    di_device dev;
    di_align *a;
    int n;

    open_backend(backend, &dev);
    a = new_spectral(&dev, 1, 0);
    for (int k = 0; k < 400; k++) fit(a, &r); /* settles u and v */
    n = a->method->tensors(a, t, 16);
    assert_int_equal(n, 12);
    for (int i = 0; i < n; i++) {
        int64_t size = t[i].rows * t[i].cols;
        di_rng g = di_rng_make(10, DI_RNG_TEXT_ORDER, (uint32_t)i);
        float keep[16 * 8], u[16 * 8];
        double want = 0, gap[2];

        if (t[i].m == NULL || size == 0) continue; /* u, v; biases are not scaled */
        memcpy(keep, t[i].theta, (size_t)size * sizeof *keep);
        for (int64_t j = 0; j < size; j++) {
            u[j] = (float)(2 * di_rng_uniform(&g) - 1);
            want -= (double)t[i].m[j] * (double)u[j]; /* L_critic = -gap; m has settled at dW */
        }
        for (int side = 0; side < 2; side++) {
            for (int64_t j = 0; j < size; j++)
                t[i].theta[j] = (float)((double)keep[j] + (side ? h : -h) * (double)u[j]);
            for (int k = 0; k < 60; k++) fit(a, &r); /* sg of the moved weight */
            gap[side] = loss_of(a, &r);
        }
        memcpy(t[i].theta, keep, (size_t)size * sizeof *keep);
        for (int k = 0; k < 400; k++) fit(a, &r);
        /* h^2/6 of a third derivative of at most some 100, and f32 weights over 2 h */
        if (!(fabs((gap[1] - gap[0]) / (2 * h) - want) <= 3e-4 + 0.002 * fabs(want)))
            fail_msg("%s: differences give %.6g, the gradient %.6g", t[i].name,
                     (gap[1] - gap[0]) / (2 * h), want);
    }
    a->method->free(a);
    di_device_close(&dev);
}

static void spectral_state(const char *backend)
{
    rows r = random_rows(SROWS, SROWS, SC, 7);
    di_device dev;
    di_align *a, *b;

    open_backend(backend, &dev);
    a = new_spectral(&dev, 3, 1e-3);
    b = new_spectral(&dev, 3, 1e-3);
    check_state(a, b, &r);
    a->method->free(a);
    b->method->free(b);
    di_device_close(&dev);
}

/* Names of --method, and what each needs. */
static void names(void **state)
{
    static const char *const all[] = {"dial", "dann", "cdan",     "mean",     "mmd",        "coral",
                                      "cmd",  "swd",  "sinkhorn", "deepjdot", "contrastive"};
    rows r = random_pairs(2, 2, 4, 1);
    di_align_options o = {
        .setup = {.width = 4, .max_rows = 8, .queue = 4, .queue_age = 2, .seed = 1},
        .wasserstein = {.hidden = {8}, .n_hidden = 1, .iters = 1, .lr = 1e-3, .gp = 1},
        .dann = {.hidden = {8}, .n_hidden = 1, .iters = 1, .lr = 1e-3, .kappa = 1},
        .mmd = {.scale = {1}, .n_scales = 1},
        .cmd = {.moments = 3},
        .sliced = {.projections = 2},
        .sinkhorn = {.eps = 0.1, .rho = INFINITY, .tol = 1e-3, .iterations = 50},
        .deepjdot = {.feature = 1,
                     .label = 1,
                     .plan = {.eps = 0.1, .rho = INFINITY, .tol = 1e-3, .iterations = 50}},
        .contrastive = {.temperature = 0.1}};
    di_device dev;
    dial_error err;

    (void)state;
    open_backend("cpu", &dev);
    assert_null(di_align_find("wasserstein"));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const di_align_kind *k = di_align_find(all[i]);
        di_align_stats s = {.critic_loss = NAN, .gp = NAN, .critic_grad_norm = NAN};
        di_align_rows v = view(&r);
        di_align *a;

        assert_non_null(k);
        assert_ok(k->make(&dev, &o, &a, &err), err);
        assert_int_equal(a->method->pairs, k->pairs);
        if (a->method->fit != NULL) a->method->fit(a, &v, &s);
        a->method->gradient(a, &v, 1, r.dx, r.dmargin, &s);
        assert_true(isfinite(s.loss));
        assert_int_equal(isfinite(s.critic_loss) != 0, k->critic);
        assert_int_equal(isfinite(s.w1) != 0, i == 0);
        a->method->free(a);
    }
    di_device_close(&dev);
}

ON_EACH(classifier)
ON_EACH(smoothing)
ON_EACH(conditional)
ON_EACH(contrastive)
ON_EACH(spectral_slope)
ON_EACH(spectral_gradient)
ON_EACH(spectral_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classifier_ref),        cmocka_unit_test(classifier_cpu),
        cmocka_unit_test(smoothing_ref),         cmocka_unit_test(smoothing_cpu),
        cmocka_unit_test(conditional_ref),       cmocka_unit_test(conditional_cpu),
        cmocka_unit_test(disjoint_supports),     cmocka_unit_test(contrastive_ref),
        cmocka_unit_test(contrastive_cpu),       cmocka_unit_test(spectral_slope_ref),
        cmocka_unit_test(spectral_slope_cpu),    cmocka_unit_test(spectral_gradient_ref),
        cmocka_unit_test(spectral_gradient_cpu), cmocka_unit_test(spectral_state_ref),
        cmocka_unit_test(spectral_state_cpu),    cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
