/*
 * dial_score, dial_rank: the reward of every row, or the order of its responses, in input order;
 * memory does not grow with the rows.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/resumed.h"
#include "api/session.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
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
    const char *verb;
    int ranks;   /* lines are orders of responses */
    int64_t top; /* places of an order; 0: all */
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
    di_resumed resumed; /* --resume: of rank 0 */
    int64_t passed;     /* rows that are done already: read, encoded for the counts, no more */
    int64_t total;      /* rows of the file, nearly; -1: not known */
    double started;
    dial_write_fn write;
    void *ctx;
    di_row_counts counts; /* what truncation adds */
    int64_t rows, scored, tokens, new_tokens;
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

/* Best first; equal rewards keep the order of the row. */
static json_t *rank_line(const score_job *j, const scored_row *r)
{
    json_t *line = json_pack("{s:I}", "i", (json_int_t)r->index);
    json_t *order = json_array(), *scores = json_array();
    float score[DI_ROW_TEXTS] = {0};
    int place[DI_ROW_TEXTS] = {0}, truncated = 0, failed = 0;
    const int64_t top = j->top > 0 && j->top < r->n_texts ? j->top : r->n_texts;

    for (int k = 0; k < r->n_texts; k++) {
        int at = k;

        score[k] = (float)reward_of(j, r->first + k);
        truncated |= j->flags[r->first + k] != 0;
        for (; at > 0 && score[place[at - 1]] < score[k]; at--) place[at] = place[at - 1];
        place[at] = k;
        di_json_add(scores, di_json_f32(score[k]), &failed);
    }
    for (int64_t k = 0; k < top; k++) di_json_add(order, json_integer(place[k]), &failed);
    if (r->has_id) di_json_put(line, "id", json_string(r->id), &failed);
    di_json_put(line, "best", json_integer(place[0]), &failed);
    di_json_put(line, "order", order, &failed);
    di_json_put(line, "scores", scores, &failed);
    di_json_put(line, "margin",
                r->n_texts > 1 ? di_json_f32(score[place[0]] - score[place[1]]) : json_null(),
                &failed);
    di_json_put(line, "truncated", json_boolean(truncated), &failed);
    return di_json_whole(line, failed);
}

static dial_status emit(score_job *j, const scored_row *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *line = r->bad ? error_line(r) : j->ranks ? rank_line(j, r) : score_line(j, r);

    if (line == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores");
    DI_TRY(di_json_write(line, &j->lines, err));
    di_buf_append(&j->lines, "\n", 1);
done:
    json_decref(line);
    return st;
}

/* The file is cut to its whole lines only once the first of ours is the last of them. */
static dial_status write_file(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (j->lines.size == 0) goto done;
    if (j->file.f == NULL) {
        DI_TRY(di_resumed_check(&j->resumed, j->opt->out, j->lines.data, j->lines.size, err));
        DI_TRY(di_write_resume(j->s.al, j->opt->out, j->resumed.keep, &j->file, err));
    }
    DI_TRY(di_write(&j->file, j->lines.data, j->lines.size, err));
    if (j->opt->resume) DI_TRY(di_write_flush(&j->file, err));
done:
    return st;
}

static dial_status write_lines(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_buf_status(&j->lines, err));
    if (j->dist->rank > 0)
        ; /* rank 0 writes the same lines */
    else if (j->opt->out != NULL)
        DI_TRY(write_file(j, err));
    else if (j->lines.size > 0 && j->write(j->ctx, j->lines.data, j->lines.size) != 0)
        DI_FAIL(err, DIAL_ERR_IO, "cannot write the scores");
    j->lines.size = 0;
done:
    return st;
}

