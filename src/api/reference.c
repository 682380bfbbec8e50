#include "api/reference.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/safetensors.h"

const char *const di_reference_rows_name[DI_N_REFERENCE_ROWS] = {"trained on", "held out",
                                                                 "held-out file"};

static const char *const tensor_name[2][2] = {{"source", "source_row"}, {"target", "target_row"}};

/* ---- a sample ---- */

void di_sample_deinit(const di_alloc *al, di_sample *s)
{
    di_free(al, s->text);
    di_free(al, s->prompt);
    di_free(al, s->hash);
    di_free(al, s->row);
    di_free(al, s->e);
}

dial_status di_sample_init(const di_alloc *al, int64_t room, di_sample *s, dial_error *err)
{
    dial_status st = DIAL_OK;

    s->room = room;
    s->text = di_new_array(al, (size_t)room, sizeof *s->text);
    s->prompt = di_new_array(al, (size_t)room, sizeof *s->prompt);
    s->hash = di_new_array(al, (size_t)room, sizeof *s->hash);
    s->row = di_new_array(al, (size_t)room, sizeof *s->row);
    if (s->text == NULL || s->prompt == NULL || s->hash == NULL || s->row == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sample of %lld texts", (long long)room);
done:
    return st;
}

static void take_text(di_sample *s, const di_seq *q, int64_t row)
{
    for (int64_t i = 0; i < s->n; i++)
        if (s->hash[i] == q->hash) return;
    if (s->n == s->room) return;
    s->text[s->n] = (di_seq_view){q->id, q->n};
    s->prompt[s->n] = q->prompt_hash;
    s->hash[s->n] = q->hash;
    s->row[s->n++] = row;
}

void di_sample_take(di_sample *s, const di_dataset *d, const di_example *x, int64_t row)
{
    uint64_t last = 0;

    for (int32_t k = 0; k < x->n_texts; k++) {
        const di_seq *next = NULL;

        for (int32_t t = 0; t < x->n_texts; t++) {
            const di_seq *q = &d->seq[d->text_of[x->first + t]];

            if ((k == 0 || q->hash > last) && (next == NULL || q->hash < next->hash)) next = q;
        }
        if (next == NULL) break; /* the rest are equal texts */
        last = next->hash;
        take_text(s, next, row);
    }
}

int64_t di_rows_before(di_dataset *const *set, int k)
{
    int64_t n = 0;

    for (int i = 0; i < k; i++) n += set[i]->counts.read;
    return n;
}

/* The example of a row of the files; NULL: it is not used. */
static const di_example *find_row(di_dataset *const *set, int n, int64_t row, const di_dataset **d)
{
    int64_t lo = 0, hi;
    int k = 0;

    while (k < n && row >= set[k]->counts.read) row -= set[k++]->counts.read;
    if (k == n) return NULL;
    *d = set[k];
    for (hi = (*d)->n; lo < hi;) { /* rows ascend */
        int64_t mid = (lo + hi) / 2;

        if ((*d)->example[mid].row < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < (*d)->n && (*d)->example[lo].row == row ? &(*d)->example[lo] : NULL;
}

int di_sample_take_rows(di_sample *s, di_dataset *const *set, int n_sets, const int64_t *row,
                        int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const di_dataset *d = NULL;
        const di_example *x =
            i > 0 && row[i] == row[i - 1] ? NULL : find_row(set, n_sets, row[i], &d);

        if (x != NULL) di_sample_take(s, d, x, row[i]);
    }
    return s->n == n && memcmp(s->row, row, (size_t)n * sizeof *row) == 0;
}

/* ---- the file ---- */

dial_status di_reference_write(const di_alloc *al, const char *run, const di_sample side[2],
                               int64_t width, int64_t step, di_reference_rows rows,
                               const char *held_out_sha256, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, run, "reference.safetensors"), number[24];
    json_t *meta = NULL;
    di_st_entry entry[4];
    size_t n = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    for (int k = 0; k < 2; k++) {
        const di_sample *s = &side[k];

        if (s->n == 0) continue;
        entry[n++] = (di_st_entry){tensor_name[k][0],
                                   "F32",
                                   {s->n, width},
                                   2,
                                   s->e,
                                   (size_t)(s->n * width) * sizeof *s->e};
        entry[n++] = (di_st_entry){
            tensor_name[k][1], "I64", {s->n}, 1, s->row, (size_t)s->n * sizeof *s->row};
    }
    snprintf(number, sizeof number, "%lld", (long long)step);
    meta =
        json_pack("{s:s, s:s, s:s*}", "step", number, "source_rows", di_reference_rows_name[rows],
                  "source_sha256", rows == DI_REFERENCE_HELD_OUT_FILE ? held_out_sha256 : NULL);
    if (meta == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the reference");
    DI_TRY(di_st_write(al, path, entry, n, meta, err));
done:
    json_decref(meta);
    di_free(al, path);
    return st;
}

void di_reference_free(const di_alloc *al, di_reference *r)
{
    for (int k = 0; k < 2; k++) {
        di_free(al, r->row[k]);
        di_free(al, r->e[k]);
    }
    *r = (di_reference){.n = {0}};
}

static dial_status read_side(const di_alloc *al, const di_st *s, const char *path, int k,
                             int64_t width, di_reference *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *name = tensor_name[k][0];
    const di_st_tensor *e = di_st_find(s, name), *row = di_st_find(s, tensor_name[k][1]);

    if (e == NULL && k > 0) goto done;
    if (e == NULL || row == NULL || e->n_dims != 2 || e->dim[1] != width ||
        strcmp(row->dtype_name, "I64") != 0 || row->count != e->dim[0] || row->count == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "train the run again",
                   "expected %s [n, %lld] and %s [n]", name, (long long)width, tensor_name[k][1]);
    out->n[k] = row->count;
    out->row[k] = di_new_array(al, (size_t)row->count, sizeof *out->row[k]);
    out->e[k] = di_new_array(al, (size_t)(row->count * width), sizeof *out->e[k]);
    if (out->row[k] == NULL || out->e[k] == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", path);
    memcpy(out->row[k], row->data, (size_t)row->count * sizeof *out->row[k]);
    DI_TRY(di_st_read_f32(s, path, name, out->e[k], row->count * width, err));
done:
    return st;
}

dial_status di_reference_read(const di_alloc *al, const char *run, int64_t width, di_reference *out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, run, "reference.safetensors");
    const char *rows, *sha;
    di_reference r = {.n = {0}};
    di_st s = {0};

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_st_open(al, path, &s, err));
    for (int k = 0; k < 2; k++) DI_TRY(read_side(al, &s, path, k, width, &r, err));
    rows = json_string_value(json_object_get(s.metadata, "source_rows"));
    sha = json_string_value(json_object_get(s.metadata, "source_sha256"));
    for (int k = 0; rows != NULL && k < DI_N_REFERENCE_ROWS; k++)
        if (strcmp(rows, di_reference_rows_name[k]) == 0) r.rows = (di_reference_rows)k;
    snprintf(r.sha256, sizeof r.sha256, "%s", sha != NULL ? sha : "");
    *out = r;
    r = (di_reference){.n = {0}};
done:
    di_st_close(&s);
    di_reference_free(al, &r);
    di_free(al, path);
    return st;
}
