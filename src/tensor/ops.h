/*
 * The seam between mathematics and machines: every operation of dial, stated once.
 *
 * A backend is a const table of functions. `ref` fills all of it in plain C and defines the
 * answer; `cpu` starts from that table and overrides what it does better; `cuda` will fill all of
 * it. The list of backends lives in model/device.c, the first folder that may see them all.
 *
 * Conventions
 *   - Matrices are row-major. N token rows, C width, F MLP width, H heads, K key/value heads,
 *     D head size, R LoRA rank, V vocabulary, B texts (docs/notation.md).
 *   - "act" is the dtype of activations of the device: f32 or bf16. Sums are f32 or wider.
 *     The residual stream, embeddings, rewards, LoRA, critic and optimizer are always f32.
 *   - What is stored as bf16 is rounded once, to nearest even. Where act is bf16 a backend may also
 *     round the operands of a matrix product to bf16 (LoRA's a, b, u, du; p and ds of attention);
 *     ref does not. Nothing else may lose precision.
 *   - dX is the gradient of the loss with respect to X. "+=" accumulates, "=" overwrites.
 *   - No two arguments overlap unless it is said.
 *   - A row's result depends on that row alone, bit for bit: not on N, not on its place in the
 *     batch. Sums over rows (weight gradients) run in a fixed order that may depend on N and on the
 *     number of threads, on nothing else.
 *   - N = 0 is fine: nothing is written. Row counts are those of the matrices: x.rows is N.
 *   - A stride may exceed the columns; what lies between rows is neither read nor written.
 *   - Functions that return void cannot fail on checked input; work memory comes from the caller.
 *   - Pointers of operations are memory of the device (`buffer_new`), aligned like their elements.
 *   - Work memory is aligned to 64 bytes and undefined before and after. A size is asked for with
 *     the largest N of a run and serves every smaller one.
 *   - A backend overrides a family whole where its members share a layout or work memory: linear_*,
 *     lora_*, attention_*, multiply_*, critic_*, buffer_* with upload and download, open with
 * close.
 */
#ifndef DI_TENSOR_OPS_H
#define DI_TENSOR_OPS_H

#include "base/alloc.h"
#include "base/log.h"
#include "data/batch.h"
#include "tensor/dtype.h"

typedef struct di_device di_device;
typedef struct di_packed di_packed; /* frozen weights in the layout that a backend likes */

/* A frozen weight as the model file stores it: W [out, in], rows contiguous and row_bytes apart. */
typedef struct di_weight {
    const void *data;
    di_dtype dtype;
    int64_t out, in;
    /*
     * Order of rows: row r of W is row (row_map != NULL ? row_map[r] : r) of data. Undoes the
     * reordering of q and k in GGUF files of llama models without touching the file.
     */
    const int32_t *row_map;
} di_weight;

/* A strided matrix: `stride` elements from row to row. */
typedef struct di_mat {
    void *data;
    di_dtype dtype; /* DI_F32 or DI_BF16 */
    int64_t rows, cols, stride;
} di_mat;

enum { DI_FORWARD = 1, DI_BACKWARD = 2, DI_INT8 = 4 };

/*
 * Frozen weights in 8 bits (DI_INT8, for the forward product alone). Every 64 columns of W and of x
 * (not the in mod 64 last ones) are turned by the orthonormal Hadamard matrix, W' and x', which
 * leaves W x as it is and spreads the few columns that are a hundred times the others (Ashkboos et
 * al. 2024, QuaRot). Then each row is divided into 127 steps on either side of zero:
 *     s_o = max_i |W'_oi| / 127    v_oi = round(W'_oi (127 / max_i |W'_oi|))
 *     t_n = max_i |x'_ni| / 127    q_ni = round(x'_ni (127 / max_i |x'_ni|))
 *     y_no = (sum_i q_ni v_oi) (t_n s_o) + bias_o
 * Rounding is to nearest even; the sum is exact, each other step is one of f32 and the turn adds
 * and subtracts neighbours at distance 1, 2, 4, ... 32 and takes an eighth, so that all backends
 * agree to the bit. Rows below DI_INT8_LEAST are zero; a row that is not finite gives none that is.
 * More than DI_INT8_MOST inputs are refused (ERR_USAGE): the sum must fit in 32 bits.
 */
