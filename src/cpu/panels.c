/*
 * Why not oneDNN here as well: at this library's shapes its primitives (2.6, 3.2) and these kernels
 * run alike, within 5 % either way, but its layouts are its own: turning one direction's layout
 * into the other's takes a detour that costs more than it saves, so both had to be kept, 212 MB
 * more for SmolLM2-135M. Turning panels costs some 2 % of a training step. A product also leaves
 * the registers as bf16 (or added to y), where the library writes f32 to be passed over once more,
 * and nothing has to be compiled when a process starts.
 */
#define DI_SELF "cpu/panels.c"
#include "cpu/each_isa.h"
#include "cpu/panels.h"

#include <omp.h>
#include <string.h>

#include "base/error.h"
#include "cpu/mm.h"
#include "cpu/store.h"

#ifdef DI_PASS
#if DI_PASS == 4
/*
 * 8 rows of 16 units become 8 rows of 16 units: with rows u (pairs of inputs) and columns o, unit
 * (u, o) = (W[o][2u], W[o][2u+1]) to unit (o / 2, i) = (W[o][i], W[o + 1][i]), i = 2u, 2u+1. That
 * is a 2 x 2 transpose inside each four numbers, and one of these fours.
 */
static void turn_eight(const uint32_t *from, uint32_t *to)
{
    const __m512i swap =
        _mm512_broadcast_i32x4(_mm_set_epi8(15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0));
    __m512i r[8], t[8];

    DI_UNROLL
    for (int i = 0; i < 8; i++)
        r[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(from + i * DI_PANEL), swap);
    DI_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
    }
    DI_UNROLL
    for (int i = 0; i < 2; i++) { /* columns 0, 2, 4, 6, then 1, 3, 5, 7 */
        __m512i a = _mm512_shuffle_i64x2(t[i], t[i + 2], 0x88);
        __m512i b = _mm512_shuffle_i64x2(t[i], t[i + 2], 0xdd);
        __m512i c = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0x88);
        __m512i d = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0xdd);

        _mm512_storeu_si512(to + (i + 0) * DI_PANEL, _mm512_shuffle_i64x2(a, c, 0x88));
        _mm512_storeu_si512(to + (i + 2) * DI_PANEL, _mm512_shuffle_i64x2(b, d, 0x88));
        _mm512_storeu_si512(to + (i + 4) * DI_PANEL, _mm512_shuffle_i64x2(a, c, 0xdd));
        _mm512_storeu_si512(to + (i + 6) * DI_PANEL, _mm512_shuffle_i64x2(b, d, 0xdd));
    }
}

/* 16 rows of a panel of 32 outputs to 16 rows of a panel of 32 inputs. */
static void turn_block(const uint32_t *from, uint32_t *to)
{
    for (int u = 0; u < DI_PANEL / 2; u += 8)
        for (int o = 0; o < DI_PANEL / 2; o += 8)
            turn_eight(from + u * DI_PANEL + 2 * o, to + o * DI_PANEL + 2 * u);
}
#endif

#elif defined(DI_VECTOR)

/*
 * A piece of work: up to SLAB rows (whole register tiles) and COLS columns, which keeps a slab of x
 * and a piece of W in the second-level cache. Sums over more than DEPTH units are cut, so that a
 * panel of W stays there too.
 */
enum { TILE = 12, SLAB = 96, COLS = 256, DEPTH = 2048, HALF = DI_PANEL / 2 };

struct di_panels {
    int64_t out, in;
    int64_t units;  /* pairs of `in` */
    uint32_t *data; /* [panels of out][units][32] */
    size_t bytes;
};

struct di_panel_memory {
    uint32_t *turned; /* [panels of in][pairs of out][32] of the largest matrix */
    size_t turned_bytes;
    float *lane;    /* [threads][SLAB][COLS] sums on their way to y */
    uint16_t *x;    /* [threads][SLAB][2 * units] rows that are no operand as they are */
    size_t x_bytes; /* of one thread */
};

static size_t turned_bytes(const di_panels *p)
{
    return (size_t)(di_panels_in(p->in) * di_units(1, p->out) * DI_PANEL) * 4;
}

static int grow(const di_device *dev, size_t need, size_t *have, size_t copies, void *at)
{
    void **block = at, *fresh;

    if (need <= *have) return 1;
    fresh = di_new(dev->al, need * copies);
    if (fresh == NULL) return 0;
    di_free(dev->al, *block);
    *block = fresh;
    *have = need;
    return 1;
}

