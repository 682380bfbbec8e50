/* Results: accuracy of each model on each set, differences, gap closure, seeds. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"

static int scored(const json_t *set)
{
    const char *kind = di_text_at(set, "kind");

    return kind != NULL && strcmp(kind, "scored") == 0;
}

static void td(di_buf *out, const char *s)
{
    di_buf_printf(out, "<td>%s</td>", s);
}

/* A value and its interval below it. */
static void td_interval(di_buf *out, double x, const json_t *ci)
{
    const json_t *lo = json_array_get(ci, 0), *hi = json_array_get(ci, 1);

    di_buf_printf(out, "<td>%s", DI_PERCENT(x));
    if (json_is_number(lo) && json_is_number(hi))
        di_buf_printf(out, "<small>%s to %s</small>", DI_PERCENT(json_number_value(lo)),
                      DI_PERCENT(json_number_value(hi)));
    di_puts(out, "</td>");
}

static void th_model(di_buf *out, const char *label)
{
    di_puts(out, "<tr><th scope=\"row\">");
    di_put_html(out, label);
    di_puts(out, "</th>");
}

static void accuracy_figure(const json_t *doc, const json_t *set, size_t number, di_buf *out)
{
    di_dot dots[DI_MAX_SERIES];
    char id[32];
    int n = 0;
    const json_t *r;
    size_t i;

    json_array_foreach (di_at(set, "results"), i, r) {
        const json_t *ci = di_page_interval(r);

        if (n == DI_MAX_SERIES || !isfinite(di_num(r, "accuracy"))) continue;
        dots[n++] = (di_dot){di_text_at(r, "model"), di_num(r, "accuracy"),
                             json_is_array(ci) ? json_number_value(json_array_get(ci, 0)) : NAN,
                             json_is_array(ci) ? json_number_value(json_array_get(ci, 1)) : NAN,
                             di_page_style_of(doc, di_text_at(r, "model"))};
    }
    if (n == 0) return;
    snprintf(id, sizeof id, "acc%zu", number);
    di_puts(out, "<figure><figcaption><b>Pairs ranked correctly, with 95% intervals</b>Dotted "
                 "lines: guessing, "
                 "and the rule \xE2\x80\x9Cprefer the longer response\xE2\x80\x9D.</figcaption>\n");
    di_svg_dots(out, &(di_dot_chart){.id = id,
                                     .title = "Accuracy of each model with its interval",
                                     .description = "The same numbers stand in the table below.",
                                     .x_label = "accuracy",
                                     .dot = dots,
                                     .n = n,
                                     .reference = {0.5, di_num(set, "baseline_longer")},
                                     .reference_name = {"guessing", "longer wins"},
                                     .unit = DI_UNIT_PERCENT});
    di_puts(out, "</figure>\n");
}

static void pairs_table(const json_t *set, di_buf *out)
{
    const json_t *r;
    size_t i;

    di_puts(out, "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">model</th>"
                 "<th scope=\"col\">accuracy</th><th scope=\"col\">pairs</th><th "
                 "scope=\"col\">distinct texts</th><th scope=\"col\">ties</th><th "
                 "scope=\"col\">longer wins</th><th scope=\"col\">accuracy,<br>lengths "
                 "alike</th><th scope=\"col\">accuracy,<br>balanced by length</th><th "
                 "scope=\"col\">loss</th><th scope=\"col\">weights<br>of "
                 "step</th></tr></thead><tbody>\n");
    json_array_foreach (di_at(set, "results"), i, r) {
        th_model(out, di_text_at(r, "model"));
        td_interval(out, di_num(r, "accuracy"), di_page_interval(r));
        td(out, DI_DECIMAL(di_num(r, "n"), 0));
        td(out, DI_DECIMAL(di_num(r, "clusters"), 0));
        td(out, DI_DECIMAL(di_num(r, "ties"), 0));
        td(out, DI_PERCENT(di_num(r, "length.baseline_longer")));
        td_interval(out, di_num(r, "length.matched.accuracy"),
                    di_page_interval(di_at(r, "length.matched")));
        td(out, DI_PERCENT(di_num(r, "length.balanced_accuracy")));
        td(out, DI_DECIMAL(di_num(r, "loss"), 3));
        td(out, DI_DECIMAL(di_num(r, "selected_step"), 0));
        di_puts(out, "</tr>\n");
    }
    di_puts(out, "</tbody></table></div>\n");
    r = json_array_get(di_at(set, "results"), 0);
    if (isfinite(di_num(r, "length.matched.n")))
        di_buf_printf(
            out,
            "<p class=\"soft\">Lengths alike: the %.0f pairs whose numbers of words differ by "
            "less than about a third, or that are marked so; on them the longer text wins %s. "
            "Balanced by length: mean of the accuracy where the chosen text is longer and where "
            "it is shorter, 50%% for a pure length rule.</p>\n",
            di_num(r, "length.matched.n"), DI_PERCENT(di_num(r, "length.matched.baseline_longer")));
}

