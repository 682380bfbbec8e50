#include "eval/pca.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "eval/dense.h"
#include "eval/tridiagonal.h"

/*
 * Lanczos: v_1 is random; A v_j = beta_j-1 v_j-1 + alpha_j v_j + beta_j v_j+1, A = Xc^T Xc / (n-1).
 * The eigenpairs of the small tridiagonal matrix (alpha, beta) give those of A; an eigenvector y of
 * m steps is off by |beta_m y_m| (its Ritz residual), and the iteration ends once that is nothing
 * for the k leading ones: on differences of embeddings after 160 to 190 steps for 64. The v are
 * kept orthogonal by two passes of Gram-Schmidt against all before. Where the space is used up
 * (beta = 0) the iteration goes on from a new random direction, so that repeated eigenvalues of a
 * small matrix are all found. Block power iteration needed ten times as many products with A to
 * separate component 50 from 51.
 */
typedef struct lanczos {
    const di_alloc *al;
    int64_t n, c, most, steps; /* steps: taken so far */
    double scale;              /* the largest alpha of them */
    float *x;                  /* (n, c) centred */
    double *v;                 /* (most, c) */
    double *alpha, *beta;      /* (most): diagonal, and coupling of j with j + 1 */
    double *value, *scratch;   /* (most): eigenvalues of that tridiagonal matrix */
    double *vec;               /* (steps, steps) of (most, most): its eigenvectors in rows */
    double *u;                 /* (n) */
    double *w;                 /* (c) */
    char *taken;               /* (most) eigenvalues that are named already */
} lanczos;

/* Smaller matrices are multiplied faster than threads are woken. */
enum { SMALL = 1 << 20 };
static const double residual = 1e-9; /* of an eigenvalue, which then is exact to its square */

static void deinit(lanczos *z)
{
    di_free(z->al, z->x);
    di_free(z->al, z->v);
    di_free(z->al, z->alpha);
    di_free(z->al, z->u);
    di_free(z->al, z->w);
    di_free(z->al, z->vec);
    di_free(z->al, z->taken);
}

static dial_status init(lanczos *z, const di_alloc *al, const float *x, int64_t n, int64_t c,
                        int64_t most, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t m = (size_t)most, cells;

    *z = (lanczos){.al = al, .n = n, .c = c, .most = most};
    if (!di_mul_size((size_t)n, (size_t)c, &cells))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)n);
    z->x = di_new_array(al, cells, sizeof *z->x);
    z->v = di_new_array(al, m * (size_t)c, sizeof *z->v);
    z->alpha = di_new_array(al, m, 4 * sizeof *z->alpha);
    z->u = di_new_array(al, (size_t)n, sizeof *z->u);
    z->w = di_new_array(al, (size_t)c, sizeof *z->w);
    z->vec = di_new_array(al, m * m, sizeof *z->vec);
    z->taken = di_new_array(al, m, 1);
    if (!z->x || !z->v || !z->alpha || !z->u || !z->w || !z->vec || !z->taken)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the components of %lld rows", (long long)n);
    z->beta = z->alpha + m;
    z->value = z->beta + m;
    z->scratch = z->value + m;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            if (!isfinite(x[i * c + j]))
                DI_FAIL(err, DIAL_ERR_NUMERIC, "row %lld holds a value that is not finite",
                        (long long)i);
            z->w[j] += (double)x[i * c + j] / (double)n;
        }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) z->x[i * c + j] = (float)((double)x[i * c + j] - z->w[j]);
done:
    return st;
}

/* u = Xc v, one row a turn. */
static void project(const lanczos *z, const double *v, double *u)
{
#pragma omp parallel for schedule(static) if (z->n * z->c >= SMALL)
    for (int64_t i = 0; i < z->n; i++) u[i] = di_dot_f32(z->x + i * z->c, v, z->c);
}

/* w = Xc^T u / (n - 1). Threads split the columns; each column adds its rows in order. */
static void back_project(const lanczos *z, const double *u, double *w)
{
    enum { BLOCK = 128 };
    int64_t blocks = (z->c + BLOCK - 1) / BLOCK;

#pragma omp parallel for schedule(static) if (z->n * z->c >= SMALL)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * BLOCK, width = z->c - first < BLOCK ? z->c - first : BLOCK;
        double sum[BLOCK] = {0};

        for (int64_t i = 0; i < z->n; i++)
            di_add_scaled_f32(sum, u[i], z->x + i * z->c + first, width);
        for (int64_t j = 0; j < width; j++) w[first + j] = sum[j] / (double)(z->n - 1);
    }
}

/* Takes the parts of w along v_0 .. v_count-1 away, twice; returns the length of what is left. */
static double orthogonalise(const lanczos *z, int64_t count, double *w)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; k < count; k++) {
            const double *v = z->v + k * z->c;

            di_add_scaled(w, -di_dot(v, w, z->c), v, z->c);
        }
    }
    return sqrt(di_dot(w, w, z->c));
}

