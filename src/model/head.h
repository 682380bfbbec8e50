/* The reward head: r = w . e, no bias. The one place where an embedding becomes a reward. */
#ifndef DI_MODEL_HEAD_H
#define DI_MODEL_HEAD_H

#include <stdint.h>

/* Sum in f64 in the order of the coordinates, rounded once: same bits wherever it is called. */
static inline float di_reward(const float *w, const float *e, int64_t width)
{
    double r = 0;

    for (int64_t i = 0; i < width; i++) r += (double)w[i] * (double)e[i];
    return (float)r;
}

/* Of a head of several rows their sum: a number in which every row has a part (self-test). */
static inline float di_reward_sum(const float *w, int64_t rows, const float *e, int64_t width)
{
    double sum = 0;

    for (int64_t j = 0; j < rows; j++) sum += (double)di_reward(w + j * width, e, width);
    return (float)sum;
}

#endif
