/* Maximum mean discrepancy, its estimators and its queue. */
#include "rows.h"

/* Kernels of four blocks, each at most their number; entries of rows are near 1. */
static const double rbf_size = 20, linear_size = 100;

static di_align *new_mmd(di_device *dev, const rows *r, int linear, int biased, int64_t queue,
                         int64_t age)
{
    di_align_setup s = {
        .width = r->c, .max_rows = r->n_s + r->n_t, .queue = queue, .queue_age = age, .seed = 1};
    /* out of order: the constructor sorts */
    di_mmd_options o = {
        .linear = linear, .biased = biased, .scale = {0.5, 0.25, 1, 4, 2}, .n_scales = 5};
    di_align *a;
    dial_error err;

    assert_ok(di_mmd_new(dev, &s, &o, &a, &err), err);
    return a;
}

static void each_estimator(const char *backend)
{
    static const char *const name[2][2] = {{"mmd.rbf.unbiased", "mmd.rbf.biased"},
                                           {"mmd.linear.unbiased", "mmd.linear.biased"}};
    di_device dev;

    open_backend(backend, &dev);
    for (int linear = 0; linear < 2; linear++)
        for (int biased = 0; biased < 2; biased++) {
            golden g = open_golden();
            rows r = golden_rows(&g), d = random_rows(5, 8, 13, 1), e = random_rows(6, 6, 9, 2);
            double size = linear ? linear_size : rbf_size;
            di_align *a = new_mmd(&dev, &r, linear, biased, 0, 0);
            di_align *b = new_mmd(&dev, &d, linear, biased, 0, 0);
            di_align *p = new_mmd(&dev, &e, linear, biased, 20, 64);
            di_align *q = new_mmd(&dev, &e, linear, biased, 20, 64);

            check_golden(&g, name[linear][biased], a, &r, size);
            check_gradient(name[linear][biased], b, &d, size, 1);
            check_symmetry(b, &d, size);
            check_state(p, q, &e);
            a->method->free(a);
            b->method->free(b);
            p->method->free(p);
            q->method->free(q);
            di_st_close(&g.f);
        }
    di_device_close(&dev);
}

/*
 * Equal sets of n rows: biased 0. Unbiased, the pairs of a row with itself are missing on the sides
 * and there across: by the linear kernel -2 tr(cov)/n, cov with 1/(n-1), which method.md's identity
 * gives; by the RBF (2/n)(mean k of different rows - number of scales), at least -2 scales/n.
 */
static void equal_sets(const char *backend)
{
    enum { N = 6, C = 9 };
    rows r = random_rows(N, N, C, 77);
    double trace = 0;
    di_device dev;
    di_align *a;

    open_backend(backend, &dev);
    for (int linear = 0; linear < 2; linear++) {
        a = new_mmd(&dev, &r, linear, 1, 0, 0);
        check_equal_sets(a, N, C, 0, 1, linear ? linear_size : rbf_size);
        a->method->free(a);
    }
    for (int j = 0; j < C; j++) {
        double mean = 0;

        for (int i = 0; i < N; i++) mean += (double)r.x[i * C + j] / N;
        for (int i = 0; i < N; i++) trace += pow((double)r.x[i * C + j] - mean, 2) / (N - 1);
    }
    a = new_mmd(&dev, &r, 1, 0, 0, 0);
    check_equal_sets(a, N, C, -2 * trace / N, 0, linear_size);
    a->method->free(a);
    a = new_mmd(&dev, &r, 0, 0, 0, 0);
    memcpy(r.x + N * C, r.x, N * C * sizeof(float));
    fit(a, &r);
    assert_true(run(a, &r, 1) < 0 && run(a, &r, 1) > -2.0 * 5 / N);
    a->method->free(a);
    di_device_close(&dev);
}

/* linear MMD = ||ms - mt||^2 - tr(cov_s)/n_s - tr(cov_t)/n_t (unbiased), or without the traces. */
static void linear_identity(const char *backend)
{
    rows r = random_rows(5, 7, 6, 3);
    double want[2] = {0, 0};
    di_device dev;

    open_backend(backend, &dev);
    for (int j = 0; j < 6; j++) {
        double s = 0, t = 0, cov = 0;

        for (int i = 0; i < 12; i++) *(i < 5 ? &s : &t) += (double)r.x[i * 6 + j] / (i < 5 ? 5 : 7);
        for (int i = 0; i < 12; i++)
            cov += pow((double)r.x[i * 6 + j] - (i < 5 ? s : t), 2) / (i < 5 ? 4 * 5 : 6 * 7);
        want[0] += (s - t) * (s - t) - cov;
        want[1] += (s - t) * (s - t);
    }
    for (int biased = 0; biased < 2; biased++) {
        di_align *a = new_mmd(&dev, &r, 1, biased, 0, 0);

        assert_true(fabs(loss_of(a, &r) - want[biased]) <= 32 * E * linear_size);
        a->method->free(a);
    }
    di_device_close(&dev);
}

/* An offset that all rows share, here 1000 times their distances, changes nothing. */
static void offset(const char *backend)
{
    rows r = random_rows(5, 7, 6, 4), far = r;
    di_device dev;
    di_align *a, *b;

    open_backend(backend, &dev);
    for (int i = 0; i < 12 * 6; i++) far.x[i] += 1000; /* exact: the grid is 2^-10 */
    a = new_mmd(&dev, &r, 0, 0, 0, 0);
    b = new_mmd(&dev, &r, 0, 0, 0, 0);
    fit(a, &r);
    fit(b, &far);
    assert_true(fabs(run(a, &r, 1) - run(b, &far, 1)) <= 32 * E * rbf_size);
    for (int i = 0; i < 12 * 6; i++)
        assert_true(fabs((double)r.dx[i] - (double)far.dx[i]) <= 32 * E * rbf_size);
    a->method->free(a);
    b->method->free(b);
    di_device_close(&dev);
}

