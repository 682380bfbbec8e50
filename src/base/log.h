/* Messages to the caller's log function. The library itself has no output of its own. */
#ifndef DI_BASE_LOG_H
#define DI_BASE_LOG_H

#include "dial/status.h"

/* env may be NULL, and so may its log member. */
void di_log(const dial_env *env, dial_log_level level, const char *fmt, ...) DIAL_PRINTF(3, 4);

/* 1 if the caller asked the running job to stop: from a signal handler or from another thread. */
static inline int di_stop_asked(const dial_env *env)
{
    return env != NULL && env->stop != NULL && __atomic_load_n(env->stop, __ATOMIC_RELAXED) != 0;
}

#endif
