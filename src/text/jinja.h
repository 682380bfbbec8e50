/*
 * The part of Jinja that chat templates are written in (interfaces.md 2.5), with the white space
 * rules that transformers compiles them with: trim_blocks and lstrip_blocks on, no final newline.
 *
 * A template is parsed once; what the grammar does not know is an error then. Filters, tests,
 * methods and functions are looked up when they are reached: the branches for tools, which a
 * dialogue without tools never enters, may say what they like.
 *
 * A parsed template is immutable; any number of threads may render it.
 */
#ifndef DI_TEXT_JINJA_H
#define DI_TEXT_JINJA_H

#include "base/buf.h"
#include "text/tokenizer.h"

typedef struct di_jinja di_jinja;

/*
 * Parses n bytes of UTF-8; the source is copied. `name` stands in messages, before LINE:COLUMN.
 * ERR_INPUT, message "template_failed: NAME:LINE:COLUMN: ...": what was expected, what was found.
 */
dial_status di_jinja_parse(const di_alloc *al, const char *name, const char *source, size_t n,
                           di_jinja **out, dial_error *err);
void di_jinja_free(di_jinja *t);

/* A message of a dialogue as templates see it: a mapping of `role` and `content`. */
typedef struct di_turn {
    const char *role; /* "system", "user", "assistant", "tool" */
    di_str content;
} di_turn;

/* The strings that a template may ask for beside the messages; data NULL: not defined. */
typedef struct di_jinja_tokens {
    di_str bos, eos;
} di_jinja_tokens;

/*
 * Appends the rendered dialogue: `messages`, `bos_token`, `eos_token`, `add_generation_prompt`
 * (false), `tools` and `documents` (none). ERR_INPUT as above, also for raise_exception and for
 * what would take more than 2^24 steps or 64 MiB beyond 64 times the dialogue.
 */
dial_status di_jinja_render(const di_jinja *t, const di_turn *turn, size_t n,
                            const di_jinja_tokens *tokens, di_buf *out, dial_error *err);

#endif
