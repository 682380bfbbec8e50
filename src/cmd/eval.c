#include "cmd.h"

static const char *const required[] = {"model", "data", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    return dial_eval(&call->options.eval, &call->env, json, err);
}

const cmd_verb cmd_eval = {
    .name = "eval",
    .purpose = "Accuracy and diagnostics of a run on labelled files.",
    .usage = "--model RUN --data [NAME=]FILE[,...] [FLAGS]",
    .example = "dial eval --model runs/toy --data val=tests/fixtures/toy/val.jsonl",
    .table = dial_eval_table,
    .size = sizeof(dial_eval_options),
    .required = required,
    .ranks = 1,
    .run = run,
};
