/*
 * Products with frozen weights. Packed means here: dequantised to f32, parts stacked by rows; in 8
 * bits the whole numbers that a byte would hold, as f32 too.
 */
#include "ref/ref.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/error.h"

struct di_packed {
    int64_t out, in;
    float *w;     /* [out, in]; values of bf16 where act is bf16; in 8 bits: whole numbers */
    float *scale; /* [out] of these; NULL: not in 8 bits */
    float *row;   /* [threads][in] room for rows of x in 8 bits */
    float *bias;  /* [out]; zeros where there is none */
};

/* x [n] in 8 bits, in place, as whole numbers; returns their scale (tensor/ops.h). */
static float quantise(float *x, int64_t n)
{
    float most = 0, by;

    for (int64_t at = 0; at + DI_INT8_BLOCK <= n; at += DI_INT8_BLOCK) {
        for (int h = 1; h < DI_INT8_BLOCK; h *= 2)
            for (int64_t i = at; i < at + DI_INT8_BLOCK; i++) {
                float a = x[i], b = x[i + h];

                if ((i - at) & h) continue;
                x[i] = a + b;
                x[i + h] = a - b;
            }
        for (int i = 0; i < DI_INT8_BLOCK; i++) x[at + i] *= 0.125F;
    }
    for (int64_t i = 0; i < n && !isnan(most); i++)
        if (!(fabsf(x[i]) <= most)) most = fabsf(x[i]);
    by = most >= DI_INT8_LEAST && isfinite(most) ? 127 / most : 0;
    for (int64_t i = 0; i < n; i++) x[i] = by > 0 ? rintf(x[i] * by) : 0;
    return most / 127;
}

/* Appends the rows of one part at row `at` of p. */
static void pack_part(const di_device *dev, const di_weight *part, di_packed *p, int64_t at)
{
    for (int64_t r = 0; r < part->out; r++) {
        float *row = p->w + (at + r) * p->in;

        di_weight_row(part, r, row);
        if (p->scale != NULL)
            p->scale[at + r] = quantise(row, p->in);
        else if (dev->act == DI_BF16)
            for (int64_t i = 0; i < p->in; i++) row[i] = di_bf16_to_f32(di_f32_to_bf16(row[i]));
    }
}

dial_status di_ref_linear_pack(di_device *dev, const di_weight *part, int n_parts,
                               const float *bias, unsigned directions, di_packed **out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_packed *p = di_zalloc(dev->al, sizeof *p);
    size_t n;

    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a packed weight");
    p->in = part[0].in;
    if (directions & DI_INT8 && p->in > DI_INT8_MOST)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--weights int8", "leave out the flag",
                   "sums of %lld products in 8 bits do not fit in 32 bits", (long long)p->in);
    for (int i = 0; i < n_parts; i++) p->out += part[i].out;
    if (!di_mul_size((size_t)p->out, (size_t)p->in, &n))
        DI_FAIL(err, DIAL_ERR_NOMEM, "a weight of %lld x %lld does not fit in memory",
                (long long)p->out, (long long)p->in);
    p->w = di_new_array(dev->al, n, sizeof *p->w);
    p->bias = di_new_array(dev->al, (size_t)p->out, sizeof *p->bias);
    if (directions & DI_INT8) {
        p->scale = di_new_array(dev->al, (size_t)p->out, sizeof *p->scale);
        p->row = di_new_array(dev->al, (size_t)(dev->threads * p->in), sizeof *p->row);
    }
    if (p->w == NULL || p->bias == NULL || (directions & DI_INT8 && (!p->scale || !p->row)))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a packed weight of %lld x %lld",
                (long long)p->out, (long long)p->in);
    for (int64_t i = 0, at = 0; i < n_parts; at += part[i].out, i++)
        pack_part(dev, &part[i], p, at);
    if (bias != NULL) memcpy(p->bias, bias, (size_t)p->out * sizeof *bias);
    *out = p;
    p = NULL;
done:
    di_ref_linear_free(dev, p);
    return st;
}

void di_ref_linear_free(di_device *dev, di_packed *w)
{
    if (w == NULL) return;
    di_free(dev->al, w->w);
    di_free(dev->al, w->scale);
    di_free(dev->al, w->row);
    di_free(dev->al, w->bias);
    di_free(dev->al, w);
}

size_t di_ref_linear_bytes(const di_packed *w)
{
    return (size_t)(w->out * w->in + (w->scale != NULL ? 2 : 1) * w->out) * sizeof(float);
}

/* Row n of x against all of w, in 8 bits; q [in] is room for it. */
static void forward_int8(const di_packed *w, const di_mat *x, int64_t n, float *q, di_mat *y,
                         int add)
{
    float scale;

    for (int64_t i = 0; i < w->in; i++) q[i] = (float)get(x, n, i);
    scale = quantise(q, w->in);
    for (int64_t o = 0; o < w->out; o++) {
        const float *row = w->w + o * w->in;
        int64_t sum = 0;
        float v;

        for (int64_t i = 0; i < w->in; i++) sum += (int64_t)q[i] * (int64_t)row[i];
        v = (float)sum * (scale * w->scale[o]) + w->bias[o];
        put(y, n, o, add ? (double)((float)get(y, n, o) + v) : (double)v);
    }
}

void di_ref_linear_forward(di_device *dev, const di_packed *w, const di_mat *x, di_mat *y, int add)
{
#pragma omp parallel for num_threads(dev->threads) schedule(static)
    for (int64_t n = 0; n < x->rows; n++) {
        if (w->scale != NULL) {
            forward_int8(w, x, n, w->row + omp_get_thread_num() * w->in, y, add);
            continue;
        }
        for (int64_t o = 0; o < w->out; o++) {
            const float *row = w->w + o * w->in;
            double sum = 0;

            for (int64_t i = 0; i < w->in; i++) sum += get(x, n, i) * (double)row[i];
            sum += (double)w->bias[o];
            put(y, n, o, add ? get(y, n, o) + sum : sum);
        }
    }
}

void di_ref_linear_backward(di_device *dev, const di_packed *w, const di_mat *dy, di_mat *dx,
                            int add)
{
#pragma omp parallel for num_threads(dev->threads) schedule(static)
    for (int64_t n = 0; n < dy->rows; n++) {
        for (int64_t i = 0; i < w->in; i++) {
            double sum = 0;

            for (int64_t o = 0; o < w->out; o++) sum += get(dy, n, o) * (double)w->w[o * w->in + i];
            put(dx, n, i, add ? get(dx, n, i) + sum : sum);
        }
    }
}
