/*
 * The server from outside: real sockets, the toy model, every answer compared with what the library
 * gives for the same text, bit for bit, whatever else is being asked at the time.
 */
#include "test.h"

#include "client.h"

enum { N_TEXTS = 48, CLIENTS = 6, ROUNDS = 25 };

static char text[N_TEXTS][600];
static float alone[2][N_TEXTS]; /* the rewards by runs a and b, each text scored by itself */
static server s;

/* Texts of 1 to some 60 words, with shared beginnings and repeats. */
static void make_texts(void)
{
    static const char *const word[] = {"good",         " bad", " the",          " film", " 42",
                                       " caf\xc3\xa9", "\\n",  " \xe2\x98\x83", " a",    " it was"};

    for (int i = 0; i < N_TEXTS; i++) {
        unsigned x = (unsigned)(i / 3) * 2654435761U + 1; /* three of a kind share a beginning */
        int words = 1 + i % 7 * (i % 5) * 2;

        text[i][0] = '\0';
        for (int k = 0; k < words; k++) {
            x = x * 1664525U + 1013904223U;
            strcat(text[i], word[x >> 16 & 7]);
        }
        strcat(text[i], word[i % 10]);
    }
}

/* As the JSON string says it: "\\n" is a newline. */
static void plain(const char *in, char *out)
{
    while (*in != '\0') {
        if (in[0] == '\\' && in[1] == 'n') {
            *out++ = '\n';
            in += 2;
        } else
            *out++ = *in++;
    }
    *out = '\0';
}

static void score_alone(const char *name, float *reward)
{
    char path[128], bytes[600];
    dial_common_options common;
    dial_score_options o;
    dial_model *m = NULL;
    dial_error err;

    dial_options_default(dial_score_table, &o, sizeof o);
    common = o.common;
    common.threads = 1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(dial_model_open(path, &common, NULL, &m, &err), err);
    for (int i = 0; i < N_TEXTS; i++) {
        dial_text t = {.response = bytes};

        plain(text[i], bytes);
        assert_ok(dial_model_score(m, &t, 1, &reward[i], &err), err);
    }
    dial_model_close(m);
}

