/*
 * Domain classifier behind a gradient reversal (Ganin et al. 2016, arXiv 1505.07818), method.md
 * 2.11, on the critic's network: logit c(x), target = 1.
 *
 *     L_dom = -(1/2) [E_S log sigma(-c) + E_T log sigma(c)]             chance: log 2
 *     dc    = (sigma(c) - y)/(2 n)          n of the row's own side; y = 0, 1, smoothed s, 1 - s
 *     the classifier descends L_dom, the encoder climbs it: dx = -kappa lambda dc c'(x)
 *
 * What the encoder minimises, and what is reported as the loss, is -kappa L_dom.
 *
 * cdan (Long et al. 2018, arXiv 1705.10667): the same on pair differences turned by the preference
 * that the model predicts (method.md 8.1, oriented): chosen - rejected of the source, and of the
 * target tanh(m/2) delta, the mean of +-delta under p = sigma(m), whose weight is a constant. Of
 * rows that carry each difference and its negation the first half of a side is used.
 */
#include "align/closed.h"

#include <string.h>

#include "align/critic.h"
#include "base/error.h"

typedef struct dann {
    di_closed f;
    di_dann_options opt;
    di_critic_net net;
    float *x, *q;      /* [max_rows, C] rows of the classifier; its input gradients */
    float *out, *dout; /* [max_rows] */
    void *work;
} dann;

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* Factor of row i of a side in what the classifier sees; 0: the row is left out. */
static double turn(const dann *w, const di_align_rows *rows, int side, int64_t i)
{
    if (!w->opt.oriented) return 1;
    if (2 * i >= di_side_rows(rows, side)) return 0;
    return side == DI_SOURCE ? 1 : tanh((double)rows->margin[rows->n_s + i] / 2);
}

/* What the classifier sees of the step: rows, or oriented differences in w->x. */
static di_align_rows seen_by(dann *w, const di_align_rows *rows)
{
    int64_t c = w->f.set.width, at = 0;

    if (!w->opt.oriented) return *rows;
    for (int side = 0; side < DI_SIDES; side++)
        for (int64_t i = 0; i < di_side_rows(rows, side) / 2; i++, at++)
            for (int64_t j = 0; j < c; j++)
                w->x[at * c + j] =
                    (float)(turn(w, rows, side, i) *
                            (double)rows->x[(di_side_first(rows, side) + i) * c + j]);
    return (di_align_rows){w->x, rows->n_s / 2, rows->n_t / 2, NULL};
}

static di_mat matrix(const float *x, int64_t n, int64_t c)
{
    return (di_mat){(void *)(uintptr_t)x, DI_F32, n, c, c};
}

/* L_dom, and dc into dout. */
static double classify(dann *w, const di_align_rows *seen)
{
    int64_t n = seen->n_s + seen->n_t;
    di_mat x = matrix(seen->x, n, w->f.set.width);
    double loss = 0;

    w->f.dev->ops->critic_forward(w->f.dev, &w->net.d, &x, w->out, w->work);
    for (int64_t i = 0; i < n; i++) {
        int source = i < seen->n_s;
        double c = (double)w->out[i], y = source ? w->opt.smoothing : 1 - w->opt.smoothing;
        double share = 0.5 / (double)(source ? seen->n_s : seen->n_t);

        loss += share * (softplus(c) - y * c);
        w->dout[i] = (float)(share * (sigmoid(c) - y));
    }
    return loss;
}

static void fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    dann *w = (dann *)a;
    di_align_rows seen = seen_by(w, rows);
    di_mat x = matrix(seen.x, seen.n_s + seen.n_t, w->f.set.width);

    stats->gp = stats->critic_grad_norm = NAN;
    for (int k = 0; k < w->opt.iters; k++) {
        stats->critic_loss = classify(w, &seen);
        di_critic_zero_grad(&w->net);
        w->f.dev->ops->critic_backward(w->f.dev, &w->net.d, &x, w->dout, &w->net.grad, w->work);
        di_critic_step(&w->net, w->opt.lr, w->opt.decay);
    }
}

static void gradient(di_align *a, const di_align_rows *rows, double lambda, float *dx,
                     float *dmargin, di_align_stats *stats)
{
    dann *w = (dann *)a;
    int64_t c = w->f.set.width, at = 0;
    di_align_rows seen = seen_by(w, rows);
    di_mat x = matrix(seen.x, seen.n_s + seen.n_t, c), q = matrix(w->q, x.rows, c);

    (void)dmargin; /* the turn is a constant */
    stats->w1 = NAN;
    stats->loss = -w->opt.kappa * classify(w, &seen);
    if (dx == NULL) return;
    w->f.dev->ops->critic_input_grad(w->f.dev, &w->net.d, &x, &q, w->work);
    for (int side = 0; side < DI_SIDES; side++)
        for (int64_t i = 0; i < di_side_rows(&seen, side); i++, at++) {
            double k = -w->opt.kappa * lambda * (double)w->dout[at] * turn(w, rows, side, i);
            float *to = dx + (di_side_first(rows, side) + i) * c;

            for (int64_t j = 0; j < c; j++) to[j] += (float)(k * (double)w->q[at * c + j]);
        }
}

static void set_iters(di_align *a, int iters)
{
    ((dann *)a)->opt.iters = iters;
}

static int tensors(di_align *a, di_align_tensor *out, int cap)
{
    return di_critic_tensors(&((dann *)a)->net, out, cap);
}

static json_t *save(const di_align *a)
{
    return json_pack("{s:I}", "t", (json_int_t)((const dann *)a)->net.t);
}

static dial_status load(di_align *a, const json_t *state, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_int_t t;

    if (json_unpack((json_t *)(uintptr_t)state, "{s:I}", "t", &t) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume from an earlier checkpoint",
                   "expected the classifier's counter t");
    ((dann *)a)->net.t = t;
done:
    return st;
}

static void free_all(di_align *a)
{
    di_critic_deinit(&((dann *)a)->net);
    di_closed_free(a);
}

#define ENTRIES                                                                                    \
    .fit = fit, .gradient = gradient, .tensors = tensors, .save = save, .load = load,              \
    .set_iters = set_iters, .free = free_all

static const di_align_method dann_method = {.name = "dann", ENTRIES};
static const di_align_method cdan_method = {.name = "cdan", .pairs = 1, ENTRIES};

dial_status di_dann_new(di_device *dev, const di_align_setup *setup, const di_dann_options *opt,
                        di_align **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    dann *w = di_closed_new(dev, setup, sizeof *w, opt->oriented ? &cdan_method : &dann_method, 0);
    int64_t n = setup->max_rows, c = setup->width;
    di_critic_shape shape = {.width = c,
                             .n_hidden = opt->n_hidden,
                             .act = opt->act,
                             .seed = setup->seed,
                             .stream = setup->stream};
    di_blocks *mem;

    if (w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an alignment method");
    mem = &w->f.mem;
    w->opt = *opt;
    memcpy(shape.hidden, opt->hidden, sizeof shape.hidden);
    DI_TRY(di_critic_init(&w->net, dev, &shape, err));
    w->x = di_blocks_floats(mem, opt->oriented ? n * c : 1);
    w->q = di_blocks_floats(mem, n * c);
    w->out = di_blocks_floats(mem, n);
    w->dout = di_blocks_floats(mem, n);
    w->work = di_blocks_take(mem, (int64_t)dev->ops->critic_bytes(dev, &w->net.d, n), 1);
    if (mem->failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to classify %lld rows", (long long)n);
    *out = &w->f.base;
    w = NULL;
done:
    if (w != NULL) free_all(&w->f.base);
    return st;
}
