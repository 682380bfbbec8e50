#include "model/decoder_parts.h"

#include "base/error.h"

static dial_status check_options(const di_config *c, const di_decoder_options *o, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (o->n_layers < 0 || o->n_layers > c->layers)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, NULL, "choose a --layer that the model has",
                   "layer %lld: the model has %lld", (long long)o->n_layers, (long long)c->layers);
    if (o->int8 && o->train)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--weights", "use --weights auto",
                   "weights in 8 bits have no backward pass: they score, and do not train");
    if (o->first_trained < 0)
        DI_FAIL(err, DIAL_ERR_USAGE, "lowest trained layer %lld: expected 0 or more",
                (long long)o->first_trained);
done:
    return st;
}

dial_status di_decoder_new(di_device *dev, di_source *source, const di_decoder_options *opt,
                           di_decoder **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_config *c = di_source_config(source);
    di_decoder *d = di_zalloc(dev->al, sizeof *d);

    if (d == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the decoder");
    d->dev = dev;
    d->source = source;
    d->cfg = c;
    d->opt = *opt;
    DI_TRY(check_options(c, opt, err));
    if (d->opt.n_layers == 0) d->opt.n_layers = c->layers;
    d->exact = *dev;
    d->exact.act = DI_F32;
    d->ends = opt->pooling == DI_POOL_LAST && !opt->with_logits;
    d->layer = di_new_array(dev->al, (size_t)d->opt.n_layers, sizeof *d->layer);
    if (d->layer == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the decoder");
    for (int64_t l = 0; l < d->opt.n_layers; l++)
        d->layer[l].dev = l < c->exact_layers ? &d->exact : dev;
    DI_TRY(di_decoder_load_weights(d, source, err));
    *out = d;
    d = NULL;
done:
    di_decoder_free(d);
    return st;
}

void di_decoder_free(di_decoder *d)
{
    const di_backend *ops;

    if (d == NULL) return;
    ops = d->dev->ops;
    for (int64_t l = 0; d->layer != NULL && l < d->opt.n_layers; l++) {
        ops->linear_free(d->dev, d->layer[l].qkv);
        ops->linear_free(d->dev, d->layer[l].o);
        ops->linear_free(d->dev, d->layer[l].gate_up);
        ops->linear_free(d->dev, d->layer[l].down);
    }
    ops->linear_free(d->dev, d->head);
    if (d->norms != NULL) ops->buffer_free(d->dev, d->norms);
    di_free(d->dev->al, d->random_table);
    di_free(d->dev->al, d->layer);
    di_free(d->dev->al, d);
}

const di_config *di_decoder_config(const di_decoder *d)
{
    return d->cfg;
}

int64_t di_decoder_layers(const di_decoder *d)
{
    return d->opt.n_layers;
}

size_t di_decoder_weight_bytes(const di_decoder *d)
{
    const di_backend *ops = d->dev->ops;
    size_t n = d->norms_bytes;

    for (int64_t l = 0; l < d->opt.n_layers; l++)
        n += ops->linear_bytes(d->layer[l].qkv) + ops->linear_bytes(d->layer[l].o) +
             ops->linear_bytes(d->layer[l].gate_up) + ops->linear_bytes(d->layer[l].down);
    if (d->head != NULL) n += ops->linear_bytes(d->head);
    if (d->random_table != NULL)
        n += (size_t)d->table.out * di_dtype_row_bytes(d->table.dtype, d->table.in);
    return n;
}

void di_decoder_set_lora(di_decoder *d, const di_params *p)
{
    d->lora = p;
}

const di_params *di_decoder_lora(const di_decoder *d)
{
    return d->lora;
}

void di_decoder_on_layer(di_decoder *d, const di_layer_hook *hook)
{
    d->on_layer = hook;
}
