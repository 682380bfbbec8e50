#include "train/split.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

dial_status di_examples_all(const di_alloc *al, di_dataset *const *set, int n_sets,
                            di_examples *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_examples x = {.set = set};
    int64_t n = 0;

    for (int k = 0; k < n_sets; k++) n += set[k]->n;
    x.ref = di_new_array(al, (size_t)n, sizeof *x.ref);
    if (x.ref == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)n);
    for (int k = 0; k < n_sets; k++)
        for (int64_t i = 0; i < set[k]->n; i++) x.ref[x.n++] = (di_example_ref){k, (int32_t)i};
    *out = x;
done:
    return st;
}

void di_examples_free(const di_alloc *al, di_examples *x)
{
    di_free(al, x->ref);
    *x = (di_examples){0};
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

dial_status di_examples_draw(const di_alloc *al, di_examples *x, int64_t n, uint64_t seed,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t *order = NULL;
    di_rng r = di_rng_make(seed, DI_RNG_LIMIT, 0);

    if (n <= 0 || n >= x->n) return DIAL_OK;
    order = di_new_array(al, (size_t)x->n, sizeof *order);
    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)x->n);
    for (int64_t i = 0; i < x->n; i++) order[i] = i;
    di_rng_shuffle(&r, order, x->n);
    qsort(order, (size_t)n, sizeof *order, by_number);
    for (int64_t i = 0; i < n; i++) x->ref[i] = x->ref[order[i]];
    x->n = n;
done:
    di_free(al, order);
    return st;
}

/* Union-find over examples, joined through equal keys. */
static int64_t root_of(int64_t *parent, int64_t i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

typedef struct key {
    uint64_t hash;
    int64_t example;
} key;

static int by_hash(const void *a, const void *b)
{
    const key *x = a, *y = b;

    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->example < y->example ? -1 : x->example > y->example;
}

/* Joins examples with an equal key; the smaller index becomes the root. */
static void join_equal(key *k, int64_t n, int64_t *parent)
{
    qsort(k, (size_t)n, sizeof *k, by_hash);
    for (int64_t i = 1; i < n; i++) {
        int64_t a, b;

        if (k[i].hash != k[i - 1].hash) continue;
        a = root_of(parent, k[i - 1].example);
        b = root_of(parent, k[i].example);
        if (a < b)
            parent[b] = a;
        else
            parent[a] = b;
    }
}

static int64_t count_roots(int64_t *parent, int64_t n)
{
    int64_t roots = 0;

    for (int64_t i = 0; i < n; i++) roots += root_of(parent, i) == i;
    return roots;
}

/* parent[i]: the unit that example i belongs to. */
static dial_status find_units(const di_alloc *al, const di_examples *x, int64_t *parent,
                              int *by_row, dial_error *err)
{
    dial_status st = DIAL_OK;
    key *k = di_new_array(al, 2 * (size_t)x->n, sizeof *k);
    int64_t n = 0;

    if (k == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)x->n);
    for (int64_t i = 0; i < x->n; i++) {
        parent[i] = i;
        k[i] = (key){di_example_seq(x, i, 0)->prompt_hash, i};
    }
    join_equal(k, x->n, parent);
    if (count_roots(parent, x->n) == 1) {
        for (int64_t i = 0; i < x->n; i++) {
            parent[i] = i;
            for (int t = 0; t < di_example_at(x, i)->n_texts && t < 2; t++)
                k[n++] = (key){di_example_seq(x, i, t)->hash, i};
        }
        join_equal(k, n, parent);
    }
    *by_row = count_roots(parent, x->n) == 1;
    for (int64_t i = 0; *by_row && i < x->n; i++) parent[i] = i;
done:
    di_free(al, k);
    return st;
}

static uint64_t group_of(const di_examples *x, int64_t i)
{
    const char *group = di_example_at(x, i)->group;

    return group != NULL ? di_fnv1a(group, strlen(group)) : 0;
}

/* Rows of a group (topic), and how many of them are held out. */
typedef struct group_count {
    uint64_t hash;
    int64_t rows, taken;
} group_count;

static group_count *find_group(group_count *g, int64_t n, uint64_t hash)
{
    int64_t low = 0;

    while (n > 1) {
        int64_t half = n / 2;

        if (g[low + half].hash <= hash) low += half;
        n -= half;
    }
    return &g[low];
}

/* Counts the rows of each group; g holds room for one entry a row. Returns the number of groups. */
static int64_t count_groups(const di_examples *x, key *sorted, group_count *g)
{
    int64_t n = 0;

    for (int64_t i = 0; i < x->n; i++) sorted[i] = (key){group_of(x, i), i};
    qsort(sorted, (size_t)x->n, sizeof *sorted, by_hash);
    for (int64_t i = 0; i < x->n; i++) {
        if (i == 0 || sorted[i].hash != sorted[i - 1].hash)
            g[n++] = (group_count){.hash = sorted[i].hash};
        g[n - 1].rows++;
    }
    return n;
}

/*
 * Walks over the units in random order; a unit is held out while its group (that of its first row)
 * has less than its share. member: rows sorted by unit.
 */
static void mark_units(const di_examples *x, const int64_t *order, const key *member, double share,
                       group_count *g, int64_t n_groups, char *mark)
{
    for (int64_t o = 0; o < x->n; o++) {
        int64_t at = order[o];
        group_count *own;

        if (at > 0 && member[at].hash == member[at - 1].hash) continue; /* not a unit's first row */
        own = find_group(g, n_groups, group_of(x, member[at].example));
        if ((double)own->taken >= share * (double)own->rows) continue;
        for (uint64_t unit = member[at].hash; at < x->n && member[at].hash == unit; at++) {
            mark[member[at].example] = 1;
            own->taken++;
        }
    }
}

dial_status di_examples_hold_out(const di_alloc *al, di_examples *x, double share, uint64_t seed,
                                 di_examples *held, int *by_row, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)x->n;
    int64_t *parent = di_new_array(al, n, sizeof *parent);
    int64_t *order = di_new_array(al, n, sizeof *order), kept = 0;
    key *sorted = di_new_array(al, n, sizeof *sorted);
    group_count *groups = di_new_array(al, n, sizeof *groups);
    char *mark = di_new_array(al, n, 1);
    di_examples out = {.set = x->set, .ref = di_new_array(al, n, sizeof *out.ref)};
    di_rng r = di_rng_make(seed, DI_RNG_HELDOUT, 0);
    int64_t n_groups;

    if (!parent || !order || !sorted || !groups || !mark || !out.ref)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu rows", n);
    DI_TRY(find_units(al, x, parent, by_row, err));
    n_groups = count_groups(x, sorted, groups);
    for (int64_t i = 0; i < x->n; i++) {
        order[i] = i;
        sorted[i] = (key){(uint64_t)root_of(parent, i), i};
    }
    qsort(sorted, n, sizeof *sorted, by_hash);
    di_rng_shuffle(&r, order, x->n);
    mark_units(x, order, sorted, share, groups, n_groups, mark);
    for (int64_t i = 0; i < x->n; i++) {
        if (mark[i])
            out.ref[out.n++] = x->ref[i];
        else
            x->ref[kept++] = x->ref[i];
    }
    x->n = kept;
    *held = out;
    out.ref = NULL;
done:
    di_free(al, parent);
    di_free(al, order);
    di_free(al, sorted);
    di_free(al, groups);
    di_free(al, mark);
    di_free(al, out.ref);
    return st;
}
