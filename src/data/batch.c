/*
 * Packing. A text is inserted below the earlier text of its group with which it shares most: walk
 * down that text's path to where the two part, split the segment there, hang the rest below.
 * Searching all earlier texts (k of a group: k^2/2 comparisons that mostly end early) needs no
 * index of children, reaches the best sharing there is, and lets di_batch_rows count without
 * building anything. Inserting in the middle moves what lies behind; groups are small.
 */
#include "data/batch.h"

#include <string.h>

enum { LINE = 64 };

static size_t rounded(size_t n)
{
    return (n + LINE - 1) / LINE * LINE;
}

size_t di_batch_bytes(int64_t cap_rows, int64_t cap_texts)
{
    size_t rows = (size_t)cap_rows, texts = (size_t)cap_texts;

    return 2 * rounded(rows * sizeof(int32_t)) + rounded(2 * texts * sizeof(di_segment)) +
           3 * rounded(texts * sizeof(int32_t));
}

static void *take(char **at, size_t n)
{
    void *p = *at;

    *at += rounded(n);
    return p;
}

void di_batch_init(di_batch *b, void *memory, int64_t cap_rows, int64_t cap_texts)
{
    size_t rows = (size_t)cap_rows, texts = (size_t)cap_texts;
    char *at = memory;

    *b = (di_batch){.cap_rows = cap_rows, .cap_segments = 2 * cap_texts, .cap_texts = cap_texts};
    b->id = take(&at, rows * sizeof *b->id);
    b->position = take(&at, rows * sizeof *b->position);
    b->segment = take(&at, 2 * texts * sizeof *b->segment);
    b->leaf = take(&at, texts * sizeof *b->leaf);
    b->last_row = take(&at, texts * sizeof *b->last_row);
    b->length = take(&at, texts * sizeof *b->length);
}

/* Ids that two texts share, the last token of either aside. */
static int64_t shared_ids(const di_seq_view *a, const di_seq_view *b)
{
    int64_t most = (a->n < b->n ? a->n : b->n) - 1, n = 0;

    while (n < most && a->id[n] == b->id[n]) n++;
    return n;
}

/* The most that text i shares with an earlier one of its group, and with which (-1: with none). */
static int64_t best_match(const di_seq_view *text, const int32_t *group, int64_t i, int64_t *with)
{
    int64_t best = 0;

    *with = -1;
    for (int64_t j = i - 1; group != NULL && j >= 0 && group[j] == group[i]; j--) {
        int64_t n = shared_ids(&text[j], &text[i]);

        if (n > best) {
            best = n;
            *with = j;
        }
    }
    return best;
}

int64_t di_batch_rows(const di_seq_view *text, const int32_t *group, int64_t n)
{
    int64_t rows = 0, with;

    for (int64_t i = 0; i < n; i++) rows += text[i].n - best_match(text, group, i, &with);
    return rows;
}

/*
 * Cuts segment s after its first `head` rows (0 < head < n); what was s for its children and for
 * the texts that end in it is s+1 now. first_text: texts before it lie in earlier trees.
 */
static void split(di_batch *b, int64_t s, int64_t head, int64_t first_text)
{
    di_segment *seg = b->segment;

    memmove(&seg[s + 1], &seg[s], (size_t)(b->n_segments - s) * sizeof *seg);
    b->n_segments++;
    seg[s].n = (int32_t)head;
    seg[s + 1].n -= (int32_t)head;
    seg[s + 1].row += (int32_t)head;
    seg[s + 1].start += (int32_t)head;
    seg[s + 1].parent = (int32_t)s;
    for (int64_t i = s + 2; i < b->n_segments; i++)
        if (seg[i].parent >= s) seg[i].parent++;
    for (int64_t t = first_text; t < b->n_texts; t++)
        if (b->leaf[t] >= s) b->leaf[t]++;
}

/* Makes room for a new segment at index s, of n rows; what lies behind moves. */
static void open_gap(di_batch *b, int64_t s, int64_t n, int64_t first_text)
{
    di_segment *seg = b->segment;
    int64_t row = s < b->n_segments ? seg[s].row : b->n_rows;
    size_t behind = (size_t)(b->n_rows - row);

    memmove(&b->id[row + n], &b->id[row], behind * sizeof *b->id);
    memmove(&b->position[row + n], &b->position[row], behind * sizeof *b->position);
    memmove(&seg[s + 1], &seg[s], (size_t)(b->n_segments - s) * sizeof *seg);
    b->n_segments++;
    b->n_rows += n;
    for (int64_t i = s + 1; i < b->n_segments; i++) {
        seg[i].row += (int32_t)n;
        if (seg[i].parent >= s) seg[i].parent++;
    }
    for (int64_t t = first_text; t < b->n_texts; t++)
        if (b->leaf[t] >= s) b->leaf[t]++;
    seg[s].row = (int32_t)row;
    seg[s].n = (int32_t)n;
}

/* The segment on the path to leaf that holds position depth-1. */
static int64_t segment_at(const di_batch *b, int64_t leaf, int64_t depth)
{
    while (b->segment[leaf].start >= depth) leaf = b->segment[leaf].parent;
    return leaf;
}

/* Adds text i, which shares `shared` ids with text `with`. first_text: the first of its group. */
static void insert(di_batch *b, const di_seq_view *t, int64_t shared, int64_t with,
                   int64_t first_text)
{
    int64_t parent = -1, at = b->n_segments, i = b->n_texts;

    if (shared > 0) {
        di_segment *seg = b->segment;

        parent = segment_at(b, b->leaf[with], shared);
        if (seg[parent].start + seg[parent].n > shared)
            split(b, parent, shared - seg[parent].start, first_text);
        at = parent + 1; /* behind the whole tree, so that trees stay in one piece */
        while (at < b->n_segments && seg[at].parent >= 0) at++;
    }
    open_gap(b, at, t->n - shared, first_text);
    b->segment[at].parent = (int32_t)parent;
    b->segment[at].start = (int32_t)shared;
    for (int64_t p = shared; p < t->n; p++) {
        int64_t row = b->segment[at].row + p - shared;

        b->id[row] = t->id[p];
        b->position[row] = (int32_t)p;
    }
    b->leaf[i] = (int32_t)at;
    b->length[i] = (int32_t)t->n;
    b->n_texts++;
}

int64_t di_batch_pack(di_batch *b, const di_seq_view *text, const int32_t *group, int64_t n)
{
    int64_t first = 0, with;

    b->n_rows = b->n_segments = b->n_texts = 0;
    if (n > b->cap_texts) return -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t shared = best_match(text, group, i, &with);

        if (group == NULL || (i > 0 && group[i] != group[i - 1])) first = i;
        if (b->n_rows + text[i].n - shared > b->cap_rows) {
            b->n_rows = b->n_segments = b->n_texts = 0;
            return -1;
        }
        insert(b, &text[i], shared, with, first);
    }
    for (int64_t i = 0; i < n; i++) {
        const di_segment *s = &b->segment[b->leaf[i]];

        b->last_row[i] = s->row + s->n - 1;
    }
    return b->n_rows;
}

int32_t di_batch_path(const di_batch *b, int32_t segment, int32_t *path, int32_t cap)
{
    int32_t n = 0, i;

    for (int32_t s = segment; s >= 0; s = b->segment[s].parent) n++;
    if (n > cap) return n;
    i = n;
    for (int32_t s = segment; s >= 0; s = b->segment[s].parent) path[--i] = s;
    return n;
}
