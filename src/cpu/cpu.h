/*
 * The fast entries of the table, one file per op; contracts stand in tensor/ops.h, meaning in the
 * files of the same name in src/ref.
 *
 * Habits. A driver decides dtype and instruction set, then its threads take fixed shares of the
 * rows (or of columns, trees, heads) by their number: same threads, same bits. Rows are computed
 * alike wherever they stand, hence also alike for any number of threads; sums over rows run in an
 * order of their own that the number of threads does not touch unless a comment says so. Vector
 * code is in f32 with fused multiply-adds; bf16 is rounded where it is stored.
 */
#ifndef DI_CPU_CPU_H
#define DI_CPU_CPU_H

#include "cpu/isa.h"

dial_status di_cpu_linear_pack(di_device *dev, const di_weight *part, int n_parts,
                               const float *bias, unsigned directions, di_packed **out,
                               dial_error *err);
void di_cpu_linear_free(di_device *dev, di_packed *w);
size_t di_cpu_linear_bytes(const di_packed *w);
void di_cpu_linear_forward(di_device *dev, const di_packed *w, const di_mat *x, di_mat *y, int add);
void di_cpu_linear_backward(di_device *dev, const di_packed *w, const di_mat *dy, di_mat *dx,
                            int add);

size_t di_cpu_lora_bytes(const di_device *dev, int64_t n, int64_t in, int64_t out, int64_t r);
void di_cpu_lora_forward(di_device *dev, const di_lora_args *a);
void di_cpu_lora_backward(di_device *dev, const di_lora_args *a);

void di_cpu_embed(di_device *dev, const di_weight *table, const int32_t *id, float scale,
                  di_mat *x);

void di_cpu_norm_forward(di_device *dev, const di_norm_args *a);
void di_cpu_norm_backward(di_device *dev, const di_norm_args *a);

void di_cpu_rope(di_device *dev, di_mat *x, const int32_t *position, const float *table,
                 int64_t heads, int64_t head_dim, int inverse);

size_t di_cpu_attention_bytes(const di_device *dev, const di_attention_args *a, int64_t max_rows,
                              int64_t max_length, int backward);
void di_cpu_attention_forward(di_device *dev, const di_attention_args *a);
void di_cpu_attention_backward(di_device *dev, const di_attention_args *a);

void di_cpu_glu_forward(di_device *dev, di_act kind, const di_mat *gu, di_mat *h);
void di_cpu_glu_backward(di_device *dev, di_act kind, const di_mat *gu, const di_mat *dh,
                         di_mat *dgu);

void di_cpu_copy(di_device *dev, const di_mat *x, di_mat *y, int add);

void di_cpu_pool_forward(di_device *dev, const di_batch *b, const di_mat *x, int mean, di_mat *e);
void di_cpu_pool_backward(di_device *dev, const di_batch *b, const di_mat *de, int mean,
                          di_mat *dx);

void di_cpu_next_token(di_device *dev, di_mat *x, const int32_t *id, const float *weight, float cap,
                       double *loss);

void di_cpu_adam(di_device *dev, const di_adam_args *a);
double di_cpu_sum_squares(di_device *dev, const float *x, int64_t n);

size_t di_cpu_multiply_bytes(const di_device *dev, int64_t m, int64_t k);
void di_cpu_multiply(di_device *dev, const di_mat *a, const di_mat *b, int turned, di_mat *y,
                     int add, void *work);

size_t di_cpu_critic_bytes(const di_device *dev, const di_critic *d, int64_t rows);
void di_cpu_critic_forward(di_device *dev, const di_critic *d, const di_mat *x, float *out,
                           void *work);
void di_cpu_critic_input_grad(di_device *dev, const di_critic *d, const di_mat *x, di_mat *q,
                              void *work);
void di_cpu_critic_backward(di_device *dev, const di_critic *d, const di_mat *x, const float *dout,
                            di_critic *grad, void *work);
double di_cpu_critic_penalty(di_device *dev, const di_critic *d, const di_mat *x, di_gp_kind kind,
                             float lambda, di_critic *grad, double *mean_norm, void *work);

#endif
