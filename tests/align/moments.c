/* Methods that compare moments: mean, CORAL, CMD. */
#include "rows.h"

static di_align_setup setup_of(const rows *r, int64_t queue)
{
    return (di_align_setup){
        .width = r->c, .max_rows = r->n_s + r->n_t, .queue = queue, .queue_age = 64, .seed = 1};
}

static di_align *new_mean(di_device *dev, const rows *r, di_mean_form form, int64_t queue)
{
    di_align_setup s = setup_of(r, queue);
    di_align *a;
    dial_error err;

    assert_ok(di_mean_new(dev, &s, &(di_mean_options){.form = form, .gp = 3}, &a, &err), err);
    return a;
}

static di_align *new_coral(di_device *dev, const rows *r, double mean, int64_t queue)
{
    di_align_setup s = setup_of(r, queue);
    di_align *a;
    dial_error err;

    assert_ok(di_coral_new(dev, &s, &(di_coral_options){.mean = mean}, &a, &err), err);
    return a;
}

/*
 * What the losses are made of, C = 11 and entries near 1: means differ by 1/2 a coordinate, so
 * ||ms - mt|| is about 2; a Gram entry of CORAL is at most C 3^2, n^2 of them over 4 C^2 (n - 1)^2.
 */
static const double mean_size = 8, coral_size = 32;

/* Golden values, differences, exchanged sides, equal sets, state: everything that one method has.
 */
static void check_all(di_device *dev, di_align *(*make)(di_device *, const rows *, int, int64_t),
                      int kind, const char *name, double size)
{
    golden g = open_golden();
    rows r = golden_rows(&g), d = random_rows(5, 8, 13, 1), e = random_rows(6, 6, 9, 2);
    di_align *a = make(dev, &r, kind, 0), *b = make(dev, &d, kind, 0), *c = make(dev, &e, kind, 0);
    di_align *p = make(dev, &e, kind, 20), *q = make(dev, &e, kind, 20);

    check_golden(&g, name, a, &r, size);
    check_gradient(name, b, &d, size, 1);
    check_symmetry(b, &d, size);
    check_equal_sets(c, 6, 9, 0, 1, size);
    check_state(p, q, &e);
    for (int i = 0; i < 5; i++) {
        di_align *own[] = {a, b, c, p, q};

        own[i]->method->free(own[i]);
    }
    di_st_close(&g.f);
}

static di_align *make_mean(di_device *dev, const rows *r, int kind, int64_t queue)
{
    return new_mean(dev, r, (di_mean_form)kind, queue);
}

static di_align *make_coral(di_device *dev, const rows *r, int kind, int64_t queue)
{
    return new_coral(dev, r, kind, queue);
}

static di_align *make_cmd(di_device *dev, const rows *r, int kind, int64_t queue)
{
    di_align_setup s = setup_of(r, queue);
    di_align *a;
    dial_error err;

    assert_ok(di_cmd_new(dev, &s, &(di_cmd_options){.moments = kind}, &a, &err), err);
    return a;
}

static void mean(const char *backend)
{
    static const char *const name[] = {"mean.square", "mean.root", "mean.critic"};
    di_device dev;

    open_backend(backend, &dev);
    for (int form = DI_MEAN_SQUARE; form <= DI_MEAN_CRITIC; form++)
        check_all(&dev, make_mean, form, name[form], mean_size);
    di_device_close(&dev);
}

static void coral(const char *backend)
{
    di_device dev;

    open_backend(backend, &dev);
    check_all(&dev, make_coral, 0, "coral.0", coral_size);
    check_all(&dev, make_coral, 1, "coral.1", coral_size);
    di_device_close(&dev);
}

/* Squashed rows are below 1. Beside golden values of five moments, other orders by differences. */
static void cmd(const char *backend)
{
    rows d = random_rows(4, 6, 5, 9);
    di_device dev;

    open_backend(backend, &dev);
    check_all(&dev, make_cmd, 5, "cmd", mean_size);
    for (int moments = 1; moments <= 6; moments++) {
        di_align *a = make_cmd(&dev, &d, moments, 0);

        check_gradient("cmd", a, &d, mean_size, 1);
        a->method->free(a);
    }
    di_device_close(&dev);
}

/* Rows of a quarter of the size under a gain of 4. */
static void gain(const char *backend)
{
    rows wide = random_rows(5, 8, 13, 1), r = times(&wide, 0.25f);
    di_align_setup s = setup_of(&r, 0);
    di_device dev;
    di_align *a;
    dial_error err;

    s.gain = 4;
    open_backend(backend, &dev);
    for (int k = 0; k < 2; k++) {
        di_align *plain = k == 0 ? new_coral(&dev, &r, 0, 0) : make_cmd(&dev, &r, 5, 0);

        if (k == 0)
            assert_ok(di_coral_new(&dev, &s, &(di_coral_options){.mean = 0}, &a, &err), err);
        else
            assert_ok(di_cmd_new(&dev, &s, &(di_cmd_options){.moments = 5}, &a, &err), err);
        check_gain(a, plain, &r, 4, k == 0 ? 1 : 0.25, coral_size);
        a->method->free(a);
        plain->method->free(plain);
    }
    di_device_close(&dev);
}

