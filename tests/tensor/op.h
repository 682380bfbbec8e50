/*
 * The op runner. A test file states an operation: how to make its arguments for a row of its table,
 * how to call it, and how far from the reference an answer may be. The runner then walks
 * dtype x row of the table x padding of the stride x backend, in these modes:
 *
 *   value   the backend against ref, element by element, each within its own limit
 *   drop    value with the last column of one input taken away must report a failure (the runner's
 *           own test: a limit that hides a lost column is no limit)
 *   rows    a row alone, among others, in another order, on more threads: the same bits
 *   dtype   ref in bf16 is ref in f32 rounded once
 *   perf    not a test: PROGRAM BACKEND prints GFLOP/s and GB/s at working sizes
 *
 * Gradients against finite differences are in grad.h. In all modes memory beyond the columns of a
 * strided matrix and inputs must keep their bits, and gaps hold NaN, so that reading them shows.
 *
 * Roundings: E is half a unit of f32. A sum of n products errs by less than 8 sqrt(n) E times the
 * sum of magnitudes, but for 1 case in 10^13 (Higham and Mary 2019, theorem 2.4, lambda = 8),
 * whatever the order. unit() is the distance between two answers that were each rounded once.
 */
#ifndef DIAL_TEST_OP_H
#define DIAL_TEST_OP_H

#include "test.h"

#include <math.h>
#include <time.h>

#include "base/rng.h"
#include "model/device.h"

#define E 0x1p-24
enum { IN = 1, OUT = 2, ROWS = 4, DENSE = 8, PAD = 16 };
enum { MAX_ARGS = 28, MAX_SCALARS = 2 };
enum { PAD_BY = 3 }; /* elements between rows: no multiple of a vector */

/*
 * An argument: a matrix. ROWS: its row n belongs to row n of the operation, and it may be padded
 * unless DENSE. PAD: other rows, may be padded.
 */
typedef struct arg {
    const char *name;
    unsigned flags;
    di_mat m;
    double *limit; /* [rows, cols] of an OUT, set by op.limit */
} arg;

typedef struct problem {
    const void *c; /* row of the table */
    di_dtype act;
    int64_t n, pad; /* rows of the operation; extra elements of a stride */
    int n_args, n_scalars;
    arg arg[MAX_ARGS];
    double scalar[MAX_SCALARS], scalar_limit[MAX_SCALARS];
    void *extra; /* what prepare made for run: work memory, a packed weight */
} problem;

typedef struct op op;
struct op {
    const char *name;
    size_t entry;             /* offsetof(di_backend, ...): whose function is it? */
    const void *cases, *perf; /* tables of case_size each */
    size_t case_size;
    int n_cases, n_perf;
    int drop;     /* index of the argument that loses its last column */
    int f32_only; /* the operation does not know act */
    int library;  /* a library's kernels, which DIAL_ISA does not lower: slow to set up */
    int vnni;     /* has kernels of its own for AVX-512 VNNI */
    void (*make)(problem *p, di_rng *r);
    void (*prepare)(di_device *dev, problem *p); /* fills p->extra; NULL: buffer of work_bytes */
    void (*finish)(di_device *dev, problem *p);
    size_t (*work_bytes)(di_device *dev, const problem *p); /* NULL: no work memory */
    void (*run)(di_device *dev, problem *p);
    void (*limit)(problem *p, const problem *answer); /* of ref */
    int (*widens)(const void *c);                     /* mode dtype applies; NULL: always */
    void (*cost)(const problem *p, double *flop, double *bytes);
    /* what mode rows does with one problem */
    void (*check_rows)(const op *o, di_device *dev, di_device *threaded, const problem *p);
};

static inline double unit(di_dtype t)
{
    return t == DI_BF16 ? 0x1p-7 : 0x1p-23;
}
static inline double sum_error(int64_t n)
{
    return 8 * sqrt((double)n) * E;
}

static inline size_t element_bytes(di_dtype t)
{
    return t == DI_BF16 ? 2 : 4;
}

static inline double el(const di_mat *m, int64_t i, int64_t j)
{
    int64_t at = i * m->stride + j;

    if (m->dtype == DI_BF16) return (double)di_bf16_to_f32(((const uint16_t *)m->data)[at]);
    if (m->dtype == DI_I32) return ((const int32_t *)m->data)[at];
    return (double)((const float *)m->data)[at];
}

