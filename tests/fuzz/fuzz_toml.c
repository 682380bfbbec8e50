/* Config files: the first byte chooses JSON or TOML, the rest is the file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static dial_status entry(void *ctx, const char *key, const json_t *value, int line, dial_error *err)
{
    int *last = ctx;

    (void)err;
    /* What callers rely on: a key that fits, a plain value, lines that do not run backwards. */
    if (key[0] == '\0' || strlen(key) >= CONFIG_MAX_KEY || json_is_object(value) || line < *last)
        abort();
    *last = line;
    return DIAL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;
    int line = 1;
    dial_error err;

    if (size == 0 || size > CONFIG_MAX_BYTES) return 0;
    text = malloc(size); /* the 0 at the end takes the place of the choosing byte */
    if (text == NULL) return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] == 'j')
        config_parse_json("fuzz", text, size - 1, entry, &line, &err);
    else
        config_parse_toml("fuzz", text, size - 1, entry, &line, &err);
    free(text);
    return 0;
}
