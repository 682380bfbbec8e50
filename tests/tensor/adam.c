/* Adam, AdamW, and the norm for clipping. */
#include "op.h"

typedef struct adam_case {
    int64_t n, t;
    double decay, grad_scale;
    int coupled;
    const char *why;
} adam_case;

/* clang-format off */
static const adam_case cases[] = {
    {   1,    1, 0,    1,   0, "one element, first step"},
    {  37,    1, 1e-3, 1,   1, "coupled decay, odd"},
    {1000,    7, 1e-2, 0.5, 0, "decoupled decay, clipped"},
    { 515, 3000, 1e-3, 2,   1, "late: bias corrections near 1"},
    {140000, 3, 1e-3, 1,  0, "enough for a second thread"},
    {   0,    1, 0,    1,   0, "nothing"},
};
static const adam_case perf_cases[] = {{5000000, 10, 0.01, 1, 0, "5 M parameters"}};
/* clang-format on */

enum { THETA, G, M, V };
static const double lr = 1e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;

/* An element is a row here. m and v are as large as steps of such gradients leave them. */
static void make(problem *p, di_rng *r)
{
    const adam_case *c = p->c;
    di_mat *v;

    p->n = c->n;
    add_arg(p, "theta", IN | OUT | ROWS | DENSE, DI_F32, c->n, 1, r, 1);
    add_arg(p, "g", IN | ROWS | DENSE, DI_F32, c->n, 1, r, 1);
    add_arg(p, "m", IN | OUT | ROWS | DENSE, DI_F32, c->n, 1, r, 0.3);
    v = add_arg(p, "v", IN | OUT | ROWS | DENSE, DI_F32, c->n, 1, r, 0.03);
    for (int64_t i = 0; i < c->n; i++) set_el(v, i, 0, c->t == 1 ? 0 : fabs(el(v, i, 0)));
}

static di_adam_args adam_args(const adam_case *c, int64_t n)
{
    return (di_adam_args){.n = n,
                          .t = c->t,
                          .lr = lr,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .eps = eps,
                          .decay = c->decay,
                          .grad_scale = c->grad_scale,
                          .coupled = c->coupled};
}

static void run(di_device *dev, problem *p)
{
    di_adam_args a = adam_args(p->c, p->n);

    a.theta = p->arg[THETA].m.data;
    a.g = p->arg[G].m.data;
    a.m = p->arg[M].m.data;
    a.v = p->arg[V].m.data;
    dev->ops->adam(dev, &a);
}

/* Each line is a handful of f32 operations: 8 E of the magnitudes that it adds. */
static void limit(problem *p, const problem *answer)
{
    const adam_case *c = p->c;
    double fix1 = 1 - pow(beta1, (double)c->t), fix2 = 1 - pow(beta2, (double)c->t);

    for (int64_t i = 0; i < c->n; i++) {
        double theta = fabs(el(&p->arg[THETA].m, i, 0));
        double g =
            fabs(el(&p->arg[G].m, i, 0)) * c->grad_scale + (c->coupled ? c->decay * theta : 0);
        double m = 8 * E * (beta1 * fabs(el(&p->arg[M].m, i, 0)) + (1 - beta1) * g);
        double v = 8 * E * (beta2 * el(&p->arg[V].m, i, 0) + (1 - beta2) * g * g);
        double root = sqrt(el(&answer->arg[V].m, i, 0) / fix2) + eps;
        double step = lr * fabs(el(&answer->arg[M].m, i, 0)) / fix1 / root;

        p->arg[M].limit[i] = m;
        p->arg[V].limit[i] = v;
        p->arg[THETA].limit[i] = 4 * E * theta + lr * m / fix1 / root +
                                 step * (v / el(&answer->arg[V].m, i, 0) / 2 + 16 * E);
    }
}

static void cost(const problem *p, double *flop, double *bytes)
{
    *flop = 12 * (double)p->n;
    *bytes = 28 * (double)p->n;
}

static const op adam = {
    .name = "adam",
    .entry = offsetof(di_backend, adam),
    .drop = G,
    .f32_only = 1,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make,
    .run = run,
    .limit = limit,
    .cost = cost,
};

static void make_sum(problem *p, di_rng *r)
{
    const adam_case *c = p->c;
    di_mat *x = add_arg(p, "x", IN, DI_F32, 1, c->n, r, 1);

    p->n = c->n;
    p->n_scalars = 1;
    if (c->n > 0) plant_column(x, 1);
}

static void run_sum(di_device *dev, problem *p)
{
    p->scalar[0] = dev->ops->sum_squares(dev, p->arg[0].m.data, p->n);
}

/* Squares of f32 are exact in f64; n - 1 additions of positive terms. */
static void limit_sum(problem *p, const problem *answer)
{
    p->scalar_limit[0] = (double)p->n * 0x1p-52 * answer->scalar[0];
}

static void cost_sum(const problem *p, double *flop, double *bytes)
{
    *flop = 2 * (double)p->n;
    *bytes = 4 * (double)p->n;
}

static const op sum_squares = {
    .name = "sum_squares",
    .entry = offsetof(di_backend, sum_squares),
    .drop = 0,
    .f32_only = 1,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_sum,
    .run = run_sum,
    .limit = limit_sum,
    .cost = cost_sum,
};

/*
 * From m = v = 0 the corrections cancel: mh = g, vh = g^2, so the first step is lr g / (|g| + eps)
 * after g += decay theta (coupled) or theta *= 1 - lr decay (decoupled). A second step with -g:
 * m = (beta1 - 1) (1 - beta1) g ..., written out below. Tolerance: 8 roundings of numbers near 1.
 */
static void closed_steps(void **state)
{
    static const char *const names[] = {"ref", "cpu"};

    (void)state;
    for (int k = 0; k < 4; k++) {
        adam_case c = {.n = 1, .t = 1, .decay = 0.25, .grad_scale = 0.5, .coupled = k % 2};
        float theta = 1.25f, g = 0.75f, m = 0, v = 0;
        double want = 1.25, g1, m2, v2;
        di_adam_args a = adam_args(&c, 1);
        di_device dev;

        assert_true(open_device(names[k / 2], DI_F32, 1, &dev));
        a.theta = &theta;
        a.g = &g;
        a.m = &m;
        a.v = &v;
        g1 = 0.375 + (c.coupled ? 0.25 * want : 0);
        if (!c.coupled) want *= 1 - lr * 0.25;
        want -= lr * g1 / (g1 + eps);
        dev.ops->adam(&dev, &a);
        assert_true(fabs((double)theta - want) < 8 * E);
        m2 = (1 - beta1) * g1;
        v2 = (1 - beta2) * g1 * g1;
        g = -0.75f;
        a.t = 2;
        g1 = -0.375 + (c.coupled ? 0.25 * want : 0);
        if (!c.coupled) want *= 1 - lr * 0.25;
        m2 = beta1 * m2 + (1 - beta1) * g1;
        v2 = beta2 * v2 + (1 - beta2) * g1 * g1;
        want -= lr * m2 / (1 - beta1 * beta1) / (sqrt(v2 / (1 - beta2 * beta2)) + eps);
        dev.ops->adam(&dev, &a);
        assert_true(fabs((double)theta - want) < 16 * E);
        di_device_close(&dev);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(adam, value),        OP_TEST(adam, drop),        OP_TEST(adam, rows),
        OP_TEST(sum_squares, value), OP_TEST(sum_squares, drop), cmocka_unit_test(closed_steps),
    };

    if (argc > 1) return op_perf(&adam, argv[1]) | op_perf(&sum_squares, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