static inline void set_el(const di_mat *m, int64_t i, int64_t j, double x)
{
    int64_t at = i * m->stride + j;

    if (m->dtype == DI_BF16)
        ((uint16_t *)m->data)[at] = di_f32_to_bf16((float)x);
    else if (m->dtype == DI_I32)
        ((int32_t *)m->data)[at] = (int32_t)x;
    else
        ((float *)m->data)[at] = (float)x;
}

static inline size_t mat_bytes(const di_mat *m)
{
    return (size_t)(m->rows * m->stride) * element_bytes(m->dtype);
}

/* A matrix on the heap; every byte 0xff, which is NaN in both dtypes. */
static inline di_mat new_mat(di_dtype t, int64_t rows, int64_t cols, int64_t stride)
{
    di_mat m = {.dtype = t, .rows = rows, .cols = cols, .stride = stride};

    m.data = di_new(di_alloc_default(), mat_bytes(&m));
    memset(m.data, 0xff, mat_bytes(&m));
    return m;
}

static inline void free_mat(di_mat *m)
{
    di_free(di_alloc_default(), m->data);
    m->data = NULL;
}

/* The next argument of p, its elements NaN (an OUT) or normal with standard deviation sd. */
static inline di_mat *add_arg(problem *p, const char *name, unsigned flags, di_dtype t,
                              int64_t rows, int64_t cols, di_rng *r, double sd)
{
    arg *a = &p->arg[p->n_args++];
    int64_t pad = (flags & (ROWS | PAD)) && !(flags & DENSE) ? p->pad : 0;

    assert_true(p->n_args <= MAX_ARGS);
    *a = (arg){.name = name, .flags = flags, .m = new_mat(t, rows, cols, cols + pad)};
    if (flags & OUT) {
        a->limit = di_new(di_alloc_default(), (size_t)(rows * cols) * sizeof(double));
        for (int64_t i = 0; i < rows * cols; i++) a->limit[i] = 0;
    }
    for (int64_t i = 0; (flags & IN) && i < rows; i++)
        for (int64_t j = 0; j < cols; j++) set_el(&a->m, i, j, sd * di_rng_normal(r));
    return &a->m;
}

/* The last column becomes x in every row, so that losing it is a large fault. */
static inline void plant_column(di_mat *m, double x)
{
    for (int64_t i = 0; i < m->rows; i++) set_el(m, i, m->cols - 1, x);
}

static inline void free_problem(problem *p)
{
    for (int i = 0; i < p->n_args; i++) {
        free_mat(&p->arg[i].m);
        di_free(di_alloc_default(), p->arg[i].limit);
    }
}

static inline problem make_problem(const op *o, const void *c, di_dtype act, int64_t pad)
{
    problem p = {.c = c, .act = act, .pad = pad};
    di_rng r = di_rng_make(20250102, DI_RNG_TEXT_ORDER,
                           (uint32_t)((const char *)c - (const char *)o->cases));

    o->make(&p, &r);
    return p;
}

/* A copy whose rows are rows[0..n) of p (n < 0: all of them), and whose bf16 is widened if asked.
 */
static inline problem copy_problem(const problem *p, const int64_t *rows, int64_t n, int widen)
{
    problem q = *p;

    if (n >= 0) q.n = n;
    if (widen) q.act = DI_F32;
    for (int i = 0; i < p->n_args; i++) {
        const di_mat *from = &p->arg[i].m;
        int pick = n >= 0 && (p->arg[i].flags & ROWS);
        di_mat to = new_mat(widen && from->dtype == DI_BF16 ? DI_F32 : from->dtype,
                            pick ? n : from->rows, from->cols, from->stride);

        if (!pick && to.dtype == from->dtype)
            memcpy(to.data, from->data, mat_bytes(from));
        else
            for (int64_t k = 0; k < to.rows; k++)
                for (int64_t j = 0; j < to.cols; j++)
                    set_el(&to, k, j, el(from, pick ? rows[k] : k, j));
        q.arg[i].m = to;
        q.arg[i].limit = NULL;
    }
    return q;
}

