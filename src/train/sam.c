#include "train/sam.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

dial_status di_sam_init(di_sam *s, di_device *dev, di_params *params, double rho, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)params->size * sizeof(float);

    *s = (di_sam){.dev = dev, .params = params, .rho = rho};
    if (rho <= 0) return DIAL_OK;
    s->g = dev->ops->buffer_new(dev, n);
    s->theta = dev->ops->buffer_new(dev, n);
    if (s->g == NULL || s->theta == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for sharpness-aware steps: 2 x %zu bytes", n);
done:
    return st;
}

void di_sam_deinit(di_sam *s)
{
    if (s->dev == NULL) return;
    s->dev->ops->buffer_free(s->dev, s->g);
    s->dev->ops->buffer_free(s->dev, s->theta);
    *s = (di_sam){0};
}

void di_sam_ascend(di_sam *s)
{
    double norm = sqrt(s->dev->ops->sum_squares(s->dev, s->g, s->params->size));
    float scale = (float)(s->rho / norm);

    memcpy(s->theta, s->params->theta, (size_t)s->params->size * sizeof *s->theta);
    s->away = 1;
    if (!isfinite(norm) || !isfinite(scale)) return;
    for (int64_t i = 0; i < s->params->size; i++) s->params->theta[i] += scale * s->g[i];
}

void di_sam_return(di_sam *s)
{
    if (s->away) memcpy(s->params->theta, s->theta, (size_t)s->params->size * sizeof *s->theta);
    s->away = 0;
}
