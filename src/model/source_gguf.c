/*
 * A GGUF file under Hugging Face names and in Hugging Face order (interfaces.md 3.4). Rows are
 * whole runs of blocks, so what a converter moved is moved back by a map of rows, without touching
 * the file; only permuted biases, whose elements are no rows, are copied.
 */
#include "model/gguf_names.h"
#include "model/source_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"

/* "blk.3.attn_q.weight" in its parts; layer -1 outside of a block. */
typedef struct stored_name {
    long layer;
    const char *stem, *ending; /* ending: ".weight", ".bias" or "" */
    size_t stem_size;
} stored_name;

static stored_name split_name(const char *name)
{
    stored_name p = {.layer = -1, .stem = name};
    const char *dot;
    char *end;

    if (strncmp(name, "blk.", 4) == 0 && name[4] >= '0' && name[4] <= '9') {
        long layer = strtol(name + 4, &end, 10);

        if (*end == '.' && layer < DI_MAX_LAYERS) {
            p.layer = layer;
            p.stem = end + 1;
        }
    }
    dot = strrchr(p.stem, '.');
    if (dot == NULL || (strcmp(dot, ".weight") != 0 && strcmp(dot, ".bias") != 0))
        dot = p.stem + strlen(p.stem);
    p.ending = dot;
    p.stem_size = (size_t)(dot - p.stem);
    return p;
}

static int is_bias(const stored_name *p)
{
    return strcmp(p->ending, ".bias") == 0;
}

/* Rows of q (k has the beginning of the same map): row h*D + j*D/2 + i of HF is h*D + 2i + j. */
static dial_status build_row_map(di_source *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const int64_t d = s->config.head_dim, rows = s->config.heads * d;

    if (strcmp(s->config.arch, "llama") != 0) goto done;
    s->row_map = di_new_array(s->al, (size_t)rows, sizeof *s->row_map);
    if (s->row_map == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the order of %" PRId64 " rows", rows);
    for (int64_t r = 0; r < rows; r++) {
        int64_t head = r / d, j = r % d / (d / 2), i = r % (d / 2);

        s->row_map[r] = (int32_t)(head * d + 2 * i + j);
    }
done:
    return st;
}

/*
 * Adds rows [first, first + count) of t (elements where t has one dimension) under an HF name.
 * permuted: they are of q or k, and this model's converter reordered those.
 */
static dial_status add_rows(di_source *s, const di_gguf_tensor *t, const char *hf, int64_t first,
                            int64_t count, int permuted, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_source_entry *e = di_source_add(s, hf);
    const int vector = t->n_dims < 2;

    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the tensors of '%s'", s->path);
    e->stored = t->name;
    e->type_id = t->type_id;
    e->n_dims = t->n_dims;
    e->w = (di_weight){t->data, t->dtype, vector ? 1 : count, vector ? count : t->dim[0], NULL};
    if (t->dtype == DI_DTYPE_COUNT) goto done; /* refused by name when it is asked for */
    if (vector && di_dtype_block(t->dtype) != 1) {
        if (first != 0 || count != t->dim[0] || permuted)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: tensor '%s'", s->path, t->name),
                       "convert the model again with F32 biases",
                       "expected F32, F16 or BF16 for a bias, found %s", di_dtype_name(t->dtype));
        goto done;
    }
    e->w.data = (const char *)t->data +
                (size_t)first * di_dtype_row_bytes(t->dtype, vector ? 1 : t->dim[0]);
    if (!permuted) goto done;
    if (!vector) {
        e->w.row_map = s->row_map;
        goto done;
    }
    e->own = di_new_array(s->al, (size_t)count, sizeof *e->own);
    if (e->own == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", t->name);
    for (int64_t i = 0; i < count; i++)
        di_dequantize(t->dtype,
                      (const char *)e->w.data +
                          (size_t)s->row_map[i] * di_dtype_block_bytes(t->dtype),
                      e->own + i, 1);
    e->w.data = e->own;
    e->w.dtype = DI_F32;
done:
    return st;
}

/* q, k or v under its HF name. `first`: where its rows begin in a fused tensor. */
static dial_status add_attention(di_source *s, const di_gguf_tensor *t, const stored_name *p,
                                 char which, int64_t first, int64_t rows, dial_error *err)
{
    char name[96];

    snprintf(name, sizeof name, "model.layers.%ld.self_attn.%c_proj%s", p->layer, which, p->ending);
    return add_rows(s, t, name, first, rows, s->row_map != NULL && which != 'v', err);
}

/* attn_qkv: rows of q, then k, then v. */
static dial_status add_fused(di_source *s, const di_gguf_tensor *t, const stored_name *p,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_config *c = &s->config;
    const int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const int64_t rows = t->n_dims == 2 ? t->dim[1] : t->dim[0];

    if (t->n_dims != (is_bias(p) ? 1 : 2) || rows != q + 2 * kv)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: tensor '%s'", s->path, t->name),
                   "check that the file is complete and of a supported model",
                   "expected %" PRId64 " rows of q, k and v, found %" PRId64, q + 2 * kv, rows);
    DI_TRY(add_attention(s, t, p, 'q', 0, q, err));
    DI_TRY(add_attention(s, t, p, 'k', q, kv, err));
    DI_TRY(add_attention(s, t, p, 'v', q + kv, kv, err));
done:
    return st;
}

