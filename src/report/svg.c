#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/collect.h"
#include "report/markup.h"

/* ---- scales ---- */

typedef struct axis {
    double lo, hi;   /* data */
    double from, to; /* pixels */
    double tick;
} axis;

static double place(const axis *a, double v)
{
    return a->from + (v - a->lo) / (a->hi - a->lo) * (a->to - a->from);
}

/* Rounds the range outwards to about `wanted` ticks of 1, 2 or 5 times a power of ten. */
static void nice(axis *a, int wanted, int keep_ends)
{
    double span, step, power;

    if (!(a->hi > a->lo)) {
        double pad = a->lo == 0 ? 1 : fabs(a->lo) * 0.1;

        a->lo -= pad;
        a->hi += pad;
    }
    span = (a->hi - a->lo) / wanted;
    power = pow(10, floor(log10(span)));
    step = span / power < 1.5 ? 1 : span / power < 3.5 ? 2 : span / power < 7.5 ? 5 : 10;
    a->tick = step * power;
    if (keep_ends) { /* only the last bit to the next tick */
        double end = ceil(a->hi / a->tick - 1e-9) * a->tick;

        if (end - a->hi < 0.03 * (a->hi - a->lo)) a->hi = end;
        return;
    }
    a->lo = floor(a->lo / a->tick + 1e-9) * a->tick;
    a->hi = ceil(a->hi / a->tick - 1e-9) * a->tick;
}

static void widen(axis *a, double v)
{
    if (!isfinite(v)) return;
    a->lo = fmin(a->lo, v);
    a->hi = fmax(a->hi, v);
}

static void put_tick(di_buf *out, double v, double tick, di_unit unit)
{
    double scale = unit == DI_UNIT_PLAIN ? 1 : 100, size = tick * scale;
    int digits = size >= 1 ? 0 : (int)ceil(-log10(size) - 1e-9);

    v *= scale;
    if (fabs(v) < size * 1e-6) v = 0;
    if (unit == DI_UNIT_PLAIN && fabs(v) >= 10000)
        di_buf_printf(out, "%.4gk", v / 1000);
    else
        di_buf_printf(out, unit == DI_UNIT_POINTS && v != 0 ? "%+.*f" : "%.*f", digits, v);
    if (unit == DI_UNIT_PERCENT) di_puts(out, "%");
}

/* ---- frame ---- */

static void begin(di_buf *out, const char *kind, const char *id, const char *title,
                  const char *description, double width, double height)
{
    di_buf_printf(
        out, "<svg class=\"%s\" viewBox=\"0 0 %g %g\" role=\"img\" aria-labelledby=\"%s-t %s-d\">",
        kind, width, height, id, id);
    di_buf_printf(out, "<title id=\"%s-t\">", id);
    di_put_html(out, title);
    di_buf_printf(out, "</title><desc id=\"%s-d\">", id);
    di_put_html(out, description);
    di_puts(out, "</desc>\n");
}

static void text(di_buf *out, const char *style, double x, double y, const char *anchor,
                 const char *s)
{
    di_buf_printf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", style, x, y,
                  anchor);
    di_put_html(out, s);
    di_puts(out, "</text>");
}

static void grid_y(di_buf *out, const axis *y, double left, double right, di_unit unit)
{
    for (double v = ceil(y->lo / y->tick - 1e-9) * y->tick; v <= y->hi + y->tick * 1e-6;
         v += y->tick) {
        double p = place(y, v);

        di_buf_printf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      left, right, p, p);
        di_buf_printf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">",
                      left - 7, p + 4);
        put_tick(out, v, y->tick, unit);
        di_puts(out, "</text>\n");
    }
}

static void ticks_x(di_buf *out, const axis *x, double top, double bottom, di_unit unit, int grid)
{
    for (double v = ceil(x->lo / x->tick - 1e-9) * x->tick; v <= x->hi + x->tick * 1e-6;
         v += x->tick) {
        double p = place(x, v);

        di_buf_printf(out, "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      grid ? "grid" : "axis", p, p, grid ? top : bottom,
                      grid ? bottom : bottom + 4);
        di_buf_printf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", p,
                      bottom + 18);
        put_tick(out, v, x->tick, unit);
        di_puts(out, "</text>\n");
    }
}

