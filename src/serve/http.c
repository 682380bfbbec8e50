#include "serve/http.h"

#include "base/clock.h"
#include "base/error.h"

#ifdef DIAL_MICROHTTPD

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "serve/access_log.h"
#include "serve/write.h"

enum {
    THREADS = 4, /* read, parse, tokenise, write */
    BACKLOG = 4096,
    MAX_HEADER = 16 << 10,
    CONNECTION_MEMORY = 64 << 10, /* headers above MAX_HEADER are still read, to be answered */
    MAX_DISCARD = 64 << 20, /* of a refused body, so that the client gets to read the answer */
    BODIES = 64,            /* times max_body: what all bodies together may hold */
    SPARE_FILES = 64        /* descriptors for all that is no connection */
};

static const double look_every = 0.5;

/*
 * What a connection is doing, and since when: libmicrohttpd's own timeout counts from the last
 * byte, so a client that sends one byte a minute would stay for ever.
 */
typedef enum phase { IDLE, HEADER, BODY, BUSY } phase;
typedef struct connection {
    int fd;
    phase phase;
    double since;
    struct connection *next, **at;
} connection;

struct di_http {
    di_server *s;
    struct MHD_Daemon *daemon;
    int listener, port, quiesced;
    double began;         /* di_now() at the start */
    double looked;        /* when connections were last asked whether the client has gone */
    pthread_mutex_t lock; /* of the list of connections */
    connection *first;
    atomic_llong in_flight, held; /* requests; bytes of bodies */
};

/* A request from its headers to the last byte of its answer. */
typedef struct exchange {
    di_http *h;
    struct MHD_Connection *mhd;
    connection *c;
    const di_route *route; /* NULL: unknown path */
    char path[128];        /* as asked, cut */
    const char *method;
    di_call call;
    di_buf body, out;
    size_t body_size, discarded;
    double started;
    di_answer answer;
    int status;         /* of the answer; 0: not made */
    int waiting, close; /* it was given to the scheduler; the connection ends with it */
} exchange;

/* ---- connections ---- */

static void enter(di_http *h, connection *c, phase p)
{
    if (c == NULL) return;
    pthread_mutex_lock(&h->lock);
    c->phase = p;
    c->since = di_now();
    pthread_mutex_unlock(&h->lock);
}

static void on_connection(void *ctx, struct MHD_Connection *mhd, void **own,
                          enum MHD_ConnectionNotificationCode code)
{
    di_http *h = ctx;
    connection *c = *own;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        c = di_zalloc(h->s->al, sizeof *c);
        if (c == NULL) return; /* it lives without a limit of ours */
        c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c->since = di_now();
        pthread_mutex_lock(&h->lock);
        c->next = h->first;
        c->at = &h->first;
        if (c->next != NULL) c->next->at = &c->next;
        h->first = c;
        pthread_mutex_unlock(&h->lock);
        *own = c;
    } else if (c != NULL) { /* the descriptor is still open */
        pthread_mutex_lock(&h->lock);
        *c->at = c->next;
        if (c->next != NULL) c->next->at = c->at;
        pthread_mutex_unlock(&h->lock);
        di_free(h->s->al, c);
        *own = NULL;
    }
}

static connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return i != NULL ? i->socket_context : NULL;
}

/* The request line is there: its headers have to follow. */
static void *on_request_line(void *ctx, const char *uri, struct MHD_Connection *mhd)
{
    (void)uri;
    enter(ctx, connection_of(mhd), HEADER);
    return NULL;
}