/* A row of its own varies by nothing, and must not divide by 0. */
static void single_rows(const char *backend)
{
    rows r = random_rows(1, 1, 5, 3);
    di_device dev;
    di_align *a;

    open_backend(backend, &dev);
    a = new_coral(&dev, &r, 0, 0);
    fit(a, &r);
    assert_true(run(a, &r, 1) == 0);
    for (int i = 0; i < 10; i++) assert_true(r.dx[i] == 0);
    a->method->free(a);
    di_device_close(&dev);
}

/*
 * method.md 2.10: a linear critic that has converged on fixed rows sends the encoder the gradient
 * of the form `critic`. Adam at 1e-3 stays within some 1e-3 of the optimum, relative to its size.
 */
static void linear_critic(const char *backend)
{
    enum { C = 6, N = 4 };
    rows r = random_rows(N, N, C, 4), s = r;
    di_wasserstein_options o = {.width = C,
                                .max_rows = 2 * N,
                                .hidden = {16},
                                .n_hidden = 1,
                                .act = DI_CRITIC_LINEAR,
                                .gp = 3,
                                .iters = 4000,
                                .lr = 1e-3,
                                .seed = 3};
    di_align *critic, *closed;
    di_device dev;
    dial_error err;
    double norm = 0, far = 0;

    open_backend(backend, &dev);
    assert_ok(di_wasserstein_new(&dev, &o, &critic, &err), err);
    closed = new_mean(&dev, &r, DI_MEAN_CRITIC, 0);
    fit(critic, &r);
    run(critic, &r, 1);
    run(closed, &s, 1);
    for (int i = 0; i < 2 * N * C; i++) {
        norm += (double)s.dx[i] * (double)s.dx[i];
        far += ((double)s.dx[i] - (double)r.dx[i]) * ((double)s.dx[i] - (double)r.dx[i]);
    }
    if (!(sqrt(far) <= 0.01 * sqrt(norm)))
        fail_msg("the critic's gradient is %.3g of its norm away", sqrt(far / norm));
    critic->method->free(critic);
    closed->method->free(closed);
    di_device_close(&dev);
}

/* With a queue the means are those of all rows seen, and gradients go to the present rows alone. */
static void queued_mean(const char *backend)
{
    rows now = random_rows(3, 2, 7, 5), before = random_rows(2, 3, 7, 6);
    di_device dev;
    di_align *a;

    open_backend(backend, &dev);
    a = new_mean(&dev, &now, DI_MEAN_SQUARE, 20);
    fit(a, &before);
    fit(a, &now);
    run(a, &now, 1);
    for (int j = 0; j < 7; j++) {
        double s = 0, t = 0;

        for (int i = 0; i < 5; i++) {
            const rows *from_s = i < 3 ? &now : &before, *from_t = i < 2 ? &now : &before;

            s += (double)from_s->x[(i < 3 ? i : i - 3) * 7 + j] / 5;
            t += (double)from_t->x[(i < 2 ? 3 + i : i) * 7 + j] / 5;
        }
        for (int i = 0; i < 5; i++) {
            double want = i < 3 ? 2 * (s - t) / 3 : -2 * (s - t) / 2;

            assert_true(fabs((double)now.dx[i * 7 + j] - want) <= 8 * E * mean_size);
        }
    }
    a->method->free(a);
    di_device_close(&dev);
}

/* The covariances of a queue: the present rows' gradient is twice the slope of L with past rows
   held, since each pair of rows stands in L twice. */
static void queued_coral(const char *backend)
{
    rows now = random_rows(4, 3, 7, 7), before = random_rows(3, 4, 7, 8);
    di_device dev;
    di_align *a;

    open_backend(backend, &dev);
    a = new_coral(&dev, &now, 0, 20);
    fit(a, &before);
    check_gradient("coral with a queue", a, &now, coral_size, 0.5);
    a->method->free(a);
    di_device_close(&dev);
}

ON_EACH(mean)
ON_EACH(coral)
ON_EACH(cmd)
ON_EACH(single_rows)
ON_EACH(gain)
ON_EACH(linear_critic)
ON_EACH(queued_mean)
ON_EACH(queued_coral)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_ref),          cmocka_unit_test(mean_cpu),
        cmocka_unit_test(coral_ref),         cmocka_unit_test(coral_cpu),
        cmocka_unit_test(cmd_ref),           cmocka_unit_test(cmd_cpu),
        cmocka_unit_test(single_rows_ref),   cmocka_unit_test(single_rows_cpu),
        cmocka_unit_test(gain_ref),          cmocka_unit_test(gain_cpu),
        cmocka_unit_test(linear_critic_ref), cmocka_unit_test(linear_critic_cpu),
        cmocka_unit_test(queued_mean_ref),   cmocka_unit_test(queued_mean_cpu),
        cmocka_unit_test(queued_coral_ref),  cmocka_unit_test(queued_coral_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
