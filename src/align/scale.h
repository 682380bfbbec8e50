/*
 * The scale in which embeddings are aligned (method.md 8.4, `--embed-norm`): e -> z, and dz -> de.
 * It makes lambda, the gradient penalty and every bandwidth independent of the base model.
 *
 *     none       z = e
 *     ema        z = e / s, s the running rms norm of a row, over both domains alike (a scale for
 *                each domain would hide a difference that the head sees)
 *     coord      z = (e - mu0) / sd0 / sqrt(C), mu0 and sd0 [C] of the frozen base on source texts:
 *                where a few coordinates carry most of the norm, one s leaves a critic to see only
 *                those
 *     layernorm  z = (e - mean) / sd / sqrt(C), mean and sd over the coordinates of the row
 *
 * s, mu0 and sd0 are constants to the gradient.
 */
#ifndef DI_ALIGN_SCALE_H
#define DI_ALIGN_SCALE_H

#include "base/alloc.h"

typedef enum di_scale_kind {
    DI_SCALE_NONE,
    DI_SCALE_EMA,
    DI_SCALE_COORD,
    DI_SCALE_LAYERNORM
} di_scale_kind;

typedef struct di_scale {
    di_scale_kind kind;
    int64_t width;  /* C */
    float *mu, *sd; /* [C] coord: mu0, and sd0 * sqrt(C); 0 and 1 until di_scale_fit */
    float s2;       /* ema: running mean square norm of a row; 0: nothing seen yet */
} di_scale;

dial_status di_scale_init(di_scale *s, const di_alloc *al, di_scale_kind kind, int64_t width,
                          dial_error *err);
void di_scale_deinit(di_scale *s, const di_alloc *al);

/* coord: mu0 and sd0 from e [n, C]; sd0 at least 1e-2 of its mean. Other kinds: nothing. */
void di_scale_fit(di_scale *s, const float *e, int64_t n);

/* ema: takes the rows of a step into s (decay 0.99; the first step sets it). */
void di_scale_observe(di_scale *s, const float *e, int64_t n);

/* ema: s, the running rms norm (1 before the first rows); other kinds: 1. */
double di_scale_norm(const di_scale *s);

/* z [n, C] of e [n, C]; z may be e. */
void di_scale_apply(const di_scale *s, const float *e, int64_t n, float *z);

/* de [n, C] += the gradient that dz [n, C] is to e. */
void di_scale_pull_back(const di_scale *s, const float *e, int64_t n, const float *dz, float *de);

#endif
