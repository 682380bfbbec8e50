/*
 * The store of live traffic, and what `data collect` makes of it: the last N rows, whole batches or
 * none of them after a kill or on a full disk, and a file of one schema that the row reader takes.
 */
#include "test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/collect.h"
#include "base/file.h"
#include "data/rows.h"
#include "serve/traffic.h"

enum { WIDTH = 3 };

static char folder[64], store[96], out[96];

static const float e[WIDTH] = {1, -2, 0.5F};

static di_traffic_row row_of(const char *run, di_traffic_form form, const char *prompt,
                             const char *response)
{
    return (di_traffic_row){.time = 1,
                            .run = run,
                            .checkpoint = "c0ffee",
                            .reward = 0.25,
                            .tokens = 7,
                            .e = e,
                            .width = WIDTH,
                            .form = form,
                            .has_prompt = prompt != NULL,
                            .prompt_hash = 42,
                            .prompt = prompt,
                            .prompt_size = prompt != NULL ? strlen(prompt) : 0,
                            .response = response,
                            .response_size = response != NULL ? strlen(response) : 0};
}

static void put(const di_traffic_row *row, int64_t n, int64_t keep)
{
    di_traffic *t = NULL;
    dial_error err;

    assert_ok(di_traffic_open(di_alloc_default(), store, keep, &t, &err), err);
    assert_ok(di_traffic_put(t, row, n, &err), err);
    di_traffic_close(t);
}

typedef struct seen {
    int64_t n;
    char first[16], last[16];
} seen;

static dial_status look(void *ctx, const di_traffic_row *row, dial_error *err)
{
    seen *s = ctx;

    (void)err;
    if (s->n++ == 0) snprintf(s->first, sizeof s->first, "%s", row->response);
    snprintf(s->last, sizeof s->last, "%s", row->response);
    assert_true(row->reward == 0.25 && row->tokens == 7 && row->time == 1);
    return DIAL_OK;
}

static seen all(const char *run)
{
    seen s = {0};
    dial_error err;

    assert_ok(di_traffic_read(store, &(di_traffic_of){.run = run}, look, &s, &err), err);
    return s;
}

static int fresh(void **state)
{
    (void)state;
    unlink(store);
    unlink(out);
    return 0;
}

/* ---- the ring ---- */

