#include "text/policy.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "text/jinja_impl.h"

static const char *const when_name[] = {"auto", "always", "never"};
static const char *const overlong_name[] = {"truncate-prompt", "drop", "error"};

/* BOS, EOS and a token between them. */
enum { MIN_LENGTH = 3 };

/* What stands behind is raw text unless it is a dialogue. */
static int is_raw(const di_text_policy *p)
{
    return strcmp(p->template_name, "auto") == 0 || strcmp(p->template_name, "raw") == 0;
}

/* What a choice comes to, given what auto means; ERR_USAGE if an id is asked for that is not there.
 */
static dial_status decide(di_when when, const char *flag, int32_t id, int automatic, int *out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;

    if (when == DI_ALWAYS && id < 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, flag, "pass auto or never",
                   "always was asked for, but the tokenizer has no such token");
    *out = when == DI_ALWAYS || (when == DI_AUTO && automatic && id >= 0);
done:
    return st;
}

dial_status di_text_policy_resolve(di_text_policy *p, const di_tokenizer *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_tokenizer_info *info = di_tokenizer_get_info(t);
    int adds_bos = 0, appends_eos = 0;

    if (p->max_length < MIN_LENGTH || p->max_length > INT32_MAX)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--max-length", "1024 is the default",
                   "expected at least %d tokens (BOS, one of the text, EOS), found %lld",
                   MIN_LENGTH, (long long)p->max_length);
    DI_TRY(decide(p->bos, "--bos", info->bos, info->adds_bos, &adds_bos, err));
    DI_TRY(decide(p->eos, "--eos", info->eos, is_raw(p), &appends_eos, err));
    p->adds_bos = adds_bos;
    p->appends_eos = appends_eos;
    p->bos_id = info->bos;
    p->eos_id = info->eos;
done:
    return st;
}

/* --- JSON ------------------------------------------------------------------------------------- */

json_t *di_text_policy_to_json(const di_text_policy *p, const char *tokenizer_sha256)
{
    json_t *def = p->chat != NULL ? di_template_to_json(p->chat) : json_null();
    json_t *v = json_pack("{s:s, s:o, s:s, s:s, s:b, s:b, s:o, s:o, s:I, s:s, s:s}", "template",
                          p->template_name, "template_def", def, "bos", when_name[p->bos], "eos",
                          when_name[p->eos], "adds_bos", p->adds_bos, "appends_eos", p->appends_eos,
                          "bos_id", p->bos_id >= 0 ? json_integer(p->bos_id) : json_null(),
                          "eos_id", p->eos_id >= 0 ? json_integer(p->eos_id) : json_null(),
                          "max_length", (json_int_t)p->max_length, "overlong",
                          overlong_name[p->overlong], "tokenizer_sha256", tokenizer_sha256);

    return v;
}

/* The place of a string among names; ERR_INPUT if it is none of them. */
static dial_status choice(const json_t *v, const char *where, const char *key,
                          const char *const name[], int n, int *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = json_string_value(json_object_get(v, key));

    for (int i = 0; text != NULL && i < n; i++)
        if (strcmp(text, name[i]) == 0) {
            *out = i;
            goto done;
        }
    DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "the file was not written by this version of dial",
               "text.%s: expected %s, %s or %s, found %s", key, name[0], name[1], name[2],
               text != NULL ? text : "no string");
done:
    return st;
}

static dial_status boolean(const json_t *v, const char *where, const char *key, int *out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *x = json_object_get(v, key);

    if (!json_is_boolean(x))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, NULL, "text.%s: expected true or false", key);
    *out = json_is_true(x);
done:
    return st;
}

/* An integer from least on; null gives -1 where -1 is the least. */
static dial_status integer(const json_t *v, const char *where, const char *key, int64_t least,
                           int64_t *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *x = json_object_get(v, key);

    if (json_is_null(x) && least < 0) {
        *out = -1;
        goto done;
    }
    if (!json_is_integer(x) || json_integer_value(x) < (least < 0 ? 0 : least) ||
        json_integer_value(x) > INT32_MAX)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, NULL, "text.%s: expected an integer from %d on%s",
                   key, (int)(least < 0 ? 0 : least), least < 0 ? ", or null" : "");
    *out = json_integer_value(x);
done:
    return st;
}

