/* An allocator that fails from its n-th request on and counts the blocks that are out. */
#ifndef TEST_FAIL_ALLOC_H
#define TEST_FAIL_ALLOC_H

#include "test.h"

typedef struct fail_alloc {
    long left; /* requests until the first failure; < 0: never */
    long out;  /* blocks not given back */
} fail_alloc;

static void *fail_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    fail_alloc *f = ctx;

    (void)old_size;
    if (new_size == 0) {
        f->out -= p != NULL;
        free(p);
        return NULL;
    }
    if (f->left == 0) return NULL;
    if (f->left > 0) f->left--;
    f->out += p == NULL;
    return realloc(p, new_size);
}

#endif
