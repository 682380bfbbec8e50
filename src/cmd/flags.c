/*
 * From argv and a config file to an options struct, by the tables that also make the help. First
 * all values are collected, then they are applied by strength: default < preset < config file <
 * command line. (No environment variable of dial stands for a flag.)
 */
#include "cmd.h"

#include <stddef.h>
#include <string.h>

#include "config.h"

/* clang-format off */
const dial_option cmd_settings_table[] = {
    {"json",         DIAL_OPT_BOOL, offsetof(cmd_settings, json),         "no",   NULL, "print the result as JSON on stdout (the default unless stdout is a terminal)"},
    {"text",         DIAL_OPT_BOOL, offsetof(cmd_settings, text),         "no",   NULL, "print the result for people on stdout"},
    {"quiet",        DIAL_OPT_BOOL, offsetof(cmd_settings, quiet),        "no",   NULL, "no progress and no log lines; errors still print"},
    {"verbose",      DIAL_OPT_BOOL, offsetof(cmd_settings, verbose),      "no",   NULL, "more log lines, with the time of each phase"},
    {"color",        DIAL_OPT_TEXT, offsetof(cmd_settings, color),        "auto", "auto|always|never", "colour on stderr; auto: on a terminal, unless NO_COLOR is set"},
    {"config",       DIAL_OPT_TEXT, offsetof(cmd_settings, config),       NULL,   NULL, "flags from a .json or .toml file; the command line is stronger"},
    {"print-config", DIAL_OPT_BOOL, offsetof(cmd_settings, print_config), "no",   NULL, "print all flags of this call as JSON, fit for --config, and do nothing"},
    {"help",         DIAL_OPT_BOOL, offsetof(cmd_settings, help),         "no",   NULL, "this page"},
    {NULL, DIAL_OPT_TEXT, 0, NULL, NULL, NULL}
};
/* clang-format on */

const char *cmd_keep(cmd_call *call, const char *text, size_t n)
{
    json_t *s = json_stringn(text, n);

    if (s == NULL || json_array_append_new(call->kept, s) != 0) return NULL;
    return json_string_value(s);
}

/* Are the n bytes of a the name b, '_' and '-' being equal? */
static int names_equal(const char *a, size_t n, const char *b)
{
    for (size_t i = 0; i < n; i++) {
        char x = a[i] == '_' ? '-' : a[i];

        if (b[i] == '\0' || x != (b[i] == '_' ? '-' : b[i])) return 0;
    }
    return b[n] == '\0';
}

/* The row of that name; of aliases (same member) the first, so that one flag is one row. */
static const dial_option *find(const dial_option *table, const char *name, size_t n)
{
    const dial_option *row, *first;

    for (row = table; row->name != NULL; row++)
        if (names_equal(name, n, row->name)) break;
    if (row->name == NULL) return NULL;
    for (first = table; first->offset != row->offset;) first++;
    return first;
}

static const dial_option *find_row(const cmd_call *call, const char *name, size_t n)
{
    const dial_option *row = find(call->verb->table, name, n);

    if (row == NULL) row = find(cmd_settings_table, name, n);
    return row == NULL && call->verb->passed != NULL ? find(call->verb->passed, name, n) : row;
}

static dial_status unknown_flag(const cmd_call *call, const char *name, const char *where,
                                dial_error *err)
{
    cmd_nearest best = {name, NULL, 0};
    const char *known;
    char hint[80];

    for (const dial_option *r = call->verb->table; r->name != NULL; r++)
        cmd_nearest_offer(&best, r->name);
    for (const dial_option *r = cmd_settings_table; r->name != NULL; r++)
        cmd_nearest_offer(&best, r->name);
    for (const dial_option *r = call->verb->passed; r != NULL && r->name != NULL; r++)
        cmd_nearest_offer(&best, r->name);
    known = cmd_nearest_name(&best);
    if (known != NULL)
        snprintf(hint, sizeof hint, "--%s", known);
    else
        snprintf(hint, sizeof hint, "dial %s --help lists the flags", call->verb->name);
    return cmd_fail(err, DIAL_ERR_USAGE, where, hint, "there is no flag --%.60s", name);
}

/* Where a value stands, for errors: "--steps" or "FILE:3: steps". */
static const char *place(const cmd_call *call, const cmd_value *v, char *out, size_t size)
{
    if (v->line > 0)
        snprintf(out, size, "%.200s:%d: %s", call->settings.config, v->line, v->row->name);
    else
        snprintf(out, size, "--%s", v->row->name);
    return out;
}

