/*
 * Other processes of the program: started with their output in files, watched, stopped. A killed
 * parent takes them along (SIGTERM, on which a training saves its state); until the last of them
 * has ended its lock is held, so that whoever comes next waits instead of writing into the same
 * folder.
 */
#ifndef DI_API_PROCESS_H
#define DI_API_PROCESS_H

#include <sys/types.h>

#include "dial/status.h"

typedef struct di_process {
    pid_t pid; /* 0: none */
    int lock;  /* descriptor, shared with the process */
} di_process;

/*
 * Locks the file `lock` (made if need be) and runs argv (argv[0] a path, NULL-ended), stdout and
 * stderr to files that are made anew. *busy 1, and nothing started: another process has the lock.
 * The process is the head of a group of its own: a terminal's Ctrl-C reaches it through the parent
 * alone. ERR_IO where a file or the process cannot be made.
 */
dial_status di_process_start(const char *const *argv, const char *out, const char *log,
                             const char *lock, di_process *p, int *busy, dial_error *err);

/* 1: it has ended, *status as of waitpid, and its lock is free; 0: it runs. */
int di_process_ended(di_process *p, int *status);

/* Asks it to save and end (SIGTERM). */
void di_process_stop(const di_process *p);

#endif
