/*
 * The network that judges a row: C -> F1 -> F2 -> 1, with its gradient, its own Adam and, where
 * asked for, spectral normalisation. The Wasserstein critic and the domain classifier are both one.
 *
 * Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957; method.md 8.11) bounds the slope
 * without a penalty: every weight is divided by its largest singular value sg = u^T W v, followed
 * by one power step an update, and the whole by the largest slope of the hidden activations:
 *
 *     Ws = W/sg        dW = (dWs - <dWs, Ws> u v^T)/sg
 *
 * Once u and v have settled no slope of d exceeds 1.
 */
#ifndef DI_ALIGN_CRITIC_H
#define DI_ALIGN_CRITIC_H

#include "align/align.h"

typedef struct di_critic_shape {
    int64_t width; /* C */
    int64_t hidden[DI_CRITIC_MAX_LAYERS - 1];
    int n_hidden;
    di_critic_act act;
    int spectral;
    uint64_t seed;
    uint32_t stream; /* of its initial values */
} di_critic_shape;

typedef struct di_critic_net {
    di_device *dev;
    di_critic d, grad;        /* what is evaluated, and where its gradient is added up */
    float *theta, *g, *m, *v; /* [size] each: W_0, b_0, W_1, b_1, ... */
    int64_t size, t;
    int spectral;
    float *scaled; /* [size] spectral: theta as d sees it */
    float *power;  /* spectral: u and v of every layer */
    double sigma[DI_CRITIC_MAX_LAYERS];
} di_critic_net;

/* Weights and biases U(-1/sqrt(in), 1/sqrt(in)), as torch.nn.Linear. deinit whatever the outcome.
 */
dial_status di_critic_init(di_critic_net *net, di_device *dev, const di_critic_shape *shape,
                           dial_error *err);
void di_critic_deinit(di_critic_net *net);

void di_critic_zero_grad(di_critic_net *net);
/* One Adam step with coupled decay by what grad holds. */
void di_critic_step(di_critic_net *net, double lr, double decay);

/* critic.layers.L.weight, .bias and, spectral, .u, .v; t is the state beside them. */
int di_critic_tensors(di_critic_net *net, di_align_tensor *out, int cap);
/* To be called when theta, u and v were written from outside. */
void di_critic_refresh(di_critic_net *net);

#endif
