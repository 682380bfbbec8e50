/*
 * Single texts of equal prompt become pairs (method.md 8.1): what is aligned are differences of
 * texts of one prompt, and traffic that asks about a prompt again has them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/dataset.h"

/* A single text that has a prompt. */
typedef struct single {
    uint64_t prompt, key, hash; /* key: a draw by seed and text */
    int64_t example;
    int64_t partner; /* example of the other text; -1: none */
} single;

static int by_prompt(const void *a, const void *b)
{
    const single *x = a, *y = b;

    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->example < y->example ? -1 : x->example > y->example;
}

/* The draw of a text: it depends on seed and text alone, not on its place in the file. */
static uint64_t draw_of(uint64_t seed, uint64_t hash)
{
    di_rng r = di_rng_make(seed, DI_RNG_GROUPING, 0);

    r.at = hash << 1;
    return di_rng_u64(&r);
}

/* All single texts with a prompt, those of one prompt side by side in the order of their draws. */
static int64_t list_singles(const di_dataset *d, uint64_t seed, single *out)
{
    const uint64_t none = di_fnv1a("", 0); /* no prompt, or no border that says what it is */
    int64_t n = 0;

    for (int64_t i = 0; i < d->n; i++) {
        const di_seq *q = &d->seq[d->text_of[d->example[i].first]];

        if (d->example[i].kind != DI_ROW_SINGLE || q->prompt_hash == none) continue;
        out[n++] = (single){q->prompt_hash, draw_of(seed, q->hash), q->hash, i, -1};
    }
    qsort(out, (size_t)n, sizeof *out, by_prompt);
    return n;
}

/* Twos of neighbours of one prompt; partner [d->n]: the other example, -1: none. */
static void match(const single *x, int64_t n, int64_t *partner)
{
    for (int64_t i = 0; i + 1 < n; i++) {
        if (x[i].prompt != x[i + 1].prompt || x[i].hash == x[i + 1].hash) continue;
        partner[x[i].example] = x[i + 1].example;
        partner[x[i + 1].example] = x[i].example;
        i++;
    }
}

dial_status di_dataset_group_singles(di_dataset *d, uint64_t seed, dial_error *err)
{
    dial_status st = DIAL_OK;
    single *x = di_new_array(d->al, (size_t)d->n, sizeof *x);
    int64_t *partner = di_new_array(d->al, (size_t)d->n, sizeof *partner), out = 0;
    int32_t *text_of = di_new_array(d->al, (size_t)d->n, sizeof *text_of), *old, texts = 0;

    if (x == NULL || partner == NULL || text_of == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to group %lld rows", (long long)d->n);
    for (int64_t i = 0; i < d->n; i++) {
        if (d->example[i].n_texts > 1) goto done; /* a file of pairs */
        partner[i] = -1;
    }
    match(x, list_singles(d, seed, x), partner);
    for (int64_t i = 0; i < d->n; i++) { /* a pair stands where its earlier row was */
        di_example e = d->example[i];
        int32_t a = d->text_of[e.first], b;

        if (partner[i] >= 0 && partner[i] < i) continue;
        e.first = texts;
        if (partner[i] >= 0) {
            b = d->text_of[d->example[partner[i]].first];
            e.kind = DI_ROW_PAIR;
            e.n_texts = 2;
            text_of[texts++] = d->seq[a].hash < d->seq[b].hash ? a : b;
            text_of[texts++] = d->seq[a].hash < d->seq[b].hash ? b : a;
            d->counts.grouped_pairs++;
        } else {
            text_of[texts++] = a;
            d->counts.single_texts++;
        }
        d->example[out++] = e; /* out <= i: what is still to be read lies behind */
    }
    d->n = out;
    old = d->text_of;
    d->text_of = text_of;
    text_of = old;
done:
    di_free(d->al, x);
    di_free(d->al, partner);
    di_free(d->al, text_of);
    return st;
}
