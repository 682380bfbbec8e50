/* The grid of an experiment: methods, axes and seeds -> runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "align/methods.h"
#include "api/experiment_parts.h"
#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"

enum { MAX_AXES = 12 };

/* Does the axis change what this method computes? Flags of the alignment loss do so only where
 * there is one, those of the critic only where it has one. */
static int acts_on(const char *flag, const char *method)
{
    const di_align_kind *kind = di_align_find(method);

    if (strncmp(flag, "critic", 6) == 0 || strncmp(flag, "gp", 2) == 0)
        return kind != NULL && kind->critic;
    if (strncmp(flag, "lambda", 6) == 0 || strncmp(flag, "align-", 6) == 0 ||
        strncmp(flag, "queue", 5) == 0 || strcmp(flag, "embed-norm") == 0)
        return kind != NULL;
    return 1;
}

typedef struct axis {
    const char *flag;
    const json_t *list;  /* values; NULL: drawn */
    const json_t *drawn; /* {"log"|"uniform": [lo, hi]} or {"choice": [...]} */
    const json_t *total; /* of "mix": rows of both domains together; NULL: an ordinary flag */
} axis;

typedef struct grid {
    axis axis[MAX_AXES];
    int n;
    const json_t *methods, *seeds;
    json_t *points; /* of "vary" */
    int64_t random;
    uint64_t seed;
} grid;

static dial_status add_axis(grid *g, const char *flag, const json_t *v, dial_error *err)
{
    dial_status st = DIAL_OK;
    int mix = strcmp(flag, "mix") == 0;
    axis a = {.flag = flag, .list = v};

    if (g->n == MAX_AXES) DI_FAIL(err, DIAL_ERR_USAGE, "a grid has at most %d axes", MAX_AXES);
    if (mix) {
        a.total = json_object_get(v, "total");
        a.list = json_object_get(v, "share");
        if (!json_is_integer(a.total) || !json_is_array(a.list))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "grid.mix",
                       "write {\"total\": 2500, \"share\": [0.2, 0.4]}",
                       "expected rows of both domains together, and shares of the target");
    } else if (di_train_flag(flag) == NULL || di_flag_is_owned(flag)) {
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("grid.%s", flag),
                   "dial train --help lists the flags",
                   di_train_flag(flag) == NULL ? "there is no such flag"
                                               : "the sweep sets this flag itself");
    } else if (json_is_object(v)) {
        a.list = NULL;
        a.drawn = v;
        if (g->random < 1)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("grid.%s", flag), "add --random N",
                       "a distribution needs a number of draws");
    } else if (!json_is_array(v)) {
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("grid.%s", flag), "write [0.1, 1]",
                   "expected a list of values");
    }
    g->axis[g->n++] = a;
done:
    return st;
}

/* Value number `draw` of a distribution; the same for every method. */
static json_t *draw_value(const grid *g, const axis *a, int64_t draw)
{
    const json_t *range = json_object_get(a->drawn, "log"), *choice;
    const json_t *even = json_object_get(a->drawn, "uniform");
    const uint32_t key[2] = {(uint32_t)g->seed, (uint32_t)(g->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)draw, (uint32_t)di_fnv1a(a->flag, strlen(a->flag)), 0,
                                 0};
    uint32_t x[4];
    double u, lo, hi;

    di_philox(key, counter, x);
    u = ((double)x[0] + 0.5) * 0x1p-32;
    choice = json_object_get(a->drawn, "choice");
    if (json_is_array(choice) && json_array_size(choice) > 0)
        return json_incref(json_array_get(choice, (size_t)(u * (double)json_array_size(choice))));
    if (range == NULL) range = even;
    lo = json_number_value(json_array_get(range, 0));
    hi = json_number_value(json_array_get(range, 1));
    if (json_array_size(range) != 2 || !(lo < hi) || (even == NULL && !(lo > 0))) return NULL;
    return json_real(even != NULL ? lo + u * (hi - lo) : exp(log(lo) + u * log(hi / lo)));
}

