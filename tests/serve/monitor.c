/*
 * The shift monitor from outside: a real server with the toy model and streams of texts. Traffic
 * that looks like the source, the target or both raises no alarm, other traffic does, and what came
 * before is forgotten when the run is loaded again. The store keeps what it said it kept, through
 * SIGKILL too, and a store that cannot be written costs rows and nothing else.
 */
#include "test.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "api/collect.h"
#include "client.h"
#include "serve/traffic.h"

enum { MOST_TEXTS = 600, WINDOW = 64, ROUNDS = 8 };

static char *text[3][MOST_TEXTS]; /* of source, target, and of neither, as JSON strings */
static int n_texts[3];
static char store[96];

/* ---- texts ---- */

/* Each text once: a window takes no text twice. */
static void keep_text(int domain, const char *prompt, const char *response)
{
    json_t *s = json_sprintf("%s%s", prompt, response);
    char *written = json_dumps(s, JSON_ENCODE_ANY);
    int seen = 0;

    json_decref(s);
    for (int i = 0; i < n_texts[domain] && !seen; i++) seen = strcmp(text[domain][i], written) == 0;
    if (seen) {
        free(written);
        return;
    }
    assert_true(n_texts[domain] < MOST_TEXTS);
    text[domain][n_texts[domain]++] = written;
}

static void read_texts(int domain, const char *path)
{
    FILE *f = fopen(path, "r");
    char line[4096];

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        json_t *v = json_loads(line, 0, NULL);
        const char *prompt = json_string_value(json_object_get(v, "prompt"));

        keep_text(domain, prompt, json_string_value(json_object_get(v, "chosen")));
        keep_text(domain, prompt, json_string_value(json_object_get(v, "rejected")));
        json_decref(v);
    }
    fclose(f);
}

static void make_texts(void)
{
    unsigned x = 1;

    read_texts(0, TOY "/source.jsonl");
    read_texts(1, TOY "/target.jsonl");
    for (int i = 0; i < 300; i++) {
        char digits[64];
        int n = 20 + i % 40;

        for (int k = 0; k < n; k++) {
            x = x * 1664525U + 1013904223U;
            digits[k] = (char)('0' + (x >> 20) % 10);
        }
        digits[n] = '\0';
        keep_text(2, "", digits);
    }
}

/* Text `at` of a domain, eight a request, each time other ones; `of` both: source and target. */
static void stream(int port, int domain, int both, int first, int n)
{
    for (int at = first; at < first + n; at += 8) {
        char body[8 * 700] = "{\"input\":[";

        for (int k = 0; k < 8; k++) {
            int d = both ? (at + k) % 2 : domain, i = both ? (at + k) / 2 : at + k;

            strcat(body, k > 0 ? "," : "");
            strcat(body, text[d][i % n_texts[d]]);
        }
        strcat(body, "]}");
        expect_status(port, "/classify", body, 200);
    }
}

/* ---- what the server says ---- */

static double metric(int port, const char *name)
{
    answer a = ask(port, "/metrics", NULL);
    char line[80];
    const char *at;
    double x;

    snprintf(line, sizeof line, "\n%s ", name);
    at = strstr(a.body, line);
    x = at != NULL ? strtod(at + strlen(line), NULL) : -1;
    answer_free(&a);
    return x;
}

static void wait_for(int port, const char *name, double x)
{
    for (int i = 0; metric(port, name) < x; i++) {
        if (i == 12000) fail_msg("%s stays at %g, expected %g", name, metric(port, name), x);
        pause_ms(5);
    }
}

static json_t *details(int port)
{
    answer a = ask(port, "/ready", NULL);
    json_t *v = json_loads(a.body, 0, NULL), *shift = json_incref(json_object_get(v, "shift"));

    assert_int_equal(a.status, 200);
    assert_non_null(shift);
    json_decref(v);
    answer_free(&a);
    return shift;
}

/* So many windows, each looked at before the next one is sent. */
static void windows(int port, int domain, int both, int first, int n)
{
    for (int k = 0; k < n; k++) {
        double looks = metric(port, "dial_shift_looks_total");

        stream(port, domain, both, first + k * WINDOW, WINDOW);
        wait_for(port, "dial_shift_looks_total", looks + 1);
    }
}

/* ---- tests ---- */

static void begin(server *s, int n)
{
    static const char *const name[] = {"a", "b"};

    unlink(store);
    server_init(s, name, n);
    s->o.monitor = WINDOW;
    s->o.monitor_texts = 1;
    s->o.store = store;
    server_start(s);
}

