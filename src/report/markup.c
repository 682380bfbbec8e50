#include "report/markup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void di_puts(di_buf *out, const char *s)
{
    di_buf_append(out, s, strlen(s));
}

typedef const char *(*replace)(int32_t c);

/* Writes s character by character; `with` gives what stands for a character, NULL: itself. */
static void put(di_buf *out, const char *s, replace with)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s;
    utf8proc_ssize_t left;

    if (s == NULL) return;
    for (left = (utf8proc_ssize_t)strlen(s); left > 0;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(p, left, &c);
        const char *other;

        if (n <= 0) {
            n = 1;
            other = "\xEF\xBF\xBD";
        } else if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
            other = " ";
        } else if (c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
                   (c >= 0x2066 && c <= 0x2069)) {
            other = ""; /* line separators, and marks that reverse what follows */
        } else {
            other = with(c);
        }
        if (other != NULL)
            di_puts(out, other);
        else
            di_buf_append(out, p, (size_t)n);
        p += n;
        left -= n;
    }
}

static const char *html(int32_t c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

static const char *markdown(int32_t c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '|': return "\\|";
    case '`': return "\\`";
    case '*': return "\\*";
    case '_': return "\\_";
    case '[': return "\\[";
    case ']': return "\\]";
    case '\\': return "\\\\";
    default: return NULL;
    }
}

static const char *plain(int32_t c)
{
    (void)c;
    return NULL;
}

void di_put_html(di_buf *out, const char *s)
{
    put(out, s, html);
}

void di_put_md(di_buf *out, const char *s)
{
    put(out, s, markdown);
}

void di_put_plain(di_buf *out, const char *s)
{
    put(out, s, plain);
}

#define NOTHING "\xE2\x80\x93" /* en dash */

const char *di_percent(char buf[24], double x)
{
    if (!isfinite(x)) return strcpy(buf, NOTHING);
    snprintf(buf, 24, "%.1f%%", 100 * x);
    return buf;
}

const char *di_points(char buf[24], double x)
{
    if (!isfinite(x)) return strcpy(buf, NOTHING);
    x = round(1000 * x) / 10;
    snprintf(buf, 24, "%+.1f", x == 0 ? 0 : x); /* no "-0.0" */
    return buf;
}

const char *di_decimal(char buf[24], double x, int digits)
{
    if (!isfinite(x)) return strcpy(buf, NOTHING);
    snprintf(buf, 24, "%.*f", digits, x);
    if (strtod(buf, NULL) == 0) snprintf(buf, 24, "%.*f", digits, 0.0);
    return buf;
}

const char *di_p_value(char buf[24], double p)
{
    return p < 0.001 ? strcpy(buf, "<0.001") : di_decimal(buf, p, 3);
}
