/*
 * tokenizer.json of huggingface/tokenizers (schema "1.0") and the files that lie beside it.
 * interfaces.md 3.3.
 */
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

enum { MOST_TOKENS = 1 << 24 };

#define REFUSE(where, path, err, ...)                                                              \
    DI_FAIL_AT((err), DIAL_ERR_INPUT, DI_FMT("%s: %s", (where), (path)),                           \
               "use a tokenizer of the kinds in interfaces.md 3.3", __VA_ARGS__)

/* --- Vocabulary ------------------------------------------------------------------------------- */

/*
 * An added token whose string the model knows has the model's id; the others are numbered from the
 * count of the model's entries on, whatever the file says, so a file that says otherwise is
 * refused.
 */
static dial_status check_added(const json_t *list, const char *where, dial_error *err)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized", "special"};
    dial_status st = DIAL_OK;

    if (list != NULL && !json_is_array(list))
        REFUSE(where, "added_tokens", err, "expected an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        const json_t *id = json_object_get(a, "id");

        if (!json_is_string(json_object_get(a, "content")) || !json_is_integer(id) ||
            json_integer_value(id) < 0 || json_integer_value(id) >= MOST_TOKENS)
            REFUSE(where, DI_FMT("added_tokens[%zu]", i), err,
                   "expected an id below %d and a content", MOST_TOKENS);
        for (size_t k = 0; k < 5; k++)
            if (!json_is_boolean(json_object_get(a, flags[k])))
                REFUSE(where, DI_FMT("added_tokens[%zu].%s", i, flags[k]), err,
                       "expected true or false");
    }
done:
    return st;
}

/* Ids and bytes that the lexicon must hold. */
static dial_status measure(const json_t *vocab, const json_t *added, const char *where, size_t *n,
                           size_t *bytes, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *key;
    json_t *v;
    size_t count = json_object_size(vocab) + json_array_size(added);

    *n = *bytes = 0;
    if (json_object_size(vocab) == 0)
        REFUSE(where, "model.vocab", err, "expected an object with at least one token");
    json_object_foreach ((json_t *)(uintptr_t)vocab, key, v) {
        const json_int_t id = json_integer_value(v);

        if (!json_is_integer(v) || id < 0 || id >= MOST_TOKENS)
            REFUSE(where, "model.vocab", err, "id of '%.60s' is no integer from 0 to %d", key,
                   MOST_TOKENS - 1);
        if ((size_t)id >= *n) *n = (size_t)id + 1;
        *bytes += strlen(key);
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        const size_t id = (size_t)json_integer_value(json_object_get(a, "id"));

        if (id >= *n) *n = id + 1;
        *bytes += json_string_length(json_object_get(a, "content"));
    }
    /* a few skipped ids are normal; a lone huge one is a broken file that would eat the memory */
    if (*n > 4 * count + 65536)
        REFUSE(where, "model.vocab", err, "the highest id is %zu, but there are %zu tokens", *n - 1,
               count);
done:
    return st;
}

static dial_status read_vocab(di_tokenizer *t, const json_t *vocab, const char *where,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *key;
    json_t *v;

    json_object_foreach ((json_t *)(uintptr_t)vocab, key, v) {
        const int32_t id = (int32_t)json_integer_value(v);

        if (t->bpe.lex.token[id].data != NULL)
            REFUSE(where, "model.vocab", err, "'%.60s' and '%.*s' have the same id %d", key,
                   (int)t->bpe.lex.token[id].size, t->bpe.lex.token[id].data, (int)id);
        di_lexicon_put(&t->bpe.lex, id, key, strlen(key), 1);
    }
done:
    return st;
}

/* Index of the added token with this string; n_added: none. */
static size_t find_added(const di_tokenizer *t, const char *s, size_t n)
{
    size_t i = 0;

    while (i < t->n_added &&
           (t->added[i].content.size != n || memcmp(t->added[i].content.data, s, n) != 0))
        i++;
    return i;
}

