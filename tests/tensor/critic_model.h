/*
 * The critic a second time, for its tests: in f64, every number with a bound of the error that an
 * f32 backend may have in it. Written from method.md 2.6 to 2.8, apart from src/ref.
 *
 * Errors go through sums by magnitude, |w| e, plus 8 sqrt(n) E of the sum of magnitudes for a sum
 * of n products in any order; through g by its slope, plus 8 E of (1 + |z|) for its evaluation.
 */
#ifndef DIAL_TEST_CRITIC_MODEL_H
#define DIAL_TEST_CRITIC_MODEL_H

#include "op.h"

enum { LAYERS = DI_CRITIC_MAX_LAYERS, MAX_WIDTH = 512 };

typedef struct num {
    double v, e;
} num;

/* Weights in f64; shapes as in di_critic. */
typedef struct net {
    int layers;
    int64_t width[LAYERS + 1];
    di_critic_act act;
    double *w[LAYERS], *b[LAYERS];
} net;

/* The lines of one row (method.md 2.7, 2.8): a[l], v[l] have width[l]; z[l], u[l] width[l + 1]. */
typedef struct row_lines {
    num a[LAYERS + 1][MAX_WIDTH], v[LAYERS + 1][MAX_WIDTH];
    num z[LAYERS][MAX_WIDTH], u[LAYERS][MAX_WIDTH];
    num dz[LAYERS][MAX_WIDTH], dv[LAYERS + 1][MAX_WIDTH];
    num out, norm;
} row_lines;

/* Sums over rows of weight gradients. */
typedef struct sums {
    num *w[LAYERS], *b[LAYERS];
} sums;

static inline num add(num a, num b)
{
    return (num){a.v + b.v, a.e + b.e};
}
static inline num times(num a, num b)
{
    return (num){a.v * b.v,
                 fabs(a.v) * b.e + fabs(b.v) * a.e + a.e * b.e + 2 * E * fabs(a.v * b.v)};
}

/* sum_i w[i * step] x[i], n products. */
static inline num dot(const double *w, int64_t step, const num *x, int64_t n)
{
    num s = {0, 0};

    for (int64_t i = 0; i < n; i++) {
        s.v += w[i * step] * x[i].v;
        s.e += fabs(w[i * step]) * (x[i].e + sum_error(n) * fabs(x[i].v));
    }
    return s;
}

/* The k-th derivative of g at z; only k = 0, 1, 2 are asked for, k + 1 bounds the error. */
static inline double derivative(di_critic_act act, int k, double z)
{
    double density = exp(-z * z / 2) / sqrt(2 * acos(-1)), t = tanh(z), s = 1 - t * t;

    if (act == DI_CRITIC_LINEAR) return k == 0 ? z : k == 1;
    if (act == DI_CRITIC_RELU) return k == 0 ? fmax(z, 0) : k == 1 && z > 0;
    if (act == DI_CRITIC_TANH)
        return k == 0 ? t : k == 1 ? s : k == 2 ? -2 * t * s : s * (6 * t * t - 2);
    return k == 0   ? z * erfc(-z / sqrt(2)) / 2
           : k == 1 ? erfc(-z / sqrt(2)) / 2 + z * density
           : k == 2 ? density * (2 - z * z)
                    : density * z * (z * z - 4);
}

static inline num activated(di_critic_act act, int k, num z)
{
    double own = act == DI_CRITIC_LINEAR || act == DI_CRITIC_RELU ? 0 : 8 * E * (1 + fabs(z.v));

    return (num){derivative(act, k, z.v), fabs(derivative(act, k + 1, z.v)) * z.e + own};
}

/* Z, A, U, V, q = v[0], and the norm of method.md 2.4 for row g of x. */
static inline void model_row(const net *d, const di_mat *x, int64_t g, row_lines *r)
{
    int last = d->layers - 1;
    num square = {1e-12, 0};

    for (int64_t i = 0; i < d->width[0]; i++) r->a[0][i] = (num){el(x, g, i), 0};
    for (int l = 0; l <= last; l++)
        for (int64_t j = 0; j < d->width[l + 1]; j++) {
            num z = dot(d->w[l] + j * d->width[l], 1, r->a[l], d->width[l]);

            z = add(z, (num){d->b[l][j], 2 * E * (fabs(z.v) + fabs(d->b[l][j]))});
            r->z[l][j] = z;
            if (l < last) r->a[l + 1][j] = activated(d->act, 0, z);
        }
    r->out = r->z[last][0];
    r->u[last][0] = (num){1, 0};
    for (int l = last; l >= 0; l--)
        for (int64_t i = 0; i < d->width[l]; i++) {
            r->v[l][i] = dot(d->w[l] + i, d->width[l], r->u[l], d->width[l + 1]);
            if (l > 0) r->u[l - 1][i] = times(r->v[l][i], activated(d->act, 1, r->z[l - 1][i]));
        }
    for (int64_t i = 0; i < d->width[0]; i++) {
        num t = times(r->v[0][i], r->v[0][i]);

        square = add(square, (num){t.v, t.e + sum_error(d->width[0]) * t.v});
    }
    r->norm.v = sqrt(square.v);
    r->norm.e = square.e / (2 * r->norm.v) + 2 * E * r->norm.v;
}

