/*
 * The components of a tokenizer.json that surround the model: normalizer, pre_tokenizer and
 * post_processor. Sequences are flattened; every refusal names the JSON path of what it refuses.
 */
#include <string.h>

#include "base/error.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

/* A component and its place. */
typedef struct place {
    const json_t *v;
    const char *where; /* the file */
    const char *path;
} place;

#define REFUSE(at, err, ...)                                                                       \
    DI_FAIL_AT((err), DIAL_ERR_INPUT, DI_FMT("%s: %s", (at)->where, (at)->path),                   \
               "use a tokenizer of the kinds in interfaces.md 3.3", __VA_ARGS__)

static const char *type_of(const place *at)
{
    const char *type = json_string_value(json_object_get(at->v, "type"));

    return type != NULL ? type : "";
}

static int is_type(const place *at, const char *name)
{
    return strcmp(type_of(at), name) == 0;
}

/* fallback -1: the key is required. */
static dial_status get_bool(const place *at, const char *key, int fallback, int *out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = json_object_get(at->v, key);

    if (v == NULL && fallback >= 0) {
        *out = fallback;
        goto done;
    }
    if (!json_is_boolean(v)) REFUSE(at, err, "%s: expected true or false", key);
    *out = json_is_true(v);
done:
    return st;
}

/* A copy of a string member; *n its bytes. least: the fewest bytes allowed. */
static dial_status get_text(const di_alloc *al, const place *at, const json_t *v, const char *key,
                            size_t least, char **out, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (!json_is_string(v) || json_string_length(v) < least)
        REFUSE(at, err, "%s: expected a string%s", key, least > 0 ? " that is not empty" : "");
    *n = json_string_length(v);
    *out = di_strndup(al, json_string_value(v), *n);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a tokenizer");
done:
    return st;
}

typedef dial_status (*reader)(di_tokenizer *t, const place *at, void *ctx, dial_error *err);

/* Calls read for v, or for each element if it is a Sequence. */
static dial_status each(di_tokenizer *t, const place *at, const char *members, int depth,
                        reader read, void *ctx, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *list;
    char path[160];

    if (json_is_null(at->v)) goto done;
    if (!json_is_object(at->v)) REFUSE(at, err, "expected an object or null");
    if (!is_type(at, "Sequence")) {
        DI_TRY(read(t, at, ctx, err));
        goto done;
    }
    list = json_object_get(at->v, members);
    if (!json_is_array(list) || depth > 8)
        REFUSE(at, err, "%s: expected an array, nested at most 8 deep", members);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const place item = {json_array_get(list, i), at->where,
                            di_format(path, sizeof path, "%s.%s[%zu]", at->path, members, i)};

        DI_TRY(each(t, &item, members, depth + 1, read, ctx, err));
    }
done:
    return st;
}

/* {"String": s} or {"Regex": s}: *regex set for the latter if no scanner knows it. */
static dial_status get_pattern(const di_alloc *al, const place *at, char **text, size_t *n,
                               int *is_regex, di_scan *scan, di_regex **regex, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *pattern = json_object_get(at->v, "pattern");
    const json_t *v = json_object_get(pattern, "String");
    char path[200];

    *is_regex = v == NULL;
    if (v == NULL) v = json_object_get(pattern, "Regex");
    DI_TRY(get_text(al, at, v, "pattern", 1, text, n, err));
    if (!*is_regex) goto done;
    *scan = di_scan_of(*text, *n);
    if (*scan == DI_SCAN_NONE)
        DI_TRY(di_regex_compile(al, *text, *n,
                                di_format(path, sizeof path, "%s: %s.pattern", at->where, at->path),
                                regex, err));
done:
    return st;
}

/* --- Normalizers ------------------------------------------------------------------------------ */

static dial_status new_norm(di_tokenizer *t, const place *at, di_norm_kind kind, di_norm_step **out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;

    *out = di_tokenizer_add_norm(t, kind);
    if (*out == NULL) REFUSE(at, err, "more than %d normalizers", DI_NORM_STEPS);
done:
    return st;
}

static dial_status read_replace(di_tokenizer *t, const place *at, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_norm_step *step;
    di_scan scan = DI_SCAN_NONE;
    int is_regex;

    DI_TRY(new_norm(t, at, DI_NORM_REPLACE, &step, err));
    DI_TRY(get_pattern(t->al, at, &step->pattern, &step->pattern_n, &is_regex, &scan, &step->regex,
                       err));
    if (is_regex && step->regex == NULL) /* a scanner would do, but searching is one path here */
        DI_TRY(
            di_regex_compile(t->al, step->pattern, step->pattern_n, at->path, &step->regex, err));
    DI_TRY(get_text(t->al, at, json_object_get(at->v, "content"), "content", 0, &step->content,
                    &step->content_n, err));
done:
    return st;
}

