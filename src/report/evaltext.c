/* The human report of `dial eval`. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "report/collect.h"
#include "report/markup.h"
#include "report/table.h"

static double at(const json_t *list, size_t i)
{
    const json_t *v = json_array_get(list, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* "  name              0.702" */
static void head(di_buf *out, const char *name, double x)
{
    di_buf_printf(out, "  %-20s %8s", name, isfinite(x) ? DI_DECIMAL(x, 3) : "-");
}

static void range(di_buf *out, const char *before, const json_t *ci, const char *after)
{
    if (isfinite(at(ci, 0)) && isfinite(at(ci, 1)))
        di_buf_printf(out, "%s%.3f to %.3f%s", before, at(ci, 0), at(ci, 1), after);
}

static void end(di_buf *out)
{
    di_puts(out, "\n");
}

static void pairs_text(const json_t *r, di_buf *out)
{
    double clusters = di_num(r, "clusters"), n = di_num(r, "n");
    const json_t *m = di_at(r, "length.matched");

    head(out, "accuracy", di_num(r, "accuracy"));
    range(out, "   95%: ", di_at(r, "ci95_cluster"), "");
    if (json_is_array(di_at(r, "ci95_cluster")))
        di_buf_printf(out, clusters == n ? " (rows drawn)" : " (%.0f units drawn)", clusters);
    range(out, ", taking rows as independent ", di_at(r, "ci95"), "");
    end(out);
    head(out, "longer wins", di_num(r, "length.baseline_longer"));
    di_puts(out, "   the rule \"prefer the longer response\" (");
    di_put_plain(out, di_text_at(r, "length.unit"));
    di_puts(out, ") on the same rows\n");
    head(out, "length-matched", di_num(m, "accuracy"));
    range(out, "   95%: ",
          json_is_array(di_at(m, "ci95_cluster")) ? di_at(m, "ci95_cluster") : di_at(m, "ci95"),
          ",");
    di_buf_printf(out, "   n %.0f", di_num(m, "n"));
    if (isfinite(di_num(m, "baseline_longer")))
        di_buf_printf(out, ", longer wins %.3f", di_num(m, "baseline_longer"));
    end(out);
    head(out, "balanced by length", di_num(r, "length.balanced_accuracy"));
    di_puts(out, "   mean of: chosen longer, chosen shorter\n");
    di_buf_printf(out, "  %-20s %8.0f   (accuracy counts a tie as 1/2; as wrong: %.3f)\n", "ties",
                  di_num(r, "ties"), di_num(r, "accuracy_strict"));
    head(out, "loss", di_num(r, "loss"));
    di_puts(out, "   Bradley-Terry; guessing gives 0.693\n");
    head(out, "calibration error", di_num(r, "calibration.ece"));
    di_buf_printf(out, "   Brier %s\n", DI_DECIMAL(di_num(r, "calibration.brier"), 3));
    head(out, "margin", di_num(r, "margin.mean"));
    di_buf_printf(out, "   sd %s; 5%%, 50%%, 95%%: %s, %s, %s\n",
                  DI_DECIMAL(di_num(r, "margin.std"), 3), DI_DECIMAL(di_num(r, "margin.p05"), 3),
                  DI_DECIMAL(di_num(r, "margin.p50"), 3), DI_DECIMAL(di_num(r, "margin.p95"), 3));
    head(out, "reward and length", di_num(r, "length.reward_corr"));
    di_puts(out, "   rank correlation\n");
}

static void scored_text(const json_t *r, di_buf *out)
{
    static const char *const keys[] = {"spearman", "kendall", "pearson"};

    for (int k = 0; k < 3; k++) {
        const json_t *c = di_at(r, keys[k]);

        head(out, keys[k], di_num(c, "within_prompt"));
        di_buf_printf(out, "   within %.0f prompts; pooled %s", di_num(c, "prompts"),
                      isfinite(di_num(c, "pooled")) ? DI_DECIMAL(di_num(c, "pooled"), 3) : "-");
        range(out, " (95%: ", di_at(c, "ci95"), ")");
        end(out);
    }
    head(out, "reward and length", di_num(r, "length.reward_corr"));
    di_buf_printf(out, "   score and length %s (rank correlations)\n",
                  isfinite(di_num(r, "length.score_corr"))
                      ? DI_DECIMAL(di_num(r, "length.score_corr"), 3)
                      : "-");
}

