/*
 * The part of TOML 1.0 that flags need: tables, dotted and quoted keys, one-line strings, numbers,
 * booleans and arrays. Dates, inline tables, arrays of tables and multi-line strings are refused.
 */
#include "config.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* A cursor over text that ends in a 0 byte; `at` never passes it. */
typedef struct toml {
    const char *name;
    char *at, *end;
    int line;
    char table[CONFIG_MAX_KEY]; /* of the last [table], joined; "" before the first */
    config_entry_fn entry;
    void *ctx;
    dial_error *err;
} toml;

static dial_status bad(toml *t, const char *what)
{
    char where[320];

    snprintf(where, sizeof where, "%.280s:%d", t->name, t->line);
    return cmd_fail(t->err, DIAL_ERR_USAGE, where, "correct the TOML there", "%s", what);
}

static void skip_blanks(toml *t)
{
    while (*t->at == ' ' || *t->at == '\t') t->at++;
}

static void skip_comment(toml *t)
{
    if (*t->at == '#')
        while (t->at < t->end && *t->at != '\n') t->at++;
}

/* Blanks, comments and line ends. */
static void skip_space(toml *t)
{
    for (;;) {
        skip_blanks(t);
        skip_comment(t);
        if (*t->at == '\r' && t->at[1] == '\n') t->at++;
        if (*t->at != '\n') return;
        t->line++;
        t->at++;
    }
}

/* After a value or a table header nothing but a comment may stand on the line. */
static dial_status end_of_line(toml *t)
{
    skip_blanks(t);
    skip_comment(t);
    if (*t->at == '\r' && t->at[1] == '\n') t->at++;
    if (*t->at == '\n' || t->at == t->end) return DIAL_OK;
    return bad(t, "expected the end of the line");
}

/* UTF-8 of a code point, at most 4 bytes; 0: not a scalar value. */
static size_t put_utf8(char *out, unsigned long c)
{
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        return out[1] = (char)(0x80 | (c & 63)), 2;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        return out[2] = (char)(0x80 | (c & 63)), 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    return out[3] = (char)(0x80 | (c & 63)), 4;
}

/* The escape after a backslash at t->at; written to *to, which lies before t->at. */
static dial_status escape(toml *t, char **to)
{
    static const char letters[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
    char c = *t->at;
    const char *known = c != '\0' ? strchr(letters, c) : NULL;
    int digits = c == 'u' ? 4 : c == 'U' ? 8 : 0;
    unsigned long code = 0;
    size_t n;

    t->at += c != '\0'; /* the text may end in a backslash */
    if (known != NULL) {
        *(*to)++ = values[known - letters];
        return DIAL_OK;
    }
    if (digits == 0) return bad(t, "unknown escape in a string");
    for (int i = 0; i < digits; i++, t->at++) {
        const char *hex = "0123456789abcdef";
        const char *digit = *t->at != '\0' ? strchr(hex, tolower((unsigned char)*t->at)) : NULL;

        if (digit == NULL) return bad(t, "expected hex digits after \\u");
        code = code << 4 | (unsigned long)(digit - hex);
    }
    n = put_utf8(*to, code);
    if (n == 0 || code == 0) return bad(t, "no character has this number");
    *to += n;
    return DIAL_OK;
}

/* "basic" or 'literal' at t->at. Decoded in place: no escape is shorter than what it stands for. */
static dial_status string(toml *t, char **text, size_t *n)
{
    char quote = *t->at++, *to = t->at;

    *text = to;
    while (*t->at != quote) {
        if (t->at == t->end || *t->at == '\n') return bad(t, "a string has no end");
        if ((unsigned char)*t->at < 0x20 && *t->at != '\t')
            return bad(t, "a control character in a string");
        if (quote == '"' && *t->at == '\\') {
            dial_status st;

            t->at++;
            if ((st = escape(t, &to)) != DIAL_OK) return st;
        } else
            *to++ = *t->at++;
    }
    t->at++;
    *n = (size_t)(to - *text);
    if (*n == 0 && *t->at == quote) return bad(t, "multi-line strings are not read");
    return DIAL_OK;
}

/* a.b."c" at t->at, appended to key (size CONFIG_MAX_KEY) with '-' between the parts. */
static dial_status dotted_key(toml *t, char *key)
{
    for (;;) {
        char *part = t->at;
        size_t n = 0, used = strlen(key);
        dial_status st;

        if (*t->at == '"' || *t->at == '\'') {
            if ((st = string(t, &part, &n)) != DIAL_OK) return st;
        } else
            for (; isalnum((unsigned char)*t->at) || *t->at == '_' || *t->at == '-'; n++) t->at++;
        if (n == 0) return bad(t, "expected a key");
        if (used + n + 2 > CONFIG_MAX_KEY) return bad(t, "no flag has so long a name");
        snprintf(key + used, CONFIG_MAX_KEY - used, "%s%.*s", used > 0 ? "-" : "", (int)n, part);
        skip_blanks(t);
        if (*t->at != '.') return DIAL_OK;
        t->at++;
        skip_blanks(t);
    }
}

/* A number is handed on as JSON: whole numbers stay whole. */
static dial_status number(toml *t, json_t **out)
{
    char text[64], *end;
    size_t n = 0;
    const char *start = t->at;
    long long whole;
    double x;

    for (; *t->at != '\0' && strchr("0123456789+-.eE_xobn", *t->at) != NULL; t->at++) {
        if (*t->at == '_') {
            if (t->at == start || !isdigit((unsigned char)t->at[-1]) ||
                !isdigit((unsigned char)t->at[1]))
                return bad(t, "'_' in a number stands between digits");
            continue;
        }
        if (n + 1 == sizeof text) return bad(t, "a number of too many digits");
        text[n++] = *t->at;
    }
    text[n] = '\0';
    if (n == 0) return bad(t, "expected a string in quotes, a number, true, false or an array");
    whole = strtoll(text, &end, 10);
    if (*end == '\0' && whole > LLONG_MIN && whole < LLONG_MAX) {
        *out = json_integer((json_int_t)whole);
    } else {
        x = strtod(text, &end);
        if (*end != '\0' || !isfinite(x) || strpbrk(text, "xX") != NULL)
            return bad(t, "expected a decimal number (dates and other forms are not read)");
        *out = json_real(x);
    }
    return *out != NULL ? DIAL_OK : bad(t, "no memory");
}

static int take_word(toml *t, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(t->at, word, n) != 0 || isalnum((unsigned char)t->at[n])) return 0;
    t->at += n;
    return 1;
}

