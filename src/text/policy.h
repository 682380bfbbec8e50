/*
 * From the strings of a row to the ids of one text: render, tokenise, BOS, EOS, truncate. The one
 * text path of train, eval, score, embed and serve (interfaces.md 2.5); the policy is stored in
 * the run and fixes the result for a given string and tokenizer.
 *
 * Prompt and response are encoded jointly, as one string, so a token may span the border between
 * them; it then belongs to the response. A reward is a function of one text: nothing here ever
 * looks at a second one.
 */
#ifndef DI_TEXT_POLICY_H
#define DI_TEXT_POLICY_H

#include "base/json.h"
#include "text/template.h"
#include "text/tokenizer.h"

typedef enum di_when { DI_AUTO, DI_ALWAYS, DI_NEVER } di_when;
typedef enum di_overlong { DI_TRUNCATE_PROMPT, DI_DROP, DI_OVERLONG_ERROR } di_overlong;

typedef struct di_text_policy {
    char template_name[DI_TEMPLATE_NAME]; /* "raw", "auto" (message lists by the template, strings
                                             raw), or the name of the template, for both */
    const di_template *chat;              /* borrowed; NULL under raw */
    di_when bos, eos;                     /* as asked for */
    int adds_bos, appends_eos;            /* what that came to with this tokenizer */
    int32_t bos_id, eos_id;               /* -1: none */
    int64_t max_length;                   /* tokens of a text, BOS and EOS included; >= 3 */
    di_overlong overlong;
} di_text_policy;

/*
 * Fills adds_bos, appends_eos and the ids from the tokenizer: bos auto = iff the tokenizer says
 * so; eos auto = appended for raw text, if there is one, not after a chat template, which has
 * closed the turn. ERR_USAGE if always is asked of a tokenizer without the id or if max_length < 3.
 */
dial_status di_text_policy_resolve(di_text_policy *p, const di_tokenizer *t, dial_error *err);

/*
 * The `text` object of dial.json (interfaces.md 4.1; NULL: no memory), and back, but for `chat`,
 * which di_template_from_json makes of its template_def. where names the file in errors. ERR_INPUT
 * if a key is missing, of the wrong type or out of range.
 */
json_t *di_text_policy_to_json(const di_text_policy *p, const char *tokenizer_sha256);
dial_status di_text_policy_from_json(const json_t *v, const char *where, di_text_policy *out,
                                     dial_error *err);

/*
 * One text; the strings are borrowed. A dialogue has its turns beside them: prompt and response are
 * then the contents of turns 0 .. scored-1 and scored .. n_turns-1, joined, which is what raw makes
 * of it. Under a chat template a text without turns is a user's and an assistant's.
 */
typedef struct di_text {
    const char *prompt; /* may be empty */
    size_t prompt_size;
    const char *response;
    size_t response_size;
    int has_border;      /* 0: no border, all of it is cut from the left */
    int rendered;        /* 1: the text as it is, whatever the template */
    const di_turn *turn; /* [n_turns]; NULL: none */
    size_t n_turns, scored;
} di_text;

/* What happened to a text that was too long. Without a border a cut counts as the prompt's. */
enum { DI_PROMPT_TRUNCATED = 1, DI_RESPONSE_TRUNCATED = 2, DI_DROPPED = 4 };

/* Working memory of di_text_encode; zero-initialise with al set, free with deinit. */
typedef struct di_text_scratch {
    const di_alloc *al;
    di_token_list list;
    char *joined; /* prompt and response */
    size_t joined_cap;
    di_buf chat, other; /* rendered by a template: the text, and with another response */
    di_turn *turn;
    size_t turn_cap;
    size_t whole;        /* of the last text: its tokens with BOS and EOS, before it was cut */
    size_t border;       /* of the last text: bytes of its prompt as rendered; 0 without a border */
    int32_t *ids;        /* the result */
    int64_t response_at; /* of the last text: place of the first token of its response */
    size_t ids_cap;
} di_text_scratch;

void di_text_scratch_deinit(di_text_scratch *s);

/*
 * ids: borrowed from scratch, valid until its next use; *n >= 1; *flags: the bits above.
 * DI_DROPPED (too long under DI_DROP): *n is 0. ERR_INPUT: "too_long" (under DI_OVERLONG_ERROR),
 * "empty_prompt_and_response" (a text of no tokens), "template_failed", "bad_utf8" of the
 * tokenizer.
 */
dial_status di_text_encode(const di_text_policy *p, const di_tokenizer *t, const di_text *text,
                           di_text_scratch *s, const int32_t **ids, int64_t *n, unsigned *flags,
                           dial_error *err);

#endif
