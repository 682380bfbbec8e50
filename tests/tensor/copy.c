/* Operations without sums of their own, whose answer has one right bit pattern: copy and embed. */
#include "op.h"
#include "weight.h"

typedef struct copy_case {
    int64_t n, cols;
    int narrow_x, narrow_y, add;
    const char *why;
} copy_case;

/* clang-format off */
static const copy_case copy_cases[] = {
    {  1,   1, 0, 0, 0, "one element"},
    {  3,  37, 0, 1, 0, "to act, odd"},
    { 17, 100, 1, 0, 0, "from act"},
    { 67,  64, 1, 0, 1, "added to the stream"},
    {  5,  19, 0, 1, 1, "added in act: rounded after the sum"},
    {  4,  48, 1, 1, 1, "both act"},
    {240, 576, 0, 1, 0, "enough for a second thread"},
    {  0,  64, 0, 1, 0, "no rows: nothing written"},
};
static const copy_case copy_perf[] = {
    {1024, 576, 0, 1, 0, "stream to act"},
    {1024, 576, 1, 0, 1, "act added to the stream"},
};

typedef struct embed_case {
    int64_t n, vocab, cols;
    di_dtype stored;
    float scale;
    int map;
    const char *why;
} embed_case;

static const embed_case embed_cases[] = {
    {  1,  1,  1, DI_F32,   1, 0, "one element"},
    { 17, 50, 37, DI_F32,   1, 0, "not rounded to act"},
    { 67, 50, 64, DI_BF16,  8, 0, "scaled"},
    { 33, 50, 96, DI_Q8_0, 7.5f, 0, "quantised and scaled"},
    {  9, 20, 37, DI_F32, 3.3f, 1, "row map"},
    {  0, 50, 64, DI_BF16,  1, 0, "no rows: nothing written"},
};
static const embed_case embed_perf[] = {
    {1024, 49152, 576, DI_BF16, 1, 0, "SmolLM2-135M"},
};
/* clang-format on */

enum { X, Y, TABLE = 0, ID, EX };

/* Both are exact: a limit of 0. */
static void limit(problem *p, const problem *answer)
{
    (void)p;
    (void)answer;
}

static void make_copy(problem *p, di_rng *r)
{
    const copy_case *c = p->c;

    p->n = c->n;
    add_arg(p, "x", IN | ROWS, c->narrow_x ? p->act : DI_F32, c->n, c->cols, r, 1);
    add_arg(p, "y", OUT | ROWS | (c->add ? IN : 0), c->narrow_y ? p->act : DI_F32, c->n, c->cols, r,
            1);
}

static void run_copy(di_device *dev, problem *p)
{
    dev->ops->copy(dev, &p->arg[X].m, &p->arg[Y].m, ((const copy_case *)p->c)->add);
}

static void cost_copy(const problem *p, double *flop, double *bytes)
{
    *flop = (double)(p->arg[X].m.rows * p->arg[X].m.cols);
    *bytes = (double)mat_bytes(&p->arg[X].m) +
             (double)mat_bytes(&p->arg[Y].m) * (((const copy_case *)p->c)->add ? 2 : 1);
}

static void make_embed(problem *p, di_rng *r)
{
    const embed_case *c = p->c;
    di_mat *table = add_arg(p, "table", IN, DI_F32, c->vocab, c->cols, r, 1), *id;

    p->n = c->n;
    if (c->stored == DI_Q8_0) fill_grid(table, r);
    plant_column(table, 3);
    id = add_arg(p, "id", IN | ROWS | DENSE, DI_I32, c->n, 1, r, 0);
    for (int64_t n = 0; n < c->n; n++)
        set_el(id, n, 0,
               n == 0 ? (double)(c->vocab - 1) : (double)di_rng_below(r, (uint64_t)c->vocab));
    add_arg(p, "x", OUT | ROWS, DI_F32, c->n, c->cols, r, 0);
}

