/*
 * What one or more runs came to, for people: a page (.html), .md, .json, or a table for terminals.
 *
 * What to think in: `di_report_collect` reads the run folders and works out every number, once,
 * into one JSON document; `di_report_html`, `_markdown` and `_table` only arrange it. So all forms
 * show the same numbers. The document (`dial.report/1`, beside `out` and `runs` of interfaces 1.9):
 *
 *   title   str
 *   models  [{label, folder, method, role, seed, base, finished, steps, selected_step, selected_by,
 *             seconds, tokens, tokens_per_second, target_labels, rows, warnings, settings,
 *             curves {KEY: {step, value}}, held {step, loss, accuracy}}]
 *           role: "untrained" base, "baseline" src-pref, "oracle" oracle and oracle-target,
 * "adapted" sets    [{name, kind, n, baseline_longer, results, paired, gap_closure, seeds, along}]
 *           results [{model, selected_step, final} and fields of interfaces 1.6]; model: label
 *           paired  [{model, baseline, n, delta, ci95, se, clusters, better, worse, p_mcnemar,
 *                     balanced_delta}]; without per-row scores only delta, the rest null
 *           gap_closure [{model, oracle, gap, gap_se, usable, value, ci95}]
 *           seeds   [{method, n, mean, std}], methods with several seeds
 *           along   [{model, step, accuracy, lo, hi}], models with several evaluations
 *   maps    [{set, labelled, panels [{model|null, when (before, during, after), step, epoch|null,
 * n_source, n_target, mixing, silhouette_domain, silhouette_preference, centroid_accuracy, points
 *             {source_chosen, source_rejected, target_chosen, target_rejected: [x, y, ...]}}]}]
 *   notes   [str]: what could not be shown, and why
 */
#ifndef DI_REPORT_REPORT_H
#define DI_REPORT_REPORT_H

#include "base/json.h"
#include "base/log.h"

typedef struct di_report_options {
    const char *const
        *run; /* (n_runs): run folders; a folder that holds run folders stands for them */
    int64_t n_runs;
    const char *out;   /* .html, .md or .json; NULL: nothing is written */
    const char *title; /* NULL: a default */
    uint64_t seed;     /* of the bootstrap */
    int64_t draws;     /* 2000 */
    int64_t map_sets;  /* at most this many evaluation sets get maps; 3; 0: no maps */
    int64_t map_rows;  /* at most this many pairs of a domain in a map; 250 */
} di_report_options;

di_report_options di_report_options_default(void);

/*
 * Reads the runs and writes options->out. *result: {"schema":"dial.report/1","out":str|null,
 * "runs":int} and the document's other keys, so that a caller can print its table; without what
 * only figures need (curves, held, settings, points), which a .json file has.
 * ERR_USAGE: no run folder, unknown extension. ERR_INPUT: a file of a run that cannot be read.
 */
dial_status di_report_write(const di_alloc *al, const dial_env *env, const di_report_options *opt,
                            json_t **result, dial_error *err);

/* The document alone. env: progress ("report", panels done) and stop; may be NULL. */
dial_status di_report_collect(const di_alloc *al, const dial_env *env, const di_report_options *opt,
                              json_t **doc, dial_error *err);

/* The forms. Text of a document is escaped for where it goes; out is appended to. */
dial_status di_report_html(const json_t *doc, di_buf *out, dial_error *err);
dial_status di_report_markdown(const json_t *doc, di_buf *out, dial_error *err);
dial_status di_report_table(const json_t *doc, di_buf *out, dial_error *err);

/* The human reports of `dial doctor` and `dial select` (interfaces 1.8, 1.10). */
dial_status di_report_doctor_text(const json_t *document, di_buf *out, dial_error *err);
dial_status di_report_select_text(const json_t *document, di_buf *out, dial_error *err);

/* The human report of `dial eval`: an eval document (interfaces 1.6) as text for a terminal. */
dial_status di_report_eval_text(const json_t *eval_document, di_buf *out, dial_error *err);

#endif
