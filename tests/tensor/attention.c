/* Attention over segment forests: grouped heads, windows, soft caps, shared prefixes. */
#include "forest.h"
#include "grad.h"

typedef struct attention_case {
    const forest *f;
    int64_t heads, kv_heads, d, window;
    float cap;
    const char *why;
} attention_case;

/* clang-format off */
static const attention_case cases[] = {
    {&one_token,   1, 1,   2,  0,  0, "one token sees itself"},
    {&singles,     3, 1,  64,  0,  0, "three query heads on one key head; lengths around a block"},
    {&pairs,       4, 2,   6,  0,  0, "tiny odd half heads; shared prefixes"},
    {&three_level, 2, 1,  64,  0,  0, "paths of three segments"},
    {&three_level, 2, 2, 128, 24,  0, "window that ends inside an ancestor"},
    {&long_text,   2, 1, 256,  0, 50, "Gemma 2: soft cap, large heads"},
    {&long_text,   3, 3,  10, 64,  5, "window of a block, strong cap"},
    {&longer,      2, 1,  16, 130, 0, "many key blocks, a window over two of them"},
    {&pairs,       2, 1,  20,  1,  0, "a window of one: o = v"},
    {&no_text,     2, 1,  64,  0,  0, "no rows: nothing written"},
};
static const forest bench_batch = {12, {{-1, 150}, {0, 100}, {0, 120}, {-1, 150}, {3, 100},
                                        {3, 120}, {-1, 150}, {6, 100}, {6, 120}, {-1, 150},
                                        {9, 100}, {9, 120}}};
static const forest bench_long = {1, {{-1, 2048}}};
static const attention_case perf_cases[] = {
    {&bench_batch, 9, 3,  64, 0,  0, "SmolLM2-135M, four pairs"},
    {&bench_long,  9, 3,  64, 0,  0, "a long text"},
    {&bench_batch, 8, 4, 256, 0, 50, "Gemma-2-2B"},
};
/* clang-format on */

enum { Q, K, V, O, LSE, DO, DQ, DK, DV };

typedef struct extra {
    di_batch batch;
    void *work;
} extra;

static di_attention_args attention_args(const problem *p)
{
    const attention_case *c = p->c;
    extra *x = p->extra;

    return (di_attention_args){.batch = &x->batch,
                               .q = p->arg[Q].m,
                               .k = p->arg[K].m,
                               .v = p->arg[V].m,
                               .o = p->arg[O].m,
                               .lse = p->arg[LSE].m.data,
                               .heads = c->heads,
                               .kv_heads = c->kv_heads,
                               .head_dim = c->d,
                               .window = c->window,
                               .scale = (float)(1 / sqrt((double)c->d)),
                               .cap = c->cap,
                               .work = x->work};
}

static void prepare(di_device *dev, problem *p)
{
    extra *x = di_zalloc(di_alloc_default(), sizeof *x);
    di_attention_args a;

    x->batch = make_batch(((const attention_case *)p->c)->f);
    p->extra = x;
    a = attention_args(p);
    x->work = dev->ops->buffer_new(dev, dev->ops->attention_bytes(dev, &a, x->batch.n_rows,
                                                                  longest_text(&x->batch),
                                                                  p->n_args > DO));
}

static void finish(di_device *dev, problem *p)
{
    extra *x = p->extra;

    dev->ops->buffer_free(dev, x->work);
    free_batch(&x->batch);
    di_free(di_alloc_default(), x);
}

/*
 * Scores have standard deviation 1 where q and k are normal. The first row of v, which every row
 * but those beyond a window sees, and the last column of v, k and do are planted large. ROWS is for
 * padding and for gathering; what is independent here is a tree.
 */
static void make_inputs(problem *p, di_rng *r)
{
    const attention_case *c = p->c;
    int64_t n = forest_rows(c->f), hd = c->heads * c->d, kd = c->kv_heads * c->d;
    di_mat *v;

    p->n = n;
    add_arg(p, "q", IN | ROWS, p->act, n, hd, r, 1);
    add_arg(p, "k", IN | ROWS, p->act, n, kd, r, 1);
    v = add_arg(p, "v", IN | ROWS, p->act, n, kd, r, 1);
    plant_column(v, 4);
    for (int64_t j = 0; n > 0 && j < kd; j++) set_el(v, 0, j, 8);
}

