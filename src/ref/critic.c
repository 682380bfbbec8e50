/*
 * The critic d and its gradient penalty: method.md 2.4, 2.6, 2.7 and 2.8, one row at a time.
 *
 * With A_0 = x the lines of a row are, for layers l = 0 .. L-1,
 *
 *     Z_l = W_l A_l + b_l       A_{l+1} = g(Z_l)  (l < L-1)       d(x) = Z_{L-1}
 *     V_l = W_l^T U_l           U_{L-1} = 1,  U_l = V_{l+1} .* g'(Z_l)       q = V_0
 *
 * In 2.7 and 2.8 layers count from 1 and are lettered a, b, c: their V1 is V_1 here, d out / d A_1.
 * Weight gradients are summed over the rows in f64 and added to f32 once, at the end.
 */
#include "ref/ref.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* What one row needs, and the gradient sums, all f64 and laid out in the work memory. */
typedef struct lines {
    double *a[DI_CRITIC_MAX_LAYERS + 1];                                /* A_l [width l] */
    double *v[DI_CRITIC_MAX_LAYERS + 1], *dv[DI_CRITIC_MAX_LAYERS + 1]; /* V_l [width l] */
    double *z[DI_CRITIC_MAX_LAYERS], *dz[DI_CRITIC_MAX_LAYERS];         /* Z_l [width l+1] */
    double *u[DI_CRITIC_MAX_LAYERS], *du[DI_CRITIC_MAX_LAYERS];         /* U_l [width l+1] */
    double *dw[DI_CRITIC_MAX_LAYERS], *db[DI_CRITIC_MAX_LAYERS];
    int64_t n_sums; /* doubles of dw and db together; they come first */
} lines;

/* The next n doubles of the work memory; counts alone where there is none. */
static double *take(double **next, int64_t *count, int64_t n)
{
    double *p = *next;

    if (p != NULL) *next = p + n;
    *count += n;
    return p;
}

/* Lays the lines over work (NULL: none); returns the doubles that they occupy. */
static int64_t carve(const di_critic *d, double *work, lines *s)
{
    int64_t n = 0;

    assert(d->n_layers >= 1 && d->n_layers <= DI_CRITIC_MAX_LAYERS);
    for (int l = 0; l < d->n_layers; l++) {
        s->dw[l] = take(&work, &n, d->width[l + 1] * d->width[l]);
        s->db[l] = take(&work, &n, d->width[l + 1]);
    }
    s->n_sums = n;
    for (int l = 0; l <= d->n_layers; l++) {
        s->a[l] = take(&work, &n, d->width[l]);
        s->v[l] = take(&work, &n, d->width[l]);
        s->dv[l] = take(&work, &n, d->width[l]);
    }
    for (int l = 0; l < d->n_layers; l++) {
        s->z[l] = take(&work, &n, d->width[l + 1]);
        s->dz[l] = take(&work, &n, d->width[l + 1]);
        s->u[l] = take(&work, &n, d->width[l + 1]);
        s->du[l] = take(&work, &n, d->width[l + 1]);
    }
    return n;
}

size_t di_ref_critic_bytes(const di_device *dev, const di_critic *d, int64_t rows)
{
    lines s;

    (void)dev;
    (void)rows;
    return (size_t)carve(d, NULL, &s) * sizeof(double);
}

/* g, g' and g'' of the hidden activation: g[0], g[1], g[2]. Method.md 2.6, erf form. */
static void activate(di_critic_act act, double z, double g[3])
{
    if (act == DI_CRITIC_GELU) {
        double phi = (1 + erf(z * 0.70710678118654752440)) / 2;
        double density = exp(-z * z / 2) * 0.39894228040143267794; /* 1 / sqrt(2 pi) */

        g[0] = z * phi;
        g[1] = phi + z * density;
        g[2] = density * (2 - z * z);
    } else if (act == DI_CRITIC_TANH) {
        g[0] = tanh(z);
        g[1] = 1 - g[0] * g[0];
        g[2] = -2 * g[0] * g[1];
    } else {
        int on = act == DI_CRITIC_LINEAR || z > 0; /* relu: slope 0 at 0, as in PyTorch */

        g[0] = on ? z : 0;
        g[1] = on;
        g[2] = 0;
    }
}

