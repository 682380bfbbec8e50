/*
 * Products with frozen weights: packing from stored dtypes, parts, row order, both directions, and
 * in 8 bits.
 */
#include "grad.h"
#include "weight.h"

enum { MAX_PARTS = 3 };

typedef struct linear_case {
    int64_t n, in, out[MAX_PARTS];
    di_dtype stored;
    int narrow_y, bias, add, map, grid; /* y in act; grid: weights that bf16 holds exactly */
    const char *why;
} linear_case;

/* clang-format off */
static const linear_case cases[] = {
    {  1,    8, {  8},         DI_F32,  1, 0, 0, 0, 1, "one row, fewer columns than lanes"},
    {  3,   37, { 19},         DI_F32,  1, 1, 0, 0, 1, "all odd: no multiple of any tile"},
    { 67,  192, { 96, 32, 32}, DI_BF16, 1, 1, 0, 1, 1, "q k v in one product, q and k reordered"},
    { 33,  576, {200},         DI_F32,  0, 0, 1, 0, 0, "into the f32 stream; pack rounds to act"},
    { 64,   64, { 64},         DI_BF16, 0, 0, 1, 0, 1, "whole tiles"},
    {  2, 4096, { 40},         DI_BF16, 1, 0, 0, 0, 1, "a long sum"},
    { 14, 4500, { 37},         DI_F32,  1, 1, 1, 0, 1, "a sum that is cut, rounded and added"},
    {  5,   40, {4203},        DI_BF16, 0, 0, 1, 0, 1, "the same the other way, odd"},
    { 17,   96, { 33, 40},     DI_Q8_0, 1, 0, 1, 1, 1, "quantised, two parts, added"},
    {300,   64, { 48},         DI_BF16, 0, 1, 0, 0, 1, "more rows than a slab"},
    {  0,   64, { 48},         DI_BF16, 1, 0, 0, 0, 1, "no rows: nothing written"},
};
static const linear_case perf_cases[] = {
    {1024,  576, { 576, 192, 192}, DI_BF16, 1, 0, 0, 0, 1, "SmolLM2-135M q k v"},
    {1024,  576, {1536, 1536},     DI_BF16, 1, 0, 0, 0, 1, "gate, up"},
    {1024, 1536, { 576},           DI_BF16, 0, 0, 1, 0, 1, "down"},
};
/* clang-format on */

/* The weights stand last, a matrix a part. */
enum { X, Y, BIAS, PARTS };

typedef struct packed {
    di_packed *w;
    void *data[MAX_PARTS];
    int32_t *map[MAX_PARTS];
} packed;

static int64_t total_out(const linear_case *c)
{
    return c->out[0] + c->out[1] + c->out[2];
}

/* x: its last column, or dy: its last column, weighs as much as all others together. */
static void make(problem *p, di_rng *r, int backward)
{
    const linear_case *c = p->c;
    int64_t out = total_out(c), from = backward ? out : c->in, to = backward ? c->in : out;
    di_mat *x;

    p->n = c->n;
    x = add_arg(p, backward ? "dy" : "x", IN | ROWS, p->act, c->n, from, r, 1);
    plant_column(x, sqrt((double)from));
    add_arg(p, backward ? "dx" : "y", OUT | ROWS | (c->add ? IN : 0), c->narrow_y ? p->act : DI_F32,
            c->n, to, r, 1);
    add_arg(p, "bias", IN, DI_F32, 1, out, r, 1);
    for (int i = 0; i < MAX_PARTS; i++) {
        di_mat *w = add_arg(p, "w", IN, DI_F32, c->out[i], c->in, r, 1);

        if (c->grid) fill_grid(w, r);
    }
}

static void make_forward(problem *p, di_rng *r)
{
    make(p, r, 0);
}
static void make_backward(problem *p, di_rng *r)
{
    make(p, r, 1);
}

