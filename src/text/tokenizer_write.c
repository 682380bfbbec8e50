/*
 * tokenizer.json of a tokenizer, for the run folder of a GGUF base: the parts as they were read or
 * as the GGUF vocabulary implies them, so that huggingface/tokenizers gives the same ids.
 *
 * The text is put together by hand. A tree of jansson for the largest vocabularies takes 1.3
 * million values and a second; strings are all that needs care in writing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/tokenizer_impl.h"

static void put(di_buf *out, const char *s)
{
    di_buf_append(out, s, strlen(s));
}

static void put_bool(di_buf *out, const char *key, int v)
{
    di_buf_printf(out, ",\"%s\":%s", key, v ? "true" : "false");
}

/* A JSON string of valid UTF-8. */
static void put_string(di_buf *out, const char *s, size_t n)
{
    size_t from = 0;

    di_buf_append(out, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];

        if (c >= 0x20 && c != '"' && c != '\\') continue;
        di_buf_append(out, s + from, i - from);
        if (c < 0x20)
            di_buf_printf(out, "\\u%04x", c);
        else
            di_buf_append(out, c == '"' ? "\\\"" : "\\\\", 2);
        from = i + 1;
    }
    di_buf_append(out, s + from, n - from);
    di_buf_append(out, "\"", 1);
}

static void put_token(di_buf *out, const di_tokenizer *t, int32_t id)
{
    const di_str s = di_tokenizer_token(t, id);

    put_string(out, s.data, s.size);
}

static void put_pattern(di_buf *out, int is_regex, const char *s, size_t n)
{
    put(out, is_regex ? ",\"pattern\":{\"Regex\":" : ",\"pattern\":{\"String\":");
    put_string(out, s, n);
    put(out, "}");
}

/* --- The parts around the model --------------------------------------------------------------- */

static void put_added(di_buf *out, const di_tokenizer *t)
{
    put(out, "\"added_tokens\":[");
    for (size_t i = 0; i < t->n_added; i++) {
        const di_added *a = &t->added[i];

        di_buf_printf(out, "%s{\"id\":%d,\"content\":", i > 0 ? "," : "", (int)a->id);
        put_string(out, a->content.data, a->content.size);
        put_bool(out, "single_word", a->single_word);
        put_bool(out, "lstrip", a->lstrip);
        put_bool(out, "rstrip", a->rstrip);
        put_bool(out, "normalized", a->normalized);
        put_bool(out, "special", a->special);
        put(out, "}");
    }
    put(out, "],");
}

static void put_norm_step(di_buf *out, const di_norm_step *s)
{
    static const char *const names[] = {"NFC",       "NFD",   "NFKC",    "NFKD",
                                        "Lowercase", "Strip", "Prepend", "Replace"};

    di_buf_printf(out, "{\"type\":\"%s\"", names[s->kind]);
    if (s->kind == DI_NORM_STRIP) {
        put_bool(out, "strip_left", s->left);
        put_bool(out, "strip_right", s->right);
    }
    if (s->kind == DI_NORM_REPLACE) put_pattern(out, s->regex != NULL, s->pattern, s->pattern_n);
    if (s->content != NULL) {
        put(out, s->kind == DI_NORM_PREPEND ? ",\"prepend\":" : ",\"content\":");
        put_string(out, s->content, s->content_n);
    }
    put(out, "}");
}

