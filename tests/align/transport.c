/* Optimal transport and the methods that rest on it: sliced, Sinkhorn, DeepJDOT. */
#include "rows.h"

#include "align/transport.h"

/* Costs are at most some tens; shares of mass add up to 1. */
static const double cost_size = 64;

/* Least cost of a permutation, by trying all (Heap's algorithm would do less; n is 5). */
static double best_permutation(const double *c, int n, int used, int row)
{
    double best = row == n ? 0 : INFINITY;

    for (int j = 0; j < n; j++)
        if (row < n && !(used >> j & 1))
            best = fmin(best, c[row * n + j] + best_permutation(c, n, used | 1 << j, row + 1));
    return best;
}

/* n = m: the best assignment. n != m: each point split so that both sides are lcm(n, m) points. */
static void exact_plans(void **state)
{
    static const int shape[][2] = {{1, 1}, {5, 5}, {2, 6}, {6, 3}, {4, 2}, {2, 3}, {7, 11}};
    di_rng g = di_rng_make(3, DI_RNG_TEXT_ORDER, 1);

    (void)state;
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
        int n = shape[k][0], m = shape[k][1], common = n;
        double c[7 * 11], plan[7 * 11], cost = 0, split[64], best;
        int64_t work[7 * 11 + 6 * 18];

        while (common % m != 0) common += n;
        for (int i = 0; i < n * m; i++) c[i] = di_rng_uniform(&g);
        di_transport_exact(c, n, m, plan, work);
        for (int i = 0; i < n * m; i++) {
            assert_true(plan[i] >= 0);
            cost += plan[i] * c[i];
        }
        for (int i = 0; i < n; i++) {
            double sum = 0;

            for (int j = 0; j < m; j++) sum += plan[i * m + j];
            assert_true(fabs(sum - 1.0 / n) < 1e-12);
        }
        for (int j = 0; j < m; j++) {
            double sum = 0;

            for (int i = 0; i < n; i++) sum += plan[i * m + j];
            assert_true(fabs(sum - 1.0 / m) < 1e-12);
        }
        if (common > 7) continue; /* marginals alone */
        for (int i = 0; i < common * common; i++)
            split[i] = c[i / common * n / common * m + i % common * m / common];
        best = best_permutation(split, common, 0, 0) / common;
        if (!(fabs(cost - best) < 1e-12))
            fail_msg("%d x %d: cost %.12g, best %.12g", n, m, cost, best);
    }
}

/* Many points on a line: the plan joins equal ranks, whose cost is known. */
static void exact_on_a_line(void **state)
{
    enum { N = 40, M = 24 };
    static double c[N * M], plan[N * M];
    static int64_t work[N * M + 6 * (N + M)];
    double s[N], t[M], cost = 0, want = 0;

    (void)state;
    for (int i = 0; i < N; i++) s[i] = sin(i * 0.37) + 0.01 * i; /* any order */
    for (int j = 0; j < M; j++) t[j] = 1.5 * cos(j * 0.71);
    for (int i = 0; i < N * M; i++) c[i] = pow(s[i / M] - t[i % M], 2);
    di_transport_exact(c, N, M, plan, work);
    for (int i = 0; i < N * M; i++) cost += plan[i] * c[i];
    for (int pass = 0; pass < 2; pass++) { /* sorted */
        double *v = pass == 0 ? s : t;
        int n = pass == 0 ? N : M;

        for (int i = 1; i < n; i++)
            for (int j = i; j > 0 && v[j] < v[j - 1]; j--) {
                double x = v[j];

                v[j] = v[j - 1];
                v[j - 1] = x;
            }
    }
    for (int k = 0; k < N * M; k++) want += pow(s[k / M] - t[k / N], 2) / (N * M);
    assert_true(fabs(cost - want) < 1e-12);
}

static di_align_setup setup_of(const rows *r)
{
    return (di_align_setup){.width = r->c, .max_rows = r->n_s + r->n_t, .seed = 1};
}

