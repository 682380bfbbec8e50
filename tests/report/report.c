/* The report of planted runs: numbers, words that follow them, escaping, and broken folders. */
#include "run_fixture.h"

#include "report/report.h"

static const run_fixture source_only = {.method = "src-pref",
                                        .noise = 1.6,
                                        .w1_end = -1,
                                        .mixed = 0.05,
                                        .scores = 1,
                                        .maps = 1,
                                        .finished = 1,
                                        .selected = 400};
static const run_fixture adapted = {.method = "dial",
                                    .noise = 0.9,
                                    .w1_end = 0.6,
                                    .mixed = 0.9,
                                    .scores = 1,
                                    .maps = 2,
                                    .finished = 1,
                                    .selected = 560,
                                    .warning = "reward_drift"};
static const run_fixture oracle = {.method = "oracle",
                                   .noise = 0.5,
                                   .w1_end = -1,
                                   .mixed = 0.3,
                                   .scores = 1,
                                   .maps = 0,
                                   .finished = 1,
                                   .selected = 640};

static const char *collect_paths[8];
static char path_memory[8][256];

static json_t *collect(const char *const *runs, int n, const char *title)
{
    di_report_options opt = di_report_options_default();
    json_t *doc = NULL;
    dial_error err;

    for (int i = 0; i < n; i++) collect_paths[i] = fixture_path(path_memory[i], runs[i], "");
    opt.run = collect_paths;
    opt.n_runs = n;
    opt.title = title;
    opt.draws = 500;
    assert_ok(di_report_collect(di_alloc_default(), NULL, &opt, &doc, &err), err);
    return doc;
}

typedef dial_status (*form)(const json_t *, di_buf *, dial_error *);

/* The text of a form; free with di_free. */
static char *shown(form write, const json_t *doc)
{
    dial_error err;
    di_buf b;

    di_buf_init(&b, di_alloc_default());
    assert_ok(write(doc, &b, &err), err);
    return di_buf_take(&b);
}

static void has(const char *text, const char *what)
{
    if (strstr(text, what) == NULL) fail_msg("'%s' is missing", what);
}

static void lacks(const char *text, const char *what)
{
    if (strstr(text, what) != NULL) fail_msg("'%s' is there", what);
}

static void three_runs(void)
{
    fixture_run(&source_only, "a-src", "yo");
    fixture_run(&adapted, "b-dial", "yo");
    fixture_run(&oracle, "c-oracle", "yo");
}

static const char *const names[] = {"a-src", "b-dial", "c-oracle"};

static double num(const json_t *v, const char *key)
{
    return json_number_value(json_object_get(v, key));
}

