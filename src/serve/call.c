#include "serve/call.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "serve/write.h"

void di_call_init(di_call *c, const di_alloc *al, const di_serve_settings *set, di_models *models)
{
    *c = (di_call){.al = al,
                   .set = set,
                   .models = models,
                   .activation = set->activation,
                   .truncate = set->truncate};
}

void di_call_deinit(di_call *c)
{
    for (int k = 0; k < c->n_sides; k++) {
        di_side *s = &c->side[k];

        di_buf_deinit(&s->ids);
        di_free(c->al, s->offset);
        di_free(c->al, s->view);
        di_free(c->al, s->reward);
        di_free(c->al, s->e);
        di_models_put(c->models, s->model);
    }
    for (int64_t i = 0; i < c->n; i++) di_free(c->al, c->input[i].turn);
    di_free(c->al, c->input);
    di_free(c->al, c->truncated);
    di_free(c->al, c->boundary);
    di_free(c->al, c->value);
    json_decref(c->body);
    json_decref(c->kept);
}

/* ---- inputs ---- */

/* "documents[3]", or "input" where the value itself is the text */
static const char *name_of(const di_input *in, char *out, size_t size)
{
    if (in->at < 0)
        snprintf(out, size, "%s", in->key);
    else
        snprintf(out, size, "%s[%lld]", in->key, (long long)in->at);
    return out;
}

static di_answer no_memory(di_call *c)
{
    return di_refuse(&c->fault, DI_ANSWER_INTERNAL, NULL, "no memory for the request");
}

static di_answer add(di_call *c, di_input in)
{
    di_input *more;

    if (c->n == c->set->max_inputs)
        return di_refuse(&c->fault, DI_ANSWER_UNPROCESSABLE, in.key,
                         "more than %lld texts; send several requests",
                         (long long)c->set->max_inputs);
    if (c->n == c->cap) {
        c->cap = c->cap > 0 ? 2 * c->cap : 8;
        more = di_resize(c->al, c->input, (size_t)c->cap * sizeof *more);
        if (more == NULL) return no_memory(c);
        c->input = more;
    }
    c->input[c->n++] = in;
    return DI_ANSWER_OK;
}

static di_answer need_string(di_call *c, const di_input *in, const json_t *v)
{
    char name[96];

    if (json_is_string(v)) return DI_ANSWER_OK;
    return di_refuse(&c->fault, DI_ANSWER_INVALID, name_of(in, name, sizeof name),
                     "%s must be a string", name_of(in, name, sizeof name));
}

di_answer di_call_add_text(di_call *c, const char *key, int64_t at, const json_t *text)
{
    return di_call_add_rendered(c, key, at, text, NULL);
}

di_answer di_call_add_rendered(di_call *c, const char *key, int64_t at, const json_t *text,
                               const json_t *prompt)
{
    di_input in = {.prompt = "", .key = key, .at = at, .rendered = 1};
    size_t n = prompt != NULL ? json_string_length(prompt) : 0;

    DI_ASK(need_string(c, &in, text));
    in.response = json_string_value(text);
    in.response_size = json_string_length(text);
    if (n > 0 && n <= in.response_size && memcmp(in.response, json_string_value(prompt), n) == 0) {
        in.prompt = in.response;
        in.prompt_size = n;
        in.response += n;
        in.response_size -= n;
        in.has_border = 1;
    }
    return add(c, in);
}

di_answer di_call_add_pair(di_call *c, const char *key, int64_t at, const json_t *prompt,
                           const json_t *response)
{
    di_input in = {.key = key, .at = at, .has_border = 1};

    DI_ASK(need_string(c, &in, prompt));
    DI_ASK(need_string(c, &in, response));
    in.prompt = json_string_value(prompt);
    in.prompt_size = json_string_length(prompt);
    in.response = json_string_value(response);
    in.response_size = json_string_length(response);
    return add(c, in);
}

