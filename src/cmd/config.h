/*
 * Config files. Both forms are read into the same calls: one for each value, with the path of
 * its key joined by '-' (the table [lora] with r = 64 is "lora-r") and the line that it stands on.
 */
#ifndef DIAL_CMD_CONFIG_H
#define DIAL_CMD_CONFIG_H

#include <jansson.h>

#include "dial/dial.h"

/* value: a string, number, boolean, null or an array; valid during the call. */
typedef dial_status (*config_entry_fn)(void *ctx, const char *key, const json_t *value, int line,
                                       dial_error *err);

enum { CONFIG_MAX_KEY = 96, CONFIG_MAX_BYTES = 1 << 18 };

/*
 * Reads path (.json or .toml, at most CONFIG_MAX_BYTES) and calls entry for each value, in the
 * order of the file. ERR_USAGE names FILE:LINE.
 */
dial_status config_read(const char *path, config_entry_fn entry, void *ctx, dial_error *err);

/* The two parsers. text[n] must be 0; TOML strings are decoded in place. name is for errors. */
dial_status config_parse_json(const char *name, const char *text, size_t n, config_entry_fn entry,
                              void *ctx, dial_error *err);
dial_status config_parse_toml(const char *name, char *text, size_t n, config_entry_fn entry,
                              void *ctx, dial_error *err);

#endif
