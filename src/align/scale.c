#include "align/scale.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

#define EMA_DECAY 0.99
#define SD_FLOOR 1e-2 /* of the mean sd0: a coordinate that hardly moves is not blown up */
#define LN_EPS 1e-12

dial_status di_scale_init(di_scale *s, const di_alloc *al, di_scale_kind kind, int64_t width,
                          dial_error *err)
{
    dial_status st = DIAL_OK;

    *s = (di_scale){.kind = kind, .width = width};
    if (kind != DI_SCALE_COORD) return DIAL_OK;
    s->mu = di_new_array(al, (size_t)width, sizeof *s->mu);
    s->sd = di_new_array(al, (size_t)width, sizeof *s->sd);
    if (s->mu == NULL || s->sd == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scale of %lld coordinates",
                (long long)width);
    for (int64_t k = 0; k < width; k++) {
        s->mu[k] = 0;
        s->sd[k] = 1;
    }
done:
    return st;
}

void di_scale_deinit(di_scale *s, const di_alloc *al)
{
    di_free(al, s->mu);
    di_free(al, s->sd);
    *s = (di_scale){0};
}

void di_scale_fit(di_scale *s, const float *e, int64_t n)
{
    int64_t c = s->width;
    double mean_sd = 0, root_c = sqrt((double)c);

    if (s->kind != DI_SCALE_COORD || n < 2) return;
    for (int64_t k = 0; k < c; k++) {
        double mu = 0, var = 0;

        for (int64_t i = 0; i < n; i++) mu += (double)e[i * c + k];
        mu /= (double)n;
        for (int64_t i = 0; i < n; i++) var += pow((double)e[i * c + k] - mu, 2);
        s->mu[k] = (float)mu;
        s->sd[k] = (float)sqrt(var / (double)n);
        mean_sd += (double)s->sd[k] / (double)c;
    }
    for (int64_t k = 0; k < c; k++)
        s->sd[k] = (float)(fmax((double)s->sd[k], fmax(SD_FLOOR * mean_sd, 1e-30)) * root_c);
}

void di_scale_observe(di_scale *s, const float *e, int64_t n)
{
    double sum = 0;

    if (s->kind != DI_SCALE_EMA || n == 0) return;
    for (int64_t i = 0; i < n * s->width; i++) sum += (double)e[i] * (double)e[i];
    sum /= (double)n;
    s->s2 = (float)(s->s2 > 0 ? EMA_DECAY * (double)s->s2 + (1 - EMA_DECAY) * sum : sum);
}

double di_scale_norm(const di_scale *s)
{
    return s->kind == DI_SCALE_EMA && s->s2 > 0 ? sqrt((double)s->s2) : 1;
}

/* Mean and 1 / (sd sqrt(C)) of a row. */
static void row_moments(const float *e, int64_t c, double *mean, double *inverse)
{
    double sum = 0, square = 0;

    for (int64_t k = 0; k < c; k++) sum += (double)e[k];
    *mean = sum / (double)c;
    for (int64_t k = 0; k < c; k++) square += pow((double)e[k] - *mean, 2);
    *inverse = 1 / sqrt(square + LN_EPS); /* sd sqrt(C) is the root of the sum itself */
}

void di_scale_apply(const di_scale *s, const float *e, int64_t n, float *z)
{
    int64_t c = s->width;
    float inverse = (float)(1 / di_scale_norm(s));

    if (s->kind == DI_SCALE_NONE && z != e) memcpy(z, e, (size_t)(n * c) * sizeof *z);
    if (s->kind == DI_SCALE_EMA)
        for (int64_t i = 0; i < n * c; i++) z[i] = e[i] * inverse;
    if (s->kind == DI_SCALE_COORD)
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < c; k++) z[i * c + k] = (e[i * c + k] - s->mu[k]) / s->sd[k];
    for (int64_t i = 0; i < n && s->kind == DI_SCALE_LAYERNORM; i++) {
        double mean, inv;

        row_moments(e + i * c, c, &mean, &inv);
        for (int64_t k = 0; k < c; k++) z[i * c + k] = (float)(((double)e[i * c + k] - mean) * inv);
    }
}

/* de = (gy - mean(gy) - xh mean(gy xh)) / sd with xh = (e - mean) / sd and gy = dz / sqrt(C). */
static void layernorm_back(const float *e, const float *dz, int64_t c, float *de)
{
    double mean, inv, sum = 0, along = 0;

    row_moments(e, c, &mean, &inv);
    for (int64_t k = 0; k < c; k++) {
        sum += (double)dz[k];
        along += (double)dz[k] * ((double)e[k] - mean) * inv;
    }
    for (int64_t k = 0; k < c; k++)
        de[k] +=
            (float)(inv * ((double)dz[k] - sum / (double)c - ((double)e[k] - mean) * inv * along));
}

void di_scale_pull_back(const di_scale *s, const float *e, int64_t n, const float *dz, float *de)
{
    int64_t c = s->width;
    float inverse = (float)(1 / di_scale_norm(s));

    if (s->kind == DI_SCALE_NONE)
        for (int64_t i = 0; i < n * c; i++) de[i] += dz[i];
    if (s->kind == DI_SCALE_EMA)
        for (int64_t i = 0; i < n * c; i++) de[i] += dz[i] * inverse;
    if (s->kind == DI_SCALE_COORD)
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < c; k++) de[i * c + k] += dz[i * c + k] / s->sd[k];
    for (int64_t i = 0; i < n && s->kind == DI_SCALE_LAYERNORM; i++)
        layernorm_back(e + i * c, dz + i * c, c, de + i * c);
}
