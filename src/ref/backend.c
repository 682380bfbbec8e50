/* The reference table: complete, and the ground that every other backend stands on. */
#include "ref/ref.h"

#include <string.h>

static dial_status open_device(di_device *dev, dial_error *err)
{
    (void)err;
    strcpy(dev->isa, "plain c");
    return DIAL_OK;
}

static void close_device(di_device *dev)
{
    (void)dev;
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

/* Everything, and nothing fast. */
static int supports(const di_device *dev, di_dtype act)
{
    (void)dev;
    return act == DI_F32 || act == DI_BF16;
}

static int64_t row_capacity(const di_device *dev, int64_t n)
{
    (void)dev;
    return n;
}

const di_backend *di_ref_backend(void)
{
    static const di_backend table = {
        .name = "ref",
        .open = open_device,
        .close = close_device,
        .buffer_new = buffer_new,
        .buffer_free = buffer_free,
        .upload = move,
        .download = move,
        .supports = supports,
        .row_capacity = row_capacity,
        .linear_pack = di_ref_linear_pack,
        .linear_free = di_ref_linear_free,
        .linear_bytes = di_ref_linear_bytes,
        .linear_forward = di_ref_linear_forward,
        .linear_backward = di_ref_linear_backward,
        .lora_bytes = di_ref_lora_bytes,
        .lora_forward = di_ref_lora_forward,
        .lora_backward = di_ref_lora_backward,
        .embed = di_ref_embed,
        .norm_forward = di_ref_norm_forward,
        .norm_backward = di_ref_norm_backward,
        .rope = di_ref_rope,
        .attention_bytes = di_ref_attention_bytes,
        .attention_forward = di_ref_attention_forward,
        .attention_backward = di_ref_attention_backward,
        .glu_forward = di_ref_glu_forward,
        .glu_backward = di_ref_glu_backward,
        .copy = di_ref_copy,
        .pool_forward = di_ref_pool_forward,
        .pool_backward = di_ref_pool_backward,
        .next_token = di_ref_next_token,
        .adam = di_ref_adam,
        .sum_squares = di_ref_sum_squares,
        .multiply_bytes = di_ref_multiply_bytes,
        .multiply = di_ref_multiply,
        .critic_bytes = di_ref_critic_bytes,
        .critic_forward = di_ref_critic_forward,
        .critic_input_grad = di_ref_critic_input_grad,
        .critic_backward = di_ref_critic_backward,
        .critic_penalty = di_ref_critic_penalty,
    };
    return &table;
}
