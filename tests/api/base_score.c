/*
 * eval --base-score against transformers (tests/fixtures/make_base_score.py), text to score: logp
 * and ab of the toy, on each backend; the same to the last bit whatever the batch is.
 */
#include "test.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "dial/dial.h"
#include "model/safetensors.h"

#define TOY TEST_DIR "/fixtures/toy"
enum { ROWS = 12, ALL = 60 }; /* of the fixture, of toy/val.jsonl */

/*
 * PyTorch's own f32 run parts from f64 by 2.2e-6 of the norm: 1.4e-5 of a log-probability near
 * -6.4. A token left out of a mean or counted twice moves it by some 1/50 of its spread, 1e-2.
 */
static const double LIMIT = 3e-5;

static char folder[64];

/* chosen and rejected of the first n rows, as --scores writes them. */
static void score(const char *by, const char *device, int64_t batch_tokens, int64_t limit,
                  float (*out)[2])
{
    const char *data = TOY "/val.jsonl";
    dial_eval_options o;
    dial_error err;
    char *json = NULL, path[96], line[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/scores.jsonl", folder);
    dial_options_default(dial_eval_table, &o, sizeof o);
    o.model = TOY;
    o.data = (dial_list){&data, 1};
    o.base_score = by;
    o.bootstrap = 10;
    o.scores = path;
    o.common.device = device;
    o.common.dtype = "f32";
    o.common.threads = 1;
    o.common.batch_tokens = batch_tokens;
    o.common.limit = limit;
    assert_ok(dial_eval(&o, NULL, &json, &err), err);
    assert_non_null(
        strstr(json, strcmp(by, "ab") == 0 ? "\"base_score\":\"ab\"" : "\"base_score\":\"logp\""));
    dial_free(NULL, json);
    f = fopen(path, "r");
    assert_non_null(f);
    for (int64_t i = 0; i < limit; i++) {
        const char *chosen, *rejected;

        assert_non_null(fgets(line, sizeof line, f));
        chosen = strstr(line, "\"chosen\":");
        rejected = strstr(line, "\"rejected\":");
        assert_true(chosen != NULL && rejected != NULL);
        out[i][0] = strtof(chosen + strlen("\"chosen\":"), NULL);
        out[i][1] = strtof(rejected + strlen("\"rejected\":"), NULL);
    }
    assert_null(fgets(line, sizeof line, f));
    fclose(f);
}

static void near(const char *what, int row, double got, double want)
{
    if (!(fabs(got - want) <= LIMIT))
        fail_msg("%s of row %d: expected %.7g, found %.7g", what, row, want, got);
}

static void as_transformers(void **state)
{
    static const char *const devices[] = {"ref", "cpu"};
    const char *path = TEST_DIR "/fixtures/base_score/toy.safetensors";
    float logp[ROWS][2], ab[ROWS], got[ROWS][2];
    dial_error err;
    di_st f;

    (void)state;
    assert_ok(di_st_open(di_env_alloc(NULL), path, &f, &err), err);
    assert_ok(di_st_read_f32(&f, path, "logp", logp[0], 2 * ROWS, &err), err);
    assert_ok(di_st_read_f32(&f, path, "ab", ab, ROWS, &err), err);
    di_st_close(&f);
    for (int d = 0; d < 2; d++) {
        score("logp", devices[d], 8192, ROWS, got);
        for (int i = 0; i < ROWS; i++) {
            near("log p of chosen", i, (double)got[i][0], (double)logp[i][0]);
            near("log p of rejected", i, (double)got[i][1], (double)logp[i][1]);
        }
        score("ab", devices[d], 8192, ROWS, got);
        for (int i = 0; i < ROWS; i++)
            near("margin", i, (double)got[i][0] - (double)got[i][1], (double)ab[i]);
    }
}

/* Batches of all rows, of a few, of one text each; and the first rows alone. */
static void whatever_the_batch(void **state)
{
    static const char *const by[] = {"logp", "ab"};
    static const int64_t budget[] = {700, 1};
    float all[ALL][2], got[ALL][2];

    (void)state;
    for (int k = 0; k < 2; k++) {
        score(by[k], "cpu", 8192, ALL, all);
        for (int b = 0; b < 2; b++) {
            score(by[k], "cpu", budget[b], ALL, got);
            assert_memory_equal(got, all, sizeof all);
        }
        score(by[k], "cpu", 8192, 3, got);
        assert_memory_equal(got, all, 3 * sizeof *all);
    }
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dial-base-score-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    char path[96];

    (void)state;
    snprintf(path, sizeof path, "%s/scores.jsonl", folder);
    remove(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_transformers),
        cmocka_unit_test(whatever_the_batch),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
