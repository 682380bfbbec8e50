/*
 * The numbers of a sweep against those of eval/stats.h, which have tests of their own; the cost of
 * choosing, divergence and curves against values worked out by hand; claims that must hold and
 * claims that must not; a store that is damaged.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "eval/stats.h"
#include "report/claims.h"
#include "report/collect.h"
#include "report/sweep.h"
#include "test.h"

enum { ROWS = 60, SEEDS = 3, DRAWS = 400 };

static char folder[] = "/tmp/dial-sweep-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    return di_remove_tree(folder, NULL) != DIAL_OK;
}

/* Row i of a group in a seed: right in a share of rows that depends on the group. */
static uint8_t credit_at(int group, int seed, int i)
{
    unsigned x = (unsigned)(i * 2654435761u) ^ (unsigned)(seed * 40503u + 977u);

    x = (x ^ (x >> 13)) * 2246822519u;
    x ^= x >> 16;
    if (x % 17 == 0) return 1; /* a tie */
    return x % 100 < (unsigned)(45 + 15 * group) ? 2 : 0;
}

/* Every text stands in four rows, as in nollysenti's test files. */
static void texts(uint64_t text[3 * ROWS])
{
    for (int i = 0; i < ROWS; i++) {
        text[3 * i] = 1000 + (uint64_t)(i / 4);
        text[3 * i + 1] = 2000 + (uint64_t)(i % 15);
        text[3 * i + 2] = 7;
    }
}

static di_store *open_store(const char *name)
{
    char path[256];
    dial_error err;
    di_store *s = NULL;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(di_store_open(di_alloc_default(), NULL, path, &s, &err), err);
    return s;
}

/* Groups 0 src-pref, 1 mmd, 2 oracle, each with `seeds` seeds, put into a store. */
static void fill(di_store *s, int seeds, json_t *facts)
{
    static const char *const method[] = {"src-pref", "mmd", "oracle"};
    dial_error err;

    for (int g = 0; g < 3; g++)
        for (int k = 0; k < seeds; k++) {
            uint8_t credit[ROWS];
            uint64_t text[3 * ROWS];
            double sum = 0;
            char key[32];
            json_t *result;

            for (int i = 0; i < ROWS; i++) {
                credit[i] = credit_at(g, k, i);
                sum += credit[i] / 2.0;
            }
            texts(text);
            snprintf(key, sizeof key, "%d-%d", g, k);
            result = json_pack("{s:f,s:i}", "accuracy", sum / ROWS, "n", ROWS);
            assert_ok(di_store_put(s,
                                   &(di_store_run){.run = key,
                                                   .dir = key,
                                                   .label = method[g],
                                                   .method = method[g],
                                                   .seed = k,
                                                   .status = "done",
                                                   .facts = facts},
                                   &(di_store_result){.name = "target",
                                                      .kind = "pairs",
                                                      .n = ROWS,
                                                      .accuracy = sum / ROWS,
                                                      .result = result,
                                                      .credit = credit,
                                                      .text = text},
                                   1, &err),
                      err);
            json_decref(result);
        }
}

static json_t *plan_of(int seeds)
{
    static const char *const method[] = {"src-pref", "mmd", "oracle"};
    json_t *groups = json_array(), *runs = json_array();
    char key[32];

    for (int g = 0; g < 3; g++) {
        json_array_append_new(groups, json_pack("{s:s,s:s,s:s,s:{}}", "label", method[g], "entry",
                                                method[g], "method", method[g], "axes"));
        for (int k = 0; k < seeds; k++) {
            snprintf(key, sizeof key, "%d-%d", g, k);
            json_array_append_new(runs,
                                  json_pack("{s:s,s:s,s:i,s:i,s:{},s:s}", "key", key, "dir", key,
                                            "group", g, "seed", k, "flags", "status", "done"));
        }
    }
    return json_pack("{s:s,s:o,s:o}", "name", "made up", "groups", groups, "runs", runs);
}

