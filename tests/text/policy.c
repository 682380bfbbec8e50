/* The rules of interfaces.md 2.5, one by one, on a tokenizer whose ids can be read off the text. */
#include "data/tiny_tokenizer.h"

#include "data/fail_alloc.h"
#include "text/policy.h"

enum { AB = TINY_AB, CD = TINY_CD, BOS = TINY_BOS, EOS = TINY_EOS };

static di_text_policy policy_of(int64_t max_length)
{
    return (di_text_policy){.template_name = "raw", .max_length = max_length};
}

static di_text text_of(const char *prompt, const char *response)
{
    return (di_text){.prompt = prompt,
                     .prompt_size = strlen(prompt),
                     .response = response,
                     .response_size = strlen(response),
                     .has_border = 1};
}

typedef struct encode_case {
    const char *prompt, *response; /* prompt NULL: a text without border */
    int64_t max_length;
    int32_t ids[9]; /* ended by 0 */
    unsigned flags;
} encode_case;

static void check(const di_tokenizer *t, di_when bos, di_when eos, const encode_case *c, size_t n)
{
    di_text_scratch s = {.al = di_alloc_default()};

    for (size_t i = 0; i < n; i++) {
        di_text_policy p = policy_of(c[i].max_length);
        di_text text = text_of(c[i].prompt != NULL ? c[i].prompt : "", c[i].response);
        const int32_t *ids;
        int64_t count, expected = 0;
        unsigned flags;
        dial_error err = {0};

        p.bos = bos;
        p.eos = eos;
        text.has_border = c[i].prompt != NULL;
        while (c[i].ids[expected] != 0) expected++;
        assert_ok(di_text_policy_resolve(&p, t, &err), err);
        assert_ok(di_text_encode(&p, t, &text, &s, &ids, &count, &flags, &err), err);
        if (count != expected || memcmp(ids, c[i].ids, (size_t)count * sizeof *ids) != 0 ||
            flags != c[i].flags) {
            for (int64_t k = 0; k < count; k++) print_message(" %d", ids[k]);
            fail_msg("'%s' + '%s', at most %lld: flags %u", text.prompt, text.response,
                     (long long)c[i].max_length, flags);
        }
    }
    di_text_scratch_deinit(&s);
}

#define CHECK(t, bos, eos, cases) check((t), (bos), (eos), (cases), sizeof(cases) / sizeof *(cases))

/* Encoded as one string: a merge may span the border. */
static void joint_encoding(void **state)
{
    static const encode_case cases[] = {
        {"xa", "bz", 9, {'x', AB, 'z'}, 0},
        {"", "ab", 9, {AB}, 0},
        {"ab", "cd", 9, {AB, CD}, 0},
        {NULL, "abx", 9, {AB, 'x'}, 0},
    };
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), -1, -1, 0);
    (void)state;
    CHECK(t, DI_AUTO, DI_AUTO, cases);
    di_tokenizer_close(t);
}

static void bos_is_never_doubled(void **state)
{
    static const encode_case added[] = {
        {"x", "y", 9, {BOS, 'x', 'y'}, 0},
        {"<s>x", "y", 9, {BOS, 'x', 'y'}, 0},
        {NULL, "<s>", 9, {BOS}, 0},
    };
    static const encode_case not_added[] = {
        {"x", "y", 9, {'x', 'y'}, 0},
        {"<s>x", "y", 9, {BOS, 'x', 'y'}, 0},
    };
    di_tokenizer *adds = tiny_tokenizer(di_alloc_default(), BOS, EOS, 1);
    di_tokenizer *adds_not = tiny_tokenizer(di_alloc_default(), BOS, EOS, 0);
    (void)state;
    CHECK(adds, DI_AUTO, DI_NEVER, added);
    CHECK(adds_not, DI_ALWAYS, DI_NEVER, added);
    CHECK(adds_not, DI_AUTO, DI_NEVER, not_added);
    CHECK(adds, DI_NEVER, DI_NEVER, not_added);
    di_tokenizer_close(adds);
    di_tokenizer_close(adds_not);
}

