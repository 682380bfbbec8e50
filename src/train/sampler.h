/*
 * Order of examples: pass p over n examples is the permutation of (seed, purpose, p). Only (pass,
 * at) is state, so a resumed run sees the same order.
 *
 * Where the examples have a rank, a pass goes over the first n of them by rank; n is state then
 * too.
 */
#ifndef DI_TRAIN_SAMPLER_H
#define DI_TRAIN_SAMPLER_H

#include "base/alloc.h"
#include "base/rng.h"

typedef struct di_sampler {
    const di_alloc *al;
    int64_t *perm;       /* [n] of the current pass */
    int64_t n;           /* >= 1; at most what it was initialised with */
    const int64_t *rank; /* borrowed: the example of rank k; NULL: k */
    uint64_t seed;
    di_purpose purpose;
    int64_t pass, at;
} di_sampler;

dial_status di_sampler_init(di_sampler *s, const di_alloc *al, int64_t n, uint64_t seed,
                            di_purpose purpose, dial_error *err);
void di_sampler_deinit(di_sampler *s);

/* Index of the next example; a new pass begins by itself. */
int64_t di_sampler_next(di_sampler *s);

/* From the next example on a pass over the first n by rank: a new one, unless n is the same. */
void di_sampler_open(di_sampler *s, int64_t n);

/* Continues at a saved position. */
void di_sampler_seek(di_sampler *s, int64_t pass, int64_t at);

#endif
