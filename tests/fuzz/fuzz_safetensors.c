/* safetensors: the bytes are a file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What callers rely on: the tensors lie in the file, one after the other, and are found by name. */
static void check(const di_st *s, const uint8_t *data, size_t size)
{
    size_t total = 0;

    for (size_t i = 0; i < s->n; i++) {
        const di_st_tensor *t = &s->tensor[i];
        const uint8_t *p = t->data;

        if (p < data || t->bytes > size || p > data + size - t->bytes) abort();
        if (t->n_dims < 0 || t->n_dims > 8 || t->count < 0) abort();
        if (di_st_find(s, t->name) != t) abort();
        if (i > 0 && strcmp(s->tensor[i - 1].name, t->name) >= 0) abort();
        total += t->bytes;
    }
    if (total > size) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dial_error err = {0};
    di_st s = {0};
    float y[64];

    if (di_st_parse(di_alloc_default(), data, size, "fuzz", &s, &err) != DIAL_OK) {
        if (err.status != DIAL_ERR_INPUT || err.message[0] == '\0' || err.where[0] == '\0') abort();
        return 0;
    }
    check(&s, data, size);
    for (size_t i = 0; i < s.n; i++)
        if (s.tensor[i].count <= 64)
            di_st_read_f32(&s, "fuzz", s.tensor[i].name, y, s.tensor[i].count, &err);
    di_st_close(&s);
    return 0;
}
