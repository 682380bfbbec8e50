/* GGUF: the bytes are a file, read as a container, as a model's numbers and as a tokenizer. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_words(const dial_error *err)
{
    if (err->status != DIAL_ERR_INPUT || err->message[0] == '\0' || err->hint[0] == '\0') abort();
}

static void check_tensors(const di_gguf *g, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < di_gguf_count(g); i++) {
        const di_gguf_tensor *t = di_gguf_at(g, i);
        const uint8_t *p = t->data;
        float y[256];

        if (p < data || t->bytes > size || p > data + size - t->bytes) abort();
        if (di_gguf_find(g, t->name) != t || strlen(t->name) == 0 || strlen(t->name) > 63) abort();
        if (t->bytes > 0 && t->dim[0] >= di_dtype_block(t->dtype)) /* the last block */
            di_dequantize(t->dtype, p + t->bytes - di_dtype_block_bytes(t->dtype), y,
                          di_dtype_block(t->dtype));
    }
}

static void check_config(const di_config *c)
{
    if (c->layers < 1 || c->layers > DI_MAX_LAYERS || c->heads < 1 || c->kv_heads < 1) abort();
    if (c->heads % c->kv_heads != 0 || c->head_dim < 2 || c->head_dim > 512) abort();
    if (!isfinite(c->attn_scale) || !isfinite(c->embed_scale) || !(c->norm_eps > 0)) abort();
    for (int64_t i = 0; i < c->layers; i++)
        if (c->window[i] < 0 || c->rope_local[i] > 1) abort();
}

static void check_tokenizer(const di_gguf *g)
{
    static const char text[] = "The cat  and 12 dogs\n\n\xc3\xa9t\xc3\xa9 </s> <bos>";
    di_token_list list = {.al = di_alloc_default()};
    di_tokenizer *t = NULL;
    dial_error err = {0};

    if (di_gguf_tokenizer(di_alloc_default(), g, &t, &err) != DIAL_OK) {
        expect_words(&err);
        return;
    }
    if (di_tokenizer_encode(t, text, sizeof text - 1, &list, &err) == DIAL_OK)
        for (size_t i = 0; i < list.n; i++)
            if (list.id[i] < 0 || list.id[i] >= di_tokenizer_get_info(t)->vocab) abort();
    di_token_list_deinit(&list);
    di_tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dial_error err = {0};
    di_gguf *g = NULL;
    di_config c;

    if (di_gguf_parse(di_alloc_default(), data, size, "fuzz", &g, &err) != DIAL_OK) {
        expect_words(&err);
        return 0;
    }
    check_tensors(g, data, size);
    if (di_gguf_config(g, &c, &err) == DIAL_OK)
        check_config(&c);
    else
        expect_words(&err);
    check_tokenizer(g);
    di_gguf_close(g);
    return 0;
}
