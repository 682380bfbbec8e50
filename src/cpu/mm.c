/*
 * Register tiles of MR rows and two vectors of columns: 12 x 32 in AVX-512 (24 of 32 registers
 * sum, 2 hold b, one broadcasts a), 6 x 16 in AVX2 (12 of 16). The chains of a tile hide the
 * latency of a product; a is broadcast straight from memory, so it needs no packing in either
 * orientation. What remains runs through tiles of a third of the rows, of one row, and of one
 * vector; more sizes gained nothing that could be measured and doubled the time to compile.
 */
#define DI_SELF "cpu/mm.c"
#include "cpu/each_isa.h"
#include "cpu/mm.h"

#include <string.h>

#ifdef DI_PASS

#if DI_PASS == 2
#define MR 6
#else
#define MR 12
#endif

/* One unit of a for all lanes, and one step of the chain. */
DI_INLINE vf K(spread)(const uint32_t *a)
{
#if DI_PASS == 2
    return _mm256_broadcast_ss((const float *)a);
#else
    return _mm512_castsi512_ps(_mm512_set1_epi32((int)*a));
#endif
}

DI_INLINE vf K(step)(const int pairs, vf sum, vf a, vf b)
{
#if DI_PASS == 4
    if (pairs) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#endif
    (void)pairs;
    return v_fma(a, b, sum);
}

/*
 * Rows i .. i + mr - 1, nv vectors of columns from j; `left` columns count (all of two vectors).
 * A short sum ends before the next tile's part of c has come from memory, so that is asked for
 * ahead: without it LoRA's wide products with k = 8 ran at half the speed.
 */
DI_INLINE void K(tile)(const int pairs, const int mr, const int nv, const di_mm *p, int64_t i,
                       int64_t j, int64_t left)
{
    const uint32_t *a0 = (const uint32_t *)p->a + i * p->a_row, *a[4];
    const float *b = (const float *)p->b + j / DI_PANEL * p->b_panel + j % DI_PANEL;
    const int size = p->c_bf16 ? 2 : 4;
    int64_t row = p->a_row;
    char *c = (char *)p->c + (i * p->c_row + j) * size;
    vf sum[MR][2];

    /* three rows a pointer: base, base + row, base + 2 row are one address mode each */
    DI_UNROLL
    for (int r = 0; r < 4; r++) a[r] = a0 + (3 * r < mr ? 3 * r : 0) * row;
    DI_UNROLL
    for (int r = 0; r < mr; r++) {
        if (p->add) __builtin_prefetch(c + r * p->c_row * size + 2 * DI_VL * size);
        DI_UNROLL
        for (int v = 0; v < nv; v++) {
            sum[r][v] = v_zero();
            if (p->add && !p->c_bf16)
                sum[r][v] = v_get(c + r * p->c_row * 4, 0, v * DI_VL, left - v * DI_VL);
        }
    }
    for (int64_t k = 0; k < p->k; k++) {
        vf bv[2];

        DI_UNROLL
        for (int v = 0; v < nv; v++) bv[v] = v_load(b + v * DI_VL);
        DI_UNROLL
        for (int r = 0; r < mr; r++) {
            vf av = K(spread)(a[r / 3] + r % 3 * row);

            DI_UNROLL
            for (int v = 0; v < nv; v++) sum[r][v] = K(step)(pairs, sum[r][v], av, bv[v]);
        }
        b += p->b_k;
        DI_UNROLL
        for (int r = 0; r < 4; r++) a[r] += p->a_k;
    }
    if (p->c_bf16) {
        DI_UNROLL
        for (int r = 0; r < mr; r++) {
            DI_UNROLL
            for (int v = 0; v < nv; v++) {
                char *to = c + r * p->c_row * 2;

                if (p->add) sum[r][v] = v_add(v_get(to, 1, v * DI_VL, left - v * DI_VL), sum[r][v]);
                v_put(to, 1, v * DI_VL, left - v * DI_VL, sum[r][v]);
            }
        }
        return;
    }
    DI_UNROLL
    for (int r = 0; r < mr; r++) {
        DI_UNROLL
        for (int v = 0; v < nv; v++)
            v_put(c + r * p->c_row * 4, 0, v * DI_VL, left - v * DI_VL, sum[r][v]);
    }
}

