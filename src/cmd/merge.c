#include "cmd.h"

#include <string.h>

static const char *const required[] = {"out", NULL};

/* RUN,RUN of the command line -> words of their own. */
static dial_status split_runs(cmd_call *call, dial_error *err)
{
    const char *at = call->n_words > 0 ? call->word[0] : "";

    for (call->n_words = 0; *at != '\0';) {
        size_t n = strcspn(at, ",");

        if (call->n_words == CMD_MAX_WORDS)
            return cmd_fail(err, DIAL_ERR_USAGE, at, NULL, "expected at most %d runs",
                            CMD_MAX_WORDS);
        call->word[call->n_words] = cmd_keep(call, at, n);
        if (call->word[call->n_words++] == NULL)
            return cmd_fail(err, DIAL_ERR_NOMEM, NULL, NULL, "no memory for the runs");
        at += n + (at[n] == ',');
    }
    return DIAL_OK;
}

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    dial_merge_options *o = &call->options.merge;
    dial_status st = split_runs(call, err);

    o->runs = (dial_list){call->word, call->n_words};
    return st == DIAL_OK ? dial_merge(o, &call->env, json, err) : st;
}

const cmd_verb cmd_merge = {
    .name = "merge",
    .purpose = "Average the adapters of several runs into one run.",
    .usage = "RUN,RUN[,RUN...] --out DIR [FLAGS]",
    .example = "dial merge runs/s0,runs/s1 --out runs/mean",
    .table = dial_merge_table,
    .size = sizeof(dial_merge_options),
    .required = required,
    .max_words = 1,
    .run = run,
};
