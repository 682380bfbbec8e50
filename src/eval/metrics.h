/*
 * From rewards to one element of `results` of `dial eval` (interfaces.md 1.6).
 *
 * reward (d->n_seq) always holds the reward of each distinct text of the dataset; row i reads it
 * through d->text_of. A reward of a used text that is not finite is ERR_NUMERIC and names the row.
 * Statistics are written with 6 digits, a value that is not defined as null.
 */
#ifndef DI_EVAL_METRICS_H
#define DI_EVAL_METRICS_H

#include "base/json.h"
#include "data/dataset.h"
#include "eval/stats.h"

typedef enum di_length_unit { DI_LENGTH_CHARS, DI_LENGTH_WORDS, DI_LENGTH_TOKENS } di_length_unit;

typedef struct di_eval_options {
    di_length_unit length_unit; /* of the response; tokens: of the whole text */
    di_cluster cluster;         /* what the bootstrap resamples */
    int64_t draws;
    uint64_t seed;
    const char *group_key; /* what example.group holds; a label only: "topic" */
} di_eval_options;

di_eval_options di_eval_options_default(void); /* chars, text, 2000, 0, "topic" */

/*
 * One set. The kind is that of the rows: pairs, scored, mcq; rows of one text without a score are
 * ERR_USAGE. seconds: wall time of scoring, tokens: how many tokens that was, for
 * tokens_per_second alone (tokens < 0: all tokens of the rows; seconds <= 0: null).
 *
 * Definitions beside those of interfaces.md 1.6:
 *   calibration  brier = mean (1 - sigma(m))^2; ece over 15 equal bins of sigma(|m|) in [1/2, 1]
 *   reward_corr  Spearman of reward and length over the distinct texts of the rows
 *   balanced_accuracy  null unless some row has the longer and some the shorter chosen
 *   matched.rule "length_matched" where the rows say so themselves; a response without words never
 *                matches; matched.ci95_cluster is beside the contract: like ci95_cluster
 *   rb1, rb2     RewardBench's sections, subsets and score beside them (interfaces.md 6); a section
 *                without rows is null, and so is the score
 *   ci95_cluster null where there is one unit only: nothing can be resampled
 * *out is a new reference.
 */
dial_status di_eval_result(const di_alloc *al, const di_dataset *d, const char *name,
                           const float *reward, const di_eval_options *opt, double seconds,
                           int64_t tokens, json_t **out, dial_error *err);

/*
 * The `compare` object: the model (reward) against model_b (reward_b) on the same rows, with the
 * same bootstrap weights. accuracy is model_b's; delta = accuracy(model) - accuracy(model_b), so a
 * positive delta and a `better` row speak for the model. Scored rows have no accuracy: JSON null.
 */
dial_status di_eval_compare(const di_alloc *al, const di_dataset *d, const float *reward,
                            const char *model_b, const float *reward_b, const di_eval_options *opt,
                            json_t **out, dial_error *err);

/* Mean credit (1, 1/k of a k-way tie, 0) and ties; pairs and mcq. For each save in training. */
dial_status di_eval_accuracy(const di_dataset *d, const float *reward, double *accuracy,
                             int64_t *ties, dial_error *err);

/* credit (d->n) of each row: 1 right, 1/k of a k-way tie at the top, 0 wrong; pairs and mcq. */
dial_status di_eval_credits(const di_dataset *d, const float *reward, double *credit,
                            dial_error *err);

/* loss (d->n): softplus(-margin) of each row of pairs, what selection reads (select.h). */
dial_status di_eval_losses(const di_dataset *d, const float *reward, double *loss, dial_error *err);

/* {"n_sets", "accuracy"}: plain mean over the results that have an accuracy; null if none has. */
json_t *di_eval_macro(const json_t *results);

#endif
