/* Low-rank adaptors. Hu et al. 2021, LoRA, eq. 3; gradients in method.md 2.12. */
#include "ref/ref.h"

#include <math.h>

size_t di_ref_lora_bytes(const di_device *dev, int64_t n, int64_t in, int64_t out, int64_t r)
{
    (void)dev;
    (void)in;
    (void)out;
    return (size_t)((n > 0 ? n : 1) * r) * sizeof(double); /* a row of u, or du */
}

void di_ref_lora_forward(di_device *dev, const di_lora_args *a)
{
    int64_t rank = a->u.cols;
    double *u = a->work;

    (void)dev;
    for (int64_t n = 0; n < a->x.rows; n++) {
        for (int64_t r = 0; r < rank; r++) {
            double sum = 0;

            for (int64_t i = 0; i < a->x.cols; i++)
                sum += get(&a->x, n, i) * (double)a->a[r * a->x.cols + i];
            u[r] = a->tanh ? tanh(sum) : sum;
            put(&a->u, n, r, u[r]);
        }
        for (int64_t o = 0; o < a->y.cols; o++) {
            double sum = 0;

            for (int64_t r = 0; r < rank; r++) sum += u[r] * (double)a->b[o * rank + r];
            put(&a->y, n, o, get(&a->y, n, o) + (double)a->scale * sum);
        }
    }
}

/* du [N, R] = s dy b, through the slope of tanh if there is one. */
static void backward_u(const di_lora_args *a, double *du)
{
    int64_t rank = a->u.cols;

    for (int64_t n = 0; n < a->x.rows; n++) {
        for (int64_t r = 0; r < rank; r++) {
            double sum = 0, u = get(&a->u, n, r);

            for (int64_t o = 0; o < a->dy.cols; o++)
                sum += get(&a->dy, n, o) * (double)a->b[o * rank + r];
            if (a->tanh) sum *= 1 - u * u;
            du[n * rank + r] = (double)a->scale * sum;
        }
    }
}

void di_ref_lora_backward(di_device *dev, const di_lora_args *a)
{
    int64_t rows = a->x.rows, in = a->x.cols, out = a->dy.cols, rank = a->u.cols;
    double *du = a->work;

    (void)dev;
    backward_u(a, du);
    for (int64_t r = 0; r < rank; r++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = 0;

            for (int64_t n = 0; n < rows; n++) sum += get(&a->dy, n, o) * get(&a->u, n, r);
            a->db[o * rank + r] += (float)((double)a->scale * sum);
        }
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;

            for (int64_t n = 0; n < rows; n++) sum += du[n * rank + r] * get(&a->x, n, i);
            a->da[r * in + i] += (float)sum;
        }
    }
    if (a->dx.data == NULL) return;
    for (int64_t n = 0; n < rows; n++) {
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;

            for (int64_t r = 0; r < rank; r++) sum += du[n * rank + r] * (double)a->a[r * in + i];
            put(&a->dx, n, i, get(&a->dx, n, i) + sum);
        }
    }
}
