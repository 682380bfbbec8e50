/*
 * Element types and their expansion to f32, by the closed forms of interfaces.md 3.5.
 *
 * A function per block type, one block a turn, in loops of fixed length over pointers that do not
 * alias: what compilers turn into vector code without flags for a special machine. Products are
 * formed in the order in which the closed forms are written, so values are equal bit for bit to
 * those of other readers.
 */
#include "tensor/dtype.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are read without swapping");

typedef struct dtype_row {
    const char *name;
    int64_t block;
    size_t bytes;
    int gguf;
} dtype_row;

static const dtype_row row_of[DI_DTYPE_COUNT] = {
#define X(name, text, block, bytes, gguf) {text, block, bytes, gguf},
    DI_DTYPE_MAP(X)
#undef X
};

const char *di_dtype_name(di_dtype t)
{
    return (unsigned)t < DI_DTYPE_COUNT ? row_of[t].name : "unknown";
}

int64_t di_dtype_block(di_dtype t)
{
    return (unsigned)t < DI_DTYPE_COUNT ? row_of[t].block : 1;
}

size_t di_dtype_block_bytes(di_dtype t)
{
    return (unsigned)t < DI_DTYPE_COUNT ? row_of[t].bytes : 0;
}

di_dtype di_dtype_from_gguf(uint32_t id)
{
    for (int t = 0; t < DI_DTYPE_COUNT; t++)
        if (row_of[t].gguf >= 0 && (uint32_t)row_of[t].gguf == id) return (di_dtype)t;
    return DI_DTYPE_COUNT;
}

int di_dtype_gguf(di_dtype t)
{
    return (unsigned)t < DI_DTYPE_COUNT ? row_of[t].gguf : -1;
}

/*
 * Exact for every one of the 65,536 values. The 15 lower bits, moved to the place of an f32's
 * exponent and fraction, read as value * 2^-112; the product with 2^112 is exact and brings
 * subnormals out right too. Infinity and NaN would come out as large numbers, hence the last step.
 */
static inline float half_to_f32(uint16_t x)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)(x & 0x7fff) << 13};

    v.f *= 0x1p112f;
    v.u |= (x & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;
    v.u |= (uint32_t)(x & 0x8000) << 16;
    return v.f;
}

float di_f16_to_f32(uint16_t x)
{
    return half_to_f32(x);
}

/* An f16 field at any address. */
static inline float half_at(const uint8_t *p)
{
    uint16_t x;

    memcpy(&x, p, sizeof x);
    return half_to_f32(x);
}

/*
 * Bit i of the 32 bits at p becomes bit 4 of out[i]. Eight at a time: spread the byte over eight
 * bytes, keep bit i in byte i, and let the addition of 0x7f carry "not zero" into bit 7.
 */
static inline void fifth_bits(const uint8_t *p, uint8_t out[32])
{
    for (int k = 0; k < 4; k++) {
        uint64_t x = (p[k] * 0x0101010101010101u) & 0x8040201008040201u;

        x = ((x + 0x7f7f7f7f7f7f7f7fu) >> 3) & 0x1010101010101010u;
        memcpy(out + 8 * k, &x, sizeof x);
    }
}

/* Sixteen at a time: a fixed length is what gcc turns into vector code at -O2. */
static void expand_f16(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n >= 16; n -= 16, src += 32, dst += 16)
        for (int i = 0; i < 16; i++) dst[i] = half_at(src + 2 * i);
    for (int64_t i = 0; i < n; i++) dst[i] = half_at(src + 2 * i);
}

static inline float bf16_at(const uint8_t *p)
{
    uint16_t x;

    memcpy(&x, p, sizeof x);
    return di_bf16_to_f32(x);
}

static void expand_bf16(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n >= 16; n -= 16, src += 32, dst += 16)
        for (int i = 0; i < 16; i++) dst[i] = bf16_at(src + 2 * i);
    for (int64_t i = 0; i < n; i++) dst[i] = bf16_at(src + 2 * i);
}

static void expand_q4_0(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 32, src += 18, dst += 32) {
        const float d = half_at(src);
        const uint8_t *q = src + 2;

        for (int i = 0; i < 16; i++) dst[i] = d * (float)((q[i] & 15) - 8);
        for (int i = 0; i < 16; i++) dst[i + 16] = d * (float)((q[i] >> 4) - 8);
    }
}

static void expand_q4_1(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 32, src += 20, dst += 32) {
        const float d = half_at(src), m = half_at(src + 2);
        const uint8_t *q = src + 4;

        for (int i = 0; i < 16; i++) dst[i] = d * (float)(q[i] & 15) + m;
        for (int i = 0; i < 16; i++) dst[i + 16] = d * (float)(q[i] >> 4) + m;
    }
}

static void expand_q5_0(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 32, src += 22, dst += 32) {
        const float d = half_at(src);
        const uint8_t *q = src + 6;
        uint8_t high[32];

        fifth_bits(src + 2, high);
        for (int i = 0; i < 16; i++) dst[i] = d * (float)(((q[i] & 15) | high[i]) - 16);
        for (int i = 0; i < 16; i++) dst[i + 16] = d * (float)(((q[i] >> 4) | high[i + 16]) - 16);
    }
}

