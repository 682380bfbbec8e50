/*
 * From the model file to packed weights, by Hugging Face names. di_source_open has checked that all
 * of them are there in the shapes that the configuration says. A source without weights gets random
 * ones.
 */
#include "model/decoder_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

/*
 * Random weights (a config.json alone, for `bench`): N(0, 0.02^2) drawn once into a pool of prime
 * length and read round and round, each tensor from where the one before it stopped. A number of
 * their own for the 2.5e9 weights of Gemma 2b would take minutes and time nothing differently.
 */
enum { POOL = 1048573 };
static const float WEIGHT_STD = 0.02F;

typedef struct loader {
    di_decoder *d;
    di_source *source;
    uint16_t *pool; /* [POOL] bf16; NULL: the source has weights */
    size_t pool_at;
    float *norm;      /* [C or D] staging of one norm */
    float *bias;      /* staging of the biases of one fused layer */
    float *norm_next; /* free part of d->norms */
} loader;

static dial_status find(const loader *ld, const char *name, int64_t out, int64_t in, di_weight *w,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    di_weight x = {0};
    int found = 0;

    DI_TRY(di_source_find(ld->source, name, &x, &found, err));
    if (!found || x.out != out || x.in != in) /* cheap, and a wrong one would read past its end */
        DI_FAIL_AT(err, DIAL_ERR_INPUT, di_source_path(ld->source),
                   "does config.json belong to these weights?",
                   "'%s': expected shape [%lld, %lld], found [%lld, %lld]", name, (long long)out,
                   (long long)in, (long long)x.out, (long long)x.in);
    *w = x;
done:
    return st;
}

/* A random matrix in memory of its own (*held). */
static dial_status invent(loader *ld, int64_t out, int64_t in, void **held, di_weight *w,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)out * (size_t)in;
    uint16_t *v = di_new_array(ld->d->dev->al, n, sizeof *v);

    if (v == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a random weight of %lld x %lld", (long long)out,
                (long long)in);
    for (size_t i = 0; i < n; i++) {
        v[i] = ld->pool[ld->pool_at];
        if (++ld->pool_at == POOL) ld->pool_at = 0;
    }
    *w = (di_weight){.data = v, .dtype = DI_BF16, .out = out, .in = in};
    *held = v;
done:
    return st;
}

/* dst [n] = a one-dimensional tensor. */
static dial_status read_vector(const loader *ld, const char *name, int64_t n, float *dst,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_weight w;

    DI_TRY(find(ld, name, 1, n, &w, err));
    di_dequantize(w.dtype, w.data, dst, n);
done:
    return st;
}

/* One norm weight into the next place of d->norms; without weights: the neutral one. */
static dial_status load_norm(loader *ld, const char *name, int64_t n, float **out, dial_error *err)
{
    di_device *dev = ld->d->dev;
    dial_status st = DIAL_OK;

    if (ld->pool != NULL) {
        for (int64_t i = 0; i < n; i++) ld->norm[i] = 1;
    } else {
        DI_TRY(read_vector(ld, name, n, ld->norm, err));
        for (int64_t i = 0; ld->d->cfg->norm_plus_one && i < n; i++) ld->norm[i] += 1;
    }
    dev->ops->upload(dev, ld->norm_next, ld->norm, (size_t)n * sizeof *ld->norm);
    *out = ld->norm_next;
    ld->norm_next += n;
done:
    return st;
}

/* Packs linear layers first .. first+n-1 of block l, stacked by rows, with their biases if asked.
 */
static dial_status pack(loader *ld, int64_t l, di_linear first, int n, int with_bias,
                        unsigned directions, di_packed **out, dial_error *err)
{
    di_device *dev = ld->d->layer[l].dev;
    dial_status st = DIAL_OK;
    di_weight part[3];
    void *held[3] = {NULL, NULL, NULL};
    int64_t at = 0;
    char path[80], name[96];

    for (int i = 0; i < n; i++) {
        int64_t rows, cols;

        di_linear_shape(ld->d->cfg, (di_linear)((int)first + i), &rows, &cols);
        di_linear_path(path, sizeof path, l, (di_linear)((int)first + i));
        snprintf(name, sizeof name, "%s.weight", path);
        if (ld->pool != NULL)
            DI_TRY(invent(ld, rows, cols, &held[i], &part[i], err));
        else
            DI_TRY(find(ld, name, rows, cols, &part[i], err));
        snprintf(name, sizeof name, "%s.bias", path);
        if (with_bias && ld->pool != NULL)
            memset(ld->bias + at, 0, (size_t)rows * sizeof(float));
        else if (with_bias)
            DI_TRY(read_vector(ld, name, rows, ld->bias + at, err));
        at += rows;
    }
    DI_TRY(dev->ops->linear_pack(dev, part, n, with_bias ? ld->bias : NULL, directions, out, err));
done:
    for (int i = 0; i < n; i++) di_free(dev->al, held[i]);
    return st;
}

static dial_status load_norms(loader *ld, int64_t l, dial_error *err)
{
    const di_config *c = ld->d->cfg;
    /* what follows "model.layers.N."; post_attention_layernorm means two things (interfaces 3.4) */
    const struct {
        const char *name;
        int exists;
        int64_t n;
    } row[DI_NORM_COUNT] = {
        [DI_NORM_ATTN] = {"input_layernorm", 1, c->width},
        [DI_NORM_Q] = {"self_attn.q_norm", c->qk_norm, c->head_dim},
        [DI_NORM_K] = {"self_attn.k_norm", c->qk_norm, c->head_dim},
        [DI_NORM_POST_ATTN] = {"post_attention_layernorm", c->post_norms, c->width},
        [DI_NORM_MLP] = {c->post_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm",
                         1, c->width},
        [DI_NORM_POST_MLP] = {"post_feedforward_layernorm", c->post_norms, c->width},
    };
    dial_status st = DIAL_OK;
    char name[96];

    for (int k = 0; k < DI_NORM_COUNT; k++) {
        if (!row[k].exists) continue;
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", (int)l, row[k].name);
        DI_TRY(load_norm(ld, name, row[k].n, &ld->d->layer[l].norm[k], err));
    }
done:
    return st;
}

