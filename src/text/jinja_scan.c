/*
 * The lexer, and the rules of white space. Between tags text is copied as it is, but
 *   - a minus inside a tag's bracket takes all white space on that side;
 *   - a newline right after a block or a comment goes (trim_blocks), unless a plus says no;
 *   - blanks between the start of a line and a block or comment go (lstrip_blocks), likewise.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja_impl.h"
#include "text/unicode.h"

/* --- memory ----------------------------------------------------------------------------------- */

struct di_pool_block {
    struct di_pool_block *before;
};

enum { POOL_HEAD = 64, POOL_BLOCK = 16 << 10 };

void *di_pool_take(di_pool *p, size_t n)
{
    size_t want = (n + 15) & ~(size_t)15, size;
    void *out;

    if (want < n || p->total + want < want || p->total + want > p->limit) return NULL;
    if (p->block == NULL || p->cap - p->at < want) {
        struct di_pool_block *b;

        size = want > POOL_BLOCK - POOL_HEAD ? want + POOL_HEAD : POOL_BLOCK;
        b = di_new(p->al, size);
        if (b == NULL) return NULL;
        b->before = p->block;
        p->block = b;
        p->at = POOL_HEAD;
        p->cap = size;
    }
    out = (char *)p->block + p->at;
    p->at += want;
    p->total += want;
    memset(out, 0, want);
    return out;
}

void di_pool_free(di_pool *p)
{
    while (p->block != NULL) {
        struct di_pool_block *before = p->block->before;

        di_free(p->al, p->block);
        p->block = before;
    }
    p->total = 0;
}

/* --- shared ----------------------------------------------------------------------------------- */

