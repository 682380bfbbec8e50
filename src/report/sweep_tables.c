/* The tables of a sweep: terminal, Markdown, CSV. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "report/collect.h"
#include "report/markup.h"
#include "report/sweep.h"
#include "report/table.h"

static double end_of(const json_t *ci, size_t i)
{
    const json_t *v = json_array_get(ci, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* "70.2%", and the interval where there is one; "-" for nothing. */
static const char *with_range(char out[96], double x, const json_t *ci,
                              const char *(*show)(char[24], double))
{
    char a[24], b[24], c[24];

    if (!isfinite(x)) return "-";
    if (isfinite(end_of(ci, 0)))
        return di_format(out, 96, "%s (%s to %s)", show(a, x), show(b, end_of(ci, 0)),
                         show(c, end_of(ci, 1)));
    return di_format(out, 96, "%s", show(a, x));
}

/* Differences in points without the word: the head of the column has it. */
static const char *bare_points(char buf[24], double x)
{
    return di_format(buf, 24, "%+.1f", 100 * x);
}

static const char *share(char buf[24], double x)
{
    return di_format(buf, 24, "%.2f", x);
}

static const char *decimal3(char buf[24], double x)
{
    return di_decimal(buf, x, 3);
}

static const json_t *totals_of(const json_t *doc, const char *label)
{
    const json_t *g;
    size_t i;

    json_array_foreach (di_at(doc, "by"), i, g)
        if (strcmp(di_text_at(g, "label"), label) == 0) return g;
    return NULL;
}

static json_t *row_of(const json_t *doc, const json_t *set, const json_t *g)
{
    const json_t *total = totals_of(doc, di_text_at(g, "label")), *gap = di_at(g, "gap");
    int accuracy = strcmp(di_text_at(set, "measure"), "accuracy") == 0;
    double sd = di_num(g, "sd"), better = di_num(g, "seeds_better"),
           regret = di_num(g, "regret.mean");
    char level[96], delta[96], closed[96], spread[24], worst[24], cost[24];
    size_t compared = json_array_size(di_at(g, "delta_by_seed"));

    if (!accuracy) di_format(spread, sizeof spread, isfinite(sd) ? "%.3f" : "-", sd);
    if (accuracy) di_format(spread, sizeof spread, isfinite(sd) ? "%.1f" : "-", 100 * sd);
    return json_pack(
        "[s,s,s,s,s,s,s,s,s,s]", di_text_at(g, "label"), DI_FMT("%.0f", di_num(g, "seeds")),
        with_range(level, di_num(g, "mean"), di_at(g, "ci95"), accuracy ? di_percent : decimal3),
        spread,
        with_range(delta, di_num(g, "delta"), di_at(g, "delta_ci95"),
                   accuracy ? bare_points : decimal3),
        isfinite(better) ? DI_FMT("%.0f of %zu", better, compared) : "-",
        isfinite(di_num(g, "worst")) ? bare_points(worst, di_num(g, "worst")) : "-",
        json_is_object(gap) && !json_is_true(di_at(gap, "usable"))
            ? "no gap"
            : with_range(closed, di_num(gap, "closed"), di_at(gap, "ci95"), share),
        isfinite(regret) ? bare_points(cost, regret) : "-",
        DI_FMT("%.0f", di_num(total, "diverged")));
}

json_t *di_sweep_rows(const json_t *doc, const json_t *set)
{
    json_t *rows = json_pack(
        "[[s,s,s,s,s,s,s,s,s,s]]", "method", "seeds",
        strcmp(di_text_at(set, "measure"), "accuracy") == 0 ? "accuracy (95%)" : "rank correlation",
        "sd", "against src-pref, points (95%)", "seeds better", "worst seed", "gap closed (95%)",
        "cost of choosing", "diverged");
    const json_t *g;
    size_t i;
    int failed = rows == NULL;

    json_array_foreach (di_at(set, "groups"), i, g) di_json_add(rows, row_of(doc, set, g), &failed);
    return di_json_whole(rows, failed);
}

