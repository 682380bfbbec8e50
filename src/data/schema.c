#include "data/schema.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"

static const char READ_HINT[] = "rows that are read: rb1, rb2, mcq, pair-chat, pair, pair-named, "
                                "pair-sharegpt, pair-shp, scored, candidates, chat, "
                                "single, text; "
                                "--columns renames keys";

/* Schemas in the order of interfaces.md 2.2: the first whose keys are there and whose test holds.
 */
typedef struct di_schema_def {
    const char *name;
    const char *key[4];                                              /* all of them must be there */
    int (*test)(const di_schema *s);                                 /* NULL: the keys suffice */
    dial_status (*read)(di_schema *s, di_row *row, dial_error *err); /* NULL: not read yet */
} di_schema_def;

/* --- what tells schemas with equal keys apart ------------------------------------------------ */

static const char wrong_keys[26][8] = {
    "wrong_a", "wrong_b", "wrong_c", "wrong_d", "wrong_e", "wrong_f", "wrong_g",
    "wrong_h", "wrong_i", "wrong_j", "wrong_k", "wrong_l", "wrong_m", "wrong_n",
    "wrong_o", "wrong_p", "wrong_q", "wrong_r", "wrong_s", "wrong_t", "wrong_u",
    "wrong_v", "wrong_w", "wrong_x", "wrong_y", "wrong_z",
};

static int has_wrong(const di_schema *s)
{
    for (int i = 0; i < 26; i++)
        if (di_schema_get(s, wrong_keys[i]) != NULL) return 1;
    return 0;
}

/* RewardBench's own subsets: such files have a score of their own, so they are no plain pairs. */
static int is_rewardbench(const di_schema *s)
{
    static const char *const subset[] = {
        "alpacaeval-easy",
        "alpacaeval-length",
        "alpacaeval-hard",
        "mt-bench-easy",
        "mt-bench-med",
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
        "math-prm",
        "hep-cpp",
        "hep-go",
        "hep-java",
        "hep-js",
        "hep-python",
        "hep-rust",
    };
    const char *name = json_string_value(di_schema_get(s, "subset"));

    for (size_t i = 0; name != NULL && i < sizeof subset / sizeof *subset; i++)
        if (strcmp(subset[i], name) == 0) return 1;
    return 0;
}

static int lists_of_strings(const di_schema *s)
{
    return json_is_string(json_array_get(di_schema_get(s, "chosen"), 0)) &&
           json_is_string(json_array_get(di_schema_get(s, "rejected"), 0));
}

static int any_list(const di_schema *s)
{
    return json_is_array(di_schema_get(s, "chosen")) || json_is_array(di_schema_get(s, "rejected"));
}

static int no_object(const di_schema *s)
{
    return !any_list(s) && !json_is_object(di_schema_get(s, "chosen"));
}

static int in_order(const di_schema *s)
{
    return s->in_order;
}

/* --- readers ------------------------------------------------------------------------------ */

static dial_status read_text(di_schema *s, const char *key, const char *prompt, size_t prompt_size,
                             di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text *t = &row->text[row->n_texts];

    *t = (di_text){.prompt = prompt, .prompt_size = prompt_size, .has_border = 1};
    DI_TRY(di_schema_string(s, key, &t->response, &t->response_size, err));
    DI_TRY(di_schema_check_text(s, key, t, err));
    row->n_texts++;
done:
    return st;
}

static int is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/*
 * Two whole dialogues: the prompt is their longest common byte prefix, moved back to the start of
 * a code point, and so far that both responses keep a code point (one text may begin the other).
 */
static size_t border_of(const di_text *a, const di_text *b)
{
    size_t n = 0, least = a->response_size < b->response_size ? a->response_size : b->response_size;

    while (n < least && a->response[n] == b->response[n]) n++;
    if (n == least && n > 0) n--;
    while (n > 0 && (is_continuation(a->response[n]) || is_continuation(b->response[n]))) n--;
    return n;
}

/* The file's prompt key is settled by its first row. */
static dial_status settle_prompt(di_schema *s, const char **key, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const keys[] = {"prompt", "question", "instruction"};
    const char *found = NULL;

    for (size_t i = 0; i < 3 && found == NULL; i++)
        if (di_schema_get(s, keys[i]) != NULL && !json_is_null(di_schema_get(s, keys[i])))
            found = keys[i];
    if (s->def == NULL) {
        *key = found;
        goto done;
    }
    *key = s->prompt_key;
    if (s->prompt_key == NULL && found != NULL)
        DI_BAD(s->rs, SCHEMA_MIXED, di_schema_column(s, found),
               "put such rows into a file of their own",
               "the rows before have no prompt of their own, this one has");
done:
    return st;
}

