#include "report/words.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "report/collect.h"
#include "report/markup.h"

/* Sentences so far; failed: one of them found no memory. */
typedef struct prose {
    json_t *list;
    int failed;
} prose;

static void say(prose *to, const char *fmt, ...) DIAL_PRINTF(2, 3);
static void say(prose *to, const char *fmt, ...)
{
    char text[900];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    di_json_add(to->list, json_string(text), &to->failed);
}

static double lo_of(const json_t *v, const char *key)
{
    const json_t *x = json_array_get(di_at(v, key), 0);

    return json_is_number(x) ? json_number_value(x) : NAN;
}

static double hi_of(const json_t *v, const char *key)
{
    const json_t *x = json_array_get(di_at(v, key), 1);

    return json_is_number(x) ? json_number_value(x) : NAN;
}

static const json_t *result_of(const json_t *set, const char *model)
{
    const json_t *list = di_at(set, "results"), *e;
    size_t i;

    json_array_foreach (list, i, e)
        if (model != NULL && strcmp(di_text_at(e, "model"), model) == 0) return e;
    return NULL;
}

static const json_t *result_in_role(const json_t *set, const char *role)
{
    const json_t *list = di_at(set, "results"), *e;
    size_t i;

    json_array_foreach (list, i, e)
        if (strcmp(di_text_at(e, "role"), role) == 0) return e;
    return NULL;
}

/* ---- the outcome ---- */

static void one_difference(prose *out, const json_t *set, const json_t *p)
{
    const char *name = di_text_at(set, "name"), *model = di_text_at(p, "model");
    const char *base = di_text_at(p, "baseline");
    double delta = di_num(p, "delta"), lo = lo_of(p, "ci95"), hi = hi_of(p, "ci95");

    if (!isfinite(lo)) {
        say(out,
            "On %s, %s differs from %s by %s points. There are no per-row scores of both, so "
            "nothing can be said about chance.",
            name, model, base, DI_POINTS(delta));
    } else if (lo > 0) {
        say(out,
            "On %s, %s ranks more pairs correctly than %s: %s points (95%% interval %s to %s). "
            "The interval lies above 0, so chance in the choice of test texts is an unlikely "
            "reason.",
            name, model, base, DI_POINTS(delta), DI_POINTS(lo), DI_POINTS(hi));
    } else if (hi < 0) {
        say(out,
            "On %s, %s ranks fewer pairs correctly than %s: %s points (95%% interval %s to %s). "
            "The interval lies below 0: here adaptation did harm.",
            name, model, base, DI_POINTS(delta), DI_POINTS(lo), DI_POINTS(hi));
    } else {
        say(out,
            "On %s, %s and %s differ by %s points (95%% interval %s to %s). The interval "
            "contains 0: this test does not show a difference. It does not show that there is "
            "none either; it rules out effects beyond the ends of the interval.",
            name, model, base, DI_POINTS(delta), DI_POINTS(lo), DI_POINTS(hi));
    }
    if (delta > 0 && di_num(p, "balanced_delta") <= 0)
        say(out,
            "On %s, the gain of %s vanishes when rows where the longer text is preferred and "
            "rows where the shorter one is are given equal weight (%s points). What was gained "
            "there is a better measure of length.",
            name, model, DI_POINTS(di_num(p, "balanced_delta")));
}

/* What a label-trained model could reach, and how much of the way adaptation went. */
static void one_gap(prose *out, const json_t *set)
{
    const json_t *base = result_in_role(set, "baseline"), *oracle = result_in_role(set, "oracle");
    const json_t *list = di_at(set, "gap_closure"), *g;
    const char *name = di_text_at(set, "name");
    size_t i;

    if (base == NULL || oracle == NULL || !isfinite(di_num(oracle, "accuracy"))) return;
    json_array_foreach (list, i, g) {
        if (i == 0 && json_is_true(di_at(g, "usable")))
            say(out,
                "On %s, training on the source alone reaches %s, training with target labels "
                "(%s) %s. This gap of %s points is what target labels are worth here: the price "
                "of the domain shift.",
                name, DI_PERCENT(di_num(base, "accuracy")), di_text_at(g, "oracle"),
                DI_PERCENT(di_num(oracle, "accuracy")), DI_DECIMAL(100 * di_num(g, "gap"), 1));
        if (i == 0 && !json_is_true(di_at(g, "usable")))
            say(out,
                "On %s, a model trained with target labels (%s) is not clearly better than one "
                "trained on the source alone (%s points, less than two standard errors). There "
                "is little measured shift to repair, so no share of it is given.",
                name, di_text_at(g, "oracle"), DI_POINTS(di_num(g, "gap")));
        if (json_is_true(di_at(g, "usable")))
            say(out,
                "%s closes %.0f%% of that gap without target labels (95%% interval %.0f%% to "
                "%.0f%%).",
                di_text_at(g, "model"), 100 * di_num(g, "value"), 100 * lo_of(g, "ci95"),
                100 * hi_of(g, "ci95"));
    }
}

