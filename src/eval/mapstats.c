#include "eval/mapstats.h"

#include <math.h>

#include "base/error.h"
#include "eval/dense.h"

enum { NEIGHBOURS = 10 };

/* Rows of both domains, source first. */
typedef struct cloud {
    const float *source, *target;
    int64_t n_source, n, c;
    int labelled;
} cloud;

enum { DOMAIN, PREFERENCE, N_SPLITS }; /* two ways to split the rows into classes 0 and 1 */

/* What one row sees of the others. */
typedef struct view {
    int64_t strangers;       /* rows of the other domain among its nearest */
    double sum[N_SPLITS][2]; /* of its distances to the rows of each class */
} view;

static const float *row_of(const cloud *s, int64_t i)
{
    return i < s->n_source ? s->source + i * s->c : s->target + (i - s->n_source) * s->c;
}

/* -1: not known. Chosen and rejected alternate in both domains, and n_source is even. */
static int class_of(const cloud *s, int split, int64_t i)
{
    int is_target = i >= s->n_source;

    if (split == DOMAIN) return is_target;
    return is_target && !s->labelled ? -1 : i % 2 == 0;
}

/* Rows of the other domain among the k nearest of row i, by insertion into a short list. */
static int64_t strangers(const cloud *s, const double *d, int64_t i, int64_t k)
{
    int64_t near[NEIGHBOURS], count = 0, others = 0;

    for (int64_t j = 0; j < s->n; j++) {
        int64_t at;

        if (j == i || (count == k && d[j] >= d[near[k - 1]])) continue;
        at = count < k ? count++ : k - 1;
        for (; at > 0 && d[near[at - 1]] > d[j]; at--) near[at] = near[at - 1];
        near[at] = j;
    }
    for (int64_t j = 0; j < count; j++)
        others += class_of(s, DOMAIN, near[j]) != class_of(s, DOMAIN, i);
    return others;
}

/* wide (c), d (n): scratch. */
static view look(const cloud *s, int64_t i, int64_t k, double *wide, double *d)
{
    view v = {0};

    for (int64_t j = 0; j < s->c; j++) wide[j] = (double)row_of(s, i)[j];
    for (int64_t j = 0; j < s->n; j++) {
        d[j] = sqrt(di_distance2(row_of(s, j), wide, s->c));
        for (int split = 0; split < N_SPLITS; split++)
            if (class_of(s, split, j) >= 0) v.sum[split][class_of(s, split, j)] += d[j];
    }
    v.strangers = strangers(s, d, i, k);
    return v;
}

static dial_status look_all(const di_alloc *al, const cloud *s, int64_t k, view *v, dial_error *err)
{
    dial_status st = DIAL_OK;
    int failed = 0;

#pragma omp parallel reduction(|| : failed)
    {
        double *scratch = di_new_array(al, (size_t)(s->n + s->c), sizeof *scratch);

        failed = scratch == NULL;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s->n; i++)
            if (!failed) v[i] = look(s, i, k, scratch, scratch + s->c);
        di_free(al, scratch);
    }
    if (failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the distances of %lld rows", (long long)s->n);
done:
    return st;
}

static double mixing_of(const cloud *s, const view *v, int64_t k)
{
    double found = 0, expected = 0;

    for (int64_t i = 0; i < s->n; i++) {
        int64_t other = i >= s->n_source ? s->n_source : s->n - s->n_source;

        found += (double)v[i].strangers / (double)k;
        expected += (double)other / (double)(s->n - 1);
    }
    return found / expected;
}

static double silhouette(const cloud *s, const view *v, int split)
{
    double total = 0;
    int64_t rows = 0, size[2] = {0};

    for (int64_t i = 0; i < s->n; i++)
        if (class_of(s, split, i) >= 0) size[class_of(s, split, i)]++;
    for (int64_t i = 0; i < s->n; i++) {
        int own = class_of(s, split, i);
        double a, b;

        if (own < 0) continue;
        rows++;
        if (size[own] == 1 || size[!own] == 0) continue; /* alone in its class: 0 by definition */
        a = v[i].sum[split][own] / (double)(size[own] - 1);
        b = v[i].sum[split][!own] / (double)size[!own];
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
    cloud s = {source, target,         2 * n_source_pairs, 2 * (n_source_pairs + n_target_pairs),
               c,      target_labelled};
    di_map_stats m = {
        .n_source = s.n_source, .n_target = s.n - s.n_source, .centroid_accuracy = NAN};
    double *mu = NULL;
    view *v = NULL;

    if (n_source_pairs < 2 || n_target_pairs < 2)
        DI_FAIL(err, DIAL_ERR_USAGE, "a map needs 2 pairs a domain, found %lld and %lld",
                (long long)n_source_pairs, (long long)n_target_pairs);
    v = di_new_array(al, (size_t)s.n, sizeof *v);
    mu = di_new_array(al, (size_t)c, sizeof *mu);
    if (v == NULL || mu == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the distances of %lld rows", (long long)s.n);
    for (int64_t i = 0; i < s.n * c; i++)
        if (!isfinite(row_of(&s, i / c)[i % c]))
            DI_FAIL(err, DIAL_ERR_NUMERIC, "embedding %lld is not finite", (long long)(i / c));
    m.neighbours = s.n - 1 < NEIGHBOURS ? s.n - 1 : NEIGHBOURS;
    DI_TRY(look_all(al, &s, m.neighbours, v, err));
    m.mixing = mixing_of(&s, v, m.neighbours);
    m.silhouette_domain = silhouette(&s, v, DOMAIN);
    m.silhouette_preference = silhouette(&s, v, PREFERENCE);
    if (target_labelled) {
        m.centroid_accuracy = centroid_accuracy(&s, mu);
        m.centroid_pairs = n_target_pairs;
    }
    *out = m;
done:
    di_free(al, v);
    di_free(al, mu);
    return st;
}
