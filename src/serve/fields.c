#include "serve/fields.h"

#include <string.h>

const json_t *di_field(const di_call *c, const char *key)
{
    const json_t *v = json_object_get(c->body, key);

    return json_is_null(v) ? NULL : v;
}

di_answer di_field_flag(di_call *c, const char *key, int *out)
{
    const json_t *v = di_field(c, key);

    if (v == NULL) return DI_ANSWER_OK;
    if (!json_is_boolean(v))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, key, "`%s` must be true or false", key);
    *out = json_is_true(v);
    return DI_ANSWER_OK;
}

di_answer di_field_int(di_call *c, const char *key, int64_t *out)
{
    const json_t *v = di_field(c, key);

    if (v == NULL) return DI_ANSWER_OK;
    if (!json_is_integer(v))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, key, "`%s` must be an integer", key);
    *out = json_integer_value(v);
    return DI_ANSWER_OK;
}

di_answer di_field_text(di_call *c, const char *key, const char **out)
{
    const json_t *v = di_field(c, key);

    if (v == NULL) return DI_ANSWER_OK;
    if (!json_is_string(v))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, key, "`%s` must be a string", key);
    *out = json_string_value(v);
    return DI_ANSWER_OK;
}

di_answer di_field_model(di_call *c)
{
    return di_field_text(c, "model", &c->model);
}

di_answer di_field_truncate(di_call *c)
{
    return di_field_flag(c, "truncate", &c->truncate);
}

di_answer di_fields_vllm(di_call *c)
{
    int active = -1, special = 1;
    int64_t keep = 0;

    DI_ASK(di_field_model(c));
    DI_ASK(di_field_flag(c, "activation", &active));
    DI_ASK(di_field_flag(c, "use_activation", &active));
    if (active >= 0) c->activation = active ? DI_SIGMOID : DI_RAW;
    DI_ASK(di_field_flag(c, "add_special_tokens", &special));
    c->no_special_tokens = !special;
    DI_ASK(di_field_int(c, "truncate_prompt_tokens", &keep));
    if (keep < -1)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "truncate_prompt_tokens",
                         "`truncate_prompt_tokens` must be -1 or more");
    if (keep != 0) c->truncate = 1;
    if (keep > 0) c->max_length = keep;
    return DI_ANSWER_OK;
}

di_answer di_field_raw_scores(di_call *c)
{
    int raw = 0;

    DI_ASK(di_field_flag(c, "raw_scores", &raw));
    c->activation = raw ? DI_RAW : DI_SIGMOID;
    return DI_ANSWER_OK;
}

di_answer di_field_encoding(di_call *c)
{
    const char *format = "float";

    DI_ASK(di_field_text(c, "encoding_format", &format));
    c->base64 = strcmp(format, "base64") == 0;
    if (!c->base64 && strcmp(format, "float") != 0)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, "encoding_format",
                         "`encoding_format` must be \"float\" or \"base64\"");
    return DI_ANSWER_OK;
}
