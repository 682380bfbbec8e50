/* The gated MLP's elementwise half, and the tanh GELU of method.md 2.6. */
#include "grad.h"

typedef struct glu_case {
    int64_t n, f;
    di_act kind;
    int in_place, extreme; /* backward: dgu is gu; gates far outside the usual range */
    const char *why;
} glu_case;

/* clang-format off */
static const glu_case cases[] = {
    {  1,    1, DI_SILU,      0, 0, "one element"},
    {  3,   37, DI_GELU_TANH, 1, 0, "odd F: the up half starts unaligned"},
    { 67,  192, DI_SILU,      1, 0, "a small model"},
    {  9,  500, DI_GELU_TANH, 0, 0, "not a multiple of 8"},
    {  2,   40, DI_SILU,      0, 1, "gates where exp overflows"},
    {  2,   40, DI_GELU_TANH, 1, 1, "gates where tanh is 1 and z^3 large"},
    {180,  384, DI_SILU,      1, 0, "enough for a second thread"},
    {  0,  192, DI_SILU,      0, 0, "no rows: nothing written"},
};
static const glu_case perf_cases[] = {
    {1024, 1536, DI_SILU,      1, 0, "SmolLM2-135M"},
    {1024, 9216, DI_GELU_TANH, 1, 0, "Gemma-2-2B"},
};
/* clang-format on */

enum { GU, H, DH = H, DGU };

static void make_gu(problem *p, unsigned flags, di_rng *r)
{
    static const double far[] = {0, -0.0, 20, -20, 88.5, -88.5, 104, -104, 1e4, -1e4};
    const glu_case *c = p->c;
    di_mat *gu = add_arg(p, "gu", flags, p->act, c->n, 2 * c->f, r, 2);

    p->n = c->n;
    plant_column(gu, 3);
    for (int64_t n = 0; c->extreme && n < c->n; n++)
        for (int64_t i = 0; i < 10; i++) set_el(gu, n, i, far[i]);
}

static void make_forward(problem *p, di_rng *r)
{
    make_gu(p, IN | ROWS, r);
    add_arg(p, "h", OUT | ROWS, p->act, p->n, ((const glu_case *)p->c)->f, r, 0);
}

static void run_forward(di_device *dev, problem *p)
{
    dev->ops->glu_forward(dev, ((const glu_case *)p->c)->kind, &p->arg[GU].m, &p->arg[H].m);
}

/*
 * Error of the activation at z, of its value or its slope. SiLU is a product and a quotient: a few
 * roundings of itself. The tanh form subtracts tanh from 1 for z < 0, so its error is that of |z|;
 * so is that of both slopes, whose terms reach |z|. Below the smallest normal number, 2^-126, exp
 * may be 0 or that number.
 */
static double activation_error(di_act kind, double z, double value)
{
    return 16 * E * (kind == DI_SILU ? fabs(value) : fabs(z)) + 0x1p-124 * (1 + fabs(z));
}

static void limit_forward(problem *p, const problem *answer)
{
    const glu_case *c = p->c;
    const di_mat *h = &answer->arg[H].m;

    for (int64_t n = 0; n < c->n; n++)
        for (int64_t i = 0; i < c->f; i++) {
            double z = el(&p->arg[GU].m, n, i), up = fabs(el(&p->arg[GU].m, n, c->f + i));
            double value = up > 0 ? fabs(el(h, n, i)) / up : 0;

            p->arg[H].limit[n * c->f + i] =
                activation_error(c->kind, z, value) * up + unit(h->dtype) * fabs(el(h, n, i));
        }
}

static void make_backward(problem *p, di_rng *r)
{
    const glu_case *c = p->c;

    make_gu(p, IN | ROWS | (c->in_place ? OUT : 0), r);
    plant_column(add_arg(p, "dh", IN | ROWS, p->act, c->n, c->f, r, 1), 3);
    if (!c->in_place) add_arg(p, "dgu", OUT | ROWS, p->act, c->n, 2 * c->f, r, 0);
}

static void run_backward(di_device *dev, problem *p)
{
    const glu_case *c = p->c;

    dev->ops->glu_backward(dev, c->kind, &p->arg[GU].m, &p->arg[DH].m,
                           &p->arg[c->in_place ? GU : DGU].m);
}

static void limit_backward(problem *p, const problem *answer)
{
    const glu_case *c = p->c;
    int at = c->in_place ? GU : DGU;
    const di_mat *dgu = &answer->arg[at].m;

    for (int64_t n = 0; n < c->n; n++)
        for (int64_t i = 0; i < c->f; i++) {
            double z = el(&p->arg[GU].m, n, i), up = el(&p->arg[GU].m, n, c->f + i);
            double d = fabs(el(&p->arg[DH].m, n, i)), dup = fabs(el(dgu, n, c->f + i));
            double *limits = &p->arg[at].limit[n * 2 * c->f];

            limits[i] = 32 * E * d * fabs(up) * (1 + fmin(fabs(z), 32)) +
                        0x1p-124 * (1 + fabs(z)) * d * fabs(up) +
                        unit(dgu->dtype) * fabs(el(dgu, n, i));
            limits[c->f + i] =
                activation_error(c->kind, z, d > 0 ? dup / d : 0) * d + unit(dgu->dtype) * dup;
        }
}

