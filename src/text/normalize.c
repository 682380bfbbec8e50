#include "text/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "base/error.h"
#include "text/unicode.h"

void di_normalizer_deinit(di_normalizer *nm, const di_alloc *al)
{
    for (size_t i = 0; i < nm->n; i++) {
        di_free(al, nm->step[i].pattern);
        di_free(al, nm->step[i].content);
        di_regex_free(nm->step[i].regex);
    }
    nm->n = 0;
}

void di_norm_work_init(di_norm_work *w, const di_alloc *al, di_regex_work *regex)
{
    *w = (di_norm_work){.text = {{.al = al}, {.al = al}}, .regex = regex};
}

void di_norm_work_deinit(di_norm_work *w)
{
    const di_alloc *al = w->text[0].al;

    di_rewriter_deinit(&w->text[0]);
    di_rewriter_deinit(&w->text[1]);
    if (al != NULL) {
        di_free(al, w->code);
        di_free(al, w->class);
    }
    w->code = NULL;
    w->class = NULL;
    w->cap = 0;
}

/* --- Normalisation forms ---------------------------------------------------------------------- */
/*
 * A text is cut into clusters that cannot affect each other: a cluster starts at a code point
 * whose decomposition starts with neither a mark nor a conjoining vowel or final consonant, for
 * only these reorder or join to what stands before. A cluster that comes out as it went in keeps
 * the place of each byte; in another all bytes stand for the whole cluster.
 *
 * utf8proc's own utf8proc_map is not used: it loses places, and it sorts long runs of marks in
 * quadratic time (100 kB of them take seconds).
 */

enum { MOST_DECOMPOSED = 32 }; /* the longest decomposition, U+FDFA, has 18 code points */

typedef struct form {
    utf8proc_option_t options;
    int composed;
} form;

static form form_of(di_norm_kind kind)
{
    switch (kind) {
    case DI_NORM_NFC: return (form){UTF8PROC_DECOMPOSE, 1};
    case DI_NORM_NFKC: return (form){UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 1};
    case DI_NORM_NFKD: return (form){UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0};
    default: return (form){UTF8PROC_DECOMPOSE, 0};
    }
}

static size_t decompose(form f, uint32_t c, int32_t out[MOST_DECOMPOSED])
{
    utf8proc_ssize_t n;
    int bound = 0;

    if (c < 0x80 || di_norm_unknown(c)) {
        out[0] = (int32_t)c;
        return 1;
    }
    n = utf8proc_decompose_char((int32_t)c, out, MOST_DECOMPOSED, f.options, &bound);
    if (n < 1 || n > MOST_DECOMPOSED) {
        out[0] = (int32_t)c;
        return 1;
    }
    return (size_t)n;
}

static uint8_t combining_class(uint32_t c)
{
    if (c < 0x300 || di_norm_unknown(c)) return 0;
    return (uint8_t)utf8proc_get_property((int32_t)c)->combining_class;
}

static int joins_backwards(uint32_t c)
{
    if (c < 0x300) return 0;
    return di_category_of(c) == DI_CAT_MARK || (c >= 0x1160 && c <= 0x11ff) ||
           (c >= 0xd7b0 && c <= 0xd7ff);
}

/* Starts a cluster and stays as it is unless a mark follows: a short cut for whole scripts. */
static int is_inert(form f, uint32_t c)
{
    if (c < 0x80 || (c >= 0x4e00 && c <= 0x9fff)) return 1;
    if (!f.composed || (f.options & UTF8PROC_COMPAT)) return 0;
    return c < 0x300 || (c >= 0x400 && c <= 0x482) || (c >= 0x5d0 && c <= 0x5ea) ||
           (c >= 0x620 && c <= 0x64a) || (c >= 0x3041 && c <= 0x3096) ||
           (c >= 0x30a1 && c <= 0x30fa) || (c >= 0xac00 && c <= 0xd7a3);
}

static int starts_cluster(form f, uint32_t c)
{
    int32_t parts[MOST_DECOMPOSED];

    if (is_inert(f, c) || di_norm_unknown(c)) return 1;
    decompose(f, c, parts);
    return !joins_backwards((uint32_t)parts[0]);
}

static int reserve_codes(di_norm_work *w, size_t n)
{
    const di_alloc *al = w->text[0].al;
    size_t cap, bytes;
    void *p;

    if (n <= w->cap) return 1;
    if (!di_add_size(n, n / 2 + 64, &cap) || !di_mul_size(cap, sizeof *w->code, &bytes)) return 0;
    p = di_resize(al, w->code, bytes);
    if (p == NULL) return 0;
    w->code = p;
    p = di_resize(al, w->class, cap);
    if (p == NULL) return 0;
    w->class = p;
    w->cap = cap;
    return 1;
}

