/*
 * Cross-entropy over the vocabulary, rows side by side: ref's loops in f32 with f64 sums. The
 * products around it (V x C a row) cost hundreds of times as much, so plain loops will do.
 */
#include "cpu/cpu.h"

#include <math.h>

static void one_row(float *x, int64_t n, int32_t id, float u, float cap, double *loss)
{
    float most = -INFINITY, lse;
    double sum = 0;

    for (int64_t v = 0; cap > 0 && v < n; v++) x[v] = cap * tanhf(x[v] / cap);
    for (int64_t v = 0; v < n; v++) most = x[v] > most ? x[v] : most;
    for (int64_t v = 0; v < n; v++) sum += (double)expf(x[v] - most);
    lse = most + (float)log(sum);
    *loss = (double)u * ((double)most + log(sum) - (double)x[id]);
    for (int64_t v = 0; v < n; v++) {
        float t = cap > 0 ? x[v] / cap : 0;

        x[v] = u * (expf(x[v] - lse) - (v == id ? 1.0F : 0.0F)) * (1 - t * t);
    }
}

void di_cpu_next_token(di_device *dev, di_mat *x, const int32_t *id, const float *weight, float cap,
                       double *loss)
{
#pragma omp parallel for num_threads(di_threads_for(dev, 8 * x->rows * x->cols)) schedule(static)
    for (int64_t n = 0; n < x->rows; n++)
        one_row((float *)x->data + n * x->stride, x->cols, id[n], weight[n], cap, &loss[n]);
}
