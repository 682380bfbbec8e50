/* Run folders in memory: what the report reads of metrics.jsonl, dial.json, scores/ and maps/. */
#ifndef DI_REPORT_COLLECT_H
#define DI_REPORT_COLLECT_H

#include "report/report.h"

/* Keys of `step` events that become curves. */
#define DI_CURVES(X) X(loss_source) X(accuracy) X(w1) X(gp) X(critic_loss) X(loss_align)

enum {
#define X(key) DI_CURVE_##key,
    DI_CURVES(X)
#undef X
        DI_N_CURVES
};

extern const char *const di_curve_name[DI_N_CURVES];

/* One line of scores/NAME.jsonl. text, prompt: hashes of its two texts and of what they answer, 0
 * where absent. */
typedef struct di_score_row {
    int64_t i;
    double chosen, rejected;
    uint64_t text[2], prompt;
} di_score_row;

typedef struct di_scores {
    di_score_row *row;
    int64_t n, cap;
} di_scores;

typedef struct di_run {
    const di_alloc *al;
    char *path;
    char label[96]; /* unique among the runs: method, seed if several, folder if need be */
    char method[40];
    const char *role;              /* see report.h */
    int64_t seed;                  /* -1: not known */
    json_t *dial;                  /* dial.json, or NULL: the run is not finished */
    json_t *start, *end;           /* events, or NULL */
    json_t *evals, *saves, *warns; /* lists of events */
    json_t *final;              /* {NAME: result}: of the end event, else the last of each name */
    double *curve[DI_N_CURVES]; /* (n_steps), NAN where a step has no such number */
    double *step;
    int64_t n_steps, cap;
    double seconds, tokens;
} di_run;

/* ERR_USAGE: no metrics.jsonl there. Free with di_run_close. */
dial_status di_run_open(const di_alloc *al, const char *path, di_run *out, dial_error *err);
void di_run_close(di_run *r);

/* scores/NAME.jsonl; n is 0 where there is none. Free s->row with di_free. */
dial_status di_run_scores(const di_run *r, const char *name, di_scores *s, dial_error *err);

/* Files of maps/, in order of their steps; free with di_free_names. n is 0 where there are none. */
dial_status di_run_maps(const di_run *r, char ***file, size_t *n, dial_error *err);

/* Value at a.b.c, or NULL. Missing keys are no error: runs are read as far as they go. */
json_t *di_at(const json_t *v, const char *path);
double di_num(const json_t *v, const char *path);          /* NAN where it is no number */
const char *di_text_at(const json_t *v, const char *path); /* NULL where it is no string */

#endif
