/* Flags that a run was trained with, as options of the run that --resume-from makes of it. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "dial/dial.h"
#include "eval/select.h"

/* Flags of one training, one machine or one look at it, and what the run fixes by itself. */
static int stays_behind(const char *flag)
{
    static const char *const names[] = {
        "base",         "resume-from",   "target",       "target-labelled",
        "limit-target", "out",           "eval",         "eval-every",
        "resume",       "overwrite",     "dry-run",      "overfit",
        "device",       "threads",       "batch-tokens", "format",
        "show-tokens",  "override-text", "max-length",   "template",
        "bos",          "eos",           "overlong",     "allow-hash-mismatch",
        "layer",        "pooling",       "lora-r",       "lora-alpha",
        "lora-targets", "lora-layers",   "adaptor",      "renew-view",
        "match-scale",  "log-every",
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], flag) == 0) return 1;
    return 0;
}

/* A scalar as the text that it would be on the command line; NULL: none. */
static const char *as_text(const json_t *v, char number[40])
{
    switch (json_typeof(v)) {
    case JSON_STRING: return json_string_value(v);
    case JSON_TRUE: return "yes";
    case JSON_FALSE: return "no";
    case JSON_INTEGER: snprintf(number, 40, "%lld", (long long)json_integer_value(v)); break;
    case JSON_REAL: snprintf(number, 40, "%.17g", json_real_value(v)); break;
    default: return NULL;
    }
    return number;
}

/* Values of a flag: those of a list, or the one that it is. */
static size_t values_of(const json_t *v)
{
    return json_is_array(v) ? json_array_size(v) : v == NULL || json_is_null(v) ? 0 : 1;
}

static const json_t *value_at(const json_t *v, size_t i)
{
    return json_is_array(v) ? json_array_get(v, i) : v;
}

/* Does the run's value of the flag hold for the new run? */
static int is_taken(const dial_option *row, const json_t *v)
{
    if (row->help == NULL || stays_behind(row->name)) return 0;
    if (strcmp(row->name, "select") == 0) /* not the name of an --eval set, which stays behind */
        return json_is_string(v) && di_select_parse(json_string_value(v)) >= 0;
    return 1;
}

/* One block: the items of all lists, then the bytes of all texts. */
static dial_status room_of(const json_t *flags, size_t *items, size_t *bytes, dial_error *err)
{
    dial_status st = DIAL_OK;
    char number[40];

    *items = *bytes = 0;
    for (const dial_option *row = dial_train_table; row->name != NULL; row++) {
        const json_t *v = json_object_get(flags, row->name);

        for (size_t i = 0; is_taken(row, v) && i < values_of(v); i++) {
            const char *text = as_text(value_at(v, i), number);

            if (text == NULL)
                DI_FAIL(err, DIAL_ERR_INPUT, "flags.%s: expected a plain value", row->name);
            *items += row->type == DIAL_OPT_LIST;
            *bytes += strlen(text) + 1;
        }
    }
done:
    return st;
}

static dial_status set_all(const json_t *flags, void *block, size_t items, dial_train_options *o,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const char **item = block;
    char *at = (char *)block + items * sizeof *item, number[40];

    for (const dial_option *row = dial_train_table; row->name != NULL; row++) {
        const json_t *v = json_object_get(flags, row->name);
        size_t n = is_taken(row, v) ? values_of(v) : 0;

        if (row->type == DIAL_OPT_LIST && n > 0) {
            *(dial_list *)(void *)((char *)o + row->offset) = (dial_list){item, 0};
            item += n;
        }
        for (size_t i = 0; i < n; i++) {
            const char *text = as_text(value_at(v, i), number);
            size_t size = strlen(text) + 1;

            memcpy(at, text, size);
            DI_TRY(dial_option_set(row, o, at, err));
            at += size;
        }
    }
done:
    return st;
}

dial_status dial_run_options_apply(const char *run, dial_train_options *options,
                                   const dial_env *env, char **kept, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    char *path = di_path_join(al, run, "dial.json");
    json_t *doc = NULL;
    const json_t *flags;
    size_t items, bytes;
    void *block = NULL;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, run, "name a folder that dial train --out has written",
                   "expected a finished run: there is no dial.json in it");
    DI_TRY(di_json_read(al, path, &doc, err));
    flags = json_object_get(doc, "flags");
    if (!json_is_object(flags))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path,
                   "name a run of dial train, or give it as --base with the flags that you want",
                   "the run does not say how it was trained (a merged run has no flags)");
    st = room_of(flags, &items, &bytes, err);
    if (st != DIAL_OK) goto done;
    block = di_new(al, items * sizeof(char *) + bytes + 1);
    if (block == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the flags of '%s'", run);
    DI_TRY(set_all(flags, block, items, options, err));
    *kept = block;
    block = NULL;
done:
    json_decref(doc);
    di_free(al, block);
    di_free(al, path);
    return st;
}