/* One value of an axis into the flags; the label and the axes of the group grow. */
static dial_status put_axis(const axis *a, const json_t *v, const char *method, json_t *given,
                            json_t *axes, di_buf *label, int *skip, dial_error *err)
{
    dial_status st = DIAL_OK;
    char text[64];
    int failed = 0;

    if (a->total != NULL) { /* the mix: two limits */
        double total = json_number_value(a->total), share = json_number_value(v);
        int64_t target = (int64_t)llround(total * share);
        int64_t source = (int64_t)llround(total - (double)target);

        if (!(share >= 0) || !(share < 1))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "grid.mix.share", "write [0.2, 0.4]",
                       "expected shares from 0 to below 1");
        di_json_put(given, "limit-source", json_integer(source), &failed);
        if (target == 0) { /* nothing to align with: the baseline alone */
            *skip |= strcmp(method, "src-pref") != 0;
            json_object_del(given, "target");
        } else {
            di_json_put(given, "limit-target", json_integer(target), &failed);
        }
    } else {
        if (!acts_on(a->flag, method)) return DIAL_OK;
        if (json_object_set(given, a->flag, (json_t *)(uintptr_t)v) != 0) failed = 1;
    }
    if (json_object_set(axes, a->flag, (json_t *)(uintptr_t)v) != 0) failed = 1;
    if (json_is_real(v))
        snprintf(text, sizeof text, "%.6g", json_real_value(v));
    else if (!di_value_text(v, text, sizeof text))
        snprintf(text, sizeof text, "?");
    di_buf_printf(label, ", %s %s", a->flag, text);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the grid");
done:
    return st;
}

