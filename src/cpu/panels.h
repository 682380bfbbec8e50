/*
 * Products with frozen weights by the kernels of mm.c, in pairs of bf16: where the machine has
 * AVX-512 BF16 and no AMX. One copy of W serves both directions: it lies in panels for y = x W^T,
 * and the product with W turns it panel by panel into shared memory first.
 *
 * A row of y depends on that row of x alone: an element is one chain of additions over k upwards
 * (mm.h), whatever slab or piece it is in.
 */
#ifndef DI_CPU_PANELS_H
#define DI_CPU_PANELS_H

#include "cpu/isa.h"

typedef struct di_panels di_panels;

/*
 * Packs parts of equal `in`, stacked by rows. With turned != 0 the device keeps room to turn the
 * matrix, for di_panels_turned.
 */
dial_status di_panels_new(di_device *dev, const di_weight *part, int n_parts, int turned,
                          di_panels **out, dial_error *err);
void di_panels_free(di_device *dev, di_panels *p);
size_t di_panels_bytes(const di_panels *p);

/* y [N, out] (+)= x [N, in] W^T + bias; bias [out] or NULL. x f32 or bf16, y f32 or bf16. */
void di_panels_run(di_device *dev, const di_panels *p, const di_mat *x, const float *bias,
                   di_mat *y, int add);
/* dx [N, in] (+)= dy [N, out] W */
void di_panels_turned(di_device *dev, const di_panels *p, const di_mat *dy, di_mat *dx, int add);

/* Frees what the device keeps for all of them. */
void di_panels_close(di_device *dev);

#endif
