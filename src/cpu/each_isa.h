/*
 * Includes the file DI_SELF again, once for each instruction set. A file of kernels reads
 *
 *     #define DI_SELF "cpu/norm.c"
 *     #include "cpu/each_isa.h"
 *     #ifdef DI_PASS
 *         ... kernels, written once with the words of simd.h; functions are named K(name) ...
 *     #elif defined(DI_VECTOR)
 *         ... drivers, which choose by DI_PICK(dev, name) ...
 *     #endif
 *
 * so one op stays one file. Other forms: a file a set (three copies to keep equal), flags by file
 * in the build (they would also apply to inline functions of shared headers, which the linker may
 * then choose for all), function multiversioning (not in all compilers, no way to force a set).
 *
 * DI_PASS is 2 (avx2, fma), 3 (avx512 f, bw, vl, dq) or 4 (the same with products in bf16 and in 8
 * bits). A file that defines DI_WITH_VNNI is also included with 5 (3 with products in 8 bits).
 */
#ifndef DI_PASS

#include "cpu/isa.h"

#ifdef DI_VECTOR
#include <immintrin.h>

#if defined(__clang__)
#define DI_TARGET_POP _Pragma("clang attribute pop")
#else
#define DI_TARGET_POP _Pragma("GCC pop_options")
#endif

#define DI_PASS 2
#define DI_SUFFIX avx2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "cpu/simd.h"
#include DI_SELF
DI_TARGET_POP
#undef DI_PASS
#undef DI_SUFFIX

#define DI_PASS 3
#define DI_SUFFIX avx512
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"))),                   \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#endif
#include "cpu/simd.h"
#include DI_SELF
DI_TARGET_POP
#undef DI_PASS
#undef DI_SUFFIX

#define DI_PASS 4
#define DI_SUFFIX bf16
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((                                                                                \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))),        \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")
#endif
#include "cpu/simd.h"
#include DI_SELF
DI_TARGET_POP
#undef DI_PASS
#undef DI_SUFFIX

#ifdef DI_WITH_VNNI
#define DI_PASS 5
#define DI_SUFFIX vnni
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))),        \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#endif
#include "cpu/simd.h"
#include DI_SELF
DI_TARGET_POP
#undef DI_PASS
#undef DI_SUFFIX
#endif

#endif
#endif
