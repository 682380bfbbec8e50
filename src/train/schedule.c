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

double di_ramp_factor(di_ramp kind, int64_t step, int64_t steps, int64_t over)
{
    if (kind == DI_RAMP_DANN)
        return 2 / (1 + exp(-10 * (double)step / (double)(steps > 0 ? steps : 1))) - 1;
    if (kind == DI_RAMP_LINEAR && step < over) return (double)step / (double)over;
    return 1;
}