di_answer di_call_add_ids(di_call *c, const char *key, int64_t at, const json_t *ids)
{
    di_input in = {.prompt = "", .response = "", .ids = ids, .key = key, .at = at};
    char name[96];
    json_t *id;
    size_t i;

    json_array_foreach (ids, i, id)
        if (!json_is_integer(id))
            return di_refuse(&c->fault, DI_ANSWER_INVALID, name_of(&in, name, sizeof name),
                             "%s must be a list of token ids", name_of(&in, name, sizeof name));
    if (json_array_size(ids) == 0)
        return di_refuse(&c->fault, DI_ANSWER_EMPTY, name_of(&in, name, sizeof name),
                         "%s has no token", name_of(&in, name, sizeof name));
    return add(c, in);
}

/* The contents of the first n messages, joined with nothing between: the prompt under raw. */
static json_t *join_contents(const di_call *c, const json_t *messages, size_t n)
{
    json_t *out = NULL;
    di_buf b;

    di_buf_init(&b, c->al);
    for (size_t i = 0; i < n; i++) {
        const json_t *content = json_object_get(json_array_get(messages, i), "content");

        di_buf_append(&b, json_string_value(content), json_string_length(content));
    }
    if (!b.failed) out = json_stringn(b.data != NULL ? b.data : "", b.size);
    di_buf_deinit(&b);
    return out;
}

/* The turns of a dialogue; strings are those of the body. */
static di_answer take_turns(di_call *c, const char *name, const json_t *messages, di_input *in)
{
    json_t *message;
    size_t i;

    in->n_turns = json_array_size(messages);
    in->turn = di_new_array(c->al, in->n_turns, sizeof *in->turn);
    if (in->turn == NULL) return no_memory(c);
    json_array_foreach (messages, i, message) {
        const json_t *content = json_object_get(message, "content");
        const char *role = json_string_value(json_object_get(message, "role"));

        if (role == NULL || !json_is_string(content))
            return di_refuse(&c->fault, DI_ANSWER_INVALID, name,
                             "message %zu of %s must have `role` and `content`, both strings", i,
                             name);
        in->turn[i].role = di_role_name(role);
        in->turn[i].content = (di_str){json_string_value(content), json_string_length(content)};
        if (in->turn[i].role == NULL)
            return di_refuse(&c->fault, DI_ANSWER_INVALID, name,
                             "message %zu of %s: the role must be system, user, assistant or tool",
                             i, name);
    }
    return DI_ANSWER_OK;
}

di_answer di_call_add_messages(di_call *c, const char *key, int64_t at, const json_t *messages)
{
    di_input in = {.key = key, .at = at, .has_border = 1};
    size_t n = json_array_size(messages);
    json_t *prompt;
    char name[96];
    di_answer a;

    name_of(&in, name, sizeof name);
    if (!json_is_array(messages) || n == 0)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, name, "%s must be a list of messages", name);
    a = take_turns(c, name, messages, &in);
    if (a == DI_ANSWER_OK) {
        prompt = join_contents(c, messages, n - 1);
        if (c->kept == NULL) c->kept = json_array();
        if (prompt == NULL || json_array_append_new(c->kept, prompt) != 0) {
            a = no_memory(c);
        } else {
            in.prompt = json_string_value(prompt);
            in.prompt_size = json_string_length(prompt);
            in.response = in.turn[n - 1].content.data;
            in.response_size = in.turn[n - 1].content.size;
            a = add(c, in);
        }
    }
    if (a != DI_ANSWER_OK) di_free(c->al, in.turn);
    return a;
}

di_answer di_call_add_inputs(di_call *c, const char *key, const json_t *v)
{
    json_t *one;
    size_t i;

    if (v == NULL) return di_refuse(&c->fault, DI_ANSWER_INVALID, key, "`%s` is missing", key);
    if (json_is_string(v)) {
        c->single = 1;
        return di_call_add_text(c, key, -1, v);
    }
    if (!json_is_array(v))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, key,
                         "`%s` must be a string, a list of strings, or token ids", key);
    if (json_array_size(v) == 0)
        return di_refuse(&c->fault, DI_ANSWER_EMPTY, key, "`%s` is empty", key);
    if (json_is_integer(json_array_get(v, 0))) {
        c->single = 1;
        return di_call_add_ids(c, key, -1, v);
    }
    json_array_foreach (v, i, one)
        DI_ASK(json_is_array(one) ? di_call_add_ids(c, key, (int64_t)i, one)
                                  : di_call_add_text(c, key, (int64_t)i, one));
    return DI_ANSWER_OK;
}

