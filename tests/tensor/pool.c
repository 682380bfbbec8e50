/* Pooling over a forest: last row, and the mean whose f32 bits are defined. */
#include "forest.h"
#include "grad.h"

typedef struct pool_case {
    const forest *f;
    int64_t cols;
    int mean, narrow_x; /* narrow_x: token rows in act */
    const char *why;
} pool_case;

/* clang-format off */
static const pool_case cases[] = {
    {&one_token,    1, 1, 0, "one element"},
    {&singles,     37, 0, 0, "no shared rows"},
    {&singles,     37, 1, 1, "means of act"},
    {&pairs,       64, 0, 1, "shared prefixes: last rows are never shared"},
    {&three_level, 83, 0, 1, "columns that fill no vector"},
    {&pairs,       19, 1, 0, "shared prefixes count for each text"},
    {&three_level, 48, 1, 0, "paths of three segments"},
    {&no_text,     64, 1, 0, "no rows: nothing written"},
};
static const pool_case perf_cases[] = {
    {&three_level, 576, 1, 0, "mean"},
    {&three_level, 576, 0, 0, "last"},
};
/* clang-format on */

enum { X, OUTPUT };

static void make_forward(problem *p, di_rng *r)
{
    const pool_case *c = p->c;
    di_batch b = make_batch(c->f);

    p->n = b.n_rows;
    plant_column(add_arg(p, "x", IN | ROWS, c->narrow_x ? p->act : DI_F32, b.n_rows, c->cols, r, 1),
                 3);
    add_arg(p, "e", OUT | PAD, DI_F32, b.n_texts, c->cols, r, 0);
    free_batch(&b);
}

static void make_backward(problem *p, di_rng *r)
{
    const pool_case *c = p->c;
    di_batch b = make_batch(c->f);

    p->n = b.n_rows;
    plant_column(add_arg(p, "de", IN | PAD, DI_F32, b.n_texts, c->cols, r, 1), 3);
    add_arg(p, "dx", OUT | ROWS, c->narrow_x && !c->mean ? p->act : DI_F32, b.n_rows, c->cols, r,
            0);
    free_batch(&b);
}

static void prepare(di_device *dev, problem *p)
{
    di_batch *b = di_new(di_alloc_default(), sizeof *b);

    (void)dev;
    *b = make_batch(((const pool_case *)p->c)->f);
    p->extra = b;
}

static void finish(di_device *dev, problem *p)
{
    (void)dev;
    free_batch(p->extra);
    di_free(di_alloc_default(), p->extra);
}

static void run_forward(di_device *dev, problem *p)
{
    dev->ops->pool_forward(dev, p->extra, &p->arg[X].m, ((const pool_case *)p->c)->mean,
                           &p->arg[OUTPUT].m);
}

static void run_backward(di_device *dev, problem *p)
{
    dev->ops->pool_backward(dev, p->extra, &p->arg[X].m, ((const pool_case *)p->c)->mean,
                            &p->arg[OUTPUT].m);
}

/* The order of the f32 sum is part of the contract: a limit of 0. */
static void limit(problem *p, const problem *answer)
{
    (void)p;
    (void)answer;
}

/* Forward, the last row alone: as much is read as written. */
static void cost(const problem *p, double *flop, double *bytes)
{
    const di_mat *x = &p->arg[X].m, *out = &p->arg[OUTPUT].m;
    int last = !((const pool_case *)p->c)->mean && x->rows > out->rows;

    *flop = (double)(p->n * x->cols);
    *bytes = (double)(mat_bytes(last ? out : x) + mat_bytes(out));
}

static const op pool_forward = {
    .name = "pool_forward",
    .entry = offsetof(di_backend, pool_forward),
    .drop = X,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_forward,
    .prepare = prepare,
    .finish = finish,
    .run = run_forward,
    .limit = limit,
    .cost = cost,
};
static const op pool_backward = {
    .name = "pool_backward",
    .entry = offsetof(di_backend, pool_backward),
    .drop = X,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_backward,
    .prepare = prepare,
    .finish = finish,
    .run = run_backward,
    .limit = limit,
    .cost = cost,
};

/* A text's e is the same alone and in company; the mean is the f32 sum by position. */
static void unsharing_changes_nothing(void **state)
{
    static const char *const names[] = {"ref", "cpu"};

    (void)state;
    for (int k = 0; k < 2 * (int)(sizeof cases / sizeof *cases); k++) {
        int64_t rows[2048];
        pool_case c = cases[k / 2], alone = c;
        forest f = unshare(c.f, rows);
        di_device dev;
        problem p, q, a, b;

        alone.f = &f;
        assert_true(open_device(names[k % 2], DI_F32, 1, &dev));
        p = make_problem(&pool_forward, &cases[k / 2], DI_F32, 0);
        q = copy_problem(&p, rows, forest_rows(&f), 0);
        q.c = &alone;
        a = run_problem(&pool_forward, &dev, &p);
        b = run_problem(&pool_forward, &dev, &q);
        for (int64_t t = 0, at = 0; t < a.arg[OUTPUT].m.rows; at += f.segment[t].rows, t++) {
            float sum = 0;

            assert_true(same_bits(&a.arg[OUTPUT].m, t, &b.arg[OUTPUT].m, t));
            for (int64_t n = 0; n < f.segment[t].rows; n++)
                sum = c.mean ? sum + (float)el(&q.arg[X].m, at + n, 0)
                             : (float)el(&q.arg[X].m, at + n, 0);
            assert_true(el(&a.arg[OUTPUT].m, t, 0) ==
                        (double)(c.mean ? sum / (float)f.segment[t].rows : sum));
        }
        free_problem(&p), free_problem(&q), free_problem(&a), free_problem(&b);
        di_device_close(&dev);
    }
}

/* Pooling is linear: <de, pool(x)> = <pool_backward(de), x>, but for the rounding of f32 sums. */
static void backward_is_transposed(void **state)
{
    di_device dev;

    (void)state;
    assert_true(open_device("ref", DI_F32, 1, &dev));
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        problem f = make_problem(&pool_forward, &cases[i], DI_F32, 0);
        problem b = make_problem(&pool_backward, &cases[i], DI_F32, 0);
        problem fa = run_problem(&pool_forward, &dev, &f),
                ba = run_problem(&pool_backward, &dev, &b);
        double size = 0, left = inner(&b.arg[X].m, &fa.arg[OUTPUT].m, &size);
        double right = inner(&f.arg[X].m, &ba.arg[OUTPUT].m, &size);

        if (!(fabs(left - right) <= sum_error(200) * size))
            fail_msg("row %d: <de, e> = %.9g, <dx, x> = %.9g", i, left, right);
        free_problem(&f), free_problem(&b), free_problem(&fa), free_problem(&ba);
    }
    di_device_close(&dev);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(pool_forward, value),
        OP_TEST(pool_forward, drop),
        OP_TEST(pool_forward, dtype),
        OP_TEST(pool_backward, value),
        OP_TEST(pool_backward, drop),
        cmocka_unit_test(unsharing_changes_nothing),
        cmocka_unit_test(backward_is_transposed),
    };

    if (argc > 1) return op_perf(&pool_forward, argv[1]) | op_perf(&pool_backward, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
