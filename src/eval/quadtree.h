/*
 * Repulsion between the points of a map, by a quadtree (Barnes and Hut 1986; for t-SNE: van der
 * Maaten 2014): far away, a cell stands for its points.
 */
#ifndef DI_EVAL_QUADTREE_H
#define DI_EVAL_QUADTREE_H

#include "base/alloc.h"

typedef struct di_quad {
    float x, y;       /* mean of its points */
    float width2;     /* squared side of the cell */
    int32_t first, n; /* its points, in sorted order */
    int32_t next;     /* the quad after all that lie in this one */
    int32_t is_leaf;
} di_quad;

typedef struct di_quadtree {
    const di_alloc *al;
    int64_t n;     /* points, up to INT32_MAX / 2 */
    di_quad *quad; /* (n_quads) of (2 n), a parent before its children */
    int32_t n_quads;
    uint32_t *key;  /* (2 n) places along the Z-curve, 16 bits a coordinate */
    int32_t *order; /* (2 n) points by key */
    float *x, *y;   /* (n) coordinates in that order */
} di_quadtree;

dial_status di_quadtree_init(di_quadtree *t, const di_alloc *al, int64_t n, dial_error *err);
void di_quadtree_deinit(di_quadtree *t);

/* Over the points x, y (n), finite. Equal points share a leaf, whatever their number. */
void di_quadtree_build(di_quadtree *t, const float *x, const float *y);

/*
 * With k_ij = 1/(1 + |y_i - y_j|^2): z_i = sum_j k_ij - 1, and (rx, ry)_i = sum_j k_ij^2 (y_i -
 * y_j), j over all points. A cell of side s at distance d counts as one place where s < theta d;
 * theta 0 is exact; at most 0.7, so that no point is far from its own cell. z, rx, ry (n), in the
 * order of the points. Same input, same bits, with any number of threads.
 */
void di_quadtree_repel(const di_quadtree *t, float theta, float *z, float *rx, float *ry);

#endif
