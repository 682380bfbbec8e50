/* What moves along an axis of the grid: accuracy over lambda, mix, size. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/collect.h"
#include "report/sweep.h"

enum { MAX_POINTS = 64 };

/* As close to the baseline as counts for "not below" (method.md 5.7). */
static const double margin = 0.005;

typedef struct point {
    double x, y, lo, hi, base;
} point;

static int by_x(const void *a, const void *b)
{
    const point *p = a, *q = b;

    return p->x < q->x ? -1 : p->x > q->x;
}

/* Do two groups differ on this axis alone (entry and all other axes equal)? */
static int same_line(const json_t *a, const json_t *b, const char *axis)
{
    const json_t *x = di_at(a, "axes"), *y = di_at(b, "axes");
    const char *key;
    json_t *v;

    if (strcmp(di_text_at(a, "entry"), di_text_at(b, "entry")) != 0) return 0;
    json_object_foreach ((json_t *)(uintptr_t)x, key, v)
        if (strcmp(key, axis) != 0 && !json_equal(v, json_object_get(y, key))) return 0;
    return (json_object_get(x, axis) != NULL) == (json_object_get(y, axis) != NULL);
}

static point point_of(const json_t *set, const json_t *g, const char *axis)
{
    const char *against = di_text_at(g, "against");
    const json_t *ci = di_at(g, "ci95"), *other;
    point p = {.x = json_number_value(json_object_get(di_at(g, "axes"), axis)),
               .y = di_num(g, "mean"),
               .lo = NAN,
               .hi = NAN,
               .base = NAN};
    size_t i;

    if (json_is_array(ci)) {
        p.lo = json_number_value(json_array_get(ci, 0));
        p.hi = json_number_value(json_array_get(ci, 1));
    }
    json_array_foreach (di_at(set, "groups"), i, other)
        if (against != NULL && strcmp(di_text_at(other, "label"), against) == 0)
            p.base = di_num(other, "mean");
    return p;
}

static void add(json_t *list, double x, int *failed)
{
    di_json_add(list, isfinite(x) ? di_json_stat(x) : json_null(), failed);
}

/*
 * The line through a group: label, points in order of x. `range` is largest less smallest mean,
 * `above` the points whose mean is not under the baseline's by more than the margin.
 */
static json_t *line_json(const json_t *set, const json_t *first, const char *axis, int *failed)
{
    json_t *x = json_array(), *y = json_array(), *lo = json_array(), *hi = json_array();
    const json_t *g;
    point p[MAX_POINTS];
    double least = INFINITY, most = -INFINITY;
    int64_t n = 0, above = 0, compared = 0;
    size_t i;

    json_array_foreach (di_at(set, "groups"), i, g)
        if (n < MAX_POINTS && same_line(first, g, axis)) p[n++] = point_of(set, g, axis);
    qsort(p, (size_t)n, sizeof *p, by_x);
    for (int64_t k = 0; k < n; k++) {
        add(x, p[k].x, failed);
        add(y, p[k].y, failed);
        add(lo, p[k].lo, failed);
        add(hi, p[k].hi, failed);
        least = fmin(least, p[k].y);
        most = fmax(most, p[k].y);
        compared += isfinite(p[k].base);
        above += p[k].y >= p[k].base - margin;
    }
    return json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:I,s:I}", "label", di_text_at(first, "entry"), "x",
                     x, "y", y, "lo", lo, "hi", hi, "range", di_json_stat(most - least), "above",
                     (json_int_t)above, "n", (json_int_t)compared);
}

/* A group that does not have the axis: a level over all of it. */
static json_t *level_json(const json_t *g, const json_t *over, int *failed)
{
    json_t *x = json_deep_copy(di_at(over, "x")), *y = json_array();

    for (size_t i = 0; i < json_array_size(x); i++) add(y, di_num(g, "mean"), failed);
    return json_pack("{s:s,s:o,s:o,s:b}", "label", di_text_at(g, "label"), "x", x, "y", y, "level",
                     1);
}

static json_t *curve_json(const json_t *set, const char *axis, int *failed)
{
    json_t *series = json_array(), *line;
    const json_t *g, *before, *longest = NULL;
    size_t i, k;

    json_array_foreach (di_at(set, "groups"), i, g) {
        int seen = 0;

        if (!json_is_number(json_object_get(di_at(g, "axes"), axis))) continue;
        for (k = 0; k < i && !seen; k++) {
            before = json_array_get(di_at(set, "groups"), k);
            seen = same_line(before, g, axis);
        }
        if (seen) continue;
        line = line_json(set, g, axis, failed);
        if (json_array_size(di_at(line, "x")) < 2) {
            json_decref(line);
            continue;
        }
        if (longest == NULL ||
            json_array_size(di_at(line, "x")) > json_array_size(di_at(longest, "x")))
            longest = line;
        di_json_add(series, line, failed);
    }
    if (longest != NULL)
        json_array_foreach (di_at(set, "groups"), i, g)
            if (json_object_get(di_at(g, "axes"), axis) == NULL)
                di_json_add(series, level_json(g, longest, failed), failed);
    if (longest != NULL)
        return json_pack("{s:s,s:s,s:o}", "axis", axis, "set", di_text_at(set, "name"), "series",
                         series);
    json_decref(series);
    return NULL;
}

json_t *di_sweep_curves(const json_t *plan, const json_t *sets)
{
    json_t *out = json_array(), *axes = json_object(), *v, *curve;
    const json_t *g, *set;
    const char *axis;
    size_t i;
    int failed = out == NULL || axes == NULL;

    json_array_foreach (di_at(plan, "groups"), i, g)
        json_object_foreach (di_at(g, "axes"), axis, v)
            di_json_put(axes, axis, json_true(), &failed);
    json_object_foreach (axes, axis, v)
        json_array_foreach (sets, i, set) {
            curve = failed ? NULL : curve_json(set, axis, &failed);
            if (curve != NULL) di_json_add(out, curve, &failed);
        }
    json_decref(axes);
    return di_json_whole(out, failed);
}
