/*
 * What the server's threads have to say, left for the caller's thread: the environment's log is
 * called from there alone.
 */
#ifndef DI_SERVE_NOTES_H
#define DI_SERVE_NOTES_H

#include <pthread.h>

#include "base/log.h"

enum { DI_NOTES = 16, DI_NOTE_SIZE = 400 };

typedef struct di_notes {
    pthread_mutex_t lock;
    struct {
        dial_log_level level;
        char text[DI_NOTE_SIZE];
    } note[DI_NOTES];
    int n, lost; /* lost: notes that found no room */
} di_notes;

void di_notes_init(di_notes *n);
void di_notes_deinit(di_notes *n);

/* Any thread. */
void di_notes_add(di_notes *n, dial_log_level level, const char *fmt, ...) DIAL_PRINTF(3, 4);

/* Logs what was left, in its order. */
void di_notes_tell(di_notes *n, const dial_env *env);

#endif
