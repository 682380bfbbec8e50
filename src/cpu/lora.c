/*
 * LoRA: products with one narrow side, by mm.c.
 *
 * a and b are small and change at every step, so each call packs them anew (as bf16 where products
 * are in bf16; that costs some 2 % of the call at N = 1360). Then blocks of rows run through all
 * products that are local to a row while u or du is in the cache. Gradients of a and b are sums
 * over all rows: columns are shared among the threads, each sums its columns over the rows upwards,
 * so bits depend neither on the number of threads nor on how blocks were dealt.
 */
#include "cpu/cpu.h"
#include "cpu/mm.h"

#ifdef DI_VECTOR

#include <math.h>
#include <omp.h>
#include <string.h>

/* Rows of a block; rows and columns of a piece in the sums over rows. */
enum { BLOCK = 48, PIECE_ROWS = 64, PIECE_COLS = 128 };

typedef struct thread_memory {
    uint32_t *x;     /* [BLOCK][units of max(in, out)] where x or dy is no operand as it is */
    uint32_t *u;     /* [BLOCK][units of R]: s u, s du */
    float *u_f32;    /* [BLOCK][R]: u, du */
    uint32_t *piece; /* PIECE_ROWS x PIECE_COLS of x or dy as an operand b */
    float *sums;     /* [R][PIECE_COLS] */
} thread_memory;

typedef struct call {
    const di_lora_args *a;
    di_isa isa;
    int pairs;
    int64_t n, in, out, r;
    int64_t u_in, u_out, u_r, u_n; /* units */
    uint32_t *first, *second;      /* packed: a^T, b^T forward; b, a backward */
    uint32_t *du_n, *u_n_packed;   /* backward: s du and u, [panels of R][units of N][32] */
} call;

static call plan_call(const di_device *dev, int64_t n, int64_t in, int64_t out, int64_t r)
{
    call c = {.isa = di_cpu_isa(dev), .n = n, .in = in, .out = out, .r = r};

    c.pairs = dev->act == DI_BF16 && c.isa == DI_ISA_BF16;
    c.u_in = di_units(c.pairs, in);
    c.u_out = di_units(c.pairs, out);
    c.u_r = di_units(c.pairs, r);
    c.u_n = di_units(c.pairs, n);
    return c;
}

static void *take(char *base, size_t *used, int64_t units)
{
    void *p = base != NULL ? base + *used : NULL;

    *used += (size_t)di_round_up(units, 16) * 4;
    return p;
}

static size_t carve_shared(call *c, char *base, int backward)
{
    int64_t r = di_round_up(c->r, DI_PANEL), in = di_round_up(c->in, DI_PANEL);
    size_t n = 0;

    c->first = take(base, &n, r * (backward ? c->u_out : c->u_in));
    c->second = take(base, &n, (backward ? in : di_round_up(c->out, DI_PANEL)) * c->u_r);
    if (!backward) return n;
    c->du_n = take(base, &n, r * c->u_n);
    c->u_n_packed = take(base, &n, r * c->u_n);
    return n;
}

static size_t carve_thread(const call *c, char *base, thread_memory *m)
{
    size_t n = 0;

    m->x = take(base, &n, BLOCK * (c->u_in > c->u_out ? c->u_in : c->u_out));
    m->u = take(base, &n, BLOCK * c->u_r);
    m->u_f32 = take(base, &n, BLOCK * c->r);
    m->piece = take(base, &n, di_units(c->pairs, PIECE_ROWS) * PIECE_COLS);
    m->sums = take(base, &n, c->r * PIECE_COLS);
    return n;
}

size_t di_cpu_lora_bytes(const di_device *dev, int64_t n, int64_t in, int64_t out, int64_t r)
{
    call c = plan_call(dev, n, in, out, r);
    thread_memory m;
    size_t forward = carve_shared(&c, NULL, 0), backward = carve_shared(&c, NULL, 1);

    return (forward > backward ? forward : backward) +
           (size_t)dev->threads * carve_thread(&c, NULL, &m);
}

