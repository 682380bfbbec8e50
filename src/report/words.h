/*
 * Sentences of the report. Each depends on the numbers: what the interval allows to say is said,
 * nothing more. All return a new list of plain strings (not escaped); NULL: no memory.
 */
#ifndef DI_REPORT_WORDS_H
#define DI_REPORT_WORDS_H

#include "base/json.h"

json_t *di_words_summary(const json_t *doc);                /* the outcome, set by set */
json_t *di_words_set(const json_t *doc, const json_t *set); /* how to read one set's numbers */
json_t *di_words_distance(const json_t *doc);               /* what the critic's curve shows */
json_t *di_words_map(const json_t *map);                    /* before against after */
const char *di_words_method(const json_t *model);           /* how a model came to be, one clause */
const char *di_words_warning(const char *code); /* what a warning code means; NULL: unknown */

/* First and last value of a curve as means of its first and last tenth; 0: no such curve. */
int di_curve_ends(const json_t *model, const char *key, double *first, double *last);

#endif
