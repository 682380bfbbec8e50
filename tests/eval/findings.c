/* The verdict table of method.md 7, row by row, and the levels that lead to it. */
#include "test.h"

#include <math.h>

#include "eval/findings.h"

static di_finding f[DI_N_SIGNATURES];
static di_evidence_summary e;
static char reason[512];

/* A shift that is plain to see, nothing that warns, views that agree. */
static void fresh(void)
{
    di_findings_init(f);
    e = (di_evidence_summary){.a_distance_hi = 1.8, .mmd_p = 0.003, .views_agree = 1};
    di_finding_set(f, DI_ALREADY_ALIGNED, 1.7, "far");
    di_finding_set(f, DI_INVERTED_HEAD, 0.6, "alike");
    di_finding_set(f, DI_PRECISION, 0, "no ties");
}

static void is(const char *verdict)
{
    assert_string_equal(di_verdict(f, &e, reason, sizeof reason), verdict);
    assert_true(strlen(reason) > 10);
}

static void verdicts(void **state)
{
    (void)state;
    fresh();
    is("safe");
    e.views_agree = 0;
    is("uncertain");
    e.certificate = DI_NOT_INVERTED;
    is("safe");
    e.certificate = DI_UNDECIDED;
    is("uncertain");
    e.certificate = DI_INVERTED;
    is("unsafe");
    fresh();
    e.a_distance_hi = 0.19;
    e.mmd_p = 0.2;
    is("no_shift");
    e.mmd_p = 0.04; /* seen by one of the two: a shift */
    is("safe");
    fresh();
    e.a_distance_hi = e.mmd_p = NAN; /* not measured is not absent */
    is("safe");
    e.views_agree = 0;
    is("uncertain");
}

static void an_inverted_head(void **state)
{
    (void)state;
    fresh();
    di_finding_set(f, DI_INVERTED_HEAD, 0.42, "low");
    e.suspect_is_model = 1;
    is("unsafe");
    assert_non_null(strstr(reason, "inverted_head"));
    e.certificate = DI_NOT_INVERTED; /* twenty labels outweigh it */
    is("safe");
    e.certificate = DI_NO_CERTIFICATE;
    e.suspect_is_model = 0; /* another view is the suspect: no warning about this model */
    is("safe");
    fresh();
    e.a_distance_hi = 0.1;
    e.mmd_p = 0.5;
    di_finding_set(f, DI_INVERTED_HEAD, 0.42, "low");
    e.suspect_is_model = 1;
    is("unsafe"); /* before no_shift */
}

static void a_shortcut(void **state)
{
    (void)state;
    fresh();
    di_finding_set(f, DI_SHORTCUT_OR_FLIP, 0.55, "two heads part");
    is("unsafe");
    e.only_disagrees = 1; /* with Src-Pref alone: a model that repairs T disagrees with it too */
    is("uncertain");
    e.certificate = DI_NOT_INVERTED;
    is("safe");
    fresh();
    di_finding_set(f, DI_SHORTCUT_OR_FLIP, 0.75, "above the threshold, and nothing to be sure of");
    is("uncertain");
    assert_non_null(strstr(reason, "0.75"));
    e.only_disagrees = 1; /* what a baseline says leaves it at its own threshold */
    is("safe");
    e.only_disagrees = 0;
    di_finding_set(f, DI_SHORTCUT_OR_FLIP, 0.85, "alike");
    is("safe");
    fresh();
    di_finding_set(f, DI_REWARD_DRIFT, 1.4, "moved");
    is("uncertain");
    e.certificate = DI_NOT_INVERTED; /* lifts the two rows about the sign, and no other */
    is("uncertain");
    fresh();
    di_finding_set(f, DI_PRECISION, INFINITY, "a step met NaN");
    is("unsafe");
}

static void levels(void **state)
{
    json_t *list, *one;
    (void)state;
    di_findings_init(f);
    for (int s = 0; s < DI_N_SIGNATURES; s++)
        assert_true(f[s].level == DI_LEVEL_NOTE && isnan(f[s].value));
    di_finding_set(f, DI_ALREADY_ALIGNED, 0.1, "alike"); /* good news: never a warning */
    assert_int_equal(f[DI_ALREADY_ALIGNED].level, DI_LEVEL_NOTE);
    di_finding_set(f, DI_ALREADY_ALIGNED, 0.3, "apart");
    assert_int_equal(f[DI_ALREADY_ALIGNED].level, DI_LEVEL_OK);
    di_finding_set(f, DI_REWARD_SCALE_COLLAPSE, 0.24, "small");
    assert_int_equal(f[DI_REWARD_SCALE_COLLAPSE].level, DI_LEVEL_WARN);
    di_finding_set(f, DI_NO_GAIN, 0, "an interval that begins at 0"); /* contains it */
    assert_int_equal(f[DI_NO_GAIN].level, DI_LEVEL_NOTE);
    di_finding_set(f, DI_NO_GAIN, 0.01, "a gain");
    assert_int_equal(f[DI_NO_GAIN].level, DI_LEVEL_OK);
    di_finding_set(f, DI_SELF_TRAINING_DRIFT, 2, "twice is no trend");
    assert_int_equal(f[DI_SELF_TRAINING_DRIFT].level, DI_LEVEL_OK);
    di_finding_set(f, DI_SELF_TRAINING_DRIFT, 3, "three times");
    assert_int_equal(f[DI_SELF_TRAINING_DRIFT].level, DI_LEVEL_WARN);
    di_finding_set(f, DI_REWARD_DRIFT, NAN, "unknown");
    assert_int_equal(f[DI_REWARD_DRIFT].level, DI_LEVEL_NOTE);
    list = di_findings_to_json(f);
    assert_int_equal(json_array_size(list), DI_N_SIGNATURES);
    one = json_array_get(list, DI_REWARD_SCALE_COLLAPSE);
    assert_string_equal(json_string_value(json_object_get(one, "code")), "reward_scale_collapse");
    assert_string_equal(json_string_value(json_object_get(one, "level")), "warn");
    assert_non_null(strstr(json_string_value(json_object_get(one, "message")), "small; "));
    assert_true(json_is_null(json_object_get(json_array_get(list, DI_REWARD_DRIFT), "value")));
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(an_inverted_head),
        cmocka_unit_test(a_shortcut),
        cmocka_unit_test(levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
