/* From run folders in memory to the parts of the report's document (report.h). */
#ifndef DI_REPORT_ANALYSE_H
#define DI_REPORT_ANALYSE_H

#include "report/collect.h"

/* What the parts share. Lists are new references until the document takes them. */
typedef struct di_report_work {
    const di_alloc *al;
    const dial_env *env;
    const di_report_options *opt;
    di_run *run;
    int64_t n_runs;
    json_t *notes; /* list that every part may append to */
    int failed;    /* memory ran out for something in the document */
} di_report_work;

/* Appends a note; out of memory is found when the document is put together. */
void di_note(di_report_work *w, const char *fmt, ...) DIAL_PRINTF(2, 3);

/* The run that r is compared with, and the oracle of r: same seed if there is one, else the first
 * of that role; NULL if none. */
const di_run *di_counterpart(const di_report_work *w, const di_run *r, const char *role);

dial_status di_models_json(di_report_work *w, json_t **out, dial_error *err); /* analyse.c */
dial_status di_sets_json(di_report_work *w, json_t **out, dial_error *err);   /* sets.c */
dial_status di_maps_json(di_report_work *w, json_t **out, dial_error *err);   /* maps.c */

/* {"step": [...], "value": [...]}: means over at most 160 bins of equal width in the index, steps
 * without a number left out; NULL: no memory. Empty lists if no step has a number. */
json_t *di_curve_json(const double *step, const double *value, int64_t n);

#endif
