/*
 * Reloading under load. The served path is a link that is moved from one run to another and back,
 * while clients ask in every dialect, read the pages, or hang up in the middle, and the monitor and
 * the access log write. Every request must be answered, all of its rewards by one and the same run;
 * a run that does not load leaves the old one in place; nothing of the old ones stays in memory.
 */
#include "test.h"

#include "client.h"
#include "counted.h"

enum { CLIENTS = 4, RELOADS = 20 };
#define BODY "{\"query\":[\"good\",\"bad film\",\"it was good\",\" the film\"]}"

static const struct {
    const char *path, *body;
} rows[] = {
    {"/get_reward", BODY},
    {"/classify", "{\"input\":[\"good\",\"a bad film\"],\"use_activation\":true}"},
    {"/classify", "{\"text\":\"good\"}"},
    {"/v1/classify", "{\"input\":[[5,6,7],[8]]}"},
    {"/pooling", "{\"input\":\"good film\",\"encoding_format\":\"base64\"}"},
    {"/v1/score", "{\"text_1\":\"Q: \",\"text_2\":[\"good\",\"bad\"]}"},
    {"/v1/rerank", "{\"query\":\"Q: \",\"documents\":[\"good\",\"bad\",\"film\"]}"},
    {"/rerank", "{\"query\":\"Q: \",\"texts\":[\"good\",\"bad\",\"film\"]}"},
    {"/", "{\"inputs\":\"good\"}"},
    {"/predict", "{\"inputs\":[[\"good\"],[\"Q: \",\"bad\"]],\"raw_scores\":true}"},
    {"/embed", "{\"inputs\":[\"good\",\"bad\"]}"},
    {"/v1/score/evaluation", "{\"model\":\"x\",\"messages\":[\"good\",\"bad\"]}"},
    {"/v1/embeddings", "{\"input\":[\"good\",\"bad\"]}"},
    {"/v1/reward", "{\"inputs\":[{\"prompt\":\"Q: \",\"response\":\"good\"}],\"normalize\":true}"},
    {"/tokenize", "{\"inputs\":[{\"text\":\"good\"}]}"},
};
enum { N_ROWS = sizeof rows / sizeof *rows, ANSWER = 4096 };

static server s;
static char answer_of[2][N_ROWS][ANSWER]; /* what runs a and b answer to each row */
static int shown;                         /* the run that the link shows: 0 a, 1 b */
static atomic_int stop_clients, failed;
static atomic_long answered[2], left;

/* Without what differs from one request to the next: ids, times. */
static void keep_the_same(char *body)
{
    static const char *const changing[] = {"\"id\":", "\"created\":", "\"e2e_latency\":"};

    for (size_t k = 0; k < sizeof changing / sizeof *changing; k++)
        for (char *at = body; (at = strstr(at, changing[k])) != NULL;) {
            char *end = at + strcspn(at, ",}");

            memmove(at, end, strlen(end) + 1);
        }
}

static void point_to(const char *name)
{
    char link[128], next[128];

    snprintf(link, sizeof link, "%s/live", folder);
    snprintf(next, sizeof next, "%s/next", folder);
    assert_int_equal(symlink(name, next), 0);
    assert_int_equal(rename(next, link), 0);
}

static long counter(const char *name)
{
    answer a = ask(s.port, "/metrics", NULL);
    char line[80];
    const char *at;
    long n;

    snprintf(line, sizeof line, "\n%s ", name);
    at = strstr(a.body, line);
    assert_non_null(at);
    n = strtol(at + strlen(line), NULL, 10);
    answer_free(&a);
    return n;
}

static void wait_for(const char *name, long n)
{
    for (int i = 0; counter(name) < n; i++) {
        if (i == 3000) fail_msg("%s stays under %ld", name, n);
        pause_ms(5);
    }
}

static void *ask_on(void *arg)
{
    int fd = client_open(s.port);
    size_t row = *(const size_t *)arg;

    for (; !atomic_load(&stop_clients); row = (row + 1) % N_ROWS) {
        answer a =
            client_send(fd, "POST", rows[row].path, "", rows[row].body, strlen(rows[row].body));
        int which = -1;

        if (a.status == 200) {
            keep_the_same(a.body);
            for (int i = 0; i < 2 && which < 0; i++)
                if (strcmp(a.body, answer_of[i][row]) == 0) which = i;
        }
        if (which < 0) {
            atomic_fetch_add(&failed, 1);
            printf("%s: neither run answers so: %d %s\n", rows[row].path, a.status,
                   a.body != NULL ? a.body : "");
        } else
            atomic_fetch_add(&answered[which], 1);
        answer_free(&a);
    }
    close(fd);
    return NULL;
}

/* Sends a piece of a request, or all of it, and goes without the answer: in order, or by a reset.
 */
