/* Training: loss, distance, held-out rows, evaluations along the run; and the maps. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"

/* Series of one key over all models that have it. */
static int curve_series(const json_t *doc, const char *key, di_series *series)
{
    const json_t *m;
    size_t i;
    int n = 0;

    json_array_foreach (di_at(doc, "models"), i, m) {
        const json_t *c = di_at(di_at(m, "curves"), key);

        if (c == NULL || n == DI_MAX_SERIES) continue;
        series[n++] = (di_series){di_text_at(m, "label"),
                                  di_at(c, "step"),
                                  di_at(c, "value"),
                                  NULL,
                                  NULL,
                                  NAN,
                                  (int)i,
                                  1};
    }
    return n;
}

static void figure(di_buf *out, const char *heading, const char *words, const di_line_chart *c)
{
    if (c->n == 0) return;
    di_buf_printf(out, "<figure><figcaption><b>%s</b>%s</figcaption>\n", heading, words);
    di_svg_lines(out, c);
    di_puts(out, "</figure>\n");
}

static void training_figures(const json_t *doc, di_buf *out)
{
    di_series s[DI_MAX_SERIES];
    int n = curve_series(doc, "loss_source", s);

    figure(
        out, "Loss on source pairs",
        "How badly labelled source pairs are ordered while training on them. Guessing gives 0.693. "
        "Bold: running mean.",
        &(di_line_chart){
            .id = "loss",
            .title = "Source loss along training",
            .description = "Mean loss on labelled source pairs by training step, one line a model.",
            .x_label = "step",
            .y_label = "loss",
            .series = s,
            .n = n,
            .reference = M_LN2,
            .reference_name = "guessing",
            .from_zero = 1});
    n = curve_series(doc, "w1", s);
    figure(out, "Distance between the domains",
           "What a critic can find between the embeddings of source and target texts; training "
           "makes it small.",
           &(di_line_chart){
               .id = "w1",
               .title = "Critic's estimate of the distance between the domains",
               .description = "Wasserstein distance as estimated by the training critic, by step.",
               .x_label = "step",
               .y_label = "distance (W1)",
               .series = s,
               .n = n,
               .reference = NAN,
               .from_zero = 1});
    n = curve_series(doc, "gp", s);
    figure(out, "Gradient penalty of the critic",
           "How far the critic's slope is from 1. Large values mean that the distance above is not "
           "to be trusted.",
           &(di_line_chart){.id = "gp",
                            .title = "Gradient penalty along training",
                            .description = "Penalty term of the critic by step.",
                            .x_label = "step",
                            .y_label = "penalty",
                            .series = s,
                            .n = n,
                            .reference = NAN,
                            .from_zero = 1});
}

/* Held-out source rows at the checkpoints; the ring marks the chosen step. */
static void held_figure(const json_t *doc, di_buf *out)
{
    di_series s[DI_MAX_SERIES];
    const json_t *m;
    size_t i;
    int n = 0;

    json_array_foreach (di_at(doc, "models"), i, m) {
        const json_t *h = di_at(m, "held");

        if (json_array_size(di_at(h, "step")) < 2 || n == DI_MAX_SERIES) continue;
        if (!json_is_number(json_array_get(di_at(h, "loss"), 0))) continue;
        s[n++] = (di_series){di_text_at(m, "label"),
                             di_at(h, "step"),
                             di_at(h, "loss"),
                             NULL,
                             NULL,
                             di_num(m, "selected_step"),
                             (int)i,
                             0};
    }
    figure(
        out, "Held-out source pairs, and the step chosen",
        "Loss at each checkpoint on source pairs kept out of training. The ring is the "
        "checkpoint chosen from it; no target label takes part.",
        &(di_line_chart){.id = "held",
                         .title = "Held-out source loss at the checkpoints",
                         .description =
                             "Loss on held-out source pairs by step; a ring marks the chosen step.",
                         .x_label = "step",
                         .y_label = "loss",
                         .series = s,
                         .n = n,
                         .reference = M_LN2,
                         .reference_name = "guessing"});
}

static void along_figures(const json_t *doc, di_buf *out)
{
    const json_t *set, *a;
    size_t i, k;

    json_array_foreach (di_at(doc, "sets"), i, set) {
        di_series s[DI_MAX_SERIES];
        char id[32];
        di_buf words;
        int n = 0;

        json_array_foreach (di_at(set, "along"), k, a) {
            if (n == DI_MAX_SERIES) break;
            s[n++] = (di_series){di_text_at(a, "model"),
                                 di_at(a, "step"),
                                 di_at(a, "accuracy"),
                                 di_at(a, "lo"),
                                 di_at(a, "hi"),
                                 NAN,
                                 di_page_style_of(doc, di_text_at(a, "model")),
                                 0};
        }
        if (n == 0) continue;
        snprintf(id, sizeof id, "along%zu", i);
        di_buf_init(&words, out->al);
        di_puts(&words, "Accuracy on ");
        di_put_html(&words, di_text_at(set, "name"));
        di_puts(&words, " along training");
        if (!words.failed)
            figure(
                out, words.data,
                "Shaded: 95% intervals. Shown for understanding; nothing was chosen by it.",
                &(di_line_chart){.id = id,
                                 .title = "Accuracy along training",
                                 .description =
                                     "Accuracy on a labelled set by training step, with intervals.",
                                 .x_label = "step",
                                 .y_label = "accuracy",
                                 .series = s,
                                 .n = n,
                                 .reference = di_num(set, "baseline_longer"),
                                 .reference_name = "longer wins",
                                 .unit = DI_UNIT_PERCENT});
        else
            out->failed = 1;
        di_buf_deinit(&words);
    }
}