/*
 * Two runs. Texts of the source, of the target and of both are no shift; digits are one, of the run
 * that they go to alone; and a reload begins anew.
 */
static void shift_is_told(void **state)
{
    char command[300];
    server s;
    json_t *shift, *a, *b;
    answer page;

    (void)state;
    begin(&s, 2);
    windows(s.port, 0, 0, 0, 1);
    windows(s.port, 1, 0, 0, 1);
    windows(s.port, 0, 1, 2 * WINDOW, 1);
    shift = details(s.port);
    a = json_object_get(json_object_get(shift, "models"), "a");
    assert_true(json_is_false(json_object_get(shift, "alarm")));
    assert_true(json_is_false(json_object_get(a, "alarm")));
    assert_true(json_is_null(json_object_get(a, "reason")));
    assert_int_equal(json_integer_value(json_object_get(a, "looks")), 3);
    assert_true(json_number_value(json_object_get(a, "a_distance")) < 1);
    json_decref(shift);

    windows(s.port, 2, 0, 0, 4);
    shift = details(s.port);
    a = json_object_get(json_object_get(shift, "models"), "a");
    b = json_object_get(json_object_get(shift, "models"), "b");
    assert_true(json_is_true(json_object_get(shift, "alarm")));
    assert_true(json_is_true(json_object_get(a, "alarm")));
    assert_true(json_is_false(json_object_get(b, "alarm")));
    assert_true(json_real_value(json_object_get(a, "since")) > 1e9);
    assert_true(json_number_value(json_object_get(a, "a_distance")) > 1.5);
    assert_true(json_number_value(json_object_get(a, "mmd_p")) < 0.01);
    assert_true(json_number_value(json_object_get(a, "w1")) > 0);
    assert_int_equal(json_integer_value(json_object_get(b, "looks")), 0);
    json_decref(shift);
    page = ask(s.port, "/metrics", NULL);
    assert_non_null(strstr(page.body, "\ndial_shift_alarm{model=\"a\"} 1\n"
                                      "dial_shift_alarm{model=\"b\"} 0\n"));
    assert_null(strstr(page.body, "\ndial_shift_w1{model=\"b\"}"));
    assert_non_null(strstr(page.body, "\ndial_shift_alarms_total 1\n"));
    answer_free(&page);

    snprintf(command, sizeof command, "cd %s && mv a old && cp -r b a", folder);
    assert_int_equal(system(command), 0);
    flag_up(&s.reload);
    wait_for(s.port, "dial_reloads_total", 1);
    for (int i = 0;; i++) { /* the first text of the new checkpoint says that there is one */
        stream(s.port, 0, 1, 0, 8);
        shift = details(s.port);
        a = json_object_get(json_object_get(shift, "models"), "a");
        if (json_integer_value(json_object_get(a, "looks")) == 0) break;
        if (i == 1000) fail_msg("the window is still that of the old checkpoint");
        json_decref(shift);
        pause_ms(5);
    }
    assert_true(json_is_false(json_object_get(shift, "alarm")));
    json_decref(shift);
    assert_ok(server_stop(&s), s.err);
    snprintf(command, sizeof command, "cd %s && rm -r a && mv old a", folder);
    assert_int_equal(system(command), 0);
}

/* The same few texts all day make no window, whatever they are. */
static void repeats_are_no_window(void **state)
{
    server s;
    json_t *shift;

    (void)state;
    begin(&s, 1);
    for (int k = 0; k < 40; k++) stream(s.port, 2, 0, 0, 32);
    shift = details(s.port);
    assert_int_equal(json_integer_value(json_object_get(shift, "looks")), 0);
    assert_int_equal(json_integer_value(json_object_get(shift, "collected")), 32);
    json_decref(shift);
    assert_true(metric(s.port, "dial_shift_alarm") == 0);
    assert_ok(server_stop(&s), s.err);
}

/* A run without a reference: the texts are stored, and /ready says why nothing is compared. */
static void without_a_reference(void **state)
{
    char command[200];
    server s;
    json_t *shift;

    (void)state;
    snprintf(command, sizeof command, "mv %s/a/reference.safetensors %s/kept", folder, folder);
    assert_int_equal(system(command), 0);
    begin(&s, 1);
    stream(s.port, 2, 0, 0, 4 * WINDOW);
    wait_for(s.port, "dial_monitor_rows_total", 4 * WINDOW);
    shift = details(s.port);
    assert_non_null(
        strstr(json_string_value(json_object_get(shift, "reason")), "a/reference.safetensors"));
    assert_int_equal(json_integer_value(json_object_get(shift, "looks")), 0);
    json_decref(shift);
    assert_true(metric(s.port, "dial_shift_w1") < 0); /* no such gauge */
    assert_ok(server_stop(&s), s.err);
    snprintf(command, sizeof command, "mv %s/kept %s/a/reference.safetensors", folder, folder);
    assert_int_equal(system(command), 0);
}

