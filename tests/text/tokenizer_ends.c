/* Where in the input each token ends, with and without rewriting; and what a warm call costs. */
#include "tokenizer_fixtures.h"

#include "text/pretokenize.h"
#include "text/unicode.h"

static di_tokenizer *open_family(const char *name)
{
    char path[400];
    dial_error err = {0};
    di_tokenizer *t = NULL;

    snprintf(path, sizeof path, "%s%s", TOKENIZERS, name);
    assert_ok(di_tokenizer_open_hf(di_alloc_default(), path, &t, &err), err);
    return t;
}

/* The bytes that a token of a byte-level vocabulary stands for; markup stands for itself. */
static size_t spell(di_str token, char *out)
{
    size_t n = 0, size;

    for (size_t i = 0; i < token.size; i += size) {
        const int byte = di_letter_byte(di_utf8_get(token.data + i, &size));

        if (byte < 0) {
            memcpy(out, token.data, token.size);
            return token.size;
        }
        out[n++] = (char)byte;
    }
    return n;
}

static void byte_tokens_end_where_their_bytes_end(void **state)
{
    static const char *const names[] = {"gpt2", "smollm", "llama3", "default"};
    fixture_strings s = fixture_strings_open();
    di_token_list list = {.al = di_alloc_default()};
    dial_error err = {0};
    char bytes[4096];
    (void)state;

    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        di_tokenizer *t = open_family(names[k]);

        for (size_t i = 0; i < s.n; i++) {
            size_t from = 0;

            assert_ok(di_tokenizer_encode(t, s.row[i].data, s.row[i].size, &list, &err), err);
            for (size_t j = 0; j < list.n; j++) {
                const size_t n = spell(di_tokenizer_token(t, list.id[j]), bytes);

                assert_int_equal(list.end[j] - from, n);
                assert_memory_equal(bytes, s.row[i].data + from, n);
                from = list.end[j];
            }
            assert_int_equal(from, s.row[i].size);
        }
        di_tokenizer_close(t);
    }
    fixture_strings_close(&s);
    di_token_list_deinit(&list);
}

/* Gemma's kind: U+2581 for a space, and the byte tokens of one character share its end. */
static void spm_tokens_end_where_their_characters_end(void **state)
{
    fixture_strings s = fixture_strings_open();
    di_token_list list = {.al = di_alloc_default()};
    di_tokenizer *t = open_family("gemma");
    dial_error err = {0};
    (void)state;

    for (size_t i = 0; i < s.n; i++) {
        const char *text = s.row[i].data;
        size_t from = 0, size;

        assert_ok(di_tokenizer_encode(t, text, s.row[i].size, &list, &err), err);
        for (size_t j = 0; j < list.n; j++) {
            const di_str token = di_tokenizer_token(t, list.id[j]);
            const int is_byte = token.size == 6 && memcmp(token.data, "<0x", 3) == 0;

            if (is_byte) {
                if (list.end[j] == from) continue; /* a later byte of the same character */
                assert_int_equal(list.end[j] - from, di_utf8_size(text[from]));
            } else {
                size_t at = from;

                for (size_t k = 0; k < token.size; k += size, at++) {
                    const uint32_t c = di_utf8_get(token.data + k, &size);

                    if (c == 0x2581 && text[at] == ' ') continue;
                    assert_memory_equal(text + at, token.data + k, size);
                    at += size - 1;
                }
                assert_int_equal(list.end[j], at);
            }
            from = list.end[j];
        }
        assert_int_equal(from, s.row[i].size);
    }
    fixture_strings_close(&s);
    di_token_list_deinit(&list);
    di_tokenizer_close(t);
}

/* --- Rewritten text --------------------------------------------------------------------------- */

/* One token a character: a, b, e, e-acute, the mark, and whatever else falls to <unk>. */
/* clang-format off */
#define LETTERS                                                                                    \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"e\":3,"  \
    "\"\xc3\xa9\":4,\"_\":5},\"merges\":[]}}"

typedef struct end_row {
    const char *why, *parts, *text;
    size_t n;
    int32_t id[6];
    uint32_t end[6];
} end_row;

static const end_row end_rows[] = {
    {"a composed letter ends behind its mark", "\"normalizer\":{\"type\":\"NFC\"}",
     "ae\xcc\x81"
     "b",
     3, {1, 4, 2}, {1, 4, 5}},
    {"both halves of a decomposed letter end behind it", "\"normalizer\":{\"type\":\"NFD\"}",
     "a\xc3\xa9"
     "b",
     4, {1, 3, 0, 2}, {1, 3, 3, 4}},
    {"text that a form leaves alone keeps its places", "\"normalizer\":{\"type\":\"NFD\"}",
     "e\xcc\x81"
     "b",
     3, {3, 0, 2}, {1, 3, 4}},
    {"stripped spaces count for no token", "\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,"
     "\"strip_right\":true}", " ab  ", 2, {1, 2}, {2, 3}},
    {"what is put before the text ends where the text begins",
     "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"}", "ab", 3, {5, 1, 2}, {0, 1, 2}},
    {"a replacement ends where what it replaces ends",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\"ee\"}",
     "bab", 3, {2, 3, 3}, {1, 3, 3}},
    {"two steps in a row",
     "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
     "{\"type\":\"Prepend\",\"prepend\":\"_\"}]}",
     "e\xcc\x81"
     "a",
     3, {5, 4, 1}, {0, 3, 4}},
    {"a removed delimiter lies in no token",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},"
     "\"behavior\":\"Removed\",\"invert\":false}",
     "a b", 2, {1, 2}, {1, 3}},
    {"an added token takes the spaces beside it",
     "\"added_tokens\":[{\"id\":6,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":true,"
     "\"rstrip\":true,\"normalized\":false,\"special\":true}]",
     "a <x>  b", 3, {1, 6, 2}, {1, 7, 8}},
};
/* clang-format on */

