#include "data/trunk.h"

#include <string.h>

#include "base/error.h"
#include "data/trunk_file.h"

/* A text in the table: ids and rows, wherever they lie. */
typedef struct place {
    uint64_t hash;
    const int32_t *id; /* NULL: free */
    int64_t n;
    const void *rows;
} place;

struct di_trunk {
    const di_alloc *al;
    const dial_env *env;
    di_trunk_shape shape;
    place *table; /* [cap], open addressing; cap a power of two, at most half full */
    int64_t n, cap;
    void **memory; /* [n_memory] */
    size_t n_memory;
    di_trunk_file *file; /* [n_file] */
    size_t n_file;
};

dial_status di_trunk_new(const di_alloc *al, const dial_env *env, const di_trunk_shape *shape,
                         di_trunk **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_trunk *t = di_zalloc(al, sizeof *t);

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a trunk");
    t->al = al;
    t->env = env;
    t->shape = *shape;
    *out = t;
done:
    return st;
}

void di_trunk_free(di_trunk *t)
{
    if (t == NULL) return;
    for (size_t i = 0; i < t->n_memory; i++) di_free(t->al, t->memory[i]);
    for (size_t i = 0; i < t->n_file; i++) di_trunk_file_close(&t->file[i]);
    di_free(t->al, t->memory);
    di_free(t->al, t->file);
    di_free(t->al, t->table);
    di_free(t->al, t);
}

const di_trunk_shape *di_trunk_get_shape(const di_trunk *t)
{
    return &t->shape;
}

/* --- the table -------------------------------------------------------------------------------- */

static uint64_t hash_of(const di_seq_view *text)
{
    uint64_t h = 0xcbf29ce484222325u ^ (uint64_t)text->n;

    for (int64_t i = 0; i < text->n; i++) h = (h ^ (uint32_t)text->id[i]) * 0x100000001b3u;
    return h ^ h >> 32; /* low bits choose the place, and products mix upwards alone */
}

/* Where the text stands, or the free place where it would. The ids decide, not their hash. */
static place *place_of(const di_trunk *t, const di_seq_view *text, uint64_t hash)
{
    for (uint64_t i = hash;; i++) {
        place *p = &t->table[i & (uint64_t)(t->cap - 1)];

        if (p->id == NULL || (p->hash == hash && p->n == text->n &&
                              memcmp(p->id, text->id, (size_t)text->n * sizeof *text->id) == 0))
            return p;
    }
}

static dial_status reserve(di_trunk *t, int64_t more, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_trunk old = *t;
    int64_t cap = t->cap > 0 ? t->cap : 64;

    while (cap < 2 * (t->n + more)) cap *= 2;
    if (cap == t->cap) return DIAL_OK;
    t->table = di_new_array(t->al, (size_t)cap, sizeof *t->table); /* zeroed */
    if (t->table == NULL) {
        t->table = old.table;
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a table of %lld texts", (long long)cap);
    }
    t->cap = cap;
    for (int64_t i = 0; i < old.cap; i++) {
        const place *p = &old.table[i];

        if (p->id != NULL) *place_of(t, &(di_seq_view){p->id, p->n}, p->hash) = *p;
    }
    di_free(t->al, old.table);
done:
    return st;
}

/* The first rows of a text stay: they are the same. */
static void enter(di_trunk *t, const di_seq_view *text, const void *rows)
{
    uint64_t hash = hash_of(text);
    place *p = place_of(t, text, hash);

    if (p->id != NULL) return;
    *p = (place){hash, text->id, text->n, rows};
    t->n++;
}

const void *di_trunk_find(const di_trunk *t, const di_seq_view *text)
{
    return t->cap > 0 ? place_of(t, text, hash_of(text))->rows : NULL;
}

/* --- filling ---------------------------------------------------------------------------------- */

static size_t padded(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

static size_t row_bytes_of(const di_trunk *t, const di_seq_view *text)
{
    return (size_t)di_trunk_rows_of(&t->shape, text->n) * t->shape.row_bytes;
}

dial_status di_trunk_add(di_trunk *t, const di_seq_view *text, const void *const *rows, int64_t n,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t bytes = 0;
    void **list;
    char *at;

    if (n == 0) return DIAL_OK;
    DI_TRY(reserve(t, n, err));
    for (int64_t i = 0; i < n; i++)
        bytes += padded((size_t)text[i].n * sizeof *text->id) + padded(row_bytes_of(t, &text[i]));
    list = di_resize(t->al, t->memory, (t->n_memory + 1) * sizeof *list);
    if (list != NULL) t->memory = list;
    at = list != NULL ? di_new(t->al, bytes) : NULL;
    if (at == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu bytes of a trunk", bytes);
    t->memory[t->n_memory++] = at;
    for (int64_t i = 0; i < n; i++) {
        di_seq_view own = {(const int32_t *)(const void *)at, text[i].n};

        memcpy(at, text[i].id, (size_t)text[i].n * sizeof *text->id);
        at += padded((size_t)text[i].n * sizeof *text->id);
        memcpy(at, rows[i], row_bytes_of(t, &text[i]));
        enter(t, &own, at);
        at += padded(row_bytes_of(t, &text[i]));
    }
done:
    return st;
}

dial_status di_trunk_load(di_trunk *t, const char *path, const char *key, int *damaged,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    di_trunk_file f = {.n = 0}, *list;
    di_seq_view text;
    const void *rows;
    dial_error why;
    int64_t bad = 0;

    *damaged = 0;
    if (!di_exists(path)) return DIAL_OK;
    if (di_trunk_file_open(path, key, &t->shape, &f, &why) != DIAL_OK) {
        di_log(t->env, DIAL_LOG_WARN, "a stored trunk is made anew: %s (%s)", why.message, path);
        *damaged = 1;
        return DIAL_OK;
    }
    DI_TRY(reserve(t, f.n, err));
    list = di_resize(t->al, t->file, (t->n_file + 1) * sizeof *list);
    if (list == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a trunk");
    t->file = list;
    for (int64_t i = 0; i < f.n; i++) {
        if (di_trunk_file_block(&f, i, &text, &rows))
            enter(t, &text, rows);
        else
            bad++;
    }
    t->file[t->n_file++] = f;
    f = (di_trunk_file){.n = 0};
    *damaged = bad > 0;
    if (bad > 0)
        di_log(t->env, DIAL_LOG_WARN, "%lld texts of a stored trunk are made anew: checksum (%s)",
               (long long)bad, path);
done:
    di_trunk_file_close(&f);
    return st;
}

/* --- batches ---------------------------------------------------------------------------------- */

int di_trunk_gather(const di_trunk *t, const di_batch *b, const di_seq_view *text, void *rows)
{
    size_t row = t->shape.row_bytes;

    for (int64_t i = 0; i < b->n_texts; i++) {
        const char *from = di_trunk_find(t, &text[i]);

        if (from == NULL) return 0;
        for (int32_t k = b->leaf[i]; k >= 0; k = b->segment[k].parent) {
            const di_segment *s = &b->segment[k];

            memcpy((char *)rows + (size_t)s->row * row, from + (size_t)s->start * row,
                   (size_t)s->n * row);
        }
    }
    return 1;
}

void di_trunk_scatter(const di_batch *b, int64_t text, const void *rows, size_t row_bytes,
                      void *out)
{
    for (int32_t k = b->leaf[text]; k >= 0; k = b->segment[k].parent) {
        const di_segment *s = &b->segment[k];

        memcpy((char *)out + (size_t)s->start * row_bytes,
               (const char *)rows + (size_t)s->row * row_bytes, (size_t)s->n * row_bytes);
    }
}
