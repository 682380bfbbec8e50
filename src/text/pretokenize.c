#include "text/pretokenize.h"

#include <string.h>

#include "base/error.h"
#include "text/unicode.h"

void di_pretokenizer_deinit(di_pretokenizer *pt, const di_alloc *al)
{
    for (size_t i = 0; i < pt->n; i++) {
        di_free(al, pt->step[i].text);
        di_regex_free(pt->step[i].regex);
    }
    pt->n = 0;
}

void di_pre_work_init(di_pre_work *w, const di_alloc *al, di_regex_work *regex)
{
    *w = (di_pre_work){.regex = regex};
    for (int i = 0; i < DI_PRE_STEPS; i++) w->text[i].al = w->mapped[i].al = al;
}

void di_pre_work_deinit(di_pre_work *w)
{
    for (int i = 0; i < DI_PRE_STEPS; i++) {
        di_rewriter_deinit(&w->text[i]);
        di_rewriter_deinit(&w->mapped[i]);
    }
}

static int is_own_letter(unsigned b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

uint32_t di_byte_letter(unsigned char byte)
{
    if (is_own_letter(byte)) return byte;
    if (byte <= 32) return 0x100u + byte;
    if (byte <= 160) return 0x100u + 33 + (byte - 127u);
    return 0x100u + 67; /* 173, the soft hyphen */
}

int di_letter_byte(uint32_t letter)
{
    if (letter < 0x100) return is_own_letter(letter) ? (int)letter : -1;
    letter -= 0x100;
    if (letter <= 32) return (int)letter;
    if (letter <= 66) return (int)(letter - 33 + 127);
    return letter == 67 ? 173 : -1;
}

/* --- Walking through the steps ---------------------------------------------------------------- */

typedef struct walk {
    const di_pretokenizer *pt;
    di_pre_work *w;
    di_piece_sink sink;
    void *ctx;
} walk;

static dial_status run(const walk *k, size_t at, const di_piece *p, dial_error *err);

/* What a splitting step has seen and not handed on yet: the bytes begin..end of the piece. */
typedef struct splitter {
    const walk *k;
    const di_piece *p;
    size_t next_step;
    di_behaviour behaviour;
    size_t begin, end;
    int pending, was_match;
} splitter;

static dial_status emit(const splitter *s, size_t begin, size_t end, dial_error *err)
{
    di_piece part;

    if (begin == end) return DIAL_OK;
    part = di_piece_cut(s->p, begin, end);
    return run(s->k, s->next_step, &part, err);
}

static dial_status flush(splitter *s, dial_error *err)
{
    if (!s->pending) return DIAL_OK;
    s->pending = 0;
    return emit(s, s->begin, s->end, err);
}

/* The next stretch of the text, a match of the pattern or what lies between two. */
static dial_status stretch(splitter *s, size_t begin, size_t end, int is_match, dial_error *err)
{
    dial_status st = DIAL_OK;
    int joins = 0;

    switch (s->behaviour) {
    case DI_SPLIT_ISOLATED: return emit(s, begin, end, err);
    case DI_SPLIT_REMOVED: return is_match ? DIAL_OK : emit(s, begin, end, err);
    case DI_SPLIT_CONTIGUOUS: joins = is_match == s->was_match; break;
    case DI_SPLIT_MERGED_WITH_PREVIOUS: joins = is_match && !s->was_match; break;
    case DI_SPLIT_MERGED_WITH_NEXT: joins = !is_match && s->was_match; break;
    }
    s->was_match = is_match;
    if (s->pending && joins) {
        s->end = end;
        goto done;
    }
    DI_TRY(flush(s, err));
    s->begin = begin;
    s->end = end;
    s->pending = 1;
done:
    return st;
}

/* First match of the step's pattern at or after `from`; *begin == p->n: none. */
static dial_status find(const di_pre_step *step, const walk *k, const di_piece *p, size_t from,
                        size_t *begin, size_t *end, dial_error *err)
{
    dial_status st = DIAL_OK;
    int found = 0;

    if (step->scan != DI_SCAN_NONE) {
        found = di_scan_find(step->scan, p->s, p->n, from, begin, end);
    } else if (step->regex != NULL) {
        if (from < p->n)
            DI_TRY(
                di_regex_find(step->regex, k->w->regex, p->s, p->n, from, &found, begin, end, err));
    } else if (from < p->n) {
        const char *at = memmem(p->s + from, p->n - from, step->text, step->text_n);

        found = at != NULL;
        if (found) *begin = (size_t)(at - p->s);
        if (found) *end = *begin + step->text_n;
    }
    if (!found) *begin = *end = p->n;
done:
    return st;
}

static dial_status split(const di_pre_step *step, di_behaviour behaviour, const walk *k, size_t at,
                         const di_piece *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    splitter s = {.k = k, .p = p, .next_step = at + 1, .behaviour = behaviour};
    size_t from = 0, begin, end;

    while (from < p->n) {
        DI_TRY(find(step, k, p, from, &begin, &end, err));
        if (begin > from) DI_TRY(stretch(&s, from, begin, step->invert, err));
        if (end > begin) DI_TRY(stretch(&s, begin, end, !step->invert, err));
        from = end;
    }
    DI_TRY(flush(&s, err));
done:
    return st;
}

/* --- Steps that rewrite ----------------------------------------------------------------------- */

/* Spells the bytes of a piece in letters and hands it on. */
static dial_status map_bytes(const walk *k, size_t at, const di_piece *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rewriter *out = &k->w->mapped[at];
    di_piece q;

    di_rewriter_reset(out);
    for (size_t i = 0; i < p->n; i++) {
        char letter[4];

        di_rewriter_put(out, letter, di_utf8_put(di_byte_letter((unsigned char)p->s[i]), letter),
                        di_piece_end(p, i + 1));
    }
    if (out->failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to spell %zu bytes", p->n);
    q = di_rewriter_piece(out, p, p->first);
    DI_TRY(run(k, at + 1, &q, err));
done:
    return st;
}

static dial_status byte_level(const walk *k, size_t at, const di_piece *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_pre_step *step = &k->pt->step[at];
    const int raw = k->pt->raw_bytes && at + 1 == k->pt->n;
    di_piece q = *p;
    size_t begin = 0, end = 0;

    if (step->add_prefix && p->s[0] != ' ') {
        di_rewriter *out = &k->w->text[at];

        di_rewriter_reset(out);
        di_rewriter_put(out, " ", 1, p->at);
        di_rewriter_copy(out, p, 0, p->n);
        if (out->failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to split %zu bytes", p->n);
        q = di_rewriter_piece(out, p, p->first);
    }
    while (end < q.n) {
        di_piece part;

        if (step->use_regex)
            di_scan_find(DI_SCAN_GPT2, q.s, q.n, end, &begin, &end);
        else
            end = q.n;
        part = di_piece_cut(&q, begin, end);
        DI_TRY(raw ? k->sink(k->ctx, &part, err) : map_bytes(k, at, &part, err));
    }
done:
    return st;
}

static dial_status metaspace(const walk *k, size_t at, const di_piece *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_pre_step *step = &k->pt->step[at];
    di_rewriter *out = &k->w->text[at];
    const int starts =
        p->s[0] == ' ' || (p->n >= step->text_n && memcmp(p->s, step->text, step->text_n) == 0);
    size_t from = 0;
    di_piece q;

    di_rewriter_reset(out);
    if (!starts &&
        (step->scheme == DI_PREPEND_ALWAYS || (step->scheme == DI_PREPEND_FIRST && p->first)))
        di_rewriter_put(out, step->text, step->text_n, p->at);
    for (size_t i = 0; i < p->n; i++) {
        if (p->s[i] != ' ') continue;
        di_rewriter_copy(out, p, from, i);
        di_rewriter_put(out, step->text, step->text_n, di_piece_end(p, i + 1));
        from = i + 1;
    }
    di_rewriter_copy(out, p, from, p->n);
    if (out->failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to split %zu bytes", p->n);
    q = di_rewriter_piece(out, p, p->first);
    if (step->split)
        DI_TRY(split(step, DI_SPLIT_MERGED_WITH_NEXT, k, at, &q, err));
    else
        DI_TRY(run(k, at + 1, &q, err));
done:
    return st;
}

static dial_status run(const walk *k, size_t at, const di_piece *p, dial_error *err)
{
    const di_pre_step *step;

    if (at == k->pt->n) return k->sink(k->ctx, p, err);
    step = &k->pt->step[at];
    switch (step->kind) {
    case DI_PRE_BYTELEVEL: return byte_level(k, at, p, err);
    case DI_PRE_METASPACE: return metaspace(k, at, p, err);
    case DI_PRE_DIGITS:
    case DI_PRE_SPLIT: break;
    }
    return split(step, step->behaviour, k, at, p, err);
}

dial_status di_pretokenize(const di_pretokenizer *pt, di_pre_work *w, const di_piece *p,
                           di_piece_sink sink, void *ctx, dial_error *err)
{
    const walk k = {pt, w, sink, ctx};

    return p->n == 0 ? DIAL_OK : run(&k, 0, p, err);
}
