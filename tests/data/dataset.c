/* Whole files: texts stored once, rows counted completely, nothing lost on the way to the ids. */
#include "data/tiny_tokenizer.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/fail_alloc.h"

typedef struct setup {
    di_tokenizer *tok;
    di_text_policy policy;
    di_dataset_options opt;
    dial_env env;
    di_buf log;
} setup;

static void keep_log(void *ctx, dial_log_level level, const char *message)
{
    assert_int_equal(level, DIAL_LOG_WARN);
    di_buf_printf(ctx, "%s\n", message);
}

static void start(setup *s, int64_t max_length)
{
    dial_error err = {0};

    *s = (setup){.policy = {.template_name = "auto", .max_length = max_length},
                 .opt = {.rows = di_rows_options_default()}};
    s->tok = tiny_tokenizer(di_alloc_default(), TINY_BOS, TINY_EOS, 1);
    di_buf_init(&s->log, di_alloc_default());
    s->env = (dial_env){.log = keep_log, .ctx = &s->log};
    assert_ok(di_text_policy_resolve(&s->policy, s->tok, &err), err);
}

static void stop(setup *s)
{
    di_buf_deinit(&s->log);
    di_tokenizer_close(s->tok);
}

/* Loads text that stands in the test through a file, whose name the messages would show. */
static dial_status load_text(const di_alloc *al, setup *s, const char *text, di_dataset **out,
                             char name[32], dial_error *err)
{
    int fd;
    dial_status st;

    strcpy(name, "/tmp/dial_data_XXXXXX");
    fd = mkstemp(name);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    st = di_dataset_load(al, name, &s->opt, &s->policy, s->tok, &s->env, out, err);
    unlink(name);
    return st;
}

static di_dataset *load(setup *s, const char *text)
{
    di_dataset *d = NULL;
    char name[32];
    dial_error err = {0};

    assert_ok(load_text(di_alloc_default(), s, text, &d, name, &err), err);
    return d;
}

static void check_load_error(setup *s, const char *text, const char *where_end, const char *message)
{
    di_dataset *d = NULL;
    char name[32], where[64];
    dial_error err = {0};

    assert_int_equal(load_text(di_alloc_default(), s, text, &d, name, &err), DIAL_ERR_INPUT);
    assert_null(d);
    snprintf(where, sizeof where, "%s%s", name, where_end);
    assert_string_equal(err.where, where);
    if (strncmp(err.message, message, strlen(message)) != 0)
        fail_msg("'%s' does not begin with '%s'", err.message, message);
    assert_true(err.hint[0] != '\0');
}

static const di_seq *text_at(const di_dataset *d, int64_t example, int i)
{
    return &d->seq[d->text_of[d->example[example].first + i]];
}

/* The ids of a text as the bytes they stand for; BOS and EOS checked and left out. */
static void check_bytes(const di_seq *q, const char *bytes)
{
    char text[2048];
    size_t n = 0;

    assert_true(q->id[0] == TINY_BOS && q->id[q->n - 1] == TINY_EOS);
    for (int64_t i = 1; i < q->n - 1; i++) {
        if (q->id[i] == TINY_AB || q->id[i] == TINY_CD) {
            text[n++] = q->id[i] == TINY_AB ? 'a' : 'c';
            text[n++] = q->id[i] == TINY_AB ? 'b' : 'd';
        } else {
            text[n++] = (char)q->id[i];
        }
    }
    text[n] = '\0';
    assert_string_equal(text, bytes);
}

#define PAIR(p, a, b) "{\"prompt\": \"" p "\", \"chosen\": \"" a "\", \"rejected\": \"" b "\"}\n"

