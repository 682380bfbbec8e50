/*
 * Clients that mean no good, or whose network does not: connections cut at every byte, bytes that
 * are no HTTP, heads and bodies that never end. The server answers in JSON or hangs up, and
 * afterwards it serves as before, holds no block of memory and no descriptor more.
 */
#include "test.h"

#include "client.h"
#include "counted.h"
#include "fake.h"
#include "serve/server.h"

#define GOOD "{\"query\":[\"good film\"]}"

static server s;
static char wanted[256];                /* the answer to GOOD */
static int files_before, files_serving; /* open descriptors: without the server, with it */

static void still_serves(void)
{
    answer a = ask(s.port, "/get_reward", GOOD);

    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, wanted);
    answer_free(&a);
}

/* Sends n bytes and hangs up: in good order, or (reset) so that the other side gets an error. */
static void send_and_leave(const char *data, size_t n, int reset)
{
    struct linger now = {1, 0};
    int fd = client_open(s.port);

    assert_true(fd >= 0);
    send_all(fd, data, n);
    if (reset) setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void cut_at_every_byte(void **state)
{
    static const char *const request[] = {
        "POST /get_reward HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: 23\r\n\r\n" GOOD,
        "POST /rerank HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "12\r\n{\"query\":\"a\",\"texts\r\n13\r\n\":[\" b\",\" c\",\" d\"]}\r\n0\r\n\r\n",
    };

    (void)state;
    for (int r = 0; r < 2; r++)
        for (size_t n = 0; n <= strlen(request[r]); n++) send_and_leave(request[r], n, n % 2 != 0);
    still_serves();
    /* and lets go of them, long before their time is up (10 s): one may be about to be closed */
    for (int i = 0; open_files() > files_serving + 1; i++) {
        if (i == 400) fail_msg("%d connections are left", open_files() - files_serving);
        pause_ms(10);
    }
}

static void no_http(void **state)
{
    static const struct {
        const char *data;
        size_t n;
    } rows[] = {
#define BYTES(s) {s, sizeof(s) - 1}
        BYTES("\r\n\r\n\r\n\r\n"),
        BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), /* a TLS hello */
        BYTES("GET\r\n\r\n"),
        BYTES("GET /health\r\n\r\n"),
        BYTES("GET /health HTTP/9.9\r\n\r\n"),
        BYTES("GET http://[::1 HTTP/1.1\r\n\r\n"),
        BYTES("POST /get_reward HTTP/1.1\r\nContent-Length: -5\r\n\r\n"),
        BYTES("POST /get_reward HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        BYTES("POST /get_reward HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        BYTES("POST /get_reward HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
              "chunked\r\n\r\nffffffffffffffff1\r\n"),
        BYTES("GET /\0/../health HTTP/1.1\r\nHost: x\r\n\r\n"),
#undef BYTES
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = client_open(s.port);
        answer a;

        assert_true(send_all(fd, rows[i].data, rows[i].n));
        shutdown(fd, SHUT_WR);
        a = client_read(fd);
        answer_free(&a);
        close(fd);
    }
    still_serves();
}

/* Every path of the table, with bodies that fit none of them: an error, in JSON. */
static void odd_bodies(void **state)
{
    static const char *const body[] = {
        "{}",
        "[]",
        "null",
        "1e999",
        "\"\"",
        "{\"query\":{}}",
        "{\"query\":[[]]}",
        "{\"query\":[null]}",
        "{\"input\":{}}",
        "{\"input\":[{}]}",
        "{\"input\":[\"a\",1]}",
        "{\"input\":[1,\"a\"]}",
        "{\"input\":[[1],\"a\",[[]]]}",
        "{\"input\":[9223372036854775807]}",
        "{\"input\":[1.5]}",
        "{\"input\":[[]]}",
        "{\"messages\":[]}",
        "{\"messages\":[{}]}",
        "{\"messages\":[1]}",
        "{\"messages\":{\"role\":1}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[]}]}",
        "{\"query\":\"a\",\"documents\":[{}]}",
        "{\"query\":\"a\",\"documents\":{\"text\":1}}",
        "{\"query\":1,\"documents\":[\"a\"]}",
        "{\"query\":\"a\",\"texts\":[1]}",
        "{\"query\":\"a\",\"texts\":[\"a\"],\"truncate\":1}",
        "{\"text_1\":1,\"text_2\":[]}",
        "{\"text_1\":[\"a\"],\"text_2\":[1]}",
        "{\"inputs\":{}}",
        "{\"inputs\":[1]}",
        "{\"inputs\":[[\"a\",1]]}",
        "{\"inputs\":[[[]]]}",
        "{\"inputs\":[{\"text\":1}]}",
        "{\"text\":{}}",
        "{\"input_ids\":\"a\",\"text\":1}",
        "{\"model\":1,\"input\":\"a\",\"query\":[]}",
        "{\"input\":\"a\",\"truncate_prompt_tokens\":-2}",
        "{\"input\":\"a\",\"truncate_prompt_tokens\":1}",
        "{\"input\":\"a\",\"truncate_prompt_tokens\":\"x\"}",
        "{\"input\":\"a\",\"encoding_format\":7}",
        "{\"query\":\"a\",\"documents\":[\"b\"],\"top_n\":-1}",
        "{\"messages\":[\"a\"],\"max_length\":-1}",
    };
    int n_routes, refused = 0;
    const char *const *path = di_route_names(&n_routes);

    (void)state;
    for (int r = 0; r + 1 < n_routes; r++) {
        int fd = client_open(s.port);

        if (di_route_find(path[r])->parse == NULL) {
            close(fd);
            continue;
        }
        for (size_t i = 0; i < sizeof body / sizeof *body; i++) {
            answer a = client_send(fd, "POST", path[r], "", body[i], strlen(body[i]));
            json_t *v = a.status != 0 ? json_loads(a.body, JSON_DECODE_ANY, NULL) : NULL;

            if (v == NULL || (a.status != 200 && json_object_get(v, "error") == NULL) ||
                a.status >= 500)
                fail_msg("%s %s: %d %s", path[r], body[i], a.status,
                         a.body != NULL ? a.body : "no answer");
            refused += a.status != 200;
            json_decref(v);
            answer_free(&a);
        }
        close(fd);
    }
    assert_true(refused > 500);
    still_serves();
}

/* Two requests at once, and a request behind one that is refused. */
static void pipelined(void **state)
{
    static const char two[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                              "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    int fd = client_open(s.port);
    char data[4096];
    size_t n = 0;
    ssize_t k;

    (void)state;
    assert_true(send_all(fd, two, sizeof two - 1));
    while (n < sizeof data - 1 && (k = recv(fd, data + n, sizeof data - 1 - n, 0)) > 0)
        n += (size_t)k;
    data[n] = '\0';
    close(fd);
    assert_non_null(strstr(data, "HTTP/1.1 200"));
    assert_non_null(strstr(data, "HTTP/1.1 404"));
}

/* Many connections that say nothing do not keep others from being served. */
static void idle_connections(void **state)
{
    enum { N = 400 };
    int fd[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        fd[i] = client_open(s.port);
        assert_true(fd[i] >= 0);
    }
    still_serves();
    for (int i = 0; i < N; i++) close(fd[i]);
    still_serves();
}

/* ---- slow clients: a server of its own, without a model, that waits for tenths of a second ----
 */

typedef struct slow_server {
    di_server_options o;
    dial_env env;
    volatile int stop;
    atomic_int port;
    dial_status st;
    dial_error err;
} slow_server;

static void slow_ready(void *ctx, const char *url, int port, di_served *first)
{
    (void)url;
    (void)first;
    atomic_store(&((slow_server *)ctx)->port, port);
}

static void *slow_run(void *arg)
{
    slow_server *x = arg;

    x->st = di_serve(&x->o, &fake_opener, &x->env, &x->err);
    return NULL;
}

static void slow_clients(void **state)
{
    static const struct {
        const char *why, *data;
        int status;
    } rows[] = {
        {"a head that does not end", "POST /get_reward HTTP/1.1\r\nHost: x\r\nX-A: ", 408},
        {"a body that does not come",
         "POST /get_reward HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{\"que", 408},
        {"nothing at all", "", 0},
    };
    const char *run[] = {"none"};
    slow_server x = {.o = {.settings = {.max_inputs = 8, .batch_tokens = 64},
                           .run = run,
                           .n_runs = 1,
                           .host = "127.0.0.1",
                           .max_body = 1000,
                           .max_connections = 100,
                           .queue = 10,
                           .grace = 1,
                           .header_time = 0.3,
                           .body_time = 0.3,
                           .idle_time = 0.6,
                           .ready = slow_ready,
                           .ctx = &x}};
    pthread_t thread;

    (void)state;
    if (fake_tokenizer == NULL)
        assert_ok(di_tokenizer_open_hf(di_alloc_default(), TOY, &fake_tokenizer, &x.err), x.err);
    x.env = (dial_env){.allocator = &counted_allocator, .stop = &x.stop};
    pthread_create(&thread, NULL, slow_run, &x);
    while (atomic_load(&x.port) == 0) pause_ms(2);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = client_open(atomic_load(&x.port));
        answer a;

        assert_true(send_all(fd, rows[i].data, strlen(rows[i].data)));
        for (int k = 0; k < 12 && rows[i].status != 0;
             k++) { /* a byte now and then does not help */
            pause_ms(50);
            send(fd, "x", 1, MSG_NOSIGNAL);
        }
        a = client_read(fd);
        if (a.status != rows[i].status)
            fail_msg("%s: expected %d, found %d", rows[i].why, rows[i].status, a.status);
        if (a.status != 0) assert_non_null(strstr(a.body, "timeout_error"));
        answer_free(&a);
        close(fd);
    }
    flag_up(&x.stop);
    pthread_join(thread, NULL);
    assert_ok(x.st, x.err);
    di_tokenizer_close(fake_tokenizer);
}

/* ---- set-up ---- */

static int set_up(void **state)
{
    static const char *const one[] = {"a"};
    answer a;

    (void)state;
    count_json();
    make_folder("hostile");
    train_run("a", 1);
    files_before = open_files();
    atomic_store(&counted_blocks, 0);
    server_init(&s, one, 1);
    s.env.allocator = &counted_allocator;
    server_start(&s);
    files_serving = open_files();
    a = ask(s.port, "/get_reward", GOOD);
    snprintf(wanted, sizeof wanted, "%s", a.body);
    answer_free(&a);
    return 0;
}

/* The server ends in order and leaves nothing: neither memory nor descriptors. */
static void nothing_is_left(void **state)
{
    (void)state;
    assert_ok(server_stop(&s), s.err);
    assert_int_equal(atomic_load(&counted_blocks), 0);
    assert_int_equal(open_files(), files_before);
}

static int tear_down(void **state)
{
    (void)state;
    return remove_folder();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_at_every_byte), cmocka_unit_test(no_http),
        cmocka_unit_test(odd_bodies),        cmocka_unit_test(pipelined),
        cmocka_unit_test(idle_connections),  cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(slow_clients),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
