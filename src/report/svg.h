/*
 * Figures as inline SVG, styled by the classes of the page (style.h): no colour stands here, so
 * light and dark follow the reader. Each has a title and a description for those who do not see it;
 * series differ by colour and by dash or shape.
 */
#ifndef DI_REPORT_SVG_H
#define DI_REPORT_SVG_H

#include "base/json.h"

typedef enum di_unit { DI_UNIT_PLAIN, DI_UNIT_PERCENT, DI_UNIT_POINTS } di_unit;

/* A line: lists of numbers of equal length, entries that are null leave a gap. */
typedef struct di_series {
    const char *name;
    const json_t *x, *y;
    const json_t *lo, *hi; /* a band; NULL: none */
    double mark;           /* x of a ring on the line; NAN: none */
    int style;             /* 0, 1, ...: colour and dash */
    int smooth;            /* draws a running mean, the values themselves faint behind it */
} di_series;

typedef struct di_line_chart {
    const char *id; /* unique in the page; part of element ids */
    const char *title, *description, *x_label, *y_label;
    const di_series *series;
    int n;
    double reference; /* a dashed line at this y, NAN: none */
    const char *reference_name;
    di_unit unit;
    int from_zero; /* the y axis includes 0 */
} di_line_chart;

void di_svg_lines(di_buf *out, const di_line_chart *c);

/* Values with intervals, one a row. */
typedef struct di_dot {
    const char *name;
    double value, lo, hi; /* lo, hi NAN: no interval */
    int style;
} di_dot;

typedef struct di_dot_chart {
    const char *id, *title, *description, *x_label;
    const di_dot *dot;
    int n;
    double reference[2]; /* vertical lines; NAN: none */
    const char *reference_name[2];
    di_unit unit;
} di_dot_chart;

void di_svg_dots(di_buf *out, const di_dot_chart *c);

/* Four clouds in a square of side 100: {source,target}_{chosen,rejected}, lists x, y, x, y, ... */
void di_svg_scatter(di_buf *out, const char *id, const char *title, const char *description,
                    const json_t *points, int target_labelled);

#endif