static void scored_table(const json_t *set, di_buf *out)
{
    const json_t *r;
    size_t i;

    di_puts(out, "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">model</th>"
                 "<th scope=\"col\">Spearman<br>within prompts</th><th "
                 "scope=\"col\">Kendall<br>within prompts</th><th scope=\"col\">prompts</th><th "
                 "scope=\"col\">Spearman pooled</th><th scope=\"col\">texts</th><th "
                 "scope=\"col\">reward and length</th><th scope=\"col\">score and "
                 "length</th></tr></thead><tbody>\n");
    json_array_foreach (di_at(set, "results"), i, r) {
        th_model(out, di_text_at(r, "model"));
        td(out, DI_DECIMAL(di_num(r, "spearman.within_prompt"), 3));
        td(out, DI_DECIMAL(di_num(r, "kendall.within_prompt"), 3));
        td(out, DI_DECIMAL(di_num(r, "spearman.prompts"), 0));
        di_buf_printf(out, "<td>%s", DI_DECIMAL(di_num(r, "spearman.pooled"), 3));
        if (json_is_array(di_at(r, "spearman.ci95")))
            di_buf_printf(out, "<small>%s to %s</small>",
                          DI_DECIMAL(di_page_end(r, "spearman.ci95", 0), 3),
                          DI_DECIMAL(di_page_end(r, "spearman.ci95", 1), 3));
        di_puts(out, "</td>");
        td(out, DI_DECIMAL(di_num(r, "n"), 0));
        td(out, DI_DECIMAL(di_num(r, "length.reward_corr"), 3));
        td(out, DI_DECIMAL(di_num(r, "length.score_corr"), 3));
        di_puts(out, "</tr>\n");
    }
    di_puts(out, "</tbody></table></div>\n");
}

static void difference_figure(const json_t *doc, const json_t *set, size_t number, di_buf *out)
{
    di_dot dots[DI_MAX_SERIES];
    char id[32];
    int n = 0;
    const json_t *p;
    size_t i;

    json_array_foreach (di_at(set, "paired"), i, p) {
        if (n == DI_MAX_SERIES || !isfinite(di_num(p, "delta"))) continue;
        dots[n++] =
            (di_dot){di_text_at(p, "model"), di_num(p, "delta"), di_page_end(p, "ci95", 0),
                     di_page_end(p, "ci95", 1), di_page_style_of(doc, di_text_at(p, "model"))};
    }
    if (n == 0) return;
    snprintf(id, sizeof id, "diff%zu", number);
    di_puts(out, "<figure><figcaption><b>Difference from training on the source alone</b>The same "
                 "pairs, the same "
                 "draws of texts for both models; right of 0 is better.</figcaption>\n");
    di_svg_dots(out, &(di_dot_chart){.id = id,
                                     .title = "Paired differences with their intervals",
                                     .description = "The same numbers stand in the table below.",
                                     .x_label = "points of accuracy",
                                     .dot = dots,
                                     .n = n,
                                     .reference = {0, NAN},
                                     .reference_name = {"no difference", NULL},
                                     .unit = DI_UNIT_POINTS});
    di_puts(out, "</figure>\n");
}

static const json_t *closure_of(const json_t *set, const char *model)
{
    const json_t *g;
    size_t i;

    json_array_foreach (di_at(set, "gap_closure"), i, g)
        if (strcmp(di_text_at(g, "model"), model) == 0) return g;
    return NULL;
}

