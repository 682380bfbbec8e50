/*
 * oneDNN, versions 2 and 3.
 *
 * The library does not promise that a row has the same bits in batches of different size. What was
 * found in 2.6 and 3.2 (AVX-512, BF16): its blocked kernels add over k in one order for each
 * element, whatever the number of rows and columns, as long as k is not split between threads;
 * inner products of 1280 x 3072 by 3072 x 576 do split it when they see two threads and few
 * columns, and then nearly every element differs in its last bits. So
 *
 *   - a primitive is made for a slab of 64 rows (and of 16, for the rest), a chunk of at most 640
 *     columns and one thread. Threads share the grid of slabs and chunks, which also leaves the
 *     library nothing to decide from N or the number of threads. Such slabs reach the speed of
 *     one call on the whole matrix (445 and 446 GFLOP/s on 2 cores of an EPYC 9004 in bf16 for
 *     1280 x 576 by 576 x 3072); on processors with AMX slabs of 256 keep a call worth its cost;
 *   - when a shape is first seen, planted rows run through all slabs, at other places, and a slab
 *     whose bits differ from those of 64 rows is not used;
 *     If the 64 rows differ among themselves, the shape is computed by the kernels of mm.c: so it
 *     is in AVX2 (`gemm:jit`) for products of up to 64 columns;
 *   - rows of the last slab that do not exist are zeros in scratch memory.
 *
 * The blocked kernels want dense operands (a strided x or y sends the library to code three times
 * slower), so a product goes to a dense f32 block that stays in the cache; bias, addition, rounding
 * and strides are done on the way from there to y. x is copied only if it is strided or of another
 * type. Post-operations of the library were tried instead: they take the same pass inside.
 */
#include "cpu/gemm.h"

#ifdef DIAL_DNNL

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

#include "base/error.h"
#include "cpu/mm.h"
#include "cpu/store.h"

enum { MAX_SLABS = 3, SMALL_SLAB = 16, BASE_SLAB = 64, BIG_SLAB = 256, CHUNK = 640, PIECES = 4 };

/* ---- the two versions of the interface -------------------------------------------------------
 * Version 3 made descriptors opaque and folded operation descriptors into the creation of a
 * primitive descriptor. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc; /* a pointer */
#define DESC(d) (d)
#define CONST_DESC const_dnnl_memory_desc_t

static dnnl_status_t desc_strided(desc *d, int64_t rows, int64_t cols, dnnl_data_type_t type,
                                  int64_t row_stride, int64_t col_stride)
{
    dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};

    return dnnl_memory_desc_create_with_strides(d, 2, dims, type, strides);
}

static dnnl_status_t desc_any(desc *d, int64_t rows, int64_t cols, dnnl_data_type_t type)
{
    dnnl_dims_t dims = {rows, cols};

    return dnnl_memory_desc_create_with_tag(d, 2, dims, type, dnnl_format_tag_any);
}

static dnnl_status_t desc_copy(desc *d, const_dnnl_memory_desc_t from)
{
    return dnnl_memory_desc_clone(d, from);
}

static void desc_free(desc *d)
{
    if (*d != NULL) dnnl_memory_desc_destroy(*d);
    *d = NULL;
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, desc x, desc w,
                                 desc y, dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, engine, x, w, NULL, y, attr);
}
#else
typedef dnnl_memory_desc_t desc; /* a struct */
#define DESC(d) (&(d))
#define CONST_DESC const dnnl_memory_desc_t *

static dnnl_status_t desc_strided(desc *d, int64_t rows, int64_t cols, dnnl_data_type_t type,
                                  int64_t row_stride, int64_t col_stride)
{
    dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};

    return dnnl_memory_desc_init_by_strides(d, 2, dims, type, strides);
}

static dnnl_status_t desc_any(desc *d, int64_t rows, int64_t cols, dnnl_data_type_t type)
{
    dnnl_dims_t dims = {rows, cols};

    return dnnl_memory_desc_init_by_tag(d, 2, dims, type, dnnl_format_tag_any);
}

