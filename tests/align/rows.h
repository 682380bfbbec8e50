/*
 * What tests of alignment methods share: rows of both domains, a method on them, gradients against
 * differences, golden values of tests/fixtures/align, and properties that every distance has.
 *
 * Differences, as in tests/tensor/grad.h: along a direction u, |u_j| <= 1, with h = 2^-6,
 *
 *     (8 (L(x+hu) - L(x-hu)) - (L(x+2hu) - L(x-2hu))) / 12h  =  <dL/dx, u>  +  h^4 L^(5) / 30
 *
 * Rows and directions lie on grids on which x + hu is exact in f32, so the only error of L is that
 * of its products, rounded to f32: E times the magnitudes that L is made of, `size`. Hence
 *
 *     limit = 18/(12h) E size + h^4/30 L^(5) + E sum |dx_j u_j|,     18/(12h) = 96
 *
 * The middle term is at most 2e-9 L^(5); 1e-6 size stands for it, which allows for fifth
 * derivatives of 500 times the size. A wrong sign, factor or index is far larger.
 */
#ifndef DIAL_TEST_ALIGN_ROWS_H
#define DIAL_TEST_ALIGN_ROWS_H

#include "test.h"

#include <math.h>

#include "align/methods.h"
#include "base/rng.h"
#include "model/device.h"
#include "model/safetensors.h"

#define E 0x1p-24
enum { WIDE = 24, MOST = 48 }; /* columns and rows of the largest problem here */

typedef struct rows {
    int64_t c, n_s, n_t;
    float x[MOST * WIDE], dx[MOST * WIDE];
    float margin[MOST], dmargin[MOST];
    int pairs; /* rows are pair differences with margins */
    int held;  /* margins are constants of the loss */
} rows;

static inline di_align_rows view(const rows *r)
{
    return (di_align_rows){r->x, r->n_s, r->n_t, r->pairs ? r->margin : NULL};
}

/* Multiples of 2^-10 below 8 in size, near normal; the target is narrower and shifted by 1/2. */
static inline float on_grid(double x)
{
    return (float)(rint(fmax(-7.9, fmin(7.9, x)) * 1024) / 1024);
}

static inline rows random_rows(int64_t n_s, int64_t n_t, int64_t c, uint32_t which)
{
    di_rng g = di_rng_make(11, DI_RNG_TEXT_ORDER, which);
    rows r = {.c = c, .n_s = n_s, .n_t = n_t};

    for (int64_t i = 0; i < (n_s + n_t) * c; i++)
        r.x[i] = on_grid(i < n_s * c ? di_rng_normal(&g) : 0.5 + 0.7 * di_rng_normal(&g));
    return r;
}

static inline void fit(di_align *a, const rows *r)
{
    di_align_rows v = view(r);
    di_align_stats s = {0};

    if (a->method->fit != NULL) a->method->fit(a, &v, &s);
}

static inline double loss_of(di_align *a, const rows *r)
{
    di_align_rows v = view(r);
    di_align_stats s = {0};

    a->method->gradient(a, &v, 1, NULL, NULL, &s);
    return s.loss;
}

/* Every entry times a power of 2: exact. */
static inline rows times(const rows *r, float by)
{
    rows out = *r;

    for (int64_t i = 0; i < (r->n_s + r->n_t) * r->c; i++) out.x[i] *= by;
    return out;
}

/* Loss; gradients, at weight lambda, into r. */
static inline double run(di_align *a, rows *r, double lambda)
{
    di_align_rows v = view(r);
    di_align_stats s = {0};

    memset(r->dx, 0, sizeof r->dx);
    memset(r->dmargin, 0, sizeof r->dmargin);
    a->method->gradient(a, &v, lambda, r->dx, r->pairs ? r->dmargin : NULL, &s);
    return s.loss;
}

/*
 * A method with gain g on rows x is the same without on rows g x, to the factor `unit`; so is its
 * gradient, times g. Limit: rounding of L and of dx.
 */
static inline void check_gain(di_align *gained, di_align *plain, const rows *r, float g,
                              double unit, double size)
{
    rows x = *r, wide = times(r, g);
    double want;

    fit(gained, &x);
    fit(plain, &wide);
    want = unit * run(plain, &wide, 1);
    assert_true(fabs(run(gained, &x, 1) - want) <= 32 * E * size && want != 0);
    for (int64_t i = 0; i < (r->n_s + r->n_t) * r->c; i++) {
        double dx = unit * (double)g * (double)wide.dx[i];

        if (fabs((double)x.dx[i] - dx) > 32 * E * size)
            fail_msg("dx[%lld] is %g, expected %g", (long long)i, (double)x.dx[i], dx);
    }
}

static inline double loss_along(di_align *a, const rows *r, const rows *u, double h)
{
    rows moved = *r;

    for (int64_t i = 0; i < (r->n_s + r->n_t) * r->c; i++)
        moved.x[i] = (float)((double)r->x[i] + h * (double)u->x[i]);
    for (int64_t i = 0; i < r->n_s + r->n_t; i++)
        moved.margin[i] = (float)((double)r->margin[i] + h * (double)u->margin[i]);
    return loss_of(a, &moved);
}

