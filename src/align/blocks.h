/* Memory of a method: zeroed blocks taken when it is made, freed together. */
#ifndef DI_ALIGN_BLOCKS_H
#define DI_ALIGN_BLOCKS_H

#include "base/alloc.h"

enum { DI_BLOCKS_MAX = 24 };

typedef struct di_blocks {
    const di_alloc *al;
    void *block[DI_BLOCKS_MAX];
    int n, failed;
} di_blocks;

/* count elements; NULL, and failed is set, when memory (or the table) is out. */
static inline void *di_blocks_take(di_blocks *b, int64_t count, size_t size)
{
    void *p = b->n < DI_BLOCKS_MAX ? di_new_array(b->al, (size_t)count, size) : NULL;

    if (p == NULL)
        b->failed = 1;
    else
        b->block[b->n++] = p;
    return p;
}

static inline float *di_blocks_floats(di_blocks *b, int64_t count)
{
    return di_blocks_take(b, count, sizeof(float));
}

static inline double *di_blocks_doubles(di_blocks *b, int64_t count)
{
    return di_blocks_take(b, count, sizeof(double));
}

static inline void di_blocks_free(di_blocks *b)
{
    for (int i = 0; i < b->n; i++) di_free(b->al, b->block[i]);
    b->n = 0;
}

#endif
