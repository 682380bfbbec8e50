/* One pass over the bytes of a JSON record, ahead of the parser (records.h). */
#include <string.h>

#include "base/error.h"
#include "base/json_read.h"
#include "data/records.h"
#include "text/unicode.h"

/* i is behind an opening quote; returns the offset of the closing one, or n. *alone: an escape
 * that is half of a surrogate pair, or n. */
static size_t string_end(const char *text, size_t n, size_t i, size_t *alone)
{
    while (i < n && text[i] != '"') {
        int unit, next;

        if (text[i] != '\\') {
            i++;
            continue;
        }
        unit = di_json_code_unit(text, n, i);
        if (unit < 0xd800 || unit > 0xdfff) {
            i += n - i < 2 ? 1 : 2;
            continue;
        }
        next = n - i > 6 ? di_json_code_unit(text, n, i + 6) : -1;
        if (unit < 0xdc00 && next >= 0xdc00 && next <= 0xdfff) {
            i += 12;
            continue;
        }
        *alone = i;
        return n;
    }
    return i;
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static di_span *add_span(di_records *rs)
{
    if (rs->n_span == rs->span_cap) {
        size_t cap = rs->span_cap < 16 ? 16 : 2 * rs->span_cap;
        di_span *more = di_resize(rs->al, rs->span, cap * sizeof *more);

        if (more == NULL) return NULL;
        rs->span = more;
        rs->span_cap = cap;
    }
    return memset(&rs->span[rs->n_span++], 0, sizeof(di_span));
}

/* The value of the last member ends before offset `end`, spaces behind it aside. */
static void close_value(di_records *rs, const char *text, size_t end)
{
    di_span *s = rs->n_span > 0 ? &rs->span[rs->n_span - 1] : NULL;

    if (s == NULL || s->value == 0 || s->value_n != 0) return;
    while (end > s->value && is_space(text[end - 1])) end--;
    s->value_n = (uint32_t)(end - s->value);
}

dial_status di_records_scan(di_records *rs, const char *text, size_t n, di_reason *fault,
                            size_t *offset, dial_error *err)
{
    dial_status st = DIAL_OK;
    int depth = 0, want_key = 0;
    size_t bad = di_utf8_check(text, n), alone = n;

    *fault = bad < n ? DI_BAD_BAD_UTF8 : DI_ROW_FINE;
    *offset = bad;
    rs->n_span = 0;
    if (bad < n) goto done;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        di_span *last = rs->n_span > 0 ? &rs->span[rs->n_span - 1] : NULL;

        /* offset 0 is the record's own bracket, so that 0 can stand for "not seen yet" */
        if (depth == 1 && !want_key && last != NULL && last->value == 0 && c != ':' && !is_space(c))
            last->value = (uint32_t)i;
        if (c == '"') {
            size_t end = string_end(text, n, i + 1, &alone);

            if (alone < n) {
                *fault = DI_BAD_UNPAIRED_SURROGATE;
                *offset = alone;
                goto done;
            }
            if (depth == 1 && want_key) {
                di_span *s = add_span(rs);

                if (s == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the keys of a row");
                s->key = (uint32_t)(i + 1);
                s->key_n = (uint32_t)(end - i - 1);
                want_key = 0;
            }
            i = end;
        } else if (c == '{' || c == '[') {
            if (++depth > DI_JSON_MAX_DEPTH) {
                *fault = DI_BAD_JSON_SYNTAX;
                *offset = i;
                goto done;
            }
            if (depth == 1) want_key = c == '{';
        } else if (c == '}' || c == ']') {
            if (depth == 1) close_value(rs, text, i);
            depth--;
        } else if (c == ',' && depth == 1) {
            close_value(rs, text, i);
            want_key = text[0] == '{';
        }
    }
done:
    return st;
}

const di_span *di_records_find(const di_records *rs, const char *name)
{
    const char *text = rs->w->data + rs->offset;
    size_t n = strlen(name);

    for (size_t i = 0; i < rs->n_span; i++)
        if (rs->span[i].key_n == n && memcmp(text + rs->span[i].key, name, n) == 0)
            return &rs->span[i];
    return NULL;
}

const char *di_records_text(const di_records *rs, const di_span *span)
{
    return rs->w->data + rs->offset + span->value;
}
