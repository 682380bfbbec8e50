/*
 * Refusals: what cannot be reproduced exactly is named with its place, and memory that runs out at
 * any allocation gives ERR_NOMEM, no leak and no crash.
 */
#include "tokenizer_fixtures.h"

#include <jansson.h>

#include "text/unicode.h"

/* clang-format off */
#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define PARTS(x) "{" x "," MODEL "}"
#define IN_MODEL(x)                                                                                \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]," x "}}"
#define ADDED(id, text)                                                                            \
    "{\"id\":" id ",\"content\":\"" text "\",\"single_word\":false,\"lstrip\":false,"              \
    "\"rstrip\":false,\"normalized\":false,\"special\":true}"
#define SPLIT(pattern)                                                                             \
    PARTS("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},"         \
          "\"behavior\":\"Isolated\",\"invert\":false}")

typedef struct error_row {
    const char *json, *message, *where; /* parts of what is reported */
} error_row;

static const error_row rows[] = {
    {"", "json_syntax", "f:"},
    {"{\"model\":{\"type\":\"BPE\"", "json_syntax", "f:1"},
    {"[]", "expected an object", "$"},
    {"{\"version\":\"2.0\"," MODEL "}", "expected \"1.0\"", "version"},
    {"{}", "expected an object", "model"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "'Unigram'", "model.type"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", "'WordPiece'", "model.type"},
    {IN_MODEL("\"dropout\":0.1"), "ids would not repeat", "model.dropout"},
    {IN_MODEL("\"end_of_word_suffix\":\"</w>\""), "null", "model.end_of_word_suffix"},
    {IN_MODEL("\"byte_fallback\":3"), "true or false", "model.byte_fallback"},
    {IN_MODEL("\"unk_token\":\"?\""), "'?' is not in the vocabulary", "model.unk_token"},
    /* vocabulary */
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", "at least one token",
     "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "the same id 0",
     "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "duplicate_key",
     "f:1"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "'a' is no integer",
     "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}}",
     "no integer from 0", "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":900000},\"merges\":[]}}",
     "the highest id is 900000, but there are 1", "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", "'a' is no integer",
     "model.vocab"},
    /* merges */
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":{}}}", "expected an array",
     "model.merges"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "two tokens",
     "model.merges[0]"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a  a\"]}}", "two tokens",
     "model.merges[0]"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]}}", "two tokens",
     "model.merges[0]"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\",\"x a\"]}}",
     "the left part is no token", "model.merges[1]"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
     "the right part is no token", "model.merges[0]"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}",
     "the joint string is no token", "model.merges[0]"},
    /* added tokens */
    {PARTS("\"added_tokens\":{}"), "expected an array", "added_tokens"},
    {PARTS("\"added_tokens\":[{\"id\":3}]"), "a content", "added_tokens[0]"},
    {PARTS("\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"single_word\":0}]"), "true or false",
     "added_tokens[0].single_word"},
    {PARTS("\"added_tokens\":[" ADDED("3", "x") "," ADDED("9", "y") "]"), "by its place in the "
     "vocabulary it is 4", "added_tokens[1]"},
    {PARTS("\"added_tokens\":[" ADDED("1", "a") "]"), "it is 0", "added_tokens[0]"},
    {"{\"added_tokens\":[" ADDED("2", "x") "],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
     "\"b\":2},\"merges\":[]}}", "id 2 is taken", "added_tokens[0]"},
    /* components */
    {PARTS("\"normalizer\":{\"type\":\"BertNormalizer\"}"), "'BertNormalizer'", "f: normalizer"},
    {PARTS("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
           "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}]}"),
     "'Nmt'", "normalizer.normalizers[1].normalizers[0]"},
    {PARTS("\"normalizer\":7"), "expected an object or null", "normalizer"},
    {PARTS("\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true}"), "strip_right", "normalizer"},
    {PARTS("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"),
     "pattern: expected a string that is not empty", "normalizer"},
    {PARTS("\"pre_tokenizer\":{\"type\":\"Whitespace\"}"), "'Whitespace'", "pre_tokenizer"},
    {PARTS("\"pre_tokenizer\":{\"type\":\"Sequence\"}"), "pretokenizers", "pre_tokenizer"},
    {PARTS("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},"
           "\"behavior\":\"Weird\",\"invert\":false}"), "'Weird'", "pre_tokenizer"},
    {PARTS("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"__\"}"), "one character",
     "pre_tokenizer"},
    {PARTS("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\","
           "\"prepend_scheme\":\"last\"}"), "prepend_scheme", "pre_tokenizer"},
    {PARTS("\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"), "add_prefix_space", "pre_tokenizer"},
    {PARTS("\"post_processor\":{\"type\":\"BertProcessing\"}"), "'BertProcessing'",
     "post_processor"},
    {PARTS("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}"), "no text",
     "post_processor"},
    {PARTS("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
           "{\"id\":\"a\"}},{\"Sequence\":{}}],\"special_tokens\":{\"a\":{\"ids\":[7]}}}"),
     "id 7 is not in the vocabulary", "post_processor"},
    {PARTS("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{}},"
           "{\"Sequence\":{}}]}"), "single[1]", "post_processor"},
    /* patterns that mean something else to PCRE2, or nothing */
    {SPLIT("a*"), "can match nothing", "pre_tokenizer.pattern"},
    {SPLIT("^a"), "anchor ^", "pre_tokenizer.pattern"},
    {SPLIT("a{2}+"), "quantifier {..}+", "pre_tokenizer.pattern"},
    {SPLIT("[a&&b]"), "a class inside a class", "pre_tokenizer.pattern"},
    {SPLIT("[a[b]]"), "a class inside a class", "pre_tokenizer.pattern"},
    {SPLIT("\\\\h"), "escape \\h", "pre_tokenizer.pattern"},
    {SPLIT("\\\\p{Thai}"), "property \\p{Thai}", "pre_tokenizer.pattern"},
    {SPLIT("[^\\\\P{L}]"), "negated property", "pre_tokenizer.pattern"},
    {SPLIT("(?i:fi)"), "ignores case", "pre_tokenizer.pattern"},
    {SPLIT("(?<n>a)"), "group", "pre_tokenizer.pattern"},
    {SPLIT("(a"), "missing closing parenthesis", "pre_tokenizer.pattern"},
    {SPLIT("[]a]"), "an empty class", "pre_tokenizer.pattern"},
};
/* clang-format on */

