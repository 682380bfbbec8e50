/*
 * The program: `dial VERB [FLAGS]`. Each verb is a row of data (table of flags, help, example) and
 * a short function that calls its job in libdial; everything between argv and that call, and
 * between its result and the streams, is shared and lives in this folder:
 *
 *   main      dispatch, exit code             flags     argv + config file -> options struct
 *   help      --help from the option table    config    --config FILE: JSON, TOML (toml.c)
 *   output    stdout, errors                  progress  the progress line and log lines
 *   pages     man pages and completion, from the same table
 *   signals   stop once, stop at once         suggest   the nearest known name
 *
 * The program sees the public header alone, so whatever it does an embedding program can do. It
 * takes no memory of its own: strings made here are kept as jansson values in cmd_call.kept.
 */
#ifndef DIAL_CMD_H
#define DIAL_CMD_H

#include <jansson.h>
#include <stdio.h>

#include "dial/dial.h"

typedef union cmd_options {
    dial_common_options common; /* first in every struct below */
    dial_train_options train;
    dial_eval_options eval;
    dial_score_options score;
    dial_rank_options rank;
    dial_embed_options embed;
    dial_info_options info;
    dial_export_options export;
    dial_data_options data;
    dial_pull_options pull;
    dial_bench_options bench;
    dial_sweep_options sweep;
    dial_report_options report;
    dial_serve_options serve;
    dial_doctor_options doctor;
    dial_select_options select;
    dial_merge_options merge;
    dial_adapt_options adapt;
} cmd_options;

/* The program's own flags, the same for every verb; table in flags.c. */
typedef struct cmd_settings {
    int json, text, quiet, verbose, print_config, help;
    const char *color, *config;
} cmd_settings;

/* Progress and log lines; state of progress.c. */
typedef struct cmd_progress {
    const char *verb;
    int terminal, color, quiet, verbose;
    int drawn;         /* a redrawn line stands on the terminal, without a newline */
    int64_t every;     /* steps between plain lines; 0: by time */
    double last_drawn; /* seconds of the monotonic clock; 0: never */
} cmd_progress;

typedef struct cmd_call cmd_call;

/* From the row named `first` on, the flags of a table are listed under `title`. */
typedef struct cmd_group {
    const char *first, *title;
} cmd_group;

typedef struct cmd_verb {
    const char *name;
    const char *purpose; /* one line */
    const char *usage;   /* what follows the verb in the usage line */
    const char *example; /* a command that runs as printed, from a clone after `make demo` */
    const dial_option *table;
    size_t size;                 /* of its options struct */
    const char *const *required; /* names that must be given ("a|b": one), NULL-ended; or NULL */
    const cmd_group *groups;     /* ended by first NULL; NULL: one group */
    const dial_option *passed;   /* flags of another verb, taken as --flag NAME=VALUE; NULL: none */
    int max_words;               /* positional arguments that it takes */
    int rows;                    /* prints JSON Lines itself; the document is its summary */
    int ranks;                   /* divides its work among the processes of mpirun or srun */
    /* May set *json beside a status that is not DIAL_OK: the result of a failed check. */
    dial_status (*run)(cmd_call *call, char **json, dial_error *err);
} cmd_verb;

enum { CMD_MAX_VALUES = 4096, CMD_MAX_WORDS = 16 };

/* One value of one flag. */
typedef struct cmd_value {
    const dial_option *row;
    const char *text;
    int line; /* of the config file; 0: command line */
} cmd_value;

struct cmd_call {
    const cmd_verb *verb;
    cmd_settings settings;
    cmd_options options;
    const char *word[CMD_MAX_WORDS]; /* positional arguments */
    int n_words;
    dial_env env;
    dial_ranks *ranks; /* NULL: one process */
    cmd_progress progress;
    json_t *kept; /* array that owns every string made while parsing */
    cmd_value value[CMD_MAX_VALUES];
    int n_values;
    const char *item[CMD_MAX_VALUES]; /* storage of the lists in options */
    int n_items;
    char *run_text; /* strings of the settings of --resume-from; dial_free */
};