/* mr rows of c, columns [j, end). */
DI_INLINE void K(strip)(const int pairs, const int mr, const di_mm *p, int64_t i, int64_t j,
                        int64_t end)
{
    for (; j + 2 * DI_VL <= end; j += 2 * DI_VL) K(tile)(pairs, mr, 2, p, i, j, 2 * DI_VL);
    for (; j < end; j += DI_VL) K(tile)(pairs, mr, 1, p, i, j, end - j);
}

/* All rows, columns [j, end). */
DI_INLINE void K(columns)(const int pairs, const di_mm *p, int64_t j, int64_t end)
{
    int64_t i = 0;

    for (; i + MR <= p->m; i += MR) K(strip)(pairs, MR, p, i, j, end);
    for (; i + MR / 3 <= p->m; i += MR / 3) K(strip)(pairs, MR / 3, p, i, j, end);
    for (; i < p->m; i++) K(strip)(pairs, 1, p, i, j, end);
}

/* A small b stays in the first-level cache while c is passed row by row; else panel by panel. */
DI_INLINE void K(run)(const int pairs, const di_mm *p)
{
    int64_t step = p->n * p->k <= 6144 ? p->n : 2 * DI_VL;

    for (int64_t j = 0; j < p->n; j += step)
        K(columns)(pairs, p, j, p->n - j < step ? p->n : j + step);
}

#if DI_PASS == 4
static void run_pairs(const di_mm *p)
{
    run_bf16(1, p);
}
#else
static void K(run_f32)(const di_mm *p)
{
    K(run)(0, p);
}
#endif

/* Row r of the packing's source (counted from 0 in the call), or NULL past the end. */
DI_INLINE const void *K(source)(const di_pack *p, int64_t r)
{
    int64_t row = p->row0 + r;

    if (r >= p->rows) return NULL;
    if (p->list != NULL) row = p->list[row];
    return p->dtype == DI_BF16 ? (const void *)((const uint16_t *)p->x + row * p->stride + p->col0)
                               : (const void *)((const float *)p->x + row * p->stride + p->col0);
}

/* cols of one row (NULL: zeros) as f32 or bf16, the latter filled up to whole units. */
DI_INLINE void K(take_row)(const int pairs, const di_pack *p, const void *x, int64_t cols, void *to)
{
    int from_bf16 = p->dtype == DI_BF16;

    if (x == NULL) {
        memset(to, 0, (size_t)di_units(pairs, cols) * 4);
        return;
    }
    if (pairs && cols % 2 != 0) ((uint16_t *)to)[cols] = 0;
    if (pairs && from_bf16) {
        memcpy(to, x, (size_t)cols * 2);
        return;
    }
    for (int64_t i = 0; i < cols; i += DI_VL)
        v_put(to, pairs, i, cols - i, v_mul(v_get(x, from_bf16, i, cols - i), v_set(p->scale)));
}

static void K(pack_rows)(int pairs, const di_pack *p)
{
    int64_t units = di_units(pairs, p->cols);

    for (int64_t r = 0; r < p->rows; r++)
        K(take_row)(pairs, p, K(source)(p, r), p->cols, (uint32_t *)p->to + r * units);
}

/* 8 x 8 units: rows of `from` (stride units) become columns of `to` (32 units a row). */
DI_INLINE void K(turn8)(const float *from, int64_t stride, float *to)
{
    __m256 r[8], s[8];

    DI_UNROLL
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(from + i * stride);
    DI_UNROLL
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    DI_UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
    DI_UNROLL
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * DI_PANEL, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * DI_PANEL, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

/* In pieces of 64 units of 32 rows: they are converted into `tile` and turned from there. */
static void K(pack_across)(int pairs, const di_pack *p)
{
    enum { PIECE = 64 };
    int64_t units = di_units(pairs, p->cols), piece_cols = pairs ? 2 * PIECE : PIECE;
    uint32_t tile[DI_PANEL][PIECE];

    for (int64_t r = 0; r < p->rows; r += DI_PANEL) {
        float *panel = (float *)p->to + r * units;

        for (int64_t c = 0; c < p->cols; c += piece_cols) {
            int64_t cols = p->cols - c < piece_cols ? p->cols - c : piece_cols;
            int64_t n = di_units(pairs, cols), u = 0;
            float *to = panel + di_units(pairs, c) * DI_PANEL;

            for (int i = 0; i < DI_PANEL; i++) {
                const char *x = K(source)(p, r + i);

                if (x != NULL) x += (p->dtype == DI_BF16 ? 2 : 4) * c;
                K(take_row)(pairs, p, x, cols, tile[i]);
            }
            for (; u + 8 <= n; u += 8)
                for (int i = 0; i < DI_PANEL; i += 8)
                    K(turn8)((const float *)&tile[i][u], PIECE, to + u * DI_PANEL + i);
            for (; u < n; u++)
                for (int i = 0; i < DI_PANEL; i++) memcpy(to + u * DI_PANEL + i, &tile[i][u], 4);
        }
    }
}

#if DI_PASS == 4
/* Two rows of 32 bf16 to 32 pairs. */
DI_INLINE void pair_up(const uint16_t *x, const uint16_t *y, uint32_t *to)
{
    __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(y);
    __m512i lo = _mm512_unpacklo_epi16(a, b), hi = _mm512_unpackhi_epi16(a, b);
    __m512i first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    __m512i second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);

    _mm512_storeu_si512(to, _mm512_permutex2var_epi64(lo, first, hi));
    _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi64(lo, second, hi));
}

