/* dial_score: the reward of every row, in input order; memory does not grow with the rows. */
#include <stdio.h>
#include <string.h>

#include "api/session.h"
#include "base/error.h"
#include "base/file.h"
#include "dist/dist.h"
#include "model/head.h"

enum { BLOCK_ROWS = 256 }; /* rows of a rank that are tokenised before a forward pass */

/* One row of a block: its texts' indices, or the error that it gave. */
typedef struct scored_row {
    int64_t index;
    di_row_kind kind;
    int first, n_texts;
    int bad;
    char id[128], where[320], reason[64];
    int has_id;
} scored_row;

typedef struct score_job {
    const dial_score_options *opt;
    di_session s;
    di_text_scratch scratch;
    const di_dist *dist;
    scored_row *row; /* [block] */
    int n_rows, block;
    di_buf ids; /* int32 ids of all texts of the block */
    size_t *at; /* [cap] offset of each text in ids, elements */
    di_seq_view *text;
    unsigned *flags;
    float *e;
    int64_t n_texts, cap;
    di_buf lines;
    di_writer file;
    dial_write_fn write;
    void *ctx;
    di_row_counts counts; /* what truncation adds */
    int64_t rows, scored, tokens;
} score_job;

static dial_status reserve(score_job *j, int64_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = j->s.al;
    size_t cap = (size_t)(n + 256);
    void *at, *text, *flags, *e;

    if (n <= j->cap) return DIAL_OK;
    at = di_resize(al, j->at, cap * sizeof *j->at);
    if (at != NULL) j->at = at;
    text = di_resize(al, j->text, cap * sizeof *j->text);
    if (text != NULL) j->text = text;
    flags = di_resize(al, j->flags, cap * sizeof *j->flags);
    if (flags != NULL) j->flags = flags;
    e = di_resize(al, j->e, cap * (size_t)j->s.params.width * sizeof *j->e);
    if (e != NULL) j->e = e;
    if (!at || !text || !flags || !e) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu texts", cap);
    j->cap = (int64_t)cap;
done:
    return st;
}

static dial_status add_text(score_job *j, const di_text *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const int32_t *ids;
    int64_t n;
    unsigned flags;

    DI_TRY(reserve(j, j->n_texts + 1, err));
    DI_TRY(di_text_encode(&j->s.policy, j->s.tok, t, &j->scratch, &ids, &n, &flags, err));
    j->at[j->n_texts] = j->ids.size / sizeof *ids; /* ids of a row refused later stay, unused */
    di_buf_append(&j->ids, ids, (size_t)n * sizeof *ids);
    j->text[j->n_texts] = (di_seq_view){NULL, n};
    j->flags[j->n_texts++] = flags;
    DI_TRY(di_buf_status(&j->ids, err));
done:
    return st;
}

static json_t *error_line(const scored_row *r)
{
    return json_pack("{s:I, s:s, s:s}", "i", (json_int_t)r->index, "error", r->reason, "where",
                     r->where);
}

static double reward_of(const score_job *j, int text)
{
    int64_t width = j->s.params.width;
    double r =
        (double)di_reward(di_head_at(&j->s.params, j->s.params.theta), j->e + text * width, width);

    return j->opt->normalize || j->s.applied ? j->s.scale * r + j->s.shift : r;
}

static json_t *score_line(const score_job *j, const scored_row *r)
{
    json_t *line = json_pack("{s:I}", "i", (json_int_t)r->index), *list;
    int truncated = 0, failed = 0;

    if (r->has_id)
        di_json_put(line, "id", json_string(r->id), &failed);
    else if (r->kind != DI_ROW_PAIR)
        di_json_put(line, "id", json_null(), &failed);
    for (int k = 0; k < r->n_texts; k++) truncated |= j->flags[r->first + k] != 0;
    if (r->kind == DI_ROW_PAIR) {
        float chosen = (float)reward_of(j, r->first), rejected = (float)reward_of(j, r->first + 1);

        di_json_put(line, "chosen", di_json_f32(chosen), &failed);
        di_json_put(line, "rejected", di_json_f32(rejected), &failed);
        di_json_put(line, "margin", di_json_f32(chosen - rejected), &failed);
        di_json_put(line, "tokens",
                    json_pack("[I, I]", (json_int_t)j->text[r->first].n,
                              (json_int_t)j->text[r->first + 1].n),
                    &failed);
    } else if (r->n_texts == 1) {
        di_json_put(line, "score", di_json_f32((float)reward_of(j, r->first)), &failed);
        di_json_put(line, "tokens", json_integer(j->text[r->first].n), &failed);
    } else {
        list = json_array();
        for (int k = 0; k < r->n_texts; k++)
            di_json_add(list, di_json_f32((float)reward_of(j, r->first + k)), &failed);
        di_json_put(line, "scores", list, &failed);
    }
    di_json_put(line, "truncated", json_boolean(truncated), &failed);
    return di_json_whole(line, failed);
}

