/* The page of one or more sweeps: claims, then for each its table, intervals and curves. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"
#include "report/sweep.h"

enum { MAX_DOTS = 40 };

static double end_of(const json_t *ci, size_t i)
{
    const json_t *v = json_array_get(ci, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Colour by kind: baseline, oracle, the paper's critic, all others. */
static int style_of(const json_t *g)
{
    const char *method = di_text_at(g, "method");

    if (strcmp(method, "src-pref") == 0 || strcmp(method, "base") == 0) return 0;
    if (strncmp(method, "oracle", 6) == 0) return 2;
    return strcmp(method, "dial") == 0 ? 1 : 3;
}

static void claims_section(const json_t *claims, di_buf *out)
{
    const json_t *c, *d;
    size_t i, k;

    if (json_array_size(di_at(claims, "claims")) == 0) return;
    di_puts(out, "<section id=\"claims\"><h2>What is claimed</h2>\n<div class=\"cards\">\n");
    json_array_foreach (di_at(claims, "claims"), i, c) {
        const json_t *holds = di_at(c, "holds"), *ci = di_at(c, "ci95");

        di_puts(out, "<div class=\"card\"><p class=\"soft\">");
        di_put_html(out, di_text_at(c, "claim"));
        di_buf_printf(out, "</p><p class=\"big %s\">%s</p><p>",
                      json_is_true(holds)    ? "good"
                      : json_is_false(holds) ? "bad"
                                             : "",
                      json_is_true(holds)    ? "holds"
                      : json_is_false(holds) ? "falls short"
                                             : "not measured");
        if (isfinite(di_num(c, "value"))) di_buf_printf(out, "%.3g", di_num(c, "value"));
        if (json_is_array(ci))
            di_buf_printf(out, " (95%% interval %.3g to %.3g)", end_of(ci, 0), end_of(ci, 1));
        di_buf_printf(out, "%sneeded: %.3g</p><details><summary>from %.0f</summary>",
                      isfinite(di_num(c, "value")) ? "; " : "", di_num(c, "needed"),
                      di_num(c, "n"));
        json_array_foreach (di_at(c, "detail"), k, d) {
            di_puts(out, "<p class=\"soft\">");
            di_put_html(out, json_string_value(d));
            di_puts(out, "</p>");
        }
        di_puts(out, "</details></div>\n");
    }
    di_puts(out, "</div></section>\n");
}

/* Accuracy, or the difference from src-pref, of every group of a set. */
static void dots_figure(const json_t *set, const char *id, int difference, di_buf *out)
{
    const json_t *g;
    di_dot dots[MAX_DOTS];
    int n = 0;
    size_t i;

    json_array_foreach (di_at(set, "groups"), i, g) {
        const json_t *ci = di_at(g, difference ? "delta_ci95" : "ci95");
        double x = di_num(g, difference ? "delta" : "mean");

        if (n == MAX_DOTS || !isfinite(x)) continue;
        dots[n++] = (di_dot){di_text_at(g, "label"), x, end_of(ci, 0), end_of(ci, 1), style_of(g)};
    }
    if (n == 0) return;
    di_puts(out, difference
                     ? "<figure><figcaption><b>Difference from training on the source alone</b>"
                       "Paired by seed and row; whiskers: 95% intervals over texts and "
                       "seeds.</figcaption>\n"
                     : "<figure><figcaption><b>Pairs ranked correctly</b>Mean over seeds; "
                       "whiskers: 95% intervals over texts and seeds.</figcaption>\n");
    di_svg_dots(out,
                &(di_dot_chart){.id = id,
                                .title = difference ? "Difference from src-pref by method"
                                                    : "Accuracy by method",
                                .description = "The same numbers stand in the table below.",
                                .x_label = difference ? "points of accuracy" : "accuracy",
                                .dot = dots,
                                .n = n,
                                .reference = {difference ? 0 : 0.5, NAN},
                                .reference_name = {difference ? "no difference" : "guessing", ""},
                                .unit = difference ? DI_UNIT_POINTS : DI_UNIT_PERCENT});
    di_puts(out, "</figure>\n");
}

