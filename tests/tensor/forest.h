/*
 * Batches for tests of attention and pooling: forests written as tables of segments, and the two
 * changes that must not change a row: taking some trees in another order, and unsharing prefixes.
 */
#ifndef DIAL_TEST_FOREST_H
#define DIAL_TEST_FOREST_H

#include "op.h"

enum { MAX_SEGMENTS = 24 };

/* Trees one after the other, parents before children; a text ends at each segment without child. */
typedef struct forest {
    int n;
    struct {
        int parent, rows;
    } segment[MAX_SEGMENTS];
} forest;

static inline di_batch make_batch(const forest *f)
{
    const di_alloc *al = di_alloc_default();
    di_batch b = {.segment = di_zalloc(al, MAX_SEGMENTS * sizeof *b.segment),
                  .leaf = di_zalloc(al, MAX_SEGMENTS * sizeof(int32_t)),
                  .last_row = di_zalloc(al, MAX_SEGMENTS * sizeof(int32_t)),
                  .length = di_zalloc(al, MAX_SEGMENTS * sizeof(int32_t)),
                  .n_segments = f->n};

    for (int i = 0; i < f->n; i++) {
        int up = f->segment[i].parent;
        int start = up < 0 ? 0 : b.segment[up].start + b.segment[up].n;

        b.segment[i] = (di_segment){(int32_t)b.n_rows, f->segment[i].rows, up, start};
        b.n_rows += f->segment[i].rows;
    }
    for (int i = 0; i < f->n; i++) {
        int inner = 0;

        for (int k = i + 1; k < f->n; k++) inner |= f->segment[k].parent == i;
        if (inner) continue;
        b.leaf[b.n_texts] = i;
        b.last_row[b.n_texts] = b.segment[i].row + b.segment[i].n - 1;
        b.length[b.n_texts] = b.segment[i].start + b.segment[i].n;
        b.n_texts++;
    }
    b.id = di_zalloc(al, (size_t)b.n_rows * sizeof *b.id);
    b.position = di_zalloc(al, (size_t)b.n_rows * sizeof *b.position);
    for (int i = 0; i < f->n; i++)
        for (int k = 0; k < b.segment[i].n; k++)
            b.position[b.segment[i].row + k] = b.segment[i].start + k;
    b.cap_rows = b.n_rows;
    b.cap_segments = b.cap_texts = MAX_SEGMENTS;
    return b;
}

static inline void free_batch(di_batch *b)
{
    di_free(di_alloc_default(), b->segment);
    di_free(di_alloc_default(), b->leaf);
    di_free(di_alloc_default(), b->last_row);
    di_free(di_alloc_default(), b->length);
    di_free(di_alloc_default(), b->id);
    di_free(di_alloc_default(), b->position);
}

static inline int64_t forest_rows(const forest *f)
{
    int64_t n = 0;

    for (int i = 0; i < f->n; i++) n += f->segment[i].rows;
    return n;
}

static inline int64_t longest_text(const di_batch *b)
{
    int64_t n = 0;

    for (int64_t i = 0; i < b->n_texts; i++) n = b->length[i] > n ? b->length[i] : n;
    return n;
}

/* Appends segment i of f below `parent`, with its rows; returns its new index. */
static inline int append_segment(const forest *f, const di_batch *b, int i, int parent, forest *to,
                                 int64_t *rows, int64_t *n_rows)
{
    assert_true(to->n < MAX_SEGMENTS);
    to->segment[to->n].parent = parent;
    to->segment[to->n].rows = f->segment[i].rows;
    for (int k = 0; k < f->segment[i].rows; k++) rows[(*n_rows)++] = b->segment[i].row + k;
    return to->n++;
}

/* The trees in `order` (0-based, n of them); rows[] receives the old row of each new one. */
static inline forest pick_trees(const forest *f, const int *order, int n, int64_t *rows)
{
    di_batch b = make_batch(f);
    forest to = {0};
    int64_t n_rows = 0;

    for (int t = 0; t < n; t++) {
        int place[MAX_SEGMENTS] = {0}, tree = -1;

        for (int i = 0; i < f->n; i++) {
            int up = f->segment[i].parent;

            tree += up < 0;
            if (tree == order[t])
                place[i] = append_segment(f, &b, i, up < 0 ? -1 : place[up], &to, rows, &n_rows);
        }
    }
    free_batch(&b);
    return to;
}

/* Each text on its own, prefixes repeated. */
static inline forest unshare(const forest *f, int64_t *rows)
{
    di_batch b = make_batch(f);
    forest to = {0};
    int64_t n_rows = 0;

    for (int64_t t = 0; t < b.n_texts; t++) {
        int path[MAX_SEGMENTS], n = 0, whole = to.n++;

        for (int s = b.leaf[t]; s >= 0; s = b.segment[s].parent) path[n++] = s;
        to.segment[whole].parent = -1;
        to.segment[whole].rows = b.length[t];
        while (n-- > 0)
            for (int k = 0; k < b.segment[path[n]].n; k++)
                rows[n_rows++] = b.segment[path[n]].row + k;
    }
    free_batch(&b);
    return to;
}

static inline int count_trees(const forest *f)
{
    int n = 0;

    for (int i = 0; i < f->n; i++) n += f->segment[i].parent < 0;
    return n;
}

/* clang-format off */
static const forest no_text     = {0};
static const forest one_token   = {1, {{-1, 1}}};
static const forest singles     = {5, {{-1, 1}, {-1, 2}, {-1, 17}, {-1, 64}, {-1, 65}}};
static const forest long_text   = {2, {{-1, 3}, {-1, 150}}};
static const forest longer      = {3, {{-1, 270}, {0, 5}, {0, 70}}};
static const forest pairs       = {9, {{-1, 5}, {0, 3}, {0, 1},  {-1, 40}, {3, 30}, {3, 9},
                                       {-1, 7}, {-1, 33}, {7, 1}}};
static const forest three_level = {12, {{-1, 9}, {0, 20}, {1, 3}, {1, 1}, {0, 2}, {4, 40}, {4, 5},
                                        {-1, 33}, {7, 1}, {7, 40}, {9, 2}, {9, 38}}};
/* clang-format on */

#endif
