/* Data, warnings, settings, and how to read the page. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"

static const char *const counts[][2] = {{"read", "rows read"},
                                        {"used", "used"},
                                        {"bad", "bad"},
                                        {"identical", "identical pairs"},
                                        {"identical_after_truncation", "identical after cutting"},
                                        {"overlong_dropped", "too long, dropped"},
                                        {"prompt_truncated", "prompts cut"},
                                        {"response_truncated", "responses cut"}};
enum { N_COUNTS = sizeof counts / sizeof *counts };

static void counts_row(di_buf *out, const char *what, const char *side, const json_t *rows)
{
    if (!json_is_object(rows)) return;
    di_puts(out, "<tr><th scope=\"row\">");
    di_put_html(out, what);
    di_buf_printf(out, "</th><td class=\"text\">%s</td>", side);
    for (int k = 0; k < N_COUNTS; k++)
        di_buf_printf(out, "<td>%s</td>", DI_DECIMAL(di_num(rows, counts[k][0]), 0));
    di_puts(out, "</tr>\n");
}

void di_page_rows(const json_t *doc, di_buf *out)
{
    const json_t *m, *set;
    size_t i;

    di_puts(out, "<section id=\"data\"><h2>The data</h2>\n<p>Every row that was read, and what "
                 "became of it. Nothing is left out silently.</p>\n"
                 "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">for</th><th "
                 "scope=\"col\" class=\"text\">side</th>");
    for (int k = 0; k < N_COUNTS; k++)
        di_buf_printf(out, "<th scope=\"col\">%s</th>", counts[k][1]);
    di_puts(out, "</tr></thead><tbody>\n");
    json_array_foreach (di_at(doc, "models"), i, m) {
        const char *labels = di_text_at(m, "target_labels");

        counts_row(out, di_text_at(m, "label"), "source", di_at(m, "rows.source"));
        counts_row(out, di_text_at(m, "label"),
                   labels == NULL                ? "target"
                   : strcmp(labels, "read") == 0 ? "target, labels read"
                                                 : "target, labels dropped",
                   di_at(m, "rows.target"));
    }
    json_array_foreach (di_at(doc, "sets"), i, set)
        counts_row(out, di_text_at(set, "name"), "evaluation",
                   di_at(json_array_get(di_at(set, "results"), 0), "rows"));
    di_puts(out, "</tbody></table></div></section>\n");
}

void di_page_notes(const json_t *doc, di_buf *out)
{
    const json_t *m, *w;
    size_t i, k, warnings = 0;

    json_array_foreach (di_at(doc, "models"), i, m)
        warnings += json_array_size(di_at(m, "warnings"));
    if (warnings + json_array_size(di_at(doc, "notes")) == 0) return;
    di_puts(out, "<section id=\"warnings\"><h2>Warnings and notes</h2>\n");
    json_array_foreach (di_at(doc, "models"), i, m)
        json_array_foreach (di_at(m, "warnings"), k, w) {
            const char *code = di_text_at(w, "code"), *message = di_text_at(w, "message");

            if (message == NULL || *message == '\0') message = di_words_warning(code);
            di_puts(out, "<p class=\"warn\"><b>");
            di_put_html(out, di_text_at(m, "label"));
            di_puts(out, "</b> <code>");
            di_put_html(out, code);
            di_puts(out, "</code> ");
            di_put_html(out, message);
            di_puts(out, "</p>\n");
        }
    json_array_foreach (di_at(doc, "notes"), i, m) {
        di_puts(out, "<p>");
        di_put_html(out, json_string_value(m));
        di_puts(out, "</p>\n");
    }
    di_puts(out, "</section>\n");
}

/* Flags that differ between the models come first, in a table; the rest is folded away. */
static int differs(const json_t *doc, const char *key)
{
    const json_t *m, *first = NULL;
    size_t i;

    json_array_foreach (di_at(doc, "models"), i, m) {
        const json_t *v = json_object_get(di_at(m, "settings"), key);

        if (i == 0)
            first = v;
        else if ((v == NULL) != (first == NULL) ||
                 (v != NULL && !json_equal((json_t *)(uintptr_t)v, (json_t *)(uintptr_t)first)))
            return 1;
    }
    return 0;
}