/* Takes over the rows, the head first. */
static void table(json_t *rows, di_buf *out)
{
    json_t *row, *cell;
    size_t i, k;

    if (rows == NULL) out->failed = 1;
    di_puts(out, "<div class=\"scroll\"><table>\n");
    json_array_foreach (rows, i, row) {
        di_puts(out, i == 0 ? "<thead><tr>" : "<tr>");
        json_array_foreach (row, k, cell) {
            const char *tag = i == 0 || k == 0 ? "th" : "td";

            di_buf_printf(out, "<%s%s>", tag,
                          i == 0   ? " scope=\"col\""
                          : k == 0 ? " scope=\"row\""
                                   : "");
            di_put_html(out, json_string_value(cell));
            di_buf_printf(out, "</%s>", tag);
        }
        di_puts(out, i == 0 ? "</tr></thead><tbody>\n" : "</tr>\n");
    }
    di_puts(out, "</tbody></table></div>\n");
    json_decref(rows);
}

/* Values over decades are drawn by their logarithm. */
static json_t *drawn_x(const json_t *x, int *logarithm, int *failed)
{
    double least = INFINITY, most = 0;
    json_t *out = json_array();
    const json_t *v;
    size_t i;

    json_array_foreach (x, i, v) {
        least = fmin(least, json_number_value(v));
        most = fmax(most, json_number_value(v));
    }
    *logarithm = least > 0 && most >= 100 * least;
    json_array_foreach (x, i, v)
        di_json_add(out,
                    di_json_stat(*logarithm ? log10(json_number_value(v)) : json_number_value(v)),
                    failed);
    return out;
}

static void curve_figure(const json_t *curve, const char *id, di_buf *out)
{
    di_series s[DI_MAX_SERIES];
    json_t *x[DI_MAX_SERIES];
    const char *axis = di_text_at(curve, "axis");
    const json_t *line;
    int n = 0, logarithm = 0;
    size_t i;

    json_array_foreach (di_at(curve, "series"), i, line) {
        if (n == DI_MAX_SERIES) break;
        x[n] = drawn_x(di_at(line, "x"), &logarithm, &out->failed);
        s[n] = (di_series){di_text_at(line, "label"),
                           x[n],
                           di_at(line, "y"),
                           di_at(line, "lo"),
                           di_at(line, "hi"),
                           NAN,
                           n,
                           0};
        n++;
    }
    di_puts(out, "<figure><figcaption><b>");
    di_put_html(out, di_text_at(curve, "set"));
    di_puts(out, " over ");
    di_put_html(out, axis);
    di_puts(out, "</b>Accuracy, mean over seeds; bands: 95% intervals.</figcaption>\n");
    di_svg_lines(out, &(di_line_chart){.id = id,
                                       .title = "Accuracy along an axis of the grid",
                                       .description = "One line a method, with bands.",
                                       .x_label = logarithm ? DI_FMT("log10 of %s", axis) : axis,
                                       .y_label = "accuracy",
                                       .series = s,
                                       .n = n,
                                       .reference = NAN,
                                       .unit = DI_UNIT_PERCENT});
    di_puts(out, "</figure>\n");
    for (int k = 0; k < n; k++) json_decref(x[k]);
}