static json_t *document_of(di_store *s, const json_t *plan)
{
    json_t *doc = NULL;
    dial_error err;

    assert_ok(di_sweep_document(di_alloc_default(), plan, s, "here", DRAWS, 0, &doc, &err), err);
    return doc;
}

static const json_t *group_of(const json_t *doc, int g)
{
    return json_array_get(di_at(json_array_get(di_at(doc, "sets"), 0), "groups"), (size_t)g);
}

static double at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

/* The documents have six digits. */
#define assert_near(a, b) assert_true(fabs((a) - (double)(b)) <= 1e-6 + 5e-6 * fabs((double)(b)))

/* With one seed the weights of seeds cancel: what remains is the bootstrap of eval/stats.h. */
static void one_seed_is_the_paired_bootstrap(void **state)
{
    (void)state;
    di_store *s = open_store("one.sqlite");
    json_t *plan = plan_of(1), *doc;
    double credit[3][ROWS];
    uint64_t text[3 * ROWS], hash[2 * ROWS];
    const di_bootstrap_options o = {DRAWS, 0};
    di_difference d;
    di_gap_closure gap;
    dial_error err;
    di_units u;

    fill(s, 1, NULL);
    doc = document_of(s, plan);
    texts(text);
    for (int i = 0; i < ROWS; i++) {
        for (int g = 0; g < 3; g++) credit[g][i] = credit_at(g, 0, i) / 2.0;
        hash[2 * i] = text[3 * i];
        hash[2 * i + 1] = text[3 * i + 1];
    }
    assert_ok(di_units_init(&u, di_alloc_default(), ROWS, hash, DI_CLUSTER_TEXT, &err), err);
    assert_int_equal(u.n_units, 30);
    assert_int_equal((int)di_num(json_array_get(di_at(doc, "sets"), 0), "clusters"), 30);
    assert_ok(di_paired_difference(&u, credit[1], credit[0], &o, &d, &err), err);
    assert_near(di_num(group_of(doc, 1), "delta"), d.delta);
    assert_near(at(di_at(group_of(doc, 1), "delta_ci95"), 0), d.ci.lo);
    assert_near(at(di_at(group_of(doc, 1), "delta_ci95"), 1), d.ci.hi);
    assert_near(di_num(group_of(doc, 1), "delta_se"), d.se);
    assert_true(d.ci.hi - d.ci.lo > 0.05); /* no interval by accident */
    assert_ok(di_gap_closed(&u, credit[1], credit[0], credit[2], &o, &gap, &err), err);
    assert_true(gap.usable);
    assert_near(di_num(group_of(doc, 1), "gap.closed"), gap.value);
    assert_near(at(di_at(group_of(doc, 1), "gap.ci95"), 0), gap.ci.lo);
    assert_near(at(di_at(group_of(doc, 1), "gap.ci95"), 1), gap.ci.hi);
    assert_near(di_num(group_of(doc, 1), "gap.se"), gap.gap_se);
    assert_null(di_at(group_of(doc, 2), "gap")); /* the oracle closes no gap of its own */
    di_units_deinit(&u);
    json_decref(plan);
    json_decref(doc);
    di_store_close(s);
}

/* Two points whose set "target" is another file each: their groups are resampled over their own
 * rows, and compared with the baseline of their own point. */