/* Two texts for one value: does it matter which of them holds? */
static int equal_values(const dial_option *row, const char *a, const char *b)
{
    dial_option at_start = *row;
    union {
        int yes;
        int64_t whole;
        double real;
    } x = {.whole = 0}, y = {.whole = 0};

    if (strcmp(a, b) == 0) return 1;
    if (row->type == DIAL_OPT_TEXT) return 0;
    at_start.offset = 0;
    if (dial_option_set(&at_start, &x, a, NULL) != DIAL_OK ||
        dial_option_set(&at_start, &y, b, NULL) != DIAL_OK)
        return 0;
    if (row->type == DIAL_OPT_BOOL) return x.yes == y.yes;
    return row->type == DIAL_OPT_REAL ? x.real == y.real : x.whole == y.whole;
}

static int in_table(const dial_option *table, const dial_option *row)
{
    for (const dial_option *r = table; r != NULL && r->name != NULL; r++)
        if (r == row) return 1;
    return 0;
}

/* A flag of another verb is a value of --flag: NAME=VALUE. */
static const char *pass_on(cmd_call *call, const dial_option **row, const char *text)
{
    json_t *whole = json_sprintf("%s=%s", (*row)->name, text);
    const char *kept = NULL;

    if (whole != NULL) kept = cmd_keep(call, json_string_value(whole), json_string_length(whole));
    json_decref(whole);
    *row = find(call->verb->table, "flag", 4);
    return kept;
}

/* Adds one value; a flag that is no list may come twice only with the same value. */
static dial_status add(cmd_call *call, const dial_option *row, const char *text, int line,
                       dial_error *err)
{
    cmd_value v;
    char where[320];

    if (text != NULL && in_table(call->verb->passed, row)) text = pass_on(call, &row, text);
    v = (cmd_value){row, text, line};
    if (text == NULL)
        return cmd_fail(err, DIAL_ERR_USAGE, place(call, &v, where, sizeof where),
                        "write it in UTF-8", "the value is not valid UTF-8");
    if (row->type != DIAL_OPT_LIST)
        for (int i = 0; i < call->n_values; i++) {
            const cmd_value *u = &call->value[i];

            if (u->row == row && (u->line > 0) == (line > 0) && !equal_values(row, u->text, text))
                return cmd_fail(err, DIAL_ERR_USAGE, place(call, &v, where, sizeof where),
                                "give it once", "given twice, as '%.100s' and as '%.100s'", u->text,
                                text);
        }
    if (call->n_values == CMD_MAX_VALUES)
        return cmd_fail(err, DIAL_ERR_USAGE, place(call, &v, where, sizeof where),
                        "put the rows into fewer files", "more than %d values", CMD_MAX_VALUES);
    call->value[call->n_values++] = v;
    return DIAL_OK;
}

/* Adds a value; the text of a list is split at its commas. */
static dial_status add_split(cmd_call *call, const dial_option *row, const char *text, int line,
                             dial_error *err)
{
    dial_status st = DIAL_OK;

    if (row->type != DIAL_OPT_LIST || strchr(text, ',') == NULL)
        return add(call, row, text, line, err);
    for (const char *end = text; st == DIAL_OK && end != NULL; text = end + 1) {
        size_t n = strcspn(text, ",");

        end = strchr(text, ',');
        st = add(call, row, cmd_keep(call, text, n), line, err);
        if (end == NULL) break;
    }
    return st;
}

/* ---- config file ---- */

/* A scalar as the text that it would be on the command line; NULL: an array, or no memory. */
static const char *as_text(cmd_call *call, const json_t *value)
{
    char number[40];

    switch (json_typeof(value)) {
    case JSON_STRING: return json_string_value(value);
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        return cmd_keep(call, number, strlen(number));
    case JSON_REAL:
        snprintf(number, sizeof number, "%.17g", json_real_value(value));
        return cmd_keep(call, number, strlen(number));
    default: return NULL;
    }
}

/* [256, 128] for a flag whose text is "256,128"; NULL: not only scalars, or too long. */
static const char *join(cmd_call *call, const json_t *array)
{
    char all[1024] = "";
    size_t i, used = 0;
    json_t *one;

    json_array_foreach (array, i, one) {
        const char *text = as_text(call, one);

        if (text == NULL || used + strlen(text) + 2 > sizeof all) return NULL;
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? "," : "", text);
    }
    return cmd_keep(call, all, used);
}