static void pack(di_device *dev, problem *p, unsigned directions)
{
    const linear_case *c = p->c;
    packed *k = di_zalloc(di_alloc_default(), sizeof *k);
    di_weight part[MAX_PARTS];
    dial_error err;
    int n = 0;

    for (; n < MAX_PARTS && c->out[n] > 0; n++) {
        k->data[n] = store_weight(&p->arg[PARTS + n].m, c->stored);
        k->map[n] = di_new(di_alloc_default(), (size_t)c->out[n] * sizeof(int32_t));
        for (int64_t r = 0; r < c->out[n]; r++) k->map[n][r] = mapped_row(r, c->out[n]);
        part[n] = (di_weight){k->data[n], c->stored, c->out[n], c->in, c->map ? k->map[n] : NULL};
    }
    assert_ok(dev->ops->linear_pack(dev, part, n, c->bias ? p->arg[BIAS].m.data : NULL, directions,
                                    &k->w, &err),
              err);
    assert_true(dev->ops->linear_bytes(k->w) > 0);
    for (int i = 0; i < n; i++) { /* the packed form does not need them */
        memset(k->data[i], 0xff, (size_t)c->out[i] * di_dtype_row_bytes(c->stored, c->in));
        di_free(di_alloc_default(), k->data[i]);
        di_free(di_alloc_default(), k->map[i]);
    }
    p->extra = k;
}

static void prepare(di_device *dev, problem *p)
{
    pack(dev, p, DI_FORWARD | DI_BACKWARD);
}

static void prepare_int8(di_device *dev, problem *p)
{
    pack(dev, p, DI_FORWARD | DI_INT8);
}

static void finish(di_device *dev, problem *p)
{
    packed *k = p->extra;

    dev->ops->linear_free(dev, k->w);
    dev->ops->linear_free(dev, NULL);
    di_free(di_alloc_default(), k);
}

static void run_forward(di_device *dev, problem *p)
{
    dev->ops->linear_forward(dev, ((packed *)p->extra)->w, &p->arg[X].m, &p->arg[Y].m,
                             ((const linear_case *)p->c)->add);
}

static void run_backward(di_device *dev, problem *p)
{
    dev->ops->linear_backward(dev, ((packed *)p->extra)->w, &p->arg[X].m, &p->arg[Y].m,
                              ((const linear_case *)p->c)->add);
}

/* W at row o, column i, whatever part and order. */
static double weight_at(const problem *p, int64_t o, int64_t i)
{
    const linear_case *c = p->c;
    int part = 0;

    while (o >= c->out[part]) o -= c->out[part++];
    return el(&p->arg[PARTS + part].m, c->map ? mapped_row(o, c->out[part]) : o, i);
}

/*
 * Operands are exact, or rounded alike; what differs is the order of a sum of `from` products, to
 * which the bias and the value before may come at any point.
 */
static void limit(problem *p, const problem *answer, int backward)
{
    const linear_case *c = p->c;
    const di_mat *x = &p->arg[X].m, *y = &answer->arg[Y].m;

    for (int64_t j = 0; j < y->cols; j++) {
        for (int64_t n = 0; n < y->rows; n++) {
            double size = 0, extra = 0;

            for (int64_t i = 0; i < x->cols; i++)
                size += fabs(el(x, n, i) * (backward ? weight_at(p, i, j) : weight_at(p, j, i)));
            if (c->bias && !backward) extra += fabs(el(&p->arg[BIAS].m, 0, j));
            if (c->add) extra += fabs(el(&p->arg[Y].m, n, j));
            p->arg[Y].limit[n * y->cols + j] =
                (sum_error(x->cols) + 2 * E) * (size + extra) + unit(y->dtype) * fabs(el(y, n, j));
        }
    }
}

static void limit_forward(problem *p, const problem *answer)
{
    limit(p, answer, 0);
}
static void limit_backward(problem *p, const problem *answer)
{
    limit(p, answer, 1);
}

/* Whole numbers, then the same steps in f32: every backend has the bits of ref. */
static void limit_int8(problem *p, const problem *answer)
{
    memset(p->arg[Y].limit, 0,
           (size_t)(answer->arg[Y].m.rows * answer->arg[Y].m.cols) * sizeof(double));
}

/* Elsewhere packing rounds the weights themselves. */
static int widens(const void *c)
{
    return ((const linear_case *)c)->grid;
}

static void cost(const problem *p, double *flop, double *bytes)
{
    const linear_case *c = p->c;
    double out = (double)total_out(c), in = (double)c->in;

    *flop = 2 * (double)c->n * in * out;
    *bytes = in * out * (double)di_act_bytes(p->act) + (double)mat_bytes(&p->arg[X].m) +
             (double)mat_bytes(&p->arg[Y].m);
}

