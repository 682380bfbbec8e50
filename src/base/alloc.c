#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

/*
 * Block layout: [slack][header 64 bytes][user data]. The header holds the size asked for and the
 * address that the allocator returned, so that user data is aligned to a cache line whatever the
 * allocator's own alignment is.
 */
enum { ALIGN = 64 };

typedef struct header {
    void *base;
    size_t user_size;
} header;

static void *libc_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)old_size;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, new_size);
}

const di_alloc *di_alloc_default(void)
{
    static const di_alloc libc = {libc_resize, NULL};
    return &libc;
}

const di_alloc *di_env_alloc(const dial_env *env)
{
    return env != NULL && env->allocator != NULL ? env->allocator : di_alloc_default();
}

static header *header_of(void *p)
{
    return (header *)((char *)p - ALIGN);
}

void *di_new(const di_alloc *al, size_t n)
{
    size_t total;
    char *base, *user;

    if (!di_add_size(n, 2 * ALIGN, &total)) return NULL;
    base = al->resize(al->ctx, NULL, 0, total);
    if (base == NULL) return NULL;
    user = (char *)(((uintptr_t)base + 2 * ALIGN - 1) / ALIGN * ALIGN);
    header_of(user)->base = base;
    header_of(user)->user_size = n;
    return user;
}

void *di_zalloc(const di_alloc *al, size_t n)
{
    void *p = di_new(al, n);

    if (p != NULL) memset(p, 0, n);
    return p;
}

void *di_new_array(const di_alloc *al, size_t count, size_t size)
{
    size_t n;

    return di_mul_size(count, size, &n) ? di_zalloc(al, n) : NULL;
}

void *di_resize(const di_alloc *al, void *p, size_t n)
{
    void *q;

    if (p == NULL) return di_new(al, n);
    q = di_new(al, n); /* a moved block would lose its alignment, so copy instead of resize */
    if (q == NULL) return NULL;
    memcpy(q, p, n < header_of(p)->user_size ? n : header_of(p)->user_size);
    di_free(al, p);
    return q;
}

void di_free(const di_alloc *al, void *p)
{
    if (p != NULL) al->resize(al->ctx, header_of(p)->base, header_of(p)->user_size + 2 * ALIGN, 0);
}

char *di_strndup(const di_alloc *al, const char *s, size_t n)
{
    char *p = di_new(al, n + 1);

    if (p == NULL) return NULL;
    memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *di_strdup(const di_alloc *al, const char *s)
{
    return di_strndup(al, s, strlen(s));
}
