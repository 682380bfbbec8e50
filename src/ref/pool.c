/*
 * From token rows to one row a text. The mean is the one sum of ref that is not a double: it is
 * defined as an f32 sum in the order of positions, then one division (interfaces.md 2.5, step 6),
 * so that every backend gives the same bits.
 */
#include "ref/ref.h"

#include <string.h>

/* e [C] += the rows of the path that ends in segment s, root first. */
static void add_path(const di_batch *b, int32_t s, const di_mat *x, float *e)
{
    const di_segment *seg = &b->segment[s];

    if (seg->parent >= 0) add_path(b, seg->parent, x, e);
    for (int64_t n = seg->row; n < seg->row + seg->n; n++)
        for (int64_t i = 0; i < x->cols; i++) e[i] += (float)get(x, n, i);
}

void di_ref_pool_forward(di_device *dev, const di_batch *b, const di_mat *x, int mean, di_mat *e)
{
    (void)dev;
    for (int64_t t = 0; t < b->n_texts; t++) {
        float *row = (float *)e->data + t * e->stride;

        if (mean) {
            memset(row, 0, (size_t)e->cols * sizeof *row);
            add_path(b, b->leaf[t], x, row);
            for (int64_t i = 0; i < e->cols; i++) row[i] /= (float)b->length[t];
        } else {
            for (int64_t i = 0; i < e->cols; i++) row[i] = (float)get(x, b->last_row[t], i);
        }
    }
}

/* A shared row receives de / length of each of its texts, in their order. */
void di_ref_pool_backward(di_device *dev, const di_batch *b, const di_mat *de, int mean, di_mat *dx)
{
    (void)dev;
    for (int64_t n = 0; n < dx->rows; n++)
        for (int64_t i = 0; i < dx->cols; i++) put(dx, n, i, 0);
    for (int64_t t = 0; t < b->n_texts; t++) {
        const float *d = (const float *)de->data + t * de->stride;

        if (!mean) {
            for (int64_t i = 0; i < dx->cols; i++) put(dx, b->last_row[t], i, d[i]);
            continue;
        }
        for (int32_t s = b->leaf[t]; s >= 0; s = b->segment[s].parent) {
            for (int64_t n = b->segment[s].row; n < b->segment[s].row + b->segment[s].n; n++) {
                float *row = (float *)dx->data + n * dx->stride;

                for (int64_t i = 0; i < dx->cols; i++) row[i] += d[i] / (float)b->length[t];
            }
        }
    }
}
