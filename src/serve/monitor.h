/*
 * The shift monitor of a server (`serve --monitor N`): every text that is scored goes to the store
 * of live traffic (recorder.h, traffic.h) and into the window of its run; a thread of low
 * priority compares full windows with the run's training domains (shift.h) and says so in
 * /metrics, /ready and the log.
 *
 *   answer --di_monitor_offer--> window of the run --this thread--> look, alarm
 *                            \-> recorder ------> SQLite
 *
 * Nobody who answers a request waits for either: an offer copies rows under a lock that is held for
 * copies alone. After a look the thread rests four times as long as it computed, so that it has at
 * most a fifth of a core, whatever the traffic; a window then holds the latest rows.
 *
 * A window takes 256 texts (N, if that is less), each once and of a prompt one (window.h).
 * Windows belong to a checkpoint: a reload begins anew, with the reference of the new one.
 */
#ifndef DI_SERVE_MONITOR_H
#define DI_SERVE_MONITOR_H

#include "serve/call.h"
#include "serve/window.h"

typedef struct di_monitor di_monitor;

typedef struct di_monitor_options {
    int64_t keep;      /* N; 0: no monitor */
    int texts;         /* the store keeps texts */
    const char *store; /* file; borrowed */
    int first_only;    /* an ensemble: one model, watched where the first run sees it */
} di_monitor_options;

/* models and metrics must outlive it. ERR_USAGE: a build without SQLite. */
dial_status di_monitor_new(const di_alloc *al, const di_monitor_options *opt, di_models *models,
                           di_metrics *metrics, di_monitor **out, dial_error *err);

/* Ends a look in hand and writes what waits. Nobody offers any more. m may be NULL, as below. */
void di_monitor_free(di_monitor *m);

/* The texts of a call whose results are there. Any thread. */
void di_monitor_offer(di_monitor *m, const di_call *c);

/* Logs what happened since the last call; the caller's thread. */
void di_monitor_tell(di_monitor *m, const dial_env *env);

/* The gauges of interfaces.md 5, labelled by model where several are served. */
void di_monitor_write(di_monitor *m, di_buf *out);

/* `shift` of /ready; NULL: no memory. */
json_t *di_monitor_details(di_monitor *m);

#endif
