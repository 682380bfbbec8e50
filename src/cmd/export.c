#include "cmd.h"

static const char *const required[] = {"model", "to", "out", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    return dial_export(&call->options.export, &call->env, json, err);
}

const cmd_verb cmd_export = {
    .name = "export",
    .purpose = "A run in another project's format, and proof that it scores as before.",
    .usage = "--model RUN --to peft|hf|st|head|gguf --out PATH [FLAGS]",
    .example = "dial export --model runs/toy --to hf --out exported/toy",
    .table = dial_export_table,
    .size = sizeof(dial_export_options),
    .required = required,
    .run = run,
};