static dnnl_status_t desc_copy(desc *d, const dnnl_memory_desc_t *from)
{
    *d = *from;
    return dnnl_success;
}

static void desc_free(desc *d)
{
    (void)d;
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, desc x, desc w,
                                 desc y, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t op;
    dnnl_status_t st = dnnl_matmul_desc_init(&op, &x, &w, NULL, &y);

    return st != dnnl_success ? st : dnnl_primitive_desc_create(pd, &op, attr, engine, NULL);
}
#endif

/* ---- what a device keeps ----------------------------------------------------------------------
 * A slab's primitive and, for each thread, the memory objects that it is called with: their data
 * pointers are set at each call. */
typedef struct slab {
    int64_t rows;
    dnnl_primitive_t run;
    size_t scratch;
    dnnl_memory_t *x, *y, *pad; /* [threads] */
} slab;

/* One shape: [rows of a slab, k] by [k, n]. */
typedef struct plan {
    struct plan *next;
    int64_t k, n, x_row; /* x_row: elements from row to row of a dense slab of x */
    int bf16;
    int own;     /* by mm.c; slabs have no primitives */
    desc w;      /* the layout that the base slab asks for; the others must take it */
    int n_slabs; /* descending */
    slab slab[MAX_SLABS];
} plan;

/* A chunk of a constant matrix in the layout of its plan. */
typedef struct weight {
    void *data;
    size_t bytes;
    dnnl_memory_t memory;
} weight;

typedef struct lane {
    dnnl_stream_t stream;
    void *x;   /* a slab of x, dense, of the product's type */
    float *y;  /* a slab of y */
    void *pad; /* the primitives' own scratch memory */
} lane;

struct di_gemm_cache {
    dnnl_engine_t engine;
    plan *plans;
    int threads, amx;
    lane *lane;                         /* [threads] */
    size_t x_bytes, y_bytes, pad_bytes; /* of each lane's blocks */
};

struct di_gemm {
    int64_t k, n, width; /* columns in chunks of `width`, the last one narrower */
    int n_chunks;
    const plan **plan; /* [n_chunks] */
    weight *w;         /* [n_chunks] */
};

static dial_status failed(dnnl_status_t code, const char *what, dial_error *err)
{
    return di_error_set(err, code == dnnl_out_of_memory ? DIAL_ERR_NOMEM : DIAL_ERR_DEVICE,
                        __FILE__, __LINE__, NULL, NULL, "oneDNN could not %s (code %d)", what,
                        (int)code);
}

#define TRY_DNNL(call, what)                                                                       \
    do {                                                                                           \
        dnnl_status_t code_ = (call);                                                              \
        if (code_ != dnnl_success) {                                                               \
            st = failed(code_, what, err);                                                         \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

/* The library's own limit on instructions; counts only before its first use in the process. */
static void limit_isa(di_isa isa)
{
    if (di_isa_without_amx()) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16);
    if (isa == DI_ISA_VNNI) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_vnni);
    if (isa == DI_ISA_AVX512) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core);
    if (isa == DI_ISA_AVX2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    if (isa == DI_ISA_PLAIN) dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
}

