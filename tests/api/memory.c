/*
 * Memory that runs out: in a small train, score, eval, doctor and select on the toy model the n-th
 * allocation and all later ones fail, for n = 1, 1 + stride, ... until the run succeeds. Each
 * failure must be an error (never a crash), and every block must have been given back. jansson's
 * own memory is counted too.
 *
 * Then the n-th alone fails: that is an error, or what is written has every member that it has
 * otherwise. A member or a line left out because its memory was short at that moment would show
 * here alone, for when all later allocations fail too, another one reports.
 *
 * The stride keeps the test short; DIAL_TEST_STRIDE=1 (make test-long) tries every allocation of
 * train, score and eval, and every eighth of the others.
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
    int once;                    /* the calls after that one succeed */
} budget;

static budget b = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0, 0};

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
        if (b.once ? b.calls != b.fail_at : b.fail_at == 0 || b.calls < b.fail_at)
            p = malloc(new_size);
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

/* --- what a job wrote: members, lengths of lists and types, without the numbers --- */

static char *shape;
static size_t shape_size;
static FILE *to_shape;

static void put_shape(const json_t *v)
{
    const char *key;
    json_t *child;
    size_t i;

    /* a time of 12 s is written as 12, one of 12.5 as 12.5 */
    fprintf(to_shape, "%d", json_is_number(v) ? (int)JSON_REAL : (int)json_typeof(v));
    if (json_is_object(v)) {
        json_object_foreach ((json_t *)(uintptr_t)v, key, child) {
            fprintf(to_shape, " %s:", key);
            put_shape(child);
        }
    } else if (json_is_array(v)) {
        fprintf(to_shape, "[%zu]", json_array_size(v));
        json_array_foreach (v, i, child) put_shape(child);
    }
    fprintf(to_shape, ";");
}

/* One document of the job; counting rests meanwhile. */
static int note(void *ctx, const char *text, size_t n)
{
    long calls = b.calls, fail_at = b.fail_at;
    int once = b.once;
    const char *end;

    (void)ctx;
    b.fail_at = 0;
    b.once = 0;
    for (; n > 0; n -= (size_t)(end - text) + 1, text = end + 1) {
        json_t *v;

        end = memchr(text, '\n', n);
        if (end == NULL) end = text + n;
        v = json_loadb(text, (size_t)(end - text), 0, NULL);
        assert_non_null(v);
        put_shape(v);
        json_decref(v);
        if (end == text + n) break;
    }
    b.calls = calls;
    b.fail_at = fail_at;
    b.once = once;
    return 0;
}

