/*
 * What happens while a job runs, on stderr: on a terminal one line that is redrawn, elsewhere a
 * plain line every --log-every steps (training) or every ten seconds (all else).
 */
#include "cmd.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const double redraw_seconds = 0.1, plain_seconds = 10;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void cmd_progress_clear(cmd_progress *p)
{
    if (p->drawn) fputs("\r\033[K", stderr);
    p->drawn = 0;
}

static void on_log(void *ctx, dial_log_level level, const char *message)
{
    cmd_progress *p = ctx;

    if (p->quiet || (level == DIAL_LOG_DEBUG && !p->verbose)) return;
    cmd_progress_clear(p);
    if (level == DIAL_LOG_WARN)
        fprintf(stderr, "dial %s: %swarning:%s ", p->verb, p->color ? "\033[33m" : "",
                p->color ? "\033[0m" : "");
    else
        fprintf(stderr, "dial %s: ", p->verb);
    cmd_put_visible(stderr, message);
    fputc('\n', stderr);
}

static void append(char *out, size_t size, const char *fmt, ...) DIAL_PRINTF(3, 4);
static void append(char *out, size_t size, const char *fmt, ...)
{
    size_t n = strlen(out);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(out + n, size - n, fmt, ap);
    va_end(ap);
}

static void append_rate(char *out, size_t size, double rate)
{
    if (rate >= 1e6)
        append(out, size, "  %.1fM tok/s", rate / 1e6);
    else if (rate >= 1e3)
        append(out, size, "  %.1fk tok/s", rate / 1e3);
    else
        append(out, size, "  %.0f tok/s", rate);
}

static void append_eta(char *out, size_t size, double seconds)
{
    long s = lround(fmin(seconds, 1e8));

    if (s >= 3600)
        append(out, size, "  eta %ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        append(out, size, "  eta %02ld:%02ld", s / 60, s % 60);
}

void cmd_progress_text(const dial_progress *p, char *out, size_t size)
{
    const char *what = p->what != NULL ? p->what : "";

    out[0] = '\0';
    append(out, size, "%s %lld", strcmp(what, "train") == 0 ? "step" : what, (long long)p->done);
    if (p->total > 0)
        append(out, size, "/%lld %d%%", (long long)p->total,
               (int)(100.0 * (double)p->done / (double)p->total));
    if (p->loss >= 0) append(out, size, "  loss %.3f", p->loss);
    if (p->accuracy >= 0) append(out, size, "  acc %.2f", p->accuracy);
    if (!isnan(p->w1)) append(out, size, "  w1 %.3f", p->w1);
    if (p->tokens_per_second > 0) append_rate(out, size, p->tokens_per_second);
    if (p->seconds_left >= 0) append_eta(out, size, p->seconds_left);
}

static int terminal_columns(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col - 1 : 79;
}

static void on_progress(void *ctx, const dial_progress *progress)
{
    cmd_progress *p = ctx;
    double t = now();
    int last = progress->total > 0 && progress->done >= progress->total, due;
    int training = progress->what != NULL && strcmp(progress->what, "train") == 0;
    char line[200];

    if (p->quiet) return;
    if (p->terminal)
        due = last || t - p->last_drawn >= redraw_seconds;
    else if (training)
        due = last || p->every <= 1 || progress->done % p->every == 0;
    else if (p->last_drawn > 0)
        due = t - p->last_drawn >= plain_seconds;
    else { /* a job of under ten seconds needs no line */
        due = 0;
        p->last_drawn = t;
    }
    if (!due) return;
    p->last_drawn = t;
    cmd_progress_text(progress, line, sizeof line);
    if (p->terminal)
        fprintf(stderr, "\r%.*s\033[K", terminal_columns(), line);
    else
        fprintf(stderr, "%s\n", line);
    p->drawn = p->terminal;
    fflush(stderr);
}

void cmd_progress_init(cmd_call *call)
{
    cmd_progress *p = &call->progress;

    p->verb = call->verb->name;
    p->terminal = isatty(STDERR_FILENO);
    p->color = cmd_color(call->settings.color);
    p->quiet = call->settings.quiet;
    p->verbose = call->settings.verbose;
    call->env.log = on_log;
    call->env.progress = on_progress;
    call->env.ctx = p;
}
