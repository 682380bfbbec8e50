/*
 * What the files of the decoder share: packed weights, the planned workspace, one block forward and
 * backward. Letters as everywhere (docs/notation.md): N rows of the batch, C width, F MLP width,
 * H query heads, K key/value heads, D head size, R LoRA rank, V vocabulary.
 */
#ifndef DI_MODEL_DECODER_PARTS_H
#define DI_MODEL_DECODER_PARTS_H

#include "model/decoder.h"
#include "model/next_token.h"

/* The norms of a block in the order in which they are met; those without a weight do not exist. */
typedef enum di_norm_kind {
    DI_NORM_ATTN, /* before q, k, v */
    DI_NORM_Q,    /* per head [D]: qwen3, gemma3 */
    DI_NORM_K,
    DI_NORM_POST_ATTN, /* after o, before the sum: gemma2, gemma3 */
    DI_NORM_MLP,       /* before gate, up */
    DI_NORM_POST_MLP,  /* after down, before the sum: gemma2, gemma3 */
    DI_NORM_COUNT
} di_norm_kind;

typedef struct di_layer {
    di_device *dev;             /* what it computes on: the decoder's, or its exact one */
    di_packed *qkv;             /* rows of q, k, v:  [HD + 2KD, C] */
    di_packed *o;               /* [C, HD] */
    di_packed *gate_up;         /* rows of gate, up: [2F, C] */
    di_packed *down;            /* [C, F] */
    float *norm[DI_NORM_COUNT]; /* into di_decoder.norms; NULL: none */
} di_layer;

struct di_decoder {
    di_device *dev;
    di_device exact;        /* dev in f32, for the lowest cfg->exact_layers blocks */
    di_source *source;      /* borrowed */
    const di_config *cfg;   /* of the source */
    di_decoder_options opt; /* n_layers resolved */
    di_layer *layer;        /* [n_layers] */
    float *norms;           /* device memory of all norm weights, "1 +" folded in */
    size_t norms_bytes;
    float *final_norm;             /* into norms */
    di_weight table;               /* token embeddings: rows are read where the file has them */
    void *random_table;            /* ... or here, for a source without weights */
    di_packed *head;               /* [V, C]; NULL without with_logits */
    int ends;                      /* the last block needs its output at the texts' ends alone */
    const di_params *lora;         /* borrowed; NULL: none */
    const di_layer_hook *on_layer; /* borrowed; NULL: none */
};

/* Device buffers of the activations of one block: what its backward reads. */
typedef struct di_saved {
    float *start; /* [N, C] residual stream, input of the block; checkpointing alone */
    void *x;      /* [N, C] act: the stream as the norm before q, k, v saw it; NULL: not kept */
    void *mid;    /* [N, C] act: as the norm before gate, up saw it; NULL: not kept */
    float *rstd[DI_NORM_COUNT]; /* [N]; Q and K: unused, recomputed */
    void *qkv;     /* [N, HD + 2KD] act; rotated in place unless q and k are normed first */
    void *o;       /* [N, HD] act, output of attention; scratch unless o_proj carries LoRA */
    float *lse;    /* [N, H] */
    void *gate_up; /* [N, 2F] act */
    void *post[2]; /* [N, C] act: inputs of the post norms (attention, MLP); NULL: none */
    void *u[DI_LINEAR_COUNT]; /* [N, R] act, x A^T; NULL: no LoRA there */
} di_saved;

struct di_workspace {
    di_device *dev;
    const di_decoder *decoder;
    di_workspace_options opt;
    di_lora_options lora; /* the shape that it was planned for; r 0: none */
    int64_t first;        /* lowest layer that backward visits; n_layers: none */
    void *memory;         /* the one block that all pointers below point into */
    size_t bytes;

    float *rope[2];  /* [max_length, D] cos then sin: global, local; NULL: not used */
    di_saved *saved; /* [n_layers - first]; .start of each is its own, the rest may be shared */
    di_saved plain;  /* for layers below first: nothing is kept */
    float *x;        /* [N, C] the residual stream, which blocks add to in place */
    float *hidden;   /* [N, C] after the final norm */
    void *last;      /* [N, C] act: the stream as the final norm saw it; NULL without train */
    float *rstd;     /* [N] of the final norm */
    float *e;        /* [texts, C] */
    float *ends;     /* [texts, max(C, HD)] scratch: rows of the texts' ends; NULL: d->ends is 0 */
    void *normed;    /* [N, C] act, scratch: output of a norm */
    void *h;         /* [N, F] act, scratch: output of the GLU */
    void *qk;        /* [N, (H + K) D] act, scratch: q and k after norm and RoPE; NULL: none */
    float *rstd_qk;  /* [N, H + K], scratch */
    void *work;      /* of LoRA and attention */
    /* backward; NULL without train */
    float *dx;      /* [N, C] gradient of the residual stream */
    float *dnormed; /* [N, C] gradient of a norm's output */
    void *dact;     /* [N, C] act: gradient of what a branch adds */
    void *dwide;    /* [N, max(2F, HD + 2KD)] act: of gate|up, or of q, k, v */
    void *dnarrow;  /* [N, max(F, HD)] act: of h, or of o */
    /* logits; NULL without with_logits */
    int64_t logit_rows; /* rows taken at a time */
    void *logit_x;      /* [logit_rows, C] act */
    float *logits;      /* [logit_rows, V] */
    /* next-token loss */
    float *logit_weight; /* [logit_rows] */
    int32_t *logit_id;   /* [logit_rows] */
    double *logit_loss;  /* [logit_rows] */
    /* its gradient; NULL without train */
    void *logit_dy;       /* [logit_rows, V] act; NULL where act is f32 */
    float *logit_dx;      /* [logit_rows, C] */
    di_next_tokens *next; /* borrowed; NULL: no such loss */

    int64_t n_rows; /* of the last forward; 0: none yet */
    int has_saved;  /* that forward kept what backward needs */
};

static inline di_mat di_mat_of(void *data, di_dtype t, int64_t rows, int64_t cols)
{
    return (di_mat){data, t, rows, cols, cols};
}

/* Columns [at, at + cols) of m. */
static inline di_mat di_mat_cols(di_mat m, int64_t at, int64_t cols)
{
    m.data = (char *)m.data + (size_t)at * di_act_bytes(m.dtype);
    m.cols = cols;
    return m;
}

/* decoder_weights.c: fills layer, norms, table and head from the source. */
dial_status di_decoder_load_weights(di_decoder *d, di_source *source, dial_error *err);

/* next_token.c: dh [N, C] += gradient of the loss of w->next, for the rows in w->hidden. */
void di_next_backward(const di_decoder *d, di_workspace *w, float *dh);

/*
 * decoder_layer.c: one block on rows 0 .. b->n_rows-1. ends != 0 (the last block, where d->ends):
 * from the end of attention on the rows are the last tokens of the texts alone, row t that of text
 * t, in w->x, in *s and, backward, in w->dx on entry.
 */

/*
 * The block's two branches are added to w->x, and *s keeps what backward reads. again != 0: only *s
 * is filled (recomputation), and w->x is left after the first branch.
 */
void di_layer_forward(const di_decoder *d, di_workspace *w, const di_batch *b, int64_t l,
                      const di_saved *s, int ends, int again);

/*
 * w->dx: gradient of the block's output in, of its input out; grad += LoRA gradients. lowest != 0:
 * stops once the gradients of this block's own LoRA are known, w->dx is undefined then.
 */
void di_layer_backward(const di_decoder *d, di_workspace *w, const di_batch *b, int64_t l,
                       const di_saved *s, float *grad, int ends, int lowest);

#endif
