/*
 * Cross-prompt negatives (method.md 8.6; RRM, arXiv 2409.13156): a response to its own prompt beats
 * a response taken from another prompt, and two foreign responses tie. Supervision in the target
 * that needs no label; it teaches relevance, not quality.
 */
#ifndef DI_DATA_CROSSING_H
#define DI_DATA_CROSSING_H

#include "base/buf.h"
#include "data/rows.h"

typedef struct di_crossing_options {
    di_rows_options rows; /* drop_labels set */
    double length;        /* a foreign response has as many words, up to this share */
    int keep_refusals;    /* 1: refusals, which fit any prompt, may be taken and beaten too */
    uint64_t seed;
} di_crossing_options;

/*
 * Appends pair rows as JSON Lines to out: for each row of the file that finds partners, the own
 * response against a foreign one, then two foreign ones (which tie) if two are found. tie (bytes,
 * one a row written): 1 for a tie. Rows whose prompt is that of every row find none.
 */
dial_status di_crossing_rows(const di_alloc *al, const char *path, const di_crossing_options *opt,
                             di_buf *out, di_buf *tie, dial_error *err);

/* Does a response begin as refusals do? */
int di_is_refusal(const char *response, size_t n);

#endif
