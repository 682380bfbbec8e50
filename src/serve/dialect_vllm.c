/*
 * vLLM: /classify, /pooling, /score and the Jina form of /rerank (vllm/entrypoints, pooling and
 * score protocols). One label, so `probs` has one number: the reward, or its sigmoid under
 * `use_activation`.
 */
#include "serve/dialects.h"
#include "serve/fields.h"
#include "serve/write.h"

static void put_head(const di_call *c, const char *prefix, di_buf *out)
{
    di_buf_printf(out, "{\"id\":\"%s-%s\",\"object\":\"list\",\"created\":%lld,\"model\":", prefix,
                  c->id, (long long)c->created);
    di_write_text(out, c->echo);
}

static void put_usage(const di_call *c, di_buf *out)
{
    di_call_write_usage(c, ",\"completion_tokens\":0,\"prompt_tokens_details\":null", out);
}

/* ---- classify and pooling ---- */

static void write_classify(const di_call *c, di_buf *out)
{
    put_head(c, "classify", out);
    di_buf_printf(out, ",\"data\":[");
    for (int64_t i = 0; i < c->n; i++) {
        di_buf_printf(out, "%s{\"index\":%lld,\"label\":\"LABEL_0\",\"probs\":[", i > 0 ? "," : "",
                      (long long)i);
        di_write_f32(out, di_call_score(c, i));
        di_buf_printf(out, "],\"num_classes\":1}");
    }
    di_buf_printf(out, "],");
    put_usage(c, out);
    di_buf_printf(out, "}");
}

static void write_pooling(const di_call *c, di_buf *out)
{
    put_head(c, "pool", out);
    di_buf_printf(out, ",\"data\":[");
    for (int64_t i = 0; i < c->n; i++) {
        float x = di_call_score(c, i);

        di_buf_printf(out, "%s{\"index\":%lld,\"object\":\"pooling\",\"data\":", i > 0 ? "," : "",
                      (long long)i);
        if (c->base64)
            di_write_base64(out, &x, 1);
        else
            di_write_vector(out, &x, 1);
        di_buf_printf(out, "}");
    }
    di_buf_printf(out, "],");
    put_usage(c, out);
    di_buf_printf(out, "}");
}

/* `input` or `messages`. */
static di_answer inputs(di_call *c)
{
    DI_ASK(di_fields_vllm(c));
    if (di_field(c, "messages") != NULL) {
        c->single = 1;
        return di_call_add_messages(c, "messages", -1, di_field(c, "messages"));
    }
    return di_call_add_inputs(c, "input", di_field(c, "input"));
}

di_answer di_parse_v1_classify(di_call *c)
{
    DI_ASK(inputs(c));
    c->write = write_classify;
    return DI_ANSWER_OK;
}

di_answer di_parse_classify(di_call *c)
{
    int vllm = di_field(c, "input") != NULL || di_field(c, "messages") != NULL;
    int sglang = di_field(c, "text") != NULL || di_field(c, "input_ids") != NULL;

    return sglang && !vllm ? di_parse_sglang_classify(c) : di_parse_v1_classify(c);
}

di_answer di_parse_pooling(di_call *c)
{
    DI_ASK(inputs(c));
    DI_ASK(di_field_encoding(c));
    c->write = write_pooling;
    return DI_ANSWER_OK;
}

/* ---- score ---- */

static void write_score(const di_call *c, di_buf *out)
{
    put_head(c, "score", out);
    di_buf_printf(out, ",\"data\":[");
    for (int64_t i = 0; i < c->n; i++) {
        di_buf_printf(out, "%s{\"index\":%lld,\"object\":\"score\",\"score\":", i > 0 ? "," : "",
                      (long long)i);
        di_write_f32(out, di_call_score(c, i));
        di_buf_printf(out, "}");
    }
    di_buf_printf(out, "],");
    put_usage(c, out);
    di_buf_printf(out, "}");
}

/* Texts of a side: 1 for a string, the size of a list, 0 for anything else. */
static size_t count_of(const json_t *v)
{
    return json_is_string(v) ? 1 : json_is_array(v) ? json_array_size(v) : 0;
}