#define DI_INT8_LEAST 0x1p-100F
enum { DI_INT8_BLOCK = 64, DI_INT8_MOST = 131072 };

/*
 * One LoRA pair beside a linear layer; scale s = alpha / R (Hu et al. 2021, eq. 3).
 *     forward     u = x a^T        y += s u b^T
 *     backward    du = s dy b      db += s dy^T u      da += du^T x      dx += du a
 * y takes u as it is, backward as it was stored.
 * tanh: u = tanh(x a^T), du = (s dy b) .* (1 - u .* u), the rest alike (method.md 2.12, adaptor).
 */
typedef struct di_lora_args {
    di_mat x;       /* [N, in] act, the linear layer's input */
    di_mat y;       /* [N, out] forward in/out (act or f32), +=; a column range of the output */
    di_mat dy;      /* [N, out] backward in */
    const float *a; /* [R, in] */
    const float *b; /* [out, R] */
    float *da, *db; /* backward, += */
    di_mat dx;      /* [N, in] backward, +=; data NULL: not wanted */
    di_mat u;       /* [N, R] act, dense; forward out, what backward needs of x a^T; R = u.cols */
    float scale;
    int tanh;
    void *work; /* lora_bytes() */
} di_lora_args;

/*
 * Attention over a segment forest. For a text with tokens 0..n-1 (its path through the forest),
 * query head h at position q attends to the keys k of head h / (H / K) with
 *     0 <= k <= q  and  (window <= 0 or k > q - window)
 *     s_k = scale * (q_q . k_k);   cap > 0: s_k = cap * tanh(s_k / cap)
 *     p = softmax(s);   o_q = sum_k p_k v_k;   lse_q = log sum_k exp(s_k)
 * A segment's rows are computed once, whatever hangs below it. Key blocks are taken at absolute
 * positions of the text, so sharing a prefix changes no bit of the forward result.
 *
 * Backward, with p_k = exp(s_k - lse_q):  dv_k += p_k do_q,  dp_k = do_q . v_k,
 *     ds_k = p_k (dp_k - sum_j p_j dp_j) * (cap > 0 ? 1 - (s_k / cap)^2 : 1) * scale,
 *     dq_q = sum_k ds_k k_k,  dk_k += ds_k q_q.
 * A shared row receives the sum over all rows that see it, in a fixed order that depends on its
 * tree alone. sum_j p_j dp_j equals do_q . o_q; taken over the keys it needs no o, whose rounding
 * and memory are saved. lse is that of the forward call.
 */
typedef struct di_attention_args {
    const di_batch *batch;
    di_mat q;          /* [N, H*D] act */
    di_mat k, v;       /* [N, K*D] act */
    di_mat o;          /* [N, H*D] act; forward out; backward does not read it */
    float *lse;        /* [N, H]; forward out (NULL: not wanted), backward in */
    di_mat d_o;        /* [N, H*D] act, backward in */
    di_mat dq, dk, dv; /* act, backward out, "=" */
    int64_t heads, kv_heads, head_dim;
    int64_t window;   /* 0: none */
    float scale, cap; /* cap 0: none */
    void *work;       /* attention_bytes() */
} di_attention_args;

typedef enum di_act { DI_SILU, DI_GELU_TANH } di_act;

/*
 * RMSNorm over the last D of [N, groups*D]: y = x * rstd * w, rstd = 1/sqrt(mean(x^2) + eps).
 * Backward, with xh = x * rstd and gy = w .* dy: dx = rstd * (gy - xh * mean(gy .* xh)); w is
 * frozen. D = x.cols / groups. With add, y and dx are rounded once, after the addition.
 */
typedef struct di_norm_args {
    di_mat x;       /* [N, groups*D] f32 or act; stride free */
    di_mat y;       /* forward out, f32 or act; may be x */
    const float *w; /* [D], for every group; "1 + w" of Gemma is folded in at load */
    float *rstd;    /* [N, groups] forward out (NULL: not wanted), backward in */
    di_mat keep;    /* forward out: x in act, for the gradient; data NULL: not wanted */
    int64_t groups; /* 1; the number of heads for q_norm and k_norm */
    float eps;
    int add;       /* forward: y += instead of y =; backward: dx += instead of dx = */
    di_mat dy, dx; /* backward: in, out; dx f32 or act; dx may be dy if dtypes agree, add 0 */
} di_norm_args;

