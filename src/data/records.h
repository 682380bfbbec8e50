/*
 * A container cut into records: the lines of JSON Lines, the elements of a JSON array, the records
 * of CSV and TSV. A record becomes one JSON object whatever its container; all cells of CSV are
 * strings. What a bad record is called, and how its place is told, is settled here for all of
 * src/data.
 */
#ifndef DI_DATA_RECORDS_H
#define DI_DATA_RECORDS_H

#include "base/json.h"
#include "data/input.h"
#include "data/parquet.h"

/* Why a row is bad: the names stand in messages and in `bad_by`. */
/* clang-format off */
#define DI_REASONS(X)                                                                              \
    X(JSON_SYNTAX, "json_syntax")             X(NOT_OBJECT, "not_object")                          \
    X(DUPLICATE_KEY, "duplicate_key")         X(MISSING_KEY, "missing_key")                        \
    X(WRONG_TYPE, "wrong_type")               X(BAD_UTF8, "bad_utf8")                              \
    X(UNPAIRED_SURROGATE, "unpaired_surrogate") X(EMPTY_RESPONSE, "empty_response")                \
    X(EMPTY_TEXT, "empty_prompt_and_response")  X(BAD_ROLE, "bad_role")                            \
    X(NO_ASSISTANT_TURN, "no_assistant_turn") X(PROMPT_MISMATCH, "prompt_mismatch")                \
    X(SCORE_NOT_FINITE, "score_not_finite")   X(MARGIN_NOT_FINITE, "margin_not_finite")            \
    X(BAD_LABEL, "bad_label")                 X(CSV_FIELD_COUNT, "csv_field_count")                \
    X(UNKNOWN_SCHEMA, "unknown_schema")       X(SCHEMA_MIXED, "schema_mixed")                      \
    X(TOO_LONG, "too_long")                   X(TEMPLATE_FAILED, "template_failed")
/* clang-format on */
typedef enum di_reason {
    DI_ROW_FINE = 0,
#define X(id, name) DI_BAD_##id,
    DI_REASONS(X)
#undef X
} di_reason;

const char *di_reason_name(di_reason reason);

typedef enum di_container {
    DI_FORMAT_JSONL,
    DI_FORMAT_JSON,
    DI_FORMAT_CSV,
    DI_FORMAT_TSV,
    DI_FORMAT_PARQUET /* by content alone */
} di_container;

/* "jsonl", "json", "csv", "tsv", "parquet". */
const char *di_container_name(di_container c);

/* Where a key of the record's object and its value stand, as offsets into its bytes. */
typedef struct di_span {
    uint32_t key, key_n; /* between the quotes */
    uint32_t value, value_n;
} di_span;

typedef struct di_records {
    const di_alloc *al;
    di_input *in; /* borrowed */
    di_window *w; /* its window */
    di_container format;
    /* the record in hand, valid until the next cut */
    json_t *object;
    int64_t line, column; /* 1-based place of its first byte; column in bytes */
    size_t offset, size;  /* JSON: its bytes, from the window's data */
    di_span *span;        /* JSON: [n_span] members of the object */
    size_t n_span, span_cap;
    di_reason fault; /* why the call that just failed failed; DI_ROW_FINE: not the row's
                        content, so that reading cannot go on */
    /* keys whose NaN has a reason of its own; "score", "label", "margin" unless renamed */
    const char *score_key, *label_key, *margin_key;
    /* place of the next byte of the window */
    int64_t next_line, next_column;
    int any; /* JSON array: an element was read */
    /* CSV: names of the columns, and the fields of the record as (offset, size) in the window */
    char **header;
    size_t n_header;
    struct di_field {
        size_t offset, size;
    } * field;
    size_t n_field, field_cap;
    /* Parquet: opened with the first record, when it is known which columns are wanted */
    di_parquet *parquet;
    di_parquet_wants wants;
    void *wants_ctx;
    const char *not_finite, *bad_text; /* columns of the record in hand; NULL: none */
    size_t broken_field;               /* text goes on behind its closing quote; SIZE_MAX: none */
} di_records;

/*
 * Decides the container (format "auto": from the first byte that is no space, then from the name)
 * and reads what stands before the first record. ERR_INPUT: nothing in the file, or a CSV header
 * that cannot be used. ERR_USAGE: format is no known name. Close also after a failure.
 */
dial_status di_records_open(di_records *rs, const di_alloc *al, di_input *in, const char *format,
                            dial_error *err);
void di_records_close(di_records *rs);

/* Goes to the next record without looking into it; *got 0 at the end. */
dial_status di_records_cut(di_records *rs, int *got, dial_error *err);

/* Makes rs->object of the record in hand. */
dial_status di_records_parse(di_records *rs, dial_error *err);

/*
 * Reports a bad row: rs->fault = reason, message "REASON: ... (key "KEY")", where FILE:LINE:COL
 * (CSV: FILE:LINE:field N). The place is the value of key if that is there, else `offset` bytes
 * into the record, else (offset < 0) its start; in a JSON array always the element's start.
 */
dial_status di_records_fault(di_records *rs, dial_error *err, const char *file, int line,
                             di_reason reason, const char *key, int64_t offset, const char *hint,
                             const char *fmt, ...) DIAL_PRINTF(9, 10);

#define DI_BAD(rs, reason, key, hint, ...)                                                         \
    do {                                                                                           \
        st = di_records_fault((rs), err, __FILE__, __LINE__, DI_BAD_##reason, (key), -1, (hint),   \
                              __VA_ARGS__);                                                        \
        goto done;                                                                                 \
    } while (0)
#define DI_BAD_AT(rs, reason, offset, hint, ...)                                                   \
    do {                                                                                           \
        st = di_records_fault((rs), err, __FILE__, __LINE__, (reason), NULL, (int64_t)(offset),    \
                              (hint), __VA_ARGS__);                                                \
        goto done;                                                                                 \
    } while (0)

/* FILE:LINE:COL in buf; a long path loses its beginning, never the place. */
const char *di_place(char *buf, size_t n, const char *name, int64_t line, int64_t column);

/* The member of the record's object whose key is written as name (no escapes); NULL: none. */
const di_span *di_records_find(const di_records *rs, const char *name);

/* A scalar is written as the bytes of the file have it (an id of 30 digits keeps them all). */
const char *di_records_text(const di_records *rs, const di_span *span);

/*
 * Looks through the bytes of one JSON value ahead of the parser, for what the parser does not say:
 * where the members of an object stand. A fault (bad UTF-8, an unpaired surrogate escape, more
 * than 64 levels) is returned with its offset; broken syntax is left to the parser.
 */
dial_status di_records_scan(di_records *rs, const char *text, size_t n, di_reason *fault,
                            size_t *offset, dial_error *err);

#endif
