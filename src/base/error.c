#include "base/error.h"

#include <stdio.h>
#include <string.h>

const char *dial_status_text(dial_status st)
{
    switch (st) {
#define X(name, value, exit_code, kind, text)                                                      \
    case DIAL_##name: return text;
        DIAL_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

const char *dial_status_kind(dial_status st)
{
    switch (st) {
#define X(name, value, exit_code, kind, text)                                                      \
    case DIAL_##name: return kind;
        DIAL_STATUS_MAP(X)
#undef X
    }
    return "unknown";
}

int dial_status_exit_code(dial_status st)
{
    switch (st) {
#define X(name, value, exit_code, kind, text)                                                      \
    case DIAL_##name: return exit_code;
        DIAL_STATUS_MAP(X)
#undef X
    }
    return 1;
}

/* Formats into buf; a text that does not fit ends in "..." so that the cut is visible. */
static void format_cut(char *buf, size_t n, const char *fmt, va_list ap) DIAL_PRINTF(3, 0);
static void format_cut(char *buf, size_t n, const char *fmt, va_list ap)
{
    int len = vsnprintf(buf, n, fmt, ap);

    if (len >= 0 && (size_t)len >= n) memcpy(buf + n - 4, "...", 4);
}

const char *di_format(char *buf, size_t n, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_cut(buf, n, fmt, ap);
    va_end(ap);
    return buf;
}

dial_status di_error_set(dial_error *err, dial_status code, const char *file, int line,
                         const char *where, const char *hint, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL) return code;
    err->status = code;
    err->file = file;
    err->line = line;
    va_start(ap, fmt);
    format_cut(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    di_format(err->where, sizeof err->where, "%s", where != NULL ? where : "");
    di_format(err->hint, sizeof err->hint, "%s", hint != NULL ? hint : "");
    return code;
}
