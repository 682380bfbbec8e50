/*
 * Rows of a data file, read one at a time: container (JSON Lines, JSON array, CSV, TSV; gzip
 * unwrapped), schema, checks (interfaces.md 2.1 to 2.4). A row owns its strings until the next
 * read. Target files: with drop_labels the order of a pair's two texts is set by a hash of
 * (seed, bytes of the text) before anything else of dial sees the row.
 */
#ifndef DI_DATA_ROWS_H
#define DI_DATA_ROWS_H

#include "base/json.h"
#include "base/log.h"
#include "text/policy.h"

/* Names in `data check`: pair, pair-named, pair-shp, scored, single, text, ... */
typedef enum di_row_kind {
    DI_ROW_PAIR,    /* text[0] chosen, text[1] rejected (hash order where labels are dropped) */
    DI_ROW_SCORED,  /* text[0], score */
    DI_ROW_SINGLE,  /* text[0] */
    DI_ROW_MCQ      /* text[0] correct, text[1..] wrong */
} di_row_kind;

typedef struct di_row {
    di_row_kind kind;
    di_text text[27];      /* views into the row's own memory */
    int n_texts;
    double score;          /* scored */
    double margin, weight; /* 0 and 1 where absent */
    const char *id;        /* NULL where absent; a number is kept as its text */
    const char *group;     /* `topic`, else `subset`; NULL where absent */
    int length_matched;    /* 1, 0; -1 where absent */
    int identical;         /* pair: the two texts are equal as bytes */
    int64_t index;         /* 0-based among the rows read, bad ones included */
    int64_t line;          /* 1-based line of the row's first byte (JSON array: of the element) */
} di_row;

enum { DI_MAX_REASONS = 20, DI_MAX_IGNORED = 64 };

/* COUNTS of interfaces.md. What truncation adds is filled by whoever encodes the texts. */
typedef struct di_row_counts {
    int64_t read, bad, identical, identical_after_truncation, overlong_dropped;
    int64_t prompt_truncated, response_truncated, used;
    struct {
        char name[32];
        int64_t n;
    } bad_by[DI_MAX_REASONS], ignored[DI_MAX_IGNORED];
    int n_bad_by, n_ignored;
} di_row_counts;

json_t *di_row_counts_to_json(const di_row_counts *c);

typedef struct di_rows_options {
    const char *format;      /* "auto", "jsonl", "json", "csv", "tsv" */
    const char *columns;     /* "prompt=q,chosen=good" or NULL */
    int64_t limit, skip;     /* limit < 0: none */
    int on_error_skip;       /* 0: the first bad row is an error */
    double max_bad_share;    /* skip: more than this share of rows is an error ... */
    int64_t max_bad_count;   /* ... or more than this number; < 0: the share decides */
    int drop_labels;         /* target side */
    uint64_t seed;           /* for the hash order under drop_labels */
} di_rows_options;

di_rows_options di_rows_options_default(void);

typedef struct di_rows di_rows;

/* path "-" reads stdin. ERR_USAGE: missing file; ERR_INPUT: empty file, unknown format. */
dial_status di_rows_open(const di_alloc *al, const char *path, const di_rows_options *opt,
                         const dial_env *env, di_rows **out, dial_error *err);

/*
 * The next good row in *row, *got = 1; at the end *got = 0. With on_error_skip a bad row is
 * counted and skipped; where `bad` is not NULL it is instead handed out: *got = 2 and *bad says
 * what is wrong (so that line k of a scores file always answers row k).
 */
dial_status di_rows_next(di_rows *r, di_row *row, int *got, dial_error *bad, dial_error *err);

const di_row_counts *di_rows_counts(const di_rows *r);
const char *di_rows_format(const di_rows *r); /* "jsonl", ... */
const char *di_rows_schema(const di_rows *r); /* "pair", ...; "" before the first row */
void di_rows_close(di_rows *r);

#endif