typedef struct table {
    di_weight w;
    int32_t *map;
} table;

static void prepare_embed(di_device *dev, problem *p)
{
    const embed_case *c = p->c;
    table *t = di_zalloc(di_alloc_default(), sizeof *t);

    (void)dev;
    t->map = di_new(di_alloc_default(), (size_t)c->vocab * sizeof *t->map);
    for (int64_t r = 0; r < c->vocab; r++) t->map[r] = mapped_row(r, c->vocab);
    t->w = (di_weight){store_weight(&p->arg[TABLE].m, c->stored), c->stored, c->vocab, c->cols,
                       c->map ? t->map : NULL};
    p->extra = t;
}

static void finish_embed(di_device *dev, problem *p)
{
    table *t = p->extra;

    (void)dev;
    di_free(di_alloc_default(), (void *)(uintptr_t)t->w.data);
    di_free(di_alloc_default(), t->map);
    di_free(di_alloc_default(), t);
}

static void run_embed(di_device *dev, problem *p)
{
    dev->ops->embed(dev, &((table *)p->extra)->w, p->arg[ID].m.data,
                    ((const embed_case *)p->c)->scale, &p->arg[EX].m);
}

static void cost_embed(const problem *p, double *flop, double *bytes)
{
    *flop = (double)(p->arg[EX].m.rows * p->arg[EX].m.cols);
    *bytes =
        *flop * (double)(sizeof(float) + di_dtype_block_bytes(((const embed_case *)p->c)->stored));
}

static const op copy = {
    .name = "copy",
    .entry = offsetof(di_backend, copy),
    .drop = X,
    OP_TABLE(copy_cases),
    OP_PERF(copy_perf),
    .make = make_copy,
    .run = run_copy,
    .limit = limit,
    .cost = cost_copy,
};
static const op embed = {
    .name = "embed",
    .entry = offsetof(di_backend, embed),
    .drop = TABLE,
    OP_TABLE(embed_cases),
    OP_PERF(embed_perf),
    .make = make_embed,
    .prepare = prepare_embed,
    .finish = finish_embed,
    .run = run_embed,
    .limit = limit,
    .cost = cost_embed,
};

/* Values by hand: 1 + 2^-8 lies half way between two bf16 numbers and goes to the even one. */
static void rounds_to_even(void **state)
{
    const float x[2] = {1.00390625f, 1.01171875f}; /* 1 + 1/256, 1 + 3/256 */
    static const char *const names[] = {"ref", "cpu"};

    (void)state;
    for (int b = 0; b < 2; b++) {
        uint16_t y[2];
        float e[2];
        const int32_t id[1] = {0};
        di_weight w = {x, DI_F32, 1, 2, NULL};
        di_mat mx = {(void *)(uintptr_t)x, DI_F32, 1, 2, 2}, my = {y, DI_BF16, 1, 2, 2};
        di_mat me = {e, DI_F32, 1, 2, 2};
        di_device dev;

        if (!open_device(names[b], DI_BF16, 1, &dev)) continue;
        dev.ops->copy(&dev, &mx, &my, 0);
        assert_true(y[0] == 0x3f80 && y[1] == 0x3f82); /* 1 and 1 + 4/256 */
        dev.ops->embed(&dev, &w, id, 3, &me);
        assert_true(e[0] == 3.01171875f && e[1] == 3.03515625f); /* f32: as if not bf16 */
        dev.ops->copy(&dev, &mx, &me, 1);
        assert_true(e[0] == 4.015625f && e[1] == 4.046875f); /* added */
        di_device_close(&dev);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(copy, value),  OP_TEST(copy, drop),
        OP_TEST(copy, rows),   OP_TEST(copy, dtype),
        OP_TEST(embed, value), OP_TEST(embed, drop),
        OP_TEST(embed, rows),  cmocka_unit_test(rounds_to_even),
    };

    if (argc > 1) return op_perf(&copy, argv[1]) | op_perf(&embed, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
