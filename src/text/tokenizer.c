#include "text/tokenizer.h"

#include <string.h>

#include "base/error.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

/* --- Putting a tokenizer together ------------------------------------------------------------- */

di_tokenizer *di_tokenizer_new(const di_alloc *al)
{
    di_tokenizer *t = di_zalloc(al, sizeof *t);

    if (t == NULL) return NULL;
    t->al = t->bpe.al = al;
    t->info =
        (di_tokenizer_info){.model = "bpe", .pre = "", .bos = -1, .eos = -1, .pad = -1, .unk = -1};
    t->bpe.unk = -1;
    di_trie_init(&t->raw, al);
    di_trie_init(&t->normalised, al);
    return t;
}

void di_tokenizer_close(di_tokenizer *t)
{
    if (t == NULL) return;
    di_normalizer_deinit(&t->norm, t->al);
    di_pretokenizer_deinit(&t->pre, t->al);
    di_bpe_deinit(&t->bpe);
    di_trie_deinit(&t->raw);
    di_trie_deinit(&t->normalised);
    di_free(t->al, t->added);
    di_free(t->al, t);
}

di_norm_step *di_tokenizer_add_norm(di_tokenizer *t, di_norm_kind kind)
{
    if (t->norm.n == DI_NORM_STEPS) return NULL;
    t->norm.step[t->norm.n].kind = kind;
    return &t->norm.step[t->norm.n++];
}

di_pre_step *di_tokenizer_add_pre(di_tokenizer *t, di_pre_kind kind)
{
    if (t->pre.n == DI_PRE_STEPS) return NULL;
    t->pre.step[t->pre.n].kind = kind;
    return &t->pre.step[t->pre.n++];
}

