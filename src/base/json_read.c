/*
 * Recursive descent over the bytes (json_read.h). Keys and strings with escapes are built on one
 * buffer that is used as a stack: a key stays there while the value behind it is read. Depth is
 * limited, so recursion is.
 */
#include "base/json_read.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

typedef struct reader {
    const char *text;
    size_t n, at;
    unsigned flags;
    int depth;
    char *stack;
    size_t top, cap;
    json_malloc_t take;
    json_free_t give;
    di_json_fault *fault;
} reader;

static json_t *read_value(reader *r);

/* --- faults ----------------------------------------------------------------------------------- */

/* Answers NULL, so that a reading function can end with it. */
__attribute__((format(printf, 4, 5))) static void *fail(reader *r, di_json_kind_of_fault kind,
                                                        size_t at, const char *fmt, ...)
{
    di_json_fault *f = r->fault;
    size_t line_start = 0;
    va_list args;

    *f = (di_json_fault){.kind = kind, .at = at, .line = 1};
    for (size_t i = 0; i < at; i++)
        if (r->text[i] == '\n') {
            f->line++;
            line_start = i + 1;
        }
    f->column = (int64_t)(at - line_start) + 1;
    va_start(args, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, args);
    va_end(args);
    return NULL;
}

static void *no_memory(reader *r)
{
    return fail(r, DI_JSON_NOMEM, r->at, "no memory for a JSON value");
}

static int is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '+' || c == '-' || c == '.';
}

