/*
 * Register tiles as in mm.c, 12 x 32 with VNNI, of whole numbers: 4 bytes of a row of x, spread to
 * all lanes, times 16 units of a panel. What a tile leaves goes to y from the registers, scaled.
 *
 * A slab of x becomes 8 bits in memory of the thread's own just before it is used, which keeps it
 * in the second-level cache. A slab runs through all columns where there are slabs enough for the
 * threads; else its columns are shared out and it is made once for each share.
 */
#define DI_SELF "cpu/int8.c"
#define DI_WITH_VNNI
#include "cpu/each_isa.h"
#include "cpu/int8.h"

#include <omp.h>
#include <string.h>

#include "base/error.h"
#include "cpu/gemm.h"
#include "cpu/mm.h"

#ifndef DI_CPU_INT8_TILES
#define DI_CPU_INT8_TILES
/* Four neighbours along the sum, a byte each. */
enum { UNIT = 4, LEVELS = 127, OFFSET = 128 };

/* y [m, n] of a slab of rows. */
typedef struct tiles {
    int64_t m, n, units;
    const uint32_t *a; /* [m][a_row] */
    int64_t a_row;
    const float *a_scale;  /* [m] */
    const uint32_t *b;     /* [panels][units][32] */
    const float *b_scale;  /* [panels][32] */
    const int32_t *b_sums; /* [panels][32]: sum over a column of b */
    const float *bias;     /* [n] or NULL */
    void *y;
    int64_t y_row;
    int y_bf16, add;
} tiles;
#endif

#if defined(DI_PASS) && DI_PASS != 3

#if DI_PASS == 2
#define MR 4
#define vi __m256i
#else
#define MR 12
#define vi __m512i
#endif

/* Bits of |x| as a whole number: in the order of the values, NaN above all. */
DI_INLINE vi K(size_bits)(vf x)
{
#if DI_PASS == 2
    return _mm256_castps_si256(v_abs(x));
#else
    return _mm512_castps_si512(v_abs(x));
#endif
}

DI_INLINE vi K(larger)(vi a, vi b)
{
#if DI_PASS == 2
    return _mm256_max_epi32(a, b);
#else
    return _mm512_max_epi32(a, b);
#endif
}

/* To the nearest whole number, halves to the even one; `offset` is added; a byte each. */
DI_INLINE void K(put_bytes)(uint8_t *to, vf x, int offset)
{
#if DI_PASS == 2
    __m256i i = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(offset));
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));

    _mm_storel_epi64((__m128i *)to, _mm_packs_epi16(half, half));
#else
    __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(offset));

    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8(i));
#endif
}

/* Lanes at distance h, of a lower and an upper one: their sum below, the difference above. */
DI_INLINE vf K(pairwise)(const int h, vf x)
{
#if DI_PASS == 2
    vf y = h == 1   ? _mm256_permute_ps(x, 0xb1)
           : h == 2 ? _mm256_permute_ps(x, 0x4e)
                    : _mm256_permute2f128_ps(x, x, 1);
    vf sum = v_add(x, y), difference = v_sub(y, x);

    if (h == 1) return _mm256_blend_ps(sum, difference, 0xaa);
    if (h == 2) return _mm256_blend_ps(sum, difference, 0xcc);
    return _mm256_blend_ps(sum, difference, 0xf0);
#else
    vf y = h == 1   ? _mm512_permute_ps(x, 0xb1)
           : h == 2 ? _mm512_permute_ps(x, 0x4e)
           : h == 4 ? _mm512_shuffle_f32x4(x, x, 0xb1)
                    : _mm512_shuffle_f32x4(x, x, 0x4e);
    const __mmask16 upper = h == 1 ? 0xaaaa : h == 2 ? 0xcccc : h == 4 ? 0xf0f0 : 0xff00;

    return _mm512_mask_sub_ps(v_add(x, y), upper, y, x);
#endif
}

/* The same for numbers that are h vectors apart. */
DI_INLINE void K(across)(const int h, vf *v)
{
    DI_UNROLL
    for (int i = 0; i < DI_INT8_BLOCK / DI_VL / 2; i++) {
        const int low = i / h * 2 * h + i % h;
        vf a = v[low], b = v[low + h];

        v[low] = v_add(a, b);
        v[low + h] = v_sub(a, b);
    }
}

