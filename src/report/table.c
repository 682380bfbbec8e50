/* Tables for terminals: the generic one, and that of a report document. */
#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "base/error.h"
#include "report/collect.h"
#include "report/markup.h"
#include "report/words.h"

enum { MAX_COLUMNS = 16 };

/* Columns that s takes on a terminal. */
static int width_of(const char *s)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s;
    utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(s), n;
    int width = 0;

    for (; left > 0; left -= n, p += n) {
        utf8proc_int32_t c;

        n = utf8proc_iterate(p, left, &c);
        if (n <= 0) n = 1;
        width += n == 1 ? 1 : utf8proc_charwidth(c);
    }
    return width;
}

static void spaces(di_buf *out, int n)
{
    di_buf_printf(out, "%*s", n > 0 ? n : 0, "");
}

static void print_row(const json_t *row, const int *width, int columns, const char *align,
                      int indent, di_buf *out)
{
    spaces(out, indent);
    for (int c = 0; c < columns; c++) {
        const char *cell = json_string_value(json_array_get(row, (size_t)c));
        int pad = width[c] - width_of(cell != NULL ? cell : "");

        if (c > 0) di_puts(out, "  ");
        if (align[c] == 'r') spaces(out, pad);
        di_put_plain(out, cell);
        if (align[c] != 'r' && c + 1 < columns) spaces(out, pad);
    }
    di_puts(out, "\n");
}

void di_table_print(const json_t *rows, const char *align, int indent, di_buf *out)
{
    int width[MAX_COLUMNS] = {0}, columns = (int)strlen(align), total = 0;
    const json_t *row, *cell;
    size_t i, k;

    if (columns > MAX_COLUMNS) columns = MAX_COLUMNS;
    json_array_foreach (rows, i, row)
        json_array_foreach (row, k, cell) {
            int w = json_is_string(cell) ? width_of(json_string_value(cell)) : 0;

            if (k < (size_t)columns && w > width[k]) width[k] = w;
        }
    for (int c = 0; c < columns; c++) total += width[c] + (c > 0 ? 2 : 0);
    json_array_foreach (rows, i, row) {
        print_row(row, width, columns, align, indent, out);
        if (i > 0) continue;
        spaces(out, indent);
        for (int c = 0; c < total; c++) di_puts(out, "-");
        di_puts(out, "\n");
    }
}

/* ---- the table of a report ---- */

