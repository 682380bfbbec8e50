/*
 * SIGINT and SIGTERM while state is to be saved. The flag has to stand at file scope: a handler
 * gets nothing but the number of its signal.
 */
#include "cmd.h"

#include <signal.h>
#include <unistd.h>

static volatile int stop;

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

const volatile int *cmd_signals_stop(void)
{
    return &stop;
}

int cmd_signals_exit_code(void)
{
    return 128 + (stop != 0 ? stop : SIGINT);
}
