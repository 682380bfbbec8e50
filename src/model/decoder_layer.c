/*
 * One block of the decoder, forward and backward, as calls of the operations in tensor/ops.h.
 *
 *   n   = norm(x)                        q, k, v = n Wqkv^T (+ LoRA)
 *   q,k = RoPE(norm(q)), RoPE(norm(k))   o = attention(q, k, v)
 *   mid = x + post(o Wo^T (+ LoRA))
 *   m   = norm(mid)                      gate, up = m Wgu^T (+ LoRA)
 *   h   = act(gate) * up                 out = mid + post(h Wd^T (+ LoRA))
 *
 * The stream runs in one f32 buffer. Kept for backward: x and mid as the norms saw them (rounded to
 * act: they are factors of a gradient, not the stream), q|k|v, lse, gate|up, inputs of post norms,
 * one number a row of each norm, u = x A^T of every LoRA pair, and o where o_proj carries LoRA.
 * Recomputed there, because that reads memory once: the outputs of the norms, h, and q and k after
 * their own norms. u is kept, unlike those: it is R floats a row, and making it again takes a
 * product. docs/performance.md has the bytes of each.
 *
 * Who reads the last token of a text alone needs nothing of the last block's other rows but their
 * keys and values: behind attention that block goes on with the rows of the ends.
 */
#include "model/decoder_parts.h"

/* What every step of a block needs. */
typedef struct block {
    const di_decoder *d;
    di_workspace *w;
    const di_batch *b;
    const di_layer *layer;
    const di_saved *s;
    di_device *dev;
    const di_backend *ops;
    const di_config *c;
    int64_t l, n;   /* layer, rows */
    int64_t hd, kd; /* H*D, K*D */
    di_dtype act;
} block;

static block block_of(const di_decoder *d, di_workspace *w, const di_batch *b, int64_t l,
                      const di_saved *s)
{
    const di_config *c = d->cfg;
    di_device *dev = d->layer[l].dev;

    return (block){d,
                   w,
                   b,
                   &d->layer[l],
                   s,
                   dev,
                   dev->ops,
                   c,
                   l,
                   b->n_rows,
                   c->heads * c->head_dim,
                   c->kv_heads * c->head_dim,
                   dev->act};
}

static const di_mat NOT_WANTED = {.data = NULL};

/* f32 room for one row a text. */
static di_mat end_rows(const block *k, int64_t cols)
{
    return di_mat_of(k->w->ends, DI_F32, k->b->n_texts, cols);
}

static di_mat f32(const block *k, float *data)
{
    return di_mat_of(data, DI_F32, k->n, k->c->width);
}

static di_mat act(const block *k, void *data, int64_t cols)
{
    return di_mat_of(data, k->act, k->n, cols);
}

/* y (+)= norm(x); rstd NULL: known already; keep NULL: x is not wanted again. */
static void norm(const block *k, di_norm_kind kind, di_mat x, di_mat y, float *rstd, void *keep,
                 int add)
{
    di_norm_args a = {.x = x,
                      .y = y,
                      .keep = keep != NULL ? act(k, keep, k->c->width) : NOT_WANTED,
                      .w = k->layer->norm[kind],
                      .rstd = rstd,
                      .groups = 1,
                      .eps = k->c->norm_eps,
                      .add = add};

    k->ops->norm_forward(k->dev, &a);
}

/* dx (+)= gradient through the norm of x. */
static void norm_back(const block *k, di_norm_kind kind, di_mat x, di_mat dy, di_mat dx, int add)
{
    di_norm_args a = {.x = x,
                      .w = k->layer->norm[kind],
                      .rstd = k->s->rstd[kind],
                      .groups = 1,
                      .eps = k->c->norm_eps,
                      .add = add,
                      .dy = dy,
                      .dx = dx};

    k->ops->norm_backward(k->dev, &a);
}

/* --- LoRA ------------------------------------------------------------------------------------- */