dial_status di_gemm_open(di_device *dev, dial_error *err)
{
    di_cpu *cpu = dev->priv;
    struct di_gemm_cache *c = di_zalloc(dev->al, sizeof *c);
    dial_status st = DIAL_OK;

    if (c == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the device");
    cpu->gemm = c;
    limit_isa(cpu->isa);
    TRY_DNNL(dnnl_engine_create(&c->engine, dnnl_cpu, 0), "open the processor");
    c->amx =
        cpu->isa == DI_ISA_BF16 && dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core_amx;
    c->threads = dev->threads;
    c->lane = di_new_array(dev->al, (size_t)dev->threads, sizeof *c->lane);
    if (c->lane == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d threads", dev->threads);
    for (int t = 0; t < c->threads; t++)
        TRY_DNNL(dnnl_stream_create(&c->lane[t].stream, c->engine, dnnl_stream_default_flags),
                 "make a stream");
done:
    if (st != DIAL_OK) di_gemm_close(dev);
    return st;
}

static void slab_free(const di_device *dev, slab *s)
{
    int threads = ((const di_cpu *)dev->priv)->gemm->threads;

    for (int t = 0; t < threads; t++) {
        if (s->x != NULL) dnnl_memory_destroy(s->x[t]);
        if (s->y != NULL) dnnl_memory_destroy(s->y[t]);
        if (s->pad != NULL) dnnl_memory_destroy(s->pad[t]);
    }
    di_free(dev->al, s->x);
    di_free(dev->al, s->y);
    di_free(dev->al, s->pad);
    if (s->run != NULL) dnnl_primitive_destroy(s->run);
    *s = (slab){0};
}

static void plan_free(const di_device *dev, plan *p)
{
    if (p == NULL) return;
    for (int i = 0; i < MAX_SLABS; i++) slab_free(dev, &p->slab[i]);
    desc_free(&p->w);
    di_free(dev->al, p);
}

void di_gemm_close(di_device *dev)
{
    di_cpu *cpu = dev->priv;
    struct di_gemm_cache *c = cpu->gemm;

    if (c == NULL) return;
    for (plan *p = c->plans, *next; p != NULL; p = next) {
        next = p->next;
        plan_free(dev, p);
    }
    for (int t = 0; c->lane != NULL && t < c->threads; t++) {
        if (c->lane[t].stream != NULL) dnnl_stream_destroy(c->lane[t].stream);
        di_free(dev->al, c->lane[t].x);
        di_free(dev->al, c->lane[t].y);
        di_free(dev->al, c->lane[t].pad);
    }
    di_free(dev->al, c->lane);
    if (c->engine != NULL) dnnl_engine_destroy(c->engine);
    di_free(dev->al, c);
    cpu->gemm = NULL;
}

int di_gemm_has_amx(const di_device *dev)
{
    const di_cpu *cpu = dev->priv;

    return cpu->gemm != NULL && cpu->gemm->amx;
}

/* ---- plans ------------------------------------------------------------------------------------
 */

/* Grows a block of every lane to `need` bytes. */
static int grow(const di_device *dev, size_t need, size_t *have, size_t offset)
{
    struct di_gemm_cache *c = ((const di_cpu *)dev->priv)->gemm;

    if (need <= *have) return 1;
    for (int t = 0; t < c->threads; t++) {
        void **at = (void **)(void *)((char *)&c->lane[t] + offset), *block;

        block = di_zalloc(dev->al, need);
        if (block == NULL) return 0;
        di_free(dev->al, *at);
        *at = block;
    }
    *have = need;
    return 1;
}

/* The primitive descriptor of a slab; w with layout "any" asks, a full layout demands. */
static dnnl_status_t describe(const di_device *dev, const plan *p, int64_t rows, desc w,
                              dnnl_primitive_desc_t *pd)
{
    dnnl_engine_t engine = ((const di_cpu *)dev->priv)->gemm->engine;
    dnnl_data_type_t type = p->bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_primitive_attr_t attr = NULL;
    desc x = {0}, y = {0};
    dnnl_status_t st = desc_strided(&x, rows, p->k, type, p->k, 1);

    if (st == dnnl_success) st = desc_strided(&y, rows, p->n, dnnl_f32, p->n, 1);
    if (st == dnnl_success) st = dnnl_primitive_attr_create(&attr);
    if (st == dnnl_success)
        st = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (st == dnnl_success) st = matmul_desc(pd, engine, x, w, y, attr);
    if (attr != NULL) dnnl_primitive_attr_destroy(attr);
    desc_free(&x);
    desc_free(&y);
    return st;
}

/* Memory objects of one slab for all threads; data pointers come later. */
static dnnl_status_t slab_memory(const di_device *dev, dnnl_primitive_desc_t pd, slab *s)
{
    const struct di_gemm_cache *c = ((const di_cpu *)dev->priv)->gemm;
    CONST_DESC x = dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
    CONST_DESC y = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    CONST_DESC pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    dnnl_status_t st = dnnl_success;

    s->scratch = dnnl_memory_desc_get_size(pad);
    s->x = di_new_array(dev->al, (size_t)c->threads, sizeof(dnnl_memory_t));
    s->y = di_new_array(dev->al, (size_t)c->threads, sizeof(dnnl_memory_t));
    s->pad = di_new_array(dev->al, (size_t)c->threads, sizeof(dnnl_memory_t));
    if (s->x == NULL || s->y == NULL || s->pad == NULL) return dnnl_out_of_memory;
    for (int t = 0; t < c->threads && st == dnnl_success; t++) {
        st = dnnl_memory_create(&s->x[t], x, c->engine, DNNL_MEMORY_NONE);
        if (st == dnnl_success) st = dnnl_memory_create(&s->y[t], y, c->engine, DNNL_MEMORY_NONE);
        if (st == dnnl_success)
            st = dnnl_memory_create(&s->pad[t], pad, c->engine, DNNL_MEMORY_NONE);
    }
    return st;
}

/*
 * Adds the slab of `rows`; the first one fixes the layout of w. The number of threads that the
 * library sees is the caller's own OpenMP setting, put back afterwards: it is read when a primitive
 * is made, and one is what the grid wants.
 */
static dnnl_status_t add_slab(const di_device *dev, plan *p, int64_t rows, slab *s)
{
    int threads = omp_get_max_threads(), first = p->n_slabs == 0;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t st = dnnl_success;
    desc any = {0};

    *s = (slab){.rows = rows};
    if (first) st = desc_any(&any, p->k, p->n, p->bf16 ? dnnl_bf16 : dnnl_f32);
    if (st != dnnl_success) return st;
    omp_set_num_threads(1);
    st = describe(dev, p, rows, first ? any : p->w, &pd);
    if (st == dnnl_success && first)
        st = desc_copy(&p->w, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    if (st == dnnl_success) st = slab_memory(dev, pd, s);
    if (st == dnnl_success) st = dnnl_primitive_create(&s->run, pd);
    omp_set_num_threads(threads);
    if (pd != NULL) dnnl_primitive_desc_destroy(pd);
    desc_free(&any);
    if (st != dnnl_success) slab_free(dev, s);
    return st;
}

/* y [rows, n] = x [rows, k] w on thread t; x and y dense. 0: failed. */
static int slab_run(const di_device *dev, const plan *p, const slab *s, int t, void *x,
                    const weight *w, float *y)
{
    const lane *l = &((const di_cpu *)dev->priv)->gemm->lane[t];
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->own ? NULL : s->x[t]},
        {DNNL_ARG_WEIGHTS, w->memory},
        {DNNL_ARG_DST, p->own ? NULL : s->y[t]},
        {DNNL_ARG_SCRATCHPAD, p->own ? NULL : s->pad[t]},
    };

#ifdef DI_VECTOR
    if (p->own) {
        int64_t k = di_units(p->bf16, p->k);
        di_mm mm = {.m = s->rows,
                    .n = p->n,
                    .k = k,
                    .a = x,
                    .a_row = k,
                    .a_k = 1,
                    .b = w->data,
                    .b_panel = k * DI_PANEL,
                    .b_k = DI_PANEL,
                    .c = y,
                    .c_row = p->n};

        di_mm_run(di_cpu_isa(dev), p->bf16, &mm);
        return 1;
    }
#endif
    return dnnl_memory_set_data_handle(s->x[t], x) == dnnl_success &&
           dnnl_memory_set_data_handle(s->y[t], y) == dnnl_success &&
           dnnl_memory_set_data_handle(s->pad[t], l->pad) == dnnl_success &&
           dnnl_primitive_execute(s->run, l->stream, 4, args) == dnnl_success;
}

#ifdef DI_VECTOR
/* The same for mm.c; one of the strides is 1. */
static dnnl_status_t lay_out_own(const di_device *dev, const plan *p, const float *w,
                                 int64_t k_stride, int64_t n_stride, weight *out)
{
    int64_t k = di_units(p->bf16, p->k);
    di_pack pack = {.x = w, .dtype = DI_F32, .scale = 1};

    out->bytes = (size_t)(di_round_up(p->n, DI_PANEL) * k) * 4;
    out->data = pack.to = di_zalloc(dev->al, out->bytes);
    if (out->data == NULL) return dnnl_out_of_memory;
    pack.stride = n_stride == 1 ? k_stride : n_stride;
    pack.rows = n_stride == 1 ? p->k : p->n;
    pack.cols = n_stride == 1 ? p->n : p->k;
    if (n_stride == 1)
        di_pack_down(di_cpu_isa(dev), p->bf16, &pack, 0, k, k);
    else
        di_pack_across(di_cpu_isa(dev), p->bf16, &pack);
    return dnnl_success;
}
#endif

/* w [p->k, p->n] in the plan's layout. Free with weight_free, also after a failure. */
static dnnl_status_t lay_out(const di_device *dev, const plan *p, const float *w, int64_t k_stride,
                             int64_t n_stride, weight *out)
{
    struct di_gemm_cache *c = ((const di_cpu *)dev->priv)->gemm;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t from = NULL;
    desc plain = {0};
    dnnl_status_t st = dnnl_success;

#ifdef DI_VECTOR
    if (p->own) return lay_out_own(dev, p, w, k_stride, n_stride, out);
#endif
    st = desc_strided(&plain, p->k, p->n, dnnl_f32, k_stride, n_stride);
    out->bytes = dnnl_memory_desc_get_size(DESC(p->w));
    out->data = di_zalloc(dev->al, out->bytes);
    if (out->data == NULL) st = dnnl_out_of_memory;
    if (st == dnnl_success)
        st = dnnl_memory_create(&from, DESC(plain), c->engine, (void *)(uintptr_t)w);
    if (st == dnnl_success) st = dnnl_memory_create(&out->memory, DESC(p->w), c->engine, out->data);
    if (st == dnnl_success)
        st = dnnl_reorder_primitive_desc_create(&pd, DESC(plain), c->engine, DESC(p->w), c->engine,
                                                NULL);
    if (st == dnnl_success) st = dnnl_primitive_create(&reorder, pd);
    if (st == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, out->memory}};

        st = dnnl_primitive_execute(reorder, c->lane[0].stream, 2, args);
        dnnl_stream_wait(c->lane[0].stream);
    }
    if (reorder != NULL) dnnl_primitive_destroy(reorder);
    if (pd != NULL) dnnl_primitive_desc_destroy(pd);
    if (from != NULL) dnnl_memory_destroy(from);
    desc_free(&plain);
    return st;
}