/* w [rows, cols] f32 (a or b) as an operand b: transposed or as it is; a share of its panels. */
static void pack_weight(const call *c, const float *w, int64_t rows, int64_t cols, int transposed,
                        int64_t lo, int64_t hi, uint32_t *to)
{
    di_pack p = {.x = w, .dtype = DI_F32, .stride = cols, .rows = rows, .cols = cols, .scale = 1};

    if (transposed) {
        p.row0 = lo;
        p.rows = hi - lo;
        p.to = to + lo * di_units(c->pairs, cols);
        di_pack_across(c->isa, c->pairs, &p);
    } else {
        p.col0 = lo;
        p.cols = hi - lo;
        p.to = to + lo * di_units(c->pairs, rows);
        di_pack_down(c->isa, c->pairs, &p, 0, di_units(c->pairs, rows), di_units(c->pairs, rows));
    }
}

/* A block of rows as an operand a, copied only if its type or an odd size demands it. */
typedef struct operand {
    const void *data;
    int64_t row;
} operand;

static operand rows_operand(const call *c, const di_mat *x, int64_t row, int64_t n, uint32_t *to)
{
    di_pack p = {.x = x->data,
                 .dtype = x->dtype,
                 .stride = x->stride,
                 .row0 = row,
                 .rows = n,
                 .cols = x->cols,
                 .scale = 1,
                 .to = to};

    if (c->pairs && x->dtype == DI_BF16 && x->stride % 2 == 0 && x->cols % 2 == 0)
        return (operand){(const uint16_t *)x->data + row * x->stride, x->stride / 2};
    if (!c->pairs && x->dtype == DI_F32)
        return (operand){(const float *)x->data + row * x->stride, x->stride};
    di_pack_rows(c->isa, c->pairs, &p);
    return (operand){to, di_units(c->pairs, x->cols)};
}

/* y [rows of the block] (+)= x times a packed operand of k units and n columns. */
static void times(const call *c, operand x, int64_t rows, const uint32_t *b, int64_t k,
                  const di_mat *y, int64_t row, int add)
{
    size_t at = (size_t)(row * y->stride) * di_act_bytes(y->dtype);
    di_mm mm = {.m = rows,
                .n = y->cols,
                .k = k,
                .a = x.data,
                .a_row = x.row,
                .a_k = 1,
                .b = b,
                .b_panel = k * DI_PANEL,
                .b_k = DI_PANEL,
                .c = (char *)y->data + at,
                .c_row = y->stride,
                .c_bf16 = y->dtype == DI_BF16,
                .add = add};

    di_mm_run(c->isa, c->pairs, &mm);
}

static void keep_u(const di_mat *u, int64_t at, int64_t n, const float *from)
{
    uint16_t *half = (uint16_t *)u->data + at;

    if (u->dtype == DI_F32)
        memcpy((float *)u->data + at, from, (size_t)n * sizeof *from);
    else
        for (int64_t i = 0; i < n; i++) half[i] = di_f32_to_bf16(from[i]);
}

static float kept_u(const di_mat *u, int64_t at)
{
    return u->dtype == DI_F32 ? ((const float *)u->data)[at]
                              : di_bf16_to_f32(((const uint16_t *)u->data)[at]);
}

static void forward_block(const call *c, const thread_memory *m, int64_t row, int64_t rows)
{
    const di_lora_args *a = c->a;
    di_mat u = {m->u_f32, DI_F32, rows, c->r, c->r};
    di_pack scaled = {.x = m->u_f32,
                      .dtype = DI_F32,
                      .stride = c->r,
                      .rows = rows,
                      .cols = c->r,
                      .scale = a->scale,
                      .to = m->u};

    times(c, rows_operand(c, &a->x, row, rows, m->x), rows, c->first, c->u_in, &u, 0, 0);
    for (int64_t i = 0; a->tanh && i < rows * c->r; i++) m->u_f32[i] = tanhf(m->u_f32[i]);
    keep_u(&a->u, row * c->r, rows * c->r, m->u_f32);
    di_pack_rows(c->isa, c->pairs, &scaled);
    times(c, (operand){m->u, c->u_r}, rows, c->second, c->u_r, &a->y, row, 1);
}

