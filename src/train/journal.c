#include "train/journal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

dial_status di_journal_read(const di_alloc *al, const char *path,
                            int (*visit)(void *ctx, const json_t *line), void *ctx, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL, *end;
    size_t n = 0;
    int64_t number = 1;

    DI_TRY(di_read_file(al, path, &text, &n, err));
    for (char *at = text; (end = memchr(at, '\n', (size_t)(text + n - at))) != NULL;
         at = end + 1, number++) {
        json_t *line = NULL;
        int go_on;

        DI_TRY(di_json_parse(at, (size_t)(end - at), path, number, &line, err));
        go_on = visit(ctx, line);
        json_decref(line);
        if (!go_on) break;
    }
done:
    di_free(al, text);
    return st;
}

typedef struct keep_ctx {
    di_buf *out;
    int64_t step;
    dial_status st;
    dial_error *err;
} keep_ctx;

static int keep_line(void *ctx, const json_t *line)
{
    keep_ctx *k = ctx;
    const char *event = json_string_value(json_object_get(line, "event"));
    json_t *step = json_object_get(line, "step");

    if (event == NULL || strcmp(event, "end") == 0) return 1;
    if (json_is_true(json_object_get(line, "final"))) return 1; /* what follows the last step */
    if (json_is_integer(step) && json_integer_value(step) > k->step) return 1;
    k->st = di_json_write(line, k->out, k->err);
    di_buf_append(k->out, "\n", 1);
    return k->st == DIAL_OK;
}

dial_status di_journal_open(di_journal *j, const di_alloc *al, const char *path, int64_t keep_step,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    di_journal x = {.al = al};
    di_buf kept;
    keep_ctx ctx = {&kept, keep_step, DIAL_OK, err};

    di_buf_init(&kept, al);
    di_buf_init(&x.line, al);
    if (keep_step >= 0 && di_exists(path)) DI_TRY(di_journal_read(al, path, keep_line, &ctx, err));
    DI_TRY(ctx.st);
    DI_TRY(di_write_file(al, path, kept.data != NULL ? kept.data : "", kept.size, err));
    x.path = di_strdup(al, path);
    if (x.path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    x.f = fopen(path, "abe");
    if (x.f == NULL) DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot append: %s", strerror(errno));
    *j = x;
    x = (di_journal){.al = al};
done:
    di_buf_deinit(&kept);
    if (st != DIAL_OK) di_journal_close(&x);
    return st;
}

dial_status di_journal_write(di_journal *j, json_t *value, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (value == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a line of the journal");
    if (j->f == NULL) goto done;
    j->line.size = 0;
    DI_TRY(di_json_write(value, &j->line, err));
    di_buf_append(&j->line, "\n", 1);
    DI_TRY(di_buf_status(&j->line, err));
    if (fwrite(j->line.data, 1, j->line.size, j->f) != j->line.size || fflush(j->f) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, j->path, "free some space, then run again with --resume",
                   "cannot write: %s", strerror(errno));
    DI_TRY(di_events_add(&j->events, value, err));
done:
    json_decref(value);
    return st;
}

dial_status di_journal_sync(di_journal *j, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (j->f == NULL) return DIAL_OK;
    if (fflush(j->f) != 0 || fsync(fileno(j->f)) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, j->path, "free some space, then run again with --resume",
                   "cannot write: %s", strerror(errno));
done:
    return st;
}

void di_journal_close(di_journal *j)
{
    if (j->f != NULL) fclose(j->f);
    di_events_close(&j->events);
    if (j->al != NULL) {
        di_free(j->al, j->path);
        di_buf_deinit(&j->line);
    }
    *j = (di_journal){0};
}
