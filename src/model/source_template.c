/* Where a model keeps its chat template. */
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/source_parts.h"

static dial_status copy(const di_source *s, const char *data, size_t size, char **text, size_t *n,
                        dial_error *err)
{
    dial_status st = DIAL_OK;

    *text = di_strndup(s->al, data, size);
    if (*text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a chat template");
    *n = size;
done:
    return st;
}

/* A string, or a list of {"name", "template"}. */
static const json_t *pick(const json_t *config)
{
    const json_t *v = json_object_get(config, "chat_template"), *one;
    const char *name;

    if (!json_is_array(v)) return json_is_string(v) ? v : NULL;
    for (size_t i = 0; i < json_array_size(v); i++) {
        one = json_array_get(v, i);
        name = json_string_value(json_object_get(one, "name"));
        if (name != NULL && strcmp(name, "default") == 0 &&
            json_is_string(json_object_get(one, "template")))
            return json_object_get(one, "template");
    }
    return NULL;
}

static dial_status of_folder(const di_source *s, char **text, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *file = di_path_join(s->al, s->dir, "chat_template.jinja");
    char *config = di_path_join(s->al, s->dir, "tokenizer_config.json");
    json_t *v = NULL;
    const json_t *found;

    if (file == NULL || config == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_exists(file)) {
        DI_TRY(di_read_file(s->al, file, text, n, err));
    } else if (di_exists(config)) {
        DI_TRY(di_json_read(s->al, config, &v, err));
        found = pick(v);
        if (found != NULL)
            DI_TRY(copy(s, json_string_value(found), json_string_length(found), text, n, err));
    }
done:
    json_decref(v);
    di_free(s->al, file);
    di_free(s->al, config);
    return st;
}

dial_status di_source_chat_template(const di_source *s, char **text, size_t *n, dial_error *err)
{
    di_str found;

    *text = NULL;
    if (s->gguf == NULL) return s->dir != NULL ? of_folder(s, text, n, err) : DIAL_OK;
    if (!di_gguf_string(s->gguf, "tokenizer.chat_template", &found)) return DIAL_OK;
    return copy(s, found.data, found.size, text, n, err);
}