static void put_normalizer(di_buf *out, const di_tokenizer *t)
{
    put(out, "\"normalizer\":");
    if (t->norm.n == 0) {
        put(out, "null,");
        return;
    }
    put(out, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (size_t i = 0; i < t->norm.n; i++) {
        if (i > 0) put(out, ",");
        put_norm_step(out, &t->norm.step[i]);
    }
    put(out, "]},");
}

static void put_pre_step(di_buf *out, const di_pre_step *s)
{
    static const char *const names[] = {"ByteLevel", "Digits", "Split", "Metaspace"};
    static const char *const behaviours[] = {"Isolated", "Removed", "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous"};
    static const char *const schemes[] = {"always", "first", "never"};

    di_buf_printf(out, "{\"type\":\"%s\"", names[s->kind]);
    switch (s->kind) {
    case DI_PRE_BYTELEVEL:
        put_bool(out, "add_prefix_space", s->add_prefix);
        put_bool(out, "trim_offsets", 1);
        put_bool(out, "use_regex", s->use_regex);
        break;
    case DI_PRE_DIGITS:
        put_bool(out, "individual_digits", s->behaviour == DI_SPLIT_ISOLATED);
        break;
    case DI_PRE_SPLIT:
        put_pattern(out, s->is_regex, s->text, s->text_n);
        di_buf_printf(out, ",\"behavior\":\"%s\"", behaviours[s->behaviour]);
        put_bool(out, "invert", s->invert);
        break;
    case DI_PRE_METASPACE:
        put(out, ",\"replacement\":");
        put_string(out, s->text, s->text_n);
        di_buf_printf(out, ",\"prepend_scheme\":\"%s\"", schemes[s->scheme]);
        put_bool(out, "split", s->split);
        break;
    }
    put(out, "}");
}

static void put_pre(di_buf *out, const di_tokenizer *t)
{
    put(out, "\"pre_tokenizer\":");
    if (t->pre.n == 0) {
        put(out, "null,");
        return;
    }
    put(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (size_t i = 0; i < t->pre.n; i++) {
        if (i > 0) put(out, ",");
        put_pre_step(out, &t->pre.step[i]);
    }
    put(out, "]},");
}

static void put_special(di_buf *out, const di_tokenizer *t, int32_t id)
{
    put(out, "{\"SpecialToken\":{\"id\":");
    put_token(out, t, id);
    put(out, ",\"type_id\":0}}");
}

static void put_special_row(di_buf *out, const di_tokenizer *t, int32_t id)
{
    put_token(out, t, id);
    put(out, ":{\"id\":");
    put_token(out, t, id);
    di_buf_printf(out, ",\"ids\":[%d],\"tokens\":[", (int)id);
    put_token(out, t, id);
    put(out, "]}");
}

/* "pair" is required by the library; nothing of ours encodes pairs. */
static void put_template(di_buf *out, const di_tokenizer *t)
{
    static const char *const names[] = {"single", "pair"};
    const int bos = t->info.adds_bos, eos = t->info.adds_eos;

    put(out, "\"post_processor\":");
    if (!bos && !eos) {
        put(out, "null,");
        return;
    }
    put(out, "{\"type\":\"TemplateProcessing\"");
    for (int k = 0; k < 2; k++) {
        di_buf_printf(out, ",\"%s\":[", names[k]);
        for (int text = 0; text <= k; text++) {
            if (text > 0) put(out, ",");
            if (bos) put_special(out, t, t->info.bos);
            if (bos) put(out, ",");
            di_buf_printf(out, "{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}", 'A' + text, text);
            if (eos) put(out, ",");
            if (eos) put_special(out, t, t->info.eos);
        }
        put(out, "]");
    }
    put(out, ",\"special_tokens\":{");
    if (bos) put_special_row(out, t, t->info.bos);
    if (bos && eos && t->info.bos != t->info.eos) put(out, ",");
    if (eos && !(bos && t->info.bos == t->info.eos)) put_special_row(out, t, t->info.eos);
    put(out, "}},");
}

static void put_decoder(di_buf *out, const di_tokenizer *t)
{
    if (t->bpe.raw_bytes)
        put(out, "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                 "\"trim_offsets\":true,\"use_regex\":true},");
    else
        put(out, "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                 "\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},"
                 "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},");
}

/* --- The model -------------------------------------------------------------------------------- */

static int by_rank(const void *a, const void *b)
{
    const uint32_t x = ((const di_merge *)a)->rank, y = ((const di_merge *)b)->rank;

    return x < y ? -1 : x > y;
}

static dial_status put_merges(di_buf *out, const di_tokenizer *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_merge *row = di_new_array(t->al, t->bpe.n_merges, sizeof *row);
    size_t n = 0;

    if (row == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu merges", t->bpe.n_merges);
    for (size_t i = 0; i <= t->bpe.merge_mask; i++)
        if (t->bpe.merge[i].left >= 0) row[n++] = t->bpe.merge[i];
    if (n > 1) qsort(row, n, sizeof *row, by_rank);
    put(out, "\"merges\":[");
    for (size_t i = 0; i < n; i++) {
        put(out, i > 0 ? ",[" : "[");
        put_token(out, t, row[i].left);
        put(out, ",");
        put_token(out, t, row[i].right);
        put(out, "]");
    }
    put(out, "]");
done:
    di_free(t->al, row);
    return st;
}

/* Only what the model itself knows: tokens that were added to it stand under added_tokens. */
static void put_vocab(di_buf *out, const di_tokenizer *t)
{
    const di_lexicon *x = &t->bpe.lex;
    int any = 0;

    put(out, "\"vocab\":{");
    for (size_t id = 0; id < x->n; id++) {
        const di_str s = x->token[id];

        if (s.data == NULL || di_lexicon_find(x, s.data, s.size) != (int32_t)id) continue;
        if (any) put(out, ",");
        any = 1;
        put_string(out, s.data, s.size);
        di_buf_printf(out, ":%zu", id);
    }
    put(out, "},");
}

dial_status di_tokenizer_write_hf(const di_tokenizer *t, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    put(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,");
    put_added(out, t);
    put_normalizer(out, t);
    put_pre(out, t);
    put_template(out, t);
    put_decoder(out, t);
    put(out, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (t->bpe.unk >= 0)
        put_token(out, t, t->bpe.unk);
    else
        put(out, "null");
    put(out, ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null");
    put_bool(out, "fuse_unk", t->bpe.fuse_unk);
    put_bool(out, "byte_fallback", t->bpe.byte_fallback);
    put_bool(out, "ignore_merges", t->bpe.ignore_merges);
    put(out, ",");
    put_vocab(out, t);
    DI_TRY(put_merges(out, t, err));
    put(out, "}}\n");
    DI_TRY(di_buf_status(out, err));
done:
    return st;
}
