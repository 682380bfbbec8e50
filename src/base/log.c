#include "base/log.h"

#include <stdio.h>

void di_log(const dial_env *env, dial_log_level level, const char *fmt, ...)
{
    char message[1024];
    va_list ap;

    if (env == NULL || env->log == NULL) return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    env->log(env->ctx, level, message);
}
