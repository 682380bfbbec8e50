/*
 * The critic and its penalty, all rows at once: the lines of ref/critic.c as matrices (method.md
 * 2.7 and 2.8), each a product of mm.h.
 *
 *     Z_l = A_l W_l^T + b_l     A_{l+1} = g(Z_l)          V_l = U_l W_l     U_{l-1} = V_l .*
 * g'(Z_{l-1})
 *
 * Rows stand `stride` apart, their width rounded up to a panel, so that any of these matrices can
 * be either operand. The weights change with every iteration and are copied at each call, straight
 * and turned: 0.2 M numbers at C = 576, little beside products over 48 rows. Everything is f32 but
 * the sums over a row of q and over rows of the penalty, which are f64.
 */
#define DI_SELF "cpu/critic.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"
#include "cpu/mm.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#ifdef DI_PASS

/* a, g1, g2 = g, g', g'' of z + b over a row of n (method.md 2.6, erf form). */
static void K(activate_row)(di_critic_act act, const float *z, const float *b, int64_t n, float *a,
                            float *g1, float *g2)
{
    for (int64_t i = 0; i < n; i += DI_VL) {
        vf x = v_add(v_get(z, 0, i, n - i), v_get(b, 0, i, n - i));
        vf one = v_set(1), y = x, d1 = one, d2 = v_zero();

        if (act == DI_CRITIC_GELU) {
            vf tail = v_erfc_half(v_mul(x, v_set(0.70710678118654752440f)));
            vf phi = v_below(x, v_zero(), tail, v_sub(one, tail));
            vf density = v_mul(v_exp(v_mul(v_mul(x, x), v_set(-0.5f))),
                               v_set(0.39894228040143267794f)); /* 1 / sqrt(2 pi) */

            y = v_mul(x, phi);
            d1 = v_fma(x, density, phi);
            d2 = v_mul(density, v_fnma(x, x, v_set(2)));
        } else if (act == DI_CRITIC_TANH) {
            y = v_tanh(x);
            d1 = v_fnma(y, y, one);
            d2 = v_mul(v_mul(v_set(-2), y), d1);
        } else if (act == DI_CRITIC_RELU) {
            y = v_max(x, v_zero());
            d1 = v_below(v_zero(), x, one, v_zero()); /* slope 0 at 0, as in PyTorch */
        }
        v_put(a, 0, i, n - i, y);
        v_put(g1, 0, i, n - i, d1);
        v_put(g2, 0, i, n - i, d2);
    }
}

/* y = a .* b, or y += a .* b. */
static void K(times)(const float *a, const float *b, int64_t n, float *y, int add)
{
    for (int64_t i = 0; i < n; i += DI_VL) {
        vf p = v_mul(v_get(a, 0, i, n - i), v_get(b, 0, i, n - i));

        v_put(y, 0, i, n - i, add ? v_add(v_get(y, 0, i, n - i), p) : p);
    }
}

#elif defined(DI_VECTOR)

enum { MOST = DI_CRITIC_MAX_LAYERS };

/* Matrices of a call. Index l as in the comment above; stride[l] belongs to width[l]. */
typedef struct lines {
    di_device *dev;
    const di_critic *d;
    int64_t rows, stride[MOST + 1];
    float *w[MOST], *wt[MOST];           /* W_l [out][stride in], W_l^T [in][stride out] */
    float *a[MOST], *v[MOST], *dv[MOST]; /* [rows][stride l] */
    float *z, *t;                        /* [rows][widest] */
    float *g1[MOST], *g2[MOST];          /* [rows][stride l+1], hidden layers */
    float *u[MOST], *dz[MOST];           /* [rows][stride l+1] */
} lines;

static float *take(float **next, int64_t *count, int64_t n)
{
    float *p = *next;

    if (p != NULL) *next = p + n;
    *count += n;
    return p;
}

/* Lays the matrices over work (NULL: none); returns the floats that they occupy. */
static int64_t carve(di_device *dev, const di_critic *d, int64_t rows, float *work, lines *s)
{
    int64_t n = 0, widest = 0;

    assert(d->n_layers >= 1 && d->n_layers <= DI_CRITIC_MAX_LAYERS);
    *s = (lines){.dev = dev, .d = d, .rows = rows};
    for (int l = 0; l <= d->n_layers; l++) {
        s->stride[l] = di_round_up(d->width[l], DI_PANEL);
        if (s->stride[l] > widest) widest = s->stride[l];
    }
    for (int l = 0; l < d->n_layers; l++) {
        s->w[l] = take(&work, &n, d->width[l + 1] * s->stride[l]);
        s->wt[l] = take(&work, &n, d->width[l] * s->stride[l + 1]);
        s->a[l] = take(&work, &n, rows * s->stride[l]);
        s->v[l] = take(&work, &n, rows * s->stride[l]);
        s->dv[l] = take(&work, &n, rows * s->stride[l]);
        s->g1[l] = take(&work, &n, rows * s->stride[l + 1]);
        s->g2[l] = take(&work, &n, rows * s->stride[l + 1]);
        s->u[l] = take(&work, &n, rows * s->stride[l + 1]);
        s->dz[l] = take(&work, &n, rows * s->stride[l + 1]);
    }
    s->z = take(&work, &n, rows * widest);
    s->t = take(&work, &n, rows * widest);
    return n;
}

