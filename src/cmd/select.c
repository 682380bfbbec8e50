#include "cmd.h"

static const char *const required[] = {"runs", "source", "target", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    call->env.stop = cmd_signals_stop();
    cmd_signals_install();
    return dial_select(&call->options.select, &call->env, json, err);
}

const cmd_verb cmd_select = {
    .name = "select",
    .purpose = "Choose a checkpoint or run without target labels.",
    .usage = "--runs RUN[,RUN...] --source FILE --target FILE [FLAGS]",
    .example = "dial select --runs runs/toy --source tests/fixtures/toy/val.jsonl "
               "--target tests/fixtures/toy/target.jsonl",
    .table = dial_select_table,
    .size = sizeof(dial_select_options),
    .required = required,
    .run = run,
};
