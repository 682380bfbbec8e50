/* dial's own: /v1/reward and /tokenize. */
#include "serve/dialects.h"
#include "serve/fields.h"
#include "serve/write.h"

static void write_reward(const di_call *c, di_buf *out)
{
    di_buf_printf(out, "{\"model\":");
    di_write_text(out, c->echo);
    di_buf_printf(out, ",\"rewards\":[");
    for (int64_t i = 0; i < c->n; i++) {
        if (i > 0) di_buf_append(out, ",", 1);
        di_write_f32(out, di_call_score(c, i));
    }
    di_buf_printf(out, "],\"tokens\":[");
    for (int64_t i = 0; i < c->n; i++)
        di_buf_printf(out, "%s%lld", i > 0 ? "," : "", (long long)c->side[0].view[i].n);
    di_buf_printf(out, "],\"truncated\":[");
    for (int64_t i = 0; i < c->n; i++)
        di_buf_printf(out, "%s%s", i > 0 ? "," : "", c->truncated[i] ? "true" : "false");
    di_buf_printf(out, "]}");
}

/* {"prompt", "response"}, {"messages"} or {"text"} */
static di_answer add_input(di_call *c, size_t i, const json_t *v)
{
    const json_t *messages = json_object_get(v, "messages"), *text = json_object_get(v, "text");
    const json_t *response = json_object_get(v, "response"), *prompt = json_object_get(v, "prompt");

    if (messages != NULL) return di_call_add_messages(c, "inputs", (int64_t)i, messages);
    if (text != NULL) return di_call_add_text(c, "inputs", (int64_t)i, text);
    if (prompt != NULL && response != NULL)
        return di_call_add_pair(c, "inputs", (int64_t)i, prompt, response);
    return di_refuse(&c->fault, DI_ANSWER_INVALID, "inputs",
                     "inputs[%zu] must be {\"prompt\", \"response\"}, {\"messages\"} or {\"text\"}",
                     i);
}

static di_answer inputs(di_call *c)
{
    const json_t *v = di_field(c, "inputs");

    DI_ASK(di_field_model(c));
    DI_ASK(di_field_truncate(c));
    if (!json_is_array(v))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "inputs", "`inputs` must be a list");
    if (json_array_size(v) == 0)
        return di_refuse(&c->fault, DI_ANSWER_EMPTY, "inputs", "`inputs` is empty");
    for (size_t i = 0; i < json_array_size(v); i++) DI_ASK(add_input(c, i, json_array_get(v, i)));
    return DI_ANSWER_OK;
}

di_answer di_parse_reward(di_call *c)
{
    DI_ASK(inputs(c));
    DI_ASK(di_field_flag(c, "normalize", &c->normalize));
    c->write = write_reward;
    return DI_ANSWER_OK;
}

static void write_tokenize(const di_call *c, di_buf *out)
{
    const di_served *m = c->side[0].model;

    di_buf_printf(out, "{\"ids\":[");
    for (int64_t i = 0; i < c->n; i++) {
        di_buf_printf(out, "%s[", i > 0 ? "," : "");
        for (int64_t k = 0; k < c->side[0].view[i].n; k++)
            di_buf_printf(out, "%s%d", k > 0 ? "," : "", (int)c->side[0].view[i].id[k]);
        di_buf_append(out, "]", 1);
    }
    di_buf_printf(out, "],\"tokens\":[");
    for (int64_t i = 0; i < c->n; i++) {
        di_buf_printf(out, "%s[", i > 0 ? "," : "");
        for (int64_t k = 0; k < c->side[0].view[i].n; k++) {
            di_str t = di_tokenizer_token(m->tok, c->side[0].view[i].id[k]);

            if (k > 0) di_buf_append(out, ",", 1);
            di_write_string(out, t.data, t.size);
        }
        di_buf_append(out, "]", 1);
    }
    di_buf_printf(out, "],\"boundary\":[");
    for (int64_t i = 0; i < c->n; i++)
        di_buf_printf(out, "%s%lld", i > 0 ? "," : "", (long long)c->boundary[i]);
    di_buf_printf(out, "]}");
}

di_answer di_parse_tokenize(di_call *c)
{
    DI_ASK(inputs(c));
    c->no_scores = 1;
    c->write = write_tokenize;
    return DI_ANSWER_OK;
}
