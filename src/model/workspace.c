/*
 * The memory of a step. One function, lay_out(), names every buffer once; it runs twice: dry, to
 * add up, then over the block that was taken from the device. So the plan cannot be wrong.
 *
 *   scratch      rope tables, the stream, hidden, normed, work of one block and its gradients;
 *                two workspaces that run in turn may share it (lender)
 *   train        one di_saved for each layer that backward visits
 *   checkpoint   of these only the start of each layer; one di_saved for all, filled again
 *
 * Scratch shares memory where two things never live at once: gate|up with q|k|v and their
 * gradients ("wide"); o, then h, then the gradients of h and o ("narrow").
 */
#include "model/decoder_parts.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

/*
 * Under the address sanitizer each buffer ends in memory that must not be touched, from its last
 * byte on: without that, a kernel that runs over writes into its neighbour unseen.
 */
#if defined(__SANITIZE_ADDRESS__)
#define DI_REDZONES
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DI_REDZONES
#endif
#endif
#ifdef DI_REDZONES
#include <sanitizer/asan_interface.h>
enum { REDZONE = 64 };
#define FORBID(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define ALLOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
enum { REDZONE = 0 };
#define FORBID(p, n) ((void)(p), (void)(n))
#define ALLOW(p, n) ((void)(p), (void)(n))
#endif

enum { LOGIT_ROWS = 16 };

typedef struct plan {
    di_arena arena; /* base NULL: dry */
    size_t total;
} plan;

