/*
 * What the server turns away, and how: each limit is reached once, the answer is JSON that names
 * it, and the next request is answered as if nothing had been.
 */
#include "test.h"

#include "client.h"

static const char *const one[] = {"a"};
#define GOOD "{\"query\":[\"good\"]}"

static void expect(answer a, int status, const char *says)
{
    json_t *v = a.status != 0 ? json_loads(a.body, 0, NULL) : NULL;

    if (a.status != status || v == NULL || strstr(a.body, says) == NULL)
        fail_msg("expected %d with '%s', found %d: %.300s", status, says, a.status,
                 a.body != NULL ? a.body : "no answer");
    json_decref(v);
    answer_free(&a);
}

static void bearer_token(void **state)
{
    char file[128], more[200];
    server s;
    FILE *f;

    (void)state;
    snprintf(file, sizeof file, "%s/token", folder);
    f = fopen(file, "w");
    assert_non_null(f);
    fputs("  s3cret\n", f);
    fclose(f);
    server_init(&s, one, 1);
    s.o.token_file = file;
    server_start(&s);
    for (int i = 0; i < 5; i++) {
        static const char *const wrong[] = {"", "Bearer s3cre", "Bearer s3crets", "Basic s3cret",
                                            "Bearer "};
        answer a;

        snprintf(more, sizeof more, "Authorization: %s\r\n", wrong[i]);
        a = ask_raw(s.port, "POST", "/get_reward", i > 0 ? more : "", GOOD, strlen(GOOD));
        assert_non_null(strcasestr(a.head, "www-authenticate: bearer"));
        expect(a, 401, "authentication_error");
    }
    expect(ask_raw(s.port, "POST", "/get_reward", "Authorization: bearer s3cret\r\n", GOOD,
                   strlen(GOOD)),
           200, "rewards");
    expect_status(s.port, "/health", NULL, 200);
    expect_status(s.port, "/ready", NULL, 200);
    expect_status(s.port, "/metrics", NULL, 401);
    expect_status(s.port, "/v1/models", NULL, 401);
    assert_ok(server_stop(&s), s.err);
}

static void one_origin(void **state)
{
    server s;
    answer a;

    (void)state;
    server_init(&s, one, 1);
    s.o.cors_origin = "http://page.example";
    server_start(&s);
    a = ask_raw(s.port, "POST", "/get_reward", "Origin: http://page.example\r\n", GOOD,
                strlen(GOOD));
    assert_non_null(strcasestr(a.head, "access-control-allow-origin: http://page.example"));
    expect(a, 200, "rewards");
    expect(ask_raw(s.port, "POST", "/get_reward", "Origin: null\r\n", GOOD, strlen(GOOD)), 403,
           "forbidden_error");
    assert_ok(server_stop(&s), s.err);
}

static void sizes(void **state)
{
    server s;
    char *body = malloc(3 << 20), header[24000];
    size_t n;

    (void)state;
    assert_non_null(body);
    server_init(&s, one, 1);
    s.o.max_body = 1 << 20;
    s.o.max_inputs = 10;
    server_start(&s);

    memset(body, ' ', 3 << 20);
    expect(ask_raw(s.port, "POST", "/get_reward", "", body, (1 << 20) + 1), 413,
           "request_too_large");
    expect(ask_raw(s.port, "POST", "/predict", "Expect: 100-continue\r\n", body, 3 << 20), 413,
           "\"error_type\":\"Validation\"");
    memcpy(body, GOOD, strlen(GOOD));
    expect(ask_raw(s.port, "POST", "/get_reward", "", body, 1 << 20), 200, "rewards");

    n = (size_t)sprintf(body, "{\"query\":[\"\"");
    for (int i = 1; i < 300000; i++) n += (size_t)sprintf(body + n, ",\"\"");
    n += (size_t)sprintf(body + n, "]}");
    expect(ask_raw(s.port, "POST", "/get_reward", "", body, n), 422, "more than 10 texts");

    n = (size_t)sprintf(header, "GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ");
    memset(header + n, 'x', 20000);
    strcpy(header + n + 20000, "\r\n\r\n");
    {
        int fd = client_open(s.port);

        assert_true(send_all(fd, header, n + 20004));
        expect(client_read(fd), 431, "header_too_large");
        close(fd);
    }
    expect(ask(s.port, "/get_reward", GOOD), 200, "rewards");
    assert_ok(server_stop(&s), s.err);
    free(body);
}

typedef struct pending {
    int port;
    answer a;
    pthread_t thread;
} pending;

static void *ask_in_thread(void *arg)
{
    pending *p = arg;

    p->a = ask(p->port, "/get_reward", "{\"query\":[\"good\",\"bad\"]}");
    return NULL;
}

