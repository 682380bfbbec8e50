/* Data files: the bytes are a file, read by its content and as each container by name. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/rows.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What callers rely on: texts that are valid UTF-8 on both sides of the border and not empty,
 * finite numbers, and no label where labels are dropped. */
static void check(const di_row *row, const di_rows_options *opt)
{
    if (row->n_texts < 1 || row->n_texts > DI_ROW_TEXTS) abort();
    for (int i = 0; i < row->n_texts; i++) {
        const di_text *t = &row->text[i];

        if (t->prompt_size + t->response_size == 0 || t->response_size == 0) abort();
        if (di_utf8_check(t->prompt, t->prompt_size) < t->prompt_size) abort();
        if (di_utf8_check(t->response, t->response_size) < t->response_size) abort();
    }
    if (!isfinite(row->score) || !isfinite(row->margin) || !isfinite(row->weight)) abort();
    if (opt->drop_labels && (row->score != 0 || row->margin != 0)) abort();
    if (row->id != NULL && strlen(row->id) > (size_t)1 << 26) abort();
    if (row->group != NULL && strlen(row->group) > (size_t)1 << 26) abort();
    if (row->line < 1 || row->column < 1) abort();
}

static void read_as(const char *format, const uint8_t *data, size_t size, int target)
{
    di_rows_options opt = di_rows_options_default();
    const di_row_counts *counts;
    di_rows *rows = NULL;
    di_row row;
    dial_error bad, err;
    char hex[65];
    int got = 1;
    int64_t n = 0, line = 0;

    opt.format = format;
    opt.on_error_skip = 1;
    opt.max_bad_share = 1;
    opt.drop_labels = target;
    if (di_rows_open_memory(di_alloc_default(), "fuzz", data, size, &opt, NULL, &rows, &err) !=
        DIAL_OK)
        return;
    while (di_rows_next(rows, &row, &got, &bad, &err) == DIAL_OK && got != 0) {
        if (got == 1) check(&row, &opt);
        if (got == 2 && (bad.status != DIAL_ERR_INPUT || bad.message[0] == '\0')) abort();
        if (row.index != n++ || row.line < line) abort();
        line = row.line;
    }
    counts = di_rows_counts(rows);
    if (counts->bad > counts->read || counts->n_bad_by > DI_MAX_REASONS) abort();
    if (di_rows_sha256(rows, hex, &err) != DIAL_OK) abort();
    di_rows_close(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = {"auto", "jsonl", "json", "csv", "tsv"};

    for (int i = 0; i < 5; i++)
        for (int target = 0; target < 2; target++) read_as(formats[i], data, size, target);
    return 0;
}