/* out [rows] = W v, and out [cols] = W^T v, for W [rows, cols]. */
static void times(const float *w, int64_t rows, int64_t cols, const double *v, double *out)
{
    for (int64_t r = 0; r < rows; r++) {
        out[r] = 0;
        for (int64_t c = 0; c < cols; c++) out[r] += (double)w[r * cols + c] * v[c];
    }
}

static void times_transposed(const float *w, int64_t rows, int64_t cols, const double *v,
                             double *out)
{
    for (int64_t c = 0; c < cols; c++) out[c] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) out[c] += (double)w[r * cols + c] * v[r];
}

/* dw [rows, cols] += u v^T. */
static void add_outer(double *dw, int64_t rows, int64_t cols, const double *u, const double *v)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) dw[r * cols + c] += u[r] * v[c];
}

/* Z_l and A_l of row g of x; returns d(x). */
static double row_forward(const di_critic *d, const di_mat *x, int64_t g, const lines *s)
{
    for (int64_t i = 0; i < d->width[0]; i++) s->a[0][i] = get(x, g, i);
    for (int l = 0; l < d->n_layers; l++) {
        times(d->w[l], d->width[l + 1], d->width[l], s->a[l], s->z[l]);
        for (int64_t j = 0; j < d->width[l + 1]; j++) {
            double act[3];

            s->z[l][j] += (double)d->b[l][j];
            activate(d->act, s->z[l][j], act);
            s->a[l + 1][j] = act[0]; /* of the last layer: not used */
        }
    }
    return s->z[d->n_layers - 1][0];
}

/* U_l and V_l after row_forward: the slope of d(x) at every line; q = V_0. */
static void row_slope(const di_critic *d, const lines *s)
{
    s->u[d->n_layers - 1][0] = 1;
    for (int l = d->n_layers - 1; l >= 0; l--) {
        times_transposed(d->w[l], d->width[l + 1], d->width[l], s->u[l], s->v[l]);
        for (int64_t j = 0; l > 0 && j < d->width[l]; j++) {
            double act[3];

            activate(d->act, s->z[l - 1][j], act);
            s->u[l - 1][j] = s->v[l][j] * act[1];
        }
    }
}

/*
 * From dZ_l of the last layer down: dw_l += dZ_l A_l^T, db_l += dZ_l and
 * dZ_{l-1} += (W_l^T dZ_l) .* g'(Z_{l-1}). dz of the hidden layers holds what reaches them from
 * elsewhere; dv is overwritten.
 */
static void row_backward(const di_critic *d, const lines *s)
{
    for (int l = d->n_layers - 1; l >= 0; l--) {
        add_outer(s->dw[l], d->width[l + 1], d->width[l], s->dz[l], s->a[l]);
        for (int64_t j = 0; j < d->width[l + 1]; j++) s->db[l][j] += s->dz[l][j];
        if (l == 0) break;
        times_transposed(d->w[l], d->width[l + 1], d->width[l], s->dz[l], s->dv[l]);
        for (int64_t j = 0; j < d->width[l]; j++) {
            double act[3];

            activate(d->act, s->z[l - 1][j], act);
            s->dz[l - 1][j] += s->dv[l][j] * act[1];
        }
    }
}

/* From dV_0 = dq up through the slope lines: their share of dw, and what falls on each Z_l. */
static void row_backward_slope(const di_critic *d, const lines *s)
{
    for (int l = 0; l < d->n_layers; l++) {
        add_outer(s->dw[l], d->width[l + 1], d->width[l], s->u[l], s->dv[l]);
        times(d->w[l], d->width[l + 1], d->width[l], s->dv[l], s->du[l]);
        for (int64_t j = 0; j < d->width[l + 1]; j++) {
            double act[3];

            if (l == d->n_layers - 1) { /* U = 1 depends on nothing */
                s->dz[l][j] = 0;
                continue;
            }
            activate(d->act, s->z[l][j], act);
            s->dv[l + 1][j] = s->du[l][j] * act[1];
            s->dz[l][j] = s->du[l][j] * s->v[l + 1][j] * act[2];
        }
    }
}

