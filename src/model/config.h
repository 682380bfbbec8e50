/*
 * What a decoder is made of, whatever file says so: a row of numbers per model, not code per
 * architecture. Filled from config.json (interfaces.md 3.1) or from GGUF metadata (3.4).
 */
#ifndef DI_MODEL_CONFIG_H
#define DI_MODEL_CONFIG_H

#include "tensor/ops.h"

enum { DI_MAX_LAYERS = 256 };

typedef enum di_rope_kind {
    DI_ROPE_DEFAULT,
    DI_ROPE_LINEAR,
    DI_ROPE_LLAMA3,
    DI_ROPE_DIVIDED /* by a table of the file (rope_freqs of GGUF) */
} di_rope_kind;

/* What RoPE frequencies were computed from. */
typedef struct di_rope {
    di_rope_kind kind;
    double base;                /* theta */
    double factor;              /* linear, llama3 */
    double low, high, original; /* llama3 */
} di_rope;

typedef struct di_config {
    char arch[16];  /* "llama" "mistral" "qwen2" "qwen3" "gemma" "gemma2" "gemma3" */
    int64_t vocab;  /* V: rows of the embedding table */
    int64_t width;  /* C */
    int64_t mlp;    /* F */
    int64_t layers; /* L of the file */
    int64_t heads, kv_heads, head_dim; /* H, K, D */
    int64_t context;                   /* longest text the model was made for */
    float norm_eps;
    di_act act;
    int tied; /* output head = embedding table */
    int qkv_bias, o_bias, mlp_bias;
    int qk_norm;    /* per-head RMSNorm on q and k before RoPE */
    int post_norms; /* gemma2, gemma3: norms after attention and after the MLP too */
    /*
     * Lowest blocks that compute in f32 whatever the act dtype: what bf16 rounds there, the blocks
     * above make many times larger (docs/pitfalls.md, "Gemma 3 270M in bf16"). 0: none.
     */
    int64_t exact_layers;
    int norm_plus_one; /* the file stores w of (1 + w): HF Gemma; GGUF stores 1 + w already */
    float embed_scale; /* 1, or sqrt(C) for Gemma */
    float attn_scale;  /* 1/sqrt(D) unless the model says otherwise */
    float attn_cap, logit_cap;         /* soft caps; 0: none */
    int64_t window[DI_MAX_LAYERS];     /* 0: full attention */
    uint8_t rope_local[DI_MAX_LAYERS]; /* 1: the layer uses freq_local */
    /* RoPE frequencies, D/2 each, scaling applied; angle = position * freq[i] */
    float freq[256], freq_local[256];
    di_rope rope, rope_of_local; /* where they come from, for writing the model in other formats */
    int32_t bos, eos, pad;       /* from config.json; -1: not said */
} di_config;

/* From config.json. `where` names the file. ERR_INPUT by name for what is not supported. */
dial_status di_config_from_json(const char *json, size_t n, const char *where, di_config *out,
                                dial_error *err);

#endif
