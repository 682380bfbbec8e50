/*
 * Uncertainty of a comparison, and correlations (method.md 4.3 and 10).
 *
 * What to think in: a result is a mean over rows (pairs), but rows that share a text are not
 * independent. `di_units` names what is resampled: the two texts of a row (weights multiply), its
 * prompt, or the row itself. `di_bootstrap` draws one weight a unit and draw, and gives the
 * weighted means of any number of columns under THE SAME weights: that is what makes differences
 * between models paired. Weights are Exp(1): like Poisson(1) they have mean 1 and variance 1, but
 * none is 0, so no draw loses all rows and a ratio of two means stays defined.
 *
 * Random numbers are named by (seed, draw, unit): the same bits with any number of threads.
 */
#ifndef DI_EVAL_STATS_H
#define DI_EVAL_STATS_H

#include "base/alloc.h"

#define DI_Z95 1.959963984540054 /* quantile 0.975 of the normal distribution */

typedef struct di_interval {
    double lo, hi;
} di_interval;

/* ---- one proportion ---- */

/*
 * Wilson score interval of k successes in n, at z standard deviations; k and n need not be whole
 * (ties count 1/2, n may be an effective size). n <= 0 gives [0, 1].
 *     (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n),  p = k/n
 */
di_interval di_wilson(double k, double n, double z);

/*
 * The size of a simple random sample whose proportion p has standard error se, p(1-p)/se^2; n
 * where that is not defined (p is 0 or 1, se is 0) and never more than n.
 */
double di_effective_n(double p, double se, double n);

/* Wilson interval of p with the effective size in the place of n (method.md 10.1). */
di_interval di_wilson_clustered(double p, double se, double n);

/*
 * One-sided lower bound of a proportion, exact (Clopper and Pearson): the p at which k or more of
 * n have probability alpha. 0 for k = 0. Source: method.md 9.2.
 */
double di_clopper_pearson(int64_t k, int64_t n, double alpha);

/* P(X >= k) for X ~ Bin(n, p); 1 for k <= 0. */
double di_binomial_tail(int64_t k, int64_t n, double p);

/*
 * McNemar's test, exact and two-sided: how likely a split at least as uneven as (better, worse) is
 * if each changed row had gone either way by a fair coin. It takes rows as independent: where texts
 * recur it is too sure, and the interval of the bootstrap decides. 1 if nothing changed.
 */
double di_mcnemar(int64_t better, int64_t worse);

/* ---- what is resampled ---- */

typedef enum di_cluster { DI_CLUSTER_TEXT, DI_CLUSTER_PROMPT, DI_CLUSTER_NONE } di_cluster;

typedef struct di_units {
    const di_alloc *al;
    int64_t n_rows, n_units;
    int32_t *unit; /* (n_rows, 2): units of the row; the second is -1 where there is one only */
} di_units;

/*
 * Units from n_rows rows. hash (n_rows, 2): names of the two texts of each row (cluster text), or
 * of its prompt in column 0 (cluster prompt; column 1 is not read). Cluster none: hash may be NULL.
 * Units are numbered in order of appearance. Cluster text where no text stands in two rows, and
 * cluster none: one unit a row, since the product of two weights would be too wide there (3 times
 * the variance). A row whose two texts are equal has that one unit. Free with di_units_deinit.
 */
dial_status di_units_init(di_units *u, const di_alloc *al, int64_t n_rows, const uint64_t *hash,
                          di_cluster cluster, dial_error *err);
void di_units_deinit(di_units *u);

/*
 * Standard error of the mean of z (n_rows) in closed form, the check of the bootstrap:
 *     V = 1/n^2 (sum_k (sum_{i has k} (z_i - zbar))^2 - sum_{i with two units} (z_i - zbar)^2)
 * Source: method.md 10.1, after arXiv 1312.3398. NaN if there is no memory.
 */
double di_dyadic_se(const di_units *u, const double *z);

/* ---- bootstrap ---- */

typedef struct di_bootstrap_options {
    int64_t draws; /* 2000 */
    uint64_t seed;
} di_bootstrap_options;

/* The weights of draw number `draw`: w (u->n_rows), the product over the row's units. */
dial_status di_bootstrap_weights(const di_units *u, uint64_t seed, int64_t draw, double *w,
                                 dial_error *err);

/*
 * mean (draws, n_columns): weighted mean of each column (n_rows) in each draw,
 *     mean[b, j] = sum_i w_bi column_j[i] / sum_i w_bi
 * For a mean over some of the rows take the columns (value x chosen) and (chosen), and divide.
 * At least one row. Threads split the draws and change no bit.
 */
dial_status di_bootstrap(const di_units *u, const double *const *column, int n_columns,
                         const di_bootstrap_options *opt, double *mean, dial_error *err);

/* Quantile q of n values, linear between order statistics. Sorts v. n >= 1. */
double di_quantile(double *v, int64_t n, double q);

/* Percentile interval (0.025, 0.975) and standard deviation of n draws; sorts v. n >= 1. */
di_interval di_percentile95(double *v, int64_t n, double *se);

/*
 * A model against a baseline on the same rows. credit: 1 right, 1/2 tie, 0 wrong; (n_rows).
 * ci is [delta, delta] for one unit: nothing can be resampled (test n_units).
 */
typedef struct di_difference {
    double model, baseline, delta; /* mean credits, and model - baseline */
    di_interval ci;
    double se;
    int64_t better, worse; /* rows that the model gained and lost */
    double p_mcnemar;
} di_difference;

dial_status di_paired_difference(const di_units *u, const double *model, const double *baseline,
                                 const di_bootstrap_options *opt, di_difference *out,
                                 dial_error *err);

/*
 * Gap closure (method.md 10.2): (model - baseline) / (oracle - baseline) with the percentile
 * interval of the bootstrapped ratio. usable = 0 where the gap is not positive by 2 standard
 * errors: then there is no gap to close, and value and ci are 0.
 */
typedef struct di_gap_closure {
    double gap, gap_se; /* oracle - baseline */
    int usable;
    double value;
    di_interval ci;
} di_gap_closure;

dial_status di_gap_closed(const di_units *u, const double *model, const double *baseline,
                          const double *oracle, const di_bootstrap_options *opt,
                          di_gap_closure *out, dial_error *err);

/* ---- correlation: 1 and *out set; 0 where it is not defined (a side is constant, n < 2) ---- */

int di_pearson(const double *x, const double *y, int64_t n, double *out);

/* Pearson of average ranks / Kendall's tau-b in O(n log n) (Knight 1966); -1: no memory. */
int di_spearman(const di_alloc *al, const double *x, const double *y, int64_t n, double *out);
int di_kendall(const di_alloc *al, const double *x, const double *y, int64_t n, double *out);

/* rank (n): 1-based, equal values share the mean of their places. ERR_NOMEM. */
dial_status di_average_ranks(const di_alloc *al, const double *x, int64_t n, double *rank,
                             dial_error *err);

/*
 * 95 % interval of a correlation r by Fisher's z, tanh(atanh r -+ 1.96 sqrt(variance)). The
 * variance of z is 1/(n-3) for Pearson, 1.06/(n-3) for Spearman, 0.437/(n-4) for Kendall (Fieller,
 * Hartley and Pearson 1957). 0 where n is too small or |r| = 1.
 */
typedef enum di_corr { DI_CORR_PEARSON, DI_CORR_SPEARMAN, DI_CORR_KENDALL } di_corr;
int di_fisher(double r, int64_t n, di_corr kind, di_interval *out);

#endif
