#include "eval/mapstats.h"

#include <math.h>

#include "base/error.h"

enum { NEIGHBOURS = 10 };

/* Rows of both domains, source first. */
typedef struct cloud {
    const float *source, *target;
    int64_t n_source, n, c;
    int labelled;
    double *d; /* (n, n) distances */
} cloud;

static const float *row_of(const cloud *s, int64_t i)
{
    return i < s->n_source ? s->source + i * s->c : s->target + (i - s->n_source) * s->c;
}

static int is_target(const cloud *s, int64_t i)
{
    return i >= s->n_source;
}

/* 1 chosen, 0 rejected, -1 not known. Both domains alternate, and n_source is even. */
static int preference(const cloud *s, int64_t i)
{
    return is_target(s, i) && !s->labelled ? -1 : i % 2 == 0;
}

static void all_distances(const cloud *s)
{
#pragma omp parallel for schedule(dynamic, 8)
    for (int64_t i = 0; i < s->n; i++) {
        const float *a = row_of(s, i);

        for (int64_t j = i; j < s->n; j++) {
            const float *b = row_of(s, j);
            double sum = 0;

#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < s->c; k++) {
                double e = (double)a[k] - (double)b[k];

                sum += e * e;
            }
            s->d[i * s->n + j] = s->d[j * s->n + i] = sqrt(sum);
        }
    }
}

/* Rows of the other domain among the k nearest of row i, by insertion into a short list. */
static int64_t strangers(const cloud *s, int64_t i, int64_t k)
{
    int64_t near[NEIGHBOURS], count = 0, others = 0;
    const double *d = s->d + i * s->n;

    for (int64_t j = 0; j < s->n; j++) {
        int64_t at;

        if (j == i || (count == k && d[j] >= d[near[k - 1]])) continue;
        at = count < k ? count++ : k - 1;
        for (; at > 0 && d[near[at - 1]] > d[j]; at--) near[at] = near[at - 1];
        near[at] = j;
    }
    for (int64_t j = 0; j < count; j++) others += is_target(s, near[j]) != is_target(s, i);
    return others;
}

static double mixing_of(const cloud *s, int64_t k)
{
    double found = 0, expected = 0;

    for (int64_t i = 0; i < s->n; i++) {
        int64_t other = is_target(s, i) ? s->n_source : s->n - s->n_source;

        found += (double)strangers(s, i, k) / (double)k;
        expected += (double)other / (double)(s->n - 1);
    }
    return found / expected;
}

static double silhouette(const cloud *s, int (*class_of)(const cloud *, int64_t))
{
    double total = 0;
    int64_t rows = 0;

    for (int64_t i = 0; i < s->n; i++) {
        double sum[2] = {0};
        int64_t count[2] = {0};
        int own = class_of(s, i);
        double a, b;

        if (own < 0) continue;
        for (int64_t j = 0; j < s->n; j++) {
            int k = class_of(s, j);

            if (j == i || k < 0) continue;
            sum[k] += s->d[i * s->n + j];
            count[k]++;
        }
        rows++;
        if (count[own] == 0 || count[!own] == 0) continue; /* alone in its class: 0 by definition */
        a = sum[own] / (double)count[own];
        b = sum[!own] / (double)count[!own];
        if (fmax(a, b) > 0) total += (b - a) / fmax(a, b);
    }
    return total / (double)rows;
}

static double centroid_accuracy(const cloud *s, double *mu)
{
    double right = 0;
    int64_t pairs = (s->n - s->n_source) / 2;

    for (int64_t i = 0; i < s->n_source; i += 2)
        for (int64_t k = 0; k < s->c; k++)
            mu[k] += (double)s->source[i * s->c + k] - (double)s->source[(i + 1) * s->c + k];
    for (int64_t i = 0; i < pairs; i++) {
        const float *e = s->target + 2 * i * s->c;
        double dot = 0;

        for (int64_t k = 0; k < s->c; k++) dot += mu[k] * ((double)e[k] - (double)e[s->c + k]);
        right += dot > 0 ? 1 : dot == 0 ? 0.5 : 0;
    }
    return right / (double)pairs;
}

dial_status di_map_stats_of(const di_alloc *al, const float *source, int64_t n_source_pairs,
                            const float *target, int64_t n_target_pairs, int64_t c,
                            int target_labelled, di_map_stats *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    cloud s = {
        source,          target, 2 * n_source_pairs, 2 * (n_source_pairs + n_target_pairs), c,
        target_labelled, NULL};
    di_map_stats m = {
        .n_source = s.n_source, .n_target = s.n - s.n_source, .centroid_accuracy = NAN};
    double *mu = NULL;

    if (n_source_pairs < 2 || n_target_pairs < 2)
        DI_FAIL(err, DIAL_ERR_USAGE, "a map needs 2 pairs a domain, found %lld and %lld",
                (long long)n_source_pairs, (long long)n_target_pairs);
    s.d = di_new_array(al, (size_t)s.n, (size_t)s.n * sizeof *s.d);
    mu = di_new_array(al, (size_t)c, sizeof *mu);
    if (s.d == NULL || mu == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the distances of %lld rows", (long long)s.n);
    all_distances(&s);
    for (int64_t i = 0; i < s.n; i++)
        if (!isfinite(s.d[i * s.n]) || !isfinite(s.d[i * s.n + i]))
            DI_FAIL(err, DIAL_ERR_NUMERIC, "embedding %lld is not finite", (long long)i);
    m.neighbours = s.n - 1 < NEIGHBOURS ? s.n - 1 : NEIGHBOURS;
    m.mixing = mixing_of(&s, m.neighbours);
    m.silhouette_domain = silhouette(&s, is_target);
    m.silhouette_preference = silhouette(&s, preference);
    if (target_labelled) {
        m.centroid_accuracy = centroid_accuracy(&s, mu);
        m.centroid_pairs = n_target_pairs;
    }
    *out = m;
done:
    di_free(al, s.d);
    di_free(al, mu);
    return st;
}
