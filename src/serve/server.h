/*
 * The server: models, scheduler, metrics and HTTP together, from start to an orderly end.
 *
 *   socket --http.c--> body --routes.c--> dialect --call.c--> ids --scheduler.c--> rewards -->
 * socket
 *
 * Threads: the caller's waits for signals, reloads and closes what is too slow; a few of
 * libmicrohttpd's read, parse, tokenise and write; one computes. A request is handed from an HTTP
 * thread to the scheduler and back, never shared. With --monitor one more writes what was scored to
 * the store, and one compares it with the training domains.
 */
#ifndef DI_SERVE_SERVER_H
#define DI_SERVE_SERVER_H

#include <stdatomic.h>

#include "serve/monitor.h"
#include "serve/routes.h"

typedef struct di_server_options {
    di_serve_settings settings;
    const char *const *run; /* [n_runs] */
    int64_t n_runs;
    const char *name; /* of the first run; NULL: its folder's */
    const char *host;
    int port;          /* 0: any that is free */
    const char *token; /* NULL: none is asked for */
    const char *cors_origin;
    int64_t max_body, max_connections, queue;
    double max_wait, timeout, grace;          /* seconds */
    double header_time, body_time, idle_time; /* seconds that a client may take */
    const char *access_log;                   /* NULL: none */
    int log_text;
    di_monitor_options monitor;
    const volatile int *reload; /* its value changes: load all runs again; NULL: never */
    /* The server answers; url is "http://127.0.0.1:8011". */
    void (*ready)(void *ctx, const char *url, int port, di_served *first);
    void *ctx;
} di_server_options;

typedef struct di_http di_http;
typedef struct di_access_log di_access_log;

struct di_server {
    const di_alloc *al;
    const dial_env *env;
    di_server_options opt;
    di_models *models; /* set before `ready` */
    di_scheduler *scheduler;
    di_metrics *metrics;
    di_monitor *monitor; /* NULL: none */
    di_access_log *log;
    di_http *http;
    atomic_int ready, draining;
    double started; /* seconds since 1970 */
};

/*
 * Opens the runs and serves until *env->stop is set. ERR_USAGE: an address that cannot be bound;
 * or what opening a run gives. The environment's log is called from the caller's thread alone.
 */
dial_status di_serve(const di_server_options *opt, const di_opener *opener, const dial_env *env,
                     dial_error *err);

#endif
