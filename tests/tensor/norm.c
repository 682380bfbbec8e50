/* RMSNorm, forward and backward, whole rows and per head. */
#include "grad.h"

typedef struct norm_case {
    int64_t n, groups, d;
    int narrow_y, in_place, add; /* y (dx) in act rather than f32; y is x (dx is dy); += */
    const char *why;
} norm_case;

/* clang-format off */
static const norm_case cases[] = {
    {  1, 1,    8, 1, 0, 0, "one row, fewer columns than lanes"},
    {  3, 1,   37, 1, 0, 0, "odd D: rows start unaligned; N is no multiple of a tile"},
    { 67, 1,  576, 1, 0, 0, "the residual stream of a small model: f32 in, act out"},
    {  2, 1, 4096, 0, 0, 0, "a long sum"},
    {  5, 1,  100, 0, 0, 1, "post norm: added to the stream"},
    { 19, 5,   64, 1, 1, 0, "q_norm and k_norm: per head, in place"},
    {  4, 3,   33, 1, 1, 0, "odd heads in place"},
    {240, 1,  576, 1, 0, 0, "enough for a second thread"},
    {  0, 1,  576, 1, 0, 0, "no rows: nothing written"},
};
static const norm_case perf_cases[] = {
    {1024, 1,  576, 1, 0, 0, "SmolLM2-135M"},
    {1024, 1, 2304, 1, 0, 0, "Gemma-2-2B"},
    {1024, 8,  256, 1, 1, 0, "heads"},
};
/* clang-format on */

/* forward: x w rstd keep y; backward: x w rstd dy dx */
enum { X, W, RSTD, KEEP, Y, DY = KEEP, DX };

/*
 * x is standard normal but for the last column of each group, sqrt(D)/2: a fifth of the sum of
 * squares, so losing it moves a row by about 12 %. In place, x has y's dtype.
 */
static di_mat *make_x(problem *p, const norm_case *c, unsigned flags, di_dtype t, di_rng *r)
{
    di_mat *x = add_arg(p, "x", flags, t, c->n, c->groups * c->d, r, 1);

    for (int64_t n = 0; n < c->n; n++)
        for (int64_t g = 1; g <= c->groups; g++) set_el(x, n, g * c->d - 1, sqrt((double)c->d) / 2);
    return x;
}

static void make_forward(problem *p, di_rng *r)
{
    const norm_case *c = p->c;
    di_dtype t = c->narrow_y ? p->act : DI_F32;

    p->n = c->n;
    if (c->in_place)
        make_x(p, c, IN | OUT | ROWS, t, r);
    else
        make_x(p, c, IN | ROWS, DI_F32, r);
    add_arg(p, "w", IN, DI_F32, 1, c->d, r, 1);
    add_arg(p, "rstd", OUT | ROWS | DENSE, DI_F32, c->n, c->groups, r, 0);
    add_arg(p, "keep", OUT | ROWS, p->act, c->n, c->groups * c->d, r, 0);
    if (!c->in_place)
        add_arg(p, "y", ROWS | OUT | (c->add ? IN : 0), t, c->n, c->groups * c->d, r, 1);
}

static di_norm_args norm_args(const problem *p)
{
    const norm_case *c = p->c;

    return (di_norm_args){.x = p->arg[X].m,
                          .w = p->arg[W].m.data,
                          .rstd = p->arg[RSTD].m.data,
                          .groups = c->groups,
                          .eps = 1e-5f,
                          .add = c->add};
}

static void run_forward(di_device *dev, problem *p)
{
    di_norm_args a = norm_args(p);

    a.keep = p->arg[KEEP].m;
    a.y = ((const norm_case *)p->c)->in_place ? a.x : p->arg[Y].m;
    dev->ops->norm_forward(dev, &a);
}

/*
 * The sum of squares has D positive terms: its relative error is below 8 sqrt(D) E, half of that in
 * its inverse root; 8 E covers mean, root, quotient and products. keep is x, rounded once: exact.
 */
