/*
 * RUN/reference.safetensors: what a run makes of a sample of its domains (interfaces.md 4). `serve
 * --monitor` compares live traffic with it, and `adapt --match-scale` holds the reward's mean and
 * scale on the same texts from run to run.
 *
 *     source, target           f32 [n, C]
 *     source_row, target_row   i64 [n]: rows of the side's files, one after the other
 *     metadata                 step; source_rows: see below; source_sha256: of a held-out file
 *
 * A sample is a list of rows. A row brings its texts in an order that no label decides (the smaller
 * hash first), less those that an earlier row has brought: equal texts would count twice in every
 * distance between samples. So the list of rows says which texts they are, and the next run finds
 * them again.
 */
#ifndef DI_API_REFERENCE_H
#define DI_API_REFERENCE_H

#include "data/dataset.h"
#include "data/batch.h"

typedef struct di_sample {
    di_seq_view *text; /* [room], borrowed from the datasets */
    uint64_t *prompt, *hash;
    int64_t *row; /* of the side's files, one after the other */
    int64_t n, room;
    float *e; /* [n, C]; NULL until somebody embeds them */
} di_sample;

dial_status di_sample_init(const di_alloc *al, int64_t room, di_sample *s, dial_error *err);
void di_sample_deinit(const di_alloc *al, di_sample *s);

/* The texts of an example of d, until the sample is full; row: its number among the side's. */
void di_sample_take(di_sample *s, const di_dataset *d, const di_example *x, int64_t row);

/* The texts of rows [n] of these files, as di_sample_take gave the numbers; 1: they are those that
 * the list was made of, every one. */
int di_sample_take_rows(di_sample *s, di_dataset *const *set, int n_sets, const int64_t *row,
                        int64_t n);

/* Rows of the files before set[k]. */
int64_t di_rows_before(di_dataset *const *set, int k);

/* What the source's rows are to the run: seen in training, held out of the same files, or rows of
 * the file that --heldout-source names. */
typedef enum di_reference_rows {
    DI_REFERENCE_TRAINED,
    DI_REFERENCE_HELD_OUT,
    DI_REFERENCE_HELD_OUT_FILE,
    DI_N_REFERENCE_ROWS
} di_reference_rows;
extern const char *const di_reference_rows_name[DI_N_REFERENCE_ROWS];

/* side: source, target; n 0: none. held_out_sha256: of the file, where the rows are of one. */
dial_status di_reference_write(const di_alloc *al, const char *run, const di_sample side[2],
                               int64_t width, int64_t step, di_reference_rows rows,
                               const char *held_out_sha256, dial_error *err);

typedef struct di_reference {
    int64_t *row[2]; /* [n]; NULL: the file has not this side */
    float *e[2];     /* [n, width] */
    int64_t n[2];
    di_reference_rows rows;
    char sha256[65]; /* of the held-out file */
} di_reference;

/* ERR_INPUT: no source in it, or a tensor that is not of this width, or without its rows. */
dial_status di_reference_read(const di_alloc *al, const char *run, int64_t width, di_reference *out,
                              dial_error *err);
void di_reference_free(const di_alloc *al, di_reference *r);

#endif
