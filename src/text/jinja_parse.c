/* From tokens to the tree, by recursive descent in the order of Jinja's own grammar. */
#include <stdlib.h>
#include <string.h>

#include "text/jinja_impl.h"
#include "text/unicode.h"

enum { MOST_DEPTH = 100, MOST_SOURCE = 1 << 20 };

typedef di_jinja_node node;

typedef struct parser {
    di_jinja *t;
    const di_jinja_token *at;
    int depth;
} parser;

static dial_status expression(parser *p, node **out, dial_error *err);
static dial_status unary(parser *p, int filters, node **out, dial_error *err);
static dial_status body(parser *p, node **out, dial_error *err);

/* --- helpers ---------------------------------------------------------------------------------- */

static int is_op(const parser *p, const char *op)
{
    return p->at->kind == DI_JT_OP && di_str_is(p->at->text, op);
}

static int is_word(const parser *p, const char *word)
{
    return p->at->kind == DI_JT_NAME && di_str_is(p->at->text, word);
}

static int take_op(parser *p, const char *op)
{
    int yes = is_op(p, op);

    p->at += yes;
    return yes;
}

static int take_word(parser *p, const char *word)
{
    int yes = is_word(p, word);

    p->at += yes;
    return yes;
}

static dial_status found(parser *p, const char *expected, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (p->at->kind == DI_JT_END)
        DI_JINJA_FAIL(p->t, p->at, "expected %s, found the end", expected);
    DI_JINJA_FAIL(p->t, p->at, "expected %s, found '%.*s'", expected,
                  p->at->text.size > 40 ? 40 : (int)p->at->text.size, p->at->text.data);
done:
    return st;
}

static dial_status need_op(parser *p, const char *op, dial_error *err)
{
    return take_op(p, op) ? DIAL_OK : found(p, op, err);
}

