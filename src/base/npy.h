/* Matrices for numpy. */
#ifndef DI_BASE_NPY_H
#define DI_BASE_NPY_H

#include "base/file.h"

/* x [rows, cols] as .npy version 1.0: little-endian f32 in C order. Atomic. */
dial_status di_npy_write(const di_alloc *al, const char *path, const float *x, int64_t rows,
                         int64_t cols, dial_error *err);

#endif
