/* Element types: those that operations compute in, and those that model files store. */
#ifndef DI_TENSOR_DTYPE_H
#define DI_TENSOR_DTYPE_H

#include <stddef.h>
#include <stdint.h>

/* clang-format off */
/* name, text, elements of a block, bytes of a block, GGUF type id (-1: none) */
#define DI_DTYPE_MAP(X)             \
    X(F32,  "F32",    1,   4,  0)   \
    X(F16,  "F16",    1,   2,  1)   \
    X(BF16, "BF16",   1,   2, 30)   \
    X(I32,  "I32",    1,   4, -1)   \
    X(Q4_0, "Q4_0",  32,  18,  2)   \
    X(Q4_1, "Q4_1",  32,  20,  3)   \
    X(Q5_0, "Q5_0",  32,  22,  6)   \
    X(Q5_1, "Q5_1",  32,  24,  7)   \
    X(Q8_0, "Q8_0",  32,  34,  8)   \
    X(Q4_K, "Q4_K", 256, 144, 12)   \
    X(Q5_K, "Q5_K", 256, 176, 13)   \
    X(Q6_K, "Q6_K", 256, 210, 14)
/* clang-format on */

typedef enum di_dtype {
#define X(name, text, block, bytes, gguf) DI_##name,
    DI_DTYPE_MAP(X)
#undef X
        DI_DTYPE_COUNT
} di_dtype;

const char *di_dtype_name(di_dtype t);
int64_t di_dtype_block(di_dtype t); /* elements of a block */
size_t di_dtype_block_bytes(di_dtype t);
di_dtype di_dtype_from_gguf(uint32_t id); /* DI_DTYPE_COUNT: not known */
int di_dtype_gguf(di_dtype t);            /* -1: none */

/* Bytes of a row of n elements; n is a multiple of the block. */
static inline size_t di_dtype_row_bytes(di_dtype t, int64_t n)
{
    return (size_t)(n / di_dtype_block(t)) * di_dtype_block_bytes(t);
}

static inline float di_bf16_to_f32(uint16_t x)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)x << 16};
    return v.f;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t di_f32_to_bf16(float x)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = x};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(v.u >> 16 | 0x40);
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16);
}

float di_f16_to_f32(uint16_t x);
uint16_t di_f32_to_f16(float x); /* to nearest, ties to even; beyond 65504: infinity */

/*
 * n elements, a multiple of the block, to f32. The closed forms of interfaces.md 3.5; src need not
 * be aligned. Any dtype but I32.
 */
void di_dequantize(di_dtype t, const void *src, float *dst, int64_t n);

/*
 * n f32 elements, a multiple of the block, to F32, F16, BF16 or Q8_0 (the types that dial writes);
 * dst need not be aligned. Q8_0 as ggml rounds it: d = max|x| / 127, q = x / d to nearest, halves
 * away from zero.
 */
void di_quantize(di_dtype t, const float *src, void *dst, int64_t n);

#endif
