/*
 * The `maps` part of the document: t-SNE panels of stored embeddings, before, during and after
 * training. "After" is the checkpoint that became the run's; "during" are the other epochs of
 * --snapshot-embeddings. "Before" is the same base model for all runs (their adapters start as
 * zero), so it is taken from the first run that has it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "eval/mapstats.h"
#include "eval/tsne.h"
#include "model/safetensors.h"
#include "report/analyse.h"

/* A panel costs seconds: with more runs than this only before and after are drawn. */
enum { MOST_RUNS_ON_THE_WAY = 4 };

/* Pairs of both domains in one block: source rows, then target rows. */
typedef struct panel {
    float *e;                      /* (2 n_source + 2 n_target, c) */
    int64_t n_source, n_target, c; /* pairs */
    double step, epoch;            /* NAN: the file does not say */
} panel;

static const di_st_tensor *embeddings(const di_st *s, const char *set)
{
    char name[300];
    const di_st_tensor *t;

    di_format(name, sizeof name, "%s.embeddings", set);
    t = di_st_find(s, name);
    return t != NULL && t->n_dims == 2 && t->dim[0] >= 4 && t->dim[0] % 2 == 0 ? t : NULL;
}

/* At most `rows` pairs of each side. p->e is NULL where the file lacks one of the two. */
static dial_status load_panel(const di_alloc *al, const char *path, const char *set, int64_t rows,
                              panel *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *names[] = {"source", set};
    const char *step, *epoch;
    const di_st_tensor *t[2];
    float *all = NULL;
    di_st s;
    int open = 0;

    *p = (panel){0};
    DI_TRY(di_st_open(al, path, &s, err));
    open = 1;
    for (int k = 0; k < 2; k++) t[k] = embeddings(&s, names[k]);
    if (t[0] == NULL || t[1] == NULL || t[0]->dim[1] != t[1]->dim[1]) goto done;
    p->c = t[0]->dim[1];
    p->n_source = t[0]->dim[0] / 2 < rows ? t[0]->dim[0] / 2 : rows;
    p->n_target = t[1]->dim[0] / 2 < rows ? t[1]->dim[0] / 2 : rows;
    p->e = di_new_array(al, (size_t)(2 * (p->n_source + p->n_target)), (size_t)p->c * sizeof *p->e);
    all = di_new_array(al, (size_t)(t[0]->count > t[1]->count ? t[0]->count : t[1]->count),
                       sizeof *all);
    if (p->e == NULL || all == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the map of '%s'", path);
    for (int k = 0; k < 2; k++) {
        float *to = p->e + (k == 0 ? 0 : 2 * p->n_source * p->c);
        int64_t n = k == 0 ? p->n_source : p->n_target;

        DI_TRY(di_st_read_f32(&s, path, t[k]->name, all, t[k]->count, err));
        memcpy(to, all, (size_t)(2 * n * p->c) * sizeof *to);
    }
    step = di_text_at(s.metadata, "step");
    p->step = step != NULL ? strtod(step, NULL) : NAN;
    epoch = di_text_at(s.metadata, "epoch");
    p->epoch = epoch != NULL ? strtod(epoch, NULL) : NAN;
done:
    if (open) di_st_close(&s);
    di_free(al, all);
    if (st != DIAL_OK) {
        di_free(al, p->e);
        p->e = NULL;
    }
    return st;
}

/* Points of one domain and preference: [x, y, x, y, ...] with 3 decimals in a box of side 100. */
static json_t *points_json(const float *y, int64_t first, int64_t n, const double lo[2],
                           double side)
{
    json_t *list = json_array();
    int failed = 0;

    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) {
            double v = ((double)y[2 * (first + 2 * i) + k] - lo[k]) / side * 100;

            di_json_add(list, json_real(round(v * 1000) / 1000), &failed);
        }
    return di_json_whole(list, failed);
}

static json_t *null_or(double x)
{
    return isfinite(x) ? di_json_stat(x) : json_null();
}

static dial_status panel_json(di_report_work *w, const panel *p, const char *model,
                              const char *when, int labelled, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_tsne_options tsne = di_tsne_options_default();
    int64_t n = 2 * (p->n_source + p->n_target);
    float *y = di_new_array(w->al, (size_t)n, 2 * sizeof *y);
    double lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY}, side;
    di_map_stats m;

    if (y == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a map");
    DI_TRY(di_map_stats_of(w->al, p->e, p->n_source, p->e + 2 * p->n_source * p->c, p->n_target,
                           p->c, labelled, &m, err));
    DI_TRY(di_tsne(w->al, p->e, n, p->c, &tsne, y, NULL, err));
    for (int64_t i = 0; i < 2 * n; i++) {
        lo[i % 2] = fmin(lo[i % 2], (double)y[i]);
        hi[i % 2] = fmax(hi[i % 2], (double)y[i]);
    }
    side = fmax(hi[0] - lo[0], hi[1] - lo[1]);
    if (!(side > 0)) side = 1;
    for (int k = 0; k < 2; k++) lo[k] -= (side - (hi[k] - lo[k])) / 2; /* centred in the square */
    *out = json_pack("{s:s?,s:s,s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:{s:o,s:o,s:o,s:o}}", "model",
                     model, "when", when, "step", null_or(p->step), "epoch", null_or(p->epoch),
                     "n_source", (json_int_t)m.n_source, "n_target", (json_int_t)m.n_target,
                     "mixing", null_or(m.mixing), "silhouette_domain", null_or(m.silhouette_domain),
                     "silhouette_preference", null_or(m.silhouette_preference), "centroid_accuracy",
                     null_or(m.centroid_accuracy), "points", "source_chosen",
                     points_json(y, 0, p->n_source, lo, side), "source_rejected",
                     points_json(y, 1, p->n_source, lo, side), "target_chosen",
                     points_json(y, 2 * p->n_source, p->n_target, lo, side), "target_rejected",
                     points_json(y, 2 * p->n_source + 1, p->n_target, lo, side));
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a map");
done:
    di_free(w->al, y);
    return st;
}

