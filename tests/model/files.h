/*
 * For tests of file readers: an allocator that fails on request and knows what is alive (jansson's
 * allocations go through it too), temporary folders, and files built in memory.
 */
#ifndef DIAL_TEST_FILES_H
#define DIAL_TEST_FILES_H

#include <jansson.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "test.h"

/* Allocation number fail_at (from 1) fails, and so do all later ones; 0: none fails. */
typedef struct fail_heap {
    long calls, fail_at, live;
} fail_heap;

static fail_heap heap;

static int heap_says_no(void)
{
    heap.calls++;
    return heap.fail_at > 0 && heap.calls >= heap.fail_at;
}

static void *heap_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)old_size;
    if (new_size == 0) {
        heap.live -= p != NULL;
        free(p);
        return NULL;
    }
    if (heap_says_no()) return NULL;
    heap.live += p == NULL;
    return realloc(p, new_size);
}

static void *heap_json_new(size_t n)
{
    if (heap_says_no()) return NULL;
    heap.live++;
    return malloc(n);
}

static void heap_json_free(void *p)
{
    heap.live -= p != NULL;
    free(p);
}

static const dial_allocator heap_alloc = {heap_resize, NULL};

/*
 * Runs try() with the first, the second, ... allocation failing until it succeeds. try returns the
 * status of the call under test and has freed all that it made. A failed call must report
 * ERR_NOMEM and leave nothing alive.
 */
static inline long fail_each_allocation(dial_status (*try)(void *arg, dial_error *err), void *arg)
{
    json_set_alloc_funcs(heap_json_new, heap_json_free);
    for (long at = 1;; at++) {
        dial_error err = {0};
        dial_status st;

        heap = (fail_heap){.fail_at = at};
        st = try(arg, &err);
        if (heap.live != 0) fail_msg("allocation %ld failed: %ld blocks leaked", at, heap.live);
        if (st == DIAL_OK) {
            json_set_alloc_funcs(malloc, free);
            heap = (fail_heap){0};
            if (at > 1) return at - 1;
            fail_msg("no allocation was seen");
        }
        if (st != DIAL_ERR_NOMEM)
            fail_msg("allocation %ld failed: status %d, %s (%s)", at, (int)st, err.message,
                     err.where);
    }
}

/* A new folder below the system's folder for temporary files. */
static inline void make_temp_dir(char path[256])
{
    const char *base = getenv("TMPDIR");

    snprintf(path, 256, "%s/dial-test-XXXXXX", base != NULL && *base != '\0' ? base : P_tmpdir);
    assert_non_null(mkdtemp(path));
}

static inline void remove_temp_dir(const char *path)
{
    dial_error err = {0};

    assert_ok(di_remove_tree(path, &err), err);
}

static inline void write_file(const char *path, const void *data, size_t n)
{
    dial_error err = {0};

    assert_ok(di_write_file(di_alloc_default(), path, data, n, &err), err);
}

/* A copy of exactly n bytes on the heap, so that a read behind its end is seen by the sanitizer. */
static inline unsigned char *copy_of(const void *data, size_t n)
{
    unsigned char *p = malloc(n > 0 ? n : 1);

    assert_non_null(p);
    if (n > 0) memcpy(p, data, n);
    return p;
}

/* The call fails with ERR_INPUT; message or where holds `part`, and there is a hint. */
#define assert_input_error(call, err, part)                                                        \
    do {                                                                                           \
        dial_status st_ = (call);                                                                  \
        if (st_ != DIAL_ERR_INPUT)                                                                 \
            fail_msg("%s: status %d, expected an input error about '%s' (%s)", #call, (int)st_,    \
                     (part), (err).message);                                                       \
        if (strstr((err).message, (part)) == NULL && strstr((err).where, (part)) == NULL)          \
            fail_msg("%s: '%s' (%s) does not speak of '%s'", #call, (err).message, (err).where,    \
                     (part));                                                                      \
        if ((err).hint[0] == '\0') fail_msg("%s: '%s' has no hint", #call, (err).message);         \
    } while (0)

#endif
