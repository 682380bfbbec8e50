#include "api/collect.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "data/rows.h"

/* A text of the store; strings are offsets into `bytes`, since that moves while it grows. */
typedef struct item {
    di_traffic_form form;
    size_t prompt, response;
    size_t prompt_size, response_size;
    int64_t order;
} item;

typedef struct collecting {
    const di_alloc *al;
    di_collected *result;
    di_buf bytes, items;
    const char *text; /* bytes.data, once it is complete */
    item *item;
    int64_t n;
    di_writer out;
} collecting;

static size_t keep(collecting *c, const char *s, size_t n)
{
    size_t at = c->bytes.size;

    di_buf_append(&c->bytes, s, n);
    return at;
}

static dial_status take(void *ctx, const di_traffic_row *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    collecting *c = ctx;
    item x = {.form = r->form, .order = c->result->read++};

    if (r->response == NULL || r->form == DI_TRAFFIC_IDS) {
        c->result->without_text++;
        goto done;
    }
    if (r->form != DI_TRAFFIC_TEXT && r->prompt != NULL) {
        x.prompt = keep(c, r->prompt, r->prompt_size);
        x.prompt_size = r->prompt_size;
    }
    x.response = keep(c, r->response, r->response_size);
    x.response_size = r->response_size;
    di_buf_append(&c->items, &x, sizeof x);
    DI_TRY(di_buf_status(&c->bytes, err));
    DI_TRY(di_buf_status(&c->items, err));
done:
    return st;
}

/* ---- equal texts, and texts of equal prompts ---- */

static int compare(const char *text, size_t a, size_t n, size_t b, size_t m)
{
    int d = memcmp(text + a, text + b, n < m ? n : m);

    return d != 0 ? d : n < m ? -1 : n > m;
}

static int compare_prompts(const char *text, const item *x, const item *y)
{
    if (x->form != y->form) return x->form < y->form ? -1 : 1;
    return compare(text, x->prompt, x->prompt_size, y->prompt, y->prompt_size);
}

static int by_text(const void *a, const void *b, void *text)
{
    const item *x = a, *y = b;
    int d = compare_prompts(text, x, y);

    if (d == 0) d = compare(text, x->response, x->response_size, y->response, y->response_size);
    return d != 0 ? d : x->order < y->order ? -1 : 1;
}

static int by_prompt(const void *a, const void *b, void *text)
{
    const item *x = a, *y = b;
    int d = compare_prompts(text, x, y);

    return d != 0 ? d : x->order < y->order ? -1 : 1;
}

/* Each text once, as it came first; texts of one prompt side by side. */
static void sort_out(collecting *c)
{
    int64_t n = 0;

    if (c->n == 0) return;
    qsort_r(c->item, (size_t)c->n, sizeof *c->item, by_text, (void *)(uintptr_t)c->text);
    for (int64_t i = 0; i < c->n; i++) {
        const item *x = &c->item[i], *y = &c->item[n > 0 ? n - 1 : 0];

        if (n > 0 && compare_prompts(c->text, x, y) == 0 &&
            compare(c->text, x->response, x->response_size, y->response, y->response_size) == 0)
            c->result->duplicates++;
        else
            c->item[n++] = *x;
    }
    c->n = n;
    qsort_r(c->item, (size_t)n, sizeof *c->item, by_prompt, (void *)(uintptr_t)c->text);
}

/* An empty prompt, or an empty list of messages, is no prompt that two texts could share. */
static int shares_prompt(const item *x)
{
    if (x->form == DI_TRAFFIC_TEXT) return 0;
    return x->prompt_size > (x->form == DI_TRAFFIC_CHAT ? strlen("[]") : 0);
}

/* The texts from i on that share a prompt: where they end. */
static int64_t group_end(const collecting *c, int64_t i)
{
    int64_t end = i + 1;

    while (shares_prompt(&c->item[i]) && end < c->n &&
           compare_prompts(c->text, &c->item[i], &c->item[end]) == 0)
        end++;
    return end;
}

/* Leaves the texts of the most frequent form. */
static void choose_form(collecting *c)
{
    int64_t count[DI_TRAFFIC_IDS] = {0}, n = 0;
    di_traffic_form best = DI_TRAFFIC_TEXT;

    for (int64_t i = 0; i < c->n; i++) count[c->item[i].form]++;
    for (int f = 0; f < DI_TRAFFIC_IDS; f++)
        if (count[f] > count[best]) best = (di_traffic_form)f;
    for (int64_t i = 0; i < c->n; i++)
        if (c->item[i].form == best) c->item[n++] = c->item[i];
    c->result->left_out += c->n - n;
    c->n = n;
}

/* ---- rows ---- */

static json_t *string_at(const collecting *c, size_t at, size_t n)
{
    return json_stringn(c->text + at, n);
}

/* The prompt as a string or as a list of messages. */
static json_t *prompt_of(const collecting *c, const item *x)
{
    return x->form == DI_TRAFFIC_CHAT ? json_loadb(c->text + x->prompt, x->prompt_size, 0, NULL)
                                      : string_at(c, x->prompt, x->prompt_size);
}

