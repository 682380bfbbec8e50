#include "serve/metrics.h"

#include <pthread.h>
#include <string.h>

#include "base/error.h"

enum { MAX_BUCKETS = 20, MAX_CODES = 24, MAX_REASONS = 16 };

/* Upper bounds, ended by 0 (of rewards: by the count). */
static const double seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                 0.5,   1,      2.5,   5,    10,    25,   60};
static const double sizes[] = {1,   2,   4,    8,    16,   32,   64,    128,
                               256, 512, 1024, 2048, 4096, 8192, 16384, 65536};
static const double rewards[] = {-10, -8, -6, -4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 6, 8, 10};

typedef struct histogram {
    int64_t bucket[MAX_BUCKETS], count; /* not cumulative; above the last bound: count alone */
    double sum;
} histogram;

typedef struct endpoint {
    histogram seconds;
    int status[MAX_CODES];
    int64_t requests[MAX_CODES];
    int n;
} endpoint;

struct di_metrics {
    const di_alloc *al;
    pthread_mutex_t lock;
    int64_t count[DI_N_COUNTERS];
    histogram hist[DI_N_HISTOGRAMS];
    const char *const *name;
    endpoint *endpoint;
    int n_endpoints;
    struct {
        const char *reason;
        int64_t n;
    } rejected[MAX_REASONS];
    int n_rejected;
};

static const struct {
    const char *metric, *help;
    const double *bound;
    int n;
} hist_row[] = {
#define X(name, metric, help, bounds) {metric, help, bounds, (int)(sizeof bounds / sizeof *bounds)},
    DI_HIST_MAP(X)
#undef X
};
enum { N_SECONDS = sizeof seconds / sizeof *seconds };

dial_status di_metrics_new(const di_alloc *al, const char *const *name, int n_endpoints,
                           di_metrics **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_metrics *m = di_zalloc(al, sizeof *m);

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the metrics");
    m->al = al;
    pthread_mutex_init(&m->lock, NULL);
    m->name = name;
    m->n_endpoints = n_endpoints;
    m->endpoint = di_new_array(al, (size_t)n_endpoints, sizeof *m->endpoint);
    if (m->endpoint == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the metrics");
    *out = m;
    m = NULL;
done:
    di_metrics_free(m);
    return st;
}

void di_metrics_free(di_metrics *m)
{
    if (m == NULL) return;
    pthread_mutex_destroy(&m->lock);
    di_free(m->al, m->endpoint);
    di_free(m->al, m);
}

void di_metrics_count(di_metrics *m, di_counter c, int64_t n)
{
    pthread_mutex_lock(&m->lock);
    m->count[c] += n;
    pthread_mutex_unlock(&m->lock);
}

int64_t di_metrics_value(di_metrics *m, di_counter c)
{
    int64_t n;

    pthread_mutex_lock(&m->lock);
    n = m->count[c];
    pthread_mutex_unlock(&m->lock);
    return n;
}

static void observe(histogram *h, const double *bound, int n, double x)
{
    int i = 0;

    while (i < n && x > bound[i]) i++;
    if (i < n) h->bucket[i]++;
    h->count++;
    h->sum += x;
}

void di_metrics_observe(di_metrics *m, di_histogram h, double x)
{
    pthread_mutex_lock(&m->lock);
    observe(&m->hist[h], hist_row[h].bound, hist_row[h].n, x);
    pthread_mutex_unlock(&m->lock);
}

void di_metrics_request(di_metrics *m, int which, int status, double x)
{
    endpoint *e = &m->endpoint[which];
    int i = 0;

    pthread_mutex_lock(&m->lock);
    while (i < e->n && e->status[i] != status) i++;
    if (i == e->n && e->n < MAX_CODES) e->status[e->n++] = status;
    if (i < e->n) e->requests[i]++;
    observe(&e->seconds, seconds, N_SECONDS, x);
    pthread_mutex_unlock(&m->lock);
}

int64_t di_metrics_requests(di_metrics *m)
{
    int64_t n = 0;

    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < m->n_endpoints; i++) n += m->endpoint[i].seconds.count;
    pthread_mutex_unlock(&m->lock);
    return n;
}