static void ends_of_rewritten_text(void **state)
{
    di_token_list list = {.al = di_alloc_default()};
    dial_error err = {0};
    (void)state;

    for (size_t i = 0; i < sizeof end_rows / sizeof *end_rows; i++) {
        const end_row *r = &end_rows[i];
        di_tokenizer *t = NULL;
        char json[1200];

        snprintf(json, sizeof json, "{%s," LETTERS, r->parts);
        assert_ok(di_tokenizer_parse_hf(di_alloc_default(), json, strlen(json), r->why, &t, &err),
                  err);
        assert_ok(di_tokenizer_encode(t, r->text, strlen(r->text), &list, &err), err);
        if (list.n != r->n || memcmp(list.id, r->id, r->n * sizeof *r->id) != 0 ||
            memcmp(list.end, r->end, r->n * sizeof *r->end) != 0) {
            for (size_t k = 0; k < list.n; k++)
                print_message("%d@%u ", (int)list.id[k], (unsigned)list.end[k]);
            fail_msg("%s", r->why);
        }
        di_tokenizer_close(t);
    }
    di_token_list_deinit(&list);
}

/* --- Cost ------------------------------------------------------------------------------------- */

static void *counting_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    (void)old_size;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    ++*(size_t *)ctx;
    return realloc(ptr, new_size);
}

static void a_warm_call_allocates_nothing(void **state)
{
    static const char *const names[] = {"smollm", "qwen2", "gemma", "llama2", "llama3"};
    const char text[] = "I'll e\xcc\x81 <|im_start|> 2024\n\n  \xed\x95\x9c\xea\xb5\xad "
                        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    size_t taken = 0;
    const di_alloc counting = {counting_resize, &taken};
    di_token_list list = {.al = &counting};
    dial_error err = {0};
    (void)state;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        di_tokenizer *t = open_family(names[i]);
        size_t before;

        assert_ok(di_tokenizer_encode(t, text, sizeof text - 1, &list, &err), err);
        before = taken;
        for (int k = 0; k < 3; k++)
            assert_ok(di_tokenizer_encode(t, text, sizeof text - 1, &list, &err), err);
        assert_int_equal(taken, before);
        di_tokenizer_close(t);
    }
    di_token_list_deinit(&list);
}

/*
 * A million characters without a place to cut. In quadratic time this takes hours and the test
 * runs into its time limit; in n log n it takes a second.
 */
static void long_pieces_are_not_quadratic(void **state)
{
    static const char *const names[] = {"gpt2", "qwen2", "llama2", "gemma"};
    static const char *const fillers[] = {"a", "\xcc\x81\xcc\xa3", "ab", "\xe4\xb8\x80",
                                          "na\xcc\x81"};
    const size_t n = 1000000;
    char *text = malloc(n);
    di_token_list list = {.al = di_alloc_default()};
    dial_error err = {0};
    (void)state;

    assert_non_null(text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        di_tokenizer *t = open_family(names[i]);

        for (size_t k = 0; k < sizeof fillers / sizeof *fillers; k++) {
            const size_t size = strlen(fillers[k]);

            for (size_t at = 0; at < n; at++) text[at] = fillers[k][at % size];
            assert_ok(di_tokenizer_encode(t, text, n / size * size, &list, &err), err);
            assert_true(list.n > 0 && list.end[list.n - 1] == n / size * size);
        }
        di_tokenizer_close(t);
    }
    di_token_list_deinit(&list);
    free(text);
}

/* Words kept from one tokenizer must not be answered by another that uses the same list. */
static void a_list_may_change_its_tokenizer(void **state)
{
    static const char text[] = "the house that we built";
    di_token_list shared = {.al = di_alloc_default()}, own = {.al = di_alloc_default()};
    di_tokenizer *a = open_family("smollm"), *b = open_family("llama3"), *t[2] = {a, b};
    dial_error err = {0};
    (void)state;

    for (int i = 0; i < 6; i++) {
        assert_ok(di_tokenizer_encode(t[i % 2], text, sizeof text - 1, &shared, &err), err);
        di_token_list_deinit(&own);
        assert_ok(di_tokenizer_encode(t[i % 2], text, sizeof text - 1, &own, &err), err);
        assert_int_equal(shared.n, own.n);
        assert_memory_equal(shared.id, own.id, own.n * sizeof *own.id);
    }
    di_token_list_deinit(&shared);
    di_token_list_deinit(&own);
    di_tokenizer_close(a);
    di_tokenizer_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_tokens_end_where_their_bytes_end),
        cmocka_unit_test(spm_tokens_end_where_their_characters_end),
        cmocka_unit_test(ends_of_rewritten_text),
        cmocka_unit_test(a_warm_call_allocates_nothing),
        cmocka_unit_test(long_pieces_are_not_quadratic),
        cmocka_unit_test(a_list_may_change_its_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
