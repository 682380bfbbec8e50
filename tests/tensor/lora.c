/* LoRA pairs beside a linear layer. */
#include "grad.h"

typedef struct lora_case {
    int64_t n, in, out, r;
    int narrow_y, no_dx, tanh;
    const char *why;
} lora_case;

/* clang-format off */
static const lora_case cases[] = {
    {  1,   8,   8,  1, 1, 0, 0, "one row, rank 1"},
    {  3,  37,  19,  5, 1, 0, 0, "all odd"},
    { 67, 192,  96,  8, 1, 0, 0, "the usual rank"},
    { 40, 576,  64, 16, 0, 0, 0, "into an f32 output"},
    { 18,  64, 200, 32, 1, 0, 0, "wide rank"},
    {130,  48,  40,  8, 1, 1, 0, "long sums over rows; dx not wanted"},
    {130, 384, 384, 32, 1, 0, 0, "enough for a second thread"},
    {  0,  64,  48,  8, 1, 0, 0, "no rows: nothing written"},
    { 70,  96,  96, 20, 0, 1, 1, "tanh between the two, as the adaptor has it"},
};
static const lora_case perf_cases[] = {
    {1024,  576,  576, 8, 1, 0, 0, "SmolLM2-135M q"},
    {1024, 1536,  576, 8, 0, 0, 0, "down"},
    {1024,  576, 1536, 8, 1, 0, 0, "gate"},
};
/* clang-format on */

enum { X, A, B, U, Y, DY = Y, DX, DA, DB };
static const float scale = 1.5f;

static di_lora_args lora_args(const problem *p)
{
    return (di_lora_args){.x = p->arg[X].m,
                          .a = p->arg[A].m.data,
                          .b = p->arg[B].m.data,
                          .u = p->arg[U].m,
                          .scale = scale,
                          .tanh = ((const lora_case *)p->c)->tanh,
                          .work = p->extra};
}

static size_t work_bytes(di_device *dev, const problem *p)
{
    const lora_case *c = p->c;

    return dev->ops->lora_bytes(dev, p->n, c->in, c->out, c->r);
}

/* The last column of x (dy) weighs as much as all others. */
static void make_forward(problem *p, di_rng *r)
{
    const lora_case *c = p->c;

    p->n = c->n;
    plant_column(add_arg(p, "x", IN | ROWS, p->act, c->n, c->in, r, 1), sqrt((double)c->in));
    add_arg(p, "a", IN, DI_F32, c->r, c->in, r, 1);
    add_arg(p, "b", IN, DI_F32, c->out, c->r, r, 1);
    add_arg(p, "u", OUT | ROWS | DENSE, p->act, c->n, c->r, r, 0);
    add_arg(p, "y", IN | OUT | ROWS, c->narrow_y ? p->act : DI_F32, c->n, c->out, r, 1);
}

static void run_forward(di_device *dev, problem *p)
{
    di_lora_args a = lora_args(p);

    a.y = p->arg[Y].m;
    dev->ops->lora_forward(dev, &a);
}

/* Rounding of an operand that a backend may take in bf16. */
static double operand(const problem *p)
{
    return p->act == DI_BF16 ? 0x1p-8 : 0;
}

/*
 * u errs by the order of its sum and the operand a, and tanh (slope at most 1) by 4 E of its own; y
 * by that, by u and b as operands, and its sum.
 */
static void limit_forward(problem *p, const problem *answer)
{
    const lora_case *c = p->c;
    const di_mat *y = &answer->arg[Y].m, *u = &answer->arg[U].m;
    double *size = di_new(di_alloc_default(), (size_t)c->r * sizeof *size);

    for (int64_t n = 0; n < c->n; n++) {
        for (int64_t r = 0; r < c->r; r++) {
            size[r] = 0;
            for (int64_t i = 0; i < c->in; i++)
                size[r] += fabs(el(&p->arg[X].m, n, i) * el(&p->arg[A].m, r, i));
            p->arg[U].limit[n * c->r + r] =
                (sum_error(c->in) + operand(p)) * size[r] +
                (unit(u->dtype) + unit(DI_F32) + (c->tanh ? 4 * E : 0)) * fabs(el(u, n, r));
        }
        for (int64_t o = 0; o < c->out; o++) {
            double sum = 0;

            for (int64_t r = 0; r < c->r; r++)
                sum += (double)scale * size[r] * fabs(el(&p->arg[B].m, o, r));
            p->arg[Y].limit[n * c->out + o] =
                (sum_error(c->in) + sum_error(c->r) + 3 * operand(p) + 8 * E) * sum +
                (sum_error(c->r) + 4 * E) * fabs(el(&p->arg[Y].m, n, o)) +
                unit(y->dtype) * fabs(el(y, n, o));
        }
    }
    di_free(di_alloc_default(), size);
}