size_t di_cpu_critic_bytes(const di_device *dev, const di_critic *d, int64_t rows)
{
    lines s;

    return (size_t)carve((di_device *)(uintptr_t)dev, d, rows, NULL, &s) * sizeof(float);
}

/* Copies of the weights, and the rows of x, in padded form. Padding is zero: it is read. */
static void begin(di_device *dev, const di_critic *d, const di_mat *x, void *work, lines *s)
{
    int64_t n = carve(dev, d, x->rows, work, s);

    memset(work, 0, (size_t)n * sizeof(float));
    for (int l = 0; l < d->n_layers; l++) {
        int64_t out = d->width[l + 1], in = d->width[l];

        for (int64_t r = 0; r < out; r++) {
            memcpy(s->w[l] + r * s->stride[l], d->w[l] + r * in, (size_t)in * sizeof(float));
            for (int64_t c = 0; c < in; c++)
                s->wt[l][c * s->stride[l + 1] + r] = d->w[l][r * in + c];
        }
    }
    for (int64_t g = 0; g < x->rows; g++)
        memcpy(s->a[0] + g * s->stride[0], (const float *)x->data + g * x->stride,
               (size_t)x->cols * sizeof(float));
}

/* c [m, n] (+)= a b; threads take rows of c, whose bits do not depend on the share. */
static void product(const lines *s, di_mm p)
{
    di_isa isa = di_cpu_isa(s->dev);
    int T = di_threads_for(s->dev, p.m * p.n * p.k / 16);

#pragma omp parallel num_threads(T)
    {
        int64_t lo, hi;
        di_mm own = p;

        di_share(p.m, 4, omp_get_thread_num(), T, &lo, &hi);
        own.m = hi - lo;
        own.a = (const float *)p.a + lo * p.a_row;
        own.c = (float *)p.c + lo * p.c_row;
        if (own.m > 0) di_mm_run(isa, 0, &own);
    }
}

/* y [rows, out of l] = x [rows, in of l] W_l^T. */
static void through(const lines *s, int l, const float *x, float *y)
{
    product(s, (di_mm){.m = s->rows,
                       .n = s->d->width[l + 1],
                       .k = s->d->width[l],
                       .a = x,
                       .a_row = s->stride[l],
                       .a_k = 1,
                       .b = s->wt[l],
                       .b_panel = DI_PANEL,
                       .b_k = s->stride[l + 1],
                       .c = y,
                       .c_row = s->stride[l + 1]});
}

/* y [rows, in of l] = x [rows, out of l] W_l. */
static void back_through(const lines *s, int l, const float *x, float *y)
{
    product(s, (di_mm){.m = s->rows,
                       .n = s->d->width[l],
                       .k = s->d->width[l + 1],
                       .a = x,
                       .a_row = s->stride[l + 1],
                       .a_k = 1,
                       .b = s->w[l],
                       .b_panel = DI_PANEL,
                       .b_k = s->stride[l],
                       .c = y,
                       .c_row = s->stride[l]});
}

/* dW_l += x^T y, x [rows, out of l], y [rows, in of l]. */
static void add_outer(const lines *s, int l, const float *x, const float *y, di_critic *grad)
{
    product(s, (di_mm){.m = s->d->width[l + 1],
                       .n = s->d->width[l],
                       .k = s->rows,
                       .a = x,
                       .a_row = 1,
                       .a_k = s->stride[l + 1],
                       .b = y,
                       .b_panel = DI_PANEL,
                       .b_k = s->stride[l],
                       .c = grad->w[l],
                       .c_row = s->d->width[l],
                       .add = 1});
}

static void times(const lines *s, const float *a, const float *b, int64_t n, float *y, int add)
{
    DI_PICK(s->dev, times)(a, b, n, y, add);
}

/* Z, A, g', g'' of all rows; out (may be NULL) [rows] = d. */
static void forward(const lines *s, float *out)
{
    const di_critic *d = s->d;
    int last = d->n_layers - 1;

    for (int l = 0; l < last; l++) {
        int64_t stride = s->stride[l + 1];

        through(s, l, s->a[l], s->z);
        for (int64_t g = 0; g < s->rows; g++) DI_PICK(s->dev, activate_row)
        (d->act, s->z + g * stride, d->b[l], d->width[l + 1], s->a[l + 1] + g * stride,
         s->g1[l] + g * stride, s->g2[l] + g * stride);
    }
    if (out == NULL) return;
    through(s, last, s->a[last], s->z);
    for (int64_t g = 0; g < s->rows; g++) out[g] = s->z[g * s->stride[last + 1]] + d->b[last][0];
}

