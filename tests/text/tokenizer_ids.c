/*
 * Ids of small tokenizers, one a family, and of every component of a tokenizer.json on its own,
 * against those of huggingface/tokenizers: 20,480 strings and every code point of the planes in
 * use. The same families also from a GGUF vocabulary, and from the tokenizer.json that we write.
 */
#include "tokenizer_fixtures.h"

#include "base/json.h"

static const char *const families[] = {"gpt2",    "smollm", "qwen2", "llama3",
                                       "default", "llama2", "gemma"};
enum { FAMILIES = sizeof families / sizeof *families, STRIDE = 16 };

static di_tokenizer *open_family(const char *name)
{
    char path[400];
    dial_error err = {0};
    di_tokenizer *t = NULL;

    snprintf(path, sizeof path, "%s%s", TOKENIZERS, name);
    assert_ok(di_tokenizer_open_hf(di_alloc_default(), path, &t, &err), err);
    return t;
}

/* The sweep tests what the forms of a family share, so one of them has it. */
static void check_family(const di_tokenizer *t, const char *name, const char *form, int sweep)
{
    fixture_strings s = fixture_strings_open();
    di_token_list list = {.al = di_alloc_default()};
    char file[100], what[100];
    fixture_ids want;

    snprintf(file, sizeof file, "%s.ids", name);
    snprintf(what, sizeof what, "%s (%s)", name, form);
    want = fixture_ids_open(file);
    assert_int_equal(want.n, s.n + FIXTURE_SWEEP);
    assert_int_equal(fixture_compare(t, &s, 1, want.hash, what, &list), 0);
    if (sweep) assert_int_equal(fixture_sweep(t, 0, want.hash + s.n, what, &list), 0);
    fixture_ids_close(&want);
    fixture_strings_close(&s);
    di_token_list_deinit(&list);
}

static void from_tokenizer_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++) {
        di_tokenizer *t = open_family(families[i]);

        check_family(t, families[i], "tokenizer.json", 1);
        di_tokenizer_close(t);
    }
}

/* What we write is read back; that the library reads it is tests/peers' business. */
static void from_written_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++) {
        di_tokenizer *t = open_family(families[i]), *again = NULL;
        dial_error err = {0};
        di_buf out;

        di_buf_init(&out, di_alloc_default());
        assert_ok(di_tokenizer_write_hf(t, &out, &err), err);
        assert_ok(
            di_tokenizer_parse_hf(di_alloc_default(), out.data, out.size, "written", &again, &err),
            err);
        check_family(again, families[i], "written", 0);
        assert_int_equal(di_tokenizer_get_info(again)->vocab, di_tokenizer_get_info(t)->vocab);
        assert_int_equal(di_tokenizer_get_info(again)->adds_bos,
                         di_tokenizer_get_info(t)->adds_bos);
        assert_int_equal(di_tokenizer_get_info(again)->bos, di_tokenizer_get_info(t)->bos);
        assert_string_equal(di_tokenizer_get_info(again)->pre, di_tokenizer_get_info(t)->pre);
        di_buf_deinit(&out);
        di_tokenizer_close(again);
        di_tokenizer_close(t);
    }
}

/* --- The same vocabulary as GGUF metadata ----------------------------------------------------- */

typedef struct gguf_form {
    di_vocab v;
    di_str *tokens, *merges;
    int32_t *types;
    float *scores;
    char *text; /* of the merges */
} gguf_form;

static void gguf_tokens(gguf_form *g, const json_t *root)
{
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab"), *id;
    const json_t *added = json_object_get(root, "added_tokens");
    const char *key;

    g->v.n = json_object_size(vocab);
    g->tokens = di_new_array(di_alloc_default(), g->v.n, sizeof *g->tokens);
    g->types = di_new_array(di_alloc_default(), g->v.n, sizeof *g->types);
    g->scores = di_new_array(di_alloc_default(), g->v.n, sizeof *g->scores);
    json_object_foreach (vocab, key, id) {
        const size_t i = (size_t)json_integer_value(id);

        g->tokens[i] = (di_str){key, strlen(key)};
        g->types[i] = strncmp(key, "<0x", 3) == 0 ? DI_TOKEN_BYTE : DI_TOKEN_NORMAL;
        g->scores[i] = g->types[i] == DI_TOKEN_BYTE ? 0.0f : -(float)i;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);

        id = json_object_get(a, "id");
        g->types[json_integer_value(id)] =
            json_is_true(json_object_get(a, "special")) ? DI_TOKEN_CONTROL : DI_TOKEN_USER;
        g->scores[json_integer_value(id)] = 0.0f;
    }
}