/* 0: this linear layer carries none. */
static int lora_pair(const block *k, di_linear lin, di_mat x, di_lora_args *a)
{
    const di_params *p = k->d->lora;

    if (p == NULL || p->lora.r == 0) return 0;
    *a = (di_lora_args){.x = x,
                        .scale = di_lora_scale(&p->lora),
                        .a = di_param_at(p, p->theta, k->l, lin, 0),
                        .b = di_param_at(p, p->theta, k->l, lin, 1),
                        .u = {k->s->u[lin], k->dev->act, x.rows, p->lora.r, p->lora.r},
                        .work = k->w->work};
    return a->a != NULL;
}

static void lora(const block *k, di_linear lin, di_mat x, di_mat y)
{
    di_lora_args a;

    if (!lora_pair(k, lin, x, &a)) return;
    a.y = y;
    k->ops->lora_forward(k->dev, &a);
}

/* dx (+)= ; data NULL: not wanted. */
static void lora_back(const block *k, float *grad, di_linear lin, di_mat x, di_mat dy, di_mat dx)
{
    di_lora_args a;

    if (!lora_pair(k, lin, x, &a)) return;
    a.dy = dy;
    a.dx = dx;
    a.da = di_param_at(k->d->lora, grad, k->l, lin, 0);
    a.db = di_param_at(k->d->lora, grad, k->l, lin, 1);
    k->ops->lora_backward(k->dev, &a);
}

/* --- attention -------------------------------------------------------------------------------- */

/* Columns of q, k and v in a [N, HD + 2KD] matrix. */
typedef struct qkv_mats {
    di_mat q, k, v;
} qkv_mats;

static qkv_mats split_qkv(const block *k, void *data)
{
    di_mat all = act(k, data, k->hd + 2 * k->kd);

    return (qkv_mats){di_mat_cols(all, 0, k->hd), di_mat_cols(all, k->hd, k->kd),
                      di_mat_cols(all, k->hd + k->kd, k->kd)};
}

static di_attention_args attention_args(const block *k, const qkv_mats *m)
{
    const di_config *c = k->c;

    return (di_attention_args){.batch = k->b,
                               .q = m->q,
                               .k = m->k,
                               .v = m->v,
                               .o = act(k, k->s->o, k->hd),
                               .lse = k->s->lse,
                               .heads = c->heads,
                               .kv_heads = c->kv_heads,
                               .head_dim = c->head_dim,
                               .window = c->window[k->l],
                               .scale = c->attn_scale,
                               .cap = c->attn_cap,
                               .work = k->w->work};
}

/* k lies behind q in the same rows: one call turns the heads of both. */
static void rotate(const block *k, const qkv_mats *m, int inverse)
{
    const di_config *c = k->c;
    const float *table = k->w->rope[c->rope_local[k->l] != 0];
    di_mat both = m->q;

    both.cols += m->k.cols;
    k->ops->rope(k->dev, &both, k->b->position, table, c->heads + c->kv_heads, c->head_dim,
                 inverse);
}

static di_norm_args head_norm(const block *k, di_norm_kind kind, di_mat x)
{
    int64_t heads = kind == DI_NORM_Q ? k->c->heads : k->c->kv_heads;
    float *rstd = k->w->rstd_qk + (kind == DI_NORM_Q ? 0 : k->n * k->c->heads);

    return (di_norm_args){
        .x = x, .w = k->layer->norm[kind], .rstd = rstd, .groups = heads, .eps = k->c->norm_eps};
}

/*
 * q and k as attention takes them. Without head norms they are rotated in place and m is as it
 * was. With them the raw values must stay for the norms' gradient: the result goes to w->qk.
 */
