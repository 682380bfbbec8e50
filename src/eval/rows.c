#include "eval/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

void di_row_moments(const float *x, int64_t n, int64_t c, double *mean, double *sd)
{
    double floor = 0;

    memset(mean, 0, (size_t)c * sizeof *mean);
    memset(sd, 0, (size_t)c * sizeof *sd);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) mean[j] += (double)x[i * c + j] / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            double d = (double)x[i * c + j] - mean[j];

            sd[j] += d * d / (double)n;
        }
    for (int64_t j = 0; j < c; j++) floor += (sd[j] = sqrt(sd[j])) / (double)c;
    floor = floor > 0 ? 1e-2 * floor : 1;
    for (int64_t j = 0; j < c; j++) sd[j] = fmax(sd[j], floor);
}

void di_pair_difference(const float *e, int64_t n, int64_t c, float *d)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) d[i * c + j] = e[2 * i * c + j] - e[(2 * i + 1) * c + j];
}

void di_symmetric_rows(const float *e, int64_t n, int64_t c, float *x)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            float d = e[2 * i * c + j] - e[(2 * i + 1) * c + j];

            x[2 * i * c + j] = d;
            x[(2 * i + 1) * c + j] = -d;
        }
}

void di_pair_features(const float *e, int64_t n, int64_t c, float *x)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            float a = e[2 * i * c + j], b = e[(2 * i + 1) * c + j];

            x[2 * i * c + j] = (a + b) / 2;
            x[(2 * i + 1) * c + j] = fabsf(a - b);
        }
}

double di_rms_norm(const float *x, int64_t n, int64_t c)
{
    double sum = 0;

    for (int64_t i = 0; i < n * c; i++) sum += (double)x[i] * (double)x[i];
    return n > 0 ? sqrt(sum / (double)n) : 0;
}

typedef struct member {
    uint64_t group;
    int64_t row;
} member;

static int by_group(const void *a, const void *b)
{
    const member *x = a, *y = b;

    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

dial_status di_folds(const di_alloc *al, int64_t n, const uint64_t *group, int folds, uint64_t seed,
                     int32_t *fold, dial_error *err)
{
    dial_status st = DIAL_OK;
    member *m = di_new_array(al, (size_t)n, sizeof *m);
    int64_t *order = di_new_array(al, (size_t)n, sizeof *order);
    int64_t groups = 0, at = 0;
    di_rng r = di_rng_make(seed, DI_RNG_SELECT, (uint32_t)folds);

    if (m == NULL || order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for folds");
    for (int64_t i = 0; i < n; i++) m[i] = (member){group != NULL ? group[i] : (uint64_t)i, i};
    qsort(m, (size_t)n, sizeof *m, by_group);
    for (int64_t i = 0; i < n; i++) groups += i == 0 || m[i].group != m[i - 1].group;
    if (groups < 2 * folds) { /* one prompt for all: each row stands for itself */
        groups = n;
        for (int64_t i = 0; i < n; i++) m[i] = (member){(uint64_t)i, i};
    }
    for (int64_t g = 0; g < groups; g++) order[g] = g;
    di_rng_shuffle(&r, order, groups);
    for (int64_t i = 0; i < n; i++) {
        at += i > 0 && m[i].group != m[i - 1].group;
        fold[m[i].row] = (int32_t)(order[at] % folds);
    }
done:
    di_free(al, m);
    di_free(al, order);
    return st;
}
