/*
 * Which vector instructions run here, and how kernels are chosen.
 *
 * Kernels are compiled once for each set (each_isa.h) into functions name_avx2, name_avx512 and
 * name_bf16 (those of int8.c also name_vnni); a driver picks one by DI_PICK and calls it from its
 * threads. Below AVX2, and on other processors, the backend leaves its entries empty, so that those
 * of `ref` run; matrix products are oneDNN's on any machine.
 *
 * The environment variable DIAL_ISA (plain, avx2, avx512, avx512-vnni, avx512-bf16) lowers what is
 * detected, for oneDNN too: it shows what a smaller machine computes (docs/performance.md), and
 * cannot raise anything.
 */
#ifndef DI_CPU_ISA_H
#define DI_CPU_ISA_H

#include "tensor/ops.h"

typedef enum di_isa {
    DI_ISA_PLAIN,
    DI_ISA_AVX2,
    DI_ISA_AVX512,
    DI_ISA_VNNI, /* int8.c alone; to all others the same as AVX512 */
    DI_ISA_BF16
} di_isa;

#if defined(__x86_64__)
#define DI_VECTOR 1
#endif

/* cpuid, the registers that the system saves, one trial of each set, and DIAL_ISA. */
di_isa di_isa_detect(const dial_env *env);
const char *di_isa_text(di_isa isa);
/* DIAL_ISA asks for AVX-512 BF16, the most below AMX, which only gemm.c knows. */
int di_isa_without_amx(void);

struct di_gemm_cache;
struct di_panel_memory;
struct di_int8_memory;

/* dev->priv. A device serves one caller at a time; its threads are its own. */
typedef struct di_cpu {
    di_isa isa;
    struct di_gemm_cache *gemm;     /* what gemm.c keeps; NULL without oneDNN */
    struct di_panel_memory *panels; /* what panels.c keeps; NULL: nothing is packed so yet */
    struct di_int8_memory *int8;    /* the same of int8.c */
} di_cpu;

static inline di_cpu *di_cpu_of(const di_device *dev)
{
    return dev->priv;
}

static inline di_isa di_cpu_isa(const di_device *dev)
{
    return di_cpu_of(dev)->isa;
}

#define DI_PICK(dev, name)                                                                         \
    (di_cpu_isa(dev) >= DI_ISA_BF16     ? name##_bf16                                              \
     : di_cpu_isa(dev) >= DI_ISA_AVX512 ? name##_avx512                                            \
                                        : name##_avx2)

/*
 * Threads worth waking for a pass over n elements: each gets some 50 us of work. With less, a
 * region ends when the last thread has had its turn on a busy machine: with shares of 16 K a step
 * of preset `native` took 180 ms beside six busy processes on two cores, with these 9.
 */
static inline int di_threads_for(const di_device *dev, int64_t n)
{
    enum { SHARE = 131072 };
    int64_t most = n / SHARE + 1;

    return most < dev->threads ? (int)most : dev->threads;
}

/* Share t of T of n items, in whole groups of `unit`: [*lo, *hi). */
static inline void di_share(int64_t n, int64_t unit, int t, int T, int64_t *lo, int64_t *hi)
{
    int64_t groups = (n + unit - 1) / unit;

    *lo = groups * t / T * unit;
    *hi = groups * (t + 1) / T * unit;
    if (*lo > n) *lo = n;
    if (*hi > n) *hi = n;
}

#endif