static void weight_free(const di_device *dev, weight *w)
{
    if (w->memory != NULL) dnnl_memory_destroy(w->memory);
    di_free(dev->al, w->data);
    *w = (weight){0};
}

/* Numbers of both signs and of sizes 2^-6 to 2^6: another order of addition shows in the bits. */
static void plant(float *x, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = ((float)(seed >> 9) / (float)(1 << 22) - 1) * (float)(1 << (seed >> 5 & 15)) / 64;
    }
}

/* Row r of planted x, rounded to the product's type, to place `at` of the lane's slab. */
static void place_row(const plan *p, const float *x, int64_t r, void *slab_x, int64_t at)
{
    for (int64_t i = 0; i < p->k; i++) {
        if (p->bf16)
            ((uint16_t *)slab_x)[at * p->k + i] = di_f32_to_bf16(x[r * p->k + i]);
        else
            ((float *)slab_x)[at * p->k + i] = x[r * p->k + i];
    }
}

/* All BIG_SLAB planted rows through slabs of one size, in order or turned end for end. */
static int run_planted(const di_device *dev, const plan *p, const slab *s, const float *x,
                       const weight *w, int turned, float *y)
{
    const lane *l = &((const di_cpu *)dev->priv)->gemm->lane[0];

    for (int64_t r = 0; r < BIG_SLAB; r += s->rows) {
        for (int64_t i = 0; i < s->rows; i++)
            place_row(p, x, turned ? BIG_SLAB - 1 - r - i : r + i, l->x, i);
        if (!slab_run(dev, p, s, 0, l->x, w, l->y)) return 0;
        for (int64_t i = 0; i < s->rows; i++)
            memcpy(y + (turned ? BIG_SLAB - 1 - r - i : r + i) * p->n, l->y + i * p->n,
                   (size_t)p->n * sizeof *y);
    }
    return 1;
}