dial_status di_text_policy_from_json(const json_t *v, const char *where, di_text_policy *out,
                                     dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text_policy p = {0};
    const char *name = json_string_value(json_object_get(v, "template"));
    int64_t bos_id = 0, eos_id = 0;
    int bos = 0, eos = 0, overlong = 0;

    if (!json_is_object(v) || name == NULL || strlen(name) >= sizeof p.template_name)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, NULL,
                   "text.template: expected a string of at most %zu bytes",
                   sizeof p.template_name - 1);
    snprintf(p.template_name, sizeof p.template_name, "%s", name);
    DI_TRY(choice(v, where, "bos", when_name, 3, &bos, err));
    DI_TRY(choice(v, where, "eos", when_name, 3, &eos, err));
    DI_TRY(choice(v, where, "overlong", overlong_name, 3, &overlong, err));
    DI_TRY(boolean(v, where, "adds_bos", &p.adds_bos, err));
    DI_TRY(boolean(v, where, "appends_eos", &p.appends_eos, err));
    DI_TRY(integer(v, where, "bos_id", -1, &bos_id, err));
    DI_TRY(integer(v, where, "eos_id", -1, &eos_id, err));
    DI_TRY(integer(v, where, "max_length", MIN_LENGTH, &p.max_length, err));
    p.bos = (di_when)bos;
    p.eos = (di_when)eos;
    p.overlong = (di_overlong)overlong;
    p.bos_id = (int32_t)bos_id;
    p.eos_id = (int32_t)eos_id;
    if ((p.adds_bos && p.bos_id < 0) || (p.appends_eos && p.eos_id < 0))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, NULL,
                   "text: adds_bos or appends_eos is true, but the id is null");
    *out = p;
done:
    return st;
}

/* --- encoding --------------------------------------------------------------------------------- */

void di_text_scratch_deinit(di_text_scratch *s)
{
    if (s->al == NULL) return;
    di_token_list_deinit(&s->list);
    di_free(s->al, s->joined);
    di_free(s->al, s->ids);
    di_free(s->al, s->turn);
    di_buf_deinit(&s->chat);
    di_buf_deinit(&s->other);
    *s = (di_text_scratch){.al = s->al};
}

/* Room for n elements of the given size in *p, whose old content is not kept. */
static int room(const di_alloc *al, void **p, size_t *cap, size_t n, size_t size)
{
    size_t want = n + n / 2 + 64, bytes;

    if (n <= *cap) return 1;
    di_free(al, *p);
    *cap = 0;
    *p = di_mul_size(want, size, &bytes) ? di_new(al, bytes) : NULL;
    if (*p == NULL) return 0;
    *cap = want;
    return 1;
}

/* raw: prompt bytes followed by response bytes, nothing between. */
static dial_status render_raw(const di_text *text, di_text_scratch *s, const char **out,
                              size_t *size, dial_error *err)
{
    dial_status st = DIAL_OK;
    void *joined = s->joined;
    size_t n;
    int ok;

    *out = text->response;
    *size = text->response_size;
    s->border = text->has_border ? text->prompt_size : 0;
    if (text->prompt_size == 0) goto done;
    if (!di_add_size(text->prompt_size, text->response_size, &n))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a text");
    ok = room(s->al, &joined, &s->joined_cap, n, 1);
    s->joined = joined;
    if (!ok) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a text of %zu bytes", n);
    memcpy(s->joined, text->prompt, text->prompt_size);
    if (text->response_size > 0)
        memcpy(s->joined + text->prompt_size, text->response, text->response_size);
    *out = s->joined;
    *size = n;
done:
    return st;
}

/* The turns of a text in s->turn: its own, or prompt and response as a user's and an assistant's.
 */
static dial_status take_turns(const di_text *text, di_text_scratch *s, size_t *n, size_t *scored,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_turn two[] = {{"user", {text->prompt, text->prompt_size}},
                           {"assistant", {text->response, text->response_size}}};
    void *turn = s->turn;
    int ok;

    *n = text->turn != NULL ? text->n_turns : 2;
    *scored = text->turn != NULL ? text->scored : 1;
    ok = room(s->al, &turn, &s->turn_cap, *n, sizeof *s->turn);
    s->turn = turn;
    if (!ok) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a dialogue of %zu turns", *n);
    memcpy(s->turn, text->turn != NULL ? text->turn : two, *n * sizeof *s->turn);
done:
    return st;
}

/*
 * By a chat template. It says nothing of where the response begins, so the dialogue is rendered a
 * second time with another response: the border is where the two texts part. The other response
 * begins with another character than the response has after its white space, which templates trim.
 */
static dial_status render_chat(const di_template *t, const di_text *text, di_text_scratch *s,
                               const char **out, size_t *size, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *a, *b;
    size_t n, scored, least, i = 0;
    di_str own;

    s->chat.al = s->other.al = s->al;
    s->chat.size = s->other.size = 0;
    DI_TRY(take_turns(text, s, &n, &scored, err));
    DI_TRY(di_template_render(t, s->turn, n, &s->chat, err));
    own = di_strip(s->turn[scored].content, DI_STRIP_LEFT);
    s->turn[scored].content = (di_str){own.size > 0 && own.data[0] == 'x' ? "y" : "x", 1};
    DI_TRY(di_template_render(t, s->turn, n, &s->other, err));
    a = s->chat.data;
    b = s->other.data;
    least = s->chat.size < s->other.size ? s->chat.size : s->other.size;
    while (i < least && a[i] == b[i]) i++;
    if (i == s->chat.size && i == s->other.size)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, NULL, "pass another --template",
                   "template_failed: the template %s leaves the response out", di_template_name(t));
    while (i > 0 && i < s->chat.size && ((unsigned char)a[i] & 0xc0) == 0x80) i--;
    s->border = i;
    *out = a != NULL ? a : "";
    *size = s->chat.size;
