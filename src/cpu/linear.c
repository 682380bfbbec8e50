/*
 * Products with frozen weights: by int8.c where they are asked for in 8 bits; by panels.c in bf16
 * on AVX-512 BF16, where one packed copy serves both directions; else the parts are expanded to f32
 * once, stacked, and given to gemm.c.
 */
#include "cpu/cpu.h"

#ifdef DIAL_DNNL

#include <string.h>

#include "base/error.h"
#include "cpu/gemm.h"
#include "cpu/int8.h"
#include "cpu/panels.h"

struct di_packed {
    int64_t out, in;
    di_int8 *int8;               /* NULL: not in 8 bits */
    di_panels *panels;           /* NULL: not by panels.c */
    di_gemm *forward, *backward; /* [in, out], [out, in]; NULL: not asked for, or one of these */
    float *bias;                 /* [out] or NULL */
};

static int by_panels(const di_device *dev)
{
    return dev->act == DI_BF16 && di_cpu_isa(dev) == DI_ISA_BF16 && !di_gemm_has_amx(dev);
}

/* Rows of one part to w; rounded where act is bf16, also if products are then computed in f32. */
static void expand(const di_device *dev, const di_weight *part, float *w)
{
#pragma omp parallel for num_threads(dev->threads) schedule(static)
    for (int64_t r = 0; r < part->out; r++) {
        float *row = w + r * part->in;

        di_weight_row(part, r, row);
        if (dev->act == DI_BF16)
            for (int64_t i = 0; i < part->in; i++) row[i] = di_bf16_to_f32(di_f32_to_bf16(row[i]));
    }
}

/* Both directions by gemm.c. */
static dial_status pack_plain(di_device *dev, const di_weight *part, int n_parts,
                              unsigned directions, di_packed *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    float *w = NULL;
    size_t n;

    if (di_mul_size((size_t)p->out, (size_t)p->in, &n)) w = di_new_array(dev->al, n, sizeof *w);
    if (w == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a weight of %lld x %lld", (long long)p->out,
                (long long)p->in);
    for (int64_t i = 0, at = 0; i < n_parts; at += part[i].out, i++)
        expand(dev, &part[i], w + at * p->in);
    if (directions & DI_FORWARD)
        DI_TRY(di_gemm_new(dev, p->in, p->out, w, 1, p->in, &p->forward, err));
    if (directions & DI_BACKWARD)
        DI_TRY(di_gemm_new(dev, p->out, p->in, w, p->in, 1, &p->backward, err));
done:
    di_free(dev->al, w);
    return st;
}

dial_status di_cpu_linear_pack(di_device *dev, const di_weight *part, int n_parts,
                               const float *bias, unsigned directions, di_packed **out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_packed *p = di_zalloc(dev->al, sizeof *p);

    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a packed weight");
    p->in = part[0].in;
    for (int i = 0; i < n_parts; i++) p->out += part[i].out;
    if (bias != NULL) {
        p->bias = di_new_array(dev->al, (size_t)p->out, sizeof *bias);
        if (p->bias == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a bias");
        memcpy(p->bias, bias, (size_t)p->out * sizeof *bias);
    }
    if (directions & DI_INT8)
        DI_TRY(di_int8_new(dev, part, n_parts, &p->int8, err));
    else if (by_panels(dev))
        DI_TRY(di_panels_new(dev, part, n_parts, (directions & DI_BACKWARD) != 0, &p->panels, err));
    else
        DI_TRY(pack_plain(dev, part, n_parts, directions, p, err));
    *out = p;
    p = NULL;
done:
    di_cpu_linear_free(dev, p);
    return st;
}

void di_cpu_linear_free(di_device *dev, di_packed *w)
{
    if (w == NULL) return;
    di_int8_free(dev, w->int8);
    di_panels_free(dev, w->panels);
    di_gemm_free(dev, w->forward);
    di_gemm_free(dev, w->backward);
    di_free(dev->al, w->bias);
    di_free(dev->al, w);
}

size_t di_cpu_linear_bytes(const di_packed *w)
{
    return (w->int8 != NULL ? di_int8_bytes(w->int8) : 0) +
           (w->panels != NULL ? di_panels_bytes(w->panels) : 0) +
           (w->forward != NULL ? di_gemm_bytes(w->forward) : 0) +
           (w->backward != NULL ? di_gemm_bytes(w->backward) : 0) +
           (w->bias != NULL ? (size_t)w->out * sizeof *w->bias : 0);
}

void di_cpu_linear_forward(di_device *dev, const di_packed *w, const di_mat *x, di_mat *y, int add)
{
    if (w->int8 != NULL)
        di_int8_run(dev, w->int8, x, w->bias, y, add);
    else if (w->panels != NULL)
        di_panels_run(dev, w->panels, x, w->bias, y, add);
    else
        di_gemm_run(dev, w->forward, x, w->bias, y, add);
}

void di_cpu_linear_backward(di_device *dev, const di_packed *w, const di_mat *dy, di_mat *dx,
                            int add)
{
    if (w->panels != NULL)
        di_panels_turned(dev, w->panels, dy, dx, add);
    else
        di_gemm_run(dev, w->backward, dy, NULL, dx, add);
}

#endif
