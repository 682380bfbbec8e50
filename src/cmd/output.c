/*
 * stdout carries results, stderr everything else. A result that cannot be written is a failure:
 * a full disk or a closed pipe must not look like success.
 */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

dial_status cmd_fail(dial_error *err, dial_status status, const char *where, const char *hint,
                     const char *fmt, ...)
{
    va_list ap;

    memset(err, 0, sizeof *err);
    err->status = status;
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    if (where != NULL) snprintf(err->where, sizeof err->where, "%s", where);
    if (hint != NULL) snprintf(err->hint, sizeof err->hint, "%s", hint);
    return status;
}

/*
 * A program started with descriptor 1 closed would give that number to the next file it opens, and
 * results would land in it. The place is taken by /dev/null opened the wrong way round, so that
 * reading stdin or writing stdout fails as it should.
 */
void cmd_streams_open(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
            if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) == -1) _exit(1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(), as a full disk is */
}

int cmd_text_on_stdout(const cmd_settings *s)
{
    return s->text || (!s->json && isatty(STDOUT_FILENO));
}

static dial_status stdout_failed(dial_error *err)
{
    return cmd_fail(err, DIAL_ERR_IO, "standard output", "check the disk or the reading program",
                    "cannot write the result: %s", strerror(errno));
}

dial_status cmd_stdout_write(const char *text, size_t n, dial_error *err)
{
    return fwrite(text, 1, n, stdout) == n ? DIAL_OK : stdout_failed(err);
}

dial_status cmd_stdout_flush(dial_error *err)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? DIAL_OK : stdout_failed(err);
}

static dial_status write_line(const char *text, dial_error *err)
{
    size_t n = strlen(text);
    dial_status st = cmd_stdout_write(text, n, err);

    if (st == DIAL_OK && (n == 0 || text[n - 1] != '\n')) st = cmd_stdout_write("\n", 1, err);
    return st == DIAL_OK ? cmd_stdout_flush(err) : st;
}

dial_status cmd_print_document(cmd_call *call, const char *json, dial_error *err)
{
    int on_stdout = cmd_text_on_stdout(&call->settings);
    dial_status st = DIAL_OK;
    char *text = NULL;

    cmd_progress_clear(&call->progress);
    if (!on_stdout) st = write_line(json, err);
    if (st == DIAL_OK && !call->settings.json && (on_stdout || !call->settings.quiet)) {
        st = dial_document_text(&call->env, json, &text, err);
        if (st == DIAL_OK && on_stdout) st = write_line(text, err);
        if (st == DIAL_OK && !on_stdout) fputs(text, stderr);
    }
    dial_free(&call->env, text);
    return st;
}

int cmd_color(const char *mode)
{
    const char *no = getenv("NO_COLOR");

    if (mode != NULL && strcmp(mode, "always") == 0) return 1;
    if (mode != NULL && strcmp(mode, "never") == 0) return 0;
    return isatty(STDERR_FILENO) && (no == NULL || no[0] == '\0');
}

/* A message may quote bytes of a file; JSON takes UTF-8 only. */
static json_t *string_or_null(const char *text)
{
    char plain[sizeof(dial_error)];
    json_t *s;
    size_t n = strlen(text);

    if (n == 0) return json_null();
    if ((s = json_string(text)) != NULL) return s;
    for (size_t i = 0; i <= n; i++) plain[i] = text[i];
    for (size_t i = 0; i < n; i++)
        if ((plain[i] & 0x80) != 0) plain[i] = '?';
    return json_string(plain);
}

void cmd_put_visible(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
}

/* "dial VERB: error: what (where): why; try: next step" */
static void print_error_line(const cmd_call *call, const dial_error *err)
{
    int color = cmd_color(call->settings.color);

    fprintf(stderr, "dial%s%s: %serror:%s %s", call->verb != NULL ? " " : "",
            call->verb != NULL ? call->verb->name : "", color ? "\033[31m" : "",
            color ? "\033[0m" : "", dial_status_text(err->status));
    if (err->where[0] != '\0') {
        fputs(" (", stderr);
        cmd_put_visible(stderr, err->where);
        fputs(")", stderr);
    }
    fputs(": ", stderr);
    cmd_put_visible(stderr, err->message);
    if (err->hint[0] != '\0') {
        fputs("; try: ", stderr);
        cmd_put_visible(stderr, err->hint);
    }
    fputc('\n', stderr);
}

void cmd_print_error(const cmd_call *call, const dial_error *err, int exit_code,
                     int document_printed)
{
    json_t *doc;

    print_error_line(call, err);
    if (!call->settings.json || document_printed) return;
    doc = json_pack("{s:s, s:i, s:s, s:o, s:o, s:o}", "schema", "dial.error/1", "code", exit_code,
                    "kind", dial_status_kind(err->status), "message", string_or_null(err->message),
                    "where", string_or_null(err->where), "hint", string_or_null(err->hint));
    if (doc != NULL) {
        json_dumpf(doc, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        fflush(stdout);
    }
    json_decref(doc);
}
