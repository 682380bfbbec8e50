#include "serve/monitor.h"

#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "model/device.h"
#include "serve/notes.h"
#include "serve/recorder.h"
#include "serve/shift.h"
#include "serve/write.h"

enum { WINDOW = 256, REST = 4, NICER = 5, WAITING_BYTES = 64 << 20 };

/* What is known of a served run. */
typedef struct watched {
    /* under the lock */
    char checkpoint[65];       /* that the window is of; "": none yet */
    int comparable;            /* there is a reference */
    char reason[DI_NOTE_SIZE]; /* why not, or why the last look failed; "": neither */
    di_window window;
    di_shift_look look;
    di_shift_state state;
    double since; /* seconds since 1970 that the alarm began; 0: none */
    /* the thread's own */
    float *taken; /* the window that is looked at */
    di_shift_reference ref;
} watched;

struct di_monitor {
    const di_alloc *al;
    di_models *models;
    di_metrics *metrics;
    di_monitor_options opt;
    di_notes notes;
    di_recorder *recorder;
    di_device dev;
    int64_t window;
    pthread_t thread;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int ending;
    watched run[DI_MAX_SERVED];
    int n_runs;
};

static double wall_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that this thread has computed. */
static double thread_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the threads that answer ---- */

/* Does the run's text policy make of a prompt and a response, joined as they are, the same text? */
static int joins_strings(const di_served *m)
{
    return m->policy.chat == NULL || strcmp(m->policy.template_name, "auto") == 0;
}

/* The turns before the last as JSON; nothing in out: no memory. */
static void write_turns(const di_input *in, di_buf *out)
{
    di_buf_append(out, "[", 1);
    for (size_t i = 0; i + 1 < in->n_turns; i++) {
        di_buf_printf(out, "%s{\"role\":", i > 0 ? "," : "");
        di_write_text(out, in->turn[i].role);
        di_buf_append(out, ",\"content\":", strlen(",\"content\":"));
        di_write_string(out, in->turn[i].content.data, in->turn[i].content.size);
        di_buf_append(out, "}", 1);
    }
    di_buf_append(out, "]", 1);
}

/* Texts and their form; turns: memory for a dialogue. */
static void put_text(const di_monitor *m, const di_served *served, const di_input *in,
                     di_buf *turns, di_traffic_row *row)
{
    row->form = in->ids != NULL                          ? DI_TRAFFIC_IDS
                : in->turn != NULL                       ? DI_TRAFFIC_CHAT
                : !in->has_border                        ? DI_TRAFFIC_TEXT
                : in->rendered && !joins_strings(served) ? DI_TRAFFIC_TEXT
                                                         : DI_TRAFFIC_SINGLE;
    if (!m->opt.texts || in->ids != NULL) return;
    row->response = in->response;
    row->response_size = in->response_size;
    if (row->form == DI_TRAFFIC_TEXT && in->has_border) { /* one piece of memory: call.c */
        row->response = in->prompt;
        row->response_size = in->prompt_size + in->response_size;
    } else if (row->form == DI_TRAFFIC_SINGLE) {
        row->prompt = in->prompt;
        row->prompt_size = in->prompt_size;
    } else if (row->form == DI_TRAFFIC_CHAT) {
        turns->size = 0;
        write_turns(in, turns);
        row->prompt = turns->data;
        row->prompt_size = turns->size;
        if (turns->failed) row->response = NULL;
    }
}

/* Under the lock. */
static int is_full(const watched *w)
{
    return w->comparable && di_window_is_full(&w->window);
}

static void watch(di_monitor *m, const di_side *s, int64_t i, const di_traffic_row *row)
{
    watched *w = &m->run[di_models_find(m->models, s->model->name, 0)];
    uint64_t ids = di_fnv1a(s->view[i].id, (size_t)s->view[i].n * sizeof *s->view[i].id);

    pthread_mutex_lock(&m->lock);
    if (strcmp(w->checkpoint, s->model->sha256) != 0)
        pthread_cond_signal(&m->wake); /* it was loaded again */
    else if (w->comparable) {
        di_window_put(&w->window, row->has_prompt ? row->prompt_hash : ids, ids, row->e);
        if (is_full(w)) pthread_cond_signal(&m->wake);
    }
    pthread_mutex_unlock(&m->lock);
}

