#include "train/schedule.h"

#include <math.h>

double di_schedule_factor(di_schedule kind, int64_t step, int64_t steps, int64_t warmup)
{
    double p;

    if (step < warmup) return (double)(step + 1) / (double)warmup;
    if (kind == DI_CONSTANT || steps <= warmup) return 1;
    p = (double)(step - warmup) / (double)(steps - warmup);
    if (p > 1) p = 1;
    return kind == DI_LINEAR ? 1 - p : 0.5 * (1 + cos(3.14159265358979323846 * p));
}

double di_ramp_factor(di_ramp kind, int64_t step, int64_t steps, int64_t start, int64_t over)
{
    int64_t at = step - start, all = steps > start ? steps - start : 1;

    if (at < 0) return 0;
    if (kind == DI_RAMP_DANN) return 2 / (1 + exp(-10 * (double)at / (double)all)) - 1;
    if (kind == DI_RAMP_LINEAR && at < over) return (double)at / (double)over;
    return 1;
}
