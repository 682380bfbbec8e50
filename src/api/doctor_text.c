/* What two data files look like as text, before any model reads them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/doctor_job.h"
#include "base/error.h"
#include "eval/agreement.h"
#include "model/head.h"
#include "text/script.h"

enum { EXCHANGED = 200 };

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* How many distinct values stand in both lists. Sorts them. */
static int64_t common(uint64_t *a, int64_t n_a, uint64_t *b, int64_t n_b)
{
    int64_t i = 0, j = 0, both = 0;

    qsort(a, (size_t)n_a, sizeof *a, ascending);
    qsort(b, (size_t)n_b, sizeof *b, ascending);
    while (i < n_a && j < n_b) {
        uint64_t x = a[i], y = b[j];

        both += x == y;
        while (x <= y && i < n_a && a[i] == x) i++;
        while (y <= x && j < n_b && b[j] == y) j++;
    }
    return both;
}

typedef struct side {
    double tokens;    /* median of the texts */
    double unknown;   /* share of tokens that are unknown or single bytes */
    double truncated; /* share of texts that were cut */
    double script[DI_N_SCRIPTS];
} side;

static void count_tokens(const di_doctor *r, const di_dataset *d, double *length, side *out)
{
    int64_t odd = 0, all = 0, cut = 0;

    for (int64_t i = 0; i < d->n_seq; i++) {
        const di_seq *q = &d->seq[i];

        length[i] = (double)q->n;
        cut += q->flags != 0;
        for (int64_t k = 0; k < q->n; k++) {
            di_str t = di_tokenizer_token(r->s.tok, q->id[k]);

            odd += (t.size > 3 && memcmp(t.data, "<0x", 3) == 0) ||
                   (t.size == 5 && memcmp(t.data, "<unk>", 5) == 0);
        }
        all += q->n;
    }
    out->tokens = di_middle(length, d->n_seq);
    out->unknown = (double)odd / (double)all;
    out->truncated = (double)cut / (double)d->n_seq;
}

/* Scripts of the responses: a second reading of the file, since a dataset keeps tokens alone. */
static dial_status count_scripts(di_doctor *r, const char *path, side *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows_options o;
    di_rows *rows = NULL;
    di_row row;
    int64_t count[DI_N_SCRIPTS] = {0}, all = 0;
    int got = 1;

    DI_TRY(di_rows_options_from(&r->opt->common, &o, err));
    o.drop_labels = 1;
    DI_TRY(di_rows_open(r->al, path, &o, NULL, &rows, err));
    for (;;) {
        DI_TRY(di_rows_next(rows, &row, &got, NULL, err));
        if (!got) break;
        for (int k = 0; k < row.n_texts; k++)
            di_script_count(row.text[k].response, row.text[k].response_size, count);
    }
    for (int k = 0; k < DI_N_SCRIPTS; k++) all += count[k];
    for (int k = 0; k < DI_N_SCRIPTS; k++)
        out->script[k] = all > 0 ? (double)count[k] / (double)all : 0;
done:
    di_rows_close(rows);
    return st;
}

static json_t *scripts_json(const side *s)
{
    json_t *o = json_object();
    int failed = 0;

    for (int k = 0; k < DI_N_SCRIPTS; k++)
        if (s->script[k] > 0)
            di_json_put(o, di_script_name((di_script)k), di_json_stat(s->script[k]), &failed);
    return di_json_whole(o, failed);
}

static json_t *both(double source, double target)
{
    return json_pack("{s:o, s:o}", "source", di_json_stat(source), "target", di_json_stat(target));
}

static void hashes(const di_dataset *d, int prompts, uint64_t *h)
{
    for (int64_t i = 0; i < d->n_seq; i++) h[i] = prompts ? d->seq[i].prompt_hash : d->seq[i].hash;
}

/* Under auto message lists are rendered by the model's template, strings are not. */
static int same_template(const di_doctor *r)
{
    const di_dataset *a = r->source.d, *b = r->target.d;

    return strcmp(r->s.policy.template_name, "auto") != 0 ||
           ((a->dialogues > 0) == (b->dialogues > 0) && (a->plain > 0) == (b->plain > 0));
}

