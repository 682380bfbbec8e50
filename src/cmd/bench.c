#include "cmd.h"

static const char *const required[] = {"model", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    return dial_bench(&call->options.bench, &call->env, json, err);
}

const cmd_verb cmd_bench = {
    .name = "bench",
    .purpose = "Speed of this machine on a model, beside its measured limit.",
    .usage = "--model PATH [FLAGS]",
    .example = "dial bench --model tests/fixtures/toy --what forward --length 64 --repeat 1",
    .table = dial_bench_table,
    .size = sizeof(dial_bench_options),
    .required = required,
    .run = run,
};