/* Room for the largest matrix so far. */
static dial_status prepare(di_device *dev, const di_panels *p, int turned, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_cpu *cpu = di_cpu_of(dev);
    struct di_panel_memory *m = cpu->panels;
    size_t threads = (size_t)dev->threads;
    int64_t k = di_units(1, p->in > p->out ? p->in : p->out);

    if (m == NULL) {
        m = cpu->panels = di_zalloc(dev->al, sizeof *m);
        if (m != NULL) m->lane = di_new_array(dev->al, threads * SLAB * COLS, sizeof *m->lane);
    }
    if (m == NULL || m->lane == NULL ||
        !grow(dev, (size_t)(SLAB * k) * 4, &m->x_bytes, threads, &m->x) ||
        (turned && !grow(dev, turned_bytes(p), &m->turned_bytes, 1, &m->turned)))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for products of %lld x %lld", (long long)p->out,
                (long long)p->in);
done:
    return st;
}

void di_panels_close(di_device *dev)
{
    di_cpu *cpu = di_cpu_of(dev);
    struct di_panel_memory *m = cpu->panels;

    if (m == NULL) return;
    di_free(dev->al, m->turned);
    di_free(dev->al, m->lane);
    di_free(dev->al, m->x);
    di_free(dev->al, m);
    cpu->panels = NULL;
}

/* ---- packing ----------------------------------------------------------------------------------
 */

dial_status di_panels_new(di_device *dev, const di_weight *part, int n_parts, int turned,
                          di_panels **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_panels *p = di_zalloc(dev->al, sizeof *p);
    int64_t in = part[0].in;
    size_t n = 0;
    float *rows = NULL; /* a panel of each thread */

    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a packed weight");
    p->in = in;
    for (int i = 0; i < n_parts; i++) p->out += part[i].out;
    p->units = di_units(1, in);
    if (di_mul_size((size_t)di_round_up(p->out, DI_PANEL) * 4, (size_t)p->units, &n))
        p->data = di_new(dev->al, n);
    p->bytes = n;
    rows = di_new_array(dev->al, (size_t)dev->threads * DI_PANEL, (size_t)in * sizeof *rows);
    if (p->data == NULL || rows == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a weight of %lld x %lld", (long long)p->out,
                (long long)in);
#pragma omp parallel for num_threads(dev->threads) schedule(dynamic)
    for (int64_t i = 0; i < di_panels_in(p->out); i++) {
        float *own = rows + omp_get_thread_num() * DI_PANEL * in;
        int64_t first = i * DI_PANEL, some = p->out - first < DI_PANEL ? p->out - first : DI_PANEL;
        di_pack pack = {.x = own,
                        .dtype = DI_F32,
                        .stride = in,
                        .rows = some,
                        .cols = in,
                        .scale = 1,
                        .to = p->data + first * p->units};

        for (int64_t r = 0; r < some; r++) di_weight_row(part, first + r, own + r * in);
        di_pack_across(DI_ISA_BF16, 1, &pack);
    }
    DI_TRY(prepare(dev, p, turned, err));
    *out = p;
    p = NULL;
done:
    di_free(dev->al, rows);
    di_panels_free(dev, p);
    return st;
}

void di_panels_free(di_device *dev, di_panels *p)
{
    if (p == NULL) return;
    di_free(dev->al, p->data);
    di_free(dev->al, p);
}

size_t di_panels_bytes(const di_panels *p)
{
    return p->bytes;
}

/* ---- turning ----------------------------------------------------------------------------------
 */

/* Panel `ip` of the turned matrix: inputs 32 ip .. */
static void turn_panel(const di_panels *p, int64_t ip, uint32_t *turned)
{
    int64_t pairs = di_units(1, p->out);
    int64_t rows = p->units - ip * HALF < HALF ? p->units - ip * HALF : HALF;
    uint32_t from[HALF * DI_PANEL], to[HALF * DI_PANEL];

    for (int64_t op = 0; op < di_panels_in(p->out); op++) {
        const uint32_t *source = p->data + (op * p->units + ip * HALF) * DI_PANEL;
        uint32_t *target = turned + (ip * pairs + op * HALF) * DI_PANEL;
        int64_t left = pairs - op * HALF;

        if (rows == HALF && left >= HALF) {
            /* neither jump from block to block nor stores in this order are foreseen by hardware */
            for (int i = 0; i < HALF * DI_PANEL; i += 16) {
                __builtin_prefetch(source + p->units * DI_PANEL + i, 0);
                __builtin_prefetch(target + HALF * DI_PANEL + i, 1);
            }
            turn_block(source, target);
            continue;
        }
        memset(from, 0, sizeof from);
        memcpy(from, source, (size_t)(rows * DI_PANEL) * 4);
        turn_block(from, to);
        memcpy(target, to, (size_t)((left < HALF ? left : HALF) * DI_PANEL) * 4);
    }
}

