/*
 * Live traffic in SQLite: a row for each of the last N texts that a server scored, in the table
 * `traffic` of the store (interfaces.md 5, `serve --monitor`). `data collect` reads it.
 *
 *     id          counts up; the N largest are kept
 *     time        seconds since 1970
 *     run         name of the run that scored it
 *     checkpoint  SHA-256 of its adapter: embeddings of two checkpoints are not to be compared
 *     prompt_hash FNV-1a of the prompt as it is stored in `prompt`; null: there is no prompt
 *     reward      as it was answered, before an activation and a wish of one request
 *     tokens
 *     embedding   f32, little endian
 *     form        text, single, chat, ids: see di_traffic_form
 *     prompt, response   null unless the server runs with --monitor-texts
 *
 * "Recent" is the last N rows and no sample that thins with age: the responses to one prompt come
 * close together, and a random sample of the same size would tear them apart, while they are what
 * gives pairs to adapt with. The file keeps its size: a row that goes leaves its pages to the next.
 *
 * One transaction a batch in a rollback journal, synced: what di_traffic_put stored survives
 * SIGKILL and a power cut. No write-ahead log, though it would let readers and the writer pass each
 * other: a file has one mode, and that of a sweep (report/store.c), whose store this may be, is the
 * journal.
 */
#ifndef DI_SERVE_TRAFFIC_H
#define DI_SERVE_TRAFFIC_H

#include <stddef.h>

#include "base/alloc.h"

typedef enum di_traffic_form {
    DI_TRAFFIC_TEXT,   /* response: all of it, as it was tokenised */
    DI_TRAFFIC_SINGLE, /* prompt and response, to be rendered by the run's text policy */
    DI_TRAFFIC_CHAT,   /* prompt: a JSON list of messages; response: the assistant's last one */
    DI_TRAFFIC_IDS     /* token ids: no text */
} di_traffic_form;

/* Strings are borrowed; prompt NULL: there is none; response NULL: texts are not kept. */
typedef struct di_traffic_row {
    double time;
    const char *run, *checkpoint;
    double reward;
    int64_t tokens;
    const float *e; /* [width] */
    int64_t width;
    di_traffic_form form;
    int has_prompt;
    uint64_t prompt_hash;
    const char *prompt, *response;
    size_t prompt_size, response_size;
} di_traffic_row;

typedef struct di_traffic di_traffic;

/*
 * Opens or makes the file for writing. keep: N. A new file can be read by its owner alone: texts
 * may stand in it. ERR_IO: it cannot be written, or is no sound store; ERR_USAGE: a build without
 * SQLite. One thread.
 */
dial_status di_traffic_open(const di_alloc *al, const char *path, int64_t keep, di_traffic **out,
                            dial_error *err);
void di_traffic_close(di_traffic *t);

/* All n rows in one transaction, or (ERR_IO, ERR_NOMEM) none of them. */
dial_status di_traffic_put(di_traffic *t, const di_traffic_row *row, int64_t n, dial_error *err);

/* Whose rows; both NULL: all. */
typedef struct di_traffic_of {
    const char *run;        /* its name in the server */
    const char *checkpoint; /* runs that were served with it, whatever they were called, before and
                               after; where the store knows one name alone, that one */
} di_traffic_of;

/*
 * Hands rows to `take`, oldest first, without their embeddings.
 * Strings live until take returns. While it lasts, a server that writes to the file waits.
 * ERR_USAGE: no such file, no traffic in it, a build without SQLite. ERR_IO, ERR_INPUT: the file
 * cannot be read, or is damaged.
 */
dial_status di_traffic_read(const char *path, const di_traffic_of *of,
                            dial_status (*take)(void *ctx, const di_traffic_row *row,
                                                dial_error *err),
                            void *ctx, dial_error *err);

#endif