static double at(const json_t *list, size_t i)
{
    const json_t *v = json_array_get(list, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *range(char buf[48], const json_t *ci)
{
    if (!isfinite(at(ci, 0)) || !isfinite(at(ci, 1))) return "-";
    return di_format(buf, 48, "%.3f..%.3f", at(ci, 0), at(ci, 1));
}

#define RANGE(ci) range((char[48]){0}, (ci))

static const char *value(char buf[24], double x)
{
    return isfinite(x) ? di_decimal(buf, x, 3) : "-";
}

#define VALUE(x) value((char[24]){0}, (x))

static const char *whole(char buf[24], double x)
{
    return isfinite(x) ? di_decimal(buf, x, 0) : "-";
}

#define WHOLE(x) whole((char[24]){0}, (x))

static void results_table(const json_t *set, di_buf *out)
{
    const json_t *r;
    size_t i;
    json_t *rows = json_pack("[[s,s,s,s,s,s,s,s,s,s]]", "model", "accuracy", "95% interval", "n",
                             "ties", "longer", "matched", "(n)", "balanced", "step");

    json_array_foreach (di_at(set, "results"), i, r) {
        const json_t *ci = di_at(r, "ci95_cluster");

        if (!json_is_array(ci)) ci = di_at(r, "ci95");
        di_json_add(rows,
                    json_pack("[s,s,s,s,s,s,s,s,s,s]", di_text_at(r, "model"),
                              VALUE(di_num(r, "accuracy")), RANGE(ci), WHOLE(di_num(r, "n")),
                              WHOLE(di_num(r, "ties")), VALUE(di_num(r, "length.baseline_longer")),
                              VALUE(di_num(r, "length.matched.accuracy")),
                              WHOLE(di_num(r, "length.matched.n")),
                              VALUE(di_num(r, "length.balanced_accuracy")),
                              WHOLE(di_num(r, "selected_step"))),
                    &out->failed);
    }
    di_table_print(rows, "lrlrrrrrrr", 2, out);
    json_decref(rows);
}

static void scored_table(const json_t *set, di_buf *out)
{
    const json_t *r;
    size_t i;
    json_t *rows =
        json_pack("[[s,s,s,s,s,s,s]]", "model", "Spearman in prompt", "Kendall in prompt",
                  "prompts", "Spearman pooled", "95% interval", "n");

    json_array_foreach (di_at(set, "results"), i, r)
        di_json_add(rows,
                    json_pack("[s,s,s,s,s,s,s]", di_text_at(r, "model"),
                              VALUE(di_num(r, "spearman.within_prompt")),
                              VALUE(di_num(r, "kendall.within_prompt")),
                              WHOLE(di_num(r, "spearman.prompts")),
                              VALUE(di_num(r, "spearman.pooled")), RANGE(di_at(r, "spearman.ci95")),
                              WHOLE(di_num(r, "n"))),
                    &out->failed);
    di_table_print(rows, "lrrrrlr", 2, out);
    json_decref(rows);
}

static void paired_table(const json_t *set, di_buf *out)
{
    const json_t *p;
    size_t i;
    json_t *rows = json_pack("[[s,s,s,s,s,s]]", "difference", "points", "95% interval", "better",
                             "worse", "McNemar p");

    json_array_foreach (di_at(set, "paired"), i, p) {
        const json_t *ci = di_at(p, "ci95");

        di_json_add(rows,
                    json_pack("[s,s,s,s,s,s]",
                              DI_FMT("%s - %s", di_text_at(p, "model"), di_text_at(p, "baseline")),
                              DI_POINTS(di_num(p, "delta")),
                              json_is_array(ci)
                                  ? DI_FMT("%s..%s", DI_POINTS(at(ci, 0)), DI_POINTS(at(ci, 1)))
                                  : "-",
                              WHOLE(di_num(p, "better")), WHOLE(di_num(p, "worse")),
                              DI_P_VALUE(di_num(p, "p_mcnemar"))),
                    &out->failed);
    }
    if (json_array_size(rows) > 1) {
        di_puts(out, "\n");
        di_table_print(rows, "lrlrrr", 2, out);
    }
    json_decref(rows);
}

/* One paragraph, broken between words so that lines stay within 96 columns. */
static void paragraph(const char *text, di_buf *out)
{
    enum { INDENT = 2, COLUMNS = 96 };
    int column = 0;

    while (text != NULL && *text != '\0') {
        char word[256];
        size_t n = strcspn(text, " ");
        int width;

        snprintf(word, sizeof word, "%.*s", (int)n, text);
        width = width_of(word);
        if (column > 0 && column + 1 + width > COLUMNS) {
            di_puts(out, "\n");
            column = 0;
        }
        if (column == 0) {
            spaces(out, INDENT);
            column = INDENT;
        } else {
            di_puts(out, " ");
            column++;
        }
        di_put_plain(out, word);
        column += width;
        text += n + (text[n] == ' ');
    }
    di_puts(out, "\n");
}

static void paragraphs(json_t *list, di_buf *out)
{
    const json_t *s;
    size_t i;

    if (list == NULL) out->failed = 1;
    json_array_foreach (list, i, s) paragraph(json_string_value(s), out);
    json_decref(list);
}

dial_status di_report_table(const json_t *doc, di_buf *out, dial_error *err)
{
    const json_t *set, *m, *w;
    size_t i, k;

    di_put_plain(out, di_text_at(doc, "title"));
    di_puts(out, "\n\n");
    paragraphs(di_words_summary(doc), out);
    json_array_foreach (di_at(doc, "sets"), i, set) {
        const char *kind = di_text_at(set, "kind");

        di_puts(out, "\n");
        di_put_plain(out, di_text_at(set, "name"));
        di_puts(out, "\n");
        if (kind != NULL && strcmp(kind, "scored") == 0)
            scored_table(set, out);
        else
            results_table(set, out);
        paired_table(set, out);
        json_array_foreach (di_at(set, "seeds"), k, m)
            di_buf_printf(out, "  %s: mean %.3f, sd %.3f over %.0f seeds\n",
                          di_text_at(m, "method"), di_num(m, "mean"), di_num(m, "std"),
                          di_num(m, "n"));
    }
    di_puts(out, "\n");
    json_array_foreach (di_at(doc, "models"), i, m)
        json_array_foreach (di_at(m, "warnings"), k, w) {
            di_puts(out, "warning: ");
            di_put_plain(out, di_text_at(m, "label"));
            di_puts(out, ": ");
            di_put_plain(out, di_text_at(w, "code"));
            di_puts(out, ": ");
            di_put_plain(out, *di_text_at(w, "message") != '\0'
                                  ? di_text_at(w, "message")
                                  : di_words_warning(di_text_at(w, "code")));
            di_puts(out, "\n");
        }
    json_array_foreach (di_at(doc, "notes"), i, m) {
        di_puts(out, "note: ");
        di_put_plain(out, json_string_value(m));
        di_puts(out, "\n");
    }
    return di_buf_status(out, err);
}