/*
 * Keeps the slabs whose rows have the bits of the base slab's (the first), at any place; *same: the
 * base slab agrees with itself.
 */
static dial_status compare_slabs(const di_device *dev, plan *p, int *same, dial_error *err)
{
    size_t nx = (size_t)(BIG_SLAB * p->k), ny = (size_t)(BIG_SLAB * p->n);
    float *x = di_new_array(dev->al, nx, sizeof *x), *y0 = di_new_array(dev->al, ny, sizeof *y0);
    float *y = di_new_array(dev->al, ny, sizeof *y);
    float *plain = di_new_array(dev->al, (size_t)(p->k * p->n), sizeof *plain);
    dial_status st = DIAL_OK;
    weight w = {0};
    int kept = 1;

    if (x == NULL || y0 == NULL || y == NULL || plain == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare products of %lld x %lld",
                (long long)p->k, (long long)p->n);
    plant(x, (int64_t)nx, 1);
    plant(plain, p->k * p->n, 2);
    TRY_DNNL(lay_out(dev, p, plain, p->n, 1, &w), "lay out a weight");
    if (!run_planted(dev, p, &p->slab[0], x, &w, 0, y0) ||
        !run_planted(dev, p, &p->slab[0], x, &w, 1, y))
        DI_FAIL(err, DIAL_ERR_DEVICE, "oneDNN failed in a product of %lld x %lld", (long long)p->k,
                (long long)p->n);
    *same = memcmp(y, y0, ny * sizeof *y) == 0;
    for (int i = 1; i < p->n_slabs; i++) {
        slab keep = p->slab[i];

        if (*same && run_planted(dev, p, &keep, x, &w, 1, y) &&
            memcmp(y, y0, ny * sizeof *y) == 0) {
            p->slab[i] = (slab){0};
            p->slab[kept++] = keep;
        } else {
            slab_free(dev, &p->slab[i]);
        }
    }
    p->n_slabs = kept;
done:
    weight_free(dev, &w);
    di_free(dev->al, x);
    di_free(dev->al, y0);
    di_free(dev->al, y);
    di_free(dev->al, plain);
    return st;
}

