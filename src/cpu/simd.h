/*
 * The words in which kernels are written; each_isa.h includes this file anew for each set.
 *
 * vf is a vector of DI_VL floats (8 or 16), vm chooses its first n lanes. Names are macros over
 * the intrinsics, and K(name) gives a function the suffix of the set. Every sum of lanes has a
 * fixed order; a fused multiply-add is written v_fma and nowhere left to the compiler, so a row
 * has the same bits in a full vector, in a masked one and in any block of rows.
 *
 * Errors of the functions below, over all floats of the given ranges (largest, in units of the
 * last place of the true value, measured): v_exp 1.1 on [-87, 88]; v_tanh 1.9; v_sigmoid 2.2 on
 * [-87, 88]; v_erfc_half 3.3 on [-4.5, 4.5], below that tail less than 1e-10 absolute.
 */
#undef K
#undef DI_VL
#define DI_PASTE_(a, b) a##_##b
#define DI_PASTE(a, b) DI_PASTE_(a, b)
#define K(name) DI_PASTE(name, DI_SUFFIX)

#ifndef DI_CPU_SIMD_H
#define DI_CPU_SIMD_H
/* Without UBSan (ASan stays): its checks in unrolled loops over registers cost compilers minutes.
 */
#define DI_INLINE static inline __attribute__((always_inline, no_sanitize("undefined")))
/* Loops over registers: without unrolling, arrays of vectors live in memory. */
#define DI_UNROLL _Pragma("GCC unroll 16")
#endif

/* clang-format off */
#if DI_PASS == 2
#define DI_VL 8
#undef vf
#undef vm
#undef v_load
#undef v_store
#undef v_set
#undef v_zero
#undef v_add
#undef v_sub
#undef v_mul
#undef v_div
#undef v_fma
#undef v_fnma
#undef v_max
#undef v_min
#undef v_sqrt
#undef v_loadm
#undef v_storem
#define vf __m256
#define vm __m256i
#define v_load(p)        _mm256_loadu_ps(p)
#define v_store(p, x)    _mm256_storeu_ps(p, x)
#define v_set(x)         _mm256_set1_ps(x)
#define v_zero()         _mm256_setzero_ps()
#define v_add(a, b)      _mm256_add_ps(a, b)
#define v_sub(a, b)      _mm256_sub_ps(a, b)
#define v_mul(a, b)      _mm256_mul_ps(a, b)
#define v_div(a, b)      _mm256_div_ps(a, b)
#define v_fma(a, b, c)   _mm256_fmadd_ps(a, b, c)      /* a b + c */
#define v_fnma(a, b, c)  _mm256_fnmadd_ps(a, b, c)     /* c - a b */
#define v_max(a, b)      _mm256_max_ps(a, b)
#define v_min(a, b)      _mm256_min_ps(a, b)
#define v_sqrt(a)        _mm256_sqrt_ps(a)
#define v_loadm(p, m)    _mm256_maskload_ps(p, m)      /* 0 in the other lanes */
#define v_storem(p, m, x) _mm256_maskstore_ps(p, m, x)
#elif DI_PASS >= 3
#define DI_VL 16
#undef vf
#undef vm
#undef v_load
#undef v_store
#undef v_set
#undef v_zero
#undef v_add
#undef v_sub
#undef v_mul
#undef v_div
#undef v_fma
#undef v_fnma
#undef v_max
#undef v_min
#undef v_sqrt
#undef v_loadm
#undef v_storem
#define vf __m512
#define vm __mmask16
#define v_load(p)        _mm512_loadu_ps(p)
#define v_store(p, x)    _mm512_storeu_ps(p, x)
#define v_set(x)         _mm512_set1_ps(x)
#define v_zero()         _mm512_setzero_ps()
#define v_add(a, b)      _mm512_add_ps(a, b)
#define v_sub(a, b)      _mm512_sub_ps(a, b)
#define v_mul(a, b)      _mm512_mul_ps(a, b)
#define v_div(a, b)      _mm512_div_ps(a, b)
#define v_fma(a, b, c)   _mm512_fmadd_ps(a, b, c)
#define v_fnma(a, b, c)  _mm512_fnmadd_ps(a, b, c)
#define v_max(a, b)      _mm512_max_ps(a, b)
#define v_min(a, b)      _mm512_min_ps(a, b)
#define v_sqrt(a)        _mm512_sqrt_ps(a)
#define v_loadm(p, m)    _mm512_maskz_loadu_ps(m, p)
#define v_storem(p, m, x) _mm512_mask_storeu_ps(p, m, x)
#endif