void di_sweep_status(const json_t *doc, di_buf *out)
{
    const json_t *run;
    int64_t done = 0, failed = 0, open = 0;
    size_t i;

    json_array_foreach (di_at(doc, "runs"), i, run) {
        const char *status = di_text_at(run, "status");

        done += strcmp(status, "done") == 0 || strcmp(status, "skipped") == 0;
        failed += strcmp(status, "failed") == 0;
        open += strcmp(status, "open") == 0;
    }
    di_buf_printf(out, "%lld runs done, %lld failed, %lld open", (long long)done, (long long)failed,
                  (long long)open);
}

/* One sentence a set: what was counted and how the intervals were made. */
static void about_set(const json_t *set, di_buf *out)
{
    double n = di_num(set, "n"), units = di_num(set, "clusters");

    di_buf_printf(out, "%.0f rows", n);
    if (units > 1)
        di_buf_printf(out, "; intervals: bootstrap over %.0f %s and over seeds", units,
                      units == n ? "rows" : "units");
}

dial_status di_sweep_text(const json_t *doc, di_buf *out, dial_error *err)
{
    const char *name = di_text_at(doc, "name");
    const json_t *set, *run;
    json_t *rows;
    size_t i;

    di_put_plain(out, name != NULL ? name : di_text_at(doc, "out"));
    di_puts(out, ": ");
    di_sweep_status(doc, out);
    di_puts(out, "\n");
    json_array_foreach (di_at(doc, "sets"), i, set) {
        di_puts(out, "\n");
        di_put_plain(out, di_text_at(set, "name"));
        di_puts(out, ", ");
        about_set(set, out);
        di_puts(out, "\n");
        rows = di_sweep_rows(doc, set);
        if (rows == NULL) out->failed = 1;
        if (rows != NULL) di_table_print(rows, "lrrrrrrrrr", 2, out);
        json_decref(rows);
    }
    json_array_foreach (di_at(doc, "runs"), i, run) {
        const char *error = di_text_at(run, "error");

        if (error == NULL) continue;
        di_puts(out, "failed: ");
        di_put_plain(out, di_text_at(run, "dir"));
        di_puts(out, ": ");
        di_put_plain(out, error);
        di_puts(out, "\n");
    }
    return di_buf_status(out, err);
}

dial_status di_sweep_markdown(const json_t *doc, di_buf *out, dial_error *err)
{
    const char *name = di_text_at(doc, "name"), *setting = di_text_at(doc, "setting");
    const json_t *set, *row, *cell, *curve, *line;
    json_t *rows;
    size_t i, k, c;

    di_puts(out, "# ");
    di_put_md(out, name != NULL ? name : "sweep");
    di_puts(out, "\n\n");
    if (setting != NULL) {
        di_put_md(out, setting);
        di_puts(out, ". ");
    }
    di_sweep_status(doc, out);
    di_puts(out, ".\n");
    json_array_foreach (di_at(doc, "sets"), i, set) {
        di_puts(out, "\n## ");
        di_put_md(out, di_text_at(set, "name"));
        di_puts(out, "\n\n");
        about_set(set, out);
        di_puts(out, ".\n\n");
        rows = di_sweep_rows(doc, set);
        if (rows == NULL) out->failed = 1;
        json_array_foreach (rows, k, row) {
            di_puts(out, "|");
            json_array_foreach (row, c, cell) {
                di_puts(out, " ");
                di_put_md(out, json_string_value(cell));
                di_puts(out, " |");
            }
            di_puts(out, k == 0 ? "\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n" : "\n");
        }
        json_decref(rows);
    }
    if (json_is_object(di_at(doc, "validators"))) {
        di_puts(out, "\n## Validators beside ");
        di_put_md(out, di_text_at(doc, "validators.set"));
        di_puts(out, "\n\n");
        di_sweep_validator_words(doc, out);
        di_puts(out, "\n\n");
        rows = di_sweep_validator_rows(doc);
        if (rows == NULL) out->failed = 1;
        json_array_foreach (rows, k, row) {
            di_puts(out, "|");
            json_array_foreach (row, c, cell) di_buf_printf(out, " %s |", json_string_value(cell));
            di_puts(out, k == 0 ? "\n|---|---:|---:|---:|\n" : "\n");
        }
        json_decref(rows);
    }
    json_array_foreach (di_at(doc, "curves"), i, curve) {
        di_puts(out, "\n## ");
        di_put_md(out, di_text_at(curve, "set"));
        di_puts(out, " over ");
        di_put_md(out, di_text_at(curve, "axis"));
        di_puts(out, "\n\n| method | range, points | not below src-pref |\n|---|---:|---:|\n");
        json_array_foreach (di_at(curve, "series"), k, line) {
            if (json_is_true(di_at(line, "level"))) continue;
            di_puts(out, "| ");
            di_put_md(out, di_text_at(line, "label"));
            di_buf_printf(out, " | %.1f | %.0f of %.0f |\n", 100 * di_num(line, "range"),
                          di_num(line, "above"), di_num(line, "n"));
        }
    }
    return di_buf_status(out, err);
}