/* Gives the shape to mm.c, where there is vector code; else it stays with a warning. */
static void leave_library(const di_device *dev, plan *p)
{
#ifdef DI_VECTOR
    if (di_cpu_isa(dev) >= DI_ISA_AVX2) {
        for (int i = 0; i < MAX_SLABS; i++) slab_free(dev, &p->slab[i]);
        p->own = 1;
        p->x_row = p->bf16 ? di_round_up(p->k, 2) : p->k;
        p->slab[0].rows = BASE_SLAB;
        p->slab[1].rows = SMALL_SLAB;
        p->n_slabs = 2;
        return;
    }
#endif
    di_log(
        dev->env, DIAL_LOG_WARN,
        "oneDNN: rows of a product of %lld x %lld depend on their place in the batch; scores may "
        "differ between batches in their last bits",
        (long long)p->k, (long long)p->n);
}

static int by_rows_down(const slab *a, const slab *b)
{
    return a->rows > b->rows;
}

/* The plan of [k, n], made when a shape is first seen. */
static dial_status find_plan(di_device *dev, int64_t k, int64_t n, const plan **out,
                             dial_error *err)
{
    struct di_gemm_cache *c = ((di_cpu *)dev->priv)->gemm;
    int bf16 = dev->act == DI_BF16 && di_cpu_isa(dev) == DI_ISA_BF16;
    int64_t largest = c->amx ? BIG_SLAB : BASE_SLAB;
    dial_status st = DIAL_OK;
    plan *p = NULL;
    int same = 0;

    for (const plan *q = c->plans; q != NULL; q = q->next) {
        if (q->k != k || q->n != n || q->bf16 != bf16) continue;
        *out = q;
        return DIAL_OK;
    }
    p = di_zalloc(dev->al, sizeof *p);
    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a product");
    p->k = k;
    p->n = n;
    p->x_row = k;
    p->bf16 = bf16;
    TRY_DNNL(add_slab(dev, p, BASE_SLAB, &p->slab[0]), "make a product");
    p->n_slabs = 1;
    if (add_slab(dev, p, SMALL_SLAB, &p->slab[1]) == dnnl_success) p->n_slabs++;
    if (c->amx && add_slab(dev, p, BIG_SLAB, &p->slab[p->n_slabs]) == dnnl_success) p->n_slabs++;
    for (int i = 0; i < p->n_slabs; i++)
        if (!grow(dev, p->slab[i].scratch, &c->pad_bytes, offsetof(lane, pad)))
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a product");
    if (!grow(dev, (size_t)(largest * (k + 1)) * 4, &c->x_bytes, offsetof(lane, x)) ||
        !grow(dev, (size_t)(largest * n) * 4, &c->y_bytes, offsetof(lane, y)))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a product");
    DI_TRY(compare_slabs(dev, p, &same, err));
    if (!same) leave_library(dev, p);
    for (int i = 1; i < p->n_slabs; i++)
        for (int j = i; j > 0 && by_rows_down(&p->slab[j], &p->slab[j - 1]); j--) {
            slab swap = p->slab[j];

            p->slab[j] = p->slab[j - 1];
            p->slab[j - 1] = swap;
        }
    p->next = c->plans;
    c->plans = p;
    *out = p;
    p = NULL;
done:
    plan_free(dev, p);
    return st;
}

