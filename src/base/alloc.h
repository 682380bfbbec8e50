/*
 * The heap. Every block comes from a dial_allocator, is aligned to 64 bytes and remembers its
 * size, so that callers free it with the pointer alone while the allocator still learns both
 * sizes. No other file of dial calls malloc.
 */
#ifndef DI_BASE_ALLOC_H
#define DI_BASE_ALLOC_H

#include "dial/status.h"

typedef dial_allocator di_alloc;

/* The C library's heap. */
const di_alloc *di_alloc_default(void);

/* env->allocator, or the default where env or the member is NULL. */
const di_alloc *di_env_alloc(const dial_env *env);

/* n bytes, uninitialised / zeroed; NULL when memory is out. n == 0 gives a valid block. */
void *di_new(const di_alloc *al, size_t n);
void *di_zalloc(const di_alloc *al, size_t n);

/* count * size bytes, zeroed; NULL also when the product overflows. */
void *di_new_array(const di_alloc *al, size_t count, size_t size);

/* Resizes p (may be NULL), keeping its content; on failure NULL, and p stays valid. */
void *di_resize(const di_alloc *al, void *p, size_t n);

/* p may be NULL. */
void di_free(const di_alloc *al, void *p);

/* Copies of n bytes and a final 0 / of a string; NULL when memory is out. */
char *di_strndup(const di_alloc *al, const char *s, size_t n);
char *di_strdup(const di_alloc *al, const char *s);

/* Products and sums that report overflow: 1 and *out set if the result fits, else 0. */
static inline int di_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline int di_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