static dial_status load_layer(loader *ld, int64_t l, dial_error *err)
{
    const di_config *c = ld->d->cfg;
    const di_decoder_options *o = &ld->d->opt;
    di_layer *layer = &ld->d->layer[l];
    dial_status st = DIAL_OK;
    unsigned both = DI_FORWARD | DI_BACKWARD;
    unsigned dir = o->train && l >= o->first_trained ? both : DI_FORWARD;
    /* in the lowest trained layer no gradient flows past q, k and v */
    unsigned dir_qkv = o->train && l > o->first_trained ? both : DI_FORWARD;

    if (o->int8 && layer->dev == ld->d->dev) dir = dir_qkv = DI_FORWARD | DI_INT8;

    DI_TRY(load_norms(ld, l, err));
    DI_TRY(pack(ld, l, DI_Q_PROJ, 3, c->qkv_bias, dir_qkv, &layer->qkv, err));
    DI_TRY(pack(ld, l, DI_O_PROJ, 1, c->o_bias, dir, &layer->o, err));
    DI_TRY(pack(ld, l, DI_GATE_PROJ, 2, c->mlp_bias, dir, &layer->gate_up, err));
    DI_TRY(pack(ld, l, DI_DOWN_PROJ, 1, c->mlp_bias, dir, &layer->down, err));
done:
    return st;
}

/* Token embeddings, which stay in the file, and the output head, which is packed if asked for. */
static dial_status load_ends(loader *ld, dial_error *err)
{
    di_decoder *d = ld->d;
    const di_config *c = d->cfg;
    dial_status st = DIAL_OK;
    void *held = NULL;
    di_weight head;

    if (ld->pool != NULL)
        DI_TRY(invent(ld, c->vocab, c->width, &d->random_table, &d->table, err));
    else
        DI_TRY(find(ld, "model.embed_tokens.weight", c->vocab, c->width, &d->table, err));
    DI_TRY(load_norm(ld, "model.norm.weight", c->width, &d->final_norm, err));
    if (!d->opt.with_logits) goto done;
    head = d->table;
    if (!c->tied && ld->pool != NULL)
        DI_TRY(invent(ld, c->vocab, c->width, &held, &head, err));
    else if (!c->tied)
        DI_TRY(find(ld, "lm_head.weight", c->vocab, c->width, &head, err));
    DI_TRY(d->dev->ops->linear_pack(d->dev, &head, 1, NULL,
                                    d->opt.train ? DI_FORWARD | DI_BACKWARD : DI_FORWARD, &d->head,
                                    err));
done:
    di_free(d->dev->al, held);
    return st;
}

static dial_status start(loader *ld, dial_error *err)
{
    di_decoder *d = ld->d;
    di_device *dev = d->dev;
    const di_config *c = d->cfg;
    dial_status st = DIAL_OK;
    int64_t per_layer = (c->post_norms ? 4 : 2) * c->width + (c->qk_norm ? 2 * c->head_dim : 0);
    int64_t qkv = (c->heads + 2 * c->kv_heads) * c->head_dim;
    int64_t wide = qkv > 2 * c->mlp ? qkv : 2 * c->mlp;

    d->norms_bytes = (size_t)(d->opt.n_layers * per_layer + c->width) * sizeof(float);
    d->norms = dev->ops->buffer_new(dev, d->norms_bytes);
    ld->norm_next = d->norms;
    ld->norm = di_new_array(dev->al, (size_t)(c->width > c->head_dim ? c->width : c->head_dim),
                            sizeof *ld->norm);
    ld->bias = di_new_array(dev->al, (size_t)(wide > c->width ? wide : c->width), sizeof *ld->bias);
    if (d->norms == NULL || ld->norm == NULL || ld->bias == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to load the weights");
    if (strcmp(di_source_kind(ld->source), "config") == 0) {
        di_rng g = di_rng_make(d->opt.random_seed, DI_RNG_WEIGHTS, 0);

        ld->pool = di_new_array(dev->al, POOL, sizeof *ld->pool);
        if (ld->pool == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for random weights");
        for (size_t i = 0; i < POOL; i++)
            ld->pool[i] = di_f32_to_bf16(WEIGHT_STD * (float)di_rng_normal(&g));
    }
done:
    return st;
}

dial_status di_decoder_load_weights(di_decoder *d, di_source *source, dial_error *err)
{
    dial_status st = DIAL_OK;
    loader ld = {.d = d, .source = source};

    DI_TRY(start(&ld, err));
    for (int64_t l = 0; l < d->opt.n_layers; l++) {
        DI_TRY(load_layer(&ld, l, err));
        /* after every layer: the peak is then the packed weights and one layer of the file */
        di_source_forget_pages(source);
    }
    DI_TRY(load_ends(&ld, err));
    di_source_forget_pages(source);
done:
    di_free(d->dev->al, ld.pool);
    di_free(d->dev->al, ld.norm);
    di_free(d->dev->al, ld.bias);
    return st;
}
