/* What the passes of a run will hold, from the order of its rows, before the first step. */
#ifndef DI_TRAIN_FORECAST_H
#define DI_TRAIN_FORECAST_H

#include "train/side.h"

/*
 * rows[k]: most token rows of one pass of side k over picks [0, steps * parts) of the run, prefixes
 * shared; 0 for a side that takes no part.
 */
dial_status di_forecast_rows(const di_alloc *al, const di_train_settings *set,
                             const di_examples *const side[DI_SIDES], int64_t steps,
                             int64_t rows[DI_SIDES], dial_error *err);

/* Mean tokens of a step, each text counted as if it ran alone. */
double di_forecast_tokens(const di_train_settings *set, const di_examples *const side[DI_SIDES]);

#endif
