/* Proportions, units and the bootstrap. Correlations are in correlation.c. */
#include "eval/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

di_interval di_wilson(double k, double n, double z)
{
    double p, centre, half, scale;

    if (!(n > 0)) return (di_interval){0, 1};
    p = k / n;
    scale = 1 + z * z / n;
    centre = (p + z * z / (2 * n)) / scale;
    half = z / scale * sqrt(fmax(p * (1 - p), 0) / n + z * z / (4 * n * n));
    return (di_interval){fmax(centre - half, 0), fmin(centre + half, 1)};
}

double di_effective_n(double p, double se, double n)
{
    double v = p * (1 - p);

    if (!(v > 0) || !(se > 0)) return n;
    return fmin(v / (se * se), n);
}

di_interval di_wilson_clustered(double p, double se, double n)
{
    double m = di_effective_n(p, se, n);

    return di_wilson(p * m, m, DI_Z95);
}

double di_binomial_tail(int64_t k, int64_t n, double p)
{
    double sum = 0, log_p = log(p), log_q = log1p(-p), log_n = lgamma((double)n + 1);

    if (k <= 0) return 1;
    if (k > n || p <= 0) return 0;
    if (p >= 1) return 1;
    for (int64_t i = n; i >= k; i--) { /* from the small terms up */
        double a = (double)i, b = (double)(n - i);

        sum += exp(log_n - lgamma(a + 1) - lgamma(b + 1) + a * log_p + b * log_q);
    }
    return fmin(sum, 1);
}

