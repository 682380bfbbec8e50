#include "cmd.h"

#include <string.h>

/* Operations that a later version will know. */
static const char *const later[] = {"convert", "split",  "strip",  "pairs",
                                    "sample",  "dedupe", "overlap"};

static dial_status not_an_operation(const char *name, dial_error *err)
{
    cmd_nearest best = {name, NULL, 0};

    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (strcmp(name, later[i]) == 0)
            return cmd_fail(err, DIAL_ERR_USAGE, name, "dial data check FILE",
                            "dial %s does not have this operation yet", dial_version());
        cmd_nearest_offer(&best, later[i]);
    }
    cmd_nearest_offer(&best, "check");
    cmd_nearest_offer(&best, "pick");
    cmd_nearest_offer(&best, "collect");
    name = cmd_nearest_name(&best);
    return cmd_fail(err, DIAL_ERR_USAGE, best.word, name != NULL ? name : "dial data check FILE",
                    "there is no such operation");
}

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    dial_data_options *o = &call->options.data;

    if (call->n_words == 0)
        return cmd_fail(err, DIAL_ERR_USAGE, NULL, "dial data check FILE", "expected an operation");
    o->op = call->word[0];
    if (strcmp(o->op, "collect") == 0) {
        if (call->n_words > 1)
            return cmd_fail(err, DIAL_ERR_USAGE, call->word[1],
                            "dial data collect --store FILE --out FILE",
                            "collect reads the store that --store names");
        return dial_data(o, &call->env, json, err);
    }
    if (strcmp(o->op, "check") != 0 && strcmp(o->op, "pick") != 0)
        return not_an_operation(o->op, err);
    if (call->n_words < 2)
        return cmd_fail(err, DIAL_ERR_USAGE, NULL, "dial data check FILE", "expected a file");
    o->file = call->word[1];
    return dial_data(o, &call->env, json, err);
}

const cmd_verb cmd_data = {
    .name = "data",
    .purpose = "Inspect data files; pick rows to label; collect a server's traffic.",
    .usage = "check|pick FILE [FLAGS] | collect --store FILE --out FILE",
    .example = "dial data check tests/fixtures/toy/source.jsonl",
    .table = dial_data_table,
    .size = sizeof(dial_data_options),
    .max_words = 2,
    .run = run,
};