static dial_status read_added(di_tokenizer *t, const json_t *list, size_t model_size,
                              const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t next = model_size;
    int32_t highest = -1;

    t->added = di_new_array(t->al, json_array_size(list), sizeof *t->added);
    if (t->added == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for added tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i), *text = json_object_get(a, "content");
        const char *s = json_string_value(text);
        const size_t n = json_string_length(text);
        const int32_t said = (int32_t)json_integer_value(json_object_get(a, "id"));
        int32_t id = di_lexicon_find(&t->bpe.lex, s, n);
        size_t at = t->n_added;

        if (n == 0) continue;
        /* files list them by id; only one out of order can repeat an earlier one */
        if (said <= highest) at = find_added(t, s, n);
        if (at < t->n_added)
            id = t->added[at].id;
        else if (id < 0)
            id = (int32_t)next++;
        if (id != said)
            REFUSE(where, DI_FMT("added_tokens[%zu]", i), err,
                   "'%.60s' has id %d; by its place in the vocabulary it is %d", s, (int)said,
                   (int)id);
        if (t->bpe.lex.token[id].data == NULL)
            di_lexicon_put(&t->bpe.lex, id, s, n, 0);
        else if (t->bpe.lex.token[id].size != n || memcmp(t->bpe.lex.token[id].data, s, n) != 0)
            REFUSE(where, DI_FMT("added_tokens[%zu]", i), err, "id %d is taken by another token",
                   (int)id);
        t->added[at] = (di_added){
            .id = id,
            .content = t->bpe.lex.token[id],
            .single_word = json_is_true(json_object_get(a, "single_word")),
            .lstrip = json_is_true(json_object_get(a, "lstrip")),
            .rstrip = json_is_true(json_object_get(a, "rstrip")),
            .normalized = json_is_true(json_object_get(a, "normalized")),
            .special = json_is_true(json_object_get(a, "special")),
        };
        if (at == t->n_added) t->n_added++;
        if (id > highest) highest = id;
    }
done:
    return st;
}

/* --- Model ------------------------------------------------------------------------------------ */

/* The two parts of a merge: "a b" with one space, or ["a", "b"]. 0: neither. */
static int merge_parts(const json_t *m, di_str part[2])
{
    if (json_is_string(m)) {
        const char *s = json_string_value(m);
        const size_t n = json_string_length(m);
        const char *space = memchr(s, ' ', n);

        if (space == NULL || memchr(space + 1, ' ', (size_t)(s + n - space - 1)) != NULL) return 0;
        part[0] = (di_str){s, (size_t)(space - s)};
        part[1] = (di_str){space + 1, (size_t)(s + n - space - 1)};
        return 1;
    }
    if (json_array_size(m) != 2) return 0;
    for (size_t k = 0; k < 2; k++) {
        const json_t *v = json_array_get(m, k);

        if (!json_is_string(v)) return 0;
        part[k] = (di_str){json_string_value(v), json_string_length(v)};
    }
    return 1;
}

static dial_status read_merges(di_tokenizer *t, const json_t *merges, const char *where,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rewriter joint = {.al = t->al};
    const size_t n = json_array_size(merges);
    uint32_t rank = 0;

    if (!json_is_array(merges)) REFUSE(where, "model.merges", err, "expected an array");
    DI_TRY(di_bpe_reserve(&t->bpe, n, err));
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(merges, i);
        di_str part[2];
        int32_t left, right;

        if (json_is_string(m) && strncmp(json_string_value(m), "#version", 8) == 0) continue;
        if (!merge_parts(m, part))
            REFUSE(where, DI_FMT("model.merges[%zu]", i), err,
                   "expected two tokens, as \"a b\" or [\"a\", \"b\"]");
        left = di_lexicon_find(&t->bpe.lex, part[0].data, part[0].size);
        right = di_lexicon_find(&t->bpe.lex, part[1].data, part[1].size);
        if (left < 0 || right < 0 || !di_bpe_put_joint(&t->bpe, left, right, rank, &joint)) {
            if (joint.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for merges");
            REFUSE(where, DI_FMT("model.merges[%zu]", i), err, "'%.*s' + '%.*s': %s is no token",
                   (int)part[0].size, part[0].data, (int)part[1].size, part[1].data,
                   left < 0    ? "the left part"
                   : right < 0 ? "the right part"
                               : "the joint string");
        }
        rank++;
    }
done:
    di_rewriter_deinit(&joint);
    return st;
}