static void last_rows_stay(void **state)
{
    struct stat file;
    seen s;

    (void)state;
    for (int i = 0; i < 9; i++) {
        char text[3][16];
        di_traffic_row row[3];

        for (int k = 0; k < 3; k++) {
            snprintf(text[k], sizeof text[k], "%d", 3 * i + k);
            row[k] = row_of(k == 2 ? "b" : "a", DI_TRAFFIC_TEXT, NULL, text[k]);
        }
        put(row, 3, 10); /* each time as a new server would */
    }
    s = all(NULL);
    assert_int_equal(s.n, 10);
    assert_string_equal(s.first, "17");
    assert_string_equal(s.last, "26");
    assert_int_equal(all("b").n, 4); /* 17, 20, 23, 26 */
    assert_int_equal(all("none").n, 0);
    assert_int_equal(stat(store, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

static seen by_checkpoint(const char *checkpoint)
{
    seen s = {0};
    dial_error err;

    assert_ok(di_traffic_read(store, &(di_traffic_of){.checkpoint = checkpoint}, look, &s, &err),
              err);
    return s;
}

/* The names under which a checkpoint was served, with all that went by them: a link that was moved
 * keeps its name. */
static void rows_of_a_checkpoint(void **state)
{
    di_traffic_row row[] = {row_of("live", DI_TRAFFIC_TEXT, NULL, "old"),
                            row_of("live", DI_TRAFFIC_TEXT, NULL, "now"),
                            row_of("other", DI_TRAFFIC_TEXT, NULL, "theirs"),
                            row_of("trial", DI_TRAFFIC_TEXT, NULL, "tried")};

    (void)state;
    row[0].checkpoint = "1";
    row[1].checkpoint = row[3].checkpoint = "2";
    row[2].checkpoint = "3";
    put(row, 1, 10);
    assert_int_equal(by_checkpoint("9").n, 1); /* one name: nobody else can be meant */
    put(row + 1, 3, 10);
    assert_int_equal(by_checkpoint("2").n, 3);
    assert_string_equal(by_checkpoint("2").first, "old");
    assert_string_equal(by_checkpoint("2").last, "tried");
    assert_int_equal(by_checkpoint("3").n, 1);
    assert_string_equal(by_checkpoint("3").first, "theirs");
    assert_int_equal(by_checkpoint("9").n, 0);
}

/* ---- what may go wrong ---- */

/* Batches of ten until it is killed; says the number of each that is stored. */
static void write_until_killed(int say)
{
    di_traffic *t = NULL;
    di_traffic_row row[10];
    char text[10][16];

    if (di_traffic_open(di_alloc_default(), store, 100000, &t, NULL) != DIAL_OK) _exit(1);
    for (int n = 0;; n += 10) {
        for (int k = 0; k < 10; k++) {
            snprintf(text[k], sizeof text[k], "%d", n + k);
            row[k] = row_of("a", DI_TRAFFIC_TEXT, NULL, text[k]);
        }
        if (di_traffic_put(t, row, 10, NULL) != DIAL_OK) _exit(2);
        if (write(say, &n, sizeof n) != sizeof n) _exit(3);
    }
}

static void kill_loses_nothing(void **state)
{
    int64_t total = 0, before = 0;

    (void)state;
    for (int round = 0; round < 20; round++) {
        int pipe_end[2], n, status;
        int64_t stored = 0;
        pid_t child;

        assert_int_equal(pipe(pipe_end), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) write_until_killed(pipe_end[1]);
        close(pipe_end[1]);
        /* the first batch is in; then some instant of the next ones */
        assert_int_equal(read(pipe_end[0], &n, sizeof n), sizeof n);
        stored += 10;
        nanosleep(&(struct timespec){0, (long)(round * 617) % 41 * 1000000L + round * 37000L},
                  NULL);
        kill(child, SIGKILL);
        while (read(pipe_end[0], &n, sizeof n) == sizeof n) stored += 10;
        close(pipe_end[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        before = total;
        total = all(NULL).n; /* the reader rolls back what the kill cut off */
        if (total < before + stored || total > before + stored + 10 || total % 10 != 0)
            fail_msg("%lld rows after %lld, and %lld were said to be stored", (long long)total,
                     (long long)before, (long long)stored);
    }
    printf("20 kills, %lld rows, none lost\n", (long long)total);
}

static void full_disk(void **state)
{
    struct rlimit old, small;
    di_traffic_row row[64];
    static char text[64][4096];
    di_traffic *t = NULL;
    dial_error err;
    dial_status st = DIAL_OK;
    int stored = 0;

    (void)state;
    for (int k = 0; k < 64; k++) {
        memset(text[k], 'a' + k % 26, sizeof text[k] - 1);
        row[k] = row_of("a", DI_TRAFFIC_TEXT, NULL, text[k]);
    }
    assert_ok(di_traffic_open(di_alloc_default(), store, 1000, &t, &err), err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 600000; /* two batches of 64 x 4 KiB */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 4 && st == DIAL_OK; i++) {
        st = di_traffic_put(t, row, 64, &err);
        stored += st == DIAL_OK;
    }
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(st, DIAL_ERR_IO);
    assert_non_null(strstr(err.where, store));
    assert_int_equal(stored, 2);
    assert_int_equal(all(NULL).n, 128);
    assert_ok(di_traffic_put(t, row, 64, &err), err); /* there is space again */
    assert_int_equal(all(NULL).n, 192);
    di_traffic_close(t);
}

static void no_store(void **state)
{
    di_traffic *t = NULL;
    di_collected c;
    dial_error err;
    FILE *f;

    (void)state;
    assert_int_equal(di_collect(di_alloc_default(), store, &(di_traffic_of){0}, out, &c, &err),
                     DIAL_ERR_USAGE);
    assert_non_null(strstr(err.message, "no such store"));
    f = fopen(store, "w");
    assert_non_null(f);
    for (int i = 0; i < 300; i++) fputs("this is no database\n", f);
    fclose(f);
    assert_int_equal(di_collect(di_alloc_default(), store, &(di_traffic_of){0}, out, &c, &err),
                     DIAL_ERR_INPUT);
    assert_int_equal(di_traffic_open(di_alloc_default(), store, 10, &t, &err), DIAL_ERR_INPUT);
    assert_int_equal(di_traffic_open(di_alloc_default(), folder, 10, &t, &err), DIAL_ERR_IO);
    unlink(store);
    put(NULL, 0, 10);
    assert_int_equal(di_collect(di_alloc_default(), store, &(di_traffic_of){0}, out, &c, &err),
                     DIAL_ERR_USAGE);
    assert_non_null(strstr(err.message, "no traffic"));
    put((di_traffic_row[]){row_of("a", DI_TRAFFIC_TEXT, NULL, NULL)}, 1, 10);
    assert_int_equal(
        di_collect(di_alloc_default(), store, &(di_traffic_of){.run = "b"}, out, &c, &err),
        DIAL_ERR_USAGE);
    assert_int_equal(
        di_collect(di_alloc_default(), store, &(di_traffic_of){.run = "a"}, out, &c, &err),
        DIAL_ERR_USAGE);
    assert_non_null(strstr(err.message, "--monitor-texts"));
    assert_int_not_equal(access(out, F_OK), 0);
}

/* ---- collect ---- */

#define ASK "[{\"role\":\"user\",\"content\":\"2+2?\"}]"
#define ASK2 "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"3+3?\"}]"

/* clang-format off */
static const struct {
    const char *why;
    struct { di_traffic_form form; const char *prompt, *response; } row[7];
    int n;
    const char *schema, *file;
    int duplicates, left_out, without_text;
} cases[] = {
    {"prompts with several responses; a lone text and a repeated one beside them",
     {{DI_TRAFFIC_SINGLE, "p", "x"}, {DI_TRAFFIC_SINGLE, "q", "y"}, {DI_TRAFFIC_SINGLE, "p", "a"},
      {DI_TRAFFIC_SINGLE, "p", "x"}, {DI_TRAFFIC_SINGLE, "z", "w"}, {DI_TRAFFIC_SINGLE, "q", "\"b\"\n"}}, 6,
     "candidates",
     "{\"prompt\":\"p\",\"responses\":[\"x\",\"a\"],\"label\":null}\n"
     "{\"prompt\":\"q\",\"responses\":[\"y\",\"\\\"b\\\"\\n\"],\"label\":null}\n", 1, 1, 0},
    {"mostly prompts with one response: nothing is left out",
     {{DI_TRAFFIC_SINGLE, "p", "x"}, {DI_TRAFFIC_SINGLE, "q", "y"}, {DI_TRAFFIC_SINGLE, "r", "x"},
      {DI_TRAFFIC_SINGLE, "s", "z"}, {DI_TRAFFIC_SINGLE, "q", "b"}}, 5,
     "single",
     "{\"prompt\":\"p\",\"response\":\"x\"}\n{\"prompt\":\"q\",\"response\":\"y\"}\n"
     "{\"prompt\":\"q\",\"response\":\"b\"}\n{\"prompt\":\"r\",\"response\":\"x\"}\n"
     "{\"prompt\":\"s\",\"response\":\"z\"}\n", 0, 0, 0},
    {"empty prompts are none that are shared",
     {{DI_TRAFFIC_SINGLE, "", "x"}, {DI_TRAFFIC_SINGLE, "", "y"}}, 2,
     "single", "{\"prompt\":\"\",\"response\":\"x\"}\n{\"prompt\":\"\",\"response\":\"y\"}\n", 0, 0, 0},
    {"texts without a border; their prompt counts only for the comparison",
     {{DI_TRAFFIC_TEXT, "x", "x one"}, {DI_TRAFFIC_TEXT, NULL, "two"}, {DI_TRAFFIC_SINGLE, "p", "a"},
      {DI_TRAFFIC_TEXT, NULL, "two"}, {DI_TRAFFIC_IDS, NULL, NULL}}, 5,
     "text", "{\"text\":\"x one\"}\n{\"text\":\"two\"}\n", 1, 1, 1},
    {"dialogues with several answers",
     {{DI_TRAFFIC_CHAT, ASK, "4"}, {DI_TRAFFIC_CHAT, ASK, "5"}, {DI_TRAFFIC_TEXT, NULL, "t"}}, 3,
     "candidates", "{\"prompt\":" ASK ",\"responses\":[\"4\",\"5\"],\"label\":null}\n", 0, 1, 0},
    {"dialogues with one answer",
     {{DI_TRAFFIC_CHAT, ASK, "4"}, {DI_TRAFFIC_CHAT, ASK2, "6"}, {DI_TRAFFIC_CHAT, "[]", "hello"}}, 3,
     "chat",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"2+2?\"},{\"role\":\"assistant\",\"content\":\"4\"}]}\n"
     "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"3+3?\"},"
     "{\"role\":\"assistant\",\"content\":\"6\"}]}\n"
     "{\"messages\":[{\"role\":\"assistant\",\"content\":\"hello\"}]}\n", 0, 0, 0},
};
/* clang-format on */

/* The row reader takes the file as a target: so many texts of this schema. */
static void read_as_target(const char *schema, int64_t texts)
{
    di_rows_options o = di_rows_options_default();
    di_rows *rows = NULL;
    di_row row;
    dial_error err;
    int got = 1;

    o.drop_labels = 1;
    assert_ok(di_rows_open(di_alloc_default(), out, &o, NULL, &rows, &err), err);
    for (;;) {
        assert_ok(di_rows_next(rows, &row, &got, NULL, &err), err);
        if (!got) break;
        texts -= row.n_texts;
    }
    assert_string_equal(di_rows_schema(rows), schema);
    assert_int_equal(texts, 0);
    di_rows_close(rows);
}

static void schemas(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        di_traffic_row row[7];
        di_collected c;
        dial_error err;
        char *text = NULL;
        size_t size;

        unlink(store);
        for (int k = 0; k < cases[i].n; k++)
            row[k] =
                row_of("a", cases[i].row[k].form, cases[i].row[k].prompt, cases[i].row[k].response);
        put(row, cases[i].n, 100);
        assert_ok(
            di_collect(di_alloc_default(), store, &(di_traffic_of){.run = "a"}, out, &c, &err),
            err);
        assert_ok(di_read_file(di_alloc_default(), out, &text, &size, &err), err);
        if (strcmp(text, cases[i].file) != 0 || strcmp(c.schema, cases[i].schema) != 0)
            fail_msg("%s: expected %s\n%s\nfound %s\n%s", cases[i].why, cases[i].schema,
                     cases[i].file, c.schema, text);
        assert_int_equal(c.read, cases[i].n);
        assert_int_equal(c.duplicates, cases[i].duplicates);
        assert_int_equal(c.left_out, cases[i].left_out);
        assert_int_equal(c.without_text, cases[i].without_text);
        assert_int_equal(c.read, c.texts + c.duplicates + c.left_out + c.without_text);
        read_as_target(c.schema, c.texts);
        di_free(di_alloc_default(), text);
    }
}

/* More responses than a row may hold: two rows of about the same size. */
static void large_groups(void **state)
{
    enum { N = 129 };
    static di_traffic_row row[N];
    static char text[N][16];
    di_collected c;
    dial_error err;

    (void)state;
    for (int k = 0; k < N; k++) {
        snprintf(text[k], sizeof text[k], "r%d", k);
        row[k] = row_of("a", DI_TRAFFIC_SINGLE, "p", text[k]);
    }
    put(row, N, 1000);
    assert_ok(di_collect(di_alloc_default(), store, &(di_traffic_of){0}, out, &c, &err), err);
    assert_int_equal(c.rows, 17);
    read_as_target("candidates", N);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dial-traffic-%d", (int)getpid());
    snprintf(store, sizeof store, "%s/dial.sqlite", folder);
    snprintf(out, sizeof out, "%s/target.jsonl", folder);
    return mkdir(folder, 0777);
}

static int tear_down(void **state)
{
    (void)state;
    unlink(store);
    unlink(out);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(last_rows_stay, fresh),
        cmocka_unit_test_setup(rows_of_a_checkpoint, fresh),
        cmocka_unit_test_setup(kill_loses_nothing, fresh),
        cmocka_unit_test_setup(full_disk, fresh),
        cmocka_unit_test_setup(no_store, fresh),
        cmocka_unit_test_setup(schemas, fresh),
        cmocka_unit_test_setup(large_groups, fresh),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