void di_monitor_offer(di_monitor *m, const di_call *c)
{
    const di_side *s = &c->side[0];
    double now = wall_clock();
    di_buf turns;

    if (m == NULL || c->n == 0 || s->e == NULL) return;
    di_buf_init(&turns, m->al);
    for (int64_t i = 0; i < c->n; i++) {
        const di_input *in = &c->input[i];
        di_traffic_row row = {.time = now,
                              .run = s->model->name,
                              .checkpoint = s->model->sha256,
                              .reward = di_call_reward(c, i),
                              .tokens = s->view[i].n,
                              .e = s->e + i * s->model->width,
                              .width = s->model->width,
                              .has_prompt = in->has_border && in->prompt_size > 0};

        if (row.has_prompt) row.prompt_hash = di_fnv1a(in->prompt, in->prompt_size);
        put_text(m, s->model, in, &turns, &row);
        watch(m, s, i, &row);
        di_recorder_offer(m->recorder, &row);
    }
    di_buf_deinit(&turns);
}

/* ---- the thread ---- */

/* Begins anew with the checkpoint that is served now. */
static void take_up(di_monitor *m, watched *w, const di_served *served)
{
    float *taken = di_new_array(m->al, (size_t)(m->window * served->width), sizeof *taken);
    di_window window = {0};
    di_shift_reference ref = {0};
    dial_error err;
    dial_status st = di_window_init(m->al, m->window, served->width, &window, &err);

    if (st == DIAL_OK && taken == NULL)
        st = di_error_set(&err, DIAL_ERR_NOMEM, __FILE__, __LINE__, NULL, NULL,
                          "no memory for a second window");
    if (st == DIAL_OK) st = di_shift_reference_open(m->al, served->path, served->width, &ref, &err);
    di_shift_reference_close(&w->ref);
    w->ref = ref;
    di_free(m->al, w->taken);
    w->taken = taken;
    pthread_mutex_lock(&m->lock);
    di_window_deinit(m->al, &w->window);
    w->window = window;
    w->look = (di_shift_look){0};
    w->state = (di_shift_state){0};
    w->since = 0;
    w->comparable = st == DIAL_OK;
    w->reason[0] = '\0';
    if (st != DIAL_OK)
        snprintf(w->reason, sizeof w->reason, "%.240s (%.120s)", err.message, err.where);
    memcpy(w->checkpoint, served->sha256, sizeof w->checkpoint);
    pthread_mutex_unlock(&m->lock);
    if (st != DIAL_OK)
        di_notes_add(&m->notes, DIAL_LOG_WARN,
                     "'%s': its traffic is not compared with its training: %s", served->name,
                     w->reason);
}

static void tell(di_monitor *m, const char *name, di_shift_turn turn, const di_shift_look *l)
{
    if (turn == DI_SHIFT_BEGINS)
        di_notes_add(&m->notes, DIAL_LOG_WARN,
                     "'%s': the traffic has left source and target: A-distance %.2f (%.2f to "
                     "%.2f), W1 %.2f, MMD p %.3f, reward drift %.2f; adapt: dial adapt --store %s",
                     name, l->a_distance, l->a_ci.lo, l->a_ci.hi, l->w1, l->mmd_p, l->reward_drift,
                     m->opt.store);
    if (turn == DI_SHIFT_ENDS)
        di_notes_add(&m->notes, DIAL_LOG_INFO,
                     "'%s': the traffic looks like source and target again: A-distance %.2f", name,
                     l->a_distance);
}

/* Compares the n rows in w->taken. */
static void look(di_monitor *m, watched *w, int64_t n, const di_served *served)
{
    const float *head = di_head_at(served->params, served->params->theta);
    di_shift_look l;
    di_shift_turn turn = DI_SHIFT_SAME;
    dial_error err;
    dial_status st = di_shift_compare(&m->dev, &w->ref, w->taken, n, head,
                                      (uint64_t)w->state.looks + 1, &l, &err);

    pthread_mutex_lock(&m->lock);
    if (st == DIAL_OK) {
        turn = di_shift_judge(&w->state, &l);
        w->look = l;
        w->reason[0] = '\0';
        if (turn == DI_SHIFT_BEGINS) w->since = wall_clock();
        if (turn == DI_SHIFT_ENDS) w->since = 0;
    } else
        snprintf(w->reason, sizeof w->reason, "%.240s", err.message);
    pthread_mutex_unlock(&m->lock);
    if (st == DIAL_OK) di_metrics_count(m->metrics, DI_COUNT_SHIFT_LOOKS, 1);
    if (turn == DI_SHIFT_BEGINS) di_metrics_count(m->metrics, DI_COUNT_SHIFT_ALARMS, 1);
    tell(m, served->name, turn, &l);
}

