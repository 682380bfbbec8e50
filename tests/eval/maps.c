/* PCA, t-SNE and the numbers under a map, on clouds whose shape is planted. */
#include "test.h"

#include <math.h>
#include <omp.h>

#include "base/rng.h"
#include "eval/mapstats.h"
#include "eval/pca.h"
#include "eval/tsne.h"

static const di_alloc *al(void)
{
    return di_alloc_default();
}

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.9g, expected %.9g within %g", a, b, tolerance);
}

static void fill_normal(float *x, int64_t n, double sd, uint32_t stream)
{
    di_rng r = di_rng_make(11, DI_RNG_WEIGHTS, stream);

    for (int64_t i = 0; i < n; i++) x[i] = (float)(sd * di_rng_normal(&r));
}

/*
 * Rows = mean + 3 directions with coefficients that are orthogonal by construction (cosines of
 * three frequencies over the row number), amplitudes 5, 3, 1: variances A^2/2 n/(n-1), in order.
 */
static void pca_finds_planted_directions(void **state)
{
    enum { N = 64, C = 80, K = 5 };
    static const double amplitude[] = {1, 5, 3};
    static const int order[] = {1, 2, 0};
    static float x[N * C], y[N * K], axis[K * C];
    double variance[K];
    (void)state;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < C; j++) {
            double v = 10; /* the mean must not count */

            for (int k = 0; k < 3; k++) /* direction k: a unit vector on columns 3k, 3k + 1 */
                if (j / 3 == k && j % 3 < 2)
                    v += amplitude[k] * cos(6.283185307 * (k + 1) * i / N) * (j % 3 ? -0.8 : 0.6);
            x[i * C + j] = (float)v;
        }
    assert_int_equal(di_pca(al(), x, N, C, K, y, variance, axis, NULL), DIAL_OK);
    for (int i = 0; i < 3; i++) {
        int k = order[i];
        double a = amplitude[k];

        near(variance[i], a * a / 2 * N / (N - 1), 1e-5 * a * a);
        near((double)axis[i * C + 3 * k], -0.6,
             1e-5); /* the larger entry, -0.8, is turned positive */
        near((double)axis[i * C + 3 * k + 1], 0.8, 1e-5);
        for (int r = 0; r < N; r++)
            near((double)y[r * K + i], -a * cos(6.283185307 * (k + 1) * r / N), 1e-4);
    }
    for (int i = 3; i < K; i++) { /* beyond the rank */
        near(variance[i], 0, 0);
        for (int r = 0; r < N; r++) near((double)y[r * K + i], 0, 0);
    }
}

/* Wide rows, more than Lanczos steps, so that the iteration ends by its own judgement: the defining
 * equation A v = lambda v holds to the rounding of v and y in f32 (2^-24, times the root of the
 * 300 rows summed: 1e-6 of the largest value). */
static void pca_residual(void **state)
{
    enum { N = 300, C = 400, K = 10 };
    static float x[N * C], y[N * K], axis[K * C];
    static double mean[C];
    double variance[K];
    (void)state;
    fill_normal(x, N * C, 1, 1);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < C; j++) {
            x[i * C + j] *= (float)exp(-j / 300.0);
            mean[j] += (double)x[i * C + j] / N;
        }
    assert_int_equal(di_pca(al(), x, N, C, K, y, variance, axis, NULL), DIAL_OK);
    for (int k = 0; k < K; k++) {
        double residual = 0;

        for (int j = 0; j < C; j++) {
            double av = 0;

            for (int i = 0; i < N; i++)
                av += ((double)x[i * C + j] - mean[j]) * (double)y[i * K + k];
            av = av / (N - 1) - variance[k] * (double)axis[k * C + j];
            residual += av * av;
        }
        near(sqrt(residual), 0, 1e-6 * variance[0]);
        if (k > 0) assert_true(variance[k] <= variance[k - 1]);
    }
}

/* Every direction is as good as any other: the space of the first vector is used up at once, and
 * each further one begins anew. */
