/*
 * From a record to a row: which keys a file has decides its schema (interfaces.md 2.2), once; each
 * schema has one reader that checks the record and lays out the texts of the row.
 */
#ifndef DI_DATA_SCHEMA_H
#define DI_DATA_SCHEMA_H

#include "data/records.h"
#include "data/rows.h"

struct di_schema_def;

typedef struct di_schema {
    const di_alloc *al;
    di_records *rs; /* borrowed */
    int drop_labels, in_order;
    uint64_t seed;
    const struct di_schema_def *def; /* NULL before the first good row */
    const char *prompt_key;          /* pair: the key that holds the prompt; NULL: no such key */
    /* --columns: the file's name of a key; both point into `columns` */
    char *columns;
    struct {
        const char *key, *column;
    } map[40];
    int n_map;
    char *group_by; /* what a row's group is; NULL: topic, else subset */
    /* memory of the row in hand */
    di_buf joined;          /* texts that stand in no single string of the file */
    di_buf turns;           /* di_turn of the texts that are dialogues */
    const json_t *dialogue; /* the prompt, where it is one */
    di_buf id, group;       /* numbers as text */
} di_schema;

/* columns and group_by may be NULL. ERR_USAGE: not of the form NAME=COLUMN,..., or an unknown NAME.
 */
dial_status di_schema_init(di_schema *s, const di_alloc *al, di_records *rs, const char *columns,
                           const char *group_by, int drop_labels, uint64_t seed, dial_error *err);
void di_schema_deinit(di_schema *s);

/* Reads the parsed record in hand. A failure of its content sets rs->fault. */
dial_status di_schema_read(di_schema *s, di_row *row, dial_error *err);

/* "pair", ...; "" before the first good row. */
const char *di_schema_name(const di_schema *s);

/* What follows is shared by the readers (schema.c, fields.c, messages.c). */

/* The file's name of a key, and the key's value; NULL: absent. */
const char *di_schema_column(const di_schema *s, const char *key);
json_t *di_schema_get(const di_schema *s, const char *key);

/* The value of an optional key: NULL also for null and, in CSV, for an empty cell. */
json_t *di_schema_get_optional(const di_schema *s, const char *key);

/* A string; missing_key or wrong_type otherwise. */
dial_status di_schema_string(const di_schema *s, const char *key, const char **text, size_t *size,
                             dial_error *err);

/* empty_response or empty_prompt_and_response if there is nothing to score. */
dial_status di_schema_check_text(const di_schema *s, const char *key, const di_text *t,
                                 dial_error *err);

/* A finite number (CSV: a cell that is one); missing_key, wrong_type or `not_finite` otherwise. */
dial_status di_schema_number(const di_schema *s, const char *key, di_reason not_finite, double *out,
                             dial_error *err);

/* id, topic or subset, length_matched, weight: understood beside every schema. */
dial_status di_schema_extras(di_schema *s, di_row *row, dial_error *err);

/* 1 if v is a list of objects with a role and a content: a conversation. */
int di_is_message_list(const json_t *v);

/* pair: the prompt is a conversation; its contents, joined, are appended to s->joined. */
dial_status di_schema_join(di_schema *s, const char *key, const json_t *list, dial_error *err);

/* The prompt is a conversation: turns of all texts of the row, each response an assistant's. */
dial_status di_schema_attach_turns(di_schema *s, const json_t *prompt, di_row *row,
                                   dial_error *err);

/* pair-chat: both texts in s->joined, the prompt being the longest common message prefix. */
dial_status di_schema_pair_chat(di_schema *s, di_row *row, dial_error *err);

/* pair-sharegpt and chat: the last message is what is scored. */
dial_status di_schema_sharegpt(di_schema *s, di_row *row, dial_error *err);
dial_status di_schema_chat(di_schema *s, di_row *row, dial_error *err);

#endif