void di_metrics_reject(di_metrics *m, const char *reason)
{
    int i = 0;

    pthread_mutex_lock(&m->lock);
    while (i < m->n_rejected && strcmp(m->rejected[i].reason, reason) != 0) i++;
    if (i == m->n_rejected && i < MAX_REASONS) m->rejected[m->n_rejected++].reason = reason;
    if (i < m->n_rejected) m->rejected[i].n++;
    pthread_mutex_unlock(&m->lock);
}

static void head(di_buf *out, const char *name, const char *type, const char *help)
{
    di_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* labels: `endpoint="/classify"` or "" */
static void put_histogram(di_buf *out, const char *name, const char *labels, const histogram *h,
                          const double *bound, int n)
{
    const char *comma = labels[0] != '\0' ? "," : "", *open = labels[0] != '\0' ? "{" : "",
               *close = labels[0] != '\0' ? "}" : "";
    int64_t sum = 0;

    for (int i = 0; i < n; i++) {
        sum += h->bucket[i];
        di_buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %lld\n", name, labels, comma, bound[i],
                      (long long)sum);
    }
    di_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %lld\n", name, labels, comma,
                  (long long)h->count);
    di_buf_printf(out, "%s_sum%s%s%s %.9g\n%s_count%s%s%s %lld\n", name, open, labels, close,
                  h->sum, name, open, labels, close, (long long)h->count);
}

void di_metrics_gauge(di_buf *out, const char *name, const char *help, const char *labels, double x)
{
    if (help != NULL) head(out, name, "gauge", help);
    di_buf_printf(out, "%s%s %.15g\n", name, labels, x);
}

static void put_requests(const di_metrics *m, di_buf *out)
{
    head(out, "dial_requests_total", "counter", "requests answered");
    for (int i = 0; i < m->n_endpoints; i++)
        for (int k = 0; k < m->endpoint[i].n; k++)
            di_buf_printf(out, "dial_requests_total{endpoint=\"%s\",code=\"%d\"} %lld\n",
                          m->name[i], m->endpoint[i].status[k],
                          (long long)m->endpoint[i].requests[k]);
    head(out, "dial_request_seconds", "histogram", "time from a request's headers to its answer");
    for (int i = 0; i < m->n_endpoints; i++)
        if (m->endpoint[i].seconds.count > 0)
            put_histogram(out, "dial_request_seconds", DI_FMT("endpoint=\"%s\"", m->name[i]),
                          &m->endpoint[i].seconds, seconds, N_SECONDS);
    head(out, "dial_rejected_total", "counter", "requests turned away");
    for (int i = 0; i < m->n_rejected; i++)
        di_buf_printf(out, "dial_rejected_total{reason=\"%s\"} %lld\n", m->rejected[i].reason,
                      (long long)m->rejected[i].n);
}

void di_metrics_write(di_metrics *m, di_buf *out)
{
    static const struct {
        const char *metric, *help;
    } count_row[] = {
#define X(name, metric, help) {metric, help},
        DI_COUNTER_MAP(X)
#undef X
    };

    pthread_mutex_lock(&m->lock);
    put_requests(m, out);
    for (int i = 0; i < DI_N_COUNTERS; i++) {
        head(out, count_row[i].metric, "counter", count_row[i].help);
        di_buf_printf(out, "%s %lld\n", count_row[i].metric, (long long)m->count[i]);
    }
    for (int i = 0; i < DI_N_HISTOGRAMS; i++) {
        head(out, hist_row[i].metric, "histogram", hist_row[i].help);
        put_histogram(out, hist_row[i].metric, "", &m->hist[i], hist_row[i].bound, hist_row[i].n);
    }
    pthread_mutex_unlock(&m->lock);
}