/* ---- token ids ---- */

enum { LEAST_LENGTH = 3 }; /* BOS, EOS and a token between them */

/* The policy of a run under the wishes of the call. */
static di_answer policy_of(di_call *c, const di_served *m, di_text_policy *p)
{
    *p = m->policy;
    if (c->no_special_tokens) p->adds_bos = p->appends_eos = 0;
    if (c->truncate && c->max_length > 0) {
        if (c->max_length < LEAST_LENGTH)
            return di_refuse(&c->fault, DI_ANSWER_UNPROCESSABLE, NULL,
                             "cannot keep %lld tokens of a text; %d is the least",
                             (long long)c->max_length, LEAST_LENGTH);
        if (c->max_length < p->max_length) p->max_length = c->max_length;
    }
    p->overlong = c->truncate ? DI_TRUNCATE_PROMPT : DI_DROP;
    return DI_ANSWER_OK;
}

static di_answer too_long(di_call *c, const di_input *in, size_t found, int64_t limit)
{
    char name[96];

    name_of(in, name, sizeof name);
    return di_refuse(&c->fault, DI_ANSWER_UNPROCESSABLE, name, "%s has %zu tokens, limit %lld",
                     name, found, (long long)limit);
}

static di_answer take_ids(di_call *c, const di_text_policy *p, const di_served *m, int64_t i,
                          di_side *side)
{
    const di_input *in = &c->input[i];
    size_t n = json_array_size(in->ids), first = 0, limit = (size_t)p->max_length;
    char name[96];

    if (n > limit) {
        if (!c->truncate) return too_long(c, in, n, p->max_length);
        first = n - limit;
        c->truncated[i] = 1;
    }
    for (size_t k = first; k < n; k++) {
        json_int_t id = json_integer_value(json_array_get(in->ids, k));
        int32_t id32 = (int32_t)id;

        if (id < 0 || id >= m->vocab)
            return di_refuse(&c->fault, DI_ANSWER_UNPROCESSABLE, name_of(in, name, sizeof name),
                             "token id %lld is not in the vocabulary of %lld", (long long)id,
                             (long long)m->vocab);
        di_buf_append(&side->ids, &id32, sizeof id32);
    }
    side->view[i].n = (int64_t)(n - first);
    return DI_ANSWER_OK;
}

/* Index of the first token of the response among the ids that are left. */
static int64_t boundary_of(const di_text_policy *p, const di_input *in,
                           const di_text_scratch *scratch, int64_t n, unsigned flags)
{
    const di_token_list *list = &scratch->list;
    int64_t at = p->adds_bos && (list->n == 0 || list->id[0] != p->bos_id), before = at;
    int64_t whole = (int64_t)scratch->whole;

    if (!in->has_border) return 0;
    for (size_t k = 0; k < list->n && list->end[k] <= scratch->border; k++) at++;
    if (flags & DI_RESPONSE_TRUNCATED) return before;
    return at - (whole - n) > before ? at - (whole - n) : before;
}