static void points_with_files_of_their_own(void **state)
{
    (void)state;
    enum { FEW = 40 };
    di_store *s = open_store("points.sqlite");
    json_t *plan = plan_of(1), *doc, *groups = json_object_get(plan, "groups"), *result;
    const char *const method[] = {"src-pref", "mmd"};
    double credit[2][FEW];
    uint64_t text[3 * FEW];
    uint8_t halves[FEW];
    const di_bootstrap_options o = {DRAWS, 0};
    di_difference d;
    dial_error err;
    di_units u;

    fill(s, 1, NULL);
    for (size_t g = 0; g < 3; g++)
        json_object_set_new(json_array_get(groups, g), "axes", json_pack("{s:s}", "to", "a"));
    for (int i = 0; i < 3 * FEW; i++) text[i] = 5000 + (uint64_t)i; /* no text stands twice */
    for (int g = 0; g < 2; g++) {
        char label[32], key[32];

        for (int i = 0; i < FEW; i++) {
            halves[i] = credit_at(2 * g, 1, i);
            credit[g][i] = halves[i] / 2.0;
        }
        snprintf(label, sizeof label, "%s, to b", method[g]);
        snprintf(key, sizeof key, "b-%d", g);
        json_array_append_new(groups, json_pack("{s:s,s:s,s:s,s:{s:s}}", "label", label, "entry",
                                                method[g], "method", method[g], "axes", "to", "b"));
        json_array_append_new(json_object_get(plan, "runs"),
                              json_pack("{s:s,s:s,s:i,s:i,s:{},s:s}", "key", key, "dir", key,
                                        "group", 3 + g, "seed", 0, "flags", "status", "done"));
        result = json_pack("{s:f,s:i}", "accuracy", 0.5, "n", FEW);
        assert_ok(
            di_store_put(
                s,
                &(di_store_run){
                    .run = key, .dir = key, .label = label, .method = method[g], .status = "done"},
                &(di_store_result){.name = "target",
                                   .kind = "pairs",
                                   .n = FEW,
                                   .accuracy = 0.5,
                                   .result = result,
                                   .credit = halves,
                                   .text = text},
                1, &err),
            err);
        json_decref(result);
    }
    doc = document_of(s, plan);
    assert_int_equal(json_array_size(di_at(doc, "sets")), 1);
    assert_int_equal((int)di_num(json_array_get(di_at(doc, "sets"), 0), "files"), 2);
    assert_int_equal((int)di_num(json_array_get(di_at(doc, "sets"), 0), "n"), ROWS + FEW);
    assert_int_equal((int)di_num(json_array_get(di_at(doc, "sets"), 0), "clusters"), 30 + FEW);
    assert_ok(di_units_init(&u, di_alloc_default(), FEW, NULL, DI_CLUSTER_NONE, &err), err);
    assert_ok(di_paired_difference(&u, credit[1], credit[0], &o, &d, &err), err);
    assert_string_equal(di_text_at(group_of(doc, 4), "against"), "src-pref, to b");
    assert_near(at(di_at(group_of(doc, 4), "delta_ci95"), 0), d.ci.lo);
    assert_near(at(di_at(group_of(doc, 4), "delta_ci95"), 1), d.ci.hi);
    assert_true(d.ci.hi - d.ci.lo > 0.05); /* no interval by accident */
    assert_string_equal(di_text_at(group_of(doc, 1), "against"), "src-pref");
    di_units_deinit(&u);
    json_decref(plan);
    json_decref(doc);
    di_store_close(s);
}

/* With several: the mean over seeds of each seed's difference, the interval wider than that of the
 * mean credits (seeds are resampled too), and the counts by seed. */
static void several_seeds(void **state)
{
    (void)state;
    di_store *s = open_store("three.sqlite");
    json_t *plan = plan_of(SEEDS), *doc;
    double mean = 0, worst = 1, better = 0, unharmed = 0;
    const json_t *g;

    fill(s, SEEDS, NULL);
    doc = document_of(s, plan);
    g = group_of(doc, 1);
    for (int k = 0; k < SEEDS; k++) {
        double d = 0;

        for (int i = 0; i < ROWS; i++) d += (credit_at(1, k, i) - credit_at(0, k, i)) / 2.0 / ROWS;
        assert_near(di_num(json_array_get(di_at(g, "delta_by_seed"), (size_t)k), "value"), d);
        mean += d / SEEDS;
        worst = fmin(worst, d);
        better += d > 0;
        unharmed += d >= -0.005;
    }
    assert_near(di_num(g, "delta"), mean);
    assert_near(di_num(g, "worst"), worst);
    assert_true(di_num(g, "seeds_better") == better);
    assert_near(di_num(g, "no_harm"), unharmed / SEEDS);
    assert_true(at(di_at(g, "delta_ci95"), 0) < mean && mean < at(di_at(g, "delta_ci95"), 1));
    json_decref(doc);
    /* a run that is not done is no part of any mean */
    json_object_set_new(plan, "runs", json_array());
    doc = document_of(s, plan);
    assert_int_equal(json_array_size(di_at(doc, "sets")), 0);
    json_decref(plan);
    json_decref(doc);
    di_store_close(s);
}

