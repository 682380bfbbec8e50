/*
 * What a batch is made of. The scheduler's thread is held by a task while jobs are put into the
 * queue; when it is let go, all that happens follows from the order in which they came.
 */
#include "test.h"

#include "api/session.h"
#include "client.h"
#include "model/head.h"
#include "serve/scheduler.h"
#include "base/clock.h"

enum { BATCH = 256, LARGE = 300, SMALL = 6, TOKENS = 20 };

static di_session session;
static di_served served;
static di_metrics *metrics;

/* Texts of 20 ids each, all different. */
static int32_t ids[LARGE + SMALL][TOKENS];
static di_seq_view view[LARGE + SMALL];
static float reward[LARGE + SMALL], alone[LARGE + SMALL];

typedef struct hold {
    pthread_mutex_t lock;
    di_scheduler *s;
    atomic_int held;
} hold;

static void wait_for_lock(void *ctx)
{
    hold *h = ctx;

    atomic_store(&h->held, 1);
    pthread_mutex_lock(&h->lock);
    pthread_mutex_unlock(&h->lock);
}

static void *hold_scheduler(void *arg)
{
    hold *h = arg;

    di_scheduler_run(h->s, wait_for_lock, h);
    return NULL;
}

/* Done jobs in their order, and how much of the large one was handed out by then. */
static const di_job *large_job;
static struct {
    const di_job *job;
    int64_t of_large;
} finished[SMALL + 4];
static atomic_int n_finished;

static void on_done(di_job *job)
{
    int i = atomic_load(&n_finished);

    finished[i].job = job;
    finished[i].of_large = large_job != NULL ? large_job->work[0].next : 0;
    atomic_store(&n_finished, i + 1);
}

static di_job make_job(int first, int n)
{
    di_job j = {.n_work = 1, .done = on_done};

    j.work[0] = (di_work){.model = &served, .n = n, .text = view + first, .reward = reward + first};
    return j;
}

static void wait_until_finished(int n)
{
    for (int i = 0; atomic_load(&n_finished) < n; i++) {
        assert_true(i < 60000);
        pause_ms(1);
    }
}

static di_scheduler *start(int64_t queue, double max_wait)
{
    di_scheduler_options o = {BATCH, queue, max_wait};
    di_scheduler *s = NULL;
    dial_error err;

    atomic_store(&n_finished, 0);
    large_job = NULL;
    assert_ok(di_scheduler_new(di_alloc_default(), &o, metrics, &s, &err), err);
    return s;
}

/*
 * A job of 300 texts, then six of one. A batch holds 12 texts of 20 tokens; with seven jobs each
 * gets 256 / 7 = 36 tokens, one text, and the large one fills up the rest with five more. So all
 * small jobs are told after the first batch, when 6 texts of the large one were handed out.
 */
static void equal_shares(void **state)
{
    di_scheduler *s = start(10000, 0);
    hold h = {PTHREAD_MUTEX_INITIALIZER, s, 0};
    di_job large = make_job(0, LARGE), small[SMALL];
    pthread_t thread;

    (void)state;
    pthread_mutex_lock(&h.lock);
    pthread_create(&thread, NULL, hold_scheduler, &h);
    while (!atomic_load(&h.held)) pause_ms(1);
    large_job = &large;
    assert_int_equal(di_scheduler_submit(s, &large), 1);
    for (int i = 0; i < SMALL; i++) {
        small[i] = make_job(LARGE + i, 1);
        assert_int_equal(di_scheduler_submit(s, &small[i]), 1);
    }
    assert_int_equal(di_scheduler_waiting(s), LARGE + SMALL);
    pthread_mutex_unlock(&h.lock);
    pthread_join(thread, NULL);
    wait_until_finished(SMALL + 1);
    assert_ptr_equal(finished[SMALL].job, &large);
    for (int i = 0; i < SMALL; i++) assert_int_equal(finished[i].of_large, 6);
    assert_int_equal(di_scheduler_waiting(s), 0);
    for (int i = 0; i < LARGE + SMALL; i++)
        assert_memory_equal(&reward[i], &alone[i], sizeof *reward);
    di_scheduler_free(s);
}

/* Two jobs fit a queue of 20 texts, a third does not; a job larger than the queue waits alone. */
static void full_queue(void **state)
{
    di_scheduler *s = start(20, 30);
    di_job a = make_job(0, 8), b = make_job(8, 12), c = make_job(20, 1), d = make_job(0, 21);

    (void)state;
    assert_int_equal(di_scheduler_submit(s, &a), 1);
    assert_int_equal(di_scheduler_submit(s, &c), 1);
    assert_int_equal(di_scheduler_submit(s, &b), 0);
    di_scheduler_cancel(s);
    wait_until_finished(2);
    assert_int_equal(a.st, DIAL_INTERRUPTED);
    assert_int_equal(di_scheduler_submit(s, &d), 1);
    wait_until_finished(3); /* 21 texts of 20 tokens are over a batch: they need no company */
    assert_int_equal(d.st, DIAL_OK);
    di_scheduler_free(s);
}

/* A time that is up ends the wait for company; a job without texts is done at once. */
static void deadlines(void **state)
{
    di_scheduler *s = start(20, 30);
    di_job late = make_job(0, 1), none = make_job(0, 0);

    (void)state;
    assert_int_equal(di_scheduler_submit(s, &none), 1);
    assert_int_equal(atomic_load(&n_finished), 1);
    late.deadline = di_now() + 0.02;
    assert_int_equal(di_scheduler_submit(s, &late), 1);
    wait_until_finished(2);
    assert_int_equal(late.st, DIAL_INTERRUPTED);
    assert_int_equal(di_scheduler_waiting(s), 0);
    di_scheduler_free(s);
}

/* The end of the scheduler is told to those who wait. */
static void ending(void **state)
{
    di_scheduler *s = start(20, 30);
    di_job j = make_job(0, 3);

    (void)state;
    assert_int_equal(di_scheduler_submit(s, &j), 1);
    di_scheduler_free(s);
    assert_int_equal(atomic_load(&n_finished), 1);
    assert_int_equal(j.st, DIAL_INTERRUPTED);
}

static int set_up(void **state)
{
    static const char *const endpoint[] = {"other"};
    dial_score_options o;
    char path[128];
    dial_error err;

    (void)state;
    make_folder("scheduler");
    train_run("a", 1);
    snprintf(path, sizeof path, "%s/a", folder);
    dial_options_default(dial_score_table, &o, sizeof o);
    o.common.threads = 1;
    o.common.batch_tokens = BATCH;
    assert_ok(di_session_open(&session, path, &o.common, 1, NULL, NULL, NULL, &err), err);
    assert_ok(di_session_ready(&session, &err), err);
    served = (di_served){.decoder = session.decoder,
                         .embedder = session.embedder,
                         .params = &session.params,
                         .width = session.params.width};
    assert_ok(di_metrics_new(di_alloc_default(), endpoint, 1, &metrics, &err), err);
    for (int i = 0; i < LARGE + SMALL; i++) {
        float e[256];

        for (int k = 0; k < TOKENS; k++) ids[i][k] = (i * (k + 3) + k * k) % 250 + 4;
        view[i] = (di_seq_view){ids[i], TOKENS};
        assert_true(served.width <= 256);
        assert_ok(di_embed_texts(session.embedder, &view[i], NULL, 1, "alone", e, &err), err);
        alone[i] = di_reward(di_head_at(&session.params, session.params.theta), e, served.width);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    di_metrics_free(metrics);
    di_session_close(&session);
    return remove_folder();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_shares),
        cmocka_unit_test(full_queue),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(ending),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
