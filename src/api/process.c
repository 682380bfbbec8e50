#include "api/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

/* In the child, between fork and exec: calls that a signal handler might make, nothing else. */
static void become(const char *const *argv, int out, int log, int lock, pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127); /* it died before the line above */
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) _exit(127);
    fcntl(lock, F_SETFD, 0); /* stays open there: the lock goes with the last holder */
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

dial_status di_process_start(const char *const *argv, const char *out, const char *log,
                             const char *lock, di_process *p, int *busy, dial_error *err)
{
    dial_status st = DIAL_OK;
    pid_t parent = getpid(), pid;
    int to_out = -1, to_log = -1, held = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    *busy = 0;
    if (held < 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, lock, "free some space, or choose another --out",
                   "cannot make the file: %s", strerror(errno));
    if (flock(held, LOCK_EX | LOCK_NB) != 0) {
        *busy = 1;
        goto done;
    }
    to_out = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    to_log = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (to_out < 0 || to_log < 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, to_out < 0 ? out : log,
                   "free some space, or choose another --out", "cannot make the file: %s",
                   strerror(errno));
    pid = fork();
    if (pid < 0)
        DI_FAIL(err, DIAL_ERR_IO, "cannot start a process (%s): %s", argv[0], strerror(errno));
    if (pid == 0) become(argv, to_out, to_log, held, parent);
    *p = (di_process){pid, held};
    held = -1;
done:
    if (to_out >= 0) close(to_out);
    if (to_log >= 0) close(to_log);
    if (held >= 0) close(held);
    return st;
}

int di_process_ended(di_process *p, int *status)
{
    pid_t got = waitpid(p->pid, status, WNOHANG);

    if (got == 0 || (got < 0 && errno == EINTR)) return 0;
    if (got < 0) *status = 127 << 8; /* not ours any more: somebody else has waited for it */
    close(p->lock);
    *p = (di_process){0};
    return 1;
}

void di_process_stop(const di_process *p)
{
    if (p->pid > 0) kill(p->pid, SIGTERM);
}