/* A node at the place of a token. */
static dial_status make(parser *p, const di_jinja_token *at, di_jinja_kind kind, node **out,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    node *n = di_pool_take(&p->t->pool, sizeof *n);

    if (n == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    n->kind = kind;
    n->line = at->line;
    n->column = at->column;
    *out = n;
done:
    return st;
}

static dial_status need_name(parser *p, di_str *out, dial_error *err)
{
    if (p->at->kind != DI_JT_NAME) return found(p, "a name", err);
    *out = (p->at++)->text;
    return DIAL_OK;
}

/* --- primary expressions ---------------------------------------------------------------------- */

static int hex(const char *s, size_t n, uint32_t *out)
{
    uint32_t c = 0;

    for (size_t i = 0; i < n; i++) {
        char x = s[i];

        if (x >= '0' && x <= '9')
            c = c << 4 | (uint32_t)(x - '0');
        else if ((x | 0x20) >= 'a' && (x | 0x20) <= 'f')
            c = c << 4 | (uint32_t)((x | 0x20) - 'a' + 10);
        else
            return 0;
    }
    *out = c;
    return c < 0xd800 || (c > 0xdfff && c < 0x110000);
}

/* Appends what a string literal means; escapes as in Python, an unknown one stays as it is. */
static dial_status unescape(parser *p, di_str quoted, char *to, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char names[] = "ntr\\'\"abfv0", means[] = "\n\t\r\\'\"\a\b\f\v";
    const char *s = quoted.data + 1, *end = quoted.data + quoted.size - 1;

    while (s < end) {
        const char *escape;
        uint32_t c;
        size_t digits;

        if (*s != '\\') {
            to[(*n)++] = *s++;
            continue;
        }
        digits = s[1] == 'x' ? 2 : s[1] == 'u' ? 4 : s[1] == 'U' ? 8 : 0;
        if (digits > 0) {
            if ((size_t)(end - s) < 2 + digits || !hex(s + 2, digits, &c))
                DI_JINJA_FAIL(p->t, p->at, "expected %zu hex digits of a code point behind \\%c",
                              digits, s[1]);
            *n += di_utf8_put(c, to + *n);
            s += 2 + digits;
            continue;
        }
        if (s[1] >= '0' && s[1] <= '9') DI_JINJA_FAIL(p->t, p->at, "octal escapes are not read");
        escape = s[1] != '\0' ? strchr(names, s[1]) : NULL;
        if (s[1] == '\n') { /* a line that goes on */
        } else if (escape != NULL) {
            to[(*n)++] = means[escape - names];
        } else {
            to[(*n)++] = '\\';
            to[(*n)++] = s[1];
        }
        s += 2;
    }
done:
    return st;
}

/* One literal, or several behind each other, which are one string. */
static dial_status string(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *first = p->at, *t;
    size_t cap = 1, n = 0;
    char *text;

    for (t = first; t->kind == DI_JT_STRING; t++) cap += t->text.size;
    text = di_pool_take(&p->t->pool, cap);
    if (text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    for (; p->at->kind == DI_JT_STRING; p->at++) DI_TRY(unescape(p, p->at->text, text, &n, err));
    DI_TRY(make(p, first, DI_J_STRING, out, err));
    (*out)->text = (di_str){text, n};
done:
    return st;
}

static dial_status integer(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t x = 0;

    DI_TRY(make(p, p->at, DI_J_INT, out, err));
    for (size_t i = 0; i < p->at->text.size; i++) {
        char c = p->at->text.data[i];

        if (c == '_' && i > 0) continue;
        if (c < '0' || c > '9' || x > INT32_MAX)
            DI_JINJA_FAIL(p->t, p->at, "expected an integer below 2^31, found '%.*s'",
                          p->at->text.size > 40 ? 40 : (int)p->at->text.size, p->at->text.data);
        x = 10 * x + (c - '0');
    }
    (*out)->number = x;
    p->at++;
    if (is_op(p, ".") && p->at[1].kind == DI_JT_INT)
        DI_JINJA_FAIL(p->t, p->at, "numbers with a point are not read");
done:
    return st;
}

/* Expressions up to a closing bracket, commas between: into a list linked by next. */
static dial_status items(parser *p, const char *close, int pairs, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    node **tail = out;

    while (!take_op(p, close)) {
        DI_TRY(expression(p, tail, err));
        tail = &(*tail)->next;
        if (pairs) {
            DI_TRY(need_op(p, ":", err));
            DI_TRY(expression(p, tail, err));
            tail = &(*tail)->next;
        }
        if (!take_op(p, ",") && !is_op(p, close)) {
            st = found(p, close, err);
            goto done;
        }
    }
done:
    return st;
}

static dial_status primary(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *at = p->at;
    int yes, list, map;

    if (at->kind == DI_JT_STRING) return string(p, out, err);
    if (at->kind == DI_JT_INT) return integer(p, out, err);
    if (take_op(p, "(")) {
        DI_TRY(expression(p, out, err));
        DI_TRY(need_op(p, ")", err)); /* no tuples */
        goto done;
    }
    list = take_op(p, "[");
    map = !list && take_op(p, "{");
    if (list || map) {
        DI_TRY(make(p, at, list ? DI_J_LIST : DI_J_MAP, out, err));
        DI_TRY(items(p, list ? "]" : "}", map, &(*out)->a, err));
        goto done;
    }
    if (at->kind != DI_JT_NAME) {
        st = found(p, "an expression", err);
        goto done;
    }
    yes = is_word(p, "true") || is_word(p, "True");
    if (yes || is_word(p, "false") || is_word(p, "False")) {
        DI_TRY(make(p, at, DI_J_BOOL, out, err));
        (*out)->number = yes;
    } else if (is_word(p, "none") || is_word(p, "None")) {
        DI_TRY(make(p, at, DI_J_NONE, out, err));
    } else {
        DI_TRY(make(p, at, DI_J_NAME, out, err));
        (*out)->text = at->text;
    }
    p->at++;
done:
    return st;
}

/* --- what stands behind an expression ------------------------------------------------------------
 */

static dial_status arguments(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    node **tail = out;

    while (!take_op(p, ")")) {
        if (p->at->kind == DI_JT_NAME && p->at[1].kind == DI_JT_OP &&
            di_str_is(p->at[1].text, "=")) {
            DI_TRY(make(p, p->at, DI_J_KEYWORD, tail, err));
            (*tail)->text = p->at->text;
            p->at += 2;
            DI_TRY(expression(p, &(*tail)->a, err));
        } else {
            DI_TRY(expression(p, tail, err));
        }
        tail = &(*tail)->next;
        if (!take_op(p, ",") && !is_op(p, ")")) {
            st = found(p, ")", err);
            goto done;
        }
    }
done:
    return st;
}

/* [index] or [start:stop:step], behind the bracket. */
static dial_status subscript(parser *p, const di_jinja_token *at, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    node *n, *part[3] = {NULL};
    int k = 0;

    for (;;) {
        if (!is_op(p, ":") && !is_op(p, "]")) DI_TRY(expression(p, &part[k], err));
        if (k == 2 || !take_op(p, ":")) break;
        k++;
    }
    DI_TRY(need_op(p, "]", err));
    if (k == 0 && part[0] == NULL) DI_JINJA_FAIL(p->t, at, "expected an index, found []");
    DI_TRY(make(p, at, k == 0 ? DI_J_INDEX : DI_J_SLICE, &n, err));
    n->a = *out;
    n->b = part[0];
    n->c = part[1];
    n->d = part[2];
    *out = n;
done:
    return st;
}

/* .name, [index] and (arguments), as many as there are. */
static dial_status postfix(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (;;) {
        const di_jinja_token *at = p->at;
        node *n = NULL;

        if (take_op(p, ".")) {
            DI_TRY(make(p, at, DI_J_ATTRIBUTE, &n, err));
            DI_TRY(need_name(p, &n->text, err));
            n->a = *out;
            *out = n;
        } else if (take_op(p, "[")) {
            DI_TRY(subscript(p, at, out, err));
        } else if (take_op(p, "(")) {
            DI_TRY(make(p, at, DI_J_CALL, &n, err));
            DI_TRY(arguments(p, &n->b, err));
            n->a = *out;
            *out = n;
        } else {
            break;
        }
    }
done:
    return st;
}

/* An argument of a test without brackets: `is divisibleby 3`. */
static int begins_argument(const parser *p)
{
    static const char *const not_one[] = {"else", "or",  "and", "is",
                                          "if",   "not", "in",  "recursive"};

    if (p->at->kind == DI_JT_STRING || p->at->kind == DI_JT_INT || is_op(p, "[") || is_op(p, "{"))
        return 1;
    if (p->at->kind != DI_JT_NAME) return 0;
    for (size_t i = 0; i < sizeof not_one / sizeof *not_one; i++)
        if (di_str_is(p->at->text, not_one[i])) return 0;
    return 1;
}

static dial_status filters(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (;;) {
        const di_jinja_token *at = p->at;
        node *n = NULL;
        int test;

        test = take_word(p, "is");
        if (!test && !take_op(p, "|")) break;
        DI_TRY(make(p, at, test ? DI_J_TEST : DI_J_FILTER, &n, err));
        n->number = test && take_word(p, "not");
        DI_TRY(need_name(p, &n->text, err));
        n->a = *out;
        *out = n;
        if (take_op(p, "("))
            DI_TRY(arguments(p, &n->b, err));
        else if (test && begins_argument(p)) {
            DI_TRY(primary(p, &n->b, err));
            DI_TRY(postfix(p, &n->b, err));
        }
    }
done:
    return st;
}

static dial_status unary(parser *p, int with_filters, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *at = p->at;

    if (++p->depth > MOST_DEPTH) DI_JINJA_FAIL(p->t, at, "nested deeper than %d", MOST_DEPTH);
    if (take_op(p, "-")) {
        DI_TRY(make(p, at, DI_J_NEGATE, out, err));
        DI_TRY(unary(p, 0, &(*out)->a, err));
    } else if (take_op(p, "+")) {
        DI_TRY(unary(p, 0, out, err));
    } else {
        DI_TRY(primary(p, out, err));
    }
    DI_TRY(postfix(p, out, err));
    if (with_filters) DI_TRY(filters(p, out, err));
    p->depth--;
done:
    return st;
}

/* --- operators, from the strongest to the weakest ------------------------------------------------
 */

static const char *const operators[3][5] = {
    {"*", "/", "//", "%", NULL},
    {"~", NULL},
    {"+", "-", NULL},
};

static dial_status binary(parser *p, int level, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (level < 0) return unary(p, 1, out, err);
    DI_TRY(binary(p, level - 1, out, err));
    for (;;) {
        const di_jinja_token *at = p->at;
        node *n = NULL;
        int k = 0;

        while (operators[level][k] != NULL && !is_op(p, operators[level][k])) k++;
        if (operators[level][k] == NULL) break;
        p->at++;
        DI_TRY(make(p, at, DI_J_BINARY, &n, err));
        n->text = at->text;
        n->a = *out;
        *out = n;
        DI_TRY(binary(p, level - 1, &n->b, err));
    }
done:
    return st;
}

static int comparison(parser *p, di_str *op)
{
    static const char *const words[] = {"==", "!=", "<", "<=", ">", ">="};

    *op = p->at->text;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (take_op(p, words[i])) return 1;
    if (take_word(p, "in")) return 1;
    if (is_word(p, "not") && p->at[1].kind == DI_JT_NAME && di_str_is(p->at[1].text, "in")) {
        p->at += 2;
        *op = (di_str){"not in", 6};
        return 1;
    }
    return 0;
}

static dial_status compare(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *at;
    node *chain = NULL, **tail = &chain;
    di_str op;

    DI_TRY(binary(p, 2, out, err));
    for (at = p->at; comparison(p, &op); at = p->at) {
        DI_TRY(make(p, at, DI_J_BINARY, tail, err));
        (*tail)->text = op;
        DI_TRY(binary(p, 2, &(*tail)->a, err));
        tail = &(*tail)->next;
    }
    if (chain != NULL) {
        node *n = NULL;

        DI_TRY(make(p, at, DI_J_COMPARE, &n, err));
        n->line = chain->line;
        n->column = chain->column;
        n->a = *out;
        n->b = chain;
        *out = n;
    }
done:
    return st;
}

static dial_status negation(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *at = p->at;

    if (!take_word(p, "not")) return compare(p, out, err);
    if (++p->depth > MOST_DEPTH) DI_JINJA_FAIL(p->t, at, "nested deeper than %d", MOST_DEPTH);
    DI_TRY(make(p, at, DI_J_NOT, out, err));
    DI_TRY(negation(p, &(*out)->a, err));
    p->depth--;
done:
    return st;
}

static dial_status logic(parser *p, int is_or, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(is_or ? logic(p, 0, out, err) : negation(p, out, err));
    while (is_word(p, is_or ? "or" : "and")) {
        const di_jinja_token *at = p->at++;
        node *n = NULL;

        DI_TRY(make(p, at, is_or ? DI_J_OR : DI_J_AND, &n, err));
        n->a = *out;
        *out = n;
        DI_TRY(is_or ? logic(p, 0, &n->b, err) : negation(p, &n->b, err));
    }
done:
    return st;
}

static dial_status expression(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *at = p->at;

    if (++p->depth > MOST_DEPTH) DI_JINJA_FAIL(p->t, at, "nested deeper than %d", MOST_DEPTH);
    DI_TRY(logic(p, 1, out, err));
    while (is_word(p, "if")) {
        node *n = NULL;

        DI_TRY(make(p, p->at++, DI_J_CHOOSE, &n, err));
        n->b = *out;
        *out = n;
        DI_TRY(logic(p, 1, &n->a, err));
        if (take_word(p, "else")) DI_TRY(expression(p, &n->c, err));
    }
    p->depth--;
done:
    return st;
}

/* --- statements ------------------------------------------------------------------------------- */

static dial_status block_end(parser *p, dial_error *err)
{
    if (p->at->kind != DI_JT_BLOCK_END) return found(p, "%}", err);
    p->at++;
    return DIAL_OK;
}

/* {% WORD %}; p->at stands behind {%. */
static dial_status closing(parser *p, const char *word, dial_error *err)
{
    if (!take_word(p, word)) return found(p, word, err);
    return block_end(p, err);
}

/* Behind {% if or {% elif. */
static dial_status condition(parser *p, const di_jinja_token *at, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    node *n = NULL;

    /* a chain of elif is a chain of nodes; rendering walks it without recursion */
    for (;;) {
        DI_TRY(make(p, at, DI_J_IF, &n, err));
        *out = n;
        DI_TRY(expression(p, &n->a, err));
        DI_TRY(block_end(p, err));
        DI_TRY(body(p, &n->b, err));
        at = p->at;
        if (!take_word(p, "elif")) break;
        out = &n->c;
    }
    if (take_word(p, "else")) {
        DI_TRY(block_end(p, err));
        DI_TRY(body(p, &n->c, err));
    }
    DI_TRY(closing(p, "endif", err));
done:
    return st;
}

static dial_status loop(parser *p, const di_jinja_token *at, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    node *n = NULL;
    di_str second;

    DI_TRY(make(p, at, DI_J_FOR, out, err));
    n = *out;
    DI_TRY(need_name(p, &n->text, err));
    if (take_op(p, ",")) { /* of a mapping's items: parsed, refused when reached */
        DI_TRY(need_name(p, &second, err));
        n->number = 1;
    }
    if (!take_word(p, "in")) DI_TRY(found(p, "in", err));
    DI_TRY(logic(p, 1, &n->a, err)); /* `if` behind it chooses the items */
    if (take_word(p, "if")) DI_TRY(expression(p, &n->d, err));
    DI_TRY(block_end(p, err));
    DI_TRY(body(p, &n->b, err));
    if (take_word(p, "else")) {
        DI_TRY(block_end(p, err));
        DI_TRY(body(p, &n->c, err));
    }
    DI_TRY(closing(p, "endfor", err));
done:
    return st;
}

static dial_status assignment(parser *p, const di_jinja_token *at, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    node *target = NULL, *n = NULL;

    DI_TRY(make(p, p->at, DI_J_NAME, &target, err));
    DI_TRY(need_name(p, &target->text, err));
    if (take_op(p, ".")) {
        node *base = target;

        DI_TRY(make(p, p->at, DI_J_ATTRIBUTE, &target, err));
        DI_TRY(need_name(p, &target->text, err));
        target->a = base;
    }
    DI_TRY(make(p, at, is_op(p, "=") ? DI_J_SET : DI_J_CAPTURE, out, err));
    n = *out;
    n->a = target;
    if (take_op(p, "=")) {
        DI_TRY(expression(p, &n->b, err));
        DI_TRY(block_end(p, err));
    } else {
        DI_TRY(block_end(p, err));
        DI_TRY(body(p, &n->b, err));
        DI_TRY(closing(p, "endset", err));
    }
done:
    return st;
}

static dial_status statement(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *at = p->at;

    if (++p->depth > MOST_DEPTH) DI_JINJA_FAIL(p->t, at, "nested deeper than %d", MOST_DEPTH);
    if (take_word(p, "if"))
        DI_TRY(condition(p, at, out, err));
    else if (take_word(p, "for"))
        DI_TRY(loop(p, at, out, err));
    else if (take_word(p, "set"))
        DI_TRY(assignment(p, at, out, err));
    else
        DI_TRY(found(p, "if, for or set (other statements are not read)", err));
    p->depth--;
done:
    return st;
}

/* {% elif, else, endif, endfor, endset: the body before it is over. */
static int ends_body(const parser *p)
{
    static const char *const words[] = {"elif", "else", "endif", "endfor", "endset"};

    if (p->at->kind != DI_JT_BLOCK_BEGIN || p->at[1].kind != DI_JT_NAME) return 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (di_str_is(p->at[1].text, words[i])) return 1;
    return 0;
}

/* Statements up to a word that ends them; p->at then stands at that word, behind {%. */
static dial_status body(parser *p, node **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_jinja_token *at;

    while (p->at->kind != DI_JT_END && !ends_body(p)) {
        at = p->at++;
        if (at->kind == DI_JT_DATA) {
            DI_TRY(make(p, at, DI_J_TEXT, out, err));
            (*out)->text = at->text;
        } else if (at->kind == DI_JT_PRINT_BEGIN) {
            DI_TRY(make(p, at, DI_J_PRINT, out, err));
            DI_TRY(expression(p, &(*out)->a, err));
            if (p->at->kind != DI_JT_PRINT_END) DI_TRY(found(p, "}}", err));
            p->at++;
        } else {
            DI_TRY(statement(p, out, err));
        }
        out = &(*out)->next;
    }
    p->at += p->at->kind != DI_JT_END;
done:
    return st;
}

/* --- a template ------------------------------------------------------------------------------- */

/* A copy with "\n" for every line end, without the last one. */
static dial_status copy_source(di_jinja *t, const char *source, size_t n, di_str *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    char *s = di_pool_take(&t->pool, n + 1);
    size_t size = 0;

    if (s == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n') continue;
        s[size++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (size > 0 && s[size - 1] == '\n') size--;
    *out = (di_str){s, size};
done:
    return st;
}

dial_status di_jinja_parse(const di_alloc *al, const char *name, const char *source, size_t n,
                           di_jinja **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_jinja *t = di_zalloc(al, sizeof *t);
    di_jinja_token start = {.line = 1, .column = 1};
    di_jinja_token *tokens = NULL;
    parser p = {.t = t};
    di_str text;

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    t->al = al;
    t->pool = (di_pool){.al = al, .limit = SIZE_MAX};
    t->name = di_strdup(al, name);
    if (t->name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    if (n > MOST_SOURCE)
        DI_JINJA_FAIL(t, &start, "expected a template of at most 1 MiB, found %zu bytes", n);
    if (di_utf8_check(source, n) < n || memchr(source, '\0', n) != NULL)
        DI_JINJA_FAIL(t, &start, "expected UTF-8 text");
    DI_TRY(copy_source(t, source, n, &text, err));
    DI_TRY(di_jinja_scan(t, text, &tokens, err));
    p.at = tokens;
    DI_TRY(body(&p, &t->root, err));
    if (p.at->kind != DI_JT_END) DI_TRY(found(&p, "what this would end", err));
    *out = t;
    t = NULL;
done:
    di_jinja_free(t);
    return st;
}

void di_jinja_free(di_jinja *t)
{
    if (t == NULL) return;
    di_pool_free(&t->pool);
    di_free(t->al, t->name);
    di_free(t->al, t);
}
