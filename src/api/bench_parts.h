/*
 * Where a step's time goes: a table of operations that adds up the seconds of each family and hands
 * every call on to the device's own table. `dial bench --what train` runs a few steps under it.
 */
#ifndef DI_API_BENCH_PARTS_H
#define DI_API_BENCH_PARTS_H

#include "base/json.h"
#include "tensor/ops.h"

typedef enum di_part {
    DI_PART_PRODUCTS,  /* with frozen weights */
    DI_PART_ATTENTION, /* with RoPE */
    DI_PART_NORMS,
    DI_PART_GLU,
    DI_PART_LORA,
    DI_PART_CRITIC,
    DI_PART_OPTIMIZER, /* AdamW of LoRA, head and critic; clipping */
    DI_PART_MOVES,     /* embedding rows, conversions, pooling */
    DI_PART_COUNT
} di_part;

/* Lives on the caller's stack between di_parts_start and di_parts_stop. */
typedef struct di_parts {
    di_backend table; /* first: the device's ops point at it */
    const di_backend *real;
    double seconds[DI_PART_COUNT];
} di_parts;

void di_parts_start(di_parts *p, di_device *dev);
void di_parts_stop(di_parts *p, di_device *dev);

/* {"products": seconds, ..., "rest": seconds}; rest is what `total` seconds leave over. */
json_t *di_parts_json(const di_parts *p, double total);

#endif
