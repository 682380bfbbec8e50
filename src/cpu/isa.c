/*
 * Detection. cpuid says what the processor has and XGETBV which registers the system saves; both
 * can be wrong below an emulator or a hypervisor that hides a set badly, so one instruction of
 * each set is executed under a guard. The handler of SIGILL is replaced for these few instructions
 * alone, and the jump target is the thread's own.
 */
#include "cpu/isa.h"

#include <stdlib.h>
#include <string.h>

static const char *const isa_name[] = {"plain c", "avx2", "avx512", "avx512-vnni", "avx512-bf16"};

const char *di_isa_text(di_isa isa)
{
    return isa_name[isa];
}

#ifdef DI_VECTOR
#include <cpuid.h>
#include <immintrin.h>
#include <setjmp.h>
#include <signal.h>

static _Thread_local sigjmp_buf after_fault;

static void on_fault(int sig)
{
    (void)sig;
    siglongjmp(after_fault, 1);
}

__attribute__((target("avx2,fma"))) static void try_avx2(float *x)
{
    _mm256_storeu_ps(x,
                     _mm256_fmadd_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(x), _mm256_loadu_ps(x)));
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))) static void try_avx512(float *x)
{
    _mm512_storeu_ps(x,
                     _mm512_fmadd_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(x), _mm512_loadu_ps(x)));
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))) static void
try_vnni(float *x)
{
    __m512i a = _mm512_loadu_si512(x);

    _mm512_storeu_si512(x, _mm512_dpbusd_epi32(a, a, a));
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"))) static void
try_bf16(float *x)
{
    __m512i a = _mm512_loadu_si512(x);

    _mm512_storeu_ps(x, _mm512_dpbf16_ps(_mm512_loadu_ps(x), (__m512bh)a, (__m512bh)a));
}

/* 1 if f runs; one that faults leaves a line in the log. */
static int runs(void (*f)(float *), const char *name, const dial_env *env)
{
    struct sigaction guard = {.sa_handler = on_fault}, old;
    float x[16] = {0};
    volatile int ok = 0;

    if (sigaction(SIGILL, &guard, &old) != 0) return 0;
    if (sigsetjmp(after_fault, 1) == 0) {
        f(x);
        ok = 1;
    }
    sigaction(SIGILL, &old, NULL);
    if (!ok)
        di_log(env, DIAL_LOG_WARN,
               "the processor announces %s but does not execute it; slower code is used", name);
    return ok;
}

/* XCR0: bits 1-2 are the registers of AVX, bits 5-7 those of AVX-512. */
static unsigned saved_registers(void)
{
    unsigned lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

static di_isa from_cpuid(void)
{
    unsigned a, b, c, d, saved, b7, c7, a7;

    if (!__get_cpuid(1, &a, &b, &c, &d)) return DI_ISA_PLAIN;
    if (!(c & bit_OSXSAVE) || !(c & bit_AVX) || !(c & bit_FMA) || !(c & bit_F16C))
        return DI_ISA_PLAIN;
    saved = saved_registers();
    if ((saved & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return DI_ISA_PLAIN;
    if (!(b7 & bit_AVX2)) return DI_ISA_PLAIN;
    if ((saved & 0xe6) != 0xe6 || !(b7 & bit_AVX512F) || !(b7 & bit_AVX512BW) ||
        !(b7 & bit_AVX512VL) || !(b7 & bit_AVX512DQ))
        return DI_ISA_AVX2;
    if (!(c7 & bit_AVX512VNNI)) return DI_ISA_AVX512;
    if (!__get_cpuid_count(7, 1, &a7, &b, &c, &d) || !(a7 & 1u << 5)) return DI_ISA_VNNI;
    return DI_ISA_BF16;
}

static di_isa detect(const dial_env *env)
{
    di_isa isa = from_cpuid();

    if (isa >= DI_ISA_AVX2 && !runs(try_avx2, "AVX2", env)) isa = DI_ISA_PLAIN;
    if (isa >= DI_ISA_AVX512 && !runs(try_avx512, "AVX-512", env)) isa = DI_ISA_AVX2;
    if (isa >= DI_ISA_VNNI && !runs(try_vnni, "AVX-512 VNNI", env)) isa = DI_ISA_AVX512;
    if (isa >= DI_ISA_BF16 && !runs(try_bf16, "AVX-512 BF16", env)) isa = DI_ISA_VNNI;
    return isa;
}
#else
static di_isa detect(const dial_env *env)
{
    (void)env;
    return DI_ISA_PLAIN;
}
#endif

di_isa di_isa_detect(const dial_env *env)
{
    di_isa isa = detect(env);
    const char *wish = getenv("DIAL_ISA");

    if (wish == NULL || *wish == '\0') return isa;
    if (strcmp(wish, "plain") == 0) return DI_ISA_PLAIN;
    for (di_isa low = DI_ISA_AVX2; low <= DI_ISA_BF16; low++)
        if (strcmp(wish, isa_name[low]) == 0) return low < isa ? low : isa;
    di_log(env, DIAL_LOG_WARN,
           "DIAL_ISA: expected plain, avx2, avx512, avx512-vnni or avx512-bf16, found '%s'; it "
           "lowers nothing",
           wish);
    return isa;
}

int di_isa_without_amx(void)
{
    const char *wish = getenv("DIAL_ISA");

    return wish != NULL && strcmp(wish, isa_name[DI_ISA_BF16]) == 0;
}
