#include "eval/tsne.h"

#include <math.h>

#include "base/error.h"
#include "eval/pca.h"

di_tsne_options di_tsne_options_default(void)
{
    return (di_tsne_options){50, 30, 1000, 12, 250, 0, 0.5};
}

/* Below this many rows a pass takes less time than waking the threads, thousands of times. */
enum { SMALL = 512 };

/*
 * With k_ij = 1/(1 + |y_i - y_j|^2) and Z = sum k, the gradient is
 * 4 (a sum p k (y_i - y_j) - sum k^2 (y_i - y_j) / Z). Each row adds in a fixed order.
 */
double di_tsne_gradient(const di_affinity *p, di_quadtree *tree, const float *yx, const float *yy,
                        float exaggeration, float theta, float *work, float *grad_x, float *grad_y)
{
    int64_t n = p->n;
    float *z = work, *rx = work + n, *ry = work + 2 * n;
    double total = 0;

    di_quadtree_build(tree, yx, yy);
    di_quadtree_repel(tree, theta, z, rx, ry);
    for (int64_t i = 0; i < n; i++) total += (double)z[i];
#pragma omp parallel for schedule(static) if (n >= SMALL)
    for (int64_t i = 0; i < n; i++) {
        float ax = 0, ay = 0;

        for (int64_t a = p->start[i]; a < p->start[i + 1]; a++) {
            float dx = yx[i] - yx[p->to[a]], dy = yy[i] - yy[p->to[a]];
            float pk = p->p[a] / (1 + dx * dx + dy * dy);

            ax += pk * dx;
            ay += pk * dy;
        }
        grad_x[i] = 4 * (exaggeration * ax - (float)((double)rx[i] / total));
        grad_y[i] = 4 * (exaggeration * ay - (float)((double)ry[i] / total));
    }
    return total;
}

/* state: as run() leaves it. */
static double divergence(const di_affinity *p, di_quadtree *tree, float theta, float *state)
{
    const float *yx = state, *yy = state + p->n;
    float *gx = state + 2 * p->n, *gy = state + 3 * p->n, *work = state + 8 * p->n;
    double sum = 0, z = di_tsne_gradient(p, tree, yx, yy, 1, theta, work, gx, gy);

    for (int64_t i = 0; i < p->n; i++)
        for (int64_t a = p->start[i]; a < p->start[i + 1]; a++) {
            double dx = (double)yx[i] - (double)yx[p->to[a]];
            double dy = (double)yy[i] - (double)yy[p->to[a]], p_ij = (double)p->p[a];

            if (p_ij > 0) sum += p_ij * (log(p_ij) + log(1 + dx * dx + dy * dy));
        }
    return sum + log(z); /* the p sum to 1 */
}

/* One coordinate of all rows: gain, velocity, position. */
static void descend(int64_t n, const float *grad, float rate, float momentum, float *gain,
                    float *velocity, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        gain[i] = (grad[i] > 0) != (velocity[i] > 0) ? gain[i] + 0.2f : gain[i] * 0.8f;
        if (gain[i] < 0.01f) gain[i] = 0.01f;
        velocity[i] = momentum * velocity[i] - rate * gain[i] * grad[i];
        y[i] += velocity[i];
    }
}

/*
 * Moves the mean to 0, and keeps the map from contracting to a point. Under exaggeration rows
 * without clusters only attract each other; after 250 iterations f32 would have rounded them all to
 * one position, which has no gradient. As long as the map is tiny the descent is linear in
 * positions and velocities, so scaling both changes nothing that follows but the unit.
 */
static void recentre(int64_t n, float *yx, float *yy, float *vx, float *vy)
{
    double mx = 0, my = 0, squares = 0;
    float scale = 1;

    for (int64_t i = 0; i < n; i++) {
        mx += (double)yx[i] / (double)n;
        my += (double)yy[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        yx[i] -= (float)mx;
        yy[i] -= (float)my;
        squares += ((double)yx[i] * (double)yx[i] + (double)yy[i] * (double)yy[i]) / (double)n;
    }
    if (squares > 0 && squares < 1e-12) scale = (float)(1e-4 / sqrt(squares));
    for (int64_t i = 0; scale > 1 && i < n; i++) {
        yx[i] *= scale;
        yy[i] *= scale;
        vx[i] *= scale;
        vy[i] *= scale;
    }
}

/* state: (11 n) floats, zero but for the positions, which stand first: x then y. */
static void run(const di_affinity *p, di_quadtree *tree, const di_tsne_options *opt, float *state)
{
    int64_t n = p->n;
    float *yx = state, *yy = state + n, *gx = state + 2 * n, *gy = state + 3 * n;
    float *vx = state + 4 * n, *vy = state + 5 * n, *gain_x = state + 6 * n,
          *gain_y = state + 7 * n;
    float *work = state + 8 * n, theta = (float)opt->theta;
    double rate = opt->learning_rate > 0 ? opt->learning_rate : fmax((double)n / 48, 50);

    for (int64_t i = 0; i < 2 * n; i++) gain_x[i] = 1;
    for (int64_t t = 0; t < opt->iterations; t++) {
        int early = t < opt->early;

        di_tsne_gradient(p, tree, yx, yy, early ? (float)opt->exaggeration : 1, theta, work, gx,
                         gy);
        descend(n, gx, (float)rate, early ? 0.5f : 0.8f, gain_x, vx, yx);
        descend(n, gy, (float)rate, early ? 0.5f : 0.8f, gain_y, vy, yy);
        recentre(n, yx, yy, vx, vy);
    }
}

dial_status di_tsne(const di_alloc *al, const float *x, int64_t n, int64_t c,
                    const di_tsne_options *opt, float *y, double *kl, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t k = opt->components < c ? opt->components : c;
    double perplexity = fmin(opt->perplexity, (double)(n - 1) / 3), sd = 0;
    float *low = NULL, *state = NULL;
    di_affinity p = {0};
    di_quadtree tree = {.al = al};

    if (n < 5) DI_FAIL(err, DIAL_ERR_USAGE, "a map needs 5 rows, found %lld", (long long)n);
    low = di_new_array(al, (size_t)n, (size_t)k * sizeof *low);
    state = di_new_array(al, (size_t)n, 11 * sizeof *state);
    if (low == NULL || state == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a map of %lld rows", (long long)n);
    DI_TRY(di_quadtree_init(&tree, al, n, err));
    DI_TRY(di_pca(al, x, n, c, k, low, NULL, NULL, err));
    DI_TRY(di_affinity_of(al, low, n, k, perplexity, &p, err));
    for (int64_t i = 0; i < n; i++) sd += (double)low[i * k] * (double)low[i * k] / (double)n;
    sd = sd > 0 ? sqrt(sd) : 1;
    for (int64_t i = 0; i < n; i++) {
        state[i] = (float)((double)low[i * k] / sd * 1e-4);
        state[n + i] = k > 1 ? (float)((double)low[i * k + 1] / sd * 1e-4) : 0;
    }
    run(&p, &tree, opt, state);
    for (int64_t i = 0; i < n; i++) {
        y[2 * i] = state[i];
        y[2 * i + 1] = state[n + i];
    }
    if (kl != NULL) *kl = divergence(&p, &tree, (float)opt->theta, state);
done:
    di_free(al, low);
    di_free(al, state);
    di_affinity_free(al, &p);
    di_quadtree_deinit(&tree);
    return st;
}