static dial_status get_flag(const json_t *model, const char *key, int *out, const char *where,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = json_object_get(model, key);

    if (v != NULL && !json_is_boolean(v) && !json_is_null(v))
        REFUSE(where, DI_FMT("model.%s", key), err, "expected true or false");
    *out = json_is_true(v);
done:
    return st;
}

/* Parts of the model that are allowed only where they do nothing. */
static dial_status check_model(const json_t *model, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *type = json_object_get(model, "type"), *v;
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};

    if (!json_is_object(model)) REFUSE(where, "model", err, "expected an object");
    if (type == NULL ? json_object_get(model, "merges") == NULL
                     : !json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0)
        REFUSE(where, "model.type", err, "unsupported model '%s'; expected 'BPE'",
               json_is_string(type) ? json_string_value(type) : "missing");
    v = json_object_get(model, "dropout");
    if (v != NULL && !json_is_null(v) && json_number_value(v) != 0.0)
        REFUSE(where, "model.dropout", err, "expected null: ids would not repeat");
    for (size_t k = 0; k < 2; k++) {
        v = json_object_get(model, affixes[k]);
        if (v != NULL && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0))
            REFUSE(where, DI_FMT("model.%s", affixes[k]), err, "expected null or \"\"");
    }
done:
    return st;
}

/* Pieces are bytes and every byte has its letter: nothing can be unknown. */
static int covers_all_bytes(const di_tokenizer *t)
{
    const di_pretokenizer *p = &t->pre;

    char letter[4];

    if (p->n == 0 || p->step[p->n - 1].kind != DI_PRE_BYTELEVEL) return 0;
    for (unsigned c = 0; c < 256; c++)
        if (di_lexicon_find(&t->bpe.lex, letter,
                            di_utf8_put(di_byte_letter((unsigned char)c), letter)) < 0)
            return 0;
    return 1;
}

static dial_status read_model(di_tokenizer *t, const json_t *root, const char *where,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *model = json_object_get(root, "model");
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *added = json_object_get(root, "added_tokens");
    size_t n, bytes;

    DI_TRY(check_model(model, where, err));
    DI_TRY(check_added(added, where, err));
    DI_TRY(measure(vocab, added, where, &n, &bytes, err));
    DI_TRY(di_lexicon_init(&t->bpe.lex, t->al, n, bytes, err));
    DI_TRY(read_vocab(t, vocab, where, err));
    DI_TRY(read_added(t, added, json_object_size(vocab), where, err));
    DI_TRY(get_flag(model, "byte_fallback", &t->bpe.byte_fallback, where, err));
    DI_TRY(get_flag(model, "fuse_unk", &t->bpe.fuse_unk, where, err));
    DI_TRY(get_flag(model, "ignore_merges", &t->bpe.ignore_merges, where, err));
    DI_TRY(read_merges(t, json_object_get(model, "merges"), where, err));
    if (t->bpe.byte_fallback) t->info.model = "spm";
done:
    return st;
}

static dial_status read_unk(di_tokenizer *t, const json_t *model, const char *where,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = json_object_get(model, "unk_token");

    if (v == NULL || json_is_null(v)) goto done;
    if (!json_is_string(v)) REFUSE(where, "model.unk_token", err, "expected a string or null");
    t->info.unk = t->bpe.unk =
        di_lexicon_find(&t->bpe.lex, json_string_value(v), json_string_length(v));
    if (t->bpe.unk < 0 && !covers_all_bytes(t))
        REFUSE(where, "model.unk_token", err, "'%.60s' is not in the vocabulary",
               json_string_value(v));
done:
    return st;
}

static dial_status read_root(di_tokenizer *t, const json_t *root, const char *where,
                             int *has_template, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *version = json_object_get(root, "version");

    if (!json_is_object(root)) REFUSE(where, "$", err, "expected an object");
    if (version != NULL &&
        (!json_is_string(version) || strcmp(json_string_value(version), "1.0") != 0))
        REFUSE(where, "version", err, "expected \"1.0\"");
    DI_TRY(read_model(t, root, where, err));
    DI_TRY(di_tokenizer_read_normalizer(t, json_object_get(root, "normalizer"), where, err));
    DI_TRY(di_tokenizer_read_pre(t, json_object_get(root, "pre_tokenizer"), where, err));
    DI_TRY(di_tokenizer_read_post(t, json_object_get(root, "post_processor"), where, has_template,
                                  err));
    DI_TRY(read_unk(t, json_object_get(root, "model"), where, err));
    DI_TRY(di_tokenizer_finish(t, where, err));
done:
    return st;
}