/* 64 numbers turned (tensor/ops.h). */
DI_INLINE void K(turn)(const void *x, int bf16, float *to)
{
    vf v[DI_INT8_BLOCK / DI_VL];

    DI_UNROLL
    for (int i = 0; i < DI_INT8_BLOCK / DI_VL; i++) {
        v[i] = v_get(x, bf16, i * DI_VL, DI_VL);
        v[i] = K(pairwise)(1, v[i]);
        v[i] = K(pairwise)(2, v[i]);
        v[i] = K(pairwise)(4, v[i]);
#if DI_PASS != 2
        v[i] = K(pairwise)(8, v[i]);
#endif
    }
    K(across)(1, v);
    K(across)(2, v);
#if DI_PASS == 2
    K(across)(4, v);
#endif
    DI_UNROLL
    for (int i = 0; i < DI_INT8_BLOCK / DI_VL; i++)
        v_store(to + i * DI_VL, v_mul(v[i], v_set(0.125F)));
}

/* n numbers to bytes, DI_VL at a time, turned in `line`; returns the scale. */
static float K(quantise)(const void *x, int bf16, int64_t n, int offset, float *line, uint8_t *to)
{
    vi most = K(size_bits)(v_zero());
    uint32_t lane[DI_VL], bits = 0;
    int64_t whole = n / DI_INT8_BLOCK * DI_INT8_BLOCK;
    float size, inverse;

    for (int64_t i = 0; i < whole; i += DI_INT8_BLOCK)
        K(turn)((const char *)x + i * (bf16 ? 2 : 4), bf16, line + i);
    for (int64_t i = whole; i < n; i += DI_VL) v_put(line, 0, i, n - i, v_get(x, bf16, i, n - i));
    for (int64_t i = 0; i < n; i += DI_VL)
        most = K(larger)(most, K(size_bits)(v_get(line, 0, i, n - i)));
    memcpy(lane, &most, sizeof lane);
    for (int i = 0; i < DI_VL; i++) bits = lane[i] > bits ? lane[i] : bits;
    memcpy(&size, &bits, sizeof size);
    inverse = size >= DI_INT8_LEAST ? LEVELS / size : 0;
    for (int64_t i = 0; i < n; i += DI_VL)
        K(put_bytes)(to + i, v_mul(v_get(line, 0, i, n - i), v_set(inverse)), offset);
    return size / LEVELS;
}

/* One step of all chains: a unit of a row times the units of a vector of columns. */
#if DI_PASS == 2
typedef struct halves {
    vi even, odd; /* bytes 0 and 2, 1 and 3, as 16 bits */
} halves;

DI_INLINE halves widen(vi x)
{
    return (halves){_mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srai_epi16(x, 8)};
}

#define COLUMN halves
#define column(b) widen(_mm256_loadu_si256((const vi *)(const void *)(b)))
#define spread(a) widen(_mm256_set1_epi32((int)*(a)))
DI_INLINE vi step(vi sum, halves a, halves b)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a.even, b.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a.odd, b.odd));
}
#define zero() _mm256_setzero_si256()
#define put_whole(to, sum) _mm256_storeu_si256((vi *)(void *)(to), sum)
#define finished(sum, b_sums)                                                                      \
    _mm256_cvtepi32_ps(_mm256_loadu_si256((const vi *)(const void *)(sum)))
#else
#define COLUMN vi
#define column(b) _mm512_loadu_si512(b)
#define spread(a) _mm512_set1_epi32((int)*(a))
#define step(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#define zero() _mm512_setzero_si512()
#define put_whole(to, sum) _mm512_storeu_si512(to, sum)
#define finished(sum, b_sums) /* without the offset of a */                                        \
    _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(sum),                                   \
                                        _mm512_slli_epi32(_mm512_loadu_si512(b_sums), 7)))
#endif

/* Columns j .. of row i of y from their sums. */
DI_INLINE void K(finish_row)(const int nv, const tiles *p, int64_t i, int64_t j, int64_t left,
                             const int32_t *sum)
{
    char *y = (char *)p->y + (i * p->y_row + j) * (p->y_bf16 ? 2 : 4);
    vf scale = v_set(p->a_scale[i]);

    for (int v = 0; v < nv; v++) {
        int64_t at = v * DI_VL;
        vf x = v_mul(finished(sum + at, p->b_sums + j + at),
                     v_mul(scale, v_load(p->b_scale + j + at)));

        if (p->bias != NULL) x = v_add(x, v_get(p->bias + j, 0, at, left - at));
        if (p->add) x = v_add(v_get(y, p->y_bf16, at, left - at), x);
        v_put(y, p->y_bf16, at, left - at, x);
    }
}

