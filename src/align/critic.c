#include "align/critic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

enum { FIRST_STEPS = 30 }; /* power steps before the first use */

/* Layer views into a flat block, and its size. */
static int64_t lay_out(const di_critic_shape *shape, float *block, di_critic *d)
{
    int64_t at = 0;

    d->n_layers = shape->n_hidden + 1;
    d->act = shape->act;
    for (int l = 0; l <= d->n_layers; l++)
        d->width[l] = l == 0 ? shape->width : l == d->n_layers ? 1 : shape->hidden[l - 1];
    for (int l = 0; l < d->n_layers; l++) {
        d->w[l] = block != NULL ? block + at : NULL;
        at += d->width[l + 1] * d->width[l];
        d->b[l] = block != NULL ? block + at : NULL;
        at += d->width[l + 1];
    }
    return at;
}

/* Place of layer l's weight in a block. */
static int64_t place(const di_critic_net *net, int l)
{
    return net->grad.w[l] - net->g;
}

/* u [out] of layer l, v [in] behind it. */
static float *u_of(const di_critic_net *net, int l)
{
    float *p = net->power;

    for (int k = 0; k < l; k++) p += net->d.width[k] + net->d.width[k + 1];
    return p;
}

static float *v_of(const di_critic_net *net, int l)
{
    return u_of(net, l) + net->d.width[l + 1];
}

static void randomize(di_critic_net *net, const di_critic_shape *shape)
{
    for (int l = 0; l < net->d.n_layers; l++) {
        int64_t in = net->d.width[l], n = net->d.width[l + 1] * (in + 1); /* b_l follows W_l */
        double bound = 1.0 / sqrt((double)in);
        float *w = net->theta + place(net, l);
        di_rng r = di_rng_make(shape->seed, DI_RNG_CRITIC_INIT,
                               shape->stream * DI_CRITIC_MAX_LAYERS + (uint32_t)l);

        for (int64_t i = 0; i < n; i++) w[i] = (float)(bound * (2.0 * di_rng_uniform(&r) - 1.0));
    }
}

static void normalise(float *x, int64_t n)
{
    double square = 0;

    for (int64_t i = 0; i < n; i++) square += (double)x[i] * (double)x[i];
    for (int64_t i = 0; i < n && square > 0; i++) x[i] = (float)((double)x[i] / sqrt(square));
}

/* out [rows] = W v, W [rows, cols]; or W^T v [cols] of v [rows]. */
static void times(const float *w, int64_t rows, int64_t cols, const float *v, float *out)
{
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;

        for (int64_t c = 0; c < cols; c++) sum += (double)w[r * cols + c] * (double)v[c];
        out[r] = (float)sum;
    }
}

static void times_turned(const float *w, int64_t rows, int64_t cols, const float *v, float *out)
{
    memset(out, 0, (size_t)cols * sizeof *out);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) out[c] += w[r * cols + c] * v[r];
}

/* v = W^T u, u = W v, both of length 1. */
static void power_step(di_critic_net *net, int l)
{
    int64_t out = net->d.width[l + 1], in = net->d.width[l];
    const float *w = net->theta + place(net, l);

    times_turned(w, out, in, u_of(net, l), v_of(net, l));
    normalise(v_of(net, l), in);
    times(w, out, in, v_of(net, l), u_of(net, l));
    normalise(u_of(net, l), out);
}

/* Largest slope of the activation: GELU's is at z = sqrt 2 (method.md 2.6). */
static double steepest(di_critic_act act)
{
    return act == DI_CRITIC_GELU ? 1.1290 : 1;
}

/* What divides layer l: sg, and for the last one the activations' slopes. */
static double divisor(const di_critic_net *net, int l)
{
    int last = net->d.n_layers - 1;

    return net->sigma[l] * (l == last ? pow(steepest(net->d.act), last) : 1);
}

void di_critic_refresh(di_critic_net *net)
{
    if (!net->spectral) return;
    memcpy(net->scaled, net->theta, (size_t)net->size * sizeof *net->scaled);
    for (int l = 0; l < net->d.n_layers; l++) {
        int64_t out = net->d.width[l + 1], in = net->d.width[l];
        const float *w = net->theta + place(net, l), *u = u_of(net, l), *v = v_of(net, l);
        double sigma = 0;

        for (int64_t r = 0; r < out; r++)
            for (int64_t c = 0; c < in; c++)
                sigma += (double)u[r] * (double)w[r * in + c] * (double)v[c];
        net->sigma[l] = sigma > 1e-12 ? sigma : 1e-12;
        for (int64_t i = 0; i < out * in; i++)
            net->d.w[l][i] = (float)((double)w[i] / divisor(net, l));
    }
}

