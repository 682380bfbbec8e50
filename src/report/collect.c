#include "report/collect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "train/journal.h"

const char *const di_curve_name[DI_N_CURVES] = {
#define X(key) #key,
    DI_CURVES(X)
#undef X
};

json_t *di_at(const json_t *v, const char *path)
{
    char part[64];

    while (v != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");

        snprintf(part, sizeof part, "%.*s", (int)n, path);
        v = json_object_get(v, part);
        path += n + (path[n] == '.');
    }
    return (json_t *)(uintptr_t)v;
}

double di_num(const json_t *v, const char *path)
{
    const json_t *x = di_at(v, path);

    return json_is_number(x) ? json_number_value(x) : NAN;
}

const char *di_text_at(const json_t *v, const char *path)
{
    return json_string_value(di_at(v, path));
}

/* ---- metrics.jsonl ---- */

typedef struct reader {
    di_run *run;
    int failed;
} reader;

static int grow_steps(di_run *r)
{
    int64_t cap = r->cap == 0 ? 1024 : 2 * r->cap;
    double *p = di_resize(r->al, r->step, (size_t)cap * sizeof *p);

    if (p == NULL) return 0;
    r->step = p;
    for (int k = 0; k < DI_N_CURVES; k++) {
        p = di_resize(r->al, r->curve[k], (size_t)cap * sizeof *p);
        if (p == NULL) return 0;
        r->curve[k] = p;
    }
    r->cap = cap;
    return 1;
}

static int add_step(di_run *r, const json_t *line)
{
    double seconds = di_num(line, "seconds"), tokens = di_num(line, "tokens");

    if (r->n_steps == r->cap && !grow_steps(r)) return 0;
    r->step[r->n_steps] = di_num(line, "step");
    for (int k = 0; k < DI_N_CURVES; k++) r->curve[k][r->n_steps] = di_num(line, di_curve_name[k]);
    if (isfinite(r->step[r->n_steps])) r->n_steps++;
    if (isfinite(seconds)) r->seconds += seconds;
    if (isfinite(tokens)) r->tokens += tokens;
    return 1;
}

static int take_line(void *ctx, const json_t *line)
{
    reader *in = ctx;
    di_run *r = in->run;
    const char *event = di_text_at(line, "event");
    json_t *v = (json_t *)(uintptr_t)line;
    int ok = 1;

    if (event == NULL) return 1;
    if (strcmp(event, "step") == 0) {
        ok = add_step(r, line);
    } else if (strcmp(event, "eval") == 0 && di_text_at(line, "name") != NULL &&
               json_is_object(di_at(line, "result"))) {
        ok = json_array_append(r->evals, v) == 0 &&
             json_object_set(r->final, di_text_at(line, "name"), di_at(line, "result")) == 0;
    } else if (strcmp(event, "save") == 0) {
        ok = json_array_append(r->saves, v) == 0;
    } else if (strcmp(event, "warn") == 0) {
        ok = json_array_append(r->warns, v) == 0;
    } else if (strcmp(event, "start") == 0) {
        json_decref(r->start);
        r->start = json_incref(v);
    } else if (strcmp(event, "end") == 0) {
        json_decref(r->end);
        r->end = json_incref(v);
    }
    in->failed = !ok;
    return ok;
}

/* ---- a run ---- */

static const char *role_of(const char *method)
{
    if (strcmp(method, "base") == 0) return "untrained";
    if (strcmp(method, "src-pref") == 0) return "baseline";
    if (strncmp(method, "oracle", 6) == 0) return "oracle";
    return "adapted";
}

/* Method and seed stand in dial.json, in the end event, or among the flags of the start event. */
static void name_run(di_run *r)
{
    const char *method = di_text_at(r->dial, "method.name");
    double seed = di_num(r->dial, "seed");

    if (method == NULL) method = di_text_at(r->end, "method");
    if (method == NULL) method = di_text_at(r->start, "method");
    if (method == NULL) method = di_text_at(r->start, "flags.method");
    if (!isfinite(seed)) seed = di_num(r->start, "seed");
    if (!isfinite(seed)) seed = di_num(r->start, "flags.seed");
    snprintf(r->method, sizeof r->method, "%s", method != NULL ? method : "unknown");
    snprintf(r->label, sizeof r->label, "%s", r->method);
    r->role = role_of(r->method);
    r->seed = isfinite(seed) ? (int64_t)seed : -1;
}

