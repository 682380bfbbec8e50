#include "text/regex.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buf.h"
#include "base/error.h"
#include "text/unicode.h"

/* A pattern runs on a whole document in one piece at worst; the default JIT stack is 32 kB. */
enum { STACK_FIRST = 64 << 10, STACK_MOST = 16 << 20 };

struct di_regex {
    di_alloc al;
    pcre2_general_context *general;
    pcre2_code *code;
};

static void *take(PCRE2_SIZE n, void *al)
{
    return di_new(al, n);
}

static void release(void *p, void *al)
{
    di_free(al, p);
}

/* --- Translation ------------------------------------------------------------------------------ */

typedef struct translator {
    const char *s; /* the pattern, followed by a 0 */
    size_t n, i;
    const char *where;
    di_buf out;
    int in_class, folds;
} translator;

#define REFUSE(t, err, ...)                                                                        \
    DI_FAIL_AT((err), DIAL_ERR_INPUT, DI_FMT("%s, character %zu", (t)->where, (t)->i),             \
               "a pattern may hold classes, groups, quantifiers, look-ahead and \\s \\d \\w \\p",  \
               __VA_ARGS__)

static unsigned bit(di_category c)
{
    return 1u << c;
}

/* Categories of a property name, 0 if it is none of those translated. */
static unsigned property_mask(const char *name, size_t n)
{
    static const struct {
        char name[4];
        unsigned mask;
    } rows[] = {
        {"L",
         1u << DI_CAT_LU | 1u << DI_CAT_LL | 1u << DI_CAT_LT | 1u << DI_CAT_LM | 1u << DI_CAT_LO},
        {"Lu", 1u << DI_CAT_LU},
        {"Ll", 1u << DI_CAT_LL},
        {"Lt", 1u << DI_CAT_LT},
        {"Lm", 1u << DI_CAT_LM},
        {"Lo", 1u << DI_CAT_LO},
        {"M", 1u << DI_CAT_MARK},
        {"N", 1u << DI_CAT_DIGIT | 1u << DI_CAT_NUMBER},
        {"Nd", 1u << DI_CAT_DIGIT},
        {"P", 1u << DI_CAT_PUNCT},
        {"S", 1u << DI_CAT_SYMBOL},
        {"Z", 1u << DI_CAT_SEPARATOR},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strlen(rows[i].name) == n && memcmp(rows[i].name, name, n) == 0) return rows[i].mask;
    return 0;
}

/* The code points of these categories that PCRE2 may be too old to know. */
static void put_late(di_buf *out, unsigned mask)
{
    size_t n;
    const di_late_range *late = di_late_ranges(&n);

    for (size_t i = 0; i < n; i++)
        if (mask & bit(late[i].category))
            di_buf_printf(out, "\\x{%X}-\\x{%X}", (unsigned)late[i].first, (unsigned)late[i].last);
}

/*
 * A set of characters, given as what stands between brackets. Inside a class it is spliced in,
 * which a complement does not allow.
 */
static dial_status put_set(translator *t, const char *items, unsigned late, int complement,
                           dial_error *err)
{
    dial_status st = DIAL_OK;

    if (t->in_class) {
        if (complement) REFUSE(t, err, "a negated property inside a class");
        di_buf_printf(&t->out, "%s", items);
        put_late(&t->out, late);
    } else {
        di_buf_printf(&t->out, complement ? "[^%s" : "[%s", items);
        put_late(&t->out, late);
        di_buf_append(&t->out, "]", 1);
    }
done:
    return st;
}

static dial_status put_property(translator *t, int complement, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *name = t->s + t->i + 1, *close;
    char items[16];
    size_t n;
    unsigned mask;

    if (t->s[t->i] != '{' || (close = strchr(name, '}')) == NULL)
        REFUSE(t, err, "\\p without {NAME}");
    if (*name == '^') {
        complement = !complement;
        name++;
    }
    n = (size_t)(close - name);
    mask = property_mask(name, n);
    t->i = (size_t)(close - t->s) + 1;
    if (mask != 0) {
        di_format(items, sizeof items, "\\p{%.*s}", (int)n, name);
        DI_TRY(put_set(t, items, mask, complement, err));
    } else if (n == 3 && memcmp(name, "Han", 3) == 0) {
        /* the script itself: PCRE2 reads \p{Han} as its extensions, Oniguruma does not */
        DI_TRY(put_set(t, "\\p{sc:Han}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}", 0,
                       complement, err));
    } else {
        REFUSE(t, err, "unknown property \\p{%.*s}", (int)(n < 40 ? n : 40), name);
    }
done:
    return st;
}

