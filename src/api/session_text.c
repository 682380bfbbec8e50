/*
 * The text policy of a session: which template renders its rows, and what the flags, the model and
 * the run say of it.
 */
#include <stdio.h>
#include <string.h>

#include "api/session.h"
#include "base/error.h"
#include "base/file.h"

static di_when when_of(const char *text)
{
    return strcmp(text, "always") == 0  ? DI_ALWAYS
           : strcmp(text, "never") == 0 ? DI_NEVER
                                        : DI_AUTO;
}

static di_overlong overlong_of(const char *text)
{
    return strcmp(text, "drop") == 0    ? DI_DROP
           : strcmp(text, "error") == 0 ? DI_OVERLONG_ERROR
                                        : DI_TRUNCATE_PROMPT;
}

/* The model's own template. insist: one that is missing or not understood is an error; else it is
 * so only for rows that are message lists. */
static dial_status model_template(di_session *s, int insist, di_template **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char hint[] = "pass --template raw, NAME or FILE.json (docs/data.md)";
    char *source = NULL;
    dial_error why = {0};
    size_t n = 0;

    DI_TRY(di_source_chat_template(s->source, &source, &n, err));
    if (source == NULL && insist)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--template", hint, "the model '%s' has no chat template",
                   s->base_path);
    if (source == NULL) {
        DI_TRY(di_template_refusing(s->al, "the model has no chat template", hint, out, err));
        goto done;
    }
    st = di_template_from_jinja(s->al, "model", source, n, s->tok, out, insist ? err : &why);
    if (st == DIAL_OK || insist) goto done;
    if (st != DIAL_ERR_INPUT) {
        if (err != NULL) *err = why;
        goto done;
    }
    DI_TRY(
        di_template_refusing(s->al, why.message + strlen("template_failed: "), why.hint, out, err));
done:
    di_free(s->al, source);
    return st;
}

static int has_ending(const char *name, const char *ending)
{
    size_t n = strlen(name), k = strlen(ending);

    return n > k && strcmp(name + n - k, ending) == 0;
}

/* FILE.json, or FILE.jinja. */
static dial_status template_of_file(di_session *s, const char *path, di_template **out,
                                    dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *slash = strrchr(path, '/');
    char *source = NULL, name[DI_TEMPLATE_NAME];
    json_t *v = NULL;
    size_t n = 0;

    if (has_ending(path, ".jinja")) {
        snprintf(name, sizeof name, "%s", slash != NULL ? slash + 1 : path);
        DI_TRY(di_read_file(s->al, path, &source, &n, err));
        DI_TRY(di_template_from_jinja(s->al, name, source, n, s->tok, out, err));
    } else {
        DI_TRY(di_json_read(s->al, path, &v, err));
        DI_TRY(di_template_from_json(s->al, v, path, s->tok, out, err));
    }
    if (strcmp(di_template_name(*out), "raw") == 0 || strcmp(di_template_name(*out), "auto") == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "name it otherwise",
                   "raw and auto are no names of a template");
done:
    if (st != DIAL_OK) {
        di_template_free(*out);
        *out = NULL;
    }
    json_decref(v);
    di_free(s->al, source);
    return st;
}

/* What --template asks for: name and template of the policy; *out owns it. */
static dial_status choose(di_session *s, const char *asked, di_text_policy *p, di_template **out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    int by_auto = strcmp(asked, "auto") == 0;

    snprintf(p->template_name, sizeof p->template_name, "%s", asked);
    if (strcmp(asked, "raw") == 0) goto done;
    if (by_auto || strcmp(asked, "model") == 0)
        DI_TRY(model_template(s, !by_auto, out, err));
    else if (has_ending(asked, ".json") || has_ending(asked, ".jinja"))
        DI_TRY(template_of_file(s, asked, out, err));
    else
        DI_TRY(di_template_named(s->al, asked, s->tok, out, err));
    if (*out == NULL)
        DI_FAIL_AT(
            err, DIAL_ERR_USAGE, "--template", "give one of these names, or a file NAME.json",
            "expected auto, raw, model, %s or a file, found '%s'", di_template_names(), asked);
    if (!by_auto) snprintf(p->template_name, sizeof p->template_name, "%s", di_template_name(*out));
    p->chat = *out;
done:
    return st;
}

