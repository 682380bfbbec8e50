/*
 * Chat templates: how the messages of a dialogue become one text (interfaces.md 2.5, 1). A template
 * is the model's own (Jinja), one of the named ones, or a JSON file of the same form as those.
 * Rendered without a generation prompt, the last turn closed.
 *
 * Immutable; any number of threads may render it.
 */
#ifndef DI_TEXT_TEMPLATE_H
#define DI_TEXT_TEMPLATE_H

#include "base/json.h"
#include "text/jinja.h"

typedef struct di_template di_template;

enum { DI_TEMPLATE_NAME = 32 }; /* bytes of a name, with its 0 */

/* "system", "user", "assistant" or "tool" for these and for the aliases human, gpt and model; NULL
 * for anything else. */
const char *di_role_name(const char *role);

/* BOS and EOS strings of the tokenizer, copied. *out NULL: there is none of that name. */
dial_status di_template_named(const di_alloc *al, const char *name, const di_tokenizer *tok,
                              di_template **out, dial_error *err);

/* "chatml, gemma, ...": for messages. */
const char *di_template_names(void);

/*
 * {"name", "bos", "system", "user", "assistant", "default_system", "system_into_user", "trim"} of
 * interfaces.md, or {"name", "jinja"} as di_template_to_json writes it. where names it in errors.
 * ERR_INPUT: a key that is missing, unknown or of a wrong type; for Jinja as di_jinja_parse.
 */
dial_status di_template_from_json(const di_alloc *al, const json_t *v, const char *where,
                                  const di_tokenizer *tok, di_template **out, dial_error *err);

/* source: n bytes of Jinja. */
dial_status di_template_from_jinja(const di_alloc *al, const char *name, const char *source,
                                   size_t n, const di_tokenizer *tok, di_template **out,
                                   dial_error *err);

/*
 * A template that renders nothing: every dialogue is ERR_INPUT "template_failed: why". For a model
 * without a template, or with one that is not understood, whose rows need not be messages at all.
 */
dial_status di_template_refusing(const di_alloc *al, const char *why, const char *hint,
                                 di_template **out, dial_error *err);
void di_template_free(di_template *t);

const char *di_template_name(const di_template *t);

/* `template_def` of dial.json, from which from_json makes it again; null for a named one. NULL: no
 * memory. */
json_t *di_template_to_json(const di_template *t);

/* Appends the rendered dialogue. ERR_INPUT "template_failed: ...". */
dial_status di_template_render(const di_template *t, const di_turn *turn, size_t n, di_buf *out,
                               dial_error *err);

#endif