static void expand_q5_1(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 32, src += 24, dst += 32) {
        const float d = half_at(src), m = half_at(src + 2);
        const uint8_t *q = src + 8;
        uint8_t high[32];

        fifth_bits(src + 4, high);
        for (int i = 0; i < 16; i++) dst[i] = d * (float)((q[i] & 15) | high[i]) + m;
        for (int i = 0; i < 16; i++) dst[i + 16] = d * (float)((q[i] >> 4) | high[i + 16]) + m;
    }
}

static void expand_q8_0(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 32, src += 34, dst += 32) {
        const float d = half_at(src);
        const int8_t *q = (const int8_t *)src + 2;

        for (int i = 0; i < 32; i++) dst[i] = d * (float)q[i];
    }
}

/* The 6-bit scale and minimum of sub-block s, packed into 12 bytes. */
static inline void scale_and_min(const uint8_t *sc, int s, float *scale, float *min)
{
    int a, b;

    if (s < 4) {
        a = sc[s] & 63;
        b = sc[s + 4] & 63;
    } else {
        a = (sc[s + 4] & 15) | (sc[s - 4] >> 6) << 4;
        b = (sc[s + 4] >> 4) | (sc[s] >> 6) << 4;
    }
    *scale = (float)a;
    *min = (float)b;
}

static void expand_q4_k(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 256, src += 144, dst += 256) {
        const float d = half_at(src), dmin = half_at(src + 2);

        for (int s = 0; s < 8; s += 2) {
            const uint8_t *q = src + 16 + 16 * s;
            float *y = dst + 32 * s;
            float s0, m0, s1, m1;

            scale_and_min(src + 4, s, &s0, &m0);
            scale_and_min(src + 4, s + 1, &s1, &m1);
            s0 *= d, s1 *= d, m0 *= dmin, m1 *= dmin;
            for (int i = 0; i < 32; i++) y[i] = s0 * (float)(q[i] & 15) - m0;
            for (int i = 0; i < 32; i++) y[i + 32] = s1 * (float)(q[i] >> 4) - m1;
        }
    }
}

static void expand_q5_k(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 256, src += 176, dst += 256) {
        const float d = half_at(src), dmin = half_at(src + 2);
        const uint8_t *high = src + 16;

        for (int s = 0; s < 8; s += 2) {
            const uint8_t *q = src + 48 + 16 * s;
            float *y = dst + 32 * s;
            float s0, m0, s1, m1;

            scale_and_min(src + 4, s, &s0, &m0);
            scale_and_min(src + 4, s + 1, &s1, &m1);
            s0 *= d, s1 *= d, m0 *= dmin, m1 *= dmin;
            for (int i = 0; i < 32; i++)
                y[i] = s0 * (float)((q[i] & 15) + ((high[i] >> s & 1) << 4)) - m0;
            for (int i = 0; i < 32; i++)
                y[i + 32] = s1 * (float)((q[i] >> 4) + ((high[i] >> (s + 1) & 1) << 4)) - m1;
        }
    }
}

static void expand_q6_k(const uint8_t *restrict src, float *restrict dst, int64_t n)
{
    for (; n > 0; n -= 256, src += 210, dst += 256) {
        const float d = half_at(src + 208);
        const int8_t *sc = (const int8_t *)src + 192;

        for (int g = 0; g < 16; g++) { /* 16 elements share a scale */
            const int h = g / 8, k = g % 8 / 2, l = g % 2 * 16;
            const uint8_t *low = src + 64 * h + 32 * (k & 1) + l;
            const uint8_t *high = src + 128 + 32 * h + l;
            const int down = k < 2 ? 0 : 4;
            const float s = d * (float)sc[g];
            float *y = dst + 16 * g;

            for (int i = 0; i < 16; i++)
                y[i] = s * (float)(((low[i] >> down & 15) | (high[i] >> 2 * k & 3) << 4) - 32);
        }
    }
}

void di_dequantize(di_dtype t, const void *src, float *dst, int64_t n)
{
    switch (t) {
    case DI_F32: memcpy(dst, src, (size_t)n * sizeof *dst); break;
    case DI_F16: expand_f16(src, dst, n); break;
    case DI_BF16: expand_bf16(src, dst, n); break;
    case DI_Q4_0: expand_q4_0(src, dst, n); break;
    case DI_Q4_1: expand_q4_1(src, dst, n); break;
    case DI_Q5_0: expand_q5_0(src, dst, n); break;
    case DI_Q5_1: expand_q5_1(src, dst, n); break;
    case DI_Q8_0: expand_q8_0(src, dst, n); break;
    case DI_Q4_K: expand_q4_k(src, dst, n); break;
    case DI_Q5_K: expand_q5_k(src, dst, n); break;
    case DI_Q6_K: expand_q6_k(src, dst, n); break;
    case DI_I32:
    case DI_DTYPE_COUNT: break; /* callers check the type: nothing is written */
    }
}
