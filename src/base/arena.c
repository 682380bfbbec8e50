#include "base/arena.h"

#include "base/error.h"

enum { LINE = 64 };

size_t di_arena_bytes(size_t n)
{
    return (n + LINE - 1) / LINE * LINE;
}

dial_status di_arena_init(di_arena *a, const di_alloc *al, size_t size, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *base = di_new(al, size);

    if (base == NULL)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, NULL, "use a smaller --batch-tokens or --micro-batch",
                   "no memory for %zu bytes of workspace", size);
    *a = (di_arena){al, base, size, 0};
done:
    return st;
}

void di_arena_deinit(di_arena *a)
{
    di_free(a->al != NULL ? a->al : di_alloc_default(), a->base);
    *a = (di_arena){0};
}

void *di_arena_take(di_arena *a, size_t n)
{
    size_t need = di_arena_bytes(n);
    void *p;

    if (need < n || need > a->size - a->used) return NULL;
    p = a->base + a->used;
    a->used += need;
    return p;
}
