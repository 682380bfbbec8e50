/*
 * What the files parquet*.c share. A file is: PAR1, column chunks, a footer that says where they
 * are, its length, PAR1. A chunk is a dictionary page, perhaps, and data pages; a page has levels,
 * which say how a value nests, and values. Everything is read when it is asked for, value by value,
 * so that memory is a page and a dictionary a column, whatever a header claims.
 *
 * Format: github.com/apache/parquet-format, README, Encodings and parquet.thrift.
 */
#ifndef DI_DATA_PARQUET_IMPL_H
#define DI_DATA_PARQUET_IMPL_H

#include "base/error.h"
#include "data/parquet.h"
#include "text/tokenizer.h"

/* --- parquet_thrift.c: the compact protocol --------------------------------------------------- */

/* A place in bytes; `bad` once something did not fit, after which every read gives 0. */
typedef struct di_bytes {
    const unsigned char *at, *end;
    int bad;
} di_bytes;

uint64_t di_varint(di_bytes *b);
int64_t di_zigzag(di_bytes *b);

/* Fields of a struct, one after the other: 0 at its end; *type as in the protocol. *id starts as 0.
 */
int di_thrift_field(di_bytes *b, int *id, int *type);
/* The items of a list; their type. More than there are bytes left is bad. */
size_t di_thrift_list(di_bytes *b, int *type);
di_str di_thrift_string(di_bytes *b);
void di_thrift_skip(di_bytes *b, int type);

/* --- parquet_meta.c: what is in the file --------------------------------------------------------
 */

/* Physical types, codecs and encodings by their numbers in parquet.thrift. */
enum {
    DI_PQ_BOOLEAN,
    DI_PQ_INT32,
    DI_PQ_INT64,
    DI_PQ_INT96,
    DI_PQ_FLOAT,
    DI_PQ_DOUBLE,
    DI_PQ_BYTES
};
enum { DI_PQ_PLAIN_CODEC, DI_PQ_SNAPPY, DI_PQ_GZIP, DI_PQ_ZSTD = 6 };
enum {
    DI_PQ_PLAIN = 0,
    DI_PQ_PLAIN_DICTIONARY = 2,
    DI_PQ_RLE = 3,
    DI_PQ_DELTA_BINARY = 5,
    DI_PQ_DELTA_LENGTH = 6,
    DI_PQ_DELTA_BYTES = 7,
    DI_PQ_RLE_DICTIONARY = 8
};

typedef enum di_pq_shape { DI_PQ_FLAT, DI_PQ_STRUCT, DI_PQ_LIST, DI_PQ_STRUCT_LIST } di_pq_shape;

/* A column of values: a leaf of the schema's tree. */
typedef struct di_pq_leaf {
    char *name; /* of the field, in a struct */
    int type, max_def, max_rep;
    const char *refused; /* why its values are not read; NULL: they are */
} di_pq_leaf;

/* A key of the rows: a child of the schema's root, leaves first .. first + n - 1. */
typedef struct di_pq_field {
    char *name;
    di_pq_shape shape;
    size_t first, n;
    int def_here; /* least definition level at which it is not null */
    int def_item; /* list: ... at which it has an item */
    int def_part; /* struct in a list: ... at which the item is not null */
    const char *refused;
} di_pq_field;

typedef struct di_pq_chunk {
    int64_t at, size, values; /* its pages, with the dictionary's */
    int codec;
} di_pq_chunk;

typedef struct di_pq_meta {
    const di_alloc *al;
    di_pq_field *field;
    di_pq_leaf *leaf;
    size_t n_fields, n_leaves, n_groups;
    di_pq_chunk *chunk; /* [n_groups, n_leaves] */
    int64_t *rows;      /* [n_groups] */
} di_pq_meta;

dial_status di_pq_meta_read(di_pq_meta *m, const di_alloc *al, const char *name,
                            const unsigned char *data, size_t size, dial_error *err);
void di_pq_meta_deinit(di_pq_meta *m);

/* --- parquet_values.c: encodings ----------------------------------------------------------------
 */

/* RLE / bit-packed hybrid: levels, indices, booleans. */
typedef struct di_pq_rle {
    di_bytes in;
    int width;      /* bits */
    uint64_t left;  /* of the run */
    uint32_t value; /* of a repeated run */
    int packed;
    unsigned bit; /* of a packed run: next bit of in.at */
} di_pq_rle;

void di_pq_rle_start(di_pq_rle *r, di_bytes in, int width);
uint32_t di_pq_rle_next(di_pq_rle *r); /* r->in.bad at the end */

/* DELTA_BINARY_PACKED */
typedef struct di_pq_delta {
    di_bytes in;
    uint64_t block, minis, left, in_block, in_mini;
    int64_t last, least;
    const unsigned char *widths;
    int width, first;
    unsigned bit;
} di_pq_delta;

void di_pq_delta_start(di_pq_delta *d, di_bytes in);
int64_t di_pq_delta_next(di_pq_delta *d); /* d->in.bad at the end */

/* A value of any type that is read. */
typedef struct di_pq_value {
    int64_t number; /* BOOLEAN, INT32, INT64 */
    double real;    /* FLOAT, DOUBLE */
    di_str text;    /* BYTES; valid until the next value of the column */
} di_pq_value;

/* The values of a page, whatever their encoding. */
typedef struct di_pq_values {
    const di_alloc *al;
    int type, encoding;
    di_bytes in;
    di_pq_rle rle;              /* indices, booleans */
    di_pq_delta number, length; /* DELTA_BINARY; of strings: prefixes, lengths */
    const di_pq_value *dictionary;
    size_t n_dictionary;
    char *last; /* DELTA_BYTES: the value before */
    size_t last_size, last_cap;
} di_pq_values;

/* 0: the encoding is not one that is read for this type. */
int di_pq_values_start(di_pq_values *v, int type, int encoding, di_bytes in);
/* ERR_NOMEM; v->in.bad if there is none. */
dial_status di_pq_values_next(di_pq_values *v, di_pq_value *out, dial_error *err);
const char *di_pq_encoding_name(int encoding);

/* --- parquet_page.c: the pages of a column ------------------------------------------------------
 */

typedef struct di_pq_column {
    const di_alloc *al;
    const char *file;
    const di_pq_leaf *leaf;
    const unsigned char *data; /* the file */
    size_t size;
    size_t at, end;      /* of the chunk: its unread pages */
    int64_t values_left; /* of the chunk */
    int codec;
    unsigned char *page, *dictionary_page; /* unpacked */
    di_pq_value *dictionary;
    size_t n_dictionary;
    int64_t left; /* values of the page */
    di_pq_rle rep, def;
    di_pq_values values;
    /* the value in hand, when `have` */
    int have, rep_level, def_level;
    di_pq_value value;
} di_pq_column;

/* Begins a chunk; what was read before is gone. */
void di_pq_column_start(di_pq_column *c, const di_pq_chunk *chunk);
/* The next value in hand; *got 0: the chunk is over. */
dial_status di_pq_column_peek(di_pq_column *c, int *got, dial_error *err);
void di_pq_column_deinit(di_pq_column *c);

/* "FILE: column 'x'" with the command that writes the file anew as the hint. */
#define DI_PQ_FAIL(file, leaf, ...)                                                                \
    DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: column '%s'", (file), (leaf)), DI_PQ_HINT,         \
               __VA_ARGS__)

#define DI_PQ_HINT                                                                                 \
    "convert it: python -c \"import pandas; pandas.read_parquet('FILE').to_json('FILE.jsonl', "    \
    "orient='records', lines=True)\""

#endif
