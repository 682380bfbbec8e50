/*
 * Domain alignment by the Wasserstein-1 distance, in the letters of the paper:
 *
 *     gap      = E_S d(e) - E_T d(e)
 *     L_critic = -gap + lambda_gp GP       minimised over the critic d, embeddings constant
 *     L_align  = lambda_da gap             minimised over the encoder, critic constant
 *
 * The penalty is evaluated at G = 3 N2 points, N2 = n_s + n_t: interpolates between source and
 * target rows, and the rows themselves (method.md 2.4); or at some of these three kinds. Which
 * target row meets which source row is drawn afresh in every iteration: with a fixed pairing
 * (chosen with chosen) the hidden labels of the target would steer a non-linear critic. With
 * `spectral` the critic's slope is bounded by its weights (align/critic.h): there is no penalty,
 * and nothing is drawn.
 */
#include "align/critic.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

typedef struct wasserstein {
    di_align base;
    di_device *dev;
    di_wasserstein_options opt;
    di_critic_net net;
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

/* Xp = [interpolates; source rows; target rows], N2 rows each, less what `points` leaves out
 * (method.md 2.4). Returns its rows G. */
static int64_t penalty_points(wasserstein *w, const di_align_rows *r)
{
    int64_t n2 = r->n_s + r->n_t, c = w->opt.width, end = 0;
    float *of[3]; /* where each kind begins */

    assert(r->n_s > 0 && r->n_t > 0);
    for (int k = 0; k < 3; k++) {
        of[k] = w->opt.points & 1u << k ? w->xp + end * c : NULL;
        end += of[k] != NULL ? n2 : 0;
    }
    for (int64_t i = 0; i < n2; i++) {
        const float *s = r->x + (i % r->n_s) * c;
        const float *t = r->x + (r->n_s + w->perm[i % r->n_t]) * c;

        for (int64_t k = 0; k < c && of[0] != NULL; k++)
            of[0][i * c + k] = s[k] + w->alpha[i] * (t[k] - s[k]);
        if (of[1] != NULL) memcpy(of[1] + i * c, s, (size_t)c * sizeof *s);
        if (of[2] != NULL) memcpy(of[2] + i * c, t, (size_t)c * sizeof *t);
    }
    return end;
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

    w->dev->ops->critic_forward(w->dev, &w->net.d, &x, w->out, w->work);
    for (int64_t i = 0; i < r->n_s; i++) s += (double)w->out[i];
    for (int64_t j = 0; j < r->n_t; j++) t += (double)w->out[r->n_s + j];
    return s / (double)r->n_s - t / (double)r->n_t;
}

/* One critic iteration: gradients of L_critic, one Adam step. */
static void iterate(wasserstein *w, const di_align_rows *r, di_align_stats *stats)
{
    const di_backend *ops = w->dev->ops;
    int64_t n2 = r->n_s + r->n_t, c = w->opt.width;
    di_mat x = rows_of(r->x, n2, c);
    double gap;

    if (!w->opt.spectral) w->draw(w->draw_ctx, w->alpha, w->perm, n2, r->n_t);
    gap = gap_of(w, r);
    for (int64_t i = 0; i < r->n_s; i++) w->dout[i] = -1.0f / (float)r->n_s;
    for (int64_t j = 0; j < r->n_t; j++) w->dout[r->n_s + j] = 1.0f / (float)r->n_t;
    di_critic_zero_grad(&w->net);
    ops->critic_backward(w->dev, &w->net.d, &x, w->dout, &w->net.grad, w->work);
    stats->gp = stats->critic_grad_norm = NAN;
    stats->critic_loss = -gap;
    if (!w->opt.spectral) {
        di_mat xp = rows_of(w->xp, penalty_points(w, r), c);

        stats->gp = ops->critic_penalty(w->dev, &w->net.d, &xp, w->opt.gp_kind, (float)w->opt.gp,
                                        &w->net.grad, &stats->critic_grad_norm, w->work);
        stats->critic_loss += w->opt.gp * stats->gp;
    }
    di_critic_step(&w->net, w->opt.lr, w->opt.decay);
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
    w->dev->ops->critic_input_grad(w->dev, &w->net.d, &x, &q, w->work);
    for (int64_t i = 0; i < n; i++) {
        float k = (float)(i < n_s ? lambda / (double)n_s : -lambda / (double)n_t);

        for (int64_t j = 0; j < c; j++) dx[i * c + j] += k * w->q[i * c + j];
    }
}

static void set_iters(di_align *a, int iters)
{
    ((wasserstein *)a)->opt.iters = iters;
}

static void judge(di_align *a, const float *x, int64_t n, float *out)
{
    wasserstein *w = (wasserstein *)a;
    di_mat rows = rows_of(x, n, w->opt.width);

    assert(n <= w->opt.max_rows);
    w->dev->ops->critic_forward(w->dev, &w->net.d, &rows, w->out, w->work);
    memcpy(out, w->out, (size_t)n * sizeof *out);
}

static int tensors(di_align *a, di_align_tensor *out, int cap)
{
    return di_critic_tensors(&((wasserstein *)a)->net, out, cap);
}

static json_t *save(const di_align *a)
{
    const wasserstein *w = (const wasserstein *)a;

    return json_pack("{s:I, s:I, s:I}", "t", (json_int_t)w->net.t, "alpha",
                     (json_int_t)w->alpha_rng.at, "pairing", (json_int_t)w->pairing_rng.at);
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
    w->net.t = t;
    di_critic_refresh(&w->net);
    w->alpha_rng.at = (uint64_t)alpha;
    w->pairing_rng.at = (uint64_t)pairing;
done:
    return st;
}

static void free_all(di_align *a)
{
    wasserstein *w = (wasserstein *)a;
    di_device *dev = w->dev;
    void *own[] = {w->xp, w->q, w->out, w->dout, w->alpha, w->work};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++) dev->ops->buffer_free(dev, own[i]);
    di_critic_deinit(&w->net);
    di_free(dev->al, w->perm);
    di_free(dev->al, w);
}

