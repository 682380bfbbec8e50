/*
 * Rows made of message lists. A text keeps its turns, which a chat template renders, beside their
 * contents joined with nothing between, which is the text under template raw. Two spellings of a
 * message: {"role", "content"}, and ShareGPT's {"from", "value"}.
 */
#include <string.h>

#include "base/error.h"
#include "data/schema.h"

static const json_t *role_member(const json_t *message)
{
    const json_t *v = json_object_get(message, "role");

    return v != NULL ? v : json_object_get(message, "from");
}

static const json_t *content_of(const json_t *message)
{
    const json_t *v = json_object_get(message, "content");

    return v != NULL ? v : json_object_get(message, "value");
}

/* dial's name of the message's role; NULL: none that is known. */
static const char *role_of(const json_t *message)
{
    const char *name = json_string_value(role_member(message));

    return name != NULL ? di_role_name(name) : NULL;
}

static int is_assistant(const json_t *message)
{
    const char *role = role_of(message);

    return role != NULL && strcmp(role, "assistant") == 0;
}

int di_is_message_list(const json_t *v)
{
    size_t i;
    json_t *message;

    if (!json_is_array(v) || json_array_size(v) == 0) return 0;
    json_array_foreach (v, i, message)
        if (role_member(message) == NULL || content_of(message) == NULL) return 0;
    return 1;
}

/* Checks message i of the value under `key`. */
static dial_status check_message(const di_schema *s, const char *key, const json_t *message,
                                 size_t i, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *column = di_schema_column(s, key);
    const json_t *name = role_member(message), *content = content_of(message);

    if (!json_is_object(message))
        DI_BAD(s->rs, WRONG_TYPE, column, "write {\"role\": ..., \"content\": ...}",
               "expected message %zu to be an object, found %s", i + 1, di_json_kind(message));
    if (name == NULL || content == NULL)
        DI_BAD(s->rs, MISSING_KEY, column, "add it", "message %zu has no \"%s\"", i + 1,
               name == NULL ? "role" : "content");
    if (!json_is_string(name))
        DI_BAD(s->rs, BAD_ROLE, column, "use system, user, assistant or tool",
               "expected the role of message %zu as a string, found %s", i + 1, di_json_kind(name));
    if (role_of(message) == NULL)
        DI_BAD(s->rs, BAD_ROLE, column, "use system, user, assistant or tool",
               "the role of message %zu is '%.40s'", i + 1, json_string_value(name));
    if (!json_is_string(content))
        DI_BAD(s->rs, WRONG_TYPE, column, "write the content as one string",
               "expected the content of message %zu as a string, found %s", i + 1,
               di_json_kind(content));
done:
    return st;
}

/* Checks every message of a list; `key` is the key of the list. */
static dial_status check_list(const di_schema *s, const char *key, const json_t *list,
                              dial_error *err)
{
    dial_status st = DIAL_OK;

    if (!json_is_array(list))
        DI_BAD(s->rs, WRONG_TYPE, di_schema_column(s, key),
               "write [{\"role\": ..., \"content\": ...}, ...]",
               "expected a list of messages, found %s", list != NULL ? di_json_kind(list) : "none");
    for (size_t i = 0; i < json_array_size(list); i++)
        DI_TRY(check_message(s, key, json_array_get(list, i), i, err));
done:
    return st;
}

static int same_message(const json_t *a, const json_t *b)
{
    return strcmp(role_of(a), role_of(b)) == 0 && json_equal(content_of(a), content_of(b));
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
        const json_t *content = content_of(json_array_get(list, i));

        di_buf_append(&s->joined, json_string_value(content), json_string_length(content));
    }
}

static void add_turn(di_schema *s, const json_t *message)
{
    const json_t *content = content_of(message);
    di_turn t = {role_of(message), {json_string_value(content), json_string_length(content)}};

    di_buf_append(&s->turns, &t, sizeof t);
}

static void add_turns(di_schema *s, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) add_turn(s, json_array_get(list, i));
}

/*
 * Lays texts 0 .. n-1 of the row over s->joined and s->turns, which do not move any more: the
 * prompt's bytes come first, then the texts' responses up to end[i]; the texts' turns lie one after
 * the other, scored[i] of them the prompt's.
 */
