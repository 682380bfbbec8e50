/* RewardBench's scores against the package's own functions (tests/fixtures/make_rewardbench.py). */
#include <math.h>

#include "test.h"

#include "data/tiny_tokenizer.h"
#include "eval/metrics.h"

#define FIXTURES TEST_DIR "/fixtures/rewardbench/"

/* The rewards that the file gives, for the texts of the data set: rows of equal texts would share
 * one, so that every row has a prompt of its own and texts of a row get their reward by place. */
static float *rewards_of(const di_dataset *d, const char *path)
{
    float *reward = calloc((size_t)d->n_seq, sizeof *reward);
    char line[4096];
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    assert_non_null(reward);
    for (int64_t i = 0; i < d->n; i++) {
        json_t *row, *list;

        assert_non_null(fgets(line, sizeof line, f));
        row = json_loads(line, 0, NULL);
        list = json_object_get(row, "rewards");
        assert_int_equal(json_array_size(list), d->example[i].n_texts);
        for (int k = 0; k < d->example[i].n_texts; k++)
            reward[d->text_of[d->example[i].first + k]] =
                (float)json_number_value(json_array_get(list, (size_t)k));
        json_decref(row);
    }
    fclose(f);
    return reward;
}

/* The result of a file; with `lacking` rows of that subset are left out by the caller's limit. */
static json_t *result_of(const char *name, int64_t limit)
{
    di_tokenizer *tok = tiny_tokenizer(di_alloc_default(), TINY_BOS, TINY_EOS, 1);
    di_text_policy policy = {.template_name = "raw", .max_length = 64};
    di_dataset_options opt = {.drop_identical = 0};
    di_eval_options e = di_eval_options_default();
    di_dataset *d = NULL;
    json_t *out = NULL;
    dial_error err = {0};
    char path[512];
    float *reward;

    snprintf(path, sizeof path, FIXTURES "%s.jsonl", name);
    opt.rows = di_rows_options_default();
    opt.rows.limit = limit;
    assert_ok(di_text_policy_resolve(&policy, tok, &err), err);
    assert_ok(di_dataset_load(di_alloc_default(), path, &opt, &policy, tok, NULL, &d, &err), err);
    reward = rewards_of(d, path);
    assert_ok(di_eval_result(di_alloc_default(), d, name, reward, &e, 1, -1, &out, &err), err);
    free(reward);
    di_dataset_free(d);
    di_tokenizer_close(tok);
    return out;
}

/* Statistics are written with 6 digits, so half of the last one is the limit: 5e-7 of values up to
 * 1 (a bonus may be larger than 1 by a hundredth). */
static void near(const char *what, const json_t *found, double expected)
{
    if (!json_is_number(found) || fabs(json_number_value(found) - expected) > 6e-7)
        fail_msg("%s: %g, expected %.9g", what, json_number_value(found), expected);
}

static json_t *expected_of(const char *version)
{
    json_t *all = json_load_file(FIXTURES "expected.json", 0, NULL), *one;

    assert_non_null(all);
    one = json_incref(json_object_get(all, version));
    json_decref(all);
    return one;
}

static void version_1(void **state)
{
    json_t *expected = expected_of("v1"), *r = result_of("v1", -1), *v;
    const char *key;
    (void)state;

    assert_string_equal(json_string_value(json_object_get(r, "kind")), "pairs");
    assert_non_null(json_object_get(r, "accuracy_strict"));
    json_object_foreach (json_object_get(expected, "sections"), key, v)
        near(key, json_object_get(json_object_get(r, "sections"), key), json_number_value(v));
    json_object_foreach (json_object_get(expected, "subsets"), key, v)
        near(key, json_object_get(json_object_get(json_object_get(r, "subsets"), key), "accuracy"),
             json_number_value(v));
    assert_int_equal(json_object_size(json_object_get(r, "subsets")), 23);
    near("score", json_object_get(r, "score"),
         json_number_value(json_object_get(expected, "score")));
    json_decref(r);
    json_decref(expected);
}

/* A part of the benchmark has sections without rows, and no score. */
static void version_1_in_part(void **state)
{
    json_t *r = result_of("v1", 10);
    (void)state;

    assert_true(json_is_number(json_object_get(json_object_get(r, "sections"), "Chat")));
    assert_true(json_is_null(json_object_get(json_object_get(r, "sections"), "Safety")));
    assert_true(json_is_null(json_object_get(r, "score")));
    json_decref(r);
}

static void version_2(void **state)
{
    json_t *expected = expected_of("v2"), *r = result_of("v2", -1), *v, *subset;
    const char *key;
    (void)state;

    assert_string_equal(json_string_value(json_object_get(r, "kind")), "candidates");
    json_object_foreach (json_object_get(expected, "subsets"), key, v) {
        subset = json_object_get(json_object_get(r, "subsets"), key);
        near(key, json_object_get(subset, "score"), json_number_value(v));
        assert_true(json_is_number(json_object_get(subset, "baseline_longest")));
    }
    near("score", json_object_get(r, "score"),
         json_number_value(json_object_get(expected, "score")));
    /* the longest candidate is never the first one in "Math": a, b, bb, ... */
    subset = json_object_get(json_object_get(r, "subsets"), "Math");
    near("longest", json_object_get(subset, "baseline_longest"), 0);
    /* the shortest: a and b tie, where there is a b of one letter, which is always */
    near("shortest", json_object_get(subset, "baseline_shortest"), 0.5);
    v = json_object_get(r, "ties");
    near("sum of the parts",
         json_object_get(json_object_get(json_object_get(r, "subsets"), "Ties"), "score"),
         0.3 * json_number_value(json_object_get(v, "ref_accuracy")) +
             0.3 * json_number_value(json_object_get(v, "tied_accuracy")) +
             0.2 * json_number_value(json_object_get(v, "margin")) +
             0.2 * json_number_value(json_object_get(v, "margin_hard")) +
             0.01 * json_number_value(json_object_get(v, "bonus")));
    json_decref(r);
    json_decref(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(version_1_in_part),
        cmocka_unit_test(version_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
