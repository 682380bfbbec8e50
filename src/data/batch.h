/*
 * A packed batch: the token rows of some texts in one array, without padding. Texts that begin
 * with the same ids share these rows: segments form a forest, a segment attends to itself
 * (causally) and to all of its ancestors. Built into caller's memory, so that a warm step
 * allocates nothing.
 *
 *   texts  "A B C d e"  and  "A B C f"      ->   segment 0: A B C   (parent -1, start 0)
 *                                               segment 1: d e     (parent 0,  start 3)
 *                                               segment 2: f       (parent 0,  start 3)
 *
 * Invariants: segments of one tree are neighbours, parents first; rows are in the order of the
 * segments, each row in exactly one; every text ends in a segment of its own, which has no
 * children, so that its last token is a row of its own even where one text equals another.
 */
#ifndef DI_DATA_BATCH_H
#define DI_DATA_BATCH_H

#include "base/alloc.h"

typedef struct di_segment {
    int32_t row;    /* first token row in the batch */
    int32_t n;      /* its rows; >= 1 */
    int32_t parent; /* index of the parent segment, always smaller; -1: root */
    int32_t start;  /* position (0-based, in the text) of its first token */
} di_segment;

typedef struct di_batch {
    /* N token rows */
    int64_t n_rows;
    int32_t *id;       /* [N] */
    int32_t *position; /* [N] position in its text: 0, 1, ... */
    /* the forest */
    int64_t n_segments;
    di_segment *segment;
    /* B texts, in the order in which they were given */
    int64_t n_texts;
    int32_t *leaf;     /* [B] last segment of the text */
    int32_t *last_row; /* [B] row of its last token */
    int32_t *length;   /* [B] tokens of the text, shared ones included */
    /* capacities; there are at most two segments a text */
    int64_t cap_rows, cap_segments, cap_texts;
} di_batch;

typedef struct di_seq_view {
    const int32_t *id;
    int64_t n; /* >= 1 */
} di_seq_view;

/* Bytes of memory for these capacities, and the batch laid over such a block (aligned to 64). */
size_t di_batch_bytes(int64_t cap_rows, int64_t cap_texts);
void di_batch_init(di_batch *b, void *memory, int64_t cap_rows, int64_t cap_texts);

/*
 * Packs texts 0..n-1, overwriting b. group[i] (may be NULL: every text its own group) names
 * neighbours that may share a prefix: of texts i, i+1, ... with equal group, each shares its
 * longest common id prefix with any of those before it, but keeps its last token to itself, as
 * they do. Returns the rows used, or -1 and an empty batch if a capacity is too small.
 */
int64_t di_batch_pack(di_batch *b, const di_seq_view *text, const int32_t *group, int64_t n);

/* Rows that di_batch_pack would use; lets a caller fill a batch up to a budget. */
int64_t di_batch_rows(const di_seq_view *text, const int32_t *group, int64_t n);

/*
 * Path of a segment from its root: segment indices into path[], root first, itself last. Returns
 * the count; where that is more than cap, nothing is written.
 */
int32_t di_batch_path(const di_batch *b, int32_t segment, int32_t *path, int32_t cap);

#endif
