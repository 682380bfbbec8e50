/* An allocator that counts its blocks, for the server and for jansson: what is left is a leak. */
#ifndef DIAL_TEST_SERVE_COUNTED_H
#define DIAL_TEST_SERVE_COUNTED_H

#include <dirent.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "dial/status.h"

static atomic_long counted_blocks;

static void *counted_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    void *p;

    (void)ctx;
    (void)old_size;
    if (new_size == 0) {
        if (ptr != NULL) atomic_fetch_sub(&counted_blocks, 1);
        free(ptr);
        return NULL;
    }
    if (ptr != NULL) return NULL; /* dial copies instead */
    p = malloc(new_size);
    if (p != NULL) atomic_fetch_add(&counted_blocks, 1);
    return p;
}

static void *counted_json_new(size_t n)
{
    return counted_resize(NULL, NULL, 0, n > 0 ? n : 1);
}

static void counted_json_free(void *p)
{
    counted_resize(NULL, p, 0, 0);
}

static const dial_allocator counted_allocator = {counted_resize, NULL};

/* Call it before anything else uses jansson. */
static inline void count_json(void)
{
    json_set_alloc_funcs(counted_json_new, counted_json_free);
}

/* Descriptors that this process has open. */
static inline int open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    if (d == NULL) return -1;
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n;
}

#endif
