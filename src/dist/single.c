/* One process: every sum is complete and every row is there already. */
#include "dist/single.h"

static dial_status exchange(const di_dist *d, dial_status mine, int leaving, dial_error *err)
{
    (void)d, (void)leaving, (void)err;
    return mine;
}

static dial_status gather(const di_dist *d, void *rows, size_t row_bytes, const int64_t *first,
                          dial_error *err)
{
    (void)d, (void)rows, (void)row_bytes, (void)first, (void)err;
    return DIAL_OK;
}

static dial_status broadcast(const di_dist *d, void *data, size_t n, dial_error *err)
{
    (void)d, (void)data, (void)n, (void)err;
    return DIAL_OK;
}

static dial_status reduce_begin(const di_dist *d, float *x, int64_t n, dial_error *err)
{
    (void)d, (void)x, (void)n, (void)err;
    return DIAL_OK;
}

static dial_status nothing(const di_dist *d, dial_error *err)
{
    (void)d, (void)err;
    return DIAL_OK;
}

static const di_transport transport = {.name = "single",
                                       .exchange = exchange,
                                       .gather = gather,
                                       .broadcast = broadcast,
                                       .reduce_begin = reduce_begin,
                                       .reduce_poll = nothing,
                                       .reduce_end = nothing};

const di_dist di_dist_single = {.t = &transport, .size = 1, .hosts = 1};
