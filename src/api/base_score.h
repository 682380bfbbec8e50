/*
 * Scores by the language model's own likelihoods, without a reward head (method.md 4.1, `base` (a)
 * and (b)): what a reward model has to beat.
 *
 *   logp   mean over the response's tokens of log p(token | all before it); those tokens are the
 *          ones that src-sft learns to predict, an appended EOS included
 *   ab     a question that shows two responses as A and B; with s_ij = log p("A") - log p("B") =
 *          logit("A") - logit("B") where response i is A and j is B, both orders make
 *          m_ij = (s_ij - s_ji)/2, in which a preference for a letter cancels. The score of
 * response i is (1/k) sum_j m_ij over the row's k: differences of scores fit all m_ij best (least
 *          squares), and the margin of a pair is m_12
 */
#ifndef DI_API_BASE_SCORE_H
#define DI_API_BASE_SCORE_H

#include "api/session.h"

typedef enum di_base_score { DI_SCORE_HEAD, DI_SCORE_LOGP, DI_SCORE_AB } di_base_score;

di_base_score di_base_score_of(const char *name); /* of a valid --base-score */

/* Between di_session_open and di_session_ready: what that score needs of the model. */
void di_base_score_prepare(di_session *s, di_base_score by);

/*
 * A score under `ab` belongs to a response in its row: each row gets texts of its own. d->n_seq
 * changes, so call it before scores are allocated.
 */
dial_status di_base_score_own_texts(di_dataset *d, dial_error *err);

/* score [d->n_seq] by `logp`. ERR_INPUT: a response without a token. */
dial_status di_score_logp(di_session *s, const di_dataset *d, const char *what, float *score,
                          double *seconds, int64_t *tokens, dial_error *err);

/*
 * score [d->n_seq] by `ab` of a dataset with texts of its own. The rows' strings are read again
 * from file, which must not have changed, with the options that d was loaded with. ERR_USAGE: rows
 * of one text; ERR_INPUT: a tokenizer that writes A and B in the same tokens or in several.
 */
dial_status di_score_ab(di_session *s, const di_dataset *d, const di_rows_options *rows,
                        const char *file, const char *what, float *score, double *seconds,
                        int64_t *tokens, dial_error *err);

#endif