static void td_closure(di_buf *out, const json_t *g)
{
    if (!json_is_true(di_at(g, "usable"))) {
        di_puts(out, g != NULL ? "<td>no gap</td>" : "<td>\xE2\x80\x93</td>");
        return;
    }
    di_buf_printf(out, "<td>%.0f%%<small>%.0f%% to %.0f%%</small></td>", 100 * di_num(g, "value"),
                  100 * di_page_end(g, "ci95", 0), 100 * di_page_end(g, "ci95", 1));
}

static void difference_table(const json_t *set, di_buf *out)
{
    const json_t *p;
    size_t i;

    di_puts(out, "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">model</th><th "
                 "scope=\"col\">against</th><th scope=\"col\">difference,<br>points</th><th "
                 "scope=\"col\">pairs gained</th><th scope=\"col\">pairs lost</th><th "
                 "scope=\"col\">McNemar p</th><th scope=\"col\">difference,<br>balanced by "
                 "length</th><th scope=\"col\">share of the<br>gap "
                 "closed</th></tr></thead><tbody>\n");
    json_array_foreach (di_at(set, "paired"), i, p) {
        th_model(out, di_text_at(p, "model"));
        di_puts(out, "<td>");
        di_put_html(out, di_text_at(p, "baseline"));
        di_buf_printf(out, "</td><td>%s", DI_POINTS(di_num(p, "delta")));
        if (json_is_array(di_at(p, "ci95")))
            di_buf_printf(out, "<small>%s to %s</small>", DI_POINTS(di_page_end(p, "ci95", 0)),
                          DI_POINTS(di_page_end(p, "ci95", 1)));
        di_puts(out, "</td>");
        td(out, DI_DECIMAL(di_num(p, "better"), 0));
        td(out, DI_DECIMAL(di_num(p, "worse"), 0));
        td(out,
           di_num(p, "p_mcnemar") < 0.001 ? "&lt; 0.001" : DI_DECIMAL(di_num(p, "p_mcnemar"), 3));
        td(out, DI_POINTS(di_num(p, "balanced_delta")));
        td_closure(out, closure_of(set, di_text_at(p, "model")));
        di_puts(out, "</tr>\n");
    }
    di_puts(out, "</tbody></table></div>\n<p class=\"soft\">McNemar's p takes pairs as "
                 "independent. Where texts recur "
                 "it is too sure of itself; go by the interval.</p>\n");
}

static void seeds_table(const json_t *set, di_buf *out)
{
    const json_t *s;
    size_t i;

    if (json_array_size(di_at(set, "seeds")) == 0) return;
    di_puts(out, "<div class=\"scroll\"><table><caption>Several seeds of one "
                 "method</caption><thead><tr><th scope=\"col\">method</th><th "
                 "scope=\"col\">seeds</th><th scope=\"col\">mean accuracy</th><th scope=\"col\">sd "
                 "over seeds</th></tr></thead><tbody>\n");
    json_array_foreach (di_at(set, "seeds"), i, s) {
        th_model(out, di_text_at(s, "method"));
        td(out, DI_DECIMAL(di_num(s, "n"), 0));
        td(out, DI_PERCENT(di_num(s, "mean")));
        di_buf_printf(out, "<td>%.1f points</td></tr>\n", 100 * di_num(s, "std"));
    }
    di_puts(out, "</tbody></table></div>\n");
}

void di_page_results(const json_t *doc, di_buf *out)
{
    const json_t *set;
    size_t i;

    di_puts(out, "<section id=\"results\"><h2>Results</h2>\n");
    if (json_array_size(di_at(doc, "sets")) == 0)
        di_puts(out, "<p>No labelled set was given (train --eval NAME=FILE).</p>\n");
    json_array_foreach (di_at(doc, "sets"), i, set) {
        di_puts(out, "<h3>");
        di_put_html(out, di_text_at(set, "name"));
        di_puts(out, "</h3>\n");
        di_page_paragraphs(out, di_words_set(doc, set), "");
        accuracy_figure(doc, set, i, out);
        if (scored(set))
            scored_table(set, out);
        else
            pairs_table(set, out);
        if (json_array_size(di_at(set, "paired")) > 0) {
            difference_figure(doc, set, i, out);
            difference_table(set, out);
        }
        seeds_table(set, out);
    }
    di_puts(out, "</section>\n");
}
