/*
 * The weighted mean of several trained models on one base (method.md 8.10). Products are averaged,
 * not factors: seeds have different A, and mean(B) mean(A) is not mean(B A). Exactly:
 *
 *     sum_k c_k s_k B_k A_k  =  B A,   A = [A_1; ...; A_K],   B = [c_1 s_1 B_1, ..., c_K s_K B_K]
 *
 * rank = sum of the ranks, scale 1. Adaptors alike (the tanh form too, since A stays as it is).
 */
#ifndef DI_MODEL_MERGE_H
#define DI_MODEL_MERGE_H

#include "model/lora.h"

/*
 * out: new parameters, free with di_params_deinit. share [n]: the weights c_k. head >= 0: the head
 * is that of run[head]; -1: the mean of all with the same weights. ERR_USAGE: runs whose trained
 * layers or targets, or kinds of adaptor, differ.
 */
dial_status di_params_merge(const di_alloc *al, const di_config *c, const di_params *const *run,
                            const double *share, int n, int head, di_params *out, dial_error *err);

#endif