/* "expected WHAT, found ...": the word, the character or the end that stands at r->at. */
static void *expected(reader *r, const char *what)
{
    const size_t at = r->at;
    const unsigned char c = at < r->n ? (unsigned char)r->text[at] : 0;
    size_t size = 1;

    if (r->n == 0) return fail(r, DI_JSON_SYNTAX, at, "expected %s, found an empty text", what);
    if (at == r->n) return fail(r, DI_JSON_SYNTAX, at, "expected %s, found the end", what);
    if (c < 0x20 || c == 0x7f)
        return fail(r, DI_JSON_SYNTAX, at, "expected %s, found the byte 0x%02x", what, c);
    if (is_word((char)c))
        while (at + size < r->n && size < 40 && is_word(r->text[at + size])) size++;
    else
        size = di_utf8_size((char)c);
    return fail(r, DI_JSON_SYNTAX, at, "expected %s, found '%.*s'", what, (int)size, r->text + at);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* The character behind spaces, or -1 at the end; it is not taken. */
static int peek(reader *r)
{
    while (r->at < r->n && (r->text[r->at] == ' ' || r->text[r->at] == '\n' ||
                            r->text[r->at] == '\r' || r->text[r->at] == '\t'))
        r->at++;
    return r->at < r->n ? (unsigned char)r->text[r->at] : -1;
}

/* Room for `more` bytes above the top; 0: no memory. */
static int reserve(reader *r, size_t more)
{
    size_t cap = r->cap > 0 ? r->cap : 256;
    char *grown;

    if (more <= r->cap - r->top) return 1;
    while (cap - r->top < more) {
        if (cap > SIZE_MAX / 2) return 0;
        cap *= 2;
    }
    grown = r->take(cap);
    if (grown == NULL) return 0;
    if (r->top > 0) memcpy(grown, r->stack, r->top);
    if (r->stack != NULL) r->give(r->stack);
    r->stack = grown;
    r->cap = cap;
    return 1;
}

/* --- strings ---------------------------------------------------------------------------------- */

int di_json_code_unit(const char *text, size_t n, size_t at)
{
    int value = 0;

    if (n - at < 6 || text[at] != '\\' || text[at + 1] != 'u') return -1;
    for (size_t i = at + 2; i < at + 6; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;

        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The escape at r->at, onto the stack, where there is room. 0: a fault. */
static int read_escape(reader *r)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char c = r->at + 1 < r->n ? r->text[r->at + 1] : '\0';
    const char *found = c != '\0' ? strchr(letters, c) : NULL;
    int unit, low;

    if (found != NULL) {
        r->stack[r->top++] = meanings[found - letters];
        r->at += 2;
        return 1;
    }
    unit = di_json_code_unit(r->text, r->n, r->at);
    if (unit < 0) {
        fail(r, DI_JSON_SYNTAX, r->at, "expected an escape such as \\n or \\u00e9, found '%.*s'",
             c != '\0' && (unsigned char)c < 0x80 && (unsigned char)c >= 0x20 ? 2 : 1,
             r->text + r->at);
        return 0;
    }
    low = unit >= 0xd800 && unit < 0xdc00 ? di_json_code_unit(r->text, r->n, r->at + 6) : -1;
    if (unit >= 0xd800 && unit < 0xe000 && (low < 0xdc00 || low > 0xdfff)) {
        fail(r, DI_JSON_SYNTAX, r->at, "expected both halves of a surrogate pair, found %.6s alone",
             r->text + r->at);
        return 0;
    }
    r->at += low >= 0 ? 12 : 6;
    r->top += di_utf8_put(low >= 0 ? 0x10000u + ((unsigned)(unit - 0xd800) << 10) +
                                         (unsigned)(low - 0xdc00)
                                   : (unsigned)unit,
                          r->stack + r->top);
    return 1;
}

/* The string at r->at (its opening quote), without its quotes, onto the stack. 0: a fault. */
static int read_string(reader *r)
{
    const size_t open = r->at++;

    for (;;) {
        const size_t from = r->at;
        unsigned char c = '\0';

        while (r->at < r->n && (c = (unsigned char)r->text[r->at]) != '"' && c != '\\' && c >= 0x20)
            r->at++;
        if (r->at == r->n) {
            fail(r, DI_JSON_SYNTAX, r->n, "the text ends inside the string that opened at byte %zu",
                 open);
            return 0;
        }
        if (!reserve(r, r->at - from + 4)) { /* what lay before it, and the longest escape */
            no_memory(r);
            return 0;
        }
        memcpy(r->stack + r->top, r->text + from, r->at - from);
        r->top += r->at - from;
        if (c == '"') {
            r->at++;
            return 1;
        }
        if (c == '\\') {
            if (!read_escape(r)) return 0;
            continue;
        }
        fail(r, DI_JSON_SYNTAX, r->at, "expected \\%s in a string, found the byte 0x%02x itself",
             c == '\n'   ? "n"
             : c == '\t' ? "t"
                         : "u00XX",
             c);
        return 0;
    }
}

static json_t *read_text(reader *r)
{
    const size_t bottom = r->top;
    json_t *v;

    if (!read_string(r)) return NULL;
    v = json_stringn_nocheck(r->stack + bottom, r->top - bottom);
    r->top = bottom;
    return v != NULL ? v : no_memory(r);
}

/* --- numbers and words ------------------------------------------------------------------------ */

static size_t digits(const reader *r, size_t at)
{
    while (at < r->n && r->text[at] >= '0' && r->text[at] <= '9') at++;
    return at;
}

/* The end of the number at r->at; 0 where there is none. *integer: it has no '.' and no exponent.
 */
static size_t number_end(const reader *r, int *integer)
{
    size_t at = r->at, from;

    if (r->text[at] == '-') at++;
    from = at;
    at = at < r->n && r->text[at] == '0' ? at + 1 : digits(r, at);
    if (at == from) return 0;
    *integer = 1;
    if (at < r->n && r->text[at] == '.') {
        from = ++at;
        at = digits(r, at);
        if (at == from) return 0;
        *integer = 0;
    }
    if (at < r->n && (r->text[at] == 'e' || r->text[at] == 'E')) {
        at++;
        if (at < r->n && (r->text[at] == '+' || r->text[at] == '-')) at++;
        from = at;
        at = digits(r, at);
        if (at == from) return 0;
        *integer = 0;
    }
    return at < r->n && is_word(r->text[at]) ? 0 : at;
}

static double real_of(const char *text)
{
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* the libraries keep one */
    const double x = c != (locale_t)0 ? strtod_l(text, NULL, c) : strtod(text, NULL);

    if (c != (locale_t)0) freelocale(c);
    return x;
}

static json_t *read_number(reader *r)
{
    int integer = 0;
    const size_t end = number_end(r, &integer), size = end - r->at;
    json_t *v = NULL;
    long long whole;
    char *text;
    double real;

    if (end == 0) return expected(r, "a value");
    if (!reserve(r, size + 1)) return no_memory(r);
    text = r->stack + r->top;
    memcpy(text, r->text + r->at, size);
    text[size] = '\0';
    real = real_of(text);
    errno = 0;
    whole = integer ? strtoll(text, NULL, 10) : 0;
    if (integer && errno != ERANGE && !(r->flags & DI_JSON_INTEGERS_AS_REALS))
        v = json_integer(whole);
    else if (isfinite(real))
        v = json_real(real);
    else
        return fail(r, DI_JSON_NUMBER_RANGE, r->at, "expected a number below 1.8e308, found %.40s",
                    text);
    r->at = end;
    return v != NULL ? v : no_memory(r);
}

/* json_true, json_false and json_null cannot fail: they are not allocated. */
static json_t *read_word(reader *r)
{
    static const char *const words[] = {"true", "false", "null"};
    size_t size = 0;

    while (r->at + size < r->n && is_word(r->text[r->at + size])) size++;
    for (int i = 0; i < 3; i++)
        if (size == strlen(words[i]) && memcmp(r->text + r->at, words[i], size) == 0) {
            r->at += size;
            return i == 0 ? json_true() : i == 1 ? json_false() : json_null();
        }
    return expected(r, "a value");
}

/* --- objects and lists ------------------------------------------------------------------------ */

/* "key": value, at r->at; 0: a fault. */
static int read_member(reader *r, json_t *object)
{
    const size_t key = r->top, key_at = r->at;
    json_t *value;

    if (peek(r) != '"') {
        expected(r, "a key in double quotes");
        return 0;
    }
    if (!read_string(r)) return 0;
    if (!reserve(r, 1)) {
        no_memory(r);
        return 0;
    }
    r->stack[r->top++] = '\0';
    if (strlen(r->stack + key) + 1 != r->top - key) {
        fail(r, DI_JSON_SYNTAX, key_at, "expected a key without \\u0000");
        return 0;
    }
    if (json_object_get(object, r->stack + key) != NULL) {
        fail(r, DI_JSON_DUPLICATE_KEY, key_at, "expected every key once, found '%.60s' again",
             r->stack + key);
        return 0;
    }
    if (peek(r) != ':') {
        expected(r, "':' behind a key");
        return 0;
    }
    r->at++;
    value = read_value(r);
    if (value == NULL) return 0;
    if (json_object_set_new_nocheck(object, r->stack + key, value) != 0) {
        no_memory(r);
        return 0;
    }
    r->top = key;
    return 1;
}

static int read_element(reader *r, json_t *list)
{
    json_t *value = read_value(r);

    if (value == NULL) return 0;
    if (json_array_append_new(list, value) == 0) return 1;
    no_memory(r);
    return 0;
}

/* The object or list whose opening bracket stands at r->at. */
static json_t *read_nested(reader *r, int object)
{
    const char close = object ? '}' : ']';
    json_t *v;
    int c;

    if (r->depth == DI_JSON_MAX_DEPTH)
        return fail(r, DI_JSON_TOO_DEEP, r->at, "nested deeper than %d levels", DI_JSON_MAX_DEPTH);
    v = object ? json_object() : json_array();
    if (v == NULL) return no_memory(r);
    r->depth++;
    r->at++;
    c = peek(r);
    if (c != close) {
        for (;;) {
            peek(r);
            if (!(object ? read_member(r, v) : read_element(r, v))) goto fault;
            c = peek(r);
            if (c != ',') break;
            r->at++;
        }
        if (c != close) {
            expected(r, object ? "',' or '}'" : "',' or ']'");
            goto fault;
        }
    }
    r->at++;
    r->depth--;
    return v;
fault:
    json_decref(v);
    return NULL;
}

static json_t *read_value(reader *r)
{
    const int c = peek(r);

    switch (c) {
    case '{': return read_nested(r, 1);
    case '[': return read_nested(r, 0);
    case '"': return read_text(r);
    case -1: return expected(r, "a value");
    default: break;
    }
    return c == '-' || (c >= '0' && c <= '9') ? read_number(r) : read_word(r);
}

json_t *di_json_load(const char *text, size_t n, unsigned flags, di_json_fault *fault)
{
    reader r = {.text = text, .n = n, .flags = flags, .fault = fault};
    const size_t valid = di_utf8_check(text, n);
    json_t *v = NULL;

    json_get_alloc_funcs(&r.take, &r.give);
    if (valid < n) {
        fail(&r, DI_JSON_BAD_UTF8, valid, "expected UTF-8, found the byte 0x%02x",
             (unsigned)(unsigned char)text[valid]);
    } else {
        v = read_value(&r);
        if (v != NULL && peek(&r) >= 0) {
            json_decref(v);
            v = expected(&r, "the end");
        }
    }
    if (r.stack != NULL) r.give(r.stack);
    return v;
}
