/*
 * OpenRLHF (openrlhf/cli/serve_rm.py, utils/agent.py): `query`, rendered texts; an empty list is
 * valid, since its client deals its texts out to several servers. LLaMA-Factory
 * (src/llamafactory/api/protocol.py): `messages`, a list of rendered texts.
 */
#include "serve/dialects.h"
#include "serve/fields.h"
#include "serve/write.h"

static void put_scores(const di_call *c, di_buf *out)
{
    di_buf_append(out, "[", 1);
    for (int64_t i = 0; i < c->n; i++) {
        if (i > 0) di_buf_append(out, ",", 1);
        di_write_f32(out, di_call_score(c, i));
    }
    di_buf_append(out, "]", 1);
}

static void write_get_reward(const di_call *c, di_buf *out)
{
    di_buf_printf(out, "{\"rewards\":");
    put_scores(c, out);
    di_buf_printf(out, ",\"scores\":");
    put_scores(c, out);
    di_buf_printf(out, ",\"extra_logs\":{\"dummy_scores\":");
    put_scores(c, out);
    di_buf_printf(out, "}}");
}

di_answer di_parse_get_reward(di_call *c)
{
    const json_t *query = di_field(c, "query"), *prompts = di_field(c, "prompts");

    if (!json_is_array(query))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "query",
                         "`query` must be a list of strings");
    if (prompts != NULL && !json_is_array(prompts))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "prompts",
                         "`prompts` must be a list of strings");
    DI_ASK(di_field_model(c));
    for (size_t i = 0; i < json_array_size(query); i++) {
        const json_t *prompt = json_array_get(prompts, i);

        DI_ASK(di_call_add_rendered(c, "query", (int64_t)i, json_array_get(query, i),
                                    json_is_string(prompt) ? prompt : NULL));
    }
    c->write = write_get_reward;
    return DI_ANSWER_OK;
}

static void write_evaluation(const di_call *c, di_buf *out)
{
    di_buf_printf(out,
                  "{\"id\":\"scoreeval-%s\",\"object\":\"score.evaluation\",\"model\":", c->id);
    di_write_text(out, c->echo);
    di_buf_printf(out, ",\"scores\":");
    put_scores(c, out);
    di_buf_printf(out, "}");
}

di_answer di_parse_score_evaluation(di_call *c)
{
    const json_t *messages = di_field(c, "messages");
    int64_t most = 0;

    if (!json_is_array(messages))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "messages",
                         "`messages` must be a list of strings");
    if (json_array_size(messages) == 0)
        return di_refuse(&c->fault, DI_ANSWER_EMPTY, "messages", "`messages` is empty");
    DI_ASK(di_field_model(c));
    DI_ASK(di_field_int(c, "max_length", &most));
    if (most < 0)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "max_length",
                         "`max_length` must be positive");
    if (most > 0) {
        c->truncate = 1;
        c->max_length = most;
    }
    for (size_t i = 0; i < json_array_size(messages); i++)
        DI_ASK(di_call_add_text(c, "messages", (int64_t)i, json_array_get(messages, i)));
    c->write = write_evaluation;
    return DI_ANSWER_OK;
}
