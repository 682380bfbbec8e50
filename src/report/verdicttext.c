/* The human reports of `dial doctor` and `dial select`. */
#include <math.h>
#include <string.h>

#include "report/collect.h"
#include "report/markup.h"
#include "report/report.h"
#include "report/table.h"

static const char *decimal(const json_t *v, const char *path, int digits, char text[24])
{
    double x = di_num(v, path);

    return isfinite(x) ? di_decimal(text, x, digits) : "-";
}

/* Every depth and pooling, or the six that vote. */
static void views_text(const json_t *doc, di_buf *out)
{
    const json_t *list = di_at(doc, "layers"), *v;
    json_t *rows = json_pack("[[s,s,s,s,s,s]]", "layer", "pooling", "source", "distance",
                             "agreement", "lowest");
    size_t i;

    if (!json_is_array(list)) list = di_at(doc, "views");
    json_array_foreach (list, i, v)
        di_json_add(rows,
                    json_pack("[s,s?,s,s,s,s]", DI_DECIMAL(di_num(v, "layer"), 0),
                              di_text_at(v, "pooling"),
                              decimal(v, "source_accuracy", 3, (char[24]){0}),
                              decimal(v, "w1", 3, (char[24]){0}),
                              decimal(v, "target_agreement", 3, (char[24]){0}),
                              decimal(v, "target_agreement_min", 3, (char[24]){0})),
                    &out->failed);
    di_puts(out, "\nheads fitted on the source, voting on the target\n");
    di_table_print(rows, "rlrrrr", 2, out);
    json_decref(rows);
    if (json_is_object(di_at(doc, "recommended"))) {
        di_buf_printf(out, "  recommended: --layer %.0f --pooling ",
                      di_num(doc, "recommended.layer"));
        di_put_plain(out, di_text_at(doc, "recommended.pooling"));
        di_puts(out, "\n");
    }
}

static void findings_text(const json_t *doc, di_buf *out)
{
    const json_t *f;
    json_t *rows = json_pack("[[s,s,s,s]]", "", "value", "limit", "");
    size_t i;

    json_array_foreach (di_at(doc, "findings"), i, f)
        di_json_add(rows,
                    json_pack("[s?,s,s,s]", di_text_at(f, "code"),
                              decimal(f, "value", 3, (char[24]){0}),
                              decimal(f, "threshold", 2, (char[24]){0}), di_text_at(f, "level")),
                    &out->failed);
    di_table_print(rows, "lrrl", 2, out);
    json_decref(rows);
    json_array_foreach (di_at(doc, "findings"), i, f) {
        const char *level = di_text_at(f, "level");

        if (level == NULL || strcmp(level, "ok") == 0 || !json_is_number(di_at(f, "value")))
            continue;
        di_puts(out, "  ");
        di_put_plain(out, di_text_at(f, "code"));
        di_puts(out, ": ");
        di_put_plain(out, di_text_at(f, "message"));
        di_puts(out, "\n");
    }
}

dial_status di_report_doctor_text(const json_t *doc, di_buf *out, dial_error *err)
{
    di_put_plain(out, di_text_at(doc, "summary"));
    di_buf_printf(out, "\n\n%.0f source and %.0f target pairs under ", di_num(doc, "n.source"),
                  di_num(doc, "n.target"));
    di_put_plain(out, di_text_at(doc, "model"));
    di_puts(out, "\n");
    findings_text(doc, out);
    views_text(doc, out);
    return di_buf_status(out, err);
}

/* How well the order of each validator follows that of the true accuracies. */
static void spearman_text(const json_t *of, di_buf *out)
{
    json_t *v;
    const char *name;
    int first = 1;

    json_object_foreach ((json_t *)(uintptr_t)of, name, v) {
        if (!isfinite(di_num(v, "rho"))) continue;
        if (first)
            di_puts(out, "\nhow each validator orders the candidates beside their accuracies "
                         "(Spearman; 1: alike, 0: at random)\n");
        first = 0;
        di_buf_printf(out, "  %-16s %+.2f   of %.0f\n", name, di_num(v, "rho"), di_num(v, "n"));
    }
}

dial_status di_report_select_text(const json_t *doc, di_buf *out, dial_error *err)
{
    const json_t *c, *choices = di_at(doc, "choices");
    json_t *rows = json_pack("[[s,s,s,s,s,s,s,s]]", "run", "step", "source loss", "dev",
                             "agreement", "w1", "oracle", "gate");
    json_t *v;
    const char *name;
    size_t i;

    di_puts(out, "chosen by ");
    di_put_plain(out, di_text_at(doc, "by"));
    di_puts(out, ": ");
    di_put_plain(out, di_text_at(doc, "chosen.dir"));
    di_buf_printf(out, ", step %.0f\n\n", di_num(doc, "chosen.step"));
    json_array_foreach (di_at(doc, "candidates"), i, c)
        di_json_add(rows,
                    json_pack("[s?,s,s,s,s,s,s,s]", di_text_at(c, "dir"),
                              DI_DECIMAL(di_num(c, "step"), 0),
                              decimal(c, "validators.source_loss", 3, (char[24]){0}),
                              decimal(c, "validators.dev", 3, (char[24]){0}),
                              decimal(c, "validators.seed_agreement", 3, (char[24]){0}),
                              decimal(c, "validators.w1", 3, (char[24]){0}),
                              decimal(c, "oracle_accuracy", 3, (char[24]){0}),
                              di_text_at(c, "gate") != NULL ? di_text_at(c, "gate") : ""),
                    &out->failed);
    di_table_print(rows, "lrrrrrrl", 2, out);
    json_decref(rows);
    di_puts(out, "\nwhat each validator would choose\n");
    json_object_foreach ((json_t *)(uintptr_t)choices, name, v) {
        double regret = di_num(di_at(doc, "oracle.regrets"), name);

        if (!json_is_object(v)) continue;
        di_buf_printf(out, "  %-10s step %6.0f of ", name, di_num(v, "step"));
        di_put_plain(out, di_text_at(v, "dir"));
        if (isfinite(regret)) di_buf_printf(out, "   regret %.3f", regret);
        di_puts(out, "\n");
    }
    spearman_text(di_at(doc, "oracle.spearman"), out);
    if (json_is_object(di_at(doc, "applied"))) {
        di_puts(out, "\napplied: ");
        di_put_plain(out, di_text_at(doc, "applied.dir"));
        di_buf_printf(out, " stands for step %.0f", di_num(doc, "applied.step"));
        if (json_is_true(di_at(doc, "applied.changed"))) {
            di_buf_printf(out, " in the place of step %.0f (chosen by ",
                          di_num(doc, "applied.replaced.step"));
            di_put_plain(out, di_text_at(doc, "applied.replaced.selected_by"));
            di_puts(out, ")\n");
        } else {
            di_puts(out, ", as before\n");
        }
    }
    return di_buf_status(out, err);
}
