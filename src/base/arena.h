/*
 * A planned block of memory. First plan: di_arena_plan() adds up what will be taken. Then take:
 * di_arena_init() allocates the sum once and di_arena_take() hands out pieces; taking more than
 * was planned is a bug of ours and returns NULL. After that a step allocates nothing.
 */
#ifndef DI_BASE_ARENA_H
#define DI_BASE_ARENA_H

#include "base/alloc.h"

typedef struct di_arena {
    const di_alloc *al;
    char *base;
    size_t size, used;
} di_arena;

/* Bytes that one di_arena_take(n) uses: n rounded up to a cache line. */
size_t di_arena_bytes(size_t n);

/* Room for `size` bytes (a sum of di_arena_bytes). Contents are undefined. */
dial_status di_arena_init(di_arena *a, const di_alloc *al, size_t size, dial_error *err);
void di_arena_deinit(di_arena *a);

/* n bytes aligned to 64, valid until the arena is reset or deinitialised; NULL: not planned. */
void *di_arena_take(di_arena *a, size_t n);

/* Marks and releases in stack order: everything taken after the mark is given back. */
static inline size_t di_arena_mark(const di_arena *a)
{
    return a->used;
}
static inline void di_arena_release(di_arena *a, size_t mark)
{
    a->used = mark;
}

#endif