/* U and V of all rows; V_0 = q. */
static void slope(const lines *s)
{
    int last = s->d->n_layers - 1;

    for (int64_t g = 0; g < s->rows; g++) s->u[last][g * s->stride[last + 1]] = 1;
    for (int l = last; l >= 0; l--) {
        back_through(s, l, s->u[l], s->v[l]);
        if (l > 0) times(s, s->v[l], s->g1[l - 1], s->rows * s->stride[l], s->u[l - 1], 0);
    }
}

/* From dZ of the last layer down; dz of hidden layers holds what reaches them from elsewhere. */
static void backward(const lines *s, di_critic *grad)
{
    const di_critic *d = s->d;

    for (int l = d->n_layers - 1; l >= 0; l--) {
        add_outer(s, l, s->dz[l], s->a[l], grad);
        for (int64_t g = 0; g < s->rows; g++)
            for (int64_t j = 0; j < d->width[l + 1]; j++)
                grad->b[l][j] += s->dz[l][g * s->stride[l + 1] + j];
        if (l == 0) break;
        back_through(s, l, s->dz[l], s->t);
        times(s, s->t, s->g1[l - 1], s->rows * s->stride[l], s->dz[l - 1], 1);
    }
}

/* From dV_0 = dq up through the slope lines: their share of dW, and what falls on each Z. */
static void backward_slope(const lines *s, di_critic *grad)
{
    int last = s->d->n_layers - 1;

    for (int l = 0; l <= last; l++) {
        int64_t n = s->rows * s->stride[l + 1];

        add_outer(s, l, s->u[l], s->dv[l], grad);
        if (l == last) break; /* U of the last layer is the constant 1 */
        through(s, l, s->dv[l], s->z);
        times(s, s->z, s->g1[l], n, s->dv[l + 1], 0);
        times(s, s->z, s->v[l + 1], n, s->t, 0);
        times(s, s->t, s->g2[l], n, s->dz[l], 0);
    }
}

void di_cpu_critic_forward(di_device *dev, const di_critic *d, const di_mat *x, float *out,
                           void *work)
{
    lines s;

    begin(dev, d, x, work, &s);
    forward(&s, out);
}

void di_cpu_critic_input_grad(di_device *dev, const di_critic *d, const di_mat *x, di_mat *q,
                              void *work)
{
    lines s;

    begin(dev, d, x, work, &s);
    forward(&s, NULL);
    slope(&s);
    for (int64_t g = 0; g < x->rows; g++)
        memcpy((float *)q->data + g * q->stride, s.v[0] + g * s.stride[0],
               (size_t)x->cols * sizeof(float));
}

void di_cpu_critic_backward(di_device *dev, const di_critic *d, const di_mat *x, const float *dout,
                            di_critic *grad, void *work)
{
    int last = d->n_layers - 1;
    lines s;

    begin(dev, d, x, work, &s);
    forward(&s, NULL);
    for (int64_t g = 0; g < x->rows; g++) s.dz[last][g * s.stride[last + 1]] = dout[g];
    backward(&s, grad);
}

/* phi(n), and its derivative into *slope: the table of method.md 2.4. */
static double phi(di_gp_kind kind, double n, double *dphi)
{
    double excess = kind == DI_GP_ZERO_CENTRED ? n : n - 1;

    if (kind == DI_GP_ONE_SIDED && excess < 0) excess = 0;
    *dphi = 2 * excess;
    return excess * excess;
}

double di_cpu_critic_penalty(di_device *dev, const di_critic *d, const di_mat *x, di_gp_kind kind,
                             float lambda, di_critic *grad, double *mean_norm, void *work)
{
    double gp = 0, norms = 0, rows = x->rows > 0 ? (double)x->rows : 1;
    lines s;

    begin(dev, d, x, work, &s);
    forward(&s, NULL);
    slope(&s);
    for (int64_t g = 0; g < x->rows; g++) {
        const float *q = s.v[0] + g * s.stride[0];
        double n = 1e-12, dphi;

        for (int64_t i = 0; i < x->cols; i++) n += (double)q[i] * (double)q[i];
        n = sqrt(n);
        norms += n;
        gp += phi(kind, n, &dphi);
        dphi *= (double)lambda / (rows * n); /* all that follows is linear in dq */
        for (int64_t i = 0; i < x->cols; i++)
            s.dv[0][g * s.stride[0] + i] = (float)(dphi * (double)q[i]);
    }
    if (grad != NULL) {
        backward_slope(&s, grad);
        backward(&s, grad);
    }
    if (mean_norm != NULL) *mean_norm = norms / rows;
    return gp / rows;
}

#endif