static void pca_of_a_sphere(void **state)
{
    enum { C = 200, N = 2 * C, K = 5 };
    static float x[N * C], y[N * K];
    double variance[K];
    (void)state;
    for (int i = 0; i < N; i++) x[i * C + i / 2] = i % 2 ? 1 : -1;
    assert_int_equal(di_pca(al(), x, N, C, K, y, variance, NULL, NULL), DIAL_OK);
    for (int k = 0; k < K; k++) near(variance[k], 2.0 / (N - 1), 1e-12);
}

static void pca_refuses(void **state)
{
    float x[4] = {1, 2, NAN, 4}, y[4];
    (void)state;
    assert_int_equal(di_pca(al(), x, 2, 2, 1, y, NULL, NULL, NULL), DIAL_ERR_NUMERIC);
    assert_int_equal(di_pca(al(), x, 1, 2, 1, y, NULL, NULL, NULL), DIAL_ERR_USAGE);
}

/* As a matrix (n, n). */
static void dense(const di_affinity *a, float *p)
{
    memset(p, 0, (size_t)(a->n * a->n) * sizeof *p);
    for (int64_t i = 0; i < a->n; i++)
        for (int64_t k = a->start[i]; k < a->start[i + 1]; k++) {
            assert_true(k == a->start[i] || a->to[k] > a->to[k - 1]);
            p[i * a->n + a->to[k]] = a->p[k];
        }
}

/* With equal distances between all rows every neighbour has the same share: here all 11 are. */
static void affinities_of_a_simplex(void **state)
{
    enum { N = 12 };
    static float x[N * N], p[N * N];
    double sum = 0;
    di_affinity a;
    (void)state;
    for (int i = 0; i < N; i++) x[i * N + i] = 1; /* corners of a simplex */
    assert_int_equal(di_affinity_of(al(), x, N, N, 4, &a, NULL), DIAL_OK);
    dense(&a, p);
    di_affinity_free(al(), &a);
    for (int i = 0; i < N * N; i++) sum += (double)p[i];
    near(sum, 1, 1e-5);
    near((double)p[1], 1.0 / (N * (N - 1)), 1e-7);
    near((double)p[0], 0, 0);
}

/*
 * Against the definition: of each row the 3 * 4 nearest of 60, by a full sort; a matrix that is
 * symmetric to the bit and sums to 1, and whose support is who is near whom.
 */
static void affinities_by_definition(void **state)
{
    enum { N = 60, C = 5, K = 12 };
    static float x[N * C], p[N * N];
    static int near_of[N][N];
    double sum = 0;
    di_affinity a;
    (void)state;
    fill_normal(x, N * C, 1, 12);
    memcpy(x + 7 * C, x, C * sizeof *x); /* the same row twice */
    assert_int_equal(di_affinity_of(al(), x, N, C, 4, &a, NULL), DIAL_OK);
    dense(&a, p);
    di_affinity_free(al(), &a);
    for (int i = 0; i < N; i++) {
        double d2[N];

        for (int j = 0; j < N; j++) {
            d2[j] = 0;
            for (int k = 0; k < C; k++)
                d2[j] += pow((double)x[i * C + k] - (double)x[j * C + k], 2);
        }
        for (int j = 0; j < N; j++) {
            int before = 0;

            for (int k = 0; k < N; k++)
                before += k != i && (d2[k] < d2[j] || (d2[k] == d2[j] && k < j));
            near_of[i][j] = j != i && before < K;
        }
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            assert_true(p[i * N + j] == p[j * N + i]);
            assert_true((p[i * N + j] > 0) == (near_of[i][j] || near_of[j][i]));
            sum += (double)p[i * N + j];
        }
    near(sum, 1, 1e-5);
}