static dial_status scalar(toml *t, json_t **out)
{
    dial_status st;
    char *text = NULL;
    size_t n = 0;

    if (take_word(t, "true")) return *out = json_true(), DIAL_OK;
    if (take_word(t, "false")) return *out = json_false(), DIAL_OK;
    if (*t->at == '{') return bad(t, "inline tables are not read; write [table]");
    if (*t->at != '"' && *t->at != '\'') return number(t, out);
    if ((st = string(t, &text, &n)) != DIAL_OK) return st;
    *out = json_stringn(text, n);
    return *out != NULL ? DIAL_OK : bad(t, "a string is not valid UTF-8");
}

/* [a, b,] at t->at; over several lines, with comments. */
static dial_status array(toml *t, json_t **out)
{
    json_t *all = json_array(), *one = NULL;
    dial_status st = all != NULL ? DIAL_OK : bad(t, "no memory");

    t->at++;
    for (skip_space(t); st == DIAL_OK && *t->at != ']'; skip_space(t)) {
        if (t->at == t->end)
            st = bad(t, "an array has no end");
        else if (*t->at == '[')
            st = bad(t, "arrays in arrays are not read");
        else
            st = scalar(t, &one);
        if (st != DIAL_OK) break;
        if (json_array_append_new(all, one) != 0) {
            st = bad(t, "no memory");
            break;
        }
        skip_space(t);
        if (*t->at == ',')
            t->at++;
        else if (*t->at != ']')
            st = bad(t, "expected ',' or ']' in an array");
    }
    if (st != DIAL_OK) {
        json_decref(all);
        return st;
    }
    t->at++;
    *out = all;
    return DIAL_OK;
}

static dial_status key_value(toml *t)
{
    char key[CONFIG_MAX_KEY];
    json_t *value = NULL;
    int line = t->line;
    dial_status st;

    memcpy(key, t->table, sizeof key);
    if ((st = dotted_key(t, key)) != DIAL_OK) return st;
    if (*t->at != '=') return bad(t, "expected '=' after the key");
    t->at++;
    skip_blanks(t);
    st = *t->at == '[' ? array(t, &value) : scalar(t, &value);
    if (st == DIAL_OK) st = end_of_line(t);
    if (st == DIAL_OK) st = t->entry(t->ctx, key, value, line, t->err);
    json_decref(value);
    return st;
}

static dial_status table_header(toml *t)
{
    dial_status st;

    t->at++;
    if (*t->at == '[') return bad(t, "arrays of tables are not read");
    skip_blanks(t);
    t->table[0] = '\0';
    if ((st = dotted_key(t, t->table)) != DIAL_OK) return st;
    if (*t->at != ']') return bad(t, "expected ']' after the name of the table");
    t->at++;
    return end_of_line(t);
}

dial_status config_parse_toml(const char *name, char *text, size_t n, config_entry_fn entry,
                              void *ctx, dial_error *err)
{
    toml t = {name, text, text + n, 1, "", entry, ctx, err};
    dial_status st = DIAL_OK;

    if (memchr(text, '\0', n) != NULL) return bad(&t, "a 0 byte");
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) t.at += 3;
    for (skip_space(&t); st == DIAL_OK && t.at < t.end; skip_space(&t))
        st = *t.at == '[' ? table_header(&t) : key_value(&t);
    return st;
}