static const json_t *at(const json_t *v, size_t i)
{
    return json_is_array(v) ? json_array_get(v, json_array_size(v) == 1 ? 0 : i) : v;
}

di_answer di_parse_score(di_call *c)
{
    const json_t *a = di_field(c, "text_1"), *b = di_field(c, "text_2");
    size_t n_a = count_of(a), n = count_of(b);

    DI_ASK(di_fields_vllm(c));
    for (int k = 0; k < 2; k++) {
        const char *key = k == 0 ? "text_1" : "text_2";
        const json_t *v = k == 0 ? a : b;

        if (!json_is_string(v) && !json_is_array(v))
            return di_refuse(&c->fault, DI_ANSWER_INVALID, key,
                             "`%s` must be a string or a list of strings", key);
        if (count_of(v) == 0)
            return di_refuse(&c->fault, DI_ANSWER_EMPTY, key, "`%s` is empty", key);
    }
    if (n_a != 1 && n_a != n)
        return di_refuse(&c->fault, DI_ANSWER_UNPROCESSABLE, "text_1",
                         "`text_1` must have one text, or as many as `text_2`: %zu, not %zu", n,
                         n_a);
    for (size_t i = 0; i < n; i++)
        DI_ASK(di_call_add_pair(c, "text_2", json_is_array(b) ? (int64_t)i : -1, at(a, i),
                                json_is_array(b) ? json_array_get(b, i) : b));
    c->write = write_score;
    return DI_ANSWER_OK;
}

/* ---- rerank ---- */

static void write_rerank(const di_call *c, di_buf *out)
{
    int64_t *order = di_new_array(c->al, (size_t)c->n, sizeof *order);
    int64_t n = order != NULL ? di_call_ranking(c, order) : -1;

    put_head(c, "rerank", out);
    di_buf_append(out, ",", 1);
    di_call_write_usage(c, "", out);
    di_buf_printf(out, ",\"results\":[");
    for (int64_t k = 0; k < n; k++) {
        const di_input *in = &c->input[order[k]];

        di_buf_printf(out, "%s{\"index\":%lld,", k > 0 ? "," : "", (long long)order[k]);
        if (c->with_texts) {
            di_buf_printf(out, "\"document\":{\"text\":");
            di_write_string(out, in->response, in->response_size);
            di_buf_printf(out, "},");
        }
        di_buf_printf(out, "\"relevance_score\":");
        di_write_f32(out, di_call_score(c, order[k]));
        di_buf_printf(out, "}");
    }
    di_buf_printf(out, "]}");
    if (n < 0) out->failed = 1;
    di_free(c->al, order);
}

/* A document is a string or {"text": string}. */
static const json_t *document_text(const json_t *v)
{
    const json_t *text = json_object_get(v, "text");

    return text != NULL ? text : v;
}

static di_answer jina_rerank(di_call *c)
{
    const json_t *query = di_field(c, "query"), *documents = di_field(c, "documents");

    DI_ASK(di_fields_vllm(c));
    DI_ASK(di_field_int(c, "top_n", &c->top));
    c->with_texts = 1;
    DI_ASK(di_field_flag(c, "return_documents", &c->with_texts));
    if (c->top < 0)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "top_n", "`top_n` must not be negative");
    if (!json_is_string(query))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "query", "`query` must be a string");
    c->write = write_rerank;
    if (!json_is_array(documents))
        return di_call_add_pair(c, "documents", -1, query, document_text(documents));
    if (json_array_size(documents) == 0)
        return di_refuse(&c->fault, DI_ANSWER_EMPTY, "documents", "`documents` is empty");
    for (size_t i = 0; i < json_array_size(documents); i++)
        DI_ASK(di_call_add_pair(c, "documents", (int64_t)i, query,
                                document_text(json_array_get(documents, i))));
    return DI_ANSWER_OK;
}

di_answer di_parse_rerank(di_call *c)
{
    if (di_field(c, "texts") != NULL) return di_parse_tei_rerank(c);
    if (di_field(c, "documents") == NULL)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "documents",
                         "`documents` is missing (in the form of TEI: `texts`)");
    return jina_rerank(c);
}
