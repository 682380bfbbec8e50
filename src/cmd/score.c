/* Lines go to stdout or --out, the summary to --summary or stderr. */
#include "cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const required[] = {"model", NULL};

/*
 * A file that appears whole or not at all: written beside its place and renamed. What is no
 * regular file (a pipe, /dev/null) is written where it is.
 */
typedef struct output_file {
    FILE *f;
    char path[4096], tmp[4128]; /* tmp "": written in place */
} output_file;

static dial_status output_failed(const char *path, dial_error *err)
{
    return cmd_fail(err, DIAL_ERR_IO, path, "check the folder and the disk", "cannot write: %s",
                    strerror(errno));
}

static dial_status output_open(const char *path, output_file *out, dial_error *err)
{
    char resolved[4096]; /* at least PATH_MAX, which realpath asks for */
    struct stat s;
    int there = stat(path, &s) == 0;

    memset(out, 0, sizeof *out);
    if (there && realpath(path, resolved) != NULL) path = resolved; /* keep a link a link */
    if (strlen(path) >= sizeof out->path)
        return cmd_fail(err, DIAL_ERR_USAGE, path, "a shorter path", "the path is too long");
    snprintf(out->path, sizeof out->path, "%s", path);
    if (!there || S_ISREG(s.st_mode))
        snprintf(out->tmp, sizeof out->tmp, "%s.tmp-%ld", out->path, (long)getpid());
    out->f = fopen(out->tmp[0] != '\0' ? out->tmp : out->path, "wb");
    return out->f != NULL ? DIAL_OK : output_failed(out->path, err);
}

/* Keeps the file if st is DIAL_OK and all could be written; removes it otherwise. */
static dial_status output_close(output_file *out, dial_status st, dial_error *err)
{
    int failed;

    if (out->f == NULL) return st;
    failed = fflush(out->f) != 0 || ferror(out->f);
    if (!failed && st == DIAL_OK && out->tmp[0] != '\0') failed = fsync(fileno(out->f)) != 0;
    if (failed && st == DIAL_OK) st = output_failed(out->path, err);
    fclose(out->f);
    if (out->tmp[0] != '\0') {
        if (st == DIAL_OK && rename(out->tmp, out->path) != 0) st = output_failed(out->path, err);
        if (st != DIAL_OK) unlink(out->tmp);
    }
    out->f = NULL;
    return st;
}

static dial_status write_file(const char *path, const char *text, dial_error *err)
{
    output_file out;
    dial_status st = output_open(path, &out, err);

    if (st != DIAL_OK) return st;
    fprintf(out.f, "%s\n", text);
    return output_close(&out, DIAL_OK, err);
}

typedef struct lines {
    cmd_call *call;
    FILE *f;
    int failed; /* errno of the write that failed */
} lines;

static int write_line(void *ctx, const char *line, size_t n)
{
    lines *l = ctx;

    if (l->f == stdout) cmd_progress_clear(&l->call->progress);
    if (fwrite(line, 1, n, l->f) == n) return 0;
    l->failed = errno;
    return -1;
}

/* The summary of the lines: where asked, else on stderr in the form that stdout would have. */
static dial_status put_summary(cmd_call *call, const char *json, dial_error *err)
{
    const char *path = call->options.score.summary;
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

static dial_status run(cmd_call *call, char **json, dial_error *err)
{
    const dial_score_options *o = &call->options.score;
    int to_file = o->out != NULL && strcmp(o->out, "-") != 0;
    output_file out = {.f = NULL};
    lines l = {call, stdout, 0};
    dial_status st;

    if ((o->data != NULL) == (o->response != NULL))
        return cmd_fail(err, DIAL_ERR_USAGE, "--data, --response", "dial score --help",
                        "expected one of them");
    if (to_file) {
        if ((st = output_open(o->out, &out, err)) != DIAL_OK) return st;
        l.f = out.f;
    }
    st = dial_score(o, write_line, &l, &call->env, json, err);
    cmd_progress_clear(&call->progress);
    if (l.failed != 0) {
        errno = l.failed;
        st = output_failed(to_file ? o->out : "standard output", err);
    }
    if (to_file)
        st = output_close(&out, st, err);
    else if (st == DIAL_OK)
        st = cmd_stdout_flush(err);
    else
        fflush(stdout); /* lines before the one that failed are good */
    return st == DIAL_OK && *json != NULL ? put_summary(call, *json, err) : st;
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
    .run = run,
};
