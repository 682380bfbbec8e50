#include "model/gguf_model.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/gguf.h"
#include "model/gguf_names.h"

enum { CHUNK = 1 << 18 }; /* floats converted at a time */

typedef struct writer {
    const di_gguf_model *m;
    const di_config *c;
    const di_alloc *al;
    float *rows;
    void *packed;
    int permutes;    /* q and k go to llama.cpp's order */
    int extra_freqs; /* rope_freqs.weight stands before the model's tensors */
} writer;

const char *di_gguf_arch(const di_config *c)
{
    return strcmp(c->arch, "mistral") == 0 ? "llama" : c->arch;
}

/* The scale that readers work out from the other keys has to be the model's. */
static dial_status check_scale(const di_fold *f, const di_config *c, dial_error *err)
{
    const int64_t big = strcmp(c->arch, "gemma2") == 0   ? 46
                        : strcmp(c->arch, "gemma3") == 0 ? 62
                                                         : -1;
    const double per_head =
        f->layers == big ? (double)c->width / (double)c->heads : (double)c->head_dim;
    dial_status st = DIAL_OK;

    if (fabs((double)c->attn_scale * sqrt(per_head) - 1) > 1e-5)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--to gguf", "export to hf or st instead",
                   "the model's attention scale is %g, and with %lld blocks readers of the format "
                   "would take %g: no key tells it",
                   (double)c->attn_scale, (long long)f->layers, 1 / sqrt(per_head));
done:
    return st;
}

/* ---- metadata ---- */

static int begins(di_str s, const char *prefix)
{
    const size_t n = strlen(prefix);

    return s.size >= n && memcmp(s.data, prefix, n) == 0;
}

/* What a base file says about its model and vocabulary; what is ours to say is left out. */
static void copy_pairs(di_gguf_out *o, const di_gguf *g, const char *arch)
{
    static const char *const ours[] = {"general.file_type",
                                       "general.quantization_version",
                                       "general.architecture",
                                       "general.alignment",
                                       "split.",
                                       "quantize.",
                                       "dial.",
                                       "tokenizer.ggml.add_bos_token",
                                       "tokenizer.ggml.add_eos_token",
                                       "tokenizer.chat_template.rerank"};

    for (size_t i = 0; i < di_gguf_pairs(g); i++) {
        di_str key, pair = di_gguf_pair(g, i, &key);
        int skip = begins(key, DI_FMT("%s.", arch));

        for (size_t k = 0; k < sizeof ours / sizeof *ours; k++) skip |= begins(key, ours[k]);
        if (!skip) di_gguf_put_pair(o, pair);
    }
}

static dial_status put_metadata(const writer *w, di_gguf_out *o, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_gguf_model *m = w->m;
    const di_gguf *base = di_source_gguf(m->fold->source);
    const char *arch = di_gguf_arch(w->c);
    di_vocab_store store = {0};
    di_vocab vocab;

    di_gguf_put_string(o, "general.architecture", arch, strlen(arch));
    di_gguf_put_u32(o, "general.file_type",
                    m->dtype == DI_F32    ? 0
                    : m->dtype == DI_F16  ? 1
                    : m->dtype == DI_Q8_0 ? 7
                                          : 32);
    di_gguf_put_u32(o, "general.quantization_version", 2);
    di_gguf_put_config(o, w->c, arch, m->fold->layers);
    if (base != NULL) {
        copy_pairs(o, base, arch);
    } else {
        di_gguf_put_string(o, "general.type", "model", 5);
        DI_TRY(di_tokenizer_to_vocab(m->tok, w->al, (size_t)w->c->vocab, &store, &vocab, err));
        vocab.add_bos = vocab.add_eos = -1;
        di_gguf_put_vocab(o, &vocab);
    }
    di_gguf_put_bool(o, "tokenizer.ggml.add_bos_token", m->add_bos);
    di_gguf_put_bool(o, "tokenizer.ggml.add_eos_token", m->add_eos);
done:
    di_vocab_store_deinit(&store);
    return st;
}

/* ---- tensors ---- */

static di_dtype dtype_of(const di_gguf_model *m, const di_fold_tensor *t)
{
    if (t->n_dims == 1) return DI_F32;
    return t->cols % di_dtype_block(m->dtype) == 0 ? m->dtype : DI_F16;
}

static void put_tensors(const writer *w, di_gguf_out *o)
{
    const di_fold *f = w->m->fold;
    char name[96];

    if (w->extra_freqs)
        di_gguf_put_tensor(o, "rope_freqs.weight", DI_F32, (const int64_t[]){w->c->head_dim / 2},
                           1);
    for (int i = 0; i < f->n; i++) {
        const di_fold_tensor *t = &f->tensor[i];

        di_gguf_name_of(t->name, w->c->post_norms, name, sizeof name);
        di_gguf_put_tensor(o, name, dtype_of(w->m, t), (const int64_t[]){t->cols, t->rows},
                           t->n_dims);
    }
    if (w->m->head != NULL)
        di_gguf_put_tensor(o, "cls.output.weight", DI_F32, (const int64_t[]){w->c->width, 2}, 2);
}

