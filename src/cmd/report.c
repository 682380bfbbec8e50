#include "cmd.h"

static const char *const required[] = {"runs", "out", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    return dial_report(&call->options.report, &call->env, json, err);
}

const cmd_verb cmd_report = {
    .name = "report",
    .purpose = "One page of curves, tables and maps of one or more runs.",
    .usage = "--runs RUN[,RUN...] --out FILE.html|.md|.json [FLAGS]",
    .example = "dial report --runs runs/toy --out toy.html",
    .table = dial_report_table,
    .size = sizeof(dial_report_options),
    .required = required,
    .run = run,
};
