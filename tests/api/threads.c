/* --threads holds for all that a job computes: statistics and maps know no device, and take what
 * OpenMP gives the calling thread. */
#include "test.h"

#include <omp.h>

#include "dial/dial.h"

static void eval_on(int64_t threads)
{
    const char *data = TEST_DIR "/fixtures/toy/val.jsonl";
    dial_eval_options o;
    dial_error err;
    char *json = NULL;

    dial_options_default(dial_eval_table, &o, sizeof o);
    o.model = TEST_DIR "/fixtures/toy";
    o.data = (dial_list){&data, 1};
    o.base_score = "logp";
    o.bootstrap = 10;
    o.common.threads = threads;
    o.common.limit = 2;
    assert_ok(dial_eval(&o, NULL, &json, &err), err);
    dial_free(NULL, json);
}

static void hold_for_openmp(void **state)
{
    (void)state;
    eval_on(3);
    assert_int_equal(omp_get_max_threads(), 3);
    eval_on(1);
    assert_int_equal(omp_get_max_threads(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hold_for_openmp)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
