#include "api/base_score.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

enum { QUESTION_TOKENS = 128 }; /* room for the words around the two responses */

di_base_score di_base_score_of(const char *name)
{
    return strcmp(name, "logp") == 0 ? DI_SCORE_LOGP
           : strcmp(name, "ab") == 0 ? DI_SCORE_AB
                                     : DI_SCORE_HEAD;
}

/* Two whole texts and the question fit, unless the model's context does not hold them. */
static int64_t longest_question(const di_session *s)
{
    int64_t n = 2 * s->policy.max_length + QUESTION_TOKENS;
    int64_t context = di_source_config(s->source)->context;

    return context > 0 && n > context ? context : n;
}

void di_base_score_prepare(di_session *s, di_base_score by)
{
    s->with_logits = by != DI_SCORE_HEAD;
    s->longest = by == DI_SCORE_AB ? longest_question(s) : 0;
}

dial_status di_base_score_own_texts(di_dataset *d, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = 0;
    di_seq *seq;

    for (int64_t i = 0; i < d->n; i++) n += d->example[i].n_texts;
    seq = di_new_array(d->al, (size_t)n, sizeof *seq);
    if (seq == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    n = 0;
    for (int64_t i = 0; i < d->n; i++)
        for (int32_t k = 0; k < d->example[i].n_texts; k++) {
            int32_t *text = &d->text_of[d->example[i].first + k];

            seq[n] = d->seq[*text];
            *text = (int32_t)n++;
        }
    di_free(d->al, d->seq);
    d->seq = seq;
    d->n_seq = n;
done:
    return st;
}

/* --- logp ------------------------------------------------------------------------------------- */

static dial_status check_responses(const di_dataset *d, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int64_t i = 0; i < d->n; i++)
        for (int32_t k = 0; k < d->example[i].n_texts; k++) {
            const di_seq *q = &d->seq[d->text_of[d->example[i].first + k]];

            if (q->n <= q->response_at || q->n < 2)
                DI_FAIL_AT(err, DIAL_ERR_INPUT,
                           DI_FMT("%s:%lld", d->path, (long long)d->example[i].line),
                           "remove the row, or score with --eos always",
                           "text %d has no token of a response to take the probability of", (int)k);
        }
done:
    return st;
}