static void texts_and_examples(void **state)
{
    setup s;
    di_dataset *d;
    (void)state;
    start(&s, 100);
    d = load(&s,
             PAIR("p", "ax", "b") PAIR("p", "c", "ax") PAIR("pa", "x", "y") PAIR("q", "b", "c"));
    assert_int_equal(d->n, 4);
    assert_int_equal(d->n_seq, 7); /* p+ax, p+b, p+c, pa+x, pa+y, q+b, q+c */
    assert_true(text_at(d, 0, 0) == text_at(d, 1, 1));
    assert_true(text_at(d, 0, 0) != text_at(d, 2, 0)); /* equal bytes, but another border */
    assert_true(text_at(d, 0, 1)->prompt_hash == text_at(d, 1, 0)->prompt_hash);
    assert_true(text_at(d, 0, 1)->prompt_hash != text_at(d, 3, 0)->prompt_hash);
    assert_true(text_at(d, 0, 0)->hash == di_fnv1a("p\0ax", 4));
    assert_true(text_at(d, 0, 0)->prompt_hash == di_fnv1a("p", 1));
    check_bytes(text_at(d, 0, 0), "pax");
    check_bytes(text_at(d, 3, 1), "qc");
    assert_string_equal(d->schema, "pair");
    assert_string_equal(d->format, "jsonl");
    assert_true(d->counts.read == 4 && d->counts.used == 4 && d->example[2].line == 3 &&
                d->example[2].row == 2);
    di_dataset_free(d);
    stop(&s);
}

/* Everything that a row says beside its texts. */
static void extras(void **state)
{
    setup s;
    di_dataset *d;
    (void)state;
    start(&s, 100);
    d = load(
        &s,
        "{\"prompt\": \"p\", \"response\": \"r\", \"score\": 0.1, \"id\": 12, \"topic\": \"t\", "
        "\"weight\": 3, \"length_matched\": true}\n"
        "{\"prompt\": \"p\", \"response\": \"\\u00e9 a\\u2003b \\n\", \"score\": -1}\n");
    assert_true(d->example[0].kind == DI_ROW_SCORED && d->example[0].n_texts == 1);
    assert_true(d->example[0].score == 0.1f && d->example[0].weight == 3);
    assert_string_equal(d->example[0].id, "12");
    assert_string_equal(d->example[0].group, "t");
    assert_int_equal(d->example[0].length_matched, 1);
    assert_true(d->example[1].id == NULL && d->example[1].group == NULL);
    assert_true(d->example[1].weight == 1 && d->example[1].length_matched == -1);
    assert_int_equal(text_at(d, 1, 0)->chars, 7);
    assert_int_equal(text_at(d, 1, 0)->words, 3);
    di_dataset_free(d);
    stop(&s);
}

static const char ties[] = PAIR("p", "a", "a") /* identical */
    PAIR("p", "xyzA", "xyzB")                  /* identical after truncation */
    PAIR("pppppp", "ab", "b")                  /* one text with a cut prompt */
    PAIR("p", "wxyz", "z") PAIR("p", "x", "y");

/* At most 5 tokens with BOS and EOS: three bytes of text. */
static void counts_of_training(void **state)
{
    setup s;
    di_dataset *d;
    const di_row_counts *c;
    (void)state;
    start(&s, 5);
    s.opt.drop_identical = 1;
    d = load(&s, ties);
    c = &d->counts;
    assert_true(c->read == 5 && c->bad == 0 && c->identical == 1 &&
                c->identical_after_truncation == 1 && c->overlong_dropped == 0 && c->used == 3);
    assert_true(c->read == c->bad + c->identical + c->identical_after_truncation +
                               c->overlong_dropped + c->used);
    assert_true(c->prompt_truncated == 2 && c->response_truncated == 1);
    assert_int_equal(d->n, 3);
    assert_int_equal(d->n_seq, 6); /* texts of dropped rows are not kept */
    check_bytes(text_at(d, 0, 0), "ppab");
    check_bytes(text_at(d, 1, 0), "wxy");
    assert_int_equal(text_at(d, 1, 0)->flags, DI_PROMPT_TRUNCATED | DI_RESPONSE_TRUNCATED);
    assert_non_null(strstr(s.log.data,
                           ":1: identical: the two texts of the pair are the same; it is "
                           "left out\n"));
    assert_non_null(strstr(s.log.data, ":2: identical_after_truncation: "));
    di_dataset_free(d);
    stop(&s);
}

