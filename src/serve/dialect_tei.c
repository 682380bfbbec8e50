/*
 * Text Embeddings Inference (router/src/http/types.rs): /rerank, /predict, /embed and the root
 * route. Its scores are sigmoids unless raw_scores is true, its lists come best first.
 */
#include <string.h>

#include "serve/dialects.h"
#include "serve/fields.h"
#include "serve/write.h"

/* `truncate` and `truncation_direction`; texts are cut as in training, whichever is asked. */
static di_answer truncation(di_call *c)
{
    const char *direction = "Left";

    DI_ASK(di_field_truncate(c));
    DI_ASK(di_field_text(c, "truncation_direction", &direction));
    if (strcasecmp(direction, "left") != 0 && strcasecmp(direction, "right") != 0)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "truncation_direction",
                         "`truncation_direction` must be \"Left\" or \"Right\"");
    return DI_ANSWER_OK;
}

/* ---- rerank ---- */

static void write_rerank(const di_call *c, di_buf *out)
{
    int64_t *order = di_new_array(c->al, (size_t)c->n, sizeof *order);
    int64_t n = order != NULL ? di_call_ranking(c, order) : -1;

    di_buf_append(out, "[", 1);
    for (int64_t k = 0; k < n; k++) {
        const di_input *in = &c->input[order[k]];

        di_buf_printf(out, "%s{\"index\":%lld,\"score\":", k > 0 ? "," : "", (long long)order[k]);
        di_write_f32(out, di_call_score(c, order[k]));
        if (c->with_texts) {
            di_buf_printf(out, ",\"text\":");
            di_write_string(out, in->response, in->response_size);
        }
        di_buf_append(out, "}", 1);
    }
    di_buf_append(out, "]", 1);
    if (n < 0) out->failed = 1;
    di_free(c->al, order);
}

di_answer di_parse_tei_rerank(di_call *c)
{
    const json_t *query = di_field(c, "query"), *texts = di_field(c, "texts");

    c->tei = 1;
    DI_ASK(di_field_model(c));
    DI_ASK(di_field_raw_scores(c));
    DI_ASK(truncation(c));
    DI_ASK(di_field_flag(c, "return_text", &c->with_texts));
    if (!json_is_string(query))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "query", "`query` must be a string");
    if (!json_is_array(texts))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "texts",
                         "`texts` must be a list of strings");
    if (json_array_size(texts) == 0)
        return di_refuse(&c->fault, DI_ANSWER_EMPTY, "texts", "`texts` is empty");
    for (size_t i = 0; i < json_array_size(texts); i++)
        DI_ASK(di_call_add_pair(c, "texts", (int64_t)i, query, json_array_get(texts, i)));
    c->write = write_rerank;
    return DI_ANSWER_OK;
}

/* ---- predict ---- */

static void put_prediction(const di_call *c, int64_t i, di_buf *out)
{
    di_buf_printf(out, "[{\"score\":");
    di_write_f32(out, di_call_score(c, i));
    di_buf_printf(out, ",\"label\":\"LABEL_0\"}]");
}

static void write_predict(const di_call *c, di_buf *out)
{
    if (c->single) {
        put_prediction(c, 0, out);
        return;
    }
    di_buf_append(out, "[", 1);
    for (int64_t i = 0; i < c->n; i++) {
        if (i > 0) di_buf_append(out, ",", 1);
        put_prediction(c, i, out);
    }
    di_buf_append(out, "]", 1);
}

static di_answer add_sequence(di_call *c, int64_t at, const json_t *v)
{
    if (json_is_string(v)) return di_call_add_text(c, "inputs", at, v);
    if (json_array_size(v) == 1) return di_call_add_text(c, "inputs", at, json_array_get(v, 0));
    if (json_array_size(v) == 2)
        return di_call_add_pair(c, "inputs", at, json_array_get(v, 0), json_array_get(v, 1));
    return di_refuse(&c->fault, DI_ANSWER_INVALID, "inputs",
                     "`inputs` must be a string, a pair [a, b], or a list of [a] and [a, b]");
}

di_answer di_parse_tei_predict(di_call *c)
{
    const json_t *v = di_field(c, "inputs");

    DI_ASK(di_field_model(c));
    DI_ASK(di_field_raw_scores(c));
    DI_ASK(truncation(c));
    c->write = write_predict;
    if (json_is_array(v) && json_array_size(v) == 0)
        return di_refuse(&c->fault, DI_ANSWER_EMPTY, "inputs", "`inputs` is empty");
    if (!json_is_array(v) || json_is_string(json_array_get(v, 0))) {
        c->single = 1;
        return add_sequence(c, -1, v);
    }
    for (size_t i = 0; i < json_array_size(v); i++)
        DI_ASK(add_sequence(c, (int64_t)i, json_array_get(v, i)));
    return DI_ANSWER_OK;
}

/* ---- embed ---- */

static void write_embed(const di_call *c, di_buf *out)
{
    float *room = di_new_array(c->al, (size_t)c->side[0].model->width, sizeof *room);

    di_buf_append(out, "[", 1);
    for (int64_t i = 0; i < c->n && room != NULL; i++) {
        float x = di_call_score(c, i);
        const float *v = &x;
        int64_t n = 1;

        if (c->wants_embeddings) v = di_call_vector(c, i, room, &n);
        if (i > 0) di_buf_append(out, ",", 1);
        di_write_vector(out, v, n);
    }
    di_buf_append(out, "]", 1);
    if (room == NULL) out->failed = 1;
    di_free(c->al, room);
}

di_answer di_parse_tei_embed(di_call *c)
{
    int normalize = 1;

    DI_ASK(di_field_model(c));
    DI_ASK(truncation(c));
    DI_ASK(di_field_flag(c, "normalize", &normalize));
    c->wants_embeddings = !c->set->embed_reward;
    c->normalize = normalize && c->wants_embeddings;
    c->activation = DI_RAW;
    c->write = write_embed;
    return di_call_add_inputs(c, "inputs", di_field(c, "inputs"));
}

di_answer di_parse_tei_root(di_call *c)
{
    return di_field(c, "texts") != NULL ? di_parse_tei_rerank(c) : di_parse_tei_predict(c);
}