/* theta 0 adds every pair; 0.5 is within a hundredth of the largest force; equal points are one. */
static void quadtree_repels(void **state)
{
    enum { N = 700 };
    static float y[2 * N], z[2][N], rx[2][N], ry[2][N];
    di_quadtree t;
    double largest = 0, exact_z = 0, rough_z = 0;
    (void)state;
    fill_normal(y, 2 * N, 20, 13);
    for (int i = 0; i < 40; i++) y[i] = y[N + i] = 3; /* more than a leaf holds */
    assert_int_equal(di_quadtree_init(&t, al(), N, NULL), DIAL_OK);
    di_quadtree_build(&t, y, y + N);
    assert_true(t.n_quads < 2 * N && t.quad[0].n == N && t.quad[0].next == t.n_quads);
    for (int k = 0; k < 2; k++) di_quadtree_repel(&t, k == 0 ? 0 : 0.5f, z[k], rx[k], ry[k]);
    di_quadtree_deinit(&t);
    for (int i = 0; i < N; i++) {
        double s[3] = {0};

        for (int j = 0; j < N; j++) {
            double dx = (double)y[i] - (double)y[j], dy = (double)y[N + i] - (double)y[N + j];
            double k = 1 / (1 + dx * dx + dy * dy);

            if (j == i) continue;
            s[0] += k;
            s[1] += k * k * dx;
            s[2] += k * k * dy;
        }
        near((double)z[0][i], s[0], 700 * 6e-8 * 40); /* f32 sums of 700 terms, 40 at most */
        near((double)rx[0][i], s[1], 700 * 6e-8 * 40);
        near((double)ry[0][i], s[2], 700 * 6e-8 * 40);
        largest = fmax(largest, hypot(s[1], s[2]));
        exact_z += s[0];
        rough_z += (double)z[1][i];
    }
    near(rough_z, exact_z, 0.01 * exact_z);
    for (int i = 0; i < N; i++) {
        near((double)rx[1][i], (double)rx[0][i], 0.01 * largest);
        near((double)ry[1][i], (double)ry[0][i], 0.01 * largest);
    }
}

static double kl_of(const float *p, int n, const double *y)
{
    double z = 0, sum = 0;

    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                double dx = y[i] - y[j], dy = y[n + i] - y[n + j], k = 1 / (1 + dx * dx + dy * dy);

                if (i == j) continue;
                if (pass == 0)
                    z += k;
                else if (p[i * n + j] > 0)
                    sum += (double)p[i * n + j] * log((double)p[i * n + j] / (k / z));
            }
    return sum;
}

/* Central differences of KL(p || q) in f64, step 1e-5; f32 sums of 20 terms leave about 1e-6. */
static void gradient(void **state)
{
    enum { N = 20, C = 6 };
    static float x[N * C], p[N * N];
    float yx[N], yy[N], gx[N], gy[N], work[3 * N];
    double y[2 * N];
    di_affinity a;
    di_quadtree tree;
    (void)state;
    fill_normal(x, N * C, 1, 2);
    assert_int_equal(di_affinity_of(al(), x, N, C, 5, &a, NULL), DIAL_OK);
    assert_int_equal(di_quadtree_init(&tree, al(), N, NULL), DIAL_OK);
    dense(&a, p);
    fill_normal(yx, N, 1, 3);
    fill_normal(yy, N, 1, 4);
    for (int i = 0; i < N; i++) {
        y[i] = (double)yx[i];
        y[N + i] = (double)yy[i];
    }
    di_tsne_gradient(&a, &tree, yx, yy, 1, 0, work, gx, gy);
    di_affinity_free(al(), &a);
    di_quadtree_deinit(&tree);
    for (int i = 0; i < 2 * N; i++) {
        double keep = y[i], up, down;

        y[i] = keep + 1e-5;
        up = kl_of(p, N, y);
        y[i] = keep - 1e-5;
        down = kl_of(p, N, y);
        y[i] = keep;
        near((double)(i < N ? gx[i] : gy[i - N]), (up - down) / 2e-5, 3e-6);
    }
}

/* Three clusters, 8 sd apart in 20 dimensions: in the map every row must be nearer to its own
 * cluster's centre than to the others'. */