/* ---- prepared matrices ------------------------------------------------------------------------
 */

dial_status di_gemm_new(di_device *dev, int64_t k, int64_t n, const float *w, int64_t k_stride,
                        int64_t n_stride, di_gemm **out, dial_error *err)
{
    int64_t parts = (n + CHUNK - 1) / CHUNK;
    di_gemm *g = di_zalloc(dev->al, sizeof *g);
    dial_status st = DIAL_OK;

    if (g == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a packed weight");
    g->k = k;
    g->n = n;
    g->width = parts == 1 ? n : ((n + parts - 1) / parts + 63) / 64 * 64;
    g->n_chunks = (int)((n + g->width - 1) / g->width);
    g->plan = di_new_array(dev->al, (size_t)g->n_chunks, sizeof *g->plan);
    g->w = di_new_array(dev->al, (size_t)g->n_chunks, sizeof *g->w);
    if (g->plan == NULL || g->w == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a packed weight");
    for (int i = 0; i < g->n_chunks; i++) {
        int64_t j = i * g->width, cols = n - j < g->width ? n - j : g->width;

        DI_TRY(find_plan(dev, k, cols, &g->plan[i], err));
        TRY_DNNL(lay_out(dev, g->plan[i], w + j * n_stride, k_stride, n_stride, &g->w[i]),
                 "lay out a weight");
    }
    *out = g;
    g = NULL;
done:
    di_gemm_free(dev, g);
    return st;
}

void di_gemm_free(di_device *dev, di_gemm *g)
{
    if (g == NULL) return;
    for (int i = 0; g->w != NULL && i < g->n_chunks; i++) weight_free(dev, &g->w[i]);
    di_free(dev->al, g->plan);
    di_free(dev->al, g->w);
    di_free(dev->al, g);
}

size_t di_gemm_bytes(const di_gemm *g)
{
    size_t bytes = 0;

    for (int i = 0; i < g->n_chunks; i++) bytes += g->w[i].bytes;
    return bytes;
}

/* One call's operands, shared by its threads. */
typedef struct job {
    di_device *dev;
    const di_gemm *g;
    const di_mat *x;
    const float *bias;
    di_mat *y;
    int add;
} job;

/* Rows [r, r + rows) and chunk i by one slab, on thread t. */
static void run_slab(const job *b, const slab *s, int i, int64_t r, int64_t rows, int t)
{
    const plan *p = b->g->plan[i];
    const lane *l = &((const di_cpu *)b->dev->priv)->gemm->lane[t];
    di_dtype type = p->bf16 ? DI_BF16 : DI_F32;
    di_mat from = {di_mat_at(b->x, r, 0), b->x->dtype, rows, p->k, b->x->stride};
    di_mat to = {di_mat_at(b->y, r, i * b->g->width), b->y->dtype, rows, p->n, b->y->stride};
    void *x = from.data;
    int ok;

    if (rows < s->rows || from.stride != p->x_row || from.dtype != type) {
        di_mat dense = {l->x, type, rows, p->k, p->x_row};

        x = l->x;
        if (rows < s->rows || p->k < p->x_row)
            memset(x, 0, (size_t)(s->rows * p->x_row) * di_act_bytes(type));
        di_store(di_cpu_isa(b->dev), &from, NULL, &dense, 0);
    }
    ok = slab_run(b->dev, p, s, t, x, &b->g->w[i], l->y);
    if (!ok) /* a failure of the library must not look like a result */
        for (int64_t j = 0; j < rows * p->n; j++) l->y[j] = __builtin_nanf("");
    di_store(di_cpu_isa(b->dev), &(di_mat){l->y, DI_F32, rows, p->n, p->n},
             b->bias != NULL ? b->bias + i * b->g->width : NULL, &to, b->add);
}

/* Groups [g0, g1) of SMALL_SLAB rows of chunk i: the largest slabs that fit, then the smallest. */
static void run_groups(const job *b, int i, int64_t g0, int64_t g1, int t)
{
    const plan *p = b->g->plan[i];
    int64_t r = g0 * SMALL_SLAB, end = g1 * SMALL_SLAB < b->x->rows ? g1 * SMALL_SLAB : b->x->rows;

    while (r < end) {
        int s = 0;

        while (s + 1 < p->n_slabs && p->slab[s].rows > end - r) s++;
        if (end - r < p->slab[s].rows)
            run_slab(b, &p->slab[s], i, r, end - r, t);
        else
            run_slab(b, &p->slab[s], i, r, p->slab[s].rows, t);
        r += p->slab[s].rows;
    }
}

/*
 * The grid in the order chunk by chunk, cut into equal pieces: within one a thread passes over the
 * rows with one chunk of w in its cache, and few rows are spread over columns instead. Threads
 * take the next piece as they come, so one that the system holds up delays little; which thread
 * computes a row has no influence on it.
 */
void di_gemm_run(di_device *dev, const di_gemm *g, const di_mat *x, const float *bias, di_mat *y,
                 int add)
{
    const job b = {dev, g, x, bias, y, add};
    int64_t groups = (x->rows + SMALL_SLAB - 1) / SMALL_SLAB, total = groups * g->n_chunks;
    int64_t pieces = total < PIECES * dev->threads ? total : PIECES * dev->threads;

    if (total == 0) return;
#pragma omp parallel num_threads(total < dev->threads ? (int)total : dev->threads)
    {
        int t = omp_get_thread_num();

        omp_set_num_threads(1); /* this thread's own setting, for library code that asks again */
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < pieces; i++) {
            int64_t lo = total * i / pieces, hi = total * (i + 1) / pieces;

            while (lo < hi) {
                int64_t first = lo % groups;
                int64_t last = first + hi - lo < groups ? first + hi - lo : groups;

                run_groups(&b, (int)(lo / groups), first, last, t);
                lo += last - first;
            }
        }
    }
}

#endif
