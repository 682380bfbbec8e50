#include "model/gguf_write.h"

#include <string.h>

#include "base/error.h"

enum { T_U32 = 4, T_I32 = 5, T_F32 = 6, T_BOOL = 7, T_STRING = 8, T_ARRAY = 9, ALIGNMENT = 32 };

void di_gguf_out_init(di_gguf_out *o, const di_alloc *al)
{
    *o = (di_gguf_out){0};
    di_buf_init(&o->pairs, al);
    di_buf_init(&o->tensors, al);
}

void di_gguf_out_deinit(di_gguf_out *o)
{
    di_buf_deinit(&o->pairs);
    di_buf_deinit(&o->tensors);
}

/* ---- pairs ---- */

static void append_u32(di_buf *b, uint32_t v)
{
    di_buf_append(b, &v, sizeof v);
}

static void append_u64(di_buf *b, uint64_t v)
{
    di_buf_append(b, &v, sizeof v);
}

static void append_string(di_buf *b, const char *s, size_t n)
{
    append_u64(b, n);
    di_buf_append(b, s, n);
}

static void begin_pair(di_gguf_out *o, const char *key, uint32_t type)
{
    append_string(&o->pairs, key, strlen(key));
    append_u32(&o->pairs, type);
    o->n_pairs++;
}

static void put_scalar(di_gguf_out *o, const char *key, uint32_t type, const void *v, size_t size)
{
    begin_pair(o, key, type);
    di_buf_append(&o->pairs, v, size);
}

static void put_array(di_gguf_out *o, const char *key, uint32_t type, const void *v, size_t n,
                      size_t size)
{
    begin_pair(o, key, T_ARRAY);
    append_u32(&o->pairs, type);
    append_u64(&o->pairs, n);
    if (v != NULL) di_buf_append(&o->pairs, v, n * size);
}

void di_gguf_put_u32(di_gguf_out *o, const char *key, uint32_t v)
{
    put_scalar(o, key, T_U32, &v, sizeof v);
}

void di_gguf_put_f32(di_gguf_out *o, const char *key, float v)
{
    put_scalar(o, key, T_F32, &v, sizeof v);
}

void di_gguf_put_bool(di_gguf_out *o, const char *key, int v)
{
    const uint8_t byte = v != 0;

    put_scalar(o, key, T_BOOL, &byte, 1);
}

void di_gguf_put_string(di_gguf_out *o, const char *key, const char *s, size_t n)
{
    begin_pair(o, key, T_STRING);
    append_string(&o->pairs, s, n);
}

void di_gguf_put_strings(di_gguf_out *o, const char *key, const di_str *s, size_t n)
{
    put_array(o, key, T_STRING, NULL, n, 0);
    for (size_t i = 0; i < n; i++) append_string(&o->pairs, s[i].data, s[i].size);
}

void di_gguf_put_i32s(di_gguf_out *o, const char *key, const int32_t *v, size_t n)
{
    put_array(o, key, T_I32, v, n, sizeof *v);
}

void di_gguf_put_f32s(di_gguf_out *o, const char *key, const float *v, size_t n)
{
    put_array(o, key, T_F32, v, n, sizeof *v);
}

void di_gguf_put_bools(di_gguf_out *o, const char *key, const uint8_t *v, size_t n)
{
    put_array(o, key, T_BOOL, v, n, sizeof *v);
}

void di_gguf_put_pair(di_gguf_out *o, di_str pair)
{
    di_buf_append(&o->pairs, pair.data, pair.size);
    o->n_pairs++;
}

/* ---- a model's keys ---- */

/* Do the windows follow pattern p (layer i has one iff i % p < p - 1; 0: all)? */
static int follows(const di_config *c, int64_t layers, int64_t p)
{
    int64_t i = 0;

    while (i < layers && (c->window[i] > 0) == (p == 0 || i % p < p - 1)) i++;
    return i == layers;
}

/* Windows of Gemma are by layer; where they are the usual ones, every reader knows them. */
static void put_windows(di_gguf_out *o, const di_config *c, const char *arch, int64_t layers)
{
    uint8_t each[DI_MAX_LAYERS];
    int64_t window = 0;

    for (int64_t i = 0; i < layers; i++) {
        each[i] = c->window[i] > 0;
        if (each[i]) window = c->window[i];
    }
    if (window == 0 && !c->post_norms) return;
    di_gguf_put_u32(o, DI_FMT("%s.attention.sliding_window", arch), (uint32_t)window);
    if (window == 0 || follows(c, layers,
                               !c->post_norms                   ? 0
                               : strcmp(c->arch, "gemma2") == 0 ? 2
                                                                : 6))
        return;
    di_gguf_put_bools(o, DI_FMT("%s.attention.sliding_window_pattern", arch), each, (size_t)layers);
}

static void put_rope(di_gguf_out *o, const di_config *c, const char *arch)
{
    di_gguf_put_u32(o, DI_FMT("%s.rope.dimension_count", arch), (uint32_t)c->head_dim);
    di_gguf_put_f32(o, DI_FMT("%s.rope.freq_base", arch), (float)c->rope.base);
    if (c->rope.factor != 1 && c->rope.kind != DI_ROPE_LLAMA3) {
        di_gguf_put_string(o, DI_FMT("%s.rope.scaling.type", arch), "linear", 6);
        di_gguf_put_f32(o, DI_FMT("%s.rope.scaling.factor", arch), (float)c->rope.factor);
    }
    if (strcmp(c->arch, "gemma3") == 0)
        di_gguf_put_f32(o, DI_FMT("%s.rope.freq_base_swa", arch), (float)c->rope_of_local.base);
}

