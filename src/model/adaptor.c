#include "model/adaptor.h"

#include <string.h>

#include "base/error.h"
#include "model/safetensors.h"

static const char *const FILE_NAME = "adaptor.safetensors";

/* A (is_b 0) or B in a block laid out like theta; they are the table's first two. */
static float *part(const di_params *p, float *block, int is_b)
{
    return block + p->param[is_b].at;
}

static di_mat rows_of(const float *data, int64_t rows, int64_t cols)
{
    return (di_mat){(void *)(uintptr_t)data, DI_F32, rows, cols, cols};
}

dial_status di_adaptor_init(di_adaptor *a, const di_device *dev, const di_params *p,
                            int64_t max_rows, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t r = p->lora.adaptor_r, c = p->width;

    *a = (di_adaptor){.dev = *dev, .params = p, .max_rows = max_rows};
    a->dev.act = DI_F32;
    a->u = dev->ops->buffer_new(&a->dev, (size_t)(max_rows * r) * sizeof *a->u);
    a->work = dev->ops->buffer_new(&a->dev, dev->ops->lora_bytes(&a->dev, max_rows, c, c, r));
    if (a->u == NULL || a->work == NULL)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, NULL, "use a smaller --adaptor",
                   "no memory for an adaptor of rank %lld", (long long)r);
done:
    if (st != DIAL_OK) di_adaptor_deinit(a);
    return st;
}

void di_adaptor_deinit(di_adaptor *a)
{
    if (a->params == NULL) return;
    a->dev.ops->buffer_free(&a->dev, a->u);
    a->dev.ops->buffer_free(&a->dev, a->work);
    *a = (di_adaptor){0};
}

/* A low-rank pair beside the identity: LoRA with x in the place of the layer's output. */
static di_lora_args pair_of(di_adaptor *a, const float *e, int64_t n)
{
    const di_params *p = a->params;

    return (di_lora_args){.x = rows_of(e, n, p->width),
                          .a = part(p, p->theta, 0),
                          .b = part(p, p->theta, 1),
                          .u = {a->u, DI_F32, n, p->lora.adaptor_r, p->lora.adaptor_r},
                          .scale = 1,
                          .tanh = p->lora.adaptor_tanh,
                          .work = a->work};
}

void di_adaptor_forward(di_adaptor *a, const float *e, int64_t n, float *out)
{
    di_lora_args l = pair_of(a, e, n);

    memcpy(out, e, (size_t)(n * a->params->width) * sizeof *out);
    l.y = rows_of(out, n, a->params->width);
    a->dev.ops->lora_forward(&a->dev, &l);
}

void di_adaptor_backward(di_adaptor *a, const float *e, const float *de, int64_t n, float *grad)
{
    di_lora_args l = pair_of(a, e, n);

    l.dy = rows_of(de, n, a->params->width);
    l.da = part(a->params, grad, 0);
    l.db = part(a->params, grad, 1);
    a->dev.ops->lora_backward(&a->dev, &l);
}

dial_status di_adaptor_fold(const di_params *p, float *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    const float *head = di_head_at(p, p->theta), *a = part(p, p->theta, 0),
                *b = part(p, p->theta, 1);
    int64_t c = p->width, r = p->lora.adaptor_r;
    double *sum = di_new_array(p->al, (size_t)c, sizeof *sum);

    if (sum == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to fold the adaptor");
    if (p->lora.adaptor_tanh)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--adaptor", "train without :tanh, or score with dial",
                   "a tanh adaptor does not fold into score.weight");
    for (int64_t i = 0; i < c; i++) sum[i] = (double)head[i];
    for (int64_t k = 0; k < r; k++) {
        double u = 0; /* (B^T w)_k */

        for (int64_t j = 0; j < c; j++) u += (double)b[j * r + k] * (double)head[j];
        for (int64_t i = 0; i < c; i++) sum[i] += u * (double)a[k * c + i];
    }
    for (int64_t i = 0; i < c; i++) w[i] = (float)sum[i];
done:
    di_free(p->al, sum);
    return st;
}

dial_status di_adaptor_save(const di_params *p, const char *dir, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t r = p->lora.adaptor_r, c = p->width;
    size_t bytes = (size_t)(r * c) * sizeof(float);
    char *path = di_path_join(p->al, dir, FILE_NAME);
    json_t *meta = json_pack("{s:s}", "kind", p->lora.adaptor_tanh ? "tanh" : "linear");
    di_st_entry entry[3] = {
        {"adaptor.A", "F32", {r, c}, 2, part(p, p->theta, 0), bytes},
        {"adaptor.B", "F32", {c, r}, 2, part(p, p->theta, 1), bytes},
        {"adaptor.w", "F32", {1, c}, 2, di_head_at(p, p->theta), (size_t)c * sizeof(float)},
    };

    if (path == NULL || meta == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the adaptor");
    DI_TRY(di_st_write(p->al, path, entry, p->lora.adaptor_tanh ? 2 : 3, meta, err));
done:
    json_decref(meta);
    di_free(p->al, path);
    return st;
}

dial_status di_adaptor_read_config(const di_alloc *al, const char *dir, int64_t width,
                                   di_lora_options *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, dir, FILE_NAME);
    const di_st_tensor *a;
    const char *kind;
    di_st s = {0};

    out->adaptor_r = out->adaptor_tanh = 0;
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path)) goto done;
    DI_TRY(di_st_open(al, path, &s, err));
    a = di_st_find(&s, "adaptor.A");
    kind = json_string_value(json_object_get(s.metadata, "kind"));
    if (kind == NULL || (strcmp(kind, "linear") != 0 && strcmp(kind, "tanh") != 0))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "is the file whole?",
                   "\"kind\": expected \"linear\" or \"tanh\", found %s", kind ? kind : "none");
    if (a == NULL || a->n_dims != 2 || a->dim[0] < 1 || a->dim[0] > 65536 || a->dim[1] != width)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "is this adaptor made for this base model?",
                   "'adaptor.A': expected shape [R, %lld]", (long long)width);
    out->adaptor_r = a->dim[0];
    out->adaptor_tanh = strcmp(kind, "tanh") == 0;
done:
    di_st_close(&s);
    di_free(al, path);
    return st;
}

dial_status di_adaptor_load(const di_alloc *al, const char *dir, di_params *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = p->lora.adaptor_r * p->width;
    char *path = di_path_join(al, dir, FILE_NAME);
    di_st s = {0};

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_st_open(al, path, &s, err));
    DI_TRY(di_st_read_f32(&s, path, "adaptor.A", part(p, p->theta, 0), n, err));
    DI_TRY(di_st_read_f32(&s, path, "adaptor.B", part(p, p->theta, 1), n, err));
    if (!p->lora.adaptor_tanh)
        DI_TRY(di_st_read_f32(&s, path, "adaptor.w", di_head_at(p, p->theta), p->width, err));
done:
    di_st_close(&s);
    di_free(al, path);
    return st;
}
