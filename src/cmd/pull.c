/* HF_TOKEN and HF_ENDPOINT come from the environment, as other programs of the hub have them. */
#include "cmd.h"

#include <stdlib.h>

static const char *const required[] = {"out", NULL};

static const char *from_environment(const char *name)
{
    const char *v = getenv(name);

    return v != NULL && v[0] != '\0' ? v : NULL;
}

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    dial_pull_options *o = &call->options.pull;

    if (call->n_words == 0)
        return cmd_fail(err, DIAL_ERR_USAGE, NULL, "dial pull OWNER/NAME --out DIR",
                        "expected a name");
    o->name = call->word[0];
    o->token = from_environment("HF_TOKEN");
    o->endpoint = from_environment("HF_ENDPOINT");
    call->env.stop = cmd_signals_stop();
    cmd_signals_install();
    return dial_pull(o, &call->env, json, err);
}

const cmd_verb cmd_pull = {
    .name = "pull",
    .purpose = "Fetch a model or a data set from a Hugging Face hub.",
    .usage = "NAME[@REVISION] --out DIR [FLAGS]",
    .example = "dial pull HuggingFaceTB/SmolLM2-135M --out models/SmolLM2-135M",
    .table = dial_pull_table,
    .size = sizeof(dial_pull_options),
    .required = required,
    .max_words = 1,
    .run = run,
};