static void counts_of_evaluation(void **state)
{
    setup s;
    di_dataset *d;
    const di_row_counts *c;
    (void)state;
    start(&s, 5);
    d = load(&s, ties);
    c = &d->counts;
    assert_true(c->read == 5 && c->identical == 1 && c->identical_after_truncation == 1 &&
                c->used == 5 && c->prompt_truncated == 3 && c->response_truncated == 2);
    assert_true(d->example[0].identical && d->example[1].identical && !d->example[2].identical);
    assert_true(text_at(d, 0, 0) == text_at(d, 0, 1));
    assert_true(text_at(d, 1, 0) != text_at(d, 1, 1));
    di_dataset_free(d);

    s.policy.overlong = DI_DROP; /* a dropped text takes its row along */
    d = load(&s, ties);
    c = &d->counts;
    assert_true(c->read == 5 && c->overlong_dropped == 3 && c->identical == 1 &&
                c->identical_after_truncation == 0 && c->used == 2 && d->n_seq == 3);
    assert_true(c->read == c->bad + c->overlong_dropped + c->used);
    for (int64_t i = 0; i < d->n_seq; i++) assert_true(d->seq[i].n >= 1);
    di_dataset_free(d);
    stop(&s);
}

static void bad_rows(void **state)
{
    setup s;
    di_dataset *d;
    (void)state;
    start(&s, 5);
    s.policy.overlong = DI_OVERLONG_ERROR;
    check_load_error(&s, PAIR("p", "x", "y") PAIR("p", "x", "xyz"), ":2:1",
                     "too_long: expected at most 5 tokens, found 6");
    s.opt.rows.on_error_skip = 1;
    s.opt.rows.max_bad_count = 2;
    d = load(&s, PAIR("p", "x", "y") PAIR("p", "x", "xyz") "{\"prompt\": 1}\n");
    assert_true(d->counts.read == 3 && d->counts.bad == 2 && d->counts.used == 1 && d->n_seq == 2);
    assert_string_equal(d->counts.bad_by[0].name, "too_long");
    assert_string_equal(d->counts.bad_by[1].name, "missing_key");
    di_dataset_free(d);
    stop(&s);
}

static void nothing_usable(void **state)
{
    setup s;
    (void)state;
    start(&s, 5);
    s.opt.drop_identical = 1;
    check_load_error(&s, "", "", "expected one JSON object a line, found an empty file");
    check_load_error(&s, "[]", "", "expected one JSON object a line, found no row");
    check_load_error(&s, PAIR("p", "a", "a"), "",
                     "expected usable rows, found none: 1 read, 0 bad, 1 identical");
    s.policy.overlong = DI_DROP;
    check_load_error(&s, PAIR("pppp", "a", "b"), "", "expected usable rows, found none: 1 read");
    stop(&s);
}

/* Dialogues with equal contents cut otherwise are different texts; a template that refuses one
 * refuses its row. */
static void dialogues(void **state)
{
#define TURN(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"
    static const char chat[] = "{\"messages\": [" TURN("user", "uv") "," TURN(
        "assistant", "a") "]}\n"
                          "{\"messages\": [" TURN("user", "u") "," TURN("user", "v") "," TURN(
                              "assistant", "a") "]}\n"
                                                "{\"messages\": [" TURN("user", "uv") "," TURN(
                                                    "assistant", "a") "]}\n";
    static const char strict[] =
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('no') }}{% endif %}({{ m.content }}){% endfor %}";
    static const char refused[] =
        "{\"messages\": [" TURN("system", "s") "," TURN("assistant", "a") "]}\n";
    di_template *t = NULL;
    dial_error err = {0};
    setup s;
    di_dataset *d;
    (void)state;
    start(&s, 100);
    strcpy(s.policy.template_name, "raw");
    d = load(&s, chat);
    assert_string_equal(d->schema, "chat");
    assert_int_equal(d->n_seq, 2);
    assert_true(d->dialogues == 3 && d->plain == 0);
    check_bytes(text_at(d, 0, 0), "uva");
    check_bytes(text_at(d, 1, 0), "uva");
    di_dataset_free(d);
    assert_ok(
        di_template_from_jinja(di_alloc_default(), "t", strict, sizeof strict - 1, s.tok, &t, &err),
        err);
    strcpy(s.policy.template_name, "t");
    s.policy.chat = t;
    s.policy.eos = DI_ALWAYS; /* for check_bytes */
    d = load(&s, chat);
    check_bytes(text_at(d, 0, 0), "(uv)(a)");
    check_bytes(text_at(d, 1, 0), "(u)(v)(a)");
    di_dataset_free(d);
    check_load_error(&s, refused, ":1:1",
                     "template_failed: t:1:69: the template refuses the dialogue: no");
    di_template_free(t);
    stop(&s);
}

