#include "cmd.h"

static const char *const required[] = {"model", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    return dial_info(&call->options.info, &call->env, json, err);
}

const cmd_verb cmd_info = {
    .name = "info",
    .purpose = "What a model, run or adapter is, and whether it is whole.",
    .usage = "--model PATH [--verify] [--tensors] [FLAGS]",
    .example = "dial info --model runs/toy --verify",
    .table = dial_info_table,
    .size = sizeof(dial_info_options),
    .required = required,
    .run = run,
};