static void eos_ends_raw_text(void **state)
{
    static const encode_case appended[] = {
        {"x", "y", 9, {'x', 'y', EOS}, 0},
        {"x", "y</s>", 9, {'x', 'y', EOS}, 0},
        {"x</s>", "y", 9, {'x', EOS, 'y', EOS}, 0},
        {NULL, "y", 9, {'y', EOS}, 0},
    };
    static const encode_case not_appended[] = {
        {"x", "y", 9, {'x', 'y'}, 0},
        {"x", "y</s>", 9, {'x', 'y', EOS}, 0},
    };
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), BOS, EOS, 0);
    di_tokenizer *none = tiny_tokenizer(di_alloc_default(), -1, -1, 0);
    (void)state;
    CHECK(t, DI_AUTO, DI_AUTO, appended);
    CHECK(t, DI_AUTO, DI_ALWAYS, appended);
    CHECK(t, DI_AUTO, DI_NEVER, not_appended);
    CHECK(none, DI_AUTO, DI_AUTO, ((const encode_case[]){{"x", "y", 9, {'x', 'y'}, 0}}));
    di_tokenizer_close(t);
    di_tokenizer_close(none);
}

/* One id for both, as SmolLM2 has it: a text that is that token alone needs it once. */
static void bos_and_eos_may_be_one_id(void **state)
{
    static const encode_case cases[] = {
        {NULL, "<s>", 9, {BOS}, 0},
        {NULL, "", 9, {BOS, BOS}, 0},
        {"x", "y", 9, {BOS, 'x', 'y', BOS}, 0},
        {"<s>x", "y<s>", 9, {BOS, 'x', 'y', BOS}, 0},
    };
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), BOS, BOS, 1);
    (void)state;
    CHECK(t, DI_AUTO, DI_AUTO, cases);
    di_tokenizer_close(t);
}

static void truncation(void **state)
{
    const unsigned prompt = DI_PROMPT_TRUNCATED, response = DI_RESPONSE_TRUNCATED;
    const encode_case cases[] = {
        {"123", "xyz", 8, {BOS, '1', '2', '3', 'x', 'y', 'z', EOS}, 0},
        {"1234", "xy", 6, {BOS, '3', '4', 'x', 'y', EOS}, prompt},
        {"1234", "xy", 4, {BOS, 'x', 'y', EOS}, prompt},
        {"1234", "xyz", 4, {BOS, 'x', 'y', EOS}, prompt | response},
        {"", "xyz", 4, {BOS, 'x', 'y', EOS}, response},
        {"1", "xyz", 3, {BOS, 'x', EOS}, prompt | response},
        {"1", "x", 3, {BOS, 'x', EOS}, prompt},
        {"", "x", 3, {BOS, 'x', EOS}, 0},
        /* a token across the border is the response's: it stays when the prompt goes ... */
        {"12a", "bx", 4, {BOS, AB, 'x', EOS}, prompt},
        /* ... and counts as the response's length */
        {"12a", "bx", 3, {BOS, AB, EOS}, prompt | response},
        /* BOS and EOS that the text brings are kept, too */
        {"<s>123", "xy</s>", 5, {BOS, '3', 'x', 'y', EOS}, prompt},
        {"<s>1", "xyz</s>", 4, {BOS, 'x', 'y', EOS}, prompt | response},
        /* no border: cut from the left */
        {NULL, "12xyz", 5, {BOS, 'x', 'y', 'z', EOS}, prompt},
        {NULL, "<s>12xyz</s>", 3, {BOS, 'z', EOS}, prompt},
    };
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), BOS, EOS, 1);
    (void)state;
    CHECK(t, DI_AUTO, DI_AUTO, cases);
    di_tokenizer_close(t);
}

/* Without BOS and EOS the whole length is the text's. */
static void truncation_without_frame(void **state)
{
    const encode_case cases[] = {
        {"12", "xyz", 3, {'x', 'y', 'z'}, DI_PROMPT_TRUNCATED},
        {"12", "xyz", 4, {'2', 'x', 'y', 'z'}, DI_PROMPT_TRUNCATED},
        {"", "wxyz", 3, {'w', 'x', 'y'}, DI_RESPONSE_TRUNCATED},
        {NULL, "wxyz", 3, {'x', 'y', 'z'}, DI_PROMPT_TRUNCATED},
    };
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), -1, -1, 0);
    (void)state;
    CHECK(t, DI_AUTO, DI_AUTO, cases);
    di_tokenizer_close(t);
}

