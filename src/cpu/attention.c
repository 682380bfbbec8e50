/*
 * Attention over a segment forest.
 *
 * A task is a tree of segments and one key/value head. Its thread walks the tree depth first and
 * keeps the keys and values of the path from the root in contiguous memory, at their absolute
 * positions and packed for mm.c; entering a segment packs its own rows, so a shared prefix is
 * packed once, and its gradients stay in f32 sums until the last text below it is done.
 *
 * Query rows go in strips of some tokens times the heads that share the keys. A strip's scores are
 * two or three small products around a row-wise softmax over the whole row: no running maximum, so
 * nothing depends on where a strip begins. Keys that a row does not see have p = 0 and add exact
 * zeros; sums over keys run over absolute positions. Hence a row has the same bits alone, in any
 * batch, and below a shared prefix.
 *
 * A row-wise softmax holds [strip, length] scores, 96 KB a thread for 1,000 tokens; the one with a
 * running maximum saves that memory and pays a correction of the output at each block of keys.
 */
#define DI_SELF "cpu/attention.c"
#include "cpu/each_isa.h"
#include "cpu/cpu.h"
#include "cpu/mm.h"
#include "cpu/store.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#ifdef DI_PASS

/* Scaled and capped scores; *t is tanh(s / cap). */
DI_INLINE vf K(score)(vf s, float scale, float cap, vf *t)
{
    s = v_mul(s, v_set(scale));
    *t = v_zero();
    if (cap > 0) {
        *t = v_tanh(v_mul(s, v_set(1 / cap)));
        s = v_mul(*t, v_set(cap));
    }
    return s;
}

/*
 * s [n] raw scores -> p = exp(s - max), f32 or bf16 in the same memory, 0 outside [lo, hi); n is
 * a multiple of the panel. Returns log sum exp; *sum is the sum of the p before rounding.
 */
static float K(softmax_row)(float *s, int64_t n, int64_t lo, int64_t hi, float scale, float cap,
                            int to_bf16, float *sum)
{
    vf most = v_set(-INFINITY), total = v_zero(), t;
    float max;

    for (int64_t i = 0; i < n; i += DI_VL) {
        vf x = K(score)(v_load(s + i), scale, cap, &t);

        v_store(s + i, x);
        if (lo > i || i + DI_VL > hi) x = v_pick(v_range(i, lo, hi), x, v_set(-INFINITY));
        most = v_max(most, x);
    }
    max = v_hmax(most);
    for (int64_t i = 0; i < n; i += DI_VL) {
        vf p = v_exp(v_sub(v_load(s + i), v_set(max)));

        if (lo > i || i + DI_VL > hi) p = v_pick(v_range(i, lo, hi), p, v_zero());
        total = v_add(total, p);
        v_put(s, to_bf16, i, DI_VL, p);
    }
    *sum = v_sum(total);
    return max + logf(*sum);
}

static void K(scale_row)(float *x, int64_t d, float by)
{
    for (int64_t i = 0; i < d; i += DI_VL)
        v_put(x, 0, i, d - i, v_mul(v_get(x, 0, i, d - i), v_set(by)));
}

#ifndef DI_GRAD_ROW
#define DI_GRAD_ROW
/* One row of scores in backward. */
typedef struct grad_row {
    float *s; /* raw scores; row_delta leaves p there if there is no cap */
    float *dp;
    int64_t lo, hi; /* keys that the row sees */
    float lse, delta;
} grad_row;
#endif

/* delta = sum of p .* dp over the keys; dp outside of them becomes 0, as p is there. */
static void K(row_delta)(grad_row *r, int64_t n, float scale, float cap)
{
    vf sum = v_zero(), t;

    for (int64_t i = 0; i < n; i += DI_VL) {
        vf s = K(score)(v_load(r->s + i), scale, cap, &t), dp = v_load(r->dp + i);
        vf p = v_exp(v_sub(s, v_set(r->lse)));

        if (r->lo > i || i + DI_VL > r->hi) {
            vm seen = v_range(i, r->lo, r->hi);

            p = v_pick(seen, p, v_zero());
            dp = v_pick(seen, dp, v_zero());
            v_store(r->dp + i, dp);
        }
        if (cap <= 0) v_store(r->s + i, p);
        sum = v_fma(p, dp, sum);
    }
    r->delta = v_sum(sum);
}