static inline void add_product(const net *d, sums *s, int l, const num *u, const num *x,
                               int64_t rows)
{
    for (int64_t j = 0; j < d->width[l + 1]; j++)
        for (int64_t i = 0; i < d->width[l]; i++) {
            num t = times(u[j], x[i]);

            t.e += sum_error(2 * rows) * fabs(t.v);
            s->w[l][j * d->width[l] + i] = add(s->w[l][j * d->width[l] + i], t);
        }
}

/* Backward from r->dz, which holds what reaches each Z_l from elsewhere. */
static inline void model_backward(const net *d, row_lines *r, sums *s, int64_t rows)
{
    for (int l = d->layers - 1; l >= 0; l--) {
        add_product(d, s, l, r->dz[l], r->a[l], rows);
        for (int64_t j = 0; j < d->width[l + 1]; j++) {
            num t = r->dz[l][j];

            t.e += sum_error(rows) * fabs(t.v);
            s->b[l][j] = add(s->b[l][j], t);
        }
        for (int64_t i = 0; l > 0 && i < d->width[l]; i++)
            r->dz[l - 1][i] =
                add(r->dz[l - 1][i], times(dot(d->w[l] + i, d->width[l], r->dz[l], d->width[l + 1]),
                                           activated(d->act, 1, r->z[l - 1][i])));
    }
}

/* phi of method.md 2.4 at n, and slope = phi'(n) / n. */
static inline num model_phi(di_gp_kind kind, num n, num *slope)
{
    double over = kind == DI_GP_ZERO_CENTRED ? n.v : n.v - 1;

    if (kind == DI_GP_ONE_SIDED) over = fmax(over, 0);
    slope->v = 2 * over / n.v;
    slope->e = (kind == DI_GP_ZERO_CENTRED || over == 0 ? 0 : 2 * n.e / (n.v * n.v)) +
               8 * E * (fabs(slope->v) + 2);
    return (num){over * over, 2 * fabs(over) * n.e + n.e * n.e + 4 * E * over * over};
}

/* One row's share of dGP after model_row: the seven lines of method.md 2.8, then model_backward. */
static inline void model_penalty(const net *d, row_lines *r, num slope, sums *s, int64_t rows)
{
    for (int64_t i = 0; i < d->width[0]; i++)
        r->dv[0][i] = times((num){slope.v / (double)rows, slope.e / (double)rows}, r->v[0][i]);
    for (int l = 0; l < d->layers; l++) {
        add_product(d, s, l, r->u[l], r->dv[l], rows);
        for (int64_t j = 0; j < d->width[l + 1]; j++) {
            num du = dot(d->w[l] + j * d->width[l], 1, r->dv[l], d->width[l]);

            r->dz[l][j] = (num){0, 0};
            if (l == d->layers - 1) continue;
            r->dv[l + 1][j] = times(du, activated(d->act, 1, r->z[l][j]));
            r->dz[l][j] = times(times(du, r->v[l + 1][j]), activated(d->act, 2, r->z[l][j]));
        }
    }
    model_backward(d, r, s, rows);
}

/* GP and the mean norm over all rows of x; s (may be NULL) += the gradient. */
static inline num model_gp(const net *d, const di_mat *x, di_gp_kind kind, sums *s, num *mean)
{
    row_lines *r = di_new(di_alloc_default(), sizeof *r);
    num gp = {0, 0}, norms = {0, 0};
    double n = x->rows > 0 ? (double)x->rows : 1;

    for (int64_t g = 0; g < x->rows; g++) {
        num slope;

        model_row(d, x, g, r);
        norms = add(norms, r->norm);
        gp = add(gp, model_phi(kind, r->norm, &slope));
        if (s != NULL) model_penalty(d, r, slope, s, x->rows);
    }
    di_free(di_alloc_default(), r);
    *mean = (num){norms.v / n, norms.e / n + 4 * E * norms.v / n};
    return (num){gp.v / n, gp.e / n + 4 * E * gp.v / n};
}

#endif
