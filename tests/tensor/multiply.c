/* Products among the rows of a step. */
#include "op.h"

typedef struct multiply_case {
    int64_t n, k, m;
    int turned, add;
    const char *why;
} multiply_case;

/* clang-format off */
static const multiply_case cases[] = {
    {  1,    1,   1, 0, 0, "one product"},
    {  1,    1,   1, 1, 1, "one product, added"},
    {  3,   37,  33, 0, 1, "odd: a panel and one column"},
    {  5,   41,  31, 1, 0, "odd, less than a panel"},
    { 40,  576,  72, 1, 0, "inner products of rows"},
    { 40,   72, 576, 0, 1, "rows weighted by a matrix"},
    { 13, 2304,  40, 1, 0, "a long sum"},
    { 64,  576,  72, 1, 0, "enough for a second thread"},
    {  0,   64,  64, 1, 0, "no rows"},
};
static const multiply_case perf_cases[] = {
    { 64,  576, 544, 1, 0, "inner products with a queue of 512, SmolLM2-135M"},
    { 64,  544, 576, 0, 1, "and back"},
    {256, 2304, 768, 1, 0, "the same in a large step, C = 2304"},
    {256,  768, 2304, 0, 1, "and back"},
};
/* clang-format on */

enum { A, B, Y };

static void make(problem *p, di_rng *r)
{
    const multiply_case *c = p->c;

    p->n = c->n;
    plant_column(add_arg(p, "a", IN | ROWS, DI_F32, c->n, c->k, r, 1), 4);
    if (c->turned)
        add_arg(p, "b", IN | PAD, DI_F32, c->m, c->k, r, 1);
    else
        add_arg(p, "b", IN | PAD, DI_F32, c->k, c->m, r, 1);
    add_arg(p, "y", (c->add ? IN : 0) | OUT | ROWS, DI_F32, c->n, c->m, r, 1);
}

static size_t work_bytes(di_device *dev, const problem *p)
{
    const multiply_case *c = p->c;

    return dev->ops->multiply_bytes(dev, c->m, c->k);
}

static void run(di_device *dev, problem *p)
{
    const multiply_case *c = p->c;

    dev->ops->multiply(dev, &p->arg[A].m, &p->arg[B].m, c->turned, &p->arg[Y].m, c->add, p->extra);
}

/* A sum of K products and what y held, and one rounding of each answer. */
static void limit(problem *p, const problem *answer)
{
    const multiply_case *c = p->c;

    for (int64_t i = 0; i < c->n; i++)
        for (int64_t j = 0; j < c->m; j++) {
            double sum = c->add ? fabs(el(&p->arg[Y].m, i, j)) : 0;

            for (int64_t k = 0; k < c->k; k++)
                sum += fabs(el(&p->arg[A].m, i, k) *
                            (c->turned ? el(&p->arg[B].m, j, k) : el(&p->arg[B].m, k, j)));
            p->arg[Y].limit[i * c->m + j] =
                sum_error(c->k + c->add) * sum + unit(DI_F32) * fabs(el(&answer->arg[Y].m, i, j));
        }
}

static void cost(const problem *p, double *flop, double *bytes)
{
    const multiply_case *c = p->c;

    *flop = 2 * (double)(c->n * c->m * c->k);
    *bytes = 4 * (double)(c->n * c->k + c->k * c->m + c->n * c->m);
}

static const op multiply = {
    .name = "multiply",
    .entry = offsetof(di_backend, multiply),
    .drop = A,
    .f32_only = 1,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make,
    .work_bytes = work_bytes,
    .run = run,
    .limit = limit,
    .cost = cost,
};

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(multiply, value),
        OP_TEST(multiply, drop),
        OP_TEST(multiply, rows),
    };

    if (argc > 1) return op_perf(&multiply, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