dial_status di_run_open(const di_alloc *al, const char *path, di_run *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_run r = {.al = al};
    reader in = {&r, 0};
    char *metrics = di_path_join(al, path, "metrics.jsonl"),
         *dial = di_path_join(al, path, "dial.json");
    json_t *evals;

    r.path = di_strdup(al, path);
    r.evals = json_array();
    r.saves = json_array();
    r.warns = json_array();
    r.final = json_object();
    if (!metrics || !dial || !r.path || !r.evals || !r.saves || !r.warns || !r.final)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the run '%s'", path);
    if (!di_exists(metrics))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "name folders that `dial train --out` has written",
                   "expected a run folder, found no metrics.jsonl");
    DI_TRY(di_journal_read(al, metrics, take_line, &in, err));
    if (in.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the run '%s'", path);
    if (di_exists(dial)) DI_TRY(di_json_read(al, dial, &r.dial, err));
    evals = di_at(r.end, "eval");
    if (json_is_object(evals) && json_object_size(evals) > 0) {
        json_decref(r.final);
        r.final = json_incref(evals);
    }
    name_run(&r);
    *out = r;
    r = (di_run){.al = al};
done:
    di_run_close(&r);
    di_free(al, metrics);
    di_free(al, dial);
    return st;
}

void di_run_close(di_run *r)
{
    if (r->al == NULL) return;
    di_free(r->al, r->path);
    di_free(r->al, r->step);
    for (int k = 0; k < DI_N_CURVES; k++) di_free(r->al, r->curve[k]);
    json_decref(r->dial);
    json_decref(r->start);
    json_decref(r->end);
    json_decref(r->evals);
    json_decref(r->saves);
    json_decref(r->warns);
    json_decref(r->final);
    *r = (di_run){0};
}

/* ---- scores and maps ---- */

typedef struct score_reader {
    const di_alloc *al;
    di_scores *s;
    int failed; /* 1: memory, 2: a line without numbers */
} score_reader;

static int take_score(void *ctx, const json_t *line)
{
    score_reader *in = ctx;
    di_scores *s = in->s;
    di_score_row row = {
        .i = s->n, .chosen = di_num(line, "chosen"), .rejected = di_num(line, "rejected")};
    const json_t *texts = di_at(line, "texts");
    const char *prompt = di_text_at(line, "prompt");

    if (isfinite(di_num(line, "i"))) row.i = (int64_t)di_num(line, "i");
    for (size_t k = 0; k < 2; k++) {
        const char *hex = json_string_value(json_array_get(texts, k));

        row.text[k] = hex != NULL ? strtoull(hex, NULL, 16) : 0;
    }
    row.prompt = prompt != NULL ? strtoull(prompt, NULL, 16) : 0;
    if (!isfinite(row.chosen) || !isfinite(row.rejected)) {
        in->failed = 2;
        return 0;
    }
    if (s->n == s->cap) {
        int64_t cap = s->cap == 0 ? 1024 : 2 * s->cap;
        di_score_row *p = di_resize(in->al, s->row, (size_t)cap * sizeof *p);

        if (p == NULL) {
            in->failed = 1;
            return 0;
        }
        s->row = p;
        s->cap = cap;
    }
    s->row[s->n++] = row;
    return 1;
}

dial_status di_run_scores(const di_run *r, const char *name, di_scores *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    score_reader in = {r->al, s, 0};
    char *dir = di_path_join(r->al, r->path, "scores"), *path = NULL, *file = NULL;
    size_t n = strlen(name) + sizeof ".jsonl";

    *s = (di_scores){0};
    file = di_new(r->al, n);
    if (dir == NULL || file == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    snprintf(file, n, "%s.jsonl", name);
    path = di_path_join(r->al, dir, file);
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path)) goto done;
    DI_TRY(di_journal_read(r->al, path, take_score, &in, err));
    if (in.failed == 1) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores of '%s'", path);
    if (in.failed == 2)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s:%lld", path, (long long)s->n + 1),
                   "train the run again, or remove the file",
                   "expected numbers `chosen` and `rejected`");
done:
    if (st != DIAL_OK) {
        di_free(r->al, s->row);
        *s = (di_scores){0};
    }
    di_free(r->al, dir);
    di_free(r->al, file);
    di_free(r->al, path);
    return st;
}

dial_status di_run_maps(const di_run *r, char ***file, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *dir = di_path_join(r->al, r->path, "maps"), **names = NULL;
    size_t count = 0, kept = 0;

    *file = NULL;
    *n = 0;
    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_is_dir(dir)) goto done;
    DI_TRY(di_list_dir(r->al, dir, &names, &count, err));
    for (size_t i = 0; i < count;
         i++) { /* names hold the step with leading zeros, and are sorted */
        const char *dot = strrchr(names[i], '.');
        char *path = NULL;
        int map = dot != NULL && strcmp(dot, ".safetensors") == 0;

        if (map) path = di_path_join(r->al, dir, names[i]);
        di_free(r->al, names[i]);
        names[i] = NULL;
        if (map && path == NULL) {
            st = di_error_set(err, DIAL_ERR_NOMEM, __FILE__, __LINE__, NULL, NULL,
                              "no memory for a path");
            continue;
        }
        if (map) names[kept++] = path;
    }
    *file = names;
    *n = kept;
    if (st != DIAL_OK) {
        di_free_names(r->al, names, kept);
        *file = NULL;
        *n = 0;
    }
done:
    di_free(r->al, dir);
    return st;
}