static void note_file(const char *dir, const char *name)
{
    char path[256], *text;
    FILE *f;
    long n;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "r");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    n = ftell(f);
    rewind(f);
    text = malloc((size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    fclose(f);
    note(NULL, text, (size_t)n);
    free(text);
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
    if (st == DIAL_OK) note(NULL, json, strlen(json));
    dial_free(&env, json);
    return st;
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
    st = dial_score(&o, note, NULL, &env, &json, err);
    dial_free(&env, json);
    return st;
}

static dial_status evaluate_by(const char *model, const char *data, const char *base_score,
                               dial_error *err)
{
    dial_eval_options o;
    char *json = NULL;
    dial_status st;

    dial_options_default(dial_eval_table, &o, sizeof o);
    o.model = model;
    o.base_score = base_score;
    o.data = (dial_list){&data, 1};
    o.bootstrap = 20;
    o.common.threads = 1;
    o.common.dtype = "f32";
    o.common.batch_tokens = 256;
    st = dial_eval(&o, &env, &json, err);
    if (st == DIAL_OK) note(NULL, json, strlen(json));
    dial_free(&env, json);
    return st;
}

static dial_status evaluate(dial_error *err)
{
    return evaluate_by(run, head_of("val", 4), "head", err);
}

static dial_status compare_answers(dial_error *err)
{
    return evaluate_by(TOY, head_of("val", 3), "ab", err);
}

/* Trained gradually on classes, and judged. */
static dial_status tell_classes(dial_error *err)
{
    char path[128], out[128];
    const char *source = path, *target = head_of("target", 6);
    dial_train_options o;
    char *json = NULL;
    dial_status st;
    FILE *f;

    snprintf(path, sizeof path, "%s/classes.jsonl", folder);
    snprintf(out, sizeof out, "%s/classes", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 6; i++)
        fprintf(f, "{\"prompt\":\"%d? \",\"response\":\"It is.\",\"score\":%d}\n", i, i % 3);
    fclose(f);
    dial_options_default(dial_train_table, &o, sizeof o);
    o.base = TOY;
    o.out = out;
    o.source = (dial_list){&source, 1};
    o.target = (dial_list){&target, 1};
    o.objective = "ce";
    o.curriculum = "gradual:2";
    o.steps = 2;
    o.lora_r = 2;
    o.critic_warmup = 0;
    o.critic_widths = "8,4";
    o.maps = 0;
    o.overwrite = 1;
    o.common.threads = 1;
    o.common.dtype = "f32";
    o.common.batch_tokens = 256;
    st = dial_train(&o, &env, &json, err);
    if (st == DIAL_OK) note(NULL, json, strlen(json));
    dial_free(&env, json);
    return st == DIAL_OK ? evaluate_by(out, source, "head", err) : st;
}

static dial_status diagnose(dial_error *err)
{
    dial_doctor_options o;
    char *json = NULL;
    dial_status st;

    dial_options_default(dial_doctor_table, &o, sizeof o);
    o.model = run;
    o.source = head_of("val", 9);
    o.target = head_of("target", 9);
    o.labelled = o.source;
    o.two_heads = 1;
    o.common.threads = 1;
    o.common.dtype = "f32";
    st = dial_doctor(&o, &env, &json, err);
    if (st == DIAL_OK) note(NULL, json, strlen(json));
    dial_free(&env, json);
    return st;
}

static dial_status choose(dial_error *err)
{
    dial_select_options o;
    const char *runs = run;
    char *json = NULL;
    dial_status st;

    dial_options_default(dial_select_table, &o, sizeof o);
    o.runs = (dial_list){&runs, 1};
    o.source = head_of("val", 6);
    o.target = head_of("target", 6);
    o.oracle = o.source;
    o.common.threads = 1;
    o.common.dtype = "f32";
    st = dial_select(&o, &env, &json, err);
    if (st == DIAL_OK) note(NULL, json, strlen(json));
    dial_free(&env, json);
    return st;
}

static dial_status train_again(dial_error *err)
{
    char out[96];

    dial_status st;

    snprintf(out, sizeof out, "%s/failing", folder);
    st = train(out, err);
    if (st == DIAL_OK) {
        note_file(out, "dial.json");
        note_file(out, "metrics.jsonl");
        note_file(out, "checkpoints/step-00000002/state.json");
    }
    return st;
}

static dial_status run_job(dial_status (*job)(dial_error *err), dial_error *err)
{
    dial_status st;

    free(shape);
    shape = NULL;
    to_shape = open_memstream(&shape, &shape_size);
    assert_non_null(to_shape);
    b.calls = 0;
    *err = (dial_error){0};
    st = job(err);
    fclose(to_shape);
    if (b.blocks != 0) fail_msg("allocation %ld: %ld blocks leaked", b.fail_at, b.blocks);
    return st;
}

/* tries: how many allocations of the job fail, evenly spread; slow jobs have few. */
static void fail_each(dial_status (*job)(dial_error *err), const char *name, long tries)
{
    const char *text = getenv("DIAL_TEST_STRIDE");
    long all, stride, tried = 0, carried_on = 0;
    dial_error err = {0};
    char *whole;

    b.fail_at = 0;
    assert_ok(run_job(job, &err), err);
    all = b.calls;
    whole = strdup(shape);
    assert_non_null(whole);
    stride = text != NULL ? atol(text) * (tries < 60 ? 8 : 1) : all / tries + 1;
    for (long n = 1; n <= all; n += stride, tried++) {
        b.fail_at = n;
        if (run_job(job, &err) == DIAL_OK)
            fail_msg("%s, allocation %ld of %ld failed unnoticed", name, n, all);
        assert_true(err.message[0] != '\0');
        b.once = 1;
        if (run_job(job, &err) != DIAL_OK) {
            assert_true(err.message[0] != '\0');
        } else {
            carried_on++;
            if (strcmp(shape, whole) != 0)
                fail_msg("%s, allocation %ld of %ld: something is missing in what was written",
                         name, n, all);
        }
        b.once = 0;
    }
    b.fail_at = 0;
    printf("%s: %ld of %ld allocations failed in turn, %ld of them alone without harm\n", name,
           tried, all, carried_on);
    free(whole);
}

static void in_training(void **state)
{
    (void)state;
    fail_each(train_again, "train", 60);
}
static void in_scoring(void **state)
{
    (void)state;
    fail_each(score, "score", 60);
}
static void in_evaluation(void **state)
{
    (void)state;
    fail_each(evaluate, "eval", 60);
}
static void in_base_scores(void **state)
{
    (void)state;
    fail_each(compare_answers, "eval --base-score", 30);
}
static void in_classes(void **state)
{
    (void)state;
    fail_each(tell_classes, "classes", 30);
}
static void in_doctor(void **state)
{
    (void)state;
    fail_each(diagnose, "doctor", 24);
}
static void in_select(void **state)
{
    (void)state;
    fail_each(choose, "select", 12);
}

static dial_status train_run(dial_error *err)
{
    return train(run, err);
}

static int set_up(void **state)
{
    dial_error err;

    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dial-memory-%d", (int)getpid());
    snprintf(run, sizeof run, "%s/run", folder);
    mkdir(folder, 0777);
    json_set_alloc_funcs(json_new, json_free);
    assert_ok(run_job(train_run, &err), err);
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
        cmocka_unit_test(in_training),   cmocka_unit_test(in_scoring),
        cmocka_unit_test(in_evaluation), cmocka_unit_test(in_base_scores),
        cmocka_unit_test(in_classes),    cmocka_unit_test(in_doctor),
        cmocka_unit_test(in_select),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