static void cost(const problem *p, double *flop, double *bytes)
{
    *flop = 10 * (double)(p->arg[H].m.rows * p->arg[H].m.cols);
    *bytes = 0;
    for (int i = 0; i < p->n_args; i++)
        *bytes += (double)mat_bytes(&p->arg[i].m) *
                  ((p->arg[i].flags & (IN | OUT)) == (IN | OUT) ? 2 : 1);
}

static const op glu_forward = {
    .name = "glu_forward",
    .entry = offsetof(di_backend, glu_forward),
    .drop = GU,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_forward,
    .run = run_forward,
    .limit = limit_forward,
    .cost = cost,
};
static const op glu_backward = {
    .name = "glu_backward",
    .entry = offsetof(di_backend, glu_backward),
    .drop = DH,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_backward,
    .run = run_backward,
    .limit = limit_backward,
    .cost = cost,
};

typedef struct ctx {
    di_device *dev;
    di_act kind;
    di_mat gu, h, w;
} ctx;

static double loss(void *p, double *size)
{
    ctx *c = p;

    c->dev->ops->glu_forward(c->dev, c->kind, &c->gu, &c->h);
    return inner(&c->w, &c->h, size);
}

static void gradient(void **state)
{
    enum { N = 5, F = 17 };

    (void)state;
    for (int kind = DI_SILU; kind <= DI_GELU_TANH; kind++) {
        di_rng r = di_rng_make(8, DI_RNG_TEXT_ORDER, 0);
        di_mat dgu = normals(N, 2 * F, 1, &r);
        di_device dev;
        ctx c = {.dev = &dev,
                 .kind = (di_act)kind,
                 .gu = normals(N, 2 * F, 1, &r),
                 .h = normals(N, F, 1, &r),
                 .w = normals(N, F, 1, &r)};

        assert_true(open_device("ref", DI_F32, 1, &dev));
        dev.ops->glu_backward(&dev, c.kind, &c.gu, &c.w, &dgu);
        check_gradient("glu", loss, &c, &c.gu, &dgu);
        free_mat(&dgu), free_mat(&c.gu), free_mat(&c.h), free_mat(&c.w);
        di_device_close(&dev);
    }
}

/* Method.md 2.6: g and g' of the tanh form at -1, 0, 2 to nine digits. g itself from torch. */
static void gelu_table(void **state)
{
    static const float z[3] = {-1, 0, 2};
    static const double g[3] = {-0.158808009, 0, 1.954597694};
    static const double slope[3] = {-0.082964084, 0.5, 1.086099257};
    static const char *const names[] = {"ref", "cpu"};

    (void)state;
    for (int b = 0; b < 2; b++) {
        float gu[6], h[3], dgu[6], one[3] = {1, 1, 1};
        di_mat mgu = {gu, DI_F32, 3, 2, 2}, mh = {h, DI_F32, 3, 1, 1}, m1 = {one, DI_F32, 3, 1, 1};
        di_mat mdgu = {dgu, DI_F32, 3, 2, 2};
        di_device dev;

        for (int i = 0; i < 3; i++) gu[2 * i] = z[i], gu[2 * i + 1] = 1;
        assert_true(open_device(names[b], DI_F32, 1, &dev));
        dev.ops->glu_forward(&dev, DI_GELU_TANH, &mgu, &mh);
        dev.ops->glu_backward(&dev, DI_GELU_TANH, &mgu, &m1, &mdgu);
        for (int i = 0; i < 3; i++) { /* printed digits, and 16 E (1 + |z|) */
            assert_true(fabs((double)h[i] - g[i]) < 5e-10 + 16 * E * (1 + fabs((double)z[i])));
            assert_true(fabs((double)dgu[2 * i] - slope[i]) <
                        5e-10 + 16 * E * (1 + fabs((double)z[i])));
        }
        di_device_close(&dev);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(glu_forward, value),  OP_TEST(glu_forward, drop),   OP_TEST(glu_forward, rows),
        OP_TEST(glu_forward, dtype),  OP_TEST(glu_backward, value), OP_TEST(glu_backward, drop),
        OP_TEST(glu_backward, rows),  OP_TEST(glu_backward, dtype), cmocka_unit_test(gradient),
        cmocka_unit_test(gelu_table),
    };

    if (argc > 1) return op_perf(&glu_forward, argv[1]) | op_perf(&glu_backward, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
