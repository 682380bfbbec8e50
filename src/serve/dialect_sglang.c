/*
 * SGLang's own /classify (`text` or `input_ids`): the reward stands in `embedding`, one object for
 * one text, a list for a list.
 */
#include "serve/dialects.h"
#include "serve/fields.h"
#include "serve/write.h"

static void put_one(const di_call *c, int64_t i, di_buf *out)
{
    float x = di_call_score(c, i);

    di_buf_printf(out, "{\"embedding\":");
    di_write_vector(out, &x, 1);
    di_buf_printf(out, ",\"meta_info\":{\"id\":\"%s", c->id);
    if (!c->single) di_buf_printf(out, "-%lld", (long long)i);
    di_buf_printf(out, "\",\"finish_reason\":null,\"prompt_tokens\":%lld,\"e2e_latency\":%.9g}}",
                  (long long)c->side[0].view[i].n, c->seconds);
}

static void write_sglang(const di_call *c, di_buf *out)
{
    if (!c->single) di_buf_append(out, "[", 1);
    for (int64_t i = 0; i < c->n; i++) {
        if (i > 0) di_buf_append(out, ",", 1);
        put_one(c, i, out);
    }
    if (!c->single) di_buf_append(out, "]", 1);
}

di_answer di_parse_sglang_classify(di_call *c)
{
    const char *key = di_field(c, "text") != NULL ? "text" : "input_ids";

    DI_ASK(di_field_model(c));
    DI_ASK(di_call_add_inputs(c, key, di_field(c, key)));
    c->write = write_sglang;
    return DI_ANSWER_OK;
}
