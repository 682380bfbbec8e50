/*
 * Domain alignment by the Wasserstein-1 distance, in the letters of the paper:
 *
 *     gap      = E_S d(e) - E_T d(e)
 *     L_critic = -gap + lambda_gp GP       minimised over the critic d, embeddings constant
 *     L_align  = lambda_da gap             minimised over the encoder, critic constant
 *
 * The penalty is evaluated at G = 3 N2 points, N2 = n_s + n_t: interpolates between source and
 * target rows, and the rows themselves (method.md 2.4). Which target row meets which source row is
 * drawn afresh in every iteration: with a fixed pairing (chosen with chosen) the hidden labels of
 * the target would steer a non-linear critic.
 */
#include "align/align.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

typedef struct wasserstein {
    di_align base;
    di_device *dev;
    di_wasserstein_options opt;
    di_critic d, grad;        /* views into theta and g */
    float *theta, *g, *m, *v; /* [size] each: W_0, b_0, W_1, b_1, ... */
    int64_t size, t;
    di_rng alpha_rng, pairing_rng;
    di_wasserstein_draw draw;
    void *draw_ctx;
    float *xp;                 /* [3 N2, C] */
    float *q;                  /* [N2, C] */
    float *out, *dout, *alpha; /* [N2] */
    int64_t *perm;             /* [n_t] */
    void *work;
} wasserstein;

static void draw_at_random(void *ctx, float *alpha, int64_t *perm, int64_t n2, int64_t n_t)
{
    wasserstein *w = ctx;

    for (int64_t i = 0; i < n2; i++) alpha[i] = (float)di_rng_uniform(&w->alpha_rng);
    for (int64_t j = 0; j < n_t; j++) perm[j] = j;
    di_rng_shuffle(&w->pairing_rng, perm, n_t);
}

/* Xp = [interpolates; source rows; target rows], N2 rows each (method.md 2.4). */
static void penalty_points(wasserstein *w, const di_align_rows *r)
{
    int64_t n2 = r->n_s + r->n_t, c = w->opt.width;

    for (int64_t i = 0; i < n2; i++) {
        const float *s = r->x + (i % r->n_s) * c;
        const float *t = r->x + (r->n_s + w->perm[i % r->n_t]) * c;
        float *p = w->xp + i * c;

        for (int64_t k = 0; k < c; k++) p[k] = s[k] + w->alpha[i] * (t[k] - s[k]);
        memcpy(w->xp + (n2 + i) * c, s, (size_t)c * sizeof *s);
        memcpy(w->xp + (2 * n2 + i) * c, t, (size_t)c * sizeof *t);
    }
}

static di_mat rows_of(const float *data, int64_t rows, int64_t cols)
{
    return (di_mat){(void *)(uintptr_t)data, DI_F32, rows, cols, cols};
}

/* E_S d(e) - E_T d(e), in f64. */
static double gap_of(wasserstein *w, const di_align_rows *r)
{
    di_mat x = rows_of(r->x, r->n_s + r->n_t, w->opt.width);
    double s = 0, t = 0;

    w->dev->ops->critic_forward(w->dev, &w->d, &x, w->out, w->work);
    for (int64_t i = 0; i < r->n_s; i++) s += (double)w->out[i];
    for (int64_t j = 0; j < r->n_t; j++) t += (double)w->out[r->n_s + j];
    return s / (double)r->n_s - t / (double)r->n_t;
}

