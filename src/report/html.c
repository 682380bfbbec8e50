/* The page: head, summary, cards, models; the sections are in page_*.c. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"
#include "report/style.h"

void di_page_paragraphs(di_buf *out, json_t *list, const char *style)
{
    const json_t *s;
    size_t i;

    if (list == NULL) out->failed = 1;
    json_array_foreach (list, i, s) {
        di_buf_printf(out, "<p class=\"%s\">", style);
        di_put_html(out, json_string_value(s));
        di_puts(out, "</p>\n");
    }
    json_decref(list);
}

int di_page_style_of(const json_t *doc, const char *label)
{
    const json_t *m;
    size_t i;

    json_array_foreach (di_at(doc, "models"), i, m)
        if (label != NULL && strcmp(di_text_at(m, "label"), label) == 0) return (int)i;
    return 0;
}

double di_page_end(const json_t *v, const char *key, size_t i)
{
    const json_t *x = json_array_get(di_at(v, key), i);

    return json_is_number(x) ? json_number_value(x) : NAN;
}

const json_t *di_page_interval(const json_t *v)
{
    const json_t *ci = di_at(v, "ci95_cluster");

    return json_is_array(ci) ? ci : di_at(v, "ci95");
}

/* One large number a set and adapted model: the difference, or the accuracy where there is none. */
static void card(di_buf *out, const char *set, const char *model, const char *big,
                 const char *style, const char *unit, const char *small)
{
    di_puts(out, "<div class=\"card\"><p class=\"soft\">");
    di_put_html(out, model);
    di_puts(out, " on ");
    di_put_html(out, set);
    di_buf_printf(out, "</p><p class=\"big %s\">%s</p><p>", style, big);
    di_put_html(out, unit);
    di_puts(out, "</p><p class=\"soft\">");
    di_put_html(out, small);
    di_puts(out, "</p></div>\n");
}

static void difference_card(di_buf *out, const json_t *set, const json_t *p)
{
    double lo = di_page_end(p, "ci95", 0), hi = di_page_end(p, "ci95", 1);
    const char *style = lo > 0 ? "good" : hi < 0 ? "bad" : "";
    const char *verdict = !isfinite(lo) ? "no interval: per-row scores are missing"
                          : lo > 0      ? "the interval lies above 0"
                          : hi < 0      ? "the interval lies below 0"
                                        : "the interval contains 0: no difference shown";

    card(out, di_text_at(set, "name"), di_text_at(p, "model"), DI_POINTS(di_num(p, "delta")), style,
         DI_FMT("points of accuracy against %s", di_text_at(p, "baseline")),
         isfinite(lo) ? DI_FMT("95%% interval %s to %s; %s", DI_POINTS(lo), DI_POINTS(hi), verdict)
                      : verdict);
}

static void cards(const json_t *doc, di_buf *out)
{
    const json_t *set, *p;
    size_t i, k;
    int shown = 0;

    di_puts(out, "<div class=\"cards\">\n");
    json_array_foreach (di_at(doc, "sets"), i, set)
        json_array_foreach (di_at(set, "paired"), k, p)
            if (strncmp(di_text_at(p, "model"), "oracle", 6) != 0 &&
                strcmp(di_text_at(p, "model"), "base") != 0 && shown++ < 6)
                difference_card(out, set, p);
    json_array_foreach (di_at(doc, "sets"), i, set) {
        const json_t *r = json_array_get(di_at(set, "results"), 0);

        if (shown > 0 || !isfinite(di_num(r, "accuracy"))) continue;
        card(out, di_text_at(set, "name"), di_text_at(r, "model"),
             DI_PERCENT(di_num(r, "accuracy")), "", "of pairs ranked correctly",
             DI_FMT("95%% interval %s to %s; longer wins %s",
                    DI_PERCENT(json_number_value(json_array_get(di_page_interval(r), 0))),
                    DI_PERCENT(json_number_value(json_array_get(di_page_interval(r), 1))),
                    DI_PERCENT(di_num(r, "length.baseline_longer"))));
    }
    di_puts(out, "</div>\n");
}