/* After row_delta. With a cap its slope is wanted, so p is made again. */
DI_INLINE void K(grad)(const grad_row *r, int64_t i, float scale, float cap, vf *p, vf *ds)
{
    vf t = v_zero(), s = v_load(r->s + i);

    *p = s;
    if (cap > 0) {
        s = K(score)(s, scale, cap, &t);
        *p = v_exp(v_sub(s, v_set(r->lse)));
    }
    *ds = v_mul(v_mul(*p, v_sub(v_load(r->dp + i), v_set(r->delta))), v_set(scale));
    if (cap > 0) {
        *ds = v_mul(*ds, v_fnma(t, t, v_set(1)));
        if (r->lo > i || i + DI_VL > r->hi) {
            vm seen = v_range(i, r->lo, r->hi);

            *p = v_pick(seen, *p, v_zero());
            *ds = v_pick(seen, *ds, v_zero());
        }
    }
}

/* One row in f32: s becomes p, dp becomes ds. */
static void K(grad_f32)(const grad_row *r, int64_t n, float scale, float cap)
{
    for (int64_t i = 0; i < n; i += DI_VL) {
        vf p, ds;

        K(grad)(r, i, scale, cap, &p, &ds);
        v_store(r->s + i, p);
        v_store(r->dp + i, ds);
    }
}

#if DI_PASS == 4
/* Lanes of x and y side by side, rounded: unit j is (x_j, y_j). */
DI_INLINE __m512i side_by_side(vf x, vf y)
{
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(y, x);
    __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                     23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);

    return _mm512_permutexvar_epi16(order, both);
}

/*
 * Two rows in bf16: p2 and ds2 [n] are pairs of the rows, for the sums over queries; each dp row
 * becomes its ds in bf16, for the sum over keys. The second row may have no keys (lo = hi).
 */
static void grad_pair(const grad_row row[2], int64_t n, float scale, float cap, uint32_t *p2,
                      uint32_t *ds2)
{
    for (int64_t i = 0; i < n; i += DI_VL) {
        vf p[2], ds[2];

        for (int r = 0; r < 2; r++) grad_bf16(&row[r], i, scale, cap, &p[r], &ds[r]);
        for (int r = 0; r < 2; r++) v_store_bf16((uint16_t *)row[r].dp + i, ds[r]);
        _mm512_storeu_si512(p2 + i, side_by_side(p[0], p[1]));
        _mm512_storeu_si512(ds2 + i, side_by_side(ds[0], ds[1]));
    }
}
#endif

#elif defined(DI_VECTOR)

/* Rows of a strip: two and four register tiles; backward sums over a strip, so it wants more. */
enum { FORWARD_ROWS = 24, BACKWARD_ROWS = 48, PARTS = 8 };

/* A call's constants and one thread's memory. Lengths are of the longest path in the batch. */
typedef struct strip_memory {
    int32_t *list;      /* [length] position -> row of the batch */
    uint32_t *kt, *vt;  /* keys, values as b: n = positions, k = head size; vt: backward */
    uint32_t *kd, *vd;  /* the same with n = head size, k = positions; kd: backward; vd: forward */
    uint32_t *q, *d_o;  /* [rows][units of D]; d_o: backward */
    uint32_t *qd, *dod; /* backward: as b, n = head size, k = rows of the strip */
    float *s, *dp;      /* [rows][length] */
    uint32_t *p2, *ds2; /* backward in pairs: [rows / 2][length] */
    float *out;         /* [rows][D] */
    float *sum;         /* [rows] forward: of p */
    float *dk, *dv;     /* backward: [length][D] sums */
} strip_memory;

typedef struct call {
    const di_attention_args *a;
    di_isa isa;
    int pairs, backward, parts;
    int64_t length;       /* rounded up to a panel */
    int64_t group;        /* query heads to a key/value head */
    int64_t tokens, rows; /* of a strip, at most */
    int64_t units;        /* of a head */
    int32_t *root;        /* [n_trees + 1] first segment of each tree */
    int64_t n_trees;
} call;

