/* Schemas: which keys make which row, what a row that does not fit is called, and that no label
 * of a target file gets out. */
#include "data/read_rows.h"

typedef struct good_case {
    const char *text, *rows;
} good_case;

static void schemas(void **state)
{
    static const good_case cases[] = {
        {"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"margin\": 0.5}",
         "pair <p|a> <p|b> margin=0.5\n"},
        {"{\"prompt\": \"\", \"chosen\": \"a\", \"rejected\": \"a\"}",
         "pair <|a> <|a> identical\n"},
        {"{\"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"margin\": null}",
         "pair <q|a> <q|b>\n"},
        {"{\"instruction\": \"i\", \"input\": \"x\", \"chosen\": \"a\", \"rejected\": \"b\"}",
         "pair <i\nx|a> <i\nx|b>\n"},
        {"{\"instruction\": \"i\", \"input\": \"\", \"chosen\": \"a\", \"rejected\": \"b\"}",
         "pair <i|a> <i|b>\n"},
        {"{\"prompt\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"human\", "
         "\"content\": "
         "\"u\"}], \"chosen\": \"a\", \"rejected\": \"b\"}",
         "pair <su|a> <su|b> messages\n"},
        {"{\"prompt\": \"p\", \"response_chosen\": \"a\", \"response_rejected\": \"b\"}",
         "pair <p|a> <p|b>\n"},
        {"{\"history\": \"h\", \"human_ref_A\": \"a\", \"human_ref_B\": \"b\", \"labels\": 1}\n"
         "{\"history\": \"h\", \"human_ref_A\": \"a\", \"human_ref_B\": \"b\", \"labels\": 0}",
         "pair <h|a> <h|b>\npair <h|b> <h|a>\n"},
        {"{\"prompt\": \"p\", \"response\": \"r\", \"score\": -2}", "scored <p|r> score=-2\n"},
        {"{\"text\": \"t\", \"label\": 3}", "scored <.t> score=3\n"},
        {"{\"prompt\": \"p\", \"response\": \"r\"}", "single <p|r>\n"},
        {"{\"text\": \"t\"}", "single <.t>\n"},
        {"{\"prompt\": \"p\", \"correct\": \"c\", \"wrong_b\": \"x\", \"wrong_a\": \"y\", "
         "\"wrong_c\": null}",
         "mcq <p|c> <p|y> <p|x>\n"},
        {"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"subset\": \"hep-rust\"}",
         "pair <p|a> <p|b> group=hep-rust\n"},
        {"{\"id\": \"tied:4\", \"prompt\": \"p\", \"chosen\": [\"a\", \"b\"], \"rejected\": "
         "[\"c\"], "
         "\"num_correct\": 2, \"subset\": \"Ties\"}",
         "candidates <p|a> <p|b> <p|c> correct=2 id=tied:4 group=Ties\n"},
        /* what is understood beside every schema */
        {"{\"text\": \"t\", \"id\": 123456789012345678901234567890, \"subset\": \"s\", "
         "\"length_matched\": false, \"weight\": 2}",
         "single <.t> weight=2 id=123456789012345678901234567890 group=s matched=0\n"},
        {"{\"text\": \"t\", \"id\": \"x1\", \"topic\": 5, \"subset\": \"s\", \"id2\": []}",
         "single <.t> id=x1 group=5\n"},
        {"{\"text\": \"t\", \"\\u0069d\": 7}", "single <.t> id=7\n"},
        /* the order of the table decides */
        {"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"text\": \"t\"}",
         "pair <p|a> <p|b>\n"},
        {"{\"prompt\": \"p\", \"response\": \"r\", \"text\": \"t\", \"label\": 1}",
         "scored <.t> score=1\n"},
        {"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"subset\": \"mine\"}",
         "pair <p|a> <p|b> group=mine\n"},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_rows(cases[i].text, &opt, cases[i].rows);
}

/* Whole dialogues: the prompt is what both begin with, to a code point, and never all of a text. */
static void border_of_dialogues(void **state)
{
    static const good_case cases[] = {
        {"{\"chosen\": \"Q: 1+1? A: 2\", \"rejected\": \"Q: 1+1? A: 3\"}",
         "pair <Q: 1+1? A: |2> <Q: 1+1? A: |3>\n"},
        /* U+00E9 and U+00E8 share their first byte, U+1F600 and U+1F601 their first three */
        {"{\"chosen\": \"a\\u00e9\", \"rejected\": \"a\\u00e8\"}",
         "pair <a|\xc3\xa9> <a|\xc3\xa8>\n"},
        {"{\"chosen\": \"a\\ud83d\\ude00b\", \"rejected\": \"a\\ud83d\\ude01\"}",
         "pair <a|\xf0\x9f\x98\x80\x62> <a|\xf0\x9f\x98\x81>\n"},
        {"{\"chosen\": \"yes\", \"rejected\": \"yes!\"}", "pair <ye|s> <ye|s!>\n"},
        {"{\"chosen\": \"\\u00e9\", \"rejected\": \"\\u00e9x\"}",
         "pair <|\xc3\xa9> <|\xc3\xa9x>\n"},
        {"{\"chosen\": \"same\", \"rejected\": \"same\"}", "pair <sam|e> <sam|e> identical\n"},
        {"{\"chosen\": \"a\", \"rejected\": \"b\"}", "pair <|a> <|b>\n"},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_rows(cases[i].text, &opt, cases[i].rows);
}

#define USER(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define BOT(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

static void message_lists(void **state)
{
    static const good_case cases[] = {
        {"{\"chosen\": [" USER("u") "," BOT("a") "], \"rejected\": [" USER("u") "," BOT("b") "]}",
         "pair <u|a> <u|b> messages\n"},
        {"{\"chosen\": [" USER("u") "," BOT(
             "a") "], \"rejected\": [{\"role\": \"human\", \"content\": "
                  "\"u\"}, {\"role\": \"gpt\", \"content\": \"a\"}]}",
         "pair <u|a> <u|a> identical messages\n"},
        /* one list goes on where the other ends */
        {"{\"chosen\": [" USER("u") "," BOT("a") "], \"rejected\": [" USER("u") "," BOT(
             "a") "," USER("v") "," BOT("b") "]}",
         "pair <u|a> <u|avb> messages\n"},
        {"{\"prompt\": [" USER("u") "], \"chosen\": [" BOT("a") "], \"rejected\": [" BOT("b") "]}",
         "pair <u|a> <u|b> messages\n"},
        {"{\"prompt\": [" USER("u") "], \"chosen\": [" USER("u") "," BOT(
             "a") "], \"rejected\": [" USER("u") "," BOT("b") "]}",
         "pair <u|a> <u|b> messages\n"},
        {"{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}," USER("u") "," BOT("a") "]}",
         "single <su|a> messages\n"},
        {"{\"conversations\": [{\"from\": \"system\", \"value\": \"s\"}, {\"from\": \"human\", "
         "\"value\": \"u\"}], \"chosen\": {\"from\": \"gpt\", \"value\": \"a\"}, \"rejected\": "
         "{\"from\": \"gpt\", \"value\": \"b\"}}",
         "pair <su|a> <su|b> messages\n"},
        /* equal bytes, other turns */
        {"{\"chosen\": [" USER("u") "," BOT("ab") "], \"rejected\": [" USER("u") "," BOT(
             "a") "," BOT("b") "]}",
         "pair <u|ab> <u|ab> messages\n"},
        {"{\"prompt\": \"u\", \"chosen\": [" USER("u") "," BOT("a") "], \"rejected\": [" USER(
             "u") "," BOT("b") "]}",
         "pair <u|a> <u|b> messages\n"},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_rows(cases[i].text, &opt, cases[i].rows);
}

typedef struct bad_case {
    const char *text, *where, *message;
} bad_case;

static void check_bad(const bad_case *c, size_t n)
{
    di_rows_options opt = di_rows_options_default();

    for (size_t i = 0; i < n; i++)
        check_error(c[i].text, strlen(c[i].text), &opt, DIAL_ERR_INPUT, c[i].where, c[i].message);
}

static void rows_that_do_not_fit(void **state)
{
    static const bad_case cases[] = {
        {"{\"prompt\": \"p\", \"chosen\": 3, \"rejected\": \"b\"}", "f:1:27",
         "wrong_type: expected a string, found a number (key \"chosen\")"},
        {"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": null}", "f:1:44",
         "wrong_type: expected a string, found null (key \"rejected\")"},
        {"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"\"}", "f:1:44",
         "empty_response: expected a text, found an empty one (key \"rejected\")"},
        {"{\"prompt\": \"\", \"chosen\": \"\", \"rejected\": \"b\"}", "f:1:26",
         "empty_prompt_and_response: "},
        {"{\"text\": \"\"}", "f:1:10", "empty_prompt_and_response: "},
        {"{\"chosen\": \"\", \"rejected\": \"b\"}", "f:1:12", "empty_prompt_and_response: "},
        {"{\"prompt\": \"p\", \"response\": \"r\", \"score\": \"1\"}", "f:1:43",
         "wrong_type: expected a number, found a string (key \"score\")"},
        {"{\"chosen\": \"a\", \"rejected\": \"b\", \"margin\": \"1\"}", "f:1:44", "wrong_type: "},
        {"{\"history\": \"h\", \"human_ref_A\": \"a\", \"human_ref_B\": \"b\", \"labels\": 2}",
         "f:1:68", "bad_label: expected 1 (A is better) or 0 (B is better), found 2"},
        {"{\"text\": \"a\", \"length_matched\": 1}", "f:1:33",
         "wrong_type: expected a boolean, found a number"},
        {"{\"text\": \"a\", \"weight\": -1}", "f:1:25",
         "wrong_type: expected a weight of at least 0, found -1"},
        {"{\"text\": \"a\", \"id\": [1]}", "f:1:21",
         "wrong_type: expected a string or a number, found a list"},
        {"{\"prompt\": \"p\", \"correct\": \"c\", \"wrong_a\": null}", "f:1:44",
         "missing_key: expected at least one wrong answer"},
    };
    (void)state;
    check_bad(cases, sizeof cases / sizeof *cases);
}

/* The best response first; without a label nothing says which. */
static void candidates(void **state)
{
    static const good_case cases[] = {
        {"{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"label\": 1}", "pair <p|b> <p|a>\n"},
        {"{\"prompt\": \"p\", \"responses\": [\"a\", \"b\", \"c\"], \"label\": 1}",
         "mcq <p|b> <p|a> <p|c>\n"},
        {"{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"label\": null}",
         "mcq <p|a> <p|b>\n"},
    };
    static const bad_case bad[] = {
        {"{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"label\": 2}", "f:1:51",
         "bad_label: expected 0 to 1, found 2 (key \"label\")"},
        {"{\"prompt\": \"p\", \"responses\": [\"a\"]}", "f:1:30",
         "wrong_type: expected a list of at least 2 responses"},
        {"{\"prompt\": \"p\", \"responses\": [\"a\", 3]}", "f:1:30",
         "wrong_type: expected a list of strings, found a number in it"},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_rows(cases[i].text, &opt, cases[i].rows);
    check_bad(bad, sizeof bad / sizeof *bad);
}

static void unknown_schemas(void **state)
{
    static const bad_case cases[] = {
        {"{\"foo\": 1, \"bar\": 2}", "f:1:1",
         "unknown_schema: expected the keys of a row that is read, found the keys foo, bar"},
        {"  {}", "f:1:3",
         "unknown_schema: expected the keys of a row that is read, found the keys none"},
        {"{\"prompt\": \"p\", \"chosen\": [\"a\"], \"rejected\": [\"b\"], \"subset\": \"Ties\", "
         "\"num_correct\": 3}",
         "f:1:86", "bad_label: expected 1 to 2 correct candidates, found 3 (key \"num_correct\")"},
        {"{\"prompt\": \"p\", \"chosen\": [\"a\"], \"rejected\": [\"b\", 1], \"subset\": \"Ties\"}",
         "f:1:46", "wrong_type: expected a list of strings, found a number in it"},
        {"{\"messages\": [" USER("u") "]}", "f:1:14",
         "no_assistant_turn: expected the last message to be the assistant's (key \"messages\")"},
        {"{\"messages\": []}", "f:1:14", "no_assistant_turn: "},
        {"{\"conversations\": [], \"chosen\": {}, \"rejected\": {}}", "f:1:33",
         "missing_key: message 1 has no \"role\" (key \"chosen\")"},
        {"{\"conversations\": [], \"chosen\": {\"from\": \"human\", \"value\": \"a\"}, "
         "\"rejected\": {}}",
         "f:1:33", "no_assistant_turn: expected a message from gpt (key \"chosen\")"},
        {"{\"conversations\": [{\"from\": \"narrator\", \"value\": \"a\"}], \"chosen\": {}, "
         "\"rejected\": {}}",
         "f:1:19", "bad_role: the role of message 1 is 'narrator' (key \"conversations\")"},
        {"{\"prompt\": \"p\", \"type\": \"x\"}", "f:1:1",
         "unknown_schema: rows of schema prompt are not read yet"},
    };
    (void)state;
    check_bad(cases, sizeof cases / sizeof *cases);
}

/* The first row decides. */
static void mixed_schemas(void **state)
{
#define PAIR "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
    static const bad_case cases[] = {
        {PAIR "{\"prompt\": \"p\", \"response\": \"r\"}", "f:2:1",
         "schema_mixed: the file began with rows of schema pair, this row reads as single"},
        {PAIR "{\"prompt\": \"p\", \"chosen\": \"a\"}", "f:2:1",
         "missing_key: expected it as in the rows before (schema pair) (key \"rejected\")"},
        {PAIR "  {\"chosen\": \"a\", \"rejected\": \"b\"}", "f:2:3",
         "missing_key: expected it as in the rows before (key \"prompt\")"},
        {PAIR "{\"prompt\": null, \"chosen\": \"a\", \"rejected\": \"b\"}", "f:2:12",
         "wrong_type: expected a string, found null (key \"prompt\")"},
        {"{\"chosen\": \"a\", \"rejected\": \"b\"}\n" PAIR, "f:2:12",
         "schema_mixed: the rows before have no prompt of their own, this one has (key "
         "\"prompt\")"},
        {PAIR "{\"chosen\": [" BOT("a") "], \"rejected\": [" BOT("b") "]}", "f:2:1",
         "schema_mixed: the file began with rows of schema pair, this row reads as pair-chat"},
        {"{\"prompt\": \"p\", \"response\": \"r\", \"score\": 1}\n{\"prompt\": \"p\", "
         "\"response\": \"r\"}",
         "f:2:1",
         "schema_mixed: the file began with rows of schema scored, this row reads as single "
         "(key \"score\")"},
        {PAIR "{\"foo\": 1}", "f:2:1", "missing_key: "},
    };
    di_rows_options opt = di_rows_options_default();
    (void)state;
    check_bad(cases, sizeof cases / sizeof *cases);
    /* more keys than the schema needs are no mixture */
    check_rows("{\"prompt\": \"p\", \"response\": \"r\"}\n"
               "{\"prompt\": \"p\", \"response\": \"r\", \"score\": 1}",
               &opt, "single <p|r>\nsingle <p|r>\n");
    /* a bad first row decides nothing */
    opt.on_error_skip = 1;
    opt.max_bad_share = 1;
    check_rows("{\"text\": 1}\n" PAIR, &opt, "pair <p|a> <p|b>\n");
}

static void bad_messages(void **state)
{
#define GOOD "[" USER("u") "," BOT("b") "]}"
    static const bad_case cases[] = {
        {"{\"chosen\": [" USER("u") "], \"rejected\": " GOOD, "f:1:12",
         "no_assistant_turn: expected the last message to be the assistant's (key \"chosen\")"},
        {"{\"chosen\": [], \"rejected\": " GOOD, "f:1:12", "no_assistant_turn: "},
        {"{\"chosen\": [{\"role\": \"robot\", \"content\": \"a\"}], \"rejected\": " GOOD, "f:1:12",
         "bad_role: the role of message 1 is 'robot'"},
        {"{\"chosen\": [{\"role\": 1, \"content\": \"a\"}], \"rejected\": " GOOD, "f:1:12",
         "bad_role: expected the role of message 1 as a string, found a number"},
        {"{\"chosen\": [" USER("u") ",{\"role\": \"assistant\"}], \"rejected\": " GOOD, "f:1:12",
         "missing_key: message 2 has no \"content\""},
        {"{\"chosen\": [" USER(
             "u") ",{\"role\": \"assistant\", \"content\": null}], \"rejected\": " GOOD,
         "f:1:12", "wrong_type: expected the content of message 2 as a string, found null"},
        {"{\"chosen\": [1], \"rejected\": " GOOD, "f:1:12",
         "wrong_type: expected message 1 to be an object, found a number"},
        {"{\"chosen\": \"a\", \"rejected\": " GOOD, "f:1:12",
         "wrong_type: expected a list of messages, found a string (key \"chosen\")"},
        {"{\"prompt\": \"v\", \"chosen\": [" USER("u") "," BOT("a") "], \"rejected\": " GOOD,
         "f:1:12", "prompt_mismatch: expected it among the messages that both lists begin with"},
        {"{\"prompt\": [" USER("u") "], \"chosen\": [" BOT("a") "], \"rejected\": " GOOD, "f:1:12",
         "prompt_mismatch: one of the two lists begins with it"},
        {"{\"chosen\": [" USER("u") "," BOT("") "], \"rejected\": " GOOD, "f:1:12",
         "empty_response: "},
    };
    (void)state;
    check_bad(cases, sizeof cases / sizeof *cases);
}

static void columns(void **state)
{
    di_rows_options opt = di_rows_options_default();
    (void)state;
    opt.columns = "prompt=q,chosen=good,rejected=bad,margin=m";
    check_rows("{\"q\": \"p\", \"good\": \"a\", \"bad\": \"b\", \"prompt\": \"no\", \"m\": 2}\n",
               &opt, "pair <p|a> <p|b> margin=2\n");
    check_error("{\"q\": \"p\", \"good\": 1, \"bad\": \"b\", \"m\": 1}", 41, &opt, DIAL_ERR_INPUT,
                "f:1:20", "wrong_type: expected a string, found a number (key \"good\")");
    check_error("{\"q\": \"p\", \"good\": \"a\", \"bad\": \"b\", \"m\": NaN}", 45, &opt,
                DIAL_ERR_INPUT, "f:1:42", "margin_not_finite: ");
    check_error("{\"q\": \"p\", \"good\": \"a\", \"bad\": \"b\"}", 35, &opt, DIAL_ERR_INPUT,
                "f:1:1",
                "missing_key: expected it, since --columns names it for margin (key \"m\")");
    opt.columns = "chosen=rejected,rejected=chosen";
    check_rows("chosen,rejected\na,b\n", &opt, "pair <|b> <|a>\n");
    opt.columns = "chosen";
    check_error("{}", 2, &opt, DIAL_ERR_USAGE, "--columns", "expected NAME=COLUMN, found 'chosen'");
    opt.columns = "chosen=a,=b";
    check_error("{}", 2, &opt, DIAL_ERR_USAGE, "--columns", "expected NAME=COLUMN, found '=b'");
    opt.columns = "better=a";
    check_error("{}", 2, &opt, DIAL_ERR_USAGE, "--columns",
                "expected a key of a row that is read, found 'better'");
    opt.columns = "chosen=a,chosen=b";
    check_error("{}", 2, &opt, DIAL_ERR_USAGE, "--columns", "'chosen' has two columns");
}

static void ignored_columns(void **state)
{
    static const char text[] =
        "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"tools\": [], \"system\": "
        "\"s\"}\n"
        "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"tools\": null}\n"
        "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"tools\": {}}\n";
    di_rows_options opt = di_rows_options_default();
    di_row_counts counts;
    dial_error err = {0};
    di_buf out;
    (void)state;
    di_buf_init(&out, di_alloc_default());
    assert_ok(
        read_all(di_alloc_default(), "f", text, strlen(text), &opt, NULL, &out, &counts, &err),
        err);
    assert_int_equal(counts.n_ignored, 2);
    assert_string_equal(counts.ignored[0].name, "tools");
    assert_int_equal(counts.ignored[0].n, 2);
    assert_string_equal(counts.ignored[1].name, "system");
    assert_int_equal(counts.ignored[1].n, 1);
    di_buf_deinit(&out);
}

/* --- labels of a target file ------------------------------------------------------------------ */

/* All bytes that a file hands out with its labels dropped. */
static void unlabelled(const char *text, uint64_t seed, di_buf *out)
{
    di_rows_options opt = di_rows_options_default();
    dial_error err = {0};

    opt.drop_labels = 1;
    opt.seed = seed;
    di_buf_init(out, di_alloc_default());
    assert_ok(read_all(di_alloc_default(), "f", text, strlen(text), &opt, NULL, out, NULL, &err),
              err);
}

/* 40 pairs; `swap` exchanges the two texts of each, and gives other margins. */
static void write_pairs(di_buf *out, int swap, const char *shape)
{
    di_buf_init(out, di_alloc_default());
    for (int i = 0; i < 40; i++) {
        char a[40], b[40];

        snprintf(a, sizeof a, "Answer %d", i * 7 % 40);
        snprintf(b, sizeof b, "Answer %d%s", i, i % 3 == 0 ? " indeed" : "?");
        if (strcmp(shape, "pair") == 0)
            di_buf_printf(out,
                          "{\"prompt\": \"Q%d\", \"chosen\": \"%s\", \"rejected\": \"%s\", "
                          "\"margin\": %d}\n",
                          i, swap ? b : a, swap ? a : b, swap ? -i : i);
        else if (strcmp(shape, "dialogue") == 0)
            di_buf_printf(out, "{\"chosen\": \"Q%d %s\", \"rejected\": \"Q%d %s\"}\n", i,
                          swap ? b : a, i, swap ? a : b);
        else if (strcmp(shape, "shp") == 0)
            di_buf_printf(out,
                          "{\"history\": \"Q%d\", \"human_ref_A\": \"%s\", \"human_ref_B\": "
                          "\"%s\", \"labels\": %d}\n",
                          i, a, b, swap);
        else
            di_buf_printf(out,
                          "{\"chosen\": [" USER("Q%d") "," BOT("%s") "], \"rejected\": [" USER(
                              "Q%d") "," BOT("%s") "]}\n",
                          i, swap ? b : a, i, swap ? a : b);
    }
}

static void swapping_changes_nothing(void **state)
{
    static const char *const shapes[] = {"pair", "dialogue", "shp", "chat"};
    (void)state;
    for (size_t s = 0; s < 4; s++) {
        di_buf file[2], rows[2];

        for (int swap = 0; swap < 2; swap++) {
            write_pairs(&file[swap], swap, shapes[s]);
            unlabelled(file[swap].data, 5, &rows[swap]);
        }
        assert_int_equal(rows[0].size, rows[1].size);
        assert_memory_equal(rows[0].data, rows[1].data, rows[0].size);
        for (int swap = 0; swap < 2; swap++) {
            di_buf_deinit(&file[swap]);
            di_buf_deinit(&rows[swap]);
        }
    }
}

/* The order depends on the seed, and is neither the file's nor sorted: of 40 pairs, the number in
 * the file's order is binomial(40, 1/2), sd 3.2; the test allows five. */
static void order_is_by_chance(void **state)
{
    di_buf file, labelled, rows, other;
    di_rows_options opt = di_rows_options_default();
    dial_error err = {0};
    int same = 0, sorted = 0, by_seed = 0;
    (void)state;
    write_pairs(&file, 0, "dialogue");
    di_buf_init(&labelled, di_alloc_default());
    assert_ok(
        read_all(di_alloc_default(), "f", file.data, file.size, &opt, NULL, &labelled, NULL, &err),
        err);
    unlabelled(file.data, 5, &rows);
    unlabelled(file.data, 6, &other);
    for (char *l = labelled.data, *r = rows.data, *o = other.data; *r != '\0';) {
        size_t n = (size_t)(strchr(r, '\n') - r) + 1;
        const char *first = strchr(r, '|'), *second = strchr(first + 1, '|');

        same += strncmp(l, r, n) == 0;
        by_seed += strncmp(o, r, n) == 0;
        sorted += strcmp(first, second) < 0;
        l += n;
        r += n;
        o += n;
    }
    assert_true(same > 4 && same < 36);
    assert_true(by_seed > 4 && by_seed < 36);
    assert_true(sorted > 4 && sorted < 36);
    di_buf_deinit(&file);
    di_buf_deinit(&labelled);
    di_buf_deinit(&rows);
    di_buf_deinit(&other);
}

static void other_labels_are_dropped(void **state)
{
    di_rows_options opt = di_rows_options_default();
    (void)state;
    opt.drop_labels = 1;
    check_rows("{\"prompt\": \"p\", \"response\": \"r\", \"score\": 3}", &opt, "single <p|r>\n");
    check_rows("{\"prompt\": \"p\", \"response\": \"r\", \"score\": \"bad\"}", &opt,
               "single <p|r>\n");
    check_rows("{\"text\": \"t\", \"label\": 3}", &opt, "single <.t>\n");
    check_rows("{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"a\", \"margin\": \"bad\"}",
               &opt, "pair <p|a> <p|a> identical\n");
}

/* The correct answer of a choice stands anywhere: 24 orders of 4 answers, each file order the same.
 */
static void choices_forget_the_correct_one(void **state)
{
    int at[4] = {0};
    (void)state;
    for (int i = 0; i < 64; i++) {
        static const char *const form[2] = {"{\"prompt\": \"%d\", \"correct\": \"a\", \"wrong_a\": "
                                            "\"b\", \"wrong_b\": \"c\", \"wrong_c\": \"d\"}",
                                            "{\"prompt\": \"%d\", \"correct\": \"d\", \"wrong_a\": "
                                            "\"a\", \"wrong_b\": \"c\", \"wrong_c\": \"b\"}"};
        di_buf rows[2];

        for (int k = 0; k < 2; k++) {
            char text[200];

            snprintf(text, sizeof text, form[k], i);
            unlabelled(text, 1, &rows[k]);
        }
        assert_string_equal(rows[0].data, rows[1].data);
        for (int k = 0, seen = 0; rows[0].data[k] != '\0'; k++)
            if (rows[0].data[k] == '|') at[seen++] += rows[0].data[k + 1] == 'a';
        di_buf_deinit(&rows[0]);
        di_buf_deinit(&rows[1]);
    }
    for (int k = 0; k < 4; k++) assert_true(at[k] > 0); /* 16 expected, sd 3.5 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schemas),
        cmocka_unit_test(border_of_dialogues),
        cmocka_unit_test(message_lists),
        cmocka_unit_test(rows_that_do_not_fit),
        cmocka_unit_test(candidates),
        cmocka_unit_test(unknown_schemas),
        cmocka_unit_test(mixed_schemas),
        cmocka_unit_test(bad_messages),
        cmocka_unit_test(columns),
        cmocka_unit_test(ignored_columns),
        cmocka_unit_test(swapping_changes_nothing),
        cmocka_unit_test(order_is_by_chance),
        cmocka_unit_test(other_labels_are_dropped),
        cmocka_unit_test(choices_forget_the_correct_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
