/*
 * Trains a run from settings given as text, as a program with its own configuration would: every
 * row of the option table is a flag of `dial train`.
 *
 *     cc train.c $(pkg-config --cflags --libs dial) -o train
 *     ./train base=MODEL source=en.jsonl target=yo.jsonl out=runs/new steps=200
 *
 * Ctrl-C saves a checkpoint; resume=yes goes on from it.
 */
#include <dial/dial.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 64 };

static volatile int stop;

static void on_interrupt(int sig)
{
    (void)sig;
    stop = 1;
}

static void progress(void *ctx, const dial_progress *p)
{
    (void)ctx;
    if (strcmp(p->what, "train") == 0 && p->done % 10 == 0)
        fprintf(stderr, "step %lld of %lld, loss %.3f\n", (long long)p->done, (long long)p->total,
                p->loss);
}

/* NAME=VALUE into the options. */
static dial_status set(dial_train_options *o, const char *arg, dial_error *err)
{
    const char *eq = strchr(arg, '=');

    for (const dial_option *row = dial_train_table; eq != NULL && row->name != NULL; row++)
        if (strlen(row->name) == (size_t)(eq - arg) &&
            strncmp(row->name, arg, (size_t)(eq - arg)) == 0)
            return dial_option_set(row, o, eq + 1, err);
    snprintf(err->message, sizeof err->message, "there is no option '%s'", arg);
    return err->status = DIAL_ERR_USAGE;
}

int main(int argc, char **argv)
{
    dial_env env = {.progress = progress, .stop = &stop};
    dial_train_options options;
    const char *lists[3][MOST]; /* storage of the list options */
    dial_error err = {0};
    char *json = NULL;
    dial_status st = DIAL_OK;

    dial_options_default(dial_train_table, &options, sizeof options);
    options.source.item = lists[0];
    options.target.item = lists[1];
    options.eval.item = lists[2];
    for (int i = 1; st == DIAL_OK && i < argc && i < MOST; i++) st = set(&options, argv[i], &err);
    signal(SIGINT, on_interrupt);
    if (st == DIAL_OK) st = dial_train(&options, &env, &json, &err);
    if (st != DIAL_OK)
        fprintf(stderr, "error: %s (%s); try: %s\n", err.message, err.where, err.hint);
    if (json != NULL) printf("%s\n", json);
    dial_free(&env, json);
    return st == DIAL_OK ? 0 : dial_status_exit_code(st);
}