static dial_status put_escape(translator *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char c = t->i + 1 < t->n ? t->s[t->i + 1] : '\0';

    t->i += 2;
    switch (c) {
    case 'p':
    case 'P': DI_TRY(put_property(t, c == 'P', err)); break;
    case 's':
    case 'S': /* PCRE2's own \s also holds U+180E */
        DI_TRY(put_set(t, "\\p{Z}\\x09-\\x0d\\x{85}", 0, c == 'S', err));
        break;
    case 'd':
    case 'D': DI_TRY(put_set(t, "\\p{Nd}", 1u << DI_CAT_DIGIT, c == 'D', err)); break;
    case 'w':
    case 'W': /* Oniguruma counts the superscript digits and fractions of Latin-1 */
        DI_TRY(put_set(t, "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}",
                       1u << DI_CAT_LU | 1u << DI_CAT_LL | 1u << DI_CAT_LT | 1u << DI_CAT_LM |
                           1u << DI_CAT_LO | 1u << DI_CAT_MARK | 1u << DI_CAT_DIGIT,
                       c == 'W', err));
        break;
    case 'r':
    case 'n':
    case 't':
    case 'f': di_buf_printf(&t->out, "\\%c", c); break;
    default:
        if (c <= ' ' || c > '~' || (c >= '0' && c <= '9') ||
            ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
            REFUSE(t, err, "escape \\%c", c > ' ' && c <= '~' ? c : '?');
        di_buf_printf(&t->out, "\\%c", c);
    }
done:
    return st;
}

/*
 * "(?i:" folds single characters alike in both engines; Oniguruma also folds ss to U+00DF, st and
 * the f ligatures, so such a pair of letters anywhere in the pattern is refused.
 */
static dial_status check_folding(translator *t, dial_error *err)
{
    static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};
    dial_status st = DIAL_OK;

    for (size_t i = 0; t->folds && i + 1 < t->n; i++)
        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
            if ((t->s[i] | 0x20) == pairs[k][0] && (t->s[i + 1] | 0x20) == pairs[k][1])
                REFUSE(t, err, "\"%s\" in a pattern that ignores case", pairs[k]);
done:
    return st;
}

static dial_status put_group(translator *t, dial_error *err)
{
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?>"};
    dial_status st = DIAL_OK;
    size_t k;

    if (t->i + 1 >= t->n || t->s[t->i + 1] != '?') {
        di_buf_append(&t->out, "(?:", 3); /* nothing refers to a group by its number */
        t->i++;
        goto done;
    }
    for (k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strncmp(t->s + t->i, kinds[k], strlen(kinds[k])) == 0) break;
    if (k == sizeof kinds / sizeof *kinds) REFUSE(t, err, "group %.4s", t->s + t->i);
    if (kinds[k][2] == 'i') t->folds = 1;
    di_buf_append(&t->out, kinds[k], strlen(kinds[k]));
    t->i += strlen(kinds[k]);
done:
    return st;
}

static dial_status put_class_char(translator *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char c = t->s[t->i];

    if (c == '[' || (c == '&' && t->s[t->i + 1] == '&')) REFUSE(t, err, "a class inside a class");
    if (c == ']') t->in_class = 0;
    di_buf_append(&t->out, &c, 1);
    t->i++;
done:
    return st;
}

/* {n,m}+ is possessive to PCRE2 and a repeated repetition to Oniguruma. */
static dial_status put_braces(translator *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *close = strchr(t->s + t->i, '}');
    const size_t inner = strspn(t->s + t->i + 1, "0123456789,");

    if (close == NULL || t->s + t->i + 1 + inner != close || t->s[t->i + 1] == ',' || inner == 0)
        REFUSE(t, err, "a brace that is no quantifier");
    if (close[1] == '+' || close[1] == '?') REFUSE(t, err, "quantifier {..}%c", close[1]);
    di_buf_append(&t->out, t->s + t->i, inner + 2);
    t->i += inner + 2;
done:
    return st;
}

static dial_status translate(translator *t, dial_error *err)
{
    dial_status st = DIAL_OK;

    while (t->i < t->n) {
        const char c = t->s[t->i];

        if (c == '\0') REFUSE(t, err, "a 0 byte");
        if (c == '\\') {
            DI_TRY(put_escape(t, err));
        } else if (t->in_class) {
            DI_TRY(put_class_char(t, err));
        } else if (c == '[') {
            di_buf_append(&t->out, "[", 1);
            t->in_class = 1;
            t->i++;
            if (t->s[t->i] == '^') {
                di_buf_append(&t->out, "^", 1);
                t->i++;
            }
            if (t->s[t->i] == ']') REFUSE(t, err, "an empty class");
        } else if (c == '(') {
            DI_TRY(put_group(t, err));
        } else if (c == '{') {
            DI_TRY(put_braces(t, err));
        } else {
            if (c == '^' || c == '$') REFUSE(t, err, "anchor %c", c); /* lines to Oniguruma */
            di_buf_append(&t->out, &c, 1);
            t->i++;
        }
    }
    DI_TRY(check_folding(t, err));
    DI_TRY(di_buf_status(&t->out, err));
done:
    return st;
}

