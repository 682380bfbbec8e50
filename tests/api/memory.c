/*
 * Memory that runs out: in a small train, score and eval on the toy model the n-th allocation
 * fails, for n = 1, 1 + stride, ... until the run succeeds. Each failure must be an error (never a
 * crash), and every block must have been given back. jansson's own memory is counted too.
 *
 * The stride keeps the test short; DIAL_TEST_STRIDE=1 (make test-long) tries every allocation.
 */
#include "test.h"

#include <jansson.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dial/dial.h"

#define TOY TEST_DIR "/fixtures/toy"

typedef struct budget {
    pthread_mutex_t lock;
    long calls, fail_at, blocks; /* fail_at 0: never */
} budget;

static budget b = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0};

static void *counted(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    void *p = NULL;

    (void)ctx;
    (void)old_size;
    pthread_mutex_lock(&b.lock);
    if (new_size == 0) {
        b.blocks -= ptr != NULL;
        free(ptr);
    } else if (ptr == NULL) {
        b.calls++;
        if (b.fail_at == 0 || b.calls < b.fail_at) p = malloc(new_size);
        b.blocks += p != NULL;
    }
    pthread_mutex_unlock(&b.lock);
    return p;
}

static void *json_new(size_t n)
{
    return counted(NULL, NULL, 0, n > 0 ? n : 1);
}
static void json_free(void *p)
{
    counted(NULL, p, 0, 0);
}

static const dial_allocator allocator = {counted, NULL};
static const dial_env env = {.allocator = &allocator};
static char folder[64], run[96];

/* The rows that a run reads: few, so that there are few allocations to fail. */
static const char *head_of(const char *file, int rows)
{
    static char path[2][128];
    static int turn;
    char *out = path[turn++ % 2], line[8192];
    FILE *in, *f;

    snprintf(out, sizeof path[0], "%s/%s-%d.jsonl", folder, file, rows);
    snprintf(line, sizeof line, TOY "/%s.jsonl", file);
    in = fopen(line, "r");
    f = fopen(out, "w");
    assert_non_null(in);
    assert_non_null(f);
    for (int i = 0; i < rows && fgets(line, sizeof line, in) != NULL; i++) fputs(line, f);
    fclose(in);
    fclose(f);
    return out;
}

static dial_status train(const char *out, dial_error *err)
{
    dial_train_options o;
    const char *source = head_of("source", 6), *target = head_of("target", 6);
    char *json = NULL;
    dial_status st;

    dial_options_default(dial_train_table, &o, sizeof o);
    o.base = TOY;
    o.out = out;
    o.source = (dial_list){&source, 1};
    o.target = (dial_list){&target, 1};
    o.eval = (dial_list){&target, 1};
    o.steps = 2;
    o.lora_r = 2;
    o.critic_warmup = 1;
    o.critic_widths = "8,4";
    o.maps = 2;
    o.overwrite = 1;
    o.common.threads = 1;
    o.common.dtype = "f32";
    o.common.batch_tokens = 256;
    o.common.max_length = 64;
    st = dial_train(&o, &env, &json, err);
    dial_free(&env, json);
    return st;
}

static int drop(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    (void)line;
    (void)n;
    return 0;
}

static dial_status score(dial_error *err)
{
    dial_score_options o;
    char *json = NULL;
    dial_status st;

    dial_options_default(dial_score_table, &o, sizeof o);
    o.model = run;
    o.data = head_of("val", 4);
    o.common.threads = 1;
    o.common.dtype = "f32";
    o.common.batch_tokens = 256;
    st = dial_score(&o, drop, NULL, &env, &json, err);
    dial_free(&env, json);
    return st;
}

static dial_status evaluate(dial_error *err)
{
    dial_eval_options o;
    const char *data = head_of("val", 4);
    char *json = NULL;
    dial_status st;

    dial_options_default(dial_eval_table, &o, sizeof o);
    o.model = run;
    o.data = (dial_list){&data, 1};
    o.bootstrap = 20;
    o.common.threads = 1;
    o.common.dtype = "f32";
    o.common.batch_tokens = 256;
    st = dial_eval(&o, &env, &json, err);
    dial_free(&env, json);
    return st;
}

static dial_status train_again(dial_error *err)
{
    char out[96];

    snprintf(out, sizeof out, "%s/failing", folder);
    return train(out, err);
}

static void fail_each(dial_status (*job)(dial_error *err), const char *name)
{
    const char *text = getenv("DIAL_TEST_STRIDE");
    long all, stride, tried = 0;
    dial_error err = {0};

    b.calls = b.fail_at = 0;
    assert_ok(job(&err), err);
    assert_int_equal(b.blocks, 0);
    all = b.calls;
    stride = text != NULL ? atol(text) : all / 60 + 1;
    for (long n = 1; n <= all; n += stride, tried++) {
        dial_status st;

        b.calls = 0;
        b.fail_at = n;
        err = (dial_error){0};
        st = job(&err);
        if (b.blocks != 0) fail_msg("%s, allocation %ld: %ld blocks leaked", name, n, b.blocks);

        if (st == DIAL_OK) fail_msg("%s, allocation %ld of %ld failed unnoticed", name, n, all);
        assert_true(err.message[0] != '\0');
    }
    b.fail_at = 0;
    printf("%s: %ld of %ld allocations failed in turn\n", name, tried, all);
}

static void in_training(void **state)
{
    (void)state;
    fail_each(train_again, "train");
}
static void in_scoring(void **state)
{
    (void)state;
    fail_each(score, "score");
}
static void in_evaluation(void **state)
{
    (void)state;
    fail_each(evaluate, "eval");
}

static int set_up(void **state)
{
    dial_error err;

    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dial-memory-%d", (int)getpid());
    snprintf(run, sizeof run, "%s/run", folder);
    mkdir(folder, 0777);
    json_set_alloc_funcs(json_new, json_free);
    assert_ok(train(run, &err), err);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_training),
        cmocka_unit_test(in_scoring),
        cmocka_unit_test(in_evaluation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
