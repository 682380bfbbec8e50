/* Copying inside one thread: what `copy` and the products of gemm.c share. */
#ifndef DI_CPU_STORE_H
#define DI_CPU_STORE_H

#include "cpu/isa.h"

/* y = x + bias, or y += x + bias with add; each f32 or bf16; bias [cols] or NULL. Any set. */
void di_store(di_isa isa, const di_mat *x, const float *bias, const di_mat *y, int add);

#endif
