/* Config files: the values that come out, and FILE:LINE of every fault. */
#include "test.h"

#include "cmd/config.h"

/* Entries as text, one a line: KEY@LINE=VALUE. */
static dial_status collect(void *ctx, const char *key, const json_t *value, int line,
                           dial_error *err)
{
    char *out = ctx, *json;
    size_t n = strlen(out);

    (void)err;
    json = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    snprintf(out + n, 2000 - n, "%s@%d=%s\n", key, line, json);
    free(json);
    return DIAL_OK;
}

static dial_status parse(int toml, const char *text, char *out, dial_error *err)
{
    char copy[2000];

    out[0] = '\0';
    snprintf(copy, sizeof copy, "%s", text);
    return toml ? config_parse_toml("f.toml", copy, strlen(text), collect, out, err)
                : config_parse_json("f.json", copy, strlen(text), collect, out, err);
}

static void values(void **state)
{
    static const struct {
        int toml;
        const char *text, *entries;
    } rows[] = {
        {0, "{}", ""},
        {0, "{\"lr\":0.25,\n\"steps\":3,\n\n\"resume\":true,\"columns\":null}",
         "lr@1=0.25\nsteps@2=3\nresume@4=true\ncolumns@4=null\n"},
        {0,
         "{\"lora\":\n{\"r\":8,\"targets\":[\"a\",\n\"b\"]},\n\"x\\\"y\\\\\":\"{\\\"z\\\":1\"\n}",
         "lora-r@2=8\nlora-targets@2=[\"a\",\"b\"]\nx\"y\\@4=\"{\\\"z\\\":1\"\n"},
        {1, "", ""},
        {1, "# only a comment", ""},
        {1, "\xef\xbb\xbfx = 1", "x@1=1\n"},
        {1, "a = 1\r\nb=-2.5e3 # c\n\n[t]\nc = 'lit\\n' \n[t . \"u\"]\nd=+1_000\n",
         "a@1=1\nb@2=-2500.0\nt-c@5=\"lit\\\\n\"\nt-u-d@7=1000\n"},
        {1, "s = \"\\t\\\"\\\\\\u00e9\\U0001F600\"",
         "s@1=\"\\t\\\"\\\\\xc3\xa9\xf0\x9f\x98\x80\"\n"},
        {1, "l = [ # first\n 'a', \"b\",\n 3, true,\n]\nm = []",
         "l@1=[\"a\",\"b\",3,true]\nm@5=[]\n"},
        {1, "a.b.c = false\n[x]\na.b = ''", "a-b-c@1=false\nx-a-b@3=\"\"\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[2000];
        dial_error err = {.status = DIAL_OK};

        assert_ok(parse(rows[i].toml, rows[i].text, out, &err), err);
        assert_string_equal(out, rows[i].entries);
    }
}

static void faults(void **state)
{
    static const struct {
        int toml;
        const char *text, *where;
    } rows[] = {
        {0, "[1]", "f.json:1"},
        {0, "{\"a\":1\n,\n}", "f.json:3"},
        {0, "{\"a\":1,\n\"a\":2}", "f.json:2"},
        {0, "{\"a\":1}\n\nx", "f.json:3"},
        {0, "", "f.json:1"},
        {0, "{\"a\":1,\n\"\":{\"b\":2}}", "f.json:2"},
        {1, "a", "f.toml:1"},
        {1, "a = ", "f.toml:1"},
        {1, "\na = 1 b = 2", "f.toml:2"},
        {1, "a = yes", "f.toml:1"},
        {1, "a = 2020-01-01", "f.toml:1"},
        {1, "a = 07:32:00", "f.toml:1"},
        {1, "a = 0x10", "f.toml:1"},
        {1, "a = 1__0", "f.toml:1"},
        {1, "a = _1", "f.toml:1"},
        {1, "a = inf", "f.toml:1"},
        {1, "a = 1e999", "f.toml:1"},
        {1, "a = \"x\n\"", "f.toml:1"},
        {1, "a = \"x", "f.toml:1"},
        {1, "a = \"\\q\"", "f.toml:1"},
        {1, "a = \"\\u12g4\"", "f.toml:1"},
        {1, "a = \"\\ud800\"", "f.toml:1"},
        {1, "a = \"\\u0000\"", "f.toml:1"},
        {1, "a = \"\\", "f.toml:1"},
        {1, "a = \"\xff\"", "f.toml:1"},
        {1, "a = \"\"\"x\"\"\"", "f.toml:1"},
        {1, "a = { b = 1 }", "f.toml:1"},
        {1, "a = [1,\n2", "f.toml:2"},
        {1, "a = [1 2]", "f.toml:1"},
        {1, "a = [[1]]", "f.toml:1"},
        {1, "\n\n[a", "f.toml:3"},
        {1, "[[a]]", "f.toml:1"},
        {1, "[]", "f.toml:1"},
        {1, "a. = 1", "f.toml:1"},
        {1, "= 1", "f.toml:1"},
        {1,
         "a234567890a234567890a234567890a234567890a234567890a234567890a234567890a234567890"
         "a234567890a234567890 = 1",
         "f.toml:1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[2000];
        dial_error err = {.status = DIAL_OK};

        if (parse(rows[i].toml, rows[i].text, out, &err) != DIAL_ERR_USAGE)
            fail_msg("taken as good: %s", rows[i].text);
        assert_string_equal(err.where, rows[i].where);
        assert_true(err.message[0] != '\0');
    }
}

static dial_status refuse(void *ctx, const char *key, const json_t *value, int line,
                          dial_error *err)
{
    (void)ctx, (void)key, (void)value, (void)line, (void)err;
    return DIAL_ERR_NOMEM;
}

static void the_callback_can_stop(void **state)
{
    char text[] = "a = 1\nb = [2]";
    dial_error err;

    (void)state;
    assert_int_equal(config_parse_toml("f", text, strlen(text), refuse, NULL, &err),
                     DIAL_ERR_NOMEM);
    assert_int_equal(config_parse_json("f", "{\"a\":1}", 7, refuse, NULL, &err), DIAL_ERR_NOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(faults),
        cmocka_unit_test(the_callback_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
