#include "train/forecast.h"

#include "base/error.h"
#include "train/pass.h"

dial_status di_forecast_rows(const di_alloc *al, const di_train_settings *set,
                             const di_examples *const examples[DI_SIDES], int64_t steps,
                             int64_t rows[DI_SIDES], dial_error *err)
{
    dial_status st = DIAL_OK;
    di_side side = {0};

    for (int k = 0; k < DI_SIDES; k++) {
        rows[k] = 0;
        if (set->batch[k] == 0) continue;
        DI_TRY(di_side_init(&side, al, di_dist_of(NULL), examples[k], set->batch[k], set->seed,
                            di_side_order[k], err));
        for (int64_t i = 0; i < steps * set->parts; i++) {
            di_side_pick(&side, &side.order);
            for (int64_t at = 0; at < side.n_texts; at += set->micro_texts) {
                int64_t left = side.n_texts - at;
                int64_t n = left < set->micro_texts ? left : set->micro_texts;
                int64_t used = di_batch_rows(side.text + at, side.group + at, n);

                if (used > rows[k]) rows[k] = used;
            }
        }
        di_side_deinit(&side, al);
    }
done:
    return st;
}

double di_forecast_tokens(const di_train_settings *set, const di_examples *const side[DI_SIDES])
{
    double tokens = 0;

    for (int k = 0; k < DI_SIDES; k++) {
        double sum = 0;

        if (set->batch[k] == 0) continue;
        for (int64_t i = 0; i < side[k]->n; i++)
            for (int t = 0; t < di_example_at(side[k], i)->n_texts; t++)
                sum += (double)di_example_seq(side[k], i, t)->n;
        tokens += sum / (double)side[k]->n * (double)(set->batch[k] * set->parts);
    }
    return tokens;
}