static void refusals_name_their_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        di_tokenizer *t = NULL;
        dial_error err = {0};
        const dial_status st = di_tokenizer_parse_hf(di_alloc_default(), rows[i].json,
                                                     strlen(rows[i].json), "f", &t, &err);

        assert_null(t);
        if (st != DIAL_ERR_INPUT || strstr(err.message, rows[i].message) == NULL ||
            strstr(err.where, rows[i].where) == NULL || err.hint[0] == '\0')
            fail_msg("%s\n  status %d, '%s' (%s), hint '%s'", rows[i].json, (int)st, err.message,
                     err.where, err.hint);
    }
}

/* A file cut anywhere is an error with words, never a crash. */
static void cut_files(void **state)
{
    char *json;
    size_t n;
    (void)state;

    fixture_read("gemma/tokenizer.json", &json, &n);
    for (size_t cut = 0; cut < n - 2; cut += 97) {
        di_tokenizer *t = NULL;
        dial_error err = {0};

        assert_int_equal(di_tokenizer_parse_hf(di_alloc_default(), json, cut, "f", &t, &err),
                         DIAL_ERR_INPUT);
        assert_true(err.message[0] != '\0');
    }
    di_free(di_alloc_default(), json);
}

/* --- GGUF vocabularies ------------------------------------------------------------------------ */

#define STR(s)                                                                                     \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

static const di_str abc[] = {STR("a"), STR("b"), STR("ab")};
static const di_str twice[] = {STR("a"), STR("b"), STR("a")};
static const di_str no_text[] = {STR("a"), STR("\xff"), STR("b")};
static const di_str good_merge[] = {STR("a b")}, no_space[] = {STR("ab")};
static const di_str no_left[] = {STR("x b")}, no_joint[] = {STR("b a")};
static const float scores[] = {0, -1, -2}, bad_scores[] = {0, -1.0f / 0.0f, 0};

