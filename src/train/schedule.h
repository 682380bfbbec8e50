/* Rates as pure functions of the step (0-based: the step about to be taken). */
#ifndef DI_TRAIN_SCHEDULE_H
#define DI_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef enum di_schedule { DI_CONSTANT, DI_LINEAR, DI_COSINE } di_schedule;

/*
 * Factor of the learning rate: (step+1)/warmup during the warm-up, then 1, or falling to 0 at
 * `steps` linearly or as half a cosine.
 */
double di_schedule_factor(di_schedule kind, int64_t step, int64_t steps, int64_t warmup);

typedef enum di_ramp { DI_RAMP_NONE, DI_RAMP_DANN, DI_RAMP_LINEAR } di_ramp;

/*
 * Factor of lambda: 0 before step `start`, where the ramp begins. dann: 2/(1+exp(-10 p)) - 1, p =
 * (step-start)/(steps-start); linear: from 0 over `over` steps.
 */
double di_ramp_factor(di_ramp kind, int64_t step, int64_t steps, int64_t start, int64_t over);

#endif