/* instruction and input are two lines, as in Alpaca's format without its headings. */
static dial_status read_instruction(di_schema *s, di_text *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text;
    size_t size;

    if (di_schema_get_optional(s, "input") == NULL) goto done;
    DI_TRY(di_schema_string(s, "input", &text, &size, err));
    if (size == 0) goto done;
    di_buf_append(&s->joined, t->prompt, t->prompt_size);
    di_buf_append(&s->joined, "\n", 1);
    di_buf_append(&s->joined, text, size);
    DI_TRY(di_buf_status(&s->joined, err));
    t->prompt = s->joined.data;
    t->prompt_size = s->joined.size;
done:
    return st;
}

/* The prompt under `key` into *t; a conversation is joined. */
static dial_status read_prompt(di_schema *s, const char *key, di_text *t, di_row *row,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *v = di_schema_get(s, key);

    *t = (di_text){.prompt = ""};
    if (json_is_array(v)) {
        DI_TRY(di_schema_join(s, key, v, err));
        t->prompt = s->joined.data != NULL ? s->joined.data : "";
        t->prompt_size = s->joined.size;
        s->dialogue = v;
        row->from_messages = 1;
        goto done;
    }
    DI_TRY(di_schema_string(s, key, &t->prompt, &t->prompt_size, err));
    if (strcmp(key, "instruction") == 0) DI_TRY(read_instruction(s, t, err));
done:
    return st;
}

static dial_status read_margin(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (s->drop_labels || di_schema_get_optional(s, "margin") == NULL) goto done;
    DI_TRY(di_schema_number(s, "margin", DI_BAD_MARGIN_NOT_FINITE, &row->margin, err));
done:
    return st;
}

/* Two responses to one prompt under the keys given. */
static dial_status read_two(di_schema *s, const char *prompt, const char *first, const char *second,
                            di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text p = {.prompt = ""};

    if (prompt != NULL) DI_TRY(read_prompt(s, prompt, &p, row, err));
    DI_TRY(read_text(s, first, p.prompt, p.prompt_size, row, err));
    DI_TRY(read_text(s, second, p.prompt, p.prompt_size, row, err));
done:
    return st;
}

static dial_status read_pair(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *key = NULL;

    DI_TRY(settle_prompt(s, &key, err));
    DI_TRY(read_two(s, key, "chosen", "rejected", row, err));
    if (key == NULL) {
        size_t border = border_of(&row->text[0], &row->text[1]);

        for (int i = 0; i < 2; i++) {
            di_text *t = &row->text[i];

            t->prompt = t->response;
            t->prompt_size = border;
            t->response += border;
            t->response_size -= border;
        }
    }
    DI_TRY(read_margin(s, row, err));
    s->prompt_key = key;
done:
    return st;
}

static dial_status read_pair_named(di_schema *s, di_row *row, dial_error *err)
{
    return read_two(s, "prompt", "response_chosen", "response_rejected", row, err);
}

static dial_status read_pair_shp(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    double label = 1;

    if (!s->drop_labels) {
        DI_TRY(di_schema_number(s, "labels", DI_BAD_BAD_LABEL, &label, err));
        if (label != 0 && label != 1)
            DI_BAD(s->rs, BAD_LABEL, di_schema_column(s, "labels"), "remove the row",
                   "expected 1 (A is better) or 0 (B is better), found %g", label);
    }
    DI_TRY(read_two(s, "history", label == 1 ? "human_ref_A" : "human_ref_B",
                    label == 1 ? "human_ref_B" : "human_ref_A", row, err));
done:
    return st;
}

static dial_status read_mcq(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text p = {.prompt = ""};

    row->kind = DI_ROW_MCQ;
    DI_TRY(read_prompt(s, "prompt", &p, row, err));
    DI_TRY(read_text(s, "correct", p.prompt, p.prompt_size, row, err));
    for (int i = 0; i < 26; i++)
        if (di_schema_get_optional(s, wrong_keys[i]) != NULL)
            DI_TRY(read_text(s, wrong_keys[i], p.prompt, p.prompt_size, row, err));
    if (row->n_texts < 2)
        DI_BAD(s->rs, MISSING_KEY, di_schema_column(s, "wrong_a"), "add a wrong answer",
               "expected at least one wrong answer, wrong_a to wrong_z");
done:
    return st;
}