double di_clopper_pearson(int64_t k, int64_t n, double alpha)
{
    double lo = 0, hi = 1;

    if (k <= 0 || n <= 0) return 0;
    for (int i = 0; i < 60; i++) { /* the tail grows with p */
        double mid = (lo + hi) / 2;

        if (di_binomial_tail(k, n, mid) < alpha)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

double di_mcnemar(int64_t better, int64_t worse)
{
    int64_t most = better > worse ? better : worse;

    if (better + worse == 0) return 1;
    return fmin(2 * di_binomial_tail(most, better + worse, 0.5), 1);
}

/* ---- units ---- */

typedef struct slot {
    uint64_t hash;
    int64_t at; /* 2 row + column, the place in the file */
} slot;

static int by_hash(const void *a, const void *b)
{
    const slot *x = a, *y = b;

    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void one_unit_a_row(di_units *u)
{
    for (int64_t i = 0; i < u->n_rows; i++) {
        u->unit[2 * i] = (int32_t)i;
        u->unit[2 * i + 1] = -1;
    }
    u->n_units = u->n_rows;
}

/* Numbers the sorted slots of equal hash by their first place; returns how many distinct rows
 * share a hash at most. first: (n_slots) scratch, place -> number of the unit + 1. */
static int number_units(di_units *u, const slot *s, int64_t n_slots, int columns, int32_t *first)
{
    int32_t next = 0;
    int shared = 0;

    for (int64_t i = 0, j; i < n_slots; i = j) { /* mark the first place of each group */
        for (j = i; j < n_slots && s[j].hash == s[i].hash; j++)
            if (s[j].at / 2 != s[i].at / 2) shared = 1;
        first[s[i].at] = 1;
    }
    for (int64_t at = 0; at < 2 * u->n_rows; at++)
        if (first[at]) first[at] = ++next;
    for (int64_t i = 0, j; i < n_slots; i = j)
        for (j = i; j < n_slots && s[j].hash == s[i].hash; j++)
            u->unit[s[j].at] = first[s[i].at] - 1;
    for (int64_t r = 0; r < u->n_rows; r++)
        if (columns == 1 || u->unit[2 * r + 1] == u->unit[2 * r]) u->unit[2 * r + 1] = -1;
    u->n_units = next;
    return shared;
}

dial_status di_units_init(di_units *u, const di_alloc *al, int64_t n_rows, const uint64_t *hash,
                          di_cluster cluster, dial_error *err)
{
    dial_status st = DIAL_OK;
    int columns = cluster == DI_CLUSTER_TEXT ? 2 : 1;
    int64_t n_slots = n_rows * columns;
    slot *s = NULL;
    int32_t *first = NULL;

    *u = (di_units){.al = al, .n_rows = n_rows};
    if (n_rows < 0 || n_rows >= INT32_MAX / 2)
        DI_FAIL(err, DIAL_ERR_USAGE, "cannot resample %lld rows", (long long)n_rows);
    u->unit = di_new_array(al, (size_t)n_rows, 2 * sizeof *u->unit);
    if (u->unit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the units of the bootstrap");
    if (cluster == DI_CLUSTER_NONE || hash == NULL) {
        one_unit_a_row(u);
        goto done;
    }
    s = di_new_array(al, (size_t)n_slots, sizeof *s);
    first = di_new_array(al, (size_t)n_rows, 2 * sizeof *first);
    if (s == NULL || first == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the units of the bootstrap");
    for (int64_t i = 0; i < n_rows; i++)
        for (int c = 0; c < columns; c++) s[i * columns + c] = (slot){hash[2 * i + c], 2 * i + c};
    if (n_slots > 0) qsort(s, (size_t)n_slots, sizeof *s, by_hash);
    if (!number_units(u, s, n_slots, columns, first) && cluster == DI_CLUSTER_TEXT)
        one_unit_a_row(u);
done:
    di_free(al, s);
    di_free(al, first);
    if (st != DIAL_OK) di_units_deinit(u);
    return st;
}

void di_units_deinit(di_units *u)
{
    if (u->al != NULL) di_free(u->al, u->unit);
    *u = (di_units){0};
}

double di_dyadic_se(const di_units *u, const double *z)
{
    double mean = 0, v = 0, n = (double)u->n_rows;
    double *sum = di_new_array(u->al, (size_t)u->n_units, sizeof *sum);

    if (sum == NULL) return NAN;
    for (int64_t i = 0; i < u->n_rows; i++) mean += z[i] / n;
    for (int64_t i = 0; i < u->n_rows; i++) {
        double e = z[i] - mean;

        sum[u->unit[2 * i]] += e;
        if (u->unit[2 * i + 1] >= 0) {
            sum[u->unit[2 * i + 1]] += e;
            v -= e * e; /* counted with both of its units above */
        }
    }
    for (int64_t k = 0; k < u->n_units; k++) v += sum[k] * sum[k];
    di_free(u->al, sum);
    return sqrt(fmax(v, 0)) / n;
}

/* ---- bootstrap ---- */

/* c (n_units): Exp(1) weights of one draw. Four units share a block of the generator; the draw is
 * the high word of its 64-bit counter, so this is a plain di_rng stream read at draw * 2^34. */
static void unit_weights(uint64_t seed, int64_t draw, int64_t n_units, double *c)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

    for (int64_t k = 0; k < n_units; k += 4) {
        const uint32_t counter[4] = {(uint32_t)(k / 4), (uint32_t)draw, DI_RNG_BOOTSTRAP, 0};
        uint32_t x[4];

        di_philox(key, counter, x);
        for (int64_t j = k; j < k + 4 && j < n_units; j++)
            c[j] = -log(((double)x[j - k] + 0.5) * 0x1p-32);
    }
}

static inline double row_weight(const di_units *u, const double *c, int64_t i)
{
    int32_t second = u->unit[2 * i + 1];

    return second < 0 ? c[u->unit[2 * i]] : c[u->unit[2 * i]] * c[second];
}

dial_status di_bootstrap_weights(const di_units *u, uint64_t seed, int64_t draw, double *w,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    double *c = di_new_array(u->al, (size_t)u->n_units, sizeof *c);

    if (c == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for bootstrap weights");
    unit_weights(seed, draw, u->n_units, c);
    for (int64_t i = 0; i < u->n_rows; i++) w[i] = row_weight(u, c, i);
done:
    di_free(u->al, c);
    return st;
}

static void one_draw(const di_units *u, const double *const *column, int n_columns, uint64_t seed,
                     int64_t draw, double *c, double *mean)
{
    double total = 0;

    unit_weights(seed, draw, u->n_units, c);
    for (int j = 0; j < n_columns; j++) mean[j] = 0;
    for (int64_t i = 0; i < u->n_rows; i++) {
        double w = row_weight(u, c, i);

        total += w;
        for (int j = 0; j < n_columns; j++) mean[j] += w * column[j][i];
    }
    for (int j = 0; j < n_columns; j++) mean[j] /= total;
}

dial_status di_bootstrap(const di_units *u, const double *const *column, int n_columns,
                         const di_bootstrap_options *opt, double *mean, dial_error *err)
{
    dial_status st = DIAL_OK;
    int failed = 0;

    if (u->n_rows < 1 || opt->draws < 1 || opt->draws > UINT32_MAX)
        DI_FAIL(err, DIAL_ERR_USAGE, "expected rows and draws, found %lld rows and %lld draws",
                (long long)u->n_rows, (long long)opt->draws);
#pragma omp parallel reduction(|| : failed)
    {
        double *c = di_new_array(u->al, (size_t)u->n_units, sizeof *c);

        failed = c == NULL;
#pragma omp for schedule(static)
        for (int64_t b = 0; b < opt->draws; b++)
            if (!failed) one_draw(u, column, n_columns, opt->seed, b, c, mean + b * n_columns);
        di_free(u->al, c);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for bootstrap weights");
done:
    return st;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double sorted_quantile(const double *v, int64_t n, double q)
{
    double at = q * (double)(n - 1), low = floor(at);
    int64_t i = (int64_t)low;

    return i + 1 < n ? v[i] + (at - low) * (v[i + 1] - v[i]) : v[n - 1];
}

double di_quantile(double *v, int64_t n, double q)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return sorted_quantile(v, n, q);
}

di_interval di_percentile95(double *v, int64_t n, double *se)
{
    double mean = 0, sum = 0;

    qsort(v, (size_t)n, sizeof *v, ascending);
    for (int64_t i = 0; i < n; i++) mean += v[i] / (double)n;
    for (int64_t i = 0; i < n; i++) sum += (v[i] - mean) * (v[i] - mean);
    if (se != NULL) *se = n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
    return (di_interval){sorted_quantile(v, n, 0.025), sorted_quantile(v, n, 0.975)};
}

static double mean_of(const double *v, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += v[i];
    return sum / (double)n;
}

dial_status di_paired_difference(const di_units *u, const double *model, const double *baseline,
                                 const di_bootstrap_options *opt, di_difference *out,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    di_difference d = {0};
    double *z = di_new_array(u->al, (size_t)u->n_rows, sizeof *z);
    double *draw = di_new_array(u->al, (size_t)opt->draws, sizeof *draw);
    const double *columns[1] = {z};

    if (z == NULL || draw == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the bootstrap");
    for (int64_t i = 0; i < u->n_rows; i++) {
        z[i] = model[i] - baseline[i];
        d.better += z[i] > 0;
        d.worse += z[i] < 0;
    }
    DI_TRY(di_bootstrap(u, columns, 1, opt, draw, err));
    d.model = mean_of(model, u->n_rows);
    d.baseline = mean_of(baseline, u->n_rows);
    d.delta = mean_of(z, u->n_rows);
    d.ci = di_percentile95(draw, opt->draws, &d.se);
    d.p_mcnemar = di_mcnemar(d.better, d.worse);
    *out = d;
done:
    di_free(u->al, z);
    di_free(u->al, draw);
    return st;
}

dial_status di_gap_closed(const di_units *u, const double *model, const double *baseline,
                          const double *oracle, const di_bootstrap_options *opt,
                          di_gap_closure *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_gap_closure g = {0};
    int64_t n = u->n_rows;
    const double *columns[3] = {model, baseline, oracle};
    double *mean = di_new_array(u->al, (size_t)opt->draws, 3 * sizeof *mean);
    double *draw = di_new_array(u->al, (size_t)opt->draws, sizeof *draw);

    if (mean == NULL || draw == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the bootstrap");
    DI_TRY(di_bootstrap(u, columns, 3, opt, mean, err));
    for (int64_t b = 0; b < opt->draws; b++) draw[b] = mean[3 * b + 2] - mean[3 * b + 1];
    di_percentile95(draw, opt->draws, &g.gap_se);
    g.gap = mean_of(oracle, n) - mean_of(baseline, n);
    g.usable = g.gap > 0 && g.gap >= 2 * g.gap_se;
    if (g.usable) {
        for (int64_t b = 0; b < opt->draws; b++)
            draw[b] = (mean[3 * b] - mean[3 * b + 1]) / (mean[3 * b + 2] - mean[3 * b + 1]);
        g.value = (mean_of(model, n) - mean_of(baseline, n)) / g.gap;
        g.ci = di_percentile95(draw, opt->draws, NULL);
        /* a draw without any gap at all has no ratio: then there is no interval either */
        if (!isfinite(g.ci.lo) || !isfinite(g.ci.hi)) g.usable = 0;
    }
    if (!g.usable) g.value = g.ci.lo = g.ci.hi = 0;
    *out = g;
done:
    di_free(u->al, mean);
    di_free(u->al, draw);
    return st;
}