/* One panel of a file, appended to `list`; nothing where the file lacks the set. */
static dial_status add_panel(di_report_work *w, const char *path, const char *set,
                             const char *model, const char *when, json_t *list, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *o = NULL;
    panel p;

    if (di_stop_asked(w->env)) DI_FAIL(err, DIAL_INTERRUPTED, "stopped while drawing maps");
    DI_TRY(load_panel(w->al, path, set, w->opt->map_rows, &p, err));
    if (p.e != NULL) {
        st = panel_json(w, &p, model, when, strcmp(set, "target") != 0, &o, err);
        di_free(w->al, p.e);
        if (st == DIAL_OK) di_json_add(list, o, &w->failed);
    }
done:
    return st;
}

/* Step of a file's name; -1: it has none. */
static int64_t step_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    long long step;

    return sscanf(slash != NULL ? slash + 1 : file, "step-%lld", &step) == 1 ? step : -1;
}

/* The file of the checkpoint that became the run's; the last one where none is of its step. */
static size_t chosen_file(const di_run *r, char *const *file, size_t n)
{
    double chosen = di_num(r->dial, "progress.selected_step");

    if (!isfinite(chosen)) chosen = di_num(r->end, "selected_step");
    for (size_t i = 0; i < n; i++)
        if ((double)step_of(file[i]) == chosen) return i;
    return n - 1;
}

static dial_status set_panels(di_report_work *w, const char *set, json_t *list, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **file = NULL;
    size_t n = 0;
    int before = 0;

    for (int64_t i = 0; i < w->n_runs; i++) {
        const di_run *r = &w->run[i];
        int untrained = strcmp(r->role, "untrained") == 0;
        size_t chosen;

        DI_TRY(di_run_maps(r, &file, &n, err));
        chosen = n > 0 ? chosen_file(r, file, n) : 0;
        for (size_t k = 0; k < n; k++) {
            int first = step_of(file[k]) == 0 && k != chosen;

            if (k == chosen)
                DI_TRY(add_panel(w, file[k], set, r->label, untrained ? "before" : "after", list,
                                 err));
            else if (first && !before)
                DI_TRY(add_panel(w, file[k], set, NULL, "before", list, err));
            else if (!first && w->n_runs <= MOST_RUNS_ON_THE_WAY)
                DI_TRY(add_panel(w, file[k], set, r->label, "during", list, err));
            before |= first;
        }
        di_free_names(w->al, file, n);
        file = NULL;
        n = 0;
    }
done:
    di_free_names(w->al, file, n);
    return st;
}

/* Names of the sets in the first map found, `source` aside; evaluation sets before `target`. */
static dial_status map_sets(di_report_work *w, json_t *names, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **file = NULL;
    size_t n = 0;
    int has_target = 0;

    for (int64_t i = 0; i < w->n_runs && json_array_size(names) == 0; i++) {
        di_st s;

        DI_TRY(di_run_maps(&w->run[i], &file, &n, err));
        if (n > 0) {
            const char *set;
            json_t *value;

            DI_TRY(di_st_open(w->al, file[0], &s, err));
            /* in the order of the results, which is that of the command line */
            json_object_foreach (w->run[i].final, set, value)
                if (embeddings(&s, set) != NULL) di_json_add(names, json_string(set), &w->failed);
            has_target = embeddings(&s, "target") != NULL;
            di_st_close(&s);
        }
        di_free_names(w->al, file, n);
        file = NULL;
        n = 0;
    }
    if (json_array_size(names) == 0 && has_target)
        di_json_add(names, json_string("target"), &w->failed);
done:
    di_free_names(w->al, file, n);
    return st;
}

dial_status di_maps_json(di_report_work *w, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *list = json_array(), *names = json_array(), *one;
    size_t shown;

    DI_TRY(map_sets(w, names, err));
    shown = json_array_size(names);
    if (shown > (size_t)w->opt->map_sets) {
        di_note(w, "Maps are drawn for the first %lld of %zu evaluation sets.",
                (long long)w->opt->map_sets, shown);
        shown = (size_t)w->opt->map_sets;
    }
    if (shown > 0 && w->n_runs > MOST_RUNS_ON_THE_WAY)
        di_note(w, "With more than %d runs the maps show them before and after training alone.",
                MOST_RUNS_ON_THE_WAY);
    for (size_t i = 0; i < shown; i++) {
        const char *set = json_string_value(json_array_get(names, i));
        json_t *panels = json_array();

        one = json_pack("{s:s,s:b,s:o}", "set", set, "labelled", strcmp(set, "target") != 0,
                        "panels", panels);
        if (one == NULL || json_array_append_new(list, one) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the maps");
        DI_TRY(set_panels(w, set, panels, err));
        if (w->env != NULL && w->env->progress != NULL)
            w->env->progress(w->env->ctx, &(dial_progress){.what = "report",
                                                           .done = (int64_t)i + 1,
                                                           .total = (int64_t)shown,
                                                           .loss = NAN,
                                                           .accuracy = NAN,
                                                           .w1 = NAN,
                                                           .tokens_per_second = NAN,
                                                           .seconds_left = NAN});
    }
    *out = list;
    list = NULL;
done:
    json_decref(list);
    json_decref(names);
    return st;
}