done:
    return st;
}

static int uses_template(const di_text_policy *p, const di_text *text)
{
    if (p->chat == NULL || text->rendered) return 0;
    return text->turn != NULL || strcmp(p->template_name, "auto") != 0;
}

/*
 * What is kept of the tokens begin .. end (BOS and EOS set aside): `room_left` of them. The prompt
 * gives way first, from its left; a response that does not fit alone loses its end.
 */
static void truncate_body(const di_token_list *list, int has_border, size_t border,
                          size_t room_left, size_t *begin, size_t *end, unsigned *flags)
{
    size_t response = *begin;

    if (has_border)
        while (response < *end && list->end[response] <= border) response++;
    if (!has_border || *end - response <= room_left) {
        *begin = *end - room_left;
        *flags |= DI_PROMPT_TRUNCATED;
        return;
    }
    if (response > *begin) *flags |= DI_PROMPT_TRUNCATED;
    *flags |= DI_RESPONSE_TRUNCATED;
    *begin = response;
    *end = response + room_left;
}

/* Which of the tokens are the text's body, and which ids stand around it. */
typedef struct frame {
    size_t begin, end;
    int bos, eos; /* 1: one stands before, behind */
} frame;

/* A BOS or EOS that the text itself brings is taken as ours, so that there are never two. A chat
 * template has closed the turn: EOS is added behind it only where it is asked for. */
static frame frame_of(const di_text_policy *p, const di_token_list *list, int chat)
{
    frame f = {0, list->n, p->adds_bos, p->appends_eos && (!chat || p->eos == DI_ALWAYS)};

    if (p->bos_id >= 0 && list->n > 0 && list->id[0] == p->bos_id) {
        f.bos = 1;
        f.begin = 1;
    }
    if (p->eos_id >= 0 && list->n > 0 && list->id[list->n - 1] == p->eos_id) {
        f.eos = f.end > f.begin; /* one token that is both has been counted as the BOS */
        f.end -= (size_t)f.eos;
    }
    return f;
}

dial_status di_text_encode(const di_text_policy *p, const di_tokenizer *t, const di_text *text,
                           di_text_scratch *s, const int32_t **ids, int64_t *n, unsigned *flags,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *rendered = "";
    size_t size = 0, most, count = 0;
    unsigned bits = 0;
    void *room_for = s->ids;
    frame f;
    int ok, chat = uses_template(p, text), has_border = chat || text->has_border;

    s->list.al = s->al;
    DI_TRY(chat ? render_chat(p->chat, text, s, &rendered, &size, err)
                : render_raw(text, s, &rendered, &size, err));
    DI_TRY(di_tokenizer_encode(t, rendered, size, &s->list, err));
    f = frame_of(p, &s->list, chat);
    s->whole = f.end - f.begin + (size_t)(f.bos + f.eos);
    most = (size_t)p->max_length - (size_t)(f.bos + f.eos);
    if (f.end - f.begin > most) {
        if (p->overlong == DI_OVERLONG_ERROR)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, NULL,
                       "raise --max-length, or choose --overlong truncate-prompt or drop",
                       "too_long: expected at most %lld tokens, found %zu",
                       (long long)p->max_length, s->whole);
        if (p->overlong == DI_DROP) {
            *ids = NULL;
            *n = 0;
            *flags = DI_DROPPED;
            goto done;
        }
        truncate_body(&s->list, has_border, s->border, most, &f.begin, &f.end, &bits);
    }
    if (f.end == f.begin && !f.bos && !f.eos)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, NULL, "remove the row",
                   "empty_prompt_and_response: expected a text, found one of no tokens");
    ok = room(s->al, &room_for, &s->ids_cap, f.end - f.begin + 2, sizeof *s->ids);
    s->ids = room_for;
    if (!ok) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a text of %zu tokens", f.end - f.begin);
    if (f.bos) s->ids[count++] = p->bos_id;
    if (f.end > f.begin)
        memcpy(s->ids + count, s->list.id + f.begin, (f.end - f.begin) * sizeof *s->ids);
    count += f.end - f.begin;
    if (f.eos) s->ids[count++] = p->eos_id;
    s->response_at = f.bos;
    for (size_t i = f.begin; has_border && i < f.end; i++) /* a token over the border is its */
        s->response_at += s->list.end[i] <= s->border;
    *ids = s->ids;
    *n = (int64_t)count;
    *flags = bits;
done:
    return st;
}
