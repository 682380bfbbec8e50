/*
 * Chat templates against transformers (tests/fixtures/make_templates.py), and what is not
 * understood: refused with the place in the template.
 */
#include "test.h"

#include "base/file.h"
#include "base/json.h"
#include "data/fail_alloc.h"
#include "text/template.h"

#define FIXTURES TEST_DIR "/fixtures/templates/"

enum { MOST_TURNS = 16 };

static json_t *read_json(const char *path)
{
    json_t *v = NULL;
    dial_error err = {0};

    assert_ok(di_json_read(di_alloc_default(), path, &v, &err), err);
    return v;
}

static size_t turns_of(const json_t *dialogue, di_turn *turn)
{
    size_t n = json_array_size(dialogue);

    assert_true(n <= MOST_TURNS);
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(dialogue, i), *content = json_array_get(m, 1);

        turn[i].role = json_string_value(json_array_get(m, 0));
        turn[i].content = (di_str){json_string_value(content), json_string_length(content)};
    }
    return n;
}

/* A tokenizer whose BOS and EOS have the strings that the fixture says; NULL: it has none. */
static di_tokenizer *tokenizer_with(const char *bos, const char *eos)
{
    const di_str token[] = {{"a", 1},
                            {bos != NULL ? bos : "b", strlen(bos != NULL ? bos : "b")},
                            {eos != NULL ? eos : "c", strlen(eos != NULL ? eos : "c")}};
    const int32_t type[] = {DI_TOKEN_NORMAL, DI_TOKEN_CONTROL, DI_TOKEN_CONTROL};
    const di_vocab v = {.where = "tiny",
                        .model = "gpt2",
                        .pre = "gpt-2",
                        .tokens = token,
                        .types = type,
                        .n = 3,
                        .bos = bos != NULL ? 1 : -1,
                        .eos = eos != NULL ? 2 : -1,
                        .unk = -1,
                        .pad = -1,
                        .add_eos = 0,
                        .add_space_prefix = -1};
    di_tokenizer *t = NULL;
    dial_error err = {0};

    assert_ok(di_tokenizer_from_vocab(di_alloc_default(), &v, &t, &err), err);
    return t;
}

static int has_tool(const di_turn *turn, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(turn[i].role, "tool") == 0) return 1;
    return 0;
}

/* Every dialogue: the hash of the text, or a refusal. named: refusals are not compared. */
static void compare(const char *family, const di_template *t, const json_t *dialogues,
                    const json_t *expected, int named)
{
    const json_t *full = json_object_get(expected, "full");
    size_t shown = 0, refused = 0;
    di_buf b;

    di_buf_init(&b, di_alloc_default());
    for (size_t i = 0; i < json_array_size(dialogues); i++) {
        const json_t *want = json_array_get(json_object_get(expected, "fnv"), i);
        di_turn turn[MOST_TURNS];
        size_t n = turns_of(json_array_get(dialogues, i), turn);
        dial_error err = {0};
        dial_status st;
        char hash[24];

        b.size = 0;
        st = di_template_render(t, turn, n, &b, &err);
        if (json_is_null(want)) {
            if (named) continue;
            assert_int_equal(st, DIAL_ERR_INPUT);
            assert_memory_equal(err.message, "template_failed: ", 17);
            refused++;
            continue;
        }
        if (named && st != DIAL_OK && has_tool(turn, n)) continue; /* tables have no such turn */
        if (st != DIAL_OK) fail_msg("%s, dialogue %zu: %s", family, i, err.message);
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)di_fnv1a(b.data, b.size));
        if (!named && shown < json_array_size(full)) {
            const json_t *text = json_array_get(full, shown++);

            if (b.size != json_string_length(text) ||
                memcmp(b.data, json_string_value(text), b.size) != 0)
                fail_msg("%s, dialogue %zu:\n%s\nexpected:\n%s", family, i, b.data,
                         json_string_value(text));
        }
        if (strcmp(hash, json_string_value(want)) != 0)
            fail_msg("%s%s, dialogue %zu: another text than transformers':\n%s", family,
                     named ? " (named)" : "", i, b.data);
    }
    print_message("%-14s %zu dialogues, %zu of them refused\n", family, json_array_size(dialogues),
                  refused);
    di_buf_deinit(&b);
}

static void equal_to_transformers(void **state)
{
    json_t *dialogues = read_json(FIXTURES "dialogues.json");
    json_t *all = read_json(FIXTURES "expected.json"), *expected;
    const di_alloc *al = di_alloc_default();
    const char *family;
    (void)state;

    assert_int_equal(json_array_size(dialogues), 200);
    json_object_foreach (all, family, expected) {
        const char *named = json_string_value(json_object_get(expected, "named"));
        di_tokenizer *tok = tokenizer_with(json_string_value(json_object_get(expected, "bos")),
                                           json_string_value(json_object_get(expected, "eos")));
        di_template *t = NULL;
        dial_error err = {0};
        char path[512], *source = NULL;
        size_t n;

        snprintf(path, sizeof path, FIXTURES "%s.jinja", family);
        assert_ok(di_read_file(al, path, &source, &n, &err), err);
        assert_ok(di_template_from_jinja(al, family, source, n, tok, &t, &err), err);
        compare(family, t, dialogues, expected, 0);
        di_template_free(t);
        t = NULL;
        if (named != NULL) {
            assert_ok(di_template_named(al, named, tok, &t, &err), err);
            assert_non_null(t);
            compare(family, t, dialogues, expected, 1);
            di_template_free(t);
        }
        di_free(al, source);
        di_tokenizer_close(tok);
    }
    json_decref(all);
    json_decref(dialogues);
}

