#include "api/resumed.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* The number behind {"i": ; -1: the line begins in another way. */
static int64_t index_of(const char *line, size_t n)
{
    static const char begin[] = "{\"i\":";
    const size_t size = sizeof begin - 1;
    int64_t i = 0;

    if (n <= size || memcmp(line, begin, size) != 0) return -1;
    for (size_t k = size; k < n && line[k] >= '0' && line[k] <= '9'; k++)
        i = i < INT64_MAX / 20 ? 10 * i + (line[k] - '0') : i;
    return i;
}

dial_status di_resumed_open(const di_alloc *al, const char *path, di_resumed *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_resumed r = {.al = al};
    di_map map = {0};
    const char *data, *end;
    size_t at = 0;

    if (!di_exists(path)) {
        *out = r;
        goto done;
    }
    DI_TRY(di_map_file(path, &map, err));
    data = (const char *)map.data;
    while (map.size > 0 && (end = memchr(data + at, '\n', map.size - at)) != NULL) {
        const size_t n = (size_t)(end - (data + at)) + 1;

        if (index_of(data + at, n) != r.rows)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s:%lld", path, (long long)r.rows + 1),
                       "name another file, or leave --resume out", "expected the line of row %lld",
                       (long long)r.rows);
        r.keep = at;
        r.last_size = n;
        r.rows++;
        at += n;
    }
    if (r.rows > 0) {
        r.last = di_strndup(al, data + r.keep, r.last_size);
        if (r.last == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a line of '%s'", path);
        r.rows--;
    }
    *out = r;
done:
    di_unmap(&map);
    return st;
}

void di_resumed_deinit(di_resumed *r)
{
    if (r->al != NULL) di_free(r->al, r->last);
    *r = (di_resumed){0};
}

dial_status di_resumed_check(const di_resumed *r, const char *path, const char *lines, size_t n,
                             dial_error *err)
{
    dial_status st = DIAL_OK;

    if (r->last != NULL && (n < r->last_size || memcmp(lines, r->last, r->last_size) != 0))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("%s:%lld", path, (long long)r->rows + 1),
                   "give the same model, data and flags, or leave --resume out",
                   "row %lld comes out otherwise than it stands there", (long long)r->rows);
done:
    return st;
}