static void put_value(di_buf *out, const json_t *v)
{
    di_buf text;

    if (json_is_string(v)) {
        di_put_html(out, json_string_value(v));
        return;
    }
    if (v == NULL || json_is_null(v)) {
        di_puts(out, "\xE2\x80\x93");
        return;
    }
    di_buf_init(&text, out->al);
    if (di_json_write(v, &text, NULL) == DIAL_OK)
        di_put_html(out, text.data);
    else
        out->failed = 1;
    di_buf_deinit(&text);
}

static void differing(const json_t *doc, di_buf *out)
{
    const json_t *m, *first = di_at(json_array_get(di_at(doc, "models"), 0), "settings");
    const char *key;
    json_t *value;
    size_t i;

    if (json_array_size(di_at(doc, "models")) < 2) return;
    di_puts(out, "<div class=\"scroll\"><table><caption>Where the runs "
                 "differ</caption><thead><tr><th scope=\"col\">flag</th>");
    json_array_foreach (di_at(doc, "models"), i, m) {
        di_puts(out, "<th scope=\"col\">");
        di_put_html(out, di_text_at(m, "label"));
        di_puts(out, "</th>");
    }
    di_puts(out, "</tr></thead><tbody>\n");
    json_object_foreach ((json_t *)(uintptr_t)first, key, value) {
        if (strcmp(key, "out") == 0 || !differs(doc, key)) continue;
        di_puts(out, "<tr><th scope=\"row\">");
        di_put_html(out, key);
        di_puts(out, "</th>");
        json_array_foreach (di_at(doc, "models"), i, m) {
            di_puts(out, "<td>");
            put_value(out, json_object_get(di_at(m, "settings"), key));
            di_puts(out, "</td>");
        }
        di_puts(out, "</tr>\n");
    }
    di_puts(out, "</tbody></table></div>\n");
}

void di_page_settings(const json_t *doc, di_buf *out)
{
    const json_t *m;
    const char *key;
    json_t *value;
    size_t i;

    di_puts(out, "<section id=\"settings\"><h2>Settings</h2>\n");
    differing(doc, out);
    json_array_foreach (di_at(doc, "models"), i, m) {
        di_puts(out, "<details><summary>All settings of ");
        di_put_html(out, di_text_at(m, "label"));
        di_puts(out, "</summary><ul class=\"settings\">\n");
        json_object_foreach (di_at(m, "settings"), key, value) {
            di_puts(out, "<li><code>");
            di_put_html(out, key);
            di_puts(out, "</code> ");
            put_value(out, value);
            di_puts(out, "</li>\n");
        }
        di_puts(out, "</ul></details>\n");
    }
    di_puts(out, "</section>\n");
}

void di_page_guide(const json_t *doc, di_buf *out)
{
    (void)doc;
    di_puts(out, "<section id=\"guide\"><h2>How to read this</h2>\n<ul>\n"
                 "<li><b>Accuracy</b> is the share of pairs in which the chosen response gets "
                 "the larger reward. A tie counts one half; 50% is guessing.</li>\n"
                 "<li><b>The 95% interval</b> says how far the number might move with other test "
                 "texts. Texts that stand in several pairs are drawn as a whole, so intervals "
                 "are wider than a binomial formula gives wherever texts recur.</li>\n"
                 "<li><b>A difference</b> compares two models on the same pairs. If its interval "
                 "contains 0, the test does not show which is better. Overlap of the two models' "
                 "own intervals does not answer that.</li>\n"
                 "<li><b>Longer wins</b> is what a rule scores that only looks at length. A "
                 "model close to it may have learned no more. Two columns take length away: "
                 "pairs of like lengths, and the balance of both directions.</li>\n"
                 "<li><b>Share of the gap closed</b>: how far the adapted model went from the "
                 "source-only model towards one trained with target labels. Given only where "
                 "that gap is at least two standard errors wide.</li>\n"
                 "<li><b>The weights</b> shown were chosen by a rule that reads held-out source "
                 "rows, never a label of the sets above.</li>\n"
                 "</ul>\n"
                 "<h3>What this page cannot tell</h3>\n"
                 "<p>No statistic without target labels can see a preference that is wholly "
                 "reversed in the target. These numbers hold for the sets named here; another "
                 "target is another question. Twenty to fifty labelled target pairs, drawn at "
                 "random, settle more than any curve.</p></section>\n");
}