static void attend(di_monitor *m, int place)
{
    watched *w = &m->run[place];
    di_served *served = di_models_get(m->models, place);
    int64_t n = 0;

    if (strcmp(w->checkpoint, served->sha256) != 0) take_up(m, w, served);
    pthread_mutex_lock(&m->lock);
    if (is_full(w)) n = di_window_take(&w->window, &w->taken);
    pthread_mutex_unlock(&m->lock);
    if (n > 0) look(m, w, n, served);
    di_models_put(m->models, served);
}

/* Under the lock. */
static int has_work(di_monitor *m)
{
    for (int i = 0; i < m->n_runs; i++) {
        int changed;
        di_served *served = di_models_get(m->models, i);

        changed = strcmp(m->run[i].checkpoint, served->sha256) != 0;
        di_models_put(m->models, served);
        if (changed || is_full(&m->run[i])) return 1;
    }
    return 0;
}

static void *run(void *arg)
{
    di_monitor *m = arg;

    /* On Linux of this thread alone. Not the very lowest: under load it would never be done. */
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICER);
    omp_set_num_threads(1);
    pthread_mutex_lock(&m->lock);
    while (!m->ending) {
        double began = thread_seconds(), until;
        struct timespec t;

        if (!has_work(m)) {
            pthread_cond_wait(&m->wake, &m->lock);
            continue;
        }
        pthread_mutex_unlock(&m->lock);
        for (int i = 0; i < m->n_runs; i++) attend(m, i);
        until = di_now() + REST * (thread_seconds() - began);
        t.tv_sec = (time_t)until;
        t.tv_nsec = (long)((until - (double)t.tv_sec) * 1e9);
        pthread_mutex_lock(&m->lock);
        while (!m->ending && di_now() < until) pthread_cond_timedwait(&m->wake, &m->lock, &t);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* ---- beginning and end ---- */

static dial_status init(di_monitor *m, dial_error *err)
{
    dial_status st = DIAL_OK;
    pthread_condattr_t clock;
    di_recorder_options recording = {m->opt.store, m->opt.keep, WAITING_BYTES, m->metrics,
                                     &m->notes};

    di_notes_init(&m->notes);
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&m->wake, &clock);
    pthread_condattr_destroy(&clock);
    DI_TRY(di_device_open(m->al, NULL, "auto", "f32", 1, &m->dev, err));
    DI_TRY(di_recorder_new(m->al, &recording, &m->recorder, err));
    for (int i = 0; i < m->n_runs; i++) { /* before the first text comes */
        di_served *served = di_models_get(m->models, i);

        take_up(m, &m->run[i], served);
        di_models_put(m->models, served);
    }
    if (pthread_create(&m->thread, NULL, run, m) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "cannot start the monitor's thread");
    m->started = 1;
done:
    return st;
}

dial_status di_monitor_new(const di_alloc *al, const di_monitor_options *opt, di_models *models,
                           di_metrics *metrics, di_monitor **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_monitor *m = di_zalloc(al, sizeof *m);

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the monitor");
    m->al = al;
    m->opt = *opt;
    m->models = models;
    m->metrics = metrics;
    m->n_runs = opt->first_only ? 1 : di_models_count(models);
    m->window = opt->keep < WINDOW ? opt->keep : WINDOW;
    st = init(m, err);
    if (st == DIAL_OK)
        *out = m;
    else
        di_monitor_free(m);
done:
    return st;
}