static dial_status config_entry(void *ctx, const char *key, const json_t *value, int line,
                                dial_error *err)
{
    cmd_call *call = ctx;
    const dial_option *row = find_row(call, key, strlen(key));
    char where[320];
    const char *text;
    size_t i;
    json_t *one;
    dial_status st = DIAL_OK;

    snprintf(where, sizeof where, "%.200s:%d: %.90s", call->settings.config, line, key);
    if (row == NULL) return unknown_flag(call, key, where, err);
    if (strcmp(row->name, "config") == 0 || strcmp(row->name, "print-config") == 0 ||
        strcmp(row->name, "help") == 0)
        return cmd_fail(err, DIAL_ERR_USAGE, where, "give it on the command line",
                        "this flag has no place in a config file");
    if (json_is_null(value)) return DIAL_OK;
    for (int k = 0; k < call->n_values; k++)
        if (call->value[k].row == row && call->value[k].line > 0)
            return cmd_fail(err, DIAL_ERR_USAGE, where, "keep one of them",
                            "the key stands in line %d already", call->value[k].line);
    if (row->type == DIAL_OPT_LIST && json_is_array(value)) {
        json_array_foreach (value, i, one) {
            text = as_text(call, one);
            if (text == NULL)
                return cmd_fail(err, DIAL_ERR_USAGE, where, "write [\"a\", \"b\"]",
                                "expected an array of strings");
            text = cmd_keep(call, text, strlen(text));
            if ((st = add(call, row, text, line, err)) != DIAL_OK) return st;
        }
        return DIAL_OK;
    }
    text = json_is_array(value) ? join(call, value) : as_text(call, value);
    if (text == NULL)
        return cmd_fail(err, DIAL_ERR_USAGE, where, "write a string, a number, true or false",
                        "expected a plain value");
    text = cmd_keep(call, text, strlen(text)); /* the document goes away */
    return text != NULL ? add_split(call, row, text, line, err) : add(call, row, NULL, line, err);
}

/* ---- command line ---- */

static dial_status word(cmd_call *call, const char *text, dial_error *err)
{
    int most = call->verb->max_words;

    if (call->n_words < most) {
        call->word[call->n_words++] = text;
        return DIAL_OK;
    }
    if (call->n_values > 0 && call->value[call->n_values - 1].row->type == DIAL_OPT_BOOL) {
        const char *name = call->value[call->n_values - 1].row->name;
        char hint[160];

        snprintf(hint, sizeof hint, "--%s or --no-%s, without a value", name, name);
        return cmd_fail(err, DIAL_ERR_USAGE, text, hint, "unexpected argument");
    }
    return cmd_fail(err, DIAL_ERR_USAGE, text, "name the flag that it belongs to",
                    "unexpected argument");
}

/* argv[*i] starts with "--"; takes the next one too where the flag needs it. */
static dial_status flag(cmd_call *call, int n, char **argv, int *i, dial_error *err)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '='), *text;
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const dial_option *row = find_row(call, name, len);
    char whole[80], where[90];

    if (row == NULL && len > 3 && names_equal(name, 3, "no-")) {
        row = find_row(call, name + 3, len - 3);
        if (row != NULL && row->type == DIAL_OPT_BOOL && equals == NULL)
            return add(call, row, "no", 0, err);
        row = NULL;
    }
    snprintf(whole, sizeof whole, "%.*s", (int)(len < 70 ? len : 70), name);
    snprintf(where, sizeof where, "--%s", whole);
    if (row == NULL) return unknown_flag(call, whole, NULL, err);
    if (equals != NULL)
        text = equals + 1;
    else if (row->type == DIAL_OPT_BOOL)
        text = "yes";
    else if (*i + 1 == n)
        return cmd_fail(err, DIAL_ERR_USAGE, where, NULL, "a value must follow");
    else if (strncmp(argv[*i + 1], "--", 2) == 0 && argv[*i + 1][2] != '\0') {
        char hint[200];

        snprintf(hint, sizeof hint, "%s=%.60s if that is the value", where, argv[*i + 1]);
        return cmd_fail(err, DIAL_ERR_USAGE, where, hint, "a value must follow, found '%.60s'",
                        argv[*i + 1]);
    } else
        text = argv[++*i];
    return add_split(call, row, text, 0, err);
}

static dial_status read_command_line(cmd_call *call, int n, char **argv, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int i = 0; st == DIAL_OK && i < n; i++) {
        if (strcmp(argv[i], "-h") == 0)
            st = add(call, find(cmd_settings_table, "help", 4), "yes", 0, err);
        else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0')
            st = flag(call, n, argv, &i, err);
        else if (argv[i][0] == '-' && argv[i][1] != '\0')
            st = unknown_flag(call, argv[i] + 1, argv[i], err);
        else
            st = word(call, argv[i], err);
    }
    return st;
}

/* ---- applying ---- */

/* The values of one source, in the order of the table: the items of a list lie side by side. */
static dial_status apply(cmd_call *call, const dial_option *table, void *options, int from_config,
                         dial_error *err)
{
    for (const dial_option *row = table; row->name != NULL; row++) {
        dial_list *list = row->type == DIAL_OPT_LIST
                              ? (dial_list *)(void *)((char *)options + row->offset)
                              : NULL;
        int first = 1;

        for (int i = 0; i < call->n_values; i++) {
            const cmd_value *v = &call->value[i];
            dial_status st;

            if (v->row != row || (v->line > 0) != from_config) continue;
            if (list != NULL && first) {
                list->item = call->item + call->n_items;
                list->n = 0;
                first = 0;
            }
            if (list != NULL && v->text[0] == '\0')
                st = cmd_fail(err, DIAL_ERR_USAGE, NULL, NULL, "an empty entry in the list");
            else
                st = dial_option_set(row, options, v->text, err);
            if (st != DIAL_OK) {
                place(call, v, err->where, sizeof err->where);
                return st;
            }
            call->n_items += list != NULL;
        }
    }
    return DIAL_OK;
}