/* theta_i is divided by these: what the base file says, or what Llama 3's scaling comes to. */
static dial_status write_freqs(const writer *w, di_writer *out, dial_error *err)
{
    const di_gguf *g = di_source_gguf(w->m->fold->source);
    const di_gguf_tensor *t = g != NULL ? di_gguf_find(g, "rope_freqs.weight") : NULL;
    const int64_t half = w->c->head_dim / 2;

    if (t != NULL) return di_write(out, t->data, (size_t)half * sizeof(float), err);
    for (int64_t i = 0; i < half; i++)
        w->rows[i] = (float)(pow(w->c->rope.base, -2.0 * (double)i / (double)w->c->head_dim) /
                             (double)w->c->freq[i]);
    return di_write(out, w->rows, (size_t)half * sizeof(float), err);
}

static dial_status write_head(const writer *w, di_writer *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const int64_t c = w->c->width;

    memset(w->rows, 0, (size_t)c * sizeof(float));
    DI_TRY(di_write(out, w->m->head, (size_t)c * sizeof(float), err));
    DI_TRY(di_write(out, w->rows, (size_t)c * sizeof(float), err));
done:
    return st;
}

/* Row r of the file is this row of HF: h*D + 2i + j there is h*D + j*D/2 + i. */
static int64_t hf_row(int64_t r, int64_t d)
{
    return r / d * d + r % 2 * (d / 2) + r % d / 2;
}

/* A bias of q or k, in the file's order. */
static void permute(const writer *w, float *x, int64_t n)
{
    float *moved = x + n;

    for (int64_t r = 0; r < n; r++) moved[r] = x[hf_row(r, w->c->head_dim)];
    memcpy(x, moved, (size_t)n * sizeof *x);
}

static int is_q_or_k(const di_fold_tensor *t)
{
    return strstr(t->name, "q_proj") != NULL || strstr(t->name, "k_proj") != NULL;
}

static dial_status write_tensor(const writer *w, const di_fold_tensor *t, di_writer *out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dtype type = dtype_of(w->m, t);
    const int moved = w->permutes && is_q_or_k(t);
    const int64_t most = t->cols < CHUNK ? CHUNK / t->cols : 1;

    for (int64_t at = 0, n; at < t->rows; at += n) {
        n = moved ? 1 : t->rows - at < most ? t->rows - at : most;
        DI_TRY(di_fold_rows(w->m->fold, t,
                            moved && t->n_dims == 2 ? hf_row(at, w->c->head_dim) : at, n, w->rows,
                            err));
        if (moved && t->n_dims == 1) permute(w, w->rows, t->cols);
        for (int64_t i = 0; t->is_norm && w->c->norm_plus_one && i < t->cols; i++) w->rows[i] += 1;
        di_quantize(type, w->rows, w->packed, n * t->cols);
        DI_TRY(di_write(out, w->packed, (size_t)n * di_dtype_row_bytes(type, t->cols), err));
    }
done:
    return st;
}

static dial_status fill(void *ctx, size_t i, di_writer *out, dial_error *err)
{
    const writer *w = ctx;
    const size_t first = w->extra_freqs ? 1 : 0;

    if (i < first) return write_freqs(w, out, err);
    if (i - first == (size_t)w->m->fold->n) return write_head(w, out, err);
    return write_tensor(w, &w->m->fold->tensor[i - first], out, err);
}

dial_status di_gguf_model_write(const di_gguf_model *m, const char *path, di_gguf_out *o,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    writer w = {.m = m, .c = di_source_config(m->fold->source), .al = m->fold->al};
    int64_t widest = CHUNK;

    for (int i = 0; i < m->fold->n; i++)
        if (2 * m->fold->tensor[i].cols > widest) widest = 2 * m->fold->tensor[i].cols;
    w.permutes = strcmp(di_gguf_arch(w.c), "llama") == 0;
    w.extra_freqs = w.c->rope.kind == DI_ROPE_LLAMA3 || w.c->rope.kind == DI_ROPE_DIVIDED;
    w.rows = di_new_array(w.al, (size_t)widest, sizeof *w.rows);
    w.packed = di_new_array(w.al, (size_t)widest, sizeof(float));
    if (w.rows == NULL || w.packed == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rows");
    DI_TRY(check_scale(m->fold, w.c, err));
    DI_TRY(put_metadata(&w, o, err));
    put_tensors(&w, o);
    DI_TRY(di_gguf_write(w.al, path, o, fill, &w, err));
done:
    di_free(w.al, w.rows);
    di_free(w.al, w.packed);
    return st;
}