/* s du of the block: packed for the sum over rows, and dx += s du a. u is packed likewise. */
static void backward_block(const call *c, const thread_memory *m, int64_t row, int64_t rows)
{
    const di_lora_args *a = c->a;
    di_mat du = {m->u_f32, DI_F32, rows, c->r, c->r};
    di_pack scaled = {.x = m->u_f32,
                      .dtype = DI_F32,
                      .stride = c->r,
                      .rows = rows,
                      .cols = c->r,
                      .scale = a->scale,
                      .to = c->du_n};
    di_pack u = {.x = a->u.data,
                 .dtype = a->u.dtype,
                 .stride = c->r,
                 .row0 = row,
                 .rows = rows,
                 .cols = c->r,
                 .scale = 1,
                 .to = c->u_n_packed};
    int64_t k0 = di_units(c->pairs, row), k1 = di_units(c->pairs, row + rows);

    times(c, rows_operand(c, &a->dy, row, rows, m->x), rows, c->first, c->u_out, &du, 0, 0);
    for (int64_t i = 0; a->tanh && i < rows * c->r; i++) {
        float t = kept_u(&a->u, row * c->r + i);

        m->u_f32[i] *= 1 - t * t;
    }
    di_pack_down(c->isa, c->pairs, &scaled, k0, k1, c->u_n);
    di_pack_down(c->isa, c->pairs, &u, k0, k1, c->u_n);
    if (a->dx.data == NULL) return;
    scaled.to = m->u;
    di_pack_rows(c->isa, c->pairs, &scaled);
    times(c, (operand){m->u, c->u_r}, rows, c->second, c->u_r, &a->dx, row, 1);
}

/* m->sums [R][cols] = w^T times columns [col, col + cols) of x, over all rows upwards. */
static void sum_rows(const call *c, const thread_memory *m, const di_mat *x, int64_t col,
                     int64_t cols, const uint32_t *w)
{
    int64_t k = di_units(c->pairs, PIECE_ROWS);

    memset(m->sums, 0, (size_t)(c->r * PIECE_COLS) * sizeof(float));
    for (int64_t row = 0; row < c->n; row += PIECE_ROWS) {
        int64_t rows = c->n - row < PIECE_ROWS ? c->n - row : PIECE_ROWS;
        di_pack p = {.x = x->data,
                     .dtype = x->dtype,
                     .stride = x->stride,
                     .row0 = row,
                     .rows = rows,
                     .col0 = col,
                     .cols = cols,
                     .scale = 1,
                     .to = m->piece};

        di_pack_down(c->isa, c->pairs, &p, 0, di_units(c->pairs, rows), k);
        for (int64_t r = 0; r < c->r; r += DI_PANEL) {
            di_mm mm = {.m = c->r - r < DI_PANEL ? c->r - r : DI_PANEL,
                        .n = cols,
                        .k = di_units(c->pairs, rows),
                        .a = w + r * c->u_n + di_units(c->pairs, row) * DI_PANEL,
                        .a_row = 1,
                        .a_k = DI_PANEL,
                        .b = m->piece,
                        .b_panel = k * DI_PANEL,
                        .b_k = DI_PANEL,
                        .c = m->sums + r * PIECE_COLS,
                        .c_row = PIECE_COLS,
                        .add = 1};

            di_mm_run(c->isa, c->pairs, &mm);
        }
    }
}