static int set_up(void **state)
{
    static const char *const both[] = {"a", "b"};

    (void)state;
    make_folder("server");
    train_run("a", 1);
    train_run("b", 2);
    make_texts();
    score_alone("a", alone[0]);
    score_alone("b", alone[1]);
    assert_true(alone[0][0] != alone[1][0]);
    server_init(&s, both, 2);
    server_start(&s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_ok(server_stop(&s), s.err);
    return remove_folder();
}

/* ---- the same bits ---- */

/* {"model": m, KEY: [texts first, first + step, ...]} into body; indices into at. */
static int make_body(char *body, size_t size, const char *key, const char *model, int first,
                     int step, int n, int *at)
{
    size_t used = (size_t)snprintf(body, size, "{\"model\":\"%s\",\"%s\":[", model, key);

    for (int k = 0; k < n; k++) {
        at[k] = (first + k * step) % N_TEXTS;
        used +=
            (size_t)snprintf(body + used, size - used, "%s\"%s\"", k > 0 ? "," : "", text[at[k]]);
    }
    snprintf(body + used, size - used, "]}");
    return n;
}

/* The k-th reward in an answer of get_reward, classify or embeddings of rewards. */
static float reward_in(const json_t *v, const char *path, int k)
{
    if (strcmp(path, "/get_reward") == 0)
        return (float)json_number_value(json_array_get(json_object_get(v, "rewards"), (size_t)k));
    v = json_array_get(json_object_get(v, "data"), (size_t)k);
    return (float)json_number_value(json_array_get(json_object_get(v, "probs"), 0));
}

typedef struct client {
    int number, failed;
    long texts;
} client;

static void *talk(void *arg)
{
    static const struct {
        const char *path, *key;
    } form[] = {{"/get_reward", "query"}, {"/classify", "input"}};
    client *c = arg;
    static _Thread_local char body[64 * 700];
    int fd = client_open(atomic_load(&s.port)), at[64];

    for (int round = 0; round < ROUNDS && !c->failed; round++) {
        int which = (c->number + round) % 2, run = (c->number / 2 + round) % 2;
        int n =
            make_body(body, sizeof body, form[which].key, run ? "b" : "a", c->number * 7 + round,
                      1 + round % 5, round % 9 == 0 ? 64 : 1 + round % 4, at);
        answer a = client_send(fd, "POST", form[which].path, "", body, strlen(body));
        json_t *v = a.status == 200 ? json_loads(a.body, 0, NULL) : NULL;

        c->failed = v == NULL;
        for (int k = 0; k < n && !c->failed; k++) {
            float r = reward_in(v, form[which].path, k);

            c->failed = memcmp(&r, &alone[run][at[k]], sizeof r) != 0;
        }
        c->texts += n;
        json_decref(v);
        answer_free(&a);
    }
    close(fd);
    return NULL;
}

/* Two runs, six connections, requests of 1 to 64 texts: each reward is that of the text alone. */
static void same_bits_under_load(void **state)
{
    pthread_t thread[CLIENTS];
    client c[CLIENTS] = {{0, 0, 0}};
    long texts = 0;

    (void)state;
    for (int i = 0; i < CLIENTS; i++) {
        c[i].number = i;
        pthread_create(&thread[i], NULL, talk, &c[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(c[i].failed, 0);
        texts += c[i].texts;
    }
    printf("%ld texts by %d clients, all with the bits of the text alone\n", texts, CLIENTS);
}

static void embeddings_and_rewards_agree(void **state)
{
    answer a = ask(atomic_load(&s.port), "/v1/embeddings",
                   "{\"model\":\"a\",\"input\":[\"good\",\"bad\"]}");
    json_t *v = json_loads(a.body, 0, NULL);
    const json_t *data = json_object_get(v, "data");

    (void)state;
    assert_int_equal(a.status, 200);
    assert_int_equal(json_array_size(data), 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(json_array_size(json_object_get(json_array_get(data, i), "embedding")) >= 16);
    json_decref(v);
    answer_free(&a);
}

/* ---- HTTP ---- */

static void pages(void **state)
{
    int port = atomic_load(&s.port);
    answer a;

    (void)state;
    a = ask(port, "/health", NULL);
    assert_string_equal(a.body, "{\"status\":\"ok\"}");
    assert_non_null(strcasestr(a.head, "content-type: application/json"));
    answer_free(&a);
    a = ask(port, "/ready", NULL);
    assert_string_equal(a.body, "{\"status\":\"ready\",\"queue\":0}");
    answer_free(&a);
    a = ask(port, "/v1/models", NULL);
    assert_non_null(strstr(a.body, "\"id\":\"a\""));
    assert_non_null(strstr(a.body, "\"id\":\"b\""));
    answer_free(&a);
    a = ask(port, "/info", NULL);
    assert_non_null(strstr(a.body, "\"selftest_ok\":true"));
    answer_free(&a);
    a = ask(port, "/metrics", NULL);
    assert_non_null(strcasestr(a.head, "content-type: text/plain; version=0.0.4"));
    assert_non_null(strstr(a.body, "dial_requests_total{endpoint=\"/health\",code=\"200\"}"));
    answer_free(&a);
}

static void one_connection_many_requests(void **state)
{
    int fd = client_open(atomic_load(&s.port));

    (void)state;
    for (int i = 0; i < 20; i++) {
        const char *path = i % 3 == 0 ? "/health" : i % 3 == 1 ? "/get_reward" : "/nope";
        const char *body = i % 3 == 1 ? "{\"query\":[\"good\"]}" : "";
        answer a = client_send(fd, i % 3 == 1 ? "POST" : "GET", path, "", body, strlen(body));

        assert_int_equal(a.status, i % 3 == 2 ? 404 : 200);
        answer_free(&a);
    }
    close(fd);
}

static void chunks_and_continue(void **state)
{
    static const char chunked[] =
        "POST /get_reward HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "8\r\n{\"query\"\r\n9\r\n:[\"good\"]\r\n1\r\n}\r\n0\r\n\r\n";
    int fd = client_open(atomic_load(&s.port));
    answer a;

    (void)state;
    assert_true(send_all(fd, chunked, sizeof chunked - 1));
    a = client_read(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    a = client_send(fd, "POST", "/get_reward", "Expect: 100-continue\r\n", "{\"query\":[]}", 12);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    close(fd);
}

static void methods_and_types(void **state)
{
    static const struct {
        const char *method, *path, *more, *body;
        int status;
        const char *head;
    } rows[] = {
        {"GET", "/classify", "", "", 405, "Allow: POST"},
        {"POST", "/health", "", "{}", 405, "Allow: GET"},
        {"PUT", "/get_reward", "", "{}", 405, "Allow: POST"},
        {"HEAD", "/health", "", "", 200, "Content-Length: 15"},
        {"POST", "/get_reward", "Content-Type: application/json; charset=utf-8\r\n",
         "{\"query\":[]}", 200, ""},
        {"POST", "/get_reward", "Content-Type: application/x-www-form-urlencoded\r\n",
         "{\"query\":[]}", 200, ""},
        {"POST", "/get_reward", "Content-Type: image/png\r\n", "{\"query\":[]}", 415, ""},
        {"POST", "/get_reward", "Origin: http://evil.example\r\n", "{\"query\":[]}", 403, ""},
        {"OPTIONS", "/get_reward", "", "", 204, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = client_open(atomic_load(&s.port));
        answer a;

        if (strcmp(rows[i].method, "HEAD") == 0) { /* a length, and no body behind it */
            shutdown(fd, SHUT_WR);
            close(fd);
            fd = client_open(atomic_load(&s.port));
            send_all(fd, "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 53);
            a = client_read(fd);
        } else
            a = client_send(fd, rows[i].method, rows[i].path, rows[i].more, rows[i].body,
                            strlen(rows[i].body));
        if (a.status != rows[i].status || strcasestr(a.head, rows[i].head) == NULL)
            fail_msg("%s %s %s: expected %d %s, found %d %s", rows[i].method, rows[i].path,
                     rows[i].more, rows[i].status, rows[i].head, a.status, a.head);
        answer_free(&a);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_under_load),
        cmocka_unit_test(embeddings_and_rewards_agree),
        cmocka_unit_test(pages),
        cmocka_unit_test(one_connection_many_requests),
        cmocka_unit_test(chunks_and_continue),
        cmocka_unit_test(methods_and_types),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
