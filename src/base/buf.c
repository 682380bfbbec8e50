#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

void di_buf_init(di_buf *b, const di_alloc *al)
{
    *b = (di_buf){.al = al};
}

void di_buf_deinit(di_buf *b)
{
    if (b->al != NULL) di_free(b->al, b->data);
    *b = (di_buf){.al = b->al};
}

/* Room for n more bytes and the final 0. */
static int reserve(di_buf *b, size_t n)
{
    size_t need, cap;
    char *p;

    if (b->failed) return 0;
    if (!di_add_size(b->size, n, &need) || !di_add_size(need, 1, &need)) {
        b->failed = 1;
        return 0;
    }
    if (need <= b->cap) return 1;
    cap = b->cap < 256 ? 256 : b->cap;
    while (cap < need) cap += cap / 2;
    p = di_resize(b->al, b->data, cap);
    if (p == NULL) {
        b->failed = 1;
        return 0;
    }
    b->data = p;
    b->cap = cap;
    return 1;
}

void di_buf_append(di_buf *b, const void *data, size_t n)
{
    if (!reserve(b, n)) return;
    if (n > 0) memcpy(b->data + b->size, data, n);
    b->size += n;
    b->data[b->size] = '\0';
}

void di_buf_printf(di_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += (size_t)n;
    }
    va_end(again);
}

dial_status di_buf_status(const di_buf *b, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (b->failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu bytes of text", b->size);
done:
    return st;
}

char *di_buf_take(di_buf *b)
{
    char *p;

    if (b->failed || !reserve(b, 0)) {
        di_buf_deinit(b);
        return NULL;
    }
    b->data[b->size] = '\0';
    p = b->data;
    *b = (di_buf){.al = b->al};
    return p;
}
