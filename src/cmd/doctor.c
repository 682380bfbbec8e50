#include "cmd.h"

static const char *const required[] = {"model", "source", "target", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    call->env.stop = cmd_signals_stop();
    cmd_signals_install();
    return dial_doctor(&call->options.doctor, &call->env, json, err);
}

const cmd_verb cmd_doctor = {
    .name = "doctor",
    .purpose = "How far apart two domains are, and whether a ranking carries over.",
    .usage = "--model MODEL --source FILE --target FILE [FLAGS]",
    .example = "dial doctor --model runs/toy --source tests/fixtures/toy/val.jsonl "
               "--target tests/fixtures/toy/target.jsonl",
    .table = dial_doctor_table,
    .size = sizeof(dial_doctor_options),
    .required = required,
    .run = run,
};
