/* A run in memory: the handle of programs that score texts themselves. */
#include <string.h>

#include "api/session.h"
#include "base/error.h"
#include "cpu/isa.h"
#include "model/head.h"

struct dial_model {
    di_session s;
    di_text_scratch scratch;
    di_buf joined;  /* contents of a dialogue */
    di_turn *turns; /* [cap_turns] */
    size_t cap_turns;
};

const char *dial_version(void)
{
    return DIAL_VERSION;
}

const char *dial_cpu_text(void)
{
    return di_isa_text(di_isa_detect(NULL));
}

void dial_free(const dial_env *env, void *p)
{
    di_free(di_env_alloc(env), p);
}

dial_status dial_model_open(const char *path, const dial_common_options *options,
                            const dial_env *env, dial_model **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    dial_eval_options defaults;
    dial_model *m = di_zalloc(al, sizeof *m);

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a model");
    m->scratch.al = al;
    di_buf_init(&m->joined, al);
    dial_options_default(dial_eval_table, &defaults, sizeof defaults);
    DI_TRY(di_session_open(&m->s, path, options != NULL ? options : &defaults.common, DI_NEED_HEAD,
                           NULL, NULL, env, err));
    DI_TRY(di_session_ready(&m->s, err));
    *out = m;
    m = NULL;
done:
    if (m != NULL) {
        if (m->s.al != NULL) di_session_close(&m->s);
        di_buf_deinit(&m->joined);
        di_free(al, m);
    }
    return st;
}

void dial_model_close(dial_model *m)
{
    const di_alloc *al;

    if (m == NULL) return;
    al = m->s.al;
    di_text_scratch_deinit(&m->scratch);
    di_session_close(&m->s);
    di_buf_deinit(&m->joined);
    di_free(al, m->turns);
    di_free(al, m);
}

int64_t dial_model_width(const dial_model *m)
{
    return m->s.params.width;
}

/* A dialogue as the text path wants it: turns, and their contents joined. Valid until the next. */
static dial_status dialogue(dial_model *m, const dial_text *text, size_t i, di_text *out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    const size_t n = text->n_messages;
    size_t prompt = 0;
    di_turn *more = m->turns;

    if (n > m->cap_turns) more = di_resize(m->s.al, m->turns, n * sizeof *more);
    if (n > 0 && more == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu messages", n);
    m->turns = more;
    if (n > m->cap_turns) m->cap_turns = n;
    m->joined.size = 0;
    for (size_t k = 0; k < n; k++) {
        const dial_message *message = &text->message[k];
        const char *role = message->role != NULL ? di_role_name(message->role) : NULL;

        if (role == NULL || message->content == NULL)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("text %zu, message %zu", i, k),
                       "use system, user, assistant or tool, and give each a content",
                       "bad_role: '%s'", message->role != NULL ? message->role : "(none)");
        m->turns[k] = (di_turn){role, {message->content, strlen(message->content)}};
        if (k == n - 1) prompt = m->joined.size;
        di_buf_append(&m->joined, message->content, strlen(message->content));
    }
    if (n == 0 || strcmp(m->turns[n - 1].role, "assistant") != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("text %zu", i), "end it with an assistant's message",
                   "no_assistant_turn: a reward is one of a response");
    di_buf_append(&m->joined, "", 1);
    DI_TRY(di_buf_status(&m->joined, err));
    *out = (di_text){.prompt = m->joined.data,
                     .prompt_size = prompt,
                     .response = m->joined.data + prompt,
                     .response_size = m->joined.size - 1 - prompt,
                     .has_border = 1,
                     .turn = m->turns,
                     .n_turns = n,
                     .scored = n - 1};
done:
    return st;
}

static dial_status text_of(dial_model *m, const dial_text *text, size_t i, di_text *out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *prompt = text->prompt != NULL ? text->prompt : "";

    if (text->message != NULL) {
        DI_TRY(dialogue(m, text, i, out, err));
        goto done;
    }
    if (text->response == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("text %zu", i), "give a response, or messages",
                   "there is nothing to score");
    *out = (di_text){.prompt = prompt,
                     .prompt_size = strlen(prompt),
                     .response = text->response,
                     .response_size = strlen(text->response),
                     .has_border = 1};
done:
    return st;
}

dial_status dial_model_score(dial_model *m, const dial_text *texts, size_t n, float *reward,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session *s = &m->s;
    size_t width = (size_t)s->params.width;
    di_seq_view *view = di_new_array(s->al, n, sizeof *view);
    float *e = di_new_array(s->al, n * width, sizeof *e);
    size_t *at = di_new_array(s->al, n, sizeof *at);
    di_buf ids;

    di_buf_init(&ids, s->al);
    if (view == NULL || e == NULL || at == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu texts", n);
    for (size_t i = 0; i < n; i++) {
        di_text t;
        const int32_t *id;
        unsigned flags;

        DI_TRY(text_of(m, &texts[i], i, &t, err));
        DI_TRY(di_text_encode(&s->policy, s->tok, &t, &m->scratch, &id, &view[i].n, &flags, err));
        if (view[i].n == 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("text %zu", i), "give a shorter text",
                       "too_long: nothing is left of it");
        at[i] = ids.size / sizeof *id;
        di_buf_append(&ids, id, (size_t)view[i].n * sizeof *id);
    }
    DI_TRY(di_buf_status(&ids, err));
    for (size_t i = 0; i < n; i++) view[i].id = (const int32_t *)(const void *)ids.data + at[i];
    DI_TRY(di_embed_texts(s->embedder, view, NULL, (int64_t)n, "score", e, err));
    for (size_t i = 0; i < n; i++) {
        double r = (double)di_reward(di_head_at(&s->params, s->params.theta), e + i * width,
                                     (int64_t)width);

        reward[i] = (float)(s->applied ? s->scale * r + s->shift : r);
    }
done:
    di_buf_deinit(&ids);
    di_free(s->al, view);
    di_free(s->al, e);
    di_free(s->al, at);
    return st;
}