static void make_backward(problem *p, di_rng *r)
{
    const lora_case *c = p->c;

    p->n = c->n;
    plant_column(add_arg(p, "x", IN | ROWS, p->act, c->n, c->in, r, 1), sqrt((double)c->in));
    add_arg(p, "a", IN, DI_F32, c->r, c->in, r, 1);
    add_arg(p, "b", IN, DI_F32, c->out, c->r, r, 1);
    add_arg(p, "u", IN | ROWS | DENSE, p->act, c->n, c->r, r, 1);
    for (int64_t i = 0; c->tanh && i < c->n; i++)
        for (int64_t k = 0; k < c->r; k++) set_el(&p->arg[U].m, i, k, tanh(el(&p->arg[U].m, i, k)));
    plant_column(add_arg(p, "dy", IN | ROWS, p->act, c->n, c->out, r, 1), sqrt((double)c->out));
    add_arg(p, "dx", IN | OUT | ROWS, p->act, c->n, c->in, r, 1);
    add_arg(p, "da", IN | OUT, DI_F32, c->r, c->in, r, 1);
    add_arg(p, "db", IN | OUT, DI_F32, c->out, c->r, r, 1);
}

static void run_backward(di_device *dev, problem *p)
{
    di_lora_args a = lora_args(p);

    a.dy = p->arg[DY].m;
    a.da = p->arg[DA].m.data;
    a.db = p->arg[DB].m.data;
    if (!((const lora_case *)p->c)->no_dx) a.dx = p->arg[DX].m;
    dev->ops->lora_backward(dev, &a);
}

/*
 * e times the sum of magnitudes `size` of n products; the value before may be the first term of the
 * sum. One rounding in the end.
 */
static void set_limit(problem *p, const problem *answer, int at, int64_t i, int64_t j, int64_t n,
                      double e, double size)
{
    const di_mat *m = &answer->arg[at].m;

    p->arg[at].limit[i * m->cols + j] =
        e * size + (sum_error(n) + 4 * E) * (size + fabs(el(&p->arg[at].m, i, j))) +
        unit(m->dtype) * fabs(el(m, i, j));
}

/*
 * du errs by its sum and the operand b, and through tanh by 3 E for 1 - u^2 <= 1; da and dx add the
 * operand du (and a), db has the operand u. Every size below is the sum of magnitudes of the
 * products that make the element.
 */
static void limit_backward(problem *p, const problem *answer)
{
    const lora_case *c = p->c;
    double w = operand(p), eu = sum_error(c->out) + w + 5 * E;
    di_mat du = new_mat(DI_F32, c->n, c->r, c->r);

    for (int64_t n = 0; n < c->n; n++)
        for (int64_t r = 0; r < c->r; r++) {
            double sum = 0;

            for (int64_t o = 0; o < c->out; o++)
                sum += fabs((double)scale * el(&p->arg[DY].m, n, o) * el(&p->arg[B].m, o, r));
            set_el(&du, n, r, sum);
        }
    for (int64_t r = 0; r < c->r; r++) {
        for (int64_t o = 0; o < c->out; o++) {
            double sum = 0;

            for (int64_t n = 0; n < c->n; n++)
                sum += fabs((double)scale * el(&p->arg[DY].m, n, o) * el(&p->arg[U].m, n, r));
            set_limit(p, answer, DB, o, r, c->n, w, sum);
        }
        for (int64_t i = 0; i < c->in; i++) {
            double sum = 0;

            for (int64_t n = 0; n < c->n; n++) sum += el(&du, n, r) * fabs(el(&p->arg[X].m, n, i));
            set_limit(p, answer, DA, r, i, c->n, eu + w, sum);
        }
    }
    for (int64_t n = 0; n < c->n; n++)
        for (int64_t i = 0; i < c->in; i++) {
            double sum = 0;

            for (int64_t r = 0; r < c->r; r++) sum += el(&du, n, r) * fabs(el(&p->arg[A].m, r, i));
            set_limit(p, answer, DX, n, i, c->r, eu + 2 * w, sum);
        }
    free_mat(&du);
}

static void cost(const problem *p, double *flop, double *bytes)
{
    const lora_case *c = p->c;
    double rows = (double)c->n, one = 2 * rows * (double)(c->r * (c->in + c->out));

    *flop = p->n_args > DX ? 2 * one : one;
    *bytes = 0;
    for (int i = 0; i < p->n_args; i++)
        *bytes += (double)mat_bytes(&p->arg[i].m) *
                  ((p->arg[i].flags & (IN | OUT)) == (IN | OUT) ? 2 : 1);
}