static double number(const json_t *list, size_t i)
{
    const json_t *v = json_array_get(list, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* ---- lines ---- */

static void band(di_buf *out, const di_series *s, const axis *x, const axis *y)
{
    size_t n = json_array_size(s->x);

    di_buf_printf(out, "<path class=\"band s%d\" d=\"", s->style % 6);
    for (size_t i = 0; i < 2 * n; i++) {
        size_t k = i < n ? i : 2 * n - 1 - i;

        di_buf_printf(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', place(x, number(s->x, k)),
                      place(y, number(i < n ? s->hi : s->lo, k)));
    }
    di_puts(out, "Z\"/>");
}

/* Value k, or the mean of up to WINDOW values on both sides of it. */
static double value_at(const di_series *s, size_t k, int smooth)
{
    enum { WINDOW = 6 };
    size_t n = json_array_size(s->y), from = k < WINDOW ? 0 : k - WINDOW;
    double sum = 0, count = 0;

    if (!smooth || !isfinite(number(s->y, k))) return number(s->y, k);
    for (size_t i = from; i < n && i <= k + WINDOW; i++) {
        if (!isfinite(number(s->y, i))) continue;
        sum += number(s->y, i);
        count++;
    }
    return sum / count;
}

/* Returns y at the point next to s->mark. */
static double trace(di_buf *out, const di_series *s, const axis *x, const axis *y,
                    const char *style, int smooth)
{
    size_t n = json_array_size(s->x);
    double mark_y = NAN, nearest = INFINITY;
    int pen = 0;

    di_buf_printf(out, "<path class=\"%s s%d\" d=\"", style, s->style % 6);
    for (size_t i = 0; i < n; i++) {
        double vx = number(s->x, i), vy = value_at(s, i, smooth);

        if (!isfinite(vx) || !isfinite(vy)) {
            pen = 0;
            continue;
        }
        di_buf_printf(out, "%c%.1f %.1f", pen ? 'L' : 'M', place(x, vx), place(y, vy));
        pen = 1;
        if (fabs(vx - s->mark) < nearest) {
            nearest = fabs(vx - s->mark);
            mark_y = vy;
        }
    }
    di_puts(out, "\"><title>");
    di_put_html(out, s->name);
    di_puts(out, "</title></path>");
    return mark_y;
}

static void line(di_buf *out, const di_series *s, const axis *x, const axis *y)
{
    int smooth = s->smooth && json_array_size(s->x) >= 40;
    double mark_y;

    if (s->lo != NULL && s->hi != NULL && json_array_size(s->x) > 1) band(out, s, x, y);
    if (smooth) trace(out, s, x, y, "raw", 0);
    mark_y = trace(out, s, x, y, "line", smooth);
    if (isfinite(s->mark) && isfinite(mark_y))
        di_buf_printf(out,
                      "<circle class=\"ring s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"6\"><title>chosen "
                      "step %.0f</title></circle>",
                      s->style % 6, place(x, s->mark), place(y, mark_y), s->mark);
    di_puts(out, "\n");
}

/* Names over the plot, wrapped; returns the height used. Characters are taken as 7 wide. */
static double legend(di_buf *out, const di_line_chart *c, double left, double right)
{
    double x = left, y = 14;

    for (int i = 0; i < c->n; i++) {
        double width = 40 + 7.0 * (double)strlen(c->series[i].name);

        if (i > 0 && x + width > right) {
            x = left;
            y += 20;
        }
        di_buf_printf(out, "<path class=\"line s%d\" d=\"M%.1f %.1fh24\"/>", c->series[i].style % 6,
                      x, y - 4);
        text(out, "key", x + 30, y, "start", c->series[i].name);
        x += width;
    }
    return c->n > 0 ? y + 12 : 8;
}

void di_svg_lines(di_buf *out, const di_line_chart *c)
{
    const double width = 560, left = 58, right = 544;
    axis x = {.lo = INFINITY, .hi = -INFINITY, .from = left, .to = right};
    axis y = {.lo = INFINITY, .hi = -INFINITY};
    double height = 300 + 20 * floor(c->n / 4.0), top;

    for (int i = 0; i < c->n; i++)
        for (size_t k = 0; k < json_array_size(c->series[i].x); k++) {
            if (!isfinite(number(c->series[i].y, k))) continue;
            widen(&x, number(c->series[i].x, k));
            widen(&y, number(c->series[i].y, k));
            if (c->series[i].lo != NULL) widen(&y, number(c->series[i].lo, k));
            if (c->series[i].hi != NULL) widen(&y, number(c->series[i].hi, k));
        }
    if (!isfinite(x.lo)) return;
    widen(&y, c->reference);
    if (c->from_zero) widen(&y, 0);
    x.lo = fmin(x.lo, 0);
    nice(&x, 6, 1);
    nice(&y, 5, 0);
    begin(out, "chart", c->id, c->title, c->description, width, height);
    top = legend(out, c, left, right);
    y.from = height - 46;
    y.to = top + 6;
    grid_y(out, &y, left, right, c->unit);
    ticks_x(out, &x, y.to, y.from, DI_UNIT_PLAIN, 0);
    di_buf_printf(out, "<line class=\"axis\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>", left,
                  right, y.from, y.from);
    if (isfinite(c->reference)) {
        double p = place(&y, c->reference);

        di_buf_printf(out,
                      "<line class=\"reference\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      left, right, p, p);
        text(out, "note", right - 2, p - 5, "end", c->reference_name);
    }
    for (int i = 0; i < c->n; i++) line(out, &c->series[i], &x, &y);
    text(out, "label", (left + right) / 2, height - 6, "middle", c->x_label);
    di_buf_printf(out,
                  "<text class=\"label\" transform=\"translate(13 %.1f) rotate(-90)\" "
                  "text-anchor=\"middle\">",
                  (y.from + y.to) / 2);
    di_put_html(out, c->y_label);
    di_puts(out, "</text></svg>\n");
}

/* ---- dots with intervals ---- */

static void dot(di_buf *out, const di_dot *d, const axis *x, double y, di_unit unit)
{
    text(out, "row", x->from - 14, y + 4, "end", d->name);
    if (isfinite(d->lo) && isfinite(d->hi))
        di_buf_printf(
            out, "<path class=\"whisker s%d\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv10M%.1f %.1fv10\"/>",
            d->style % 6, place(x, d->lo), y, place(x, d->hi), place(x, d->lo), y - 5,
            place(x, d->hi), y - 5);
    di_buf_printf(out, "<circle class=\"dot s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"5.5\"><title>",
                  d->style % 6, place(x, d->value), y);
    di_put_html(out, d->name);
    di_buf_printf(out, ": %s</title></circle>",
                  unit == DI_UNIT_POINTS    ? DI_POINTS(d->value)
                  : unit == DI_UNIT_PERCENT ? DI_PERCENT(d->value)
                                            : DI_DECIMAL(d->value, 3));
    di_buf_printf(out,
                  "<text class=\"value\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"start\">%s</text>\n",
                  x->to + 14, y + 4,
                  unit == DI_UNIT_POINTS    ? DI_POINTS(d->value)
                  : unit == DI_UNIT_PERCENT ? DI_PERCENT(d->value)
                                            : DI_DECIMAL(d->value, 3));
}

void di_svg_dots(di_buf *out, const di_dot_chart *c)
{
    const double width = 760, row = 34, top = 28;
    double names = 0, height = top + row * c->n + 52, bottom = top + row * c->n;
    axis x = {.lo = INFINITY, .hi = -INFINITY, .to = width - 76};

    for (int i = 0; i < c->n; i++) {
        widen(&x, c->dot[i].value);
        widen(&x, c->dot[i].lo);
        widen(&x, c->dot[i].hi);
        names = fmax(names, 7.2 * (double)strlen(c->dot[i].name));
    }
    if (!isfinite(x.lo)) return;
    for (int k = 0; k < 2; k++) widen(&x, c->reference[k]);
    x.from = fmin(fmax(names, 90), 300) + 24;
    nice(&x, 6, 0);
    begin(out, "chart wide", c->id, c->title, c->description, width, height);
    ticks_x(out, &x, top - 6, bottom, c->unit, 1);
    for (int k = 0; k < 2; k++) {
        double p = place(&x, c->reference[k]);

        if (!isfinite(p)) continue;
        di_buf_printf(out,
                      "<line class=\"reference\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      p, p, top - 6, bottom);
        text(out, "note", p, top - 12, "middle", c->reference_name[k]);
    }
    for (int i = 0; i < c->n; i++) dot(out, &c->dot[i], &x, top + row * (i + 0.5), c->unit);
    text(out, "label", (x.from + x.to) / 2, height - 8, "middle", c->x_label);
    di_puts(out, "</svg>\n");
}

/* ---- clouds ---- */

/* One path a class: rounded zero-length strokes are discs, short diagonals crosses. */
static void cloud(di_buf *out, const json_t *list, const char *style, const char *name, int cross)
{
    size_t n = json_array_size(list) / 2;

    di_buf_printf(out, "<path class=\"%s\" d=\"", style);
    for (size_t i = 0; i < n; i++) {
        double x = 8 + 3.44 * number(list, 2 * i), y = 352 - 3.44 * number(list, 2 * i + 1);

        if (cross)
            di_buf_printf(out, "M%.1f %.1fl5 5m0-5l-5 5", x - 2.5, y - 2.5);
        else
            di_buf_printf(out, "M%.1f %.1fh0", x, y);
    }
    di_puts(out, "\"><title>");
    di_puts(out, name);
    di_puts(out, "</title></path>\n");
}

void di_svg_scatter(di_buf *out, const char *id, const char *title, const char *description,
                    const json_t *points, int target_labelled)
{
    begin(out, "chart map", id, title, description, 360, 360);
    di_puts(out,
            "<rect class=\"frame\" x=\"0.5\" y=\"0.5\" width=\"359\" height=\"359\" rx=\"8\"/>");
    cloud(out, di_at(points, "source_rejected"), "cross source", "source, rejected", 1);
    cloud(out, di_at(points, "target_rejected"), target_labelled ? "cross target" : "disc target",
          target_labelled ? "other set, rejected" : "other set", target_labelled);
    cloud(out, di_at(points, "source_chosen"), "disc source", "source, chosen", 0);
    cloud(out, di_at(points, "target_chosen"), "disc target",
          target_labelled ? "other set, chosen" : "other set", 0);
    di_puts(out, "</svg>\n");
}
