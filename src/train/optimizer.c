#include "train/optimizer.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

dial_status di_optimizer_init(di_optimizer *o, di_device *dev, di_params *params, double decay,
                              double clip, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)params->size * sizeof(float);

    *o = (di_optimizer){.dev = dev, .params = params, .decay = decay, .clip = clip};
    o->g = dev->ops->buffer_new(dev, n);
    o->m = dev->ops->buffer_new(dev, n);
    o->v = dev->ops->buffer_new(dev, n);
    if (o->g == NULL || o->m == NULL || o->v == NULL) {
        di_optimizer_deinit(o);
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the optimizer: 3 x %zu bytes", n);
    }
    memset(o->g, 0, n);
    memset(o->m, 0, n);
    memset(o->v, 0, n);
done:
    return st;
}

void di_optimizer_deinit(di_optimizer *o)
{
    if (o->dev == NULL) return;
    o->dev->ops->buffer_free(o->dev, o->g);
    o->dev->ops->buffer_free(o->dev, o->m);
    o->dev->ops->buffer_free(o->dev, o->v);
    *o = (di_optimizer){0};
}

static void update(di_optimizer *o, int64_t at, int64_t n, int64_t t, double lr, double scale)
{
    o->dev->ops->adam(o->dev, &(di_adam_args){.theta = o->params->theta + at,
                                              .g = o->g + at,
                                              .m = o->m + at,
                                              .v = o->v + at,
                                              .n = n,
                                              .t = t,
                                              .lr = (float)lr,
                                              .beta1 = 0.9f,
                                              .beta2 = 0.999f,
                                              .eps = 1e-8f,
                                              .decay = (float)o->decay,
                                              .grad_scale = (float)scale});
}

static void limit_head(di_optimizer *o)
{
    int64_t c = o->params->width;

    for (int64_t at = o->params->head_at; at < o->params->size; at += c) {
        float *w = o->params->theta + at;
        double norm = sqrt(o->dev->ops->sum_squares(o->dev, w, c));

        if (!(norm > o->head_norm_max)) continue;
        for (int64_t k = 0; k < c; k++) w[k] = (float)((double)w[k] * (o->head_norm_max / norm));
    }
}

double di_optimizer_step(di_optimizer *o, unsigned groups, double lr, double head_lr)
{
    int64_t head = o->params->head_at, size = o->params->size;
    double sum = 0, norm, scale = 1;

    if (groups & DI_GROUP_LORA) sum += o->dev->ops->sum_squares(o->dev, o->g, head);
    if (groups & DI_GROUP_HEAD) sum += o->dev->ops->sum_squares(o->dev, o->g + head, size - head);
    norm = sqrt(sum);
    if (isfinite(norm)) {
        if (o->clip > 0 && o->clip < norm + 1e-6) scale = o->clip / (norm + 1e-6);
        if (groups & DI_GROUP_LORA) update(o, 0, head, ++o->t_lora, lr, scale);
        if (groups & DI_GROUP_HEAD) update(o, head, size - head, ++o->t_head, head_lr, scale);
        if ((groups & DI_GROUP_HEAD) != 0 && o->head_norm_max > 0) limit_head(o);
    }
    memset(o->g, 0, (size_t)size * sizeof *o->g);
    return norm;
}
