#include "model/lora.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const float HEAD_STD = 0.02F; /* Gemma's initializer_range (method.md 2.12) */

const char *const di_linear_name[DI_LINEAR_COUNT] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                     "gate_proj", "up_proj", "down_proj"};

void di_linear_shape(const di_config *c, di_linear l, int64_t *out, int64_t *in)
{
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;

    *in = l == DI_O_PROJ ? q : l == DI_DOWN_PROJ ? c->mlp : c->width;
    switch (l) {
    case DI_Q_PROJ: *out = q; break;
    case DI_K_PROJ:
    case DI_V_PROJ: *out = kv; break;
    case DI_GATE_PROJ:
    case DI_UP_PROJ: *out = c->mlp; break;
    case DI_O_PROJ:
    case DI_DOWN_PROJ:
    case DI_LINEAR_COUNT: *out = c->width; break;
    }
}

void di_linear_path(char *buf, size_t n, int64_t layer, di_linear l)
{
    snprintf(buf, n, "model.layers.%d.%s.%s", (int)layer, l >= DI_GATE_PROJ ? "mlp" : "self_attn",
             di_linear_name[l]);
}

float di_lora_scale(const di_lora_options *o)
{
    if (o->r <= 0) return 0;
    return o->rslora ? o->alpha / sqrtf((float)o->r) : o->alpha / (float)o->r;
}

static void add_param(di_params *p, const char *name, int64_t rows, int64_t cols)
{
    di_param *t = &p->param[p->n++];

    snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
    t->at = p->size;
    t->layer = DI_HEAD;
    p->size += rows * cols;
}

static void add_pair(di_params *p, const di_config *c, int64_t layer, di_linear l)
{
    char path[80], name[128];
    int64_t out, in, r = p->lora.r;

    di_linear_shape(c, l, &out, &in);
    di_linear_path(path, sizeof path, layer, l);
    for (int is_b = 0; is_b < 2; is_b++) {
        di_param *t;

        p->index[layer][l][is_b] = (int16_t)p->n;
        snprintf(name, sizeof name, "base_model.model.%s.lora_%c.weight", path, is_b ? 'B' : 'A');
        add_param(p, name, is_b ? out : r, is_b ? r : in);
        t = &p->param[p->n - 1];
        t->layer = (int)layer;
        t->linear = l;
        t->is_b = is_b;
    }
}

static void add_adaptor(di_params *p)
{
    int64_t r = p->lora.adaptor_r;

    for (int is_b = 0; is_b < 2; is_b++) {
        add_param(p, is_b ? "adaptor.B" : "adaptor.A", is_b ? p->width : r, is_b ? r : p->width);
        p->param[p->n - 1].layer = DI_ADAPTOR;
        p->param[p->n - 1].is_b = is_b;
    }
}

static dial_status check_options(const di_config *c, const di_lora_options *o, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (o->r < 0 || o->r > 65536)
        DI_FAIL(err, DIAL_ERR_USAGE, "LoRA rank %lld: expected 0 (head only) to 65536",
                (long long)o->r);
    if (o->adaptor_r < 0 || o->adaptor_r > 65536)
        DI_FAIL(err, DIAL_ERR_USAGE, "adaptor of rank %lld: expected 0 (none) to 65536",
                (long long)o->adaptor_r);
    if (o->r == 0) goto done;
    if (o->adaptor_r > 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, NULL, "use one of them",
                   "LoRA of rank %lld and an adaptor of rank %lld: embeddings that LoRA changes "
                   "are not stored",
                   (long long)o->r, (long long)o->adaptor_r);
    if (o->targets == 0 || o->targets >> DI_LINEAR_COUNT != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, NULL, "name at least one linear layer, or use rank 0",
                   "LoRA of rank %lld with no target", (long long)o->r);
    if (o->first_layer < 0 || o->first_layer >= o->end_layer || o->end_layer > c->layers)
        DI_FAIL(err, DIAL_ERR_USAGE, "LoRA on layers [%lld, %lld): the model has %lld",
                (long long)o->first_layer, (long long)o->end_layer, (long long)c->layers);
    if (!isfinite(o->alpha)) DI_FAIL(err, DIAL_ERR_USAGE, "LoRA alpha is not a finite number");
done:
    return st;
}

dial_status di_params_init(di_params *p, const di_alloc *al, const di_config *c,
                           const di_lora_options *opt, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_params q = {.al = al, .lora = *opt, .width = c->width, .n_layers = c->layers};
    int64_t first = opt->r > 0 ? opt->first_layer : 0, end = opt->r > 0 ? opt->end_layer : 0;
    size_t pairs;

    DI_TRY(check_options(c, opt, err));
    pairs = (size_t)(end - first) * (size_t)__builtin_popcount(opt->targets);
    q.param = di_new_array(al, 2 * pairs + 3, sizeof *q.param);
    q.index = di_new_array(al, (size_t)c->layers, sizeof *q.index);
    if (q.param == NULL || q.index == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the table of trainable tensors");
    memset(q.index, 0xff, (size_t)c->layers * sizeof *q.index); /* -1: no such pair */
    for (int64_t i = first; i < end; i++)
        for (int l = 0; l < DI_LINEAR_COUNT; l++)
            if (opt->targets >> l & 1) add_pair(&q, c, i, (di_linear)l);
    if (opt->adaptor_r > 0) add_adaptor(&q);
    q.head_at = q.size;
    add_param(&q, "base_model.model.score.weight", di_head_rows(&q), c->width);
    q.theta = di_new_array(al, (size_t)q.size, sizeof *q.theta);
    if (q.theta == NULL)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, NULL, "use a smaller --lora-r or fewer --lora-targets",
                   "no memory for %lld trainable values", (long long)q.size);
    *p = q;
    q = (di_params){.al = al};
done:
    di_params_deinit(&q);
    return st;
}

void di_params_deinit(di_params *p)
{
    const di_alloc *al = p->al != NULL ? p->al : di_alloc_default();

    di_free(al, p->param);
    di_free(al, p->index);
    di_free(al, p->theta);
    *p = (di_params){0};
}

void di_params_randomize(di_params *p, uint64_t seed)
{
    for (int i = 0; i < p->n; i++) {
        const di_param *t = &p->param[i];
        float *v = p->theta + t->at;
        int64_t count = t->rows * t->cols;

        if (t->layer == DI_HEAD) {
            di_rng g = di_rng_make(seed, DI_RNG_HEAD_INIT, 0);
            for (int64_t k = 0; k < count; k++) v[k] = HEAD_STD * (float)di_rng_normal(&g);
        } else if (t->is_b) {
            memset(v, 0, (size_t)count * sizeof *v);
        } else {
            di_rng g = di_rng_make(seed, DI_RNG_LORA_INIT, (uint32_t)i);
            double bound = 1.0 / sqrt((double)t->cols);
            for (int64_t k = 0; k < count; k++)
                v[k] = (float)(bound * (2.0 * di_rng_uniform(&g) - 1.0));
        }
    }
}

float *di_param_at(const di_params *p, float *block, int64_t layer, di_linear l, int is_b)
{
    int i = layer < p->n_layers ? p->index[layer][l][is_b] : -1;

    return i < 0 ? NULL : block + p->param[i].at;
}