/* Every dialect's texts as `data collect` writes them. */
static void requests_to_target_file(void **state)
{
    static const struct {
        const char *why, *path, *body, *schema, *file;
    } rows[] = {
        {"rendered texts with their prompts", "/get_reward",
         "{\"query\":[\"pa\",\"pb\",\"qc\",\"qd\"],\"prompts\":[\"p\",\"p\",\"q\",\"q\"]}",
         "candidates",
         "{\"prompt\":\"p\",\"responses\":[\"a\",\"b\"],\"label\":null}\n"
         "{\"prompt\":\"q\",\"responses\":[\"c\",\"d\"],\"label\":null}\n"},
        {"documents of a query", "/rerank", "{\"query\":\"p\",\"documents\":[\"a\",\"b\",\"c\"]}",
         "candidates", "{\"prompt\":\"p\",\"responses\":[\"a\",\"b\",\"c\"],\"label\":null}\n"},
        {"texts alone", "/v1/embeddings", "{\"input\":[\"a\",\"b\"]}", "text",
         "{\"text\":\"a\"}\n{\"text\":\"b\"}\n"},
        {"prompt and response", "/v1/reward",
         "{\"inputs\":[{\"prompt\":\"p\",\"response\":\"a\"},{\"prompt\":\"q\",\"response\":\"b\"}]"
         "}",
         "single",
         "{\"prompt\":\"p\",\"response\":\"a\"}\n{\"prompt\":\"q\",\"response\":\"b\"}\n"},
        {"dialogues", "/v1/reward",
         "{\"inputs\":[{\"messages\":[{\"role\":\"user\",\"content\":\"p\"},"
         "{\"role\":\"assistant\",\"content\":\"a\"}]}]}",
         "chat",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"p\"},"
         "{\"role\":\"assistant\",\"content\":\"a\"}]}\n"},
    };
    server s;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[96], found[512];
        di_collected c;
        dial_error err;
        FILE *f;

        begin(&s, 1);
        expect_status(s.port, rows[i].path, rows[i].body, 200);
        expect_status(s.port, "/tokenize", "{\"inputs\":[{\"text\":\"not scored\"}]}", 200);
        expect_status(s.port, "/classify", "{\"input\":[]}", 422);
        assert_ok(server_stop(&s), s.err); /* the end writes what waits */
        snprintf(out, sizeof out, "%s/target.jsonl", folder);
        assert_ok(
            di_collect(di_alloc_default(), store, &(di_traffic_of){.run = "a"}, out, &c, &err),
            err);
        f = fopen(out, "r");
        assert_non_null(f);
        found[fread(found, 1, sizeof found - 1, f)] = '\0';
        fclose(f);
        if (strcmp(c.schema, rows[i].schema) != 0 || strcmp(found, rows[i].file) != 0)
            fail_msg("%s: expected %s\n%s\nfound %s\n%s", rows[i].why, rows[i].schema, rows[i].file,
                     c.schema, found);
    }
}

/* The folder of the store is not there; then it is. */
static void store_comes_and_goes(void **state)
{
    static const char *const name[] = {"a"};
    char inside[96], file[128];
    server s;

    (void)state;
    snprintf(inside, sizeof inside, "%s/later", folder);
    server_init(&s, name, 1);
    s.o.monitor = 1000;
    snprintf(file, sizeof file, "%s/dial.sqlite", inside);
    s.o.store = file;
    server_start(&s);
    stream(s.port, 0, 0, 0, 16);
    wait_for(s.port, "dial_monitor_failed_total", 16);
    assert_true(metric(s.port, "dial_monitor_rows_total") == 0);
    assert_int_equal(mkdir(inside, 0777), 0);
    stream(s.port, 0, 0, 0, 16);
    wait_for(s.port, "dial_monitor_rows_total", 16);
    assert_true(metric(s.port, "dial_monitor_failed_total") == 16);
    assert_ok(server_stop(&s), s.err);
}

/* ---- SIGKILL: the server as a process of its own ---- */

static int say_port(void *ctx, const char *line, size_t n)
{
    json_t *v = json_loadb(line, n, 0, NULL);

    (void)ctx;
    printf("%d\n", (int)json_integer_value(json_object_get(v, "port")));
    json_decref(v);
    return fflush(stdout);
}

static volatile int reloads;

