/*
 * Products with frozen weights in 8 bits (DI_INT8, tensor/ops.h): sums of whole numbers, so that
 * every set of instructions gives the bits of ref, in any slab, on any number of threads.
 *
 * AVX-512 VNNI multiplies and adds four neighbours along the sum at once (vpdpbusd), twice the
 * work of a bf16 instruction. It wants one operand without a sign: a row of x is held as q + 128,
 * and 128 sum_i w is taken from each sum. Below that AVX2 widens to 16 bits (vpmaddwd), which is
 * exact and a little faster than f32.
 */
#ifndef DI_CPU_INT8_H
#define DI_CPU_INT8_H

#include "cpu/isa.h"

typedef struct di_int8 di_int8;

/* Packs parts of equal `in`, stacked by rows. ERR_USAGE below AVX2. */
dial_status di_int8_new(di_device *dev, const di_weight *part, int n_parts, di_int8 **out,
                        dial_error *err);
void di_int8_free(di_device *dev, di_int8 *p);
size_t di_int8_bytes(const di_int8 *p);

/* y [N, out] (+)= x [N, in] W^T + bias; bias [out] or NULL. x f32 or bf16, y f32 or bf16. */
void di_int8_run(di_device *dev, const di_int8 *p, const di_mat *x, const float *bias, di_mat *y,
                 int add);

/* Frees what the device keeps for all of them. */
void di_int8_close(di_device *dev);

#endif