static const op linear_forward = {
    .name = "linear_forward",
    .entry = offsetof(di_backend, linear_forward),
    .drop = X,
    .library = 1,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_forward,
    .prepare = prepare,
    .finish = finish,
    .run = run_forward,
    .limit = limit_forward,
    .widens = widens,
    .cost = cost,
};
static const op linear_backward = {
    .name = "linear_backward",
    .entry = offsetof(di_backend, linear_backward),
    .drop = X,
    .library = 1,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_backward,
    .prepare = prepare,
    .finish = finish,
    .run = run_backward,
    .limit = limit_backward,
    .widens = widens,
    .cost = cost,
};

static const op linear_int8 = {
    .name = "linear_int8",
    .entry = offsetof(di_backend, linear_forward),
    .drop = X,
    .vnni = 1,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_forward,
    .prepare = prepare_int8,
    .finish = finish,
    .run = run_forward,
    .limit = limit_int8,
    .cost = cost,
};

/* dx = dy W is the gradient of <dy, x W^T>: a bilinear form, so no differences are needed. */
static void backward_is_transposed(void **state)
{
    di_device dev;

    (void)state;
    assert_true(open_device("ref", DI_F32, 1, &dev));
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        linear_case c = cases[i];
        problem f = {.c = &c}, b = {.c = &c};
        di_rng r = di_rng_make(9, DI_RNG_TEXT_ORDER, (uint32_t)i);
        problem fa, ba;
        double left = 0, right = 0, size = 0;

        c.bias = c.add = 0;
        make(&f, &r, 0);
        make(&b, &r, 1);
        for (int k = 0; k < MAX_PARTS; k++)
            memcpy(b.arg[PARTS + k].m.data, f.arg[PARTS + k].m.data,
                   mat_bytes(&f.arg[PARTS + k].m));
        fa = run_problem(&linear_forward, &dev, &f);
        ba = run_problem(&linear_backward, &dev, &b);
        left = inner(&b.arg[X].m, &fa.arg[Y].m, &size);
        right = inner(&f.arg[X].m, &ba.arg[Y].m, &size);
        if (!(fabs(left - right) <= 2 * E * size)) /* each product is rounded once */
            fail_msg("row %d: <dy, x W^T> = %.9g, <dy W, x> = %.9g", i, left, right);
        free_problem(&f), free_problem(&b), free_problem(&fa), free_problem(&ba);
    }
    di_device_close(&dev);
}

/* ref's forward against a loop over what was stored: bias, parts, row order, rounding, addition. */
static void by_hand(void **state)
{
    (void)state;
    for (int k = 0; k < 2 * (int)(sizeof cases / sizeof *cases); k++) {
        const linear_case *c = &cases[k / 2];
        di_dtype act = k % 2 ? DI_BF16 : DI_F32;
        problem p = make_problem(&linear_forward, c, act, 0), a;
        di_device dev;

        assert_true(open_device("ref", act, 1, &dev));
        a = run_problem(&linear_forward, &dev, &p);
        for (int64_t n = 0; n < c->n; n++)
            for (int64_t o = 0; o < total_out(c); o++) {
                double want = c->bias ? el(&p.arg[BIAS].m, 0, o) : 0, got = el(&a.arg[Y].m, n, o);

                for (int64_t i = 0; i < c->in; i++) {
                    float w = (float)weight_at(&p, o, i);

                    if (act == DI_BF16) w = di_bf16_to_f32(di_f32_to_bf16(w));
                    want += el(&p.arg[X].m, n, i) * (double)w;
                }
                if (c->add) want += el(&p.arg[Y].m, n, o);
                if (!(fabs(got - want) <= unit(a.arg[Y].m.dtype) * fabs(want) + 1e-10))
                    fail_msg("row %d: y[%d, %d] is %.9g, by hand %.9g", k / 2, (int)n, (int)o, got,
                             want);
            }
        free_problem(&p), free_problem(&a);
        di_device_close(&dev);
    }
}