/* The client has hung up, and all that it sent was read. */
static int has_gone(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void di_http_tick(di_http *h)
{
    static const char body[] = "{\"error\":{\"code\":408,\"type\":\"timeout_error\",\"message\":"
                               "\"the request did not arrive in time\",\"param\":null}}";
    char late[320];
    int size = snprintf(late, sizeof late,
                        "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
                        "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                        sizeof body - 1, body);
    const di_server_options *o = &h->s->opt;
    double now = di_now();
    int look = now - h->looked > look_every;

    if (look) h->looked = now;
    pthread_mutex_lock(&h->lock);
    for (connection *c = h->first; c != NULL; c = c->next) {
        double most = c->phase == HEADER ? o->header_time
                      : c->phase == BODY ? o->body_time
                                         : o->idle_time;

        if (c->phase == BUSY) continue;
        /*
         * libmicrohttpd 0.9.75 under epoll overlooks a client that hangs up together with its last
         * bytes, and would keep it until it is timed out. This makes it look once more.
         */
        if (look && now - c->since > look_every / 2 && has_gone(c->fd)) shutdown(c->fd, SHUT_RD);
        if (now - c->since < most) continue;
        /* libmicrohttpd writes nothing while it reads, so the socket is ours to answer on. */
        if (c->phase != IDLE) {
            send(c->fd, late, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
            di_metrics_reject(h->s->metrics, "slow");
        }
        shutdown(c->fd, SHUT_RDWR);
        c->phase = BUSY; /* once */
    }
    pthread_mutex_unlock(&h->lock);
}

/* ---- what is refused before a body is read ---- */

static di_answer refuse(exchange *x, di_answer a, const char *reason, const char *fmt, ...)
    DIAL_PRINTF(4, 5);
static di_answer refuse(exchange *x, di_answer a, const char *reason, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(x->call.fault.message, sizeof x->call.fault.message, fmt, ap);
    va_end(ap);
    di_metrics_reject(x->h->s->metrics, reason);
    return a;
}

static enum MHD_Result add_size(void *ctx, enum MHD_ValueKind kind, const char *key,
                                const char *value)
{
    size_t *n = ctx;

    (void)kind;
    *n += strlen(key) + (value != NULL ? strlen(value) : 0) + 4;
    return MHD_YES;
}

/* Time does not depend on where the two differ. */
static int equal_secrets(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned char differ = n != m;

    for (size_t i = 0; i < n; i++) differ |= (unsigned char)(a[i] ^ b[m > 0 ? i % m : 0]);
    return !differ;
}

static di_answer check_token(exchange *x)
{
    const char *token = x->h->s->opt.token;
    const char *given =
        MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);

    if (token == NULL || (x->route != NULL && x->route->open)) return DI_ANSWER_OK;
    if (given != NULL && strncasecmp(given, "Bearer ", 7) == 0 && equal_secrets(given + 7, token))
        return DI_ANSWER_OK;
    return refuse(x, DI_ANSWER_UNKNOWN_KEY, "token", "expected `Authorization: Bearer TOKEN`%s",
                  given != NULL ? ", found another token" : "");
}

static di_answer check_origin(exchange *x)
{
    const char *allowed = x->h->s->opt.cors_origin;
    const char *origin =
        MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);

    if (origin == NULL || (allowed != NULL && strcmp(origin, allowed) == 0)) return DI_ANSWER_OK;
    return refuse(x, DI_ANSWER_FORBIDDEN, "origin",
                  "pages of %.200s may not use this server (--cors-origin)", origin);
}

static di_answer check_content_type(exchange *x)
{
    static const char *const fine[] = {"application/json", "text/plain",
                                       "application/x-www-form-urlencoded", "multipart/form-data"};
    const char *type =
        MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    size_t n;

    if (type == NULL || type[0] == '\0') return DI_ANSWER_OK;
    n = strcspn(type, "; \t");
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (strlen(fine[i]) == n && strncasecmp(type, fine[i], n) == 0) return DI_ANSWER_OK;
    return refuse(x, DI_ANSWER_MEDIA_TYPE, "media_type",
                  "expected Content-Type: application/json, found %.100s", type);
}

/* What the headers already tell. */
static di_answer check_head(exchange *x)
{
    di_server *s = x->h->s;
    int head = strcmp(x->method, "HEAD") == 0, get = head || strcmp(x->method, "GET") == 0;
    const char *length =
        MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    size_t n = strlen(x->path);

    MHD_get_connection_values(x->mhd, MHD_HEADER_KIND | MHD_COOKIE_KIND, add_size, &n);
    if (n > MAX_HEADER)
        return refuse(x, DI_ANSWER_LARGE_HEADER, "header", "headers of %zu bytes, limit %d", n,
                      MAX_HEADER);
    DI_ASK(check_token(x));
    DI_ASK(check_origin(x));
    if (x->route == NULL)
        return refuse(x, DI_ANSWER_NOT_FOUND, "path", "there is no %.100s", x->path);
    if (strcmp(x->method, "OPTIONS") == 0) return DI_ANSWER_OK;
    if (x->route->parse != NULL ? strcmp(x->method, "POST") != 0 : !get)
        return refuse(x, DI_ANSWER_NO_METHOD, "method", "%s takes %s", x->route->path,
                      x->route->parse != NULL ? "POST" : "GET");
    if (!x->route->open && x->call.models == NULL)
        return refuse(x, DI_ANSWER_UNAVAILABLE, "loading", "the model is being loaded");
    if (x->route->parse == NULL) return DI_ANSWER_OK;
    if (atomic_load(&s->draining))
        return refuse(x, DI_ANSWER_UNAVAILABLE, "draining", "the server is going away");
    DI_ASK(check_content_type(x));
    if (length != NULL && strtoull(length, NULL, 10) > (uint64_t)s->opt.max_body)
        return refuse(x, DI_ANSWER_TOO_LARGE, "body", "the body is over %lld bytes",
                      (long long)s->opt.max_body);
    if (atomic_load(&x->h->held) > BODIES * s->opt.max_body)
        return refuse(x, DI_ANSWER_OVERLOADED, "bodies", "too many requests are being read");
    return DI_ANSWER_OK;
}

/* ---- answers ---- */

static void add_headers(exchange *x, struct MHD_Response *r)
{
    di_server *s = x->h->s;
    int metrics = x->route != NULL && strcmp(x->route->path, "/metrics") == 0 && x->status == 200;

    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE,
                            metrics ? "text/plain; version=0.0.4; charset=utf-8"
                                    : "application/json");
    if (x->answer == DI_ANSWER_OVERLOADED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    if (x->answer == DI_ANSWER_UNKNOWN_KEY)
        MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (x->answer == DI_ANSWER_NO_METHOD && x->route != NULL)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW,
                                x->route->parse != NULL ? "POST, OPTIONS" : "GET, HEAD, OPTIONS");
    if (s->opt.cors_origin != NULL && x->answer != DI_ANSWER_FORBIDDEN) {
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, s->opt.cors_origin);
        MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        MHD_add_response_header(r, "Access-Control-Allow-Headers", "authorization, content-type");
    }
    if (x->close || atomic_load(&s->draining))
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
}

