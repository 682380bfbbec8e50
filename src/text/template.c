#include "text/template.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "text/jinja_impl.h"

enum { SYSTEM, USER, ASSISTANT, ROLES };

static const char *const role_name[ROLES] = {"system", "user", "assistant"};

/* A template as a table: what stands before and behind the text of each role. */
typedef struct table {
    char *before[ROLES], *behind[ROLES]; /* NULL: the role has no turn of its own */
    int bos;                             /* the text begins with BOS */
    char *default_system;                /* where the dialogue has no system turn; NULL: none */
    char *into_user; /* the system turn opens the next user turn, this in between; NULL: it is a
                        turn of its own */
    unsigned trim;   /* bit of each role whose text loses white space at both ends */
} table;

struct di_template {
    const di_alloc *al;
    char name[DI_TEMPLATE_NAME];
    char *bos, *eos; /* NULL: the tokenizer has none */
    table table;
    di_jinja *jinja;  /* in place of the table */
    json_t *def;      /* NULL: a named one */
    char *why, *hint; /* refusing */
};

/* --- the named ones --------------------------------------------------------------------------- */

/* In these strings \x01 is BOS and \x02 is EOS. */
typedef struct named {
    const char *name;
    const char *around[ROLES][2];
    const char *into_user;
    int bos;
    unsigned trim;
} named;

enum { TRIM_ALL = 7, TRIM_ASSISTANT = 1 << ASSISTANT, TRIM_DIALOGUE = 1 << USER | 1 << ASSISTANT };

#define CHATML                                                                                     \
    {"<|im_start|>system\n", "<|im_end|>\n"}, {"<|im_start|>user\n", "<|im_end|>\n"},              \
    {                                                                                              \
        "<|im_start|>assistant\n", "<|im_end|>\n"                                                  \
    }