static call plan_call(const di_device *dev, const di_attention_args *a, int64_t length,
                      int backward)
{
    call c = {.a = a, .backward = backward};

    c.isa = di_cpu_isa(dev);
    c.pairs = dev->act == DI_BF16 && c.isa == DI_ISA_BF16;
    c.length = di_round_up(length, DI_PANEL);
    c.group = a->heads / a->kv_heads;
    c.tokens = (backward ? BACKWARD_ROWS : FORWARD_ROWS) / c.group;
    if (c.tokens < 1) c.tokens = 1;
    c.rows = di_round_up(c.tokens * c.group, 2);
    c.units = di_units(c.pairs, a->head_dim);
    return c;
}

/* Takes n units of four bytes from the block, on a cache line; counts alone where base is NULL. */
static void *take(char *base, size_t *used, int64_t n)
{
    void *p = base != NULL ? base + *used : NULL;

    *used += (size_t)di_round_up(n, 16) * 4;
    return p;
}

static size_t carve(const call *c, char *base, strip_memory *m)
{
    int64_t d = di_round_up(c->a->head_dim, DI_PANEL), rows = c->rows;
    int64_t keys = di_units(c->pairs, c->length);
    size_t n = 0;

    *m = (strip_memory){0};
    m->list = take(base, &n, c->length);
    m->kt = take(base, &n, c->length * c->units);
    m->q = take(base, &n, rows * c->units);
    m->s = take(base, &n, rows * c->length);
    m->out = take(base, &n, rows * d);
    m->sum = take(base, &n, rows);
    if (!c->backward) {
        m->vd = take(base, &n, keys * d);
        return n;
    }
    m->vt = take(base, &n, c->length * c->units);
    m->kd = take(base, &n, keys * d);
    m->d_o = take(base, &n, rows * c->units);
    m->qd = take(base, &n, di_units(c->pairs, rows) * d);
    m->dod = take(base, &n, di_units(c->pairs, rows) * d);
    m->dp = take(base, &n, rows * c->length);
    m->dk = take(base, &n, c->length * d);
    m->dv = take(base, &n, c->length * d);
    if (c->pairs) {
        m->p2 = take(base, &n, rows / 2 * c->length);
        m->ds2 = take(base, &n, rows / 2 * c->length);
    }
    return n;
}

size_t di_cpu_attention_bytes(const di_device *dev, const di_attention_args *a, int64_t max_rows,
                              int64_t max_length, int backward)
{
    call c = plan_call(dev, a, max_length, backward);
    strip_memory m;
    size_t roots = 0;

    take(NULL, &roots, max_rows + 1);
    return roots + (size_t)dev->threads * carve(&c, NULL, &m);
}

/* The trees of the batch; the rest of the work memory belongs to the threads. */
static char *find_trees(call *c)
{
    const di_batch *b = c->a->batch;
    size_t used = 0;

    c->root = take(c->a->work, &used, b->n_rows + 1);
    for (int64_t s = 0; s < b->n_segments; s++)
        if (b->segment[s].parent < 0) c->root[c->n_trees++] = (int32_t)s;
    c->root[c->n_trees] = (int32_t)b->n_segments;
    return (char *)c->a->work + used;
}

static int64_t longest(const di_batch *b)
{
    int64_t n = 0;

    for (int64_t s = 0; s < b->n_segments; s++)
        if (b->segment[s].start + b->segment[s].n > n) n = b->segment[s].start + b->segment[s].n;
    return n;
}

/* Columns of head group `kv` of rows [row, row + n) of m: `heads` heads wide. */
static di_mat view(const call *c, const di_mat *m, int64_t row, int64_t n, int64_t kv,
                   int64_t heads)
{
    int64_t cols = heads * c->a->head_dim;
    size_t at = (size_t)(row * m->stride + kv * cols) * di_act_bytes(m->dtype);

    return (di_mat){(char *)m->data + at, m->dtype, n, cols, m->stride};
}

/* Packs positions [from, end) of x's head kv: across (n = positions) and down (k = positions). */
static void pack_path(const call *c, const strip_memory *m, const di_mat *x, int64_t kv,
                      int64_t from, int64_t end, uint32_t *across, uint32_t *down)
{
    di_pack p = {.x = x->data,
                 .dtype = x->dtype,
                 .stride = x->stride,
                 .row0 = from,
                 .rows = end - from,
                 .col0 = kv * c->a->head_dim,
                 .cols = c->a->head_dim,
                 .list = m->list,
                 .scale = 1};

    if (across != NULL) {
        p.to = across + from * c->units;
        di_pack_across(c->isa, c->pairs, &p);
    }
    if (down != NULL) {
        p.to = down;
        di_pack_down(c->isa, c->pairs, &p, di_units(c->pairs, from),
                     di_units(c->pairs, di_round_up(end, DI_PANEL)), di_units(c->pairs, c->length));
    }
}

