/* From f32 to the element types that dial writes into model files. */
#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

/*
 * A half keeps 10 of the 23 bits of the fraction. Above 2^-14 the rounding is an addition of half a
 * unit, less one bit where the unit is even; below, the sum with 0.5 leaves the subnormal's bits,
 * rounded by the machine, at the end of the fraction.
 */
uint16_t di_f32_to_f16(float x)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = x}, tiny;
    const uint32_t sign = v.u >> 16 & 0x8000u;

    v.u &= 0x7fffffffu;
    if (v.u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (v.u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and up */
    if (v.u < 0x38800000u) {                                   /* below 2^-14 */
        tiny.f = v.f + 0.5f;
        return (uint16_t)(sign | (tiny.u - 0x3f000000u));
    }
    v.u += 0xfffu + (v.u >> 13 & 1u);
    return (uint16_t)(sign | ((v.u - 0x38000000u) >> 13));
}

static void pack_q8_0(const float *src, unsigned char *dst, int64_t n)
{
    for (; n > 0; n -= 32, src += 32, dst += 34) {
        float most = 0, d, inverse;
        uint16_t half;
        int8_t q[32];

        for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(src[i]));
        d = most / 127;
        inverse = d > 0 ? 1 / d : 0;
        half = di_f32_to_f16(d);
        for (int i = 0; i < 32; i++) q[i] = (int8_t)roundf(src[i] * inverse);
        memcpy(dst, &half, 2);
        memcpy(dst + 2, q, 32);
    }
}

void di_quantize(di_dtype t, const float *src, void *dst, int64_t n)
{
    unsigned char *to = dst;

    if (t == DI_F32) memcpy(to, src, (size_t)n * sizeof *src);
    if (t == DI_Q8_0) pack_q8_0(src, to, n);
    for (int64_t i = 0; i < n && (t == DI_F16 || t == DI_BF16); i++) {
        const uint16_t x = t == DI_F16 ? di_f32_to_f16(src[i]) : di_f32_to_bf16(src[i]);

        memcpy(to + 2 * i, &x, 2);
    }
}
