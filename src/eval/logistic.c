#include "eval/logistic.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "eval/dense.h"
#include "train/objective.h"

enum { NEWTON_STEPS = 30, CG_STEPS = 200 };
static const double cg_tolerance = 1e-10, newton_tolerance = 1e-8;

typedef struct fit {
    int64_t n, c, kept; /* columns, and how many of them carry the ridge */
    double ridge;
    const double *x;                   /* [n, c] */
    double *weight;                    /* [n] sigma(m) sigma(-m) / n */
    double *w, *g, *step, *r, *p, *hp; /* [c] */
} fit;

/* Loss at w; fills gradient and curvature weights where wanted. */
static double loss_at(fit *f, const double *w, int with_gradient)
{
    double loss = 0.5 * f->ridge * di_dot(w, w, f->kept);

    if (with_gradient)
        for (int64_t j = 0; j < f->c; j++) f->g[j] = j < f->kept ? f->ridge * w[j] : 0;
    for (int64_t i = 0; i < f->n; i++) {
        const double *x = f->x + i * f->c;
        double m = di_dot(w, x, f->c), s = di_sigmoid(-m);

        loss += di_softplus(-m) / (double)f->n;
        if (!with_gradient) continue;
        f->weight[i] = s * (1 - s) / (double)f->n;
        di_add_scaled(f->g, -s / (double)f->n, x, f->c);
    }
    return loss;
}

/* hp = H p, H = X^T diag(weight) X + ridge. */
static void hessian_times(fit *f, const double *p, double *hp)
{
    for (int64_t j = 0; j < f->c; j++) hp[j] = j < f->kept ? f->ridge * p[j] : 0;
    for (int64_t i = 0; i < f->n; i++) {
        const double *x = f->x + i * f->c;

        di_add_scaled(hp, f->weight[i] * di_dot(p, x, f->c), x, f->c);
    }
}

/* step = H^-1 g by conjugate gradients. */
static void solve(fit *f)
{
    double rr, first;

    memset(f->step, 0, (size_t)f->c * sizeof *f->step);
    memcpy(f->r, f->g, (size_t)f->c * sizeof *f->r);
    memcpy(f->p, f->g, (size_t)f->c * sizeof *f->p);
    rr = first = di_dot(f->r, f->r, f->c);
    for (int k = 0; k < CG_STEPS && rr > cg_tolerance * first; k++) {
        double a, next;

        hessian_times(f, f->p, f->hp);
        a = rr / di_dot(f->p, f->hp, f->c);
        di_add_scaled(f->step, a, f->p, f->c);
        di_add_scaled(f->r, -a, f->hp, f->c);
        next = di_dot(f->r, f->r, f->c);
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
        slope = di_dot(f->g, f->step, f->c);
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

dial_status di_logistic_fit(const di_alloc *al, const double *x, int64_t n, int64_t c, double ridge,
                            int free, double *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    fit f = {.n = n, .c = c, .kept = c - free, .ridge = ridge, .x = x};
    size_t rows = (size_t)n, width = (size_t)c;
    double *block = di_new_array(al, rows + 6 * width, sizeof *block);

    if (block == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a probe on %zu rows", rows);
    f.weight = block;
    f.w = f.weight + rows;
    f.g = f.w + width;
    f.step = f.g + width;
    f.r = f.step + width;
    f.p = f.r + width;
    f.hp = f.p + width;
    minimise(&f);
    memcpy(w, f.w, width * sizeof *w);
done:
    di_free(al, block);
    return st;
}
