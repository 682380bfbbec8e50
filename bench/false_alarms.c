/*
 * How often does the shift monitor cry wolf, and how soon does it see a wolf?
 *
 *     bench_false_alarms RUN FILE REQUESTS SEEDS [WINDOW [SHIFTED]]
 *
 * replays requests through what the server calls for each of them (serve/window.h, serve/shift.h),
 * without the server: a request is a text of FILE, drawn with replacement by the seed, and a window
 * is looked at as soon as it is full, which is as often as a server ever does. The texts go through
 * the model once, and are kept in the stored trunk. FILE should hold texts like RUN's source that
 * no training has read. Printed for each of the seeds 1 .. SEEDS, and then together:
 *
 *     without SHIFTED   windows looked at in REQUESTS requests, alarms, the smallest p, the largest
 *                       evidence (an alarm: 10000), windows whose difference counts
 *     with SHIFTED      requests of that file until the alarm, after REQUESTS of FILE; at most 100
 *                       windows
 *
 * WINDOW: texts of a window, default 256, the server's; at most as many as FILE has.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/session.h"
#include "api/trunk.h"
#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "serve/shift.h"
#include "serve/window.h"

enum { SERVER_WINDOW = 256, MOST_SEEDS = 1000, MOST_WINDOWS = 100 };

/* The texts of a file, as requests. */
typedef struct traffic {
    di_dataset *d;
    float *e; /* [d->n_seq, C] */
} traffic;

typedef struct bench {
    di_session s;
    di_device dev; /* the monitor's */
    di_shift_reference ref;
    int64_t width, window;
} bench;

/* The monitor of one run. */
typedef struct watch {
    bench *b;
    di_window window;
    float *taken;
    di_shift_state state;
    di_shift_look look; /* the latest */
    int64_t alarms, differ;
    double least_p, most_evidence;
} watch;

static dial_status read_traffic(bench *b, const dial_common_options *common, const char *path,
                                traffic *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session *s = &b->s;
    di_dataset_options o = {.drop_identical = 0};
    di_trunk_job trunk = {0};
    di_seq_view *text = NULL;

    DI_TRY(di_rows_options_from(common, &o.rows, err));
    o.rows.drop_labels = 1;
    DI_TRY(di_dataset_load(s->al, path, &o, &s->policy, s->tok, NULL, &t->d, err));
    t->e = di_new_array(s->al, (size_t)(t->d->n_seq * b->width), sizeof *t->e);
    text = di_new_array(s->al, (size_t)t->d->n_seq, sizeof *text);
    if (t->e == NULL || text == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)t->d->n_seq);
    for (int64_t i = 0; i < t->d->n_seq; i++)
        text[i] = (di_seq_view){t->d->seq[i].id, t->d->seq[i].n};
    DI_TRY(di_trunk_job_open(&trunk, s, s->embedder, s->decoder, "auto", INT64_C(8) << 30, err));
    DI_TRY(di_trunk_job_fill_texts(&trunk, t->d, NULL, err));
    DI_TRY(di_embedder_set_trunk(s->embedder, trunk.trunk, err));
    DI_TRY(di_embed_texts(s->embedder, text, NULL, t->d->n_seq, NULL, t->e, err));
done:
    di_embedder_set_trunk(s->embedder, NULL, NULL);
    di_trunk_job_close(&trunk);
    di_free(s->al, text);
    return st;
}

