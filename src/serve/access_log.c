#include "serve/access_log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "serve/write.h"

struct di_access_log {
    const di_alloc *al;
    const char *path;
    int with_texts;
    FILE *file;
    pthread_mutex_t lock;
};

dial_status di_access_log_new(const di_alloc *al, const char *path, int with_texts,
                              di_access_log **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_access_log *l = di_zalloc(al, sizeof *l);

    if (l == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the access log");
    *l = (di_access_log){.al = al, .path = path, .with_texts = with_texts};
    pthread_mutex_init(&l->lock, NULL);
    if (path != NULL) l->file = fopen(path, "ae");
    if (path != NULL && l->file == NULL)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, "give a file that can be written", "cannot open: %s",
                   strerror(errno));
    *out = l;
    l = NULL;
done:
    di_access_log_free(l);
    return st;
}

void di_access_log_free(di_access_log *l)
{
    if (l == NULL) return;
    if (l->file != NULL) fclose(l->file);
    pthread_mutex_destroy(&l->lock);
    di_free(l->al, l);
}

void di_access_log_reopen(di_access_log *l)
{
    FILE *next = l->path != NULL ? fopen(l->path, "ae") : NULL;

    if (next == NULL) return;
    pthread_mutex_lock(&l->lock);
    fclose(l->file);
    l->file = next;
    pthread_mutex_unlock(&l->lock);
}

static void put_texts(const di_call *c, di_buf *b)
{
    di_buf_printf(b, ",\"inputs\":[");
    for (int64_t i = 0; i < c->n; i++) {
        di_buf_printf(b, "%s{\"prompt\":", i > 0 ? "," : "");
        di_write_string(b, c->input[i].prompt, c->input[i].prompt_size);
        di_buf_printf(b, ",\"response\":");
        di_write_string(b, c->input[i].response, c->input[i].response_size);
        di_buf_printf(b, "}");
    }
    di_buf_append(b, "]", 1);
}

void di_access_log_write(di_access_log *l, const di_access *a)
{
    struct timespec now;
    struct tm utc;
    char when[32];
    di_buf b;

    if (l->path == NULL) return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    di_buf_init(&b, l->al);
    di_buf_printf(&b, "{\"time\":\"%s.%03dZ\",\"remote\":", when, (int)(now.tv_nsec / 1000000));
    di_write_text(&b, a->remote);
    di_buf_printf(&b, ",\"method\":");
    di_write_text(&b, a->method);
    di_buf_printf(&b, ",\"path\":");
    di_write_text(&b, a->path);
    di_buf_printf(&b, ",\"status\":%d,\"bytes_in\":%zu,\"bytes_out\":%zu,\"seconds\":%.6f",
                  a->status, a->bytes_in, a->bytes_out, a->seconds);
    if (a->call != NULL) {
        di_buf_printf(&b, ",\"texts\":%lld,\"tokens\":%lld,\"truncated\":%lld,\"waited\":%.6f",
                      (long long)a->call->n, (long long)a->call->tokens,
                      (long long)a->call->n_truncated, a->call->job.waited);
        if (a->call->echo != NULL) {
            di_buf_printf(&b, ",\"model\":");
            di_write_text(&b, a->call->echo);
        }
        if (l->with_texts) put_texts(a->call, &b);
    }
    di_buf_printf(&b, "}\n");
    if (!b.failed) {
        pthread_mutex_lock(&l->lock);
        fwrite(b.data, 1, b.size, l->file);
        fflush(l->file);
        pthread_mutex_unlock(&l->lock);
    }
    di_buf_deinit(&b);
}