static int most_seeds(const json_t *doc)
{
    const json_t *sets = di_at(doc, "sets"), *set, *s;
    size_t i, k;
    int most = 1;

    json_array_foreach (sets, i, set)
        json_array_foreach (di_at(set, "seeds"), k, s)
            if (di_num(s, "n") > most) most = (int)di_num(s, "n");
    return most;
}

json_t *di_words_summary(const json_t *doc)
{
    prose text = {json_array(), 0}, *out = &text;
    const json_t *sets = di_at(doc, "sets"), *set, *p;
    size_t i, k, comparisons = 0;
    int seeds = most_seeds(doc);

    json_array_foreach (sets, i, set) {
        json_array_foreach (di_at(set, "paired"), k, p) {
            const json_t *r = result_of(set, di_text_at(p, "model"));

            if (r == NULL || strcmp(di_text_at(r, "role"), "adapted") != 0) continue;
            one_difference(out, set, p);
            comparisons += json_is_array(di_at(p, "ci95"));
        }
        one_gap(out, set);
    }
    if (json_array_size(out->list) == 0)
        say(out, json_array_size(sets) == 0
                     ? "These runs were not evaluated on any labelled set (train --eval "
                       "NAME=FILE), so this "
                       "page shows how training went, not how good the models are."
                     : "There is no source-only run (method src-pref) to compare with. Add one "
                       "with the same "
                       "data and seed: a gain can only be measured against it.");
    if (comparisons > 1)
        say(out,
            "%zu differences are shown. Of intervals at 95%%, one in twenty misses the truth by "
            "chance: the more are looked at, the less one of them says.",
            comparisons);
    if (comparisons > 0 && seeds < 2)
        say(out,
            "Each method was trained once. The intervals cover which texts happened to be in the "
            "test set, not the luck of one training run; a claim needs at least five seeds.");
    else if (comparisons > 0 && seeds < 5)
        say(out,
            "There are %d seeds at most. That describes the spread; a claim needs at least five, "
            "with the same sign in four.",
            seeds);
    return di_json_whole(text.list, text.failed);
}

/* ---- one set ---- */

static void against_length(prose *out, const json_t *set)
{
    const json_t *list = di_at(set, "results"), *r;
    double rule = di_num(set, "baseline_longer");
    size_t i;

    if (!isfinite(rule)) return;
    say(out,
        "The rule \"prefer the longer response\" gets %s on these rows without reading a word. An "
        "accuracy is worth something only above that.",
        DI_PERCENT(rule));
    json_array_foreach (list, i, r) {
        double lo = lo_of(r, "ci95_cluster"), hi = hi_of(r, "ci95_cluster");
        const char *model = di_text_at(r, "model");

        if (!isfinite(lo)) {
            lo = lo_of(r, "ci95");
            hi = hi_of(r, "ci95");
        }
        if (!isfinite(lo) || strcmp(di_text_at(r, "role"), "untrained") == 0) continue;
        if (lo <= 0.5 && hi >= 0.5)
            say(out, "%s cannot be told from guessing: its interval contains 50%%.", model);
        else if (hi < 0.5)
            say(out, "%s is below 50%%: on this set its ranking is turned around.", model);
        else if (lo <= rule && hi >= rule)
            say(out, "%s cannot be told from the length rule: its interval contains %s.", model,
                DI_PERCENT(rule));
        else if (hi < rule)
            say(out, "%s does worse than the length rule.", model);
    }
}