static void on_hangup(int signal)
{
    (void)signal;
    reloads++;
}

/* RUN STORE: what the child runs, until it is killed. */
static int serve_as_child(char **argument)
{
    const char *run = argument[0];
    dial_serve_options o;
    dial_error err;

    dial_options_default(dial_serve_table, &o, sizeof o);
    o.runs = (dial_list){&run, 1};
    o.port = 0;
    o.common.threads = 1;
    o.monitor = 100000;
    o.monitor_texts = 1;
    o.store = argument[1];
    o.reload = &reloads;
    signal(SIGHUP, on_hangup);
    return dial_serve(&o, say_port, NULL, NULL, &err) != DIAL_OK;
}

static pid_t start_child(int *port)
{
    char run[96], line[16] = "";
    int end[2];
    pid_t child;

    snprintf(run, sizeof run, "%s/live", folder);
    assert_int_equal(pipe(end), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(end[1], STDOUT_FILENO);
        execl("/proc/self/exe", "monitor", "serve", run, store, (char *)NULL);
        _exit(127);
    }
    close(end[1]);
    for (size_t n = 0; n + 1 < sizeof line && (n == 0 || line[n - 1] != '\n'); n++)
        if (read(end[0], line + n, 1) != 1) fail_msg("the server does not start");
    close(end[0]);
    *port = (int)strtol(line, NULL, 10);
    return child;
}

static dial_status count_row(void *ctx, const di_traffic_row *row, dial_error *err)
{
    (void)err;
    assert_non_null(row->response);
    (*(int64_t *)ctx)++;
    return DIAL_OK;
}

/* What SQLite itself says of the file. */
static void is_sound(void)
{
    sqlite3 *db;
    sqlite3_stmt *q;

    assert_int_equal(sqlite3_open_v2(store, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(q, 0), "ok");
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static void point_to(const char *name)
{
    char link[96], next[96];

    snprintf(link, sizeof link, "%s/live", folder);
    snprintf(next, sizeof next, "%s/next", folder);
    assert_int_equal(symlink(name, next), 0);
    assert_int_equal(rename(next, link), 0);
}

/*
 * DIAL_TEST_KILLS of them, every second one at some instant of a reload: what was told as stored is
 * there, the file is sound, and the next server starts on both.
 */
static void kill_loses_no_acknowledged_row(void **state)
{
    const char *often = getenv("DIAL_TEST_KILLS");
    int rounds = often != NULL ? atoi(often) : ROUNDS;
    int64_t before = 0, acknowledged = 0;
    dial_error err;

    (void)state;
    unlink(store);
    point_to("a");
    for (int round = 0; round < rounds; round++) {
        int port, status;
        pid_t child = start_child(&port);
        int64_t now = 0, told = 0;

        /* Some requests; then what it says is stored, and more requests at the time of the kill. */
        for (int k = 0; k < 2 + round % 3; k++) {
            stream(port, 0, 0, 64 * round + 32 * k, 32);
            pause_ms(37 * round % 190);
            told = (int64_t)metric(port, "dial_monitor_rows_total");
        }
        stream(port, 0, 0, 0, 32);
        if (round % 2 == 1) { /* it looks every 50 ms, and loads for a few */
            point_to(round % 4 == 1 ? "b" : "a");
            kill(child, SIGHUP);
            pause_ms(7 * round % 80);
        } else
            pause_ms(53 * round % 230);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_ok(di_traffic_read(store, &(di_traffic_of){0}, count_row, &now, &err), err);
        is_sound();
        if (now < before + told)
            fail_msg("%lld rows were stored after %lld, %lld are there", (long long)told,
                     (long long)before, (long long)now);
        before = now;
        acknowledged += told;
    }
    assert_true(acknowledged > 0);
    printf("%d kills: %lld rows told as stored, %lld there\n", rounds, (long long)acknowledged,
           (long long)before);
}

static int set_up(void **state)
{
    (void)state;
    make_folder("monitor");
    snprintf(store, sizeof store, "%s/dial.sqlite", folder);
    train_run("a", 1);
    train_run("b", 2);
    make_texts();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int d = 0; d < 3; d++)
        for (int i = 0; i < n_texts[d]; i++) free(text[d][i]);
    return remove_folder();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shift_is_told),        cmocka_unit_test(repeats_are_no_window),
        cmocka_unit_test(without_a_reference),  cmocka_unit_test(requests_to_target_file),
        cmocka_unit_test(store_comes_and_goes), cmocka_unit_test(kill_loses_no_acknowledged_row),
    };
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve_as_child(argv + 2);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