dial_status di_tokenizer_add_scan(di_tokenizer *t, di_scan k, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pre_step *step = di_tokenizer_add_pre(t, DI_PRE_SPLIT);

    step->text = di_strdup(t->al, di_scan_pattern(k));
    if (step->text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a pattern");
    step->text_n = strlen(step->text);
    step->is_regex = 1;
    step->scan = k;
done:
    return st;
}

dial_status di_tokenizer_add_text(di_tokenizer *t, di_norm_kind kind, const char *pattern,
                                  const char *content, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_norm_step *step = di_tokenizer_add_norm(t, kind);

    step->content_n = strlen(content);
    step->content = di_strdup(t->al, content);
    if (pattern != NULL) {
        step->pattern_n = strlen(pattern);
        step->pattern = di_strdup(t->al, pattern);
    }
    if (step->content == NULL || (pattern != NULL && step->pattern == NULL))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a normalizer");
done:
    return st;
}

/* The pattern's name as GGUF has it, for people; "" where it is none of the known ones. */
static const char *pattern_name(const di_tokenizer *t)
{
    const di_pretokenizer *p = &t->pre;
    const di_pre_step *last = p->n > 0 ? &p->step[p->n - 1] : NULL;

    if (last == NULL || last->kind != DI_PRE_BYTELEVEL) return "";
    if (last->use_regex) {
        if (p->n == 1) return "gpt-2";
        return p->n == 2 && p->step[0].kind == DI_PRE_DIGITS &&
                       p->step[0].behaviour == DI_SPLIT_ISOLATED
                   ? "smollm"
                   : "";
    }
    if (p->n == 2 && p->step[0].scan == DI_SCAN_QWEN2) return "qwen2";
    if (p->n == 2 && p->step[0].scan == DI_SCAN_LLAMA3) return "llama-bpe";
    return p->n == 5 && p->step[0].scan == DI_SCAN_PUNCT ? "default" : "";
}

/* A trie for the raw text and one for the normalised; the latter holds normalised strings. */
static dial_status build_tries(di_tokenizer *t, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_regex_work regex = {.al = t->al};
    di_norm_work work;

    di_norm_work_init(&work, t->al, &regex);
    for (size_t i = 0; i < t->n_added; i++) {
        const di_added *a = &t->added[i];
        di_piece p = {a->content.data, a->content.size, NULL, 0, 1};
        int64_t old = -1;

        if (p.n == 0) continue;
        if (a->normalized) DI_TRY(di_normalize(&t->norm, &work, &p, err));
        if (p.n > 0)
            DI_TRY(di_trie_put(a->normalized ? &t->normalised : &t->raw, p.s, p.n, i, &old, err));
        if (p.n == 0 || old >= 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "give the added tokens different strings",
                       "added token '%.*s' normalises to %s", (int)a->content.size, a->content.data,
                       p.n == 0 ? "nothing" : "the same string as another");
    }
done:
    di_norm_work_deinit(&work);
    di_regex_work_deinit(&regex);
    return st;
}

dial_status di_tokenizer_finish(di_tokenizer *t, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_pretokenizer *p = &t->pre;

    /* under byte fallback a letter without a token falls back to its own two bytes */
    t->pre.raw_bytes =
        p->n > 0 && p->step[p->n - 1].kind == DI_PRE_BYTELEVEL && !t->bpe.byte_fallback;
    t->bpe.raw_bytes = t->pre.raw_bytes;
    t->info.vocab = (int64_t)t->bpe.lex.n;
    t->info.pre = pattern_name(t);
    di_bpe_finish(&t->bpe);
    DI_TRY(build_tries(t, where, err));
done:
    return st;
}

const di_tokenizer_info *di_tokenizer_get_info(const di_tokenizer *t)
{
    return &t->info;
}

di_str di_tokenizer_token(const di_tokenizer *t, int32_t id)
{
    if (id < 0 || (size_t)id >= t->bpe.lex.n) return (di_str){"", 0};
    return t->bpe.lex.token[id].data != NULL ? t->bpe.lex.token[id] : (di_str){"", 0};
}

/* --- Encoding --------------------------------------------------------------------------------- */

typedef struct scratch {
    const di_alloc *al;
    di_regex_work regex;
    di_norm_work norm;
    di_pre_work pre;
    di_bpe_work bpe;
} scratch;

void di_token_list_deinit(di_token_list *list)
{
    scratch *w = list->scratch;

    if (list->al == NULL) return;
    if (w != NULL) {
        di_norm_work_deinit(&w->norm);
        di_pre_work_deinit(&w->pre);
        di_bpe_work_deinit(&w->bpe);
        di_regex_work_deinit(&w->regex);
        di_free(list->al, w);
    }
    di_free(list->al, list->id);
    di_free(list->al, list->end);
    *list = (di_token_list){.al = list->al};
}

static scratch *scratch_of(di_token_list *list)
{
    scratch *w = list->scratch;

    if (w != NULL) return w;
    w = di_zalloc(list->al, sizeof *w);
    if (w == NULL) return NULL;
    w->al = w->regex.al = w->bpe.al = list->al;
    di_norm_work_init(&w->norm, list->al, &w->regex);
    di_pre_work_init(&w->pre, list->al, &w->regex);
    list->scratch = w;
    return w;
}

typedef struct encoder {
    const di_tokenizer *t;
    scratch *w;
    di_token_list *list;
} encoder;

static dial_status put_token(void *ctx, int32_t id, uint32_t end, dial_error *err)
{
    return di_token_list_add(((encoder *)ctx)->list, id, end, err);
}

static dial_status encode_piece(void *ctx, const di_piece *p, dial_error *err)
{
    const encoder *e = ctx;

    return di_bpe_encode(&e->t->bpe, &e->w->bpe, p, e->list, err);
}

static dial_status split_normalised(void *ctx, const di_piece *p, dial_error *err)
{
    const encoder *e = ctx;

    return di_pretokenize(&e->t->pre, &e->w->pre, p, encode_piece, ctx, err);
}

static dial_status normalise_raw(void *ctx, const di_piece *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    const encoder *e = ctx;
    const di_added_sink sink = {split_normalised, put_token, ctx};
    di_piece q = *p;

    DI_TRY(di_normalize(&e->t->norm, &e->w->norm, &q, err));
    DI_TRY(di_added_split(&e->t->normalised, e->t->added, &q, &sink, err));
done:
    return st;
}

dial_status di_tokenizer_encode(const di_tokenizer *t, const char *text, size_t n,
                                di_token_list *list, dial_error *err)
{
    dial_status st = DIAL_OK;
    encoder e = {.t = t, .w = scratch_of(list), .list = list};
    const di_added_sink sink = {normalise_raw, put_token, &e};
    const di_piece all = {text, n, NULL, 0, 1};
    size_t valid;

    list->n = 0;
    if (e.w == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to encode %zu bytes", n);
    if (n >= UINT32_MAX)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, NULL, "cut the text into shorter ones",
                   "too_long: a text of %zu bytes; at most 4 GiB", n);
    valid = di_utf8_check(text, n);
    if (valid < n)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("byte %zu", valid), "convert the text to UTF-8",
                   "bad_utf8: byte 0x%02x at offset %zu is no valid UTF-8",
                   (unsigned char)text[valid], valid);
    DI_TRY(di_added_split(&t->raw, t->added, &all, &sink, err));
done:
    if (st != DIAL_OK) list->n = 0;
    return st;
}