/* grad += scale * the f64 sums. */
static void add_sums(const di_critic *d, const lines *s, double scale, di_critic *grad)
{
    for (int l = 0; l < d->n_layers; l++) {
        for (int64_t i = 0; i < d->width[l + 1] * d->width[l]; i++)
            grad->w[l][i] = (float)((double)grad->w[l][i] + scale * s->dw[l][i]);
        for (int64_t j = 0; j < d->width[l + 1]; j++)
            grad->b[l][j] = (float)((double)grad->b[l][j] + scale * s->db[l][j]);
    }
}

void di_ref_critic_forward(di_device *dev, const di_critic *d, const di_mat *x, float *out,
                           void *work)
{
    lines s;

    (void)dev;
    carve(d, work, &s);
    for (int64_t g = 0; g < x->rows; g++) out[g] = (float)row_forward(d, x, g, &s);
}

void di_ref_critic_input_grad(di_device *dev, const di_critic *d, const di_mat *x, di_mat *q,
                              void *work)
{
    lines s;

    (void)dev;
    carve(d, work, &s);
    for (int64_t g = 0; g < x->rows; g++) {
        row_forward(d, x, g, &s);
        row_slope(d, &s);
        for (int64_t i = 0; i < d->width[0]; i++) put(q, g, i, s.v[0][i]);
    }
}

void di_ref_critic_backward(di_device *dev, const di_critic *d, const di_mat *x, const float *dout,
                            di_critic *grad, void *work)
{
    lines s;

    (void)dev;
    carve(d, work, &s);
    memset(work, 0, (size_t)s.n_sums * sizeof(double));
    for (int64_t g = 0; g < x->rows; g++) {
        row_forward(d, x, g, &s);
        for (int l = 0; l < d->n_layers; l++)
            memset(s.dz[l], 0, (size_t)d->width[l + 1] * sizeof(double));
        s.dz[d->n_layers - 1][0] = (double)dout[g];
        row_backward(d, &s);
    }
    add_sums(d, &s, 1, grad);
}

/* phi(n), and its derivative into *slope: the table of method.md 2.4. */
static double phi(di_gp_kind kind, double n, double *slope)
{
    double excess = kind == DI_GP_ZERO_CENTRED ? n : n - 1;

    if (kind == DI_GP_ONE_SIDED && excess < 0) excess = 0;
    *slope = 2 * excess;
    return excess * excess;
}

double di_ref_critic_penalty(di_device *dev, const di_critic *d, const di_mat *x, di_gp_kind kind,
                             float lambda, di_critic *grad, double *mean_norm, void *work)
{
    double gp = 0, norms = 0, rows = x->rows > 0 ? (double)x->rows : 1;
    lines s;

    (void)dev;
    carve(d, work, &s);
    memset(work, 0, (size_t)s.n_sums * sizeof(double));
    for (int64_t g = 0; g < x->rows; g++) {
        double n = 1e-12, slope;

        row_forward(d, x, g, &s);
        row_slope(d, &s);
        for (int64_t i = 0; i < d->width[0]; i++) n += s.v[0][i] * s.v[0][i];
        n = sqrt(n);
        norms += n;
        gp += phi(kind, n, &slope);
        if (grad == NULL) continue;
        for (int64_t i = 0; i < d->width[0]; i++) s.dv[0][i] = slope / (rows * n) * s.v[0][i];
        row_backward_slope(d, &s);
        row_backward(d, &s);
    }
    if (grad != NULL) add_sums(d, &s, (double)lambda, grad);
    if (mean_norm != NULL) *mean_norm = norms / rows;
    return gp / rows;
}