/* Sends what stands in x->out; the buffer lives until the request is over. */
static enum MHD_Result reply(exchange *x)
{
    static const char nothing[] = "";
    struct MHD_Response *r;
    enum MHD_Result ok;

    if (x->answer != DI_ANSWER_OK) {
        int tei = x->call.tei;

        x->out.size = 0;
        x->status = di_answer_status(x->answer, tei);
        di_fault_write(&x->call.fault, x->answer, tei, &x->out);
    }
    if (x->out.failed) return MHD_NO; /* no memory for the answer: the connection ends */
    r = MHD_create_response_from_buffer(x->out.size,
                                        (void *)(uintptr_t)(x->out.data ? x->out.data : nothing),
                                        MHD_RESPMEM_PERSISTENT);
    if (r == NULL) return MHD_NO;
    add_headers(x, r);
    ok = MHD_queue_response(x->mhd, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return ok;
}

/* A finished or refused call -> its answer. */
static enum MHD_Result conclude(exchange *x)
{
    di_metrics *m = x->h->s->metrics;
    di_call *c = &x->call;

    if (x->answer == DI_ANSWER_OK && x->waiting) x->answer = di_call_finish(c);
    if (x->answer == DI_ANSWER_NUMERIC) di_metrics_count(m, DI_COUNT_NONFINITE, 1);
    if (x->answer == DI_ANSWER_OK) {
        c->seconds = di_now() - x->started;
        x->status = 200;
        c->write(c, &x->out);
        if (x->out.failed) {
            di_buf_deinit(&x->out);
            x->answer = refuse(x, DI_ANSWER_INTERNAL, "memory", "no memory for the answer");
        }
    }
    if (x->answer == DI_ANSWER_OK && !c->no_scores) {
        di_metrics_count(m, DI_COUNT_TEXTS, c->n);
        di_metrics_count(m, DI_COUNT_TOKENS, c->tokens);
        di_metrics_count(m, DI_COUNT_TRUNCATED, c->n_truncated);
        for (int64_t i = 0; i < c->n; i++)
            di_metrics_observe(m, DI_HIST_REWARD, (double)c->value[i]);
        di_monitor_offer(x->h->s->monitor, c);
    }
    return reply(x);
}

/* On the scheduler's thread: the HTTP thread goes on where it stopped. */
static void on_done(di_job *job)
{
    exchange *x = job->ctx;

    MHD_resume_connection(x->mhd);
}

/* ---- the way of a request ---- */

/* An id that no other request of this server has, for answers that carry one. */
static void name_call(di_call *c, const di_http *h)
{
    static atomic_ullong counter;
    uint64_t key[3] = {(uint64_t)(h->s->started * 1e6), atomic_fetch_add(&counter, 1),
                       (uint64_t)getpid()};
    uint64_t low = di_fnv1a(key, sizeof key), high;

    key[2] ^= low;
    high = di_fnv1a(key, sizeof key);
    snprintf(c->id, sizeof c->id, "%016llx%016llx", (unsigned long long)high,
             (unsigned long long)low);
    c->created = (int64_t)(h->s->started + di_now() - h->began);
}

/* The body is complete: texts to ids, ids to the scheduler. */
static enum MHD_Result submit(exchange *x)
{
    di_call *c = &x->call;
    di_server *s = x->h->s;

