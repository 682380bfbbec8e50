#include "eval/select.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "eval/stats.h"
#include "train/objective.h"

static const char *const names[] = {"earliest", "source", "last", "combined",  "iwv",  "dev",
                                    "w1",       "rankme", "snd",  "agreement", "named"};

const char *di_select_name(di_select_rule rule)
{
    return names[rule];
}

int di_select_parse(const char *name)
{
    for (int i = 0; i < DI_SELECT_NAMED; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

static double mean_loss(const double *loss, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += loss[i];
    return sum / (double)n;
}

di_candidate di_select_compare(const double *loss, const double *best, int64_t n)
{
    di_candidate c = {.loss = mean_loss(loss, n)};
    double sum = 0;

    for (int64_t i = 0; i < n; i++) c.gap += (loss[i] - best[i]) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double e = loss[i] - best[i] - c.gap;

        sum += e * e;
    }
    c.se = n > 1 ? sqrt(sum / (double)(n - 1) / (double)n) : 0;
    c.within = c.gap <= c.se;
    return c;
}

static double wrong(double loss)
{
    double even = di_softplus(0);

    return loss > even ? 1 : loss < even ? 0 : 0.5;
}

di_source_fall di_select_fall(const double *loss, const double *baseline, int64_t n)
{
    di_source_fall f = {1, 1, 0};
    double gap, square = 0;

    for (int64_t i = 0; i < n; i++) {
        f.accuracy -= wrong(loss[i]) / (double)n;
        f.baseline -= wrong(baseline[i]) / (double)n;
    }
    gap = f.baseline - f.accuracy;
    for (int64_t i = 0; i < n; i++) {
        double d = wrong(loss[i]) - wrong(baseline[i]) - gap;

        square += d * d;
    }
    f.limit = fmax(0.02, n > 1 ? 2 * sqrt(square / (double)(n - 1) / (double)n) : 0);
    return f;
}

int di_select_fell(const di_source_fall *f)
{
    return f->baseline - f->accuracy > f->limit;
}

dial_status di_select(const int64_t *step, int64_t n_checkpoints, const double *loss,
                      int64_t n_rows, di_select_rule rule, int64_t *chosen, di_candidate *seen,
                      dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t best = 0, first = -1;
    double least = INFINITY;

    if (n_checkpoints < 1 || (rule != DI_SELECT_LAST && n_rows < 1))
        DI_FAIL(err, DIAL_ERR_USAGE,
                "expected checkpoints and rows to choose by, found %lld and %lld",
                (long long)n_checkpoints, (long long)n_rows);
    if (rule == DI_SELECT_LAST) {
        for (int64_t c = 1; c < n_checkpoints; c++)
            if (step[c] > step[best]) best = c;
        *chosen = best;
        goto done;
    }
    for (int64_t c = 0; c < n_checkpoints; c++) {
        double m = mean_loss(loss + c * n_rows, n_rows);

        if (!isfinite(m))
            DI_FAIL(err, DIAL_ERR_NUMERIC, "the source loss at step %lld is not finite",
                    (long long)step[c]);
        if (m < least || (m == least && step[c] < step[best])) {
            least = m;
            best = c;
        }
    }
    for (int64_t c = 0; c < n_checkpoints; c++) {
        di_candidate k = di_select_compare(loss + c * n_rows, loss + best * n_rows, n_rows);

        if (seen != NULL) seen[c] = k;
        if (k.within && (first < 0 || step[c] < step[first])) first = c;
    }
    *chosen = rule == DI_SELECT_SOURCE ? best : first;
done:
    return st;
}

/* ---- the combined rule ---- */

static const char *gate_of(const di_ranked *c)
{
    if (!isfinite(c->v.source_loss) || !isfinite(c->v.effective_rank)) return "not_finite";
    if (!c->within_floor) return "source_floor";
    if (c->v.effective_rank < c->reference_rank / 2) return "feature_collapse";
    if (c->v.margin_ratio < 0.25) return "reward_scale_collapse";
    if (c->v.reward_drift > 1) return "reward_drift";
    return NULL;
}

/* What a criterion ranks by: less is better. */
typedef double (*criterion)(const di_ranked *c);

static double by_dev(const di_ranked *c)
{
    return c->v.dev;
}
static double by_loss(const di_ranked *c)
{
    return c->v.source_loss;
}
static double by_disagreement(const di_ranked *c)
{
    return 1 - c->v.seed_agreement;
}
static double by_w1(const di_ranked *c)
{
    return c->v.w1;
}

/* Average ranks of the eligible ones into the member at `at`; 0: a value is missing. */
static int rank_by(di_ranked *c, int64_t n, criterion value, size_t at)
{
    for (int64_t i = 0; i < n; i++)
        if (c[i].gate == NULL && !isfinite(value(&c[i]))) return 0;
    for (int64_t i = 0; i < n; i++) {
        double rank = 1;

        if (c[i].gate != NULL) continue;
        for (int64_t j = 0; j < n; j++)
            if (j != i && c[j].gate == NULL)
                rank += value(&c[j]) < value(&c[i]) ? 1 : value(&c[j]) == value(&c[i]) ? 0.5 : 0;
        *(double *)((char *)&c[i] + at) = rank;
    }
    return 1;
}

static double rank_sum(const di_ranked *c)
{
    return c->rank_risk + c->rank_agreement + c->rank_w1;
}

static int before(const di_ranked *a, const di_ranked *b)
{
    if (rank_sum(a) != rank_sum(b)) return rank_sum(a) < rank_sum(b);
    if (a->lambda != b->lambda) return a->lambda < b->lambda;
    return a->step < b->step;
}

void di_select_combined(di_ranked *c, int64_t n, int64_t *chosen)
{
    *chosen = -1;
    for (int64_t i = 0; i < n; i++) {
        c[i].gate = gate_of(&c[i]);
        c[i].rank_risk = c[i].rank_agreement = c[i].rank_w1 = 0;
    }
    if (!rank_by(c, n, by_dev, offsetof(di_ranked, rank_risk)))
        rank_by(c, n, by_loss, offsetof(di_ranked, rank_risk));
    rank_by(c, n, by_disagreement, offsetof(di_ranked, rank_agreement));
    rank_by(c, n, by_w1, offsetof(di_ranked, rank_w1));
    for (int64_t i = 0; i < n; i++)
        if (c[i].gate == NULL && (*chosen < 0 || before(&c[i], &c[*chosen]))) *chosen = i;
}

/* ---- one validator ---- */

static const struct {
    const char *name; /* a rule's, where it can choose */
    size_t at;        /* in di_validators */
    int sign;         /* -1: less is better */
} criteria[] = {
    {"source", offsetof(di_validators, source_loss), -1},
    {"source_accuracy", offsetof(di_validators, source_accuracy), 1},
    {"iwv", offsetof(di_validators, iwv), -1},
    {"dev", offsetof(di_validators, dev), -1},
    {"a_distance", offsetof(di_validators, a_distance), -1},
    {"w1", offsetof(di_validators, w1), -1},
    {"rankme", offsetof(di_validators, effective_rank), 1},
    {"snd", offsetof(di_validators, snd), 1},
    {"agreement", offsetof(di_validators, seed_agreement), 1},
    {"confidence", offsetof(di_validators, confidence), -1},
    {"margin_ratio", offsetof(di_validators, margin_ratio), 1},
    {"reward_drift", offsetof(di_validators, reward_drift), -1},
};
enum { N_CRITERIA = sizeof criteria / sizeof *criteria };

const char *di_select_criterion(int k)
{
    return k < N_CRITERIA ? criteria[k].name : NULL;
}

double di_select_merit(const di_validators *v, int k)
{
    double x = *(const double *)((const char *)v + criteria[k].at);

    return isfinite(x) ? criteria[k].sign * x : NAN;
}

dial_status di_select_spearman(const di_alloc *al, const di_ranked *c, int64_t n,
                               const double *accuracy, int k, double *rho, int64_t *used,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    double *x = di_new_array(al, (size_t)n, 2 * sizeof *x), *y;
    int got = 0;

    *rho = NAN;
    *used = 0;
    if (x == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld candidates", (long long)n);
    y = x + n;
    for (int64_t i = 0; i < n; i++) {
        double merit = di_select_merit(&c[i].v, k);

        if (!isfinite(merit) || !isfinite(accuracy[i])) continue;
        x[*used] = merit;
        y[(*used)++] = accuracy[i];
    }
    if (*used >= 3) got = di_spearman(al, x, y, *used, rho);
    if (got < 0) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld candidates", (long long)n);
    if (got == 0) *rho = NAN;
done:
    di_free(al, x);
    return st;
}

void di_select_by(const di_ranked *c, int64_t n, di_select_rule rule, int64_t *chosen)
{
    const char *name = di_select_name(rule);
    int k = 0;

    *chosen = -1;
    while (k < N_CRITERIA && strcmp(criteria[k].name, name) != 0) k++;
    for (int64_t i = 0; i < n && k < N_CRITERIA; i++) {
        double x = di_select_merit(&c[i].v, k);
        double best = *chosen < 0 ? NAN : di_select_merit(&c[*chosen].v, k);

        if (!isfinite(x)) continue;
        if (!isfinite(best) || x > best || (x == best && c[i].step < c[*chosen].step)) *chosen = i;
    }
}
