/* Time that only goes forward. */
#ifndef DI_BASE_CLOCK_H
#define DI_BASE_CLOCK_H

#include <time.h>

/* Seconds since some fixed moment, for measuring spans. */
static inline double di_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