/* 1 if the elements of both hold the same bits; NaN equals itself. */
static inline int same_bits(const di_mat *a, int64_t i, const di_mat *b, int64_t k)
{
    size_t n = element_bytes(a->dtype);

    return memcmp((const char *)a->data + (size_t)(i * a->stride) * n,
                  (const char *)b->data + (size_t)(k * b->stride) * n, (size_t)a->cols * n) == 0;
}

/* What a call must leave alone: inputs, and everything between rows. */
static inline void check_untouched(const op *o, const problem *before, const problem *after)
{
    for (int i = 0; i < before->n_args; i++) {
        const di_mat *a = &before->arg[i].m, *b = &after->arg[i].m;
        size_t n = element_bytes(a->dtype);

        for (int64_t r = 0; r < a->rows; r++) {
            size_t at = (size_t)(r * a->stride + a->cols) * n;

            if (!(before->arg[i].flags & OUT) && !same_bits(a, r, b, r))
                fail_msg("%s: input %s, row %lld was written", o->name, before->arg[i].name,
                         (long long)r);
            if (memcmp((char *)a->data + at, (char *)b->data + at,
                       (size_t)(a->stride - a->cols) * n))
                fail_msg("%s: %s was written beyond row %lld", o->name, before->arg[i].name,
                         (long long)r);
        }
    }
}

/* Moves the arguments to the device's memory, host[] keeping their old place, and prepares. */
static inline void to_device(const op *o, di_device *dev, problem *p, void **host)
{
    for (int i = 0; i < p->n_args; i++) {
        di_mat *m = &p->arg[i].m;
        size_t size = mat_bytes(m), room = size;

        /* linear_* may use more rows than there are: NaN, which must not spread */
        if (p->arg[i].flags & ROWS)
            room =
                (size_t)(dev->ops->row_capacity(dev, p->n) * m->stride) * element_bytes(m->dtype);
        host[i] = di_resize(di_alloc_default(), m->data, room);
        memset((char *)host[i] + size, 0xff, room - size);
        m->data = dev->ops->buffer_new(dev, room);
        assert_non_null(m->data);
        dev->ops->upload(dev, m->data, host[i], room);
    }
    if (o->prepare != NULL)
        o->prepare(dev, p);
    else if (o->work_bytes != NULL)
        p->extra = dev->ops->buffer_new(dev, o->work_bytes(dev, p));
}

static inline void from_device(const op *o, di_device *dev, problem *p, void **host)
{
    if (o->finish != NULL)
        o->finish(dev, p);
    else if (o->work_bytes != NULL)
        dev->ops->buffer_free(dev, p->extra);
    for (int i = 0; i < p->n_args; i++) {
        void *buffer = p->arg[i].m.data;

        dev->ops->download(dev, host[i], buffer, mat_bytes(&p->arg[i].m));
        dev->ops->buffer_free(dev, buffer);
        p->arg[i].m.data = host[i];
    }
}

/* Runs o on copies of p's arguments; the answer is a problem to free. */
static inline problem run_problem(const op *o, di_device *dev, const problem *p)
{
    problem q = copy_problem(p, NULL, -1, 0);
    void *host[MAX_ARGS];

    to_device(o, dev, &q, host);
    o->run(dev, &q);
    from_device(o, dev, &q, host);
    check_untouched(o, p, &q);
    return q;
}

/* Elements of b that are farther from a than the limit; *worst: the largest share of a limit. */
static inline int64_t count_faults(const problem *limits, const problem *a, const problem *b,
                                   double *worst, char *what, size_t what_size)
{
    int64_t faults = 0;

    for (int i = 0; i < a->n_args; i++) {
        const di_mat *x = &a->arg[i].m, *y = &b->arg[i].m;

        if (!(a->arg[i].flags & OUT)) continue;
        for (int64_t k = 0; k < x->rows * x->cols; k++) {
            double want = el(x, k / x->cols, k % x->cols), got = el(y, k / x->cols, k % x->cols);
            double limit = limits->arg[i].limit[k], far = fabs(want - got);

            if (limit > 0 && far / limit > *worst) *worst = far / limit;
            if (far <= limit) continue;
            if (faults++ == 0)
                snprintf(what, what_size, "%s[%lld, %lld]: expected %.9g, found %.9g, limit %.3g",
                         a->arg[i].name, (long long)(k / x->cols), (long long)(k % x->cols), want,
                         got, limit);
        }
    }
    for (int i = 0; i < a->n_scalars; i++) {
        double limit = limits->scalar_limit[i], far = fabs(a->scalar[i] - b->scalar[i]);

        if (limit > 0 && far / limit > *worst) *worst = far / limit;
        if (far <= limit) continue;
        if (faults++ == 0)
            snprintf(what, what_size, "result %d: expected %.17g, found %.17g, limit %.3g", i,
                     a->scalar[i], b->scalar[i], limit);
    }
    return faults;
}

