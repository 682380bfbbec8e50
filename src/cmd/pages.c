/*
 * Man pages and shell completion, printed by `dial --page NAME` while dial is built: from the
 * tables that drive the command line, so that they cannot say anything else.
 */
#include "cmd.h"

#include <stddef.h>
#include <string.h>

typedef struct pages {
    FILE *out;
    const cmd_verb *const *verb;
    int n;
} pages;

/* Calls put for every flag of a verb, then for those of the program; aliases are left out. */
static void each_flag(const cmd_verb *verb, void (*put)(void *ctx, const dial_option *row),
                      void *ctx)
{
    for (const dial_option *row = verb->table; row->name != NULL; row++)
        if (row->help != NULL) put(ctx, row);
    for (const dial_option *row = cmd_settings_table; row->name != NULL; row++) put(ctx, row);
}

static int is_on(const dial_option *row)
{
    return row->type == DIAL_OPT_BOOL && row->initial != NULL && strcmp(row->initial, "yes") == 0;
}

/* As a user types it: a switch that is on by default is there to be turned off. */
static void put_flag(FILE *out, const dial_option *row)
{
    fprintf(out, "%s%s", is_on(row) ? "no-" : "", row->name);
}

static void put_choices(FILE *out, const char *choices)
{
    for (; *choices != '\0'; choices++) fputc(*choices == '|' ? ' ' : *choices, out);
}

/* ---- man ---- */

/* Text as troff prints it: every minus one that can be typed, no line that begins a request. */
static void troff(FILE *out, const char *s)
{
    if (*s == '.' || *s == '\'') fputs("\\&", out);
    for (; *s != '\0'; s++) {
        if (*s == '\\')
            fputs("\\e", out);
        else if (*s == '-')
            fputs("\\-", out);
        else
            fputc(*s, out);
    }
}

/* Choices with a blank behind each, at which a line may break. */
static void troff_choices(FILE *out, const char *choices)
{
    for (; *choices != '\0'; choices++) {
        if (*choices == '|')
            fputs(", ", out);
        else if (*choices == '-')
            fputs("\\-", out);
        else
            fputc(*choices, out);
    }
}

static void put_title(FILE *out, const char *name)
{
    fputs(".TH ", out);
    for (; *name != '\0'; name++)
        fputc(*name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name, out);
    fprintf(out, " 1 \"\" \"dial %s\" \"User Commands\"\n", dial_version());
}

static void man_flag(void *ctx, const dial_option *row)
{
    FILE *out = ctx;
    const char *value = cmd_value_name(row);

    fputs(".TP\n.B \\-\\-", out);
    if (is_on(row)) fputs("no\\-", out);
    troff(out, row->name);
    fputc('\n', out);
    if (value[0] != '\0') {
        fputs("Value: ", out);
        if (row->choices != NULL && strcmp(value, row->choices) == 0)
            troff_choices(out, value);
        else
            troff(out, value);
        if (row->type == DIAL_OPT_LIST) fputs(",...", out);
        fputs(".\n", out);
    }
    troff(out, row->help);
    if (row->choices != NULL && strcmp(value, row->choices) != 0) {
        fputs("; one of ", out);
        troff_choices(out, row->choices);
    }
    fputs(".\n", out);
    if (row->initial != NULL && row->type != DIAL_OPT_BOOL) {
        fputs("Default: ", out);
        troff(out, row->initial);
        fputs(".\n", out);
    }
}

static void man_verb(FILE *out, const cmd_verb *verb)
{
    int shared = 0, first = 1;
    char name[40];

    snprintf(name, sizeof name, "dial-%s", verb->name);
    put_title(out, name);
    fputs(".SH NAME\n", out);
    troff(out, name);
    fputs(" \\- ", out);
    troff(out, verb->purpose);
    fprintf(out, "\n.SH SYNOPSIS\n.B dial %s\n", verb->name);
    troff(out, verb->usage);
    fputc('\n', out);
    for (const dial_option *row = verb->table; row->name != NULL; row++) {
        const char *title = cmd_group_title(verb, row->name);

        if (!shared && row->offset < sizeof(dial_common_options)) {
            shared = 1;
            title = "Shared by all verbs:";
        } else if (first && title == NULL) {
            title = "Flags:";
        }
        first = 0;
        if (title != NULL) {
            fputs(".SH ", out);
            fprintf(out, "%.*s\n", (int)strcspn(title, ":"), title);
        }
        if (row->help != NULL) man_flag(out, row);
    }
    fputs(".SH The program\n", out);
    for (const dial_option *row = cmd_settings_table; row->name != NULL; row++) man_flag(out, row);
    fputs(".SH EXAMPLE\n.nf\n", out);
    troff(out, verb->example);
    fputs("\n.fi\n.SH SEE ALSO\n.BR dial (1)\n", out);
}