static void models(const json_t *doc, di_buf *out)
{
    const json_t *m;
    size_t i;

    di_puts(out, "<section id=\"models\"><h2>The models</h2>\n<ul>\n");
    json_array_foreach (di_at(doc, "models"), i, m) {
        const char *base = di_text_at(m, "base"), *by = di_text_at(m, "selected_by");

        di_puts(out, "<li><b>");
        di_put_html(out, di_text_at(m, "label"));
        di_puts(out, "</b>: ");
        di_puts(out, di_words_method(m));
        di_puts(out, ". <span class=\"soft\">");
        if (base != NULL) {
            di_puts(out, "Base ");
            di_put_html(out, base);
            di_puts(out, ", ");
        }
        di_buf_printf(out, "%.0f steps", di_num(m, "steps"));
        if (isfinite(di_num(m, "selected_step")))
            di_buf_printf(out, ", weights of step %.0f", di_num(m, "selected_step"));
        if (by != NULL) {
            di_puts(out, " chosen by the rule \xE2\x80\x9C");
            di_put_html(out, by);
            di_puts(out, "\xE2\x80\x9D");
        }
        if (di_num(m, "seconds") > 0)
            di_buf_printf(out, ", %.0f s in steps (%.0f tokens a second)", di_num(m, "seconds"),
                          di_num(m, "tokens_per_second"));
        if (!json_is_true(di_at(m, "finished"))) di_puts(out, "; not finished");
        di_puts(out, ".</span></li>\n");
    }
    di_puts(out, "</ul></section>\n");
}

void di_page_begin(const char *title, di_buf *out)
{
    di_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                 "<meta name=\"color-scheme\" content=\"light dark\">\n"
                 "<meta name=\"generator\" content=\"dial " DIAL_VERSION "\">\n<title>");
    di_put_html(out, title);
    di_puts(out, "</title>\n<style>\n");
    di_puts(out, di_page_style);
    di_puts(out, "</style></head>\n<body>\n<header><p class=\"eyebrow\">dial report</p><h1>");
    di_put_html(out, title);
}

static void top(const json_t *doc, di_buf *out)
{
    di_page_begin(di_text_at(doc, "title"), out);
    di_puts(
        out,
        "</h1>\n"
        "<p class=\"lead\">A reward model reads a prompt and a response and gives a number; of "
        "two responses the better one should get the larger. These models learned from labelled "
        "pairs of one domain, the <b>source</b>. The question is how well they order pairs of "
        "another, the <b>target</b>, whose labels they did not see unless it says so.</p>\n"
        "<nav><a href=\"#results\">Results</a><a href=\"#training\">Training</a>");
    if (json_array_size(di_at(doc, "maps")) > 0) di_puts(out, "<a href=\"#maps\">Maps</a>");
    di_puts(out, "<a href=\"#data\">Data</a><a href=\"#settings\">Settings</a>"
                 "<a href=\"#guide\">How to read this</a></nav></header>\n<main>\n");
}

dial_status di_report_html(const json_t *doc, di_buf *out, dial_error *err)
{
    top(doc, out);
    di_puts(out, "<section id=\"outcome\"><h2>What came out</h2>\n");
    cards(doc, out);
    di_page_paragraphs(out, di_words_summary(doc), "");
    di_puts(out, "</section>\n");
    models(doc, out);
    di_page_results(doc, out);
    di_page_curves(doc, out);
    di_page_maps(doc, out);
    di_page_rows(doc, out);
    di_page_notes(doc, out);
    di_page_settings(doc, out);
    di_page_guide(doc, out);
    di_puts(out, "</main>\n<footer>Made by dial " DIAL_VERSION
                 ". This file needs no network and holds no "
                 "script.</footer>\n</body></html>\n");
    return di_buf_status(out, err);
}
