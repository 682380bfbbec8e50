/* Text of unknown origin (names, labels, messages) on its way into HTML, Markdown, terminals. */
#ifndef DI_REPORT_MARKUP_H
#define DI_REPORT_MARKUP_H

#include "base/buf.h"

/* s may be NULL (nothing is written). Bytes that are no UTF-8 become U+FFFD, control characters a
 * space, so that no string of a run can leave its place. */
void di_put_html(di_buf *out, const char *s);  /* content and quoted attributes of HTML and SVG */
void di_put_md(di_buf *out, const char *s);    /* one line of Markdown, in tables too */
void di_put_plain(di_buf *out, const char *s); /* one line of a terminal */

void di_puts(di_buf *out, const char *s); /* as it is */

/* "70.2%", "+4.0 points", "0.702"; "–" for what is not finite. */
const char *di_percent(char buf[24], double x);
const char *di_points(char buf[24], double x);
const char *di_decimal(char buf[24], double x, int digits);
const char *di_p_value(char buf[24], double p); /* "0.042", "<0.001" */

#define DI_PERCENT(x) di_percent((char[24]){0}, (x))
#define DI_POINTS(x) di_points((char[24]){0}, (x))
#define DI_P_VALUE(p) di_p_value((char[24]){0}, (p))
#define DI_DECIMAL(x, digits) di_decimal((char[24]){0}, (x), (digits))

#endif
