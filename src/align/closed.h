/*
 * What methods without a critic have in common: their memory, the feature queue where they read
 * one, and sums over rows. First member of each such method's own struct.
 */
#ifndef DI_ALIGN_CLOSED_H
#define DI_ALIGN_CLOSED_H

#include <math.h>

#include "align/kernel.h"
#include "align/methods.h"
#include "align/queue.h"

typedef struct di_closed {
    di_align base;
    di_device *dev;
    di_align_setup set;
    di_blocks mem;
    di_queue queue;
} di_closed;

/*
 * A zeroed struct of `size` bytes that begins with a di_closed, or NULL. with_queue: the method
 * reads setup->queue. Its own blocks it takes from mem; mem.failed tells whether any is missing.
 */
void *di_closed_new(di_device *dev, const di_align_setup *setup, size_t size,
                    const di_align_method *method, int with_queue);
void di_closed_free(di_align *a);

/* Entries of the table for a method whose state is its queue. */
void di_closed_fit(di_align *a, const di_align_rows *rows, di_align_stats *stats);
int di_closed_tensors(di_align *a, di_align_tensor *out, int cap);
json_t *di_closed_save(const di_align *a);
dial_status di_closed_load(di_align *a, const json_t *state, const char *where, dial_error *err);

/* What a method without a critic reports of one: nothing. */
void di_closed_stats(di_align_stats *stats);

/* What rows are multiplied by in losses of coordinates. */
static inline double di_gain(const di_closed *f)
{
    return f->set.gain > 0 ? f->set.gain : 1;
}

/* Rows of one side: first row in x, and how many. */
static inline int64_t di_side_first(const di_align_rows *rows, int side)
{
    return side == DI_SOURCE ? 0 : rows->n_s;
}
static inline int64_t di_side_rows(const di_align_rows *rows, int side)
{
    return side == DI_SOURCE ? rows->n_s : rows->n_t;
}

/* mean [c] of x [n, c]; zeros where n = 0. */
void di_row_mean(const float *x, int64_t n, int64_t c, double *mean);
/* out [n, c] = x - mean. */
void di_row_centre(const float *x, int64_t n, int64_t c, const double *mean, float *out);
/* ||ms - mt||^2 of two means [c]. */
double di_means_apart(const double *const mu[DI_SIDES], int64_t c);
/*
 * dx of the source rows += factor (ms - mt)/n_s, of the target rows -= factor (ms - mt)/n_t: what a
 * loss of the two means sends back, factor times ms - mt being its gradient to ms.
 */
void di_means_push(const di_align_rows *rows, const double *const mu[DI_SIDES], int64_t c,
                   double factor, float *dx);
double di_row_dot(const float *x, const float *y, int64_t c);
/* out [n] = ||x_i||^2. */
void di_row_squares(const float *x, int64_t n, int64_t c, double *out);
/* ||x - y||^2 from squares and inner product; rounding below 0 counts as 0. */
static inline double di_row_distance(double xx, double yy, float xy)
{
    return fmax(0, xx + yy - 2 * (double)xy);
}

/* Work memory for products of up to `rows` rows with rows of c columns, in either direction. */
void *di_product_work(di_blocks *mem, di_device *dev, int64_t rows, int64_t c);

/* y [n, m] = a [n, k] b [k, m], or a b^T with turned, b [m, k]; += with add. All dense. */
void di_product(di_device *dev, const float *a, int64_t n, int64_t k, const float *b, int64_t m,
                int turned, float *y, int add, void *work);

/*
 * dx_i += sum_j w_ij (r_j - x_i) for w [n, m], x [n, c], r [m, c]: what every loss of distances
 * between rows sends back.
 */
void di_row_pull(di_device *dev, const float *w, const float *x, int64_t n, const float *r,
                 int64_t m, int64_t c, float *dx, void *work);

#endif