static void *hang_up(void *arg)
{
    struct linger now = {1, 0};

    (void)arg;
    for (unsigned n = 0; !atomic_load(&stop_clients); n++) {
        char data[1024];
        const char *body = rows[n % N_ROWS].body;
        size_t size = (size_t)snprintf(
            data, sizeof data, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
            rows[n % N_ROWS].path, strlen(body), body);
        int fd = client_open(s.port);

        send_all(fd, data, n % 3 == 0 ? size : n * 2654435761U % size);
        if (n % 3 == 0) pause_ms((int)(n % 4)); /* until it waits, is computed, or is answered */
        if (n % 2 == 0) setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
        atomic_fetch_add(&left, 1);
        pause_ms(2);
    }
    return NULL;
}

static void *read_pages(void *arg)
{
    static const char *const page[] = {"/metrics", "/ready", "/info", "/v1/models", "/health"};

    (void)arg;
    for (int i = 0; !atomic_load(&stop_clients); i = (i + 1) % 5) {
        answer a = ask(s.port, page[i], NULL);

        if (a.status != 200) {
            atomic_fetch_add(&failed, 1);
            printf("%s: %d %s\n", page[i], a.status, a.body != NULL ? a.body : "");
        }
        answer_free(&a);
        pause_ms(5);
    }
    return NULL;
}

/* DIAL_TEST_RELOADS of them; every tenth is left to the server to notice. */
static void under_load(void **state)
{
    const char *often = getenv("DIAL_TEST_RELOADS");
    int reloads = often != NULL ? atoi(often) : RELOADS;
    pthread_t thread[CLIENTS + 2];
    size_t first[CLIENTS];

    (void)state;
    for (size_t i = 0; i < CLIENTS; i++) {
        first[i] = i * N_ROWS / CLIENTS;
        pthread_create(&thread[i], NULL, ask_on, &first[i]);
    }
    pthread_create(&thread[CLIENTS], NULL, hang_up, NULL);
    pthread_create(&thread[CLIENTS + 1], NULL, read_pages, NULL);
    for (int i = 0; i < reloads; i++) {
        shown = !shown;
        point_to(shown ? "b" : "a");
        if (i % 10 != 9) flag_up(&s.reload);
        wait_for("dial_reloads_total", i + 1);
    }
    atomic_store(&stop_clients, 1);
    for (int i = 0; i < CLIENTS + 2; i++) pthread_join(thread[i], NULL);
    assert_int_equal(failed, 0);
    assert_true(answered[0] > 0 && answered[1] > 0 && left > 0);
    printf("%d reloads, %ld + %ld requests, none failed; %ld were not waited for\n", reloads,
           atomic_load(&answered[0]), atomic_load(&answered[1]), atomic_load(&left));
}

/* An adapter that is not the one of the self-test, and a folder without one. */
static void of_a_bad_run(void **state)
{
    static const char *const make[] = {
        "cd %s && cp -r a bad && cp b/adapter_model.safetensors bad",
        "cd %s && rm bad/adapter_model.safetensors",
    };
    long before = counter("dial_reloads_failed_total");
    char command[200];

    (void)state;
    for (int i = 0; i < 2; i++) {
        answer a;

        snprintf(command, sizeof command, make[i], folder);
        assert_int_equal(system(command), 0);
        if (i == 0) point_to("bad");
        flag_up(&s.reload);
        wait_for("dial_reloads_failed_total", before + 1 + i);
        a = ask(s.port, "/get_reward", BODY);
        assert_string_equal(a.body, answer_of[shown][0]);
        answer_free(&a);
    }
}

static void nothing_is_left(void **state)
{
    (void)state;
    assert_ok(server_stop(&s), s.err);
    assert_int_equal(atomic_load(&counted_blocks), 0);
}

static int set_up(void **state)
{
    static const char *const live[] = {"live"}, *const each[2][1] = {{"a"}, {"b"}};
    static char store[96], log[96];

    (void)state;
    count_json();
    make_folder("reload");
    train_run("a", 1);
    train_run("b", 2);
    atomic_store(&counted_blocks, 0);
    for (int i = 0; i < 2; i++) {
        server_init(&s, each[i], 1);
        s.o.name = "live";
        server_start(&s);
        for (int k = 0; k < N_ROWS; k++) {
            answer a = ask(s.port, rows[k].path, rows[k].body);

            assert_int_equal(a.status, 200);
            keep_the_same(a.body);
            assert_true(strlen(a.body) < ANSWER);
            strcpy(answer_of[i][k], a.body);
            answer_free(&a);
        }
        assert_ok(server_stop(&s), s.err);
    }
    assert_string_not_equal(answer_of[0][0], answer_of[1][0]);
    point_to("a");
    server_init(&s, live, 1);
    snprintf(store, sizeof store, "%s/dial.sqlite", folder);
    snprintf(log, sizeof log, "%s/log", folder);
    s.o.store = store;
    s.o.monitor = 64;
    s.o.monitor_texts = 1;
    s.o.access_log = log;
    s.o.log_text = 1;
    s.env.allocator = &counted_allocator;
    server_start(&s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return remove_folder();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(under_load),
        cmocka_unit_test(of_a_bad_run),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
