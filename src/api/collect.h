/*
 * A server's sample of live traffic as an unlabelled target file (interfaces.md 1.13).
 *
 * A file has one schema, and it follows from what was scored:
 *
 *     candidates  prompts that were scored with several responses; the label is null
 *     single      prompt and response, each prompt once
 *     chat        dialogues, each prompt once
 *     text        texts without a border that the run's text policy would draw again
 *
 * What most texts are decides: of strings, dialogues and bare texts the most frequent; then
 * candidates where at least half of these texts share their prompt with another. The rest is left
 * out and counted. Texts that occur twice are written once.
 */
#ifndef DI_API_COLLECT_H
#define DI_API_COLLECT_H

#include "base/alloc.h"
#include "serve/traffic.h"

typedef struct di_collected {
    const char *schema;   /* of interfaces.md 2.2 */
    int64_t read;         /* rows of the store, of this run */
    int64_t without_text; /* of them: token ids, or kept without --monitor-texts */
    int64_t duplicates;   /* texts that stood in an earlier row */
    int64_t left_out;     /* texts that do not fit the schema */
    int64_t texts, rows;  /* written */
} di_collected;

/*
 * of: whose rows (serve/traffic.h). out: a file (base/file.h, atomic) or "-".
 * ERR_USAGE: there is no store, no traffic or not one text in it; a build without SQLite.
 * ERR_INPUT: a damaged store. ERR_IO, ERR_NOMEM. The texts are held in memory.
 */
dial_status di_collect(const di_alloc *al, const char *store, const di_traffic_of *of,
                       const char *out, di_collected *result, dial_error *err);

#endif
