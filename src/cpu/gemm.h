/*
 * Products with a constant matrix, prepared once: y [N, n] (+)= x [N, k] w [k, n] + bias. The only
 * file that knows oneDNN is gemm.c; without the library (no DIAL_DNNL) nothing here exists and
 * the linear entries of the table stay empty.
 *
 * A row of y depends on that row of x alone, bit for bit: not on N, not on its place, not on the
 * number of threads. gemm.c says how.
 */
#ifndef DI_CPU_GEMM_H
#define DI_CPU_GEMM_H

#include "cpu/isa.h"

#ifdef DIAL_DNNL

typedef struct di_gemm di_gemm;

/* What gemm.c keeps for a device: primitives by shape, scratch memory by thread. */
dial_status di_gemm_open(di_device *dev, dial_error *err);
void di_gemm_close(di_device *dev);
int di_gemm_has_amx(const di_device *dev);

/*
 * w (i, j) = w[i * k_stride + j * n_stride], f32, i < k, j < n; not needed afterwards. Products
 * are in bf16 if dev->act is bf16 and the machine has such products, else in f32.
 */
dial_status di_gemm_new(di_device *dev, int64_t k, int64_t n, const float *w, int64_t k_stride,
                        int64_t n_stride, di_gemm **out, dial_error *err);
void di_gemm_free(di_device *dev, di_gemm *g);
size_t di_gemm_bytes(const di_gemm *g);

/* x and y f32 or bf16, any stride; bias [n] or NULL; add: y += x w + bias. Allocates nothing. */
void di_gemm_run(di_device *dev, const di_gemm *g, const di_mat *x, const float *bias, di_mat *y,
                 int add);

#endif
#endif
