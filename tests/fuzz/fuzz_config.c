/* config.json: the bytes are the file. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dial_error err = {0};
    di_config c;

    if (di_config_from_json((const char *)data, size, "fuzz", &c, &err) != DIAL_OK) {
        if (err.status != DIAL_ERR_INPUT || err.message[0] == '\0' || err.hint[0] == '\0') abort();
        return 0;
    }
    if (c.layers < 1 || c.layers > DI_MAX_LAYERS || c.heads < 1 || c.kv_heads < 1) abort();
    if (c.heads % c.kv_heads != 0 || c.head_dim < 2 || c.head_dim > 512) abort();
    if (!isfinite(c.attn_scale) || !isfinite(c.embed_scale) || !(c.norm_eps > 0)) abort();
    for (int64_t i = 0; i < c.layers; i++)
        if (c.window[i] < 0 || c.rope_local[i] > 1) abort();
    for (int64_t i = 0; i < c.head_dim / 2; i++)
        if (!(c.freq[i] > 0) || !(c.freq_local[i] > 0)) abort();
    return 0;
}