#undef v_first
#undef v_range
#undef v_pick
#undef v_sum
#undef v_hmax
#undef v_below
#undef v_load_bf16
#undef v_store_bf16
#undef v_loadm_bf16
#undef v_storem_bf16
#undef v_pow2
#undef v_round
#undef v_abs
#undef v_sign
#undef v_get
#undef v_put
#undef v_exp
#undef v_sigmoid
#undef v_tanh
#undef v_erfc_half
#define v_first      K(v_first)       /* vm: lanes 0 .. n-1 */
#define v_range      K(v_range)       /* vm: lanes j with lo <= i + j < hi */
#define v_pick       K(v_pick)        /* x in the lanes of m, else y */
#define v_sum        K(v_sum)         /* sum of the lanes, as a tree */
#define v_hmax       K(v_hmax)        /* largest lane */
#define v_below      K(v_below)       /* a < b ? x : y */
#define v_load_bf16  K(v_load_bf16)   /* DI_VL numbers of bf16 */
#define v_store_bf16 K(v_store_bf16)  /* rounded to nearest even */
#define v_loadm_bf16 K(v_loadm_bf16)  /* the first n < DI_VL of them */
#define v_storem_bf16 K(v_storem_bf16)
#define v_pow2       K(v_pow2)        /* x 2^n for a whole n in [-126, 127] */
#define v_round      K(v_round)
#define v_abs        K(v_abs)
#define v_sign       K(v_sign)        /* |a| with the sign of b */
#define v_get        K(v_get)
#define v_put        K(v_put)
#define v_exp        K(v_exp)
#define v_sigmoid    K(v_sigmoid)
#define v_tanh       K(v_tanh)
#define v_erfc_half  K(v_erfc_half)
/* clang-format on */

#if DI_PASS == 2
DI_INLINE vm v_first(int64_t n)
{
    static const int32_t lane[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_loadu_si256((const __m256i *)(lane + 8 - (n > 8 ? 8 : n < 0 ? 0 : n)));
}
DI_INLINE vm v_range(int64_t i, int64_t lo, int64_t hi)
{
    return _mm256_andnot_si256(v_first(lo - i), v_first(hi - i));
}
DI_INLINE vf v_pick(vm m, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(m));
}
DI_INLINE float v_sum(vf x)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
DI_INLINE float v_hmax(vf x)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
DI_INLINE vf v_below(vf a, vf b, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
DI_INLINE vf v_load_bf16(const uint16_t *p)
{
    __m256i x = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));

    return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
}
DI_INLINE __m128i K(to_bf16)(vf x)
{
    __m256i u = _mm256_castps_si256(x),
            odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));

    r = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(r), _mm256_castsi256_ps(nan),
                                             _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
    r = _mm256_srli_epi32(r, 16);
    r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
    return _mm256_castsi256_si128(r);
}
DI_INLINE void v_store_bf16(uint16_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, K(to_bf16)(x));
}
DI_INLINE vf v_loadm_bf16(const uint16_t *p, int64_t n)
{
    uint16_t t[8] = {0};

    for (int64_t j = 0; j < n; j++) t[j] = p[j];
    return v_load_bf16(t);
}
DI_INLINE void v_storem_bf16(uint16_t *p, int64_t n, vf x)
{
    uint16_t t[8];

    v_store_bf16(t, x);
    for (int64_t j = 0; j < n; j++) p[j] = t[j];
}
DI_INLINE vf v_pow2(vf x, vf n)
{
    __m256i e =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);

    return _mm256_mul_ps(x, _mm256_castsi256_ps(e));
}
DI_INLINE vf v_round(vf x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
DI_INLINE vf v_abs(vf x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}
DI_INLINE vf v_sign(vf a, vf b)
{
    return _mm256_or_ps(v_abs(a), _mm256_and_ps(_mm256_set1_ps(-0.0f), b));
}
#else
DI_INLINE vm v_first(int64_t n)
{
    return (vm)(n >= 16 ? 0xffffu : n < 0 ? 0 : (1u << n) - 1);
}
DI_INLINE vm v_range(int64_t i, int64_t lo, int64_t hi)
{
    return (vm)(v_first(hi - i) & ~v_first(lo - i));
}
DI_INLINE vf v_pick(vm m, vf x, vf y)
{
    return _mm512_mask_blend_ps(m, y, x);
}
DI_INLINE float v_sum(vf x)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
DI_INLINE float v_hmax(vf x)
{
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));

    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
