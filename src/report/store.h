/*
 * The store of a sweep: one SQLite file with a row a run, a row a run and evaluation set, and the
 * right and wrong of every example, so that tables over hundreds of runs need not read their
 * folders again. It is an index: all of it can be made anew from the run folders, and is, where the
 * file is missing or damaged.
 *
 *     runs     run (its key), dir, label, method, seed, status, error, seconds, facts (JSON)
 *     results  run, name, kind, n, accuracy, result (JSON), credit (a byte a row: 0, 1, 2 halves)
 *     sets     name, rows and the hashes of their two texts and prompts, once for all runs that
 *              were evaluated on the same rows under that name
 *
 * One process writes; every call is a transaction of its own, so a kill loses at most the last run,
 * which is then taken in again. Beside it only serve/traffic.c knows SQLite.
 */
#ifndef DI_REPORT_STORE_H
#define DI_REPORT_STORE_H

#include "base/json.h"
#include "base/log.h"

typedef struct di_store di_store;

/*
 * Opens or makes the file. A file that is no sound store is set aside as PATH.damaged, with a
 * warning, and a new one begun. ERR_IO: it cannot be made; ERR_USAGE: this build has no SQLite.
 */
dial_status di_store_open(const di_alloc *al, const dial_env *env, const char *path, di_store **out,
                          dial_error *err);
void di_store_close(di_store *s);

typedef struct di_store_run {
    const char *run, *dir, *label, *method;
    int64_t seed;
    const char *status, *error; /* "done", "failed"; error NULL: none */
    double seconds;
    const json_t *facts; /* what di_sweep_facts found; NULL: none */
} di_store_run;

/* One evaluation of a run. credit and text may be NULL (no pairs). */
typedef struct di_store_result {
    const char *name, *kind;
    int64_t n;
    double accuracy;       /* NAN: none */
    const json_t *result;  /* as in interfaces 1.6 */
    const uint8_t *credit; /* (n) */
    const uint64_t *text;  /* (n, 3): the two texts of a row and its prompt */
} di_store_result;

/* The run and its results, replacing what was known of it, in one transaction. */
dial_status di_store_put(di_store *s, const di_store_run *run, const di_store_result *result, int n,
                         dial_error *err);

/* *facts: of a run that is done ({} if none were put in), or NULL where the store has no such run
 * as done. */
dial_status di_store_done(di_store *s, const char *run, json_t **facts, dial_error *err);

/* Names of all sets, each once, in the order in which they came in: a list of strings. */
dial_status di_store_sets(di_store *s, json_t **names, dial_error *err);

/*
 * Credits of a run on a set: *credit (*n), di_free it; NULL and 0 where there are none. *result
 * (may be NULL): the evaluation's document, or NULL.
 */
dial_status di_store_credit(di_store *s, const char *run, const char *name, uint8_t **credit,
                            int64_t *n, json_t **result, dial_error *err);

/* Hashes (n, 3) of the rows that the run was evaluated on as set `name`; di_free *text. */
dial_status di_store_texts(di_store *s, const char *run, const char *name, uint64_t **text,
                           int64_t *n, dial_error *err);

#endif