static const di_turn two[] = {{"user", {"q", 1}}, {"assistant", {"a", 1}}};

/* Parses and renders `two`; the message of the failure, or the text. */
static void check(const char *source, dial_status expected, const char *begins)
{
    di_tokenizer *tok = tokenizer_with("<s>", "</s>");
    di_template *t = NULL;
    dial_error err = {0};
    dial_status st =
        di_template_from_jinja(di_alloc_default(), "T", source, strlen(source), tok, &t, &err);
    const char *found;
    di_buf b;

    di_buf_init(&b, di_alloc_default());
    if (st == DIAL_OK) st = di_template_render(t, two, 2, &b, &err);
    found = st == DIAL_OK ? (b.data != NULL ? b.data : "") : err.message;
    if (st != expected || strncmp(found, begins, strlen(begins)) != 0)
        fail_msg("%.99s\nexpected: %s\nfound:    %s", source, begins, found);
    if (st != DIAL_OK) assert_non_null(strstr(err.hint, "--template"));
    di_buf_deinit(&b);
    di_template_free(t);
    di_tokenizer_close(tok);
}

#define FAULT(source, place) check((source), DIAL_ERR_INPUT, "template_failed: T:" place)

static void refused_with_their_place(void **state)
{
    (void)state;
    /* what the grammar does not know */
    FAULT("a\n {% macro f() %}{% endmacro %}", "2:5: expected if, for or set");
    FAULT("{% raw %}", "1:4: expected if, for or set (other statements are not read), found 'raw'");
    FAULT("{{ 1.5 }}", "1:5: numbers with a point");
    FAULT("{{ (1, 2) }}", "1:6: expected ), found ','");
    FAULT("{% if x %}", "1:11: expected endif, found the end");
    FAULT("{% endif %}", "1:4: expected what this would end, found 'endif'");
    FAULT("{% if x %}{% endfor %}", "1:14: expected endif, found 'endfor'");
    FAULT("{{ a", "1:5: expected }}, found the end");
    FAULT("{# a", "1:1: expected #}");
    FAULT("{{ 'a }}", "1:4: expected an expression, found '''");
    FAULT("{{ a ? b }}", "1:6: expected an expression, found '?'");
    FAULT("{{ '\\x4' }}", "1:4: expected 2 hex digits");
    FAULT("{{ a. }}", "1:7: expected a name, found '}}'");
    FAULT("{% set a, b = 1 %}", "1:9: expected %}, found ','");
    FAULT("{{ 99999999999 }}", "1:4: expected an integer below 2^31");
    FAULT("\xff", "1:1: expected UTF-8");
    /* what is not there when it is reached */
    FAULT("{{ messages | tojson }}", "1:13: there is no filter 'tojson' here");
    FAULT("{{ strftime_now('%Y') }}", "1:4: there is no function 'strftime_now' here");
    FAULT("{{ 'a'.title() }}", "1:7: texts have no method 'title' here");
    FAULT("{{ 1 is divisibleby 3 }}", "1:6: there is no test 'divisibleby' here");
    FAULT("{{ nothing.at.all }}", "1:11: cannot take 'at' of something undefined");
    FAULT("{{ 'a' + 1 }}", "1:8: cannot add text and an integer");
    FAULT("{{ 1 // 0 }}", "1:6: cannot divide 1 by 0");
    FAULT("{{ messages }}", "1:4: expected text to print, found a list");
    FAULT("{% set x.y = 1 %}", "1:10: expected a namespace, found something undefined");
    FAULT("{{ raise_exception('no\nsuch') }}", "1:19: the template refuses the dialogue: no such");
    FAULT("{% for a, b in messages %}{% endfor %}", "1:4: expected a list to go over, found pairs");
    FAULT("{{ '\\u00e9' | upper }}", "1:13: upper and lower case of ASCII");
    /* and a branch that is not entered may say what it likes */
    check("{% if tools %}{{ tools | tojson }}{% endif %}ok", DIAL_OK, "ok");
    check("{{ '' if true else strftime_now() }}ok", DIAL_OK, "ok");
    check("", DIAL_OK, "");
}

