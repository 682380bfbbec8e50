#include "cmd.h"

static const char *const required[] = {"grid", "out", NULL};

/* Each run is this very program, even if its file has been replaced since it started. */
static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    call->options.sweep.program = "/proc/self/exe";
    call->env.stop = cmd_signals_stop();
    cmd_signals_install();
    return dial_sweep(&call->options.sweep, &call->env, json, err);
}

const cmd_verb cmd_sweep = {
    .name = "sweep",
    .purpose = "Train the runs of a grid, and compare them with intervals.",
    .usage = "--grid FILE.json --out DIR [--jobs N] [FLAGS] [FLAGS OF dial train]",
    .example = "dial sweep --grid tests/fixtures/toy/sweep.json --out runs/sweep --jobs 2",
    .table = dial_sweep_table,
    .size = sizeof(dial_sweep_options),
    .required = required,
    .passed = dial_train_table,
    .run = run,
};