/* Opens a device; 0 if it does not compute in this dtype on this machine. */
static inline int open_device(const char *name, di_dtype act, int threads, di_device *dev)
{
    dial_error err;

    return di_device_open(di_alloc_default(), NULL, name, act == DI_BF16 ? "bf16" : "f32", threads,
                          dev, &err) == DIAL_OK;
}

/* What is tested: ref, cpu as it is here, and cpu held down to what smaller machines run. */
static const struct {
    const char *name, *isa, *text;
} backends[] = {
    {"ref", NULL, "ref"},
    {"cpu", NULL, "cpu"},
    {"cpu", "avx512-vnni", "cpu up to avx512-vnni"}, /* of an op with `vnni` alone */
    {"cpu", "avx512", "cpu up to avx512"},
    {"cpu", "avx2", "cpu up to avx2"},
};
enum { VNNI_BACKEND = 2, N_BACKENDS = sizeof backends / sizeof *backends };

static inline int open_backend(int k, di_dtype act, int threads, di_device *dev)
{
    const char *set = getenv("DIAL_ISA");
    char keep[32] = "";
    int ok;

    if (set != NULL) snprintf(keep, sizeof keep, "%s", set);
    if (backends[k].isa != NULL) setenv("DIAL_ISA", backends[k].isa, 1);
    ok = open_device(backends[k].name, act, threads, dev);
    if (set != NULL)
        setenv("DIAL_ISA", keep, 1);
    else
        unsetenv("DIAL_ISA");
    return ok;
}

/* 1 if the device has a function of its own; else it would be ref against ref. */
static inline int has_own(const op *o, const di_device *dev)
{
    return memcmp((const char *)dev->ops + o->entry, (const char *)di_ref_backend() + o->entry,
                  sizeof(void (*)(void))) != 0;
}

static inline const void *case_at(const op *o, int i)
{
    return (const char *)o->cases + (size_t)i * o->case_size;
}

/* One row of the table on both devices; returns the largest share of a limit. */
static inline double compare(const op *o, int i, di_device *ref, di_device *dev, int64_t pad,
                             const char *backend)
{
    problem p = make_problem(o, case_at(o, i), dev->act, pad);
    problem a = run_problem(o, ref, &p), b = run_problem(o, dev, &p);
    char what[256] = "";
    double worst = 0;
    int64_t faults;

    o->limit(&p, &a);
    faults = count_faults(&p, &a, &b, &worst, what, sizeof what);
    if (faults > 0)
        fail_msg("%s, row %d, %s, pad %d, %s: %lld faults; first %s", o->name, i,
                 di_dtype_name(p.act), (int)pad, backend, (long long)faults, what);
    free_problem(&p), free_problem(&a), free_problem(&b);
    return worst;
}

/* Backend k in one dtype, all rows and paddings. */
static inline void value_of(const op *o, int k, di_dtype act)
{
    di_device ref, dev;
    double worst = 0;

    if (!open_backend(k, act, 2, &dev)) {
        print_message("%s: skipped, %s has no %s here\n", o->name, backends[k].text,
                      di_dtype_name(act));
        return;
    }
    if (has_own(o, &dev)) {
        assert_true(open_device("ref", act, 1, &ref));
        for (int i = 0; i < o->n_cases; i++)
            for (int64_t pad = 0; pad <= PAD_BY; pad += PAD_BY)
                worst = fmax(worst, compare(o, i, &ref, &dev, pad, backends[k].text));
        print_message("%s %s: at most %.3f of a limit (%s: %s)\n", o->name, di_dtype_name(act),
                      worst, backends[k].text, dev.isa);
        di_device_close(&ref);
    } else {
        print_message("%s: skipped, %s uses that of ref\n", o->name, backends[k].text);
    }
    di_device_close(&dev);
}

