#include "eval/pick.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "eval/probe.h"
#include "eval/rows.h"
#include "eval/validators.h"

enum { POOL = 4 };

void di_pick_forget_common_prompt(di_pick_pair *pair, int64_t n)
{
    uint64_t first = n > 0 ? pair[0].prompt : 0;

    for (int64_t i = 1; i < n; i++)
        if (pair[i].prompt != first) return;
    for (int64_t i = 0; i < n; i++) pair[i].prompt = 0;
}

/* Does pair j share a text or the prompt with one of those taken? */
static int repeats(const di_pick_pair *pair, int64_t j, const int64_t *taken, int64_t n)
{
    const di_pick_pair *a = &pair[j];

    for (int64_t i = 0; i < n; i++) {
        const di_pick_pair *b = &pair[taken[i]];

        if (taken[i] == j || (a->prompt != 0 && a->prompt == b->prompt)) return 1;
        for (int t = 0; t < 4; t++)
            if (a->text[t / 2] == b->text[t % 2]) return 1;
    }
    return 0;
}

int64_t di_pick_first(const di_pick_pair *pair, const int64_t *order, int64_t n, int64_t k,
                      int64_t *out)
{
    int64_t taken = 0;

    for (int64_t i = 0; i < n && taken < k; i++)
        if (!repeats(pair, order[i], out, taken)) out[taken++] = order[i];
    return taken;
}

typedef struct ranked {
    double disagree, confidence;
    int64_t j;
} ranked;

static int by_disagreement(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    if (x->disagree != y->disagree) return x->disagree > y->disagree ? -1 : 1;
    if (x->confidence != y->confidence) return x->confidence < y->confidence ? -1 : 1;
    return x->j < y->j ? -1 : x->j > y->j;
}

static void rank_pairs(const di_pick_input *in, ranked *r)
{
    for (int64_t j = 0; j < in->n; j++) {
        int differ = 0;

        for (int k = 0; k < in->models; k++)
            for (int l = k + 1; l < in->models; l++)
                differ += (in->m[k][j] > 0) != (in->m[l][j] > 0);
        r[j] = (ranked){2.0 * differ / (in->models * (in->models - 1)), 0, j};
    }
    for (int k = 0; k < in->models; k++) {
        double mean = 0, squares = 0, sd;

        for (int64_t j = 0; j < in->n; j++) mean += in->m[k][j] / (double)in->n;
        for (int64_t j = 0; j < in->n; j++) squares += pow(in->m[k][j] - mean, 2) / (double)in->n;
        sd = squares > 0 ? sqrt(squares) : 1;
        for (int64_t j = 0; j < in->n; j++) r[j].confidence += fabs(in->m[k][j]) / sd / in->models;
    }
    qsort(r, (size_t)in->n, sizeof *r, by_disagreement);
}

/* min(|delta_a - delta_b|, |delta_a + delta_b|), squared: the order of a pair's texts is no one's.
 */
static double apart(const di_pick_input *in, int64_t a, int64_t b)
{
    const float *x = in->e + 2 * a * in->c, *y = in->e + 2 * b * in->c;
    double minus = 0, plus = 0;

    for (int64_t k = 0; k < in->c; k++) {
        double p = (double)x[k] - (double)x[in->c + k], q = (double)y[k] - (double)y[in->c + k];

        minus += (p - q) * (p - q);
        plus += (p + q) * (p + q);
    }
    return minus < plus ? minus : plus;
}

/* The pair of r[0..pool) that is furthest from all chosen, and new; -1: none is new. */
static int64_t furthest(const di_pick_input *in, const ranked *r, int64_t pool,
                        const int64_t *chosen, int64_t n)
{
    double best = -1;
    int64_t at = -1;

    for (int64_t i = 0; i < pool; i++) {
        double least = INFINITY;

        if (repeats(in->pair, r[i].j, chosen, n)) continue;
        for (int64_t k = 0; k < n; k++) least = fmin(least, apart(in, r[i].j, chosen[k]));
        if (least <= best) continue;
        best = least;
        at = r[i].j;
    }
    return at;
}

dial_status di_pick_disagreement(const di_alloc *al, const di_pick_input *in, int64_t k,
                                 int64_t *out, int64_t *taken, dial_error *err)
{
    dial_status st = DIAL_OK;
    ranked *r = di_new_array(al, (size_t)in->n, sizeof *r);
    int64_t pool = POOL * k < in->n ? POOL * k : in->n, n = 0;

    if (r == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld pairs", (long long)in->n);
    rank_pairs(in, r);
    while (n < k) {
        int64_t j = n == 0 && pool > 0 ? r[0].j : furthest(in, r, pool, out, n);

        if (j >= 0)
            out[n++] = j;
        else if (pool == in->n)
            break;
        else
            pool = pool + k < in->n ? pool + k : in->n;
    }
    *taken = n;
done:
    di_free(al, r);
    return st;
}

dial_status di_half_margins(const di_alloc *al, const float *e_s, int64_t n_s,
                            const uint64_t *group, const float *e_t, int64_t n_t, int64_t c,
                            uint64_t seed, double *const m[2], dial_error *err)
{
    dial_status st = DIAL_OK;
    int32_t *fold = di_new_array(al, (size_t)n_s, sizeof *fold);
    float *w = di_new_array(al, (size_t)c, sizeof *w);

    if (fold == NULL || w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for two heads");
    DI_TRY(di_folds(al, n_s, group, 2, seed, fold, err));
    for (int h = 0; h < 2; h++) {
        DI_TRY(di_probe_fit_standardised(al, e_s, n_s, c, fold, h, w, err));
        di_margins(w, e_t, n_t, c, m[h]);
    }
done:
    di_free(al, fold);
    di_free(al, w);
    return st;
}
