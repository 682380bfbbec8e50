/*
 * tokenizer.json and text. The first two bytes are the size of the JSON (little-endian), then
 * come the JSON and, in what is left, the text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_words(const dial_error *err)
{
    if (err->message[0] == '\0' || err->hint[0] == '\0') abort();
}

static void check_list(const di_tokenizer *t, const di_token_list *list, size_t n)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->id[i] < 0 || list->id[i] >= di_tokenizer_get_info(t)->vocab) abort();
        if (list->end[i] > n || (i > 0 && list->end[i] < list->end[i - 1])) abort();
    }
}

/* What we write must be readable and mean the same. */
static void check_written(const di_tokenizer *t, const char *text, size_t n,
                          const di_token_list *list)
{
    di_token_list other = {.al = di_alloc_default()};
    di_tokenizer *again = NULL;
    dial_error err = {0};
    di_buf out;

    di_buf_init(&out, di_alloc_default());
    if (di_tokenizer_write_hf(t, &out, &err) != DIAL_OK) abort();
    if (di_tokenizer_parse_hf(di_alloc_default(), out.data, out.size, "written", &again, &err) !=
        DIAL_OK)
        abort();
    if (di_tokenizer_encode(again, text, n, &other, &err) != DIAL_OK || other.n != list->n) abort();
    if (list->n > 0 && memcmp(other.id, list->id, list->n * sizeof *list->id) != 0) abort();
    di_buf_deinit(&out);
    di_token_list_deinit(&other);
    di_tokenizer_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    size_t json;
    di_token_list list = {.al = di_alloc_default()};
    di_tokenizer *t = NULL;
    dial_error err = {0};

    if (size < 2) return 0;
    json = (size_t)data[0] | (size_t)data[1] << 8;
    if (json > size - 2) json = size - 2;
    if (di_tokenizer_parse_hf(di_alloc_default(), bytes + 2, json, "fuzz", &t, &err) != DIAL_OK) {
        expect_words(&err);
        return 0;
    }
    bytes += 2 + json;
    size -= 2 + json;
    if (di_tokenizer_encode(t, bytes, size, &list, &err) == DIAL_OK) {
        check_list(t, &list, size);
        check_written(t, bytes, size, &list);
    } else {
        expect_words(&err);
        if (di_utf8_check(bytes, size) == size && strstr(err.message, "pattern") == NULL) abort();
    }
    di_token_list_deinit(&list);
    di_tokenizer_close(t);
    return 0;
}