void di_monitor_free(di_monitor *m)
{
    if (m == NULL) return;
    if (m->started) {
        pthread_mutex_lock(&m->lock);
        m->ending = 1;
        pthread_cond_signal(&m->wake);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    di_recorder_free(m->recorder);
    for (int i = 0; i < m->n_runs; i++) {
        di_shift_reference_close(&m->run[i].ref);
        di_window_deinit(m->al, &m->run[i].window);
        di_free(m->al, m->run[i].taken);
    }
    di_device_close(&m->dev);
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    di_notes_deinit(&m->notes);
    di_free(m->al, m);
}

void di_monitor_tell(di_monitor *m, const dial_env *env)
{
    if (m != NULL) di_notes_tell(&m->notes, env);
}

/* ---- what it shows ---- */

/* {model="NAME"} into out where several runs are served. */
static const char *label_of(const di_monitor *m, int place, di_buf *out)
{
    out->size = 0;
    if (m->n_runs > 1) {
        di_buf_append(out, "{model=", strlen("{model="));
        di_write_text(out, di_models_name(m->models, place));
        di_buf_append(out, "}", 1);
    }
    return out->size > 0 && !out->failed ? out->data : "";
}

enum { W1, A_DISTANCE, MMD_P, DRIFT, ALARM, N_GAUGES };

/* NAN: there was no look yet. */
static double gauge_of(const watched *w, int gauge)
{
    if (gauge == ALARM) return w->state.alarm;
    if (w->look.n == 0) return NAN;
    return gauge == W1           ? w->look.w1
           : gauge == A_DISTANCE ? w->look.a_distance
           : gauge == MMD_P      ? w->look.mmd_p
                                 : w->look.reward_drift;
}

void di_monitor_write(di_monitor *m, di_buf *out)
{
    static const struct {
        const char *name, *help;
    } row[N_GAUGES] = {
        {"dial_shift_w1", "W1 of the last window to the nearest mix of source and target"},
        {"dial_shift_a_distance",
         "proxy A-distance of the last window to that mix: 0 alike, 2 apart"},
        {"dial_shift_mmd_p", "p-value of a two-sample test of the last window and that mix"},
        {"dial_shift_reward_drift", "difference of mean rewards in pooled standard deviations"},
        {"dial_shift_alarm", "1: the traffic has left source and target"},
    };
    di_buf label;

    if (m == NULL) return;
    di_buf_init(&label, m->al);
    pthread_mutex_lock(&m->lock);
    for (int g = 0; g < N_GAUGES; g++) {
        const char *help = row[g].help;

        for (int i = 0; i < m->n_runs; i++) {
            double x = gauge_of(&m->run[i], g);

            if (isnan(x)) continue;
            di_metrics_gauge(out, row[g].name, help, label_of(m, i, &label), x);
            help = NULL;
        }
    }
    pthread_mutex_unlock(&m->lock);
    di_buf_deinit(&label);
}

static json_t *number(double x, int known)
{
    return known ? di_json_stat(x) : json_null();
}

static json_t *details_of(const di_monitor *m, const watched *w)
{
    const di_shift_look *l = &w->look;
    int known = l->n > 0;

    return json_pack("{s:b, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:[o, o], s:o, s:o, s:o, s:o}",
                     "alarm", w->state.alarm, "since", number(w->since, w->since > 0), "looks",
                     (json_int_t)w->state.looks, "window", (json_int_t)m->window, "collected",
                     (json_int_t)w->window.n, "source_share", number(l->share, known), "w1",
                     number(l->w1, known), "a_distance", number(l->a_distance, known),
                     "a_distance_ci95", number(l->a_ci.lo, known), number(l->a_ci.hi, known),
                     "mmd_p", number(l->mmd_p, known), "reward_drift",
                     number(l->reward_drift, known), "evidence", di_json_stat(w->state.evidence),
                     "reason", w->reason[0] != '\0' ? json_string(w->reason) : json_null());
}

json_t *di_monitor_details(di_monitor *m)
{
    json_t *all = json_object(), *out;
    int alarm = 0, failed = 0;

    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < m->n_runs; i++) {
        alarm |= m->run[i].state.alarm;
        di_json_put(all, di_models_name(m->models, i), details_of(m, &m->run[i]), &failed);
    }
    pthread_mutex_unlock(&m->lock);
    if (m->n_runs > 1)
        out = json_pack("{s:b, s:o}", "alarm", alarm, "models", di_json_whole(all, failed));
    else {
        out = json_incref(json_object_get(all, di_models_name(m->models, 0)));
        json_decref(all);
    }
    return out;
}