static dial_status emit(score_job *j, const scored_row *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *line = r->bad ? error_line(r) : score_line(j, r);

    if (line == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores");
    DI_TRY(di_json_write(line, &j->lines, err));
    di_buf_append(&j->lines, "\n", 1);
done:
    json_decref(line);
    return st;
}

static dial_status write_lines(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_buf_status(&j->lines, err));
    if (j->dist->rank > 0)
        ; /* rank 0 writes the same lines */
    else if (j->opt->out != NULL)
        DI_TRY(di_write(&j->file, j->lines.data, j->lines.size, err));
    else if (j->lines.size > 0 && j->write(j->ctx, j->lines.data, j->lines.size) != 0)
        DI_FAIL(err, DIAL_ERR_IO, "cannot write the scores");
    j->lines.size = 0;
done:
    return st;
}

/* Scores the rows of the block and writes their lines. */
static dial_status flush(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    int stop = di_stop_asked(j->s.env);

    for (int64_t i = 0; i < j->n_texts; i++) {
        j->text[i].id = (const int32_t *)(const void *)j->ids.data + j->at[i];
        j->tokens += j->text[i].n;
        if (j->text[i].n == 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, j->opt->data, "use --overlong truncate-prompt",
                       "too_long: a text has no tokens left");
        j->counts.prompt_truncated += (j->flags[i] & DI_PROMPT_TRUNCATED) != 0;
        j->counts.response_truncated += (j->flags[i] & DI_RESPONSE_TRUNCATED) != 0;
    }
    DI_TRY(di_embed_texts(j->s.embedder, j->text, NULL, j->n_texts, "score", j->e, err));
    for (int i = 0; i < j->n_rows; i++) {
        DI_TRY(emit(j, &j->row[i], err));
        j->scored += !j->row[i].bad;
    }
    j->rows += j->n_rows;
    DI_TRY(write_lines(j, err));
    j->n_rows = 0;
    j->n_texts = 0;
    j->ids.size = 0;
    DI_TRY(di_dist_any(j->dist, &stop, err));
    if (stop) DI_FAIL(err, DIAL_INTERRUPTED, "stopped");
done:
    return st;
}

static void note_bad(score_job *j, int64_t index, const dial_error *bad)
{
    scored_row *r = &j->row[j->n_rows++];
    size_t n = strcspn(bad->message, ":");

    *r = (scored_row){.index = index, .bad = 1};
    snprintf(r->where, sizeof r->where, "%s", bad->where);
    snprintf(r->reason, sizeof r->reason, "%.*s", (int)(n < 63 ? n : 63), bad->message);
}

