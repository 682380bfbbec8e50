/* Lines go to stdout or (by the library) to --out, the summary to --summary or stderr. */
#include "cmd.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char *const required[] = {"model", NULL};
static const char *const required_rank[] = {"model", "data", NULL};

/* Lines of the library on their way to stdout. */
typedef struct lines {
    cmd_call *call;
    int failed; /* errno of the write that failed */
} lines;

static int write_line(void *ctx, const char *line, size_t n)
{
    lines *l = ctx;

    cmd_progress_clear(&l->call->progress);
    if (fwrite(line, 1, n, stdout) == n) return 0;
    l->failed = errno;
    return -1;
}

static dial_status write_failed(const char *where, dial_error *err)
{
    return cmd_fail(err, DIAL_ERR_IO, where, "check the disk or the reading program",
                    "cannot write: %s", strerror(errno));
}

static dial_status write_file(const char *path, const char *text, dial_error *err)
{
    FILE *f = fopen(path, "w");
    int failed;

    if (f == NULL) return write_failed(path, err);
    failed = fprintf(f, "%s\n", text) < 0;
    failed |= fclose(f) != 0;
    return failed ? write_failed(path, err) : DIAL_OK;
}

/* The summary of the lines: where asked, else on stderr, as text where a person looks on. */
static dial_status put_summary(cmd_call *call, const char *path, const char *json, dial_error *err)
{
    char *text = NULL;
    dial_status st = DIAL_OK;

    if (path != NULL) return write_file(path, json, err);
    if (call->settings.quiet) return DIAL_OK;
    if (call->settings.text || (!call->settings.json && isatty(STDERR_FILENO)))
        st = dial_document_text(&call->env, json, &text, err);
    if (st == DIAL_OK) fprintf(stderr, "%s\n", text != NULL ? text : json);
    dial_free(&call->env, text);
    return st;
}

/* What is left to do when the lines are out; st: how the job ended. */
static dial_status finish(cmd_call *call, const lines *l, dial_status st, const char *summary,
                          const char *json, dial_error *err)
{
    cmd_progress_clear(&call->progress);
    if (l->failed != 0) {
        errno = l->failed;
        st = write_failed("standard output", err);
    } else if (st == DIAL_OK)
        st = cmd_stdout_flush(err);
    else
        fflush(stdout); /* lines before the one that failed are good */
    return st == DIAL_OK && json != NULL ? put_summary(call, summary, json, err) : st;
}

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    dial_score_options *o = &call->options.score;
    lines l = {call, 0};
    dial_status st;

    if ((o->data != NULL) == (o->response != NULL))
        return cmd_fail(err, DIAL_ERR_USAGE, "--data, --response", "dial score --help",
                        "expected one of them");
    if (o->out != NULL && strcmp(o->out, "-") == 0) o->out = NULL;
    st = dial_score(o, write_line, &l, &call->env, json, err);
    return finish(call, &l, st, o->summary, *json, err);
}

static dial_status run_rank(cmd_call *call, char **json, dial_error *err)
{
    dial_rank_options *o = &call->options.rank;
    lines l = {call, 0};
    dial_status st;

    if (o->out != NULL && strcmp(o->out, "-") == 0) o->out = NULL;
    st = dial_rank(o, write_line, &l, &call->env, json, err);
    return finish(call, &l, st, o->summary, *json, err);
}

const cmd_verb cmd_score = {
    .name = "score",
    .purpose = "Reward of each row or text, a JSON line each, in input order.",
    .usage = "--model RUN --data FILE|- | --model RUN [--prompt TEXT] --response TEXT [FLAGS]",
    .example = "echo '{\"prompt\":\"2+2=\",\"response\":\"4\"}' | dial score --model runs/toy "
               "--data -",
    .table = dial_score_table,
    .size = sizeof(dial_score_options),
    .required = required,
    .rows = 1,
    .ranks = 1,
    .run = run,
};

const cmd_verb cmd_rank = {
    .name = "rank",
    .purpose = "Best of n: the order of each row's responses, a JSON line each.",
    .usage = "--model RUN --data FILE|- [FLAGS]",
    .example = "echo '{\"prompt\":\"2+2=\",\"responses\":[\"5\",\"4\"]}' | dial rank --model "
               "runs/toy --data -",
    .table = dial_rank_table,
    .size = sizeof(dial_rank_options),
    .required = required_rank,
    .rows = 1,
    .ranks = 1,
    .run = run_rank,
};
