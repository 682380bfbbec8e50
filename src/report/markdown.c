/* The report as Markdown: the same numbers, tables and sentences, without figures. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"

static void sentences(di_buf *out, json_t *list)
{
    const json_t *s;
    size_t i;

    if (list == NULL) out->failed = 1;
    json_array_foreach (list, i, s) {
        di_put_md(out, json_string_value(s));
        di_puts(out, "\n\n");
    }
    json_decref(list);
}

static void range(di_buf *out, const json_t *ci, const char *(*show)(char[24], double))
{
    char a[24], b[24];

    if (!json_is_array(ci)) return;
    di_buf_printf(out, " (%s to %s)", show(a, json_number_value(json_array_get(ci, 0))),
                  show(b, json_number_value(json_array_get(ci, 1))));
}

static void results(const json_t *set, di_buf *out)
{
    const json_t *r, *m;
    size_t i;

    di_puts(out, "| model | accuracy (95%) | pairs | texts | ties | longer wins | lengths alike "
                 "(95%) | balanced by length | loss | step |\n"
                 "|---|---|---:|---:|---:|---:|---|---:|---:|---:|\n");
    json_array_foreach (di_at(set, "results"), i, r) {
        m = di_at(r, "length.matched");
        di_puts(out, "| ");
        di_put_md(out, di_text_at(r, "model"));
        di_buf_printf(out, " | %s", DI_PERCENT(di_num(r, "accuracy")));
        range(out, di_page_interval(r), di_percent);
        di_buf_printf(out, " | %s | %s", DI_DECIMAL(di_num(r, "n"), 0),
                      DI_DECIMAL(di_num(r, "clusters"), 0));
        di_buf_printf(out, " | %s | %s | %s", DI_DECIMAL(di_num(r, "ties"), 0),
                      DI_PERCENT(di_num(r, "length.baseline_longer")),
                      DI_PERCENT(di_num(m, "accuracy")));
        range(out, di_page_interval(m), di_percent);
        di_buf_printf(out, " n %s | %s | %s | %s |\n", DI_DECIMAL(di_num(m, "n"), 0),
                      DI_PERCENT(di_num(r, "length.balanced_accuracy")),
                      DI_DECIMAL(di_num(r, "loss"), 3), DI_DECIMAL(di_num(r, "selected_step"), 0));
    }
    di_puts(out, "\n");
}

static void scored(const json_t *set, di_buf *out)
{
    const json_t *r;
    size_t i;

    di_puts(out, "| model | Spearman within prompts | Kendall within prompts | prompts | Spearman "
                 "pooled | texts |\n"
                 "|---|---:|---:|---:|---:|---:|\n");
    json_array_foreach (di_at(set, "results"), i, r) {
        di_puts(out, "| ");
        di_put_md(out, di_text_at(r, "model"));
        di_buf_printf(out, " | %s | %s | %s | %s | %s |\n",
                      DI_DECIMAL(di_num(r, "spearman.within_prompt"), 3),
                      DI_DECIMAL(di_num(r, "kendall.within_prompt"), 3),
                      DI_DECIMAL(di_num(r, "spearman.prompts"), 0),
                      DI_DECIMAL(di_num(r, "spearman.pooled"), 3), DI_DECIMAL(di_num(r, "n"), 0));
    }
    di_puts(out, "\n");
}

static void differences(const json_t *set, di_buf *out)
{
    const json_t *p, *g;
    size_t i, k;

    if (json_array_size(di_at(set, "paired")) == 0) return;
    di_puts(out, "| model | against | difference, points (95%) | gained | lost | McNemar p | "
                 "balanced by length | gap closed (95%) |\n"
                 "|---|---|---|---:|---:|---:|---:|---|\n");
    json_array_foreach (di_at(set, "paired"), i, p) {
        di_puts(out, "| ");
        di_put_md(out, di_text_at(p, "model"));
        di_puts(out, " | ");
        di_put_md(out, di_text_at(p, "baseline"));
        di_buf_printf(out, " | %s", DI_POINTS(di_num(p, "delta")));
        range(out, di_at(p, "ci95"), di_points);
        di_buf_printf(out, " | %s | %s | %s | %s |", DI_DECIMAL(di_num(p, "better"), 0),
                      DI_DECIMAL(di_num(p, "worse"), 0), DI_P_VALUE(di_num(p, "p_mcnemar")),
                      DI_POINTS(di_num(p, "balanced_delta")));
        json_array_foreach (di_at(set, "gap_closure"), k, g) {
            if (strcmp(di_text_at(g, "model"), di_text_at(p, "model")) != 0) continue;
            di_puts(out, json_is_true(di_at(g, "usable")) ? " " : " no gap");
            if (!json_is_true(di_at(g, "usable"))) continue;
            di_puts(out, DI_PERCENT(di_num(g, "value")));
            range(out, di_at(g, "ci95"), di_percent);
        }
        di_puts(out, " |\n");
    }
    di_puts(out, "\n");
}

static void maps(const json_t *doc, di_buf *out)
{
    const json_t *map, *p;
    size_t i, k;

    if (json_array_size(di_at(doc, "maps")) == 0) return;
    di_puts(out, "## Embeddings\n\n");
    json_array_foreach (di_at(doc, "maps"), i, map) {
        di_puts(out, "### source and ");
        di_put_md(out, di_text_at(map, "set"));
        di_puts(out, "\n\n");
        sentences(out, di_words_map(map));
        di_puts(out, "| model | step | mixing | silhouette by domain | silhouette by preference | "
                     "source direction on target pairs |\n"
                     "|---|---:|---:|---:|---:|---:|\n");
        json_array_foreach (di_at(map, "panels"), k, p) {
            const char *model = di_text_at(p, "model");

            di_puts(out, "| ");
            di_put_md(out, model != NULL ? model : "before training");
            if (strcmp(di_text_at(p, "when"), "during") == 0)
                di_buf_printf(out, ", on the way, epoch %.3g", di_num(p, "epoch"));
            di_buf_printf(out, " | %s | %s | %s | %s | %s |\n", DI_DECIMAL(di_num(p, "step"), 0),
                          DI_DECIMAL(di_num(p, "mixing"), 2),
                          DI_DECIMAL(di_num(p, "silhouette_domain"), 3),
                          DI_DECIMAL(di_num(p, "silhouette_preference"), 3),
                          DI_PERCENT(di_num(p, "centroid_accuracy")));
        }
        di_puts(out, "\n");
    }
}

static void models(const json_t *doc, di_buf *out)
{
    const json_t *m;
    size_t i;

    di_puts(out, "## Models\n\n");
    json_array_foreach (di_at(doc, "models"), i, m) {
        double first, last;

        di_puts(out, "- **");
        di_put_md(out, di_text_at(m, "label"));
        di_buf_printf(out, "**: %s. %.0f steps", di_words_method(m), di_num(m, "steps"));
        if (isfinite(di_num(m, "selected_step")))
            di_buf_printf(out, ", weights of step %.0f", di_num(m, "selected_step"));
        if (di_curve_ends(m, "loss_source", &first, &last))
            di_buf_printf(out, ", source loss %.3f to %.3f", first, last);
        if (di_curve_ends(m, "w1", &first, &last))
            di_buf_printf(out, ", distance %.3g to %.3g", first, last);
        di_puts(out, json_is_true(di_at(m, "finished")) ? ".\n" : "; not finished.\n");
    }
    di_puts(out, "\n");
}

static void warnings(const json_t *doc, di_buf *out)
{
    const json_t *m, *w;
    size_t i, k;

    json_array_foreach (di_at(doc, "models"), i, m)
        json_array_foreach (di_at(m, "warnings"), k, w) {
            const char *code = di_text_at(w, "code"), *message = di_text_at(w, "message");

            di_puts(out, "- Warning, ");
            di_put_md(out, di_text_at(m, "label"));
            di_puts(out, ": ");
            di_put_md(out, code);
            di_puts(out, ": ");
            di_put_md(out, *message != '\0' ? message : di_words_warning(code));
            di_puts(out, "\n");
        }
    json_array_foreach (di_at(doc, "notes"), i, m) {
        di_puts(out, "- ");
        di_put_md(out, json_string_value(m));
        di_puts(out, "\n");
    }
}

dial_status di_report_markdown(const json_t *doc, di_buf *out, dial_error *err)
{
    const json_t *set, *s;
    size_t i, k;

    di_puts(out, "# ");
    di_put_md(out, di_text_at(doc, "title"));
    di_puts(out, "\n\n");
    sentences(out, di_words_summary(doc));
    di_puts(out, "## Results\n\n");
    json_array_foreach (di_at(doc, "sets"), i, set) {
        const char *kind = di_text_at(set, "kind");

        di_puts(out, "### ");
        di_put_md(out, di_text_at(set, "name"));
        di_puts(out, "\n\n");
        sentences(out, di_words_set(doc, set));
        if (kind != NULL && strcmp(kind, "scored") == 0)
            scored(set, out);
        else
            results(set, out);
        differences(set, out);
        json_array_foreach (di_at(set, "seeds"), k, s) {
            di_puts(out, "- ");
            di_put_md(out, di_text_at(s, "method"));
            di_buf_printf(out, ": mean %s, sd %.1f points over %.0f seeds\n",
                          DI_PERCENT(di_num(s, "mean")), 100 * di_num(s, "std"), di_num(s, "n"));
        }
    }
    models(doc, out);
    sentences(out, di_words_distance(doc));
    maps(doc, out);
    warnings(doc, out);
    return di_buf_status(out, err);
}