/* Checkpoints 10, 20, 30 with target accuracy .5 .9 .6 and validation .7 .6 .8: the labels of the
 * validation set choose step 30, so the cost is .6 less the accuracy of the chosen one. */
static void cost_of_choosing(void **state)
{
    (void)state;
    di_store *s = open_store("cost.sqlite");
    json_t *plan = plan_of(1), *doc,
           *facts =
               json_pack("{s:{s:[[i,f],[i,f],[i,f]],s:[[i,f],[i,f],[i,f]]}}", "along", "target", 10,
                         0.5, 20, 0.9, 30, 0.6, "target_val", 10, 0.7, 20, 0.6, 30, 0.8);
    const json_t *g;

    fill(s, 1, facts);
    doc = document_of(s, plan);
    g = group_of(doc, 0);
    assert_string_equal(di_text_at(g, "regret.by"), "target_val");
    assert_near(di_num(g, "regret.mean"), 0.6 - di_num(g, "mean"));
    json_decref(doc);
    json_object_del(di_at(facts, "along"), "target_val");
    fill(s, 1, facts);
    doc = document_of(s, plan);
    g = group_of(doc, 0);
    assert_string_equal(di_text_at(g, "regret.by"), "target");
    assert_near(di_num(g, "regret.mean"), 0.9 - di_num(g, "mean"));
    json_decref(facts);
    json_decref(plan);
    json_decref(doc);
    di_store_close(s);
}

/* Along lambda: points in order, the range, and how many are not under src-pref, which has no
 * lambda and is a level. */
static void curves(void **state)
{
    (void)state;
    json_t *plan = json_pack("{s:[{s:{}},{s:{s:f}}]}", "groups", "axes", "axes", "lambda", 1.0);
    json_t *sets = json_pack(
        "[{s:s,s:[{s:s,s:s,s:{},s:f},{s:s,s:s,s:{s:f},s:f,s:s},{s:s,s:s,s:{s:f},s:f,s:s},{s:s,s:s,"
        "s:{s:f},s:f,s:s}]}]",
        "name", "target", "groups", "label", "src-pref", "entry", "src-pref", "axes", "mean", 0.70,
        "label", "mmd, 10", "entry", "mmd", "axes", "lambda", 10.0, "mean", 0.60, "against",
        "src-pref", "label", "mmd, .1", "entry", "mmd", "axes", "lambda", 0.1, "mean", 0.698,
        "against", "src-pref", "label", "mmd, 1", "entry", "mmd", "axes", "lambda", 1.0, "mean",
        0.80, "against", "src-pref");
    json_t *out = di_sweep_curves(plan, sets);
    const json_t *line = json_array_get(di_at(json_array_get(out, 0), "series"), 0);
    const json_t *level = json_array_get(di_at(json_array_get(out, 0), "series"), 1);

    assert_int_equal(json_array_size(out), 1);
    assert_string_equal(di_text_at(line, "label"), "mmd");
    assert_near(at(di_at(line, "x"), 0), 0.1);
    assert_near(at(di_at(line, "y"), 1), 0.80);
    assert_near(di_num(line, "range"), 0.20);
    assert_true(di_num(line, "above") == 2 && di_num(line, "n") == 3);
    assert_string_equal(di_text_at(level, "label"), "src-pref");
    assert_int_equal(json_array_size(di_at(level, "y")), 3);
    json_decref(plan);
    json_decref(sets);
    json_decref(out);
}