/*
 * Canonical ordering: a stable sort by class within each run of classes other than 0. Shellsort
 * would not be stable, and insertion is quadratic on a document of marks; a pass per class that
 * occurs is neither, and there are 54 classes.
 */
static int order_marks(di_norm_work *w, size_t n)
{
    for (size_t from = 0; from < n; from++) {
        size_t to = from, next;
        int sorted = 1;
        uint64_t seen[4] = {0};

        if (w->class[from] == 0) continue;
        for (; to < n && w->class[to] != 0; to++) {
            seen[w->class[to] / 64] |= (uint64_t)1 << (w->class[to] % 64);
            if (to > from && w->class[to] < w -> class[to - 1]) sorted = 0;
        }
        if (!sorted) {
            if (!reserve_codes(w, n + (to - from))) return 0;
            next = n; /* the sorted run is laid behind the cluster, then copied back */
            for (unsigned k = 1; k < 256; k++)
                if (seen[k / 64] >> (k % 64) & 1)
                    for (size_t i = from; i < to; i++)
                        if (w->class[i] == k) w->code[next++] = w->code[i];
            memcpy(w->code + from, w->code + n, (to - from) * sizeof *w->code);
        }
        from = to - 1;
    }
    return 1;
}

/* One cluster, from..to of p. */
static int put_cluster(form f, di_norm_work *w, const di_piece *p, size_t from, size_t to,
                       di_rewriter *out)
{
    const uint32_t end = di_piece_end(p, to);
    const size_t start = out->n;
    utf8proc_ssize_t n = 0;
    size_t first_size;
    const uint32_t first = di_utf8_get(p->s + from, &first_size);
    char bytes[4];

    for (size_t i = from, size; i < to; i += size) {
        int32_t parts[MOST_DECOMPOSED];
        const size_t count = decompose(f, di_utf8_get(p->s + i, &size), parts);

        if (!reserve_codes(w, (size_t)n + count)) return 0;
        for (size_t k = 0; k < count; k++, n++) {
            w->code[n] = parts[k];
            w->class[n] = combining_class((uint32_t)parts[k]);
        }
    }
    if (!order_marks(w, (size_t)n)) return 0;
    if (f.composed) n = utf8proc_normalize_utf32(w->code, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        int32_t parts[MOST_DECOMPOSED] = {w->code[i]};
        utf8proc_ssize_t count = 1;
        int bound = 0;

        /* a composition that Unicode 9 did not have is taken apart again */
        if (f.composed && (uint32_t)parts[0] != first && di_norm_unknown((uint32_t)parts[0]))
            count = utf8proc_decompose_char(w->code[i], parts, MOST_DECOMPOSED, UTF8PROC_DECOMPOSE,
                                            &bound);
        for (utf8proc_ssize_t k = 0; k < count; k++)
            di_rewriter_put(out, bytes, di_utf8_put((uint32_t)parts[k], bytes), end);
    }
    if (!out->failed && out->n - start == to - from &&
        memcmp(out->s + start, p->s + from, to - from) == 0) {
        out->n = start;
        di_rewriter_copy(out, p, from, to);
    }
    return 1;
}

/* The first byte that some form could change: below U+00A0 (NFK..) or U+0300 (NFC) none does. */
static size_t unchanged_prefix(di_norm_kind kind, const di_piece *p)
{
    const unsigned char *s = (const unsigned char *)p->s;
    const unsigned char limit = kind == DI_NORM_NFC ? 0xcc : 0x80;
    size_t i = 0;

    while (i < p->n && s[i] < limit) i++;
    if (i > 0 && i < p->n) i = di_utf8_before(p->s, i); /* it may carry the mark */
    return i;
}

static dial_status normal_form(di_norm_kind kind, di_norm_work *w, di_piece *p, di_rewriter *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const form f = form_of(kind);
    size_t i = unchanged_prefix(kind, p);

    if (i == p->n) goto done;
    di_rewriter_reset(out);
    di_rewriter_copy(out, p, 0, i);
    while (i < p->n) {
        size_t size, to;
        const uint32_t base = di_utf8_get(p->s + i, &size);

        for (to = i + size; to < p->n && !starts_cluster(f, di_utf8_get(p->s + to, &size));)
            to += size;
        if (to - i == di_utf8_size(p->s[i]) && is_inert(f, base))
            di_rewriter_copy(out, p, i, to);
        else if (!put_cluster(f, w, p, i, to, out))
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to normalise %zu bytes", p->n);
        i = to;
    }
    *p = di_rewriter_piece(out, p, p->first);
done:
    return st;
}