static const named table_of[] = {
    {"chatml", {CHATML}, NULL, 0, 0},
    {"qwen", {CHATML}, NULL, 0, 0},
    {"llama2",
     {{"<<SYS>>\n", "\n<</SYS>>\n\n"}, {"\x01[INST] ", " [/INST]"}, {" ", " \x02"}},
     "",
     0,
     0},
    {"llama3",
     {{"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
      {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
      {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"}},
     NULL,
     1,
     TRIM_ALL},
    {"gemma",
     {{"", ""},
      {"<start_of_turn>user\n", "<end_of_turn>\n"},
      {"<start_of_turn>model\n", "<end_of_turn>\n"}},
     "\n\n",
     1,
     TRIM_DIALOGUE},
    {"mistral-v1", {{"", ""}, {" [INST] ", " [/INST]"}, {" ", "\x02"}}, "\n\n", 1, 0},
    {"mistral-v3", {{"", ""}, {"[INST] ", "[/INST]"}, {" ", "\x02"}}, "\n\n", 1, TRIM_ASSISTANT},
    {"zephyr",
     {{"<|system|>\n", "\x02\n"}, {"<|user|>\n", "\x02\n"}, {"<|assistant|>\n", "\x02\n"}},
     NULL,
     0,
     0},
};

enum { N_NAMED = sizeof table_of / sizeof *table_of };

const char *di_template_names(void)
{
    return "chatml, qwen, llama2, llama3, gemma, mistral-v1, mistral-v3, zephyr";
}

/* --- making and freeing ----------------------------------------------------------------------- */

void di_template_free(di_template *t)
{
    if (t == NULL) return;
    for (int r = 0; r < ROLES; r++) {
        di_free(t->al, t->table.before[r]);
        di_free(t->al, t->table.behind[r]);
    }
    di_free(t->al, t->table.default_system);
    di_free(t->al, t->table.into_user);
    di_free(t->al, t->bos);
    di_free(t->al, t->eos);
    di_free(t->al, t->why);
    di_free(t->al, t->hint);
    di_jinja_free(t->jinja);
    json_decref(t->def);
    di_free(t->al, t);
}

/* The string of a special token; -1: *out stays NULL. */
static dial_status token_string(const di_alloc *al, const di_tokenizer *tok, int32_t id, char **out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    di_str s;

    if (id < 0) goto done;
    s = di_tokenizer_token(tok, id);
    *out = di_strndup(al, s.data, s.size);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
done:
    return st;
}

/* tok NULL: without BOS and EOS. */
static dial_status create(const di_alloc *al, const char *name, const di_tokenizer *tok,
                          di_template **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_template *t = di_zalloc(al, sizeof *t);

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    t->al = al;
    snprintf(t->name, sizeof t->name, "%s", name);
    if (tok != NULL) {
        DI_TRY(token_string(al, tok, di_tokenizer_get_info(tok)->bos, &t->bos, err));
        DI_TRY(token_string(al, tok, di_tokenizer_get_info(tok)->eos, &t->eos, err));
    }
    *out = t;
    t = NULL;
done:
    di_template_free(t);
    return st;
}

/* A copy in which \x01 and \x02 have become BOS and EOS. */
static dial_status expand(const di_template *t, const char *s, char **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf b;

    di_buf_init(&b, t->al);
    di_buf_append(&b, "", 0);
    for (; *s != '\0'; s++) {
        const char *token = *s == '\x01' ? t->bos : *s == '\x02' ? t->eos : NULL;

        if (token != NULL)
            di_buf_append(&b, token, strlen(token));
        else if (*s > '\x02' || *s < 0)
            di_buf_append(&b, s, 1);
    }
    *out = di_buf_take(&b);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
done:
    di_buf_deinit(&b);
    return st;
}

dial_status di_template_named(const di_alloc *al, const char *name, const di_tokenizer *tok,
                              di_template **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_template *t = NULL;
    int k = 0;

    *out = NULL;
    while (k < N_NAMED && strcmp(table_of[k].name, name) != 0) k++;
    if (k == N_NAMED) goto done;
    DI_TRY(create(al, name, tok, &t, err));
    t->table.bos = table_of[k].bos;
    t->table.trim = table_of[k].trim;
    for (int r = 0; r < ROLES; r++) {
        DI_TRY(expand(t, table_of[k].around[r][0], &t->table.before[r], err));
        DI_TRY(expand(t, table_of[k].around[r][1], &t->table.behind[r], err));
    }
    if (table_of[k].into_user != NULL)
        DI_TRY(expand(t, table_of[k].into_user, &t->table.into_user, err));
    *out = t;
    t = NULL;
done:
    di_template_free(t);
    return st;
}

dial_status di_template_from_jinja(const di_alloc *al, const char *name, const char *source,
                                   size_t n, const di_tokenizer *tok, di_template **out,
                                   dial_error *err)
{
    dial_status st = DIAL_OK;
    di_template *t = NULL;

    DI_TRY(create(al, name, tok, &t, err));
    DI_TRY(di_jinja_parse(al, name, source, n, &t->jinja, err));
    t->def = json_pack("{s:s, s:s%}", "name", name, "jinja", source, n);
    if (t->def == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    *out = t;
    t = NULL;
done:
    di_template_free(t);
    return st;
}

dial_status di_template_refusing(const di_alloc *al, const char *why, const char *hint,
                                 di_template **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_template *t = NULL;

    DI_TRY(create(al, "model", NULL, &t, err));
    t->why = di_strdup(al, why);
    t->hint = di_strdup(al, hint);
    if (t->why == NULL || t->hint == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    *out = t;
    t = NULL;
done:
    di_template_free(t);
    return st;
}

const char *di_template_name(const di_template *t)
{
    return t->name;
}

json_t *di_template_to_json(const di_template *t)
{
    return t->def != NULL ? json_incref(t->def) : json_null();
}

/* --- a JSON file ------------------------------------------------------------------------------ */

static const char FORM[] =
    "{\"name\": \"mine\", \"bos\": true, \"system\": [\"<sys>\", \"</sys>\"], \"user\": [..], "
    "\"assistant\": [..], \"default_system\": null, \"system_into_user\": null, \"trim\": false}";

static dial_status boolean(const json_t *v, const char *key, const char *where, int *out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *x = json_object_get(v, key);

    if (!json_is_boolean(x))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, FORM, "%s: expected true or false", key);
    *out = json_is_true(x);
done:
    return st;
}

/* A string, copied; null and absent leave *out NULL. */
static dial_status optional(const di_template *t, const json_t *v, const char *key,
                            const char *where, char **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *x = json_object_get(v, key);

    if (x == NULL || json_is_null(x)) goto done;
    if (!json_is_string(x))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, FORM, "%s: expected a string or null", key);
    *out = di_strdup(t->al, json_string_value(x));
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
done:
    return st;
}

static dial_status around(di_template *t, const json_t *v, int role, const char *where,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *x = json_object_get(v, role_name[role]);

    if (role == SYSTEM && (x == NULL || json_is_null(x))) goto done;
    if (json_array_size(x) != 2 || !json_is_string(json_array_get(x, 0)) ||
        !json_is_string(json_array_get(x, 1)))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, FORM,
                   "%s: expected two strings, what stands before and behind such a turn",
                   role_name[role]);
    t->table.before[role] = di_strdup(t->al, json_string_value(json_array_get(x, 0)));
    t->table.behind[role] = di_strdup(t->al, json_string_value(json_array_get(x, 1)));
    if (t->table.before[role] == NULL || t->table.behind[role] == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
done:
    return st;
}

static dial_status read_table(di_template *t, const json_t *v, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const keys[] = {
        "name", "bos", "system", "user", "assistant", "default_system", "system_into_user", "trim"};
    const char *key;
    json_t *x;
    int trim = 0;

    json_object_foreach ((json_t *)(uintptr_t)v, key, x) {
        size_t k = 0;

        while (k < sizeof keys / sizeof *keys && strcmp(keys[k], key) != 0) k++;
        if (k == sizeof keys / sizeof *keys)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, FORM, "the key \"%s\" is not known", key);
    }
    DI_TRY(boolean(v, "bos", where, &t->table.bos, err));
    for (int r = 0; r < ROLES; r++) DI_TRY(around(t, v, r, where, err));
    DI_TRY(optional(t, v, "default_system", where, &t->table.default_system, err));
    DI_TRY(optional(t, v, "system_into_user", where, &t->table.into_user, err));
    DI_TRY(boolean(v, "trim", where, &trim, err));
    t->table.trim = trim ? TRIM_ALL : 0;
    if (t->table.into_user != NULL && t->table.before[SYSTEM] == NULL) {
        t->table.before[SYSTEM] = di_strdup(t->al, "");
        t->table.behind[SYSTEM] = di_strdup(t->al, "");
        if (t->table.before[SYSTEM] == NULL || t->table.behind[SYSTEM] == NULL)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    }
done:
    return st;
}

dial_status di_template_from_json(const di_alloc *al, const json_t *v, const char *where,
                                  const di_tokenizer *tok, di_template **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_template *t = NULL;
    const char *name = json_string_value(json_object_get(v, "name"));
    const json_t *jinja = json_object_get(v, "jinja");

    if (!json_is_object(v) || name == NULL || name[0] == '\0' || strlen(name) >= DI_TEMPLATE_NAME)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, FORM, "name: expected a string of 1 to %d bytes",
                   DI_TEMPLATE_NAME - 1);
    if (json_is_string(jinja)) {
        DI_TRY(di_template_from_jinja(al, name, json_string_value(jinja), json_string_length(jinja),
                                      tok, out, err));
        goto done;
    }
    DI_TRY(create(al, name, tok, &t, err));
    DI_TRY(read_table(t, v, where, err));
    t->def = json_deep_copy(v);
    if (t->def == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    *out = t;
    t = NULL;
done:
    di_template_free(t);
    return st;
}

/* --- roles ------------------------------------------------------------------------------------ */

const char *di_role_name(const char *role)
{
    static const char *const names[][2] = {
        {"system", "system"}, {"user", "user"},       {"human", "user"}, {"assistant", "assistant"},
        {"gpt", "assistant"}, {"model", "assistant"}, {"tool", "tool"},
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], role) == 0) return names[i][1];
    return NULL;
}

/* --- rendering -------------------------------------------------------------------------------- */

static void put(di_buf *out, const char *s)
{
    di_buf_append(out, s, strlen(s));
}

static di_str content_of(const table *t, int role, di_str s)
{
    return (t->trim >> role & 1) != 0 ? di_strip(s, DI_STRIP_BOTH) : s;
}

static void put_turn(const table *t, int role, di_str content, di_buf *out)
{
    di_str s = content_of(t, role, content);

    put(out, t->before[role]);
    di_buf_append(out, s.data, s.size);
    put(out, t->behind[role]);
}

static dial_status no_turn(const di_template *t, const char *role, dial_error *err)
{
    return di_error_set(err, DIAL_ERR_INPUT, __FILE__, __LINE__, NULL,
                        "pass another --template, or leave such rows out",
                        "template_failed: the template %s has no turn for the role %s here",
                        t->name, role);
}

static int role_of(const char *name)
{
    int r = 0;

    while (r < ROLES && strcmp(role_name[r], name) != 0) r++;
    return r;
}

/* A user turn, with the system text that is to open it (where into_user says how), or none. */
static void put_user(const table *t, const di_str *system, di_str content, di_buf *out)
{
    di_str s = content_of(t, USER, content);

    put(out, t->before[USER]);
    if (system != NULL && t->into_user != NULL) {
        put(out, t->before[SYSTEM]);
        di_buf_append(out, system->data, system->size);
        put(out, t->behind[SYSTEM]);
        put(out, t->into_user);
    }
    di_buf_append(out, s.data, s.size);
    put(out, t->behind[USER]);
}

static dial_status render_table(const di_template *t, const di_turn *turn, size_t n, di_buf *out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    const table *x = &t->table;
    di_str standard = {x->default_system,
                       x->default_system != NULL ? strlen(x->default_system) : 0};
    const di_str *system = NULL; /* waits for the next user turn */

    if (x->bos && t->bos != NULL) put(out, t->bos);
    if (x->default_system != NULL && (n == 0 || role_of(turn[0].role) != SYSTEM)) {
        if (x->into_user != NULL)
            system = &standard;
        else if (x->before[SYSTEM] == NULL)
            DI_TRY(no_turn(t, role_name[SYSTEM], err));
        else
            put_turn(x, SYSTEM, standard, out);
    }
    for (size_t i = 0; i < n; i++) {
        int role = role_of(turn[i].role);

        if (role == ROLES || x->before[role] == NULL ||
            (system != NULL && role != USER)) /* it opens a user turn, and there is none */
            DI_TRY(no_turn(t, turn[i].role, err));
        if (role == SYSTEM && x->into_user != NULL) {
            system = &turn[i].content;
        } else if (role == USER) {
            put_user(x, system, turn[i].content, out);
            system = NULL;
        } else {
            put_turn(x, role, turn[i].content, out);
        }
    }
    if (system != NULL) DI_TRY(no_turn(t, role_name[SYSTEM], err));
    DI_TRY(di_buf_status(out, err));
done:
    return st;
}

dial_status di_template_render(const di_template *t, const di_turn *turn, size_t n, di_buf *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_jinja_tokens tokens = {.bos = {t->bos, t->bos != NULL ? strlen(t->bos) : 0},
                              .eos = {t->eos, t->eos != NULL ? strlen(t->eos) : 0}};

    if (t->why != NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, NULL, t->hint, "template_failed: %s", t->why);
    if (t->jinja != NULL) return di_jinja_render(t->jinja, turn, n, &tokens, out, err);
    DI_TRY(render_table(t, turn, n, out, err));
done:
    return st;
}