static void tsne_separates_clusters(void **state)
{
    enum { N = 150, C = 20 };
    static float x[N * C], y[2 * N];
    double centre[3][2] = {{0}}, kl;
    di_tsne_options opt = di_tsne_options_default();
    (void)state;
    fill_normal(x, N * C, 1, 5);
    for (int i = 0; i < N; i++) x[i * C + i % 3] += 8;
    assert_int_equal(di_tsne(al(), x, N, C, &opt, y, &kl, NULL), DIAL_OK);
    assert_true(kl > 0 && kl < 1.5);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 2; k++) centre[i % 3][k] += (double)y[2 * i + k] / (N / 3);
    for (int i = 0; i < N; i++) {
        double d[3];

        for (int g = 0; g < 3; g++)
            d[g] = hypot((double)y[2 * i] - centre[g][0], (double)y[2 * i + 1] - centre[g][1]);
        for (int g = 0; g < 3; g++) assert_true(g == i % 3 || d[g] > 2 * d[i % 3]);
    }
}

/* Enough rows that threads are used, by the components too: one thread and three, equal bits. */
static void threads_change_no_bit(void **state)
{
    enum { N = 600, C = 440 };
    static float x[N * C], y[2][2 * N];
    double kl[2];
    int threads = omp_get_max_threads();
    di_tsne_options opt = di_tsne_options_default();
    (void)state;
    fill_normal(x, N * C, 1, 10);
    opt.iterations = 15;
    for (int k = 0; k < 2; k++) {
        omp_set_num_threads(k == 0 ? 1 : 3);
        assert_int_equal(di_tsne(al(), x, N, C, &opt, y[k], &kl[k], NULL), DIAL_OK);
    }
    omp_set_num_threads(threads);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_true(kl[0] == kl[1]);
}

/*
 * One round cloud: under exaggeration it contracts. Rounded to a point it would stay there, with
 * the divergence of a uniform q; a map that has opened again is far below that and of size >> 1.
 */
static void tsne_opens_a_round_cloud(void **state)
{
    enum { N = 300, C = 60 };
    static float x[N * C], y[2 * N];
    double collapsed, kl, squares = 0;
    di_tsne_options opt = di_tsne_options_default();
    (void)state;
    fill_normal(x, N * C, 1, 9);
    opt.learning_rate = 6; /* 300 rows then contract as fast as 2000 do at the default rate */
    opt.iterations = 250;
    assert_int_equal(di_tsne(al(), x, N, C, &opt, y, &collapsed, NULL), DIAL_OK);
    for (int i = 0; i < 2 * N; i++) squares += (double)y[i] * (double)y[i] / N;
    assert_true(squares > 1e-14); /* small, but with digits to spare */
    squares = 0;
    opt.iterations = 1000;
    assert_int_equal(di_tsne(al(), x, N, C, &opt, y, &kl, NULL), DIAL_OK);
    for (int i = 0; i < 2 * N; i++) squares += (double)y[i] * (double)y[i] / N;
    assert_true(squares > 1 && kl < collapsed - 0.2);
}

/* Few rows shrink the perplexity; equal rows stay finite; fewer than 5 are refused. */
static void tsne_small(void **state)
{
    static float x[9 * 3], y[18];
    di_tsne_options opt = di_tsne_options_default();
    (void)state;
    fill_normal(x, 27, 1, 6);
    assert_int_equal(di_tsne(al(), x, 9, 3, &opt, y, NULL, NULL), DIAL_OK);
    for (int i = 0; i < 18; i++) assert_true(isfinite(y[i]));
    memset(x, 0, sizeof x);
    assert_int_equal(di_tsne(al(), x, 9, 3, &opt, y, NULL, NULL), DIAL_OK);
    for (int i = 0; i < 18; i++) assert_true(isfinite(y[i]));
    assert_int_equal(di_tsne(al(), x, 4, 3, &opt, y, NULL, NULL), DIAL_ERR_USAGE);
}

/*
 * Pairs in 8 dimensions: axis 0 is the domain (0 or `shift`), axis 1 the preference (-+2), whose
 * sign is turned on the target where `flip` is -1.
 */
