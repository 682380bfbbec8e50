/* Rotary positions, there and back. */
#include "grad.h"

typedef struct rope_case {
    int64_t n, heads, d;
    int inverse;
    const char *why;
} rope_case;

/* clang-format off */
static const rope_case cases[] = {
    {  1,  1,   2, 0, "one row, one angle"},
    {  3,  2,   6, 1, "odd half: no multiple of any lane count"},
    { 67,  9,  64, 0, "a small model"},
    { 33,  3, 128, 1, "larger heads, inverse"},
    {  5,  2, 256, 0, "Gemma's heads"},
    {  7,  3,  22, 0, "half of 11"},
    {240,  9,  64, 0, "enough for a second thread"},
    {  0,  9,  64, 0, "no rows: nothing written"},
};
static const rope_case perf_cases[] = {
    {1024, 12,  64, 0, "SmolLM2-135M q and k"},
    {1024, 12, 256, 0, "Gemma-2-2B q and k"},
};
/* clang-format on */

enum { X, POSITION, TABLE, LENGTH = 300 };

/* Rows come in any order of positions; the table holds cos and sin of position * 10000^(-2i/D). */
static void make(problem *p, di_rng *r)
{
    const rope_case *c = p->c;
    di_mat *position, *table;

    p->n = c->n;
    plant_column(add_arg(p, "x", IN | OUT | ROWS, p->act, c->n, c->heads * c->d, r, 1), 3);
    position = add_arg(p, "position", IN | ROWS | DENSE, DI_I32, c->n, 1, r, 0);
    for (int64_t n = 0; n < c->n; n++)
        set_el(position, n, 0, n == 0 ? LENGTH - 1 : (double)di_rng_below(r, LENGTH));
    table = add_arg(p, "table", IN, DI_F32, LENGTH, c->d, r, 0);
    for (int64_t i = 0; i < c->d / 2; i++) {
        double freq = pow(10000, -2 * (double)i / (double)c->d);

        for (int64_t t = 0; t < LENGTH; t++) {
            set_el(table, t, i, cos((double)t * freq));
            set_el(table, t, c->d / 2 + i, sin((double)t * freq));
        }
    }
}

static void run(di_device *dev, problem *p)
{
    const rope_case *c = p->c;

    dev->ops->rope(dev, &p->arg[X].m, p->arg[POSITION].m.data, p->arg[TABLE].m.data, c->heads, c->d,
                   c->inverse);
}

/* Two products, one sum, each rounded or fused. */
static void limit(problem *p, const problem *answer)
{
    const rope_case *c = p->c;
    const di_mat *x = &p->arg[X].m, *y = &answer->arg[X].m;

    for (int64_t n = 0; n < c->n; n++)
        for (int64_t j = 0; j < x->cols; j++) {
            int64_t i = j % c->d % (c->d / 2),
                    other = j % c->d < c->d / 2 ? j + c->d / 2 : j - c->d / 2;
            int64_t t = (int64_t)el(&p->arg[POSITION].m, n, 0);
            double cosine = el(&p->arg[TABLE].m, t, i),
                   sine = el(&p->arg[TABLE].m, t, c->d / 2 + i);

            p->arg[X].limit[n * x->cols + j] =
                2 * E * (fabs(el(x, n, j) * cosine) + fabs(el(x, n, other) * sine)) +
                unit(y->dtype) * fabs(el(y, n, j));
        }
}

static void cost(const problem *p, double *flop, double *bytes)
{
    *flop = 3 * (double)(p->arg[X].m.rows * p->arg[X].m.cols);
    *bytes = 2 * (double)mat_bytes(&p->arg[X].m);
}

static const op rope = {
    .name = "rope",
    .entry = offsetof(di_backend, rope),
    .drop = X,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make,
    .run = run,
    .limit = limit,
    .cost = cost,
};

/* A rotation by hand, and its gradient: the transposed rotation, <R x, y> = <x, R^-1 y>. */
static void rotates(void **state)
{
    enum { N = 2, D = 4 };
    const int32_t position[N] = {0, 1};
    const float table[2 * D] = {1, 1, 0, 0, 0.6f, 0.28f, 0.8f, 0.96f};
    di_rng r = di_rng_make(4, DI_RNG_TEXT_ORDER, 0);
    di_mat x = normals(N, D, 1, &r), y = normals(N, D, 1, &r), rx = normals(N, D, 1, &r);
    double size = 0, forward, backward;
    di_device dev;

    (void)state;
    assert_true(open_device("ref", DI_F32, 1, &dev));
    memcpy(rx.data, x.data, mat_bytes(&x));
    dev.ops->rope(&dev, &rx, position, table, 1, D, 0);
    assert_true(same_bits(&x, 0, &rx, 0)); /* position 0 stays */
    assert_true(fabs(el(&rx, 1, 0) - (0.6 * el(&x, 1, 0) - 0.8 * el(&x, 1, 2))) < 1e-6);
    assert_true(fabs(el(&rx, 1, 3) - (0.28 * el(&x, 1, 3) + 0.96 * el(&x, 1, 1))) < 1e-6);
    forward = inner(&rx, &y, &size);
    dev.ops->rope(&dev, &y, position, table, 1, D, 1);
    backward = inner(&x, &y, &size);
    assert_true(fabs(forward - backward) <= 8 * E * size);
    free_mat(&x), free_mat(&y), free_mat(&rx);
    di_device_close(&dev);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(rope, value), OP_TEST(rope, drop),       OP_TEST(rope, rows),
        OP_TEST(rope, dtype), cmocka_unit_test(rotates),
    };

    if (argc > 1) return op_perf(&rope, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