static di_align *new_sliced(di_device *dev, const rows *r, int64_t projections)
{
    di_align_setup s = setup_of(r);
    di_align *a;
    dial_error err;

    assert_ok(di_sliced_new(dev, &s, &(di_sliced_options){.projections = projections}, &a, &err),
              err);
    return a;
}

/* On a line every direction is +-1, and the answer that of exact transport (POT). */
static void sliced_line(const char *backend)
{
    golden g = open_golden();
    rows wide = golden_rows(&g), r = {.c = 1, .n_s = wide.n_s, .n_t = wide.n_t};
    float want;
    di_device dev;
    di_align *a;

    open_backend(backend, &dev);
    for (int i = 0; i < 12; i++) r.x[i] = wide.x[i * 11];
    a = new_sliced(&dev, &r, 3);
    golden_read(&g, "swd.line", &want, 1);
    fit(a, &r);
    assert_true(fabs(loss_of(a, &r) - (double)want) <= 32 * E * 8);
    a->method->free(a);
    di_st_close(&g.f);
    di_device_close(&dev);
}

/* Rows of a quarter of the size under a gain of 4; the same directions. */
static void gain(const char *backend)
{
    rows wide = random_rows(5, 8, 7, 4), r = times(&wide, 0.25f);
    di_align_setup s = setup_of(&r);
    di_device dev;
    di_align *a, *plain;
    dial_error err;

    s.gain = 4;
    open_backend(backend, &dev);
    plain = new_sliced(&dev, &r, 20);
    assert_ok(di_sliced_new(&dev, &s, &(di_sliced_options){.projections = 20}, &a, &err), err);
    check_gain(a, plain, &r, 4, 1, 32);
    a->method->free(a);
    plain->method->free(plain);
    di_device_close(&dev);
}

/* Three rows against two, widened: no rank changes within the steps of the differences. */
static void sliced(const char *backend)
{
    rows r = random_rows(3, 2, 7, 1), e = random_rows(6, 6, 9, 2), again = e;
    di_device dev;
    di_align *a, *b, *c;
    double first;

    open_backend(backend, &dev);
    for (int i = 0; i < 5 * 7; i++) r.x[i] *= 4;
    a = new_sliced(&dev, &r, 4);
    b = new_sliced(&dev, &e, 16);
    c = new_sliced(&dev, &e, 16);
    check_gradient("swd", a, &r, 4 * cost_size, 1);
    check_symmetry(a, &r, 4 * cost_size);
    check_equal_sets(b, 6, 9, 0, 1, cost_size);
    check_state(b, c, &e);
    first = loss_of(b, &e);
    fit(b, &again);
    assert_true(loss_of(b, &e) != first); /* fresh directions */
    a->method->free(a);
    b->method->free(b);
    c->method->free(c);
    di_device_close(&dev);
}

static di_align *new_sinkhorn(di_device *dev, const rows *r, double rho)
{
    di_align_setup s = setup_of(r);
    di_sinkhorn_options o = {.eps = 0.05, .rho = rho, .tol = 1e-10, .iterations = 20000};
    di_align *a;
    dial_error err;

    assert_ok(di_sinkhorn_new(dev, &s, &o, &a, &err), err);
    return a;
}

static void sinkhorn(const char *backend)
{
    di_device dev;

    open_backend(backend, &dev);
    for (int unbalanced = 0; unbalanced < 2; unbalanced++) {
        golden g = open_golden();
        rows r = golden_rows(&g), d = random_rows(5, 8, 13, 1), e = random_rows(6, 6, 9, 2);
        double rho = unbalanced ? 0.5 : INFINITY;
        di_align *a = new_sinkhorn(&dev, &r, rho), *b = new_sinkhorn(&dev, &d, rho);
        di_align *c = new_sinkhorn(&dev, &e, rho);

        check_golden(&g, unbalanced ? "sinkhorn.unbalanced" : "sinkhorn.balanced", a, &r,
                     cost_size);
        check_gradient(unbalanced ? "unbalanced" : "balanced", b, &d, cost_size, 1);
        check_symmetry(b, &d, cost_size);
        check_equal_sets(c, 6, 9, 0, 1, cost_size);
        a->method->free(a);
        b->method->free(b);
        c->method->free(c);
        di_st_close(&g.f);
    }
    di_device_close(&dev);
}

