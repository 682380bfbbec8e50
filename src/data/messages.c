/*
 * Rows made of message lists. Rendered by template raw, the one that is built: the contents joined
 * with nothing between. The row says that it comes from messages, so that whoever knows the text
 * policy can insist on the template being named.
 */
#include <string.h>

#include "base/error.h"
#include "data/schema.h"

typedef enum role { ROLE_NONE, ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL } role;

static role role_of(const json_t *message)
{
    static const struct {
        const char *name;
        role role;
    } names[] = {
        {"system", ROLE_SYSTEM},       {"user", ROLE_USER},     {"human", ROLE_USER},
        {"assistant", ROLE_ASSISTANT}, {"gpt", ROLE_ASSISTANT}, {"model", ROLE_ASSISTANT},
        {"tool", ROLE_TOOL},
    };
    const char *name = json_string_value(json_object_get(message, "role"));

    for (size_t i = 0; name != NULL && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0) return names[i].role;
    return ROLE_NONE;
}

int di_is_message_list(const json_t *v)
{
    size_t i;
    json_t *message;

    if (!json_is_array(v) || json_array_size(v) == 0) return 0;
    json_array_foreach (v, i, message)
        if (json_object_get(message, "role") == NULL || json_object_get(message, "content") == NULL)
            return 0;
    return 1;
}

/* Checks every message of a list; `key` is the key of the list. */
static dial_status check_list(di_schema *s, const char *key, const json_t *list, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *column = di_schema_column(s, key);
    const json_t *message, *part;

    if (!json_is_array(list))
        DI_BAD(s->rs, WRONG_TYPE, column, "write [{\"role\": ..., \"content\": ...}, ...]",
               "expected a list of messages, found %s", list != NULL ? di_json_kind(list) : "none");
    for (size_t i = 0; i < json_array_size(list); i++) {
        message = json_array_get(list, i);
        if (!json_is_object(message))
            DI_BAD(s->rs, WRONG_TYPE, column, "write {\"role\": ..., \"content\": ...}",
                   "expected message %zu to be an object, found %s", i + 1, di_json_kind(message));
        part = json_object_get(message, "role");
        if (part == NULL || json_object_get(message, "content") == NULL)
            DI_BAD(s->rs, MISSING_KEY, column, "add it", "message %zu has no \"%s\"", i + 1,
                   part == NULL ? "role" : "content");
        if (!json_is_string(part))
            DI_BAD(s->rs, BAD_ROLE, column, "use system, user, assistant or tool",
                   "expected the role of message %zu as a string, found %s", i + 1,
                   di_json_kind(part));
        if (role_of(message) == ROLE_NONE)
            DI_BAD(s->rs, BAD_ROLE, column, "use system, user, assistant or tool",
                   "the role of message %zu is '%.40s'", i + 1, json_string_value(part));
        part = json_object_get(message, "content");
        if (!json_is_string(part))
            DI_BAD(s->rs, WRONG_TYPE, column, "write the content as one string",
                   "expected the content of message %zu as a string, found %s", i + 1,
                   di_json_kind(part));
    }
done:
    return st;
}

static int same_message(const json_t *a, const json_t *b)
{
    return role_of(a) == role_of(b) &&
           json_equal(json_object_get(a, "content"), json_object_get(b, "content"));
}

/* Messages at the front of both lists. */
static size_t common_prefix(const json_t *a, const json_t *b)
{
    size_t n = 0;

    while (n < json_array_size(a) && n < json_array_size(b) &&
           same_message(json_array_get(a, n), json_array_get(b, n)))
        n++;
    return n;
}

/* Appends the contents of messages first .. end-1. */
static void join(di_schema *s, const json_t *list, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const json_t *content = json_object_get(json_array_get(list, i), "content");

        di_buf_append(&s->joined, json_string_value(content), json_string_length(content));
    }
}

dial_status di_schema_join(di_schema *s, const char *key, const json_t *list, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(check_list(s, key, list, err));
    join(s, list, 0, json_array_size(list));
    DI_TRY(di_buf_status(&s->joined, err));
done:
    return st;
}

/* A scored list: checked, not empty, and the last word is the assistant's. */
static dial_status check_scored(di_schema *s, const char *key, const json_t **list, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n;

    *list = di_schema_get(s, key);
    DI_TRY(check_list(s, key, *list, err));
    n = json_array_size(*list);
    if (n == 0 || role_of(json_array_get(*list, n - 1)) != ROLE_ASSISTANT)
        DI_BAD(s->rs, NO_ASSISTANT_TURN, di_schema_column(s, key),
               "end the list with the reply that is to be scored",
               "expected the last message to be the assistant's");
done:
    return st;
}

/*
 * `prompt` beside two lists: as a string it repeats a message that the lists share; as a list it
 * either opens both (ignored) or stands before both (*before 1).
 */
static dial_status check_prompt(di_schema *s, const json_t *a, const json_t *b, size_t shared,
                                int *before, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *prompt = di_schema_get_optional(s, "prompt");
    size_t in_a, in_b, n;

    *before = 0;
    if (prompt == NULL) goto done;
    if (json_is_string(prompt)) {
        for (size_t i = 0; i < shared; i++)
            if (json_equal(json_object_get(json_array_get(a, i), "content"), prompt)) goto done;
        DI_BAD(s->rs, PROMPT_MISMATCH, di_schema_column(s, "prompt"),
               "remove the key, or correct the lists",
               "expected it among the messages that both lists begin with");
    }
    DI_TRY(check_list(s, "prompt", prompt, err));
    n = json_array_size(prompt);
    in_a = common_prefix(prompt, a);
    in_b = common_prefix(prompt, b);
    if ((in_a == n) != (in_b == n))
        DI_BAD(s->rs, PROMPT_MISMATCH, di_schema_column(s, "prompt"),
               "let both lists begin with it, or none", "one of the two lists begins with it");
    *before = in_a < n;
done:
    return st;
}

dial_status di_schema_pair_chat(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *list[2];
    size_t shared, end[3];
    int before;

    DI_TRY(check_scored(s, "chosen", &list[0], err));
    DI_TRY(check_scored(s, "rejected", &list[1], err));
    shared = common_prefix(list[0], list[1]);
    for (int i = 0; i < 2; i++) /* the scored turn is never part of the prompt */
        if (shared >= json_array_size(list[i])) shared = json_array_size(list[i]) - 1;
    DI_TRY(check_prompt(s, list[0], list[1], shared, &before, err));
    if (before) DI_TRY(di_schema_join(s, "prompt", di_schema_get(s, "prompt"), err));
    join(s, list[0], 0, shared);
    end[0] = s->joined.size;
    for (int i = 0; i < 2; i++) {
        join(s, list[i], shared, json_array_size(list[i]));
        end[i + 1] = s->joined.size;
    }
    di_buf_append(&s->joined, "", 0); /* so that data is a pointer even if all contents are empty */
    DI_TRY(di_buf_status(&s->joined, err));
    for (int i = 0; i < 2; i++)
        row->text[i] =
            (di_text){s->joined.data, end[0], s->joined.data + end[i], end[i + 1] - end[i], 1};
    DI_TRY(di_schema_check_text(s, "chosen", &row->text[0], err));
    DI_TRY(di_schema_check_text(s, "rejected", &row->text[1], err));
    row->n_texts = 2;
    row->from_messages = 1;
done:
    return st;
}