static qkv_mats finish_qk(const block *k, qkv_mats m)
{
    if (k->c->qk_norm) {
        di_mat qk = act(k, k->w->qk, k->hd + k->kd);
        di_norm_args q = head_norm(k, DI_NORM_Q, m.q), kk = head_norm(k, DI_NORM_K, m.k);

        m.q = q.y = di_mat_cols(qk, 0, k->hd);
        m.k = kk.y = di_mat_cols(qk, k->hd, k->kd);
        k->ops->norm_forward(k->dev, &q);
        k->ops->norm_forward(k->dev, &kk);
    }
    rotate(k, &m, 0);
    return m;
}

static void attention_forward(const block *k)
{
    di_mat x = f32(k, k->w->x), normed = act(k, k->w->normed, k->c->width);
    di_mat all = act(k, k->s->qkv, k->hd + 2 * k->kd);
    qkv_mats m = split_qkv(k, k->s->qkv);
    di_attention_args a;

    norm(k, DI_NORM_ATTN, x, normed, k->s->rstd[DI_NORM_ATTN], k->s->x, 0);
    k->ops->linear_forward(k->dev, k->layer->qkv, &normed, &all, 0);
    lora(k, DI_Q_PROJ, normed, m.q);
    lora(k, DI_K_PROJ, normed, m.k);
    lora(k, DI_V_PROJ, normed, m.v);
    m = finish_qk(k, m);
    a = attention_args(k, &m);
    k->ops->attention_forward(k->dev, &a);
}

/*
 * The stream += post(x W^T + LoRA), the end of both branches; `branch` 0: attention, 1: MLP.
 * only_saved: it stays as it is, and only what *s keeps is made.
 */
static void add_branch(const block *k, int branch, di_mat x, int only_saved)
{
    di_linear lin = branch ? DI_DOWN_PROJ : DI_O_PROJ;
    di_norm_kind post = branch ? DI_NORM_POST_MLP : DI_NORM_POST_ATTN;
    const di_packed *weight = branch ? k->layer->down : k->layer->o;
    di_mat stream = f32(k, k->w->x);

    if (k->layer->norm[post] != NULL) {
        di_mat y = act(k, k->s->post[branch], k->c->width);

        k->ops->linear_forward(k->dev, weight, &x, &y, 0);
        lora(k, lin, x, y);
        if (only_saved)
            norm(k, post, y, act(k, k->w->normed, k->c->width), k->s->rstd[post], NULL, 0);
        else
            norm(k, post, y, stream, k->s->rstd[post], NULL, 1);
    } else if (!only_saved) {
        k->ops->linear_forward(k->dev, weight, &x, &stream, 1);
        lora(k, lin, x, stream);
    } else {
        lora(k, lin, x, act(k, k->w->normed, k->c->width)); /* for u; the sum is thrown away */
    }
}

/* From all rows to those of the ends: m keeps them as its first rows. */
static void gather_ends(const block *k, di_mat m)
{
    di_mat some = end_rows(k, m.cols);

    k->ops->pool_forward(k->dev, k->b, &m, 0, &some);
    m.rows = some.rows;
    k->ops->copy(k->dev, &some, &m, 0);
}

void di_layer_forward(const di_decoder *d, di_workspace *w, const di_batch *b, int64_t l,
                      const di_saved *s, int ends, int again)
{
    block blk = block_of(d, w, b, l, s);
    const block *k = &blk;
    int64_t f = k->c->mlp;
    di_mat x, normed, gu, h;

    attention_forward(k);
    if (ends) {
        gather_ends(k, f32(k, w->x));
        gather_ends(k, act(k, s->o, k->hd));
        blk.n = b->n_texts;
    }
    x = f32(k, w->x);
    normed = act(k, w->normed, k->c->width);
    gu = act(k, s->gate_up, 2 * f);
    h = act(k, w->h, f);
    add_branch(k, 0, act(k, s->o, k->hd), 0);
    norm(k, DI_NORM_MLP, x, normed, s->rstd[DI_NORM_MLP], s->mid, 0);
    k->ops->linear_forward(k->dev, k->layer->gate_up, &normed, &gu, 0);
    lora(k, DI_GATE_PROJ, normed, di_mat_cols(gu, 0, f));
    lora(k, DI_UP_PROJ, normed, di_mat_cols(gu, f, f));
    k->ops->glu_forward(k->dev, k->c->act, &gu, &h);
    add_branch(k, 1, h, again);
}