/*
 * Rows i .. i + mr - 1, nv vectors of columns from j; `left` columns count (all of two vectors).
 * The sums leave through memory as they are: with more than a store behind the loop GCC 12 keeps
 * them there all the time, at less than half the speed.
 */
DI_INLINE void K(tile)(const int mr, const int nv, const tiles *p, int64_t i, int64_t j,
                       int64_t left)
{
    const uint32_t *a0 = p->a + i * p->a_row, *a[4];
    const uint32_t *b = p->b + j / DI_PANEL * p->units * DI_PANEL + j % DI_PANEL;
    int64_t row = p->a_row;
    int32_t whole[MR][2 * DI_VL];
    vi sum[MR][2];

    DI_UNROLL
    for (int r = 0; r < 4; r++) a[r] = a0 + (3 * r < mr ? 3 * r : 0) * row;
    DI_UNROLL
    for (int r = 0; r < mr; r++) {
        DI_UNROLL
        for (int v = 0; v < nv; v++) sum[r][v] = zero();
    }
    for (int64_t k = 0; k < p->units; k++) {
        COLUMN bv[2];

        DI_UNROLL
        for (int v = 0; v < nv; v++) bv[v] = column(b + v * DI_VL);
        DI_UNROLL
        for (int r = 0; r < mr; r++) {
            COLUMN av = spread(a[r / 3] + r % 3 * row);

            DI_UNROLL
            for (int v = 0; v < nv; v++) sum[r][v] = step(sum[r][v], av, bv[v]);
        }
        b += DI_PANEL;
        DI_UNROLL
        for (int r = 0; r < 4; r++) a[r]++;
    }
    DI_UNROLL
    for (int r = 0; r < mr; r++) {
        DI_UNROLL
        for (int v = 0; v < nv; v++) put_whole(whole[r] + v * DI_VL, sum[r][v]);
    }
    for (int r = 0; r < mr; r++) K(finish_row)(nv, p, i + r, j, left, whole[r]);
}

/* mr rows, columns [j, end). */
DI_INLINE void K(strip)(const int mr, const tiles *p, int64_t i, int64_t j, int64_t end)
{
    for (; j + 2 * DI_VL <= end; j += 2 * DI_VL) K(tile)(mr, 2, p, i, j, 2 * DI_VL);
    for (; j < end; j += DI_VL) K(tile)(mr, 1, p, i, j, end - j);
}

static void K(run)(const tiles *p)
{
    for (int64_t j = 0; j < p->n; j += DI_PANEL) {
        int64_t i = 0, end = p->n - j < DI_PANEL ? p->n : j + DI_PANEL;

        for (; i + MR <= p->m; i += MR) K(strip)(MR, p, i, j, end);
        for (; i + MR / 3 <= p->m; i += MR / 3) K(strip)(MR / 3, p, i, j, end);
        for (; i < p->m; i++) K(strip)(1, p, i, j, end);
    }
}

#undef MR
#undef vi
#undef COLUMN
#undef column
#undef spread
#undef step
#undef zero
#undef put_whole
#undef finished

#elif !defined(DI_PASS) && defined(DI_VECTOR)

/*
 * A piece of work: SLAB rows, through all columns or, where there are fewer slabs than PIECES a
 * thread, through a share of them of at least MIN_PANELS panels.
 */
enum { TILE = 12, SLAB = 48, PIECES = 4, MIN_PANELS = 8 };

struct di_int8 {
    int64_t out, in, units;
    uint32_t *data; /* [panels of out][units][32] */
    float *scale;   /* [panels of out][32] */
    int32_t *sums;  /* the same */
    size_t bytes;
};

struct di_int8_memory {
    uint8_t *row; /* [threads][SLAB][row_bytes] */
    float *line;  /* [threads][row_bytes] behind them: a row between turning and rounding */
    size_t row_bytes;
    float *scale; /* [threads][SLAB] */
};

static float quantise(di_isa isa, const void *x, int bf16, int64_t n, int offset, float *line,
                      uint8_t *to)
{
    return isa >= DI_ISA_BF16   ? quantise_bf16(x, bf16, n, offset, line, to)
           : isa == DI_ISA_VNNI ? quantise_vnni(x, bf16, n, offset, line, to)
                                : quantise_avx2(x, bf16, n, offset, line, to);
}

