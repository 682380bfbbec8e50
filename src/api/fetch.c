#include "api/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

#ifdef DIAL_CURL
#include <curl/curl.h>

enum { REDIRECTS = 10, TRIES = 6, MOST_WAIT = 300, URL = 4096 };

/* Where a body goes. */
typedef struct sink {
    di_buf *text; /* a document, or */
    size_t most;
    FILE *file; /* a file that goes on at `at` */
    int64_t at, got;
    CURL *curl;
    const dial_env *env;
} sink;

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    sink *s = ctx;
    long code = 0;

    (void)size;
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 206) return n; /* the page of an error or a redirect */
    if (s->text != NULL) {
        if (s->text->size + n > s->most) return 0;
        di_buf_append(s->text, data, n);
        return s->text->failed ? 0 : n;
    }
    if (code == 200 && s->at > 0) { /* the server begins anew */
        if (fflush(s->file) != 0 || fseek(s->file, 0, SEEK_SET) != 0 ||
            ftruncate(fileno(s->file), 0) != 0)
            return 0;
        s->at = 0;
    }
    s->got += (int64_t)n;
    return fwrite(data, 1, n, s->file);
}

static int asked_to_stop(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const sink *s = ctx;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return di_stop_asked(s->env);
}

/* "scheme://host:port" of a URL, its port written out. ERR_NETWORK: it is none of http(s). */
static dial_status origin_of(const char *url, char *out, size_t size, dial_error *err)
{
    dial_status st = DIAL_OK;
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;

    if (u == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an address");
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        DI_FAIL_AT(err, DIAL_ERR_NETWORK, url, "check HF_ENDPOINT",
                   "expected an http or https address");
    snprintf(out, size, "%s://%s:%s", scheme, host, port);
done:
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return st;
}

dial_status di_fetch_open(di_fetcher *f, dial_error *err)
{
    dial_status st = DIAL_OK;
    char origin[512];

    DI_TRY(origin_of(f->origin, origin, sizeof origin, err));
    f->curl = curl_easy_init();
    if (f->curl == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for libcurl");
done:
    return st;
}

void di_fetch_close(di_fetcher *f)
{
    if (f->curl != NULL) curl_easy_cleanup(f->curl);
    f->curl = NULL;
}

/* One request without redirects; code 0: none was answered. */
static CURLcode request(di_fetcher *f, const char *url, const char *authorization, sink *to,
                        long *code)
{
    CURL *c = f->curl;
    struct curl_slist *headers = NULL;
    CURLcode rc;

    curl_easy_reset(c);
    to->curl = c;
    if (authorization != NULL) headers = curl_slist_append(NULL, authorization);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "dial/" DIAL_VERSION);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L); /* a minute of silence is a cut */
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, to);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, asked_to_stop);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, to);
    if (to->at > 0) {
        char range[64];

        snprintf(range, sizeof range, "%lld-", (long long)to->at);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
    rc = curl_easy_perform(c);
    *code = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, code);
    curl_slist_free_all(headers);
    return rc;
}

/* Follows redirects; the token goes along while the origin is the one it is for. */
static dial_status follow(di_fetcher *f, const char *url, sink *to, CURLcode *rc, long *code,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    char at[URL], home[512], origin[512], authorization[1024];
    char *next = NULL;

    DI_TRY(origin_of(f->origin, home, sizeof home, err));
    snprintf(at, sizeof at, "%s", url);
    if (f->token != NULL)
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %.900s", f->token);
    for (int k = 0; k <= REDIRECTS; k++) {
        DI_TRY(origin_of(at, origin, sizeof origin, err));
        *rc = request(f, at, f->token != NULL && strcmp(origin, home) == 0 ? authorization : NULL,
                      to, code);
        next = NULL;
        curl_easy_getinfo((CURL *)f->curl, CURLINFO_REDIRECT_URL, &next);
        if (*rc != CURLE_OK || *code < 300 || *code > 399 || next == NULL) goto done;
        if (strlen(next) >= sizeof at)
            DI_FAIL_AT(err, DIAL_ERR_NETWORK, origin, NULL, "a redirect to an address too long");
        memmove(at, next, strlen(next) + 1);
    }
    DI_FAIL_AT(err, DIAL_ERR_NETWORK, url, NULL, "more than %d redirects", REDIRECTS);
done:
    return st;
}

/* Seconds that pass in tenths, so that a signal ends them. */
static dial_status pause_for(const di_fetcher *f, double seconds, dial_error *err)
{
    dial_status st = DIAL_OK;
    const struct timespec tenth = {0, 100000000};

    for (; seconds > 0; seconds -= 0.1) {
        if (di_stop_asked(f->env)) DI_FAIL(err, DIAL_INTERRUPTED, "stopped");
        nanosleep(&tenth, NULL);
    }
done:
    return st;
}

