/*
 * Pairs of one data file under an open model: what `dial select` and `dial doctor` look at. Labels
 * of a target file are dropped while it is read.
 */
#ifndef DI_API_EVIDENCE_H
#define DI_API_EVIDENCE_H

#include "api/session.h"
#include "eval/validators.h"

typedef struct di_evidence {
    const di_alloc *al;
    di_dataset *d;
    int64_t n;       /* pairs */
    int32_t *text;   /* (2n) indices into d->seq: the two texts of a pair in turn */
    int32_t *row;    /* (n) example of a pair; of its first text where texts were drawn in twos */
    uint64_t *group; /* (n) prompt */
    double *log_length; /* (n) ln(words of the first / words of the second), at least 1 word each */
    char *matched;      /* (n) the row says so, else |log_length| < 0.3 (interfaces.md 1.6) */
    int64_t n_matched;
    int picked;       /* a row was chosen by disagreement: no random sample */
    int several;      /* a row of more than two texts: its pairs are drawn, and none is the row */
    int single_texts; /* rows of one text, drawn in twos by the seed: a pair means nothing */
} di_evidence;

/*
 * Up to max_rows rows of `path`, drawn by the seed. drop_labels: a target. ERR_INPUT: no row with a
 * pair of texts, or (labelled) rows that are no pairs. Free with di_evidence_deinit.
 */
dial_status di_evidence_load(di_session *s, const dial_common_options *common, const char *path,
                             int drop_labels, int64_t max_rows, uint64_t seed, di_evidence *out,
                             dial_error *err);
void di_evidence_deinit(di_evidence *x);
/* What di_evidence_embed opened for the session: before the session is closed. */
void di_evidence_close_store(di_session *s);

/*
 * e (n_views, 2n, C) under the session's model as it is; view NULL: (2n, C) of its own view. What
 * nothing of the session's adapter changes is looked up in its trunk_cache, and kept there.
 */
dial_status di_evidence_embed(di_session *s, const di_evidence *x, const di_view *view, int n_views,
                              const char *what, float *e, dial_error *err);

/* LABELLED of interfaces.md 1.8 for margins of labelled pairs, judged with n_models others. */
json_t *di_labelled_json(const double *margin, int64_t n, int64_t n_models, double min_accuracy,
                         int random_sample);

#endif