/* Every seed of one point of the grid; at[k]: which value of axis k, or which draw. */
static dial_status add_point(di_experiment *x, const grid *g, const json_t *entry,
                             const json_t *shared, const json_t *point, const int64_t *at,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *method =
        json_string_value(json_is_string(entry) ? entry : json_object_get(entry, "name"));
    const char *given_label = json_string_value(json_object_get(entry, "label"));
    json_t *given = json_copy((json_t *)(uintptr_t)shared);
    json_t *axes = json_copy((json_t *)(uintptr_t)point), *varied = NULL;
    const json_t *seed;
    const char *flag;
    char text[64], name[96];
    json_t *v;
    size_t i;
    int skip = 0;
    di_buf label;

    di_buf_init(&label, x->al);
    if (method == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "methods", "write \"dial\" or {\"name\": \"dial\"}",
                   "expected the name of a method");
    if (given == NULL || axes == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the grid");
    di_buf_printf(&label, "%s", given_label != NULL ? given_label : method);
    json_object_foreach ((json_t *)(uintptr_t)entry, flag, v) /* none of a string */
        if (given_label == NULL && strcmp(flag, "name") != 0 && di_value_text(v, text, sizeof text))
            di_buf_printf(&label, ", %s %s", flag, text);
    DI_TRY(di_buf_status(&label, err));
    snprintf(name, sizeof name, "%s", label.data);
    DI_TRY(di_file_flags(x, given, point, err));
    DI_TRY(di_copy_flags(given, json_is_object(entry) ? entry : NULL, method, err));
    if (json_object_set_new(given, "method", json_string(method)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the grid");
    json_object_foreach ((json_t *)(uintptr_t)point, flag, v)
        if (di_axis_text(v, text, sizeof text)) di_buf_printf(&label, ", %s %s", flag, text);
    for (int k = 0; k < g->n; k++) {
        v = g->axis[k].list != NULL ? json_incref(json_array_get(g->axis[k].list, (size_t)at[k]))
                                    : draw_value(g, &g->axis[k], at[k]);
        if (v == NULL)
            DI_FAIL_AT(
                err, DIAL_ERR_USAGE, DI_FMT("grid.%s", g->axis[k].flag),
                "write {\"log\": [1e-4, 1e-1]}, {\"uniform\": [0, 1]} or {\"choice\": [8, 64]}",
                "expected a distribution");
        st = put_axis(&g->axis[k], v, method, given, axes, &label, &skip, err);
        json_decref(v);
        if (st != DIAL_OK) goto done;
    }
    DI_TRY(di_buf_status(&label, err));
    json_array_foreach (g->seeds, i, seed) {
        if (skip) break;
        json_decref(varied);
        varied = json_copy(axes);
        if (json_object_set(given, "seed", (json_t *)(uintptr_t)seed) != 0 || varied == NULL ||
            json_object_set_new(varied, "method", json_string(method)) != 0 ||
            json_object_set(varied, "seed", (json_t *)(uintptr_t)seed) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the grid");
        DI_TRY(di_add_cell(x, given, label.data, name, axes, varied, err));
    }
done:
    di_buf_deinit(&label);
    json_decref(given);
    json_decref(axes);
    json_decref(varied);
    return st;
}

/* Walks the points of "vary" times the product of the axes, the last one fastest; axes that are
 * drawn move together, and the points with them. */
static dial_status walk_grid(di_experiment *x, const grid *g, const json_t *entry,
                             const json_t *shared, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t at[MAX_AXES] = {0}, n = (int64_t)json_array_size(g->points), draws = n;

    for (int k = 0; k < g->n; k++) {
        if (g->axis[k].list == NULL) draws = g->random;
        if (g->axis[k].list != NULL && json_array_size(g->axis[k].list) == 0)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("grid.%s", g->axis[k].flag), "write [0.1, 1]",
                       "expected at least one value");
    }
    for (int64_t draw = 0; draw < draws; draw++) {
        const json_t *point = json_array_get(g->points, (size_t)(draw % n));
        int k = g->n;

        for (int i = 0; i < g->n; i++) at[i] = g->axis[i].list != NULL ? 0 : draw;
        while (k >= 0) {
            DI_TRY(add_point(x, g, entry, shared, point, at, err));
            for (k = g->n - 1; k >= 0; k--) {
                if (g->axis[k].list == NULL) continue;
                if (++at[k] < (int64_t)json_array_size(g->axis[k].list)) break;
                at[k] = 0;
            }
        }
    }
done:
    return st;
}

/* Of an experiment: methods, seeds and "grid"; of a bare grid the same as keys of one object. */
static dial_status read_grid(const di_experiment *x, grid *g, dial_error *err)
{
    dial_status st = DIAL_OK;
    int whole = json_object_get(x->file, "schema") != NULL;
    const json_t *random = whole ? json_object_get(x->file, "random") : NULL;
    const json_t *axes = whole ? json_object_get(x->file, "grid") : x->file;
    const char *flag;
    json_t *v;

    if (random != NULL && (!json_is_integer(random) || json_integer_value(random) < 1))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "random", "write a whole number above 0",
                   "expected a number of draws");
    if (g->random < 1) g->random = json_integer_value(random);
    g->methods = json_object_get(x->file, whole ? "methods" : "method");
    g->seeds = json_object_get(x->file, whole ? "seeds" : "seed");
    json_object_foreach ((json_t *)(uintptr_t)axes, flag, v)
        if (whole || (strcmp(flag, "method") != 0 && strcmp(flag, "seed") != 0))
            DI_TRY(add_axis(g, flag, v, err));
    if (!json_is_array(g->methods) || json_array_size(g->methods) == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, whole ? "methods" : "method",
                   "write [\"src-pref\", \"dial\"]", "expected a list of methods");
    if (!json_is_array(g->seeds) || json_array_size(g->seeds) == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, whole ? "seeds" : "seed", "write [0, 1, 2]",
                   "expected a list of seeds");
    DI_TRY(di_vary_points(x, g->random, g->seed, &g->points, err));
done:
    return st;
}

/* "extends": what the file does not say itself is as in the one it names, beside it; so is every
 * flag of "flags" that it does not give. */
static dial_status extend(di_experiment *x, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *name = json_string_value(json_object_get(x->file, "extends"));
    char *path = NULL;
    json_t *parent = NULL;

    if (name == NULL) return DIAL_OK;
    path = di_path_join(x->al, x->folder, name);
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_json_read(x->al, path, &parent, err));
    if (json_is_object(json_object_get(x->file, "flags")) &&
        json_is_object(json_object_get(parent, "flags")) &&
        json_object_update_missing(json_object_get(x->file, "flags"),
                                   json_object_get(parent, "flags")) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an experiment");
    if (!json_is_object(parent) || json_object_update_missing(x->file, parent) != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "write {\"base\": ...}", "expected one JSON object");
done:
    json_decref(parent);
    di_free(x->al, path);
    return st;
}

/* Keys that an experiment may have: a misspelt one must not be passed over. */
static dial_status known_keys(const di_experiment *x, dial_error *err)
{
    static const char *const keys[] = {"schema",  "name",    "setting",   "base",    "files",
                                       "methods", "seeds",   "budget",    "grid",    "flags",
                                       "family",  "extends", "control",   "cluster", "doctor",
                                       "vary",    "random",  "target_set"};
    dial_status st = DIAL_OK;
    const char *schema = json_string_value(json_object_get(x->file, "schema")), *key;
    json_t *v;

    if (schema == NULL && json_object_get(x->file, "schema") == NULL) goto done;
    if (schema == NULL || strcmp(schema, "dial.experiment/1") != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "schema", "write \"dial.experiment/1\"",
                   "expected the schema of an experiment");
    json_object_foreach (x->file, key, v) {
        int known = 0;

        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) known |= strcmp(keys[i], key) == 0;
        if (!known)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, key, "docs/experiments.md lists the keys",
                       "there is no such key in an experiment");
    }
done:
    return st;
}

