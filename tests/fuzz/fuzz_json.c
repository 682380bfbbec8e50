/* The JSON reader, against jansson's: the same texts are read, to the same values. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Equal, but for integers beyond 64 bits, which jansson refuses, and for a 0 character behind a
 * number, which it takes back into its buffer and then does not see any more (2.14).
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;
    const char *text = (const char *)data;
    json_error_t theirs;
    di_json_fault fault = {0};
    json_t *a = di_json_load(text, size, 0, &fault);
    json_t *b = json_loadb(text, size, flags, &theirs);

    if (a == NULL) {
        if (fault.message[0] == '\0' || fault.at > size || fault.line < 1 || fault.column < 1)
            abort();
        if (b != NULL && fault.kind != DI_JSON_TOO_DEEP && memchr(text, 0, size) == NULL) abort();
    } else if (b == NULL) {
        if (json_error_code(&theirs) != json_error_numeric_overflow) abort();
    } else if (!json_equal(a, b)) {
        abort();
    }
    json_decref(a);
    json_decref(b);
    return 0;
}