static dial_status parse(const di_alloc *al, const char *json, size_t n, const char *where,
                         int *has_template, di_tokenizer **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_tokenizer *t = di_tokenizer_new(al);
    json_t *root = NULL;

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a tokenizer");
    DI_TRY(di_json_parse(json, n, where, 1, &root, err));
    DI_TRY(read_root(t, root, where, has_template, err));
    *out = t;
    t = NULL;
done:
    json_decref(root);
    di_tokenizer_close(t);
    return st;
}

dial_status di_tokenizer_parse_hf(const di_alloc *al, const char *json, size_t n, const char *where,
                                  di_tokenizer **out, dial_error *err)
{
    int has_template;

    return parse(al, json, n, where, &has_template, out, err);
}

/* --- tokenizer_config.json and special_tokens_map.json ---------------------------------------- */

/* The string of a special token: "x" or {"content": "x"}; NULL: none. */
static const json_t *special_string(const json_t *file, const char *key)
{
    const json_t *v = json_object_get(file, key);

    return json_is_object(v) ? json_object_get(v, "content") : v;
}

static int32_t token_id(const di_tokenizer *t, const json_t *name)
{
    const char *s = json_string_value(name);
    const size_t n = json_string_length(name);
    size_t i;

    if (s == NULL) return -1;
    i = find_added(t, s, n);
    return i < t->n_added ? t->added[i].id : di_lexicon_find(&t->bpe.lex, s, n);
}

static void set_special(di_tokenizer *t, const json_t *config, const json_t *map, const char *key,
                        int32_t *out)
{
    const json_t *name = special_string(config, key);

    if (!json_is_string(name)) name = special_string(map, key);
    if (json_is_string(name)) *out = token_id(t, name);
}

/* An absent file is *out = NULL. */
static dial_status read_beside(const di_alloc *al, const char *dir, const char *name, json_t **out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, dir, name);

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_exists(path)) {
        DI_TRY(di_json_read(al, path, out, err));
        if (!json_is_object(*out)) REFUSE(path, "$", err, "expected an object");
    }
done:
    di_free(al, path);
    return st;
}

/* The template, where there is one, decides what is added and which ids these are. */
static void apply_config(di_tokenizer *t, const json_t *config, const json_t *map, int has_template)
{
    const int32_t bos = t->info.bos, eos = t->info.eos;

    set_special(t, config, map, "bos_token", &t->info.bos);
    set_special(t, config, map, "eos_token", &t->info.eos);
    set_special(t, config, map, "pad_token", &t->info.pad);
    set_special(t, config, map, "unk_token", &t->info.unk);
    if (has_template) {
        if (t->info.adds_bos) t->info.bos = bos;
        if (t->info.adds_eos) t->info.eos = eos;
        return;
    }
    t->info.adds_bos = t->info.bos >= 0 && json_is_true(json_object_get(config, "add_bos_token"));
    t->info.adds_eos = t->info.eos >= 0 && json_is_true(json_object_get(config, "add_eos_token"));
}

dial_status di_tokenizer_open_hf(const di_alloc *al, const char *dir, di_tokenizer **out,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, dir, "tokenizer.json"), *text = NULL;
    json_t *config = NULL, *map = NULL;
    di_tokenizer *t = NULL;
    size_t n = 0;
    int has_template = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_read_file(al, path, &text, &n, err));
    DI_TRY(parse(al, text, n, path, &has_template, &t, err));
    DI_TRY(read_beside(al, dir, "tokenizer_config.json", &config, err));
    DI_TRY(read_beside(al, dir, "special_tokens_map.json", &map, err));
    apply_config(t, config, map, has_template);
    *out = t;
    t = NULL;
done:
    json_decref(config);
    json_decref(map);
    di_free(al, text);
    di_free(al, path);
    di_tokenizer_close(t);
    return st;
}