static void make_forward(problem *p, di_rng *r)
{
    make_inputs(p, r);
    add_arg(p, "o", OUT | ROWS, p->act, p->n, p->arg[Q].m.cols, r, 0);
    add_arg(p, "lse", OUT | ROWS | DENSE, DI_F32, p->n, ((const attention_case *)p->c)->heads, r,
            0);
}

static void run_forward(di_device *dev, problem *p)
{
    di_attention_args a = attention_args(p);

    dev->ops->attention_forward(dev, &a);
}

/* o and lse are what ref's forward stores. */
static void make_backward(problem *p, di_rng *r)
{
    problem q = {.c = p->c, .act = p->act, .pad = p->pad};
    di_device dev;

    assert_true(open_device("ref", p->act, 1, &dev));
    make_forward(&q, r);
    *p = q;
    p->arg[O].flags = IN | ROWS;
    p->arg[LSE].flags = IN | ROWS | DENSE;
    prepare(&dev, p);
    run_forward(&dev, p);
    finish(&dev, p);
    di_device_close(&dev);
    plant_column(add_arg(p, "do", IN | ROWS, p->act, p->n, p->arg[Q].m.cols, r, 1), 3);
    add_arg(p, "dq", OUT | ROWS, p->act, p->n, p->arg[Q].m.cols, r, 0);
    add_arg(p, "dk", OUT | ROWS, p->act, p->n, p->arg[K].m.cols, r, 0);
    add_arg(p, "dv", OUT | ROWS, p->act, p->n, p->arg[K].m.cols, r, 0);
}

static void run_backward(di_device *dev, problem *p)
{
    di_attention_args a = attention_args(p);

    a.d_o = p->arg[DO].m;
    a.dq = p->arg[DQ].m;
    a.dk = p->arg[DK].m;
    a.dv = p->arg[DV].m;
    dev->ops->attention_backward(dev, &a);
}

/* One query row and head against its keys, in f64, with the error that each number may have. */
typedef struct row_view {
    const problem *p;
    int64_t n, h, kv, keys;      /* row, head, key head, keys seen */
    int64_t key[512];            /* their rows */
    double s[512], ds[512];      /* score after the cap; slope of the cap */
    double p_k[512], error[512]; /* softmax; absolute error of s */
    double top, lse;             /* largest score; log of the sum */
} row_view;

/*
 * Error of a score: a sum of D products, 4 E for scale, subtraction and the factor log2 e, 8 E cap
 * for tanh. The cap's slope is at most 1.
 */
static void view_row(const problem *p, const di_batch *b, int64_t segment, int64_t i, int64_t h,
                     row_view *w)
{
    const attention_case *c = p->c;
    int64_t pos = b->segment[segment].start + i, rows[512];
    double sum = 0;

    w->p = p;
    w->n = b->segment[segment].row + i;
    w->h = h;
    w->kv = h / (c->heads / c->kv_heads);
    w->keys = 0;
    w->top = -HUGE_VAL;
    for (int64_t s = segment; s >= 0; s = b->segment[s].parent)
        for (int64_t k = 0; k < b->segment[s].n; k++)
            rows[b->segment[s].start + k] = b->segment[s].row + k;
    for (int64_t k = 0; k <= pos; k++) {
        double dot = 0, size = 0, scale = (double)(float)(1 / sqrt((double)c->d));

        if (c->window > 0 && k <= pos - c->window) continue;
        for (int64_t d = 0; d < c->d; d++) {
            double t =
                el(&p->arg[Q].m, w->n, h * c->d + d) * el(&p->arg[K].m, rows[k], w->kv * c->d + d);

            dot += scale * t;
            size += scale * fabs(t);
        }
        w->key[w->keys] = rows[k];
        w->s[w->keys] = c->cap > 0 ? (double)c->cap * tanh(dot / (double)c->cap) : dot;
        w->ds[w->keys] = c->cap > 0 ? 1 - pow(tanh(dot / (double)c->cap), 2) : 1;
        w->error[w->keys] = sum_error(c->d) * size + 4 * E * fabs(dot) + 8 * E * (double)c->cap;
        w->top = fmax(w->top, w->s[w->keys++]);
    }
    for (int64_t k = 0; k < w->keys; k++) sum += exp(w->s[k] - w->top);
    w->lse = w->top + log(sum);
    for (int64_t k = 0; k < w->keys; k++) w->p_k[k] = exp(w->s[k] - w->lse);
}