/* b0 is the median of the first step, then 0.99 of itself and 0.01 of the next median. */
static void bandwidth(const char *backend)
{
    rows r = random_rows(2, 1, 1, 5);
    di_align_tensor t[1];
    di_device dev;
    di_align *a;

    open_backend(backend, &dev);
    a = new_mmd(&dev, &r, 0, 0, 0, 0);
    assert_int_equal(a->method->tensors(a, t, 1), 1);
    r.x[0] = 0, r.x[1] = 1, r.x[2] = 3; /* squared distances 1, 4, 9 */
    fit(a, &r);
    assert_true(fabs((double)t[0].theta[0] - 4) <= 1e-5);
    r.x[1] = 2, r.x[2] = 10; /* 4, 64, 100 */
    fit(a, &r);
    assert_true(fabs((double)t[0].theta[0] - (0.99 * 4 + 0.01 * 64)) <= 1e-5);
    a->method->free(a);
    di_device_close(&dev);
}

/* k by its definition, with the scales of new_mmd. */
static double kernel(const float *x, const float *y, int64_t c, double bandwidth)
{
    double dot = 0, d2 = 0, k = 0;

    for (int64_t j = 0; j < c; j++) {
        dot += (double)x[j] * (double)y[j];
        d2 += ((double)x[j] - (double)y[j]) * ((double)x[j] - (double)y[j]);
    }
    for (int q = -2; q <= 2; q++) k += exp(-d2 / (bandwidth * ldexp(1, q)));
    return bandwidth > 0 ? k : dot;
}

/* mean wit(s) - mean wit(t) over the rows of `now`, against those of both, oneself left out. */
static double witness_loss(const rows *now, const rows *before, double bandwidth)
{
    double loss = 0;

    for (int side = 0; side < 4; side++) { /* of x, of r: ss, st, ts, tt */
        int64_t n = side < 2 ? now->n_s : now->n_t, first = side < 2 ? 0 : now->n_s, c = now->c;
        int own = side == 0 || side == 3;
        double sum = 0;
        int64_t pairs = 0;

        for (int64_t i = 0; i < n; i++)
            for (int past = 0; past < 2; past++) {
                const rows *r = past ? before : now;
                int64_t lo = side % 2 == 0 ? 0 : r->n_s, m = side % 2 == 0 ? r->n_s : r->n_t;

                for (int64_t k = 0; k < m; k++) {
                    if (own && !past && k == i) continue;
                    sum += kernel(now->x + (first + i) * c, r->x + (lo + k) * c, c, bandwidth);
                    pairs++;
                }
            }
        loss += (own ? 1 : -1) * sum / (double)pairs;
    }
    return loss;
}

/*
 * A queue of past rows: L and its gradient are those of the witness over all rows. Half of the
 * gradient is the slope of L with past rows held; the other half stands for their own.
 */
static void queue(const char *backend)
{
    rows now = random_rows(4, 3, 7, 7), before = random_rows(3, 4, 7, 8);
    di_device dev;

    open_backend(backend, &dev);
    for (int linear = 0; linear < 2; linear++) {
        di_align *a = new_mmd(&dev, &now, linear, 0, 20, 64);
        di_align *b = new_mmd(&dev, &now, linear, 0, 20, 64);
        double size = linear ? linear_size : rbf_size;
        di_align_tensor t[1];

        fit(a, &before);
        fit(a, &now);
        a->method->tensors(a, t, 1);
        assert_true(fabs(loss_of(a, &now) -
                         witness_loss(&now, &before, linear ? 0 : (double)t[0].theta[0])) <=
                    32 * E * size);
        fit(b, &before);
        check_gradient("mmd with a queue", b, &now, size, 0.5);
        a->method->free(a);
        b->method->free(b);
    }
    di_device_close(&dev);
}

/* A queue that may keep nothing past the step is no queue, to the bit. */
static void queue_of_one_step(const char *backend)
{
    rows now = random_rows(4, 3, 7, 9), before = random_rows(3, 4, 7, 10), same;
    di_device dev;

    open_backend(backend, &dev);
    for (int linear = 0; linear < 2; linear++) {
        di_align *a = new_mmd(&dev, &now, linear, 0, 20, 0);
        di_align *b = new_mmd(&dev, &now, linear, 0, 0, 0);

        same = now;
        for (int i = 0; i < 3; i++) {
            fit(a, &before), fit(b, &before);
            fit(a, &now), fit(b, &same);
            assert_true(run(a, &now, 1) == run(b, &same, 1));
            assert_memory_equal(now.dx, same.dx, sizeof same.dx);
        }
        a->method->free(a);
        b->method->free(b);
    }
    di_device_close(&dev);
}

ON_EACH(each_estimator)
ON_EACH(equal_sets)
ON_EACH(linear_identity)
ON_EACH(offset)
ON_EACH(bandwidth)
ON_EACH(queue)
ON_EACH(queue_of_one_step)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_estimator_ref),
        cmocka_unit_test(each_estimator_cpu),
        cmocka_unit_test(equal_sets_ref),
        cmocka_unit_test(equal_sets_cpu),
        cmocka_unit_test(linear_identity_ref),
        cmocka_unit_test(linear_identity_cpu),
        cmocka_unit_test(offset_ref),
        cmocka_unit_test(offset_cpu),
        cmocka_unit_test(bandwidth_ref),
        cmocka_unit_test(bandwidth_cpu),
        cmocka_unit_test(queue_ref),
        cmocka_unit_test(queue_cpu),
        cmocka_unit_test(queue_of_one_step_ref),
        cmocka_unit_test(queue_of_one_step_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