/* clang-format off */
static const struct {
    di_vocab v;
    const char *message;
} vocab_rows[] = {
#define V(...) {.where = "f", .bos = -1, .eos = -1, .unk = -1, .pad = -1, __VA_ARGS__}
    {V(.model = "gpt2", .pre = "gpt-2"), "0 tokens"},
    {V(.model = "gpt2", .pre = "gpt-2", .tokens = twice, .n = 3), "tokens 0 and 2 are the same"},
    {V(.model = "gpt2", .pre = "gpt-2", .tokens = no_text, .n = 3), "token 1 is no valid UTF-8"},
    {V(.model = "gpt2", .tokens = abc, .n = 3), "pre is missing"},
    {V(.model = "gpt2", .pre = "tekken", .tokens = abc, .n = 3), "pre is unknown: tekken"},
    {V(.model = "bert", .tokens = abc, .n = 3), "'bert'"},
    {V(.model = NULL, .tokens = abc, .n = 3), "'missing'"},
    {V(.model = "gpt2", .pre = "gpt-2", .tokens = abc, .n = 3, .merges = no_space, .n_merges = 1),
     "merges[0] is 'ab'"},
    {V(.model = "gpt2", .pre = "gpt-2", .tokens = abc, .n = 3, .merges = no_left, .n_merges = 1),
     "its left part is no token"},
    {V(.model = "gpt2", .pre = "gpt-2", .tokens = abc, .n = 3, .merges = no_joint, .n_merges = 1),
     "the joint string is no token"},
    {V(.model = "llama", .tokens = abc, .n = 3), "scores is missing"},
    {V(.model = "llama", .tokens = abc, .n = 3, .scores = bad_scores), "score of token 1"},
#undef V
    {{.where = "f", .model = "llama", .tokens = abc, .n = 3, .scores = scores, .bos = 3, .eos = -1,
      .unk = -1, .pad = -1}, "bos_token_id is 3"},
    {{.where = "f", .model = "llama", .tokens = abc, .n = 3, .scores = scores, .bos = -1,
      .eos = -7, .unk = -1, .pad = -1}, "eos_token_id is -7"},
};
/* clang-format on */

static void vocabularies(void **state)
{
    di_vocab good = {.where = "f",
                     .model = "gpt2",
                     .pre = "gpt-2",
                     .tokens = abc,
                     .n = 3,
                     .merges = good_merge,
                     .n_merges = 1,
                     .bos = -1,
                     .eos = -1,
                     .unk = -1,
                     .pad = -1};
    di_tokenizer *t = NULL;
    dial_error err = {0};
    (void)state;

    for (size_t i = 0; i < sizeof vocab_rows / sizeof *vocab_rows; i++) {
        const dial_status st =
            di_tokenizer_from_vocab(di_alloc_default(), &vocab_rows[i].v, &t, &err);

        if (st != DIAL_ERR_INPUT || strstr(err.message, vocab_rows[i].message) == NULL)
            fail_msg("'%s': status %d, '%s'", vocab_rows[i].message, (int)st, err.message);
        assert_null(t);
    }
    assert_ok(di_tokenizer_from_vocab(di_alloc_default(), &good, &t, &err), err);
    di_tokenizer_close(t);
}

/* Defaults of interfaces.md 3.6 for keys that a file leaves out. */
static void absent_keys(void **state)
{
    static const struct {
        const char *model, *pre;
        int add_bos, bos, adds;
    } bos_rows[] = {{"gpt2", "gpt-2", -1, 0, 0},    {"gpt2", "llama-bpe", -1, 0, 1},
                    {"gpt2", "llama-bpe", 0, 0, 0}, {"gpt2", "qwen2", 1, 0, 1},
                    {"llama", NULL, -1, 0, 1},      {"llama", NULL, 0, 0, 0},
                    {"llama", NULL, -1, -1, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof bos_rows / sizeof *bos_rows; i++) {
        di_vocab v = {.where = "f",
                      .model = bos_rows[i].model,
                      .pre = bos_rows[i].pre,
                      .tokens = abc,
                      .n = 3,
                      .scores = scores,
                      .bos = bos_rows[i].bos,
                      .eos = 1,
                      .unk = -1,
                      .pad = -1,
                      .add_bos = bos_rows[i].add_bos,
                      .add_eos = -1,
                      .add_space_prefix = -1};
        di_tokenizer *t = NULL;
        dial_error err = {0};

        assert_ok(di_tokenizer_from_vocab(di_alloc_default(), &v, &t, &err), err);
        assert_int_equal(di_tokenizer_get_info(t)->adds_bos, bos_rows[i].adds);
        assert_int_equal(di_tokenizer_get_info(t)->adds_eos, 0);
        di_tokenizer_close(t);
    }
}

/* --- A folder --------------------------------------------------------------------------------- */

/* clang-format off */
#define TOKENS                                                                                     \
    "\"added_tokens\":[" ADDED("3", "<s>") "," ADDED("4", "</s>") "," ADDED("5", "<p>") "]"
#define TEMPLATE                                                                                   \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"   \
    "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[3]}}}"

static const struct {
    const char *tokenizer, *config, *map; /* NULL: no such file */
    int32_t bos, eos, pad;
    int adds_bos, adds_eos;
} folder_rows[] = {
    {PARTS(TOKENS), NULL, NULL, -1, -1, -1, 0, 0},
    {PARTS(TOKENS),
     "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"pad_token\":null}",
     "{\"pad_token\":\"<p>\",\"bos_token\":\"<p>\"}", 3, 4, 5, 0, 0},
    {PARTS(TOKENS), "{\"bos_token\":\"<s>\",\"add_bos_token\":true,\"add_eos_token\":true}",
     "{\"eos_token\":{\"content\":\"</s>\"}}", 3, 4, -1, 1, 1},
    {PARTS(TOKENS "," TEMPLATE), "{\"bos_token\":\"<p>\",\"add_bos_token\":false}", NULL, 3, -1, -1,
     1, 0},
    {PARTS(TOKENS), "{\"bos_token\":\"unheard of\",\"add_bos_token\":true}", NULL, -1, -1, -1, 0,
     0},
};
/* clang-format on */

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[300];
    dial_error err = {0};

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text != NULL)
        assert_ok(di_write_file(di_alloc_default(), path, text, strlen(text), &err), err);
}