static di_answer encode(di_call *c, const di_text_policy *p, const di_served *m, int64_t i,
                        di_side *side, di_text_scratch *scratch)
{
    const di_input *in = &c->input[i];
    di_text t = {.prompt = in->prompt,
                 .prompt_size = in->prompt_size,
                 .response = in->response,
                 .response_size = in->response_size,
                 .has_border = in->has_border,
                 .rendered = in->rendered,
                 .turn = in->turn,
                 .n_turns = in->n_turns,
                 .scored = in->n_turns > 0 ? in->n_turns - 1 : 0};
    const int32_t *ids = NULL;
    int64_t n = 0;
    unsigned flags = 0;
    char name[96];
    dial_error err;
    dial_status st = di_text_encode(p, m->tok, &t, scratch, &ids, &n, &flags, &err);

    if (st == DIAL_ERR_INPUT)
        return di_refuse(&c->fault, DI_ANSWER_TOKENIZER, name_of(in, name, sizeof name), "%s: %s",
                         name_of(in, name, sizeof name), err.message);
    if (st != DIAL_OK) return no_memory(c);
    if (n == 0) return too_long(c, in, scratch->whole, p->max_length);
    if (flags != 0) c->truncated[i] = 1;
    c->boundary[i] = boundary_of(p, in, scratch, n, flags);
    di_buf_append(&side->ids, ids, (size_t)n * sizeof *ids);
    side->view[i].n = n;
    return DI_ANSWER_OK;
}

static di_answer encode_all(di_call *c, const di_text_policy *p, di_side *side)
{
    di_text_scratch scratch = {.al = c->al};
    di_answer a = DI_ANSWER_OK;

    for (int64_t i = 0; i < c->n && a == DI_ANSWER_OK; i++) {
        side->offset[i] = side->ids.size / sizeof(int32_t);
        a = c->input[i].ids != NULL ? take_ids(c, p, side->model, i, side)
                                    : encode(c, p, side->model, i, side, &scratch);
    }
    di_text_scratch_deinit(&scratch);
    if (a == DI_ANSWER_OK && side->ids.failed) return no_memory(c);
    for (int64_t i = 0; i < c->n && a == DI_ANSWER_OK; i++)
        side->view[i].id = (const int32_t *)(const void *)side->ids.data + side->offset[i];
    return a;
}

static di_answer prepare_side(di_call *c, int place)
{
    di_side *s = &c->side[c->n_sides];
    size_t n = (size_t)c->n;
    int keeps_e = c->wants_embeddings || (c->set->monitor && c->n_sides == 0 && !c->no_scores);
    di_text_policy p;

    s->model = di_models_get(c->models, place);
    c->n_sides++;
    di_buf_init(&s->ids, c->al);
    s->offset = di_new_array(c->al, n, sizeof *s->offset);
    s->view = di_new_array(c->al, n, sizeof *s->view);
    s->reward = di_new_array(c->al, n, sizeof *s->reward);
    if (keeps_e) s->e = di_new_array(c->al, n * (size_t)s->model->width, sizeof *s->e);
    if (!s->offset || !s->view || !s->reward || (keeps_e && !s->e)) return no_memory(c);
    DI_ASK(policy_of(c, s->model, &p));
    return encode_all(c, &p, s);
}

di_answer di_call_prepare(di_call *c)
{
    int place = di_models_find(c->models, c->model, c->set->strict_model);
    int all = c->set->ensemble != DI_ENSEMBLE_NONE && !c->wants_embeddings && !c->no_scores;

    if (place < 0)
        return di_refuse(&c->fault, DI_ANSWER_NOT_FOUND, "model", "there is no model '%.200s'",
                         c->model);
    if (c->set->ensemble != DI_ENSEMBLE_NONE) place = 0;
    c->echo = di_models_name(c->models, place);
    c->truncated = di_new_array(c->al, (size_t)c->n, sizeof *c->truncated);
    c->boundary = di_new_array(c->al, (size_t)c->n, sizeof *c->boundary);
    c->value = di_new_array(c->al, (size_t)c->n, sizeof *c->value);
    if (!c->truncated || !c->boundary || !c->value) return no_memory(c);
    for (int k = 0; k < (all ? di_models_count(c->models) : 1); k++)
        DI_ASK(prepare_side(c, all ? k : place));
    for (int64_t i = 0; i < c->n; i++) {
        c->tokens += c->side[0].view[i].n;
        c->n_truncated += c->truncated[i];
    }
    for (int k = 0; k < c->n_sides; k++)
        c->job.work[k] = (di_work){.model = c->side[k].model,
                                   .n = c->n,
                                   .text = c->side[k].view,
                                   .reward = c->side[k].reward,
                                   .e = c->side[k].e};
    c->job.n_work = c->n_sides;
    return DI_ANSWER_OK;
}

