/* OpenAI: /v1/embeddings. */
#include "serve/dialects.h"
#include "serve/fields.h"
#include "serve/write.h"

static void write_embeddings(const di_call *c, di_buf *out)
{
    float *room = di_new_array(c->al, (size_t)c->side[0].model->width, sizeof *room);

    di_buf_printf(out, "{\"object\":\"list\",\"data\":[");
    for (int64_t i = 0; i < c->n && room != NULL; i++) {
        float x = di_call_score(c, i);
        const float *v = &x;
        int64_t n = 1;

        if (c->wants_embeddings) v = di_call_vector(c, i, room, &n);
        di_buf_printf(out,
                      "%s{\"object\":\"embedding\",\"index\":%lld,\"embedding\":", i > 0 ? "," : "",
                      (long long)i);
        if (c->base64)
            di_write_base64(out, v, n);
        else
            di_write_vector(out, v, n);
        di_buf_append(out, "}", 1);
    }
    di_buf_printf(out, "],\"model\":");
    di_write_text(out, c->echo);
    di_buf_append(out, ",", 1);
    di_call_write_usage(c, "", out);
    di_buf_append(out, "}", 1);
    if (room == NULL) out->failed = 1;
    di_free(c->al, room);
}

di_answer di_parse_embeddings(di_call *c)
{
    int64_t dimensions = 0, width;
    int place;

    DI_ASK(di_fields_vllm(c));
    DI_ASK(di_field_encoding(c));
    DI_ASK(di_field_int(c, "dimensions", &dimensions));
    c->activation = DI_RAW;
    c->wants_embeddings = !c->set->embed_reward;
    place = di_models_find(c->models, c->model, 0);
    width = c->wants_embeddings ? di_models_width(c->models, place) : 1;
    if (dimensions != 0 && dimensions != width)
        return di_refuse(&c->fault, DI_ANSWER_UNPROCESSABLE, "dimensions",
                         "`dimensions` must be %lld, the width of this model", (long long)width);
    c->write = write_embeddings;
    return di_call_add_inputs(c, "input", di_field(c, "input"));
}