/* --- Compiling and searching ------------------------------------------------------------------ */

static dial_status compile(di_regex *re, const translator *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    pcre2_compile_context *context = pcre2_compile_context_create(re->general);
    uint32_t can_be_empty = 0;
    int code = 0, jit;
    PCRE2_SIZE at = 0;
    PCRE2_UCHAR why[120] = "";

    if (context == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "%s: no memory for a pattern", t->where);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    re->code = pcre2_compile((PCRE2_SPTR)t->out.data, t->out.size, PCRE2_UTF | PCRE2_UCP, &code,
                             &at, context);
    if (re->code == NULL) {
        if (code == PCRE2_ERROR_HEAP_FAILED)
            DI_FAIL(err, DIAL_ERR_NOMEM, "%s: no memory for a pattern", t->where);
        pcre2_get_error_message(code, why, sizeof why);
        DI_FAIL_AT(err, DIAL_ERR_INPUT, t->where, "check the pattern against interfaces.md 3.3",
                   "unsupported pattern: %s", (const char *)why);
    }
    pcre2_pattern_info(re->code, PCRE2_INFO_MATCHEMPTY, &can_be_empty);
    if (can_be_empty)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, t->where, "make every alternative match a character",
                   "unsupported pattern: it can match nothing");
    jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE); /* without JIT the search interprets */
    if (jit == PCRE2_ERROR_NOMEMORY)
        DI_FAIL(err, DIAL_ERR_NOMEM, "%s: no memory for a pattern", t->where);
done:
    pcre2_compile_context_free(context);
    return st;
}

dial_status di_regex_compile(const di_alloc *al, const char *pattern, size_t n, const char *where,
                             di_regex **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_regex *re = di_zalloc(al, sizeof *re);
    translator t = {.s = pattern, .n = n, .where = where};

    di_buf_init(&t.out, al);
    if (re == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "%s: no memory for a pattern", where);
    re->al = *al;
    if (n > 4096)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "use a shorter pattern",
                   "unsupported pattern: %zu bytes, at most 4096", n);
    DI_TRY(translate(&t, err));
    re->general = pcre2_general_context_create(take, release, &re->al);
    if (re->general == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "%s: no memory for a pattern", where);
    DI_TRY(compile(re, &t, err));
    *out = re;
    re = NULL;
done:
    di_buf_deinit(&t.out);
    di_regex_free(re);
    return st;
}

void di_regex_free(di_regex *re)
{
    if (re == NULL) return;
    pcre2_code_free(re->code);
    pcre2_general_context_free(re->general);
    di_free(&re->al, re);
}

void di_regex_work_deinit(di_regex_work *w)
{
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    pcre2_general_context_free(w->general);
    *w = (di_regex_work){.al = w->al};
}

static dial_status prepare(di_regex_work *w, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (w->stack != NULL) goto done;
    if (w->general == NULL)
        w->general = pcre2_general_context_create(take, release, (void *)(uintptr_t)w->al);
    if (w->general != NULL && w->match == NULL) w->match = pcre2_match_data_create(1, w->general);
    if (w->general != NULL && w->context == NULL)
        w->context = pcre2_match_context_create(w->general);
    if (w->match != NULL && w->context != NULL)
        w->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, w->general);
    if (w->stack == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to search a pattern");
    pcre2_jit_stack_assign(w->context, NULL, w->stack);
done:
    return st;
}

dial_status di_regex_find(const di_regex *re, di_regex_work *w, const char *s, size_t n,
                          size_t from, int *found, size_t *begin, size_t *end, dial_error *err)
{
    dial_status st = DIAL_OK;
    const PCRE2_SIZE *pair;
    int count;

    DI_TRY(prepare(w, err));
    count = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, w->match, w->context);
    if (count == PCRE2_ERROR_NOMEMORY)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to search a pattern");
    if (count < 0 && count != PCRE2_ERROR_NOMATCH)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, NULL, "cut the text into shorter ones",
                   "a pattern of the tokenizer gave up on a text of %zu bytes (PCRE2 error %d)", n,
                   count);
    *found = count >= 0;
    if (*found) {
        pair = pcre2_get_ovector_pointer(w->match);
        *begin = pair[0];
        *end = pair[1];
    }
done:
    return st;
}
