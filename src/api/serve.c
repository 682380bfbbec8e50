/* dial_serve: opens runs for the server, several on one base where they share it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/session.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "serve/server.h"

typedef struct serving {
    const dial_serve_options *opt;
    dial_env env; /* the caller's without progress: requests are not a job with an end */
    dial_write_fn write;
    void *ctx;
    double started;
    int write_failed;
} serving;

/* An open run. A lender that is closed while others use its base stays until they are gone. */
typedef struct opened {
    di_session s;
    struct opened *lender;
    int borrowers, closed;
} opened;

static void release(const di_alloc *al, opened *o)
{
    if (!o->closed || o->borrowers > 0) return;
    di_session_close(&o->s);
    di_free(al, o);
}

static void close_run(void *ctx, di_served *m)
{
    serving *v = ctx;
    const di_alloc *al = di_env_alloc(&v->env);
    opened *o = m->handle, *lender = o->lender;

    o->closed = 1;
    release(al, o);
    if (lender == NULL) return;
    lender->borrowers--;
    release(al, lender);
}

/* What stands in /info as the model's hash: that of the adapter. */
static dial_status hash_of(const di_session *s, char hex[65], dial_error *err)
{
    dial_status st = DIAL_OK;
    char *file = di_path_join(s->al, s->path, "adapter_model.safetensors");

    if (file == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_exists(file))
        DI_TRY(di_sha256_file(file, hex, err));
    else
        di_sha256(s->path, strlen(s->path), hex);
done:
    di_free(s->al, file);
    return st;
}

static void describe(const opened *o, di_served *out)
{
    const di_session *s = &o->s;
    const di_device *dev = o->lender != NULL ? &o->lender->s.dev : &s->dev;
    const json_t *stats = json_object_get(json_object_get(s->run, "reward_stats"), "source");
    struct stat file;

    out->tok = s->tok;
    out->policy = s->policy;
    out->params = &s->params;
    out->width = s->params.width;
    out->vocab = di_source_config(s->source)->vocab;
    out->shift = s->shift;
    out->scale = s->scale;
    out->applied = s->applied;
    out->mean = json_number_value(json_object_get(stats, "mean"));
    out->sd = json_number_value(json_object_get(stats, "std"));
    out->arch = di_source_config(s->source)->arch;
    out->dtype = s->int8 ? "int8" : dev->act == DI_BF16 ? "bfloat16" : "float32";
    out->device = dev->ops->name;
    out->text = json_object_get(s->run, "text");
    out->created = stat(s->path, &file) == 0 ? (int64_t)file.st_mtime : 0;
}

static dial_status open_run(void *ctx, const char *path, const di_served *beside, di_served *out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    serving *v = ctx;
    const di_alloc *al = di_env_alloc(&v->env);
    opened *o = di_zalloc(al, sizeof *o), *lender = beside != NULL ? beside->handle : NULL;
    int shared = 0;

    if (o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a run");
    if (lender != NULL && lender->lender != NULL) lender = lender->lender;
    if (lender != NULL)
        DI_TRY(di_session_open_on(&o->s, path, &v->opt->common, &lender->s, &v->env, &shared, err));
    if (shared)
        o->lender = lender;
    else
        DI_TRY(
            di_session_open(&o->s, path, &v->opt->common, DI_NEED_HEAD, NULL, NULL, &v->env, err));
    DI_TRY(hash_of(&o->s, out->sha256, err));
    describe(o, out);
    out->handle = o;
    if (o->lender != NULL) o->lender->borrowers++;
    o = NULL;
done:
    if (o != NULL && o->s.al != NULL) di_session_close(&o->s);
    di_free(al, o);
    return st;
}

/* Takes its place in the decoder and scores its self-test. */
static dial_status check_run(void *ctx, di_served *m, dial_error *err)
{
    dial_status st = DIAL_OK;
    opened *o = m->handle;
    int64_t n = 0;
    double worst = 0;
    int ok = 1;

    (void)ctx;
    DI_TRY(di_session_ready(&o->s, err));
    m->decoder = o->s.decoder;
    m->embedder = o->s.embedder;
    DI_TRY(di_session_selftest(&o->s, &n, &worst, &ok, err));
    if (!ok)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, o->s.path, "dial info --verify --model RUN",
                   "the self-test differs by %.3g from the scores of the training", worst);
    m->checked = n > 0;
done:
    return st;
}

/* ---- options ---- */

/* "120s", "2m", "500ms", "30" (seconds) */
static dial_status parse_duration(const char *flag, const char *text, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"h", 3600}};
    char *end;
    double x = strtod(text, &end);

    for (size_t i = 0; end != text && x >= 0 && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0) {
            *out = x * units[i].seconds;
            goto done;
        }
    DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", flag), "write 90s, 10m or 500ms",
               "expected a duration, found '%s'", text);
done:
    return st;
}

/* dial.sqlite in the folder that the run stands in; NULL: no memory. */
static char *default_store(const di_alloc *al, const char *run)
{
    size_t n = strlen(run);
    char *folder, *out;

    while (n > 1 && run[n - 1] == '/') n--;
    while (n > 0 && run[n - 1] != '/') n--;
    folder = n > 0 ? di_strndup(al, run, n) : di_strdup(al, ".");
    out = folder != NULL ? di_path_join(al, folder, "dial.sqlite") : NULL;
    di_free(al, folder);
    return out;
}

/* The first line of the file, without white space around it. */
static dial_status read_token(const di_alloc *al, const char *path, char **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL, *begin;
    size_t size, n;

    DI_TRY(di_read_file(al, path, &text, &size, err));
    begin = text + strspn(text, " \t");
    n = strcspn(begin, " \t\r\n");
    if (n == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "write the token into its first line",
                   "the file has no token");
    *out = di_strndup(al, begin, n);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the token");
done:
    di_free(al, text);
    return st;
}