dial_status di_jinja_fault(const di_jinja *t, int line, int column, const char *file, int at,
                           dial_error *err, const char *fmt, ...)
{
    char detail[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    for (char *c = detail; *c != '\0'; c++) /* an error is one line */
        if ((unsigned char)*c < 0x20) *c = ' ';
    return di_error_set(err, DIAL_ERR_INPUT, file, at, NULL,
                        "pass --template NAME or FILE.json (docs/data.md)",
                        "template_failed: %s:%d:%d: %s", t->name, line, column, detail);
}

/* White space as Python's str.isspace has it. */
static int is_space(uint32_t c)
{
    return di_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

di_str di_strip(di_str s, int ends)
{
    size_t begin = 0, end = s.size, size, at;

    while ((ends & DI_STRIP_LEFT) && begin < end && is_space(di_utf8_get(s.data + begin, &size)))
        begin += size;
    while ((ends & DI_STRIP_RIGHT) && end > begin) {
        at = di_utf8_before(s.data, end);
        if (!is_space(di_utf8_get(s.data + at, &size))) break;
        end = at;
    }
    return (di_str){s.data + begin, end - begin};
}

/* --- tokens ----------------------------------------------------------------------------------- */

typedef struct scanner {
    di_jinja *t;
    di_str s;
    size_t at;
    int line;
    size_t line_start; /* offset of the line that `at` is in */
    int fresh;         /* what was cut off last ended a line */
    di_jinja_token *token;
    size_t n, cap;
} scanner;

static int column_of(const scanner *x)
{
    return (int)(x->at - x->line_start) + 1;
}

static void move(scanner *x, size_t to)
{
    for (; x->at < to; x->at++)
        if (x->s.data[x->at] == '\n') {
            x->line++;
            x->line_start = x->at + 1;
        }
}

static dial_status add(scanner *x, di_jinja_token_kind kind, di_str text, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (x->n == x->cap) {
        size_t cap = x->cap > 0 ? 2 * x->cap : 256;
        di_jinja_token *more = di_pool_take(&x->t->pool, cap * sizeof *more);

        if (more == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
        if (x->n > 0) memcpy(more, x->token, x->n * sizeof *more);
        x->token = more;
        x->cap = cap;
    }
    x->token[x->n++] = (di_jinja_token){kind, x->line, column_of(x), text};
done:
    return st;
}

static int begins(const scanner *x, size_t at, const char *what)
{
    size_t n = strlen(what);

    return n <= x->s.size - at && memcmp(x->s.data + at, what, n) == 0;
}

/* Behind a tag that ended at `at`: all white space, or one newline, or nothing goes. */
static void leave(scanner *x, size_t at, int strip, int trim)
{
    size_t size;

    if (strip)
        while (at < x->s.size && is_space(di_utf8_get(x->s.data + at, &size))) at += size;
    else if (trim && at < x->s.size && x->s.data[at] == '\n')
        at++;
    move(x, at);
    x->fresh = at > 0 && x->s.data[at - 1] == '\n';
}

/* The text before a tag at `tag`, cut as the tag asks. */
static dial_status data(scanner *x, size_t tag, int block, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_str text = {x->s.data + x->at, tag - x->at};
    char sign = tag + 2 < x->s.size ? x->s.data[tag + 2] : '\0';
    size_t line = text.size;

    if (sign == '-') {
        text = di_strip(text, DI_STRIP_RIGHT);
    } else if (sign != '+' && block) {
        while (line > 0 && text.data[line - 1] != '\n') line--;
        if ((line > 0 || x->fresh) &&
            di_strip((di_str){text.data + line, text.size - line}, DI_STRIP_BOTH).size == 0)
            text.size = line;
    }
    if (text.size > 0) DI_TRY(add(x, DI_JT_DATA, text, err));
    move(x, tag);
done:
    return st;
}

static dial_status comment(scanner *x, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t at = x->at + 2;

    while (at < x->s.size && !begins(x, at, "#}")) at++;
    if (at == x->s.size) {
        st = di_jinja_fault(x->t, x->line, column_of(x), __FILE__, __LINE__, err,
                            "expected #} behind the comment, found the end");
        goto done;
    }
    leave(x, at + 2, x->s.data[at - 1] == '-', x->s.data[at - 1] != '+');
done:
    return st;
}

static int is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
}

/* End of the token that begins at x->at, no space and no end of a tag; its kind. */
static size_t token_end(const scanner *x, di_jinja_token_kind *kind)
{
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "//", "**"};
    size_t at = x->at;
    char c = x->s.data[at];

    *kind = DI_JT_OP;
    if (c == '"' || c == '\'') {
        *kind = DI_JT_STRING;
        for (at++; at < x->s.size && x->s.data[at] != c; at++) at += x->s.data[at] == '\\';
        return at < x->s.size ? at + 1 : x->at;
    }
    if (is_name(c)) {
        *kind = c >= '0' && c <= '9' ? DI_JT_INT : DI_JT_NAME;
        while (at < x->s.size && is_name(x->s.data[at])) at++;
        return at;
    }
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (begins(x, at, pairs[i])) return at + 2;
    return strchr("+-*/%~=<>.:|,;()[]{}", c) != NULL && c != '\0' ? at + 1 : at;
}

/* The inside of {{ }} or {% %} and its end. */
static dial_status inside(scanner *x, int block, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char space[] = " \t\n\r\f\v";
    const char *end = block ? "%}" : "}}";
    int depth = 0;

    for (;;) {
        di_jinja_token_kind kind;
        size_t next;
        int sign;

        while (x->at < x->s.size && x->s.data[x->at] != '\0' &&
               strchr(space, x->s.data[x->at]) != NULL)
            move(x, x->at + 1);
        if (x->at == x->s.size) {
            st = di_jinja_fault(x->t, x->line, column_of(x), __FILE__, __LINE__, err,
                                "expected %s, found the end", end);
            goto done;
        }
        sign = x->s.data[x->at] == '-' || (block && x->s.data[x->at] == '+');
        if (depth == 0 && (begins(x, x->at, end) || (sign && begins(x, x->at + 1, end)))) {
            int minus = sign && x->s.data[x->at] == '-', plus = sign && !minus;

            DI_TRY(add(x, block ? DI_JT_BLOCK_END : DI_JT_PRINT_END, (di_str){end, 2}, err));
            leave(x, x->at + (size_t)sign + 2, minus, block && !plus);
            goto done;
        }
        next = token_end(x, &kind);
        if (next == x->at) {
            st = di_jinja_fault(x->t, x->line, column_of(x), __FILE__, __LINE__, err,
                                "expected an expression, found '%.*s'",
                                (int)di_utf8_size(x->s.data[x->at]), x->s.data + x->at);
            goto done;
        }
        if (kind == DI_JT_OP && next == x->at + 1) {
            depth += strchr("([{", x->s.data[x->at]) != NULL;
            depth -= depth > 0 && strchr(")]}", x->s.data[x->at]) != NULL;
        }
        DI_TRY(add(x, kind, (di_str){x->s.data + x->at, next - x->at}, err));
        move(x, next);
    }
done:
    return st;
}

dial_status di_jinja_scan(di_jinja *t, di_str source, di_jinja_token **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    scanner x = {.t = t, .s = source, .line = 1, .fresh = 1};

    while (x.at < source.size) {
        size_t tag = x.at;
        char kind;

        while (tag < source.size && !begins(&x, tag, "{{") && !begins(&x, tag, "{%") &&
               !begins(&x, tag, "{#"))
            tag++;
        if (tag == source.size) {
            DI_TRY(add(&x, DI_JT_DATA, (di_str){source.data + x.at, tag - x.at}, err));
            move(&x, tag);
            break;
        }
        kind = source.data[tag + 1];
        DI_TRY(data(&x, tag, kind != '{', err));
        if (kind == '#') {
            DI_TRY(comment(&x, err));
            continue;
        }
        DI_TRY(add(&x, kind == '{' ? DI_JT_PRINT_BEGIN : DI_JT_BLOCK_BEGIN,
                   (di_str){source.data + tag, 2}, err));
        tag += 2;
        if (tag < source.size && (source.data[tag] == '-' || source.data[tag] == '+')) tag++;
        move(&x, tag);
        DI_TRY(inside(&x, kind == '%', err));
    }
    DI_TRY(add(&x, DI_JT_END, (di_str){"", 0}, err));
    *out = x.token;
done:
    return st;
}