/* Columns of da (x with s du) or, as its rows, of db (dy with u). */
static void gradient_piece(const call *c, const thread_memory *m, int64_t col, int of_b)
{
    const di_lora_args *a = c->a;
    const di_mat *x = of_b ? &a->dy : &a->x;
    int64_t cols = x->cols - col < PIECE_COLS ? x->cols - col : PIECE_COLS;

    sum_rows(c, m, x, col, cols, of_b ? c->u_n_packed : c->du_n);
    for (int64_t r = 0; r < c->r; r++) {
        const float *sums = m->sums + r * PIECE_COLS;

        if (of_b)
            for (int64_t j = 0; j < cols; j++) a->db[(col + j) * c->r + r] += a->scale * sums[j];
        else
            for (int64_t j = 0; j < cols; j++) a->da[r * c->in + col + j] += sums[j];
    }
}

/* Panels of a dimension, and one of them: [*lo, *hi). */
static void panel(int64_t n, int64_t i, int64_t *lo, int64_t *hi)
{
    *lo = i * DI_PANEL;
    *hi = n - *lo < DI_PANEL ? n : *lo + DI_PANEL;
}

/* By its products, 16 of which cost what one element of a pass over memory does. */
static int threads_of(const di_device *dev, const call *c)
{
    return di_threads_for(dev, c->n * c->r * (c->in + c->out) / 16);
}

void di_cpu_lora_forward(di_device *dev, const di_lora_args *a)
{
    call c = plan_call(dev, a->x.rows, a->x.cols, a->y.cols, a->u.cols);
    size_t shared = carve_shared(&c, a->work, 0), own;
    int64_t n_a = di_panels_in(c.r), n_b = di_panels_in(c.out), blocks = (c.n + BLOCK - 1) / BLOCK;
    thread_memory none;

    c.a = a;
    own = carve_thread(&c, NULL, &none);
    if (c.n == 0) return;
#pragma omp parallel num_threads(threads_of(dev, &c))
    {
        thread_memory m;

        carve_thread(&c, (char *)a->work + shared + (size_t)omp_get_thread_num() * own, &m);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < n_a + n_b; i++) {
            int64_t lo, hi;

            panel(i < n_a ? c.r : c.out, i < n_a ? i : i - n_a, &lo, &hi);
            if (i < n_a)
                pack_weight(&c, a->a, c.r, c.in, 1, lo, hi, c.first);
            else
                pack_weight(&c, a->b, c.out, c.r, 1, lo, hi, c.second);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks; i++)
            forward_block(&c, &m, i * BLOCK, c.n - i * BLOCK < BLOCK ? c.n - i * BLOCK : BLOCK);
    }
}

void di_cpu_lora_backward(di_device *dev, const di_lora_args *a)
{
    call c = plan_call(dev, a->x.rows, a->x.cols, a->dy.cols, a->u.cols);
    size_t shared = carve_shared(&c, a->work, 1), own;
    int64_t n_b = di_panels_in(c.r), n_a = di_panels_in(c.in), blocks = (c.n + BLOCK - 1) / BLOCK;
    int64_t of_a = (c.in + PIECE_COLS - 1) / PIECE_COLS,
            of_b = (c.out + PIECE_COLS - 1) / PIECE_COLS;
    thread_memory none;

    c.a = a;
    own = carve_thread(&c, NULL, &none);
    if (c.n == 0) return;
#pragma omp parallel num_threads(threads_of(dev, &c))
    {
        thread_memory m;

        carve_thread(&c, (char *)a->work + shared + (size_t)omp_get_thread_num() * own, &m);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < n_b + n_a; i++) {
            int64_t lo, hi;

            panel(i < n_b ? c.r : c.in, i < n_b ? i : i - n_b, &lo, &hi);
            if (i < n_b)
                pack_weight(&c, a->b, c.out, c.r, 0, lo, hi, c.first);
            else
                pack_weight(&c, a->a, c.r, c.in, 0, lo, hi, c.second);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks; i++)
            backward_block(&c, &m, i * BLOCK, c.n - i * BLOCK < BLOCK ? c.n - i * BLOCK : BLOCK);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < of_a + of_b; i++)
            gradient_piece(&c, &m, (i < of_a ? i : i - of_a) * PIECE_COLS, i >= of_a);
    }
}

#endif
