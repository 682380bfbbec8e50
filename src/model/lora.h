/*
 * The trainable tensors: LoRA pairs on chosen linear layers, and the reward head. One table drives
 * size, init, optimizer, gradient tests, loading and saving (PEFT names, interfaces.md 4.1).
 */
#ifndef DI_MODEL_LORA_H
#define DI_MODEL_LORA_H

#include "base/json.h"
#include "base/rng.h"
#include "model/config.h"

/* Linear layers of a block, by their names in PEFT. */
typedef enum di_linear {
    DI_Q_PROJ,
    DI_K_PROJ,
    DI_V_PROJ,
    DI_O_PROJ,
    DI_GATE_PROJ,
    DI_UP_PROJ,
    DI_DOWN_PROJ,
    DI_LINEAR_COUNT
} di_linear;
extern const char *const di_linear_name[DI_LINEAR_COUNT];

typedef struct di_lora_options {
    int64_t r; /* 0: head only */
    float alpha;
    int rslora;                     /* scale alpha/sqrt(r) instead of alpha/r */
    unsigned targets;               /* bit per di_linear */
    int64_t first_layer, end_layer; /* layers [first, end) carry LoRA */
    int64_t adaptor_r; /* rank of the adaptor (model/adaptor.h); 0: none. r must be 0 */
    int adaptor_tanh;  /* 0: linear */
    int64_t classes;   /* rows of the head: 0 or 1: a reward; else a logit for each class */
} di_lora_options;

enum { DI_HEAD = -1, DI_ADAPTOR = -2 }; /* places of a di_param outside the layers */

/* A trainable tensor: a slice of one flat block of floats. */
typedef struct di_param {
    char name[128];         /* "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight" */
    int64_t rows, cols, at; /* at: offset in the block, elements */
    int layer;              /* or DI_HEAD, DI_ADAPTOR */
    di_linear linear;
    int is_b; /* lora_B, adaptor.B; head: 0 */
} di_param;

/* The table and the values. All blocks have `size` floats, laid out alike. */
typedef struct di_params {
    const di_alloc *al;
    di_lora_options lora;
    int64_t width;    /* C */
    int64_t n_layers; /* L of the model: rows of index */
    di_param *param;
    int n;
    int64_t size;    /* floats in all */
    int64_t head_at; /* LoRA or adaptor comes first; the head [rows, C] is at its end */
    float *theta;    /* values */
    int16_t (*index)[DI_LINEAR_COUNT][2]; /* [layer][linear][A, B] -> param, -1: none */
} di_params;

/* Rows and columns of a linear layer: out, in. */
void di_linear_shape(const di_config *c, di_linear l, int64_t *out, int64_t *in);

/* "model.layers.3.self_attn.q_proj": its Hugging Face name without ".weight"; 80 bytes suffice. */
void di_linear_path(char *buf, size_t n, int64_t layer, di_linear l);

/* s of y += s (x A^T) B^T: alpha / r, or alpha / sqrt(r) with rslora; 0 if r is 0. */
float di_lora_scale(const di_lora_options *o);

/*
 * Table and zeroed values: pairs by layer and linear, A before B, then the head. ERR_USAGE: a
 * negative rank, no target, layers that the model lacks, or LoRA and an adaptor at once. Free with
 * di_params_deinit.
 */
dial_status di_params_init(di_params *p, const di_alloc *al, const di_config *c,
                           const di_lora_options *opt, dial_error *err);
void di_params_deinit(di_params *p);

/*
 * A ~ U(-1/sqrt(in), 1/sqrt(in)) (adaptor: in = C), B = 0, head ~ N(0, 0.02^2) (method.md 2.12).
 * Each A draws from a stream of its own, numbered by its place in the table; the head's does not
 * depend on the table.
 */
void di_params_randomize(di_params *p, uint64_t seed);

/* Into a block laid out like theta (values, gradients, moments); NULL: no such pair. */
float *di_param_at(const di_params *p, float *block, int64_t layer, di_linear l, int is_b);
static inline float *di_head_at(const di_params *p, float *block)
{
    return block + p->head_at;
}

/* Rows of the head: 1, or the number of classes. */
static inline int64_t di_head_rows(const di_params *p)
{
    return p->lora.classes > 1 ? p->lora.classes : 1;
}

/*
 * PEFT folder: adapter_config.json + adapter_model.safetensors (interfaces.md 4.1), as peft or dial
 * write them.
 *
 * read_config turns the settings into options for di_params_init. ERR_INPUT by name: whatever would
 * change what the adapter computes and is not built here (DoRA, patterns, biases, other tuners, a
 * set of layers with gaps, initialisations that change the base weights).
 *
 * An adaptor is read and written beside them (model/adaptor.h): score.weight is then the fold of
 * the linear one, while p->theta holds the head that goes with e'.
 *
 * load fills p->theta, which must have been initialised with these options. ERR_INPUT, naming the
 * tensor: a missing one, a wrong shape (expected and found), one that p has no place for. A file
 * without `score` is refused: a reward model with a random head gives random rewards.
 */
dial_status di_adapter_read_config(const di_alloc *al, const char *dir, const di_config *c,
                                   di_lora_options *out, dial_error *err);
dial_status di_adapter_load(const di_alloc *al, const char *dir, di_params *p, dial_error *err);

/* Creates dir if it is missing. base_name (may be NULL): "base_model_name_or_path". */
dial_status di_adapter_save(const di_params *p, const char *dir, const char *base_name,
                            dial_error *err);
/* The safetensors file alone, for checkpoints. */
dial_status di_adapter_save_tensors(const di_params *p, const char *path, dial_error *err);

#endif