/* --- backward --------------------------------------------------------------------------------- */

enum {
    QKV = 1U << DI_Q_PROJ | 1U << DI_K_PROJ | 1U << DI_V_PROJ,
    ATTENTION = QKV | 1U << DI_O_PROJ,
    GATE_UP = 1U << DI_GATE_PROJ | 1U << DI_UP_PROJ
};

/* Gradient of what a branch adds to the stream, in act; without a post norm and in f32 it is dx. */
static di_mat branch_gradient(const block *k, int branch)
{
    di_norm_kind post = branch ? DI_NORM_POST_MLP : DI_NORM_POST_ATTN;
    di_mat dx = f32(k, k->w->dx), dact = act(k, k->w->dact, k->c->width);

    if (k->layer->norm[post] != NULL)
        norm_back(k, post, act(k, k->s->post[branch], k->c->width), dx, dact, 0);
    else if (k->act == DI_F32)
        return dx;
    else
        k->ops->copy(k->dev, &dx, &dact, 0);
    return dact;
}

/* `need`: bits of the linear layers whose LoRA gradient is wanted; past: dx too. */
static void mlp_backward(const block *k, float *grad, unsigned need, int past)
{
    int64_t f = k->c->mlp;
    di_mat dy = branch_gradient(k, 1);
    di_mat mid = act(k, k->s->mid, k->c->width), normed = act(k, k->w->normed, k->c->width);
    di_mat gu = act(k, k->s->gate_up, 2 * f), h = act(k, k->w->h, f);
    di_mat dgu = act(k, k->w->dwide, 2 * f), dh = act(k, k->w->dnarrow, f);
    di_mat dnormed = f32(k, k->w->dnormed), dx = f32(k, k->w->dx);
    int below_down = past || (need & GATE_UP) != 0;

    if (below_down) k->ops->linear_backward(k->dev, k->layer->down, &dy, &dh, 0);
    if (need & 1U << DI_DOWN_PROJ) {
        k->ops->glu_forward(k->dev, k->c->act, &gu, &h);
        lora_back(k, grad, DI_DOWN_PROJ, h, dy, below_down ? dh : NOT_WANTED);
    }
    if (!below_down) return;
    k->ops->glu_backward(k->dev, k->c->act, &gu, &dh, &dgu);
    if (past) k->ops->linear_backward(k->dev, k->layer->gate_up, &dgu, &dnormed, 0);
    if (need & GATE_UP) {
        norm(k, DI_NORM_MLP, mid, normed, NULL, NULL, 0);
        lora_back(k, grad, DI_GATE_PROJ, normed, di_mat_cols(dgu, 0, f),
                  past ? dnormed : NOT_WANTED);
        lora_back(k, grad, DI_UP_PROJ, normed, di_mat_cols(dgu, f, f), past ? dnormed : NOT_WANTED);
    }
    if (past) norm_back(k, DI_NORM_MLP, mid, dnormed, dx, 1);
}

/* dq and dk back through RoPE and, where they exist, the head norms; in place. */
static void unfinish_qk(const block *k, qkv_mats *grad)
{
    rotate(k, grad, 1);
    if (k->c->qk_norm) {
        qkv_mats raw = split_qkv(k, k->s->qkv);
        di_norm_args q = head_norm(k, DI_NORM_Q, raw.q), kk = head_norm(k, DI_NORM_K, raw.k);

        q.dy = q.dx = grad->q;
        kk.dy = kk.dx = grad->k;
        k->ops->norm_backward(k->dev, &q);
        k->ops->norm_backward(k->dev, &kk);
    }
}

