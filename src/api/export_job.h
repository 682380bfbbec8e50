/* What the files of `dial export` share: the run that is written, and how its parts are written. */
#ifndef DI_API_EXPORT_JOB_H
#define DI_API_EXPORT_JOB_H

#include "api/session.h"
#include "model/fold.h"

typedef struct di_export_job {
    const dial_export_options *opt;
    const di_alloc *al;
    dial_common_options common; /* all the shared flags, for sessions */
    di_session run;             /* what is exported; at rest but for the scores */
    di_dtype dtype;
    di_fold fold;
    float *head;  /* [C] score.weight: an adaptor folded in, an applied scale too */
    double scale; /* that went into the head: 1 unless applied */
    double shift; /* applied; 0: none */
    char *tmp;    /* where it is written, beside out */
    int32_t pad;  /* hf, st: the id for padding; -1: none */
    int pad_changed;
    int64_t window_ignored; /* gguf: tokens of a window that llama.cpp does not read; 0: none */
    json_t *selftest; /* of the run, with f32 scores under the folded head; NULL: it has none */
    json_t *files;    /* {"path","bytes"} */
} di_export_job;

/* ---- export_run.c: what an export carries of its run ---- */

/*
 * dial.json of an export in `to`: like the run's, with itself as base (hashes: of its files, taken
 * over, or NULL). json_decref it; NULL: no memory.
 */
json_t *di_export_run_json(const di_export_job *job, json_t *hashes, const char *tokenizer_sha);

/* Writes NAME in job->tmp / a JSON file there, and lists it. */
dial_status di_export_file(di_export_job *job, const char *name, const void *data, size_t n,
                           dial_error *err);
dial_status di_export_json(di_export_job *job, const char *name, const json_t *value,
                           dial_error *err);
/* Lists a file that is there. */
dial_status di_export_list(di_export_job *job, const char *name, dial_error *err);

/* README.md: the run's card with a section on this copy. library: "transformers", ... */
dial_status di_export_card(di_export_job *job, const char *library, dial_error *err);

/* ---- one file a format: all write into job->tmp ---- */

dial_status di_export_hf(di_export_job *job, dial_error *err); /* hf and st */
dial_status di_export_peft(di_export_job *job, dial_error *err);
dial_status di_export_gguf(di_export_job *job, dial_error *err);

/* Tokenizer files with a padding token; st: the post-processor adds BOS and EOS. sha [65]. */
dial_status di_export_tokenizer(di_export_job *job, char sha[65], dial_error *err);

/* ---- export_verify.c ---- */

typedef struct di_export_scores {
    const di_alloc *al;
    char **text;
    double *reward; /* [n] of the run */
    int64_t n;
} di_export_scores;

/* 64 texts and their rewards by the run, whose session is ready. */
dial_status di_export_scores_of(di_export_job *job, di_export_scores *s, dial_error *err);
void di_export_scores_deinit(di_export_scores *s);

/* job->selftest, by the same session. */
dial_status di_export_selftest(di_export_job *job, dial_error *err);

/* What job->tmp gives them. *ok, and the `verify` object of the document. */
dial_status di_export_compare(di_export_job *job, const di_export_scores *s, json_t **out, int *ok,
                              dial_error *err);

#endif