/* The critic d: C -> F1 -> F2 -> 1 (method.md 2.7), all f32. Layers are any number >= 1. */
enum { DI_CRITIC_MAX_LAYERS = 6 };
typedef enum di_critic_act {
    DI_CRITIC_GELU,
    DI_CRITIC_RELU,
    DI_CRITIC_TANH,
    DI_CRITIC_LINEAR
} di_critic_act;
typedef enum di_gp_kind { DI_GP_TWO_SIDED, DI_GP_ONE_SIDED, DI_GP_ZERO_CENTRED } di_gp_kind;

typedef struct di_critic {
    int n_layers;                            /* weights; hidden layers are n_layers - 1 */
    int64_t width[DI_CRITIC_MAX_LAYERS + 1]; /* C, F1, F2, ..., 1 */
    di_critic_act act;
    float *w[DI_CRITIC_MAX_LAYERS]; /* [width[l+1], width[l]] */
    float *b[DI_CRITIC_MAX_LAYERS]; /* [width[l+1]] */
} di_critic;

/*
 * AdamW (decoupled) or Adam with coupled decay; method.md 2.12. t counts from 1.
 *     g *= grad_scale;  coupled: g += decay * theta, else theta *= 1 - lr * decay
 *     m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
 *     theta -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 * m and v are rounded to f32 before theta uses them. g is not written.
 */
typedef struct di_adam_args {
    float *theta;
    const float *g;
    float *m, *v;
    int64_t n, t;
    double lr, beta1, beta2, eps, decay; /* f64: 1 - 0.999f is off by 1.3e-5 */
    double grad_scale;                   /* g is multiplied by it first (clipping) */
    int coupled;                         /* 1: g += decay * theta */
} di_adam_args;