static void man_program(const pages *p)
{
    FILE *out = p->out;

    put_title(out, "dial");
    fputs(".SH NAME\ndial \\- reward models that transfer to a domain without labels\n"
          ".SH SYNOPSIS\n.B dial\n.I VERB\n.RI [ FLAGS ]\n.br\n.B dial \\-\\-version\n"
          ".SH DESCRIPTION\n"
          "dial trains, judges, serves and adapts reward models that transfer to a new domain "
          "without labels (DIAL, arXiv 2501.00911).\n"
          "Results go to standard output, as JSON unless that is a terminal; progress, log and "
          "errors to standard error.\n.SH VERBS\n",
          out);
    for (int i = 0; i < p->n; i++) {
        fprintf(out, ".TP\n.BR dial\\-%s (1)\n", p->verb[i]->name);
        troff(out, p->verb[i]->purpose);
        fputc('\n', out);
    }
    fputs(".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nfailed while running\n.TP\n.B 2\nwrong "
          "use\n.TP\n.B 3\nbad input content\n.TP\n.B 4\na check did not hold\n.TP\n.B 5\nnetwork\n"
          ".TP\n.BR 130 \", \" 143\nstopped by a signal; the state was saved\n"
          ".SH ENVIRONMENT\n.TP\n.B DIAL_CACHE\nfolder for models and stored trunks; else "
          "$XDG_CACHE_HOME/dial, else ~/.cache/dial\n.TP\n.B DIAL_API_KEY\ntoken that clients of "
          "the server must send\n.TP\n.B NO_COLOR\nnot empty: no colour\n",
          out);
}

/* ---- bash ---- */

static void bash_flag(void *ctx, const dial_option *row)
{
    FILE *out = ctx;

    fputs(" --", out);
    put_flag(out, row);
}

typedef struct choices_of {
    FILE *out;
    const char *verb;
} choices_of;

static void bash_choices(void *ctx, const dial_option *row)
{
    const choices_of *c = ctx;

    if (row->choices == NULL) return;
    fprintf(c->out, "    '%s --%s') words='", c->verb, row->name);
    put_choices(c->out, row->choices);
    fputs("' ;;\n", c->out);
}

static void bash(const pages *p)
{
    FILE *out = p->out;

    fputs("# bash completion for dial\n_dial()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} "
          "words=\n    local verb=${COMP_WORDS[1]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W '",
          out);
    for (int i = 0; i < p->n; i++) fprintf(out, "%s ", p->verb[i]->name);
    fputs("--help --version' -- \"$cur\"))\n        return\n    fi\n    case \"$verb $prev\" in\n",
          out);
    for (int i = 0; i < p->n; i++)
        each_flag(p->verb[i], bash_choices, &(choices_of){out, p->verb[i]->name});
    fputs(
        "    esac\n    if [ -z \"$words\" ] && [[ $cur == -* ]]; then\n        case \"$verb\" in\n",
        out);
    for (int i = 0; i < p->n; i++) {
        fprintf(out, "        %s) words='", p->verb[i]->name);
        each_flag(p->verb[i], bash_flag, out);
        fputs("' ;;\n", out);
    }
    fputs("        esac\n    fi\n    if [ -n \"$words\" ]; then\n"
          "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n    else\n"
          "        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\n"
          "complete -o filenames -F _dial dial\n",
          out);
}

/* ---- zsh and fish: both quote with ' ---- */

/* The inside of a quoted string; zsh also reads brackets and colons. */
static void quoted(FILE *out, const char *s, const char *special)
{
    for (; *s != '\0'; s++) {
        if (*s == '\'')
            fputs("'\\''", out);
        else if (strchr(special, *s) != NULL)
            fprintf(out, "\\%c", *s);
        else
            fputc(*s, out);
    }
}

