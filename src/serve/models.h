/*
 * The runs that are served. A loaded run (di_served) never changes: a reload loads a second one
 * beside it and then puts it in the first one's place. A request takes the run that it found when
 * it came, tokenises and scores with that one, and gives it back; the last one out lets the old run
 * be closed. So a request sees the old model or the new one, never a mixture.
 */
#ifndef DI_SERVE_MODELS_H
#define DI_SERVE_MODELS_H

#include "base/json.h"
#include "eval/texts.h"
#include "text/policy.h"

enum { DI_MAX_SERVED = 16 };

typedef struct di_served {
    /* filled by di_opener.open, immutable afterwards; borrowed from the handle */
    const di_tokenizer *tok;
    di_text_policy policy;
    di_decoder *decoder;
    di_embedder *embedder;
    const di_params *params; /* set on the decoder before each batch */
    int64_t width, vocab;
    double shift, scale; /* of the reward, used where `applied` or asked for */
    int applied;
    double mean, sd; /* reward on the run's source rows; sd 0: not known */
    const char *arch, *dtype, *device;
    char sha256[65];    /* of the adapter (of a model without one: of its path) */
    const json_t *text; /* `text` of dial.json; NULL: no run */
    int checked;        /* its self-test held */
    int64_t created;    /* seconds since 1970 */
    void *handle;
    /* of the registry */
    const char *name; /* as `model` in requests */
    const char *path; /* the run's folder, as it was given: a link may point elsewhere by now */
    int refs, retired;
    struct di_served *next;
} di_served;

/* How a run is opened: the folder that knows sessions lies to the right of this one. */
typedef struct di_opener {
    /* beside (may be NULL): a loaded run whose base model may be shared. */
    dial_status (*open)(void *ctx, const char *path, const di_served *beside, di_served *out,
                        dial_error *err);
    /* The run's self-test; called where no other run of the same base is computing. */
    dial_status (*check)(void *ctx, di_served *m, dial_error *err);
    void (*close)(void *ctx, di_served *m);
    void *ctx;
} di_opener;

typedef struct di_scheduler di_scheduler;
typedef struct di_models di_models;

/*
 * Opens n >= 1 runs. name: of the first (NULL: its folder's, as for all others). ERR_USAGE: two of
 * one name, too many; with `comparable` ERR_INPUT: a run without reward_stats.source.
 */
dial_status di_models_new(const di_alloc *al, const dial_env *env, const di_opener *opener,
                          const char *const *path, int64_t n, const char *name, int comparable,
                          di_models **out, dial_error *err);

/* Every reference must have been given back. */
void di_models_free(di_models *m);

int di_models_count(const di_models *m);

/* Place of the run of that name; NULL or an unknown one: 0, with strict -1 for the unknown. */
int di_models_find(const di_models *m, const char *name, int strict);
const char *di_models_name(const di_models *m, int i);
int64_t di_models_width(di_models *m, int i); /* C: elements of an embedding */

/* A reference to the run in place i, to be given back with put. Any thread. */
di_served *di_models_get(di_models *m, int i);
void di_models_put(di_models *m, di_served *served);

/*
 * Loads place i again and puts it in place once its self-test held on the scheduler's thread; on
 * failure the old one stays. One thread at a time, as are changed and collect.
 */
dial_status di_models_reload(di_models *m, int i, di_scheduler *s, dial_error *err);

/* 1 if the run's dial.json (or the link to its folder) is another one than at the last load. */
int di_models_changed(di_models *m, int i);

/* Closes what was replaced and is no longer in use. */
void di_models_collect(di_models *m);

#endif