static inline void mode_value(void **state)
{
    const op *o = *state;

    for (int k = 1; k < (o->library ? 2 : N_BACKENDS); k++) {
        if (k == VNNI_BACKEND && !o->vnni) continue;
        value_of(o, k, DI_F32);
        if (!o->f32_only) value_of(o, k, DI_BF16);
    }
}

/* The limits are those of a backend, whether or not one is there. */
static inline void drop_in(const op *o, di_dtype act)
{
    char what[256];
    di_device ref;

    assert_true(open_device("ref", act, 1, &ref));
    for (int i = 0; i < o->n_cases; i++) {
        problem p = make_problem(o, case_at(o, i), act, 0);
        problem a = run_problem(o, &ref, &p), damaged = copy_problem(&p, NULL, -1, 0), b;
        double worst = 0;

        o->limit(&p, &a);
        plant_column(&damaged.arg[o->drop].m, 0);
        b = run_problem(o, &ref, &damaged);
        assert_int_equal(0, count_faults(&p, &a, &a, &worst, what, sizeof what));
        if (p.n > 0 && count_faults(&p, &a, &b, &worst, what, sizeof what) == 0)
            fail_msg("%s, row %d, %s: the limits do not see that the last column of %s is lost",
                     o->name, i, di_dtype_name(p.act), p.arg[o->drop].name);
        free_problem(&p), free_problem(&a), free_problem(&b), free_problem(&damaged);
    }
    di_device_close(&ref);
}

static inline void mode_drop(void **state)
{
    const op *o = *state;

    drop_in(o, DI_F32);
    if (!o->f32_only) drop_in(o, DI_BF16);
}

/* Runs rows[0..n) of p and compares each with the same row of the whole. */
static inline void check_some_rows(const op *o, di_device *dev, const problem *p,
                                   const problem *whole, const int64_t *rows, int64_t n,
                                   const char *how)
{
    problem q = copy_problem(p, rows, n, 0), b = run_problem(o, dev, &q);

    for (int i = 0; i < p->n_args; i++) {
        if ((p->arg[i].flags & (ROWS | OUT)) != (ROWS | OUT)) continue;
        for (int64_t k = 0; k < n; k++)
            if (!same_bits(&whole->arg[i].m, rows[k], &b.arg[i].m, k))
                fail_msg("%s %s on %s (%s), N %lld, pad %d: row %lld of %s differs %s", o->name,
                         di_dtype_name(p->act), dev->ops->name, dev->isa, (long long)p->n,
                         (int)p->pad, (long long)rows[k], p->arg[i].name, how);
    }
    free_problem(&q), free_problem(&b);
}

static inline void check_row_independence(const op *o, di_device *dev, di_device *threaded,
                                          const problem *p)
{
    problem whole = run_problem(o, dev, p);
    int64_t n = p->n, *rows = di_new(di_alloc_default(), (size_t)(3 * n + 1) * sizeof *rows);

    for (int64_t i = 0; i<n; i += n> 8 ? n / 4 : 1)
        check_some_rows(o, dev, p, &whole, &i, 1, "when it is alone");
    for (int64_t i = 0; i < n; i++) rows[i] = n - 1 - i;
    check_some_rows(o, dev, p, &whole, rows, n, "in reverse order");
    for (int64_t i = 0; i < n; i++) rows[i] = (i + n / 3) % n;
    if (n > 1) check_some_rows(o, dev, p, &whole, rows, n - 1, "after rotation, one row less");
    for (int64_t i = 0; i < 3 * n; i++) rows[i] = i % n;
    check_some_rows(o, dev, p, &whole, rows, 3 * n, "in a batch three times as large");
    check_some_rows(o, threaded, p, &whole, rows, n, "on three threads");
    di_free(di_alloc_default(), rows);
    free_problem(&whole);
}

/* ref is slow, and so is setting up a library: one padding will do for them. */
static inline void rows_of(const op *o, int k, di_dtype act)
{
    di_device dev, threaded;

    if (!open_backend(k, act, 1, &dev)) return;
    assert_true(open_backend(k, act, 3, &threaded));
    for (int i = 0; (k == 0 || has_own(o, &dev)) && i < o->n_cases; i++)
        for (int64_t pad = k == 0 || o->library ? PAD_BY : 0; pad <= PAD_BY; pad += PAD_BY) {
            problem p = make_problem(o, case_at(o, i), act, pad);

            if (p.n > 0)
                (o->check_rows != NULL ? o->check_rows : check_row_independence)(o, &dev, &threaded,
                                                                                 &p);
            free_problem(&p);
        }
    di_device_close(&threaded), di_device_close(&dev);
}