static const op lora_forward = {
    .name = "lora_forward",
    .entry = offsetof(di_backend, lora_forward),
    .drop = X,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_forward,
    .work_bytes = work_bytes,
    .run = run_forward,
    .limit = limit_forward,
    .cost = cost,
};
static const op lora_backward = {
    .name = "lora_backward",
    .entry = offsetof(di_backend, lora_backward),
    .drop = DY,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_backward,
    .work_bytes = work_bytes,
    .run = run_backward,
    .limit = limit_backward,
    .cost = cost,
};

/* loss = <dy, y(x, a, b)>, y from zero. */
typedef struct ctx {
    di_device *dev;
    di_lora_args l;
} ctx;

static double loss(void *p, double *size)
{
    ctx *c = p;

    memset(c->l.y.data, 0, mat_bytes(&c->l.y));
    c->dev->ops->lora_forward(c->dev, &c->l);
    return inner(&c->l.dy, &c->l.y, size);
}

static void check_slopes(int with_tanh)
{
    enum { N = 9, C = 21, O = 13, R = 4 };
    di_rng r = di_rng_make(6, DI_RNG_TEXT_ORDER, 0);
    /* tanh: slopes of x a^T of order 1, so that the fifth derivative is what grad.h allows for */
    di_mat a = normals(R, C, with_tanh ? 0.5 : 1, &r), b = normals(O, R, 1, &r),
           u = normals(N, R, 1, &r);
    di_mat da = normals(R, C, 0, &r), db = normals(O, R, 0, &r);
    di_device dev;
    ctx c = {.dev = &dev};

    assert_true(open_device("ref", DI_F32, 1, &dev));
    c.l = (di_lora_args){.x = normals(N, C, with_tanh ? 0.2 : 1, &r),
                         .y = normals(N, O, 0, &r),
                         .dy = normals(N, O, 1, &r),
                         .dx = normals(N, C, 0, &r),
                         .a = a.data,
                         .b = b.data,
                         .da = da.data,
                         .db = db.data,
                         .u = u,
                         .scale = scale,
                         .tanh = with_tanh};
    c.l.work = dev.ops->buffer_new(&dev, dev.ops->lora_bytes(&dev, N, C, O, R));
    dev.ops->lora_forward(&dev, &c.l);
    dev.ops->lora_backward(&dev, &c.l);
    check_gradient("lora dx", loss, &c, &c.l.x, &c.l.dx);
    check_gradient("lora da", loss, &c, &a, &da);
    check_gradient("lora db", loss, &c, &b, &db);
    dev.ops->buffer_free(&dev, c.l.work);
    free_mat(&a), free_mat(&b), free_mat(&u), free_mat(&da), free_mat(&db);
    free_mat(&c.l.x), free_mat(&c.l.y), free_mat(&c.l.dy), free_mat(&c.l.dx);
    di_device_close(&dev);
}

static void gradient(void **state)
{
    (void)state;
    check_slopes(0);
    check_slopes(1);
}

/* What is there before is added to: one row, rank 1, width 1 of everything. */
static void accumulates(void **state)
{
    static const char *const names[] = {"ref", "cpu"};

    (void)state;
    for (int k = 0; k < 2; k++) {
        float x = 2, y = 100, a = 3, b = 5, u, dy = 7, dx = 1000, da = 2000, db = 3000;
        di_lora_args l = {.x = {&x, DI_F32, 1, 1, 1},
                          .y = {&y, DI_F32, 1, 1, 1},
                          .a = &a,
                          .b = &b,
                          .u = {&u, DI_F32, 1, 1, 1},
                          .dy = {&dy, DI_F32, 1, 1, 1},
                          .dx = {&dx, DI_F32, 1, 1, 1},
                          .da = &da,
                          .db = &db,
                          .scale = 0.5f};
        di_device dev;

        assert_true(open_device(names[k], DI_F32, 1, &dev));
        l.work = dev.ops->buffer_new(&dev, dev.ops->lora_bytes(&dev, 1, 1, 1, 1));
        dev.ops->lora_forward(&dev, &l);
        dev.ops->lora_backward(&dev, &l);
        assert_true(u == 6 && y == 115);       /* 2 * 3; 100 + 0.5 * 6 * 5 */
        assert_true(db == 3021 && da == 2035); /* 0.5 * 7 * 6; du = 0.5 * 7 * 5 = 17.5, du * 2 */
        assert_true(dx == 1052.5f);            /* 17.5 * 3 */
        dev.ops->buffer_free(&dev, l.work);
        di_device_close(&dev);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(lora_forward, value),  OP_TEST(lora_forward, drop),   OP_TEST(lora_forward, rows),
        OP_TEST(lora_forward, dtype),  OP_TEST(lora_backward, value), OP_TEST(lora_backward, drop),
        OP_TEST(lora_backward, rows),  OP_TEST(lora_backward, dtype), cmocka_unit_test(gradient),
        cmocka_unit_test(accumulates),
    };

    if (argc > 1) return op_perf(&lora_forward, argv[1]) | op_perf(&lora_backward, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