void di_gguf_put_config(di_gguf_out *o, const di_config *c, const char *arch, int64_t layers)
{
    const struct {
        const char *key;
        int64_t value;
    } row[] = {
        {"block_count", layers},
        {"context_length", c->context},
        {"embedding_length", c->width},
        {"feed_forward_length", c->mlp},
        {"attention.head_count", c->heads},
        {"attention.head_count_kv", c->kv_heads},
        {"attention.key_length", c->head_dim},
        {"attention.value_length", c->head_dim},
        {"vocab_size", c->vocab},
    };

    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        di_gguf_put_u32(o, DI_FMT("%s.%s", arch, row[i].key), (uint32_t)row[i].value);
    di_gguf_put_f32(o, DI_FMT("%s.attention.layer_norm_rms_epsilon", arch), c->norm_eps);
    put_rope(o, c, arch);
    put_windows(o, c, arch, layers);
    if (strcmp(c->arch, "gemma2") == 0) {
        di_gguf_put_f32(o, DI_FMT("%s.attn_logit_softcapping", arch), c->attn_cap);
        di_gguf_put_f32(o, DI_FMT("%s.final_logit_softcapping", arch), c->logit_cap);
    }
}

static void put_id(di_gguf_out *o, const char *key, int32_t id)
{
    if (id >= 0) di_gguf_put_u32(o, key, (uint32_t)id);
}

void di_gguf_put_vocab(di_gguf_out *o, const di_vocab *v)
{
    di_gguf_put_string(o, "tokenizer.ggml.model", v->model, strlen(v->model));
    if (v->pre != NULL) di_gguf_put_string(o, "tokenizer.ggml.pre", v->pre, strlen(v->pre));
    di_gguf_put_strings(o, "tokenizer.ggml.tokens", v->tokens, v->n);
    if (v->types != NULL) di_gguf_put_i32s(o, "tokenizer.ggml.token_type", v->types, v->n);
    if (v->scores != NULL) di_gguf_put_f32s(o, "tokenizer.ggml.scores", v->scores, v->n);
    if (v->merges != NULL) di_gguf_put_strings(o, "tokenizer.ggml.merges", v->merges, v->n_merges);
    put_id(o, "tokenizer.ggml.bos_token_id", v->bos);
    put_id(o, "tokenizer.ggml.eos_token_id", v->eos);
    put_id(o, "tokenizer.ggml.unknown_token_id", v->unk);
    put_id(o, "tokenizer.ggml.padding_token_id", v->pad);
    if (v->add_bos >= 0) di_gguf_put_bool(o, "tokenizer.ggml.add_bos_token", v->add_bos);
    if (v->add_eos >= 0) di_gguf_put_bool(o, "tokenizer.ggml.add_eos_token", v->add_eos);
    if (v->add_space_prefix >= 0)
        di_gguf_put_bool(o, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
}

/* ---- tensors ---- */

static uint64_t padded(uint64_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void di_gguf_put_tensor(di_gguf_out *o, const char *name, di_dtype t, const int64_t *dim,
                        int n_dims)
{
    const int64_t rows = n_dims == 2 ? dim[1] : 1;

    append_string(&o->tensors, name, strlen(name));
    append_u32(&o->tensors, (uint32_t)n_dims);
    for (int i = 0; i < n_dims; i++) append_u64(&o->tensors, (uint64_t)dim[i]);
    append_u32(&o->tensors, (uint32_t)di_dtype_gguf(t));
    append_u64(&o->tensors, o->size);
    o->size += padded((uint64_t)rows * di_dtype_row_bytes(t, dim[0]));
    o->n_tensors++;
}

/* Zeros up to the next multiple of the alignment. */
static dial_status pad(di_writer *w, dial_error *err)
{
    static const char zeros[ALIGNMENT] = {0};
    const uint64_t at = (uint64_t)ftello(w->f);

    return di_write(w, zeros, (size_t)(padded(at) - at), err);
}

dial_status di_gguf_write(const di_alloc *al, const char *path, di_gguf_out *o, di_gguf_fill fill,
                          void *ctx, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_writer w = {0};
    di_buf head;

    di_buf_init(&head, al);
    di_buf_append(&head, "GGUF", 4);
    append_u32(&head, 3);
    append_u64(&head, o->n_tensors);
    append_u64(&head, o->n_pairs);
    DI_TRY(di_buf_status(&head, err));
    DI_TRY(di_buf_status(&o->pairs, err));
    DI_TRY(di_buf_status(&o->tensors, err));
    DI_TRY(di_write_begin(al, path, &w, err));
    if (w.direct)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "name a file", "expected a place for a regular file");
    DI_TRY(di_write(&w, head.data, head.size, err));
    DI_TRY(di_write(&w, o->pairs.data, o->pairs.size, err));
    DI_TRY(di_write(&w, o->tensors.data, o->tensors.size, err));
    DI_TRY(pad(&w, err));
    for (size_t i = 0; i < o->n_tensors; i++) {
        DI_TRY(fill(ctx, i, &w, err));
        DI_TRY(pad(&w, err));
    }
    DI_TRY(di_write_commit(&w, err));
done:
    di_write_abort(&w);
    di_buf_deinit(&head);
    return st;
}