static const di_align_method method = {.name = "wasserstein",
                                       .fit = fit,
                                       .gradient = gradient,
                                       .set_iters = set_iters,
                                       .judge = judge,
                                       .tensors = tensors,
                                       .save = save,
                                       .load = load,
                                       .free = free_all};

dial_status di_wasserstein_new(di_device *dev, const di_wasserstein_options *opt, di_align **out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    wasserstein *w = di_zalloc(dev->al, sizeof *w);
    int64_t n2 = opt->max_rows, c = opt->width;
    size_t f = sizeof(float);
    di_critic_shape shape = {.width = c,
                             .n_hidden = opt->n_hidden,
                             .act = opt->act,
                             .spectral = opt->spectral,
                             .seed = opt->seed,
                             .stream = opt->stream};

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the critic");
    w->base.method = &method;
    w->dev = dev;
    w->opt = *opt;
    if (w->opt.points == 0) w->opt.points = DI_GP_AT_ALL;
    memcpy(shape.hidden, opt->hidden, sizeof shape.hidden);
    DI_TRY(di_critic_init(&w->net, dev, &shape, err));
    w->xp = dev->ops->buffer_new(dev, (size_t)(3 * n2 * c) * f);
    w->q = dev->ops->buffer_new(dev, (size_t)(n2 * c) * f);
    w->out = dev->ops->buffer_new(dev, (size_t)n2 * f);
    w->dout = dev->ops->buffer_new(dev, (size_t)n2 * f);
    w->alpha = dev->ops->buffer_new(dev, (size_t)n2 * f);
    w->work = dev->ops->buffer_new(dev, dev->ops->critic_bytes(dev, &w->net.d, 3 * n2));
    w->perm = di_new_array(dev->al, (size_t)n2, sizeof *w->perm);
    if (!w->xp || !w->q || !w->out || !w->dout || !w->alpha || !w->work || !w->perm)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a critic of %lld rows and %lld columns",
                (long long)n2, (long long)c);
    w->alpha_rng = di_rng_make(opt->seed, DI_RNG_GP_ALPHA, opt->stream);
    w->pairing_rng = di_rng_make(opt->seed, DI_RNG_GP_PAIRING, opt->stream);
    w->draw = draw_at_random;
    w->draw_ctx = w;
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