typedef struct di_backend {
    const char *name;

    /*
     * Opens / closes what the backend keeps for itself (threads, streams, caches) in dev->priv, and
     * fills dev->isa. act and threads are set. dev moves after open: do not keep its address.
     */
    dial_status (*open)(di_device *dev, dial_error *err);
    void (*close)(di_device *dev);

    /* Memory of the device; new: 64-byte aligned, NULL when out of memory. */
    void *(*buffer_new)(di_device *dev, size_t n);
    void (*buffer_free)(di_device *dev, void *p);
    void (*upload)(di_device *dev, void *dst, const void *src, size_t n);
    void (*download)(di_device *dev, void *dst, const void *src, size_t n);

    /*
     * Whether the backend computes in this activation dtype on this machine: 0 no; 1 yes, but by
     * conversion, no faster than f32; 2 yes, in its own instructions. `auto` takes bf16 at 2.
     * Asked before open.
     */
    int (*supports)(const di_device *dev, di_dtype act);

    /*
     * Row counts: linear_* accept any N up to row_capacity(N), which the caller's buffers must
     * have room for: rows N .. row_capacity(N)-1 of x and y may be read and written as scratch.
     * row_capacity(N) >= N, never decreasing.
     */
    int64_t (*row_capacity)(const di_device *dev, int64_t n);

    /*
     * Packs n_parts weights of equal `in`, stacked by rows, for y = x W^T (DI_FORWARD) and for
     * dx = dy W (DI_BACKWARD), in the act dtype, or for DI_FORWARD | DI_INT8 in 8 bits. bias
     * [sum out] may be NULL; copied. The weights' memory is not needed afterwards. Free with
     * linear_free (NULL is fine).
     */
    dial_status (*linear_pack)(di_device *dev, const di_weight *part, int n_parts,
                               const float *bias, unsigned directions, di_packed **out,
                               dial_error *err);
    void (*linear_free)(di_device *dev, di_packed *w);
    size_t (*linear_bytes)(const di_packed *w); /* memory held */

    /* y [N, out] = x [N, in] W^T + bias, or += with add. x is act, y act or f32. */
    void (*linear_forward)(di_device *dev, const di_packed *w, const di_mat *x, di_mat *y, int add);
    /* dx [N, in] = dy [N, out] W, or += with add. dy is act, dx act or f32. */
    void (*linear_backward)(di_device *dev, const di_packed *w, const di_mat *dy, di_mat *dx,
                            int add);

    /* Of a group of pairs that share work memory ask for the largest. */
    size_t (*lora_bytes)(const di_device *dev, int64_t n, int64_t in, int64_t out, int64_t r);
    void (*lora_forward)(di_device *dev, const di_lora_args *a);
    void (*lora_backward)(di_device *dev, const di_lora_args *a);

    /*
     * x [N, C] f32 = scale * row id[n] of table, of any stored dtype, through row_map if there is
     * one; in any act dtype the f32 values.
     */
    void (*embed)(di_device *dev, const di_weight *table, const int32_t *id, float scale,
                  di_mat *x);

    void (*norm_forward)(di_device *dev, const di_norm_args *a);
    void (*norm_backward)(di_device *dev, const di_norm_args *a);

    /*
     * Rotates x [N, heads*D] in place by half rotation: with i < D/2 and angle t = position[n] *
     * freq[i], (x_i, x_{i+D/2}) -> (x_i cos t - x_{i+D/2} sin t, x_{i+D/2} cos t + x_i sin t).
     * inverse != 0 rotates back (the gradient). table: [max position + 1, D] f32, cos then sin.
     */
    void (*rope)(di_device *dev, di_mat *x, const int32_t *position, const float *table,
                 int64_t heads, int64_t head_dim, int inverse);

    size_t (*attention_bytes)(const di_device *dev, const di_attention_args *a, int64_t max_rows,
                              int64_t max_length, int backward);
    void (*attention_forward)(di_device *dev, const di_attention_args *a);
    void (*attention_backward)(di_device *dev, const di_attention_args *a);

    /* Gated MLP: gu [N, 2F] = [gate | up]; h [N, F] = act(gate) * up. Both act dtype. */
    void (*glu_forward)(di_device *dev, di_act kind, const di_mat *gu, di_mat *h);
    /* dgu [N, 2F] = from dh [N, F] and gu; dgu may be gu. */
    void (*glu_backward)(di_device *dev, di_act kind, const di_mat *gu, const di_mat *dh,
                         di_mat *dgu);

    /* y = x, converting between f32 and bf16 as the two say; y += x with add. */
    void (*copy)(di_device *dev, const di_mat *x, di_mat *y, int add);

    /*
     * e [B, C] f32: row last_row[b] of x (f32 or act), or (mean) the mean over all rows of the
     * text's path: summed in f32 by position from 0 up, then divided by length[b]. So the mean has
     * the same bits on every backend.
     */
    void (*pool_forward)(di_device *dev, const di_batch *b, const di_mat *x, int mean, di_mat *e);
    /*
     * dx [N, C], "=": zero but for what de [B, C] f32 reaches: de[b] at last_row[b] (dx f32 or
     * act), or (mean; dx f32) the f32 sum of de[b] / length[b] over the texts b of a row, b from 0
     * up.
     */
    void (*pool_backward)(di_device *dev, const di_batch *b, const di_mat *de, int mean,
                          di_mat *dx);

    /*
     * x [N, V] f32 logits, overwritten by their gradient. With s = cap tanh(x/cap) (cap 0: s = x):
     * loss[n] (f64) = weight[n] (log sum exp s_n - s_n,id[n]);
     * dx = weight[n] (softmax(s_n) - onehot(id[n])) .* ds/dx.
     */
    void (*next_token)(di_device *dev, di_mat *x, const int32_t *id, const float *weight, float cap,
                       double *loss);

    /* theta, m, v updated in place. */
    void (*adam)(di_device *dev, const di_adam_args *a);
    /* Sum of squares of n floats, in f64, in an order that depends on n alone. */
    double (*sum_squares)(di_device *dev, const float *x, int64_t n);

    /*
     * y [N, M] = a [N, K] b, or += with add; b is [K, M], or with turned the transpose of [M, K].
     * All f32 with stride, sums f32 or wider: products among the rows of a step, whose operands
     * change with every call. multiply_bytes(M, K) serves smaller ones too.
     */
    size_t (*multiply_bytes)(const di_device *dev, int64_t m, int64_t k);
    void (*multiply)(di_device *dev, const di_mat *a, const di_mat *b, int turned, di_mat *y,
                     int add, void *work);

    /*
     * The critic. All of x [G, C] (f32, with stride), out and gradients are f32, whatever act is;
     * products and their sums are f32 or wider, |q|^2, GP and mean_norm f64.
     * critic_bytes(rows) serves the four calls for up to that many rows. forward: out [G] = d(x).
     */
    size_t (*critic_bytes)(const di_device *dev, const di_critic *d, int64_t rows);
    void (*critic_forward)(di_device *dev, const di_critic *d, const di_mat *x, float *out,
                           void *work);
    /* q [G, C] = gradient of d at each row of x. */
    void (*critic_input_grad)(di_device *dev, const di_critic *d, const di_mat *x, di_mat *q,
                              void *work);
    /* grad (same shapes as d) += from dout [G]: method.md 2.7. */
    void (*critic_backward)(di_device *dev, const di_critic *d, const di_mat *x, const float *dout,
                            di_critic *grad, void *work);
    /*
     * Gradient penalty GP = (1/G) sum_g phi(n_g), n_g = sqrt(|q_g|^2 + 1e-12) (method.md 2.4);
     * returns GP; grad += lambda * dGP/dtheta by double backpropagation (method.md 2.8).
     * grad NULL: the value alone. mean_norm (may be NULL) receives the mean of n_g. G = 0: both 0.
     * One-sided: phi' = 0 up to n = 1. relu: g'(0) = 0.
     */
    double (*critic_penalty)(di_device *dev, const di_critic *d, const di_mat *x, di_gp_kind kind,
                             float lambda, di_critic *grad, double *mean_norm, void *work);
} di_backend;