/* Row n of a matrix turned by the matrix of Hadamard, of its definition; returns the largest. */
static double turned(const problem *p, int weight, int64_t n, double *to)
{
    const int64_t in = ((const linear_case *)p->c)->in, whole = in / DI_INT8_BLOCK * DI_INT8_BLOCK;
    double most = 0;

    for (int64_t i = 0; i < in; i++) {
        to[i] = 0;
        for (int64_t j = i < whole ? i / DI_INT8_BLOCK * DI_INT8_BLOCK : i;
             j <= (i < whole ? i | (DI_INT8_BLOCK - 1) : i); j++) {
            double v = weight ? weight_at(p, n, j) : el(&p->arg[X].m, n, j);
            int odd = __builtin_popcountll((unsigned long long)(i & j & (DI_INT8_BLOCK - 1))) & 1;

            to[i] += i >= whole ? v : odd ? -v / 8 : v / 8;
        }
        most = fmax(most, fabs(to[i]));
    }
    return most;
}

/*
 * ref's 8 bits against the product of what was given. Half a step of x' and of W' is lost at most:
 * |sum x' w' - sum (x' + dx) (w' + dw)| <= sum |x'| s/2 + |w'| t/2 + s t / 4, and what f32 rounds
 * in a turn, a scale and a product is below 2^-18 of it all.
 */
static void int8_by_hand(void **state)
{
    (void)state;
    for (int k = 0; k < (int)(sizeof cases / sizeof *cases); k++) {
        const linear_case *c = &cases[k];
        problem p = make_problem(&linear_int8, c, DI_F32, 0), a;
        double *x = di_new(di_alloc_default(), (size_t)c->in * sizeof *x), s, t;
        double *w = di_new(di_alloc_default(), (size_t)c->in * sizeof *w);
        int64_t rows = c->n < 3 ? c->n : 3;
        di_device dev;

        assert_true(open_device("ref", DI_F32, 1, &dev));
        a = run_problem(&linear_int8, &dev, &p);
        for (int64_t o = 0; o < total_out(c); o += total_out(c) / 16 + 1) {
            s = turned(&p, 1, o, w) / 127;
            for (int64_t n = 0; n < rows; n++) {
                double want = c->bias ? el(&p.arg[BIAS].m, 0, o) : 0, lost = 0;
                double got = el(&a.arg[Y].m, n, o);

                t = turned(&p, 0, n, x) / 127;
                if (c->add) want += el(&p.arg[Y].m, n, o);
                for (int64_t i = 0; i < c->in; i++) {
                    want += el(&p.arg[X].m, n, i) * weight_at(&p, o, i);
                    lost += fabs(x[i]) * s / 2 + fabs(w[i]) * t / 2 + s * t / 4 +
                            0x1p-18 * fabs(x[i] * w[i]);
                }
                lost += 0x1p-20 * fabs(want);
                if (!(fabs(got - want) <= lost))
                    fail_msg("row %d: y[%d, %d] is %.9g, unrounded %.9g, limit %.3g", k, (int)n,
                             (int)o, got, want, lost);
            }
        }
        free_problem(&p), free_problem(&a);
        di_free(di_alloc_default(), x), di_free(di_alloc_default(), w);
        di_device_close(&dev);
    }
}

/*
 * Rows that 8 bits cannot hold: of zeros, tiny, with NaN, with infinity; and in the midst of them
 * one that is as it should be. Packed, the matrix takes a byte a number and little beside.
 */