static void drop_and_error(void **state)
{
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), BOS, EOS, 1);
    di_text_scratch s = {.al = di_alloc_default()};
    di_text_policy p = policy_of(4);
    di_text text = text_of("1", "xy"), fits = text_of("1", "x"), nothing = text_of("", "");
    const int32_t *ids;
    int64_t n = 7;
    unsigned flags = 0;
    dial_error err = {0};
    (void)state;
    p.overlong = DI_DROP;
    assert_ok(di_text_policy_resolve(&p, t, &err), err);
    assert_ok(di_text_encode(&p, t, &text, &s, &ids, &n, &flags, &err), err);
    assert_true(n == 0 && flags == DI_DROPPED);
    assert_ok(di_text_encode(&p, t, &fits, &s, &ids, &n, &flags, &err), err);
    assert_true(n == 4 && flags == 0);
    p.overlong = DI_OVERLONG_ERROR;
    assert_int_equal(di_text_encode(&p, t, &text, &s, &ids, &n, &flags, &err), DIAL_ERR_INPUT);
    assert_string_equal(err.message, "too_long: expected at most 4 tokens, found 5");
    assert_true(n == 4 && err.hint[0] != '\0');
    assert_ok(di_text_encode(&p, t, &fits, &s, &ids, &n, &flags, &err), err);
    p.bos = p.eos = DI_NEVER;
    assert_ok(di_text_policy_resolve(&p, t, &err), err);
    assert_int_equal(di_text_encode(&p, t, &nothing, &s, &ids, &n, &flags, &err), DIAL_ERR_INPUT);
    assert_true(strncmp(err.message, "empty_prompt_and_response: ", 27) == 0);
    di_text_scratch_deinit(&s);
    di_tokenizer_close(t);
}

static void resolving(void **state)
{
    di_tokenizer *with = tiny_tokenizer(di_alloc_default(), BOS, EOS, 1);
    di_tokenizer *without = tiny_tokenizer(di_alloc_default(), -1, -1, 0);
    di_text_policy p = policy_of(3), q;
    dial_error err = {0};
    (void)state;
    strcpy(p.template_name, "auto");
    assert_ok(di_text_policy_resolve(&p, with, &err), err);
    assert_true(p.adds_bos && p.appends_eos && p.bos_id == BOS && p.eos_id == EOS);
    assert_ok(di_text_policy_resolve(&p, without, &err), err);
    assert_true(!p.adds_bos && !p.appends_eos && p.bos_id == -1 && p.eos_id == -1);
    p.bos = DI_ALWAYS;
    q = p;
    assert_int_equal(di_text_policy_resolve(&p, without, &err), DIAL_ERR_USAGE);
    assert_string_equal(err.where, "--bos");
    assert_memory_equal(&p, &q, sizeof p);
    p = policy_of(3);
    p.eos = DI_ALWAYS;
    assert_int_equal(di_text_policy_resolve(&p, without, &err), DIAL_ERR_USAGE);
    assert_string_equal(err.where, "--eos");
    p = policy_of(2);
    assert_int_equal(di_text_policy_resolve(&p, with, &err), DIAL_ERR_USAGE);
    assert_string_equal(err.where, "--max-length");
    p = policy_of(100);
    strcpy(p.template_name, "chatml"); /* which closes its turns */
    assert_ok(di_text_policy_resolve(&p, with, &err), err);
    assert_true(p.adds_bos && !p.appends_eos);
    di_tokenizer_close(with);
    di_tokenizer_close(without);
}

/* --- chat templates --------------------------------------------------------------------------- */

typedef struct chat_case {
    const char *why, *name;
    di_when eos;
    int64_t max_length;
    di_text text;
    const char *ids; /* each a byte; ^ is BOS, $ is EOS */
    size_t border;
    unsigned flags;
} chat_case;

static const di_turn turns[] = {
    {"system", {"s", 1}}, {"user", {"q", 1}}, {"assistant", {" ab", 3}}};