void di_page_curves(const json_t *doc, di_buf *out)
{
    di_puts(out, "<section id=\"training\"><h2>How training went</h2>\n");
    di_page_paragraphs(out, di_words_distance(doc), "");
    di_puts(out, "<div class=\"figures\">\n");
    training_figures(doc, out);
    held_figure(doc, out);
    along_figures(doc, out);
    di_puts(out, "</div></section>\n");
}

/* ---- maps ---- */

static void number(di_buf *out, const char *name, const char *value)
{
    di_buf_printf(out, "<dt>%s</dt><dd>%s</dd>", name, value);
}

static void panel(const json_t *p, const json_t *map, const char *id, di_buf *out)
{
    const char *model = di_text_at(p, "model");
    int before = strcmp(di_text_at(p, "when"), "before") == 0;
    int during = strcmp(di_text_at(p, "when"), "during") == 0;

    di_puts(out, "<figure><figcaption><b>");
    if (before && model == NULL) {
        di_puts(out, "Before training");
    } else {
        di_puts(out, before ? "Untrained: " : during ? "" : "After ");
        di_put_html(out, model);
        if (during) di_buf_printf(out, ", epoch %.3g", di_num(p, "epoch"));
    }
    di_puts(out, "</b>");
    if (isfinite(di_num(p, "step"))) di_buf_printf(out, "step %.0f; ", di_num(p, "step"));
    di_buf_printf(out, "%.0f source and %.0f ", di_num(p, "n_source"), di_num(p, "n_target"));
    di_put_html(out, di_text_at(map, "set"));
    di_puts(out, " texts</figcaption>\n");
    di_svg_scatter(
        out, id,
        before   ? "Map of embeddings before training"
        : during ? "Map of embeddings during training"
                 : "Map of embeddings after training",
        "Each mark is a text; near marks are near in the embedding. The numbers below say how "
        "mixed the domains are.",
        di_at(p, "points"), json_is_true(di_at(map, "labelled")));
    di_puts(out, "<dl class=\"numbers\">");
    number(out, "domains mixed (1 = fully)", DI_DECIMAL(di_num(p, "mixing"), 2));
    number(out, "clusters by domain (0 = none)", DI_DECIMAL(di_num(p, "silhouette_domain"), 3));
    number(out, "clusters by preference", DI_DECIMAL(di_num(p, "silhouette_preference"), 3));
    number(out, "source direction on the pairs", DI_PERCENT(di_num(p, "centroid_accuracy")));
    di_puts(out, "</dl></figure>\n");
}

static void key(di_buf *out, const char *style, const char *path, const char *domain,
                const char *preference)
{
    di_buf_printf(out,
                  "<span><svg class=\"chart\" viewBox=\"0 0 18 18\" aria-hidden=\"true\">"
                  "<path class=\"%s\" d=\"%s\"/></svg>",
                  style, path);
    di_put_html(out, domain);
    di_buf_printf(out, "%s</span>", preference);
}

static void map_legend(const char *set, int labelled, di_buf *out)
{
    static const char disc[] = "M9 9h0", cross[] = "M5 5l8 8m0-8l-8 8";

    di_puts(out, "<div class=\"legend\">");
    key(out, "disc source", disc, "source", ", chosen");
    key(out, "cross source", cross, "source", ", rejected");
    key(out, "disc target", disc, set, labelled ? ", chosen" : "");
    if (labelled) key(out, "cross target", cross, set, ", rejected");
    di_puts(out, "</div>\n");
}

void di_page_maps(const json_t *doc, di_buf *out)
{
    const json_t *map, *p;
    size_t i, k;

    if (json_array_size(di_at(doc, "maps")) == 0) return;
    di_puts(out,
            "<section id=\"maps\"><h2>Maps of the embeddings</h2>\n"
            "<p>Each mark is a text. The model turns it into a list of numbers, its embedding; the "
            "map (t-SNE) lays out similar embeddings side by side. Colour is the domain, shape the "
            "preference.</p>\n");
    json_array_foreach (di_at(doc, "maps"), i, map) {
        if (json_array_size(di_at(map, "panels")) == 0) continue;
        di_puts(out, "<h3>source and ");
        di_put_html(out, di_text_at(map, "set"));
        di_puts(out, "</h3>\n");
        di_page_paragraphs(out, di_words_map(map), "");
        map_legend(di_text_at(map, "set"), json_is_true(di_at(map, "labelled")), out);
        di_puts(out, "<div class=\"panels\">\n");
        json_array_foreach (di_at(map, "panels"), k, p) {
            char id[48];

            snprintf(id, sizeof id, "map%zu-%zu", i, k);
            panel(p, map, id, out);
        }
        di_puts(out, "</div>\n");
    }
    di_puts(
        out,
        "<p class=\"soft\">A picture is no evidence: t-SNE keeps neighbours and bends all else, "
        "so sizes and distances of clusters mean little. The numbers under each map are computed "
        "on the embeddings themselves. Mixing is the share of texts of the other domain among "
        "the ten nearest, divided by what chance would give. The last one fits a direction on "
        "source differences and asks how many pairs of the other set it orders "
        "correctly.</p></section>\n");
}
