#include "train/sampler.h"

#include "base/error.h"

static void draw_pass(di_sampler *s)
{
    di_rng r = di_rng_make(s->seed, s->purpose, (uint32_t)s->pass);

    for (int64_t i = 0; i < s->n; i++) s->perm[i] = i;
    di_rng_shuffle(&r, s->perm, s->n);
}

dial_status di_sampler_init(di_sampler *s, const di_alloc *al, int64_t n, uint64_t seed,
                            di_purpose purpose, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t *perm = di_new_array(al, (size_t)n, sizeof *perm);

    if (perm == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)n);
    *s = (di_sampler){.al = al, .perm = perm, .n = n, .seed = seed, .purpose = purpose};
    draw_pass(s);
done:
    return st;
}

void di_sampler_deinit(di_sampler *s)
{
    if (s->al != NULL) di_free(s->al, s->perm);
    *s = (di_sampler){0};
}

int64_t di_sampler_next(di_sampler *s)
{
    if (s->at == s->n) di_sampler_seek(s, s->pass + 1, 0);
    return s->rank != NULL ? s->rank[s->perm[s->at++]] : s->perm[s->at++];
}

void di_sampler_open(di_sampler *s, int64_t n)
{
    if (n == s->n) return;
    s->n = n;
    di_sampler_seek(s, s->pass + 1, 0);
}

void di_sampler_seek(di_sampler *s, int64_t pass, int64_t at)
{
    s->pass = pass;
    s->at = at;
    draw_pass(s);
}