/* ---- claims ---- */

/* A setting whose recipe gains `delta` with that standard error, of a gap of 0.2; control 1: of
 * next to none, as its file says; 2: the same, and the file does not. */
static json_t *setting(const char *name, const char *family, int control, double delta, double se,
                       const char *verdict)
{
    json_t *g = json_pack(
        "{s:s,s:f,s:f,s:[f,f],s:{s:f,s:f,s:f,s:f},s:{s:f,s:i,s:s},s:[{s:i,s:f}],s:[{s:i,s:s}]}",
        "label", "native", "delta", delta, "delta_se", se, "delta_ci95", delta - 2 * se,
        delta + 2 * se, "gap", "size", control ? 0.01 : 0.2, "se", 0.02, "closed", delta / 0.2,
        "closed_se", se / 0.2, "regret", "mean", 0.004, "seeds", 5, "by", "target", "delta_by_seed",
        "seed", 0, "value", delta, "verdicts", "seed", 0, "verdict", verdict);

    return json_pack("{s:s,s:s,s:b,s:[{s:s,s:[o,{s:s,s:{s:f,s:f}}]}]}", "name", name, "family",
                     family, "control", control == 1, "sets", "name", "target", "groups", g,
                     "label", "paper", "gap", "closed", 0.2, "closed_se", 0.01);
}

static json_t *claims_over(json_t *docs)
{
    json_t *rules =
        json_pack("{s:s,s:s,s:f,s:i,s:f,s:f,s:f,s:f,s:f,s:f}", "recipe", "native", "paper", "paper",
                  "least_gap", 0.05, "settings_above_zero", 2, "closure", 0.5, "times_paper", 2.0,
                  "control", -0.005, "regret", 0.01, "harm", 0.01, "harmed_share", 0.05);
    json_t *out = NULL;
    dial_error err;

    assert_ok(di_claims(rules, docs, &out, &err), err);
    json_decref(rules);
    json_decref(docs);
    return out;
}

static const json_t *claim(const json_t *out, size_t i)
{
    return json_array_get(di_at(out, "claims"), i);
}

static void claims_hold_and_fall_short(void **state)
{
    (void)state;
    json_t *out = claims_over(json_pack("[o,o,o,o,o]", setting("a", "one", 0, 0.14, 0.02, "safe"),
                                        setting("b", "one", 0, 0.10, 0.02, "safe"),
                                        setting("c", "two", 0, 0.12, 0.02, "unsafe"),
                                        setting("d", "three", 1, 0.00, 0.01, "no_shift"),
                                        setting("e", "four", 2, 0.02, 0.01, "unsafe")));
    const char *lines;
    dial_error err;
    di_buf b;

    /* closure: family one (.7 + .5)/2 = .6, two .6; less 2 x .2: .2 */
    assert_int_equal(json_array_size(di_at(out, "claims")), 7);
    for (size_t i = 0; i < 7; i++) assert_true(json_is_true(di_at(claim(out, i), "holds")));
    assert_near(di_num(claim(out, 0), "value"), 1);
    assert_near(di_num(claim(out, 1), "value"), 2); /* a and b are one */
    assert_near(di_num(claim(out, 2), "value"), 0.6);
    /* se: family one .1 (wholly dependent), two .1; of their mean .1 / sqrt 2 */
    assert_near(at(di_at(claim(out, 2), "ci95"), 1), 0.6 + DI_Z95 * 0.1 / sqrt(2));
    assert_near(di_num(claim(out, 3), "value"), 0.2);
    assert_near(di_num(claim(out, 4), "value"), 0.01); /* d and e */
    assert_near(di_num(claim(out, 5), "value"), 0);
    assert_true(di_num(claim(out, 5), "n") == 3); /* c is not passed by the doctor */
    assert_near(di_num(claim(out, 6), "value"), 0.004);
    di_buf_init(&b, di_alloc_default());
    assert_ok(di_claims_text(out, &b, &err), err);
    lines = b.data;
    assert_non_null(strstr(lines, "holds         mean share of the gap closed: 0.6 (95%: "));
    assert_null(strstr(lines, "falls short"));
    di_buf_deinit(&b);
    json_decref(out);

    out = claims_over(json_pack("[o,o,o]", setting("a", "one", 0, 0.02, 0.02, "safe"),
                                setting("c", "two", 0, -0.03, 0.02, "safe"),
                                setting("d", "three", 1, -0.02, 0.01, "no_shift")));
    for (size_t i = 0; i < 6; i++) assert_true(json_is_false(di_at(claim(out, i), "holds")));
    assert_near(di_num(claim(out, 5), "value"), 2.0 / 3);
    assert_int_equal(json_array_size(di_at(claim(out, 5), "detail")), 2);
    json_decref(out);

    out = claims_over(json_array()); /* nothing was run: nothing is said */
    for (size_t i = 0; i < 7; i++) assert_true(json_is_null(di_at(claim(out, i), "holds")));
    json_decref(out);
}