static dial_status add_tensor(di_source *s, const di_gguf_tensor *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const stored_name p = split_name(t->name);
    const di_config *c = &s->config;
    const int64_t rows = t->n_dims < 2 ? t->dim[0] : t->dim[1];
    const char *hf;
    char name[160];
    int permuted = 0;

    if (p.layer >= 0 && p.stem_size == 8 && memcmp(p.stem, "attn_qkv", 8) == 0) {
        DI_TRY(add_fused(s, t, &p, err));
        goto done;
    }
    hf = di_gguf_stem_in_hf(p.stem, p.stem_size, p.layer >= 0, c->post_norms);
    if (p.layer >= 0) {
        snprintf(name, sizeof name, "model.layers.%ld.%s%s", p.layer, hf != NULL ? hf : "",
                 p.ending);
    } else {
        snprintf(name, sizeof name, "%s%s", hf != NULL ? hf : "", p.ending);
    }
    if (hf != NULL && s->row_map != NULL) {
        /* of another height than the map's: the check at the end of opening refuses the shape */
        permuted = (strcmp(hf, "self_attn.q_proj") == 0 && rows == c->heads * c->head_dim) ||
                   (strcmp(hf, "self_attn.k_proj") == 0 && rows == c->kv_heads * c->head_dim);
    }
    DI_TRY(add_rows(s, t, hf != NULL ? name : t->name, 0, rows, permuted, err));
done:
    return st;
}

/*
 * The reward head of a file that dial wrote (interfaces.md 4.4): an array of the metadata, which
 * llama.cpp ignores, or the first of two rows where it has a place for a head.
 */
static dial_status add_head(di_source *s, dial_error *err)
{
    static const char key[] = "dial.head.weight";
    dial_status st = DIAL_OK;
    di_gguf_array a;
    di_source_entry *e;
    di_str text;

    if (!di_gguf_string(s->gguf, "dial.text", &text)) goto done;
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->entry[i].name, "score.weight") == 0 && s->entry[i].w.out == 2)
            s->entry[i].w.out = 1;
    if (!di_gguf_has(s->gguf, key)) goto done;
    if (!di_gguf_array_of(s->gguf, key, &a) || a.type != 6 || a.n != (size_t)s->config.width)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: %s", s->path, key), "export the run again",
                   "expected %" PRId64 " numbers of type F32", s->config.width);
    e = di_source_add(s, "score.weight");
    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the head of '%s'", s->path);
    e->stored = key;
    e->n_dims = 2;
    e->w = (di_weight){a.data, DI_F32, 1, s->config.width, NULL};
done:
    return st;
}

/* Version 2 is what ggml has written since May 2023; blocks of older files had other layouts. */
static void warn_of_old_blocks(const di_source *s)
{
    int64_t version = 2;

    if (di_gguf_int(s->gguf, "general.quantization_version", &version) && version != 2)
        di_log(s->env, DIAL_LOG_WARN,
               "%s: expected general.quantization_version 2, found %" PRId64
               "; blocks of another version decode to wrong weights: convert the model again if "
               "its texts score strangely",
               s->path, version);
}

dial_status di_source_open_gguf(di_source *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_source_entry *e;

    DI_TRY(di_gguf_open(s->al, s->path, &s->gguf, err));
    warn_of_old_blocks(s);
    DI_TRY(di_gguf_config(s->gguf, &s->config, err));
    DI_TRY(build_row_map(s, err));
    for (size_t i = 0; i < di_gguf_count(s->gguf); i++)
        DI_TRY(add_tensor(s, di_gguf_at(s->gguf, i), err));
    DI_TRY(add_head(s, err));
    for (size_t i = 0; i < s->n; i++) {
        e = &s->entry[i];
        e->used = strcmp(e->name, "rope_freqs.weight") == 0; /* read with the configuration */
    }
done:
    return st;
}