/* --- The other steps -------------------------------------------------------------------------- */

static void lowercase(di_piece *p, di_rewriter *out)
{
    size_t size;

    di_rewriter_reset(out);
    for (size_t i = 0; i < p->n; i += size) {
        uint32_t low[2];
        char bytes[4];
        const uint32_t c = di_utf8_get(p->s + i, &size);
        const int count = di_lowercase(c, low);

        if (count == 1 && low[0] == c)
            di_rewriter_copy(out, p, i, i + size);
        else
            for (int k = 0; k < count; k++)
                di_rewriter_put(out, bytes, di_utf8_put(low[k], bytes), di_piece_end(p, i + size));
    }
    *p = di_rewriter_piece(out, p, p->first);
}

static void strip(const di_norm_step *step, di_piece *p)
{
    size_t from = 0, to = p->n, size;

    while (step->left && from < to && di_is_space(di_utf8_get(p->s + from, &size))) from += size;
    while (step->right && to > from) {
        const size_t last = di_utf8_before(p->s, to);

        if (!di_is_space(di_utf8_get(p->s + last, &size))) break;
        to = last;
    }
    *p = di_piece_cut(p, from, to);
}

static void prepend(const di_norm_step *step, di_piece *p, di_rewriter *out)
{
    if (p->n == 0) return;
    di_rewriter_reset(out);
    di_rewriter_put(out, step->content, step->content_n, p->at);
    di_rewriter_copy(out, p, 0, p->n);
    *p = di_rewriter_piece(out, p, p->first);
}

/* The next place where the pattern stands, as an offset; p->n: none. */
static dial_status next_match(const di_norm_step *step, di_norm_work *w, const di_piece *p,
                              size_t from, size_t *begin, size_t *end, dial_error *err)
{
    dial_status st = DIAL_OK;
    int found = 0;

    if (step->regex != NULL) {
        DI_TRY(di_regex_find(step->regex, w->regex, p->s, p->n, from, &found, begin, end, err));
        if (!found) *begin = *end = p->n;
    } else {
        const char *at =
            from < p->n ? memmem(p->s + from, p->n - from, step->pattern, step->pattern_n) : NULL;

        *begin = at != NULL ? (size_t)(at - p->s) : p->n;
        *end = at != NULL ? *begin + step->pattern_n : p->n;
    }
done:
    return st;
}

static dial_status replace(const di_norm_step *step, di_norm_work *w, di_piece *p, di_rewriter *out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t from = 0, begin, end;
    int first = p->first;

    DI_TRY(next_match(step, w, p, 0, &begin, &end, err));
    if (begin == p->n) goto done;
    /* the library places what it inserts at the last character of the match */
    if (begin == 0 && (step->content_n == 0 || end > di_utf8_size(p->s[0]))) first = 0;
    di_rewriter_reset(out);
    while (begin < p->n) {
        di_rewriter_copy(out, p, from, begin);
        di_rewriter_put(out, step->content, step->content_n, di_piece_end(p, end));
        from = end;
        DI_TRY(next_match(step, w, p, from, &begin, &end, err));
    }
    di_rewriter_copy(out, p, from, p->n);
    *p = di_rewriter_piece(out, p, first);
done:
    return st;
}

dial_status di_normalize(const di_normalizer *nm, di_norm_work *w, di_piece *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    int free_buffer = 0; /* the one of the two that the view does not lie in */

    for (size_t i = 0; i < nm->n; i++) {
        const di_norm_step *step = &nm->step[i];
        di_rewriter *out = &w->text[free_buffer];

        out->failed = 0;
        switch (step->kind) {
        case DI_NORM_LOWERCASE: lowercase(p, out); break;
        case DI_NORM_STRIP: strip(step, p); break;
        case DI_NORM_PREPEND: prepend(step, p, out); break;
        case DI_NORM_REPLACE: DI_TRY(replace(step, w, p, out, err)); break;
        default: DI_TRY(normal_form(step->kind, w, p, out, err));
        }
        if (out->failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to normalise %zu bytes", p->n);
        if (p->s == out->s) free_buffer ^= 1;
    }
done:
    return st;
}