/* ---- products ---------------------------------------------------------------------------------
 */

/* y [N, n] (+)= x [N, k] b + bias, with b in panels of `units`. */
typedef struct product {
    const di_mat *x, *y;
    const float *bias;
    const uint32_t *b;
    int64_t n, units;
    int add;
    int64_t slab, cols; /* of a piece */
    int64_t slabs, groups;
} product;

static product plan_product(const di_mat *x, const uint32_t *b, int64_t n, const float *bias,
                            const di_mat *y, int add)
{
    product m = {
        .x = x, .y = y, .bias = bias, .b = b, .n = n, .units = di_units(1, x->cols), .add = add};

    m.slabs = (x->rows + SLAB - 1) / SLAB;
    m.slab = m.slabs > 0 ? di_round_up((x->rows + m.slabs - 1) / m.slabs, TILE) : SLAB;
    m.groups = (n + COLS - 1) / COLS;
    m.cols = di_round_up((n + m.groups - 1) / m.groups, DI_PANEL);
    return m;
}

/* Piece i of the grid, column group by column group. */
static void run_piece(const di_device *dev, const product *m, int64_t i)
{
    struct di_panel_memory *own = di_cpu_of(dev)->panels;
    int64_t row = i % m->slabs * m->slab, col = i / m->slabs * m->cols;
    int64_t rows = m->x->rows - row < m->slab ? m->x->rows - row : m->slab;
    int64_t cols = m->n - col < m->cols ? m->n - col : m->cols;
    size_t t = (size_t)omp_get_thread_num();
    float *lane = own->lane + t * SLAB * COLS;
    int direct = m->bias == NULL && (m->y->dtype == DI_F32 || m->units <= DEPTH);
    di_mm mm = {.m = rows,
                .n = cols,
                .a_k = 1,
                .b_k = DI_PANEL,
                .b_panel = m->units * DI_PANEL,
                .c = lane,
                .c_row = cols};
    const uint32_t *a = (const uint32_t *)(const void *)di_mat_at(m->x, row, 0);

    if (rows <= 0 || cols <= 0) return;
    mm.a_row = m->x->stride / 2;
    if (m->x->dtype != DI_BF16 || m->x->stride % 2 != 0 || m->x->cols % 2 != 0 ||
        (uintptr_t)m->x->data % 4 != 0) {
        uint32_t *to = (uint32_t *)(void *)((char *)own->x + t * own->x_bytes);
        di_pack pack = {.x = m->x->data,
                        .dtype = m->x->dtype,
                        .stride = m->x->stride,
                        .row0 = row,
                        .rows = rows,
                        .cols = m->x->cols,
                        .scale = 1,
                        .to = to};

        di_pack_rows(DI_ISA_BF16, 1, &pack);
        a = to;
        mm.a_row = m->units;
    }
    if (direct) {
        mm.c = di_mat_at(m->y, row, col);
        mm.c_row = m->y->stride;
        mm.c_bf16 = m->y->dtype == DI_BF16;
        mm.add = m->add;
    }
    for (int64_t k = 0; k < m->units; k += DEPTH) {
        mm.k = m->units - k < DEPTH ? m->units - k : DEPTH;
        mm.a = a + k;
        mm.b = m->b + col * m->units + k * DI_PANEL;
        di_mm_run(DI_ISA_BF16, 1, &mm);
        mm.add = 1;
    }
    if (!direct)
        di_store(DI_ISA_BF16, &(di_mat){lane, DI_F32, rows, cols, cols},
                 m->bias != NULL ? m->bias + col : NULL,
                 &(di_mat){di_mat_at(m->y, row, col), m->y->dtype, rows, cols, m->y->stride},
                 m->add);
}

void di_panels_run(di_device *dev, const di_panels *p, const di_mat *x, const float *bias,
                   di_mat *y, int add)
{
    product m = plan_product(x, p->data, p->out, bias, y, add);

#pragma omp parallel for num_threads(dev->threads) schedule(dynamic)
    for (int64_t i = 0; i < m.slabs * m.groups; i++) run_piece(dev, &m, i);
}

void di_panels_turned(di_device *dev, const di_panels *p, const di_mat *dy, di_mat *dx, int add)
{
    uint32_t *turned = di_cpu_of(dev)->panels->turned;
    product m = plan_product(dy, turned, p->in, NULL, dx, add);

    if (dy->rows == 0) return;
#pragma omp parallel num_threads(dev->threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < di_panels_in(p->in); i++) turn_panel(p, i, turned);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < m.slabs * m.groups; i++) run_piece(dev, &m, i);
    }
}

#endif