/* Short pieces of long rows: hardware does not foresee the next row. */
enum { AHEAD = 8 };

static void pack_down_pairs(const di_pack *p, int64_t k0, int64_t k1, int64_t to_k)
{
    int64_t size = p->dtype == DI_BF16 ? 2 : 4;
    uint16_t a[DI_PANEL], b[DI_PANEL];

    for (int64_t k = k0; k < k1; k++) {
        const char *x = K(source)(p, 2 * (k - k0)), *y = K(source)(p, 2 * (k - k0) + 1);
        const char *x_soon = K(source)(p, 2 * (k - k0) + AHEAD);
        const char *y_soon = K(source)(p, 2 * (k - k0) + AHEAD + 1);

        for (int64_t c = 0; c < p->cols; c += DI_PANEL) {
            uint32_t *to = (uint32_t *)p->to + c * to_k + k * DI_PANEL;
            int64_t cols = p->cols - c < DI_PANEL ? p->cols - c : DI_PANEL;

            if (x_soon != NULL) __builtin_prefetch(x_soon + size * c);
            if (y_soon != NULL) __builtin_prefetch(y_soon + size * c);

            if (p->dtype == DI_BF16 && cols == DI_PANEL && y != NULL) {
                pair_up((const uint16_t *)x + c, (const uint16_t *)y + c, to);
                continue;
            }
            memset(a, 0, sizeof a);
            memset(b, 0, sizeof b);
            if (x != NULL) K(take_row)(1, p, x + size * c, cols, a);
            if (y != NULL) K(take_row)(1, p, y + size * c, cols, b);
            pair_up(a, b, to);
        }
    }
}
#endif

static void K(pack_down_f32)(const di_pack *p, int64_t k0, int64_t k1, int64_t to_k)
{
    int64_t size = p->dtype == DI_BF16 ? 2 : 4;

    for (int64_t k = k0; k < k1; k++) {
        const char *x = K(source)(p, k - k0);

        for (int64_t c = 0; c < p->cols; c += DI_PANEL) {
            float *to = (float *)p->to + c * to_k + k * DI_PANEL;
            int64_t cols = p->cols - c < DI_PANEL ? p->cols - c : DI_PANEL;

            if (cols < DI_PANEL || x == NULL) memset(to, 0, DI_PANEL * sizeof *to);
            if (x != NULL) K(take_row)(0, p, x + size * c, cols, to);
        }
    }
}

#undef MR

#elif defined(DI_VECTOR)

#define PICK(isa, name)                                                                            \
    ((isa) >= DI_ISA_BF16 ? name##_bf16 : (isa) >= DI_ISA_AVX512 ? name##_avx512 : name##_avx2)

void di_mm_run(di_isa isa, int pairs, const di_mm *p)
{
    if (pairs)
        run_pairs(p);
    else if (isa >= DI_ISA_AVX512)
        run_f32_avx512(p);
    else
        run_f32_avx2(p);
}

void di_pack_rows(di_isa isa, int pairs, const di_pack *p)
{
    PICK(isa, pack_rows)(pairs, p);
}

void di_pack_across(di_isa isa, int pairs, const di_pack *p)
{
    PICK(isa, pack_across)(pairs, p);
}

void di_pack_down(di_isa isa, int pairs, const di_pack *p, int64_t k0, int64_t k1, int64_t to_k)
{
    if (pairs)
        pack_down_pairs(p, k0, k1, to_k);
    else
        PICK(isa, pack_down_f32)(p, k0, k1, to_k);
}

#endif
