#include "cmd.h"

static const char *const required[] = {"run", "store|target", "out", NULL};

/* A signal ends the stage at hand; the same command goes on. */
static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    call->progress.every = 10;
    call->env.stop = cmd_signals_stop();
    cmd_signals_install();
    return dial_adapt(&call->options.adapt, &call->env, json, err);
}

const cmd_verb cmd_adapt = {
    .name = "adapt",
    .purpose = "Train a served run on towards its traffic, and publish it.",
    .usage = "--run RUN --store FILE --out DIR [--publish LINK] [FLAGS] [FLAGS OF dial train]",
    .example =
        "dial adapt --run runs/toy --target tests/fixtures/toy/target.jsonl --out runs/toy-2",
    .table = dial_adapt_table,
    .size = sizeof(dial_adapt_options),
    .required = required,
    .passed = dial_train_table,
    .run = run,
};
