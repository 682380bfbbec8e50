/*
 * Best of n as a filter: rows {"prompt", "responses": [...]} in, the ranking of each out.
 *
 *     cc best_of_n.c $(pkg-config --cflags --libs dial) -o best_of_n
 *     ./best_of_n runs/toy candidates.jsonl
 *
 * The library does the reading, the batching and the order; this file only says where lines go.
 */
#include <dial/dial.h>
#include <stdio.h>

static int write_line(void *ctx, const char *line, size_t n)
{
    return fwrite(line, 1, n, ctx) == n ? 0 : -1;
}

static void log_line(void *ctx, dial_log_level level, const char *message)
{
    if (level >= DIAL_LOG_WARN) fprintf(ctx, "warning: %s\n", message);
}

int main(int argc, char **argv)
{
    dial_env env = {.log = log_line, .ctx = stderr};
    dial_rank_options options;
    dial_error err = {0};
    char *summary = NULL;

    if (argc != 3) {
        fprintf(stderr, "usage: %s RUN FILE.jsonl\n", argv[0]);
        return 2;
    }
    dial_options_default(dial_rank_table, &options, sizeof options);
    options.model = argv[1];
    options.data = argv[2];
    if (dial_rank(&options, write_line, stdout, &env, &summary, &err) != DIAL_OK) {
        fprintf(stderr, "error: %s (%s); try: %s\n", err.message, err.where, err.hint);
        return dial_status_exit_code(err.status);
    }
    fprintf(stderr, "%s\n", summary);
    dial_free(&env, summary);
    return 0;
}
