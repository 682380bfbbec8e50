/*
 * Members of a request body. An absent member and null leave *out as it is; a wrong type is
 * INVALID and names the member.
 */
#ifndef DI_SERVE_FIELDS_H
#define DI_SERVE_FIELDS_H

#include "serve/call.h"

/* The member, or NULL where it is absent or null. */
const json_t *di_field(const di_call *c, const char *key);

di_answer di_field_flag(di_call *c, const char *key, int *out);
di_answer di_field_int(di_call *c, const char *key, int64_t *out);
di_answer di_field_text(di_call *c, const char *key, const char **out);

/* `model` into c->model. */
di_answer di_field_model(di_call *c);

/* `truncate`, of TEI. */
di_answer di_field_truncate(di_call *c);

/* use_activation (older: activation), truncate_prompt_tokens, add_special_tokens, of vLLM. */
di_answer di_fields_vllm(di_call *c);

/* `raw_scores` of TEI: the sigmoid unless it is true. */
di_answer di_field_raw_scores(di_call *c);

/* "encoding_format": "float" or "base64". */
di_answer di_field_encoding(di_call *c);

#endif