static void tell_progress(const score_job *j)
{
    const dial_env *env = j->s.env;
    const double seconds = di_now() - j->started;
    const double each = seconds / (double)(j->rows - j->passed);

    if (env == NULL || env->progress == NULL) return;
    env->progress(env->ctx, &(dial_progress){
                                .what = j->verb,
                                .done = j->rows,
                                .total = j->total > j->rows ? j->total : -1,
                                .loss = NAN,
                                .accuracy = NAN,
                                .w1 = NAN,
                                .tokens_per_second = (double)j->new_tokens / seconds,
                                .seconds_left =
                                    j->total > j->rows ? each * (double)(j->total - j->rows) : -1});
}

static dial_status emit_block(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_embed_texts(j->s.embedder, j->text, NULL, j->n_texts, NULL, j->e, err));
    for (int i = 0; i < j->n_rows; i++) DI_TRY(emit(j, &j->row[i], err));
    DI_TRY(write_lines(j, err));
done:
    return st;
}

/* Scores the rows of the block and writes their lines. */
static dial_status flush(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    int stop = di_stop_asked(j->s.env);
    const int64_t before = j->tokens;

    for (int64_t i = 0; i < j->n_texts; i++) {
        j->text[i].id = (const int32_t *)(const void *)j->ids.data + j->at[i];
        j->tokens += j->text[i].n;
        if (j->text[i].n == 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, j->opt->data, "use --overlong truncate-prompt",
                       "too_long: a text has no tokens left");
        j->counts.prompt_truncated += (j->flags[i] & DI_PROMPT_TRUNCATED) != 0;
        j->counts.response_truncated += (j->flags[i] & DI_RESPONSE_TRUNCATED) != 0;
    }
    if (j->rows >= j->passed) {
        DI_TRY(emit_block(j, err));
        j->new_tokens += j->tokens - before;
    }
    for (int i = 0; i < j->n_rows; i++) j->scored += !j->row[i].bad;
    j->rows += j->n_rows;
    if (j->rows > j->passed)
        tell_progress(j);
    else
        j->started = di_now();
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
    o.in_order = j->ranks;
    DI_TRY(di_rows_open(j->s.al, j->opt->data, &o, j->s.env, &rows, err));
    for (;;) {
        DI_TRY(di_rows_next(rows, &row, &got, o.on_error_skip ? &bad : NULL, err));
        if (got == 0) break;
        if (got == 1 && j->ranks && row.n_texts < 2 && row.kind != DI_ROW_MCQ)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s:%lld", j->opt->data, (long long)row.line),
                       "write {\"prompt\": ..., \"responses\": [..., ...]}",
                       "expected rows with several responses to rank, found rows of schema %s",
                       di_rows_schema(rows));
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
        if (j->n_rows == j->block || j->rows + j->n_rows == j->passed) DI_TRY(flush(j, err));
    }
    DI_TRY(flush(j, err));
    if (j->rows < j->passed + (j->resumed.last != NULL))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, j->opt->out, "give the same data, or leave --resume out",
                   "the file holds more lines than '%s' has rows", j->opt->data);
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

/* Lines of a plain file of JSON Lines, for the progress; -1: not known beforehand. */
static int64_t count_rows(const dial_score_options *o)
{
    di_map m = {0};
    int64_t n = 0;
    const unsigned char *at;

    if (o->data == NULL || di_map_file(o->data, &m, NULL) != DIAL_OK) return -1;
    at = m.data;
    if (m.size > 0 && m.data[0] != '{') n = -1;
    while (n >= 0 && at != NULL && at < m.data + m.size) {
        at = memchr(at, '\n', (size_t)(m.data + m.size - at));
        n++;
        if (at != NULL) at++;
    }
    di_unmap(&m);
    if (n > 0 && o->common.skip_rows > 0) n -= o->common.skip_rows;
    return n > 0 && o->common.limit >= 0 && o->common.limit < n ? o->common.limit : n;
}

