#include "api/picked.h"

#include "base/error.h"
#include "base/file.h"

void di_picked_names(const di_evidence *x, di_pick_pair *out)
{
    for (int64_t i = 0; i < x->n; i++)
        out[i] = (di_pick_pair){
            {x->d->seq[x->text[2 * i]].hash, x->d->seq[x->text[2 * i + 1]].hash}, x->group[i]};
    di_pick_forget_common_prompt(out, x->n);
}

static json_t *line_of(const di_row *row, const char *by)
{
    const di_text *a = &row->text[0], *b = &row->text[1];

    return json_pack("{s:s?, s:s%, s:[s%, s%], s:n, s:s}", "id", row->id, "prompt", a->prompt,
                     a->prompt_size, "responses", a->response, a->response_size, b->response,
                     b->response_size, "label", "pick", by);
}

/* The rows in hand, each kept at its place in the answer. */
static dial_status collect(di_rows *rows, const int64_t *row, int64_t n, const char *by,
                           json_t *lines, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_row x;
    int got = 1;

    for (;;) {
        DI_TRY(di_rows_next(rows, &x, &got, NULL, err));
        if (!got) break;
        for (int64_t i = 0; i < n; i++)
            if (row[i] == x.index && json_array_set_new(lines, (size_t)i, line_of(&x, by)) != 0)
                DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the picked rows");
    }
done:
    return st;
}

dial_status di_picked_write(const di_alloc *al, const dial_common_options *common, const char *file,
                            const int64_t *row, int64_t n, const char *by, const char *out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows_options o;
    di_rows *rows = NULL;
    json_t *lines = json_array();
    di_buf b;

    di_buf_init(&b, al);
    if (lines == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the picked rows");
    for (int64_t i = 0; i < n; i++) json_array_append_new(lines, json_null());
    DI_TRY(di_rows_options_from(common, &o, err));
    o.drop_labels = 1;
    DI_TRY(di_rows_open(al, file, &o, NULL, &rows, err));
    DI_TRY(collect(rows, row, n, by, lines, err));
    for (size_t i = 0; i < json_array_size(lines); i++) {
        DI_TRY(di_json_write(json_array_get(lines, i), &b, err));
        di_buf_append(&b, "\n", 1);
    }
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_write_file(al, out, b.data != NULL ? b.data : "", b.size, err));
done:
    di_rows_close(rows);
    di_buf_deinit(&b);
    json_decref(lines);
    return st;
}
