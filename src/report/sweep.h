/*
 * What the runs of a sweep came to: from run folders into the store, from the store into one
 * document, from the document into tables and a page. All forms show the same numbers.
 *
 * What to think in: a group is a method at one point of the grid, trained with several seeds. Its
 * accuracy on a set is the mean over seeds and rows; intervals come from a bootstrap that resamples
 * texts (or prompts) and, outside of them, seeds (method.md 10.1). Groups are compared seed by seed
 * with the group of src-pref at the same point, and where there is an oracle the share of the gap
 * that a group closes is given (10.2).
 *
 * The plan (JSON), made by whoever ran the sweep:
 *   {"name", "setting", "family", "control", "target_set", "cluster": text|prompt|none, "vary": as in the experiment,
 *    "groups": [{"label", "entry", "method", "axes": {FLAG: value}}],
 *    "runs": [{"key", "dir", "group": int, "seed", "flags", "status": done|failed|open, "error",
 *              "verdict": of the doctor}]}
 * The document, dial.sweep/1 (interfaces.md 1.9), holds besides `out`, `runs` and `by`:
 *   sets    [{name, n, clusters, files (where the points of "vary" have their own),
 *             groups: [{label, method, axes, seeds, mean, sd, ci95, by_seed, against, delta,
 *             delta_ci95, delta_se, delta_by_seed, seeds_better, no_harm, worst,
 *             gap {oracle, size, se, usable, closed, closed_se, ci95}, regret {seeds, mean, by},
 *             verdicts: [{seed, verdict}]}]}]
 *   validators  {set, runs, spearman: {VALIDATOR: {rho, n, ci95}}}, null under 6 runs and where the
 *             files vary
 *   curves  [{axis, set, series: [{label, x, y, lo, hi, range, above, n}]}]
 */
#ifndef DI_REPORT_SWEEP_H
#define DI_REPORT_SWEEP_H

#include "report/store.h"

/*
 * Reads the run in `dir` and puts it into the store as done under `key`. Scores, evaluations along
 * the run and the validators of the chosen checkpoint are taken; ERR_INPUT: a file is unreadable.
 */
dial_status di_sweep_take(const di_alloc *al, di_store *store, const char *key, const char *dir,
                          const char *label, dial_error *err);

/* The run failed: error is one sentence. */
dial_status di_sweep_take_failed(di_store *store, const char *key, const char *dir,
                                 const char *label, const char *method, int64_t seed,
                                 const char *error, dial_error *err);

/* Do two groups, by their `axes`, agree on every axis that both have? */
int di_sweep_same_point(const json_t *a, const json_t *b);

/* plan and store -> document. draws of the bootstrap, drawn by seed. */
dial_status di_sweep_document(const di_alloc *al, const json_t *plan, di_store *store,
                              const char *out, int64_t draws, uint64_t seed, json_t **doc,
                              dial_error *err);

/* The curves of a document whose `sets` are there: what moves along an axis of the grid. */
json_t *di_sweep_curves(const json_t *plan, const json_t *sets);

/* The `validators` of a document from its `runs`, over those that read no target label. */
dial_status di_sweep_validators(const di_alloc *al, const json_t *plan, const json_t *runs,
                                json_t **out, dial_error *err);
/* As a table of strings, the head first (NULL: no memory), and what to know of it. */
json_t *di_sweep_validator_rows(const json_t *doc);
void di_sweep_validator_words(const json_t *doc, di_buf *out);

/*
 * The table of one set as strings, the head first: what the terminal, Markdown and the page show.
 * NULL: no memory.
 */
json_t *di_sweep_rows(const json_t *doc, const json_t *set);
/* One sentence: how many runs are done, failed or open. */
void di_sweep_status(const json_t *doc, di_buf *out);

/* The forms. */
dial_status di_sweep_text(const json_t *doc, di_buf *out, dial_error *err);
dial_status di_sweep_markdown(const json_t *doc, di_buf *out, dial_error *err);
dial_status di_sweep_csv(const json_t *doc, di_buf *out, dial_error *err);
/* docs: a list of documents; claims (may be NULL) as of report/claims.h. */
dial_status di_sweep_html(const json_t *docs, const json_t *claims, const char *title, di_buf *out,
                          dial_error *err);

/* Is the folder one that `dial sweep` has written? */
int di_is_sweep(const di_alloc *al, const char *folder);

/*
 * The report over n such folders: out .html, .md or .json (NULL: none is written). claims: a file
 * as of report/claims.h, or NULL. *result:
 * {"schema":"dial.report/1","out","runs":n,"claims":[...]}.
 */
dial_status di_sweep_report(const di_alloc *al, const char *const *folder, int64_t n,
                            const char *claims, const char *out, const char *title, json_t **result,
                            dial_error *err);

#endif
