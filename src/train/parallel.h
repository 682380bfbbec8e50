/*
 * Parallel rows (method.md 8.8): source and target rows of equal id, which say the same in two
 * domains (translations, rewrites). Their margins are held together, over the n rows of a step:
 *
 *     L = (1/n) sum (m_S - m_T)^2        dm_S = 2 (m_S - m_T)/n,    dm_T = -dm_S
 *
 * A row becomes one example of four texts: the source's two, then of the target's the one that
 * renders each. Which that is, no column of the target may say, as its name would be the label.
 * The frozen model says it: texts 2 and 3 change places where the source's difference and the
 * target's point apart,
 *
 *     <(e_0 - e_1)/sd, (e_2 - e_3)/sd> < 0,     sd of each coordinate over the source's texts.
 */
#ifndef DI_TRAIN_PARALLEL_H
#define DI_TRAIN_PARALLEL_H

#include "train/side.h"

enum { DI_PARALLEL_TEXTS = 4 };

typedef struct di_parallel {
    di_dataset *set;  /* its texts' ids belong to the files */
    di_examples rows; /* by id; over set, so the struct must stay where it is */
    int64_t repeated; /* ids that several rows of a domain have: none of them is taken */
} di_parallel;

/* Rows of two texts whose id stands once in either list. Free with di_parallel_deinit. */
dial_status di_parallel_init(di_parallel *p, const di_alloc *al, const di_examples *source,
                             const di_examples *target, dial_error *err);
void di_parallel_deinit(di_parallel *p, const di_alloc *al);

/*
 * Settles which target text renders which. e [4n, C], overwritten: frozen embeddings of the source
 * texts (0 and 1 of row 0, of row 1, ...), then of the target texts in the same order.
 */
dial_status di_parallel_settle(di_parallel *p, const di_alloc *al, float *e, int64_t c,
                               dial_error *err);

/* r, dr: rows of the side; dr += weight * gradient. Returns weight * L. */
double di_parallel_loss(double weight, const di_side *side, const float *r, float *dr);

#endif
