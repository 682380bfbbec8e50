/* Parquet files: the bytes are a file, every column wanted. */
#include <stdint.h>
#include <stdlib.h>

#include "data/parquet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int all(void *ctx, const char *column)
{
    (void)ctx;
    (void)column;
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    di_parquet *p = NULL;
    json_t *row;
    const char *not_finite, *bad_text;
    dial_error err = {0};
    dial_status st;

    if (di_parquet_open(di_alloc_default(), "f", data, size, all, NULL, &p, &err) != DIAL_OK)
        return 0;
    /* a run of nulls can stand for 2^31 rows */
    for (int n = 0; n < 300 && di_parquet_next(p); n++) {
        row = NULL;
        st = di_parquet_row(p, &row, &not_finite, &bad_text, &err);
        if ((st == DIAL_OK) != json_is_object(row)) abort();
        if (st != DIAL_OK && (st != DIAL_ERR_INPUT || err.message[0] == '\0')) abort();
        json_decref(row);
        if (st != DIAL_OK) break;
    }
    di_parquet_close(p);
    return 0;
}