/* A target row far from all others is dragged in balanced transport, and let go in unbalanced. */
static void far_rows_are_let_go(const char *backend)
{
    rows r = random_rows(6, 6, 4, 9);
    double pull[2];
    di_device dev;

    open_backend(backend, &dev);
    for (int j = 0; j < 4; j++) r.x[11 * 4 + j] = 30;
    for (int unbalanced = 0; unbalanced < 2; unbalanced++) {
        di_align *a = new_sinkhorn(&dev, &r, unbalanced ? 0.1 : INFINITY);

        fit(a, &r);
        run(a, &r, 1);
        pull[unbalanced] = fabs((double)r.dx[11 * 4]);
        a->method->free(a);
    }
    assert_true(pull[0] > 4); /* a sixth of a way of 30 */
    assert_true(pull[1] < 0.05 * pull[0]);
    di_device_close(&dev);
}

static di_align *new_deepjdot(di_device *dev, const rows *r, int exact)
{
    di_align_setup s = setup_of(r);
    di_deepjdot_options o = {
        .feature = 1,
        .label = 1,
        .exact = exact,
        .plan = {.eps = 0.05, .rho = INFINITY, .tol = 1e-10, .iterations = 20000}};
    di_align *a;
    dial_error err;

    assert_ok(di_deepjdot_new(dev, &s, &o, &a, &err), err);
    return a;
}

static void deepjdot(const char *backend)
{
    static const char *const name[] = {"deepjdot.entropic", "deepjdot.exact"};
    di_device dev;

    open_backend(backend, &dev);
    for (int exact = 0; exact < 2; exact++) {
        golden g = open_golden();
        rows r = golden_pairs(&g), d = random_pairs(3, 5, 7, 4);
        float want[MOST];
        char key[64];
        di_align *a = new_deepjdot(&dev, &r, exact), *b = new_deepjdot(&dev, &d, exact);

        check_golden(&g, name[exact], a, &r, cost_size);
        snprintf(key, sizeof key, "%s.dm", name[exact]);
        golden_read(&g, key, want, r.n_t);
        for (int64_t i = 0; i < r.n_s + r.n_t; i++)
            assert_true(fabs((double)r.dmargin[i] - (i < r.n_s ? 0 : (double)want[i - r.n_s])) <=
                        16 * E);
        check_gradient(name[exact], b, &d, cost_size, 1);
        a->method->free(a);
        b->method->free(b);
        di_st_close(&g.f);
    }
    di_device_close(&dev);
}

ON_EACH(sliced_line)
ON_EACH(sliced)
ON_EACH(gain)
ON_EACH(sinkhorn)
ON_EACH(far_rows_are_let_go)
ON_EACH(deepjdot)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_plans),
        cmocka_unit_test(exact_on_a_line),
        cmocka_unit_test(sliced_line_ref),
        cmocka_unit_test(sliced_line_cpu),
        cmocka_unit_test(sliced_ref),
        cmocka_unit_test(sliced_cpu),
        cmocka_unit_test(gain_ref),
        cmocka_unit_test(gain_cpu),
        cmocka_unit_test(sinkhorn_ref),
        cmocka_unit_test(sinkhorn_cpu),
        cmocka_unit_test(far_rows_are_let_go_ref),
        cmocka_unit_test(far_rows_are_let_go_cpu),
        cmocka_unit_test(deepjdot_ref),
        cmocka_unit_test(deepjdot_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
