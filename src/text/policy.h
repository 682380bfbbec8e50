/*
 * From the strings of a row to the ids of one text: render, tokenise, BOS, EOS, truncate. The one
 * text path of train, eval, score, embed and serve (interfaces.md 2.5); the policy is stored in
 * the run and fixes the result for a given string and tokenizer.
 */
#ifndef DI_TEXT_POLICY_H
#define DI_TEXT_POLICY_H

#include "base/json.h"
#include "text/tokenizer.h"

typedef enum di_when { DI_AUTO, DI_ALWAYS, DI_NEVER } di_when;
typedef enum di_overlong { DI_TRUNCATE_PROMPT, DI_DROP, DI_OVERLONG_ERROR } di_overlong;

typedef struct di_text_policy {
    char template_name[32];  /* "raw"; chat templates are refused by name until they are built */
    di_when bos, eos;        /* as asked for */
    int adds_bos, appends_eos; /* what that came to with this tokenizer */
    int32_t bos_id, eos_id;  /* -1: none */
    int64_t max_length;      /* tokens of a text, BOS and EOS included */
    di_overlong overlong;
} di_text_policy;

/*
 * Fills adds_bos, appends_eos and the ids from the tokenizer: bos auto = iff the tokenizer says
 * so; eos auto = appended for raw text. ERR_USAGE if always is asked of a tokenizer without the
 * id, if max_length < 3 or if the template is not known.
 */
dial_status di_text_policy_resolve(di_text_policy *p, const di_tokenizer *t, dial_error *err);

/* The `text` object of dial.json (interfaces.md 4.1), and back. */
json_t *di_text_policy_to_json(const di_text_policy *p, const char *tokenizer_sha256);
dial_status di_text_policy_from_json(const json_t *v, const char *where, di_text_policy *out,
                                     dial_error *err);

/* One text. prompt may be empty; has_border 0: text without a border, cut from the left. */
typedef struct di_text {
    const char *prompt;
    size_t prompt_size;
    const char *response;
    size_t response_size;
    int has_border;
} di_text;

enum { DI_PROMPT_TRUNCATED = 1, DI_RESPONSE_TRUNCATED = 2, DI_DROPPED = 4 };

/* Working memory of di_text_encode; zero-initialise with al set, free with deinit. */
typedef struct di_text_scratch {
    const di_alloc *al;
    di_token_list list;
    char *joined;
    size_t joined_cap;
} di_text_scratch;

void di_text_scratch_deinit(di_text_scratch *s);

/*
 * ids: borrowed from scratch, valid until its next use; *flags: the bits above. DI_DROPPED (too
 * long under DI_DROP): *n is 0. Too long under DI_OVERLONG_ERROR: ERR_INPUT "too_long".
 */
dial_status di_text_encode(const di_text_policy *p, const di_tokenizer *t, const di_text *text,
                           di_text_scratch *s, const int32_t **ids, int64_t *n, unsigned *flags,
                           dial_error *err);

#endif
