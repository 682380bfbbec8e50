/*
 * Choosing a checkpoint without target labels (method.md 9, 9.1).
 *
 *   source    the least mean held-out source loss; equal means: the smaller step
 *   earliest  the smallest step c whose loss is within one paired standard error of the best's b:
 *                 mean_i d_i <= sd(d) / sqrt(n),   d_i = loss_c,i - loss_b,i,   b as `source` says
 *             sd with n - 1; one row has no standard error, so 0 (then it equals `source`).
 *             The standard error takes rows as independent, which makes it small rather than large
 *             where rows share texts: the rule then stops later than it might.
 *   last      the largest step
 *   combined  gates, then the least sum of ranks (di_select_combined)
 *   iwv, dev, w1, rankme, snd, agreement    the best value of that validator alone
 *   named     the best accuracy on a labelled set that the caller names: no label-free rule
 *
 * Under 100 rows the caller passes leave-one-out losses instead of held-out ones.
 */
#ifndef DI_EVAL_SELECT_H
#define DI_EVAL_SELECT_H

#include "eval/validators.h"

typedef enum di_select_rule {
    DI_SELECT_EARLIEST,
    DI_SELECT_SOURCE,
    DI_SELECT_LAST,
    DI_SELECT_COMBINED,
    DI_SELECT_IWV,
    DI_SELECT_DEV,
    DI_SELECT_W1,
    DI_SELECT_RANKME,
    DI_SELECT_SND,
    DI_SELECT_AGREEMENT,
    DI_SELECT_NAMED
} di_select_rule;

/* What the rule saw of one checkpoint. */
typedef struct di_candidate {
    double loss; /* mean over rows */
    double gap;  /* loss - that of the best */
    double se;   /* paired standard error of gap */
    int within;  /* gap <= se */
} di_candidate;

/* loss and best (n): the paired comparison that `earliest` and the gates within a run rest on. */
di_candidate di_select_compare(const double *loss, const double *best, int64_t n);

/*
 * Does a model order the source worse than its baseline does? By the pairs, not by the loss: an
 * aligned head has smaller margins, and its loss rises by many standard errors where nothing is
 * lost (docs/findings.md 5). loss, baseline (n): softplus(-margin) of the same pairs; one above
 * log 2 is ordered wrongly, a tie counts half.
 */
typedef struct di_source_fall {
    double accuracy, baseline;
    double limit; /* max(0.02, 2 paired standard errors) */
} di_source_fall;

di_source_fall di_select_fall(const double *loss, const double *baseline, int64_t n);
int di_select_fell(const di_source_fall *f); /* baseline - accuracy > limit */

/*
 * The rules earliest, source and last. step (n_checkpoints): any order, no two equal. loss
 * (n_checkpoints, n_rows): loss of row i at checkpoint c in loss[c * n_rows + i]; not read under
 * DI_SELECT_LAST, where n_rows may be 0. chosen: index of the checkpoint. seen (n_checkpoints), or
 * NULL: filled under the other rules. ERR_USAGE: no checkpoint, no row. ERR_NUMERIC: a loss that is
 * not finite.
 */
dial_status di_select(const int64_t *step, int64_t n_checkpoints, const double *loss,
                      int64_t n_rows, di_select_rule rule, int64_t *chosen, di_candidate *seen,
                      dial_error *err);

/* What the combined rule knows of a candidate, and what it made of it. */
typedef struct di_ranked {
    di_validators v;
    int64_t step;
    double lambda;
    int within_floor;      /* in a run: source loss <= the least + 1 paired standard error;
                            against a baseline: its source accuracy has not fallen */
    double reference_rank; /* effective rank to compare with: Src-Pref's, or the first save's */
    const char *gate;      /* out: the gate that stopped it; NULL: eligible */
    double rank_risk, rank_agreement, rank_w1; /* out: 1 = best, ties share; 0: not ranked */
} di_ranked;

/*
 * Combination of method.md 9. Gates: source floor; effective rank >= half the reference; margin
 * ratio >= 1/4; reward drift <= 1; a number that is not finite. Then the least sum of the ranks by
 * DEV, by 1 - agreement and by W1; ties to the smaller lambda, then the smaller step. Where DEV is
 * not defined for all eligible candidates (weights with too small an effective sample) the source
 * loss takes its place: that is what IWV becomes as kappa of method.md 8.12 goes to 0. A criterion
 * that is missing for one candidate ranks none. *chosen: -1 where no candidate is eligible.
 */
void di_select_combined(di_ranked *c, int64_t n, int64_t *chosen);

/*
 * The best candidate by one validator: least iwv, dev, w1; largest effective rank, snd, agreement.
 * Equal: the smaller step. *chosen: -1 where no candidate has a value.
 */
void di_select_by(const di_ranked *c, int64_t n, di_select_rule rule, int64_t *chosen);

/*
 * One validator after another, k = 0, 1, ... (NULL: no more): its name, a rule's where it can
 * choose, and its value with the sign at which more is better (NAN: none). `confidence` is among
 * them and no rule: it rewards over-confidence.
 */
const char *di_select_criterion(int k);
double di_select_merit(const di_validators *v, int k);

/*
 * "Validate the validators" (method.md 9): Spearman's correlation of merit k with the true accuracy
 * (n) over the *used candidates that have both; NAN under 3 of them, or where one side is constant.
 */
dial_status di_select_spearman(const di_alloc *al, const di_ranked *c, int64_t n,
                               const double *accuracy, int k, double *rho, int64_t *used,
                               dial_error *err);

/* "earliest", ..., "agreement" and back; -1 for any other name. "named" is no name to parse. */
const char *di_select_name(di_select_rule rule);
int di_select_parse(const char *name);

#endif