json_t *di_words_set(const json_t *doc, const json_t *set)
{
    prose text = {json_array(), 0}, *out = &text;
    const json_t *r = json_array_get(di_at(set, "results"), 0);
    double clusters = di_num(r, "clusters"), n = di_num(set, "n");
    const char *kind = di_text_at(set, "kind");

    (void)doc;
    if (kind != NULL && strcmp(kind, "scored") == 0) {
        say(out,
            "These rows carry a score instead of a preference. Within one prompt the order of "
            "the rewards is compared with the order of the scores: 1 is the same order, 0 none, "
            "-1 reversed. Values across prompts mean something only if scores are comparable "
            "there.");
        return di_json_whole(text.list, text.failed);
    }
    if (kind != NULL && strcmp(kind, "mcq") == 0) {
        say(out,
            "A question counts as right when the correct option has the highest reward. Guessing "
            "gets %s.",
            DI_PERCENT(di_num(r, "chance")));
        return di_json_whole(text.list, text.failed);
    }
    if (isfinite(clusters) && clusters < 2 * n && clusters != n)
        say(out,
            "The %.0f pairs are made of %.0f distinct texts, so pairs are not independent. The "
            "intervals draw texts, not pairs, and are as wide as that makes them.",
            n, clusters);
    against_length(out, set);
    return di_json_whole(text.list, text.failed);
}

/* ---- curves ---- */

int di_curve_ends(const json_t *model, const char *key, double *first, double *last)
{
    const json_t *v = di_at(di_at(di_at(model, "curves"), key), "value");
    size_t n = json_array_size(v), tenth = n < 10 ? 1 : n / 10;

    if (n < 2) return 0;
    *first = *last = 0;
    for (size_t i = 0; i < tenth; i++) {
        *first += json_number_value(json_array_get(v, i)) / (double)tenth;
        *last += json_number_value(json_array_get(v, n - 1 - i)) / (double)tenth;
    }
    return 1;
}

json_t *di_words_distance(const json_t *doc)
{
    prose text = {json_array(), 0}, *out = &text;
    const json_t *list = di_at(doc, "models"), *m;
    double first, last;
    size_t i;

    json_array_foreach (list, i, m) {
        const char *label = di_text_at(m, "label");

        if (!di_curve_ends(m, "w1", &first, &last)) continue;
        if (last < 0)
            say(out,
                "%s: the distance ends below 0 (%.3g). The critic lags behind the encoder, so this "
                "number says nothing about the domains.",
                label, last);
        else if (last < 0.7 * first)
            say(out,
                "%s: the critic's distance between the domains falls from %.3g to %.3g. What it "
                "could tell apart at first it can tell apart less well at the end.",
                label, first, last);
        else if (last > 1.3 * first)
            say(out,
                "%s: the critic's distance grows from %.3g to %.3g. Either the critic is still "
                "learning, or the encoder loses the race.",
                label, first, last);
        else
            say(out,
                "%s: the critic's distance hardly changes (%.3g at the start, %.3g at the end).",
                label, first, last);
    }
    if (json_array_size(out->list) > 0)
        say(out,
            "A small distance is a means, not the goal: it is measured by the critic that "
            "training works against, and features that say nothing have distance 0. The accuracy "
            "above decides.");
    return di_json_whole(text.list, text.failed);
}

/* ---- maps ---- */

static const char *degree(double mixing)
{
    return mixing < 0.2   ? "hardly ever have a neighbour of the other domain"
           : mixing < 0.7 ? "have fewer neighbours of the other domain than chance would give"
           : mixing < 0.9 ? "are mostly mixed"
                          : "are mixed as if they were one";
}

static void before_words(prose *out, const json_t *b)
{
    double mixing = di_num(b, "mixing");

    say(out,
        "Before training, texts of the two domains %s (mixing %.2f; 1 is one common cloud, 0 two "
        "separate ones).%s",
        degree(mixing), mixing,
        mixing < 0.7
            ? " So that is what domain shift is: to the model a text is first of all a text of "
              "its domain, and a rule learned in one cloud is applied in the other unseen."
            : " There is little shift for the eye to see in these embeddings.");
}