/* A random unit vector orthogonal to the first `count`. count < c, so there is one. */
static void random_direction(lanczos *z, int64_t count)
{
    di_rng r = di_rng_make(0, DI_RNG_TSNE, (uint32_t)count);
    double *v = z->v + count * z->c, length;

    for (int64_t j = 0; j < z->c; j++) v[j] = di_rng_normal(&r);
    length = orthogonalise(z, count, v);
    for (int64_t j = 0; j < z->c; j++) v[j] /= length;
}

static void iterate(lanczos *z, int64_t until)
{
    if (z->steps == 0) random_direction(z, 0);
    for (; z->steps < until; z->steps++) {
        int64_t s = z->steps;
        double *v = z->v + s * z->c, length;

        project(z, v, z->u);
        back_project(z, z->u, z->w);
        z->alpha[s] = di_dot(v, z->w, z->c);
        z->scale = fmax(z->scale, fabs(z->alpha[s]));
        length = orthogonalise(z, s + 1, z->w);
        z->beta[s] = length > 1e-13 * z->scale ? length : 0;
        if (s + 1 == z->most) continue;
        if (z->beta[s] == 0) random_direction(z, s + 1);
        for (int64_t j = 0; z->beta[s] > 0 && j < z->c; j++) v[z->c + j] = z->w[j] / length;
    }
}

/* Place of the largest eigenvalue that is not yet taken, and takes it; -1: none is left. */
static int64_t take_largest(lanczos *z)
{
    int64_t best = -1;

    for (int64_t i = 0; i < z->steps; i++)
        if (!z->taken[i] && (best < 0 || z->value[i] > z->value[best])) best = i;
    if (best >= 0) z->taken[best] = 1;
    return best;
}

/* Eigenpairs after the steps so far; *settled: those of the k largest values will not change. */
static dial_status solve(lanczos *z, int64_t k, int *settled, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t m = z->steps;

    memcpy(z->value, z->alpha, (size_t)m * sizeof *z->value);
    memcpy(z->scratch, z->beta, (size_t)m * sizeof *z->scratch);
    if (di_tridiagonal_eigen(z->value, z->scratch, m, z->vec) != 0)
        DI_FAIL(err, DIAL_ERR_NUMERIC, "the components of %lld rows do not settle",
                (long long)z->n);
    *settled = 1;
    memset(z->taken, 0, (size_t)m);
    for (int64_t i = 0; i < k && *settled; i++) {
        int64_t best = take_largest(z);

        *settled = best >= 0 && z->beta[m - 1] * fabs(z->vec[best * m + m - 1]) <=
                                    residual * fmax(z->value[best], 0);
    }
done:
    return st;
}

/* w = sum_s vec[s] v_s, with the sign of the header. */
static void ritz_vector(const lanczos *z, const double *vec, double *w)
{
    int64_t top = 0;
    double length;

    memset(w, 0, (size_t)z->c * sizeof *w);
    for (int64_t s = 0; s < z->steps; s++) di_add_scaled(w, vec[s], z->v + s * z->c, z->c);
    for (int64_t j = 1; j < z->c; j++)
        if (fabs(w[j]) > fabs(w[top])) top = j;
    length = (w[top] < 0 ? -1 : 1) * sqrt(di_dot(w, w, z->c));
    for (int64_t j = 0; j < z->c; j++) w[j] /= length;
}

static void extract(lanczos *z, int64_t k, float *y, double *variance, float *axis)
{
    double first = 0;

    memset(z->taken, 0, (size_t)z->steps);
    for (int64_t i = 0; i < k; i++) {
        int64_t best = take_largest(z);
        double value = best < 0 ? 0 : z->value[best];

        if (i == 0) first = value;
        if (!(value > 1e-12 * first)) value = 0; /* beyond the rank */
        if (variance != NULL) variance[i] = value;
        if (value > 0) {
            ritz_vector(z, z->vec + best * z->steps, z->w);
            project(z, z->w, z->u);
        }
        for (int64_t r = 0; r < z->n; r++) y[r * k + i] = value > 0 ? (float)z->u[r] : 0;
        for (int64_t j = 0; axis != NULL && j < z->c; j++)
            axis[i * z->c + j] = value > 0 ? (float)z->w[j] : 0;
    }
}

dial_status di_pca(const di_alloc *al, const float *x, int64_t n, int64_t c, int64_t k, float *y,
                   double *variance, float *axis, dial_error *err)
{
    enum { STRIDE = 32 };
    dial_status st = DIAL_OK;
    lanczos z = {.al = al};
    int64_t most = 4 * k + 60;
    int settled = 0;

    if (n < 2 || c < 1 || k < 1)
        DI_FAIL(err, DIAL_ERR_USAGE, "components need 2 rows, found %lld of %lld values",
                (long long)n, (long long)c);
    if (most > c) most = c;
    if (most > n) most = n; /* rank n - 1, and one more in which A is 0 */
    DI_TRY(init(&z, al, x, n, c, most, err));
    for (int64_t until = 2 * k + STRIDE; !settled && z.steps < most; until += STRIDE) {
        iterate(&z, until < most ? until : most);
        DI_TRY(solve(&z, k, &settled, err));
    }
    extract(&z, k, y, variance, axis);
done:
    deinit(&z);
    return st;
}