/* RewardBench: strings, or in files of one's own message lists. */
static dial_status read_rb1(di_schema *s, di_row *row, dial_error *err)
{
    return any_list(s) ? di_schema_pair_chat(s, row, err)
                       : read_two(s, "prompt", "chosen", "rejected", row, err);
}

/* The strings of a list as texts of the row. */
static dial_status read_list(di_schema *s, const char *key, const di_text *prompt, di_row *row,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *list = di_schema_get(s, key);
    const char *column = di_schema_column(s, key);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        di_text *t = &row->text[row->n_texts];

        if (!json_is_string(v))
            DI_BAD(s->rs, WRONG_TYPE, column, "write the texts as strings",
                   "expected a list of strings, found %s in it", di_json_kind(v));
        if (row->n_texts == DI_ROW_TEXTS)
            DI_BAD(s->rs, WRONG_TYPE, column, "leave some out",
                   "expected at most %d texts in a row", DI_ROW_TEXTS);
        *t = *prompt;
        t->response = json_string_value(v);
        t->response_size = json_string_length(v);
        t->has_border = 1;
        DI_TRY(di_schema_check_text(s, key, t, err));
        row->n_texts++;
    }
done:
    return st;
}

/* Candidates to be ranked: all of them, as they stand. */
static dial_status read_responses(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text p = {.prompt = ""};

    row->kind = DI_ROW_MCQ;
    DI_TRY(read_prompt(s, "prompt", &p, row, err));
    DI_TRY(read_list(s, "responses", &p, row, err));
    if (row->n_texts == 0)
        DI_BAD(s->rs, WRONG_TYPE, di_schema_column(s, "responses"), "write a list of strings",
               "expected a list of responses, found none in it");
done:
    return st;
}

/* Candidates: first those of `chosen`, of which num_correct (all, if it is not said) are correct.
 */
static dial_status read_rb2(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text p = {.prompt = ""};
    double n = 0;

    row->kind = DI_ROW_CANDIDATES;
    DI_TRY(read_prompt(s, "prompt", &p, row, err));
    DI_TRY(read_list(s, "chosen", &p, row, err));
    n = row->n_texts;
    DI_TRY(read_list(s, "rejected", &p, row, err));
    if (di_schema_get_optional(s, "num_correct") != NULL)
        DI_TRY(di_schema_number(s, "num_correct", DI_BAD_BAD_LABEL, &n, err));
    if (!(n >= 1 && n <= row->n_texts) || n != (int)n)
        DI_BAD(s->rs, BAD_LABEL, di_schema_column(s, "num_correct"), "correct it",
               "expected 1 to %d correct candidates, found %g", row->n_texts, n);
    row->n_correct = s->drop_labels ? 0 : (int)n;
done:
    return st;
}

/* The index of the best response first, the others in their order. */
static dial_status put_best_first(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    double label;
    di_text best;

    if (di_schema_get_optional(s, "label") == NULL) {
        row->unlabelled = 1;
        goto done;
    }
    DI_TRY(di_schema_number(s, "label", DI_BAD_BAD_LABEL, &label, err));
    if (!(label >= 0 && label < row->n_texts) || label != floor(label))
        DI_BAD(s->rs, BAD_LABEL, di_schema_column(s, "label"),
               "write the place of the best response, counted from 0, or null",
               "expected 0 to %d, found %g", row->n_texts - 1, label);
    best = row->text[(int)label];
    memmove(row->text + 1, row->text, (size_t)label * sizeof best);
    row->text[0] = best;
done:
    return st;
}

/* Several responses and, once somebody has said so, which of them is best. */
static dial_status read_candidates(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *pick = json_string_value(di_schema_get_optional(s, "pick"));
    di_text p = {.prompt = ""};

    DI_TRY(read_prompt(s, "prompt", &p, row, err));
    DI_TRY(read_list(s, "responses", &p, row, err));
    if (row->n_texts < 2)
        DI_BAD(s->rs, WRONG_TYPE, di_schema_column(s, "responses"), "write a list of strings",
               "expected a list of at least 2 responses");
    if (!s->drop_labels) DI_TRY(put_best_first(s, row, err));
    row->kind = row->n_texts == 2 && !row->unlabelled ? DI_ROW_PAIR : DI_ROW_MCQ;
    row->picked = pick != NULL && strcmp(pick, "disagreement") == 0;
done:
    return st;
}