/* The template that a run was trained with. */
static dial_status template_of_run(di_session *s, const json_t *text, di_text_policy *p,
                                   dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *def = json_object_get(text, "template_def");

    if (json_is_object(def))
        DI_TRY(di_template_from_json(s->al, def, s->path, s->tok, &s->chat, err));
    else
        DI_TRY(di_template_named(s->al, p->template_name, s->tok, &s->chat, err));
    if (s->chat == NULL && strcmp(p->template_name, "raw") != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "use the version of dial that wrote the run",
                   "text.template: expected raw, a known name or a definition, found '%s'",
                   p->template_name);
    p->chat = s->chat;
done:
    return st;
}

/* By name, and where it is not a known name's, by definition. */
static int same_template(const di_text_policy *a, const di_text_policy *b)
{
    json_t *x = a->chat != NULL ? di_template_to_json(a->chat) : json_null();
    json_t *y = b->chat != NULL ? di_template_to_json(b->chat) : json_null();
    int same = strcmp(a->template_name, b->template_name) == 0 && json_equal(x, y);

    json_decref(x);
    json_decref(y);
    return same;
}

dial_status di_session_policy(di_session *s, const dial_common_options *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_config *config = di_source_config(s->source);
    di_text_policy p = {.bos = when_of(c->bos),
                        .eos = when_of(c->eos),
                        .max_length = c->max_length > 0 ? c->max_length : 1024,
                        .overlong = overlong_of(c->overlong)};

    DI_TRY(choose(s, c->template_name, &p, &s->chat, err));
    if (config->context > 0 && p.max_length > config->context) {
        if (c->max_length != 1024)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--max-length", "give a smaller length",
                       "expected at most %lld (the model's context), found %lld",
                       (long long)config->context, (long long)p.max_length);
        p.max_length = config->context;
    }
    if (s->tok != NULL) DI_TRY(di_text_policy_resolve(&p, s->tok, err));
    s->policy = p;
done:
    return st;
}

dial_status di_session_run_policy(di_session *s, const dial_common_options *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *text = json_object_get(s->run, "text");
    di_text_policy p, asked = {.max_length = 0};
    di_template *other = NULL;
    const char *differs = NULL;

    DI_TRY(di_text_policy_from_json(text, s->path, &p, err));
    DI_TRY(template_of_run(s, text, &p, err));
    if (strcmp(c->template_name, "auto") != 0) {
        DI_TRY(choose(s, c->template_name, &asked, &other, err));
        if (!same_template(&p, &asked)) differs = "template";
    }
    if (strcmp(c->bos, "auto") != 0 && when_of(c->bos) != p.bos) differs = "bos";
    if (strcmp(c->eos, "auto") != 0 && when_of(c->eos) != p.eos) differs = "eos";
    if (c->max_length > 0 && c->max_length != p.max_length) differs = "max-length";
    if (strcmp(c->overlong, "truncate-prompt") != 0 && overlong_of(c->overlong) != p.overlong)
        differs = "overlong";
    if (differs != NULL && !c->override_text)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", differs),
                   "leave the flag out, or insist with --override-text",
                   "the run '%s' was trained with another value", s->path);
    if (differs != NULL) {
        if (strcmp(c->template_name, "auto") != 0) {
            di_template_free(s->chat);
            s->chat = other;
            other = NULL;
            memcpy(p.template_name, asked.template_name, sizeof p.template_name);
            p.chat = s->chat;
        }
        p.bos = when_of(c->bos);
        p.eos = when_of(c->eos);
        p.overlong = overlong_of(c->overlong);
        if (c->max_length > 0) p.max_length = c->max_length;
        s->text_override = 1;
    }
    DI_TRY(di_text_policy_resolve(&p, s->tok, err));
    s->policy = p;
done:
    di_template_free(other);
    return st;
}