/* Gradients of the scaled weights become those of the weights. */
static void unscale_gradient(di_critic_net *net)
{
    for (int l = 0; l < net->d.n_layers; l++) {
        int64_t out = net->d.width[l + 1], in = net->d.width[l];
        const float *w = net->theta + place(net, l), *u = u_of(net, l), *v = v_of(net, l);
        double along = 0, by = divisor(net, l);
        float *dw = net->grad.w[l];

        for (int64_t i = 0; i < out * in; i++)
            along += (double)dw[i] * (double)w[i] / net->sigma[l];
        for (int64_t r = 0; r < out; r++)
            for (int64_t c = 0; c < in; c++)
                dw[r * in + c] =
                    (float)(((double)dw[r * in + c] - along * (double)u[r] * (double)v[c]) / by);
    }
}

dial_status di_critic_init(di_critic_net *net, di_device *dev, const di_critic_shape *shape,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t powers = 0;
    size_t bytes;

    *net = (di_critic_net){.dev = dev, .spectral = shape->spectral};
    net->size = lay_out(shape, NULL, &net->d);
    bytes = (size_t)net->size * sizeof(float);
    for (int l = 0; l < net->d.n_layers; l++) powers += net->d.width[l] + net->d.width[l + 1];
    net->theta = dev->ops->buffer_new(dev, bytes);
    net->g = dev->ops->buffer_new(dev, bytes);
    net->m = dev->ops->buffer_new(dev, bytes);
    net->v = dev->ops->buffer_new(dev, bytes);
    if (net->spectral) net->scaled = dev->ops->buffer_new(dev, bytes);
    if (net->spectral) net->power = dev->ops->buffer_new(dev, (size_t)powers * sizeof(float));
    if (!net->theta || !net->g || !net->m || !net->v ||
        (net->spectral && (!net->scaled || !net->power)))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a critic of %lld columns",
                (long long)shape->width);
    lay_out(shape, net->spectral ? net->scaled : net->theta, &net->d);
    lay_out(shape, net->g, &net->grad);
    memset(net->m, 0, bytes);
    memset(net->v, 0, bytes);
    randomize(net, shape);
    for (int64_t i = 0; i < powers && net->spectral; i++)
        net->power[i] = 1 + 0.1f * (float)(i % 7); /* meets every direction that matters */
    for (int l = 0; l < net->d.n_layers && net->spectral; l++)
        for (int k = 0; k < FIRST_STEPS; k++) power_step(net, l);
    di_critic_refresh(net);
done:
    return st;
}

void di_critic_deinit(di_critic_net *net)
{
    di_device *dev = net->dev;
    void *own[] = {net->theta, net->g, net->m, net->v, net->scaled, net->power};

    if (dev == NULL) return;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) dev->ops->buffer_free(dev, own[i]);
    *net = (di_critic_net){.dev = NULL};
}

void di_critic_zero_grad(di_critic_net *net)
{
    memset(net->g, 0, (size_t)net->size * sizeof *net->g);
}

void di_critic_step(di_critic_net *net, double lr, double decay)
{
    if (net->spectral) unscale_gradient(net);
    net->dev->ops->adam(net->dev, &(di_adam_args){.theta = net->theta,
                                                  .g = net->g,
                                                  .m = net->m,
                                                  .v = net->v,
                                                  .n = net->size,
                                                  .t = ++net->t,
                                                  .lr = (float)lr,
                                                  .beta1 = 0.9f,
                                                  .beta2 = 0.999f,
                                                  .eps = 1e-8f,
                                                  .decay = (float)decay,
                                                  .grad_scale = 1.0f,
                                                  .coupled = 1});
    for (int l = 0; l < net->d.n_layers && net->spectral; l++) power_step(net, l);
    di_critic_refresh(net);
}

int di_critic_tensors(di_critic_net *net, di_align_tensor *out, int cap)
{
    int n = 0;

    for (int l = 0; l < net->d.n_layers && n + 4 <= cap; l++) {
        int64_t rows = net->d.width[l + 1], cols = net->d.width[l];
        int64_t w = place(net, l), b = w + rows * cols;

        out[n] = (di_align_tensor){"", net->theta + w, net->m + w, net->v + w, rows, cols};
        snprintf(out[n++].name, sizeof out->name, "critic.layers.%d.weight", l);
        out[n] = (di_align_tensor){"", net->theta + b, net->m + b, net->v + b, rows, 0};
        snprintf(out[n++].name, sizeof out->name, "critic.layers.%d.bias", l);
        if (!net->spectral) continue;
        out[n] = (di_align_tensor){"", u_of(net, l), NULL, NULL, rows, 0};
        snprintf(out[n++].name, sizeof out->name, "critic.layers.%d.u", l);
        out[n] = (di_align_tensor){"", v_of(net, l), NULL, NULL, cols, 0};
        snprintf(out[n++].name, sizeof out->name, "critic.layers.%d.v", l);
    }
    return n;
}
