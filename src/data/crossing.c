#include "data/crossing.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/dataset.h"

enum { TRIES = 200 }; /* draws before a row goes without a partner */

/* A row of the file: offsets in the text block. */
typedef struct crossing_row {
    size_t prompt, response;
    int64_t words;
    uint64_t name; /* of the prompt */
    int refusal;
} crossing_row;

int di_is_refusal(const char *response, size_t n)
{
    static const char *const begin[] = {
        "I cannot",
        "I can't",
        "I can not",
        "I'm sorry",
        "I am sorry",
        "Sorry",
        "I apologize",
        "I apologise",
        "I'm not able",
        "I am not able",
        "I'm unable",
        "I am unable",
        "I won't",
        "I will not",
        "I do not feel comfortable",
        "I don't feel comfortable",
        "As an AI",
        "Unfortunately, I",
    };

    while (n > 0 && (*response == ' ' || *response == '\n' || *response == '\t')) response++, n--;
    for (size_t i = 0; i < sizeof begin / sizeof *begin; i++)
        if (n >= strlen(begin[i]) && strncasecmp(response, begin[i], strlen(begin[i])) == 0)
            return 1;
    return 0;
}

/* One response of each row, drawn by the seed. */
static dial_status read_rows(const di_alloc *al, const char *path, const di_crossing_options *o,
                             di_buf *text, di_buf *list, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rng rng = di_rng_make(o->seed, DI_RNG_CROSSING, 0);
    di_rows *rows = NULL;
    di_row x;
    int got = 1;

    DI_TRY(di_rows_open(al, path, &o->rows, NULL, &rows, err));
    for (;;) {
        const di_text *t;
        crossing_row r = {.prompt = text->size};

        DI_TRY(di_rows_next(rows, &x, &got, NULL, err));
        if (!got) break;
        t = &x.text[di_rng_below(&rng, (uint64_t)x.n_texts)];
        if (!t->has_border) continue; /* nothing says which part is the response */
        di_buf_append(text, t->prompt, t->prompt_size);
        di_buf_append(text, "", 1);
        r.response = text->size;
        di_buf_append(text, t->response, t->response_size);
        di_buf_append(text, "", 1);
        r.words = di_count_words(t->response, t->response_size);
        r.name = di_fnv1a(t->prompt, t->prompt_size);
        r.refusal = di_is_refusal(t->response, t->response_size);
        di_buf_append(list, &r, sizeof r);
    }
    DI_TRY(di_buf_status(text, err));
    DI_TRY(di_buf_status(list, err));
done:
    di_rows_close(rows);
    return st;
}

/* A row of another prompt with a response about as long as row i's, other than `not`; -1: none. */
static int64_t partner(const crossing_row *r, int64_t n, int64_t i, int64_t not,
                       const di_crossing_options *o, di_rng *rng)
{
    for (int k = 0; k < TRIES; k++) {
        int64_t j = (int64_t)di_rng_below(rng, (uint64_t)n);

        if (r[j].name == r[i].name || j == not || (r[j].refusal && !o->keep_refusals)) continue;
        if (fabs((double)(r[j].words - r[i].words)) <= o->length * (double)r[i].words) return j;
    }
    return -1;
}

static dial_status write_row(const di_buf *text, size_t prompt, size_t better, size_t other,
                             int is_tie, di_buf *out, di_buf *tie, dial_error *err)
{
    dial_status st = DIAL_OK;
    char flag = (char)is_tie;
    json_t *v = json_pack("{s:s, s:s, s:s}", "prompt", text->data + prompt, "chosen",
                          text->data + better, "rejected", text->data + other);

    if (v == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for cross-prompt negatives");
    DI_TRY(di_json_write(v, out, err));
    di_buf_append(out, "\n", 1);
    di_buf_append(tie, &flag, 1);
    DI_TRY(di_buf_status(out, err));
    DI_TRY(di_buf_status(tie, err));
done:
    json_decref(v);
    return st;
}

dial_status di_crossing_rows(const di_alloc *al, const char *path, const di_crossing_options *o,
                             di_buf *out, di_buf *tie, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rng rng = di_rng_make(o->seed, DI_RNG_CROSSING, 1);
    const crossing_row *r;
    di_buf text, list;
    int64_t n;

    di_buf_init(&text, al);
    di_buf_init(&list, al);
    DI_TRY(read_rows(al, path, o, &text, &list, err));
    r = (const crossing_row *)(const void *)list.data;
    n = (int64_t)(list.size / sizeof *r);
    for (int64_t i = 0; i < n; i++) {
        int64_t a, b;

        if (r[i].refusal && !o->keep_refusals) continue;
        a = partner(r, n, i, -1, o, &rng);
        b = a >= 0 ? partner(r, n, i, a, o, &rng) : -1;
        if (a >= 0 && strcmp(text.data + r[a].response, text.data + r[i].response) != 0)
            DI_TRY(write_row(&text, r[i].prompt, r[i].response, r[a].response, 0, out, tie, err));
        if (b >= 0 && strcmp(text.data + r[a].response, text.data + r[b].response) != 0)
            DI_TRY(write_row(&text, r[i].prompt, r[a].response, r[b].response, 1, out, tie, err));
    }
done:
    di_buf_deinit(&text);
    di_buf_deinit(&list);
    return st;
}
