/*
 * CSV and TSV by RFC 4180: quoted fields may hold the separator, line breaks and doubled quotes.
 * A quote inside an unquoted field is an ordinary byte, as in `a 5" disc`. Fields are unquoted in
 * place, in the window, while the record is cut.
 */
#include <string.h>

#include "base/error.h"
#include "data/containers.h"
#include "text/unicode.h"

static dial_status add_field(di_records *rs, size_t offset, size_t size, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (rs->n_field == rs->field_cap) {
        size_t cap = rs->field_cap < 16 ? 16 : 2 * rs->field_cap;
        struct di_field *more = di_resize(rs->al, rs->field, cap * sizeof *more);

        if (more == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu fields", cap);
        rs->field = more;
        rs->field_cap = cap;
    }
    rs->field[rs->n_field++] = (struct di_field){offset, size};
done:
    return st;
}

/* Where the cut stands: bytes read and bytes kept, both counted from the window's begin. */
typedef struct csv_cursor {
    size_t read, kept;
    int64_t lines; /* newlines among the bytes read */
} csv_cursor;

static inline void keep(di_records *rs, csv_cursor *at, int c)
{
    rs->w->data[rs->w->begin + at->kept++] = (char)c;
}

/* The inside of a quoted field; the cursor is behind its opening quote, then behind the closing. */
static dial_status cut_quoted(di_records *rs, csv_cursor *at, dial_error *err)
{
    dial_status st = DIAL_OK;
    int c;

    for (;;) {
        DI_TRY(di_peek(rs, at->read++, &c, err));
        if (c < 0)
            DI_BAD_AT(rs, DI_BAD_CSV_FIELD_COUNT, -1, "close the quote (\"\" is a quote in a text)",
                      "the quote opened in field %zu of this record is never closed",
                      rs->n_field + 1);
        if (at->read > DI_ROW_LIMIT)
            DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "is a quote left open?",
                      "expected a record of at most 64 MiB, found a longer one");
        if (c == '"') {
            DI_TRY(di_peek(rs, at->read, &c, err));
            if (c != '"') break;
            at->read++;
        }
        at->lines += c == '\n';
        keep(rs, at, c);
    }
done:
    return st;
}

/* One field and what ends it: *last 1 if that is the end of the record. */
static dial_status cut_field(di_records *rs, csv_cursor *at, int *last, dial_error *err)
{
    dial_status st = DIAL_OK;
    int separator = rs->format == DI_FORMAT_TSV ? '\t' : ',';
    size_t begin = at->kept, behind;
    int c, quoted;

    DI_TRY(di_peek(rs, at->read, &c, err));
    quoted = c == '"';
    if (quoted) {
        at->read++;
        DI_TRY(cut_quoted(rs, at, err));
    }
    behind = at->kept;
    for (;;) {
        DI_TRY(di_peek(rs, at->read++, &c, err));
        if (c < 0 || c == '\n' || c == separator) break;
        if (at->read > DI_ROW_LIMIT)
            DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "is this a CSV file?",
                      "expected a record of at most 64 MiB, found a longer one");
        keep(rs, at, c);
    }
    if (c != separator && at->kept > behind && rs->w->data[rs->w->begin + at->kept - 1] == '\r')
        at->kept--;
    if (quoted && at->kept > behind && rs->broken_field == SIZE_MAX) rs->broken_field = rs->n_field;
    at->lines += c == '\n';
    if (c < 0) at->read--;
    *last = c != separator;
    DI_TRY(add_field(rs, begin, at->kept - begin, err));
done:
    return st;
}

dial_status di_csv_cut(di_records *rs, int *got, dial_error *err)
{
    dial_status st = DIAL_OK;
    csv_cursor at;
    int last, c;

    *got = 0;
    do {
        at = (csv_cursor){0};
        rs->n_field = 0;
        rs->broken_field = SIZE_MAX;
        rs->line = rs->next_line;
        rs->column = 1;
        DI_TRY(di_peek(rs, 0, &c, err));
        if (c < 0) goto done;
        do DI_TRY(cut_field(rs, &at, &last, err));
        while (!last);
        rs->next_line += at.lines;
        rs->offset = rs->w->begin;
        rs->w->begin += at.read;
        /* a blank line; an empty text is written as "" */
    } while (rs->n_field == 1 && rs->field[0].size == 0 && c != '"');
    *got = 1;
done:
    if (st != DIAL_OK) rs->fault = DI_ROW_FINE; /* where the next record begins is unknown */
    return st;
}

static const char *field_text(const di_records *rs, size_t k)
{
    return rs->w->data + rs->offset + rs->field[k].offset;
}

dial_status di_csv_open(di_records *rs, dial_error *err)
{
    dial_status st = DIAL_OK;
    int got = 0;

    DI_TRY(di_csv_cut(rs, &got, err));
    if (!got) goto done; /* decide() has seen a byte: not reached */
    rs->header = di_new_array(rs->al, rs->n_field, sizeof *rs->header);
    if (rs->header == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a header row");
    for (size_t k = 0; k < rs->n_field; k++) {
        const char *text = field_text(rs, k);
        size_t n = rs->field[k].size;

        if (di_utf8_check(text, n) < n || memchr(text, '\0', n) != NULL)
            DI_BAD_AT(rs, DI_BAD_BAD_UTF8, -1, "save the file as UTF-8",
                      "expected column names in UTF-8; name %zu is not", k + 1);
        rs->header[k] = di_strndup(rs->al, text, n);
        if (rs->header[k] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a header row");
        rs->n_header = k + 1;
        for (size_t j = 0; j < k; j++)
            if (n > 0 && strcmp(rs->header[j], rs->header[k]) == 0)
                DI_BAD(rs, DUPLICATE_KEY, rs->header[k], "rename one of the two columns",
                       "expected every column once; columns %zu and %zu have one name", j + 1,
                       k + 1);
    }
done:
    if (st != DIAL_OK) rs->fault = DI_ROW_FINE;
    return st;
}

dial_status di_csv_parse(di_records *rs, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *v = NULL;

    if (rs->broken_field != SIZE_MAX)
        DI_BAD_AT(rs, DI_BAD_CSV_FIELD_COUNT, -1, "write a quote inside a quoted text twice",
                  "field %zu goes on behind its closing quote", rs->broken_field + 1);
    if (rs->n_field != rs->n_header)
        DI_BAD_AT(rs, DI_BAD_CSV_FIELD_COUNT, -1,
                  "quote texts that hold the separator; pass --format tsv for tabs",
                  "expected %zu fields as in the header row, found %zu", rs->n_header, rs->n_field);
    v = json_object();
    if (v == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    for (size_t k = 0; k < rs->n_field; k++) {
        size_t n = rs->field[k].size, bad = di_utf8_check(field_text(rs, k), n);

        if (bad < n)
            DI_BAD(rs, BAD_UTF8, rs->header[k], "save the file as UTF-8",
                   "expected UTF-8, found the byte 0x%02x at byte %zu of the field",
                   (unsigned)(unsigned char)field_text(rs, k)[bad], bad + 1);
        if (json_object_set_new_nocheck(v, rs->header[k],
                                        json_stringn_nocheck(field_text(rs, k), n)) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    }
    rs->object = v;
    v = NULL;
done:
    json_decref(v);
    return st;
}