/* A text waits half a second for company: until then two of them fill a queue of two. */
static void queue_full(void **state)
{
    server s;
    pending p;
    answer a;

    (void)state;
    server_init(&s, one, 1);
    s.o.max_wait_ms = 500;
    s.o.queue = 2;
    server_start(&s);
    p.port = s.port;
    pthread_create(&p.thread, NULL, ask_in_thread, &p);
    for (;;) { /* until it waits */
        int busy;

        a = ask(s.port, "/ready", NULL);
        busy = a.status == 503 && strstr(a.body, "\"queue\":2") != NULL;
        answer_free(&a);
        if (busy) break;
    }
    a = ask(s.port, "/get_reward", GOOD);
    assert_non_null(strcasestr(a.head, "retry-after: 1"));
    expect(a, 429, "overloaded_error");
    expect(ask(s.port, "/embed", "{\"inputs\":\"a\"}"), 429, "Overloaded");
    pthread_join(p.thread, NULL);
    expect(p.a, 200, "rewards");
    a = ask(s.port, "/metrics", NULL);
    assert_non_null(strstr(a.body, "dial_rejected_total{reason=\"queue\"} 2"));
    answer_free(&a);
    assert_ok(server_stop(&s), s.err);
}

/* Whoever comes when all places are taken waits, unanswered, until one is free. */
static void no_place(void **state)
{
    enum { PLACES = 8 };
    static const char page[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    server s;
    int fd[PLACES + 1];
    char c;

    (void)state;
    server_init(&s, one, 1);
    s.o.max_connections = PLACES;
    server_start(&s);
    for (int i = 0; i < PLACES; i++) {
        fd[i] = client_open(s.port);
        expect(client_send(fd[i], "GET", "/health", "", "", 0), 200, "ok");
    }
    fd[PLACES] = client_open(s.port);
    assert_true(send_all(fd[PLACES], page, sizeof page - 1));
    pause_ms(300);
    assert_int_equal(recv(fd[PLACES], &c, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    close(fd[0]);
    expect(client_read(fd[PLACES]), 200, "ok");
    for (int i = 1; i <= PLACES; i++) close(fd[i]);
    assert_ok(server_stop(&s), s.err);
}

static void time_is_up(void **state)
{
    server s;

    (void)state;
    server_init(&s, one, 1);
    s.o.max_wait_ms = 30000;
    s.o.timeout = "50ms";
    server_start(&s);
    expect(ask(s.port, "/get_reward", GOOD), 503, "the time was up");
    expect(ask(s.port, "/predict", "{\"inputs\":\"a\"}"), 503, "Unhealthy");
    assert_ok(server_stop(&s), s.err);
}

/* SIGTERM while a request waits: it is answered, and what comes later is told to go elsewhere. */
static void drain(void **state)
{
    server s;
    pending p;
    int fd;
    answer a;

    (void)state;
    server_init(&s, one, 1);
    s.o.max_wait_ms = 700;
    server_start(&s);
    p.port = s.port;
    fd = client_open(s.port);
    a = client_send(fd, "GET", "/health", "", "", 0);
    expect(a, 200, "ok");
    pthread_create(&p.thread, NULL, ask_in_thread, &p);
    for (int busy = 0; !busy;) {
        a = ask(s.port, "/ready", NULL);
        busy = strstr(a.body, "\"queue\":2") != NULL;
        answer_free(&a);
    }
    flag_up(&s.stop);
    pause_ms(200);
    a = client_send(fd, "GET", "/health", "", "", 0);
    assert_non_null(strcasestr(a.head, "connection: close"));
    expect(a, 503, "draining");
    close(fd);
    assert_int_equal(client_open(s.port), -1);
    pthread_join(p.thread, NULL);
    expect(p.a, 200, "rewards");
    assert_ok(server_stop(&s), s.err);
}

/* The grace is over: who still waits gets an answer that says so. */
static void end_of_grace(void **state)
{
    server s;
    pending p;

    (void)state;
    server_init(&s, one, 1);
    s.o.max_wait_ms = 60000;
    s.o.grace = "100ms";
    server_start(&s);
    p.port = s.port;
    pthread_create(&p.thread, NULL, ask_in_thread, &p);
    for (int busy = 0; !busy;) {
        answer a = ask(s.port, "/ready", NULL);

        busy = strstr(a.body, "\"queue\":2") != NULL;
        answer_free(&a);
    }
    flag_up(&s.stop);
    pthread_join(p.thread, NULL);
    expect(p.a, 503, "the server is ending");
    assert_ok(server_stop(&s), s.err);
}

static int set_up(void **state)
{
    (void)state;
    make_folder("limits");
    train_run("a", 1);
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
        cmocka_unit_test(bearer_token), cmocka_unit_test(one_origin),
        cmocka_unit_test(sizes),        cmocka_unit_test(queue_full),
        cmocka_unit_test(no_place),     cmocka_unit_test(time_is_up),
        cmocka_unit_test(drain),        cmocka_unit_test(end_of_grace),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