/* Opens --out: a new file that appears when it is whole, or one that is gone on with in place. */
static dial_status open_out(score_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_score_options *o = j->opt;

    if (o->out != NULL && j->dist->rank == 0 && !o->resume)
        DI_TRY(di_write_begin(j->s.al, o->out, &j->file, err));
    if (!o->resume) goto done;
    if (j->dist->rank == 0) st = di_resumed_open(j->s.al, o->out, &j->resumed, err);
    DI_TRY(di_dist_agree(j->dist, st, err));
    j->passed = j->resumed.rows;
    DI_TRY(di_dist_broadcast(j->dist, &j->passed, sizeof j->passed, err));
    if (j->passed > 0)
        di_log(j->s.env, DIAL_LOG_INFO, "%s: %lld rows are done", o->out, (long long)j->passed + 1);
done:
    return st;
}

/* verb "score", or "rank" with `top`. */
static dial_status run(const dial_score_options *o, const char *verb, int64_t top,
                       dial_write_fn write, void *ctx, const dial_env *env, char **json,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    score_job *j = di_zalloc(al, sizeof *j);
    json_t *doc;

    if (j == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for scoring");
    j->opt = o;
    j->verb = verb;
    j->ranks = strcmp(verb, "rank") == 0;
    j->top = top;
    j->dist = di_dist_of(env);
    j->block = BLOCK_ROWS * j->dist->size;
    j->write = write;
    j->ctx = ctx;
    j->scratch.al = al;
    di_buf_init(&j->ids, al);
    di_buf_init(&j->lines, al);
    if (o->model == NULL || (o->data == NULL && o->response == NULL))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->model == NULL ? "--model" : "--data",
                   j->ranks ? "give --data FILE" : "give --data FILE, or --prompt and --response",
                   "the flag is required");
    if (o->resume && (o->out == NULL || o->data == NULL))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--resume", "give --data FILE and --out FILE",
                   "only a file of lines can be gone on with");
    if (j->dist->size > 1 && o->data != NULL && strcmp(o->data, "-") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--data -", "write the rows to a file first",
                   "a launcher gives its standard input to one of the %d processes alone",
                   j->dist->size);
    j->row = di_new_array(al, (size_t)j->block, sizeof *j->row);
    if (j->row == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d rows", j->block);
    DI_TRY(di_session_open(&j->s, o->model, &o->common, DI_NEED_HEAD, NULL, NULL, env, err));
    DI_TRY(di_session_ready(&j->s, err));
    DI_TRY(open_out(j, err));
    j->total = env != NULL && env->progress != NULL ? count_rows(o) : -1;
    j->started = di_now();
    if (o->response != NULL)
        DI_TRY(score_one(j, err));
    else
        DI_TRY(score_file(j, err));
    if (j->dist->rank > 0) goto done;
    if (o->out != NULL && j->file.f == NULL) /* resumed, and the data has no row */
        DI_TRY(di_write_resume(al, o->out, 0, &j->file, err));
    if (o->out != NULL) DI_TRY(di_write_commit(&j->file, err));
    doc = json_pack("{s:s, s:s, s:s?, s:o, s:I}", "schema", DI_FMT("dial.%s/1", verb), "model",
                    o->model, "out", o->out, "rows", di_row_counts_to_json(&j->counts), "tokens",
                    (json_int_t)j->tokens);
    DI_TRY(di_document(al, doc, json, err));
done:
    st = di_dist_leave(di_dist_of(env), st, err);
    if (j != NULL) {
        di_write_abort(&j->file);
        di_resumed_deinit(&j->resumed);
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

dial_status dial_score(const dial_score_options *o, dial_write_fn write, void *ctx,
                       const dial_env *env, char **json, dial_error *err)
{
    return run(o, "score", 0, write, ctx, env, json, err);
}

dial_status dial_rank(const dial_rank_options *o, dial_write_fn write, void *ctx,
                      const dial_env *env, char **json, dial_error *err)
{
    const dial_score_options score = {.common = o->common,
                                      .model = o->model,
                                      .data = o->data,
                                      .out = o->out,
                                      .summary = o->summary,
                                      .normalize = o->normalize,
                                      .resume = o->resume};

    return run(&score, "rank", o->top, write, ctx, env, json, err);
}
