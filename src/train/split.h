/* Draws and held-out splits of examples, by the seed. */
#ifndef DI_TRAIN_SPLIT_H
#define DI_TRAIN_SPLIT_H

#include "train/trainer.h"

/* All examples of some files. di_examples_free releases ref. */
dial_status di_examples_all(const di_alloc *al, di_dataset *const *set, int n_sets,
                            di_examples *out, dial_error *err);
void di_examples_free(const di_alloc *al, di_examples *x);

/* Keeps a draw of n examples (in file order); n <= 0 or n >= x->n keeps all. */
dial_status di_examples_draw(const di_alloc *al, di_examples *x, int64_t n, uint64_t seed,
                             dial_error *err);

/* Moves about `share` of the examples to *held. What stays together:
 *   rows of equal prompt; where all prompts are equal or absent, rows that share a text;
 *   if that leaves one unit alone, single rows (*by_row = 1: warn).
 * Within each group (topic) the units are drawn until the share is reached.
 */
dial_status di_examples_hold_out(const di_alloc *al, di_examples *x, double share, uint64_t seed,
                                 di_examples *held, int *by_row, dial_error *err);

#endif