static dial_status read_norm(di_tokenizer *t, const place *at, void *ctx, dial_error *err)
{
    static const struct {
        const char *name;
        di_norm_kind kind;
    } plain[] = {{"NFC", DI_NORM_NFC},
                 {"NFD", DI_NORM_NFD},
                 {"NFKC", DI_NORM_NFKC},
                 {"NFKD", DI_NORM_NFKD},
                 {"Lowercase", DI_NORM_LOWERCASE}};
    dial_status st = DIAL_OK;
    di_norm_step *step;

    (void)ctx;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (!is_type(at, plain[i].name)) continue;
        DI_TRY(new_norm(t, at, plain[i].kind, &step, err));
        goto done;
    }
    if (is_type(at, "Strip")) {
        DI_TRY(new_norm(t, at, DI_NORM_STRIP, &step, err));
        DI_TRY(get_bool(at, "strip_left", -1, &step->left, err));
        DI_TRY(get_bool(at, "strip_right", -1, &step->right, err));
    } else if (is_type(at, "Prepend")) {
        DI_TRY(new_norm(t, at, DI_NORM_PREPEND, &step, err));
        DI_TRY(get_text(t->al, at, json_object_get(at->v, "prepend"), "prepend", 0, &step->content,
                        &step->content_n, err));
    } else if (is_type(at, "Replace")) {
        DI_TRY(read_replace(t, at, err));
    } else {
        REFUSE(at, err, "unsupported normalizer '%s'", type_of(at));
    }
done:
    return st;
}

dial_status di_tokenizer_read_normalizer(di_tokenizer *t, const json_t *v, const char *where,
                                         dial_error *err)
{
    const place at = {v, where, "normalizer"};

    return v == NULL ? DIAL_OK : each(t, &at, "normalizers", 0, read_norm, NULL, err);
}

/* --- Pre-tokenizers --------------------------------------------------------------------------- */

static dial_status read_split(di_tokenizer *t, const place *at, di_pre_step *step, dial_error *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    dial_status st = DIAL_OK;
    const char *behaviour = json_string_value(json_object_get(at->v, "behavior"));
    size_t k = 0;

    while (k < 5 && (behaviour == NULL || strcmp(behaviour, names[k]) != 0)) k++;
    if (k == 5)
        REFUSE(at, err, "unsupported behavior '%s'", behaviour != NULL ? behaviour : "missing");
    step->behaviour = (di_behaviour)k;
    DI_TRY(get_bool(at, "invert", -1, &step->invert, err));
    DI_TRY(get_pattern(t->al, at, &step->text, &step->text_n, &step->is_regex, &step->scan,
                       &step->regex, err));
done:
    return st;
}

static dial_status read_metaspace(di_tokenizer *t, const place *at, di_pre_step *step,
                                  dial_error *err)
{
    static const char *const names[] = {"always", "first", "never"};
    dial_status st = DIAL_OK;
    const json_t *v = json_object_get(at->v, "prepend_scheme");
    const char *scheme = v == NULL ? "always" : json_string_value(v);
    size_t k = 0;

    DI_TRY(get_text(t->al, at, json_object_get(at->v, "replacement"), "replacement", 1, &step->text,
                    &step->text_n, err));
    if (di_utf8_size(step->text[0]) != step->text_n)
        REFUSE(at, err, "replacement: expected one character");
    while (k < 3 && (scheme == NULL || strcmp(scheme, names[k]) != 0)) k++;
    if (k == 3) REFUSE(at, err, "unsupported prepend_scheme");
    step->scheme = (di_scheme)k;
    v = json_object_get(at->v, "add_prefix_space"); /* the older spelling, false: never */
    if (json_is_false(v)) {
        if (step->scheme != DI_PREPEND_NEVER)
            REFUSE(at, err, "add_prefix_space contradicts prepend_scheme");
    }
    v = json_object_get(at->v, "split");
    if (json_is_null(v))
        step->split = 1;
    else
        DI_TRY(get_bool(at, "split", 1, &step->split, err));
done:
    return st;
}