/*
 * The gradient at r, after a fit, against differences in four directions; `share` of it, where past
 * rows of a queue stand for the other half.
 */
static inline void check_gradient(const char *name, di_align *a, rows *r, double size, double share)
{
    const double h = 0x1p-6;
    di_rng g = di_rng_make(12, DI_RNG_TEXT_ORDER, 0);

    fit(a, r);
    run(a, r, 1);
    for (int k = 0; k < 4; k++) {
        rows u = {.c = r->c};
        double want = 0, rounded = 0, got;

        for (int64_t i = 0; i < (r->n_s + r->n_t) * r->c; i++) {
            u.x[i] = (float)rint(16 * (2 * di_rng_uniform(&g) - 1)) / 16;
            want += share * (double)r->dx[i] * (double)u.x[i];
            rounded += fabs((double)r->dx[i] * (double)u.x[i]);
        }
        for (int64_t i = 0; r->pairs && !r->held && i < r->n_s + r->n_t; i++) {
            u.margin[i] = (float)rint(16 * (2 * di_rng_uniform(&g) - 1)) / 16;
            want += share * (double)r->dmargin[i] * (double)u.margin[i];
            rounded += fabs((double)r->dmargin[i] * (double)u.margin[i]);
        }
        got = (8 * (loss_along(a, r, &u, h) - loss_along(a, r, &u, -h)) -
               (loss_along(a, r, &u, 2 * h) - loss_along(a, r, &u, -2 * h))) /
              (12 * h);
        if (!(fabs(got - want) <= 96 * E * size + 1e-6 * size + E * rounded))
            fail_msg("%s, direction %d: differences give %.9g, the gradient %.9g, limit %.3g", name,
                     k, got, want, 96 * E * size + 1e-6 * size + E * rounded);
    }
}

/* Symmetric pair differences: m_s and m_t of them, each with its negation, and margins. */
static inline rows random_pairs(int64_t m_s, int64_t m_t, int64_t c, uint32_t which)
{
    rows r = random_rows(2 * m_s, 2 * m_t, c, which);
    di_rng g = di_rng_make(13, DI_RNG_TEXT_ORDER, which);

    r.pairs = 1;
    for (int side = 0; side < 2; side++) {
        int64_t m = side == 0 ? m_s : m_t, first = side == 0 ? 0 : 2 * m_s;

        for (int64_t i = 0; i < m; i++) {
            r.margin[first + i] = on_grid(di_rng_normal(&g));
            r.margin[first + m + i] = -r.margin[first + i];
            for (int64_t j = 0; j < c; j++)
                r.x[(first + m + i) * c + j] = -r.x[(first + i) * c + j];
        }
    }
    return r;
}

/* Source and target exchanged. */
static inline rows exchanged(const rows *r)
{
    rows x = {.c = r->c, .n_s = r->n_t, .n_t = r->n_s, .pairs = r->pairs};
    size_t s = (size_t)(r->n_s * r->c) * sizeof(float), t = (size_t)(r->n_t * r->c) * sizeof(float);

    memcpy(x.x, r->x + r->n_s * r->c, t);
    memcpy(x.x + r->n_t * r->c, r->x, s);
    memcpy(x.dx, r->dx + r->n_s * r->c, t);
    memcpy(x.dx + r->n_t * r->c, r->dx, s);
    return x;
}

/* A distance does not know which side is which; lambda scales the gradient and not the loss. */
static inline void check_symmetry(di_align *a, rows *r, double size)
{
    rows other = exchanged(r), back;

    fit(a, r);
    run(a, r, 1);
    if (!(fabs(run(a, &other, 2) - loss_of(a, r)) <= 32 * E * size))
        fail_msg("%s: %.9g and %.9g with the sides exchanged", a->method->name, loss_of(a, r),
                 run(a, &other, 2));
    back = exchanged(&other);
    for (int64_t i = 0; i < (r->n_s + r->n_t) * r->c; i++)
        if (!(fabs((double)back.dx[i] - 2 * (double)r->dx[i]) <= 64 * E * size))
            fail_msg(
                "%s: element %lld of the gradient is %.9g, and %.9g at lambda 2 with the sides "
                "exchanged",
                a->method->name, (long long)i, (double)r->dx[i], (double)back.dx[i]);
}

/* Equal sets: loss `want`, and dS = -dT if opposite, else dS = dT. */
static inline void check_equal_sets(di_align *a, int64_t n, int64_t c, double want, int opposite,
                                    double size)
{
    rows r = random_rows(n, n, c, 77);

    memcpy(r.x + n * c, r.x, (size_t)(n * c) * sizeof(float));
    fit(a, &r);
    if (!(fabs(run(a, &r, 1) - want) <= 32 * E * size))
        fail_msg("%s: equal sets give %.9g, expected %.9g", a->method->name, run(a, &r, 1), want);
    for (int64_t i = 0; i < n * c; i++)
        if (!(fabs((double)r.dx[i] + (opposite ? 1 : -1) * (double)r.dx[n * c + i]) <=
              64 * E * size))
            fail_msg("%s: equal sets have gradients %.9g and %.9g at element %lld", a->method->name,
                     (double)r.dx[i], (double)r.dx[n * c + i], (long long)i);
}