/* What an answer that is no success means for the one who asked. */
static dial_status refused(const di_fetcher *f, const char *url, long code, dial_error *err)
{
    const char *hint = code == 401 || code == 403
                           ? f->token != NULL ? "the token in HF_TOKEN has to give access to it"
                                              : "set HF_TOKEN; accept its licence on the hub first"
                       : code == 404 ? "check name, revision and --kind"
                                     : "try again later";

    return di_error_set(err, DIAL_ERR_NETWORK, __FILE__, __LINE__, url, hint,
                        "the server answers %ld", code);
}

/*
 * Until the body is complete. A connection that is cut is taken up where it ended; what counts as a
 * try is one that brought nothing. 429 and 5xx: after as long as the server says.
 */
static dial_status fetch(di_fetcher *f, const char *url, sink *to, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int tries = 1;; tries++) {
        CURLcode rc = CURLE_OK;
        curl_off_t wait = 0;
        long code = 0;
        double seconds;

        to->got = 0;
        if (to->text != NULL) to->text->size = 0;
        DI_TRY(follow(f, url, to, &rc, &code, err));
        if (to->file != NULL && fflush(to->file) != 0)
            DI_FAIL(err, DIAL_ERR_IO, "cannot write: %s", strerror(errno));
        to->at += to->got;
        if (rc == CURLE_OK && (code == 200 || code == 206)) goto done;
        if (rc == CURLE_OK && code == 416 && to->at > 0) goto done; /* it was complete already */
        if (rc == CURLE_ABORTED_BY_CALLBACK) DI_FAIL(err, DIAL_INTERRUPTED, "stopped");
        if (rc == CURLE_WRITE_ERROR)
            DI_FAIL_AT(err, to->text != NULL ? DIAL_ERR_NETWORK : DIAL_ERR_IO, url, NULL,
                       to->text != NULL ? "the answer is larger than expected"
                                        : "cannot write: is the disk full?");
        if (rc == CURLE_OK && code != 429 && code < 500) {
            st = refused(f, url, code, err);
            goto done;
        }
        if (to->got > 0) tries = 0;
        if (tries == TRIES && rc == CURLE_OK) {
            st = refused(f, url, code, err);
            goto done;
        }
        if (tries == TRIES)
            DI_FAIL_AT(err, DIAL_ERR_NETWORK, url, "try again: what came is kept", "%s",
                       curl_easy_strerror(rc));
        curl_easy_getinfo((CURL *)f->curl, CURLINFO_RETRY_AFTER, &wait);
        seconds = wait > 0 ? (double)wait : to->got > 0 ? 0.1 : 0.1 * (1 << tries);
        if (seconds > MOST_WAIT) seconds = MOST_WAIT;
        di_log(f->env, DIAL_LOG_INFO, "%s; again in %.1f s",
               rc != CURLE_OK ? curl_easy_strerror(rc) : "the server asks for patience", seconds);
        DI_TRY(pause_for(f, seconds, err));
    }
done:
    return st;
}

dial_status di_fetch_text(di_fetcher *f, const char *url, size_t most, di_buf *out, dial_error *err)
{
    sink to = {.text = out, .most = most, .env = f->env};

    return fetch(f, url, &to, err);
}

dial_status di_fetch_file(di_fetcher *f, const char *url, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    sink to = {.env = f->env, .file = fopen(path, "ab")};

    if (to.file == NULL || fseek(to.file, 0, SEEK_END) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot write: %s", strerror(errno));
    to.at = (int64_t)ftell(to.file);
    DI_TRY(fetch(f, url, &to, err));
    if (fsync(fileno(to.file)) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot write: %s", strerror(errno));
done:
    if (to.file != NULL && fclose(to.file) != 0 && st == DIAL_OK)
        st = di_error_set(err, DIAL_ERR_IO, __FILE__, __LINE__, path, NULL, "cannot write: %s",
                          strerror(errno));
    return st;
}

#else

dial_status di_fetch_open(di_fetcher *f, dial_error *err)
{
    (void)f;
    return di_error_set(err, DIAL_ERR_USAGE, __FILE__, __LINE__, NULL,
                        "install libcurl (make deps) and build again",
                        "this build has no libcurl (DIAL_CURL)");
}

void di_fetch_close(di_fetcher *f)
{
    (void)f;
}

dial_status di_fetch_text(di_fetcher *f, const char *url, size_t most, di_buf *out, dial_error *err)
{
    (void)url;
    (void)most;
    (void)out;
    return di_fetch_open(f, err); /* never called: open refuses */
}

dial_status di_fetch_file(di_fetcher *f, const char *url, const char *path, dial_error *err)
{
    (void)url;
    (void)path;
    return di_fetch_open(f, err);
}

#endif