static void files_beside_the_tokenizer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof folder_rows / sizeof *folder_rows; i++) {
        char dir[] = "/tmp/dial-tokenizer-XXXXXX";
        di_tokenizer *t = NULL;
        const di_tokenizer_info *info;
        dial_error err = {0};

        assert_non_null(mkdtemp(dir));
        put_file(dir, "tokenizer.json", folder_rows[i].tokenizer);
        put_file(dir, "tokenizer_config.json", folder_rows[i].config);
        put_file(dir, "special_tokens_map.json", folder_rows[i].map);
        assert_ok(di_tokenizer_open_hf(di_alloc_default(), dir, &t, &err), err);
        info = di_tokenizer_get_info(t);
        assert_int_equal(info->bos, folder_rows[i].bos);
        assert_int_equal(info->eos, folder_rows[i].eos);
        assert_int_equal(info->pad, folder_rows[i].pad);
        assert_int_equal(info->adds_bos, folder_rows[i].adds_bos);
        assert_int_equal(info->adds_eos, folder_rows[i].adds_eos);
        assert_int_equal(info->vocab, 6);
        di_tokenizer_close(t);
        assert_ok(di_remove_tree(dir, &err), err);
    }
}

/* An id that the vocabulary skips has no string and is never produced. */
static void skipped_ids(void **state)
{
    static const char json[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":3},\"merges\":[]}}";
    di_tokenizer *t = NULL;
    dial_error err = {0};
    (void)state;

    assert_ok(di_tokenizer_parse_hf(di_alloc_default(), json, sizeof json - 1, "f", &t, &err), err);
    assert_int_equal(di_tokenizer_get_info(t)->vocab, 4);
    assert_int_equal(di_tokenizer_token(t, 2).size, 0);
    assert_int_equal(di_tokenizer_token(t, 3).size, 1);
    assert_int_equal(di_tokenizer_token(t, 4).size, 0);
    assert_int_equal(di_tokenizer_token(t, -1).size, 0);
    di_tokenizer_close(t);
}

/* --- UTF-8 ------------------------------------------------------------------------------------ */

static const struct {
    const char *text;
    size_t n, at;
} utf8_rows[] = {
    {"abc", 3, 3},
    {"ab\x80", 3, 2},           /* a continuation alone */
    {"0123456789\xc3", 11, 10}, /* cut */
    {"\xc3(", 2, 0},
    {"\xc0\x80", 2, 0}, /* overlong */
    {"\xe0\x9f\xbf", 3, 0},
    {"\xf0\x8f\xbf\xbf", 4, 0},
    {"x\xed\xa0\x80", 4, 1},    /* surrogate */
    {"\xf4\x90\x80\x80", 4, 0}, /* above U+10FFFF */
    {"\xf5\x80\x80\x80", 4, 0},
    {"a\xe4\xb8", 3, 1},
    {"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 10, 10},
    {"\0a", 2, 2},
};

static void invalid_utf8_names_its_byte(void **state)
{
    static const char json[] = "{" MODEL "}";
    di_token_list list = {.al = di_alloc_default()};
    di_tokenizer *t = NULL;
    dial_error err = {0};
    (void)state;

    assert_ok(di_tokenizer_parse_hf(di_alloc_default(), json, sizeof json - 1, "f", &t, &err), err);
    for (size_t i = 0; i < sizeof utf8_rows / sizeof *utf8_rows; i++) {
        const size_t n = utf8_rows[i].n, at = utf8_rows[i].at;
        char *copy = malloc(n), want[60]; /* a block of its own: nothing behind it may be read */
        dial_status st;

        memcpy(copy, utf8_rows[i].text, n);
        assert_int_equal(di_utf8_check(copy, n), at);
        st = di_tokenizer_encode(t, copy, n, &list, &err);
        free(copy);
        if (at == n) {
            assert_int_equal(st, DIAL_OK);
            continue;
        }
        assert_int_equal(st, DIAL_ERR_INPUT);
        snprintf(want, sizeof want, "bad_utf8: byte 0x%02x at offset %zu",
                 (unsigned char)utf8_rows[i].text[at], at);
        assert_non_null(strstr(err.message, want));
        assert_int_equal(list.n, 0);
    }
    di_token_list_deinit(&list);
    di_tokenizer_close(t);
}

/* --- Memory that runs out --------------------------------------------------------------------- */

static struct {
    size_t calls, fails_at;
    long live;
} heap;

static void *failing_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)old_size;
    if (new_size == 0) {
        heap.live -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (++heap.calls >= heap.fails_at) return NULL;
    heap.live += ptr == NULL;
    return realloc(ptr, new_size);
}

static const di_alloc failing = {failing_resize, NULL};

static void *json_new(size_t n)
{
    return failing_resize(NULL, NULL, 0, n > 0 ? n : 1);
}

static void json_free(void *p)
{
    failing_resize(NULL, p, 0, 0);
}

/* Touches each part: patterns, forms, rewriting, added tokens, long pieces. */
/* clang-format off */
static const char everything[] =
    "{\"added_tokens\":[" ADDED("3", "<x>") ",{\"id\":4,\"content\":\"Q\",\"single_word\":false,"
    "\"lstrip\":false,\"rstrip\":false,\"normalized\":true,\"special\":false}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
    "{\"type\":\"Prepend\",\"prepend\":\"b\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"_\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
    "{\"Regex\":\"[0-9]+c\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Metaspace\","
    "\"replacement\":\"_\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"a\",\"ignore_merges\":true,"
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
/* clang-format on */
static const char every_text[] =
    "ab <x>Q e\xcc\x81\xcc\xa3 12c 3c ababababababababababababababababababababababababababababab";

static dial_status load_and_encode(size_t *n)
{
    dial_status st;
    di_token_list list = {.al = &failing};
    di_tokenizer *t = NULL;
    dial_error err = {0};
    di_buf out;

    di_buf_init(&out, &failing);
    st = di_tokenizer_parse_hf(&failing, everything, sizeof everything - 1, "f", &t, &err);
    if (st == DIAL_OK) st = di_tokenizer_encode(t, every_text, sizeof every_text - 1, &list, &err);
    *n = list.n;
    if (st == DIAL_OK) st = di_tokenizer_write_hf(t, &out, &err);
    if (st != DIAL_OK) assert_true(err.message[0] != '\0');
    di_buf_deinit(&out);
    di_token_list_deinit(&list);
    di_tokenizer_close(t);
    return st;
}

static dial_status load_vocabulary(void)
{
    const di_vocab v = {.where = "f",
                        .model = "llama",
                        .tokens = abc,
                        .n = 3,
                        .scores = scores,
                        .bos = -1,
                        .eos = -1,
                        .unk = 0,
                        .pad = -1,
                        .add_space_prefix = -1};
    di_tokenizer *t = NULL;
    const dial_status st = di_tokenizer_from_vocab(&failing, &v, &t, NULL);

    di_tokenizer_close(t);
    return st;
}

static void each_allocation_fails_once(void **state)
{
    dial_status st = DIAL_ERR_NOMEM;
    size_t n = 0, refused = 0;
    (void)state;

    json_set_alloc_funcs(json_new, json_free);
    for (heap.fails_at = 1; st != DIAL_OK; heap.fails_at++) {
        heap.calls = 0;
        st = load_and_encode(&n);
        assert_int_equal(heap.live, 0);
        if (st != DIAL_OK) assert_int_equal(st, DIAL_ERR_NOMEM);
        refused += st == DIAL_ERR_NOMEM;
    }
    assert_true(n > 20 && refused > 60);
    st = DIAL_ERR_NOMEM;
    for (heap.fails_at = 1; st != DIAL_OK; heap.fails_at++) {
        heap.calls = 0;
        st = load_vocabulary();
        assert_int_equal(heap.live, 0);
        assert_true(st == DIAL_OK || st == DIAL_ERR_NOMEM);
    }
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_their_place),
        cmocka_unit_test(cut_files),
        cmocka_unit_test(vocabularies),
        cmocka_unit_test(absent_keys),
        cmocka_unit_test(files_beside_the_tokenizer),
        cmocka_unit_test(skipped_ids),
        cmocka_unit_test(invalid_utf8_names_its_byte),
        cmocka_unit_test(each_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
