/* --help, made from the option table: what the program takes and what it says cannot differ. */
#include "cmd.h"

#include <string.h>

enum { HELP_COLUMN = 26, WIDTH = 80 };

/* What a value is, where the type alone does not say it. */
static const struct {
    const char *flag, *value;
} value_names[] = {
    {"base", "MODEL"},      {"model", "MODEL"},
    {"compare", "RUN"},     {"runs", "RUN"},
    {"resume-from", "RUN"}, {"run", "RUN"},
    {"source", "FILE"},     {"target", "FILE"},
    {"data", "FILE"},       {"eval", "NAME=FILE"},
    {"out", "PATH"},        {"summary", "FILE"},
    {"scores", "FILE"},     {"config", "FILE"},
    {"length", "TOKENS"},   {"columns", "KEY=COLUMN,..."},
    {"method", "NAME"},     {"grid", "FILE"},
    {"store", "FILE"},      {"flag", "NAME=VALUE"},
    {"publish", "LINK"},    {"labelled", "FILE"},
};

/* Choices that fill a line stand in the text instead of beside the flag. */
static int is_long_list(const dial_option *row)
{
    return row->choices != NULL && strlen(row->choices) > WIDTH - HELP_COLUMN;
}

const char *cmd_value_name(const dial_option *row)
{
    if (row->choices != NULL && !is_long_list(row)) return row->choices;
    for (size_t i = 0; i < sizeof value_names / sizeof *value_names; i++)
        if (strcmp(value_names[i].flag, row->name) == 0) return value_names[i].value;
    switch (row->type) {
    case DIAL_OPT_BOOL: return "";
    case DIAL_OPT_INT: return "N";
    case DIAL_OPT_SIZE: return "SIZE";
    case DIAL_OPT_REAL: return "X";
    case DIAL_OPT_TEXT:
    case DIAL_OPT_LIST: return "TEXT";
    }
    return "";
}

/* Words of text from column `at` on, broken before WIDTH; ends the line. */
static void put_wrapped(FILE *out, const char *text, int at)
{
    while (*text != '\0') {
        int n = (int)strcspn(text, " ");

        if (at > HELP_COLUMN && at + 1 + n > WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            at = HELP_COLUMN;
        } else if (at > HELP_COLUMN) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", n, text);
        at += n;
        text += n;
        while (*text == ' ') text++;
    }
    fputc('\n', out);
}

static void put_row(FILE *out, const dial_option *row)
{
    const char *value = cmd_value_name(row), *initial = row->initial;
    int yes = row->type == DIAL_OPT_BOOL && initial != NULL && strcmp(initial, "yes") == 0;
    int n = fprintf(out, "  --%s%s%s%s%s", yes ? "no-" : "", row->name, value[0] != '\0' ? " " : "",
                    value, row->type == DIAL_OPT_LIST ? ",..." : "");
    char help[512];

    if (n >= HELP_COLUMN - 1) {
        fputc('\n', out);
        n = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - n, "");
    if (initial != NULL && row->type != DIAL_OPT_BOOL)
        snprintf(help, sizeof help, "%s [%s]", row->help, initial);
    else
        snprintf(help, sizeof help, "%s", row->help);
    if (is_long_list(row)) {
        size_t end = strlen(help);

        snprintf(help + end, sizeof help - end, "; one of %s", row->choices);
        for (char *c = help + end; *c != '\0'; c++) *c = *c == '|' ? ' ' : *c;
    }
    put_wrapped(out, help, HELP_COLUMN);
}

const char *cmd_group_title(const cmd_verb *verb, const char *first)
{
    for (const cmd_group *g = verb->groups; g != NULL && g->first != NULL; g++)
        if (strcmp(g->first, first) == 0) return g->title;
    return NULL;
}

void cmd_help(FILE *out, const cmd_verb *verb)
{
    int shared = 0, first = 1;

    fprintf(out, "usage: dial %s %s\n\n%s\n", verb->name, verb->usage, verb->purpose);
    for (const dial_option *row = verb->table; row->name != NULL; row++) {
        const char *title = cmd_group_title(verb, row->name);

        if (!shared && row->offset < sizeof(dial_common_options)) {
            shared = 1;
            title = "Shared by all verbs:";
        } else if (first && title == NULL)
            title = "Flags:";
        first = 0;
        if (title != NULL) fprintf(out, "\n%s\n", title);
        if (row->help != NULL) put_row(out, row);
    }
    fprintf(out, "\nThe program:\n");
    for (const dial_option *row = cmd_settings_table; row->name != NULL; row++) put_row(out, row);
    fprintf(out, "\nExample:\n  %s\n", verb->example);
}