/* With DIAL_REPORT_OUT=FILE the page of the planted runs is kept, to be looked at. */
static void numbers(void **state)
{
    const char *keep = getenv("DIAL_REPORT_OUT");
    json_t *doc, *set, *p, *g, *map, *panels;
    char *page;
    dial_error err;
    (void)state;
    fixture_make();
    three_runs();
    doc = collect(names, 3, NULL);
    assert_int_equal(json_array_size(json_object_get(doc, "models")), 3);
    set = json_array_get(json_object_get(doc, "sets"), 0);
    assert_int_equal(json_array_size(json_object_get(set, "results")), 3);
    p = json_array_get(json_object_get(set, "paired"), 0);
    assert_string_equal(json_string_value(json_object_get(p, "model")), "dial");
    assert_int_equal(num(p, "n"), FIX_PAIRS);
    assert_true(num(p, "clusters") <= FIX_TEXTS && num(p, "clusters") > 100);
    /* the difference of the two accuracies, on the same rows */
    assert_true(fabs(num(p, "delta") -
                     (num(json_array_get(json_object_get(set, "results"), 1), "accuracy") -
                      num(json_array_get(json_object_get(set, "results"), 0), "accuracy"))) < 2e-6);
    assert_true(json_number_value(json_array_get(json_object_get(p, "ci95"), 0)) > 0);
    assert_true(num(p, "better") > num(p, "worse") && num(p, "p_mcnemar") < 0.01);
    g = json_array_get(json_object_get(set, "gap_closure"), 0);
    assert_true(json_is_true(json_object_get(g, "usable")));
    assert_true(num(g, "value") > 0.2 && num(g, "value") < 1);
    map = json_array_get(json_object_get(doc, "maps"), 0);
    panels = json_object_get(map, "panels");
    /* before once, after src-pref; dial's epoch 1, its choice, its epoch 4 */
    assert_int_equal(json_array_size(panels), 5);
    for (size_t i = 0; i < 5; i++) {
        static const char *const when[] = {"before", "after", "during", "after", "during"};
        static const double step[] = {0, 400, 200, 560, 800};
        const json_t *panel = json_array_get(panels, i);

        assert_string_equal(json_string_value(json_object_get(panel, "when")), when[i]);
        assert_true(num(panel, "step") == step[i] && num(panel, "epoch") == step[i] / 200);
    }
    assert_true(num(json_array_get(panels, 0), "mixing") < 0.05);
    assert_true(num(json_array_get(panels, 1), "mixing") < 0.05);
    assert_true(num(json_array_get(panels, 3), "mixing") > 0.5);
    assert_true(num(json_array_get(panels, 3), "centroid_accuracy") == 1);
    page = shown(di_report_html, doc);
    if (keep != NULL)
        assert_ok(di_write_file(di_alloc_default(), keep, page, strlen(page), &err), err);
    has(page, "The interval lies above 0");
    has(page, "So that is what domain shift is");
    has(page, "On its way dial had a mixing of ");
    has(page, "<b>dial, epoch 1</b>");
    has(page, "of that gap without target labels");
    has(page, "mixing rises from");
    has(page, "Each method was trained once");
    has(page, "reward_drift");
    has(page, "target, labels read");
    lacks(page, "<script");
    lacks(page, "http"); /* nothing is fetched */
    lacks(page, "nan");
    lacks(page, ">inf");
    di_free(di_alloc_default(), page);
    json_decref(doc);
    fixture_remove();
}

/* A method that changes nothing: the page must not call it a gain or a loss. */
static void no_difference(void **state)
{
    run_fixture same = adapted;
    json_t *doc;
    char *text;
    (void)state;
    fixture_make();
    same.noise = source_only.noise + 0.02;
    same.maps = 0;
    fixture_run(&source_only, "a-src", "yo");
    fixture_run(&same, "b-dial", "yo");
    doc = collect(names, 2, NULL);
    text = shown(di_report_markdown, doc);
    has(text, "The interval contains 0");
    lacks(text, "lies above 0");
    lacks(text, "lies below 0");
    di_free(di_alloc_default(), text);
    json_decref(doc);
    fixture_remove();
}

static void harm(void **state)
{
    run_fixture worse = adapted;
    json_t *doc;
    char *text;
    (void)state;
    fixture_make();
    worse.noise = 6;
    worse.maps = 0;
    fixture_run(&source_only, "a-src", "yo");
    fixture_run(&worse, "b-dial", "yo");
    doc = collect(names, 2, NULL);
    text = shown(di_report_table, doc);
    has(text, "adaptation did harm");
    has(text, "dial - src-pref");
    di_free(di_alloc_default(), text);
    json_decref(doc);
    fixture_remove();
}

/* Without per-row scores there is a difference, but no interval and a note that says so. */
static void no_scores(void **state)
{
    run_fixture bare = adapted;
    json_t *doc, *p;
    char *text;
    (void)state;
    fixture_make();
    bare.scores = 0;
    bare.finished = 0;
    fixture_run(&source_only, "a-src", "yo");
    fixture_run(&bare, "b-dial", "yo");
    doc = collect(names, 2, NULL);
    p = json_array_get(json_object_get(json_array_get(json_object_get(doc, "sets"), 0), "paired"),
                       0);
    assert_true(json_is_null(json_object_get(p, "ci95")) &&
                json_is_number(json_object_get(p, "delta")));
    text = shown(di_report_table, doc);
    has(text, "no per-row scores");
    has(text, "has not finished");
    has(text, "nothing can be said about chance");
    di_free(di_alloc_default(), text);
    json_decref(doc);
    fixture_remove();
}

