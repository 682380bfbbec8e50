/* dial VERB [FLAGS]: finds the verb, runs it, prints what it returns. */
#include "cmd.h"

#include <string.h>

static const cmd_verb *const verbs[] = {
    &cmd_train,  &cmd_eval,   &cmd_score,  &cmd_rank,  &cmd_embed, &cmd_doctor,
    &cmd_select, &cmd_sweep,  &cmd_report, &cmd_info,  &cmd_data,  &cmd_bench,
    &cmd_serve,  &cmd_export, &cmd_pull,   &cmd_merge, &cmd_adapt};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

/* Names that a later version will know: they get an answer of their own. */
static const char *const later[] = {"rl"};
enum { N_LATER = sizeof later / sizeof *later };

static void print_usage(FILE *out)
{
    fprintf(out, "usage: dial VERB [FLAGS]\n\n"
                 "Reward models that transfer to a domain without labels.\n\n");
    for (int i = 0; i < N_VERBS; i++) fprintf(out, "  %-8s%s\n", verbs[i]->name, verbs[i]->purpose);
    fprintf(out, "\ndial VERB --help lists the flags of a verb; dial --version names this build.\n"
                 "Exit: 0 done, 1 failed, 2 wrong use, 3 bad input, 4 a check failed,\n"
                 "130 or 143 stopped by a signal.\n");
}

#ifdef DIAL_GIT
static const char *const git = DIAL_GIT;
#else
static const char *const git = NULL;
#endif

static dial_status print_version(int json, dial_error *err)
{
    const char *cpu = dial_cpu_text();
    json_t *doc;

    if (!json) {
        printf("dial %s (c17; cpu %s; cuda none)\n", dial_version(), cpu);
        return cmd_stdout_flush(err);
    }
    doc = json_pack("{s:s, s:s, s:s, s:n, s:s?}", "schema", "dial.version/1", "version",
                    dial_version(), "cpu", cpu, "cuda", "git", git);
    if (doc != NULL) json_dumpf(doc, stdout, JSON_COMPACT);
    json_decref(doc);
    fputc('\n', stdout);
    return cmd_stdout_flush(err);
}

static dial_status not_a_verb(const char *name, dial_error *err)
{
    cmd_nearest best = {name, NULL, 0};

    for (int i = 0; i < N_LATER; i++) {
        if (strcmp(name, later[i]) == 0)
            return cmd_fail(err, DIAL_ERR_USAGE, name, "dial --help lists what is there",
                            "dial %s does not have this verb yet", dial_version());
        cmd_nearest_offer(&best, later[i]);
    }
    for (int i = 0; i < N_VERBS; i++) cmd_nearest_offer(&best, verbs[i]->name);
    name = cmd_nearest_name(&best);
    return cmd_fail(err, DIAL_ERR_USAGE, best.word, name != NULL ? name : "dial --help",
                    "there is no such verb");
}

/* dial --version, dial --help, dial -h; anything else that is no verb is wrong use. */
static dial_status no_verb(int argc, char **argv, int json, dial_error *err)
{
    int version = 0, help = 0;

    if (argc == 3 && strcmp(argv[1], "--page") == 0) { /* for the build: man pages, completion */
        if (cmd_page(stdout, argv[2], verbs, N_VERBS)) return cmd_stdout_flush(err);
        return cmd_fail(err, DIAL_ERR_USAGE, argv[2], "dial --help", "there is no such page");
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--version") == 0)
            version = 1;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            help = 1;
        else if (strcmp(argv[i], "--json") != 0 && strcmp(argv[i], "--text") != 0) {
            if (argv[i][0] != '-') return not_a_verb(argv[i], err);
            return cmd_fail(err, DIAL_ERR_USAGE, argv[i], "dial --help, dial --version",
                            "flags follow a verb");
        }
    }
    if (help) {
        print_usage(stdout);
        return cmd_stdout_flush(err);
    }
    if (version) return print_version(json, err);
    return cmd_fail(err, DIAL_ERR_USAGE, NULL, "dial --help", "expected a verb");
}

static dial_status print_config(cmd_call *call, dial_error *err)
{
    char *json = NULL;
    dial_status st =
        dial_options_to_json(&call->env, call->verb->table, &call->options, &json, err);

    if (st == DIAL_OK) st = cmd_stdout_write(json, strlen(json), err);
    if (st == DIAL_OK) st = cmd_stdout_write("\n", 1, err);
    if (st == DIAL_OK) st = cmd_stdout_flush(err);
    dial_free(&call->env, json);
    return st;
}

/* *printed: a document went to stdout, so no error document may follow it. */
static dial_status run_verb(cmd_call *call, int n, char **argv, int *printed, dial_error *err)
{
    char *json = NULL;
    dial_status st = DIAL_OK, st_print = DIAL_OK;
    dial_error print_err;

    if (call->verb->ranks) st = dial_ranks_open(&call->env, &call->ranks, err);
    call->env.ranks = call->ranks;
    if (st != DIAL_OK) return st;
    st = dial_ranks_agree(call->ranks, cmd_flags_parse(call, n, argv, err), err);
    if (st != DIAL_OK) return st;
    if (!dial_ranks_speaks(call->ranks)) {
        call->settings.quiet = 1;
        if (call->settings.help || call->settings.print_config) return DIAL_OK;
    }
    if (call->settings.help) {
        cmd_help(stdout, call->verb);
        return cmd_stdout_flush(err);
    }
    if (call->settings.print_config) return print_config(call, err);
    cmd_progress_init(call);
    st = call->verb->run(call, &json, err);
    cmd_progress_clear(&call->progress);
    if (json != NULL && !call->verb->rows) {
        st_print = cmd_print_document(call, json, &print_err);
        *printed = 1;
    }
    if (st == DIAL_OK && st_print != DIAL_OK) {
        *err = print_err;
        st = st_print;
    }
    dial_free(&call->env, json);
    return st;
}

static int exit_code(dial_status st)
{
    return st == DIAL_INTERRUPTED ? cmd_signals_exit_code() : dial_status_exit_code(st);
}

int main(int argc, char **argv)
{
    cmd_call call; /* some 170 kB, on the stack */
    dial_error err = {.status = DIAL_OK};
    dial_status st;
    int printed = 0;

    cmd_streams_open();
    memset(&call, 0, sizeof call);
    for (int i = 1; i < argc; i++) /* so that errors in flags already have their form */
        call.settings.json |= strcmp(argv[i], "--json") == 0;
    for (int i = 0; argc > 1 && i < N_VERBS; i++)
        if (strcmp(argv[1], verbs[i]->name) == 0) call.verb = verbs[i];
    call.kept = json_array();
    if (call.kept == NULL)
        st = cmd_fail(&err, DIAL_ERR_NOMEM, NULL, NULL, "no memory to start");
    else if (call.verb != NULL)
        st = run_verb(&call, argc - 2, argv + 2, &printed, &err);
    else
        st = no_verb(argc, argv, call.settings.json, &err);
    if (st != DIAL_OK) {
        err.status = st;
        if (dial_ranks_speaks(call.ranks)) cmd_print_error(&call, &err, exit_code(st), printed);
    }
    json_decref(call.kept);
    dial_free(&call.env, call.run_text);
    dial_ranks_close(call.ranks, exit_code(st));
    return exit_code(st);
}
