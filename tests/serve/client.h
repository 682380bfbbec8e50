/*
 * A real server in a thread of the test, and a client with real sockets. The server serves runs
 * that the test has trained on the toy model, on a port of its own.
 */
#ifndef DIAL_TEST_SERVE_CLIENT_H
#define DIAL_TEST_SERVE_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "dial/dial.h"

#define TOY TEST_DIR "/fixtures/toy"

static char folder[64]; /* of this test program */

/* Trains DIR/name on the toy rows, with the given seed: another seed is another model. */
static inline void train_run(const char *name, int seed)
{
    dial_train_options o;
    dial_error err;
    const char *source = TOY "/source.jsonl", *target = TOY "/target.jsonl";
    char out[128], *json = NULL;

    snprintf(out, sizeof out, "%s/%s", folder, name);
    dial_options_default(dial_train_table, &o, sizeof o);
    o.base = TOY;
    o.out = out;
    o.source = (dial_list){&source, 1};
    o.target = (dial_list){&target, 1};
    o.steps = 6;
    o.lora_r = 2;
    o.lr = 0.02;
    o.critic_warmup = 1;
    o.critic_widths = "8,4";
    o.maps = 0;
    o.overwrite = 1;
    o.common.seed = seed;
    o.common.threads = 1;
    assert_ok(dial_train(&o, NULL, &json, &err), err);
    dial_free(NULL, json);
}

static inline void make_folder(const char *name)
{
    snprintf(folder, sizeof folder, "/tmp/dial-serve-%s-%d", name, (int)getpid());
    mkdir(folder, 0777);
}

static inline int remove_folder(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static inline void pause_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

/* ---- the server ---- */

typedef struct server {
    dial_serve_options o;
    const char *run[3];
    char path[3][128];
    volatile int stop, reload;
    atomic_int port; /* 0: not ready */
    dial_status st;
    dial_error err;
    dial_env env;
    pthread_t thread;
} server;

static inline int on_line(void *ctx, const char *line, size_t n)
{
    server *s = ctx;
    json_t *v = json_loadb(line, n, 0, NULL);

    assert_string_equal(json_string_value(json_object_get(v, "event")), "ready");
    atomic_store(&s->port, (int)json_integer_value(json_object_get(v, "port")));
    json_decref(v);
    return 0;
}

static inline void *run_server(void *arg)
{
    server *s = arg;

    s->st = dial_serve(&s->o, on_line, s, &s->env, &s->err);
    if (s->st != DIAL_OK) atomic_store(&s->port, -1);
    return NULL;
}

/* Defaults for the runs DIR/a, DIR/b ...; change o, then server_start. */
static inline void server_init(server *s, const char *const *name, int n)
{
    memset(s, 0, sizeof *s);
    dial_options_default(dial_serve_table, &s->o, sizeof s->o);
    for (int i = 0; i < n; i++) {
        snprintf(s->path[i], sizeof s->path[i], "%s/%s", folder, name[i]);
        s->run[i] = s->path[i];
    }
    s->o.runs = (dial_list){s->run, n};
    s->o.port = 0;
    s->o.common.threads = 1;
    s->o.common.batch_tokens = 256;
    s->o.max_wait_ms = 1;
    s->o.grace = "5s";
    s->o.reload = &s->reload;
    s->env.stop = &s->stop;
}

static inline void server_start(server *s)
{
    assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);
    while (atomic_load(&s->port) == 0) pause_ms(2);
    if (atomic_load(&s->port) < 0) fail_msg("%s (%s)", s->err.message, s->err.where);
}

/* Raises a flag that the server's thread reads: stop or reload. */
static inline void flag_up(volatile int *flag)
{
    __atomic_fetch_add(flag, 1, __ATOMIC_RELAXED);
}

/* Asks for the end and returns how it ended. */
static inline dial_status server_stop(server *s)
{
    flag_up(&s->stop);
    pthread_join(s->thread, NULL);
    return s->st;
}

/* ---- the client ---- */

typedef struct answer {
    int status;        /* 0: the connection ended without an answer */
    char *head, *body; /* of one block, both 0-terminated */
    size_t size;       /* of the body */
} answer;

static inline int client_open(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {60, 0};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* head and body go out apart */
    return fd;
}

static inline int send_all(int fd, const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

        if (k <= 0) return 0;
        p += k;
        n -= (size_t)k;
    }
    return 1;
}

/* The whole answer of one request; chunked answers do not occur. */
static inline answer client_read(int fd)
{
    answer a = {0, NULL, NULL, 0};
    size_t cap = 1 << 16, n = 0, length = 0;
    char *data = malloc(cap + 1), *end = NULL;

    assert_non_null(data);
    for (;;) {
        ssize_t k;

        if (end != NULL && n >= (size_t)(end - data) + 4 + length) break;
        if (n == cap) {
            size_t at = end != NULL ? (size_t)(end - data) : 0;

            cap *= 2;
            data = realloc(data, cap + 1);
            assert_non_null(data);
            if (end != NULL) end = data + at;
        }
        k = recv(fd, data + n, cap - n, 0);
        if (k <= 0) break;
        n += (size_t)k;
        data[n] = '\0';
        if (end == NULL && (end = strstr(data, "\r\n\r\n")) != NULL) {
            const char *text = strcasestr(data, "\r\ncontent-length:");

            if (text != NULL && text < end) length = strtoul(text + 17, NULL, 10);
            if (strncmp(data, "HTTP/1.1 100", 12) == 0) { /* "continue": the answer follows */
                n -= (size_t)(end + 4 - data);
                memmove(data, end + 4, n + 1);
                end = strstr(data, "\r\n\r\n");
                length = 0;
                text = end != NULL ? strcasestr(data, "\r\ncontent-length:") : NULL;
                if (text != NULL) length = strtoul(text + 17, NULL, 10);
            }
        }
    }
    if (end == NULL) {
        free(data);
        return a;
    }
    *end = '\0';
    a.status = (int)strtol(data + 9, NULL, 10);
    a.head = data;
    a.body = end + 4;
    a.size = n - (size_t)(a.body - data);
    return a;
}

static inline void answer_free(answer *a)
{
    free(a->head);
    *a = (answer){0, NULL, NULL, 0};
}

/* A request on an open connection; more: further header lines, each ended by CR LF. */
static inline answer client_send(int fd, const char *method, const char *path, const char *more,
                                 const char *body, size_t n)
{
    char head[1024];
    int k =
        snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n%s\r\n",
                 method, path, n, more);

    if (!send_all(fd, head, (size_t)k) || !send_all(fd, body, n)) {
        /* the answer may be there all the same */
    }
    return client_read(fd);
}

/* A request on a connection of its own. */
static inline answer ask_raw(int port, const char *method, const char *path, const char *more,
                             const char *body, size_t n)
{
    int fd = client_open(port);
    answer a;

    assert_true(fd >= 0);
    a = client_send(fd, method, path, more, body, n);
    close(fd);
    return a;
}

static inline answer ask(int port, const char *path, const char *body)
{
    return ask_raw(port, body != NULL ? "POST" : "GET", path, "", body != NULL ? body : "",
                   body != NULL ? strlen(body) : 0);
}

static inline void expect_status(int port, const char *path, const char *body, int status)
{
    answer a = ask(port, path, body);

    if (a.status != status)
        fail_msg("%s %.100s: expected %d, found %d: %.300s", path, body != NULL ? body : "", status,
                 a.status, a.body != NULL ? a.body : "no answer");
    answer_free(&a);
}

#endif
