/*
 * The table, and opening the device. An entry that is missing here is ref's: all of them below
 * AVX2 and on other processors, the linear ones without oneDNN.
 */
#include "cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cpu/gemm.h"
#include "cpu/int8.h"
#include "cpu/panels.h"

static void close_device(di_device *dev)
{
    if (dev->priv == NULL) return;
#ifdef DIAL_DNNL
    di_gemm_close(dev);
#endif
#ifdef DI_VECTOR
    di_panels_close(dev);
    di_int8_close(dev);
#endif
    di_free(dev->al, dev->priv);
    dev->priv = NULL;
}

/*
 * Other libraries of the process keep their OpenMP settings: the number of threads is given to
 * each parallel region, and gemm.c tells oneDNN by the calling thread's own setting.
 */
static dial_status open_device(di_device *dev, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_cpu *cpu = di_zalloc(dev->al, sizeof *cpu);

    if (cpu == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the device");
    dev->priv = cpu;
    cpu->isa = di_isa_detect(dev->env);
    if (dev->threads < 1) dev->threads = 1;
    snprintf(dev->isa, sizeof dev->isa, "%s", di_isa_text(cpu->isa));
#ifdef DIAL_DNNL
    DI_TRY(di_gemm_open(dev, err));
    if (di_gemm_has_amx(dev)) strcpy(dev->isa, "amx");
#endif
done:
    if (st != DIAL_OK) close_device(dev);
    return st;
}

static void *buffer_new(di_device *dev, size_t n)
{
    return di_new(dev->al, n);
}

static void buffer_free(di_device *dev, void *p)
{
    di_free(dev->al, p);
}

static void move(di_device *dev, void *dst, const void *src, size_t n)
{
    (void)dev;
    if (n > 0) memcpy(dst, src, n);
}

/* Without bf16 products, bf16 is stored and f32 computed. */
static int supports(const di_device *dev, di_dtype act)
{
    if (act == DI_F32) return 2;
    (void)dev;
    return act == DI_BF16 ? di_isa_detect(NULL) >= DI_ISA_BF16 ? 2 : 1 : 0;
}

/* Scratch rows are gemm.c's own. */
static int64_t row_capacity(const di_device *dev, int64_t n)
{
    (void)dev;
    return n;
}

#ifdef DIAL_DNNL
#define LINEAR                                                                                     \
    .linear_pack = di_cpu_linear_pack, .linear_free = di_cpu_linear_free,                          \
    .linear_bytes = di_cpu_linear_bytes, .linear_forward = di_cpu_linear_forward,                  \
    .linear_backward = di_cpu_linear_backward
#else
#define LINEAR .linear_pack = NULL
#endif

#define MACHINE                                                                                    \
    .name = "cpu", .open = open_device, .close = close_device, .buffer_new = buffer_new,           \
    .buffer_free = buffer_free, .upload = move, .download = move, .supports = supports,            \
    .row_capacity = row_capacity

const di_backend *di_cpu_backend(void)
{
    static const di_backend plain = {MACHINE, LINEAR};
#ifdef DI_VECTOR
    static const di_backend vector = {
        MACHINE,
        LINEAR,
        .embed = di_cpu_embed,
        .norm_forward = di_cpu_norm_forward,
        .norm_backward = di_cpu_norm_backward,
        .lora_bytes = di_cpu_lora_bytes,
        .lora_forward = di_cpu_lora_forward,
        .lora_backward = di_cpu_lora_backward,
        .rope = di_cpu_rope,
        .attention_bytes = di_cpu_attention_bytes,
        .attention_forward = di_cpu_attention_forward,
        .attention_backward = di_cpu_attention_backward,
        .glu_forward = di_cpu_glu_forward,
        .glu_backward = di_cpu_glu_backward,
        .copy = di_cpu_copy,
        .pool_forward = di_cpu_pool_forward,
        .pool_backward = di_cpu_pool_backward,
        .next_token = di_cpu_next_token,
        .adam = di_cpu_adam,
        .sum_squares = di_cpu_sum_squares,
        .multiply_bytes = di_cpu_multiply_bytes,
        .multiply = di_cpu_multiply,
        .critic_bytes = di_cpu_critic_bytes,
        .critic_forward = di_cpu_critic_forward,
        .critic_input_grad = di_cpu_critic_input_grad,
        .critic_backward = di_cpu_critic_backward,
        .critic_penalty = di_cpu_critic_penalty,
    };

    if (di_isa_detect(NULL) >= DI_ISA_AVX2) return &vector;
#endif
    return &plain;
}
