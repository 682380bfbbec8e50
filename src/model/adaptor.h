/*
 * The adaptor of head-only runs (`--adaptor`), a low-rank map of embeddings (method.md 2.12):
 *
 *     linear   e' = e + B A e             A [R, C], B [C, R]
 *     tanh     e' = e + B tanh(A e)
 *
 * Whatever sees embeddings of a run sees e', and the head goes with e': r = w . e'. The linear form
 * folds into a head on e, w' = w + A^T B^T w, which is what other programs are given.
 */
#ifndef DI_MODEL_ADAPTOR_H
#define DI_MODEL_ADAPTOR_H

#include "model/lora.h"
#include "tensor/ops.h"

/* Room to apply the adaptor of p, whose values are read at each call. */
typedef struct di_adaptor {
    di_device dev; /* that of the model with f32 activations: nothing here is rounded to bf16 */
    const di_params *params;
    int64_t max_rows;
    float *u; /* [max_rows, R] of the last forward */
    void *work;
} di_adaptor;

/* Does p have one? */
static inline int di_has_adaptor(const di_params *p)
{
    return p->lora.adaptor_r > 0;
}

/* p must have one; it is borrowed. Free with di_adaptor_deinit (harmless on a zeroed one). */
dial_status di_adaptor_init(di_adaptor *a, const di_device *dev, const di_params *p,
                            int64_t max_rows, dial_error *err);
void di_adaptor_deinit(di_adaptor *a);

/* out [n, C] = e' of e [n, C], n <= max_rows; they do not overlap. A row depends on itself alone.
 */
void di_adaptor_forward(di_adaptor *a, const float *e, int64_t n, float *out);

/* After the forward of the same e: grad (laid out like params->theta) += gradients of A and B. */
void di_adaptor_backward(di_adaptor *a, const float *e, const float *de, int64_t n, float *grad);

/*
 * w [C] = w + A^T B^T w, in f64 and rounded once: the head on e, for programs that know no adaptor.
 * Without an adaptor the head itself. ERR_USAGE: tanh, which does not fold.
 */
dial_status di_adaptor_fold(const di_params *p, float *w, dial_error *err);

/*
 * DIR/adaptor.safetensors: adaptor.A, adaptor.B and, where score.weight of the adapter is a fold,
 * adaptor.w, the head that goes with e' (so that nothing is lost in saving). Metadata: kind.
 * read_config fills adaptor_r and adaptor_tanh, 0 without the file. ERR_INPUT, naming the tensor.
 */
dial_status di_adaptor_save(const di_params *p, const char *dir, dial_error *err);
dial_status di_adaptor_read_config(const di_alloc *al, const char *dir, int64_t width,
                                   di_lora_options *out, dial_error *err);
dial_status di_adaptor_load(const di_alloc *al, const char *dir, di_params *p, dial_error *err);

#endif