/* One critic iteration: gradients of L_critic, one Adam step. */
static void iterate(wasserstein *w, const di_align_rows *r, di_align_stats *stats)
{
    const di_backend *ops = w->dev->ops;
    int64_t n2 = r->n_s + r->n_t, c = w->opt.width;
    di_mat x = rows_of(r->x, n2, c), xp = rows_of(w->xp, 3 * n2, c);
    double gap;

    w->draw(w->draw_ctx, w->alpha, w->perm, n2, r->n_t);
    penalty_points(w, r);
    gap = gap_of(w, r);
    for (int64_t i = 0; i < r->n_s; i++) w->dout[i] = -1.0f / (float)r->n_s;
    for (int64_t j = 0; j < r->n_t; j++) w->dout[r->n_s + j] = 1.0f / (float)r->n_t;
    memset(w->g, 0, (size_t)w->size * sizeof *w->g);
    ops->critic_backward(w->dev, &w->d, &x, w->dout, &w->grad, w->work);
    stats->gp = ops->critic_penalty(w->dev, &w->d, &xp, w->opt.gp_kind, (float)w->opt.gp, &w->grad,
                                    NULL, w->work);
    stats->critic_loss = -gap + w->opt.gp * stats->gp;
    stats->critic_grad_norm = sqrt(ops->sum_squares(w->dev, w->g, w->size));
    ops->adam(w->dev, &(di_adam_args){.theta = w->theta,
                                      .g = w->g,
                                      .m = w->m,
                                      .v = w->v,
                                      .n = w->size,
                                      .t = ++w->t,
                                      .lr = (float)w->opt.lr,
                                      .beta1 = 0.9f,
                                      .beta2 = 0.999f,
                                      .eps = 1e-8f,
                                      .decay = (float)w->opt.decay,
                                      .grad_scale = 1.0f,
                                      .coupled = 1});
}

static void fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    wasserstein *w = (wasserstein *)a;

    for (int k = 0; k < w->opt.iters; k++) iterate(w, rows, stats);
}

/* dX_S = lambda/n_s Q_S, dX_T = -lambda/n_t Q_T with Q the input gradient of d (method.md 2.9). */
static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    wasserstein *w = (wasserstein *)a;
    int64_t n_s = rows->n_s, n_t = rows->n_t, n = n_s + n_t, c = w->opt.width;
    di_mat x = rows_of(rows->x, n, c), q = rows_of(w->q, n, c);

    (void)dmargin; /* the distance does not look at rewards */
    stats->w1 = gap_of(w, rows);
    stats->loss = w->opt.gap_clamp && stats->w1 < 0 ? 0 : stats->w1;
    if (dx == NULL || (w->opt.gap_clamp && stats->w1 < 0)) return;
    w->dev->ops->critic_input_grad(w->dev, &w->d, &x, &q, w->work);
    for (int64_t i = 0; i < n; i++) {
        float k = (float)(i < n_s ? lambda / (double)n_s : -lambda / (double)n_t);

        for (int64_t j = 0; j < c; j++) dx[i * c + j] += k * w->q[i * c + j];
    }
}

static int tensors(di_align *a, di_align_tensor *out, int cap)
{
    wasserstein *w = (wasserstein *)a;
    int n = 0;

    for (int l = 0; l < w->d.n_layers && n + 2 <= cap; l++) {
        int64_t at_w = w->d.w[l] - w->theta, at_b = w->d.b[l] - w->theta;

        out[n] = (di_align_tensor){"",          w->theta + at_w,   w->m + at_w,
                                   w->v + at_w, w->d.width[l + 1], w->d.width[l]};
        snprintf(out[n++].name, sizeof out[n].name, "critic.layers.%d.weight", l);
        out[n] =
            (di_align_tensor){"", w->theta + at_b, w->m + at_b, w->v + at_b, w->d.width[l + 1], 0};
        snprintf(out[n++].name, sizeof out[n].name, "critic.layers.%d.bias", l);
    }
    return n;
}

static json_t *save(const di_align *a)
{
    const wasserstein *w = (const wasserstein *)a;

    return json_pack("{s:I, s:I, s:I}", "t", (json_int_t)w->t, "alpha", (json_int_t)w->alpha_rng.at,
                     "pairing", (json_int_t)w->pairing_rng.at);
}

static dial_status load(di_align *a, const json_t *state, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    wasserstein *w = (wasserstein *)a;
    json_int_t t, alpha, pairing;

    if (json_unpack((json_t *)(uintptr_t)state, "{s:I, s:I, s:I}", "t", &t, "alpha", &alpha,
                    "pairing", &pairing) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume from an earlier checkpoint",
                   "expected the critic's counters t, alpha and pairing");
    w->t = t;
    w->alpha_rng.at = (uint64_t)alpha;
    w->pairing_rng.at = (uint64_t)pairing;
done:
    return st;
}

static void free_all(di_align *a)
{
    wasserstein *w = (wasserstein *)a;
    di_device *dev = w->dev;
    void *own[] = {w->theta, w->g, w->m, w->v, w->xp, w->q, w->out, w->dout, w->alpha, w->work};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++) dev->ops->buffer_free(dev, own[i]);
    di_free(dev->al, w->perm);
    di_free(dev->al, w);
}

