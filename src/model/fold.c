#include "model/fold.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

/* Rows of a block by what they are; the linear layers carry LoRA under their own names. */
static void put(di_fold *f, int64_t layer, const char *name, int64_t rows, int64_t cols, int linear)
{
    di_fold_tensor *t = &f->tensor[f->n++];

    *t = (di_fold_tensor){
        .rows = rows, .cols = cols, .n_dims = rows > 0 ? 2 : 1, .layer = layer, .linear = linear};
    if (rows == 0) t->rows = 1;
    t->is_norm = strstr(name, "norm.weight") != NULL;
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", name);
    else
        snprintf(t->name, sizeof t->name, "model.layers.%" PRId64 ".%s", layer, name);
}

static void put_linear(di_fold *f, const di_config *c, int64_t layer, di_linear l)
{
    const int has_bias = l <= DI_V_PROJ ? c->qkv_bias : l == DI_O_PROJ ? c->o_bias : c->mlp_bias;
    char path[80];
    int64_t out, in;

    di_linear_shape(c, l, &out, &in);
    di_linear_path(path, sizeof path, layer, l);
    put(f, -1, DI_FMT("%s.weight", path), out, in, l);
    f->tensor[f->n - 1].layer = layer;
    if (!has_bias) return;
    put(f, -1, DI_FMT("%s.bias", path), 0, out, -1);
    f->tensor[f->n - 1].layer = layer;
}

static void put_layer(di_fold *f, const di_config *c, int64_t i)
{
    put(f, i, "input_layernorm.weight", 0, c->width, -1);
    for (int l = 0; l < DI_LINEAR_COUNT; l++) put_linear(f, c, i, (di_linear)l);
    if (c->qk_norm) {
        put(f, i, "self_attn.q_norm.weight", 0, c->head_dim, -1);
        put(f, i, "self_attn.k_norm.weight", 0, c->head_dim, -1);
    }
    put(f, i, "post_attention_layernorm.weight", 0, c->width, -1);
    if (c->post_norms) {
        put(f, i, "pre_feedforward_layernorm.weight", 0, c->width, -1);
        put(f, i, "post_feedforward_layernorm.weight", 0, c->width, -1);
    }
}

dial_status di_fold_init(di_fold *f, const di_alloc *al, const di_source *source,
                         const di_params *params, int64_t layers, dial_error *err)
{
    enum { OF_A_BLOCK = 2 * DI_LINEAR_COUNT + 6 };
    dial_status st = DIAL_OK;
    const di_config *c = di_source_config(source);
    const int64_t widest = c->mlp > c->width ? c->mlp : c->width;
    const int64_t heads = c->heads * c->head_dim;

    *f = (di_fold){.al = al, .source = source, .params = params, .layers = layers};
    f->tensor = di_new_array(al, (size_t)(2 + layers * OF_A_BLOCK), sizeof *f->tensor);
    f->sum = di_new_array(al, (size_t)(widest > heads ? widest : heads), sizeof *f->sum);
    if (f->tensor == NULL || f->sum == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the weights of '%s'", di_source_path(source));
    put(f, -1, "model.embed_tokens.weight", c->vocab, c->width, -1);
    for (int64_t i = 0; i < layers; i++) put_layer(f, c, i);
    put(f, -1, "model.norm.weight", 0, c->width, -1);
done:
    if (st != DIAL_OK) di_fold_deinit(f);
    return st;
}

void di_fold_deinit(di_fold *f)
{
    if (f->al == NULL) return;
    di_free(f->al, f->tensor);
    di_free(f->al, f->sum);
    *f = (di_fold){0};
}

/* row [cols] += s B[i] A, where the adapter has this layer. */
static void add_lora(di_fold *f, const di_fold_tensor *t, int64_t i, float *row)
{
    const di_params *p = f->params;
    const double s = (double)di_lora_scale(&p->lora);
    const int64_t r = p->lora.r;
    const float *a = di_param_at(p, p->theta, t->layer, (di_linear)t->linear, 0);
    const float *b = di_param_at(p, p->theta, t->layer, (di_linear)t->linear, 1);

    if (a == NULL || b == NULL) return;
    for (int64_t k = 0; k < t->cols; k++) f->sum[k] = (double)row[k];
    for (int64_t j = 0; j < r; j++) {
        const double w = s * (double)b[i * r + j];
        const float *a_j = a + j * t->cols;

        for (int64_t k = 0; k < t->cols; k++) f->sum[k] += w * (double)a_j[k];
    }
    for (int64_t k = 0; k < t->cols; k++) row[k] = (float)f->sum[k];
}

dial_status di_fold_rows(di_fold *f, const di_fold_tensor *t, int64_t first, int64_t n, float *dst,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    di_weight w;
    int found = 0;

    DI_TRY(di_source_find(f->source, t->name, &w, &found, err));
    if (!found)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, di_source_path(f->source), "give the model's folder",
                   "there is no tensor '%s' to write", t->name);
    for (int64_t i = 0; i < n; i++) {
        const int64_t stored = w.row_map != NULL ? w.row_map[first + i] : first + i;

        di_dequantize(w.dtype,
                      (const char *)w.data + (size_t)stored * di_dtype_row_bytes(w.dtype, w.in),
                      dst + i * t->cols, t->cols);
        if (f->params != NULL && t->linear >= 0) add_lora(f, t, first + i, dst + i * t->cols);
    }
done:
    return st;
}