static dial_status overlaps(di_doctor *r, const side *s, const side *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dataset *a = r->source.d, *b = r->target.d;
    uint64_t *h = di_new_array(r->al, (size_t)(a->n_seq + b->n_seq), sizeof *h), *g;
    double shift = fabs(log(t->tokens / s->tokens)), moved = 0;
    int64_t texts, prompts;

    if (h == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare texts");
    g = h + a->n_seq;
    hashes(a, 1, h);
    hashes(b, 1, g);
    prompts = common(h, a->n_seq, g, b->n_seq);
    hashes(a, 0, h);
    hashes(b, 0, g);
    texts = common(h, a->n_seq, g, b->n_seq);
    for (int k = 0; k < DI_N_SCRIPTS; k++) moved += fabs(s->script[k] - t->script[k]) / 2;
    di_json_put(r->doc, "text",
                json_pack("{s:o, s:o, s:o, s:{s:o, s:o}, s:I, s:I, s:b}", "length_ratio",
                          di_json_stat(t->tokens / s->tokens), "unknown_or_byte_rate",
                          both(s->unknown, t->unknown), "truncated_rate",
                          both(s->truncated, t->truncated), "scripts", "source", scripts_json(s),
                          "target", scripts_json(t), "exact_overlap", (json_int_t)texts,
                          "prompt_overlap", (json_int_t)prompts, "template_equal",
                          same_template(r)),
                &r->failed);
    di_finding_set(r->finding, DI_LENGTH_SHIFT, shift, "median text of %.0f against %.0f tokens",
                   t->tokens, s->tokens);
    di_finding_set(r->finding, DI_SCRIPT_SHIFT, moved,
                   "%.0f %% of the letters are of another script", 100 * moved);
    di_finding_set(r->finding, DI_LEAK, (double)texts, "%lld texts stand in both files",
                   (long long)texts);
done:
    di_free(r->al, h);
    return st;
}

dial_status di_doctor_text(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = r->source.d->n_seq > r->target.d->n_seq ? r->source.d->n_seq : r->target.d->n_seq;
    double *length = di_new_array(r->al, (size_t)n, sizeof *length);
    side s = {0}, t = {0};

    if (length == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare texts");
    count_tokens(r, r->source.d, length, &s);
    count_tokens(r, r->target.d, length, &t);
    DI_TRY(count_scripts(r, r->opt->source, &s, err));
    DI_TRY(count_scripts(r, r->opt->target, &t, err));
    DI_TRY(overlaps(r, &s, &t, err));
done:
    di_free(r->al, length);
    return st;
}

/* ---- prompts exchanged between rows ---- */

/* Copies the prompts of the first n pairs out of the file. */
static dial_status read_prompts(di_doctor *r, int64_t n, char **prompt, char **response,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows_options o;
    di_rows *rows = NULL;
    di_row row;
    int got = 1;

    DI_TRY(di_rows_options_from(&r->opt->common, &o, err));
    DI_TRY(di_rows_open(r->al, r->opt->source, &o, NULL, &rows, err));
    for (;;) {
        DI_TRY(di_rows_next(rows, &row, &got, NULL, err));
        if (!got) break;
        for (int64_t i = 0; i < n; i++) {
            if (r->source.d->example[r->source.row[i]].row != row.index) continue;
            prompt[i] = di_strndup(r->al, row.text[0].prompt, row.text[0].prompt_size);
            for (int k = 0; k < 2; k++)
                response[2 * i + k] =
                    di_strndup(r->al, row.text[k].response, row.text[k].response_size);
            if (prompt[i] == NULL || response[2 * i] == NULL || response[2 * i + 1] == NULL)
                DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the prompts");
        }
    }
done:
    di_rows_close(rows);
    return st;
}

/* Margin of pair i under the prompt of the next row that has another one. */
static dial_status exchanged_margin(di_doctor *r, int64_t i, int64_t n, char **prompt,
                                    char **response, di_text_scratch *scratch, double *m,
                                    dial_error *err)
{
    dial_status st = DIAL_OK;
    float *e = di_new_array(r->al, (size_t)r->c, sizeof *e);
    int64_t j = (i + 1) % n;
    double reward[2];

    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a text");
    while (j != i && r->source.group[j] == r->source.group[i]) j = (j + 1) % n;
    for (int k = 0; k < 2; k++) {
        di_text t = {.prompt = prompt[j],
                     .prompt_size = strlen(prompt[j]),
                     .response = response[2 * i + k],
                     .response_size = strlen(response[2 * i + k]),
                     .has_border = 1};
        const int32_t *ids;
        int64_t size;
        unsigned flags;
        di_seq_view view;

        DI_TRY(di_text_encode(&r->s.policy, r->s.tok, &t, scratch, &ids, &size, &flags, err));
        view = (di_seq_view){ids, size};
        if (size == 0) { /* dropped as too long: no vote */
            *m = 0;
            goto done;
        }
        DI_TRY(di_embed_texts(r->s.embedder, &view, NULL, 1, "exchanged prompts", e, err));
        reward[k] = (double)di_reward(r->head, e, r->c);
    }
    *m = reward[0] - reward[1];
done:
    di_free(r->al, e);
    return st;
}

dial_status di_doctor_prompts(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = r->source.n < EXCHANGED ? r->source.n : EXCHANGED, distinct = 0;
    char **text = di_new_array(r->al, 3 * (size_t)n, sizeof *text);
    di_text_scratch scratch = {.al = r->al};
    double own = 0, other = 0, m = 0;

    if (text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the prompts");
    for (int64_t i = 1; i < n; i++) distinct += r->source.group[i] != r->source.group[0];
    if (distinct == 0 || !r->own_head || r->source.d->dialogues > 0) goto done;
    DI_TRY(read_prompts(r, n, text, text + n, err));
    for (int64_t i = 0; i < n; i++) {
        DI_TRY(exchanged_margin(r, i, n, text, text + n, &scratch, &m, err));
        own += (r->m_s[i] > 0) / (double)n;
        other += (m > 0) / (double)n;
    }
    if (own - 0.5 > 2 * di_share_se(own, n))
        di_finding_set(r->finding, DI_PROMPT_BLIND, (other - 0.5) / (own - 0.5),
                       "source accuracy %.3f with prompts exchanged, %.3f with their own", other,
                       own);
done:
    for (int64_t i = 0; text != NULL && i < 3 * n; i++) di_free(r->al, text[i]);
    di_free(r->al, text);
    di_text_scratch_deinit(&scratch);
    return st;
}
