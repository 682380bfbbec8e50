/*
 * One thread owns the models and computes. Requests of any size wait in one queue; each batch takes
 * texts from many of them, up to a budget of tokens:
 *
 *   - the request at the head chooses the model, all requests of that model contribute;
 *   - first every one of them gets an equal share of the budget, then the rest is filled up in
 *     order; whoever contributed and has texts left goes to the tail. A request of a thousand texts
 *     so delays a single text by one batch, not by all of its own.
 *
 * What a text is batched with changes no bit of its embedding (model/decoder.h), so none of this
 * can be seen in an answer. Texts whose first ids agree share the computation of their common
 * prefix (eval/texts.h).
 */
#ifndef DI_SERVE_SCHEDULER_H
#define DI_SERVE_SCHEDULER_H

#include "serve/metrics.h"
#include "serve/models.h"

/* Texts of one request for one run. */
typedef struct di_work {
    di_served *model;
    int64_t n;
    const di_seq_view *text; /* [n] */
    float *reward;           /* [n] out: w . e, as it is */
    float *e;                /* [n, C] out; NULL: not wanted */
    int64_t next;            /* texts handed out; 0 at the start */
} di_work;

/*
 * A request, in the caller's memory until `done` is called, once, from the scheduler's thread.
 * Then st is DIAL_OK and all outputs are there, or it says why not: ERR_NUMERIC (bad: the text in
 * its work), INTERRUPTED (the time was up, or the server ended), or another failure.
 */
typedef struct di_job {
    di_work work[DI_MAX_SERVED];
    int n_work;
    void (*done)(struct di_job *job);
    void *ctx;
    double deadline; /* di_now(); 0: none */
    /* out */
    dial_status st;
    dial_error err;
    int64_t bad;
    double waited; /* seconds until its first text was computed */
    /* the scheduler's */
    int at;          /* work that is being handed out */
    int64_t left;    /* texts without a result */
    int contributed; /* to the batch that is being built */
    double queued;
    struct di_job *next;
} di_job;

typedef struct di_scheduler_options {
    int64_t batch_tokens; /* as the embedders of the models were planned */
    int64_t queue;        /* texts that may wait */
    double max_wait;      /* seconds that a text waits for company */
} di_scheduler_options;

dial_status di_scheduler_new(const di_alloc *al, const di_scheduler_options *opt,
                             di_metrics *metrics, di_scheduler **out, dial_error *err);

/* Ends waiting jobs (INTERRUPTED), then the thread. */
void di_scheduler_free(di_scheduler *s);

/*
 * 1: the job is in the queue (or, without texts, done already). 0: the queue is full or the
 * scheduler is ending; nothing was taken. A job of more texts than the queue holds waits alone.
 */
int di_scheduler_submit(di_scheduler *s, di_job *job);

/* Calls fn on the scheduler's thread, between two batches, and returns when it has. */
void di_scheduler_run(di_scheduler *s, void (*fn)(void *ctx), void *ctx);

/* Ends all waiting jobs as if their time were up. */
void di_scheduler_cancel(di_scheduler *s);

/* Texts that wait or are computed, and the limit. */
int64_t di_scheduler_waiting(di_scheduler *s);
int64_t di_scheduler_limit(const di_scheduler *s);

#endif