/* NULL: no memory, or a prompt in the store that is no JSON. */
static json_t *candidates_row(const collecting *c, int64_t first, int64_t n)
{
    json_t *list = json_array();
    int failed = 0;

    for (int64_t i = first; i < first + n; i++)
        di_json_add(list, string_at(c, c->item[i].response, c->item[i].response_size), &failed);
    return json_pack("{s:o, s:o, s:n}", "prompt", prompt_of(c, &c->item[first]), "responses",
                     di_json_whole(list, failed), "label");
}

static json_t *one_row(const collecting *c, const item *x)
{
    json_t *response = string_at(c, x->response, x->response_size), *list;
    int failed = 0;

    if (x->form == DI_TRAFFIC_TEXT) return json_pack("{s:o}", "text", response);
    if (x->form == DI_TRAFFIC_SINGLE)
        return json_pack("{s:o, s:o}", "prompt", prompt_of(c, x), "response", response);
    list = prompt_of(c, x);
    di_json_add(list, json_pack("{s:s, s:o}", "role", "assistant", "content", response), &failed);
    return json_pack("{s:o}", "messages", di_json_whole(list, failed));
}

static dial_status write_row(collecting *c, json_t *row, int64_t texts, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf line;

    di_buf_init(&line, c->al);
    if (row == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row");
    DI_TRY(di_json_write(row, &line, err));
    di_buf_append(&line, "\n", 1);
    DI_TRY(di_buf_status(&line, err));
    DI_TRY(di_write(&c->out, line.data, line.size, err));
    c->result->rows++;
    c->result->texts += texts;
done:
    di_buf_deinit(&line);
    json_decref(row);
    return st;
}

/*
 * Larger groups are dealt out to rows of equal size: where all traffic has one prompt, a training
 * step would else take hundreds of texts a row, and the closed losses grow with their square.
 */
enum { ROW_RESPONSES = 8 };

static dial_status write_candidates(collecting *c, int64_t first, int64_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t rows = (n + ROW_RESPONSES - 1) / ROW_RESPONSES;

    for (int64_t k = 0; k < rows; k++) {
        int64_t from = first + n * k / rows, to = first + n * (k + 1) / rows;

        DI_TRY(write_row(c, candidates_row(c, from, to - from), to - from, err));
    }
done:
    return st;
}

typedef struct group {
    int64_t first, n, order;
} group;

static int by_order(const void *a, const void *b)
{
    const group *x = a, *y = b;

    return x->order < y->order ? -1 : x->order > y->order;
}

/* In the order in which prompts came first. */
static dial_status write_rows(collecting *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    group *g = di_new_array(c->al, (size_t)c->n, sizeof *g);
    int64_t groups = 0, shared = 0;
    int several;

    if (g == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)c->n);
    for (int64_t i = 0, end; i < c->n; i = end) {
        end = group_end(c, i);
        g[groups++] = (group){i, end - i, c->item[i].order};
        if (end - i > 1) shared += end - i;
    }
    qsort(g, (size_t)groups, sizeof *g, by_order);
    several = 2 * shared >= c->n;
    c->result->schema = several                                ? "candidates"
                        : c->item[0].form == DI_TRAFFIC_SINGLE ? "single"
                        : c->item[0].form == DI_TRAFFIC_CHAT   ? "chat"
                                                               : "text";
    for (int64_t k = 0; k < groups; k++) {
        if (several && g[k].n == 1)
            c->result->left_out++;
        else if (several)
            DI_TRY(write_candidates(c, g[k].first, g[k].n, err));
        else
            for (int64_t i = 0; i < g[k].n; i++)
                DI_TRY(write_row(c, one_row(c, &c->item[g[k].first + i]), 1, err));
    }
done:
    di_free(c->al, g);
    return st;
}

/* No rows of those wanted: what would bring some. */
static const char *advice(const di_traffic_of *of)
{
    return of->checkpoint != NULL
               ? "several runs were served, none of them with this checkpoint: "
                 "say with --served which is meant (GET /v1/models has the names)"
           : of->run != NULL ? "leave out --run, or look at GET /v1/models for the names"
                             : "dial serve RUN --monitor N --monitor-texts";
}

dial_status di_collect(const di_alloc *al, const char *store, const di_traffic_of *of,
                       const char *out, di_collected *result, dial_error *err)
{
    dial_status st = DIAL_OK;
    collecting c = {.al = al, .result = result};

    *result = (di_collected){0};
    di_buf_init(&c.bytes, al);
    di_buf_init(&c.items, al);
    DI_TRY(di_traffic_read(store, of, take, &c, err));
    if (result->read == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, store, advice(of), "the store holds no traffic%s%s",
                   of->run != NULL          ? " of the run "
                   : of->checkpoint != NULL ? " of the run to adapt"
                                            : "",
                   of->run != NULL ? of->run : "");
    c.text = c.bytes.data;
    c.item = (item *)(void *)c.items.data;
    c.n = (int64_t)(c.items.size / sizeof *c.item);
    if (c.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, store, "dial serve RUN --monitor N --monitor-texts",
                   "none of %lld rows of traffic holds its text: the server ran without "
                   "--monitor-texts",
                   (long long)result->read);
    sort_out(&c);
    choose_form(&c);
    DI_TRY(di_write_begin(al, out, &c.out, err));
    DI_TRY(write_rows(&c, err));
    DI_TRY(di_write_commit(&c.out, err));
done:
    di_write_abort(&c.out);
    di_buf_deinit(&c.bytes);
    di_buf_deinit(&c.items);
    return st;
}