/* A target file: swapping its labels changes no bit of what training gets. */
static void target_files(void **state)
{
    setup s;
    di_dataset *d[2];
    (void)state;
    start(&s, 100);
    s.opt.rows.drop_labels = 1;
    d[0] = load(&s, PAIR("p", "a", "b") PAIR("q", "c", "d") PAIR("r", "e", "f"));
    d[1] = load(&s, PAIR("p", "b", "a") PAIR("q", "d", "c") PAIR("r", "f", "e"));
    assert_int_equal(d[0]->n_seq, d[1]->n_seq);
    assert_memory_equal(d[0]->text_of, d[1]->text_of, 6 * sizeof(int32_t));
    for (int64_t i = 0; i < d[0]->n_seq; i++) {
        assert_int_equal(d[0]->seq[i].n, d[1]->seq[i].n);
        assert_memory_equal(d[0]->seq[i].id, d[1]->seq[i].id,
                            (size_t)d[0]->seq[i].n * sizeof(int32_t));
    }
    di_dataset_free(d[0]);
    di_dataset_free(d[1]);
    stop(&s);
}

/* Published rows. Lengths are what Python's len() and split() give; the files' length_matched is
 * |ln(words chosen / words rejected)| < 0.3 of the English text. */
/* Of a file of single texts, those of one prompt in twos; what has no prompt or partner is left. */
static void single_texts_in_twos(void **state)
{
    static const char rows[] = "{\"prompt\":\"a\",\"response\":\"x\"}\n"
                               "{\"prompt\":\"b\",\"response\":\"x\"}\n"
                               "{\"prompt\":\"a\",\"response\":\"y\"}\n"
                               "{\"prompt\":\"c\",\"response\":\"x\"}\n"
                               "{\"prompt\":\"\",\"response\":\"x\"}\n"
                               "{\"prompt\":\"\",\"response\":\"y\"}\n"
                               "{\"prompt\":\"b\",\"response\":\"z\"}\n"
                               "{\"prompt\":\"a\",\"response\":\"z\"}\n"
                               "{\"prompt\":\"d\",\"response\":\"x\"}\n"
                               "{\"prompt\":\"d\",\"response\":\"x\"}\n";
    int seen[10] = {0}, apart = 0;
    uint64_t first = 0;
    dial_error err;
    setup s;

    (void)state;
    start(&s, 100);
    s.opt.rows.drop_labels = 1;
    for (uint64_t seed = 0; seed < 8; seed++) {
        di_dataset *d = load(&s, rows);
        int64_t before = -1;

        assert_int_equal(d->n, 10);
        assert_ok(di_dataset_group_singles(d, seed, &err), err);
        assert_int_equal(d->counts.grouped_pairs, 2); /* of a, of b */
        assert_int_equal(d->counts.single_texts, 6);  /* an a, c, the two of no prompt, d twice */
        assert_int_equal(d->counts.used, 10);
        assert_int_equal(d->n, 8);
        for (int64_t i = 0; i < d->n; i++) {
            const di_example *x = &d->example[i];
            const di_seq *a = &d->seq[d->text_of[x->first]], *b;

            assert_true(x->row > before);
            before = x->row;
            if (x->n_texts == 1) {
                seen[x->row]++;
                continue;
            }
            b = &d->seq[d->text_of[x->first + 1]];
            assert_int_equal(x->kind, DI_ROW_PAIR);
            assert_int_equal(a->prompt_hash, b->prompt_hash);
            assert_true(a->hash < b->hash);
            if (x->row == 0 || x->row == 2) { /* which two of the three of a: a draw */
                if (seed == 0) first = a->hash ^ b->hash;
                apart |= (a->hash ^ b->hash) != first;
            }
        }
        di_dataset_free(d);
    }
    for (int i = 0; i < 10; i++) /* rows without a partner, whatever the seed */
        assert_int_equal(i == 3 || i == 4 || i == 5 || i == 8 || i == 9, seen[i] == 8);
    assert_true(apart);
    stop(&s);
}