/* Gradient of o, from that of the stream behind it; d_o data NULL: not wanted. */
static void o_backward(const block *k, float *grad, di_mat d_o)
{
    di_mat dy = branch_gradient(k, 0);

    if (d_o.data != NULL) k->ops->linear_backward(k->dev, k->layer->o, &dy, &d_o, 0);
    lora_back(k, grad, DI_O_PROJ, act(k, k->s->o, k->hd), dy, d_o);
}

/* o_backward on the rows of the ends, then all rows again: the others' gradients are zero. */
static void o_backward_ends(block *k, float *grad, int wanted, int past)
{
    di_mat some = end_rows(k, k->hd), dx = f32(k, k->w->dx), d_o;

    o_backward(k, grad, wanted ? some : NOT_WANTED);
    k->n = k->b->n_rows;
    if (!wanted) return;
    d_o = act(k, k->w->dnarrow, k->hd);
    k->ops->pool_backward(k->dev, k->b, &some, 0, &d_o);
    if (!past) return;
    some = end_rows(k, k->c->width);
    k->ops->copy(k->dev, &dx, &some, 0);
    dx = f32(k, k->w->dx);
    k->ops->pool_backward(k->dev, k->b, &some, 0, &dx);
}

/* From the gradient of o, in w->dnarrow, to that of the block's input. */
static void qkv_backward(const block *k, float *grad, unsigned need, int past)
{
    di_mat dall = act(k, k->w->dwide, k->hd + 2 * k->kd);
    di_mat x = act(k, k->s->x, k->c->width), normed = act(k, k->w->normed, k->c->width);
    di_mat dnormed = f32(k, k->w->dnormed), dx = f32(k, k->w->dx);
    di_mat into = past ? dnormed : NOT_WANTED;
    qkv_mats m = split_qkv(k, k->s->qkv), g = split_qkv(k, k->w->dwide);
    di_attention_args a;

    if (k->c->qk_norm) m = finish_qk(k, m); /* else they were kept as attention saw them */
    a = attention_args(k, &m);
    a.d_o = act(k, k->w->dnarrow, k->hd);
    a.dq = g.q;
    a.dk = g.k;
    a.dv = g.v;
    k->ops->attention_backward(k->dev, &a);
    unfinish_qk(k, &g);
    if (past) k->ops->linear_backward(k->dev, k->layer->qkv, &dall, &dnormed, 0);
    if (need & QKV) {
        norm(k, DI_NORM_ATTN, x, normed, NULL, NULL, 0);
        lora_back(k, grad, DI_Q_PROJ, normed, g.q, into);
        lora_back(k, grad, DI_K_PROJ, normed, g.k, into);
        lora_back(k, grad, DI_V_PROJ, normed, g.v, into);
    }
    if (past) norm_back(k, DI_NORM_ATTN, x, dnormed, dx, 1);
}

static void attention_backward(block *k, float *grad, unsigned need, int ends, int past)
{
    int below_o = past || (need & QKV) != 0;

    if (ends)
        o_backward_ends(k, grad, below_o, past);
    else
        o_backward(k, grad, below_o ? act(k, k->w->dnarrow, k->hd) : NOT_WANTED);
    if (below_o) qkv_backward(k, grad, need, past);
}

void di_layer_backward(const di_decoder *d, di_workspace *w, const di_batch *b, int64_t l,
                       const di_saved *s, float *grad, int ends, int lowest)
{
    block blk = block_of(d, w, b, l, s);
    const di_lora_options *o = &d->lora->lora;
    /* layers above end_layer carry no LoRA but pass the gradient down */
    unsigned need = l >= o->first_layer && l < o->end_layer ? o->targets : 0;

    if (ends) blk.n = b->n_texts;
    mlp_backward(&blk, grad, need, !lowest || (need & ATTENTION) != 0);
    if (!lowest || (need & ATTENTION) != 0) attention_backward(&blk, grad, need, ends, !lowest);
}