/* A template cannot take the machine: depth, steps and memory have an end. */
static void bounded(void **state)
{
    char deep[4096] = "{{ ", doubling[512];
    (void)state;

    memset(deep + 3, '(', 2000);
    memset(deep + 2003, ')', 2000);
    strcpy(deep + 4003, "}}");
    FAULT(deep, "1:54: nested deeper than 100");
    strcpy(deep, "{{ 1");
    for (int i = 0; i < 900; i++) strcat(deep, "+1");
    strcat(deep, " }}");
    FAULT(deep, "1:");
    snprintf(doubling, sizeof doubling,
             "{%% set ns = namespace(x='xxxxxxxxxxxxxxxx') %%}"
             "{%% for a in '%s'.split(',') %%}{%% set ns.x = ns.x + ns.x %%}{%% endfor %%}",
             ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,");
    check(doubling, DIAL_ERR_INPUT, "template_failed: T:1:");
}

static void json_files(void **state)
{
    static const char good[] =
        "{\"name\":\"mine\",\"bos\":true,\"system\":[\"{\",\"}\"],\"user\":[\"U:\",\"\\n\"],"
        "\"assistant\":[\"A:\",\"!\"],\"default_system\":\"be kind\",\"system_into_user\":\"--\","
        "\"trim\":true}";
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"[]", "name: expected a string"},
        {"{\"name\":\"a name that is longer than the room for it\"}", "name: expected a string"},
        {"{\"name\":\"x\"}", "bos: expected true or false"},
        {"{\"name\":\"x\",\"bos\":true}", "user: expected two strings"},
        {"{\"name\":\"x\",\"bos\":true,\"user\":[\"a\"]}", "user: expected two strings"},
        {"{\"name\":\"x\",\"bos\":true,\"users\":1}", "the key \"users\" is not known"},
        {"{\"name\":\"x\",\"bos\":true,\"user\":[\"\",\"\"],\"assistant\":[\"\",\"\"],"
         "\"default_system\":1,\"trim\":false}",
         "default_system: expected a string or null"},
        {"{\"name\":\"x\",\"jinja\":\"{% x %}\"}", "template_failed: x:1:4: "},
    };
    static const di_turn lone[] = {{"assistant", {" a ", 3}}}, tool[] = {{"tool", {"t", 1}}};
    const di_alloc *al = di_alloc_default();
    di_tokenizer *tok = tokenizer_with("<s>", NULL);
    di_template *t = NULL, *again = NULL;
    json_t *v = json_loads(good, 0, NULL), *def;
    dial_error err = {0};
    di_buf b;
    (void)state;

    di_buf_init(&b, al);
    assert_ok(di_template_from_json(al, v, "f", tok, &t, &err), err);
    assert_string_equal(di_template_name(t), "mine");
    assert_ok(di_template_render(t, two, 2, &b, &err), err);
    assert_string_equal(b.data, "<s>U:{be kind}--q\nA:a!");
    assert_int_equal(di_template_render(t, lone, 1, &b, &err), DIAL_ERR_INPUT); /* nowhere to */
    assert_int_equal(di_template_render(t, tool, 1, &b, &err), DIAL_ERR_INPUT);
    assert_string_equal(err.message,
                        "template_failed: the template mine has no turn for the role tool here");
    def = di_template_to_json(t);
    assert_true(json_equal(def, v));
    assert_ok(di_template_from_json(al, def, "f", tok, &again, &err), err);
    json_decref(def);
    json_decref(v);
    di_template_free(t);
    di_template_free(again);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        v = json_loads(bad[i].text, 0, NULL);
        t = NULL;
        assert_int_equal(di_template_from_json(al, v, "f", tok, &t, &err), DIAL_ERR_INPUT);
        if (strncmp(err.message, bad[i].message, strlen(bad[i].message)) != 0)
            fail_msg("%s: %s", bad[i].text, err.message);
        json_decref(v);
    }
    assert_ok(di_template_named(al, "alpaca", tok, &t, &err), err);
    assert_null(t);
    di_buf_deinit(&b);
    di_tokenizer_close(tok);
}

static dial_status once(const di_alloc *al, const di_tokenizer *tok, dial_error *err)
{
    static const char source[] =
        "{% set ns = namespace(x=[1, 2]) %}{% for m in messages if m.role %}"
        "{{ m.content.split('q') | length ~ loop.index }}{% set ns.x = ns.x + [3] %}{% endfor %}";
    dial_status st;
    di_template *t = NULL;
    di_buf b;

    di_buf_init(&b, al);
    st = di_template_from_jinja(al, "T", source, sizeof source - 1, tok, &t, err);
    if (st == DIAL_OK) st = di_template_render(t, two, 2, &b, err);
    di_buf_deinit(&b);
    di_template_free(t);
    return st;
}

/* Each allocation of parsing and rendering fails once. */
static void no_memory(void **state)
{
    di_tokenizer *tok = tokenizer_with("<s>", "</s>");
    dial_status st = DIAL_ERR_NOMEM;
    (void)state;

    for (long n = 0; st != DIAL_OK; n++) {
        fail_alloc f = {n, 0};
        const di_alloc al = {fail_resize, &f};
        dial_error err = {0};

        st = once(&al, tok, &err);
        assert_true(st == DIAL_OK || st == DIAL_ERR_NOMEM);
        assert_int_equal(f.out, 0);
        assert_true(n < 100);
    }
    di_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_transformers),
        cmocka_unit_test(refused_with_their_place),
        cmocka_unit_test(bounded),
        cmocka_unit_test(json_files),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
