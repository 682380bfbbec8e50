/* Reads a text that stands in the test as a file, and prints its rows so that they compare. */
#ifndef TEST_READ_ROWS_H
#define TEST_READ_ROWS_H

#include "test.h"

#include "data/rows.h"

/* Everything that a row hands out, in one line; texts as prompt|response, . without a border. */
static void print_row(const di_row *row, di_buf *out)
{
    static const char *const kind[] = {"pair", "scored", "single", "mcq", "candidates"};

    di_buf_printf(out, "%s", kind[row->kind]);
    for (int i = 0; i < row->n_texts; i++) {
        const di_text *t = &row->text[i];

        di_buf_printf(out, " <");
        di_buf_append(out, t->prompt, t->prompt_size);
        di_buf_printf(out, t->has_border ? "|" : ".");
        di_buf_append(out, t->response, t->response_size);
        di_buf_printf(out, ">");
    }
    if (row->n_correct != 0) di_buf_printf(out, " correct=%d", row->n_correct);
    if (row->score != 0) di_buf_printf(out, " score=%g", row->score);
    if (row->margin != 0) di_buf_printf(out, " margin=%g", row->margin);
    if (row->weight != 1) di_buf_printf(out, " weight=%g", row->weight);
    if (row->id != NULL) di_buf_printf(out, " id=%s", row->id);
    if (row->group != NULL) di_buf_printf(out, " group=%s", row->group);
    if (row->length_matched >= 0) di_buf_printf(out, " matched=%d", row->length_matched);
    if (row->identical) di_buf_printf(out, " identical");
    if (row->from_messages) di_buf_printf(out, " messages");
    di_buf_printf(out, "\n");
}

/* Reads all rows of n bytes into *out, one line each; the status of what stopped it. */
static dial_status read_all(const di_alloc *al, const char *name, const void *text, size_t n,
                            const di_rows_options *opt, const dial_env *env, di_buf *out,
                            di_row_counts *counts, dial_error *err)
{
    di_rows *rows = NULL;
    di_row row;
    int got = 1;
    dial_status st = di_rows_open_memory(al, name, text, n, opt, env, &rows, err);

    while (st == DIAL_OK && got) {
        st = di_rows_next(rows, &row, &got, NULL, err);
        if (st == DIAL_OK && got) print_row(&row, out);
    }
    if (rows != NULL && counts != NULL) *counts = *di_rows_counts(rows);
    di_rows_close(rows);
    return st;
}

/* The file reads as these lines. */
static void check_rows(const char *text, const di_rows_options *opt, const char *expected)
{
    di_buf out;
    dial_error err = {0};

    di_buf_init(&out, di_alloc_default());
    assert_ok(read_all(di_alloc_default(), "f", text, strlen(text), opt, NULL, &out, NULL, &err),
              err);
    assert_string_equal(out.data != NULL ? out.data : "", expected);
    di_buf_deinit(&out);
}

/* The file fails with this place, and a message that begins like this. */
static void check_error(const char *text, size_t n, const di_rows_options *opt, dial_status status,
                        const char *where, const char *message)
{
    di_buf out;
    dial_error err = {0};
    dial_status st;

    di_buf_init(&out, di_alloc_default());
    st = read_all(di_alloc_default(), "f", text, n, opt, NULL, &out, NULL, &err);
    di_buf_deinit(&out);
    if (st != status || strcmp(err.where, where) != 0 ||
        strncmp(err.message, message, strlen(message)) != 0)
        fail_msg("'%.80s'\n  gave     %s: %s: %s (try: %s)\n  expected %s: %s: %s", text,
                 dial_status_text(st), err.where, err.message, err.hint, dial_status_text(status),
                 where, message);
    assert_true(err.hint[0] != '\0');
}

#endif
