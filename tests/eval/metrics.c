/* Every field of a result, on datasets small enough to work out by hand. */
#include "test.h"

#include <math.h>

#include "eval/classes.h"
#include "eval/metrics.h"

/* A text: what the metrics read of it. */
typedef struct text {
    const char *name; /* of prompt and response; its bytes are the hash */
    const char *prompt;
    float reward;
    int chars, words, tokens;
} text;

enum { MAX_TEXTS = 64 };

/* A dataset in caller's storage, one di_seq a text. */
typedef struct toy {
    di_dataset d;
    di_seq seq[MAX_TEXTS];
    di_example example[MAX_TEXTS];
    int32_t text_of[MAX_TEXTS];
    float reward[MAX_TEXTS];
} toy;

static uint64_t hash_of(const char *s)
{
    uint64_t h = 1469598103934665603u;

    for (; *s != 0; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

static void toy_texts(toy *t, const text *list, int n)
{
    static char path[] = "toy.jsonl";

    memset(t, 0, sizeof *t);
    t->d = (di_dataset){.al = di_alloc_default(),
                        .path = path,
                        .example = t->example,
                        .text_of = t->text_of,
                        .seq = t->seq,
                        .n_seq = n};
    strcpy(t->d.sha256, "00");
    for (int i = 0; i < n; i++) {
        t->seq[i] = (di_seq){.n = list[i].tokens,
                             .hash = hash_of(list[i].name),
                             .prompt_hash = hash_of(list[i].prompt),
                             .chars = list[i].chars,
                             .words = list[i].words};
        t->reward[i] = list[i].reward;
    }
}

static di_example *toy_row(toy *t, di_row_kind kind, int n_texts, const int *index)
{
    di_example *e = &t->example[t->d.n];
    int32_t first = t->d.n == 0 ? 0 : e[-1].first + e[-1].n_texts;

    *e = (di_example){.kind = kind,
                      .first = first,
                      .n_texts = n_texts,
                      .weight = 1,
                      .length_matched = -1,
                      .row = t->d.n,
                      .line = t->d.n + 1};
    for (int k = 0; k < n_texts; k++) t->text_of[first + k] = index[k];
    t->d.n++;
    t->d.counts.read = t->d.counts.used = t->d.n;
    return e;
}

/*
 * Five pairs of six texts (a stands in three). Margins 1, 2, 0, -1, 3; credits 1 1 .5 0 1.
 * Chars chosen/rejected: 10/8 10/20 10/10 8/20 30/8, so longer wins 1 0 .5 0 1 = 0.5.
 * Words: 2/2 2/4 2/3 2/4 6/2: |ln| < 0.3 only in row 0; row 1 says itself that it matches.
 */
static const text texts[] = {
    {"a", "p", 2, 10, 2, 5}, {"b", "p", 1, 8, 2, 4},  {"c", "q", 0, 20, 4, 9},
    {"d", "q", 2, 10, 3, 5}, {"e", "q", -1, 8, 2, 4}, {"f", "q", 4, 30, 6, 12},
};

static void pairs(toy *t)
{
    static const int rows[][2] = {{0, 1}, {0, 2}, {0, 3}, {4, 2}, {5, 1}};

    toy_texts(t, texts, 6);
    for (int i = 0; i < 5; i++) toy_row(t, DI_ROW_PAIR, 2, rows[i])->group = i < 2 ? "x" : "w";
    t->example[1].length_matched = 1;
    t->example[4].group = NULL;
}

static const json_t *at(const json_t *v, const char *path)
{
    char part[64];

    while (v != NULL && *path != 0) {
        size_t n = strcspn(path, ".");

        snprintf(part, sizeof part, "%.*s", (int)n, path);
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(part)) : json_object_get(v, part);
        path += n + (path[n] == '.');
    }
    return v;
}

/* Six digits are written: half a unit of the sixth. */
static void equals(const json_t *v, const char *path, double expected)
{
    const json_t *x = at(v, path);

    if (!json_is_number(x) ||
        fabs(json_number_value(x) - expected) > 5.1e-6 * fmax(fabs(expected), 0.1))
        fail_msg("%s is %g, expected %g", path, json_number_value(x), expected);
}

static json_t *evaluate(const toy *t, const di_eval_options *opt)
{
    json_t *out = NULL;
    dial_error err = {0};

    assert_ok(di_eval_result(t->d.al, &t->d, "toy", t->reward, opt, 2, -1, &out, &err), err);
    return out;
}

/* Against scikit-learn's accuracy_score, f1_score(average="macro"),
 * precision_recall_fscore_support; class 3 is neither a label nor an answer, so that it is in no
 * mean. */
static void class_fields(void **state)
{
    static const int label[] = {0, 0, 1, 2, 2, 1}, answer[] = {0, 1, 1, 2, 0, 1};
    text list[6] = {{"a", "p", 0, 1, 1, 3}, {"b", "p", 0, 1, 1, 3}, {"c", "p", 0, 1, 1, 3},
                    {"d", "p", 0, 1, 1, 3}, {"e", "p", 0, 1, 1, 3}, {"f", "p", 0, 1, 1, 3}};
    float logit[6][4] = {{0}};
    dial_error err = {0};
    toy t;
    json_t *o = NULL;
    (void)state;

    toy_texts(&t, list, 6);
    for (int i = 0; i < 6; i++) {
        toy_row(&t, DI_ROW_SCORED, 1, &i)->score = (float)label[i];
        logit[i][answer[i]] = 2;
    }
    assert_ok(di_eval_classes(t.d.al, &t.d, "toy", logit[0], 4, 2, 18, &o, &err), err);
    assert_string_equal(json_string_value(json_object_get(o, "kind")), "classes");
    equals(o, "accuracy", 0.6666666666666666);
    equals(o, "macro_f1", 0.6555555555555556);
    equals(o, "majority", 1.0 / 3);
    equals(o, "loss", (4 * (log(exp(2) + 3) - 2) + 2 * log(exp(2) + 3)) / 6);
    equals(o, "classes.0.precision", 0.5);
    equals(o, "classes.1.precision", 2.0 / 3);
    equals(o, "classes.2.recall", 0.5);
    equals(o, "classes.1.f1", 0.8);
    assert_true(json_is_null(at(o, "classes.3.f1")));
    equals(o, "tokens_per_second", 9);
    json_decref(o);
    t.example[4].score = 4; /* none of 0 .. 3 */
    assert_int_equal(di_eval_classes(t.d.al, &t.d, "toy", logit[0], 4, 2, 18, &o, &err),
                     DIAL_ERR_INPUT);
    assert_non_null(strstr(err.message, "from 0 to 3"));
}

static void pair_fields(void **state)
{
    static const double margin[] = {1, 2, 0, -1, 3};
    double loss = 0, brier = 0;
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    pairs(&t);
    o = evaluate(&t, &opt);
    for (int i = 0; i < 5; i++) {
        loss += log(1 + exp(-margin[i])) / 5;
        brier += pow(1 - 1 / (1 + exp(-margin[i])), 2) / 5;
    }
    assert_string_equal(json_string_value(at(o, "kind")), "pairs");
    assert_string_equal(json_string_value(at(o, "name")), "toy");
    assert_string_equal(json_string_value(at(o, "file")), "toy.jsonl");
    equals(o, "n", 5);
    equals(o, "rows.used", 5);
    equals(o, "accuracy", 0.7);
    equals(o, "correct", 3.5);
    equals(o, "ties", 1);
    equals(o, "accuracy_strict", 0.6);
    equals(o, "clusters", 6);
    equals(o, "loss", loss);
    equals(o, "margin.mean", 1);
    equals(o, "margin.std", sqrt(10.0 / 4));
    equals(o, "margin.p50", 1);
    equals(o, "margin.p05", -0.8);
    equals(o, "calibration.brier", brier);
    equals(o, "reward.chosen.mean", 9.0 / 5);
    equals(o, "reward.rejected.mean", 4.0 / 5);
    equals(o, "length.baseline_longer", 0.5);
    equals(o, "length.balanced_accuracy", (1 + 0.5) / 2); /* longer rows 0, 4; shorter rows 1, 3 */
    equals(o, "length.matched.n", 2);
    equals(o, "length.matched.accuracy", 1);
    equals(o, "length.matched.baseline_longer", 0.5);
    equals(o, "tokens.total", 5 + 4 + 5 + 9 + 5 + 5 + 4 + 9 + 12 + 4);
    equals(o, "tokens.max", 12);
    equals(o, "tokens_per_second", 62 / 2.0);
    equals(o, "groups.0.n", 2); /* "w" before "x"; the row without a group is in neither */
    equals(o, "groups.0.accuracy", 0.25);
    equals(o, "groups.1.accuracy", 1);
    assert_string_equal(json_string_value(at(o, "groups.0.value")), "w");
    equals(o, "ci95.0", 0.298791); /* Wilson, 3.5 of 5 */
    json_decref(o);
}

/* Spearman of reward and length over the six texts: ranks 4.5 3 2 4.5 1 6 and 3.5 1.5 5 3.5 1.5 6;
 * deviations from 3.5 give 10 / sqrt(17 * 16.5). */
static void length_correlation(void **state)
{
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    pairs(&t);
    o = evaluate(&t, &opt);
    equals(o, "length.reward_corr", 0.597081);
    json_decref(o);
    opt.length_unit = DI_LENGTH_WORDS; /* 2/2 2/4 2/3 2/4 6/2: 1/2 0 0 0 1 */
    o = evaluate(&t, &opt);
    equals(o, "length.baseline_longer", 0.3);
    assert_string_equal(json_string_value(at(o, "length.unit")), "words");
    equals(o, "length.balanced_accuracy", (1 + 0.5) / 2); /* equal lengths (row 0) in neither */
    json_decref(o);
}

/* 15 bins on [1/2, 1]: sigma(1) .7311 and sigma(1) share bin 6 (one right, one wrong), sigma(2)
 * .8808 bin 11, sigma(3) .9526 bin 13, the tie bin 0 with credit 1/2 at 1/2. */
static void calibration(void **state)
{
    double s1 = 1 / (1 + exp(-1)), s2 = 1 / (1 + exp(-2)), s3 = 1 / (1 + exp(-3));
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    pairs(&t);
    o = evaluate(&t, &opt);
    equals(o, "calibration.ece", (fabs(1 - 2 * s1) + (1 - s2) + (1 - s3)) / 5);
    json_decref(o);
}

/* 0.73 right and 0.68 wrong lie in bins of their own, which 15 bins on [0, 1] would not part. */
static void calibration_bins(void **state)
{
    static const text list[] = {{"a", "p", 1, 1, 1, 1},
                                {"b", "p", 0, 1, 1, 1},
                                {"c", "p", 0, 1, 1, 1},
                                {"d", "p", 0.75F, 1, 1, 1}};
    static const int rows[][2] = {{0, 1}, {2, 3}};
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    toy_texts(&t, list, 4);
    for (int i = 0; i < 2; i++) toy_row(&t, DI_ROW_PAIR, 2, rows[i]);
    o = evaluate(&t, &opt);
    equals(o, "calibration.ece", (1 - 1 / (1 + exp(-1)) + 1 / (1 + exp(-0.75))) / 2);
    json_decref(o);
}

static void cluster_choices(void **state)
{
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    pairs(&t);
    opt.cluster = DI_CLUSTER_NONE;
    o = evaluate(&t, &opt);
    equals(o, "clusters", 5);
    json_decref(o);
    opt.cluster = DI_CLUSTER_PROMPT;
    o = evaluate(&t, &opt);
    equals(o, "clusters", 2); /* the chosen texts have prompts p p p q q */
    json_decref(o);
}

/* One prompt for all rows: there is nothing to resample, and no interval is made up. */
static void one_cluster_has_no_interval(void **state)
{
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    pairs(&t);
    for (int i = 0; i < 6; i++) t.seq[i].prompt_hash = 7;
    opt.cluster = DI_CLUSTER_PROMPT;
    o = evaluate(&t, &opt);
    equals(o, "clusters", 1);
    assert_true(json_is_null(at(o, "ci95_cluster")));
    json_decref(o);
}

static void same_seed_same_bits(void **state)
{
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *a, *b, *c;
    (void)state;
    pairs(&t);
    a = evaluate(&t, &opt);
    b = evaluate(&t, &opt);
    opt.seed = 1;
    c = evaluate(&t, &opt);
    assert_true(json_equal(a, b));
    assert_false(json_equal(a, c));
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

static void not_a_number_names_the_row(void **state)
{
    di_eval_options opt = di_eval_options_default();
    dial_error err = {0};
    json_t *out = NULL;
    double accuracy = 9;
    toy t;
    (void)state;
    pairs(&t);
    t.reward[4] = NAN; /* read by row 3 first */
    assert_int_equal(di_eval_result(t.d.al, &t.d, "toy", t.reward, &opt, 1, 1, &out, &err),
                     DIAL_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "row 3"));
    assert_string_equal(err.where, "toy.jsonl:4");
    assert_int_equal(di_eval_accuracy(&t.d, t.reward, &accuracy, NULL, &err), DIAL_ERR_NUMERIC);
    t.reward[4] = INFINITY;
    assert_int_equal(di_eval_accuracy(&t.d, t.reward, &accuracy, NULL, &err), DIAL_ERR_NUMERIC);
    assert_null(out);
    assert_true(accuracy == 9);
}

static void accuracy_and_losses(void **state)
{
    double accuracy, loss[5];
    int64_t ties;
    toy t;
    (void)state;
    pairs(&t);
    assert_int_equal(di_eval_accuracy(&t.d, t.reward, &accuracy, &ties, NULL), DIAL_OK);
    assert_true(fabs(accuracy - 0.7) < 1e-12 && ties == 1);
    assert_int_equal(di_eval_losses(&t.d, t.reward, loss, NULL), DIAL_OK);
    assert_true(fabs(loss[2] - log(2)) < 1e-12 && fabs(loss[3] - log(1 + exp(1))) < 1e-12);
}

/* Against a model that gets only row 0 right and ties none: credits 1 0 0 0 0. */
static void comparison(void **state)
{
    static const float other[] = {2, 1, 3, 4, -1, 0};
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o = NULL;
    (void)state;
    pairs(&t);
    assert_int_equal(di_eval_compare(t.d.al, &t.d, t.reward, "b", other, &opt, &o, NULL), DIAL_OK);
    equals(o, "accuracy", 0.2);
    equals(o, "delta", 0.5);
    equals(o, "flips.better", 3);
    equals(o, "flips.worse", 0);
    equals(o, "p_mcnemar", 0.25);
    assert_true(json_number_value(at(o, "ci95.0")) < 0.5 &&
                json_number_value(at(o, "ci95.1")) > 0.5);
    json_decref(o);
}

/* Two prompts of three texts, in which reward and score agree; pooled they do not. */
static void scored_fields(void **state)
{
    static const text list[] = {
        {"a", "p", 1, 1, 1, 2},  {"b", "p", 2, 2, 1, 2},  {"c", "p", 3, 3, 1, 2},
        {"d", "q", -1, 4, 1, 2}, {"e", "q", -2, 5, 1, 2}, {"f", "q", 0, 6, 1, 2},
        {"g", "r", 5, 7, 1, 2},
    };
    static const float score[] = {1, 2, 3, 12, 11, 13, 2};
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    toy_texts(&t, list, 7);
    for (int i = 0; i < 7; i++) toy_row(&t, DI_ROW_SCORED, 1, &i)->score = score[i];
    o = evaluate(&t, &opt);
    assert_string_equal(json_string_value(at(o, "kind")), "scored");
    assert_null(json_object_get(o, "accuracy"));
    equals(o, "spearman.within_prompt", 1);
    equals(o, "spearman.prompts", 2); /* r has one row */
    equals(o, "kendall.within_prompt", 1);
    /* pairs of all 7: reward orders 3+3 within as the score; all 9 between p and q against; g is
     * above all in reward; in score above a, equal to b, below 5: 7 conc, 9 + 4 disc, 1 tie */
    equals(o, "kendall.pooled", (7.0 - 13) / sqrt(21 * 20));
    equals(o, "length.score_corr", 0.522544);
    assert_true(json_number_value(at(o, "pearson.pooled")) < 0);
    assert_true(json_is_array(at(o, "pearson.ci95")));
    json_decref(o);
    t.seq[5].prompt_hash = t.seq[6].prompt_hash; /* 3, 2 and 2 rows: two are too few */
    o = evaluate(&t, &opt);
    equals(o, "spearman.prompts", 1);
    json_decref(o);
    for (int i = 0; i < 7; i++) t.reward[i] = 1; /* constant: not defined, so null */
    o = evaluate(&t, &opt);
    assert_true(json_is_null(at(o, "spearman.pooled")) && json_is_null(at(o, "spearman.ci95")));
    assert_true(json_is_null(at(o, "pearson.within_prompt")));
    json_decref(o);
}

/* Three questions of 3, 3 and 4 options: right on top; second; two-way tie at the top. */
static void mcq_fields(void **state)
{
    static const text list[] = {
        {"a", "p", 3, 9, 1, 2}, {"b", "p", 2, 5, 1, 2}, {"c", "p", 1, 5, 1, 2},
        {"d", "q", 3, 5, 1, 2}, {"e", "q", 4, 9, 1, 2}, {"f", "q", 1, 5, 1, 2},
        {"g", "r", 3, 7, 1, 2}, {"h", "r", 3, 7, 1, 2}, {"i", "r", 1, 5, 1, 2},
        {"j", "r", 1, 5, 1, 2},
    };
    static const int rows[][4] = {{0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9}};
    di_eval_options opt = di_eval_options_default();
    toy t;
    json_t *o;
    (void)state;
    toy_texts(&t, list, 10);
    for (int i = 0; i < 3; i++) toy_row(&t, DI_ROW_MCQ, i == 2 ? 4 : 3, rows[i]);
    o = evaluate(&t, &opt);
    assert_string_equal(json_string_value(at(o, "kind")), "mcq");
    equals(o, "accuracy", 1.5 / 3);
    equals(o, "chance", (1.0 / 3 + 1.0 / 3 + 1.0 / 4) / 3);
    equals(o, "mean_rank", 1.5 / 3);
    equals(o, "mrr", (1 + 0.5 + 1 / 1.5) / 3);
    equals(o, "ties", 1);
    equals(o, "length.baseline_longer", 1.5 / 3);
    assert_true(json_is_null(at(o, "options")));
    json_decref(o);
}

static void unlabelled_rows_are_refused(void **state)
{
    static const int one[] = {0};
    di_eval_options opt = di_eval_options_default();
    json_t *out = NULL;
    dial_error err = {0};
    toy t;
    (void)state;
    toy_texts(&t, texts, 1);
    toy_row(&t, DI_ROW_SINGLE, 1, one);
    assert_int_equal(di_eval_result(t.d.al, &t.d, "x", t.reward, &opt, 1, 1, &out, &err),
                     DIAL_ERR_USAGE);
    t.d.n = 0;
    assert_int_equal(di_eval_result(t.d.al, &t.d, "x", t.reward, &opt, 1, 1, &out, &err),
                     DIAL_ERR_USAGE);
}

/* Fails the n-th allocation for n = 0, 1, ... until all succeed: an error each time, no leak. */
static int64_t budget;

static void *failing(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    if (new_size > 0 && budget-- <= 0) return NULL;
    return di_alloc_default()->resize(ctx, ptr, old_size, new_size);
}

static void memory_runs_out(void **state)
{
    const di_alloc al = {failing, NULL};
    di_eval_options opt = di_eval_options_default();
    dial_status st = DIAL_ERR_NOMEM;
    json_t *out = NULL;
    int64_t n = 0;
    toy t;
    (void)state;
    pairs(&t);
    opt.draws = 20;
    for (; st == DIAL_ERR_NOMEM; n++) {
        budget = n;
        assert_null(out);
        st = di_eval_result(&al, &t.d, "toy", t.reward, &opt, 1, 1, &out, NULL);
    }
    assert_int_equal(st, DIAL_OK);
    assert_true(n > 5);
    json_decref(out);
}

static void macro(void **state)
{
    json_t *list =
        json_pack("[{s:f},{s:s},{s:f}]", "accuracy", 0.5, "kind", "scored", "accuracy", 0.7);
    json_t *none = json_array(), *m = di_eval_macro(list), *e = di_eval_macro(none);
    (void)state;
    equals(m, "n_sets", 2);
    equals(m, "accuracy", 0.6);
    assert_true(json_is_null(at(e, "accuracy")));
    json_decref(list);
    json_decref(none);
    json_decref(m);
    json_decref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_fields),
        cmocka_unit_test(pair_fields),
        cmocka_unit_test(length_correlation),
        cmocka_unit_test(calibration),
        cmocka_unit_test(calibration_bins),
        cmocka_unit_test(cluster_choices),
        cmocka_unit_test(one_cluster_has_no_interval),
        cmocka_unit_test(same_seed_same_bits),
        cmocka_unit_test(not_a_number_names_the_row),
        cmocka_unit_test(accuracy_and_losses),
        cmocka_unit_test(comparison),
        cmocka_unit_test(scored_fields),
        cmocka_unit_test(mcq_fields),
        cmocka_unit_test(unlabelled_rows_are_refused),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(macro),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