static void plant(float *source, float *target, int pairs, double shift, double flip)
{
    fill_normal(source, (int64_t)pairs * 16, 0.5, 7);
    fill_normal(target, (int64_t)pairs * 16, 0.5, 8);
    for (int i = 0; i < 2 * pairs; i++) {
        source[i * 8 + 1] += i % 2 == 0 ? 2.0f : -2.0f;
        target[i * 8 + 1] += (float)((i % 2 == 0 ? 2 : -2) * flip);
        target[i * 8] += (float)shift;
    }
}

/* Mean of (b - a)/max(a, b) over the rows of both domains, by the class of each row. */
static double silhouette_of(const float *s, const float *t, int pairs, int by_preference)
{
    int n = 4 * pairs;
    double total = 0;

    for (int i = 0; i < n; i++) {
        double sum[2] = {0}, a, b;
        int own = by_preference ? i % 2 : i >= n / 2;

        for (int j = 0; j < n; j++) {
            const float *x = i < n / 2 ? s + i * 8 : t + (i - n / 2) * 8;
            const float *y = j < n / 2 ? s + j * 8 : t + (j - n / 2) * 8;
            double d2 = 0;

            for (int k = 0; k < 8; k++) d2 += pow((double)x[k] - (double)y[k], 2);
            sum[own != (by_preference ? j % 2 : j >= n / 2)] += sqrt(d2);
        }
        a = sum[0] / (n / 2 - 1);
        b = sum[1] / (n / 2);
        total += (b - a) / fmax(a, b) / n;
    }
    return total;
}

static void numbers_under_a_map(void **state)
{
    enum { PAIRS = 60 };
    static float s[PAIRS * 16], t[PAIRS * 16];
    di_map_stats apart, mixed, flipped, blind;
    (void)state;
    plant(s, t, PAIRS, 10, 1);
    assert_int_equal(di_map_stats_of(al(), s, PAIRS, t, PAIRS, 8, 1, &apart, NULL), DIAL_OK);
    near(apart.mixing, 0, 0);
    assert_true(apart.silhouette_domain > 0.5 && apart.silhouette_preference < 0.3);
    near(apart.centroid_accuracy, 1, 0);
    plant(s, t, PAIRS, 0, 1);
    assert_int_equal(di_map_stats_of(al(), s, PAIRS, t, PAIRS, 8, 1, &mixed, NULL), DIAL_OK);
    near(mixed.mixing, 1, 0.15); /* 240 rows, 10 neighbours: a share of 1/2 with sd below 0.02 */
    near(mixed.silhouette_domain, 0, 0.05);
    assert_true(mixed.silhouette_preference > 0.5);
    near(mixed.silhouette_domain, silhouette_of(s, t, PAIRS, 0), 1e-12);
    near(mixed.silhouette_preference, silhouette_of(s, t, PAIRS, 1), 1e-12);
    plant(s, t, PAIRS, 0, -1);
    assert_int_equal(di_map_stats_of(al(), s, PAIRS, t, PAIRS, 8, 1, &flipped, NULL), DIAL_OK);
    near(flipped.centroid_accuracy, 0, 0);
    assert_int_equal(di_map_stats_of(al(), s, PAIRS, t, PAIRS, 8, 0, &blind, NULL), DIAL_OK);
    assert_true(isnan(blind.centroid_accuracy));
    near(blind.mixing, flipped.mixing, 0);
    assert_int_equal(di_map_stats_of(al(), s, 1, t, PAIRS, 8, 1, &blind, NULL), DIAL_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pca_finds_planted_directions),
        cmocka_unit_test(pca_residual),
        cmocka_unit_test(pca_of_a_sphere),
        cmocka_unit_test(pca_refuses),
        cmocka_unit_test(affinities_of_a_simplex),
        cmocka_unit_test(affinities_by_definition),
        cmocka_unit_test(quadtree_repels),
        cmocka_unit_test(gradient),
        cmocka_unit_test(tsne_separates_clusters),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(tsne_opens_a_round_cloud),
        cmocka_unit_test(tsne_small),
        cmocka_unit_test(numbers_under_a_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