/* Puts segment s at the end of the path. What a sibling left behind in its last panel goes too. */
static void enter(const call *c, const strip_memory *m, int32_t s, int64_t kv)
{
    const di_segment *seg = &c->a->batch->segment[s];
    int64_t from = seg->start / DI_PANEL * DI_PANEL, end = seg->start + seg->n;
    int64_t d = di_round_up(c->a->head_dim, DI_PANEL);

    for (int32_t i = 0; i < seg->n; i++) m->list[seg->start + i] = seg->row + i;
    pack_path(c, m, &c->a->k, kv, from, end, m->kt, m->kd);
    pack_path(c, m, &c->a->v, kv, from, end, m->vt, m->vd);
    if (c->backward) {
        memset(m->dk + seg->start * d, 0, (size_t)(seg->n * d) * sizeof(float));
        memset(m->dv + seg->start * d, 0, (size_t)(seg->n * d) * sizeof(float));
    }
}

/* The first child of segment s at or after segment `from`; -1: none. */
static int32_t child(const di_batch *b, int32_t s, int32_t from, int32_t end)
{
    for (int32_t i = from; i < end; i++)
        if (b->segment[i].parent == s) return i;
    return -1;
}

/* One strip: tokens [t, t + n) of a segment, positions [pos, pos + n), keys [first, end). */
typedef struct strip {
    int64_t row, pos, n, rows; /* rows = n * group */
    int64_t first, end;        /* multiples of a panel and of half a panel */
} strip;

static int64_t first_key(const di_attention_args *a, int64_t pos)
{
    return a->window > 0 && pos - a->window + 1 > 0 ? pos - a->window + 1 : 0;
}

static strip strip_at(const call *c, const di_segment *seg, int64_t t)
{
    strip s = {.row = seg->row + t, .pos = seg->start + t, .n = seg->n - t};

    if (s.n > c->tokens) s.n = c->tokens;
    s.rows = s.n * c->group;
    s.first = first_key(c->a, s.pos) / DI_PANEL * DI_PANEL;
    s.end = di_round_up(s.pos + s.n, DI_PANEL / 2);
    return s;
}

/* x's rows of the strip as an operand a: [rows][units], the heads of a token one below the other.
 */
static void pack_strip(const call *c, const strip *s, const di_mat *x, int64_t kv, uint32_t *to)
{
    di_mat v = view(c, x, s->row, s->n, kv, c->group);
    di_pack p = {.x = v.data,
                 .dtype = v.dtype,
                 .stride = v.stride,
                 .rows = v.rows,
                 .cols = v.cols,
                 .scale = 1,
                 .to = to};

    di_pack_rows(c->isa, c->pairs, &p);
}

/* to [rows][keys of the strip] = x (an operand a) times packed keys or values across. */
static void times_path(const call *c, const strip *s, const uint32_t *x, const uint32_t *path,
                       float *to)
{
    di_mm mm = {.m = s->rows,
                .n = s->end - s->first,
                .k = c->units,
                .a = x,
                .a_row = c->units,
                .a_k = 1,
                .b = path + s->first * c->units,
                .b_panel = c->units * DI_PANEL,
                .b_k = DI_PANEL,
                .c = to,
                .c_row = c->length};

    di_mm_run(c->isa, c->pairs, &mm);
}

/* out [rows][D] = weights over the strip's keys (rows of m->s or m->dp) times a path down. */
static void sum_path(const call *c, const strip_memory *m, const strip *s, const float *weights,
                     const uint32_t *path)
{
    int64_t keys = di_units(c->pairs, c->length);
    di_mm mm = {.m = s->rows,
                .n = c->a->head_dim,
                .k = di_units(c->pairs, s->end - s->first),
                .a = weights,
                .a_row = c->length,
                .a_k = 1,
                .b = path + di_units(c->pairs, s->first) * DI_PANEL,
                .b_panel = keys * DI_PANEL,
                .b_k = DI_PANEL,
                .c = m->out,
                .c_row = c->a->head_dim};

    di_mm_run(c->isa, c->pairs, &mm);
}

