#include "serve/scheduler.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "model/head.h"

enum { KEY_IDS = 16 }; /* texts that agree in so many first ids are laid side by side */

typedef struct task {
    void (*fn)(void *ctx);
    void *ctx;
    int done;
} task;

/* Where the result of a text of the batch goes. */
typedef struct slot {
    di_job *job;
    di_work *work;
    int64_t index;
} slot;

struct di_scheduler {
    const di_alloc *al;
    di_scheduler_options opt;
    di_metrics *metrics;
    pthread_t thread;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t wake, ran;
    /* under the lock */
    di_job *first, **last;
    int64_t waiting, tokens; /* texts without a result; tokens not handed out */
    int ending, cancel;
    task *task;
    /* the thread's own: a batch */
    slot *slot; /* [batch_tokens]: a text has at least one token */
    di_seq_view *view;
    uint64_t *key;
    int64_t n, rows;
    float *e;
    size_t e_cap;
};

/* ---- the queue ---- */

static void append(di_scheduler *s, di_job *job)
{
    job->next = NULL;
    *s->last = job;
    s->last = &job->next;
}

/* Takes *at out of the list; the successor stands in its place. */
static di_job *unlink_job(di_scheduler *s, di_job **at)
{
    di_job *job = *at;

    *at = job->next;
    if (job->next == NULL) s->last = at;
    return job;
}

static int64_t tokens_left(const di_job *job)
{
    int64_t n = 0;

    for (int w = job->at; w < job->n_work; w++)
        for (int64_t i = job->work[w].next; i < job->work[w].n; i++) n += job->work[w].text[i].n;
    return n;
}