static void after_words(prose *out, const json_t *b, const json_t *a)
{
    const char *model = di_text_at(a, "model");
    double from = di_num(b, "mixing"), to = di_num(a, "mixing");
    double rule = di_num(a, "centroid_accuracy");

    if (b == NULL)
        say(out, "After %s the domains %s (mixing %.2f).", model, degree(to), to);
    else if (to > from + 0.05)
        say(out, "After %s mixing rises from %.2f to %.2f: the domains have moved together.", model,
            from, to);
    else if (to < from - 0.05)
        say(out, "After %s mixing falls from %.2f to %.2f: the domains have moved apart.", model,
            from, to);
    else
        say(out, "After %s mixing is what it was (%.2f, before %.2f).", model, to, from);
    if (isfinite(rule))
        say(out,
            "After %s, the direction from rejected to chosen learned on the source orders %s of "
            "the pairs shown of the other set correctly%s.",
            model, DI_PERCENT(rule),
            rule < 0.5    ? ": less than guessing"
            : rule < 0.55 ? ", hardly more than guessing"
                          : "");
}

/* What was kept on the way of a model, in the order of the steps. */
static void during_words(prose *out, const json_t *panels, const json_t *after)
{
    const char *model = di_text_at(after, "model");
    char list[400] = "";
    const json_t *p;
    size_t i, n = 0;

    json_array_foreach (panels, i, p)
        if (strcmp(di_text_at(p, "when"), "during") == 0 &&
            strcmp(di_text_at(p, "model"), model) == 0 && n + 40 < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%.2f (epoch %.3g)",
                                  n > 0 ? ", " : "", di_num(p, "mixing"), di_num(p, "epoch"));
    if (n > 0) say(out, "On its way %s had a mixing of %s.", model, list);
}

json_t *di_words_map(const json_t *map)
{
    prose text = {json_array(), 0}, *out = &text;
    const json_t *panels = di_at(map, "panels"), *p, *before = NULL;
    size_t i;

    json_array_foreach (panels, i, p)
        if (before == NULL && strcmp(di_text_at(p, "when"), "before") == 0) before = p;
    if (before != NULL) before_words(out, before);
    json_array_foreach (panels, i, p)
        if (strcmp(di_text_at(p, "when"), "after") == 0) {
            after_words(out, before, p);
            during_words(out, panels, p);
        }
    return di_json_whole(text.list, text.failed);
}

/* ---- fixed texts ---- */

const char *di_words_method(const json_t *model)
{
    static const char *const rows[][2] = {
        {"base", "the base model with a random reward head: where everything starts"},
        {"src-pref", "trained on labelled source pairs alone: what one has without adaptation"},
        {"dial",
         "trained on labelled source pairs, while a critic pulls the embeddings of unlabelled "
         "target texts towards those of the source; no target label is read"},
        {"oracle",
         "trained on source pairs and on target pairs with their labels: an upper reference, "
         "not something one has in practice"},
        {"oracle-target", "trained on target pairs with their labels alone: an upper reference"},
    };

    const char *method = di_text_at(model, "method"),
               *head = di_text_at(model, "settings.head-init");

    if (strcmp(method, "base") == 0 && head != NULL && strcmp(head, "probe") == 0)
        return "the base model as it is, with a linear probe fitted on labelled source pairs as "
               "its reward head: what its embeddings give before any training";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i][0], method) == 0) return rows[i][1];
    return "trained with another way of aligning the domains (see the settings)";
}

const char *di_words_warning(const char *code)
{
    static const char *const rows[][2] = {
        {"already_aligned", "the domains look alike before training; expect no gain"},
        {"critic_lagging",
         "the critic does not keep up with the encoder; its distance means little"},
        {"critic_not_lipschitz",
         "the critic's slope is far from 1; its distance is not a distance"},
        {"source_degradation", "the source itself is fitted worse than without alignment"},
        {"feature_collapse", "embeddings have lost most of their directions"},
        {"reward_scale_collapse",
         "rewards on the target are much closer together than on the source"},
        {"reward_drift",
         "rewards of the two domains have different levels; ranking is not affected"},
        {"length_shortcut", "the reward follows length closely"},
        {"over_confident", "stated probabilities are more certain than they should be"},
        {"precision", "ties or numbers that are not finite; try --dtype f32"},
        {"identical_pairs", "some pairs hold the same text twice and teach nothing"},
        {"target_labels_ignored", "labels in the target file were dropped, as they should be"},
        {"columns_ignored", "columns of a data file that change nothing here were left out"},
        {"split_by_row", "held-out rows share texts with training rows"},
        {"truncation_rate", "many texts were cut to the maximum length"},
        {"lengths_differ", "texts of the two domains differ in length"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i][0], code) == 0) return rows[i][1];
    return NULL;
}
