/*
 * SIGINT and SIGTERM while state is to be saved, SIGHUP as the wish to load again. The flags have
 * to stand at file scope: a handler gets nothing but the number of its signal.
 */
#include "cmd.h"

#include <signal.h>
#include <unistd.h>

static volatile int stop, reload;

static void on_signal(int number)
{
    if (stop != 0) _exit(128 + number);
    stop = number;
}

void cmd_signals_install(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

static void on_hangup(int number)
{
    (void)number;
    reload++;
}

const volatile int *cmd_signals_reload(void)
{
    struct sigaction sa = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};

    sigemptyset(&sa.sa_mask);
    sigaction(SIGHUP, &sa, NULL);
    return &reload;
}

const volatile int *cmd_signals_stop(void)
{
    return &stop;
}

int cmd_signals_exit_code(void)
{
    return 128 + (stop != 0 ? stop : SIGINT);
}