    name_call(c, x->h);
    x->answer = di_route_parse(x->route, c, x->body.data != NULL ? x->body.data : "", x->body.size);
    if (x->answer == DI_ANSWER_OK) x->answer = di_call_prepare(c);
    if (x->answer != DI_ANSWER_OK || c->n == 0 || c->no_scores) return conclude(x);
    c->job.done = on_done;
    c->job.ctx = x;
    c->job.deadline = s->opt.timeout > 0 ? x->started + s->opt.timeout : 0;
    x->waiting = 1;
    MHD_suspend_connection(x->mhd);
    if (!di_scheduler_submit(s->scheduler, &c->job)) {
        x->answer = refuse(x, DI_ANSWER_OVERLOADED, "queue", "the queue is full");
        MHD_resume_connection(x->mhd);
    }
    return MHD_YES;
}

static enum MHD_Result show_page(exchange *x)
{
    x->status = x->route->page(x->h->s, &x->out);
    return reply(x);
}

/* Takes in a piece of the body, or reads past it if the request is refused already. */
static enum MHD_Result take_body(exchange *x, const char *data, size_t *n)
{
    di_server *s = x->h->s;

    if (x->answer == DI_ANSWER_OK && x->body.size + *n > (size_t)s->opt.max_body) {
        x->answer = refuse(x, DI_ANSWER_TOO_LARGE, "body", "the body is over %lld bytes",
                           (long long)s->opt.max_body);
        x->close = 1;
    }
    x->body_size += *n;
    if (x->answer == DI_ANSWER_OK) {
        di_buf_append(&x->body, data, *n);
        atomic_fetch_add(&x->h->held, (long long)*n);
        if (x->body.failed)
            x->answer = refuse(x, DI_ANSWER_INTERNAL, "memory", "no memory for the body");
    } else if ((x->discarded += *n) > MAX_DISCARD)
        return MHD_NO;
    *n = 0;
    return MHD_YES;
}

static exchange *begin(di_http *h, struct MHD_Connection *mhd, const char *url, const char *method)
{
    exchange *x = di_zalloc(h->s->al, sizeof *x);

    if (x == NULL) return NULL;
    x->h = h;
    x->mhd = mhd;
    x->c = connection_of(mhd);
    x->route = di_route_find(url);
    x->method = method;
    snprintf(x->path, sizeof x->path, "%s", url);
    x->started = di_now();
    di_buf_init(&x->body, h->s->al);
    di_buf_init(&x->out, h->s->al);
    /* while they are opened: none, and check_head refuses what would need them */
    di_call_init(&x->call, h->s->al, &h->s->opt.settings,
                 atomic_load(&h->s->ready) ? h->s->models : NULL);
    x->call.tei = x->route != NULL && x->route->tei;
    atomic_fetch_add(&h->in_flight, 1);
    return x;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **own)
{
    exchange *x = *own;

    (void)version;
    if (x == NULL) {
        x = *own = begin(ctx, mhd, url, method);
        if (x == NULL) return MHD_NO;
        x->answer = check_head(x);
        enter(x->h, x->c, BODY);
        x->close = x->answer == DI_ANSWER_TOO_LARGE;
        /* One that waits for leave to send its body gets the answer instead. */
        if (x->answer != DI_ANSWER_OK &&
            MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) != NULL)
            return reply(x);
        return MHD_YES;
    }
    if (*n > 0) return take_body(x, data, n);
    enter(x->h, x->c, BUSY);
    if (x->waiting) return conclude(x);
    if (x->answer != DI_ANSWER_OK) return reply(x);
    if (strcmp(method, "OPTIONS") == 0) {
        x->status = MHD_HTTP_NO_CONTENT;
        return reply(x);
    }
    return x->route->page != NULL ? show_page(x) : submit(x);
}

