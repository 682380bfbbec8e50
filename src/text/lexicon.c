#include "text/lexicon.h"

#include <string.h>

#include "base/error.h"

/* Eight bytes a step; the multiplier is 2^64 divided by the golden ratio. */
uint64_t di_hash(const char *s, size_t n)
{
    const uint64_t k = 0x9e3779b97f4a7c15u;
    uint64_t h = n * k, word;

    for (; n >= 8; n -= 8, s += 8) {
        memcpy(&word, s, 8);
        h = (h ^ word) * k;
        h ^= h >> 29;
    }
    if (n > 0) {
        word = 0;
        memcpy(&word, s, n);
        h = (h ^ word) * k;
        h ^= h >> 29;
    }
    h *= k;
    return h ^ h >> 32;
}

dial_status di_lexicon_init(di_lexicon *x, const di_alloc *al, size_t n, size_t bytes,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t slots = 16;

    *x = (di_lexicon){.al = al, .n = n, .pool_cap = bytes};
    while (slots / 2 < n) slots *= 2;
    x->mask = slots - 1;
    x->token = di_new_array(al, n, sizeof *x->token);
    x->pool = di_new(al, bytes);
    x->slot = di_new_array(al, slots, sizeof *x->slot);
    if (x->token == NULL || x->pool == NULL || x->slot == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a vocabulary of %zu tokens", n);
    for (size_t i = 0; i < slots; i++) x->slot[i].id = -1;
done:
    return st;
}

void di_lexicon_deinit(di_lexicon *x)
{
    if (x->al == NULL) return;
    di_free(x->al, x->token);
    di_free(x->al, x->pool);
    di_free(x->al, x->slot);
    *x = (di_lexicon){0};
}

/* The slot that holds the string, or the free one where it would stand. */
static di_lexicon_slot *slot_of(const di_lexicon *x, const char *s, size_t size, uint32_t hash)
{
    for (size_t i = hash & x->mask;; i = (i + 1) & x->mask) {
        di_lexicon_slot *slot = &x->slot[i];

        if (slot->id < 0) return slot;
        if (slot->hash == hash && x->token[slot->id].size == size &&
            memcmp(x->token[slot->id].data, s, size) == 0)
            return slot;
    }
}

int32_t di_lexicon_put(di_lexicon *x, int32_t id, const char *s, size_t size, int indexed)
{
    const uint32_t hash = (uint32_t)di_hash(s, size);
    di_lexicon_slot *slot = slot_of(x, s, size, hash);

    if (indexed) {
        if (slot->id >= 0) return slot->id;
        *slot = (di_lexicon_slot){hash, id};
    }
    if (size > 0) memcpy(x->pool + x->pool_n, s, size);
    x->token[id] = (di_str){x->pool + x->pool_n, size};
    x->pool_n += size;
    return -1;
}

int32_t di_lexicon_find(const di_lexicon *x, const char *s, size_t size)
{
    return slot_of(x, s, size, (uint32_t)di_hash(s, size))->id;
}