static void run(di_isa isa, const tiles *p)
{
    if (isa >= DI_ISA_BF16)
        run_bf16(p);
    else if (isa == DI_ISA_VNNI)
        run_vnni(p);
    else
        run_avx2(p);
}

/* Bytes of a row of n numbers: whole vectors of 16. */
static size_t row_bytes(int64_t n)
{
    return (size_t)di_round_up(n, 16);
}

/* The first time: what runs here? */
static dial_status open_memory(di_device *dev, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_cpu *cpu = di_cpu_of(dev);
    int faster = cpu->isa >= DI_ISA_VNNI;

    if (cpu->isa < DI_ISA_AVX2)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--weights int8", "leave out the flag, or add --device ref",
                   "products in 8 bits need AVX2, which this processor has not");
#ifdef DIAL_DNNL
    faster = faster && !(dev->act == DI_BF16 && di_gemm_has_amx(dev));
#endif
    if (!faster)
        di_log(dev->env, DIAL_LOG_WARN,
               "--weights int8: on this machine little faster, if at all, but in less memory");
    cpu->int8 = di_zalloc(dev->al, sizeof *cpu->int8);
    if (cpu->int8 != NULL)
        cpu->int8->scale =
            di_new_array(dev->al, (size_t)dev->threads * SLAB, sizeof *cpu->int8->scale);
    if (cpu->int8 == NULL || cpu->int8->scale == NULL) {
        di_int8_close(dev);
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for products in 8 bits");
    }
done:
    return st;
}

/* Room for the rows of the widest matrix so far. */
static dial_status prepare(di_device *dev, int64_t in, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_cpu *cpu = di_cpu_of(dev);
    size_t need = row_bytes(in);
    uint8_t *row;

    if (cpu->int8 == NULL) DI_TRY(open_memory(dev, err));
    if (need <= cpu->int8->row_bytes) goto done;
    row = di_new(dev->al, (size_t)dev->threads * (SLAB + sizeof(float)) * need);
    if (row == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rows of %lld numbers", (long long)in);
    di_free(dev->al, cpu->int8->row);
    cpu->int8->row = row;
    cpu->int8->line = (float *)(void *)(row + (size_t)dev->threads * SLAB * need);
    cpu->int8->row_bytes = need;
done:
    return st;
}

void di_int8_close(di_device *dev)
{
    di_cpu *cpu = di_cpu_of(dev);

    if (cpu->int8 == NULL) return;
    di_free(dev->al, cpu->int8->row);
    di_free(dev->al, cpu->int8->scale);
    di_free(dev->al, cpu->int8);
    cpu->int8 = NULL;
}

/* Row o of W into its place of the panels. */
static void pack_row(const di_int8 *p, int64_t o, const uint8_t *q)
{
    uint32_t *to = p->data + o / DI_PANEL * p->units * DI_PANEL + o % DI_PANEL;
    int32_t sum = 0;

    for (int64_t i = 0; i < p->in; i++) sum += (int8_t)q[i];
    for (int64_t u = 0; u < p->units; u++) {
        int64_t left = p->in - u * UNIT;

        memcpy(to + u * DI_PANEL, q + u * UNIT, left < UNIT ? (size_t)left : UNIT);
    }
    p->sums[o] = sum;
}

static dial_status take_memory(di_device *dev, di_int8 *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t columns = (size_t)di_round_up(p->out, DI_PANEL), n = 0;

    if (p->in > DI_INT8_MOST)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--weights int8", "leave out the flag",
                   "sums of %lld products in 8 bits do not fit in 32 bits", (long long)p->in);
    if (di_mul_size(columns * UNIT, (size_t)p->units, &n)) p->data = di_zalloc(dev->al, n);
    p->scale = di_new_array(dev->al, columns, sizeof *p->scale);
    p->sums = di_new_array(dev->al, columns, sizeof *p->sums);
    if (p->data == NULL || p->scale == NULL || p->sums == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a weight of %lld x %lld", (long long)p->out,
                (long long)p->in);
    p->bytes = n + columns * (sizeof *p->scale + sizeof *p->sums);
done:
    return st;
}