static int is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
           strcmp(host, "::1") == 0;
}

static dial_status check_options(const dial_serve_options *o, dial_error *err)
{
    dial_status st = DIAL_OK;
    const struct {
        const char *flag;
        int64_t value, least, most;
    } ranges[] = {{"port", o->port, 0, 65535},
                  {"batch-tokens", o->common.batch_tokens, 16, 1 << 24},
                  {"max-wait-ms", o->max_wait_ms, 0, 60000},
                  {"queue", o->queue, 1, INT64_C(1) << 40},
                  {"max-inputs", o->max_inputs, 1, INT64_C(1) << 30},
                  {"max-body", o->max_body, 64, INT64_C(1) << 32},
                  {"max-connections", o->max_connections, 1, 1 << 20},
                  {"monitor", o->monitor, o->monitor > 0 ? DI_WINDOW_LEAST : 0, 10000000}};

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", ranges[i].flag), "dial serve --help",
                       "expected %lld to %lld, found %lld", (long long)ranges[i].least,
                       (long long)ranges[i].most, (long long)ranges[i].value);
    if (o->monitor_texts && o->monitor == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--monitor-texts", "dial serve RUN --monitor 10000 ...",
                   "there is no --monitor N whose texts could be kept");
    if (o->ensemble != NULL && o->runs.n < 2)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--ensemble", "dial serve RUN RUN --ensemble mean",
                   "an ensemble needs at least two runs");
done:
    return st;
}

static void on_ready(void *ctx, const char *url, int port, di_served *first)
{
    serving *v = ctx;
    json_t *doc =
        json_pack("{s:s, s:s, s:s, s:i, s:I, s:s}", "schema", "dial.serve/1", "event", "ready",
                  "url", url, "port", port, "pid", (json_int_t)getpid(), "model", first->name);
    di_buf line;

    di_buf_init(&line, di_env_alloc(&v->env));
    di_log(&v->env, DIAL_LOG_INFO, "%s (%s, %s, %s) ready on %s after %.1f s", v->opt->runs.item[0],
           first->arch,
           strcmp(first->dtype, "bfloat16") == 0  ? "bf16"
           : strcmp(first->dtype, "float32") == 0 ? "f32"
                                                  : first->dtype,
           first->device, url, di_now() - v->started);
    if (doc != NULL && v->write != NULL && di_json_write(doc, &line, NULL) == DIAL_OK) {
        di_buf_append(&line, "\n", 1);
        if (!line.failed) v->write_failed = v->write(v->ctx, line.data, line.size) != 0;
    }
    di_buf_deinit(&line);
    json_decref(doc);
}

dial_status dial_serve(const dial_serve_options *o, dial_write_fn write, void *ctx,
                       const dial_env *env, dial_error *err)
{
    dial_status st = DIAL_OK;
    serving v = {.opt = o, .write = write, .ctx = ctx, .started = di_now()};
    const di_alloc *al = di_env_alloc(env);
    const di_opener opener = {open_run, check_run, close_run, &v};
    di_server_options s = {
        .settings = {.embed_reward = strcmp(o->embeddings, "reward") == 0,
                     .truncate = strcmp(o->truncate, "prompt") == 0,
                     .activation = strcmp(o->activation, "sigmoid") == 0 ? DI_SIGMOID : DI_RAW,
                     .strict_model = o->strict_model,
                     .monitor = o->monitor > 0,
                     .max_inputs = o->max_inputs,
                     .batch_tokens = o->common.batch_tokens},
        .run = o->runs.item,
        .n_runs = o->runs.n,
        .name = o->name,
        .host = o->host,
        .port = (int)o->port,
        .token = o->token,
        .cors_origin = o->cors_origin,
        .max_body = o->max_body,
        .max_connections = o->max_connections,
        .queue = o->queue,
        .max_wait = 1e-3 * (double)o->max_wait_ms,
        .header_time = 10,
        .body_time = 30,
        .idle_time = 75,
        .access_log = o->access_log,
        .log_text = o->log_text,
        .monitor = {o->monitor, o->monitor_texts, o->store, o->ensemble != NULL},
        .reload = o->reload,
        .ready = on_ready,
        .ctx = &v};
    char *token = NULL, *store = NULL;

    if (env != NULL) v.env = *env;
    v.env.progress = NULL;
    if (o->ensemble != NULL)
        s.settings.ensemble = strcmp(o->ensemble, "min") == 0 ? DI_ENSEMBLE_MIN : DI_ENSEMBLE_MEAN;
    DI_TRY(check_options(o, err));
    DI_TRY(parse_duration("timeout", o->timeout, &s.timeout, err));
    DI_TRY(parse_duration("grace", o->grace, &s.grace, err));
    if (s.token == NULL && o->token_file != NULL) {
        DI_TRY(read_token(al, o->token_file, &token, err));
        s.token = token;
    }
    if (!is_loopback(o->host) && s.token == NULL && !o->insecure)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--host",
                   "give --token-file FILE or DIAL_API_KEY, or insist with --insecure",
                   "'%s' can be reached from other machines, and there is no token", o->host);
    if (o->monitor > 0 && o->store == NULL) {
        store = default_store(al, o->runs.item[0]);
        if (store == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        s.monitor.store = store;
    }
    DI_TRY(di_serve(&s, &opener, &v.env, err));
    if (v.write_failed) DI_FAIL(err, DIAL_ERR_IO, "cannot write the line that tells the address");
done:
    di_free(al, token);
    di_free(al, store);
    return st;
}