static const di_align_method method = {.name = "wasserstein",
                                       .fit = fit,
                                       .gradient = gradient,
                                       .tensors = tensors,
                                       .save = save,
                                       .load = load,
                                       .free = free_all};

/* Layer views into a flat block, and its size. */
static int64_t lay_out(const di_wasserstein_options *opt, float *block, di_critic *d)
{
    int64_t at = 0;

    d->n_layers = opt->n_hidden + 1;
    d->act = opt->act;
    for (int l = 0; l <= d->n_layers; l++)
        d->width[l] = l == 0 ? opt->width : l == d->n_layers ? 1 : opt->hidden[l - 1];
    for (int l = 0; l < d->n_layers; l++) {
        d->w[l] = block != NULL ? block + at : NULL;
        at += d->width[l + 1] * d->width[l];
        d->b[l] = block != NULL ? block + at : NULL;
        at += d->width[l + 1];
    }
    return at;
}

/* U(-1/sqrt(in), 1/sqrt(in)) for weights and biases, as torch.nn.Linear. */
static void randomize(wasserstein *w)
{
    for (int l = 0; l < w->d.n_layers; l++) {
        int64_t in = w->d.width[l], n = w->d.width[l + 1] * (in + 1); /* b_l follows W_l */
        double bound = 1.0 / sqrt((double)in);
        di_rng r = di_rng_make(w->opt.seed, DI_RNG_CRITIC_INIT,
                               w->opt.stream * DI_CRITIC_MAX_LAYERS + (uint32_t)l);

        for (int64_t i = 0; i < n; i++)
            w->d.w[l][i] = (float)(bound * (2.0 * di_rng_uniform(&r) - 1.0));
    }
}

dial_status di_wasserstein_new(di_device *dev, const di_wasserstein_options *opt, di_align **out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    wasserstein *w = di_zalloc(dev->al, sizeof *w);
    int64_t n2 = opt->max_rows, c = opt->width;
    size_t f = sizeof(float);

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the critic");
    w->base.method = &method;
    w->dev = dev;
    w->opt = *opt;
    w->size = lay_out(opt, NULL, &w->d);
    w->theta = dev->ops->buffer_new(dev, (size_t)w->size * f);
    w->g = dev->ops->buffer_new(dev, (size_t)w->size * f);
    w->m = dev->ops->buffer_new(dev, (size_t)w->size * f);
    w->v = dev->ops->buffer_new(dev, (size_t)w->size * f);
    w->xp = dev->ops->buffer_new(dev, (size_t)(3 * n2 * c) * f);
    w->q = dev->ops->buffer_new(dev, (size_t)(n2 * c) * f);
    w->out = dev->ops->buffer_new(dev, (size_t)n2 * f);
    w->dout = dev->ops->buffer_new(dev, (size_t)n2 * f);
    w->alpha = dev->ops->buffer_new(dev, (size_t)n2 * f);
    w->work = dev->ops->buffer_new(dev, dev->ops->critic_bytes(dev, &w->d, 3 * n2));
    w->perm = di_new_array(dev->al, (size_t)n2, sizeof *w->perm);
    if (!w->theta || !w->g || !w->m || !w->v || !w->xp || !w->q || !w->out || !w->dout ||
        !w->alpha || !w->work || !w->perm)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a critic of %lld rows and %lld columns",
                (long long)n2, (long long)c);
    lay_out(opt, w->theta, &w->d);
    lay_out(opt, w->g, &w->grad);
    memset(w->m, 0, (size_t)w->size * f);
    memset(w->v, 0, (size_t)w->size * f);
    w->alpha_rng = di_rng_make(opt->seed, DI_RNG_GP_ALPHA, opt->stream);
    w->pairing_rng = di_rng_make(opt->seed, DI_RNG_GP_PAIRING, opt->stream);
    w->draw = draw_at_random;
    w->draw_ctx = w;
    randomize(w);
    *out = &w->base;
    w = NULL;
done:
    if (w != NULL) free_all(&w->base);
    return st;
}

void di_wasserstein_set_draw(di_align *a, di_wasserstein_draw draw, void *ctx)
{
    wasserstein *w = (wasserstein *)a;

    w->draw = draw != NULL ? draw : draw_at_random;
    w->draw_ctx = draw != NULL ? ctx : w;
}