dial_status di_score_logp(di_session *s, const di_dataset *d, const char *what, float *score,
                          double *seconds, int64_t *tokens, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = s->al;
    size_t n = (size_t)d->n_seq;
    di_seq_view *text = di_new_array(al, n, sizeof *text);
    uint64_t *prompt = di_new_array(al, n, sizeof *prompt);
    int64_t *from = di_new_array(al, n, sizeof *from), count = 0;
    double *logp = di_new_array(al, n, sizeof *logp), started = di_now();

    if (text == NULL || prompt == NULL || from == NULL || logp == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores of %zu texts", n);
    DI_TRY(check_responses(d, err));
    for (size_t i = 0; i < n; i++) {
        text[i] = (di_seq_view){d->seq[i].id, d->seq[i].n};
        prompt[i] = d->seq[i].prompt_hash;
        from[i] = d->seq[i].response_at;
        count += d->seq[i].n;
    }
    DI_TRY(di_text_logp(s->embedder, text, prompt, from, d->n_seq, what, logp, err));
    for (size_t i = 0; i < n; i++) score[i] = (float)logp[i];
    if (seconds != NULL) *seconds = di_now() - started;
    if (tokens != NULL) *tokens = count;
done:
    di_free(al, text);
    di_free(al, prompt);
    di_free(al, from);
    di_free(al, logp);
    return st;
}

/* --- ab --------------------------------------------------------------------------------------- */

/* Questions of a file as texts: number q in the places 2q (ends in A) and 2q + 1 (in B). */
typedef struct questions {
    const di_alloc *al;
    const di_tokenizer *tok;
    const char *model;
    di_text_policy policy; /* of a question */
    const char *answer[2]; /* after the question */
    di_text_scratch scratch;
    di_buf words, ids; /* a question in hand; int32 ids of all texts */
    size_t *at;        /* [cap] where a text begins in ids, elements */
    int64_t *length;   /* [cap] */
    uint64_t *prompt;  /* [cap] texts of equal number begin alike */
    int64_t n, cap;    /* texts */
    int64_t cut;       /* questions that lost their beginning */
} questions;

/* What a question looks like to a base model, or as a user's turn where the rows have turns. */
static void set_policy(questions *q, const di_session *s, const di_dataset *d)
{
    di_text_policy *p = &q->policy;
    int by_auto = strcmp(s->policy.template_name, "auto") == 0;

    *p = s->policy;
    if (by_auto && d->dialogues == 0) p->chat = NULL;
    if (by_auto && p->chat != NULL)
        snprintf(p->template_name, sizeof p->template_name, "%s", di_template_name(p->chat));
    p->max_length = longest_question(s);
    p->appends_eos = 0; /* nothing behind the letter is read */
    if (p->overlong == DI_DROP) p->overlong = DI_OVERLONG_ERROR;
    q->answer[0] = p->chat != NULL ? "A" : " A";
    q->answer[1] = p->chat != NULL ? "B" : " B";
}

static dial_status reserve(questions *q, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t cap = (size_t)(q->cap + q->cap / 2 + 64);
    void *p;

    if (q->n + 2 <= q->cap) goto done;
    if ((p = di_resize(q->al, q->at, cap * sizeof *q->at)) != NULL) q->at = p;
    if (p != NULL && (p = di_resize(q->al, q->length, cap * sizeof *q->length)) != NULL)
        q->length = p;
    if (p != NULL && (p = di_resize(q->al, q->prompt, cap * sizeof *q->prompt)) != NULL)
        q->prompt = p;
    if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu questions", cap / 2);
    q->cap = (int64_t)cap;
done:
    return st;
}

/* Encodes the question in q->words with one of its answers behind what is there. */
static dial_status encode(questions *q, int letter, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *answer = q->answer[letter];
    const int32_t *ids;
    int64_t n;
    unsigned flags;
    di_text text = {.prompt = q->words.data,
                    .prompt_size = q->words.size,
                    .response = answer,
                    .response_size = strlen(answer),
                    .has_border = 1};

    DI_TRY(di_text_encode(&q->policy, q->tok, &text, &q->scratch, &ids, &n, &flags, err));
    q->at[q->n] = q->ids.size / sizeof *ids;
    q->length[q->n++] = n;
    q->cut += letter == 0 && flags != 0;
    di_buf_append(&q->ids, ids, (size_t)n * sizeof *ids);
    DI_TRY(di_buf_status(&q->ids, err));
done:
    return st;
}

/* Ends the last two texts with the one token in which they differ. */
static dial_status end_with_letter(questions *q, dial_error *err)
{
    dial_status st = DIAL_OK;
    const int32_t *ids = (const int32_t *)(const void *)q->ids.data;
    const int32_t *a = ids + q->at[q->n - 2], *b = ids + q->at[q->n - 1];
    int64_t n = q->length[q->n - 2], at = -1;
    int differ = n != q->length[q->n - 1] ? 2 : 0;

    for (int64_t i = 0; i < n && differ < 2; i++)
        if (a[i] != b[i]) {
            at = i;
            differ++;
        }
    if (differ != 1 || at < 1)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, q->model, "score by --base-score logp",
                   "the tokenizer has no token each for the answers A and B: with one and the "
                   "other a text %s",
                   differ == 0 ? "is the same" : "differs in several tokens");
    q->length[q->n - 2] = q->length[q->n - 1] = at + 1;
done:
    return st;
}

/* Response i of the row as A, j as B. */
static dial_status ask(questions *q, const di_row *row, int i, int j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_text *a = &row->text[i], *b = &row->text[j];
    dial_error why = {0};

    DI_TRY(reserve(q, err));
    q->words.size = 0;
    if (a->prompt_size > 0) {
        di_buf_append(&q->words, a->prompt, a->prompt_size);
        di_buf_append(&q->words, "\n\n", 2);
    }
    di_buf_printf(&q->words, "Response A:\n");
    di_buf_append(&q->words, a->response, a->response_size);
    di_buf_printf(&q->words, "\n\nResponse B:\n");
    di_buf_append(&q->words, b->response, b->response_size);
    di_buf_printf(&q->words, "\n\nWhich response is better, A or B?\nAnswer:");
    DI_TRY(di_buf_status(&q->words, err));
    q->prompt[q->n] = q->prompt[q->n + 1] = di_fnv1a(a->prompt, a->prompt_size);
    st = encode(q, 0, &why);
    if (st == DIAL_OK) st = encode(q, 1, &why);
    if (st != DIAL_OK)
        DI_FAIL_AT(err, st, DI_FMT("row %lld", (long long)row->index),
                   why.hint[0] != '\0' ? why.hint : NULL, "a question of two responses: %s",
                   why.message);
    DI_TRY(end_with_letter(q, err));
done:
    return st;
}

