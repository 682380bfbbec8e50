#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"

/*
 * JSON is read by jansson itself here: the program sees the public header alone, and a config file
 * is small and read before anything is at stake, where the library's reader (base/json_read.h) is
 * for files of others and for memory that runs out in a server. jansson keeps no positions, so a
 * second look at the (valid) text finds the line of each key.
 */
typedef struct key_lines {
    const char *at, *end;
    int line;
} key_lines;

/* The line of the next object key. */
static int next_key_line(key_lines *k)
{
    while (k->at < k->end) {
        char c = *k->at++;
        int line = k->line;

        if (c == '\n') k->line++;
        if (c != '"') continue;
        while (k->at < k->end && *k->at != '"') k->at += *k->at == '\\' ? 2 : 1;
        k->at++;
        while (k->at < k->end && strchr(" \t\r\n", *k->at) != NULL) {
            if (*k->at == '\n') k->line++;
            k->at++;
        }
        if (k->at < k->end && *k->at == ':') return line;
    }
    return k->line;
}

typedef struct json_walk {
    const char *name;
    key_lines lines;
    config_entry_fn entry;
    void *ctx;
} json_walk;

static dial_status at_line(const char *name, int line, const char *hint, const char *message,
                           dial_error *err)
{
    char where[320];

    snprintf(where, sizeof where, "%.280s:%d", name, line);
    return cmd_fail(err, DIAL_ERR_USAGE, where, hint, "%s", message);
}

/* Depth-first, so keys come in the order of the text. */
static dial_status walk(json_walk *w, const json_t *object, const char *prefix, dial_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)object, name, value) {
        char key[CONFIG_MAX_KEY];
        int line = next_key_line(&w->lines);
        int n = snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] != '\0' ? "-" : "", name);
        dial_status st;

        if (name[0] == '\0')
            return at_line(w->name, line, "dial VERB --help lists the flags",
                           "a key without a name", err);
        if (n < 0 || (size_t)n >= sizeof key)
            return at_line(w->name, line, "dial VERB --help lists the flags",
                           "no flag has so long a name", err);
        if (json_is_object(value))
            st = walk(w, value, key, err);
        else
            st = w->entry(w->ctx, key, value, line, err);
        if (st != DIAL_OK) return st;
    }
    return DIAL_OK;
}

dial_status config_parse_json(const char *name, const char *text, size_t n, config_entry_fn entry,
                              void *ctx, dial_error *err)
{
    json_walk w = {name, {text, text + n, 1}, entry, ctx};
    json_error_t bad;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &bad);
    dial_status st;

    if (root == NULL) return at_line(name, bad.line, "correct the JSON there", bad.text, err);
    if (json_is_object(root))
        st = walk(&w, root, "", err);
    else
        st = at_line(name, 1, "write {\"FLAG\": value, ...}", "expected one JSON object", err);
    json_decref(root);
    return st;
}

static int ends_in(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);

    return n > m && strcmp(path + n - m, suffix) == 0;
}

dial_status config_read(const char *path, config_entry_fn entry, void *ctx, dial_error *err)
{
    char text[CONFIG_MAX_BYTES + 1];
    int json = ends_in(path, ".json");
    FILE *f;
    size_t n;
    int failed;

    if (!json && !ends_in(path, ".toml"))
        return cmd_fail(err, DIAL_ERR_USAGE, path, "rename the file",
                        "a config file ends in .json or .toml");
    f = fopen(path, "rb");
    if (f == NULL)
        return cmd_fail(err, DIAL_ERR_USAGE, path, "check --config", "cannot open it: %s",
                        strerror(errno));
    n = fread(text, 1, sizeof text, f);
    failed = ferror(f);
    fclose(f);
    if (failed) return cmd_fail(err, DIAL_ERR_USAGE, path, "check --config", "cannot read it");
    if (n > CONFIG_MAX_BYTES)
        return cmd_fail(err, DIAL_ERR_USAGE, path, "check --config",
                        "a config file has at most %d bytes", CONFIG_MAX_BYTES);
    text[n] = '\0';
    return json ? config_parse_json(path, text, n, entry, ctx, err)
                : config_parse_toml(path, text, n, entry, ctx, err);
}