dial_status di_experiment_open(const di_alloc *al, const char *path, const dial_list *extra,
                               int64_t random, uint64_t seed, di_experiment *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_experiment x = {.al = al, .hashes = json_object()};
    const char *slash = strrchr(path, '/');
    json_t *given = json_object(), *entry;
    grid g = {.random = random, .seed = seed};
    dial_error why;
    size_t i;

    x.folder = slash != NULL ? di_strndup(al, path, (size_t)(slash - path)) : di_strdup(al, ".");
    if (x.folder == NULL || given == NULL || x.hashes == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an experiment");
    DI_TRY(di_json_read(al, path, &x.file, err));
    if (!json_is_object(x.file))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "write {\"method\": [...], \"seed\": [...]}",
                   "expected one JSON object");
    DI_TRY(extend(&x, err));
    if ((st = known_keys(&x, &why)) == DIAL_OK && (st = read_grid(&x, &g, &why)) == DIAL_OK)
        st = di_shared_flags(&x, given, extra, &why);
    json_array_foreach (g.methods, i, entry)
        if (st == DIAL_OK) st = walk_grid(&x, &g, entry, given, &why);
    if (st != DIAL_OK)
        DI_FAIL_AT(err, st, DI_FMT("%s: %s", path, why.where), DI_FMT("%s", why.hint), "%s",
                   why.message);
    if (x.n_cells == 0) DI_FAIL_AT(err, DIAL_ERR_USAGE, path, NULL, "the grid has no run");
    *out = x;
    x = (di_experiment){.al = al};
done:
    di_experiment_close(&x);
    json_decref(g.points);
    json_decref(given);
    return st;
}

void di_experiment_close(di_experiment *x)
{
    if (x->al == NULL) return;
    for (int64_t i = 0; i < x->n_cells; i++) {
        json_decref(x->cell[i].flags);
        json_decref(x->cell[i].varied);
    }
    for (int64_t i = 0; i < x->n_groups; i++) json_decref(x->group[i].axes);
    di_free(x->al, x->cell);
    di_free(x->al, x->group);
    di_free(x->al, x->folder);
    json_decref(x->file);
    json_decref(x->hashes);
    *x = (di_experiment){0};
}
