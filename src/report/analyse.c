/* The `models` part of the document: what each run is, its curves, counts and settings. */
#include "report/analyse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

enum { BINS = 160 };

void di_note(di_report_work *w, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    di_json_add(w->notes, json_string(text), &w->failed);
}

const di_run *di_counterpart(const di_report_work *w, const di_run *r, const char *role)
{
    const di_run *first = NULL;

    for (int64_t i = 0; i < w->n_runs; i++) {
        if (strcmp(w->run[i].role, role) != 0) continue;
        if (first == NULL) first = &w->run[i];
        if (w->run[i].seed == r->seed) return &w->run[i];
    }
    return first;
}

json_t *di_curve_json(const double *step, const double *value, int64_t n)
{
    json_t *steps = json_array(), *values = json_array();
    int64_t bins = n < BINS ? n : BINS;
    int failed = steps == NULL || values == NULL;

    for (int64_t b = 0; !failed && b < bins; b++) {
        double x = 0, y = 0, count = 0;

        for (int64_t i = b * n / bins; i < (b + 1) * n / bins; i++) {
            if (!isfinite(value[i])) continue;
            x += step[i];
            y += value[i];
            count++;
        }
        if (count == 0) continue;
        failed |= json_array_append_new(steps, di_json_stat(x / count)) != 0;
        failed |= json_array_append_new(values, di_json_stat(y / count)) != 0;
    }
    if (failed) {
        json_decref(steps);
        json_decref(values);
        return NULL;
    }
    return json_pack("{s:o,s:o}", "step", steps, "value", values);
}

static json_t *curves_json(const di_run *r)
{
    json_t *o = json_object();
    int failed = o == NULL;

    for (int k = 0; !failed && k < DI_N_CURVES; k++) {
        json_t *c = di_curve_json(r->step, r->curve[k], r->n_steps);

        failed = c == NULL;
        if (c != NULL && json_array_size(di_at(c, "step")) > 0)
            failed |= json_object_set_new(o, di_curve_name[k], c) != 0;
        else
            json_decref(c);
    }
    if (failed) json_decref(o);
    return failed ? NULL : o;
}

/* Held-out source rows at each checkpoint, from the validators of the `save` events. */
static json_t *held_json(const di_run *r)
{
    json_t *steps = json_array(), *loss = json_array(), *accuracy = json_array(), *e;
    size_t i;
    int failed = 0;

    json_array_foreach (r->saves, i, e) {
        double l = di_num(e, "validators.source_loss"), a = di_num(e, "validators.source_accuracy");

        if (!isfinite(l) && !isfinite(a)) continue;
        di_json_add(steps, di_json_stat(di_num(e, "step")), &failed);
        di_json_add(loss, di_json_stat(l), &failed);
        di_json_add(accuracy, di_json_stat(a), &failed);
    }
    return di_json_whole(
        json_pack("{s:o,s:o,s:o}", "step", steps, "loss", loss, "accuracy", accuracy), failed);
}

/* Warnings of the end event and of the `warn` events, each code once. */
static json_t *warnings_json(const di_run *r)
{
    const json_t *lists[] = {di_at(r->end, "warnings"), r->warns};
    json_t *out = json_array(), *seen = json_object(), *e;
    size_t i;
    int failed = 0;

    for (int k = 0; k < 2; k++)
        json_array_foreach (lists[k], i, e) {
            const char *code = di_text_at(e, "code"), *message = di_text_at(e, "message");

            if (code == NULL || json_object_get(seen, code) != NULL) continue;
            di_json_put(seen, code, json_true(), &failed);
            di_json_add(
                out,
                json_pack("{s:s,s:s}", "code", code, "message", message != NULL ? message : ""),
                &failed);
        }
    json_decref(seen);
    return di_json_whole(out, failed);
}

/* Flags of the start event: the whole event where it holds them itself. Runs started before the
 * flags were written there have the settings of dial.json instead. */
static json_t *settings_json(const di_run *r)
{
    static const char *const parts[] = {"method", "lora", "optim"};
    const json_t *flags = di_at(r->start, "flags");
    json_t *o;
    int failed = 0;

    if (json_is_object(flags)) return json_deep_copy(flags);
    o = r->start != NULL ? json_copy(r->start) : json_object();
    json_object_del(o, "event");
    if (json_object_size(o) > 0) return o;
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        json_t *part = di_at(r->dial, parts[k]);

        if (part != NULL) di_json_put(o, parts[k], json_incref(part), &failed);
    }
    return di_json_whole(o, failed);
}

static const char *folder_of(const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    return path + n;
}

/* Rows as the end event counts them; else the counts of the files in dial.json. */
static json_t *rows_json(const di_run *r)
{
    static const char *const sides[] = {"source", "target"};
    json_t *o = json_object();
    int failed = 0;

    for (int k = 0; k < 2; k++) {
        json_t *rows = di_at(di_at(r->end, "rows"), sides[k]);
        json_t *file = json_array_get(di_at(di_at(r->dial, "data"), sides[k]), 0);

        if (!json_is_object(rows)) rows = di_at(file, "rows");
        di_json_put(o, sides[k], json_is_object(rows) ? json_incref(rows) : json_null(), &failed);
    }
    return di_json_whole(o, failed);
}

static json_t *first_of(const di_run *r, const char *in_dial, const char *in_end)
{
    json_t *v = di_at(r->end, in_end);

    if (v == NULL) v = di_at(r->dial, in_dial);
    return v != NULL ? json_incref(v) : json_null();
}

static json_t *model_json(const di_run *r)
{
    const char *base = di_text_at(r->dial, "base.path"),
               *labels = di_text_at(r->dial, "data.target_labels");
    double steps = r->n_steps > 0 ? r->step[r->n_steps - 1] : 0;
    int finished = r->end != NULL;

    if (base == NULL) base = di_text_at(r->start, "flags.base");
    if (base == NULL) base = di_text_at(r->start, "base");
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:o,s:s?,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:s?,s:o,s:o,s:o,s:o,s:o}", "label",
        r->label, "folder", folder_of(r->path), "method", r->method, "role", r->role, "seed",
        r->seed < 0 ? json_null() : json_integer(r->seed), "base",
        base != NULL ? folder_of(base) : NULL, "finished", finished, "steps", di_json_stat(steps),
        "selected_step", first_of(r, "progress.selected_step", "selected_step"), "selected_by",
        first_of(r, "progress.selected_by", "selected_by"), "seconds", di_json_stat(r->seconds),
        "tokens", di_json_stat(r->tokens), "tokens_per_second",
        r->seconds > 0 ? di_json_stat(r->tokens / r->seconds) : json_null(), "target_labels",
        labels, "rows", rows_json(r), "warnings", warnings_json(r), "settings", settings_json(r),
        "curves", curves_json(r), "held", held_json(r));
}

dial_status di_models_json(di_report_work *w, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *list = json_array();

    for (int64_t i = 0; i < w->n_runs; i++) {
        const di_run *r = &w->run[i];

        if (json_array_append_new(list, model_json(r)) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
        if (r->end == NULL)
            di_note(w, "%s has not finished: its numbers are those of its last evaluation.",
                    r->label);
    }
    *out = list;
    list = NULL;
done:
    json_decref(list);
    return st;
}
