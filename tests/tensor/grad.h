/*
 * Gradients of ref against differences, in f32 (bf16 is f32 rounded: mode dtype of op.h).
 *
 * Along a random direction u, |u_j| <= 1, with loss(x) = <w, output(x)> added up in f64:
 *
 *     (8 (L(x+hu) - L(x-hu)) - (L(x+2hu) - L(x-2hu))) / 12h  =  <dL/dx, u>  +  h^4 L^(5) / 30
 *
 * With h = 2^-5 the last term is 3e-8 L^(5). Outputs and x + hu are rounded to f32: an error of at
 * most E |w_i y_i| in each term of L and E |x_j| in each x_j, times (8+8+1+1) / 12h = 48. So
 *
 *     limit = 48 E (sum |w_i y_i| + sum |dx_j x_j|) + 1e-7 sum |w_i y_i| .
 *
 * The sums are worst cases; a wrong sign, factor or index is a hundred times larger.
 */
#ifndef DIAL_TEST_GRAD_H
#define DIAL_TEST_GRAD_H

#include "op.h"

/* L at the present inputs; *size = sum |w_i y_i|. */
typedef double (*loss_fn)(void *ctx, double *size);

/* <w, y>, the usual loss. */
static inline double inner(const di_mat *w, const di_mat *y, double *size)
{
    double sum = 0;

    for (int64_t i = 0; i < y->rows; i++) {
        for (int64_t j = 0; j < y->cols; j++) {
            double t = el(w, i, j) * el(y, i, j);

            sum += t;
            *size += fabs(t);
        }
    }
    return sum;
}

static inline double loss_at(loss_fn loss, void *ctx, di_mat *x, const di_mat *x0, const di_mat *u,
                             double h)
{
    double size = 0;

    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = 0; j < x->cols; j++) set_el(x, i, j, el(x0, i, j) + h * el(u, i, j));
    return loss(ctx, &size);
}

/* x: an f32 input that loss reads; dx: its gradient. Three directions, then x is restored. */
static inline void check_gradient(const char *name, loss_fn loss, void *ctx, di_mat *x,
                                  const di_mat *dx)
{
    const double h = 0x1p-5;
    di_rng r = di_rng_make(3, DI_RNG_TEXT_ORDER, 0);
    di_mat x0 = new_mat(DI_F32, x->rows, x->cols, x->stride);
    di_mat u = new_mat(DI_F32, x->rows, x->cols, x->stride);

    memcpy(x0.data, x->data, mat_bytes(x));
    for (int k = 0; k < 3; k++) {
        double want = 0, moved = 0, size = 0, got, limit;

        for (int64_t i = 0; i < x->rows; i++) {
            for (int64_t j = 0; j < x->cols; j++) {
                set_el(&u, i, j, 2 * di_rng_uniform(&r) - 1);
                want += el(dx, i, j) * el(&u, i, j);
                moved += fabs(el(dx, i, j) * el(&x0, i, j));
            }
        }
        got = (8 * (loss_at(loss, ctx, x, &x0, &u, h) - loss_at(loss, ctx, x, &x0, &u, -h)) -
               (loss_at(loss, ctx, x, &x0, &u, 2 * h) - loss_at(loss, ctx, x, &x0, &u, -2 * h))) /
              (12 * h);
        memcpy(x->data, x0.data, mat_bytes(x));
        loss(ctx, &size);
        limit = 48 * E * (size + moved) + 1e-7 * size;
        if (!(fabs(got - want) <= limit))
            fail_msg("%s, direction %d: differences give %.9g, the gradient %.9g, limit %.3g", name,
                     k, got, want, limit);
    }
    free_mat(&x0), free_mat(&u);
}

/* A dense f32 matrix of normals / of NaN. */
static inline di_mat normals(int64_t rows, int64_t cols, double sd, di_rng *r)
{
    di_mat m = new_mat(DI_F32, rows, cols, cols);

    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) set_el(&m, i, j, sd * di_rng_normal(r));
    return m;
}

#endif
