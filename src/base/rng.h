/*
 * Random numbers by name: (seed, purpose, counter) names a number, so any thread, backend or
 * resumed run draws the same one, and no stream disturbs another. Philox4x32-10 (Salmon et al.,
 * Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011).
 */
#ifndef DI_BASE_RNG_H
#define DI_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a stream is for. Saved runs depend on these numbers: never renumber. */
typedef enum di_purpose {
    DI_RNG_LORA_INIT = 1,
    DI_RNG_HEAD_INIT = 2,
    DI_RNG_CRITIC_INIT = 3,
    DI_RNG_SOURCE_ORDER = 4,
    DI_RNG_TARGET_ORDER = 5,
    DI_RNG_GP_ALPHA = 6,
    DI_RNG_GP_PAIRING = 7,
    DI_RNG_DROPOUT = 8,
    DI_RNG_HELDOUT = 9,
    DI_RNG_WARMUP_ORDER = 10,
    DI_RNG_LIMIT = 11,
    DI_RNG_BOOTSTRAP = 12,
    DI_RNG_MAPS = 13,
    DI_RNG_TSNE = 14,
    DI_RNG_WEIGHTS = 15, /* random weights of `bench` on a config.json alone */
    DI_RNG_SELECT = 16,
    DI_RNG_TEXT_ORDER = 17, /* order of the two texts of an unlabelled pair */
    DI_RNG_SCALE = 18,      /* source pairs that the scale of --embed-norm coord is fixed on */
    DI_RNG_DIRECTIONS = 19, /* projections of the sliced Wasserstein distance */
    DI_RNG_VIEW = 20,       /* pairs that --layer auto looks at */
    DI_RNG_MATCHING = 21,   /* twos of the texts of a row with more than two */
    DI_RNG_LABELLED_ORDER = 22,
    DI_RNG_CROSSED_ORDER = 23,
    DI_RNG_CROSSING = 24,  /* foreign responses of cross-prompt negatives */
    DI_RNG_PICK = 25,      /* rows of `data pick` */
    DI_RNG_REFERENCE = 26, /* texts of a run's reference.safetensors */
    DI_RNG_GROUPING = 27,  /* twos of single texts of one prompt */
    DI_RNG_VARY = 28,      /* combinations of "vary" that a sweep draws */
    DI_RNG_PARALLEL_ORDER = 29
} di_purpose;

/* A stream: `at` is the index of the next 32-bit number and the only state; save and restore it. */
typedef struct di_rng {
    uint64_t seed;
    uint32_t purpose;
    uint32_t sub; /* distinguishes streams of one purpose: layer, epoch, ... */
    uint64_t at;
} di_rng;

/* The block function: key (2 words), counter (4 words) -> 4 words. */
void di_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

di_rng di_rng_make(uint64_t seed, di_purpose purpose, uint32_t sub);
uint32_t di_rng_u32(di_rng *r);
uint64_t di_rng_u64(di_rng *r);
double di_rng_uniform(di_rng *r);             /* [0, 1), 53 bits; consumes two numbers */
double di_rng_normal(di_rng *r);              /* N(0, 1) by Box-Muller; consumes four numbers */
uint64_t di_rng_below(di_rng *r, uint64_t n); /* uniform in 0..n-1, n >= 1 */
void di_rng_shuffle(di_rng *r, int64_t *v, int64_t n); /* Fisher-Yates */

#endif
