/*
 * The two JSON containers, cut without parsing: a line of JSON Lines, an element of an array. In
 * an array the brackets are counted outside of strings; what lies between them is the parser's.
 */
#include <string.h>

#include "base/error.h"
#include "data/containers.h"

dial_status di_peek_slow(di_records *rs, size_t at, int *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_window *w = rs->w;

    while (w->begin + at >= w->end && !w->at_end) DI_TRY(di_input_more(rs->in, err));
    *c = w->begin + at < w->end ? (unsigned char)w->data[w->begin + at] : -1;
done:
    return st;
}

/*
 * The next line as window->data[*offset .. + *size), without its newline; *got 0 at the end. A line
 * over the limit is read past without being kept, and *size says only that it was.
 */
static dial_status take_line(di_records *rs, size_t *offset, size_t *size, int *got,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_window *w = rs->w;
    const char *newline = NULL;
    size_t seen = 0;
    int long_line = 0;

    for (;;) {
        if (w->end > w->begin + seen)
            newline = memchr(w->data + w->begin + seen, '\n', w->end - w->begin - seen);
        if (newline != NULL || w->at_end) break;
        seen = w->end - w->begin;
        if (seen > DI_ROW_LIMIT) {
            long_line = 1;
            w->begin = w->end;
            seen = 0;
        }
        DI_TRY(di_input_more(rs->in, err));
    }
    *got = w->end > w->begin || long_line;
    *offset = w->begin;
    *size = (newline != NULL ? (size_t)(newline - w->data) : w->end) - w->begin;
    w->begin += *size + (newline != NULL);
    if (long_line) *size = (size_t)DI_ROW_LIMIT + 1;
done:
    return st;
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

dial_status di_jsonl_cut(di_records *rs, int *got, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t offset = 0, size = 0;

    do {
        DI_TRY(take_line(rs, &offset, &size, got, err));
        rs->line = rs->next_line++;
        rs->column = 1;
        if (!*got) goto done;
        if (size > DI_ROW_LIMIT)
            DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "is a newline missing between two rows?",
                      "expected a row of at most 64 MiB, found a longer line");
        for (; size > 0 && is_space(rs->w->data[offset]); size--, offset++) rs->column++;
        while (size > 0 && is_space(rs->w->data[offset + size - 1])) size--;
    } while (size == 0);
    rs->offset = offset;
    rs->size = size;
done:
    return st;
}

/* Moves past n bytes of the window, keeping count of lines and columns. */
static void pass(di_records *rs, size_t n)
{
    const char *p = rs->w->data + rs->w->begin;

    for (size_t i = 0; i < n; i++) {
        rs->next_column++;
        if (p[i] == '\n') {
            rs->next_line++;
            rs->next_column = 1;
        }
    }
    rs->w->begin += n;
}

/* Goes to the next byte that is no white space; it becomes the place of the record in hand. */
static dial_status skip_space(di_records *rs, int *c, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (;;) {
        DI_TRY(di_peek(rs, 0, c, err));
        if (*c != ' ' && *c != '\t' && *c != '\r' && *c != '\n') break;
        pass(rs, 1);
    }
    rs->line = rs->next_line;
    rs->column = rs->next_column;
done:
    return st;
}

dial_status di_array_open(di_records *rs, dial_error *err)
{
    dial_status st = DIAL_OK;
    int c = -1;

    DI_TRY(skip_space(rs, &c, err));
    if (c != '[')
        DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "pass --format jsonl",
                  "expected '[', the beginning of a JSON array");
    pass(rs, 1);
done:
    rs->fault = DI_ROW_FINE;
    return st;
}

/* Bytes of the element at the front of the window, which is not empty. */
static dial_status measure(di_records *rs, size_t *size, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t at = 0, depth = 0;
    int c, in_string = 0;

    for (;; at++) {
        DI_TRY(di_peek(rs, at, &c, err));
        if (at > DI_ROW_LIMIT)
            DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "is a bracket or a quote missing?",
                      "expected an element of at most 64 MiB, found a longer one");
        if (c < 0 && (depth > 0 || in_string))
            DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "is the file complete?",
                      "the file ends inside this element");
        if (in_string) {
            if (c == '\n')
                DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "close the string, or write \\n",
                          "a string of this element goes over the end of its line");
            if (c == '\\') at++;
            in_string = c != '"';
            if (!in_string && depth == 0) break;
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) goto done; /* a bare word, ended by the bracket of the array */
            if (--depth == 0) break;
        } else if (depth == 0 &&
                   (c < 0 || c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t')) {
            goto done;
        }
    }
    at++;
done:
    *size = at;
    return st;
}

dial_status di_array_cut(di_records *rs, int *got, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char whole[] = "is the file complete?";
    size_t size = 0;
    int c = -1;

    *got = 0;
    DI_TRY(skip_space(rs, &c, err));
    if (rs->any && c == ',') {
        pass(rs, 1);
        DI_TRY(skip_space(rs, &c, err));
        if (c == ']')
            DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "remove the comma before it",
                      "expected an element, found ']'");
    } else if (c == ']') {
        pass(rs, 1);
        DI_TRY(skip_space(rs, &c, err));
        if (c >= 0)
            DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "remove what follows, or pass --format jsonl",
                      "expected the end of the file behind the array");
        rs->any = -1;
        goto done;
    } else if (rs->any < 0) {
        goto done; /* the array is closed */
    } else if (rs->any && c >= 0) {
        DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, "is a comma missing?",
                  "expected ',' or ']' behind an element");
    }
    if (c < 0)
        DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, -1, whole, "the file ends before the array is closed");
    DI_TRY(measure(rs, &size, err));
    rs->any = 1;
    pass(rs, size);
    rs->offset = rs->w->begin - size;
    rs->size = size;
    *got = 1;
done:
    if (st != DIAL_OK) rs->fault = DI_ROW_FINE; /* where the next element begins is unknown */
    return st;
}
