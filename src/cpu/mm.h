/*
 * Small matrix products inside one thread: what LoRA, attention and the critic need around the
 * large ones of gemm.c. Shapes here are narrow (rank 8 to 256, heads of 64), operands change at
 * each call, and the sums must be ours to order, so a general library would be called with
 * thousands of tiny problems.
 *
 * Everything is counted in units of four bytes: a float, or a pair of bf16 neighbours along the
 * sum. Both kinds of product then walk memory alike,
 *
 *     c [m, n] (+)= sum_k  a (m, k) * b (k, n)        f32: a float times a float
 *                                                     bf16: a pair dot a pair, added in f32
 *
 * a (i, k) is unit a[i * a_row + k * a_k], so a transposed operand is only other strides.
 * b is in panels of 32 columns: b (k, j) is unit b[(j / 32) * b_panel + k * b_k + j % 32], and is
 * read to the end of the last panel whatever n. A plain row-major matrix with room for that is
 * b_panel = 32, b_k = its stride; di_pack_* make dense panels (b_k = 32).
 *
 * An element of c is one chain of fused additions over k upwards, whatever m, n and the place of
 * the element: rows agree bit for bit between any two calls of equal k. With `add` and f32 the
 * chain starts from c, so a sum cut into pieces along k has the bits of the uncut one.
 */
#ifndef DI_CPU_MM_H
#define DI_CPU_MM_H

#include "cpu/isa.h"

enum { DI_PANEL = 32 };

/* Panels that n columns take. */
static inline int64_t di_panels_in(int64_t n)
{
    return (n + DI_PANEL - 1) / DI_PANEL;
}

typedef struct di_mm {
    int64_t m, n, k;
    const void *a;
    int64_t a_row, a_k;
    const void *b;
    int64_t b_panel, b_k;
    void *c;       /* f32 or bf16, row-major */
    int64_t c_row; /* elements */
    int c_bf16;    /* bf16: the whole sum at once, rounded once */
    int add;
} di_mm;

/* pairs: operands are pairs of bf16; only where the set is DI_ISA_BF16. */
void di_mm_run(di_isa isa, int pairs, const di_mm *p);

/*
 * Operands from a matrix x (f32 or bf16, any stride), of rows [row0, row0 + rows); list != NULL:
 * of the rows list[row0 ..]. Rows past the last and odd ends of pairs are filled with zeros.
 * Target: pairs of bf16, or floats. `cols` counts from col0.
 */
typedef struct di_pack {
    const void *x;
    di_dtype dtype;
    int64_t stride, row0, rows, col0, cols;
    const int32_t *list;
    float scale; /* multiplies f32 sources on their way; 1: none */
    void *to;
} di_pack;

/* Units along a dimension of n elements. */
static inline int64_t di_units(int pairs, int64_t n)
{
    return pairs ? (n + 1) / 2 : n;
}
static inline int64_t di_round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* to [rows][units of cols], an operand a; pairs along the columns. */
void di_pack_rows(di_isa isa, int pairs, const di_pack *p);
/* x^T as an operand b: n = rows, k = columns; to [panels of rows][units of cols][32]. */
void di_pack_across(di_isa isa, int pairs, const di_pack *p);
/*
 * x as an operand b: n = columns, k = rows, in pairs of rows; to [panels of cols][to_k][32]. Writes
 * units [k0, k1) of each panel, zeros where the rows have ended; to_k is the k of a whole panel.
 */
void di_pack_down(di_isa isa, int pairs, const di_pack *p, int64_t k0, int64_t k1, int64_t to_k);

#endif