/* A template that trims and brackets: the border is where the response itself begins. */
static void chat_templates(void **state)
{
    static const char source[] =
        "{% for m in messages %}[{{ m.role[0] }}{{ m.content | trim }}]{% endfor %}";
    const di_text strings = {
        .prompt = "q", .prompt_size = 1, .response = "z", .response_size = 1, .has_border = 1};
    const di_text dialogue = {.prompt = "sq",
                              .prompt_size = 2,
                              .response = " ab",
                              .response_size = 3,
                              .has_border = 1,
                              .turn = turns,
                              .n_turns = 3,
                              .scored = 2};
    const di_text rendered = {.prompt = "q",
                              .prompt_size = 1,
                              .response = "z",
                              .response_size = 1,
                              .has_border = 1,
                              .rendered = 1};
    const chat_case cases[] = {
        {"prompt and response are two turns", "t", DI_AUTO, 99, strings, "^[uq][az]", 6, 0},
        {"x as a response needs another stand-in",
         "t",
         DI_AUTO,
         99,
         {.prompt = "", .response = "x", .response_size = 1, .has_border = 1},
         "^[u][ax]",
         5,
         0},
        {"a dialogue has its own", "t", DI_AUTO, 99, dialogue, "^[ss][uq][a\1]", 10, 0},
        {"EOS where it is asked for", "t", DI_ALWAYS, 99, strings, "^[uq][az]$", 6, 0},
        {"rendered text stays", "t", DI_AUTO, 99, rendered, "^qz", 1, 0},
        {"auto: strings are raw", "auto", DI_AUTO, 99, strings, "^qz$", 1, 0},
        {"auto: dialogues are not", "auto", DI_AUTO, 99, dialogue, "^[ss][uq][a\1]", 10, 0},
        {"the prompt gives way from its left", "t", DI_AUTO, 6, strings, "^][az]", 6,
         DI_PROMPT_TRUNCATED},
        {"the response its end", "t", DI_AUTO, 3, dialogue, "^\1]", 10, DI_PROMPT_TRUNCATED},
    };
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), BOS, EOS, 1);
    di_text_scratch s = {.al = di_alloc_default()};
    di_template *chat = NULL;
    dial_error err = {0};
    (void)state;

    assert_ok(di_template_from_jinja(s.al, "t", source, sizeof source - 1, t, &chat, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        di_text_policy p = policy_of(cases[i].max_length);
        const int32_t *ids;
        int64_t n;
        unsigned flags;

        strcpy(p.template_name, cases[i].name);
        p.chat = chat;
        p.eos = cases[i].eos;
        assert_ok(di_text_policy_resolve(&p, t, &err), err);
        assert_ok(di_text_encode(&p, t, &cases[i].text, &s, &ids, &n, &flags, &err), err);
        for (int64_t k = 0; k < n || cases[i].ids[k] != '\0'; k++) {
            int32_t want = (unsigned char)cases[i].ids[k];

            want = want == '^' ? BOS : want == '$' ? EOS : want == 1 ? AB : want;
            if (k >= n || ids[k] != want)
                fail_msg("%s: token %lld of %lld", cases[i].why, (long long)k, (long long)n);
        }
        if (s.border != cases[i].border || flags != cases[i].flags)
            fail_msg("%s: border %zu, flags %u", cases[i].why, s.border, flags);
    }
    di_template_free(chat);
    di_text_scratch_deinit(&s);
    di_tokenizer_close(t);
}

/* A reply that the template does not show cannot be scored. */
static void a_template_must_show_the_reply(void **state)
{
    static const char source[] = "{{ messages[0].content }}";
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), BOS, EOS, 1);
    di_text_scratch s = {.al = di_alloc_default()};
    di_text_policy p = policy_of(9);
    di_text text = text_of("q", "z");
    di_template *chat = NULL;
    dial_error err = {0};
    const int32_t *ids;
    int64_t n;
    unsigned flags;
    (void)state;

    assert_ok(di_template_from_jinja(s.al, "t", source, sizeof source - 1, t, &chat, &err), err);
    strcpy(p.template_name, "t");
    p.chat = chat;
    assert_ok(di_text_policy_resolve(&p, t, &err), err);
    assert_int_equal(di_text_encode(&p, t, &text, &s, &ids, &n, &flags, &err), DIAL_ERR_INPUT);
    assert_string_equal(err.message, "template_failed: the template t leaves the response out");
    di_template_free(chat);
    di_text_scratch_deinit(&s);
    di_tokenizer_close(t);
}