static dial_status read_one(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text p = {.prompt = ""};

    row->kind = DI_ROW_SINGLE;
    DI_TRY(read_prompt(s, "prompt", &p, row, err));
    DI_TRY(read_text(s, "response", p.prompt, p.prompt_size, row, err));
done:
    return st;
}

/* A text as it is: no border, so that truncation cuts it from the left. */
static dial_status read_whole(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;

    row->kind = DI_ROW_SINGLE;
    DI_TRY(read_text(s, "text", "", 0, row, err));
    row->text[0].has_border = 0;
    row->text[0].rendered = 1;
done:
    return st;
}

static dial_status read_score(di_schema *s, const char *key, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (s->drop_labels) goto done;
    row->kind = DI_ROW_SCORED;
    DI_TRY(di_schema_number(s, key, DI_BAD_SCORE_NOT_FINITE, &row->score, err));
done:
    return st;
}

static dial_status read_scored(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(read_one(s, row, err));
    DI_TRY(read_score(s, "score", row, err));
done:
    return st;
}

static dial_status read_scored_text(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(read_whole(s, row, err));
    DI_TRY(read_score(s, "label", row, err));
done:
    return st;
}

/* clang-format off */
static const di_schema_def defs[] = {
    {"rb1",           {"prompt", "chosen", "rejected", "subset"},       is_rewardbench,   read_rb1},
    {"rb2",           {"prompt", "chosen", "rejected", "subset"},       lists_of_strings, read_rb2},
    {"mcq",           {"prompt", "correct"},                            has_wrong,        read_mcq},
    {"pair-chat",     {"chosen", "rejected"},                           any_list,         di_schema_pair_chat},
    {"pair",          {"chosen", "rejected"},                           no_object,        read_pair},
    {"pair-named",    {"prompt", "response_chosen", "response_rejected"}, NULL,           read_pair_named},
    {"pair-sharegpt", {"conversations", "chosen", "rejected"},          NULL,             di_schema_sharegpt},
    {"pair-shp",      {"history", "human_ref_A", "human_ref_B", "labels"}, NULL,          read_pair_shp},
    {"scored",        {"prompt", "response", "score"},                  NULL,             read_scored},
    {"scored",        {"text", "label"},                                NULL,             read_scored_text},
    {"candidates",    {"prompt", "responses"},                          in_order,         read_responses},
    {"candidates",    {"prompt", "responses"},                          NULL,             read_candidates},
    {"chat",          {"messages"},                                     NULL,             di_schema_chat},
    {"single",        {"prompt", "response"},                           NULL,             read_one},
    {"text",          {"text"},                                         NULL,             read_whole},
    {"prompt",        {"prompt"},                                       NULL,             NULL},
};

/* Names that --columns may give to a column: the keys above and those of single schemas. */
static const char *const other_keys[] = {
    "num_correct", "question", "instruction", "input", "margin", "id", "topic", "subset", "length_matched", "weight",
    "pick",
};
/* clang-format on */

enum { N_DEFS = sizeof defs / sizeof *defs, N_OTHER = sizeof other_keys / sizeof *other_keys };

/* --- --columns -------------------------------------------------------------------------------- */

static const char *known_key(const char *name)
{
    for (int d = 0; d < N_DEFS; d++)
        for (int k = 0; k < 4; k++)
            if (defs[d].key[k] != NULL && strcmp(defs[d].key[k], name) == 0) return defs[d].key[k];
    for (int i = 0; i < 26; i++)
        if (strcmp(wrong_keys[i], name) == 0) return wrong_keys[i];
    for (int i = 0; i < N_OTHER; i++)
        if (strcmp(other_keys[i], name) == 0) return other_keys[i];
    return NULL;
}

/* Whether a row could use a column of the file: its name is a key's, by itself or by --columns. */
static int wants(void *ctx, const char *column)
{
    const di_schema *s = ctx;
    const char *key = known_key(column);
    size_t n = strlen(column);

    if (s->group_by != NULL && strncmp(s->group_by, column, n) == 0 &&
        (s->group_by[n] == '\0' || s->group_by[n] == '.'))
        return 1;
    for (int i = 0; i < s->n_map; i++)
        if (strcmp(s->map[i].column, column) == 0) return 1;
    return key != NULL && strcmp(di_schema_column(s, key), column) == 0;
}

