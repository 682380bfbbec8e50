/* Low-rank adaptors. Hu et al. 2021, LoRA, eq. 3; gradients in method.md 2.12. */
#include "ref/ref.h"

#include <math.h>

size_t di_ref_lora_bytes(const di_device *dev, int64_t n, int64_t in, int64_t out, int64_t r)
{
    (void)dev;
    (void)in;
    (void)out;
    return (size_t)(n * r) * sizeof(double); /* du */
}

void di_ref_lora_forward(di_device *dev, const di_lora_args *a)
{
    (void)dev;
    for (int64_t n = 0; n < a->x.rows; n++) {
        float *u = a->u + n * a->r;

        for (int64_t r = 0; r < a->r; r++) {
            double sum = 0;

            for (int64_t i = 0; i < a->x.cols; i++)
                sum += get(&a->x, n, i) * (double)a->a[r * a->x.cols + i];
            u[r] = (float)(a->tanh ? tanh(sum) : sum);
        }
        for (int64_t o = 0; o < a->y.cols; o++) {
            double sum = 0;

            for (int64_t r = 0; r < a->r; r++) sum += (double)u[r] * (double)a->b[o * a->r + r];
            put(&a->y, n, o, get(&a->y, n, o) + (double)a->scale * sum);
        }
    }
}

/* du [N, R] = s dy b, through the slope of tanh if there is one. */
static void backward_u(const di_lora_args *a, double *du)
{
    for (int64_t n = 0; n < a->x.rows; n++) {
        const float *u = a->u + n * a->r;

        for (int64_t r = 0; r < a->r; r++) {
            double sum = 0;

            for (int64_t o = 0; o < a->dy.cols; o++)
                sum += get(&a->dy, n, o) * (double)a->b[o * a->r + r];
            if (a->tanh) sum *= 1 - (double)u[r] * (double)u[r];
            du[n * a->r + r] = (double)a->scale * sum;
        }
    }
}

void di_ref_lora_backward(di_device *dev, const di_lora_args *a)
{
    int64_t rows = a->x.rows, in = a->x.cols, out = a->dy.cols;
    double *du = a->work;

    (void)dev;
    backward_u(a, du);
    for (int64_t r = 0; r < a->r; r++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = 0;

            for (int64_t n = 0; n < rows; n++)
                sum += get(&a->dy, n, o) * (double)a->u[n * a->r + r];
            a->db[o * a->r + r] += (float)((double)a->scale * sum);
        }
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;

            for (int64_t n = 0; n < rows; n++) sum += du[n * a->r + r] * get(&a->x, n, i);
            a->da[r * in + i] += (float)sum;
        }
    }
    if (a->dx.data == NULL) return;
    for (int64_t n = 0; n < rows; n++) {
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;

            for (int64_t r = 0; r < a->r; r++) sum += du[n * a->r + r] * (double)a->a[r * in + i];
            put(&a->dx, n, i, get(&a->dx, n, i) + sum);
        }
    }
}