static void remote_address(struct MHD_Connection *mhd, char *out, size_t size)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    if (i == NULL || getnameinfo(i->client_addr,
                                 i->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                                       : sizeof(struct sockaddr_in),
                                 out, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(out, size, "?");
}

static void on_completed(void *ctx, struct MHD_Connection *mhd, void **own,
                         enum MHD_RequestTerminationCode code)
{
    di_http *h = ctx;
    exchange *x = *own;
    char remote[64];

    enter(h, connection_of(mhd), IDLE);
    if (x == NULL) return;
    remote_address(mhd, remote, sizeof remote);
    /* 499: the client went away before it had its answer */
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK) x->status = 499;
    di_metrics_request(h->s->metrics, di_route_index(x->route), x->status, di_now() - x->started);
    di_access_log_write(h->s->log, &(di_access){remote, x->method, x->path, x->status, x->body_size,
                                                x->out.size, di_now() - x->started,
                                                x->call.n > 0 ? &x->call : NULL});
    atomic_fetch_sub(&h->held, (long long)x->body.size);
    di_call_deinit(&x->call);
    di_buf_deinit(&x->body);
    di_buf_deinit(&x->out);
    di_free(h->s->al, x);
    *own = NULL;
    atomic_fetch_sub(&h->in_flight, 1);
}

/* ---- listening ---- */

