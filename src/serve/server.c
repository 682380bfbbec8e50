#include "serve/server.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "serve/access_log.h"
#include "serve/http.h"

static const double tick = 0.05, watch_every = 2;

static void rest(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

    nanosleep(&t, NULL); /* a signal ends it early, which is what it is for */
}

static double wall_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void reload(di_server *s, int only_changed)
{
    for (int i = 0; i < di_models_count(s->models); i++) {
        dial_error err;

        if (only_changed && !di_models_changed(s->models, i)) continue;
        if (di_models_reload(s->models, i, s->scheduler, &err) == DIAL_OK) {
            di_metrics_count(s->metrics, DI_COUNT_RELOADS, 1);
            di_log(s->env, DIAL_LOG_INFO, "'%s' loaded again", di_models_name(s->models, i));
        } else {
            di_metrics_count(s->metrics, DI_COUNT_RELOADS_FAILED, 1);
            di_log(s->env, DIAL_LOG_WARN, "'%s' keeps its old version: %s (%s)",
                   di_models_name(s->models, i), err.message, err.where);
        }
    }
}

/* The number that a signal handler (or another thread) raises to ask for a reload. */
static int reloads_asked(const di_server *s)
{
    return s->opt.reload != NULL ? __atomic_load_n(s->opt.reload, __ATOMIC_RELAXED) : 0;
}

/* Until the caller asks to stop. */
static void attend(di_server *s)
{
    int seen = reloads_asked(s);
    double watched = di_now();

    while (!di_stop_asked(s->env)) {
        int now = reloads_asked(s), asked = now != seen;

        seen = now;
        if (asked) di_access_log_reopen(s->log);
        if (asked || di_now() - watched > watch_every) {
            watched = di_now();
            reload(s, !asked);
        }
        di_models_collect(s->models);
        di_monitor_tell(s->monitor, s->env);
        di_http_tick(s->http);
        rest(tick);
    }
}

/* Nobody new comes in; those who wait are answered, or told so when the grace is over. */
static void drain(di_server *s)
{
    double end = di_now() + s->opt.grace;

    atomic_store(&s->draining, 1);
    di_http_quiesce(s->http);
    while (di_http_in_flight(s->http) > 0 && di_now() < end) {
        di_http_tick(s->http);
        rest(tick);
    }
    di_scheduler_cancel(s->scheduler);
    end = di_now() + 1; /* for the answers that say so */
    while (di_http_in_flight(s->http) > 0 && di_now() < end) rest(tick);
}

static dial_status open_models(di_server *s, const di_opener *opener, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_server_options *o = &s->opt;

    DI_TRY(di_models_new(s->al, s->env, opener, o->run, o->n_runs, o->name,
                         o->settings.ensemble != DI_ENSEMBLE_NONE, &s->models, err));
    for (int i = 0; i < di_models_count(s->models); i++) {
        di_served *m = di_models_get(s->models, i);

        st = opener->check(opener->ctx, m, err);
        di_models_put(s->models, m);
        if (st != DIAL_OK) goto done;
    }
done:
    return st;
}

static void announce(di_server *s)
{
    di_served *m = di_models_get(s->models, 0);
    int v6 = strchr(s->opt.host, ':') != NULL;

    if (s->opt.ready != NULL)
        s->opt.ready(s->opt.ctx,
                     DI_FMT("http://%s%s%s:%d", v6 ? "[" : "", s->opt.host, v6 ? "]" : "",
                            di_http_port(s->http)),
                     di_http_port(s->http), m);
    di_models_put(s->models, m);
}

dial_status di_serve(const di_server_options *opt, const di_opener *opener, const dial_env *env,
                     dial_error *err)
{
    dial_status st = DIAL_OK;
    di_server s = {.al = di_env_alloc(env), .env = env, .opt = *opt, .started = wall_clock()};
    di_scheduler_options scheduling = {opt->settings.batch_tokens, opt->queue, opt->max_wait};
    const char *const *names;
    int n_names;

    names = di_route_names(&n_names);
    DI_TRY(di_metrics_new(s.al, names, n_names, &s.metrics, err));
    DI_TRY(di_access_log_new(s.al, opt->access_log, opt->log_text, &s.log, err));
    DI_TRY(di_scheduler_new(s.al, &scheduling, s.metrics, &s.scheduler, err));
    DI_TRY(di_http_new(&s, &s.http, err)); /* a port in use is told before minutes of loading */
    DI_TRY(open_models(&s, opener, err));
    if (opt->monitor.keep > 0)
        DI_TRY(di_monitor_new(s.al, &opt->monitor, s.models, s.metrics, &s.monitor, err));
    atomic_store(&s.ready, 1);
    announce(&s);
    attend(&s);
    drain(&s);
    di_log(env, DIAL_LOG_INFO, "stopped after %lld requests, %lld texts",
           (long long)di_metrics_requests(s.metrics),
           (long long)di_metrics_value(s.metrics, DI_COUNT_TEXTS));
done:
    di_scheduler_free(s.scheduler); /* hands back what still waits */
    di_http_free(s.http);
    di_monitor_free(s.monitor);
    di_models_free(s.models);
    di_access_log_free(s.log);
    di_metrics_free(s.metrics);
    return st;
}
