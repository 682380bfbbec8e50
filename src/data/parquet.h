/*
 * Parquet files as rows: columns of numbers, booleans and texts, lists of them, structs of them and
 * lists of structs, each one level deep (what data sets of preferences and chat messages use).
 * Encodings PLAIN, RLE, dictionary and the DELTA family; pages v1 and v2; uncompressed, snappy,
 * gzip, zstd. Anything else is ERR_INPUT that names column and encoding; columns that nobody asks
 * for are not looked at.
 */
#ifndef DI_DATA_PARQUET_H
#define DI_DATA_PARQUET_H

#include "base/json.h"

typedef struct di_parquet di_parquet;

/* Which of the file's columns are wanted. */
typedef int (*di_parquet_wants)(void *ctx, const char *column);

/* data: the whole file, borrowed until close; name stands in messages. ERR_INPUT: damaged, or
 * nothing in it that is wanted. */
dial_status di_parquet_open(const di_alloc *al, const char *name, const void *data, size_t size,
                            di_parquet_wants wants, void *ctx, di_parquet **out, dial_error *err);
void di_parquet_close(di_parquet *p);

/* 1 and moves on, or 0 at the end. */
int di_parquet_next(di_parquet *p);

/*
 * The row in hand as a new object of the wanted columns, json_decref it. A number that is not
 * finite is null, and *not_finite its column; text that is no UTF-8 likewise in *bad_text.
 */
dial_status di_parquet_row(di_parquet *p, json_t **out, const char **not_finite,
                           const char **bad_text, dial_error *err);

#endif
