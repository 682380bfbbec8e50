/* Physical cores of this machine that a process may use. */
#ifndef DI_BASE_CORES_H
#define DI_BASE_CORES_H

#include <sched.h>

/* One CPU for every physical core that this process may run on: the lowest of its threads. */
void di_cores_allowed(cpu_set_t *cores);

/* Their number; at least 1. */
int di_cores_here(void);

#endif