/* m->out to the strip's rows of y. */
static void put_strip(const call *c, const strip_memory *m, const strip *s, const di_mat *y,
                      int64_t kv)
{
    di_mat to = view(c, y, s->row, s->n, kv, c->group);
    di_mat from = {m->out, DI_F32, s->n, to.cols, to.cols};

    di_store(c->isa, &from, NULL, &to, 0);
}

#define PICK(isa, name)                                                                            \
    ((isa) >= DI_ISA_BF16 ? name##_bf16 : (isa) >= DI_ISA_AVX512 ? name##_avx512 : name##_avx2)

static void forward_strip(const call *c, const strip_memory *m, const strip *s, int64_t kv)
{
    const di_attention_args *a = c->a;
    int64_t d = a->head_dim;

    pack_strip(c, s, &a->q, kv, m->q);
    times_path(c, s, m->q, m->kt, m->s);
    for (int64_t r = 0; r < s->rows; r++) {
        int64_t i = r / c->group;
        float lse = PICK(c->isa, softmax_row)(
            m->s + r * c->length, s->end - s->first, first_key(a, s->pos + i) - s->first,
            s->pos + i + 1 - s->first, a->scale, a->cap, c->pairs, &m->sum[r]);

        if (a->lse != NULL) a->lse[(s->row + i) * a->heads + kv * c->group + r % c->group] = lse;
    }
    sum_path(c, m, s, m->s, m->vd);
    for (int64_t r = 0; r < s->rows; r++) PICK(c->isa, scale_row)(m->out + r * d, d, 1 / m->sum[r]);
    put_strip(c, m, s, &a->o, kv);
}

/*
 * m->s and m->dp to p and ds: in f32 in place; in pairs to p2 and ds2 (pairs of rows), and ds as
 * bf16 rows in m->dp. An odd last row is paired with one that sees no keys.
 */
static void grad_rows(const call *c, const strip_memory *m, const strip *s, int64_t kv)
{
    const di_attention_args *a = c->a;
    int64_t n = s->end - s->first, h0 = kv * c->group;

    for (int64_t r = 0; r < s->rows; r += 2) {
        grad_row row[2] = {0};

        for (int64_t j = 0; j < 2; j++) {
            int64_t i = (r + j) / c->group, pos = s->pos + i;

            row[j].s = m->s + (r + j) * c->length;
            row[j].dp = m->dp + (r + j) * c->length;
            if (r + j < s->rows) {
                row[j].lo = first_key(a, pos) - s->first;
                row[j].hi = pos + 1 - s->first;
                row[j].lse = a->lse[(s->row + i) * a->heads + h0 + (r + j) % c->group];
            }
            PICK(c->isa, row_delta)(&row[j], n, a->scale, a->cap);
            if (!c->pairs) PICK(c->isa, grad_f32)(&row[j], n, a->scale, a->cap);
        }
        if (c->pairs)
            grad_pair(row, n, a->scale, a->cap, m->p2 + r / 2 * c->length,
                      m->ds2 + r / 2 * c->length);
    }
}

/* sums [keys][D] += weights^T x: weights as pairs of rows or f32 rows, x packed down. */
static void add_to_path(const call *c, const strip *s, const void *weights, const uint32_t *x,
                        float *sums)
{
    int64_t d = di_round_up(c->a->head_dim, DI_PANEL);
    di_mm mm = {.m = s->end - s->first,
                .n = c->a->head_dim,
                .k = di_units(c->pairs, s->rows),
                .a = weights,
                .a_row = 1,
                .a_k = c->length,
                .b = x,
                .b_panel = di_units(c->pairs, c->rows) * DI_PANEL,
                .b_k = DI_PANEL,
                .c = sums + s->first * d,
                .c_row = d,
                .add = 1};

    di_mm_run(c->isa, c->pairs, &mm);
}

/* The strip's packed rows x (an operand a) as an operand b. */
static void turn_strip(const call *c, const strip *s, const uint32_t *x, uint32_t *to)
{
    di_pack p = {.x = x,
                 .dtype = c->pairs ? DI_BF16 : DI_F32,
                 .rows = s->rows,
                 .stride = c->pairs ? 2 * c->units : c->units,
                 .cols = c->a->head_dim,
                 .scale = 1,
                 .to = to};
    int64_t k = di_units(c->pairs, s->rows);

    di_pack_down(c->isa, c->pairs, &p, 0, k, di_units(c->pairs, c->rows));
}

static void backward_strip(const call *c, const strip_memory *m, const strip *s, int64_t kv)
{
    pack_strip(c, s, &c->a->q, kv, m->q);
    pack_strip(c, s, &c->a->d_o, kv, m->d_o);
    turn_strip(c, s, m->q, m->qd);
    turn_strip(c, s, m->d_o, m->dod);
    times_path(c, s, m->q, m->kt, m->s);
    times_path(c, s, m->d_o, m->vt, m->dp);
    grad_rows(c, m, s, kv);
    sum_path(c, m, s, m->dp, m->kd);
    put_strip(c, m, s, &c->a->dq, kv);
    add_to_path(c, s, c->pairs ? (const void *)m->p2 : m->s, m->dod, m->dv);
    add_to_path(c, s, c->pairs ? (const void *)m->ds2 : m->dp, m->qd, m->dk);
}

/* The sums of segment s are complete: to dk and dv. */
static void leave(const call *c, const strip_memory *m, int32_t s, int64_t kv)
{
    const di_segment *seg = &c->a->batch->segment[s];
    int64_t d = di_round_up(c->a->head_dim, DI_PANEL);
    di_mat from = {m->dk + seg->start * d, DI_F32, seg->n, c->a->head_dim, d};
    di_mat dk = view(c, &c->a->dk, seg->row, seg->n, kv, 1);
    di_mat dv = view(c, &c->a->dv, seg->row, seg->n, kv, 1);

    di_store(c->isa, &from, NULL, &dk, 0);
    from.data = m->dv + seg->start * d;
    di_store(c->isa, &from, NULL, &dv, 0);
}

/* Tree t, head kv. Forward with few tasks: strips are dealt to `parts` tasks of their own. */
static void run_tree(const call *c, const strip_memory *m, int64_t tree, int64_t kv, int part)
{
    const di_batch *b = c->a->batch;
    int32_t root = c->root[tree], end = c->root[tree + 1], s = root, next;
    int64_t dealt = 0;

    while (s >= 0) {
        enter(c, m, s, kv);
        for (int64_t t = 0; t < b->segment[s].n; t += c->tokens) {
            strip at = strip_at(c, &b->segment[s], t);

            if (dealt++ % c->parts != part) continue;
            if (c->backward)
                backward_strip(c, m, &at, kv);
            else
                forward_strip(c, m, &at, kv);
        }
        next = child(b, s, s + 1, end);
        while (next < 0 && s >= 0) { /* up, to the next branch */
            int32_t up = b->segment[s].parent;

            if (c->backward) leave(c, m, s, kv);
            next = up >= 0 ? child(b, up, s + 1, end) : -1;
            s = up;
        }
        s = next;
    }
}

static void run(const di_device *dev, const di_attention_args *a, int backward)
{
    call c = plan_call(dev, a, longest(a->batch), backward);
    char *memory = find_trees(&c);
    int64_t tasks = c.n_trees * a->kv_heads;
    strip_memory none;
    size_t size = carve(&c, NULL, &none);

    c.parts = 1;
    while (!backward && c.parts < PARTS && tasks * c.parts < 2 * dev->threads) c.parts *= 2;
    if (dev->threads == 1) c.parts = 1;
#pragma omp parallel num_threads(dev->threads)
    {
        strip_memory m;

        carve(&c, memory + (size_t)omp_get_thread_num() * size, &m);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < tasks * c.parts; i++)
            run_tree(&c, &m, i / c.parts / a->kv_heads, i / c.parts % a->kv_heads,
                     (int)(i % c.parts));
    }
}

void di_cpu_attention_forward(di_device *dev, const di_attention_args *a)
{
    if (a->q.rows > 0) run(dev, a, 0);
}

void di_cpu_attention_backward(di_device *dev, const di_attention_args *a)
{
    if (a->q.rows > 0) run(dev, a, 1);
}

#endif
