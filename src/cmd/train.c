#include "cmd.h"

static const cmd_group groups[] = {
    {"base", "What is trained, on what:"},
    {"steps", "Length of the run:"},
    {"lambda", "Alignment of the two domains:"},
    {"layer", "Model:"},
    {"lr", "Optimizer and loss:"},
    {"limit-source", "Rows and choice of the checkpoint:"},
    {"grad-checkpoint", "Running:"},
    {NULL, NULL},
};
static const char *const required[] = {"base|resume-from", "out", NULL}; /* source: by the method */

/* A signal asks for the end of the step, a checkpoint and an orderly return. */
static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    call->progress.every = call->options.train.log_every;
    call->env.stop = cmd_signals_stop();
    cmd_signals_install();
    return dial_train(&call->options.train, &call->env, json, err);
}

const cmd_verb cmd_train = {
    .name = "train",
    .purpose = "Fit a reward model on labelled source rows and unlabelled target rows.",
    .usage = "--base MODEL --source FILE[,FILE...] [--target FILE[,FILE...]] --out DIR [FLAGS]",
    .example = "dial train --base tests/fixtures/toy --source tests/fixtures/toy/source.jsonl "
               "--target tests/fixtures/toy/target.jsonl --steps 20 --out runs/toy",
    .table = dial_train_table,
    .size = sizeof(dial_train_options),
    .required = required,
    .groups = groups,
    .ranks = 1,
    .run = run,
};
