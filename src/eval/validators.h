/*
 * What one checkpoint looks like without target labels: all validators of method.md 9 from stored
 * embeddings. Selection (select.h) ranks these; `dial doctor` explains them.
 */
#ifndef DI_EVAL_VALIDATORS_H
#define DI_EVAL_VALIDATORS_H

#include "base/json.h"
#include "eval/domain.h"
#include "tensor/ops.h"

/* Pairs of one domain under one model. */
typedef struct di_pair_rows {
    const float *e; /* (2n, C): the two texts of a pair in turn; source: chosen first */
    int64_t n;
    const uint64_t *group; /* (n) prompt of each pair, kept in one fold; NULL: none */
} di_pair_rows;

typedef struct di_validator_input {
    int64_t c;
    const float *head;   /* (C) */
    di_pair_rows source; /* labelled */
    int64_t n_held;      /* its first rows were held out of training; 0: leave-one-out losses */
    di_pair_rows target; /* n 0: source numbers alone */
    int single_texts;    /* target pairs are single texts drawn in twos: domain numbers on e */
    int w1_inits;        /* fresh critics a fold */
    int64_t w1_steps;
    int w1_null; /* subtract the distance between halves of the source */
    uint64_t seed;
} di_validator_input;

/* NAN: not defined, or not asked for. */
typedef struct di_validators {
    double source_loss, source_accuracy; /* held out, or leave-one-out */
    int leave_one_out;
    double iwv, iwv_ess, dev; /* iwv and dev: NAN where ess is under max(30, n/20) */
    double a_distance, a_lo, a_hi;
    double w1;             /* fresh critics on symmetric differences, source rows of norm 1 */
    double effective_rank; /* RankMe of the target (of the source where there is none) */
    double snd;
    double seed_agreement; /* of heads refitted on halves of the source, on target pairs */
    double margin_ratio;   /* median |m_T| / median |m_S| */
    double reward_drift;   /* |mean_T r - mean_S r| / pooled sd */
    double confidence;     /* mean entropy of sigma(m_T/tau), nats; tau fitted on held-out m_S.
                              Rewards over-confidence, so it chooses nothing; NAN: none held out */
} di_validators;

/*
 * loss (n_held, or source.n under leave-one-out): Bradley-Terry loss of each row. At least 1 source
 * pair. Domain numbers need 10 pairs of each side, else they are NAN. ERR_NUMERIC, ERR_NOMEM.
 */
dial_status di_validate(di_device *dev, const di_validator_input *in, double *loss,
                        di_validators *out, dial_error *err);

/* The object `validators` of interfaces.md 1.10 (without `labelled`), and back. */
json_t *di_validators_to_json(const di_validators *v);
di_validators di_validators_from_json(const json_t *v);

/* Margins w.(e1 - e2) of n pairs; rewards of 2n rows. */
void di_margins(const float *head, const float *e, int64_t n, int64_t c, double *m);

/* |mean_T r - mean_S r| / pooled standard deviation of r = w.e; NAN where that is 0. */
double di_reward_drift(const float *head, const di_two_sets *x);

/* Middle value of n >= 1, which it reorders; the mean of the middle two where they are even. */
double di_middle(double *v, int64_t n);

#endif
