/*
 * The reference backend: every operation of tensor/ops.h in plain loops. It defines the answer, so
 * it is written to be read; the contract of each function stands in ops.h and is not repeated.
 *
 * Two habits hold throughout. An element is read with get(), which turns bf16 into f32 exactly, and
 * written with put(), which rounds once. A sum is a double that runs over its index upwards, so
 * that a result depends on nothing but its own row.
 */
#ifndef DI_REF_REF_H
#define DI_REF_REF_H

#include "tensor/ops.h"

/* Element (i, j) of a matrix of f32 or bf16. */
static inline double get(const di_mat *m, int64_t i, int64_t j)
{
    int64_t at = i * m->stride + j;

    return m->dtype == DI_BF16 ? (double)di_bf16_to_f32(((const uint16_t *)m->data)[at])
                               : (double)((const float *)m->data)[at];
}

/* Stores x rounded to the matrix's dtype; through f32, as every backend's registers do. */
static inline void put(const di_mat *m, int64_t i, int64_t j, double x)
{
    int64_t at = i * m->stride + j;

    if (m->dtype == DI_BF16)
        ((uint16_t *)m->data)[at] = di_f32_to_bf16((float)x);
    else
        ((float *)m->data)[at] = (float)x;
}

dial_status di_ref_linear_pack(di_device *dev, const di_weight *part, int n_parts,
                               const float *bias, unsigned directions, di_packed **out,
                               dial_error *err);
void di_ref_linear_free(di_device *dev, di_packed *w);
size_t di_ref_linear_bytes(const di_packed *w);
void di_ref_linear_forward(di_device *dev, const di_packed *w, const di_mat *x, di_mat *y, int add);
void di_ref_linear_backward(di_device *dev, const di_packed *w, const di_mat *dy, di_mat *dx,
                            int add);

size_t di_ref_lora_bytes(const di_device *dev, int64_t n, int64_t in, int64_t out, int64_t r);
void di_ref_lora_forward(di_device *dev, const di_lora_args *a);
void di_ref_lora_backward(di_device *dev, const di_lora_args *a);

void di_ref_embed(di_device *dev, const di_weight *table, const int32_t *id, float scale,
                  di_mat *x);

void di_ref_norm_forward(di_device *dev, const di_norm_args *a);
void di_ref_norm_backward(di_device *dev, const di_norm_args *a);

void di_ref_rope(di_device *dev, di_mat *x, const int32_t *position, const float *table,
                 int64_t heads, int64_t head_dim, int inverse);

size_t di_ref_attention_bytes(const di_device *dev, const di_attention_args *a, int64_t max_rows,
                              int64_t max_length, int backward);
void di_ref_attention_forward(di_device *dev, const di_attention_args *a);
void di_ref_attention_backward(di_device *dev, const di_attention_args *a);

void di_ref_glu_forward(di_device *dev, di_act kind, const di_mat *gu, di_mat *h);
void di_ref_glu_backward(di_device *dev, di_act kind, const di_mat *gu, const di_mat *dh,
                         di_mat *dgu);

void di_ref_copy(di_device *dev, const di_mat *x, di_mat *y, int add);

void di_ref_pool_forward(di_device *dev, const di_batch *b, const di_mat *x, int mean, di_mat *e);
void di_ref_pool_backward(di_device *dev, const di_batch *b, const di_mat *de, int mean,
                          di_mat *dx);

void di_ref_next_token(di_device *dev, di_mat *x, const int32_t *id, const float *weight, float cap,
                       double *loss);

void di_ref_adam(di_device *dev, const di_adam_args *a);
double di_ref_sum_squares(di_device *dev, const float *x, int64_t n);

size_t di_ref_multiply_bytes(const di_device *dev, int64_t m, int64_t k);
void di_ref_multiply(di_device *dev, const di_mat *a, const di_mat *b, int turned, di_mat *y,
                     int add, void *work);

size_t di_ref_critic_bytes(const di_device *dev, const di_critic *d, int64_t rows);
void di_ref_critic_forward(di_device *dev, const di_critic *d, const di_mat *x, float *out,
                           void *work);
void di_ref_critic_input_grad(di_device *dev, const di_critic *d, const di_mat *x, di_mat *q,
                              void *work);
void di_ref_critic_backward(di_device *dev, const di_critic *d, const di_mat *x, const float *dout,
                            di_critic *grad, void *work);
double di_ref_critic_penalty(di_device *dev, const di_critic *d, const di_mat *x, di_gp_kind kind,
                             float lambda, di_critic *grad, double *mean_norm, void *work);

#endif
