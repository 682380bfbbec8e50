/*
 * What several experiments together claim, each with its interval and whether it holds.
 *
 * claims.json: {"schema": "dial.claims/1", "recipe": LABEL, "paper": LABEL, "least_gap": 0.05,
 *   "settings_above_zero": 4, "closure": 0.5, "times_paper": 2, "control": -0.005, "regret": 0.01,
 *   "harm": 0.01, "harmed_share": 0.05}
 * recipe and paper name groups of the experiments; a number that is left out leaves out its claim.
 *
 * A setting is one experiment on its target set. Settings of one `family` are dependent: they are
 * averaged first, with the mean of their standard errors (as if wholly dependent), and count as
 * one. Means over settings have normal intervals.
 */
#ifndef DI_REPORT_CLAIMS_H
#define DI_REPORT_CLAIMS_H

#include "base/json.h"

/*
 * docs: list of dial.sweep/1 documents. *out: {"schema":"dial.claims/1","claims":[{"claim": str,
 * "value": num|null, "ci95": [num, num]|null, "needed": num, "n": int, "holds": bool|null,
 * "detail": [str]}]}; holds is null where nothing could be measured. ERR_USAGE: a key is missing.
 */
dial_status di_claims(const json_t *claims, const json_t *docs, json_t **out, dial_error *err);

/* One line a claim: "holds", "falls short" or "not measured", the number, its interval, what is
 * needed; the details below it. */
dial_status di_claims_text(const json_t *result, di_buf *out, dial_error *err);

#endif