/* ---- the store ---- */

static void damaged_store_is_made_anew(void **state)
{
    (void)state;
    char path[256], aside[300];
    dial_error err;
    di_store *s;
    json_t *facts = NULL, *names = NULL;

    snprintf(path, sizeof path, "%s/bad.sqlite", folder);
    snprintf(aside, sizeof aside, "%s.damaged", path);
    for (int cut = 0; cut < 2; cut++) {
        s = open_store("bad.sqlite");
        fill(s, 1, NULL);
        di_store_close(s);
        if (cut) { /* the second half is gone */
            char *text = NULL;
            size_t n;

            assert_ok(di_read_file(di_alloc_default(), path, &text, &n, &err), err);
            assert_ok(di_write_file(di_alloc_default(), path, text, n / 2, &err), err);
            di_free(di_alloc_default(), text);
        } else {
            assert_ok(
                di_write_file(di_alloc_default(), path, "not a database, not at all", 26, &err),
                err);
        }
        s = open_store("bad.sqlite");
        assert_true(di_exists(aside));
        assert_ok(di_store_done(s, "0-0", &facts, &err), err);
        assert_null(facts);
        assert_ok(di_store_sets(s, &names, &err), err);
        assert_int_equal(json_array_size(names), 0);
        json_decref(names);
        di_store_close(s);
        assert_ok(di_remove_tree(aside, &err), err);
    }
}

/* Sets without rows: classes have an accuracy, scores a rank correlation; a run that has neither
 * changes nothing of what the others are measured by. */
static void measures(void **state)
{
    static const char *const name[] = {"classes", "scores"};
    di_store *s = open_store("measures.sqlite");
    json_t *facts = json_object(), *plan = plan_of(1), *doc;
    dial_error err;
    (void)state;
    for (int g = 0; g < 3; g++) {
        char key[32];
        di_store_result set[2] = {0};

        snprintf(key, sizeof key, "%d-0", g);
        for (int k = 0; k < 2; k++) {
            json_t *o = g == 2 ? json_pack("{s:i}", "n", 7)
                        : k == 0
                            ? json_pack("{s:i,s:f}", "n", 7, "accuracy", 0.5)
                            : json_pack("{s:i,s:{s:f}}", "n", 7, "spearman", "within_prompt", 0.25);

            set[k] = (di_store_result){
                .name = name[k], .kind = "", .n = 7, .accuracy = NAN, .result = o};
        }
        assert_ok(di_store_put(s,
                               &(di_store_run){.run = key,
                                               .dir = key,
                                               .label = "a",
                                               .method = "a",
                                               .status = "done",
                                               .facts = facts},
                               set, 2, &err),
                  err);
        for (int k = 0; k < 2; k++) json_decref((json_t *)(uintptr_t)set[k].result);
    }
    doc = document_of(s, plan);
    for (size_t k = 0; k < 2; k++) {
        const json_t *set = json_array_get(di_at(doc, "sets"), k);

        assert_string_equal(di_text_at(set, "name"), name[k]);
        assert_string_equal(di_text_at(set, "measure"), k == 0 ? "accuracy" : "other");
        assert_near(di_num(json_array_get(di_at(set, "groups"), 0), "mean"), k == 0 ? 0.5 : 0.25);
    }
    json_decref(doc);
    json_decref(plan);
    json_decref(facts);
    di_store_close(s);
}

