/*
 * The numbers that stand under a map of embeddings (method.md 5.8), all in the original space.
 */
#ifndef DI_EVAL_MAPSTATS_H
#define DI_EVAL_MAPSTATS_H

#include "base/alloc.h"

typedef struct di_map_stats {
    int64_t n_source, n_target;   /* rows (texts) */
    int64_t neighbours;           /* 10, or fewer where there are not as many rows */
    double mixing;                /* share of other-domain rows among the neighbours / expected */
    double silhouette_domain;     /* [-1, 1]: 0 = one cloud */
    double silhouette_preference; /* over the rows whose preference is known; all domains */
    double centroid_accuracy;     /* on the target; NAN where it is not known */
    int64_t centroid_pairs;
} di_map_stats;

/*
 *   source (2 n_source_pairs, c), target (2 n_target_pairs, c): rows chosen, rejected alternating
 *   target_labelled  0: the order of a target pair means nothing; its rows then count for the
 *                    domain numbers only and centroid_accuracy is NAN
 *
 * mixing: mean over all rows of the share of other-domain rows among the 10 nearest (Euclidean;
 *   equal distances by index), over its expectation under mixing, (n_other)/(n - 1) for each row:
 *   1 = the domains cannot be told apart, 0 = no row has a neighbour of the other domain.
 * silhouette: mean of (b - a)/max(a, b), a = mean distance to the own class, b = to the other.
 * centroid_accuracy: mu = mean over the source pairs of (chosen - rejected); the nearest of the two
 *   centroids mu and -mu to a target pair's difference says which is preferred, so the share of
 *   target pairs with mu . (chosen - rejected) > 0 (= 0 counts 1/2).
 * ERR_USAGE: under 2 pairs in a domain. ERR_NUMERIC: a value that is not finite. ERR_NOMEM.
 */
dial_status di_map_stats_of(const di_alloc *al, const float *source, int64_t n_source_pairs,
                            const float *target, int64_t n_target_pairs, int64_t c,
                            int target_labelled, di_map_stats *out, dial_error *err);

#endif
