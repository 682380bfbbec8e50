#include "eval/quadtree.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

enum { BITS = 16, LEAF = 8, SMALL = 512 }; /* SMALL: fewer points take less than waking threads */

dial_status di_quadtree_init(di_quadtree *t, const di_alloc *al, int64_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t m = (size_t)n;

    *t = (di_quadtree){.al = al, .n = n};
    if (n > INT32_MAX / 2)
        DI_FAIL(err, DIAL_ERR_USAGE, "a map holds %d points at most, found %lld", INT32_MAX / 2,
                (long long)n);
    t->quad = di_new_array(al, 2 * m, sizeof *t->quad);
    t->key = di_new_array(al, 2 * m, sizeof *t->key);
    t->order = di_new_array(al, 2 * m, sizeof *t->order);
    t->x = di_new_array(al, m, sizeof *t->x);
    t->y = di_new_array(al, m, sizeof *t->y);
    if (!t->quad || !t->key || !t->order || !t->x || !t->y)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a map of %lld points", (long long)n);
done:
    return st;
}

void di_quadtree_deinit(di_quadtree *t)
{
    di_free(t->al, t->quad);
    di_free(t->al, t->key);
    di_free(t->al, t->order);
    di_free(t->al, t->x);
    di_free(t->al, t->y);
}

/* The bits of v at every second place. */
static uint32_t spread(uint32_t v)
{
    v = (v | v << 8) & 0x00ff00ff;
    v = (v | v << 4) & 0x0f0f0f0f;
    v = (v | v << 2) & 0x33333333;
    return (v | v << 1) & 0x55555555;
}

static uint32_t place(float v, float least, float side)
{
    float cell = (v - least) / side * (1 << BITS);

    return cell < (1 << BITS) - 1 ? (uint32_t)cell : (1 << BITS) - 1;
}

/* Radix sort by bytes; equal keys stay in the order of the points. */
static void sort(di_quadtree *t)
{
    uint32_t *key = t->key, *key_to = t->key + t->n;
    int32_t *order = t->order, *order_to = t->order + t->n;

    for (int shift = 0; shift < 2 * BITS; shift += 8) {
        int64_t at[257] = {0};
        uint32_t *k = key;
        int32_t *o = order;

        for (int64_t i = 0; i < t->n; i++) at[(key[i] >> shift & 255) + 1]++;
        for (int b = 0; b < 255; b++) at[b + 1] += at[b];
        for (int64_t i = 0; i < t->n; i++) {
            int64_t to = at[key[i] >> shift & 255]++;

            key_to[to] = key[i];
            order_to[to] = order[i];
        }
        key = key_to;
        order = order_to;
        key_to = k;
        order_to = o;
    }
}

/* Quads of the points first .. first + n - 1, which share the first `depth` digits of their keys.
 */
static void grow(di_quadtree *t, float side, int32_t first, int32_t n, int depth)
{
    uint32_t differ = t->key[first] ^ t->key[first + n - 1]; /* the keys are sorted */
    di_quad *q = t->quad + t->n_quads++;
    double x = 0, y = 0;

    while (depth < BITS && differ >> (2 * (BITS - 1 - depth)) == 0) depth++;
    for (int32_t i = first; i < first + n; i++) {
        x += (double)t->x[i];
        y += (double)t->y[i];
    }
    side = ldexpf(side, -depth);
    *q = (di_quad){.x = (float)(x / n),
                   .y = (float)(y / n),
                   .width2 = side * side,
                   .first = first,
                   .n = n,
                   .is_leaf = n <= LEAF || depth == BITS};
    side = ldexpf(side, depth);
    for (int32_t i = first, end = first + n; !q->is_leaf && i < end;) {
        int shift = 2 * (BITS - 1 - depth);
        int32_t from = i;

        while (i < end && t->key[i] >> shift == t->key[from] >> shift) i++;
        grow(t, side, from, i - from, depth + 1);
    }
    q->next = t->n_quads;
}

void di_quadtree_build(di_quadtree *t, const float *x, const float *y)
{
    float lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY}, side;

    for (int64_t i = 0; i < t->n; i++) {
        lo[0] = fminf(lo[0], x[i]);
        lo[1] = fminf(lo[1], y[i]);
        hi[0] = fmaxf(hi[0], x[i]);
        hi[1] = fmaxf(hi[1], y[i]);
    }
    side = fmaxf(hi[0] - lo[0], hi[1] - lo[1]);
    if (!(side > 0)) side = 1;
    for (int64_t i = 0; i < t->n; i++) {
        t->key[i] = spread(place(x[i], lo[0], side)) | spread(place(y[i], lo[1], side)) << 1;
        t->order[i] = (int32_t)i;
    }
    sort(t);
    for (int64_t i = 0; i < t->n; i++) {
        t->x[i] = x[t->order[i]];
        t->y[i] = y[t->order[i]];
    }
    t->n_quads = 0;
    grow(t, side, 0, (int32_t)t->n, 0);
}

typedef struct force {
    float z, x, y;
} force;

/* Adds n points at (px, py), seen from (x, y). */
static inline void add(force *f, float x, float y, float px, float py, float n)
{
    float dx = x - px, dy = y - py, k = 1 / (1 + dx * dx + dy * dy);

    f->z += n * k;
    f->x += n * k * k * dx;
    f->y += n * k * k * dy;
}

static force on(const di_quadtree *t, float theta2, float x, float y)
{
    force f = {-1, 0, 0}; /* the point itself, which a leaf adds with k = 1 */

    for (int32_t c = 0; c < t->n_quads;) {
        const di_quad *q = t->quad + c;
        float dx = x - q->x, dy = y - q->y;
        int far = q->width2 < theta2 * (dx * dx + dy * dy);

        if (far) add(&f, x, y, q->x, q->y, (float)q->n);
        for (int32_t i = q->first; !far && q->is_leaf && i < q->first + q->n; i++)
            add(&f, x, y, t->x[i], t->y[i], 1);
        c = far || q->is_leaf ? q->next : c + 1;
    }
    return f;
}

void di_quadtree_repel(const di_quadtree *t, float theta, float *z, float *rx, float *ry)
{
#pragma omp parallel for schedule(dynamic, 256) if (t->n >= SMALL)
    for (int64_t i = 0; i < t->n; i++) {
        force f = on(t, theta * theta, t->x[i], t->y[i]);
        int32_t at = t->order[i];

        z[at] = f.z;
        rx[at] = f.x;
        ry[at] = f.y;
    }
}
