#include "base/rng.h"

#include <math.h>

enum { ROUNDS = 10 };

void di_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];

    for (int r = 0; r < ROUNDS; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

di_rng di_rng_make(uint64_t seed, di_purpose purpose, uint32_t sub)
{
    return (di_rng){seed, (uint32_t)purpose, sub, 0};
}

uint32_t di_rng_u32(di_rng *r)
{
    uint64_t block = r->at / 4;
    uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), r->purpose, r->sub};
    uint32_t out[4];

    di_philox(key, counter, out);
    return out[r->at++ % 4];
}

uint64_t di_rng_u64(di_rng *r)
{
    uint64_t low = di_rng_u32(r);

    return low | (uint64_t)di_rng_u32(r) << 32;
}

double di_rng_uniform(di_rng *r)
{
    return (double)(di_rng_u64(r) >> 11) * 0x1p-53;
}

double di_rng_normal(di_rng *r)
{
    double u = 1.0 - di_rng_uniform(r); /* (0, 1]: the logarithm stays finite */
    double v = di_rng_uniform(r);

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

uint64_t di_rng_below(di_rng *r, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* reject the incomplete last interval */
    uint64_t x;

    do {
        x = di_rng_u64(r);
    } while (x >= limit);
    return x % n;
}

void di_rng_shuffle(di_rng *r, int64_t *v, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)di_rng_below(r, (uint64_t)i + 1);
        int64_t t = v[i];

        v[i] = v[j];
        v[j] = t;
    }
}
