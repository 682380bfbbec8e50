#include "eval/tsne.h"

#include <math.h>

#include "base/error.h"
#include "eval/pca.h"

di_tsne_options di_tsne_options_default(void)
{
    return (di_tsne_options){50, 30, 1000, 12, 250, 0};
}

/* Below this many rows a pass takes less time than waking the threads, thousands of times. */
enum { SMALL = 512 };

/* ---- affinities ---- */

/* One row of squared distances to all others. */
static void distances(const float *x, int64_t n, int64_t c, int64_t i, double *d2)
{
    for (int64_t j = 0; j < n; j++) {
        double sum = 0;

#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < c; k++) {
            double e = (double)x[i * c + k] - (double)x[j * c + k];

            sum += e * e;
        }
        d2[j] = sum;
    }
}

/* p_j|i of row i in place of its squared distances: entropy ln(perplexity) by bisection. */
static void conditional(double *d2, int64_t n, int64_t i, double perplexity)
{
    double lo = 0, hi = INFINITY, beta = 1, target = log(perplexity), least = INFINITY, total = 0;

    for (int64_t j = 0; j < n; j++)
        if (j != i) {
            least = fmin(least, d2[j]);
            total += d2[j];
        }
    total -= least * (double)(n - 1);
    if (total > 0) beta = (double)(n - 1) / total; /* a scale to start from */
    for (int step = 0; step < 200; step++) {
        double sum = 0, weighted = 0, entropy;

        for (int64_t j = 0; j < n; j++) {
            double e;

            if (j == i) continue;
            e = exp(-beta * (d2[j] - least));
            sum += e;
            weighted += e * (d2[j] - least);
        }
        entropy = log(sum) + beta * weighted / sum;
        if (fabs(entropy - target) < 1e-5 || !(total > 0)) break;
        if (entropy > target) {
            lo = beta;
            beta = isinf(hi) ? 2 * beta : (lo + hi) / 2;
        } else {
            hi = beta;
            beta = (lo + hi) / 2;
        }
    }
    total = 0;
    for (int64_t j = 0; j < n; j++) {
        d2[j] = j == i ? 0 : exp(-beta * (d2[j] - least));
        total += d2[j];
    }
    for (int64_t j = 0; j < n; j++) d2[j] /= total;
}

dial_status di_tsne_affinities(const di_alloc *al, const float *x, int64_t n, int64_t c,
                               double perplexity, float *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    int failed = 0;

#pragma omp parallel reduction(|| : failed)
    {
        double *row = di_new_array(al, (size_t)n, sizeof *row);

        failed = row == NULL;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++) {
            if (failed) continue;
            distances(x, n, c, i, row);
            conditional(row, n, i, perplexity);
            for (int64_t j = 0; j < n; j++) p[i * n + j] = (float)row[j];
        }
        di_free(al, row);
    }
    if (failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the affinities of %lld rows", (long long)n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++)
            p[i * n + j] = p[j * n + i] =
                (float)(((double)p[i * n + j] + (double)p[j * n + i]) / (2 * (double)n));
done:
    return st;
}

/* ---- descent ---- */

/*
 * One pass over the pairs: with k_ij = 1/(1 + |y_i - y_j|^2) and Z = sum k, the gradient is
 * 4 (a sum p k (y_i - y_j) - sum k^2 (y_i - y_j) / Z); both sums and Z come from the same k.
 * The term j = i adds nothing but k = 1 to Z, which is taken off. Each row adds in a fixed order.
 */