static void gguf_merges(gguf_form *g, const json_t *root)
{
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    size_t at = 0;

    g->v.n_merges = json_array_size(merges);
    g->merges = di_new_array(di_alloc_default(), g->v.n_merges, sizeof *g->merges);
    g->text = di_new(di_alloc_default(), g->v.n_merges * 200);
    for (size_t i = 0; i < g->v.n_merges; i++) {
        const json_t *m = json_array_get(merges, i);
        const int n = snprintf(g->text + at, 200, "%s %s", json_string_value(json_array_get(m, 0)),
                               json_string_value(json_array_get(m, 1)));

        assert_true(n > 0 && n < 200);
        g->merges[i] = (di_str){g->text + at, (size_t)n};
        at += (size_t)n;
    }
}

static di_tokenizer *from_gguf_form(const char *family, const char *model, const char *pre,
                                    int add_space_prefix)
{
    gguf_form g = {.v = {.where = family,
                         .model = model,
                         .pre = pre,
                         .bos = -1,
                         .eos = -1,
                         .unk = -1,
                         .pad = -1,
                         .add_bos = -1,
                         .add_eos = -1,
                         .add_space_prefix = add_space_prefix}};
    di_tokenizer *t = NULL;
    json_t *root = NULL;
    dial_error err = {0};
    char path[400];

    snprintf(path, sizeof path, "%s%s/tokenizer.json", TOKENIZERS, family);
    assert_ok(di_json_read(di_alloc_default(), path, &root, &err), err);
    gguf_tokens(&g, root);
    gguf_merges(&g, root);
    g.v.tokens = g.tokens;
    g.v.types = g.types;
    if (strcmp(model, "llama") == 0) {
        g.v.scores = g.scores; /* the merges have to come from these */
        g.v.n_merges = 0;
        for (size_t i = 0; i < g.v.n; i++)
            if (g.tokens[i].size == 5 && memcmp(g.tokens[i].data, "<unk>", 5) == 0)
                g.v.unk = (int32_t)i;
    } else {
        g.v.merges = g.merges;
    }
    assert_ok(di_tokenizer_from_vocab(di_alloc_default(), &g.v, &t, &err), err);
    json_decref(root);
    di_free(di_alloc_default(), g.tokens);
    di_free(di_alloc_default(), g.types);
    di_free(di_alloc_default(), g.scores);
    di_free(di_alloc_default(), g.merges);
    di_free(di_alloc_default(), g.text);
    return t;
}

static void from_gguf_vocabulary(void **state)
{
    static const struct {
        const char *family, *model, *pre;
        int add_space_prefix;
    } rows[] = {{"gpt2", "gpt2", "gpt-2", -1},      {"smollm", "gpt2", "smollm", -1},
                {"qwen2", "gpt2", "qwen2", -1},     {"llama3", "gpt2", "llama-bpe", -1},
                {"default", "gpt2", "default", -1}, {"llama2", "llama", NULL, -1},
                {"gemma", "llama", "default", 0}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        di_tokenizer *t =
            from_gguf_form(rows[i].family, rows[i].model, rows[i].pre, rows[i].add_space_prefix);

        check_family(t, rows[i].family, "GGUF", 0);
        if (strcmp(rows[i].model, "gpt2") == 0)
            assert_string_equal(di_tokenizer_get_info(t)->pre, rows[i].pre);
        di_tokenizer_close(t);
    }
}

/* --- Components ------------------------------------------------------------------------------- */

/* lay_over() of make_tokenizers.py: a base tokenizer.json with the row's parts in place. */
static void lay_over_vocab(json_t *model, json_t *row)
{
    json_t *vocab = json_object_get(model, "vocab"), *renamed, *v;
    const json_t *drop = json_object_get(row, "drop");
    const char *key;

    for (size_t i = 0; i < json_array_size(drop); i++) {
        const char *name = json_string_value(json_array_get(drop, i));
        char other[40];

        renamed = json_object();
        snprintf(other, sizeof other, "dropped%.4s", name + 1);
        json_object_foreach (vocab, key, v)
            json_object_set(renamed, strcmp(key, name) == 0 ? other : key, v);
        json_object_set_new(model, "vocab", renamed);
        vocab = renamed;
    }
}

