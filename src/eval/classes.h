/*
 * Rows whose label is a class 0 .. J-1, judged by a head of J rows (`train --objective ce`): the
 * one kind of result that is made of logits instead of rewards.
 */
#ifndef DI_EVAL_CLASSES_H
#define DI_EVAL_CLASSES_H

#include "base/json.h"
#include "data/dataset.h"

/* logit [n, J] = E W^T of embeddings e [n, C] and a head w [J, C], by the sum of model/head.h. */
void di_class_logits(const float *w, int64_t classes, const float *e, int64_t n, int64_t width,
                     float *logit);

/* The class of the largest logit, the first of equals. */
int64_t di_class_of(const float *logit, int64_t classes);

/* ERR_INPUT naming the row: one without a score, or whose score is none of 0 .. J-1. */
dial_status di_class_check(const di_dataset *d, int64_t classes, dial_error *err);

/*
 * One element of `results` of `dial eval`, kind "classes"; logit [d->n_seq, J]; seconds, tokens as
 * in di_eval_result. F1 of a class is 2 tp/(2 tp + fp + fn); macro_f1 is the mean over the classes
 * that are a label or an answer of some row (scikit-learn's f1_score, average "macro"). majority:
 * share of the most frequent label, which a blind answer reaches. loss: mean cross-entropy. *out is
 * a new reference. ERR_INPUT as di_class_check; ERR_NUMERIC: a logit that is not finite.
 */
dial_status di_eval_classes(const di_alloc *al, const di_dataset *d, const char *name,
                            const float *logit, int64_t classes, double seconds, int64_t tokens,
                            json_t **out, dial_error *err);

#endif