void di_tsne_gradient(const float *p, int64_t n, const float *yx, const float *yy,
                      float exaggeration, float *work, float *grad_x, float *grad_y)
{
    float *z = work, *ax = work + n, *ay = work + 2 * n, *rx = work + 3 * n, *ry = work + 4 * n;
    double total = 0;

#pragma omp parallel for schedule(static) if (n >= SMALL)
    for (int64_t i = 0; i < n; i++) {
        const float *p_i = p + i * n;
        float x = yx[i], y = yy[i], zs = 0, axs = 0, ays = 0, rxs = 0, rys = 0;

#pragma omp simd reduction(+ : zs, axs, ays, rxs, rys)
        for (int64_t j = 0; j < n; j++) {
            float dx = x - yx[j], dy = y - yy[j];
            float k = 1 / (1 + dx * dx + dy * dy);
            float pk = p_i[j] * k, kk = k * k;

            zs += k;
            axs += pk * dx;
            ays += pk * dy;
            rxs += kk * dx;
            rys += kk * dy;
        }
        z[i] = zs - 1;
        ax[i] = axs;
        ay[i] = ays;
        rx[i] = rxs;
        ry[i] = rys;
    }
    for (int64_t i = 0; i < n; i++) total += (double)z[i];
    for (int64_t i = 0; i < n; i++) {
        grad_x[i] = 4 * (exaggeration * ax[i] - (float)((double)rx[i] / total));
        grad_y[i] = 4 * (exaggeration * ay[i] - (float)((double)ry[i] / total));
    }
}

static double divergence(const float *p, int64_t n, const float *yx, const float *yy)
{
    double z = 0, sum = 0;

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double dx = (double)yx[i] - (double)yx[j], dy = (double)yy[i] - (double)yy[j];
            double k = 1 / (1 + dx * dx + dy * dy), p_ij = (double)p[i * n + j];

            if (i == j) continue;
            z += k;
            if (p_ij > 0) sum += p_ij * (log(p_ij) - log(k));
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

/* state: (13 n) floats, zero but for the positions, which stand first: x then y. */
static void run(const float *p, int64_t n, const di_tsne_options *opt, float *state)
{
    float *yx = state, *yy = state + n, *gx = state + 2 * n, *gy = state + 3 * n;
    float *vx = state + 4 * n, *vy = state + 5 * n, *gain_x = state + 6 * n,
          *gain_y = state + 7 * n;
    float *work = state + 8 * n;
    double rate = opt->learning_rate > 0 ? opt->learning_rate : fmax((double)n / 48, 50);

    for (int64_t i = 0; i < 2 * n; i++) gain_x[i] = 1;
    for (int64_t t = 0; t < opt->iterations; t++) {
        int early = t < opt->early;

        di_tsne_gradient(p, n, yx, yy, early ? (float)opt->exaggeration : 1, work, gx, gy);
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
    float *low = NULL, *p = NULL, *state = NULL;

    if (n < 5) DI_FAIL(err, DIAL_ERR_USAGE, "a map needs 5 rows, found %lld", (long long)n);
    low = di_new_array(al, (size_t)n, (size_t)k * sizeof *low);
    p = di_new_array(al, (size_t)n, (size_t)n * sizeof *p);
    state = di_new_array(al, (size_t)n, 13 * sizeof *state);
    if (low == NULL || p == NULL || state == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a map of %lld rows", (long long)n);
    DI_TRY(di_pca(al, x, n, c, k, low, NULL, NULL, err));
    DI_TRY(di_tsne_affinities(al, low, n, k, perplexity, p, err));
    for (int64_t i = 0; i < n; i++) sd += (double)low[i * k] * (double)low[i * k] / (double)n;
    sd = sd > 0 ? sqrt(sd) : 1;
    for (int64_t i = 0; i < n; i++) {
        state[i] = (float)((double)low[i * k] / sd * 1e-4);
        state[n + i] = k > 1 ? (float)((double)low[i * k + 1] / sd * 1e-4) : 0;
    }
    run(p, n, opt, state);
    for (int64_t i = 0; i < n; i++) {
        y[2 * i] = state[i];
        y[2 * i + 1] = state[n + i];
    }
    if (kl != NULL) *kl = divergence(p, n, state, state + n);
done:
    di_free(al, low);
    di_free(al, p);
    di_free(al, state);
    return st;
}
