/* Rows of a target file to be labelled, written out (method.md 9.2): `data pick`, `doctor
 * --suggest`. */
#ifndef DI_API_PICKED_H
#define DI_API_PICKED_H

#include "api/evidence.h"
#include "eval/pick.h"

/* Names of the pairs of some evidence. */
void di_picked_names(const di_evidence *x, di_pick_pair *out);

/*
 * Writes rows row[0..n) (their places in the file, `di_row.index`) of `file` to `out` as candidates
 * without a label, in this order; by: "disagreement" or "random", kept as "pick". The texts stand
 * in an order that the file's labels have no part in.
 */
dial_status di_picked_write(const di_alloc *al, const dial_common_options *common, const char *file,
                            const int64_t *row, int64_t n, const char *by, const char *out,
                            dial_error *err);

#endif