dial_status di_int8_new(di_device *dev, const di_weight *part, int n_parts, di_int8 **out,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    di_isa isa = di_cpu_isa(dev);
    di_int8 *p = di_zalloc(dev->al, sizeof *p);
    int64_t in = part[0].in;
    size_t threads = (size_t)dev->threads;
    float *row = di_new_array(dev->al, 2 * threads * (size_t)in, sizeof *row);
    uint8_t *q = di_new(dev->al, threads * row_bytes(in));

    if (p == NULL || row == NULL || q == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a packed weight");
    p->in = in;
    p->units = (in + UNIT - 1) / UNIT;
    for (int i = 0; i < n_parts; i++) p->out += part[i].out;
    DI_TRY(prepare(dev, in, err));
    DI_TRY(take_memory(dev, p, err));
#pragma omp parallel for num_threads(dev->threads) schedule(static)
    for (int64_t o = 0; o < p->out; o++) {
        float *w = row + 2 * omp_get_thread_num() * in;
        uint8_t *bytes = q + (size_t)omp_get_thread_num() * row_bytes(in);

        di_weight_row(part, o, w);
        p->scale[o] = quantise(isa, w, 0, in, 0, w + in, bytes);
        pack_row(p, o, bytes);
    }
    *out = p;
    p = NULL;
done:
    di_free(dev->al, row);
    di_free(dev->al, q);
    di_int8_free(dev, p);
    return st;
}

void di_int8_free(di_device *dev, di_int8 *p)
{
    if (p == NULL) return;
    di_free(dev->al, p->data);
    di_free(dev->al, p->scale);
    di_free(dev->al, p->sums);
    di_free(dev->al, p);
}

size_t di_int8_bytes(const di_int8 *p)
{
    return p->bytes;
}

/* ---- products ---------------------------------------------------------------------------------
 */

typedef struct product {
    const di_int8 *w;
    const di_mat *x, *y;
    const float *bias;
    int add;
    int64_t slab, slabs, cols, groups; /* rows of a slab, columns of a group */
} product;

static void plan_pieces(const di_device *dev, product *m)
{
    int64_t panels = di_panels_in(m->w->out), wanted;

    m->slabs = (m->x->rows + SLAB - 1) / SLAB;
    if (m->slabs == 0) return;
    m->slab = di_round_up((m->x->rows + m->slabs - 1) / m->slabs, TILE);
    wanted = (PIECES * dev->threads + m->slabs - 1) / m->slabs;
    m->groups = wanted < panels / MIN_PANELS ? wanted : panels / MIN_PANELS;
    if (m->groups < 1) m->groups = 1;
    m->cols = (panels + m->groups - 1) / m->groups * DI_PANEL;
}

/* Piece i of the grid, slab by slab. */
static void run_piece(const di_device *dev, const product *m, int64_t i)
{
    struct di_int8_memory *own = di_cpu_of(dev)->int8;
    const di_int8 *w = m->w;
    int64_t row = i / m->groups * m->slab, col = i % m->groups * m->cols;
    size_t t = (size_t)omp_get_thread_num();
    uint8_t *a = own->row + t * SLAB * own->row_bytes;
    di_isa isa = di_cpu_isa(dev);
    tiles p = {.m = m->x->rows - row < m->slab ? m->x->rows - row : m->slab,
               .n = w->out - col < m->cols ? w->out - col : m->cols,
               .units = w->units,
               .a = (const uint32_t *)(const void *)a,
               .a_row = (int64_t)(row_bytes(w->in) / UNIT),
               .a_scale = own->scale + t * SLAB,
               .b = w->data + col * w->units,
               .b_scale = w->scale + col,
               .b_sums = w->sums + col,
               .bias = m->bias != NULL ? m->bias + col : NULL,
               .y = di_mat_at(m->y, row, col),
               .y_row = m->y->stride,
               .y_bf16 = m->y->dtype == DI_BF16,
               .add = m->add};

    if (p.m <= 0 || p.n <= 0) return;
    for (int64_t r = 0; r < p.m; r++)
        own->scale[t * SLAB + (size_t)r] =
            quantise(isa, di_mat_at(m->x, row + r, 0), m->x->dtype == DI_BF16, w->in,
                     isa >= DI_ISA_VNNI ? OFFSET : 0, own->line + t * own->row_bytes,
                     a + (size_t)r * row_bytes(w->in));
    run(isa, &p);
}

void di_int8_run(di_device *dev, const di_int8 *p, const di_mat *x, const float *bias, di_mat *y,
                 int add)
{
    product m = {.w = p, .x = x, .y = y, .bias = bias, .add = add};

    plan_pieces(dev, &m);
#pragma omp parallel for num_threads(dev->threads) schedule(dynamic)
    for (int64_t i = 0; i < m.slabs * m.groups; i++) run_piece(dev, &m, i);
}

#endif