static void int8_odd_rows(void **state)
{
    enum { WIDTH = 40, OUTPUTS = 33, N = 5 };
    float w[OUTPUTS * WIDTH], x[N * WIDTH], y[N * OUTPUTS], alone[OUTPUTS];
    di_rng r = di_rng_make(4, DI_RNG_TEXT_ORDER, 0);

    (void)state;
    for (int i = 0; i < OUTPUTS * WIDTH; i++) w[i] = (float)di_rng_normal(&r);
    for (int i = 0; i < N * WIDTH; i++) x[i] = (float)di_rng_normal(&r);
    for (int i = 0; i < WIDTH; i++) x[i] = w[i] = 0;
    for (int i = 0; i < WIDTH; i++) x[WIDTH + i] *= 0x1p-120F;
    x[2 * WIDTH + 39] = NAN;
    x[3 * WIDTH + 7] = -INFINITY;
    for (int k = 0; k < N_BACKENDS; k++) {
        di_weight part = {w, DI_F32, OUTPUTS, WIDTH, NULL};
        di_mat from = {x, DI_F32, N, WIDTH, WIDTH}, to = {y, DI_F32, N, OUTPUTS, OUTPUTS};
        di_packed *held = NULL;
        di_device dev;
        dial_error err;

        assert_true(open_backend(k, DI_F32, 1, &dev));
        assert_ok(dev.ops->linear_pack(&dev, &part, 1, NULL, DI_FORWARD | DI_INT8, &held, &err),
                  err);
        if (has_own(&linear_int8, &dev)) /* two panels of 32, scales and sums */
            assert_true(dev.ops->linear_bytes(held) <= 64 * (WIDTH + 8));
        dev.ops->linear_forward(&dev, held, &from, &to, 0);
        for (int o = 0; o < OUTPUTS; o++) {
            assert_true(y[o] == 0 && y[OUTPUTS + o] == 0);
            assert_true(!isfinite(y[2 * OUTPUTS + o]) && !isfinite(y[3 * OUTPUTS + o]));
            assert_true(o == 0 ? y[4 * OUTPUTS] == 0 : isfinite(y[4 * OUTPUTS + o]));
        }
        from = (di_mat){x + 4 * WIDTH, DI_F32, 1, WIDTH, WIDTH};
        to = (di_mat){alone, DI_F32, 1, OUTPUTS, OUTPUTS};
        dev.ops->linear_forward(&dev, held, &from, &to, 0);
        assert_memory_equal(alone, y + 4 * OUTPUTS, sizeof alone);
        dev.ops->linear_free(&dev, held);
        di_device_close(&dev);
    }
}

/* What 8 bits do not do: sums past 32 bits, and processors below AVX2 but for ref. */
static void int8_refused(void **state)
{
    static float w[DI_INT8_MOST + 1];
    di_weight wide = {w, DI_F32, 1, DI_INT8_MOST + 1, NULL}, small = {w, DI_F32, 1, 8, NULL};
    const char *set = getenv("DIAL_ISA");
    char keep[32] = "";
    di_packed *held = NULL;
    di_device dev;
    dial_error err;

    (void)state;
    for (int k = 0; k < N_BACKENDS; k++) {
        assert_true(open_backend(k, DI_F32, 1, &dev));
        assert_int_equal(
            dev.ops->linear_pack(&dev, &wide, 1, NULL, DI_FORWARD | DI_INT8, &held, &err),
            DIAL_ERR_USAGE);
        assert_null(held);
        di_device_close(&dev);
    }
    if (set != NULL) snprintf(keep, sizeof keep, "%s", set);
    setenv("DIAL_ISA", "plain", 1);
    assert_true(open_device("cpu", DI_F32, 1, &dev));
    if (has_own(&linear_int8, &dev))
        assert_int_equal(
            dev.ops->linear_pack(&dev, &small, 1, NULL, DI_FORWARD | DI_INT8, &held, &err),
            DIAL_ERR_USAGE);
    assert_null(held);
    di_device_close(&dev);
    if (set != NULL)
        setenv("DIAL_ISA", keep, 1);
    else
        unsetenv("DIAL_ISA");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(linear_forward, value),
        OP_TEST(linear_forward, drop),
        OP_TEST(linear_forward, rows),
        OP_TEST(linear_forward, dtype),
        OP_TEST(linear_backward, value),
        OP_TEST(linear_backward, drop),
        OP_TEST(linear_backward, rows),
        OP_TEST(linear_backward, dtype),
        OP_TEST(linear_int8, value),
        OP_TEST(linear_int8, drop),
        OP_TEST(linear_int8, rows),
        OP_TEST(linear_int8, dtype),
        cmocka_unit_test(backward_is_transposed),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(int8_by_hand),
        cmocka_unit_test(int8_odd_rows),
        cmocka_unit_test(int8_refused),
    };

    if (argc > 1)
        return op_perf(&linear_forward, argv[1]) | op_perf(&linear_backward, argv[1]) |
               op_perf(&linear_int8, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