static void published_rows(void **state)
{
    static const struct {
        int chars[2], words[2];
    } lengths[] = {
        {{131, 139}, {25, 27}}, {{101, 97}, {19, 23}}, {{68, 54}, {15, 9}},
        {{143, 62}, {29, 12}},  {{83, 41}, {19, 10}},  {{199, 157}, {27, 19}},
    };
    static const char *const files[] = {"pairs", "rank", "blimp"};
    static const int64_t rows[] = {6, 3, 4};
    static const char *const schema[] = {"pair", "scored", "pair"};
    setup s;
    (void)state;
    start(&s, 2000);
    for (int f = 0; f < 3; f++) {
        char path[400], hex[65];
        di_dataset *d = NULL;
        dial_error err = {0};

        snprintf(path, sizeof path, "%s/data/%s.jsonl", TEST_DIR, files[f]);
        assert_ok(
            di_dataset_load(di_alloc_default(), path, &s.opt, &s.policy, s.tok, &s.env, &d, &err),
            err);
        assert_int_equal(d->n, rows[f]);
        assert_string_equal(d->schema, schema[f]);
        assert_ok(di_sha256_file(path, hex, &err), err);
        assert_string_equal(d->sha256, hex);
        for (int64_t i = 0; i < d->n && f == 0; i++) {
            const di_seq *a = text_at(d, i, 0), *b = text_at(d, i, 1);

            assert_true(a->chars == lengths[i].chars[0] && b->chars == lengths[i].chars[1]);
            assert_true(a->words == lengths[i].words[0] && b->words == lengths[i].words[1]);
            if (i < 2)
                assert_int_equal(d->example[i].length_matched,
                                 fabs(log((double)a->words / b->words)) < 0.3);
        }
        di_dataset_free(d);
    }
    stop(&s);
}

/* Thousands of texts of which many recur: the table grows, every text is still found. */
static void many_texts(void **state)
{
    setup s;
    di_dataset *d;
    di_buf text;
    (void)state;
    start(&s, 100);
    di_buf_init(&text, di_alloc_default());
    for (int i = 0; i < 5000; i++)
        di_buf_printf(&text, "{\"prompt\": \"p\", \"response\": \"r%d\"}\n", i * 7 % 3001);
    d = load(&s, text.data);
    assert_int_equal(d->n, 5000);
    assert_int_equal(d->n_seq, 3001);
    for (int64_t i = 0; i < d->n; i++) {
        char expected[16];

        snprintf(expected, sizeof expected, "pr%d", (int)(i * 7 % 3001));
        check_bytes(text_at(d, i, 0), expected);
    }
    di_dataset_free(d);
    di_buf_deinit(&text);
    stop(&s);
}

static void allocations_fail(void **state)
{
    dial_status st = DIAL_ERR_NOMEM;
    setup s;
    (void)state;
    start(&s, 5);
    for (long n = 0; st != DIAL_OK; n++) {
        fail_alloc fail = {n, 0};
        di_alloc al = {fail_resize, &fail};
        di_dataset *d = NULL;
        dial_error err = {0};
        char name[32];

        assert_true(n < 300);
        st = load_text(&al, &s, ties, &d, name, &err);
        if (st != DIAL_OK) assert_int_equal(st, DIAL_ERR_NOMEM);
        if (st != DIAL_OK) assert_true(d == NULL && err.message[0] != '\0');
        di_dataset_free(d);
        assert_int_equal(fail.out, 0);
    }
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_examples),
        cmocka_unit_test(extras),
        cmocka_unit_test(counts_of_training),
        cmocka_unit_test(counts_of_evaluation),
        cmocka_unit_test(bad_rows),
        cmocka_unit_test(nothing_usable),
        cmocka_unit_test(dialogues),
        cmocka_unit_test(target_files),
        cmocka_unit_test(published_rows),
        cmocka_unit_test(many_texts),
        cmocka_unit_test(single_texts_in_twos),
        cmocka_unit_test(allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