static void sweep_section(const json_t *doc, size_t number, di_buf *out)
{
    const char *name = di_text_at(doc, "name"), *setting = di_text_at(doc, "setting");
    const json_t *set, *curve, *run;
    char id[48];
    size_t i;
    int open = 0;

    di_buf_printf(out, "<section id=\"sweep%zu\"><h2>", number);
    di_put_html(out, name != NULL ? name : di_text_at(doc, "out"));
    di_puts(out, "</h2>\n<p>");
    if (setting != NULL) {
        di_put_html(out, setting);
        di_puts(out, ". ");
    }
    if (json_is_true(di_at(doc, "control")))
        di_puts(out, "A control: no gap is expected here, and no harm is asked for. ");
    di_sweep_status(doc, out);
    di_puts(out, ".</p>\n");
    json_array_foreach (di_at(doc, "sets"), i, set) {
        di_puts(out, "<h3>");
        di_put_html(out, di_text_at(set, "name"));
        di_buf_printf(out, " <span class=\"soft\">%.0f rows</span></h3>\n", di_num(set, "n"));
        if (strcmp(di_text_at(set, "measure"), "accuracy") == 0) {
            di_puts(out, "<div class=\"figures\">\n");
            snprintf(id, sizeof id, "acc%zu-%zu", number, i);
            dots_figure(set, id, 0, out);
            snprintf(id, sizeof id, "dif%zu-%zu", number, i);
            dots_figure(set, id, 1, out);
            di_puts(out, "</div>\n");
        }
        table(di_sweep_rows(doc, set), out);
    }
    if (json_is_object(di_at(doc, "validators"))) {
        di_puts(out, "<h3>Do the validators know? <span class=\"soft\">");
        di_put_html(out, di_text_at(doc, "validators.set"));
        di_puts(out, "</span></h3>\n");
        table(di_sweep_validator_rows(doc), out);
        di_puts(out, "<p class=\"soft\">");
        di_sweep_validator_words(doc, out);
        di_puts(out, "</p>\n");
    }
    if (json_array_size(di_at(doc, "curves")) > 0) di_puts(out, "<div class=\"figures\">\n");
    json_array_foreach (di_at(doc, "curves"), i, curve) {
        snprintf(id, sizeof id, "curve%zu-%zu", number, i);
        curve_figure(curve, id, out);
    }
    if (json_array_size(di_at(doc, "curves")) > 0) di_puts(out, "</div>\n");
    json_array_foreach (di_at(doc, "runs"), i, run) {
        const char *error = di_text_at(run, "error");

        if (error == NULL) continue;
        if (!open++) di_puts(out, "<details><summary>Runs that failed</summary>\n");
        di_puts(out, "<p class=\"warn\"><b>");
        di_put_html(out, di_text_at(run, "dir"));
        di_puts(out, "</b> ");
        di_put_html(out, error);
        di_puts(out, "</p>\n");
    }
    di_puts(out, open ? "</details></section>\n" : "</section>\n");
}

static void top(const json_t *docs, const char *title, di_buf *out)
{
    const json_t *doc;
    size_t i;

    di_page_begin(title, out);
    di_puts(out,
            "</h1>\n<p class=\"lead\">Reward models trained on labelled pairs of a <b>source</b> "
            "domain and asked about a <b>target</b> whose labels they did not see. Every method "
            "was trained with several seeds; <b>src-pref</b> uses the source alone, an "
            "<b>oracle</b> the target's labels too.</p>\n<nav>");
    json_array_foreach (docs, i, doc) {
        const char *name = di_text_at(doc, "name");

        di_buf_printf(out, "<a href=\"#sweep%zu\">", i);
        di_put_html(out, name != NULL ? name : di_text_at(doc, "out"));
        di_puts(out, "</a>");
    }
    di_puts(out, "</nav></header>\n<main>\n");
}

dial_status di_sweep_html(const json_t *docs, const json_t *claims, const char *title, di_buf *out,
                          dial_error *err)
{
    const json_t *doc;
    size_t i;

    top(docs, title, out);
    claims_section(claims, out);
    json_array_foreach (docs, i, doc) sweep_section(doc, i, out);
    di_puts(out,
            "<section id=\"guide\"><h2>How to read this</h2>\n<p>Gap closed: (method - src-pref) / "
            "(oracle - src-pref), where that gap is at least two standard errors. Worst seed: the "
            "lowest difference of a seed. Cost of choosing: points between the checkpoint that "
            "target labels would have chosen and the one chosen without them. Diverged: runs that "
            "ended on a number that is not finite, or lost more than 5 points on held-out source "
            "pairs.</p></section>\n</main>\n<footer>Made by dial " DIAL_VERSION
            ". This file needs no network and holds no script.</footer>\n</body></html>\n");
    return di_buf_status(out, err);
}
