#include "cmd.h"

static const char *const required[] = {"model", "data", "out", NULL};

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    return dial_embed(&call->options.embed, &call->env, json, err);
}

const cmd_verb cmd_embed = {
    .name = "embed",
    .purpose = "Embeddings of texts, as .npy, .safetensors or .jsonl.",
    .usage = "--model MODEL --data FILE --out FILE [FLAGS]",
    .example = "dial embed --model runs/toy --data tests/fixtures/toy/val.jsonl --out toy.npy",
    .table = dial_embed_table,
    .size = sizeof(dial_embed_options),
    .required = required,
    .ranks = 1,
    .run = run,
};