int di_scheduler_submit(di_scheduler *s, di_job *job)
{
    int64_t n = 0;
    int taken;

    for (int w = 0; w < job->n_work; w++) n += job->work[w].n;
    job->st = DIAL_OK;
    job->at = job->contributed = 0;
    job->left = n;
    job->queued = di_now();
    job->waited = 0;
    while (job->at < job->n_work && job->work[job->at].n == 0) job->at++;
    if (n == 0) {
        job->done(job);
        return 1;
    }
    pthread_mutex_lock(&s->lock);
    taken = !s->ending && (s->waiting == 0 || s->waiting + n <= s->opt.queue);
    if (taken) {
        append(s, job);
        s->waiting += n;
        s->tokens += tokens_left(job);
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

void di_scheduler_run(di_scheduler *s, void (*fn)(void *ctx), void *ctx)
{
    task t = {fn, ctx, 0};

    pthread_mutex_lock(&s->lock);
    while (s->task != NULL) pthread_cond_wait(&s->ran, &s->lock);
    s->task = &t;
    pthread_cond_signal(&s->wake);
    while (!t.done) pthread_cond_wait(&s->ran, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void di_scheduler_cancel(di_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->cancel = 1;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

int64_t di_scheduler_waiting(di_scheduler *s)
{
    int64_t n;

    pthread_mutex_lock(&s->lock);
    n = s->waiting;
    pthread_mutex_unlock(&s->lock);
    return n;
}

int64_t di_scheduler_limit(const di_scheduler *s)
{
    return s->opt.queue;
}

/* ---- a batch, built under the lock ---- */

/* Takes texts of the job's present work while they fit `share` tokens and the batch. */
static void take(di_scheduler *s, di_job *job, int64_t share)
{
    di_work *w = &job->work[job->at];
    int64_t taken = 0;

    while (w->next < w->n && s->n < s->opt.batch_tokens) {
        int64_t rows = w->text[w->next].n;

        if (s->n > 0 && s->rows + rows > s->opt.batch_tokens) break;
        if (taken > 0 && taken + rows > share) break;
        s->slot[s->n] = (slot){job, w, w->next};
        s->view[s->n] = w->text[w->next++];
        s->n++;
        s->rows += rows;
        job->contributed = 1;
        taken += rows;
        s->tokens -= rows;
    }
}

static const di_work *present(const di_job *job)
{
    return &job->work[job->at];
}

static int contributes(const di_job *job, const di_served *model)
{
    return present(job)->model == model && present(job)->next < present(job)->n;
}

/* Moves on to a job's next work; 1 if texts are left to hand out. */
static int advance(di_job *job)
{
    while (job->at < job->n_work && job->work[job->at].next == job->work[job->at].n) job->at++;
    return job->at < job->n_work;
}

/* Fills the batch; jobs that are handed out whole leave the list, the others go to its tail. */
static di_served *build(di_scheduler *s)
{
    di_served *model = present(s->first)->model;
    di_job *tail = NULL, **tail_last = &tail;
    int64_t jobs = 0;
    double now = di_now();

    s->n = s->rows = 0;
    for (di_job *j = s->first; j != NULL; j = j->next) jobs += contributes(j, model);
    for (di_job *j = s->first; j != NULL; j = j->next)
        if (contributes(j, model)) take(s, j, s->opt.batch_tokens / jobs);
    for (di_job *j = s->first; j != NULL && s->rows < s->opt.batch_tokens; j = j->next)
        if (contributes(j, model)) take(s, j, s->opt.batch_tokens);
    for (int64_t i = 0; i < s->n; i++)
        if (s->slot[i].job->waited == 0) {
            s->slot[i].job->waited = now - s->slot[i].job->queued;
            di_metrics_observe(s->metrics, DI_HIST_QUEUE_SECONDS, s->slot[i].job->waited);
        }
    for (di_job **at = &s->first; *at != NULL;) {
        di_job *j = *at;

        if (!j->contributed) {
            at = &j->next;
            continue;
        }
        j->contributed = 0;
        unlink_job(s, at);
        if (advance(j)) {
            j->next = NULL;
            *tail_last = j;
            tail_last = &j->next;
        }
    }
    if (tail != NULL) {
        *s->last = tail;
        s->last = tail_last;
    }
    return model;
}

/* ---- computing, without the lock ---- */

static dial_status forward(di_scheduler *s, di_served *m, int64_t first, int64_t n, dial_error *err)
{
    for (int64_t i = first; i < first + n; i++) {
        int64_t ids = s->view[i].n < KEY_IDS ? s->view[i].n : KEY_IDS;

        s->key[i] = di_fnv1a(s->view[i].id, (size_t)ids * sizeof *s->view[i].id);
    }
    return di_embed_texts(m->embedder, s->view + first, s->key + first, n, "serve",
                          s->e + first * m->width, err);
}

static void store(di_scheduler *s, const di_served *m, int64_t i)
{
    const slot *at = &s->slot[i];
    const float *e = s->e + i * m->width;

    at->work->reward[at->index] = di_reward(di_head_at(m->params, m->params->theta), e, m->width);
    if (at->work->e != NULL)
        memcpy(at->work->e + at->index * m->width, e, (size_t)m->width * sizeof *e);
}

static void fail(slot *at, dial_status st, const dial_error *err)
{
    if (at->job->st != DIAL_OK) return;
    at->job->st = st;
    at->job->err = *err;
    at->job->bad = at->index;
}

static int make_room(di_scheduler *s, int64_t width)
{
    size_t want = (size_t)(s->n * width) * sizeof *s->e;

    if (want <= s->e_cap) return 1;
    di_free(s->al, s->e);
    s->e = di_new(s->al, want);
    s->e_cap = s->e != NULL ? want : 0;
    return s->e != NULL;
}

/* A text without a finite embedding fails its own request: the others are computed once more. */
static void compute(di_scheduler *s, di_served *m)
{
    dial_error err = {.status = DIAL_ERR_NOMEM, .message = "no memory for a batch"};
    double started = di_now();
    dial_status st = DIAL_ERR_NOMEM;

    if (make_room(s, m->width)) {
        di_decoder_set_lora(m->decoder, m->params);
        st = forward(s, m, 0, s->n, &err);
    }
    for (int64_t i = 0; i < s->n; i++) {
        dial_status one = st;

        if (st == DIAL_ERR_NUMERIC && s->n > 1) one = forward(s, m, i, 1, &err);
        if (one == DIAL_OK)
            store(s, m, i);
        else
            fail(&s->slot[i], one, &err);
    }
    di_metrics_observe(s->metrics, DI_HIST_INFERENCE_SECONDS, di_now() - started);
    di_metrics_observe(s->metrics, DI_HIST_BATCH_TEXTS, (double)s->n);
    di_metrics_observe(s->metrics, DI_HIST_BATCH_TOKENS, (double)s->rows);
}

/* Counts the batch off its jobs; a job that failed leaves the queue with all of its texts. */
static di_job *settle(di_scheduler *s)
{
    di_job *done = NULL;

    for (int64_t i = 0; i < s->n; i++) {
        di_job *j = s->slot[i].job;

        j->left--;
        s->waiting--;
        if (j->left == 0) {
            j->next = done;
            done = j;
        }
    }
    for (di_job **at = &s->first; *at != NULL;) {
        di_job *j = *at;

        if (j->st == DIAL_OK) {
            at = &j->next;
            continue;
        }
        unlink_job(s, at);
        s->waiting -= j->left;
        s->tokens -= tokens_left(j);
        j->next = done;
        done = j;
    }
    return done;
}

/* Jobs whose time is up, or all of them. */
static di_job *expired(di_scheduler *s, int all, double now)
{
    di_job *out = NULL;

    for (di_job **at = &s->first; *at != NULL;) {
        di_job *j = *at;

        if (!all && (j->deadline == 0 || j->deadline > now)) {
            at = &j->next;
            continue;
        }
        unlink_job(s, at);
        s->waiting -= j->left;
        s->tokens -= tokens_left(j);
        j->st = di_error_set(&j->err, DIAL_INTERRUPTED, __FILE__, __LINE__, NULL, NULL,
                             all ? "the server is ending" : "the time was up");
        j->next = out;
        out = j;
    }
    return out;
}

static void finish(di_job *list)
{
    while (list != NULL) {
        di_job *next = list->next; /* `done` may free the job */

        list->done(list);
        list = next;
    }
}

/* ---- the thread ---- */

/* Until somebody comes, the text at the head has waited long enough, or somebody's time is up. */
static void wait_for_company(di_scheduler *s, double when)
{
    struct timespec t;

    for (const di_job *j = s->first; j != NULL; j = j->next)
        if (j->deadline > 0 && j->deadline < when) when = j->deadline;

    t.tv_sec = (time_t)when;
    t.tv_nsec = (long)((when - (double)t.tv_sec) * 1e9);
    pthread_cond_timedwait(&s->wake, &s->lock, &t);
}

/*
 * When the queue is to be computed: once a batch is full, the text at the head has waited long
 * enough, or a job has begun already (the rest of it does not wait anew).
 */
static double ripe_at(const di_scheduler *s)
{
    for (const di_job *j = s->first; j != NULL; j = j->next)
        if (j->waited > 0) return 0;
    return s->tokens >= s->opt.batch_tokens ? 0 : s->first->queued + s->opt.max_wait;
}

static void run_task(di_scheduler *s)
{
    task *t = s->task;

    pthread_mutex_unlock(&s->lock);
    t->fn(t->ctx);
    pthread_mutex_lock(&s->lock);
    t->done = 1;
    s->task = NULL;
    pthread_cond_broadcast(&s->ran);
}

static void *run(void *arg)
{
    di_scheduler *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->ending || s->first != NULL || s->task != NULL) {
        double now = di_now(), ripe;
        di_job *done;

        if (s->task != NULL) {
            run_task(s);
            continue;
        }
        done = expired(s, s->ending || s->cancel, now);
        s->cancel = 0;
        if (done != NULL) {
            pthread_mutex_unlock(&s->lock);
            finish(done);
            pthread_mutex_lock(&s->lock);
            continue;
        }
        if (s->first == NULL) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        ripe = ripe_at(s);
        if (now < ripe) {
            wait_for_company(s, ripe);
            continue;
        }
        {
            di_served *model = build(s);

            pthread_mutex_unlock(&s->lock);
            compute(s, model);
            pthread_mutex_lock(&s->lock);
            done = settle(s);
        }
        pthread_mutex_unlock(&s->lock);
        finish(done);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

dial_status di_scheduler_new(const di_alloc *al, const di_scheduler_options *opt,
                             di_metrics *metrics, di_scheduler **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_scheduler *s = di_zalloc(al, sizeof *s);
    size_t cap = (size_t)opt->batch_tokens;
    pthread_condattr_t clock;

    if (s == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scheduler");
    s->al = al;
    s->opt = *opt;
    s->metrics = metrics;
    s->last = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &clock);
    pthread_cond_init(&s->ran, &clock);
    pthread_condattr_destroy(&clock);
    s->slot = di_new_array(al, cap, sizeof *s->slot);
    s->view = di_new_array(al, cap, sizeof *s->view);
    s->key = di_new_array(al, cap, sizeof *s->key);
    if (s->slot == NULL || s->view == NULL || s->key == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for batches of %zu tokens", cap);
    if (pthread_create(&s->thread, NULL, run, s) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "cannot start the scheduler's thread");
    s->started = 1;
    *out = s;
    s = NULL;
done:
    di_scheduler_free(s);
    return st;
}

void di_scheduler_free(di_scheduler *s)
{
    if (s == NULL) return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->ending = 1;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->ran);
    pthread_mutex_destroy(&s->lock);
    di_free(s->al, s->slot);
    di_free(s->al, s->view);
    di_free(s->al, s->key);
    di_free(s->al, s->e);
    di_free(s->al, s);
}