DI_INLINE vf v_below(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
DI_INLINE vf v_load_bf16(const uint16_t *p)
{
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));

    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}
DI_INLINE __m256i K(to_bf16)(vf x)
{
#if DI_PASS == 4
    return (__m256i)_mm512_cvtneps_pbh(x);
#else
    __m512i u = _mm512_castps_si512(x),
            odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));

    r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), u,
                             _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
#endif
}
DI_INLINE void v_store_bf16(uint16_t *p, vf x)
{
    _mm256_storeu_si256((__m256i *)p, K(to_bf16)(x));
}
DI_INLINE vf v_loadm_bf16(const uint16_t *p, int64_t n)
{
    __m512i x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_first(n), p));

    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}
DI_INLINE void v_storem_bf16(uint16_t *p, int64_t n, vf x)
{
    _mm256_mask_storeu_epi16(p, v_first(n), K(to_bf16)(x));
}
DI_INLINE vf v_pow2(vf x, vf n)
{
    return _mm512_scalef_ps(x, n);
}
DI_INLINE vf v_round(vf x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
DI_INLINE vf v_abs(vf x)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x);
}
DI_INLINE vf v_sign(vf a, vf b)
{
    return _mm512_or_ps(v_abs(a), _mm512_and_ps(_mm512_set1_ps(-0.0f), b));
}
#endif

/* Elements i .. of a row of f32 or bf16, `left` of them but at most DI_VL; other lanes are 0. */
DI_INLINE vf v_get(const void *p, int bf16, int64_t i, int64_t left)
{
    if (left >= DI_VL) {
        if (bf16) return v_load_bf16((const uint16_t *)p + i);
        return v_load((const float *)p + i);
    }
    if (bf16) return v_loadm_bf16((const uint16_t *)p + i, left);
    return v_loadm((const float *)p + i, v_first(left));
}

DI_INLINE void v_put(void *p, int bf16, int64_t i, int64_t left, vf x)
{
    if (left >= DI_VL) {
        if (bf16)
            v_store_bf16((uint16_t *)p + i, x);
        else
            v_store((float *)p + i, x);
    } else if (bf16) {
        v_storem_bf16((uint16_t *)p + i, left, x);
    } else {
        v_storem((float *)p + i, v_first(left), x);
    }
}

/*
 * e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2; e^r = 1 + r + r^2 Q(r) with Q of degree 4
 * by Chebyshev fit (6.5e-8 on Q, 8e-9 on e^r). Below -87.33 the result is 0, above 88.37 it grows
 * no more (2.4e38); NaN stays NaN.
 */
