#include "text/scan.h"

#include <string.h>

#include "text/unicode.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define THE_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char *di_scan_pattern(di_scan k)
{
    switch (k) {
    case DI_SCAN_GPT2:
        return "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    case DI_SCAN_QWEN2: return CONTRACTIONS "\\p{N}" THE_REST;
    case DI_SCAN_LLAMA3: return CONTRACTIONS "\\p{N}{1,3}" THE_REST;
    case DI_SCAN_NUMBER: return "\\p{N}";
    case DI_SCAN_NUMBERS: return "\\p{N}+";
    case DI_SCAN_THREE: return "[0-9][0-9][0-9]";
    case DI_SCAN_PUNCT: return "[\\p{P}\\$\\+<=>\\^~\\|]+";
    default: return NULL;
    }
}

di_scan di_scan_of(const char *pattern, size_t n)
{
    for (int k = DI_SCAN_NONE + 1; k < DI_SCAN_COUNT; k++) {
        const char *known = di_scan_pattern((di_scan)k);

        if (known != NULL && strlen(known) == n && memcmp(known, pattern, n) == 0)
            return (di_scan)k;
    }
    return DI_SCAN_NONE;
}

/* Class of the character at s[i], i < n, and its size. */
static inline int class_at(const char *s, size_t i, size_t *size)
{
    return di_class_of(di_utf8_get(s + i, size));
}

/* End of the run of characters of one class from i. */
static inline size_t run_of(int class, const char *s, size_t n, size_t i)
{
    size_t size;

    while (i < n && class_at(s, i, &size) == class) i += size;
    return i;
}

/*
 * End of a contraction at s[i] == '\'', or i. When case is ignored, U+017F (long s) folds to s: the
 * only code point beyond ASCII that does so for one of these letters.
 */
static size_t contraction(const char *s, size_t n, size_t i, int ignore_case)
{
    const size_t left = n - i;
    const char fold = ignore_case ? 0x20 : 0;
    char a, b;

    if (left < 2) return i;
    a = (char)(s[i + 1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    if (left < 3) return i;
    if (ignore_case && memcmp(s + i + 1, "\xc5\xbf", 2) == 0) return i + 3;
    b = (char)(s[i + 2] | fold);
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? i + 3 : i;
}

/* \s+(?!\S)|\s+ at the start of a run of spaces: without its last one if something follows. */
static size_t spaces(const char *s, size_t n, size_t i)
{
    const size_t end = run_of(DI_CLASS_SPACE, s, n, i);
    const size_t last = di_utf8_before(s, end);

    return end == n || last == i ? end : last;
}

static size_t match_gpt2(const char *s, size_t n, size_t i)
{
    size_t size, from = i, end;
    int class;

    if (s[i] == '\'' && (end = contraction(s, n, i, 0)) > i) return end;
    if (s[i] == ' ' && i + 1 < n) from++;
    class = class_at(s, from, &size);
    if (class == DI_CLASS_SPACE) return spaces(s, n, i);
    return run_of(class, s, n, from + size);
}

/* \s*[\r\n]+ : up to the last line end of a run of spaces; i if it holds none. */
static size_t line_ends(const char *s, size_t i, size_t end)
{
    while (end > i && s[end - 1] != '\n' && s[end - 1] != '\r') end--;
    return end;
}

/* QWEN2 with digits 1, LLAMA3 with 3. */
static size_t match_words(const char *s, size_t n, size_t i, int digits)
{
    size_t size, next, end;
    const int class = class_at(s, i, &size);

    if (s[i] == '\'' && (end = contraction(s, n, i, 1)) > i) return end;
    if (class == DI_CLASS_LETTER) return run_of(class, s, n, i + size);
    if (class == DI_CLASS_NUMBER) {
        for (end = i + size; --digits > 0 && end < n; end += next)
            if (class_at(s, end, &next) != DI_CLASS_NUMBER) break;
        return end;
    }
    end = i + size;
    if (s[i] != '\r' && s[i] != '\n' && end < n && class_at(s, end, &next) == DI_CLASS_LETTER)
        return run_of(DI_CLASS_LETTER, s, n, end + next);
    if (s[i] == ' ' && end < n && class_at(s, end, &next) == DI_CLASS_OTHER)
        end = run_of(DI_CLASS_OTHER, s, n, end + next);
    else if (class == DI_CLASS_OTHER)
        end = run_of(DI_CLASS_OTHER, s, n, end);
    else {
        const size_t lines = line_ends(s, i, run_of(DI_CLASS_SPACE, s, n, end));

        return lines > i ? lines : spaces(s, n, i);
    }
    while (end < n && (s[end] == '\r' || s[end] == '\n')) end++;
    return end;
}

/* --- Patterns that match here and there: a test for one character ----------------------------- */

static int is_punct(uint32_t c)
{
    if (c < 0x80) return c > ' ' && c != 0x7f && c != '`' && di_class_of(c) == DI_CLASS_OTHER;
    return di_category_of(c) == DI_CAT_PUNCT || di_category_of(c) == DI_CAT_CONNECTOR;
}

static int wanted(di_scan k, uint32_t c)
{
    switch (k) {
    case DI_SCAN_THREE: return c - '0' < 10u;
    case DI_SCAN_PUNCT: return is_punct(c);
    case DI_SCAN_NUMERIC: return di_is_numeric(c);
    default: return di_class_of(c) == DI_CLASS_NUMBER;
    }
}

static int find_run(di_scan k, const char *s, size_t n, size_t from, size_t *begin, size_t *end)
{
    const size_t most = k == DI_SCAN_NUMBER || k == DI_SCAN_NUMERIC ? 1
                        : k == DI_SCAN_THREE                        ? 3
                                                                    : n;
    const size_t least = k == DI_SCAN_THREE ? 3 : 1;
    size_t size, count = 0;

    for (size_t i = from; i < n; i += size) {
        if (wanted(k, di_utf8_get(s + i, &size))) {
            if (count == 0) *begin = i;
            *end = i + size;
            if (++count == most) return 1;
        } else {
            if (count >= least) return 1;
            count = 0;
        }
    }
    return count >= least;
}

int di_scan_find(di_scan k, const char *s, size_t n, size_t from, size_t *begin, size_t *end)
{
    if (from >= n) return 0;
    switch (k) {
    case DI_SCAN_GPT2: *end = match_gpt2(s, n, from); break;
    case DI_SCAN_QWEN2: *end = match_words(s, n, from, 1); break;
    case DI_SCAN_LLAMA3: *end = match_words(s, n, from, 3); break;
    default: return find_run(k, s, n, from, begin, end);
    }
    *begin = from;
    return 1;
}