dial_status di_schema_init(di_schema *s, const di_alloc *al, di_records *rs, const char *columns,
                           const char *group_by, int drop_labels, uint64_t seed, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *item, *rest;

    *s = (di_schema){.al = al, .rs = rs, .drop_labels = drop_labels, .seed = seed};
    di_buf_init(&s->joined, al);
    di_buf_init(&s->turns, al);
    di_buf_init(&s->id, al);
    di_buf_init(&s->group, al);
    rs->wants = wants;
    rs->wants_ctx = s;
    if (group_by != NULL && (s->group_by = di_strdup(al, group_by)) == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a key");
    if (columns == NULL || columns[0] == '\0') goto done;
    s->columns = di_strdup(al, columns);
    if (s->columns == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for --columns");
    for (item = s->columns; item != NULL; item = rest) {
        char *equal = strchr(item, '=');

        rest = strchr(item, ',');
        if (rest != NULL) *rest++ = '\0';
        if (equal == NULL || *equal == '\0' || equal == item || equal[1] == '\0')
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--columns", "for example prompt=question,chosen=good",
                       "expected NAME=COLUMN, found '%s'", item);
        *equal = '\0';
        if (known_key(item) == NULL)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--columns",
                       "write dial's name first: prompt=COLUMN, chosen=COLUMN, ...",
                       "expected a key of a row that is read, found '%s'", item);
        if (strcmp(di_schema_column(s, item), item) != 0 ||
            s->n_map == (int)(sizeof s->map / sizeof *s->map))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--columns", "name every key once",
                       "'%s' has two columns", item);
        s->map[s->n_map].key = known_key(item);
        s->map[s->n_map++].column = equal + 1;
    }
    rs->score_key = di_schema_column(s, "score");
    rs->label_key = di_schema_column(s, "label");
    rs->margin_key = di_schema_column(s, "margin");
done:
    return st;
}

void di_schema_deinit(di_schema *s)
{
    if (s->al == NULL) return;
    di_buf_deinit(&s->joined);
    di_buf_deinit(&s->turns);
    di_buf_deinit(&s->id);
    di_buf_deinit(&s->group);
    di_free(s->al, s->columns);
    di_free(s->al, s->group_by);
    *s = (di_schema){0};
}

const char *di_schema_name(const di_schema *s)
{
    return s->def != NULL ? s->def->name : "";
}

/* --- which schema ----------------------------------------------------------------------------- */

/* The first key of the schema that the record lacks; NULL: it has them all. */
static const char *lacking(const di_schema *s, const di_schema_def *def)
{
    for (int k = 0; k < 4 && def->key[k] != NULL; k++)
        if (di_schema_get(s, def->key[k]) == NULL) return def->key[k];
    return NULL;
}

static int fits(const di_schema *s, const di_schema_def *def)
{
    return lacking(s, def) == NULL && (def->test == NULL || def->test(s));
}

static const di_schema_def *classify(const di_schema *s)
{
    for (int d = 0; d < N_DEFS; d++)
        if (fits(s, &defs[d])) return &defs[d];
    return NULL;
}

/* The keys of the record as a sentence shows them. */
static const char *list_keys(const di_schema *s, char *buf, size_t n)
{
    const char *key;
    json_t *value;
    size_t used = 0;

    buf[0] = '\0';
    json_object_foreach (s->rs->object, key, value) {
        if (used + strlen(key) + 8 >= n) {
            snprintf(buf + used, n - used, ", ...");
            break;
        }
        used += (size_t)snprintf(buf + used, n - used, "%s%s", used > 0 ? ", " : "", key);
    }
    return used > 0 ? buf : "none";
}

/* Settles the schema of this record: the file's, or on the first good row the one that matches. */
static dial_status match(di_schema *s, const di_schema_def **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_schema_def *def = classify(s);
    const char *lacks;
    char keys[200];

    if (s->def == NULL) {
        for (int i = 0; i < s->n_map; i++)
            if (json_object_get(s->rs->object, s->map[i].column) == NULL)
                DI_BAD(s->rs, MISSING_KEY, s->map[i].column, "correct --columns",
                       "expected it, since --columns names it for %s", s->map[i].key);
        if (def == NULL)
            DI_BAD_AT(s->rs, DI_BAD_UNKNOWN_SCHEMA, -1, READ_HINT,
                      "expected the keys of a row that is read, found the keys %s",
                      list_keys(s, keys, sizeof keys));
        if (def->read == NULL)
            DI_BAD_AT(s->rs, DI_BAD_UNKNOWN_SCHEMA, -1, READ_HINT,
                      "rows of schema %s are not read yet; found the keys %s", def->name,
                      list_keys(s, keys, sizeof keys));
        *out = def;
        goto done;
    }
    *out = s->def;
    if (fits(s, s->def)) goto done;
    lacks = lacking(s, s->def);
    if (def != NULL && def->read != NULL && def != s->def)
        DI_BAD(s->rs, SCHEMA_MIXED, lacks != NULL ? di_schema_column(s, lacks) : NULL,
               "put such rows into a file of their own",
               "the file began with rows of schema %s, this row reads as %s", s->def->name,
               def->name);
    if (lacks != NULL)
        DI_BAD(s->rs, MISSING_KEY, di_schema_column(s, lacks), "add it, or remove the row",
               "expected it as in the rows before (schema %s)", s->def->name);
done:
    return st;
}