/* Seven runs and an oracle, whose accuracy must not count: agreement rises with the accuracy, the
 * source loss does too (so it is wrong), w1 is there for two runs. */
static void validators_are_validated(void **state)
{
    json_t *plan = json_pack("{s:[{s:{s:f}}]}", "groups", "axes", "lambda", 1.0), *runs,
           *out = NULL;
    dial_error err;
    di_buf text;
    (void)state;
    runs = json_array();
    for (int i = 0; i < 8; i++)
        json_array_append_new(runs,
                              json_pack("{s:{s:s}, s:{s:f}, s:{s:f, s:f, s:o}}", "flags", "method",
                                        i == 7 ? "oracle" : "mmd", "eval", "target",
                                        i == 7 ? 0.1 : .5 + .05 * i, "validators", "seed_agreement",
                                        .6 + .01 * i, "source_loss", .3 + .01 * i, "w1",
                                        i < 2 ? json_real(i) : json_null()));
    assert_ok(di_sweep_validators(di_alloc_default(), plan, runs, &out, &err), err);
    assert_true(di_num(out, "runs") == 7);
    assert_true(di_num(out, "spearman.agreement.rho") == 1);
    assert_true(di_num(out, "spearman.source.rho") == -1);
    assert_true(isnan(di_num(out, "spearman.w1.rho")) && di_num(out, "spearman.w1.n") == 2);
    di_buf_init(&text, di_alloc_default());
    assert_int_equal(json_object_set_new(plan, "validators", out), 0);
    assert_int_equal(json_object_set_new(plan, "sets", json_array()), 0);
    assert_ok(di_sweep_markdown(plan, &text, &err), err);
    assert_non_null(strstr(text.data, "## Validators beside target"));
    assert_non_null(strstr(text.data, "| agreement | +1.00 | - | 7 |"));
    assert_null(strstr(text.data, "| w1 |"));
    di_buf_deinit(&text);
    /* too few runs; runs on other files */
    json_array_remove(runs, 0);
    json_array_remove(runs, 0);
    assert_ok(di_sweep_validators(di_alloc_default(), plan, runs, &out, &err), err);
    assert_true(json_is_null(out));
    json_array_append(runs, json_array_get(runs, 0));
    json_array_append(runs, json_array_get(runs, 0));
    assert_ok(di_sweep_validators(di_alloc_default(), plan, runs, &out, &err), err);
    assert_true(json_is_object(out));
    json_decref(out);
    json_object_set_new(plan, "vary", json_pack("{s:[s,s]}", "from", "en", "yo"));
    assert_ok(di_sweep_validators(di_alloc_default(), plan, runs, &out, &err), err);
    assert_true(json_is_null(out));
    json_decref(runs);
    json_decref(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(validators_are_validated),
        cmocka_unit_test(one_seed_is_the_paired_bootstrap),
        cmocka_unit_test(points_with_files_of_their_own),
        cmocka_unit_test(several_seeds),
        cmocka_unit_test(cost_of_choosing),
        cmocka_unit_test(curves),
        cmocka_unit_test(claims_hold_and_fall_short),
        cmocka_unit_test(damaged_store_is_made_anew),
        cmocka_unit_test(measures),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