static dial_status listen_on(di_http *h, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *host = h->s->opt.host;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    char port[16], text[16];
    int on = 1, gai;

    snprintf(port, sizeof port, "%d", h->s->opt.port);
    gai = getaddrinfo(host, port, &hints, &list);
    if (gai != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--host", "give an address of this machine", "'%s': %s",
                   host, gai_strerror(gai));
    h->listener = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (h->listener < 0 || setsockopt(h->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(h->listener, list->ai_addr, list->ai_addrlen) != 0 ||
        listen(h->listener, BACKLOG) != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("%s:%s", host, port),
                   errno == EADDRINUSE ? "stop the other program, or give --port 0 for any port"
                                       : "give an address of this machine",
                   "cannot listen: %s", strerror(errno));
    if (getsockname(h->listener, (struct sockaddr *)&bound, &size) != 0 ||
        getnameinfo((struct sockaddr *)&bound, size, NULL, 0, text, sizeof text, NI_NUMERICSERV) !=
            0)
        DI_FAIL(err, DIAL_ERR_IO, "cannot find out the port");
    h->port = (int)strtol(text, NULL, 10);
done:
    if (list != NULL) freeaddrinfo(list);
    return st;
}

/* Descriptors for the connections asked for, or as many as the system gives. */
static int64_t connections(const di_server *s)
{
    struct rlimit r;
    rlim_t want = (rlim_t)s->opt.max_connections + SPARE_FILES;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return s->opt.max_connections;
    if (r.rlim_cur < want) {
        r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    if (r.rlim_cur >= want) return s->opt.max_connections;
    di_log(s->env, DIAL_LOG_WARN, "the system allows %lld open files: %lld connections",
           (long long)r.rlim_cur, (long long)r.rlim_cur - SPARE_FILES);
    return (int64_t)r.rlim_cur - SPARE_FILES;
}

static void on_mhd_log(void *ctx, const char *fmt, va_list ap)
{
    (void)ctx; /* complaints about clients; those who matter stand in the access log */
    (void)fmt;
    (void)ap;
}

dial_status di_http_new(di_server *s, di_http **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_http *h = di_zalloc(s->al, sizeof *h);

    if (h == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the server");
    h->s = s;
    h->listener = -1;
    h->began = di_now();
    pthread_mutex_init(&h->lock, NULL);
    DI_TRY(listen_on(h, err));
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        h->listener, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)connections(s), MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->opt.idle_time + 1,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_URI_LOG_CALLBACK,
        on_request_line, h, MHD_OPTION_END);
    if (h->daemon == NULL)
        DI_FAIL(err, DIAL_ERR_IO, "cannot start the HTTP server: %s", strerror(errno));
    *out = h;
    h = NULL;
done:
    di_http_free(h);
    return st;
}

void di_http_free(di_http *h)
{
    if (h == NULL) return;
    if (h->daemon != NULL) MHD_stop_daemon(h->daemon); /* closes the listener unless quiesced */
    if (h->listener >= 0 && (h->daemon == NULL || h->quiesced)) close(h->listener);
    pthread_mutex_destroy(&h->lock);
    di_free(h->s->al, h);
}

int di_http_port(const di_http *h)
{
    return h->port;
}

/*
 * Its threads may be about to wait for the listener again, so its number must not go to another
 * file: it is closed when they have ended, and deaf until then.
 */
void di_http_quiesce(di_http *h)
{
    h->quiesced = MHD_quiesce_daemon(h->daemon) != MHD_INVALID_SOCKET;
    if (h->quiesced) shutdown(h->listener, SHUT_RD);
}

int64_t di_http_in_flight(di_http *h)
{
    return atomic_load(&h->in_flight);
}

#else

dial_status di_http_new(di_server *s, di_http **out, dial_error *err)
{
    dial_status st = DIAL_OK;

    (void)s;
    (void)out;
    DI_FAIL_AT(err, DIAL_ERR_USAGE, "serve", "install libmicrohttpd-dev and build dial again",
               "this build of dial has no HTTP server");
done:
    return st;
}

void di_http_free(di_http *h)
{
    (void)h;
}

int di_http_port(const di_http *h)
{
    (void)h;
    return 0;
}

void di_http_quiesce(di_http *h)
{
    (void)h;
}

int64_t di_http_in_flight(di_http *h)
{
    (void)h;
    return 0;
}

void di_http_tick(di_http *h)
{
    (void)h;
}

#endif