/* ---- rewards ---- */

/* Mean or least of the rewards, each mapped to the first run's mean and spread (method.md 8.10). */
static double mixed(const di_call *c, int64_t i)
{
    const di_served *one = c->side[0].model;
    double sum = 0, least = HUGE_VAL;

    for (int k = 0; k < c->n_sides; k++) {
        const di_served *m = c->side[k].model;
        double r = one->mean + one->sd / m->sd * ((double)c->side[k].reward[i] - m->mean);

        sum += r;
        if (r < least) least = r;
    }
    return c->set->ensemble == DI_ENSEMBLE_MIN ? least : sum / c->n_sides;
}

double di_call_reward(const di_call *c, int64_t i)
{
    const di_served *m = c->side[0].model;
    double r = c->n_sides > 1 ? mixed(c, i) : (double)c->side[0].reward[i];

    return m->applied ? m->scale * r + m->shift : r;
}

di_answer di_call_finish(di_call *c)
{
    const di_served *m = c->side[0].model;
    char name[96];
    int64_t bad = -1;

    if (c->job.st == DIAL_INTERRUPTED)
        return di_refuse(&c->fault, DI_ANSWER_UNAVAILABLE, NULL, "%s", c->job.err.message);
    if (c->job.st != DIAL_OK && c->job.st != DIAL_ERR_NUMERIC)
        return di_refuse(&c->fault, DI_ANSWER_INTERNAL, NULL, "%s", c->job.err.message);
    if (c->job.st == DIAL_ERR_NUMERIC) bad = c->job.bad;
    for (int64_t i = 0; i < c->n && bad < 0; i++) {
        double r = di_call_reward(c, i);

        if (!m->applied && c->normalize && !c->wants_embeddings) r = m->scale * r + m->shift;
        c->value[i] = (float)r;
        if (!isfinite(c->value[i])) bad = i;
    }
    if (bad >= 0)
        return di_refuse(&c->fault, DI_ANSWER_NUMERIC, name_of(&c->input[bad], name, sizeof name),
                         "the reward of %s is not a finite number",
                         name_of(&c->input[bad], name, sizeof name));
    return DI_ANSWER_OK;
}

float di_call_score(const di_call *c, int64_t i)
{
    double x = (double)c->value[i];

    return c->activation == DI_SIGMOID ? (float)(1 / (1 + exp(-x))) : c->value[i];
}

const float *di_call_vector(const di_call *c, int64_t i, float *room, int64_t *n)
{
    int64_t width = c->side[0].model->width;
    const float *e = c->side[0].e + i * width;
    double sum = 0;

    *n = width;
    if (!c->normalize) return e;
    for (int64_t k = 0; k < width; k++) sum += (double)e[k] * (double)e[k];
    for (int64_t k = 0; k < width; k++) room[k] = sum > 0 ? (float)((double)e[k] / sqrt(sum)) : 0;
    return room;
}

typedef struct ranked {
    float score;
    int64_t index;
} ranked;

static int best_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

int64_t di_call_ranking(const di_call *c, int64_t *order)
{
    ranked *r = di_new_array(c->al, (size_t)c->n, sizeof *r);
    int64_t n = c->top > 0 && c->top < c->n ? c->top : c->n;

    if (r == NULL) return -1;
    /* By the reward itself: in f32 the sigmoid makes ties of large rewards. */
    for (int64_t i = 0; i < c->n; i++) r[i] = (ranked){c->value[i], i};
    qsort(r, (size_t)c->n, sizeof *r, best_first);
    for (int64_t i = 0; i < n; i++) order[i] = r[i].index;
    di_free(c->al, r);
    return n;
}

void di_call_write_usage(const di_call *c, const char *more, di_buf *out)
{
    di_buf_printf(out, "\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld%s}",
                  (long long)c->tokens, (long long)c->tokens, more);
}
