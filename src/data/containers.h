/*
 * The containers behind records.h, one file each. A cut goes to the next record of the window and
 * sets line, column and either (offset, size) or the fields; *got 0: there is none. A fault of one
 * record lets the next cut go on; a fault that hides where the next one begins sets no rs->fault.
 */
#ifndef DI_DATA_CONTAINERS_H
#define DI_DATA_CONTAINERS_H

#include "data/records.h"

enum { DI_ROW_LIMIT = 64 << 20 }; /* bytes of one row, in any container */

dial_status di_jsonl_cut(di_records *rs, int *got, dial_error *err);

dial_status di_array_open(di_records *rs, dial_error *err); /* reads the bracket */
dial_status di_array_cut(di_records *rs, int *got, dial_error *err);

dial_status di_csv_open(di_records *rs, dial_error *err); /* reads the header row */
dial_status di_csv_cut(di_records *rs, int *got, dial_error *err);
dial_status di_csv_parse(di_records *rs, dial_error *err);

/* The byte `at` places behind the front of the window, reading on as needed; -1: the end. */
dial_status di_peek_slow(di_records *rs, size_t at, int *c, dial_error *err);
static inline dial_status di_peek(di_records *rs, size_t at, int *c, dial_error *err)
{
    const di_window *w = rs->w;

    if (w->begin + at >= w->end) return di_peek_slow(rs, at, c, err);
    *c = (unsigned char)w->data[w->begin + at];
    return DIAL_OK;
}

#endif