/* Every function of the table, for code that lays one table over another or lists them. */
/* clang-format off */
#define DI_BACKEND_ENTRIES(X)                                                          \
    X(open) X(close) X(buffer_new) X(buffer_free) X(upload) X(download) X(supports)    \
    X(row_capacity) X(linear_pack) X(linear_free) X(linear_bytes) X(linear_forward)    \
    X(linear_backward) X(lora_bytes) X(lora_forward) X(lora_backward) X(embed)         \
    X(norm_forward) X(norm_backward) X(rope) X(attention_bytes) X(attention_forward)   \
    X(attention_backward) X(glu_forward) X(glu_backward) X(copy) X(pool_forward)       \
    X(pool_backward) X(next_token) X(adam) X(sum_squares) X(multiply_bytes) X(multiply)              \
    X(critic_bytes) X(critic_forward) X(critic_input_grad) X(critic_backward)          \
    X(critic_penalty)
/* clang-format on */

struct di_device {
    const di_backend *ops;
    const di_alloc *al;
    const dial_env *env;
    di_dtype act; /* DI_F32 or DI_BF16 */
    int threads;
    char isa[32];      /* what runs: "plain c", "avx2", "avx512", "avx512-bf16", "amx" */
    void *priv;        /* the backend's own state */
    di_backend *table; /* what ops points to: ref's table with the backend's laid over it */
};

/* The tables; each lives in its own folder. */
const di_backend *di_ref_backend(void);
const di_backend *di_cpu_backend(void); /* ref's entries where cpu has none: filled by model */

/* Row r of parts that are stacked by rows, as f32. */
static inline void di_weight_row(const di_weight *part, int64_t r, float *to)
{
    while (r >= part->out) r -= (part++)->out;
    if (part->row_map != NULL) r = part->row_map[r];
    di_dequantize(part->dtype,
                  (const char *)part->data + (size_t)r * di_dtype_row_bytes(part->dtype, part->in),
                  to, part->in);
}

static inline size_t di_act_bytes(di_dtype t)
{
    return t == DI_BF16 ? 2 : 4;
}

/* Where element (row, col) of m lies. */
static inline char *di_mat_at(const di_mat *m, int64_t row, int64_t col)
{
    return (char *)m->data + (size_t)(row * m->stride + col) * di_act_bytes(m->dtype);
}

#endif