static void json_and_back(void **state)
{
    static const char *const broken[] = {
        "{}",
        "[]",
        "{\"template\":\"a name that is longer than a name may be\"}",
        "{\"template\":\"raw\",\"bos\":\"sometimes\"}",
        "{\"template\":\"raw\",\"bos\":\"auto\",\"eos\":\"auto\",\"overlong\":\"drop\",\"adds_"
        "bos\":1}",
        "{\"template\":\"raw\",\"bos\":\"auto\",\"eos\":\"auto\",\"overlong\":\"drop\",\"adds_"
        "bos\":true,"
        "\"appends_eos\":false,\"bos_id\":null,\"eos_id\":1,\"max_length\":9}",
        "{\"template\":\"raw\",\"bos\":\"auto\",\"eos\":\"auto\",\"overlong\":\"drop\",\"adds_"
        "bos\":false,"
        "\"appends_eos\":false,\"bos_id\":null,\"eos_id\":1,\"max_length\":2}",
        "{\"template\":\"raw\",\"bos\":\"auto\",\"eos\":\"auto\",\"overlong\":\"drop\",\"adds_"
        "bos\":false,"
        "\"appends_eos\":false,\"bos_id\":-2,\"eos_id\":1,\"max_length\":9}",
    };
    di_text_policy p = policy_of(1024), q;
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), -1, EOS, 0);
    dial_error err = {0};
    di_buf text;
    json_t *v;
    (void)state;
    p.eos = DI_ALWAYS;
    p.overlong = DI_DROP;
    assert_ok(di_text_policy_resolve(&p, t, &err), err);
    v = di_text_policy_to_json(&p, "00ff");
    di_buf_init(&text, di_alloc_default());
    assert_ok(di_json_write(v, &text, &err), err);
    assert_string_equal(
        text.data,
        "{\"template\":\"raw\",\"template_def\":null,\"bos\":\"auto\",\"eos\":\"always\","
        "\"adds_bos\":false,\"appends_eos\":true,\"bos_id\":null,\"eos_id\":259,"
        "\"max_length\":1024,\"overlong\":\"drop\",\"tokenizer_sha256\":\"00ff\"}");
    assert_ok(di_text_policy_from_json(v, "dial.json", &q, &err), err);
    assert_true(strcmp(q.template_name, "raw") == 0 && q.bos == DI_AUTO && q.eos == DI_ALWAYS &&
                q.adds_bos == 0 && q.appends_eos == 1 && q.bos_id == -1 && q.eos_id == EOS &&
                q.max_length == 1024 && q.overlong == DI_DROP);
    json_decref(v);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_ok(di_json_parse(broken[i], strlen(broken[i]), "f", 1, &v, &err), err);
        assert_int_equal(di_text_policy_from_json(v, "dial.json", &q, &err), DIAL_ERR_INPUT);
        assert_string_equal(err.where, "dial.json");
        assert_int_equal(q.max_length, 1024);
        json_decref(v);
    }
    di_buf_deinit(&text);
    di_tokenizer_close(t);
}

/* A warm call allocates nothing; each request of a cold one fails cleanly. */
static void memory(void **state)
{
    di_tokenizer *t = tiny_tokenizer(di_alloc_default(), BOS, EOS, 1);
    di_text_policy p = policy_of(100);
    di_text text = text_of("a prompt", "a response");
    const int32_t *ids;
    int64_t n;
    unsigned flags;
    dial_error err = {0};
    dial_status st = DIAL_ERR_NOMEM;
    (void)state;
    assert_ok(di_text_policy_resolve(&p, t, &err), err);
    for (long k = 0; st != DIAL_OK; k++) {
        fail_alloc fail = {k, 0};
        di_alloc al = {fail_resize, &fail};
        di_text_scratch s = {.al = &al};

        assert_true(k < 100);
        st = di_text_encode(&p, t, &text, &s, &ids, &n, &flags, &err);
        if (st != DIAL_OK) assert_int_equal(st, DIAL_ERR_NOMEM);
        if (st == DIAL_OK) {
            fail.left = 0;
            assert_ok(di_text_encode(&p, t, &text, &s, &ids, &n, &flags, &err), err);
        }
        di_text_scratch_deinit(&s);
        assert_int_equal(fail.out, 0);
    }
    di_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joint_encoding),    cmocka_unit_test(bos_is_never_doubled),
        cmocka_unit_test(eos_ends_raw_text), cmocka_unit_test(bos_and_eos_may_be_one_id),
        cmocka_unit_test(truncation),        cmocka_unit_test(truncation_without_frame),
        cmocka_unit_test(drop_and_error),    cmocka_unit_test(resolving),
        cmocka_unit_test(chat_templates),    cmocka_unit_test(a_template_must_show_the_reply),
        cmocka_unit_test(json_and_back),     cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