static dial_status lay_out(di_schema *s, di_row *row, int n, size_t prompt, const size_t *end,
                           const size_t *last_turn, const size_t *scored, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t at = prompt, turn = 0;

    di_buf_append(&s->joined, "", 0); /* so that data is a pointer even if all contents are empty */
    DI_TRY(di_buf_status(&s->joined, err));
    DI_TRY(di_buf_status(&s->turns, err));
    for (int i = 0; i < n; i++) {
        row->text[i] = (di_text){.prompt = s->joined.data,
                                 .prompt_size = prompt,
                                 .response = s->joined.data + at,
                                 .response_size = end[i] - at,
                                 .has_border = 1,
                                 .turn = (const di_turn *)(const void *)s->turns.data + turn,
                                 .n_turns = last_turn[i] - turn,
                                 .scored = scored[i]};
        at = end[i];
        turn = last_turn[i];
    }
    row->n_texts = n;
    row->from_messages = 1;
done:
    return st;
}

static size_t turns_so_far(const di_schema *s)
{
    return s->turns.size / sizeof(di_turn);
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

dial_status di_schema_attach_turns(di_schema *s, const json_t *prompt, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = json_array_size(prompt) + 1;

    for (int i = 0; i < row->n_texts; i++) {
        di_turn t = {"assistant", {row->text[i].response, row->text[i].response_size}};

        add_turns(s, prompt);
        di_buf_append(&s->turns, &t, sizeof t);
    }
    DI_TRY(di_buf_status(&s->turns, err));
    for (int i = 0; i < row->n_texts; i++) {
        row->text[i].turn = (const di_turn *)(const void *)s->turns.data + (size_t)i * n;
        row->text[i].n_turns = n;
        row->text[i].scored = n - 1;
    }
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
    if (n == 0 || !is_assistant(json_array_get(*list, n - 1)))
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
            if (json_equal(content_of(json_array_get(a, i)), prompt)) goto done;
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
    const json_t *list[2], *prompt = NULL;
    size_t shared, first, end[2], last[2], scored[2];
    int before;

    DI_TRY(check_scored(s, "chosen", &list[0], err));
    DI_TRY(check_scored(s, "rejected", &list[1], err));
    shared = common_prefix(list[0], list[1]);
    for (int i = 0; i < 2; i++) /* the scored turn is never part of the prompt */
        if (shared >= json_array_size(list[i])) shared = json_array_size(list[i]) - 1;
    DI_TRY(check_prompt(s, list[0], list[1], shared, &before, err));
    if (before) prompt = di_schema_get(s, "prompt");
    if (before) DI_TRY(di_schema_join(s, "prompt", prompt, err));
    join(s, list[0], 0, shared);
    first = s->joined.size;
    for (int i = 0; i < 2; i++) {
        join(s, list[i], shared, json_array_size(list[i]));
        end[i] = s->joined.size;
        add_turns(s, prompt);
        add_turns(s, list[i]);
        last[i] = turns_so_far(s);
        scored[i] = json_array_size(prompt) + shared;
    }
    DI_TRY(lay_out(s, row, 2, first, end, last, scored, err));
    DI_TRY(di_schema_check_text(s, "chosen", &row->text[0], err));
    DI_TRY(di_schema_check_text(s, "rejected", &row->text[1], err));
done:
    return st;
}

dial_status di_schema_sharegpt(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const keys[] = {"chosen", "rejected"};
    const json_t *list = di_schema_get(s, "conversations");
    size_t first, end[2], last[2], scored[2];

    DI_TRY(di_schema_join(s, "conversations", list, err));
    first = s->joined.size;
    for (int i = 0; i < 2; i++) {
        const json_t *message = di_schema_get(s, keys[i]), *content;

        DI_TRY(check_message(s, keys[i], message, 0, err));
        if (!is_assistant(message))
            DI_BAD(s->rs, NO_ASSISTANT_TURN, di_schema_column(s, keys[i]),
                   "give the reply that is to be scored", "expected a message from gpt");
        content = content_of(message);
        di_buf_append(&s->joined, json_string_value(content), json_string_length(content));
        end[i] = s->joined.size;
        add_turns(s, list);
        add_turn(s, message);
        last[i] = turns_so_far(s);
        scored[i] = json_array_size(list);
    }
    DI_TRY(lay_out(s, row, 2, first, end, last, scored, err));
    DI_TRY(di_schema_check_text(s, "chosen", &row->text[0], err));
    DI_TRY(di_schema_check_text(s, "rejected", &row->text[1], err));
done:
    return st;
}

dial_status di_schema_chat(di_schema *s, di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *list;
    size_t n, first, end, last, scored;

    DI_TRY(check_scored(s, "messages", &list, err));
    n = json_array_size(list);
    join(s, list, 0, n - 1);
    first = s->joined.size;
    join(s, list, n - 1, n);
    end = s->joined.size;
    add_turns(s, list);
    last = n;
    scored = n - 1;
    row->kind = DI_ROW_SINGLE;
    DI_TRY(lay_out(s, row, 1, first, &end, &last, &scored, err));
    DI_TRY(di_schema_check_text(s, "messages", &row->text[0], err));
done:
    return st;
}