static inline void mode_rows(void **state)
{
    const op *o = *state;

    for (int k = 0; k < (o->library ? 2 : N_BACKENDS); k++) {
        if (k == VNNI_BACKEND && !o->vnni) continue;
        rows_of(o, k, DI_F32);
        if (!o->f32_only) rows_of(o, k, DI_BF16);
    }
}

static inline void mode_dtype(void **state)
{
    const op *o = *state;
    di_device narrow, wide;

    assert_true(open_device("ref", DI_BF16, 1, &narrow) && open_device("ref", DI_F32, 1, &wide));
    for (int i = 0; i < o->n_cases; i++) {
        problem p = make_problem(o, case_at(o, i), DI_BF16, 0), q = copy_problem(&p, NULL, -1, 1);
        problem a = run_problem(o, &narrow, &p), b = run_problem(o, &wide, &q);

        for (int k = 0; k < p.n_args && (o->widens == NULL || o->widens(p.c)); k++) {
            const di_mat *x = &a.arg[k].m, *y = &b.arg[k].m;

            for (int64_t j = 0; (p.arg[k].flags & OUT) && j < x->rows * x->cols; j++) {
                float f = (float)el(y, j / x->cols, j % x->cols);

                if (x->dtype == DI_BF16) f = di_bf16_to_f32(di_f32_to_bf16(f));
                if (!(el(x, j / x->cols, j % x->cols) == (double)f))
                    fail_msg("%s, row %d: %s is not the f32 answer rounded once", o->name, i,
                             p.arg[k].name);
            }
        }
        free_problem(&p), free_problem(&q), free_problem(&a), free_problem(&b);
    }
    di_device_close(&narrow), di_device_close(&wide);
}

static inline double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best of at least 5 runs and a quarter of a second, arguments in cache as a decoder leaves them.
 */
static inline double best_time(const op *o, di_device *dev, problem *p)
{
    double best = HUGE_VAL, start = seconds();

    o->run(dev, p); /* warm */
    for (int i = 0; i < 5 || seconds() - start < 0.25; i++) {
        double t = seconds();

        o->run(dev, p);
        t = seconds() - t;
        if (t < best) best = t;
    }
    return best;
}

/* PROGRAM BACKEND: a line a working shape. Returns the exit status. */
static inline int op_perf(const op *o, const char *backend)
{
    static const di_dtype acts[] = {DI_F32, DI_BF16};

    for (int k = 0; k < (o->f32_only ? 1 : 2); k++) {
        di_device dev;

        if (!open_device(backend, acts[k], 0, &dev)) continue;
        for (int i = 0; i < o->n_perf; i++) {
            problem p = {.c = (const char *)o->perf + (size_t)i * o->case_size, .act = dev.act};
            di_rng r = di_rng_make(1, DI_RNG_TEXT_ORDER, 0);
            double flop, bytes, t;
            void *host[MAX_ARGS];

            o->make(&p, &r);
            to_device(o, &dev, &p, host);
            t = best_time(o, &dev, &p);
            from_device(o, &dev, &p, host);
            o->cost(&p, &flop, &bytes);
            printf("%-18s %-4s %-12s %d threads  %9.1f us  %8.2f GFLOP/s  %7.2f GB/s\n", o->name,
                   di_dtype_name(dev.act), dev.isa, dev.threads, t * 1e6, flop / t * 1e-9,
                   bytes / t * 1e-9);
            free_problem(&p);
        }
        di_device_close(&dev);
    }
    return 0;
}

#define OP_TEST(op, mode)                                                                          \
    {                                                                                              \
#op " " #mode, mode_##mode, NULL, NULL, (void *)(uintptr_t) & (op)                         \
    }
#define OP_TABLE(table)                                                                            \
    .cases = (table), .n_cases = sizeof(table) / sizeof *(table), .case_size = sizeof *(table)
#define OP_PERF(table) .perf = (table), .n_perf = sizeof(table) / sizeof *(table)

#endif