static dial_status read_pre(di_tokenizer *t, const place *at, void *ctx, dial_error *err)
{
    static const char *const names[] = {"ByteLevel", "Digits", "Split", "Metaspace"};
    dial_status st = DIAL_OK;
    di_pre_step *step;
    size_t k = 0;
    int flag = 0;

    (void)ctx;
    while (k < 4 && !is_type(at, names[k])) k++;
    if (k == 4) REFUSE(at, err, "unsupported pre_tokenizer '%s'", type_of(at));
    step = di_tokenizer_add_pre(t, (di_pre_kind)k);
    if (step == NULL) REFUSE(at, err, "more than %d pre_tokenizers", DI_PRE_STEPS);
    switch (step->kind) {
    case DI_PRE_BYTELEVEL:
        DI_TRY(get_bool(at, "add_prefix_space", -1, &step->add_prefix, err));
        DI_TRY(get_bool(at, "use_regex", 1, &step->use_regex, err));
        break;
    case DI_PRE_DIGITS:
        DI_TRY(get_bool(at, "individual_digits", -1, &flag, err));
        step->behaviour = flag ? DI_SPLIT_ISOLATED : DI_SPLIT_CONTIGUOUS;
        step->scan = DI_SCAN_NUMERIC;
        break;
    case DI_PRE_SPLIT: DI_TRY(read_split(t, at, step, err)); break;
    case DI_PRE_METASPACE: DI_TRY(read_metaspace(t, at, step, err)); break;
    }
done:
    return st;
}

dial_status di_tokenizer_read_pre(di_tokenizer *t, const json_t *v, const char *where,
                                  dial_error *err)
{
    const place at = {v, where, "pre_tokenizer"};

    return v == NULL ? DIAL_OK : each(t, &at, "pretokenizers", 0, read_pre, NULL, err);
}

/* --- Post-processors -------------------------------------------------------------------------- */

/* The one id behind the name of a special token of the template. */
static dial_status template_id(const place *at, const json_t *item, size_t vocab, int32_t *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *name = json_string_value(json_object_get(item, "id"));
    const json_t *row =
        name != NULL ? json_object_get(json_object_get(at->v, "special_tokens"), name) : NULL;
    const json_t *ids = json_object_get(row, "ids");
    json_int_t id;

    if (json_array_size(ids) != 1 || !json_is_integer(json_array_get(ids, 0)))
        REFUSE(at, err, "special token '%s': expected one id", name != NULL ? name : "?");
    id = json_integer_value(json_array_get(ids, 0));
    if (id < 0 || (uint64_t)id >= vocab)
        REFUSE(at, err, "special token '%s': id %lld is not in the vocabulary", name,
               (long long)id);
    *out = (int32_t)id;
done:
    return st;
}

static dial_status read_template(di_tokenizer *t, const place *at, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *single = json_object_get(at->v, "single"), *item, *sequence;
    int texts = 0;

    if (!json_is_array(single)) REFUSE(at, err, "single: expected an array");
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *special;

        item = json_array_get(single, i);
        sequence = json_object_get(item, "Sequence");
        special = json_object_get(item, "SpecialToken");
        if (sequence != NULL && texts == 0) {
            texts = 1;
        } else if (special != NULL && texts == 0 && !t->info.adds_bos) {
            DI_TRY(template_id(at, special, t->bpe.lex.n, &t->info.bos, err));
            t->info.adds_bos = 1;
        } else if (special != NULL && texts == 1 && !t->info.adds_eos) {
            DI_TRY(template_id(at, special, t->bpe.lex.n, &t->info.eos, err));
            t->info.adds_eos = 1;
        } else {
            REFUSE(at, err,
                   "single[%zu]: expected at most one special token, the text, at most "
                   "one special token",
                   i);
        }
    }
    if (texts != 1) REFUSE(at, err, "single: holds no text");
done:
    return st;
}

static dial_status read_post(di_tokenizer *t, const place *at, void *ctx, dial_error *err)
{
    dial_status st = DIAL_OK;
    int *has_template = ctx;

    if (is_type(at, "ByteLevel")) goto done; /* moves offsets, not ids */
    if (!is_type(at, "TemplateProcessing"))
        REFUSE(at, err, "unsupported post_processor '%s'", type_of(at));
    if (*has_template) REFUSE(at, err, "a second template");
    *has_template = 1;
    DI_TRY(read_template(t, at, err));
done:
    return st;
}

dial_status di_tokenizer_read_post(di_tokenizer *t, const json_t *v, const char *where,
                                   int *has_template, dial_error *err)
{
    const place at = {v, where, "post_processor"};

    *has_template = 0;
    return v == NULL ? DIAL_OK : each(t, &at, "processors", 0, read_post, has_template, err);
}