/* State of a, saved and loaded into b (made alike), goes on with the same bits. */
static inline void check_state(di_align *a, di_align *b, rows *r)
{
    di_align_tensor x[16], y[16];
    const di_align_method *m = a->method;
    rows first = *r, second = *r, other = random_rows(r->n_s, r->n_t, r->c, 78);
    json_t *state;
    dial_error err;
    int n;

    fit(a, &other);
    run(a, &other, 1);
    state = m->save(a);
    n = m->tensors(a, x, 16);
    assert_int_equal(m->tensors(b, y, 16), n);
    for (int i = 0; i < n; i++) {
        size_t bytes = (size_t)(x[i].rows * (x[i].cols > 0 ? x[i].cols : 1)) * sizeof(float);

        assert_string_equal(x[i].name, y[i].name);
        memcpy(y[i].theta, x[i].theta, bytes);
        if (x[i].m != NULL) memcpy(y[i].m, x[i].m, bytes);
        if (x[i].v != NULL) memcpy(y[i].v, x[i].v, bytes);
    }
    assert_ok(m->load(b, state, "state", &err), err);
    json_decref(state);
    fit(a, &first);
    fit(b, &second);
    assert_true(run(a, &first, 1) == run(b, &second, 1));
    assert_memory_equal(first.dx, second.dx, sizeof first.dx);
    assert_memory_equal(first.dmargin, second.dmargin, sizeof first.dmargin);
}

/* Golden values. */
typedef struct golden {
    di_st f;
} golden;

static inline golden open_golden(void)
{
    golden g;
    dial_error err;

    assert_ok(
        di_st_open(di_alloc_default(), TEST_DIR "/fixtures/align/align.safetensors", &g.f, &err),
        err);
    return g;
}

static inline void golden_read(const golden *g, const char *name, float *dst, int64_t n)
{
    dial_error err;

    assert_ok(di_st_read_f32(&g->f, "align", name, dst, n, &err), err);
}

static inline rows golden_rows(const golden *g)
{
    rows r = {.c = 11, .n_s = 7, .n_t = 5};

    golden_read(g, "s", r.x, r.n_s * r.c);
    golden_read(g, "t", r.x + r.n_s * r.c, r.n_t * r.c);
    return r;
}

/* Pair differences with their negations, four of the source and three of the target. */
static inline rows golden_pairs(const golden *g)
{
    rows r = {.c = 11, .n_s = 8, .n_t = 6, .pairs = 1};

    golden_read(g, "pairs.s", r.x, r.n_s * r.c);
    golden_read(g, "pairs.t", r.x + r.n_s * r.c, r.n_t * r.c);
    golden_read(g, "pairs.margin", r.margin + r.n_s, r.n_t);
    for (int64_t i = 0; i < r.n_s; i++) r.margin[i] = i < 4 ? 1 : -1; /* any: labels count */
    return r;
}

/*
 * Loss and gradients after a fit are those of `name`. Both sides are rounded to f32 once; products
 * add E times what they are made of.
 */
static inline void check_golden(const golden *g, const char *name, di_align *a, rows *r,
                                double size)
{
    float want[MOST * WIDE];
    char key[96];
    double loss;

    fit(a, r);
    loss = run(a, r, 1);
    golden_read(g, name, want, 1);
    if (!(fabs(loss - (double)want[0]) <= 16 * E * size))
        fail_msg("%s: expected %.9g, found %.9g", name, (double)want[0], loss);
    snprintf(key, sizeof key, "%s.ds", name);
    golden_read(g, key, want, r->n_s * r->c);
    snprintf(key, sizeof key, "%s.dt", name);
    golden_read(g, key, want + r->n_s * r->c, r->n_t * r->c);
    for (int64_t i = 0; i < (r->n_s + r->n_t) * r->c; i++)
        if (!(fabs((double)r->dx[i] - (double)want[i]) <= 16 * E * size))
            fail_msg("%s: element %lld of the gradient: expected %.9g, found %.9g", name,
                     (long long)i, (double)want[i], (double)r->dx[i]);
}

/* Every test runs on ref, whose sums are f64, and on cpu. */
#define ON_EACH(name)                                                                              \
    static void name##_ref(void **state)                                                           \
    {                                                                                              \
        (void)state;                                                                               \
        name("ref");                                                                               \
    }                                                                                              \
    static void name##_cpu(void **state)                                                           \
    {                                                                                              \
        (void)state;                                                                               \
        name("cpu");                                                                               \
    }

static inline void open_backend(const char *name, di_device *dev)
{
    dial_error err;

    assert_ok(di_device_open(di_alloc_default(), NULL, name, "f32", 1, dev, &err), err);
}

#endif
