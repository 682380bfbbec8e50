/* Shared by metrics.c (entry points), metrics_pairs.c and metrics_other.c. */
#ifndef DI_EVAL_METRICS_INTERNAL_H
#define DI_EVAL_METRICS_INTERNAL_H

#include "eval/metrics.h"

/* What every part of a result reads. */
typedef struct di_eval_set {
    const di_alloc *al;
    const di_dataset *d;
    const float *reward;
    const di_eval_options *opt;
    di_units units;
    double *credit; /* (d->n); NULL for scored rows */
} di_eval_set;

static inline int32_t di_row_text(const di_dataset *d, int64_t row, int32_t k)
{
    return d->text_of[d->example[row].first + k];
}

static inline double di_row_reward(const di_dataset *d, const float *reward, int64_t row, int32_t k)
{
    return (double)reward[di_row_text(d, row, k)];
}

/* Length of text k of a row in the unit asked for. */
double di_row_length(const di_eval_set *s, int64_t row, int32_t k);

/* Spearman of reward (or of the score of the row, for scored rows) and length, as JSON. */
json_t *di_length_corr(const di_eval_set *s);

/* [lo, hi] */
json_t *di_interval_json(di_interval v);

/* value, or null where defined is 0 */
json_t *di_stat_or_null(double value, int defined);

/* Sets a key; a NULL value or a failed insertion sets *failed. */
void di_put(json_t *object, const char *key, json_t *value, int *failed);

/* tokens, seconds, tokens_per_second, as di_eval_result takes them. */
void di_put_speed(const di_dataset *d, double seconds, int64_t tokens, json_t *o, int *failed);

/* The fields of each kind, added to `out`. ERR_NOMEM. */
dial_status di_pairs_fields(const di_eval_set *s, json_t *out, dial_error *err);
dial_status di_scored_fields(const di_eval_set *s, json_t *out, dial_error *err);
dial_status di_mcq_fields(const di_eval_set *s, json_t *out, dial_error *err);

/* rewardbench.c: what RewardBench makes of its pairs, beside the fields of pairs; its candidates.
 * ERR_INPUT: a row of Ties without its id. */
dial_status di_rewardbench_fields(const di_eval_set *s, json_t *out, dial_error *err);
dial_status di_candidates_fields(const di_eval_set *s, json_t *out, dial_error *err);

#endif