extern const cmd_verb cmd_train, cmd_eval, cmd_score, cmd_embed, cmd_info, cmd_data, cmd_bench,
    cmd_sweep, cmd_report, cmd_serve, cmd_doctor, cmd_select, cmd_export, cmd_rank, cmd_pull,
    cmd_merge, cmd_adapt;

/* ---- errors ---- */

/* Fills *err and returns status; where and hint may be NULL. */
dial_status cmd_fail(dial_error *err, dial_status status, const char *where, const char *hint,
                     const char *fmt, ...) DIAL_PRINTF(5, 6);

/* ---- flags.c ---- */

extern const dial_option cmd_settings_table[];

/*
 * Fills call->settings, call->options and call->word from argv[0..n-1] (what follows the verb) and
 * the config file that it names: command line > config > preset > default.
 */
dial_status cmd_flags_parse(cmd_call *call, int n, char **argv, dial_error *err);

/* Keeps a copy of n bytes of text for the life of the call; NULL: no memory or no UTF-8. */
const char *cmd_keep(cmd_call *call, const char *text, size_t n);

/* ---- suggest.c ---- */

/* Letters to insert, drop, change or swap to make a of b; '-' and '_' are equal. */
int cmd_distance(const char *a, const char *b);

/* Remembers the nearest of the names offered to it; zero at start, word set. */
typedef struct cmd_nearest {
    const char *word, *name;
    int distance;
} cmd_nearest;

void cmd_nearest_offer(cmd_nearest *best, const char *name);
/* The nearest name, or NULL if nothing is near enough to be what was meant. */
const char *cmd_nearest_name(const cmd_nearest *best);

/* ---- help.c ---- */

void cmd_help(FILE *out, const cmd_verb *verb);

/* What a value is called ("FILE", or its choices); "": the flag takes none. */
const char *cmd_value_name(const dial_option *row);
/* The title of the group of flags that the row named `first` begins; NULL: it begins none. */
const char *cmd_group_title(const cmd_verb *verb, const char *first);

/* ---- pages.c ---- */

/*
 * `dial --page NAME`, for the build: "man" and "man:VERB" (troff), "bash", "zsh", "fish"
 * (completion), "verbs" (their names). 0: there is no such page.
 */
int cmd_page(FILE *out, const char *name, const cmd_verb *const *verbs, int n);

/* ---- output.c ---- */

/* Makes descriptors 0-2 safe, ignores SIGPIPE and SIGXFSZ. Call first. */
void cmd_streams_open(void);

/* 1: text goes to stdout, else JSON does. */
int cmd_text_on_stdout(const cmd_settings *s);

/* Prints a document as 1.2 of the interface has it; ERR_IO if stdout does not take it. */
dial_status cmd_print_document(cmd_call *call, const char *json, dial_error *err);

/* n bytes to stdout, flushed by cmd_stdout_flush; both report ERR_IO. */
dial_status cmd_stdout_write(const char *text, size_t n, dial_error *err);
dial_status cmd_stdout_flush(dial_error *err);

/* The error line on stderr; with --json also dial.error/1 on stdout, unless document_printed. */
void cmd_print_error(const cmd_call *call, const dial_error *err, int exit_code,
                     int document_printed);

/* Writes text with its control characters spelt out: a file must not be able to move the cursor. */
void cmd_put_visible(FILE *out, const char *text);

/* Colour on stderr: --color, NO_COLOR, and whether it is a terminal. */
int cmd_color(const char *mode);

/* ---- progress.c ---- */

/* Sets call->progress and the callbacks of call->env. */
void cmd_progress_init(cmd_call *call);
/* Removes the redrawn line, if one stands on the terminal. */
void cmd_progress_clear(cmd_progress *p);

/* The text of the progress line, without colour or newline (1.2 of the interface). */
void cmd_progress_text(const dial_progress *progress, char *out, size_t size);

/* ---- signals.c ---- */

/*
 * From here on the first SIGINT or SIGTERM sets *cmd_signals_stop(), the second one ends the
 * program at once.
 */
void cmd_signals_install(void);
const volatile int *cmd_signals_stop(void);
/* From here on SIGHUP raises the number returned instead of ending the program. */
const volatile int *cmd_signals_reload(void);
int cmd_signals_exit_code(void); /* 130 or 143 by the signal that came; 130 if none did */

#endif