/* Runs of one method are told apart by their seeds and compared with the baseline of that seed. */
static void seeds(void **state)
{
    static const char *const four[] = {"s0", "s1", "d0", "d1"};
    run_fixture x = source_only;
    json_t *doc, *set, *p;
    (void)state;
    fixture_make();
    x.maps = 0;
    fixture_run(&x, "s0", "yo");
    x.seed = 1;
    fixture_run(&x, "s1", "yo");
    x = adapted;
    x.maps = 0;
    fixture_run(&x, "d0", "yo");
    x.seed = 1;
    fixture_run(&x, "d1", "yo");
    doc = collect(four, 4, NULL);
    set = json_array_get(json_object_get(doc, "sets"), 0);
    p = json_array_get(json_object_get(set, "paired"), 1);
    assert_string_equal(json_string_value(json_object_get(p, "model")), "dial seed 1");
    assert_string_equal(json_string_value(json_object_get(p, "baseline")), "src-pref seed 1");
    assert_int_equal(json_array_size(json_object_get(set, "seeds")), 2);
    assert_true(num(json_array_get(json_object_get(set, "seeds"), 0), "n") == 2);
    json_decref(doc);
    fixture_remove();
}

/* Nothing that a file says may become markup, a table cell of its own or a terminal command. */
static void hostile_strings(void **state)
{
    static const char evil[] = "</title><script>alert(1)</script> & \"q\" 'a' |x| \x1b[31m";
    run_fixture x = source_only;
    json_t *doc;
    char *text;
    (void)state;
    fixture_make();
    x.maps = 0;
    x.finished = 0;
    x.warning = "<b>`|";
    fixture_run(&x, "a-src", "<i>\"|\x1b[2J");
    doc = collect(names, 1, evil);
    text = shown(di_report_html, doc);
    lacks(text, "<script>");
    lacks(text, "<i>");
    lacks(text, "\x1b");
    has(text, "&lt;script&gt;");
    has(text, "&lt;b&gt;");
    di_free(di_alloc_default(), text);
    text = shown(di_report_markdown, doc);
    lacks(text, "<script>");
    lacks(text, "\x1b");
    has(text, "\\|x\\|");
    di_free(di_alloc_default(), text);
    text = shown(di_report_table, doc);
    lacks(text, "\x1b");
    di_free(di_alloc_default(), text);
    json_decref(doc);
    fixture_remove();
}

static void written_by_extension(void **state)
{
    static const char *const files[] = {"r.html", "r.md", "r.json"};
    static const char *const starts[] = {"<!DOCTYPE html>", "# ", "{\"schema\":\"dial.report/1\""};
    di_report_options opt = di_report_options_default();
    const char *run[1];
    char path[256], out[256], *text;
    json_t *result = NULL;
    size_t n;
    dial_error err;
    (void)state;
    fixture_make();
    fixture_run(&source_only, "runs/a-src", "yo");
    run[0] = fixture_path(path, "runs", ""); /* a folder of runs */
    opt.run = run;
    opt.n_runs = 1;
    opt.draws = 50;
    opt.map_sets = 0;
    for (int i = 0; i < 3; i++) {
        opt.out = fixture_path(out, files[i], "");
        assert_ok(di_report_write(di_alloc_default(), NULL, &opt, &result, &err), err);
        assert_true(num(result, "runs") == 1);
        assert_ok(di_read_file(di_alloc_default(), opt.out, &text, &n, &err), err);
        assert_int_equal(strncmp(text, starts[i], strlen(starts[i])), 0);
        di_free(di_alloc_default(), text);
        json_decref(result);
    }
    opt.out = "page.pdf";
    assert_int_equal(di_report_write(di_alloc_default(), NULL, &opt, &result, &err),
                     DIAL_ERR_USAGE);
    fixture_remove();
}

