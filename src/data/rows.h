/*
 * Rows of a data file, read one at a time: container (JSON Lines, JSON array, CSV, TSV,
 * Parquet; gzip and zstd unwrapped), schema, checks (interfaces.md 2.1 to 2.4). Memory is the row
 * in hand.
 *
 * The first good row decides the schema, and the file keeps it. A bad row is an error of the form
 * `FILE:LINE:COL: REASON: detail (key "chosen")`, or it is counted and skipped, as the caller asks.
 *
 * Target files: with drop_labels nothing that says which text is better leaves this file. The
 * order of a pair's two texts is then set by a hash of (seed, bytes of both), so that swapping
 * chosen and rejected in the file changes no bit of what is handed out.
 */
#ifndef DI_DATA_ROWS_H
#define DI_DATA_ROWS_H

#include "base/json.h"
#include "base/log.h"
#include "text/policy.h"

/* Names in `data check`: pair, pair-named, pair-shp, scored, single, text, ... */
typedef enum di_row_kind {
    DI_ROW_PAIR,      /* text[0] chosen, text[1] rejected; hash order where labels are dropped */
    DI_ROW_SCORED,    /* text[0], score; SINGLE where labels are dropped */
    DI_ROW_SINGLE,    /* text[0] */
    DI_ROW_MCQ,       /* text[0] correct, text[1..] wrong; hash order where labels are dropped,
                         the file's where `unlabelled` */
    DI_ROW_CANDIDATES /* RewardBench 2: text[0 .. n_correct) correct, the others wrong; likewise */
} di_row_kind;

enum { DI_ROW_TEXTS = 128 };

/* Texts and strings are views that live until the next read. */
typedef struct di_row {
    di_row_kind kind;
    di_text text[DI_ROW_TEXTS];
    int n_texts, n_correct; /* n_correct: of candidates; else 0 */
    double score;           /* scored; else 0 */
    double margin, weight;  /* 0 and 1 where absent */
    const char *id;         /* NULL where absent; a number is kept as its text */
    const char *group;      /* `topic`, else `subset`, or as asked for; NULL where absent */
    int length_matched;     /* 1, 0; -1 where absent */
    int identical;          /* pair: the two texts are equal as bytes */
    int unlabelled;         /* candidates whose label is still to be filled in */
    int picked;             /* chosen by `data pick --by disagreement`: no random sample */
    int from_messages;      /* the texts are dialogues: they have turns */
    int64_t index;          /* 0-based among the rows read, bad ones included */
    int64_t line, column;   /* 1-based place of the row's first byte; column in bytes */
} di_row;

enum { DI_MAX_REASONS = 20, DI_MAX_IGNORED = 3 };

typedef struct di_named_count {
    char name[32];
    int64_t n;
} di_named_count;

/*
 * COUNTS of interfaces.md, all in rows. The reader fills read, bad, bad_by and ignored; the rest
 * is filled by whoever encodes the texts (dataset.h). ignored: rows in which a column is not null
 * that would change the text elsewhere (tools, chat_template_kwargs; beside a pair: system).
 */
typedef struct di_row_counts {
    int64_t read, bad, identical, identical_after_truncation, overlong_dropped;
    int64_t prompt_truncated, response_truncated, used;
    int64_t grouped_pairs, single_texts; /* of single texts, after di_dataset_group_singles */
    int64_t unlabelled; /* candidates without a label where labels are read; left out */
    di_named_count bad_by[DI_MAX_REASONS], ignored[DI_MAX_IGNORED];
    int n_bad_by, n_ignored;
} di_row_counts;

/* sum += one: the files of a flag together. */
void di_row_counts_add(di_row_counts *sum, const di_row_counts *one);

/* The object of interfaces.md, in its order; NULL: no memory. */
json_t *di_row_counts_to_json(const di_row_counts *c);

typedef struct di_rows_options {
    const char *format;    /* "auto", "jsonl", "json", "csv", "tsv" */
    const char *columns;   /* "prompt=q,chosen=good": NAME=COLUMN of the file; NULL: none */
    int64_t limit, skip;   /* rows read (limit < 0: all) after rows passed over unread */
    int on_error_skip;     /* 0: the first bad row is an error */
    double max_bad_share;  /* skip: more than this share of rows is an error at the end ... */
    int64_t max_bad_count; /* ... or more than this number, at once; < 0: the share decides */
    int drop_labels;       /* target side */
    int in_order;          /* rows of candidates: all responses as they stand, whatever the label */
    uint64_t seed;         /* for the hash order under drop_labels */
    const char *group_by;  /* column, or KEY.KEY inside objects, that is a row's group; NULL: topic,
                              else subset */
} di_rows_options;

/* auto, no mapping, all rows, stop at the first bad one, 1 %, labels kept. */
di_rows_options di_rows_options_default(void);

typedef struct di_rows di_rows;

/*
 * path "-" reads stdin; opt is copied, its strings are used during the call alone. ERR_USAGE:
 * missing file, unknown format, wrong
 * --columns. ERR_INPUT: an empty file, a container that is not read, an unusable CSV header.
 */
dial_status di_rows_open(const di_alloc *al, const char *path, const di_rows_options *opt,
                         const dial_env *env, di_rows **out, dial_error *err);

/* The same for n bytes in memory, borrowed until close; name stands in messages. */
dial_status di_rows_open_memory(const di_alloc *al, const char *name, const void *data, size_t n,
                                const di_rows_options *opt, const dial_env *env, di_rows **out,
                                dial_error *err);

/*
 * The next good row in *row, *got = 1; at the end *got = 0. With on_error_skip a bad row is
 * counted and skipped, the first 3 of each reason are logged as warnings; where `bad` is not NULL
 * it is instead handed out: *got = 2, *bad says what is wrong and of *row only index, line and
 * column are set (so that line k of a scores file always answers row k). A fault that hides where
 * the next row begins (an open quote in CSV, a missing bracket) is an error in any case.
 */
dial_status di_rows_next(di_rows *r, di_row *row, int *got, dial_error *bad, dial_error *err);

/*
 * Makes the row just handed out a bad one after all, because of what only the caller can see. *why
 * is an error of the form "REASON: detail" (`too_long`, `template_failed`): under stop that is the
 * error, under skip it is counted, and *why gets the place. Any other error is forwarded.
 */
dial_status di_rows_refuse(di_rows *r, dial_error *why, dial_error *err);

const di_row_counts *di_rows_counts(const di_rows *r);
const char *di_rows_format(const di_rows *r); /* "jsonl", ... */
const char *di_rows_schema(const di_rows *r); /* "pair", ...; "" before the first row */

/* SHA-256 of the file as stored, in hex. Reads it to its end; no row can be read afterwards. */
dial_status di_rows_sha256(di_rows *r, char hex[65], dial_error *err);
void di_rows_close(di_rows *r);

#endif
