#include "train/events.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

enum { VARINT = 0, DOUBLE = 1, BYTES = 2, FLOAT = 5 }; /* wire types */
enum { SIZE = 8, CHECK = 4 };                          /* of a frame */
static const char prefix[] = "events.out.tfevents.";

/* ---- frames ---- */

uint32_t di_events_check(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t c = 0xffffffffu;

    for (size_t i = 0; i < n; i++) { /* bit by bit: a line is a kilobyte */
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0); /* reflected */
    }
    c = ~c;
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* n low bytes of x, the lowest first. */
static void little(di_buf *out, uint64_t x, int n)
{
    unsigned char b[8];

    for (int i = 0; i < n; i++) b[i] = (unsigned char)(x >> 8 * i);
    di_buf_append(out, b, (size_t)n);
}

static void varint(di_buf *out, uint64_t x)
{
    unsigned char b[10];
    size_t n = 0;

    for (; x >= 0x80; x >>= 7) b[n++] = (unsigned char)(x | 0x80);
    b[n++] = (unsigned char)x;
    di_buf_append(out, b, n);
}

static void key(di_buf *out, int field, int wire)
{
    varint(out, (uint64_t)(field << 3 | wire));
}

static void bytes(di_buf *out, int field, const void *data, size_t n)
{
    key(out, field, BYTES);
    varint(out, n);
    di_buf_append(out, data, n);
}

/* A number of the line into the summary, by "a" "b" "c". */
static void add_value(di_events *e, const char *a, const char *b, const char *c, const json_t *v)
{
    float x = (float)json_number_value(v);
    uint32_t bits;

    if (!json_is_number(v) || !isfinite(x)) return;
    e->value.size = 0;
    key(&e->value, 1, BYTES);
    varint(&e->value, strlen(a) + strlen(b) + strlen(c));
    di_buf_printf(&e->value, "%s%s%s", a, b, c);
    key(&e->value, 2, FLOAT);
    memcpy(&bits, &x, sizeof bits);
    little(&e->value, bits, 4);
    bytes(&e->summary, 1, e->value.data, e->value.size);
}

static void summarise(di_events *e, const json_t *line)
{
    const char *event = json_string_value(json_object_get(line, "event")), *name, *flag;
    json_t *v;

    e->summary.size = 0;
    if (event == NULL) return;
    if (strcmp(event, "step") == 0)
        json_object_foreach ((json_t *)(uintptr_t)line, flag, v)
            if (strcmp(flag, "step") != 0) add_value(e, "train/", flag, "", v);
    name = json_string_value(json_object_get(line, "name"));
    if (strcmp(event, "eval") == 0 && name != NULL)
        add_value(e, "eval/", name, "/accuracy",
                  json_object_get(json_object_get(line, "result"), "accuracy"));
}

int di_events_frame(di_events *e, double wall_time, const char *version, const json_t *line)
{
    uint64_t bits, step = (uint64_t)json_integer_value(json_object_get(line, "step"));
    size_t at = e->frame.size, size;
    di_buf *b = &e->frame;

    summarise(e, line);
    if (version == NULL && e->summary.size == 0) return 0;
    little(b, 0, SIZE); /* known at the end */
    little(b, 0, CHECK);
    key(b, 1, DOUBLE);
    memcpy(&bits, &wall_time, sizeof bits);
    little(b, bits, 8);
    if (step > 0) { /* protobuf leaves a 0 out */
        key(b, 2, VARINT);
        varint(b, step);
    }
    if (version != NULL)
        bytes(b, 3, version, strlen(version));
    else
        bytes(b, 5, e->summary.data, e->summary.size);
    if (b->failed) return 1;
    size = b->size - at - SIZE - CHECK;
    for (int i = 0; i < SIZE; i++) b->data[at + (size_t)i] = (char)((uint64_t)size >> 8 * i);
    for (int i = 0; i < CHECK; i++)
        b->data[at + SIZE + (size_t)i] = (char)(di_events_check(b->data + at, SIZE) >> 8 * i);
    little(b, di_events_check(b->data + at + SIZE + CHECK, size), CHECK);
    return 1;
}