static dial_status score_file(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows_options o;
    di_rows *rows = NULL;
    di_row row;
    dial_error bad;
    int got = 1;

    DI_TRY(di_rows_options_from(&j->opt->common, &o, err));
    DI_TRY(di_rows_open(j->s.al, j->opt->data, &o, j->s.env, &rows, err));
    for (;;) {
        DI_TRY(di_rows_next(rows, &row, &got, o.on_error_skip ? &bad : NULL, err));
        if (got == 0) break;
        if (got == 2) {
            note_bad(j, di_rows_counts(rows)->read - 1, &bad);
        } else {
            scored_row *r = &j->row[j->n_rows++];

            *r = (scored_row){.index = row.index,
                              .kind = row.kind,
                              .first = (int)j->n_texts,
                              .n_texts = row.n_texts,
                              .has_id = row.id != NULL};
            snprintf(r->id, sizeof r->id, "%s", row.id != NULL ? row.id : "");
            for (int k = 0; k < row.n_texts; k++) {
                bad = (dial_error){0};
                if (add_text(j, &row.text[k], &bad) == DIAL_OK) continue;
                DI_TRY(di_rows_refuse(rows, &bad, err));
                j->n_texts = r->first; /* skipped: the row's line says why */
                j->n_rows--;
                note_bad(j, row.index, &bad);
                break;
            }
        }
        if (j->n_rows == j->block) DI_TRY(flush(j, err));
    }
    DI_TRY(flush(j, err));
    j->counts.read = di_rows_counts(rows)->read;
    j->counts.bad = di_rows_counts(rows)->bad;
    memcpy(j->counts.bad_by, di_rows_counts(rows)->bad_by, sizeof j->counts.bad_by);
    j->counts.n_bad_by = di_rows_counts(rows)->n_bad_by;
    j->counts.used = j->scored;
done:
    di_rows_close(rows);
    return st;
}

/* --prompt and --response: one text. */
static dial_status score_one(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *prompt = j->opt->prompt != NULL ? j->opt->prompt : "";
    di_text t = {.prompt = prompt,
                 .prompt_size = strlen(prompt),
                 .response = j->opt->response,
                 .response_size = strlen(j->opt->response),
                 .has_border = 1};

    if (t.response_size == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, "--response", "give some text", "empty_response");
    j->row[j->n_rows++] = (scored_row){.kind = DI_ROW_SINGLE, .n_texts = 1};
    DI_TRY(add_text(j, &t, err));
    DI_TRY(flush(j, err));
    j->counts.read = j->counts.used = 1;
done:
    return st;
}

dial_status dial_score(const dial_score_options *o, dial_write_fn write, void *ctx,
                       const dial_env *env, char **json, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    score_job *j = di_zalloc(al, sizeof *j);
    json_t *doc;

    if (j == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for scoring");
    j->opt = o;
    j->dist = di_dist_of(env);
    j->block = BLOCK_ROWS * j->dist->size;
    j->write = write;
    j->ctx = ctx;
    j->scratch.al = al;
    di_buf_init(&j->ids, al);
    di_buf_init(&j->lines, al);
    if (o->model == NULL || (o->data == NULL && o->response == NULL))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->model == NULL ? "--model" : "--data",
                   "give --data FILE, or --prompt and --response", "the flag is required");
    if (j->dist->size > 1 && o->data != NULL && strcmp(o->data, "-") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--data -", "write the rows to a file first",
                   "a launcher gives its standard input to one of the %d processes alone",
                   j->dist->size);
    j->row = di_new_array(al, (size_t)j->block, sizeof *j->row);
    if (j->row == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d rows", j->block);
    DI_TRY(di_session_open(&j->s, o->model, &o->common, 1, NULL, NULL, env, err));
    DI_TRY(di_session_ready(&j->s, err));
    if (o->out != NULL && j->dist->rank == 0) DI_TRY(di_write_begin(al, o->out, &j->file, err));
    if (o->response != NULL)
        DI_TRY(score_one(j, err));
    else
        DI_TRY(score_file(j, err));
    if (j->dist->rank > 0) goto done;
    if (o->out != NULL) DI_TRY(di_write_commit(&j->file, err));
    doc = json_pack("{s:s, s:s, s:s?, s:o, s:I}", "schema", "dial.score/1", "model", o->model,
                    "out", o->out, "rows", di_row_counts_to_json(&j->counts), "tokens",
                    (json_int_t)j->tokens);
    DI_TRY(di_document(al, doc, json, err));
done:
    st = di_dist_leave(di_dist_of(env), st, err);
    if (j != NULL) {
        di_write_abort(&j->file);
        di_text_scratch_deinit(&j->scratch);
        di_buf_deinit(&j->ids);
        di_buf_deinit(&j->lines);
        di_free(al, j->row);
        di_free(al, j->at);
        di_free(al, j->text);
        di_free(al, j->flags);
        di_free(al, j->e);
        if (j->s.al != NULL) di_session_close(&j->s);
        di_free(al, j);
    }
    return st;
}