/* The questions of all rows of d, in the order of their responses: i before j, j from 0 up. */
static dial_status ask_all(questions *q, const di_dataset *d, const di_rows_options *opt,
                           const char *file, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows *rows = NULL;
    di_row row;
    int64_t at = 0;
    int got = 1;

    if (strcmp(file, "-") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--data", "write the rows to a file",
                   "--base-score ab reads its rows twice, which standard input does not allow");
    DI_TRY(di_rows_open(q->al, file, opt, NULL, &rows, err));
    while (at < d->n) {
        const di_example *x = &d->example[at];

        DI_TRY(di_rows_next(rows, &row, &got, NULL, err));
        if (!got || row.index > x->row)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, file, "evaluate it again",
                       "the file changed while it was being read");
        if (row.index < x->row) continue; /* dropped, when it was loaded */
        if (row.n_texts < 2 || row.n_texts != x->n_texts)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, file, "score these rows by --base-score logp",
                       "--base-score ab compares the responses of a row, and row %lld has one",
                       (long long)row.index);
        for (int i = 0; i < row.n_texts; i++)
            for (int j = 0; j < row.n_texts; j++)
                if (i != j) DI_TRY(ask(q, &row, i, j, err));
        at++;
    }
done:
    di_rows_close(rows);
    return st;
}

/* Scores of the responses from the log-probabilities of all texts, in the order of ask_all. */
static void rate(const di_dataset *d, const double *logp, float *score)
{
    for (int64_t i = 0; i < d->n; i++) {
        const int32_t *text = d->text_of + d->example[i].first;
        int32_t k = d->example[i].n_texts;
        double sum[DI_ROW_TEXTS] = {0};

        for (int32_t a = 0; a < k; a++)
            for (int32_t b = 0; b < k; b++) {
                if (a == b) continue;
                sum[a] += (logp[0] - logp[1]) / 2;
                sum[b] -= (logp[0] - logp[1]) / 2;
                logp += 2;
            }
        for (int32_t a = 0; a < k; a++) score[text[a]] = (float)(sum[a] / k);
    }
}

dial_status di_score_ab(di_session *s, const di_dataset *d, const di_rows_options *rows,
                        const char *file, const char *what, float *score, double *seconds,
                        int64_t *tokens, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = s->al;
    questions q = {.al = al, .tok = s->tok, .model = s->path, .scratch.al = al};
    di_seq_view *text = NULL;
    int64_t *last = NULL, count = 0;
    double *logp = NULL, started = di_now();

    di_buf_init(&q.words, al);
    di_buf_init(&q.ids, al);
    set_policy(&q, s, d);
    DI_TRY(ask_all(&q, d, rows, file, err));
    text = di_new_array(al, (size_t)q.n, sizeof *text);
    last = di_new_array(al, (size_t)q.n, sizeof *last);
    logp = di_new_array(al, (size_t)q.n, sizeof *logp);
    if (text == NULL || last == NULL || logp == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld questions", (long long)q.n / 2);
    for (int64_t i = 0; i < q.n; i++) {
        text[i] = (di_seq_view){(const int32_t *)(const void *)q.ids.data + q.at[i], q.length[i]};
        last[i] = q.length[i] - 1;
        count += i % 2 == 0 ? q.length[i] : 1;
    }
    if (q.cut > 0)
        di_log(s->env, DIAL_LOG_WARN,
               "%s: %lld of %lld questions have more than %lld tokens and lost their beginning",
               file, (long long)q.cut, (long long)q.n / 2, (long long)q.policy.max_length);
    DI_TRY(di_text_logp(s->embedder, text, q.prompt, last, q.n, what, logp, err));
    rate(d, logp, score);
    if (seconds != NULL) *seconds = di_now() - started;
    if (tokens != NULL) *tokens = count;
done:
    di_text_scratch_deinit(&q.scratch);
    di_buf_deinit(&q.words);
    di_buf_deinit(&q.ids);
    di_free(al, q.at);
    di_free(al, q.length);
    di_free(al, q.prompt);
    di_free(al, text);
    di_free(al, last);
    di_free(al, logp);
    return st;
}
