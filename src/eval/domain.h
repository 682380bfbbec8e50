/*
 * How well a probe that sees held-out rows can tell two domains apart (method.md 9): the proxy
 * A-distance, and the density ratio that importance weights are made of.
 */
#ifndef DI_EVAL_DOMAIN_H
#define DI_EVAL_DOMAIN_H

#include "eval/stats.h"

/* Rows of the two domains in one space, f32, row-major: s (n_s, c) and t (n_t, c). */
typedef struct di_two_sets {
    const float *s, *t;
    int64_t n_s, n_t, c;
} di_two_sets;

typedef struct di_domain_probe_result {
    double accuracy;   /* balanced, held out: chance 1/2 */
    di_interval ci;    /* Wilson at the effective size of the balanced accuracy, 95 % */
    double a_distance; /* 2 (1 - 2 err) = 4 accuracy - 2, floor 0, at most 2 */
    di_interval a_ci;  /* the ends of ci, mapped and floored alike */
} di_domain_probe_result;

/*
 * Ridge logistic regression (strength 1e-2 on the mean loss, intercept free) of the domain on
 * standardised coordinates, with 64 principal components in their place where there are under 2000
 * rows; standardisation and components are those of all rows, domain and labels unseen.
 *
 *   fold_s (n_s), fold_t (n_t)  in: 0 .. folds-1; a row is judged by the fit that left its fold out
 *   logit_s, logit_t            out, or NULL: log p(T|x)/p(S|x) by that fit
 *
 * A row counts as target where its logit exceeds log(n_t/n_s): the rule for equal shares, so that
 * unequal files do not push all rows to one side. Rows are taken as independent in the interval.
 * ERR_USAGE: under 2 rows in a domain, or a fold without one of the two in the rest. ERR_NUMERIC:
 * a value that is not finite. ERR_NOMEM.
 * Source: proxy A-distance, Ben-David et al. 2007, as method.md 9 states it.
 */
dial_status di_domain_probe(const di_alloc *al, const di_two_sets *x, const int32_t *fold_s,
                            const int32_t *fold_t, int folds, double *logit_s, double *logit_t,
                            di_domain_probe_result *out, dial_error *err);

/*
 * Both sets with coordinates (x - mean_s)/sd_s/sqrt(c), mean and sd of the source rows
 * (di_row_moments): the scale of `--embed-norm coord`, where source rows have norm 1 in the mean
 * square. center 0 leaves the mean in (symmetric rows have none). out (n_s + n_t, c), source first.
 */
dial_status di_coord_normalised(const di_alloc *al, const di_two_sets *x, int center, float *out,
                                dial_error *err);

/* |mean_s - mean_t|; |cov_s - cov_t|_F^2 / (4 c^2) with 1/(n-1), by Gram matrices (method.md 8.2).
 */
dial_status di_mean_gap(const di_alloc *al, const di_two_sets *x, double *out, dial_error *err);
dial_status di_coral(const di_alloc *al, const di_two_sets *x, double *out, dial_error *err);

/* ---- importance weights (method.md 8.12, 9) ---- */

typedef struct di_importance {
    double iwv; /* sum u l / sum u */
    double dev; /* mean(u l) + eta mean(u) - eta, eta = -cov(u l, u)/var(u) (You et al. 2019) */
    double ess; /* (sum u)^2 / sum u^2 */
    int usable; /* ess >= max(30, n/20): below, iwv and dev are noise */
} di_importance;

/*
 * u (n) = ((n_s/n_t) exp(logit))^kappa, clipped at its quantile `clip` (0.99: the 99th percentile;
 * linear between order statistics).
 * logit (n): of source rows, held out, from a probe on n_s source and n_t target rows.
 */
dial_status di_importance_weights(const di_alloc *al, const double *logit, int64_t n, int64_t n_s,
                                  int64_t n_t, double kappa, double clip, double *u,
                                  dial_error *err);
/* u, loss (n), n >= 2. Equal weights give dev = iwv = mean loss. */
di_importance di_importance_risk(const double *u, const double *loss, int64_t n);

#endif