/* CSV holds message lists as JSON text. A cell that is no such list stays the text that it is. */
static dial_status unpack_cells(di_schema *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const keys[] = {"prompt", "chosen", "rejected", "messages", "conversations"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = di_schema_get(s, keys[i]);
        di_json_fault bad;
        json_t *list;

        if (json_string_length(v) == 0 || json_string_value(v)[0] != '[') continue;
        list = di_json_load(json_string_value(v), json_string_length(v), 0, &bad);
        if (list == NULL && bad.kind == DI_JSON_NOMEM)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a list of messages");
        if (di_is_message_list(list)) {
            if (json_object_set_new_nocheck(s->rs->object, di_schema_column(s, keys[i]), list) != 0)
                DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a list of messages");
        } else {
            json_decref(list);
        }
    }
done:
    return st;
}

/* --- a row ------------------------------------------------------------------------------------ */

static int text_order(const di_text *a, const di_text *b)
{
    size_t n = a->response_size < b->response_size ? a->response_size : b->response_size;
    int c = memcmp(a->response, b->response, n);

    return c != 0 ? c
                  : (a->response_size > b->response_size) - (a->response_size < b->response_size);
}

/* Equal bytes, and if they are dialogues, in the same turns. */
static int same_text(const di_text *a, const di_text *b)
{
    if (text_order(a, b) != 0 || a->n_turns != b->n_turns) return 0;
    for (size_t i = 0; i < a->n_turns; i++)
        if (a->turn[i].content.size != b->turn[i].content.size ||
            strcmp(a->turn[i].role, b->turn[i].role) != 0)
            return 0;
    return 1;
}

/*
 * Puts the texts of an unlabelled row into an order that the file's order has no part in: sorted
 * by their bytes, then shuffled by a generator that (seed, bytes of all texts) names. Sorting alone
 * would do for that, but would always put the shorter of two texts that begin alike first.
 */
static void forget_order(di_row *row, uint64_t seed)
{
    di_rng rng = di_rng_make(seed, DI_RNG_TEXT_ORDER, 0);
    uint64_t name[DI_ROW_TEXTS + 1];

    for (int i = 1; i < row->n_texts; i++)
        for (int j = i; j > 0 && text_order(&row->text[j - 1], &row->text[j]) > 0; j--) {
            di_text t = row->text[j];

            row->text[j] = row->text[j - 1];
            row->text[j - 1] = t;
        }
    name[0] = di_fnv1a(row->text[0].prompt, row->text[0].prompt_size);
    for (int i = 0; i < row->n_texts; i++)
        name[i + 1] = di_fnv1a(row->text[i].response, row->text[i].response_size);
    rng.at = di_fnv1a(name, (size_t)(row->n_texts + 1) * sizeof *name);
    for (int i = row->n_texts - 1; i > 0; i--) {
        int j = (int)di_rng_below(&rng, (uint64_t)i + 1);
        di_text t = row->text[i];

        row->text[i] = row->text[j];
        row->text[j] = t;
    }
}

dial_status di_schema_read(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_schema_def *def = NULL;

    *row = (di_row){.kind = DI_ROW_PAIR, .weight = 1, .length_matched = -1};
    s->joined.size = s->turns.size = 0;
    s->dialogue = NULL;
    if (s->rs->n_header > 0) DI_TRY(unpack_cells(s, err));
    DI_TRY(match(s, &def, err));
    assert(def != NULL);
    DI_TRY(def->read(s, row, err));
    if (s->dialogue != NULL) DI_TRY(di_schema_attach_turns(s, s->dialogue, row, err));
    DI_TRY(di_schema_extras(s, row, err));
    row->identical = row->kind == DI_ROW_PAIR && same_text(&row->text[0], &row->text[1]);
    if (s->drop_labels && row->n_texts > 1) forget_order(row, s->seed);
    s->def = def;
done:
    return st;
}
