/*
 * What the server counts, and how Prometheus reads it (text format 0.0.4). All functions may be
 * called from any thread.
 */
#ifndef DI_SERVE_METRICS_H
#define DI_SERVE_METRICS_H

#include "base/buf.h"

/* clang-format off */
#define DI_COUNTER_MAP(X)                                                            \
    X(TEXTS,     "dial_texts_total",     "texts scored or embedded")                 \
    X(TOKENS,    "dial_tokens_total",    "their tokens, each text counted alone")    \
    X(TRUNCATED, "dial_truncated_total", "texts cut to the length limit")            \
    X(NONFINITE, "dial_nonfinite_total", "texts without a finite reward")            \
    X(RELOADS,   "dial_reloads_total",   "runs loaded again and put in place")       \
    X(RELOADS_FAILED, "dial_reloads_failed_total", "runs that could not be loaded again") \
    X(MONITOR_ROWS,    "dial_monitor_rows_total",    "texts in the store of live traffic, written and synced") \
    X(MONITOR_DROPPED, "dial_monitor_dropped_total", "texts that came too fast for it")  \
    X(MONITOR_FAILED,  "dial_monitor_failed_total",  "texts that it did not take")       \
    X(SHIFT_LOOKS,     "dial_shift_looks_total",     "comparisons of traffic and training") \
    X(SHIFT_ALARMS,    "dial_shift_alarms_total",    "alarms that these began")

/* name, metric, help, bounds of the buckets */
#define DI_HIST_MAP(X)                                                               \
    X(QUEUE_SECONDS,     "dial_queue_seconds",     "time from arrival to the first batch",   seconds) \
    X(INFERENCE_SECONDS, "dial_inference_seconds", "time of a forward pass",                 seconds) \
    X(BATCH_TEXTS,       "dial_batch_texts",       "texts of a batch",                       sizes)   \
    X(BATCH_TOKENS,      "dial_batch_tokens",      "tokens of a batch",                      sizes)   \
    X(REWARD,            "dial_reward",            "rewards given",                          rewards)
/* clang-format on */

typedef enum di_counter {
#define X(name, metric, help) DI_COUNT_##name,
    DI_COUNTER_MAP(X)
#undef X
        DI_N_COUNTERS
} di_counter;

typedef enum di_histogram {
#define X(name, metric, help, bounds) DI_HIST_##name,
    DI_HIST_MAP(X)
#undef X
        DI_N_HISTOGRAMS
} di_histogram;

typedef struct di_metrics di_metrics;

/* endpoint[n_endpoints]: labels of requests, borrowed; the last one takes unknown paths. */
dial_status di_metrics_new(const di_alloc *al, const char *const *endpoint, int n_endpoints,
                           di_metrics **out, dial_error *err);
void di_metrics_free(di_metrics *m);

void di_metrics_count(di_metrics *m, di_counter c, int64_t n);
int64_t di_metrics_value(di_metrics *m, di_counter c);
void di_metrics_observe(di_metrics *m, di_histogram h, double x);

/* A request that was answered: its HTTP status, and the time from its headers to its last byte. */
void di_metrics_request(di_metrics *m, int endpoint, int status, double seconds);
int64_t di_metrics_requests(di_metrics *m);

/* A request turned away; reason is a string constant. */
void di_metrics_reject(di_metrics *m, const char *reason);

/* Everything as Prometheus text, appended. */
void di_metrics_write(di_metrics *m, di_buf *out);

/* One gauge line with its HELP and TYPE (help NULL: a further line of the gauge before); labels:
 * "{a=\"b\"}" or "". */
void di_metrics_gauge(di_buf *out, const char *name, const char *help, const char *labels,
                      double x);

#endif
