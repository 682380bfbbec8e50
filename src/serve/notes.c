#include "serve/notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void di_notes_init(di_notes *n)
{
    memset(n, 0, sizeof *n);
    pthread_mutex_init(&n->lock, NULL);
}

void di_notes_deinit(di_notes *n)
{
    pthread_mutex_destroy(&n->lock);
}

void di_notes_add(di_notes *n, dial_log_level level, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    pthread_mutex_lock(&n->lock);
    if (n->n < DI_NOTES) {
        n->note[n->n].level = level;
        vsnprintf(n->note[n->n].text, sizeof n->note[n->n].text, fmt, args);
        n->n++;
    } else
        n->lost++;
    pthread_mutex_unlock(&n->lock);
    va_end(args);
}

/* Under the lock: what logs takes as long as it takes, and whoever has a note then waits. */
void di_notes_tell(di_notes *n, const dial_env *env)
{
    pthread_mutex_lock(&n->lock);
    for (int i = 0; i < n->n; i++) di_log(env, n->note[i].level, "%s", n->note[i].text);
    if (n->lost > 0) di_log(env, DIAL_LOG_WARN, "%d more messages had no room", n->lost);
    n->n = n->lost = 0;
    pthread_mutex_unlock(&n->lock);
}
