#include "serve/recorder.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"

/* Rows wait this long for others: a transaction is a few syncs, whatever it holds. */
static const double gather = 0.2;
enum { BATCH = 1024 }; /* rows of a transaction */

/* A row and all that it points to, in one block. */
typedef struct record {
    struct record *next;
    size_t bytes;
    di_traffic_row row;
} record;

struct di_recorder {
    const di_alloc *al;
    di_recorder_options opt;
    pthread_t thread;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock */
    record *first, **last;
    size_t waiting; /* bytes, those of the batch in hand too */
    int ending;
    /* the thread's own */
    di_traffic *store; /* NULL: it could not be opened */
    int failing;
    di_traffic_row batch[BATCH];
};

/* ---- the other threads' side ---- */

static size_t length(const char *s)
{
    return s != NULL ? strlen(s) + 1 : 0;
}

/* Copies n bytes (NULL: none) to *at, which moves on. */
static void *carry(char **at, const void *from, size_t n)
{
    void *to = *at;

    if (from == NULL) return NULL;
    memcpy(to, from, n);
    *at += n;
    return to;
}

static record *copy_of(const di_alloc *al, const di_traffic_row *row)
{
    size_t e = (size_t)row->width * sizeof *row->e, run = length(row->run),
           checkpoint = length(row->checkpoint);
    size_t bytes = sizeof(record) + e + run + checkpoint + row->prompt_size + row->response_size;
    record *r = di_new(al, bytes);
    char *at;

    if (r == NULL) return NULL;
    at = (char *)(r + 1);
    *r = (record){.bytes = bytes, .row = *row};
    r->row.e = carry(&at, row->e, e); /* first: aligned */
    r->row.run = carry(&at, row->run, run);
    r->row.checkpoint = carry(&at, row->checkpoint, checkpoint);
    r->row.prompt = carry(&at, row->prompt, row->prompt_size);
    r->row.response = carry(&at, row->response, row->response_size);
    return r;
}

void di_recorder_offer(di_recorder *r, const di_traffic_row *row)
{
    record *x = copy_of(r->al, row);
    int taken = 0;

    if (x != NULL) {
        pthread_mutex_lock(&r->lock);
        taken = r->waiting + x->bytes <= r->opt.room;
        if (taken) {
            *r->last = x;
            r->last = &x->next;
            r->waiting += x->bytes;
            pthread_cond_signal(&r->wake);
        }
        pthread_mutex_unlock(&r->lock);
    }
    if (taken) return;
    di_free(r->al, x);
    di_metrics_count(r->opt.metrics, DI_COUNT_MONITOR_DROPPED, 1);
}

/* ---- the thread ---- */

/* n rows into the store, opened if it is not. */
static dial_status store(di_recorder *r, int64_t n, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (r->store == NULL) DI_TRY(di_traffic_open(r->al, r->opt.path, r->opt.keep, &r->store, err));
    DI_TRY(di_traffic_put(r->store, r->batch, n, err));
done:
    return st;
}

static void write_batch(di_recorder *r, int64_t n)
{
    dial_error err;
    dial_status st = store(r, n, &err);

    di_metrics_count(r->opt.metrics,
                     st == DIAL_OK ? DI_COUNT_MONITOR_ROWS : DI_COUNT_MONITOR_FAILED, n);
    if (st != DIAL_OK && !r->failing)
        di_notes_add(r->opt.notes, DIAL_LOG_WARN, "live traffic is not stored: %s (%s)",
                     err.message, err.where);
    if (st == DIAL_OK && r->failing)
        di_notes_add(r->opt.notes, DIAL_LOG_INFO, "live traffic is stored again");
    r->failing = st != DIAL_OK;
    if (r->failing) { /* the file may be another one next time */
        di_traffic_close(r->store);
        r->store = NULL;
    }
}

static void write_all(di_recorder *r, record *list)
{
    while (list != NULL) {
        record *x = list, *next;
        size_t bytes = 0;
        int64_t n = 0;

        for (; x != NULL && n < BATCH; x = x->next) r->batch[n++] = x->row;
        write_batch(r, n);
        for (; list != x; list = next) {
            next = list->next;
            bytes += list->bytes;
            di_free(r->al, list);
        }
        pthread_mutex_lock(&r->lock);
        r->waiting -= bytes;
        pthread_mutex_unlock(&r->lock);
    }
}

/* Under the lock: waits until `until`, or the end. */
static void wait_for_more(di_recorder *r, double until)
{
    struct timespec t = {(time_t)until, (long)((until - (double)(time_t)until) * 1e9)};

    while (!r->ending && di_now() < until) pthread_cond_timedwait(&r->wake, &r->lock, &t);
}

static void *run(void *arg)
{
    di_recorder *r = arg;

    pthread_mutex_lock(&r->lock);
    while (!r->ending || r->first != NULL) {
        record *list;

        if (r->first == NULL) {
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        wait_for_more(r, di_now() + gather);
        list = r->first;
        r->first = NULL;
        r->last = &r->first;
        pthread_mutex_unlock(&r->lock);
        write_all(r, list);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

dial_status di_recorder_new(const di_alloc *al, const di_recorder_options *opt, di_recorder **out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    di_recorder *r = di_zalloc(al, sizeof *r);
    pthread_condattr_t clock;
    dial_error why;

    if (r == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the monitor");
    r->al = al;
    r->opt = *opt;
    r->last = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &clock);
    pthread_condattr_destroy(&clock);
    st = di_traffic_open(al, opt->path, opt->keep, &r->store, &why);
    if (st == DIAL_ERR_USAGE) {
        if (err != NULL) *err = why;
        goto done;
    }
    st = DIAL_OK;
    r->failing = r->store == NULL;
    if (r->failing)
        di_notes_add(opt->notes, DIAL_LOG_WARN, "live traffic is not stored: %s (%s)", why.message,
                     why.where);
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "cannot start the monitor's thread");
    r->started = 1;
    *out = r;
    r = NULL;
done:
    di_recorder_free(r);
    return st;
}

void di_recorder_free(di_recorder *r)
{
    if (r == NULL) return;
    if (r->started) {
        pthread_mutex_lock(&r->lock);
        r->ending = 1;
        pthread_cond_signal(&r->wake);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
    }
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    di_traffic_close(r->store);
    di_free(r->al, r);
}