static void *take(plan *p, size_t n)
{
    char *memory;

    p->total += di_arena_bytes(n + REDZONE);
    if (p->arena.base == NULL) return NULL;
    memory = di_arena_take(&p->arena, n + REDZONE);
    FORBID(memory + n, di_arena_bytes(n + REDZONE) - n);
    return memory;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Sizes that the buffers are made of. */
typedef struct sizes {
    const di_config *c;
    int64_t rows; /* row capacity of max_rows */
    int64_t ends; /* the same of the texts, where the last block ends with one row a text */
    int64_t hd, kd, r;
    size_t act; /* bytes of an element, in the widest of the blocks that share the memory */
} sizes;

static float *take_f32(plan *p, const sizes *z, int64_t cols)
{
    return take(p, (size_t)(z->rows * cols) * sizeof(float));
}

static void *take_act(plan *p, const sizes *z, int64_t cols)
{
    return take(p, (size_t)(z->rows * cols) * z->act);
}

/* What backward reads of one block; `behind` attention it may have fewer rows. */
static void lay_saved(plan *p, const sizes *z, int64_t behind, const di_workspace *w, di_saved *s)
{
    const di_config *c = z->c;
    unsigned targets = w->lora.targets;
    sizes few = *z;

    few.rows = behind;
    s->x = take_act(p, z, c->width);
    s->mid = take_act(p, &few, c->width);
    s->rstd[DI_NORM_ATTN] = take_f32(p, z, 1);
    s->rstd[DI_NORM_MLP] = take_f32(p, &few, 1);
    s->qkv = take_act(p, z, z->hd + 2 * z->kd);
    s->o = targets >> DI_O_PROJ & 1 ? take_act(p, z, z->hd) : w->dnarrow;
    s->lse = take_f32(p, z, c->heads);
    s->gate_up = take_act(p, &few, 2 * c->mlp);
    for (int i = 0; c->post_norms && i < 2; i++) {
        s->post[i] = take_act(p, &few, c->width);
        s->rstd[i ? DI_NORM_POST_MLP : DI_NORM_POST_ATTN] = take_f32(p, &few, 1);
    }
    for (int l = 0; l < DI_LINEAR_COUNT; l++)
        if (targets >> l & 1) s->u[l] = take_act(p, l <= DI_V_PROJ ? z : &few, z->r);
}

static void lay_all_saved(plan *p, const sizes *z, di_workspace *w)
{
    int64_t n = w->decoder->opt.n_layers - w->first;
    sizes own = *z;
    di_saved shared = {0}, unused;

    if (n > 0 && w->opt.grad_checkpoint) lay_saved(p, z, z->rows, w, &shared);
    for (int64_t i = 0; i < n; i++) {
        di_saved *s = w->saved != NULL ? &w->saved[i] : &unused; /* dry: only counted */

        *s = shared;
        if (w->opt.grad_checkpoint)
            s->start = take_f32(p, z, z->c->width);
        else {
            own.act = di_act_bytes(w->decoder->layer[w->first + i].dev->act);
            lay_saved(p, &own, i == n - 1 ? z->ends : z->rows, w, s);
        }
    }
    if (w->opt.train) w->last = take(p, (size_t)(z->ends * z->c->width) * z->act);
}

/* Work memory of LoRA and attention, which never run at once. */
static size_t work_bytes(const di_workspace *w, const sizes *z)
{
    const di_config *c = z->c;
    size_t most = 0;

    for (int64_t l = 0; l < w->decoder->opt.n_layers; l++) {
        di_device *dev = w->decoder->layer[l].dev;
        di_attention_args a = {.heads = c->heads,
                               .kv_heads = c->kv_heads,
                               .head_dim = c->head_dim,
                               .window = c->window[l],
                               .scale = c->attn_scale,
                               .cap = c->attn_cap};

        for (int backward = 0; backward <= (w->opt.train != 0); backward++) {
            size_t n =
                dev->ops->attention_bytes(dev, &a, w->opt.max_rows, w->opt.max_length, backward);
            if (n > most) most = n;
        }
        for (int k = 0; k < DI_LINEAR_COUNT; k++) {
            int64_t out, in;
            size_t n;

            if (!(w->lora.targets >> k & 1)) continue;
            di_linear_shape(c, (di_linear)k, &out, &in);
            n = dev->ops->lora_bytes(dev, w->opt.max_rows, in, out, z->r);
            if (n > most) most = n;
        }
    }
    return most;
}

static void lay_gradients(plan *p, const sizes *z, di_workspace *w)
{
    w->dx = take_f32(p, z, z->c->width);
    w->dnormed = w->hidden; /* what the last norm made is pooled before any gradient is */
    w->dact = w->normed;    /* each is spent before the other is made */
}

/* Layers below first leave nothing behind: their buffers are scratch of the backward pass. */
static void lay_plain(plan *p, const sizes *z, di_workspace *w)
{
    di_saved *s = &w->plain;
    void *u = w->lora.r > 0 ? take_act(p, z, z->r) : NULL;

    s->qkv = s->gate_up = w->dwide;
    s->o = w->dnarrow;
    for (int i = 0; z->c->post_norms && i < 2; i++)
        s->post[i] = w->opt.train ? w->dact : i == 0 ? take_act(p, z, z->c->width) : s->post[0];
    for (int l = 0; l < DI_LINEAR_COUNT; l++) s->u[l] = u;
}

static void lay_logits(plan *p, const sizes *z, di_workspace *w)
{
    int64_t rows;

    if (!w->decoder->opt.with_logits) return;
    w->logit_rows = w->opt.max_rows < LOGIT_ROWS ? w->opt.max_rows : LOGIT_ROWS;
    rows = w->dev->ops->row_capacity(w->dev, w->logit_rows);
    w->logit_x = take(p, (size_t)(rows * z->c->width) * z->act);
    w->logits = take(p, (size_t)(rows * z->c->vocab) * sizeof(float));
    w->logit_weight = take(p, (size_t)rows * sizeof(float));
    w->logit_id = take(p, (size_t)rows * sizeof(int32_t));
    w->logit_loss = take(p, (size_t)rows * sizeof(double));
    if (!w->opt.train) return;
    if (w->dev->act != DI_F32) w->logit_dy = take(p, (size_t)(rows * z->c->vocab) * z->act);
    w->logit_dx = take(p, (size_t)(rows * z->c->width) * sizeof(float));
}

/* What nothing reads after the call that wrote it. */
static void lay_scratch(plan *p, const sizes *z, di_workspace *w)
{
    const di_config *c = z->c;
    size_t table = (size_t)(w->opt.max_length * c->head_dim) * sizeof(float);
    int down = w->opt.train && (w->lora.targets >> DI_DOWN_PROJ & 1);
    int used[2] = {0, 0};

    for (int64_t l = 0; l < w->decoder->opt.n_layers; l++) used[c->rope_local[l] != 0] = 1;
    for (int i = 0; i < 2; i++) w->rope[i] = used[i] ? take(p, table) : NULL;
    w->x = take_f32(p, z, c->width);
    w->hidden = take_f32(p, z, c->width);
    w->normed = take_act(p, z, c->width);
    w->dwide = take_act(p, z, larger(2 * c->mlp, z->hd + 2 * z->kd));
    w->dnarrow = take_act(p, z, larger(c->mlp, z->hd));
    /* o is spent when h is made; in backward only LoRA on down_proj wants h beside its gradient */
    w->h = down ? take_act(p, z, c->mlp) : w->dnarrow;
    if (c->qk_norm) {
        w->qk = take_act(p, z, z->hd + z->kd);
        w->rstd_qk = take_f32(p, z, c->heads + c->kv_heads);
    }
    w->work = take(p, work_bytes(w, z));
    if (w->opt.train) lay_gradients(p, z, w);
    lay_logits(p, z, w);
}

static void borrow_scratch(di_workspace *w, const di_workspace *from)
{
    memcpy(w->rope, from->rope, sizeof w->rope);
    w->x = from->x;
    w->hidden = from->hidden;
    w->normed = from->normed;
    w->dwide = from->dwide;
    w->dnarrow = from->dnarrow;
    w->h = from->h;
    w->qk = from->qk;
    w->rstd_qk = from->rstd_qk;
    w->work = from->work;
    w->dx = from->dx;
    w->dnormed = from->dnormed;
    w->dact = from->dact;
    w->logit_rows = from->logit_rows;
    w->logit_x = from->logit_x;
    w->logits = from->logits;
    w->logit_dy = from->logit_dy;
    w->logit_dx = from->logit_dx;
    w->logit_weight = from->logit_weight;
    w->logit_id = from->logit_id;
    w->logit_loss = from->logit_loss;
}

/* Every buffer of the workspace; the only place that knows their sizes. */
static void lay_out(plan *p, di_workspace *w)
{
    const di_config *c = w->decoder->cfg;
    int64_t rows = w->dev->ops->row_capacity(w->dev, w->opt.max_rows);
    int64_t texts = w->dev->ops->row_capacity(w->dev, w->opt.max_texts);
    sizes z = {.c = c,
               .rows = rows,
               .ends = w->decoder->ends && texts < rows ? texts : rows,
               .hd = c->heads * c->head_dim,
               .kd = c->kv_heads * c->head_dim,
               .r = w->lora.r,
               .act = di_act_bytes(c->exact_layers > 0 ? DI_F32 : w->dev->act)};

    if (!w->opt.borrows)
        lay_scratch(p, &z, w);
    else if (p->arena.base != NULL)
        borrow_scratch(w, w->opt.lender);
    w->rstd = take_f32(p, &z, 1);
    w->e = take(p, (size_t)(w->opt.max_texts * c->width) * sizeof(float));
    if (w->decoder->ends)
        w->ends = take(p, (size_t)(texts * larger(c->width, z.hd)) * sizeof(float));
    if (w->first > 0) lay_plain(p, &z, w);
    lay_all_saved(p, &z, w);
}

/* The members that lay_out reads. */
static di_workspace describe(const di_decoder *d, const di_workspace_options *opt)
{
    di_workspace w = {.dev = d->dev, .decoder = d, .opt = *opt, .first = d->opt.n_layers};

    if (d->lora != NULL && d->lora->lora.r > 0) {
        w.lora = d->lora->lora;
        if (opt->train && w.lora.first_layer < w.first) w.first = w.lora.first_layer;
    }
    return w;
}

size_t di_workspace_bytes(const di_decoder *d, const di_workspace_options *opt)
{
    di_workspace w = describe(d, opt);
    plan dry = {0};

    lay_out(&dry, &w);
    return dry.total;
}

/* Row p: cos(p freq[i]), then sin. Angles in f64: at position 8192 an f32 product is off by 5e-4.
 */
static void fill_rope(di_device *dev, float *table, const float *freq, int64_t length, int64_t dim)
{
    float row[512];

    for (int64_t p = 0; p < length; p++) {
        for (int64_t i = 0; i < dim / 2; i++) {
            double angle = (double)p * (double)freq[i];

            row[i] = (float)cos(angle);
            row[dim / 2 + i] = (float)sin(angle);
        }
        dev->ops->upload(dev, table + p * dim, row, (size_t)dim * sizeof *row);
    }
}

dial_status di_workspace_new(const di_decoder *d, const di_workspace_options *opt,
                             di_workspace **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_device *dev = d->dev;
    const di_config *c = d->cfg;
    plan p = {0};
    di_workspace *w = di_zalloc(dev->al, sizeof *w);

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the workspace");
    w->dev = dev; /* di_workspace_free reads it */
    if (opt->max_rows < 1 || opt->max_texts < 1 || opt->max_length < 1 || c->head_dim > 512)
        DI_FAIL(err, DIAL_ERR_USAGE,
                "workspace for %lld rows, %lld texts of up to %lld tokens: each must be 1 or more",
                (long long)opt->max_rows, (long long)opt->max_texts, (long long)opt->max_length);
    *w = describe(d, opt);
    if (opt->train && (!d->opt.train || w->first < d->opt.first_trained))
        DI_FAIL(err, DIAL_ERR_USAGE,
                "LoRA from layer %lld on: the decoder was packed to train from layer %lld on",
                (long long)w->first, (long long)(d->opt.train ? d->opt.first_trained : c->layers));
    if (opt->borrows &&
        (opt->lender == NULL || opt->lender->decoder != d ||
         opt->lender->opt.max_rows < opt->max_rows ||
         opt->lender->opt.max_length < opt->max_length || opt->lender->opt.train < opt->train))
        DI_FAIL(
            err, DIAL_ERR_USAGE,
            "a workspace for %lld rows of up to %lld tokens borrows from one of the same decoder "
            "with as much room",
            (long long)opt->max_rows, (long long)opt->max_length);
    w->bytes = di_workspace_bytes(d, opt);
    w->memory = dev->ops->buffer_new(dev, w->bytes);
    w->saved = di_new_array(dev->al, (size_t)(d->opt.n_layers - w->first), sizeof *w->saved);
    if (w->memory == NULL || w->saved == NULL)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, NULL, "use a smaller --batch-tokens or --micro-batch",
                   "no memory for %zu bytes of workspace", w->bytes);
    p.arena = (di_arena){.al = dev->al, .base = w->memory, .size = w->bytes};
    lay_out(&p, w);
    for (int i = 0; i < 2; i++)
        if (!opt->borrows && w->rope[i] != NULL)
            fill_rope(dev, w->rope[i], i ? c->freq_local : c->freq, opt->max_length, c->head_dim);
    *out = w;
    w = NULL;
done:
    di_workspace_free(w);
    return st;
}

void di_workspace_free(di_workspace *w)
{
    if (w == NULL) return;
    if (w->memory != NULL) {
        ALLOW(w->memory, w->bytes); /* the caller's allocator may hand it out again */
        w->dev->ops->buffer_free(w->dev, w->memory);
    }
    di_free(w->dev->al, w->saved);
    di_free(w->dev->al, w);
}

const float *di_workspace_hidden(const di_workspace *w)
{
    return w->hidden;
}