DI_INLINE vf v_exp(vf x)
{
    vf c = v_max(v_set(-87.33f), v_min(v_set(88.37f), x)); /* NaN: the second operand is kept */
    vf n = v_round(v_mul(c, v_set(1.44269504f)));
    vf r = v_fnma(n, v_set(1.42860677e-6f), v_fnma(n, v_set(0.693145752f), c));
    vf q = v_set(1.3926250831e-3f);

    q = v_fma(q, r, v_set(8.3632328837e-3f));
    q = v_fma(q, r, v_set(4.1666554213e-2f));
    q = v_fma(q, r, v_set(1.6666576666e-1f));
    q = v_fma(q, r, v_set(0.5f));
    q = v_fma(v_mul(r, r), q, r);
    q = v_pow2(v_add(q, v_set(1)), n);
    return v_below(x, v_set(-87.33f), v_zero(), q);
}

DI_INLINE vf v_sigmoid(vf x)
{
    return v_div(v_set(1), v_add(v_set(1), v_exp(v_sub(v_zero(), x))));
}

/* Below 0.625: x + x^3 P(x^2), which keeps the relative error near 0; else 1 - 2/(e^2|x| + 1). */
DI_INLINE vf v_tanh(vf x)
{
    vf a = v_abs(x), t = v_mul(x, x), p = v_set(-6.0967141659e-3f), big;

    p = v_fma(p, t, v_set(2.0997178999e-2f));
    p = v_fma(p, t, v_set(-5.3850909579e-2f));
    p = v_fma(p, t, v_set(1.3332769737e-1f));
    p = v_fma(p, t, v_set(-3.3333328944e-1f));
    p = v_fma(v_mul(p, t), x, x);
    big = v_div(v_set(2), v_add(v_exp(v_add(a, a)), v_set(1)));
    return v_below(a, v_set(0.625f), p, v_sign(v_sub(v_set(1), big), x));
}

/*
 * erfc(|x|)/2: below 1 by 1/2 - erf/2 with erf(x)/x - 1 as a polynomial in x^2 (1.3e-9), up to 4
 * by e^-L(|x|) with L = -log erfc (1.7e-8 absolute, hence relative in the result), 0 above (true:
 * 7.7e-9 at 4). GELU wants the tail itself, not its difference from 1: Phi(z) = erfc(-z/sqrt 2)/2.
 */
DI_INLINE vf v_erfc_half(vf x)
{
    vf a = v_abs(x), t = v_mul(a, a), tail;
    vf p = v_set(7.8758750627e-5f), l = v_set(-1.6399380165e-6f);

    p = v_fma(p, t, v_set(-8.0168642872e-4f));
    p = v_fma(p, t, v_set(5.1890874234e-3f));
    p = v_fma(p, t, v_set(-2.6854212011e-2f));
    p = v_fma(p, t, v_set(1.1283594715e-1f));
    p = v_fma(p, t, v_set(-3.7612626667e-1f));
    p = v_fma(p, t, v_set(1.2837916585e-1f));
    p = v_fma(p, a, a);
    l = v_fma(l, a, v_set(4.6112913906e-5f));
    l = v_fma(l, a, v_set(-5.9726443314e-4f));
    l = v_fma(l, a, v_set(4.7617172358e-3f));
    l = v_fma(l, a, v_set(-2.6427043772e-2f));
    l = v_fma(l, a, v_set(1.1009019746e-1f));
    l = v_fma(l, a, v_set(6.3181569958e-1f));
    l = v_fma(l, a, v_set(1.1302392014f));
    l = v_fma(l, a, v_set(-3.2147102638e-4f));
    tail = v_mul(v_set(0.5f), v_exp(v_sub(v_zero(), l)));
    tail = v_below(v_set(4), a, v_zero(), tail);
    return v_below(a, v_set(1), v_fnma(p, v_set(0.5f), v_set(0.5f)), tail);
}