/* A field of CSV: quoted where it must be. */
static void field(di_buf *out, const char *text)
{
    if (text == NULL) return;
    if (strpbrk(text, ",\"\r\n") == NULL) {
        di_puts(out, text);
        return;
    }
    di_puts(out, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"') di_puts(out, "\"");
        di_buf_append(out, text, 1);
    }
    di_puts(out, "\"");
}

static void number(di_buf *out, double x)
{
    di_puts(out, ",");
    if (isfinite(x)) di_buf_printf(out, "%.6g", x);
}

/* One line a set, group and seed, and one (seed empty) for the group: everything as numbers. */
dial_status di_sweep_csv(const json_t *doc, di_buf *out, dial_error *err)
{
    const json_t *set, *g, *v, *d;
    size_t i, k, s, j;

    di_puts(out, "name,set,label,method,seed,n,value,lo,hi,delta,delta_lo,delta_hi,gap_closed,"
                 "gap_closed_lo,gap_closed_hi,regret\n");
    json_array_foreach (di_at(doc, "sets"), i, set)
        json_array_foreach (di_at(set, "groups"), k, g) {
            const json_t *closed = di_at(g, "gap.ci95");

            for (s = 0; s <= json_array_size(di_at(g, "by_seed")); s++) {
                int whole = s == 0;
                double seed, delta = NAN;

                v = whole ? NULL : json_array_get(di_at(g, "by_seed"), s - 1);
                seed = di_num(v, "seed");
                json_array_foreach (di_at(g, "delta_by_seed"), j, d)
                    if (di_num(d, "seed") == seed) delta = di_num(d, "value");
                field(out, di_text_at(doc, "name"));
                di_puts(out, ",");
                field(out, di_text_at(set, "name"));
                di_puts(out, ",");
                field(out, di_text_at(g, "label"));
                di_puts(out, ",");
                field(out, di_text_at(g, "method"));
                number(out, seed);
                number(out, di_num(set, "n"));
                number(out, whole ? di_num(g, "mean") : di_num(v, "value"));
                number(out, whole ? end_of(di_at(g, "ci95"), 0) : NAN);
                number(out, whole ? end_of(di_at(g, "ci95"), 1) : NAN);
                number(out, whole ? di_num(g, "delta") : delta);
                number(out, whole ? end_of(di_at(g, "delta_ci95"), 0) : NAN);
                number(out, whole ? end_of(di_at(g, "delta_ci95"), 1) : NAN);
                number(out, whole ? di_num(g, "gap.closed") : NAN);
                number(out, whole ? end_of(closed, 0) : NAN);
                number(out, whole ? end_of(closed, 1) : NAN);
                number(out, whole ? di_num(g, "regret.mean") : NAN);
                di_puts(out, "\n");
            }
        }
    return di_buf_status(out, err);
}
