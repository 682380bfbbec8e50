#include "eval/probe.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "train/objective.h"

enum { NEWTON_STEPS = 30, CG_STEPS = 200 };
static const double ridge_share = 0.01, cg_tolerance = 1e-10, newton_tolerance = 1e-8;

typedef struct fit {
    int64_t n, c;
    double ridge;
    double *x;                         /* [n, C] differences */
    double *weight;                    /* [n] sigma(m) sigma(-m) / n */
    double *w, *g, *step, *r, *p, *hp; /* [C] */
} fit;

static double dot(const double *a, const double *b, int64_t n)
{
    double s = 0;

    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* Loss at w; fills gradient and curvature weights where wanted. */
static double loss_at(fit *f, const double *w, int with_gradient)
{
    double loss = 0.5 * f->ridge * dot(w, w, f->c);

    if (with_gradient)
        for (int64_t j = 0; j < f->c; j++) f->g[j] = f->ridge * w[j];
    for (int64_t i = 0; i < f->n; i++) {
        const double *x = f->x + i * f->c;
        double m = dot(w, x, f->c), s = di_sigmoid(-m);

        loss += di_softplus(-m) / (double)f->n;
        if (!with_gradient) continue;
        f->weight[i] = s * (1 - s) / (double)f->n;
        for (int64_t j = 0; j < f->c; j++) f->g[j] -= s / (double)f->n * x[j];
    }
    return loss;
}

/* hp = H p, H = X^T diag(weight) X + ridge I. */
static void hessian_times(fit *f, const double *p, double *hp)
{
    for (int64_t j = 0; j < f->c; j++) hp[j] = f->ridge * p[j];
    for (int64_t i = 0; i < f->n; i++) {
        const double *x = f->x + i * f->c;
        double k = f->weight[i] * dot(p, x, f->c);

        for (int64_t j = 0; j < f->c; j++) hp[j] += k * x[j];
    }
}

/* step = H^-1 g by conjugate gradients. */
static void solve(fit *f)
{
    double rr, first;

    memset(f->step, 0, (size_t)f->c * sizeof *f->step);
    memcpy(f->r, f->g, (size_t)f->c * sizeof *f->r);
    memcpy(f->p, f->g, (size_t)f->c * sizeof *f->p);
    rr = first = dot(f->r, f->r, f->c);
    for (int k = 0; k < CG_STEPS && rr > cg_tolerance * first; k++) {
        double a, next;

        hessian_times(f, f->p, f->hp);
        a = rr / dot(f->p, f->hp, f->c);
        for (int64_t j = 0; j < f->c; j++) {
            f->step[j] += a * f->p[j];
            f->r[j] -= a * f->hp[j];
        }
        next = dot(f->r, f->r, f->c);
        for (int64_t j = 0; j < f->c; j++) f->p[j] = f->r[j] + next / rr * f->p[j];
        rr = next;
    }
}

/* Newton with halving of the step until the loss falls. */
static void minimise(fit *f)
{
    double loss = loss_at(f, f->w, 1);

    for (int k = 0; k < NEWTON_STEPS; k++) {
        double t = 1, next = INFINITY, slope;

        solve(f);
        slope = dot(f->g, f->step, f->c);
        if (!(slope > newton_tolerance * loss)) break;
        for (; t > 1e-6; t /= 2) {
            for (int64_t j = 0; j < f->c; j++) f->p[j] = f->w[j] - t * f->step[j];
            next = loss_at(f, f->p, 0);
            if (next <= loss - 0.25 * t * slope) break;
        }
        if (!(next < loss)) break;
        memcpy(f->w, f->p, (size_t)f->c * sizeof *f->w);
        loss = loss_at(f, f->w, 1);
    }
}

dial_status di_probe_fit(const di_alloc *al, const float *e, int64_t n, int64_t width, float *w,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    fit f = {.n = n, .c = width};
    size_t rows = (size_t)n, c = (size_t)width;
    double *block = di_new_array(al, rows * c + rows + 6 * c, sizeof *block);

    if (block == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a probe on %zu pairs", rows);
    f.x = block;
    f.weight = f.x + rows * c;
    f.w = f.weight + rows;
    f.g = f.w + c;
    f.step = f.g + c;
    f.r = f.step + c;
    f.p = f.r + c;
    f.hp = f.p + c;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < c; j++)
            f.x[i * c + j] = (double)e[2 * i * c + j] - (double)e[(2 * i + 1) * c + j];
    f.ridge = ridge_share * dot(f.x, f.x, n * width) / (double)n;
    if (!(f.ridge > 0)) f.ridge = 1; /* all differences are zero: w = 0 */
    minimise(&f);
    for (size_t j = 0; j < c; j++) w[j] = (float)f.w[j];
done:
    di_free(al, block);
    return st;
}