static void mcq_text(const json_t *r, di_buf *out)
{
    head(out, "accuracy", di_num(r, "accuracy"));
    range(out, "   95%: ", di_at(r, "ci95"), "");
    di_buf_printf(out, "; guessing %s\n", DI_DECIMAL(di_num(r, "chance"), 3));
    head(out, "mean rank", di_num(r, "mean_rank"));
    di_puts(out, "   wrong options above the right one\n");
    head(out, "reciprocal rank", di_num(r, "mrr"));
    end(out);
    head(out, "longest wins", di_num(r, "length.baseline_longer"));
    end(out);
}

static void classes_text(const json_t *r, di_buf *out)
{
    head(out, "accuracy", di_num(r, "accuracy"));
    range(out, "   95%: ", di_at(r, "ci95"), "");
    di_buf_printf(out, "; the most frequent class %s\n", DI_DECIMAL(di_num(r, "majority"), 3));
    head(out, "macro F1", di_num(r, "macro_f1"));
    di_buf_printf(out, "   mean over %zu classes\n", json_array_size(di_at(r, "classes")));
    head(out, "loss", di_num(r, "loss"));
    di_puts(out, "   cross-entropy\n");
}

/* RewardBench: its score, and what it is the mean of. */
static void bench_text(const json_t *r, di_buf *out)
{
    int pairs = json_is_object(di_at(r, "sections"));
    json_t *rows = pairs
                       ? json_pack("[[s,s]]", "section", "score")
                       : json_pack("[[s,s,s,s,s]]", "subset", "n", "score", "longest", "shortest");
    const char *key;
    json_t *v;

    head(out, "RewardBench", di_num(r, "score"));
    end(out);
    json_object_foreach ((json_t *)(uintptr_t)di_at(r, pairs ? "sections" : "subsets"), key, v) {
        if (pairs)
            di_json_add(rows,
                        json_pack("[s,s]", key,
                                  json_is_number(v) ? DI_DECIMAL(json_number_value(v), 3) : "-"),
                        &out->failed);
        else
            di_json_add(rows,
                        json_pack("[s,s,s,s,s]", key, DI_DECIMAL(di_num(v, "n"), 0),
                                  DI_DECIMAL(di_num(v, "score"), 3),
                                  DI_DECIMAL(di_num(v, "baseline_longest"), 3),
                                  DI_DECIMAL(di_num(v, "baseline_shortest"), 3)),
                        &out->failed);
    }
    di_table_print(rows, pairs ? "lr" : "lrrrr", pairs ? 2 : 5, out);
    json_decref(rows);
}

static void groups_text(const json_t *r, di_buf *out)
{
    const json_t *list = di_at(r, "groups"), *g;
    size_t i;
    json_t *rows;

    if (json_array_size(list) == 0) return;
    g = json_array_get(list, 0);
    rows = json_pack("[[s?,s,s,s]]", di_text_at(g, "key"), "n", "accuracy", "95% interval");
    json_array_foreach (list, i, g) {
        const json_t *ci = di_at(g, "ci95");

        di_json_add(rows,
                    json_pack("[s?,s,s,s]", di_text_at(g, "value"), DI_DECIMAL(di_num(g, "n"), 0),
                              DI_DECIMAL(di_num(g, "accuracy"), 3),
                              DI_FMT("%.3f to %.3f", at(ci, 0), at(ci, 1))),
                    &out->failed);
    }
    end(out);
    di_table_print(rows, "lrrl", 4, out);
    json_decref(rows);
}

