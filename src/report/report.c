/* The document put together, and written in the form that the file name asks for. */
#include "report/report.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "report/analyse.h"

di_report_options di_report_options_default(void)
{
    return (di_report_options){.draws = 2000, .map_sets = 3, .map_rows = 250};
}

static dial_status add_run(di_report_work *w, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_run *p = di_resize(w->al, w->run, (size_t)(w->n_runs + 1) * sizeof *p);

    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the run '%s'", path);
    w->run = p;
    DI_TRY(di_run_open(w->al, path, &w->run[w->n_runs], err));
    w->n_runs++;
done:
    return st;
}

static int is_run(const di_alloc *al, const char *path)
{
    char *file = di_path_join(al, path, "metrics.jsonl");
    int yes = file != NULL && di_exists(file);

    di_free(al, file);
    return yes;
}

/* A run, or the runs in a folder (a sweep). */
static dial_status add_runs(di_report_work *w, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **names = NULL, *inside = NULL;
    size_t n = 0;
    int64_t before = w->n_runs;

    if (is_run(w->al, path) || !di_is_dir(path)) {
        DI_TRY(add_run(w, path, err));
        goto done;
    }
    DI_TRY(di_list_dir(w->al, path, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        inside = di_path_join(w->al, path, names[i]);
        if (inside == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        if (is_run(w->al, inside)) DI_TRY(add_run(w, inside, err));
        di_free(w->al, inside);
        inside = NULL;
    }
    if (w->n_runs == before)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "name folders that `dial train --out` has written",
                   "expected a run, or a folder of runs; found neither");
done:
    di_free(w->al, inside);
    di_free_names(w->al, names, n);
    return st;
}

static int shared(const di_report_work *w, int64_t i)
{
    for (int64_t j = 0; j < w->n_runs; j++)
        if (j != i && strcmp(w->run[j].label, w->run[i].label) == 0) return 1;
    return 0;
}

/* Labels: the method; where several runs share it the seed too; then a number. */
static void label_runs(di_report_work *w)
{
    for (int step = 0; step < 2; step++) {
        char *clash = di_new_array(w->al, (size_t)w->n_runs, 1);

        if (clash == NULL) return; /* labels stay as they are; only the looks suffer */
        for (int64_t i = 0; i < w->n_runs; i++) clash[i] = (char)shared(w, i);
        for (int64_t i = 0; i < w->n_runs; i++) {
            di_run *r = &w->run[i];
            size_t n = strlen(r->label);

            if (!clash[i]) continue;
            if (step == 0 && r->seed >= 0)
                snprintf(r->label + n, sizeof r->label - n, " seed %lld", (long long)r->seed);
            else if (step == 1)
                snprintf(r->label + n, sizeof r->label - n, " #%lld", (long long)i + 1);
        }
        di_free(w->al, clash);
    }
}

dial_status di_report_collect(const di_alloc *al, const dial_env *env, const di_report_options *opt,
                              json_t **doc, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_report_work w = {.al = al, .env = env, .opt = opt, .notes = json_array()};
    json_t *models = NULL, *sets = NULL, *maps = NULL;
    const char *title = opt->title != NULL && *opt->title != '\0'
                            ? opt->title
                            : "Does the reward model carry over to the new domain?";

    if (opt->n_runs < 1)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, NULL, "pass --runs DIR[,DIR]", "no run to report on");
    for (int64_t i = 0; i < opt->n_runs; i++) DI_TRY(add_runs(&w, opt->run[i], err));
    label_runs(&w);
    DI_TRY(di_models_json(&w, &models, err));
    DI_TRY(di_sets_json(&w, &sets, err));
    if (opt->map_sets > 0)
        DI_TRY(di_maps_json(&w, &maps, err));
    else
        maps = json_array();
    *doc = json_pack("{s:s,s:s,s:O,s:O,s:O,s:O}", "schema", "dial.report/1", "title", title,
                     "models", models, "sets", sets, "maps", maps, "notes", w.notes);
    *doc = di_json_whole(*doc, w.failed);
    if (*doc == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
done:
    for (int64_t i = 0; i < w.n_runs; i++) di_run_close(&w.run[i]);
    di_free(al, w.run);
    json_decref(w.notes);
    json_decref(models);
    json_decref(sets);
    json_decref(maps);
    return st;
}

typedef dial_status (*form)(const json_t *doc, di_buf *out, dial_error *err);

static dial_status json_form(const json_t *doc, di_buf *out, dial_error *err)
{
    dial_status st = di_json_write(doc, out, err);

    di_buf_append(out, "\n", 1);
    return st;
}

static form form_of(const char *path)
{
    static const struct {
        const char *end;
        form write;
    } forms[] = {{".html", di_report_html},
                 {".htm", di_report_html},
                 {".md", di_report_markdown},
                 {".json", json_form}};
    size_t n = strlen(path);

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t e = strlen(forms[i].end);

        if (n > e && strcmp(path + n - e, forms[i].end) == 0) return forms[i].write;
    }
    return NULL;
}

/* Takes out what only figures need: the result is for a terminal, the file has it all. */
static void lighten(json_t *doc)
{
    static const char *const drop[] = {"curves", "held", "settings"};
    json_t *m, *map, *p;
    size_t i, k;

    json_array_foreach (di_at(doc, "models"), i, m)
        for (k = 0; k < sizeof drop / sizeof *drop; k++) json_object_del(m, drop[k]);
    json_array_foreach (di_at(doc, "maps"), i, map)
        json_array_foreach (di_at(map, "panels"), k, p) json_object_del(p, "points");
}

dial_status di_report_write(const di_alloc *al, const dial_env *env, const di_report_options *opt,
                            json_t **result, dial_error *err)
{
    dial_status st = DIAL_OK;
    form write = opt->out != NULL ? form_of(opt->out) : NULL;
    json_t *doc = NULL, *o = NULL;
    di_buf b;

    di_buf_init(&b, al);
    if (opt->out != NULL && write == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, opt->out, "end the name in .html, .md or .json",
                   "expected --out FILE.html, FILE.md or FILE.json");
    DI_TRY(di_report_collect(al, env, opt, &doc, err));
    if (write != NULL) {
        DI_TRY(write(doc, &b, err));
        DI_TRY(di_buf_status(&b, err));
        DI_TRY(di_write_file(al, opt->out, b.data, b.size, err));
    }
    o = json_pack("{s:s,s:s?,s:I}", "schema", "dial.report/1", "out", opt->out, "runs",
                  (json_int_t)json_array_size(di_at(doc, "models")));
    lighten(doc);
    if (o == NULL || json_object_update_missing(o, doc) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
    *result = o;
    o = NULL;
done:
    json_decref(o);
    json_decref(doc);
    di_buf_deinit(&b);
    return st;
}