static void lay_over_added(json_t *root, const json_t *row)
{
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    const json_t *added = json_object_get(row, "added");
    size_t n = json_object_size(vocab);

    for (size_t i = 0; i < json_array_size(added); i++) {
        json_t *a = json_deep_copy(json_array_get(added, i));
        json_t *known = json_object_get(vocab, json_string_value(json_object_get(a, "content")));

        if (known != NULL)
            json_object_set(a, "id", known);
        else
            json_object_set_new(a, "id", json_integer((json_int_t)n++));
        json_array_append_new(json_object_get(root, "added_tokens"), a);
    }
}

static char *lay_over(json_t *row)
{
    json_t *root = NULL, *model, *merges;
    char path[400], *text;
    dial_error err = {0};

    snprintf(path, sizeof path, "%s%s/tokenizer.json", TOKENIZERS,
             json_string_value(json_object_get(row, "base")));
    assert_ok(di_json_read(di_alloc_default(), path, &root, &err), err);
    model = json_object_get(root, "model");
    if (json_object_get(row, "normalizer") != NULL)
        json_object_set(root, "normalizer", json_object_get(row, "normalizer"));
    if (json_object_get(row, "pre_tokenizer") != NULL)
        json_object_set(root, "pre_tokenizer", json_object_get(row, "pre_tokenizer"));
    if (json_object_get(row, "model") != NULL)
        json_object_update(model, json_object_get(row, "model"));
    lay_over_vocab(model, row);
    merges = json_object_get(model, "merges");
    for (size_t i = 0;
         json_is_true(json_object_get(row, "old_merges")) && i < json_array_size(merges); i++) {
        const json_t *m = json_array_get(merges, i);

        json_array_set_new(merges, i,
                           json_sprintf("%s %s", json_string_value(json_array_get(m, 0)),
                                        json_string_value(json_array_get(m, 1))));
    }
    lay_over_added(root, row);
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static di_tokenizer *parse(const char *text, size_t n, const char *what)
{
    di_tokenizer *t = NULL;
    dial_error err = {0};

    if (di_tokenizer_parse_hf(di_alloc_default(), text, n, what, &t, &err) != DIAL_OK)
        fail_msg("%s: %s (%s)", what, err.message, err.where);
    return t;
}

static void every_component(void **state)
{
    fixture_strings s = fixture_strings_open();
    fixture_ids want = fixture_ids_open("variants.ids");
    di_token_list list = {.al = di_alloc_default()};
    const size_t each = (s.n + STRIDE - 1) / STRIDE;
    dial_error err = {0};
    json_t *rows = NULL;
    size_t at = 0, bad = 0;
    (void)state;

    assert_ok(di_json_read(di_alloc_default(), TOKENIZERS "variants.json", &rows, &err), err);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        const char *name = json_string_value(json_object_get(row, "name"));
        char *text = lay_over(row);
        di_tokenizer *t = parse(text, strlen(text), name), *again;
        di_buf out;

        bad += fixture_compare(t, &s, STRIDE, want.hash + at, name, &list);
        di_buf_init(&out, di_alloc_default());
        assert_ok(di_tokenizer_write_hf(t, &out, &err), err);
        again = parse(out.data, out.size, name);
        bad += fixture_compare(again, &s, STRIDE, want.hash + at, name, &list);
        at += each;
        if (json_is_true(json_object_get(row, "sweep"))) {
            bad += fixture_sweep(t, 1, want.hash + at, name, &list);
            at += FIXTURE_SWEEP;
        }
        di_buf_deinit(&out);
        di_tokenizer_close(again);
        di_tokenizer_close(t);
        free(text);
    }
    assert_int_equal(at, want.n);
    assert_int_equal(bad, 0);
    json_decref(rows);
    fixture_ids_close(&want);
    fixture_strings_close(&s);
    di_token_list_deinit(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_tokenizer_json),
        cmocka_unit_test(from_written_json),
        cmocka_unit_test(from_gguf_vocabulary),
        cmocka_unit_test(every_component),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