static void zsh_flag(void *ctx, const dial_option *row)
{
    FILE *out = ctx;

    fputs(" \\\n            '", out);
    if (row->type == DIAL_OPT_LIST) fputc('*', out);
    fputs("--", out);
    put_flag(out, row);
    fputc('[', out);
    quoted(out, row->help, "[]:\\");
    fputc(']', out);
    if (row->type != DIAL_OPT_BOOL) {
        fputs(":value:", out);
        if (row->choices != NULL) {
            fputc('(', out);
            put_choices(out, row->choices);
            fputc(')', out);
        } else if (row->type == DIAL_OPT_TEXT || row->type == DIAL_OPT_LIST) {
            fputs("_files", out);
        }
    }
    fputc('\'', out);
}

static void zsh(const pages *p)
{
    FILE *out = p->out;

    fputs("#compdef dial\n_dial() {\n    local -a verbs\n    verbs=(\n", out);
    for (int i = 0; i < p->n; i++) {
        fprintf(out, "        '%s:", p->verb[i]->name);
        quoted(out, p->verb[i]->purpose, "\\");
        fputs("'\n", out);
    }
    fputs("    )\n    if (( CURRENT == 2 )); then\n        _describe verb verbs\n        return\n"
          "    fi\n    case $words[2] in\n",
          out);
    for (int i = 0; i < p->n; i++) {
        fprintf(out, "    %s)\n        _arguments", p->verb[i]->name);
        each_flag(p->verb[i], zsh_flag, out);
        fputs(" \\\n            '*:file:_files' ;;\n", out);
    }
    fputs("    esac\n}\n_dial \"$@\"\n", out);
}

static void fish_flag(void *ctx, const dial_option *row)
{
    const choices_of *c = ctx;

    fprintf(c->out, "complete -c dial -n '__fish_seen_subcommand_from %s' -l ", c->verb);
    put_flag(c->out, row);
    if (row->choices != NULL) {
        fputs(" -x -a '", c->out);
        put_choices(c->out, row->choices);
        fputc('\'', c->out);
    } else if (row->type == DIAL_OPT_TEXT || row->type == DIAL_OPT_LIST) {
        fputs(" -r -F", c->out);
    } else if (row->type != DIAL_OPT_BOOL) {
        fputs(" -x", c->out);
    }
    fputs(" -d '", c->out);
    for (const char *s = row->help; *s != '\0'; s++) {
        if (*s == '\'' || *s == '\\') fputc('\\', c->out);
        fputc(*s, c->out);
    }
    fputs("'\n", c->out);
}

static void fish(const pages *p)
{
    for (int i = 0; i < p->n; i++) {
        fprintf(p->out, "complete -c dial -n __fish_use_subcommand -f -a %s -d '",
                p->verb[i]->name);
        for (const char *s = p->verb[i]->purpose; *s != '\0'; s++) {
            if (*s == '\'' || *s == '\\') fputc('\\', p->out);
            fputc(*s, p->out);
        }
        fputs("'\n", p->out);
    }
    for (int i = 0; i < p->n; i++)
        each_flag(p->verb[i], fish_flag, &(choices_of){p->out, p->verb[i]->name});
}

int cmd_page(FILE *out, const char *name, const cmd_verb *const *verbs, int n)
{
    const pages p = {out, verbs, n};

    if (strcmp(name, "man") == 0)
        man_program(&p);
    else if (strcmp(name, "bash") == 0)
        bash(&p);
    else if (strcmp(name, "zsh") == 0)
        zsh(&p);
    else if (strcmp(name, "fish") == 0)
        fish(&p);
    else if (strcmp(name, "verbs") == 0)
        for (int i = 0; i < n; i++) fprintf(out, "%s\n", verbs[i]->name);
    else if (strncmp(name, "man:", 4) == 0) {
        for (int i = 0; i < n; i++)
            if (strcmp(name + 4, verbs[i]->name) == 0) {
                man_verb(out, verbs[i]);
                return 1;
            }
        return 0;
    } else
        return 0;
    return 1;
}