static double largest_error(const row_view *w)
{
    double e = 0;

    for (int64_t k = 0; k < w->keys; k++) e = fmax(e, w->error[k]);
    return e;
}

/* p as operand of a product may be rounded to bf16. */
static double operand(const problem *p)
{
    return p->act == DI_BF16 ? 0x1p-8 : 0;
}

/* Calls visit for every row and head of the batch. */
static void for_each_row(problem *p, const problem *answer,
                         void (*visit)(problem *p, const problem *answer, const row_view *w))
{
    const attention_case *c = p->c;
    di_batch b = make_batch(c->f);
    row_view *w = di_new(di_alloc_default(), sizeof *w);

    for (int64_t s = 0; s < b.n_segments; s++)
        for (int64_t i = 0; i < b.segment[s].n; i++)
            for (int64_t h = 0; h < c->heads; h++) {
                view_row(p, &b, s, i, h, w);
                visit(p, answer, w);
            }
    di_free(di_alloc_default(), w);
    free_batch(&b);
}

/*
 * o = sum p v: relative error of p_k is that of its score, of the largest score (the sum below it),
 * of both exponents' arguments, 8 E for exp and quotient, and of the sum over keys.
 */
static void limit_row(problem *p, const problem *answer, const row_view *w)
{
    const attention_case *c = p->c;
    const di_mat *o = &answer->arg[O].m;
    double common = largest_error(w) + 8 * E + sum_error(w->keys) + operand(p);

    p->arg[LSE].limit[w->n * c->heads + w->h] = largest_error(w) + sum_error(w->keys) + 8 * E +
                                                4 * E * fabs(w->top) + unit(DI_F32) * fabs(w->lse);
    for (int64_t d = 0; d < c->d; d++) {
        double sum = 0;
        int64_t j = w->h * c->d + d;

        for (int64_t k = 0; k < w->keys; k++)
            sum += (common + w->error[k] + 4 * E * (fabs(w->s[k]) + fabs(w->top))) * w->p_k[k] *
                   fabs(el(&p->arg[V].m, w->key[k], w->kv * c->d + d));
        p->arg[O].limit[w->n * o->cols + j] = sum + unit(o->dtype) * fabs(el(o, w->n, j));
    }
}

static void limit_forward(problem *p, const problem *answer)
{
    for_each_row(p, answer, limit_row);
}

/* Relative error of p_k = exp(s_k - lse). */
static double row_error(const row_view *w, int64_t k)
{
    return w->error[k] + 4 * E * (fabs(w->s[k]) + fabs(w->lse)) + 8 * E;
}

/*
 * ds = p (dp - delta) slope scale, with p from lse; errors of p (relative), dp, delta (their sum
 * over the keys), the slope, and of ds as an operand add up. The sums over keys, or over rows for
 * dk and dv, come on top.
 */
static void limit_backward_row(problem *p, const problem *answer, const row_view *w)
{
    const attention_case *c = p->c;
    int64_t hd = c->heads * c->d, kd = c->kv_heads * c->d, at = w->h * c->d, kat = w->kv * c->d;
    double scale = 1 / sqrt((double)c->d), delta = 0, e_delta = 0, dp[512], e_dp[512];
    double rows = sum_error(p->n * c->heads / c->kv_heads), keys = sum_error(w->keys);

    for (int64_t k = 0; k < w->keys; k++) {
        dp[k] = e_dp[k] = 0;
        for (int64_t d = 0; d < c->d; d++) {
            double t = el(&p->arg[DO].m, w->n, at + d) * el(&p->arg[V].m, w->key[k], kat + d);

            dp[k] += t;
            e_dp[k] += sum_error(c->d) * fabs(t);
        }
        delta += w->p_k[k] * dp[k];
        e_delta += w->p_k[k] * (e_dp[k] + (keys + row_error(w, k)) * fabs(dp[k]));
    }
    for (int64_t k = 0; k < w->keys; k++) {
        double e_p = row_error(w, k);
        double part = w->p_k[k] * fabs(dp[k] - delta) * scale, ds = part * w->ds[k];
        double e_slope = c->cap > 0 ? 2 * w->error[k] / (double)c->cap + 16 * E : 0;
        double e_ds = w->p_k[k] * (e_dp[k] + e_delta) * scale * w->ds[k] + part * e_slope +
                      ds * (e_p + operand(p) + 8 * E);

        for (int64_t d = 0; d < c->d; d++) {
            int64_t m = w->key[k] * kd + kat + d;

            p->arg[DQ].limit[w->n * hd + at + d] +=
                (e_ds + keys * ds) * fabs(el(&p->arg[K].m, w->key[k], kat + d));
            p->arg[DK].limit[m] += (e_ds + rows * ds) * fabs(el(&p->arg[Q].m, w->n, at + d));
            p->arg[DV].limit[m] +=
                (e_p + operand(p) + rows) * w->p_k[k] * fabs(el(&p->arg[DO].m, w->n, at + d));
        }
    }
    (void)answer;
}