static void broken_folders(void **state)
{
    di_report_options opt = di_report_options_default();
    const char *run[1] = {"no/such/folder"};
    char path[256];
    json_t *doc = NULL;
    dial_error err;
    FILE *f;
    (void)state;
    fixture_make();
    opt.n_runs = 1;
    opt.run = run;
    assert_int_equal(di_report_collect(di_alloc_default(), NULL, &opt, &doc, &err), DIAL_ERR_USAGE);
    run[0] = fixture_dir; /* empty */
    assert_int_equal(di_report_collect(di_alloc_default(), NULL, &opt, &doc, &err), DIAL_ERR_USAGE);
    opt.n_runs = 0;
    assert_int_equal(di_report_collect(di_alloc_default(), NULL, &opt, &doc, &err), DIAL_ERR_USAGE);
    opt.n_runs = 1;
    f = fopen(fixture_path(path, "metrics.jsonl", ""), "w");
    fputs("{\"event\":\"start\"}\n{oops}\n", f);
    fclose(f);
    assert_int_equal(di_report_collect(di_alloc_default(), NULL, &opt, &doc, &err), DIAL_ERR_INPUT);
    assert_non_null(strstr(err.where, "metrics.jsonl:2"));
    f = fopen(path, "w"); /* a run that was killed before its first step */
    fclose(f);
    assert_ok(di_report_collect(di_alloc_default(), NULL, &opt, &doc, &err), err);
    for (size_t i = 0; i < 3; i++) {
        char *text = shown((form[]){di_report_html, di_report_markdown, di_report_table}[i], doc);

        has(text, "were not evaluated on any labelled set");
        lacks(text, "nan");
        di_free(di_alloc_default(), text);
    }
    json_decref(doc);
    fixture_remove();
}

static void eval_text(void **state)
{
    static fixture_set t;
    json_t *doc;
    char *text;
    (void)state;
    fixture_data(&t, "yo", 5);
    fixture_rewards(&t, 1, 7);
    t.example[0].group = "wide \xe6\xbc\xa2\xe5\xad\x97";
    doc = json_pack("{s:s,s:s,s:i,s:b,s:[o],s:{s:i,s:f}}", "schema", "dial.eval/1", "model",
                    "runs/a", "step", 80, "text_override", 0, "results", fixture_result(&t, "yo"),
                    "macro", "n_sets", 1, "accuracy", 0.7);
    json_object_set_new(json_array_get(json_object_get(doc, "results"), 0), "compare",
                        json_pack("{s:s,s:f,s:f,s:[f,f],s:f,s:{s:i,s:i}}", "model", "runs/b",
                                  "accuracy", 0.6, "delta", 0.05, "ci95", -0.01, 0.11, "p_mcnemar",
                                  0.08, "flips", "better", 70, "worse", 40));
    text = shown(di_report_eval_text, doc);
    has(text, "runs/a, step 80\n");
    has(text, "yo: 600 pairs of data/yo_test.jsonl");
    has(text, "longer wins");
    has(text, "length-matched");
    has(text, "against runs/b (accuracy 0.600): +5.0 points, 95%: -1.0 to +11.0 (contains 0)");
    has(text, "3 prompts cut");
    has(text, "wide");
    di_free(di_alloc_default(), text);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(no_difference),
        cmocka_unit_test(harm),
        cmocka_unit_test(no_scores),
        cmocka_unit_test(seeds),
        cmocka_unit_test(hostile_strings),
        cmocka_unit_test(written_by_extension),
        cmocka_unit_test(broken_folders),
        cmocka_unit_test(eval_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
