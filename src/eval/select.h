/*
 * Choosing a checkpoint of a run without target labels (method.md 9.1), from the Bradley-Terry
 * losses of held-out source rows alone:
 *
 *   source    the least mean loss; equal means: the smaller step
 *   earliest  the smallest step c whose loss is within one paired standard error of the best's b:
 *                 mean_i d_i <= sd(d) / sqrt(n),   d_i = loss_c,i - loss_b,i,   b as `source` says
 *             sd with n - 1; one row has no standard error, so 0 (then it equals `source`).
 *             The standard error takes rows as independent, which makes it small rather than large
 *             where rows share texts: the rule then stops later than it might.
 *   last      the largest step
 *
 * Under 100 rows the caller passes leave-one-out losses instead of held-out ones.
 */
#ifndef DI_EVAL_SELECT_H
#define DI_EVAL_SELECT_H

#include "base/alloc.h"

typedef enum di_select_rule { DI_SELECT_EARLIEST, DI_SELECT_SOURCE, DI_SELECT_LAST } di_select_rule;

/* What the rule saw of one checkpoint. */
typedef struct di_candidate {
    double loss; /* mean over rows */
    double gap;  /* loss - that of the best */
    double se;   /* paired standard error of gap */
    int within;  /* gap <= se */
} di_candidate;

/*
 * step (n_checkpoints): any order, no two equal. loss (n_checkpoints, n_rows): loss of row i at
 * checkpoint c in loss[c * n_rows + i]; not read under DI_SELECT_LAST, where n_rows may be 0.
 * chosen: index of the checkpoint. seen (n_checkpoints), or NULL: filled under the other rules.
 * ERR_USAGE: no checkpoint, no row. ERR_NUMERIC: a loss that is not finite.
 */
dial_status di_select(const int64_t *step, int64_t n_checkpoints, const double *loss,
                      int64_t n_rows, di_select_rule rule, int64_t *chosen, di_candidate *seen,
                      dial_error *err);

/* "earliest", "source", "last" and back; -1 for any other name. */
const char *di_select_name(di_select_rule rule);
int di_select_parse(const char *name);

#endif
