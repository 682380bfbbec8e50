/*
 * Anchors: embeddings stay where the frozen base has them (method.md 8.8). With eh = e/|e| and eh0
 * that of the base model without LoRA, over n rows:
 *
 *     cosine       L = (1/n) sum |eh - eh0|^2                de = -(2/(n|e|)) (eh0 - (eh.eh0) eh)
 *     relational   L = (1/n^2) |Eh Eh^T - Eh0 Eh0^T|_F^2     dEh = (4/n^2) (Eh Eh^T - Eh0 Eh0^T) Eh
 *
 * The relational one lets all rows turn together. arXiv 2605.25629: anchoring to the pre-trained
 * features improves the transfer of reward models.
 */
#ifndef DI_TRAIN_ANCHOR_H
#define DI_TRAIN_ANCHOR_H

#include <stdint.h>

typedef enum di_anchor_kind { DI_ANCHOR_COSINE, DI_ANCHOR_RELATIONAL } di_anchor_kind;

/*
 * e, e0 [n, C]; de [n, C] += weight * gradient; work [2n + C] scratch. Returns weight * L. A row of
 * norm 0 has no direction: it counts as one at right angles to everything.
 */
double di_anchor(di_anchor_kind kind, double weight, const float *e, const float *e0, int64_t n,
                 int64_t c, float *de, double *work);

#endif