static void limit_backward(problem *p, const problem *answer)
{
    for_each_row(p, answer, limit_backward_row);
    for (int i = DQ; i <= DV; i++) {
        const di_mat *m = &answer->arg[i].m;

        for (int64_t k = 0; k < m->rows * m->cols; k++)
            p->arg[i].limit[k] += unit(m->dtype) * fabs(el(m, k / m->cols, k % m->cols)) + 1e-30;
    }
}

/* Products of visible pairs alone: 2 of them forward, 5 backward. */
static void cost(const problem *p, double *flop, double *bytes)
{
    const attention_case *c = p->c;
    di_batch b = make_batch(c->f);

    *flop = *bytes = 0;
    for (int64_t n = 0; n < b.n_rows; n++)
        *flop +=
            2 * (double)(b.position[n] + 1) * (double)(c->heads * c->d) * (p->n_args > DO ? 5 : 2);
    for (int i = 0; i < p->n_args; i++) *bytes += (double)mat_bytes(&p->arg[i].m);
    free_batch(&b);
}

/* Runs the same rows under another forest; every OUT row must have the bits of rows[k] of whole. */
static void check_forest(const op *o, di_device *dev, const problem *p, const problem *whole,
                         const forest *f, const int64_t *rows, const char *how)
{
    attention_case c = *(const attention_case *)p->c;
    problem q = copy_problem(p, rows, forest_rows(f), 0), b;

    c.f = f;
    q.c = &c;
    b = run_problem(o, dev, &q);
    for (int i = 0; i < p->n_args; i++)
        for (int64_t k = 0; (p->arg[i].flags & OUT) && k < q.n; k++)
            if (!same_bits(&whole->arg[i].m, rows[k], &b.arg[i].m, k))
                fail_msg("%s %s on %s (%s), case '%s': row %lld of %s differs %s", o->name,
                         di_dtype_name(p->act), dev->ops->name, dev->isa, c.why, (long long)rows[k],
                         p->arg[i].name, how);
    free_problem(&q), free_problem(&b);
}

/* The mode rows of op.h, a tree in place of a row; unsharing too must keep the bits of forward. */
static void check_trees(const op *o, di_device *dev, di_device *threaded, const problem *p)
{
    problem whole = run_problem(o, dev, p);
    const forest *f = ((const attention_case *)p->c)->f;
    int trees = count_trees(f), order[2 * MAX_SEGMENTS];
    int64_t rows[4096];
    forest g;

    for (int t = 0; t < trees; t++) {
        g = pick_trees(f, &t, 1, rows);
        check_forest(o, dev, p, &whole, &g, rows, "when its tree is alone");
    }
    for (int t = 0; t < trees; t++) order[t] = trees - 1 - t;
    g = pick_trees(f, order, trees, rows);
    check_forest(o, dev, p, &whole, &g, rows, "with the trees in reverse");
    check_forest(o, threaded, p, &whole, &g, rows, "on three threads");
    for (int t = 0; t < 2 * trees; t++) order[t] = t % trees;
    g = pick_trees(f, order, 2 * f->n <= MAX_SEGMENTS ? 2 * trees : trees, rows);
    check_forest(o, dev, p, &whole, &g, rows, "in a batch twice as large");
    if (p->n_args <= DO) {
        g = unshare(f, rows);
        check_forest(o, dev, p, &whole, &g, rows, "when no prefix is shared");
    }
    free_problem(&whole);
}

