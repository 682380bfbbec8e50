/* Chat templates: the bytes are Jinja; what parses renders a dialogue. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const di_turn turn[] = {{"system", {"s", 1}},
                                   {"user", {" q\n\xc3\xa9 ", 6}},
                                   {"assistant", {"<think>a</think>b", 17}}};
    const di_jinja_tokens tokens = {.bos = {"<s>", 3}};
    di_jinja *t = NULL;
    dial_error err = {0};
    dial_status st;
    di_buf b;

    di_buf_init(&b, di_alloc_default());
    st = di_jinja_parse(di_alloc_default(), "t", (const char *)data, size, &t, &err);
    if (st == DIAL_OK) st = di_jinja_render(t, turn, 3, &tokens, &b, &err);
    /* a refusal says where, in one line */
    if (st != DIAL_OK && (st != DIAL_ERR_INPUT || strchr(err.message, '\n') != NULL ||
                          strncmp(err.message, "template_failed: t:", 19) != 0))
        abort();
    di_buf_deinit(&b);
    di_jinja_free(t);
    return 0;
}
