#include "text/piece.h"

#include <string.h>

void di_rewriter_deinit(di_rewriter *w)
{
    if (w->al != NULL) {
        di_free(w->al, w->s);
        di_free(w->al, w->end);
    }
    *w = (di_rewriter){.al = w->al};
}

static int reserve(di_rewriter *w, size_t n)
{
    size_t need, cap, bytes;
    char *s;
    uint32_t *end;

    if (w->failed) return 0;
    if (w->cap - w->n >= n) return 1;
    if (!di_add_size(w->n, n, &need) || !di_add_size(need, need / 2 + 256, &cap) ||
        !di_mul_size(cap, sizeof *end, &bytes))
        goto failed;
    s = di_resize(w->al, w->s, cap);
    if (s == NULL) goto failed;
    w->s = s;
    end = di_resize(w->al, w->end, bytes);
    if (end == NULL) goto failed;
    w->end = end;
    w->cap = cap;
    return 1;
failed:
    w->failed = 1;
    return 0;
}

void di_rewriter_put(di_rewriter *w, const char *s, size_t n, uint32_t end)
{
    if (!reserve(w, n)) return;
    for (size_t i = 0; i < n; i++) {
        w->s[w->n + i] = s[i];
        w->end[w->n + i] = end;
    }
    w->n += n;
}

void di_rewriter_copy(di_rewriter *w, const di_piece *p, size_t from, size_t to)
{
    const size_t n = to - from;

    if (n == 0 || !reserve(w, n)) return;
    memcpy(w->s + w->n, p->s + from, n);
    if (p->end != NULL)
        memcpy(w->end + w->n, p->end + from, n * sizeof *w->end);
    else
        for (size_t i = 0; i < n; i++) w->end[w->n + i] = p->at + (uint32_t)(from + i + 1);
    w->n += n;
}