static void compare_text(const json_t *r, di_buf *out)
{
    const json_t *c = di_at(r, "compare");
    double lo = at(di_at(c, "ci95"), 0), hi = at(di_at(c, "ci95"), 1);

    if (!json_is_object(c)) return;
    di_puts(out, "\n  against ");
    di_put_plain(out, di_text_at(c, "model"));
    di_buf_printf(out, " (accuracy %s): %s points", DI_DECIMAL(di_num(c, "accuracy"), 3),
                  DI_POINTS(di_num(c, "delta")));
    if (isfinite(lo))
        di_buf_printf(out, ", 95%%: %s to %s (%s 0)", DI_POINTS(lo), DI_POINTS(hi),
                      lo > 0 || hi < 0 ? "does not contain" : "contains");
    di_buf_printf(out,
                  "\n  rows gained %.0f, lost %.0f; McNemar p %.3g (takes rows as independent)\n",
                  di_num(c, "flips.better"), di_num(c, "flips.worse"), di_num(c, "p_mcnemar"));
}

/* Counts that are not 0. */
static void rows_text(const json_t *r, di_buf *out)
{
    static const char *const keys[][2] = {{"bad", "bad"},
                                          {"identical", "identical pairs"},
                                          {"identical_after_truncation", "identical after cutting"},
                                          {"overlong_dropped", "too long, dropped"},
                                          {"prompt_truncated", "prompts cut"},
                                          {"response_truncated", "responses cut"}};
    const json_t *rows = di_at(r, "rows");

    di_buf_printf(out, "  rows: %.0f read, %.0f used", di_num(rows, "read"), di_num(rows, "used"));
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (di_num(rows, keys[k][0]) > 0)
            di_buf_printf(out, ", %.0f %s", di_num(rows, keys[k][0]), keys[k][1]);
    di_buf_printf(out, "; %.0f tokens", di_num(r, "tokens.total"));
    if (isfinite(di_num(r, "tokens_per_second")))
        di_buf_printf(out, " in %.1f s (%.0f a second)", di_num(r, "seconds"),
                      di_num(r, "tokens_per_second"));
    end(out);
}

dial_status di_report_eval_text(const json_t *doc, di_buf *out, dial_error *err)
{
    const json_t *r;
    size_t i;

    di_put_plain(out, di_text_at(doc, "model"));
    if (isfinite(di_num(doc, "step"))) di_buf_printf(out, ", step %.0f", di_num(doc, "step"));
    end(out);
    if (json_is_true(di_at(doc, "text_override")))
        di_puts(out, "the text settings differ from those the model was trained with\n");
    json_array_foreach (di_at(doc, "results"), i, r) {
        const char *kind = di_text_at(r, "kind");

        end(out);
        di_put_plain(out, di_text_at(r, "name"));
        di_buf_printf(out, ": %.0f %s of ", di_num(r, "n"),
                      kind != NULL && strcmp(kind, "mcq") == 0          ? "questions"
                      : kind != NULL && strcmp(kind, "candidates") == 0 ? "sets of candidates"
                      : kind != NULL && strcmp(kind, "scored") == 0     ? "scored texts"
                      : kind != NULL && strcmp(kind, "classes") == 0    ? "texts of a class"
                                                                        : "pairs");
        di_put_plain(out, di_text_at(r, "file"));
        end(out);
        if (kind != NULL && strcmp(kind, "scored") == 0)
            scored_text(r, out);
        else if (kind != NULL && strcmp(kind, "mcq") == 0)
            mcq_text(r, out);
        else if (kind != NULL && strcmp(kind, "classes") == 0)
            classes_text(r, out);
        else if (kind == NULL || strcmp(kind, "candidates") != 0)
            pairs_text(r, out);
        if (json_is_object(di_at(r, "subsets"))) bench_text(r, out);
        groups_text(r, out);
        compare_text(r, out);
        rows_text(r, out);
    }
    if (di_num(doc, "macro.n_sets") > 1)
        di_buf_printf(out, "\nmean accuracy of %.0f sets: %s\n", di_num(doc, "macro.n_sets"),
                      DI_DECIMAL(di_num(doc, "macro.accuracy"), 3));
    return di_buf_status(out, err);
}