static void limit_forward(problem *p, const problem *answer)
{
    const norm_case *c = p->c;
    int y = c->in_place ? X : Y;
    const di_mat *x = &p->arg[X].m, *out = &answer->arg[y].m;
    double e = sum_error(c->d) / 2 + 8 * E;

    for (int64_t n = 0; n < c->n; n++) {
        for (int64_t i = 0; i < c->groups * c->d; i++) {
            double rstd = el(&answer->arg[RSTD].m, n, i / c->d);

            p->arg[RSTD].limit[n * c->groups + i / c->d] = (e + unit(DI_F32)) * rstd;
            p->arg[y].limit[n * x->cols + i] =
                e * fabs(el(x, n, i) * rstd * el(&p->arg[W].m, 0, i % c->d)) +
                unit(out->dtype) * fabs(el(out, n, i));
        }
    }
}

static void make_backward(problem *p, di_rng *r)
{
    const norm_case *c = p->c;
    di_dtype t = c->narrow_y ? p->act : DI_F32;
    di_mat *x, *rstd, *dy;

    p->n = c->n;
    x = make_x(p, c, IN | ROWS, c->in_place ? t : DI_F32, r);
    add_arg(p, "w", IN, DI_F32, 1, c->d, r, 1);
    rstd = add_arg(p, "rstd", IN | ROWS | DENSE, DI_F32, c->n, c->groups, r, 0);
    for (int64_t k = 0; k < c->n * c->groups; k++) {
        double sum = 0;

        for (int64_t i = 0; i < c->d; i++)
            sum += pow(el(x, k / c->groups, k % c->groups * c->d + i), 2);
        set_el(rstd, k / c->groups, k % c->groups, 1 / sqrt(sum / (double)c->d + 1e-5));
    }
    dy = add_arg(p, "dy", IN | ROWS | (c->in_place ? OUT : 0), t, c->n, c->groups * c->d, r, 1);
    plant_column(dy, 3);
    if (!c->in_place)
        add_arg(p, "dx", OUT | ROWS | (c->add ? IN : 0), DI_F32, c->n, c->groups * c->d, r, 1);
}

static void run_backward(di_device *dev, problem *p)
{
    di_norm_args a = norm_args(p);

    a.dy = p->arg[DY].m;
    a.dx = p->arg[((const norm_case *)p->c)->in_place ? DY : DX].m;
    dev->ops->norm_backward(dev, &a);
}

/* dx = rstd (gy - xh mean(gy xh)): the mean is a sum of D terms of either sign. */
static void limit_backward(problem *p, const problem *answer)
{
    const norm_case *c = p->c;
    arg *dx = &p->arg[c->in_place ? DY : DX];
    const di_mat *out = &answer->arg[c->in_place ? DY : DX].m;

    for (int64_t n = 0; n < c->n; n++) {
        for (int64_t g = 0; g < c->groups; g++) {
            double rstd = el(&p->arg[RSTD].m, n, g), mean = 0;

            for (int64_t i = g * c->d; i < (g + 1) * c->d; i++)
                mean += fabs(el(&p->arg[W].m, 0, i - g * c->d) * el(&p->arg[DY].m, n, i) *
                             el(&p->arg[X].m, n, i) * rstd) /
                        (double)c->d;
            for (int64_t i = g * c->d; i < (g + 1) * c->d; i++) {
                double gy = fabs(el(&p->arg[W].m, 0, i - g * c->d) * el(&p->arg[DY].m, n, i));
                double xh = fabs(el(&p->arg[X].m, n, i) * rstd);

                dx->limit[n * out->cols + i] =
                    unit(out->dtype) * fabs(el(out, n, i)) +
                    rstd * (4 * E * gy + (sum_error(c->d) + 8 * E) * xh * mean);
            }
        }
    }
}

static void cost(const problem *p, double *flop, double *bytes)
{
    *flop = 4 * (double)(p->arg[X].m.rows * p->arg[X].m.cols);
    *bytes = 0;
    for (int i = 0; i < p->n_args; i++)
        *bytes += (double)mat_bytes(&p->arg[i].m) *
                  ((p->arg[i].flags & (IN | OUT)) == (IN | OUT) ? 2 : 1);
}

static const op norm_forward = {
    .name = "norm_forward",
    .entry = offsetof(di_backend, norm_forward),
    .drop = X,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_forward,
    .run = run_forward,
    .limit = limit_forward,
    .cost = cost,
};
static const op norm_backward = {
    .name = "norm_backward",
    .entry = offsetof(di_backend, norm_backward),
    .drop = DY,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_backward,
    .run = run_backward,
    .limit = limit_backward,
    .cost = cost,
};

