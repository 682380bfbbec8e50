/* Runs until SIGINT or SIGTERM; SIGHUP loads the runs again. */
#include "cmd.h"

#include <stdlib.h>

static const cmd_group groups[] = {
    {"host", "Where it listens, and to whom:"},
    {"name", "What it answers:"},
    {"max-wait-ms", "Limits:"},
    {"access-log", "Log:"},
    {"monitor", "Shift of the traffic:"},
    {NULL, NULL},
};

/* The line that tells the address: on stdout unless a person reads there. */
static int write_line(void *ctx, const char *line, size_t n)
{
    cmd_call *call = ctx;
    dial_error err;

    if (cmd_text_on_stdout(&call->settings)) return 0;
    return cmd_stdout_write(line, n, &err) != DIAL_OK || cmd_stdout_flush(&err) != DIAL_OK;
}

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    dial_serve_options *o = &call->options.serve;
    const char *token = getenv("DIAL_API_KEY");

    (void)json;
    if (call->n_words == 0)
        return cmd_fail(err, DIAL_ERR_USAGE, NULL, "dial serve RUN [RUN ...]", "expected a run");
    o->runs = (dial_list){call->word, call->n_words};
    if (o->token_file == NULL && token != NULL && token[0] != '\0') o->token = token;
    call->env.stop = cmd_signals_stop();
    cmd_signals_install();
    o->reload = cmd_signals_reload();
    return dial_serve(o, write_line, call, &call->env, err);
}

const cmd_verb cmd_serve = {
    .name = "serve",
    .purpose = "Rewards and embeddings over HTTP, in the forms of many clients.",
    .usage = "RUN [RUN ...] [FLAGS]",
    .example = "dial serve runs/toy --port 8011",
    .table = dial_serve_table,
    .size = sizeof(dial_serve_options),
    .groups = groups,
    .max_words = CMD_MAX_WORDS,
    .run = run,
};