/* The value of a flag of train that stands for many, the command line's before the file's; or
 * NULL. */
static const cmd_value *strongest(const cmd_call *call, const char *name)
{
    const dial_option *row = find(dial_train_table, name, strlen(name));
    const cmd_value *chosen = NULL;

    for (int i = 0; row != NULL && i < call->n_values; i++) {
        const cmd_value *v = &call->value[i];

        if (v->row == row && (chosen == NULL || v->line == 0)) chosen = v;
    }
    return chosen;
}

/* The settings of the run that --resume-from names are weaker than a preset. */
static dial_status apply_run(cmd_call *call, dial_error *err)
{
    const cmd_value *chosen = strongest(call, "resume-from");

    if (chosen == NULL) return DIAL_OK;
    dial_free(&call->env, call->run_text);
    call->run_text = NULL;
    return dial_run_options_apply(chosen->text, &call->options.train, &call->env, &call->run_text,
                                  err);
}

/* The preset is weaker than all single values, so it is looked up before they are applied. */
static dial_status apply_preset(cmd_call *call, dial_error *err)
{
    const cmd_value *chosen = strongest(call, "preset");
    dial_status st = DIAL_OK;

    if (chosen != NULL) st = dial_preset_apply(chosen->text, &call->options.train, err);
    if (st != DIAL_OK) place(call, chosen, err->where, sizeof err->where);
    return st;
}

static dial_status apply_all(cmd_call *call, dial_error *err)
{
    const dial_option *table = call->verb->table;
    dial_status st = DIAL_OK;

    call->n_items = 0;
    dial_options_default(table, &call->options, call->verb->size);
    if (table == dial_train_table) st = apply_run(call, err);
    if (table == dial_train_table && st == DIAL_OK) st = apply_preset(call, err);
    if (st == DIAL_OK) st = apply(call, table, &call->options, 1, err);
    if (st == DIAL_OK) st = apply(call, table, &call->options, 0, err);
    return st;
}

static dial_status apply_settings(cmd_call *call, dial_error *err)
{
    cmd_settings *s = &call->settings;
    const char *config = s->config;
    dial_status st;

    dial_options_default(cmd_settings_table, s, sizeof *s);
    s->config = config; /* errors name it */
    st = apply(call, cmd_settings_table, s, 1, err);
    if (st == DIAL_OK) st = apply(call, cmd_settings_table, s, 0, err);
    if (st == DIAL_OK && s->json && s->text)
        st =
            cmd_fail(err, DIAL_ERR_USAGE, "--json, --text", "one of them", "stdout takes one form");
    return st;
}

/* names: "a|b", one of which has to be given. */
static int is_given(const cmd_call *call, const char *names)
{
    for (const char *at = names; at != NULL; at = strchr(at, '|')) {
        size_t n = strcspn(at += *at == '|', "|");

        for (int i = 0; i < call->n_values; i++) {
            const char *name = call->value[i].row->name;

            if (strncmp(name, at, n) == 0 && name[n] == '\0') return 1;
        }
    }
    return 0;
}

static dial_status check_required(const cmd_call *call, dial_error *err)
{
    char missing[160] = "", hint[80];

    for (const char *const *name = call->verb->required; name != NULL && *name != NULL; name++) {
        size_t n = strlen(missing);

        if (!is_given(call, *name))
            snprintf(missing + n, sizeof missing - n, "%s--%.*s", n > 0 ? ", " : "",
                     (int)strcspn(*name, "|"), *name);
    }
    if (missing[0] == '\0') return DIAL_OK;
    snprintf(hint, sizeof hint, "dial %s --help", call->verb->name);
    return cmd_fail(err, DIAL_ERR_USAGE, missing, hint, "required and not given");
}

dial_status cmd_flags_parse(cmd_call *call, int n, char **argv, dial_error *err)
{
    dial_status st = read_command_line(call, n, argv, err);

    if (st == DIAL_OK) st = apply_settings(call, err);
    if (st != DIAL_OK || call->settings.help) return st;
    if (call->settings.config != NULL) {
        st = config_read(call->settings.config, config_entry, call, err);
        if (st == DIAL_OK) st = apply_settings(call, err);
    }
    if (st == DIAL_OK) st = apply_all(call, err);
    if (st == DIAL_OK && !call->settings.print_config) st = check_required(call, err);
    return st;
}