static dial_status write_frame(di_events *e, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (e->value.failed || e->summary.failed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", e->path);
    DI_TRY(di_buf_status(&e->frame, err));
    if (fwrite(e->frame.data, 1, e->frame.size, e->f) != e->frame.size || fflush(e->f) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, e->path, "free some space, then run again with --resume",
                   "cannot write: %s", strerror(errno));
done:
    e->frame.size = 0;
    return st;
}

/* ---- what an earlier process wrote ---- */

static uint64_t read_little(const char *p, int n)
{
    uint64_t x = 0;

    for (int i = n - 1; i >= 0; i--) x = x << 8 | (unsigned char)p[i];
    return x;
}

/* Step of a payload that di_events_frame wrote: behind the time, of 9 bytes with its key. */
static int64_t step_of(const char *payload, size_t n)
{
    uint64_t x = 0;

    if (n < 10 || payload[9] != (2 << 3 | VARINT)) return 0;
    for (size_t i = 10, shift = 0; i < n && shift < 64; i++, shift += 7) {
        x |= (uint64_t)(payload[i] & 0x7f) << shift;
        if ((payload[i] & 0x80) == 0) break;
    }
    return (int64_t)x;
}

/* Bytes of the file up to the first frame that is of a later step, or not whole. */
static size_t kept_of(const char *data, size_t size, int64_t keep_step)
{
    size_t at = 0;

    while (size - at >= SIZE + CHECK) {
        uint64_t n = read_little(data + at, SIZE);
        const char *payload = data + at + SIZE + CHECK;

        if (n > size - at - SIZE - CHECK || size - at - SIZE - CHECK - n < CHECK ||
            read_little(payload + n, CHECK) != di_events_check(payload, n) ||
            step_of(payload, n) > keep_step)
            break;
        at += SIZE + CHECK + n + CHECK;
    }
    return at;
}

/* The newest event file of the run, cut to what is kept; e->path stays NULL where there is none. */
static dial_status continue_file(di_events *e, const char *run, int64_t keep_step, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **names = NULL, *data = NULL;
    const char *newest = NULL;
    size_t n = 0, size, kept;

    DI_TRY(di_list_dir(e->al, run, &names, &n, err));
    for (size_t i = 0; i < n; i++) /* sorted, and TIME has one length until the year 2286 */
        if (strncmp(names[i], prefix, strlen(prefix)) == 0) newest = names[i];
    if (newest == NULL) goto done;
    e->path = di_path_join(e->al, run, newest);
    if (e->path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_read_file(e->al, e->path, &data, &size, err));
    kept = kept_of(data, size, keep_step);
    if (kept < size && truncate(e->path, (off_t)kept) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, e->path, NULL, "cannot cut the file: %s", strerror(errno));
done:
    di_free(e->al, data);
    di_free_names(e->al, names, n);
    return st;
}

/* ---- the file ---- */

dial_status di_events_open(di_events *e, const di_alloc *al, const char *run, int64_t keep_step,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    di_events x = {.al = al};
    char host[65] = "", name[128];
    int fresh;

    di_buf_init(&x.value, al);
    di_buf_init(&x.summary, al);
    di_buf_init(&x.frame, al);
    if (keep_step >= 0) DI_TRY(continue_file(&x, run, keep_step, err));
    fresh = x.path == NULL;
    if (fresh) {
        if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
            snprintf(host, sizeof host, "localhost");
        snprintf(name, sizeof name, "%s%010lld.%s", prefix, (long long)time(NULL), host);
        x.path = di_path_join(al, run, name);
        if (x.path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    }
    x.f = fopen(x.path, "abe");
    if (x.f == NULL)
        DI_FAIL_AT(err, DIAL_ERR_IO, x.path, NULL, "cannot append: %s", strerror(errno));
    if (fresh) {
        di_events_frame(&x, (double)time(NULL), "brain.Event:2", NULL);
        DI_TRY(write_frame(&x, err));
    }
    *e = x;
    x = (di_events){.al = al};
done:
    if (st != DIAL_OK) di_events_close(&x);
    return st;
}

dial_status di_events_add(di_events *e, const json_t *line, dial_error *err)
{
    dial_status st = DIAL_OK;
    struct timespec now;

    if (e->f == NULL) return DIAL_OK;
    clock_gettime(CLOCK_REALTIME, &now);
    if (di_events_frame(e, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, NULL, line))
        DI_TRY(write_frame(e, err));
done:
    return st;
}

void di_events_close(di_events *e)
{
    if (e->f != NULL) fclose(e->f);
    if (e->al != NULL) {
        di_free(e->al, e->path);
        di_buf_deinit(&e->value);
        di_buf_deinit(&e->summary);
        di_buf_deinit(&e->frame);
    }
    *e = (di_events){0};
}