typedef struct ctx {
    di_device *dev;
    di_norm_args a;
    di_mat w;
} ctx;

static double loss(void *p, double *size)
{
    ctx *c = p;

    c->dev->ops->norm_forward(c->dev, &c->a);
    return inner(&c->w, &c->a.y, size);
}

static void gradient(void **state)
{
    static const int64_t shapes[][2] = {{1, 9}, {4, 16}}; /* groups, D */
    di_device dev;

    (void)state;
    assert_true(open_device("ref", DI_F32, 1, &dev));
    for (int i = 0; i < 2; i++) {
        di_rng r = di_rng_make(5, DI_RNG_TEXT_ORDER, (uint32_t)i);
        int64_t g = shapes[i][0], d = shapes[i][1];
        di_mat w = normals(1, d, 1, &r), rstd = new_mat(DI_F32, 7, g, g);
        ctx c = {.dev = &dev, .w = normals(7, g * d, 1, &r)};

        c.a = (di_norm_args){.x = normals(7, g * d, 1, &r),
                             .y = new_mat(DI_F32, 7, g * d, g * d),
                             .w = w.data,
                             .rstd = rstd.data,
                             .groups = g,
                             .eps = 1e-5f,
                             .dy = c.w,
                             .dx = new_mat(DI_F32, 7, g * d, g * d)};
        dev.ops->norm_forward(&dev, &c.a);
        dev.ops->norm_backward(&dev, &c.a);
        check_gradient("norm", loss, &c, &c.a.x, &c.a.dx);
        free_mat(&w), free_mat(&rstd), free_mat(&c.w), free_mat(&c.a.x), free_mat(&c.a.y);
        free_mat(&c.a.dx);
    }
    di_device_close(&dev);
}

/* Numbers by hand: x = (3, 4), w = (2, -1), eps 12.25 makes 1/rstd = sqrt(12.5 + 12.25) = 4.974937.
 */
static void by_hand(void **state)
{
    static const char *const names[] = {"ref", "cpu"};
    const double root = sqrt(24.75);

    (void)state;
    for (int k = 0; k < 2; k++) {
        float x[2] = {3, 4}, w[2] = {2, -1}, y[2] = {10, 20}, rstd[1], dy[2] = {1, 3},
              dx[2] = {5, 6};
        di_norm_args a = {.x = {x, DI_F32, 1, 2, 2},
                          .y = {y, DI_F32, 1, 2, 2},
                          .w = w,
                          .rstd = rstd,
                          .groups = 1,
                          .eps = 12.25f,
                          .add = 1,
                          .dy = {dy, DI_F32, 1, 2, 2},
                          .dx = {dx, DI_F32, 1, 2, 2}};
        double mean = (2 * 3 / root - 3 * 4 / root) / 2; /* of gy xh, gy = (2, -3) */
        di_device dev;

        assert_true(open_device(names[k], DI_F32, 1, &dev));
        dev.ops->norm_forward(&dev, &a);
        dev.ops->norm_backward(&dev, &a);
        assert_true(fabs((double)rstd[0] - 1 / root) < 4 * E);
        assert_true(fabs((double)y[0] - (10 + 6 / root)) < 16 * E);
        assert_true(fabs((double)y[1] - (20 - 4 / root)) < 32 * E);
        assert_true(fabs((double)dx[0] - (5 + (2 - 3 / root * mean) / root)) < 16 * E);
        assert_true(fabs((double)dx[1] - (6 + (-3 - 4 / root * mean) / root)) < 16 * E);
        di_device_close(&dev);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(norm_forward, value), OP_TEST(norm_forward, drop),   OP_TEST(norm_forward, rows),
        OP_TEST(norm_forward, dtype), OP_TEST(norm_backward, value), OP_TEST(norm_backward, drop),
        OP_TEST(norm_backward, rows), OP_TEST(norm_backward, dtype), cmocka_unit_test(gradient),
        cmocka_unit_test(by_hand),
    };

    if (argc > 1) return op_perf(&norm_forward, argv[1]) | op_perf(&norm_backward, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