static const op attention_forward = {
    .name = "attention_forward",
    .entry = offsetof(di_backend, attention_forward),
    .drop = V,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_forward,
    .prepare = prepare,
    .finish = finish,
    .run = run_forward,
    .limit = limit_forward,
    .cost = cost,
    .check_rows = check_trees,
};
static const op attention_backward = {
    .name = "attention_backward",
    .entry = offsetof(di_backend, attention_backward),
    .drop = DO,
    OP_TABLE(cases),
    OP_PERF(perf_cases),
    .make = make_backward,
    .prepare = prepare,
    .finish = finish,
    .run = run_backward,
    .limit = limit_backward,
    .cost = cost,
    .check_rows = check_trees,
};

typedef struct ctx {
    di_device *dev;
    problem p;
    di_mat w;
} ctx;

static double loss(void *p, double *size)
{
    ctx *c = p;

    run_forward(c->dev, &c->p);
    return inner(&c->w, &c->p.arg[O].m, size);
}

static void gradient(void **state)
{
    static const attention_case rows[] = {
        {&pairs, 4, 2, 6, 0, 0, "grouped heads"},
        {&pairs, 2, 1, 6, 9, 0, "window"},
        {&pairs, 2, 2, 4, 0, 2, "strong cap"},
    };
    di_device dev;

    (void)state;
    assert_true(open_device("ref", DI_F32, 1, &dev));
    for (int i = 0; i < 3; i++) {
        ctx c = {.dev = &dev, .p = {.c = &rows[i], .act = DI_F32}};
        di_rng r = di_rng_make(12, DI_RNG_TEXT_ORDER, (uint32_t)i);
        problem *p = &c.p;

        make_backward(p, &r);
        prepare(&dev, p);
        run_backward(&dev, p);
        c.w = p->arg[DO].m;
        check_gradient("attention dq", loss, &c, &p->arg[Q].m, &p->arg[DQ].m);
        check_gradient("attention dk", loss, &c, &p->arg[K].m, &p->arg[DK].m);
        check_gradient("attention dv", loss, &c, &p->arg[V].m, &p->arg[DV].m);
        finish(&dev, p);
        free_problem(p);
    }
    di_device_close(&dev);
}

/* ref against the f64 evaluation of the limits: the two are written apart. */
static void scores_by_hand_visit(problem *p, const problem *answer, const row_view *w)
{
    int64_t d = ((const attention_case *)p->c)->d;

    for (int64_t i = 0; i < d; i++) {
        double o = 0, size = 0;

        for (int64_t k = 0; k < w->keys; k++) {
            double t = w->p_k[k] * el(&p->arg[V].m, w->key[k], w->kv * d + i);

            o += t;
            size += fabs(t);
        }
        assert_true(fabs(o - el(&answer->arg[O].m, w->n, w->h * d + i)) <=
                    E * fabs(o) + 1e-13 * size);
    }
}

static void scores_by_hand(void **state)
{
    di_device dev;

    (void)state;
    assert_true(open_device("ref", DI_F32, 1, &dev));
    for (int i = 0; i < attention_forward.n_cases; i++) {
        problem p = make_problem(&attention_forward, &cases[i], DI_F32, 0);
        problem a = run_problem(&attention_forward, &dev, &p);

        for_each_row(&p, &a, scores_by_hand_visit);
        free_problem(&p), free_problem(&a);
    }
    di_device_close(&dev);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OP_TEST(attention_forward, value),  OP_TEST(attention_forward, drop),
        OP_TEST(attention_forward, rows),   OP_TEST(attention_forward, dtype),
        OP_TEST(attention_backward, value), OP_TEST(attention_backward, drop),
        OP_TEST(attention_backward, rows),  OP_TEST(attention_backward, dtype),
        cmocka_unit_test(gradient),         cmocka_unit_test(scores_by_hand),
    };

    if (argc > 1)
        return op_perf(&attention_forward, argv[1]) | op_perf(&attention_backward, argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