static dial_status watch_init(bench *b, watch *w, dial_error *err)
{
    dial_status st = DIAL_OK;

    *w = (watch){.b = b, .least_p = 1};
    DI_TRY(di_window_init(b->s.al, b->window, b->width, &w->window, err));
    w->taken = di_new_array(b->s.al, (size_t)(b->window * b->width), sizeof *w->taken);
    if (w->taken == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a second window");
done:
    return st;
}

static void watch_deinit(watch *w)
{
    di_window_deinit(w->b->s.al, &w->window);
    di_free(w->b->s.al, w->taken);
}

/* One request: serve/monitor.c, watch() and look(). */
static dial_status request(watch *w, const traffic *t, int64_t i, dial_error *err)
{
    dial_status st = DIAL_OK;
    bench *b = w->b;
    const di_seq *s = &t->d->seq[i];
    int has_prompt = s->prompt_hash != di_fnv1a("", 0);
    const float *head = di_head_at(&b->s.params, b->s.params.theta);
    int64_t n;

    di_window_put(&w->window, has_prompt ? s->prompt_hash : s->hash, s->hash, t->e + i * b->width);
    if (!di_window_is_full(&w->window)) goto done;
    n = di_window_take(&w->window, &w->taken);
    DI_TRY(di_shift_compare(&b->dev, &b->ref, w->taken, n, head, (uint64_t)w->state.looks + 1,
                            &w->look, err));
    w->alarms += di_shift_judge(&w->state, &w->look) == DI_SHIFT_BEGINS;
    w->differ += di_shift_differs(&w->look);
    w->least_p = fmin(w->least_p, w->look.mmd_p);
    w->most_evidence = fmax(w->most_evidence, w->state.evidence);
done:
    return st;
}

/* n requests, or as many as it takes to an alarm; *sent: how many. */
static dial_status send(watch *w, const traffic *t, int64_t n, int to_alarm, di_rng *r,
                        int64_t *sent, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (*sent = 0; *sent < n && !(to_alarm && w->state.alarm); ++*sent)
        DI_TRY(request(w, t, (int64_t)di_rng_below(r, (uint64_t)t->d->n_seq), err));
done:
    return st;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static dial_status false_alarms(bench *b, const traffic *t, int64_t requests, int64_t seeds,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    watch w, all = {.least_p = 1};
    int64_t sent;

    for (int64_t seed = 1; seed <= seeds; seed++) {
        di_rng r = di_rng_make((uint64_t)seed, DI_RNG_BOOTSTRAP, 0);

        DI_TRY(watch_init(b, &w, err));
        st = send(&w, t, requests, 0, &r, &sent, err);
        watch_deinit(&w);
        if (st != DIAL_OK) goto done;
        printf("seed %lld: %lld requests, %lld windows, %lld alarms, smallest p %.3f, largest "
               "evidence %.2f, %lld windows differ\n",
               (long long)seed, (long long)sent, (long long)w.state.looks, (long long)w.alarms,
               w.least_p, w.most_evidence, (long long)w.differ);
        fflush(stdout);
        all.state.looks += w.state.looks;
        all.alarms += w.alarms;
        all.differ += w.differ;
        all.least_p = fmin(all.least_p, w.least_p);
        all.most_evidence = fmax(all.most_evidence, w.most_evidence);
    }
    printf("all: %lld requests, %lld windows, %lld alarms, smallest p %.3f, largest evidence %.2f, "
           "%lld windows differ\n",
           (long long)(seeds * requests), (long long)all.state.looks, (long long)all.alarms,
           all.least_p, all.most_evidence, (long long)all.differ);
done:
    return st;
}

static dial_status until_alarm(bench *b, const traffic *t, const traffic *shifted, int64_t before,
                               int64_t seeds, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t took[MOST_SEEDS], early = 0, missed = 0, unused, most = MOST_WINDOWS * b->window;
    watch w;

    for (int64_t seed = 1; seed <= seeds; seed++) {
        di_rng r = di_rng_make((uint64_t)seed, DI_RNG_BOOTSTRAP, 0);
        int64_t *n = &took[seed - 1];

        *n = 0;
        DI_TRY(watch_init(b, &w, err));
        st = send(&w, t, before, 0, &r, &unused, err);
        early += w.alarms;
        if (st == DIAL_OK) st = send(&w, shifted, most, 1, &r, n, err);
        watch_deinit(&w);
        if (st != DIAL_OK) goto done;
        missed += !w.state.alarm;
        printf("seed %lld: %s after %lld requests, %lld windows; A-distance %.2f, p %.3f, W1 %.2f, "
               "reward drift %.2f\n",
               (long long)seed, w.state.alarm ? "alarm" : "none", (long long)*n,
               (long long)w.state.looks, w.look.a_distance, w.look.mmd_p, w.look.w1,
               w.look.reward_drift);
        fflush(stdout);
    }
    qsort(took, (size_t)seeds, sizeof *took, ascending);
    printf("all: %lld alarms in %lld, %lld early; median %lld requests, %lld to %lld\n",
           (long long)(seeds - missed), (long long)seeds, (long long)early,
           (long long)((took[(seeds - 1) / 2] + took[seeds / 2]) / 2), (long long)took[0],
           (long long)took[seeds - 1]);
done:
    return st;
}

/* A positive number; 0: it is none. */
static int64_t number(const char *text, int64_t most)
{
    char *end;
    long long n = strtoll(text, &end, 10);

    return *end == '\0' && n > 0 && n <= most ? n : 0;
}

int main(int argc, char **argv)
{
    dial_status st = DIAL_OK;
    dial_error err = {0};
    dial_score_options o;
    bench b = {.window = argc > 5 ? number(argv[5], 1 << 20) : SERVER_WINDOW};
    int64_t requests = argc > 3 ? number(argv[3], INT64_MAX) : 0;
    int64_t seeds = argc > 4 ? number(argv[4], MOST_SEEDS) : 0;
    traffic t = {0}, shifted = {0};

    if (argc < 5 || argc > 7 || requests == 0 || seeds == 0 || b.window < DI_WINDOW_LEAST) {
        fprintf(stderr, "usage: bench_false_alarms RUN FILE REQUESTS SEEDS [WINDOW [SHIFTED]]\n");
        return 2;
    }
    dial_options_default(dial_score_table, &o, sizeof o);
    DI_TRY(di_session_open(&b.s, argv[1], &o.common, DI_NEED_HEAD, NULL, NULL, NULL, &err));
    DI_TRY(di_session_ready(&b.s, &err));
    b.width = b.s.params.width;
    DI_TRY(di_device_open(b.s.al, NULL, "auto", "f32", 1, &b.dev, &err));
    DI_TRY(di_shift_reference_open(b.s.al, argv[1], b.width, &b.ref, &err));
    DI_TRY(read_traffic(&b, &o.common, argv[2], &t, &err));
    if (argc > 6) DI_TRY(read_traffic(&b, &o.common, argv[6], &shifted, &err));
    printf("%s: %lld texts; reference of %lld source and %lld target rows; windows of %lld\n",
           argv[2], (long long)t.d->n_seq, (long long)b.ref.n_s, (long long)b.ref.n_t,
           (long long)b.window);
    DI_TRY(argc > 6 ? until_alarm(&b, &t, &shifted, requests, seeds, &err)
                    : false_alarms(&b, &t, requests, seeds, &err));
done:
    if (st != DIAL_OK) fprintf(stderr, "%s (%s)\n", err.message, err.where);
    if (b.s.al != NULL) {
        di_shift_reference_close(&b.ref);
        di_device_close(&b.dev);
        di_free(b.s.al, t.e);
        di_free(b.s.al, shifted.e);
        di_dataset_free(t.d);
        di_dataset_free(shifted.d);
        di_session_close(&b.s);
    }
    return st != DIAL_OK;
}
